//! The add-on in `deploy/splunk/` applied to events as a search head would, and the outcome held against the kept list
//! of the CIM's fields. Only the forms that the add-on uses are understood; any other fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

type Fields = BTreeMap<String, String>;
/// Stanzas, each with its settings.
type Conf = Vec<(String, Vec<(String, String)>)>;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn conf(name: &str) -> Conf {
    let mut stanzas: Conf = Vec::new();
    for line in read(&format!("deploy/splunk/default/{name}.conf")).lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            stanzas.push((name.to_owned(), Vec::new()));
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}.conf: {line}"));
            stanzas.last_mut().unwrap().1.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    stanzas
}

/// The fields of an event as a search sees them: those in its JSON, then aliases, then calculated ones, which see
/// nothing of each other.
fn extracted(event: &Value, props: &Conf) -> Fields {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut fields: Fields =
        event.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
    fields.insert("sourcetype".into(), "tunnelog".into());
    let (_, settings) = props.iter().find(|(stanza, _)| stanza == "tunnelog").unwrap();
    for (_, alias) in settings.iter().filter(|(key, _)| key.starts_with("FIELDALIAS-")) {
        let (from, to) = alias.split_once(" AS ").unwrap();
        if let Some(value) = fields.get(from).cloned() {
            fields.insert(to.to_owned(), value);
        }
    }
    let mut calculated = Fields::new();
    for (key, expression) in settings {
        if let Some(field) = key.strip_prefix("EVAL-") {
            let mut rest = expression.as_str();
            calculated.extend(value(&mut rest, &fields).map(|value| (field.to_owned(), value)));
            assert!(rest.trim().is_empty(), "{key}: not understood: {rest}");
        }
    }
    fields.extend(calculated);
    fields
}

/// One expression: a text, a field, or `coalesce`, `if`, `null` with arguments.
fn value(rest: &mut &str, fields: &Fields) -> Option<String> {
    *rest = rest.trim_start();
    if let Some(after) = rest.strip_prefix('"') {
        let (text, after) = after.split_once('"').unwrap();
        *rest = after;
        return Some(text.to_owned());
    }
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let Some(after) = after.strip_prefix('(') else {
        *rest = after;
        return fields.get(name).cloned();
    };
    *rest = after;
    match name {
        "null" => drop(closed(rest)),
        "coalesce" => return arguments(rest, fields).into_iter().flatten().next(),
        "if" => {
            let holds = condition(rest, fields);
            *rest = rest.trim_start().strip_prefix(',').unwrap();
            let mut both = arguments(rest, fields).into_iter();
            let (then, otherwise) = (both.next().unwrap(), both.next().unwrap());
            return if holds { then } else { otherwise };
        }
        other => panic!("the function `{other}` is not understood"),
    }
    None
}

fn closed(rest: &mut &str) -> bool {
    let after = rest.trim_start().strip_prefix(')');
    *rest = after.unwrap_or(rest);
    after.is_some()
}

fn arguments(rest: &mut &str, fields: &Fields) -> Vec<Option<String>> {
    let mut all = vec![value(rest, fields)];
    while !closed(rest) {
        *rest = rest.trim_start().strip_prefix(',').unwrap();
        all.push(value(rest, fields));
    }
    all
}

/// `isnull(field)` or `field="text"`.
fn condition(rest: &mut &str, fields: &Fields) -> bool {
    if let Some(after) = rest.strip_prefix("isnull(") {
        *rest = after;
        let found = value(rest, fields);
        assert!(closed(rest));
        return found.is_none();
    }
    let left = value(rest, fields);
    *rest = rest.strip_prefix('=').unwrap();
    left.is_some() && left == value(rest, fields)
}

/// Whether an event type's search finds an event: `key=value`, `key=*` and `key IN (…)`, all of them.
fn finds(search: &str, fields: &Fields) -> bool {
    let mut rest = search.trim();
    while !rest.is_empty() {
        let end = rest.find(['=', ' ']).unwrap();
        let (key, after) = rest.split_at(end);
        let found = fields.get(key);
        let (wanted, after) = match after.trim_start().strip_prefix("IN (") {
            Some(list) => list.split_once(')').unwrap(),
            None => after.strip_prefix('=').unwrap().split_once(' ').unwrap_or((&after[1..], "")),
        };
        let mut words = wanted.split(',').map(|word| word.trim().trim_matches('"'));
        if !found.is_some_and(|found| words.any(|word| word == "*" || word == found)) {
            return false;
        }
        rest = after.trim_start();
    }
    true
}

fn tags(fields: &Fields, types: &Conf, tags: &Conf) -> BTreeSet<String> {
    let is_type = |stanza: &str| {
        let name = stanza.strip_prefix("eventtype=").unwrap();
        let (_, settings) =
            types.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no event type {name}"));
        finds(&settings[0].1, fields)
    };
    let found = tags.iter().filter(|(stanza, _)| is_type(stanza));
    found.flat_map(|(_, settings)| settings.iter().map(|(tag, _)| tag.clone())).collect()
}

fn words(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Checks each event against the models that its tags put it into; how many events each model got.
pub(crate) fn check(events: &[Value]) -> BTreeMap<String, usize> {
    let cim: Value = serde_json::from_str(&read("tests/formats/cim.json")).unwrap();
    let (props, types, known_tags) = (conf("props"), conf("eventtypes"), conf("tags"));
    let mut counts = BTreeMap::new();
    for event in events {
        let fields = extracted(event, &props);
        let tags = tags(&fields, &types, &known_tags);
        let mut models = 0;
        for (name, model) in cim["models"].as_object().unwrap() {
            if words(&model["tags"]).all(|tag| tags.contains(tag)) {
                in_model(name, model, &fields);
                *counts.entry(name.clone()).or_default() += 1;
                models += 1;
            }
        }
        let expected = usize::from(
            fields["kind"] != "unparsed" && (fields["kind"] != "bgp.route" || fields.contains_key("action")),
        );
        assert_eq!(models, expected, "{event} is in one model");
        let is_start = fields.get("action").is_some_and(|action| action == "started");
        assert_eq!(tags.contains("start"), is_start, "{event}");
    }
    counts
}

fn in_model(name: &str, model: &Value, fields: &Fields) {
    for field in words(&model["always"]) {
        assert!(fields.get(field).is_some_and(|value| !value.is_empty()), "{name} needs `{field}`: {fields:?}");
        assert!(words(&model["fields"]).any(|known| known == field), "{name} has no field `{field}`");
    }
    for (field, allowed) in model["values"].as_object().unwrap() {
        if let Some(value) = fields.get(field) {
            assert!(words(allowed).any(|word| word == value), "{name}: `{field}` is `{value}`, allowed are {allowed}");
        }
    }
}
