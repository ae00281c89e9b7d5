//! `schemas/` is fresh, deterministic, and says what the program does. `UPDATE_GOLDEN=1` rewrites it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "schemas/breaking.rs"]
mod breaking;

use std::path::Path;

use serde_json::Value;
use tunnelog::config::{config_schema, kinds_of};
use tunnelog::encode::DeadLetter;
use tunnelog::encode::dead_letter::DeadLetterEvent;
use tunnelog::event::{Action, Cloud, Event, EventId, Kind, Log, Millis, SCHEMA, Severity};
use tunnelog::schema::{config_reference, dead_letter_schema, event_reference, event_schema, formats_reference};
use tunnelog::source::{Position, Record, ShardId};

fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "schemas/{name} is stale: run UPDATE_GOLDEN=1 cargo test --test schemas");
}

fn pretty(schema: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(schema).unwrap())
}

#[test]
fn the_schemas_and_references_are_fresh() {
    check("config.schema.json", &pretty(&config_schema()));
    check("event.schema.json", &pretty(&event_schema()));
    check("dead-letter.schema.json", &pretty(&dead_letter_schema()));
    check("config.md", &config_reference());
    check("event.md", &event_reference());
    check("formats.md", &formats_reference());
}

/// The lake's table and column reference are made from the list that Parquet files are written by.
#[test]
#[cfg(feature = "parquet")]
fn the_lakes_table_and_reference_are_fresh() {
    check("lake.md", &tunnelog::encode::parquet::column_reference());
    check("../deploy/athena/table.sql", &tunnelog::encode::parquet::athena_table());
}

#[test]
fn every_reference_points_to_a_definition() {
    for schema in [config_schema(), event_schema(), dead_letter_schema()] {
        let mut pointers = Vec::new();
        collect(&schema, "$ref", &mut pointers);
        assert!(!pointers.is_empty());
        for pointer in pointers {
            let target = pointer.strip_prefix('#').unwrap();
            assert!(schema.pointer(target).is_some(), "{pointer}");
        }
    }
}

#[test]
fn every_field_has_a_meaning() {
    for reference in [config_reference(), event_reference()] {
        for line in reference.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            assert!(!cells.last().unwrap().trim_matches([' ', '|']).is_empty(), "{line}");
        }
    }
}

#[test]
fn an_optional_field_is_absent_and_never_null() {
    for schema in [event_schema(), dead_letter_schema()] {
        assert!(!schema.to_string().contains("\"null\""));
    }
}

/// The part of JSON Schema that the event's schema uses, so that golden events can be held against it.
fn fits(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(pointer) => root.pointer(pointer.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    };
    let kind_fits = match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    let mut wrong = Vec::new();
    if !kind_fits {
        wrong.push(format!("{path}: not {}: {value}", schema["type"]));
    }
    if let Some(words) = schema.get("oneOf").and_then(Value::as_array)
        && !words.iter().any(|word| word["const"] == *value)
    {
        wrong.push(format!("{path}: not in the list: {value}"));
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        wrong.push(format!("{path}: not the constant: {value}"));
    }
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            wrong.push(format!("{path}.{name}: missing"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        if let Some(schema) = schema.get("properties").and_then(|fields| fields.get(name)) {
            wrong.extend(fits(root, schema, field, &format!("{path}.{name}")));
        } else if let Some(schema) = schema.get("additionalProperties") {
            wrong.extend(fits(root, schema, field, &format!("{path}.{name}")));
        } else {
            wrong.push(format!("{path}.{name}: unknown"));
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(fits(root, &schema["items"], item, &format!("{path}[{index}]")));
    }
    wrong
}

/// Golden events lie in `tests/golden/*.jsonl` or `tests/data/golden/*.jsonl` once `normalize` writes them.
#[test]
fn golden_events_fit_the_schema() {
    let schema = event_schema();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders = [root.join("golden"), root.join("data/golden")];
    let files = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    for file in files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "jsonl")) {
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            let value: Value = serde_json::from_str(line).unwrap();
            // Other golden files may lie there; events say what they are.
            if value.get("schema").is_some() {
                let wrong = fits(&schema, &schema, &value, "");
                assert!(wrong.is_empty(), "{}:{}: {wrong:#?}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn the_smallest_event_that_the_program_writes_fits_the_schema() {
    let cloud = Cloud { provider: "aws", account_id: None, account_name: None, account_ou: None, region: None };
    let event = Event {
        schema: SCHEMA,
        id: EventId(1),
        time: Millis(0),
        observed: None,
        kind: Kind::Unparsed,
        action: Action::Unparsed,
        transition: None,
        session_state: None,
        severity: Severity::Notice,
        summary: "",
        cloud,
        vpn: None,
        route_server: None,
        bgp: None,
        ike: None,
        problems: Vec::new(),
        log: Log::default(),
        origin: None,
        raw: None,
    };
    let schema = event_schema();
    let written = serde_json::to_value(&event).unwrap();
    assert_eq!(fits(&schema, &schema, &written, ""), Vec::<String>::new());
}

#[test]
fn the_dead_letters_that_the_program_writes_fit_the_schema() {
    let schema = dead_letter_schema();
    let smallest = DeadLetter {
        schema: tunnelog::encode::dead_letter::SCHEMA.into(),
        id: EventId(1),
        reason: "not_json".into(),
        detail: String::new(),
        observed: None,
        origin: None,
        sink: None,
        event_id: None,
        event: None,
        size: 0,
        data: bytes::Bytes::new(),
    };
    let shard = ShardId { source: "a".into(), stream: "b".into(), stream_created: "1".into(), shard: "0".into() };
    let record = Record::new(Position::from(1), Some(Millis(0)), "x".into());
    let of_record = DeadLetter::of_record(&shard, &record, "not_json", "no JSON");
    let event = DeadLetterEvent {
        time: Millis(0),
        kind: Kind::Ike,
        action: Action::Rekey,
        severity: Severity::Info,
        account: Some("123456789012".into()),
        region: None,
        connection: None,
        tunnel: "203.0.113.17".parse().ok(),
        log_stream: None,
    };
    let refused = DeadLetter { sink: Some("siem".into()), event_id: Some(EventId(2)), ..of_record.clone() };
    let with_event = DeadLetter { event: Some(event), ..refused.clone() };
    for letter in [smallest, of_record, refused, with_event] {
        let mut line = Vec::new();
        letter.encode(&mut line);
        let mut written: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(fits(&schema, &schema, &written, ""), Vec::<String>::new());
        written.as_object_mut().unwrap().remove("data");
        assert_eq!(fits(&schema, &schema, &written, "").len(), 1);
    }
}

#[test]
fn the_meaning_of_an_action_begins_with_its_kinds() {
    let schema = event_schema();
    let words = schema["$defs"]["Action"]["oneOf"].as_array().unwrap();
    assert_eq!(words.len(), Action::ALL.len());
    for (action, word) in Action::ALL.iter().zip(words) {
        let kinds: Vec<_> = kinds_of(*action).iter().map(Kind::to_string).collect();
        let meaning = word["description"].as_str().unwrap();
        assert!(meaning.starts_with(&format!("{}: ", kinds.join(", "))), "{action}: {meaning}");
    }
}

#[test]
fn the_example_of_the_design_fits_the_schema_and_a_damaged_one_does_not() {
    let schema = event_schema();
    let mut event = serde_json::json!({
        "schema": "tunnelog.event/1", "id": "0123456789abcdef0123456789abcdef", "time": "2025-11-08T05:40:29.641Z",
        "kind": "bgp.session", "action": "established", "transition": "up", "session_state": "up", "severity": "info",
        "summary": "BGP session with 169.254.50.86 established",
        "cloud": {"provider": "aws", "account_id": "123456789012"},
        "vpn": {"connection_id": "vpn-0a1b2c3d4e5f60718", "tunnel": {"outside_ip": "203.0.113.17"},
                "tags": {"site": "seoul"}, "inventory": {"state": "fresh"}},
        "bgp": {"neighbor": "169.254.50.86", "as_path_asns": [65010]},
        "problems": [{"field": "bgp.med", "value": "x"}],
        "log": {"group_name": "/aws/vendedlogs/vpn"},
    });
    assert_eq!(fits(&schema, &schema, &event, ""), Vec::<String>::new());
    event["kind"] = "bgp.sessions".into();
    event["vpn"]["tunnel"]["outside_ip"] = 5.into();
    event["cloud"].as_object_mut().unwrap().remove("provider");
    assert_eq!(fits(&schema, &schema, &event, "").len(), 3);
}

fn collect(value: &Value, key: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get(key).and_then(Value::as_str).map(str::to_string));
            map.values().for_each(|value| collect(value, key, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, key, into)),
        _ => {}
    }
}
