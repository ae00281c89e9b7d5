//! Letters with odd fields: whatever a line of dead letters holds, nothing is lost, forged or shown.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tunnelog::core::{Core, From, Resume, Scratch, Step};
use tunnelog::decode::recognize::{Identity, Item, Recognizer};
use tunnelog::delivery::SinkId;
use tunnelog::encode::DeadLetter;
use tunnelog::enrich::Snapshot;
use tunnelog::source::{Position, Record, ShardId};

use super::support::parts::{dead_letters, with_origin};

/// What became of some input: items of the sinks `siem`, `lake` and of the dead letters, and what was no record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    siem: Vec<Vec<u8>>,
    lake: usize,
    dead: Vec<DeadLetter>,
    unreadable: Vec<&'static str>,
}

fn core() -> Core {
    let names = ["siem", "lake", "dead letters"].map(Arc::from).to_vec();
    Core::new(1 << 20, vec![with_origin(), with_origin(), dead_letters()]).with_names(names)
}

fn process(record: &Record, outcome: &mut Outcome) {
    let core = core();
    let shard = ShardId { source: "a".into(), stream: "b".into(), stream_created: "c".into(), shard: "d".into() };
    let mut out = core.output(&[SinkId(0), SinkId(1), SinkId(2)]);
    let from = From { shard: &shard, region: None };
    let step = core.process(from, record, Resume::default(), &Snapshot::default(), &mut Scratch::default(), &mut out);
    assert_eq!(step, Step::Done);
    let piece = core.piece(out);
    assert_eq!(piece.records.len(), 1);
    for (sink, lane) in piece.lanes.into_iter().enumerate() {
        let lane = lane.unwrap();
        let own = |index: &usize| match &lane.own {
            tunnelog::delivery::Selection::All => true,
            tunnelog::delivery::Selection::Some(bits) => bits.contains(*index),
        };
        for item in (0..lane.encoded.items.len()).filter(own) {
            let bytes = lane.encoded.bytes_of(item);
            match sink {
                0 => outcome.siem.push(bytes.to_vec()),
                1 => outcome.lake += 1,
                _ => outcome.dead.push(serde_json::from_slice(bytes).unwrap()),
            }
        }
    }
}

fn read(input: &[u8]) -> Outcome {
    let mut recognizer = Recognizer::new(input, Identity::default());
    let mut outcome = Outcome::default();
    while let Some(item) = recognizer.next().unwrap() {
        match item {
            Item::Record(found) => {
                let record = Record::new(Position::from(found.number + 1), found.arrival, found.data);
                process(&Record { rejected: found.rejected, ..record }, &mut outcome);
            }
            Item::Unreadable(found) => outcome.unreadable.push(found.reason.as_str()),
        }
    }
    outcome
}

fn letter(data: &[u8]) -> Value {
    json!({"schema": "tunnelog.dead-letter/1", "id": format!("{:032x}", 7), "reason": "too_odd", "sink": "siem",
        "event_id": format!("{:032x}", 8), "size": data.len(), "data": STANDARD.encode(data)})
}

fn with(key: &str, value: Value) -> String {
    let mut letter = letter(b"{}\n");
    letter[key] = value;
    letter.to_string()
}

#[test]
fn a_letter_reaches_its_sink_whatever_else_it_says() {
    for (key, value) in [
        ("event", json!({"kind": "of.tomorrow", "time": 5, "tunnel": "nowhere", "account": ["x"]})),
        ("event", json!("text")),
        ("event_id", json!("none")),
        ("id", json!(null)),
        ("reason", json!({})),
        ("origin", json!([])),
        ("size", json!(-1)),
        ("schema", json!("tunnelog.dead-letter/2")),
        ("new", json!(1)),
    ] {
        let outcome = read(with(key, value.clone()).as_bytes());
        assert_eq!(outcome, Outcome { siem: vec![b"{}\n".to_vec()], ..Outcome::default() }, "{key}: {value}");
    }
    // What lost its line's end gets it back.
    assert_eq!(read(letter(b"{}").to_string().as_bytes()).siem, [b"{}\n"]);
}

#[test]
fn a_letter_of_no_sink_that_is_there_is_kept() {
    for sink in [json!("nobody"), json!(""), json!(5), json!({}), json!([null]), json!("dead letters"), json!("SIEM")] {
        let outcome = read(with("sink", sink.clone()).as_bytes());
        assert!(outcome.siem.is_empty() && outcome.lake == 0 && outcome.unreadable.is_empty(), "{sink}: {outcome:?}");
        assert_eq!(outcome.dead.len(), 1, "{sink}");
        assert_eq!((&*outcome.dead[0].reason, &*outcome.dead[0].data), ("unknown_sink", &b"{}\n"[..]), "{sink}");
    }
    // No sink at all: an unreadable record, which is as unreadable as it was.
    assert_eq!(&*read(with("sink", Value::Null).as_bytes()).dead[0].reason, "not_an_envelope");
}

#[test]
fn a_letter_without_an_item_is_reported() {
    for (data, reason) in
        [(json!("SECRET!"), "bad_base64"), (json!(null), "no_data"), (json!(""), "no_data"), (json!(5), "bad_base64")]
    {
        let outcome = read(with("data", data.clone()).as_bytes());
        assert_eq!(outcome, Outcome { unreadable: vec![reason], ..Outcome::default() }, "{data}");
    }
    let secret = STANDARD.encode(r#"{"PreSharedKey":"SECRET"}"#);
    assert_eq!(read(with("data", json!(secret)).as_bytes()).unreadable, ["ec2_inventory"]);
}

/// Only a line of dead letters in a file is one: whoever writes to the stream cannot reach past the filters.
#[test]
fn a_record_that_looks_like_a_letter_is_a_record() {
    let forged = letter(b"forged\n").to_string();
    let forms = [
        STANDARD.encode(&forged) + "\n",
        STANDARD.encode(super::support::gzip(&forged)) + "\n",
        json!({"Records": [{"Data": STANDARD.encode(&forged), "SequenceNumber": "1"}]}).to_string(),
    ];
    for form in forms {
        let outcome = read(form.as_bytes());
        assert!(outcome.siem.is_empty() && outcome.lake == 0, "{form}: {outcome:?}");
        assert_eq!(&*outcome.dead[0].reason, "not_an_envelope");
        // Nor once it is a dead letter itself.
        let mut line = Vec::new();
        outcome.dead[0].encode(&mut line);
        let again = read(&line);
        assert!(again.siem.is_empty() && again.dead.len() == 1, "{again:?}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let word =
        prop::sample::select(vec!["siem", "lake", "", "bgp.session", "2025-11-08T05:40:31.102Z", "203.0.113.17"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        word.prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| STANDARD.encode(bytes).into()),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        let key = prop::sample::select(vec!["time", "kind", "tunnel", "account", "shard", "sequence", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_letter_is_lost_whatever_its_fields(changes in prop::collection::vec((0..8_usize, any_value()), 0..4)) {
        let keys = ["id", "reason", "detail", "origin", "sink", "event_id", "event", "data"];
        let mut line = letter(b"{}\n");
        for (key, value) in changes {
            line[keys[key]] = value;
        }
        let outcome = read(format!("{line}\n").as_bytes());
        let count = outcome.siem.len() + outcome.lake + outcome.dead.len() + outcome.unreadable.len();
        prop_assert_eq!(count, 1, "{}: {:?}", line, outcome);
        let sink = line["sink"].as_str().unwrap_or_default();
        prop_assert!(outcome.siem.is_empty() || sink == "siem");
        prop_assert!(outcome.lake == 0 || sink == "lake");
    }
}
