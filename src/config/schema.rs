//! The JSON Schema of the pipeline file: `tunnelog schema config`, and what `walk` checks against.

use serde_json::{Value, json};

use super::types::Pipeline;

/// The schema of a pipeline file, JSON Schema 2020-12; the same bytes every time.
pub fn config_schema() -> Value {
    let mut schema = schemars::schema_for!(Pipeline).to_value();
    drop_empty_defaults(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), json!("https://tunnelog.dev/schemas/pipeline/1"));
        root.insert("title".into(), json!("tunnelog pipeline file"));
    }
    schema
}

/// "Default: nothing" is said by the field not being required; as `null` or `[]` it would break the rule
/// that a list which is there is not empty.
fn drop_empty_defaults(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let empty = |value: &Value| *value == json!(null) || *value == json!([]) || *value == json!({});
            if map.contains_key("description") && map.get("default").is_some_and(empty) {
                map.remove("default");
            }
            map.values_mut().for_each(drop_empty_defaults);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty_defaults),
        _ => {}
    }
}
