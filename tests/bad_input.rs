//! What bad input gets, through the real program into files: a dead letter or an `unparsed` event with the
//! original kept, a metric and one log line; its neighbours are delivered.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::program::{Running, get, run, status_address, wait_until};
use support::{events_in, forms, gzip, text};

const STREAM: &str = "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log";

/// 1 MiB is the smallest limit of a record, so a bomb need not be large.
const PIPELINE: &str = "\
sources:
  files: { replay: { inputs: [input.json] } }
sinks:
  events: { file: { path: out/events.ndjson } }
limits: { record: 16MiB }
checkpoint: { interval: 100ms }
";

/// Keeps the program running, with a status page, until it is stopped.
const SLOWLY: &str = "  slow: { simulate: { connections: 1, hours: 24, rate: 1 } }\n";

fn envelope(events: &Value) -> Value {
    json!({"messageType": "DATA_MESSAGE", "owner": "123456789012", "logGroup": "/aws/vendedlogs/vpn",
        "logStream": STREAM, "subscriptionFilters": ["f"], "logEvents": events})
}

fn event(id: &str, message: &str) -> Value {
    json!({"id": id, "timestamp": 1_762_580_400_000_u64, "message": message})
}

fn good(id: &str) -> Vec<u8> {
    let line = "{\"type\": \"BGPStatus\", \"status\": \"UP\", \"message\": {\"details\": \"BGP session established\"}}";
    gzip(envelope(&json!([event(id, line)])).to_string())
}

/// Records that no one can read: name, bytes, the reason in the dead letter.
fn unreadable() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = good("1");
    let mut wrong_sum = whole.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 0xff;
    let in_utf8 = envelope(&json!([event("1", "MARK")])).to_string();
    let (before, after) = in_utf8.split_once("MARK").unwrap();
    let broken_utf8 = [before.as_bytes(), b"\xff\xfe", after.as_bytes()].concat();
    vec![
        ("not gzip", b"\x00\x01 is this a record?".to_vec(), "not_gzip"),
        ("truncated gzip", whole[..whole.len() * 2 / 3].to_vec(), "gzip_truncated"),
        ("damaged gzip", wrong_sum, "gzip_corrupt"),
        ("a bomb", gzip(vec![b' '; 17 << 20]), "too_large"),
        ("not JSON", gzip("this is no JSON"), "not_json"),
        ("wrong envelope", gzip("{\"greeting\": \"hello\"}"), "not_an_envelope"),
        ("unknown type", gzip("{\"messageType\": \"NEWS\", \"logEvents\": []}"), "unknown_message_type"),
        ("empty batch", gzip(envelope(&json!([])).to_string()), "empty_batch"),
        ("aggregated by the KPL", [&b"\xf3\x89\x9a\xc2"[..], &whole].concat(), "kpl_aggregated"),
        ("invalid UTF-8", gzip(broken_utf8), "invalid_utf8"),
    ]
}

/// Lines that are no known event, each in a record of its own: name, message, what is done with its time.
fn odd_lines() -> Vec<(&'static str, String)> {
    vec![
        ("no known type", "{\"type\": \"SomethingNew\", \"details\": 7}".into()),
        ("no JSON", "%VPN-6-NEW: a message of tomorrow".into()),
        ("a megabyte", "x".repeat(1_000_000)),
        ("control characters", "a\u{0}b\u{1b}[31mc\u{7f}".into()),
        ("empty", String::new()),
    ]
}

/// Runs a pipeline over these records, a good one between any two, until it ends by itself.
fn deliver(folder: &Path, records: &[Vec<u8>]) -> support::program::Done {
    write_input(folder, records);
    std::fs::write(folder.join("p.yaml"), PIPELINE).unwrap();
    run(folder, &["run", "p.yaml"]).expect(0)
}

fn write_input(folder: &Path, records: &[Vec<u8>]) {
    let neighbour = |index: usize| good(&format!("neighbour {index}"));
    let all: Vec<Vec<u8>> =
        records.iter().enumerate().flat_map(|(index, record)| [neighbour(index), record.clone()]).collect();
    let all = [all, vec![good("last")]].concat();
    std::fs::write(folder.join("input.json"), forms::get_records(&all)).unwrap();
}

fn established(events: &[Value]) -> usize {
    events.iter().filter(|event| event["kind"] == "bgp.session").count()
}

fn original(letter: &Value) -> Vec<u8> {
    STANDARD.decode(text(letter, "/data")).unwrap()
}

#[test]
fn what_cannot_be_read_becomes_a_dead_letter_with_its_bytes_and_its_neighbours_are_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let cases = unreadable();
    let records: Vec<Vec<u8>> = cases.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    let done = deliver(folder.path(), &records);
    let letters = events_in(&folder.path().join("state/p.dead-letters.ndjson"));
    assert_eq!(letters.len(), cases.len());
    for ((name, bytes, reason), letter) in cases.iter().zip(&letters) {
        assert_eq!(text(letter, "/reason"), *reason, "{name}");
        assert!(original(letter) == *bytes, "{name}: the bytes have changed");
        assert!(!text(letter, "/detail").is_empty() && letter["origin"]["sequence"].is_string(), "{name}");
    }
    let events = events_in(&folder.path().join("out/events.ndjson"));
    assert_eq!((events.len(), established(&events)), (cases.len() + 1, cases.len() + 1));
    let table = done.err();
    assert!(cases.iter().all(|(_, _, reason)| table.contains(&format!("1 {reason}"))), "{table}");
}

#[test]
fn replayed_and_decoded_dead_letters_give_the_original_bytes_back() {
    let folder = tempfile::tempdir().unwrap();
    let cases = unreadable();
    let records: Vec<Vec<u8>> = cases.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    deliver(folder.path(), &records);
    let letters = folder.path().join("state/p.dead-letters.ndjson");
    run(folder.path(), &["replay", "p.yaml", letters.to_str().unwrap()]).expect(0);
    let again = events_in(&folder.path().join("state/p.dead-letters.replay.ndjson"));
    assert_eq!(again.len(), cases.len());
    for ((name, bytes, reason), letter) in cases.iter().zip(&again) {
        assert!(original(letter) == *bytes && text(letter, "/reason") == *reason, "{name}");
    }
    let done = run(folder.path(), &["decode", letters.to_str().unwrap()]).expect(1);
    for (name, _, reason) in &cases {
        // `decode` has a limit of 64 MiB, so the bomb is no bomb there.
        assert!(*name == "a bomb" || done.err().contains(&format!(": {reason}: ")), "{name}: {}", done.err());
    }
    assert!(done.stdout.is_empty());
}

#[test]
fn a_dead_letter_whose_cause_is_mended_is_delivered_by_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    // Too large for this pipeline, and not for one with another limit.
    let long = "y".repeat(17 << 20);
    deliver(folder.path(), &[gzip(envelope(&json!([event("1", &long)])).to_string())]);
    assert_eq!(events_in(&folder.path().join("state/p.dead-letters.ndjson")).len(), 1);
    std::fs::write(folder.path().join("p.yaml"), PIPELINE.replace("16MiB", "64MiB")).unwrap();
    run(folder.path(), &["replay", "p.yaml", "state/p.dead-letters.ndjson"]).expect(0);
    let events = events_in(&folder.path().join("out/events.ndjson"));
    assert_eq!(events.len(), 3);
    assert!(text(&events[2], "/raw") == long, "the line is kept");
}

#[test]
fn lines_of_no_known_form_are_events_that_keep_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let cases = odd_lines();
    let record = |(name, line): &(&str, String)| gzip(envelope(&json!([event(name, line)])).to_string());
    let records: Vec<Vec<u8>> = cases.iter().map(record).collect();
    deliver(folder.path(), &records);
    let events = events_in(&folder.path().join("out/events.ndjson"));
    assert_eq!(established(&events), cases.len() + 1);
    let unparsed: Vec<&Value> = events.iter().filter(|event| event["kind"] == "unparsed").collect();
    assert_eq!(unparsed.len(), cases.len());
    for ((name, line), event) in cases.iter().zip(unparsed) {
        assert!(text(event, "/raw") == line, "{name}: the line has changed");
        assert_eq!(text(event, "/time"), "2025-11-08T05:40:00.000Z", "{name}");
        assert_eq!(text(event, "/vpn/connection_id"), "vpn-0a1b2c3d4e5f60718", "{name}: what is known stays");
    }
    assert_eq!(events_in(&folder.path().join("state/p.dead-letters.ndjson")).len(), 0);
}

/// Packed, and plain behind a packed one: such a record is read in several pieces.
#[test]
fn a_record_of_ten_mebibytes_is_delivered_whole() {
    let folder = tempfile::tempdir().unwrap();
    let line = "z".repeat(100_000);
    let record = |name: &str| {
        let lines: Vec<Value> = (0..110).map(|number| event(&format!("{name} {number}"), &line)).collect();
        envelope(&Value::Array(lines)).to_string().into_bytes()
    };
    let (plain, packed) = (record("plain"), record("packed"));
    assert!(plain.len() > 10 << 20);
    deliver(folder.path(), &[plain, gzip(packed)]);
    let events = events_in(&folder.path().join("out/events.ndjson"));
    let ids: std::collections::BTreeSet<&str> = support::ids(&events).into_iter().collect();
    assert_eq!((events.len(), ids.len()), (223, 223));
}

#[test]
fn absurd_times_and_streams_without_ids_are_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let line = |time: &str| {
        format!("{{\"type\": \"BGPStatus\", \"event_timestamp\": {time}, \"message\": {{\"details\": \"x\"}}}}")
    };
    let times = ["-1", "0", "99999999999999999999", "1e400", "\"tomorrow\"", "null", "253402300800000"];
    let events: Vec<Value> = times.iter().map(|time| event(time, &line(time))).collect();
    let mut of_nowhere = envelope(&json!([event("1", "{\"details\": \"who am I\"}")]));
    of_nowhere["logStream"] = json!("some-stream-of-yours");
    let mut absurd = envelope(&json!([event("2", "x")]));
    absurd["logEvents"][0]["timestamp"] = json!(9_999_999_999_999_999_u64);
    let records: Vec<Vec<u8>> =
        [envelope(&Value::Array(events)), of_nowhere, absurd].iter().map(|record| gzip(record.to_string())).collect();
    deliver(folder.path(), &records);
    let events = events_in(&folder.path().join("out/events.ndjson"));
    assert_eq!(events.len(), times.len() + 2 + 4);
    for event in &events {
        let year: u32 = text(event, "/time")[..4].parse().unwrap();
        assert!((2000..2100).contains(&year), "{event}");
    }
    let nowhere = events.iter().find(|event| text(event, "/log/stream_name") == "some-stream-of-yours").unwrap();
    assert!(nowhere.get("vpn").is_none(), "{nowhere}");
    assert_eq!(events_in(&folder.path().join("state/p.dead-letters.ndjson")).len(), 0);
}

#[test]
fn every_bad_record_is_counted_and_its_reason_logged_once() {
    const TIMES: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let cases = unreadable();
    let small = cases.iter().filter(|(name, ..)| *name != "a bomb");
    let mut records: Vec<Vec<u8>> =
        small.clone().flat_map(|(_, bytes, _)| std::iter::repeat_n(bytes.clone(), TIMES)).collect();
    records.push(gzip(envelope(&json!([event("odd", "a message of tomorrow")])).to_string()));
    write_input(folder.path(), &records);
    let pipeline = PIPELINE.replace("sinks:", &format!("{SLOWLY}sinks:")) + "status: { listen: 127.0.0.1:0 }\n";
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    let mut program = Running::start(folder.path(), &["run", "p.yaml"]);
    let page = status_address(&folder.path().join("stderr"));
    let counted = |metrics: &str| -> BTreeMap<String, String> {
        let samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        samples.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    let delivered = format!(
        "tunnelog_sink_items_total{{sink=\"dead letters\",outcome=\"delivered\"}} {}",
        TIMES * (cases.len() - 1)
    );
    wait_until("all letters are delivered", || get(&page, "/metrics").contains(&delivered));
    let metrics = counted(&get(&page, "/metrics"));
    for (name, _, reason) in small.clone() {
        let sample = format!("tunnelog_unreadable_records_total{{source=\"files\",reason=\"{reason}\"}}");
        assert_eq!(metrics.get(&sample), Some(&TIMES.to_string()), "{name}: {metrics:#?}");
    }
    assert_eq!(metrics.get("tunnelog_events_unparsed_total"), Some(&"1".to_owned()), "{metrics:#?}");
    assert_eq!(program.terminate().code(), Some(0));

    let log = std::fs::read_to_string(folder.path().join("stderr")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for (name, _, reason) in small {
        let own: Vec<&Value> = lines.iter().filter(|line| line["reason"] == **reason).collect();
        let accounted: u64 = own.iter().map(|line| line["suppressed"].as_u64().unwrap()).sum();
        // One when it begins, and the rest as numbers: later, or at the end.
        assert_eq!(own.iter().filter(|line| line["detail"].is_string()).count(), 1, "{name}: {log}");
        assert_eq!(accounted, TIMES as u64 - 1, "{name}: {log}");
    }
}

#[test]
fn a_file_of_noise_does_not_flood_the_log() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input.json"), b"\xff\xff noise\n".repeat(5000)).unwrap();
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    let done = run(folder.path(), &["run", "p.yaml"]).expect(0);
    let log = done.err();
    assert!(log.lines().count() < 40, "{} lines", log.lines().count());
    assert_eq!(events_in(&folder.path().join("state/p.dead-letters.ndjson")).len(), 5000);
}
