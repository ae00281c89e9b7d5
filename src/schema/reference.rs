//! The configuration and event references as Markdown, made from the JSON Schemas.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::normalize::table;

/// The configuration reference, `schemas/config.md`.
pub fn config_reference() -> String {
    let intro = "\
Every field of a pipeline file. Made from the types in `src/config/types.rs`; as JSON Schema: `tunnelog schema config`.

Values may hold `${VAR}` or `${VAR:-default}` from the environment, and `$$` for a literal `$`. Inside `[...]` and
`{...}` a variable needs quotes. A size is a whole number with `B`, `KiB`, `MiB` or `GiB`, a duration one with `ms`,
`s`, `m`, `h` or `d`. `tunnelog check PIPELINE` reports every problem at once.
";
    const ORDER: &[&str] =
        &["name", "sources", "enrich", "sinks", "dead_letters", "checkpoint", "limits", "status", "file", "only"];
    Reference::new(crate::config::config_schema(), "unset", ORDER).page("Configuration reference", intro)
}

/// The event reference, `schemas/event.md`.
pub fn event_reference() -> String {
    let intro = "\
Every field of an event. Made from the types in `src/event.rs`; as JSON Schema: `tunnelog schema event`.

Fields that do not apply are absent, never `null`. The option `constants` of the `json` format adds fields of type
string at the top level, and a later program may add fields under the same schema name: readers ignore what they do not
know.
";
    const ORDER: &[&str] = &[
        "schema",
        "id",
        "time",
        "observed",
        "kind",
        "action",
        "transition",
        "session_state",
        "severity",
        "summary",
        "cloud",
        "vpn",
        "route_server",
        "bgp",
        "ike",
        "problems",
        "log",
        "origin",
        "raw",
        "connection_id",
    ];
    const TABLE: &str = "
# Messages and their actions

Which message becomes which event; the first row that fits decides, letter case and punctuation ignored. In
`session_state` stands where it comes from. Alerts are not in the table: they come from detection rules, not from a
message.

";
    let fields = Reference::new(super::event_schema(), "", ORDER).page("Event reference", intro);
    fields + TABLE + &table::markdown()
}

struct Reference {
    root: Value,
    /// What the column says where a field has no default and is not required.
    unset: &'static str,
    /// Fields that come first, in this order; the schema itself is sorted by name.
    order: &'static [&'static str],
    /// Objects that have a table, by the name of their definition, with the path of their first use.
    seen: BTreeMap<String, String>,
    /// Closed lists, by the name of their definition.
    words: BTreeMap<String, Value>,
    text: String,
}

/// An object whose table is still to be written: its path and schema.
type Pending = (String, Value);

impl Reference {
    fn new(root: Value, unset: &'static str, order: &'static [&'static str]) -> Self {
        Reference { root, unset, order, seen: BTreeMap::new(), words: BTreeMap::new(), text: String::new() }
    }

    fn page(mut self, title: &str, intro: &str) -> String {
        // Writing to a String cannot fail; hence the ignored results below.
        let _ =
            writeln!(self.text, "<!-- Generated: UPDATE_GOLDEN=1 cargo test --test schemas -->\n# {title}\n\n{intro}");
        let root = self.root.clone();
        self.object("", &root);
        self.closed_lists();
        self.text
    }

    /// The table of one object, then the tables of the objects in it.
    fn object(&mut self, path: &str, schema: &Value) {
        let Some(fields) = schema.get("properties").and_then(Value::as_object) else { return };
        let heading = if path.is_empty() { "Top level".to_string() } else { format!("`{path}`") };
        let _ = writeln!(self.text, "## {heading}\n");
        if !path.is_empty() {
            let _ = writeln!(self.text, "{}\n", prose(schema));
        }
        let third = if self.unset.is_empty() { "Required" } else { "Default" };
        let _ = writeln!(self.text, "| Field | Type | {third} | Meaning |\n|---|---|---|---|");
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut pending = Vec::new();
        let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
        let rank = |name: &str| self.order.iter().position(|other| *other == name).unwrap_or(usize::MAX);
        fields.sort_by_key(|(name, _)| rank(name));
        for (name, field) in fields {
            let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let kind = self.kind(&full, field, &mut pending);
            let default = self.default(required.contains(&name.as_str()), field);
            let _ = writeln!(self.text, "| `{full}` | {kind} | {default} | {} |", self.meaning(field));
        }
        self.text.push('\n');
        for (path, schema) in pending {
            self.object(&path, &schema);
        }
    }

    fn meaning(&self, field: &Value) -> String {
        let own = prose(field);
        if own.is_empty() { prose(&self.resolve(field).1) } else { own }
    }

    fn default(&self, required: bool, field: &Value) -> String {
        match field.get("default") {
            _ if required => "required".into(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
            None if field.get("$ref").is_some() => String::new(),
            None => self.unset.into(),
        }
    }

    /// The type for the table; objects that have no table yet are added to `pending`.
    fn kind(&mut self, path: &str, field: &Value, pending: &mut Vec<Pending>) -> String {
        let (definition, schema) = self.resolve(field);
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            let branches = branches.iter().filter(|branch| branch.get("type").and_then(Value::as_str) != Some("null"));
            return branches.map(|branch| self.kind(path, branch, pending)).collect::<Vec<_>>().join(" or ");
        }
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() {
            let name = definition.unwrap_or_else(|| path.to_string());
            let link = format!("[{name}](#{})", name.to_lowercase());
            self.words.insert(name, schema);
            return link;
        }
        match type_of(&schema) {
            "array" => {
                let items = schema.get("items").cloned().unwrap_or_default();
                format!("list of {}", self.kind(&format!("{path}[]"), &items, pending))
            }
            "object" => self.object_kind(path, definition, schema, pending),
            _ if definition.is_some() && !prose(&schema).is_empty() => prose(&schema),
            other => scalar_kind(other, &schema),
        }
    }

    fn object_kind(
        &mut self,
        path: &str,
        definition: Option<String>,
        schema: Value,
        pending: &mut Vec<Pending>,
    ) -> String {
        if let Some(free) = schema.get("additionalProperties").filter(|free| free.is_object()).cloned() {
            return format!("map of {}", self.kind(&format!("{path}.<name>"), &free, pending));
        }
        if schema.get("properties").is_none() {
            return "`{}`".into();
        }
        match definition.as_ref().and_then(|name| self.seen.get(name)) {
            Some(first) => format!("as [`{first}`](#{})", anchor(first)),
            None => {
                self.seen.extend(definition.map(|name| (name, path.to_string())));
                pending.push((path.to_string(), schema));
                format!("[object](#{})", anchor(path))
            }
        }
    }

    /// The name of the definition that a field refers to, if it does, and its schema.
    fn resolve(&self, field: &Value) -> (Option<String>, Value) {
        let Some(pointer) = field.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#')) else {
            return (None, field.clone());
        };
        let name = pointer.rsplit('/').next().map(str::to_string);
        (name, self.root.pointer(pointer).cloned().unwrap_or_default())
    }

    fn closed_lists(&mut self) {
        let mut text = String::from("# Closed lists\n\n");
        for (name, schema) in &self.words {
            let _ = writeln!(text, "## {name}\n\n{}\n\n| Value | Meaning |\n|---|---|", prose(schema));
            for branch in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
                let word = branch.get("const").and_then(Value::as_str).unwrap_or_default();
                let _ = writeln!(text, "| `{word}` | {} |", prose(branch));
            }
            for word in schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                let _ = writeln!(text, "| `{word}` | |");
            }
            text.push('\n');
        }
        if !self.words.is_empty() {
            self.text.push_str(text.trim_end());
            self.text.push('\n');
        }
    }
}

/// GitHub's anchor of a heading.
fn anchor(path: &str) -> String {
    path.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "_- ".contains(*c)).collect()
}

/// A description in one line of a table.
fn prose(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.replace('\n', " ").replace('|', "\\|")
}

fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    }
}

fn scalar_kind(kind: &str, schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).map(Value::to_string);
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return format!("`{word}`");
    }
    let format = schema.get("format").and_then(Value::as_str).filter(|format| !format.starts_with("uint"));
    match (kind, format, bound("minimum"), bound("maximum")) {
        (_, Some("date-time"), ..) => "time, RFC 3339".into(),
        (_, Some("socket-address"), ..) => "address and port".into(),
        (_, Some(format), ..) => format.to_string(),
        ("integer", _, Some(least), Some(most)) => format!("whole number, {least} to {most}"),
        ("integer", _, Some(least), None) if least != "0" => format!("whole number, at least {least}"),
        ("integer", ..) => "whole number".into(),
        ("boolean", ..) => "`true` or `false`".into(),
        ("string", ..) => "text".into(),
        (other, ..) => other.into(),
    }
}
