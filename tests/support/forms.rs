//! One simulated hour, and the sample lines, in every form that files may have.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tunnelog::config::types::Simulate;
use tunnelog::source::simulate::{Fleet, SimulatedRecord};

use super::{data, gzip};

/// What the sample lines of IKE belong to.
pub(crate) const IKE_STREAM: &str = "vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log";
pub(crate) const GROUP: &str = "/aws/vendedlogs/vpn";
pub(crate) const OWNER: &str = "123456789012";

/// A small fleet's hour: a few hundred events.
pub(crate) fn small_fleet() -> Simulate {
    Simulate { seed: 3, connections: 4, hours: 1, shards: 2, ..Simulate::default() }
}

pub(crate) fn records(config: &Simulate) -> Vec<SimulatedRecord> {
    Fleet::new(config).unwrap().records().collect()
}

/// Base64 of a record, a line each.
pub(crate) fn base64_lines(records: &[impl AsRef<[u8]>]) -> String {
    records.iter().map(|record| STANDARD.encode(record) + "\n").collect()
}

/// What `aws kinesis get-records` prints.
pub(crate) fn get_records(records: &[impl AsRef<[u8]>]) -> String {
    let entry = |(number, record): (usize, &_)| {
        json!({"SequenceNumber": (number + 1).to_string(), "ApproximateArrivalTimestamp": 1_762_580_401.5,
            "Data": STANDARD.encode::<&[u8]>(AsRef::as_ref(record)), "PartitionKey": "p"})
    };
    let entries: Vec<Value> = records.iter().enumerate().map(entry).collect();
    format!("{:#}\n", json!({"Records": entries, "MillisBehindLatest": 0}))
}

/// The envelopes of tests/data, as JSON.
pub(crate) fn sample_envelopes() -> Vec<Value> {
    let text = std::fs::read_to_string(data("envelopes.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An envelope's events as `aws logs filter-log-events` prints them.
pub(crate) fn filtered(envelope: &Value) -> String {
    let entry = |event: &Value| {
        json!({"logStreamName": envelope["logStream"], "timestamp": event["timestamp"], "message": event["message"],
            "ingestionTime": event["timestamp"], "eventId": event["id"]})
    };
    let events: Vec<Value> = envelope["logEvents"].as_array().unwrap().iter().map(entry).collect();
    format!("{:#}\n", json!({"events": events, "searchedLogStreams": []}))
}

/// Files of every form below `folder`, each with a few records.
pub(crate) fn write_forms(folder: &Path) -> Vec<PathBuf> {
    let fleet = records(&small_fleet());
    let fleet: Vec<Vec<u8>> =
        fleet.iter().filter(|record| record.events > 0).map(|record| record.data.to_vec()).collect();
    let envelopes = std::fs::read(data("envelopes.jsonl")).unwrap();
    let samples = sample_envelopes();
    let ike = std::fs::read(data("ike.jsonl")).unwrap();
    let dated: String = ["one", "two", "one"].map(|line| format!("2025-11-08T05:40:29.641Z {line}\n")).concat();
    let letter = |reason: &str, bytes: &[u8]| {
        format!("{}\n", json!({"schema": "tunnelog.dead-letter/1", "reason": reason, "data": STANDARD.encode(bytes)}))
    };
    let letters = letter("not_json", &gzip("{")) + &letter("mended", &fleet[0]);
    let mixed =
        [base64_lines(&fleet[..2]).into_bytes(), envelopes.clone(), ike.clone(), filtered(&samples[1]).into_bytes()];
    let forms: [(&str, Vec<u8>); 10] = [
        ("records.gz", fleet[..40].concat()),
        ("records.b64", base64_lines(&fleet).into_bytes()),
        ("get-records.json", get_records(&fleet[..30]).into_bytes()),
        ("envelopes.jsonl", envelopes.clone()),
        ("envelopes.jsonl.gz", gzip(&envelopes)),
        ("bare.log", ike),
        ("filter-log-events.json", filtered(&samples[1]).into_bytes()),
        ("dead-letters.ndjson", letters.into_bytes()),
        ("mixed", mixed.concat()),
        ("export", gzip(dated)),
    ];
    forms
        .map(|(name, bytes)| {
            // An export task names the folder after the log stream.
            let path = if name == "export" { folder.join(IKE_STREAM).join("000000.gz") } else { folder.join(name) };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .to_vec()
}
