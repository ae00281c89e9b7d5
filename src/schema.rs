//! The JSON Schema of an event (`tunnelog schema event`) and the references for people.
//!
//! Everything in `schemas/` is made here and in `config::config_schema`, from the types; `tests/schemas.rs`
//! checks that it is fresh. `$id`s are names, nothing is fetched from them.

use serde_json::{Value, json};

use crate::event::{Event, SCHEMA};

mod reference;

pub use reference::{config_reference, event_reference};

/// The schema of an event, JSON Schema 2020-12; the same bytes every time.
///
/// It leaves `additionalProperties` open: the option `constants` of the `json` format adds strings at the
/// top level, and later versions of the same number may add fields.
pub fn event_schema() -> Value {
    let mut schema = schemars::schema_for!(Event<'static>).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), json!("https://tunnelog.dev/schemas/event/1"));
        root.insert("title".into(), json!("tunnelog event"));
        root.insert(
            "description".into(),
            json!(
                "One event. The option `constants` of the `json` format adds fields of type string at the top level; \
                 a later program may add fields under the same schema name."
            ),
        );
    }
    if let Some(name) = schema.pointer_mut("/properties/schema").and_then(Value::as_object_mut) {
        name.insert("const".into(), json!(SCHEMA));
    }
    if let Some(provider) = schema.pointer_mut("/$defs/Cloud/properties/provider").and_then(Value::as_object_mut) {
        provider.insert("const".into(), json!("aws"));
    }
    absent_instead_of_null(&mut schema);
    absent_when_empty(&mut schema);
    schema
}

/// Fields that `event.rs` leaves out when they are empty; schemars sees only that they are no `Option`.
/// A test writes the smallest event and holds it against the schema.
const LEFT_OUT_WHEN_EMPTY: [(&str, &[&str]); 2] = [
    ("/required", &["problems"]),
    ("/$defs/Log/required", &["group_name", "stream_name", "event_id", "owner_account_id"]),
];

fn absent_when_empty(schema: &mut Value) {
    for (pointer, fields) in LEFT_OUT_WHEN_EMPTY {
        if let Some(required) = schema.pointer_mut(pointer).and_then(Value::as_array_mut) {
            required.retain(|name| !fields.iter().any(|field| name == field));
        }
    }
}

/// Optional fields are left out of an event, never `null`; the schema says so.
fn absent_instead_of_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(kinds)) = map.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
                branches.retain(|branch| branch.get("type").and_then(Value::as_str) != Some("null"));
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.values_mut().for_each(absent_instead_of_null);
        }
        Value::Array(items) => items.iter_mut().for_each(absent_instead_of_null),
        _ => {}
    }
}
