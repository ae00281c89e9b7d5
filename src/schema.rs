//! The JSON Schemas of what the program writes, events and dead letters, and the references for people.
//!
//! Everything in `schemas/` is made here and in `config::config_schema`, from the types; `tests/schemas.rs`
//! checks that it is fresh. `$id`s are names, nothing is fetched from them.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::encode::{DeadLetter, dead_letter};
use crate::event::{Event, SCHEMA};

mod formats;
mod reference;

pub use formats::formats_reference;
pub use reference::{config_reference, event_reference};

/// The schema of an event, JSON Schema 2020-12; the same bytes every time.
///
/// It leaves `additionalProperties` open: the option `constants` of the `json` format adds strings at the
/// top level, and later versions of the same number may add fields.
pub fn event_schema() -> Value {
    let description = "One event. The option `constants` of the `json` format adds fields of type string at the top \
                       level; a later program may add fields under the same schema name.";
    let mut schema = written::<Event<'static>>("event", SCHEMA, description);
    if let Some(provider) = schema.pointer_mut("/$defs/Cloud/properties/provider").and_then(Value::as_object_mut) {
        provider.insert("const".into(), json!("aws"));
    }
    schema
}

/// The schema of a dead letter.
pub fn dead_letter_schema() -> Value {
    let description = "What could not be read, or what a sink refused for good, with its original bytes. \
                       `tunnelog replay` takes it back.";
    written::<DeadLetter>("dead-letter", dead_letter::SCHEMA, description)
}

/// The schema of what the program writes as `T`: a field that it may leave out is not required.
fn written<T: JsonSchema>(name: &str, version: &str, description: &str) -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), json!(format!("https://tunnelog.dev/schemas/{name}/1")));
        root.insert("title".into(), json!(format!("tunnelog {}", name.replace('-', " "))));
        root.insert("description".into(), json!(description));
    }
    if let Some(field) = schema.pointer_mut("/properties/schema").and_then(Value::as_object_mut) {
        field.insert("const".into(), json!(version));
    }
    absent_instead_of_null(&mut schema);
    schema
}

/// Optional fields are left out, never `null`; the schema says so.
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
