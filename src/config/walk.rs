//! Checks a tree against the JSON Schema of the pipeline file and turns it into JSON, reporting everything
//! that does not fit.
//!
//! Knows the part of JSON Schema that schemars writes for `types`: references, objects with named or free
//! keys, lists, alternatives by type, closed lists of words, bounds, and the formats `size`, `duration`,
//! `date-time` and `socket-address`. A value that does not fit is left out of the JSON, so that the checks
//! of meaning can go on with the rest.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use super::problem::{Report, nearest, suggestion};
use super::tree::{Data, Key, Node, Path, Scalar, Span, Typed};
use super::units::{Duration, Size};
use crate::event::Millis;

/// Walks one tree along one schema.
pub(crate) struct Walk<'s, 'r, 't> {
    root: &'s Value,
    report: &'r mut Report<'t>,
}

/// A value on the way: where its field is, and what stands there.
struct At<'n> {
    node: &'n Node,
    path: Path,
    /// The key or list item that the value stands under.
    under: Span,
}

impl At<'_> {
    fn place(&self) -> Span {
        self.node.place(self.under)
    }
}

impl<'s, 'r, 't> Walk<'s, 'r, 't> {
    /// For the schema whose `$defs` are in `root`.
    pub(crate) fn new(root: &'s Value, report: &'r mut Report<'t>) -> Self {
        Walk { root, report }
    }

    /// The file as JSON, without what does not fit; `None` if too little is left.
    pub(crate) fn document(&mut self, node: &Node) -> Option<Value> {
        let start = node.span.start;
        let under = Span::of_columns(start.line, start.column, start.column + 1);
        self.value(&At { node, path: Path::default(), under }, self.root)
    }

    fn value(&mut self, at: &At<'_>, schema: &'s Value) -> Option<Value> {
        let schema = self.resolve(schema);
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            return self.any_of(at, branches);
        }
        let words = words_of(schema);
        if !words.is_empty() {
            return self.word(at, &words);
        }
        match (&at.node.data, type_of(schema)) {
            (Data::Broken, _) => None,
            (Data::Map(pairs), "object") => self.object(at, pairs, schema),
            (Data::Scalar(scalar), "object") if scalar.typed() == Typed::Null => self.object(at, &[], schema),
            (Data::List(items), "array") => self.list(at, items, schema),
            (Data::Scalar(scalar), kind) if !matches!(kind, "object" | "array") => {
                self.scalar(at, scalar, kind, schema)
            }
            _ => self.wrong_type(at, schema),
        }
    }

    fn resolve(&self, schema: &'s Value) -> &'s Value {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        // A definition is never itself a bare reference: schemars inlines those.
        target.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }

    /// Alternatives: `null` for an absent value, and at most one for each type of node.
    fn any_of(&mut self, at: &At<'_>, branches: &'s [Value]) -> Option<Value> {
        let null = branches.iter().any(|branch| type_of(branch) == "null");
        let branches: Vec<&'s Value> =
            branches.iter().filter(|b| type_of(b) != "null").map(|b| self.resolve(b)).collect();
        let wanted = match &at.node.data {
            Data::Broken => return None,
            Data::Map(_) => "object",
            Data::List(_) => "array",
            Data::Scalar(scalar) if scalar.typed() == Typed::Null => {
                let object = branches.iter().find(|branch| type_of(branch) == "object");
                return match object {
                    Some(object) => self.value(at, object),
                    None if null => Some(Value::Null),
                    None => self.wrong_type(at, branches.first()?),
                };
            }
            Data::Scalar(_) => "scalar",
        };
        let fits = |branch: &&&'s Value| match type_of(branch) {
            "object" | "array" => type_of(branch) == wanted,
            "" => branch.get("anyOf").is_some() || wanted == "scalar",
            _ => wanted == "scalar",
        };
        match branches.iter().find(fits) {
            Some(branch) => self.value(at, branch),
            None => {
                let expected: Vec<String> = branches.iter().map(|branch| expected(branch)).collect();
                self.mismatch(at, &expected.join(", or "))
            }
        }
    }

    fn object(&mut self, at: &At<'_>, pairs: &[(Key, Node)], schema: &'s Value) -> Option<Value> {
        let known = schema.get("properties").and_then(Value::as_object);
        let free = schema.get("additionalProperties").filter(|free| free.is_object());
        let mut json = Map::new();
        let mut complete = true;
        for (key, node) in pairs {
            let path = at.path.key(&key.name);
            let Some(field) = known.and_then(|known| known.get(&key.name)).or(free) else {
                let allowed: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                let problem = self.report.error(key.span, &path, format!("unknown field `{}`", key.name));
                problem.note(suggestion(&key.name, &allowed));
                continue;
            };
            match self.value(&At { node, path, under: key.span }, field) {
                Some(value) => drop(json.insert(key.name.clone(), value)),
                None => complete &= !is_required(schema, &key.name),
            }
        }
        complete &= self.all_required(at, pairs, schema);
        self.enough(at, pairs.len(), "minProperties", schema);
        complete.then_some(Value::Object(json))
    }

    fn all_required(&mut self, at: &At<'_>, pairs: &[(Key, Node)], schema: &'s Value) -> bool {
        let mut complete = true;
        for name in required(schema).filter(|name| !pairs.iter().any(|(key, _)| key.name == *name)) {
            complete = false;
            // A misspelt field is already reported under its own name.
            let misspelt = |key: &Key| {
                let known = schema.get("properties").and_then(|known| known.get(&key.name));
                known.is_none() && nearest(&key.name, [name]).is_some()
            };
            if pairs.iter().any(|(key, _)| misspelt(key)) {
                continue;
            }
            let field = schema.get("properties").and_then(|known| known.get(name)).map(|field| self.resolve(field));
            let what = field.map_or_else(String::new, |field| format!("add `{name}`: {}", expected(field)));
            self.report.error(at.under, &at.path, format!("`{name}` is missing")).note(what);
        }
        complete
    }

    fn enough(&mut self, at: &At<'_>, count: usize, bound: &str, schema: &'s Value) {
        let least = schema.get(bound).and_then(Value::as_u64).unwrap_or(0);
        if (count as u64) < least {
            let message = format!("found nothing in it, expected at least {least}");
            self.report.error(at.under, &at.path, message).note("add one, or remove the field");
        }
    }

    fn list(&mut self, at: &At<'_>, items: &[Node], schema: &'s Value) -> Option<Value> {
        self.enough(at, items.len(), "minItems", schema);
        let item_schema = schema.get("items")?;
        let mut json = Vec::new();
        for (index, node) in items.iter().enumerate() {
            let item = At { node, path: at.path.index(index), under: at.under };
            json.extend(self.value(&item, item_schema));
        }
        Some(Value::Array(json))
    }

    fn word(&mut self, at: &At<'_>, words: &[&str]) -> Option<Value> {
        let Data::Scalar(scalar) = &at.node.data else {
            return if matches!(at.node.data, Data::Broken) {
                None
            } else {
                self.mismatch(at, &format!("one of {}", words.join(", ")))
            };
        };
        if words.contains(&scalar.text.as_str()) {
            return Some(Value::String(scalar.text.clone()));
        }
        // The nearest name would betray what a variable holds.
        let name = if scalar.before.is_some() { "" } else { &scalar.text };
        let message = format!("{} is not allowed here", found(at.node));
        self.report.error(at.place(), &at.path, message).note(suggestion(name, words));
        None
    }

    fn scalar(&mut self, at: &At<'_>, scalar: &Scalar, kind: &str, schema: &'s Value) -> Option<Value> {
        let typed = scalar.typed();
        match (kind, typed) {
            (_, Typed::Null) if nullable(schema) => Some(Value::Null),
            // A number may stand where text is expected: an account id, also from a variable.
            ("string", Typed::Text(_) | Typed::Whole(_) | Typed::Float(_)) => {
                self.text(at, scalar, schema).then(|| Value::String(scalar.text.clone()))
            }
            ("integer", Typed::Whole(number)) => self.whole(at, number, schema),
            ("boolean", Typed::Bool(value)) => Some(Value::Bool(value)),
            _ => self.wrong_type(at, schema),
        }
    }

    fn text(&mut self, at: &At<'_>, scalar: &Scalar, schema: &'s Value) -> bool {
        let text = scalar.text.as_str();
        let (what, remedy) = match schema.get("format").and_then(Value::as_str) {
            Some("size") => ("a size", Size::parse(text).err()),
            Some("duration") => ("a duration", Duration::parse(text).err()),
            Some("date-time") => {
                let plausible = Millis::parse(text).filter(|time| time.is_plausible());
                let remedy = "a time is RFC 3339 in the years 2000 to 2099, for example 2026-01-15T00:00:00Z";
                ("a time", plausible.is_none().then(|| remedy.to_string()))
            }
            Some("socket-address") => {
                let remedy = "an address is an IP address and a port, for example 127.0.0.1:8077 or [::1]:8077";
                ("an address", text.parse::<SocketAddr>().is_err().then(|| remedy.to_string()))
            }
            _ => ("", text.is_empty().then(|| "give a value, or remove the field".to_string())),
        };
        let Some(remedy) = remedy else { return true };
        let message = if text.is_empty() {
            format!("found {}, which is empty", found(at.node))
        } else {
            format!("{} is not {what}", found(at.node))
        };
        self.report.error(at.place(), &at.path, message).note(remedy);
        false
    }

    fn whole(&mut self, at: &At<'_>, number: i128, schema: &'s Value) -> Option<Value> {
        let bound = |name: &str| schema.get(name).and_then(Value::as_number).and_then(serde_json::Number::as_i128);
        let widest = match schema.get("format").and_then(Value::as_str) {
            Some("uint32") => i128::from(u32::MAX),
            Some("uint64") => i128::from(u64::MAX),
            _ => i128::from(i64::MAX),
        };
        let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(widest));
        if !(least..=most).contains(&number) {
            let message = format!("{} is out of range", found(at.node));
            self.report.error(at.place(), &at.path, message).note(format!("allowed: {least} to {most}"));
            return None;
        }
        u64::try_from(number).ok().map(Value::from)
    }

    fn wrong_type(&mut self, at: &At<'_>, schema: &'s Value) -> Option<Value> {
        self.mismatch(at, &expected(schema))
    }

    fn mismatch(&mut self, at: &At<'_>, expected: &str) -> Option<Value> {
        let problem = self.report.error(at.place(), &at.path, format!("found {}", found(at.node)));
        problem.note(format!("expected {expected}"));
        if let Data::Scalar(scalar) = &at.node.data {
            if expected.starts_with("a list") && scalar.typed() != Typed::Null {
                problem.note(format!("write [{}]", scalar.shown().trim_matches('`')));
            } else if !scalar.plain && !expected.starts_with("text") {
                problem.note("remove the quotes: a quoted value is text");
            } else if matches!(scalar.typed(), Typed::Bool(_)) && expected.starts_with("text") {
                problem.note("quote it if it is meant as text");
            }
        }
        None
    }
}

/// What stands there, for a person; never a variable's value.
fn found(node: &Node) -> String {
    match &node.data {
        Data::Map(_) => "a mapping".into(),
        Data::List(_) => "a list".into(),
        Data::Broken => "a broken value".into(),
        Data::Scalar(scalar) if scalar.before.is_some() => format!("the value of {}", scalar.shown()),
        Data::Scalar(scalar) => match scalar.typed() {
            Typed::Null => "nothing".into(),
            Typed::Text("") => "a text".into(),
            Typed::Text(_) if !scalar.plain => format!("the text {}", scalar.shown()),
            Typed::Text(_) => scalar.shown(),
            Typed::Bool(_) => scalar.shown(),
            Typed::Whole(_) | Typed::Float(_) => format!("the number {}", scalar.shown()),
        },
    }
}

/// What a schema asks for, for a person.
fn expected(schema: &Value) -> String {
    let words = words_of(schema);
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    let keys =
        || schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(key, _)| key.as_str());
    match (type_of(schema), schema.get("format").and_then(Value::as_str)) {
        ("object", _)
            if keys().next().is_none() && schema.get("additionalProperties").is_some_and(Value::is_object) =>
        {
            "a mapping of names to values (`name: ...`)".into()
        }
        ("object", _) if keys().next().is_none() => "a mapping without fields: `{}`".into(),
        ("object", _) => format!("a mapping with any of {}", keys().collect::<Vec<_>>().join(", ")),
        ("array", _) => "a list: [a, b]".into(),
        ("integer", _) => "a whole number".into(),
        ("boolean", _) => "true or false".into(),
        (_, Some("size")) => "a size such as 64MiB".into(),
        (_, Some("duration")) => "a duration such as 30s".into(),
        (_, Some("date-time")) => "a time such as 2026-01-15T00:00:00Z".into(),
        (_, Some("socket-address")) => "an address such as 127.0.0.1:8077".into(),
        _ => "text".into(),
    }
}

/// The type that is not `null`; empty if the schema is an alternative.
fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or(""),
        _ => "",
    }
}

fn nullable(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_array).is_some_and(|kinds| kinds.iter().any(|kind| kind == "null"))
}

/// The words of a closed list: `enum`, or `oneOf` of constants when each has its own description.
pub(crate) fn words_of(schema: &Value) -> Vec<&str> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(Value::as_str).collect();
    }
    let mut words = Vec::new();
    for branch in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        words.extend(branch.get("const").and_then(Value::as_str));
        words.extend(branch.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str));
    }
    words
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_required(schema: &Value, name: &str) -> bool {
    required(schema).any(|required| required == name)
}
