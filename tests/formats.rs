//! Every sample and a simulated day in each format: golden files, and the published schemas of OCSF and ECS, read by
//! tools that nobody here wrote (`make stack` installs them). The validators are on trial too: damaged events must not
//! pass. `UPDATE_GOLDEN=1` writes the golden files anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "formats/day.rs"]
mod day;
#[path = "stack/process.rs"]
#[allow(dead_code, reason = "the parts that run are for others")]
mod process;
#[path = "formats/published.rs"]
mod published;
#[path = "formats/samples.rs"]
mod samples;
#[path = "formats/splunk.rs"]
mod splunk;
mod support;

use serde_json::Value;
use tunnelog::config::types::FormatName;

const OCSF: FormatName = FormatName::Ocsf;
const ECS: FormatName = FormatName::Ecs;
const SPLUNK: FormatName = FormatName::Splunk;

#[test]
fn every_sample_has_its_golden_event_in_each_format() {
    for (format, folder) in [(OCSF, "ocsf"), (ECS, "ecs"), (SPLUNK, "splunk")] {
        for (sample, lines) in samples::encoded(format) {
            samples::check_golden(&format!("formats/{folder}/{sample}.jsonl"), &lines);
        }
    }
}

#[test]
fn every_sample_fits_the_published_classes_of_ocsf() {
    published::accepts(&published::ocsf(&samples::all(OCSF)), samples::all(OCSF).len());
}

#[test]
fn every_sample_fits_the_published_fields_of_ecs_and_the_index_templates() {
    published::accepts(&published::ecs(&samples::all(ECS)), samples::all(ECS).len());
}

#[test]
fn every_sample_has_the_fields_of_its_data_model_in_splunk() {
    let events = samples::all(SPLUNK);
    let models = splunk::check(&events);
    assert_eq!(models.keys().collect::<Vec<_>>(), ["Alerts", "Change", "Network_Sessions"], "each model is met");
}

/// A whole day of a fleet, through the program itself, with everything that the options can add.
#[test]
fn a_simulated_day_fits_all_three() {
    let day = day::run();
    assert!(day.ocsf.len() > 2_000, "{} events", day.ocsf.len());
    assert!((day.ocsf.len(), day.ocsf.len()) == (day.ecs.len(), day.splunk.len()));
    published::accepts(&published::ocsf(&day.ocsf), day.ocsf.len());
    published::accepts(&published::ecs(&day.ecs), day.ecs.len());
    splunk::check(&day.splunk);
}

/// The event of a sample after damage: where, and what stands there then (`null`: nothing).
fn damaged(events: &[Value], path: &str, value: Value) -> Value {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let is_whole = |event: &&Value| event.pointer(parent).is_some_and(Value::is_object);
    let mut event = events.iter().find(is_whole).unwrap_or_else(|| panic!("no sample has {parent}")).clone();
    let object = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        drop(object.remove(name).unwrap())
    } else {
        drop(object.insert(name.to_owned(), value))
    }
    event
}

/// Each is refused, and nothing else of it but what was damaged.
fn refuses(events: &[Value], damages: &[(&str, Value)], check: impl Fn(&[Value]) -> Vec<String>) {
    let damaged: Vec<Value> = damages.iter().map(|(path, value)| damaged(events, path, value.clone())).collect();
    let report = check(&damaged);
    for (number, (path, value)) in damages.iter().enumerate() {
        let line = format!("line {}: ", number + 1);
        assert!(report.iter().any(|problem| problem.starts_with(&line)), "{path} = {value} passed: {report:#?}");
    }
}

#[test]
fn the_ocsf_validator_refuses_damaged_events() {
    let damages = [
        ("/class_uid", 9999.into()),
        ("/class_uid", 4002.into()),
        ("/time", "2025-11-08T05:40:29.641Z".into()),
        ("/activity_id", 8.into()),
        ("/severity", "Terrible".into()),
        ("/env", "prod".into()),
        ("/metadata/version", Value::Null),
        ("/metadata/profiles", serde_json::json!([])),
        ("/metadata/vendor", "AWS".into()),
        ("/cloud/provider", Value::Null),
        ("/src_endpoint/ip", "300.1.2.x".into()),
        ("/dst_endpoint/asn", 64512.into()),
        ("/connection_info/direction_id", "Inbound".into()),
        ("/observables", serde_json::json!([{"name": "src_endpoint.ip", "type_id": 2, "value": "192.0.2.1"}])),
        ("/status", "Success!".into()),
    ];
    refuses(&samples::all(OCSF), &damages, published::ocsf);
}

#[test]
fn the_ecs_validator_refuses_damaged_events() {
    let damages = [
        ("/@timestamp", "2025-11-08 05:40:29".into()),
        ("/ecs/version", "8.0.0".into()),
        ("/event/kind", "happening".into()),
        ("/event/type", serde_json::json!(["creation"])),
        ("/event/category", "network".into()),
        ("/event/outcome", Value::Null),
        ("/event/severity", "high".into()),
        ("/source/ip", "169.254.50.86/30".into()),
        ("/source/prefix", "10.0.0.0/8".into()),
        ("/observer/ip", "203.0.113.17".into()),
        ("/aws/vpn/bgp/neighbor", "unknown".into()),
        ("/aws/vpn/bgp/community", "65000:1".into()),
        ("/aws/vpn/bgp/med", serde_json::json!(1.5)),
    ];
    refuses(&samples::all(ECS), &damages, published::ecs);
}

#[test]
#[should_panic(expected = "`action` is `vanished`")]
fn the_check_of_the_data_models_refuses_a_damaged_event() {
    splunk::check(&[damaged(&samples::all(SPLUNK), "/action", "vanished".into())]);
}
