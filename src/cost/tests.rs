//! The estimate by hand, and its constants against a simulated fleet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::io::Write as _;

use super::*;
use crate::config::types::Simulate;
use crate::core::{Core, From, Resume, Scratch, SinkPlan};
use crate::delivery::SinkId;
use crate::encode::{Format as Encoding, JsonFormat};
use crate::source::simulate::Fleet;
use crate::source::{Record, ShardId};

/// A pipeline file's text, as far as it is looked at.
fn pipeline(json: &str) -> Pipeline {
    serde_json::from_str(json).unwrap()
}

#[track_caller]
fn check(json: &str, traffic: Traffic, expect: &[(&str, f64)]) {
    let estimate = estimate(&pipeline(json), traffic, &Prices::default());
    let found: Vec<(&str, f64)> = estimate.lines.iter().map(|line| (line.what.as_str(), line.usd)).collect();
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for ((what, usd), (part, wanted)) in found.iter().zip(expect) {
        assert!(what.contains(part) && (usd - wanted).abs() < 0.0005, "{what}: {usd} in place of {part}: {wanted}");
    }
    assert!((estimate.usd() - expect.iter().map(|(_, usd)| usd).sum::<f64>()).abs() < 0.005);
}

const KINESIS: &str = r#"{"kinesis": {"stream": "vpn-logs"}}"#;

#[test]
fn each_service_has_a_line_of_its_own() {
    let json = format!(
        r#"{{"sources": {{"main": {KINESIS}}}, "sinks": {{"lake": {{"s3": {{"bucket": "lake"}}}}}},
            "checkpoint": {{"dynamodb": {{"table": "t"}}}}}}"#
    );
    // By hand: 0.2813 GB × $0.50; 24 h × $0.015; 416,667 units; 288 objects × 3; 0.105 GB × $0.023; 86,400 commits × 4.
    let expect = [
        ("CloudWatch", 0.1406),
        ("1 shard(s)", 0.36),
        ("PUT payload", 0.0058),
        ("288 object(s)", 0.0043),
        ("storage", 0.0024),
        ("DynamoDB", 0.216),
    ];
    check(&json, Traffic::default(), &expect);
}

/// What is there whatever the traffic costs each event less, the more there are.
#[test]
fn ten_times_the_traffic_makes_an_event_cheaper() {
    let json = format!(r#"{{"sources": {{"main": {KINESIS}}}, "sinks": {{"out": {{"console": {{}}}}}}}}"#);
    let of = |events_a_day| estimate(&pipeline(&json), Traffic { events_a_day, shards: 1.0 }, &Prices::default()).usd();
    assert!(of(1e7) < of(1e6) && of(1e6) < of(1e5));
}

#[test]
fn firehose_costs_by_how_its_records_are_packed() {
    let with = |options: &str| {
        let json = format!(
            r#"{{"sources": {{"main": {{"simulate": {{}}}}}}, "sinks": {{"lake": {{"firehose": {{"stream": "s"{options}}}}}}}}}"#
        );
        estimate(&pipeline(&json), Traffic::default(), &Prices::default()).lines[0].clone()
    };
    let single = with(r#", "pack": "never""#);
    // A million records of 5 KiB are 4.768 GB.
    assert!((single.usd - 4.768 * 0.029).abs() < 0.0005, "{single:?}");
    let (packed, compressed) = (with(""), with(r#", "compression": "gzip""#));
    assert!(packed.usd * 3.0 < single.usd && packed.usd * 4.0 > single.usd, "{packed:?}");
    assert!(compressed.usd * 8.0 < single.usd, "{compressed:?}");
}

#[test]
fn what_is_free_or_unknown_costs_nothing_and_is_named() {
    let quick = r#"{"sources": {"main": {"simulate": {}}}, "sinks": {"out": {"file": {"path": "x"}}}}"#;
    assert_eq!(estimate(&pipeline(quick), Traffic::default(), &Prices::default()), Estimate::default());
    let siem = r#"{"sources": {"main": {"simulate": {}}},
        "sinks": {"siem": {"kafka": {"brokers": ["b:9092"], "topic": "vpn"}}}}"#;
    let found = estimate(&pipeline(siem), Traffic::default(), &Prices::default());
    assert_eq!(found.missing, ["siem: Kafka; MSK bills brokers by the hour"]);
}

#[test]
fn prices_can_be_overruled_one_by_one() {
    let prices = Prices::parse(br#"{"firehose_gb": 0.036}"#).unwrap();
    assert_eq!(prices, Prices { firehose_gb: 0.036, ..Prices::default() });
    let wrong = Prices::parse(br#"{"firehose": 1}"#).unwrap_err();
    assert!(wrong.contains("`firehose_gb`"), "{wrong}");
    assert!(Prices::parse(br#"{"s3_gb_month": -1}"#).unwrap_err().contains("negative"));
}

/// About what a fleet's morning has; a day has fewer lines a record.
#[test]
fn the_constants_are_those_of_a_simulated_fleet() {
    let fleet = Fleet::new(&Simulate { connections: 25, hours: 6, ..Simulate::default() }).unwrap();
    let plan = SinkPlan { format: Encoding::Json(JsonFormat::new(&Default::default())), filter: Default::default() };
    let (core, snapshot, mut scratch) = (Core::new(64 << 20, vec![plan]), fleet.snapshot(), Scratch::default());
    let shard = ShardId { source: "main".into(), stream: "vpn".into(), stream_created: "".into(), shard: "0".into() };
    let (mut records, mut record_bytes, mut lines, mut line_bytes) = (0.0, 0.0, 0.0, 0.0);
    let mut json = Vec::new();
    for record in fleet.records() {
        let plain = std::io::read_to_string(flate2::read::MultiGzDecoder::new(&record.data[..])).unwrap();
        let envelope: serde_json::Value = serde_json::from_str(&plain).unwrap();
        if envelope["messageType"] != "DATA_MESSAGE" {
            continue;
        }
        let messages =
            envelope["logEvents"].as_array().unwrap().iter().map(|event| event["message"].as_str().unwrap().len());
        (lines, line_bytes) =
            messages.fold((lines, line_bytes), |(count, bytes), one| (count + 1.0, bytes + one as f64));
        (records, record_bytes) = (records + 1.0, record_bytes + record.data.len() as f64);
        let record = Record::new(record.position, Some(record.arrival), record.data);
        let mut out = core.output(&[SinkId(0)]);
        let from = From { shard: &shard, region: None };
        core.process(from, &record, Resume::default(), &snapshot, &mut scratch, &mut out);
        json.extend(core.piece(out).lanes.iter().flatten().flat_map(|lane| lane.encoded.bytes.clone()));
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    json.chunks(FIREHOSE_RECORD as usize).for_each(|chunk| gzip.write_all(chunk).unwrap());
    let found = [
        ("bytes of a line", line_bytes / lines, LINE_BYTES),
        ("lines of a record", lines / records, LINES_A_RECORD),
        ("bytes of a record", record_bytes / records, RECORD_BYTES),
        ("bytes of an event", json.len() as f64 / lines, EVENT_BYTES),
        ("times that gzip saves", json.len() as f64 / gzip.finish().unwrap().len() as f64, GZIP),
    ];
    for (what, found, constant) in found {
        assert!((found / constant - 1.0).abs() < 0.15, "{what}: {found:.1}, and the estimate has {constant}");
    }
}
