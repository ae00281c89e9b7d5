//! What readers of `tunnelog.event/1` rely on stays. `schemas/published/event-1.schema.json` is the schema as it was
//! published; nothing writes it anew. Fields and words may be added (add them to it at a release); whatever is taken
//! away or changed needs a new number of the schema, and a published file of its own.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tunnelog::event::SCHEMA;
use tunnelog::schema::event_schema;

const PUBLISHED: &str = include_str!("../../schemas/published/event-1.schema.json");

fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let pointer = schema.get("$ref").and_then(Value::as_str);
    pointer.map_or(schema, |pointer| root.pointer(pointer.strip_prefix('#').unwrap()).unwrap())
}

fn texts(schema: &Value, key: &str) -> BTreeSet<String> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn words(schema: &Value) -> BTreeSet<String> {
    let branches = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let constants = branches.filter_map(|branch| branch["const"].as_str()).map(Into::into);
    constants.chain(texts(schema, "enum")).collect()
}

/// What a reader of `old` would miss or misread in what `new` describes.
fn breaks(old_root: &Value, old: &Value, new_root: &Value, new: &Value, path: &str) -> Vec<String> {
    let (old, new) = (resolve(old_root, old), resolve(new_root, new));
    let mut found = Vec::new();
    for key in ["type", "const", "format", "pattern"] {
        if old.get(key) != new.get(key) {
            found.push(format!("{path}: {key} was {}, is {}", old[key], new[key]));
        }
    }
    for (what, old, new) in
        [("the word", words(old), words(new)), ("the promise to have", texts(old, "required"), texts(new, "required"))]
    {
        found.extend(old.difference(&new).map(|name| format!("{path}: {what} `{name}` is gone")));
    }
    if words(old).is_empty() != words(new).is_empty() {
        found.push(format!("{path}: a closed list came or went"));
    }
    for (key, bounds) in [("minimum", false), ("maximum", true)] {
        let (old, new) = (old.get(key).and_then(Value::as_f64), new.get(key).and_then(Value::as_f64));
        if old.is_some_and(|old| new.is_none_or(|new| if bounds { new > old } else { new < old })) {
            found.push(format!("{path}: {key} was {old:?}, is {new:?}"));
        }
    }
    for (name, field) in old.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        match new.get("properties").and_then(|fields| fields.get(name)) {
            Some(other) => found.extend(breaks(old_root, field, new_root, other, &path)),
            None => found.push(format!("{path}: the field is gone")),
        }
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
        match (old.get(key).filter(|old| old.is_object()), new.get(key)) {
            (Some(old), Some(new)) => found.extend(breaks(old_root, old, new_root, new, &format!("{path}{suffix}"))),
            (Some(_), None) => found.push(format!("{path}: its {key} are no longer told")),
            (None, _) => {}
        }
    }
    found
}

fn published() -> Value {
    serde_json::from_str(PUBLISHED).unwrap()
}

fn breaks_of(new: &Value) -> Vec<String> {
    let old = published();
    breaks(&old, &old, new, new, "event")
}

#[test]
fn nothing_that_readers_rely_on_has_changed_under_the_published_number() {
    assert_eq!(
        published()["properties"]["schema"]["const"],
        SCHEMA,
        "another number needs a published file of its own"
    );
    let found = breaks_of(&event_schema());
    assert!(
        found.is_empty(),
        "readers of {SCHEMA} would break: {found:#?}\nkeep it, or raise the number in src/event/"
    );
}

#[test]
fn every_kind_of_break_is_found() {
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 9] = [
        (|schema| drop(field(schema, "").remove("summary")), "event.summary: the field is gone"),
        (|schema| drop(field(schema, "Bgp").remove("med")), "event.bgp.med: the field is gone"),
        (|schema| schema["$defs"]["Bgp"]["properties"]["med"]["type"] = "string".into(), "event.bgp.med: type was"),
        (
            |schema| schema["$defs"]["Bgp"]["properties"]["as_path_asns"]["items"]["type"] = "string".into(),
            "asns[]: type",
        ),
        (
            |schema| drop(schema["$defs"]["Kind"]["oneOf"].as_array_mut().unwrap().remove(0)),
            "the word `bgp.session` is gone",
        ),
        (
            |schema| schema["required"].as_array_mut().unwrap().retain(|name| name != "id"),
            "promise to have `id` is gone",
        ),
        (|schema| schema["properties"]["time"]["format"] = "date".into(), "event.time: format was"),
        (|schema| schema["properties"]["schema"]["const"] = "tunnelog.event/2".into(), "event.schema: const was"),
        (|schema| drop(schema["$defs"]["Kind"].as_object_mut().unwrap().remove("oneOf")), "a closed list came or went"),
    ];
    for (change, expect) in changes {
        let mut schema = published();
        change(&mut schema);
        let found = breaks_of(&schema);
        assert!(found.iter().any(|problem| problem.contains(expect)), "{expect}: {found:?}");
    }
}

#[test]
fn what_is_added_breaks_nobody() {
    let mut schema = published();
    field(&mut schema, "").insert("later".into(), json!({"type": "string"}));
    field(&mut schema, "Bgp").insert("community".into(), json!({"type": "string"}));
    schema["$defs"]["Action"]["oneOf"].as_array_mut().unwrap().push(json!({"const": "later", "type": "string"}));
    schema["required"].as_array_mut().unwrap().push("summary".into());
    assert_eq!(breaks_of(&schema), Vec::<String>::new());
}

/// The fields of a definition, or of the event itself.
fn field<'s>(schema: &'s mut Value, definition: &str) -> &'s mut serde_json::Map<String, Value> {
    let pointer = if definition.is_empty() { "/properties".into() } else { format!("/$defs/{definition}/properties") };
    schema.pointer_mut(&pointer).unwrap().as_object_mut().unwrap()
}
