//! What each fuzz target does with an input, and what must hold then, beside that nothing panics.
//!
//! Run by libFuzzer (`fuzz_targets/`, `make fuzz`) and by `tests/fuzz_corpus.rs` over the kept inputs and their
//! mutations.
#![allow(dead_code, reason = "each fuzz program runs one of the targets")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a target may panic: that is a finding")]

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tunnelog::config::types::{FormatName, JsonOptions, RawOption};
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan, Step};
use tunnelog::decode::recognize::{Identity, Item, Reason, Recognizer};
use tunnelog::decode::{LogEvent, LogStream};
use tunnelog::delivery::SinkId;
use tunnelog::encode::{DeadLetter, Format, JsonFormat, TimelineFormat};
use tunnelog::enrich::{Answers, Overlay, Snapshot, join};
use tunnelog::event::{EventId, Kind, Millis};
use tunnelog::normalize::stream::StreamIdentity;
use tunnelog::normalize::{id, normalize};
use tunnelog::route::Filter;
use tunnelog::source::{Position, Record, ShardId};

#[path = "twins.rs"]
mod twins;

/// The module that reads EC2's answers is the crate's own business; it needs nothing else of the crate.
#[path = "../../src/enrich/ec2/xml.rs"]
mod xml_reader;

/// Small, so that the limits are met now and then.
const MAX_RECORD_BYTES: usize = 16 << 10;
/// The core cuts pieces at 4 MiB and one event; an event is a line, names and escapes: a few times its record.
const MAX_OUTPUT_BYTES: usize = (4 << 20) + 16 * MAX_RECORD_BYTES;
/// The sinks of [`core`], in their order.
const SINKS: [&str; 3] = ["full", "lean", "dead"];

/// Takes any bytes, and panics where something does not hold.
pub(crate) type Target = fn(&[u8]);

/// The targets by name.
pub(crate) const TARGETS: [(&str, Target); 6] =
    [("record", record), ("bgp", bgp), ("ike", ike), ("text", text), ("letters", letters), ("xml", xml)];

fn core() -> Core {
    let full = JsonOptions { raw: RawOption::Always, origin: true, ..JsonOptions::default() };
    let formats = [
        Format::Json(JsonFormat::new(&full)),
        Format::Json(JsonFormat::new(&JsonOptions::default())),
        Format::DeadLetter,
    ];
    let plan = |format| SinkPlan { format, filter: Filter::default() };
    Core::new(MAX_RECORD_BYTES, formats.map(plan).into()).with_names(SINKS.map(Arc::from).into())
}

/// What a record comes to, by sink: ids and bytes.
fn processed(record: &Record) -> [Vec<(EventId, Vec<u8>)>; 3] {
    let (core, snapshot, mut scratch) =
        (core(), Snapshot { configured: true, ..Snapshot::default() }, Scratch::default());
    let [source, stream, stream_created, shard] = ["main", "s", "0", "shard"].map(Arc::from);
    let shard = ShardId { source, stream, stream_created, shard };
    let from = From { shard: &shard, region: Some("eu-west-1") };
    let (mut all, mut resume) = ([const { Vec::new() }; 3], Resume::default());
    // An event has at least two bytes of its record.
    for _ in 0..MAX_RECORD_BYTES {
        let mut out = core.output(&[SinkId(0), SinkId(1), SinkId(2)]);
        let step = core.process(from, record, resume, &snapshot, &mut scratch, &mut out);
        assert!(out.bytes() <= MAX_OUTPUT_BYTES, "{} bytes", out.bytes());
        for (sink, lane) in core.piece(out).lanes.into_iter().enumerate() {
            let encoded = lane.unwrap().encoded;
            let items = encoded.items.iter().enumerate();
            all[sink].extend(items.map(|(index, item)| (item.id, encoded.bytes_of(index).to_vec())));
        }
        match step {
            Step::Done => return all,
            Step::More(next) => resume = next,
        }
    }
    panic!("the record does not end");
}

/// One JSON object on one line, with this id.
fn event(bytes: &[u8], id: EventId) -> Value {
    let line = bytes.strip_suffix(b"\n").expect("an item ends its line");
    assert!(!line.contains(&b'\n'));
    let event: Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!(event["id"], id.to_string());
    assert!(Kind::ALL.iter().any(|kind| serde_json::to_value(kind).unwrap() == event["kind"]));
    assert!(event["summary"].as_str().unwrap().chars().all(|character| !character.is_control()));
    event
}

/// What a letter is read back as.
fn reread(letter: &[u8]) -> Vec<Item> {
    let mut recognizer = Recognizer::new(letter, Identity::default());
    std::iter::from_fn(|| recognizer.next().unwrap()).collect()
}

/// A record of the stream, as it is and packed: gzip and envelope.
pub(crate) fn record(data: &[u8]) {
    one_record(data);
    if data.len() <= MAX_RECORD_BYTES {
        twins::record(data, &Snapshot::default());
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    packed.write_all(data).unwrap();
    one_record(&packed.finish().unwrap());
}

fn one_record(data: &[u8]) {
    let record = Record::new(Position::from(1), None, Bytes::copy_from_slice(data));
    let [full, lean, dead] = processed(&record);
    assert_eq!([&full, &lean, &dead], processed(&record).each_ref(), "the same, read again");
    let ids = |items: &[(EventId, Vec<u8>)]| items.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(ids(&full), ids(&lean));
    for (id, bytes) in full.iter().chain(&lean) {
        event(bytes, *id);
    }
    assert!(dead.is_empty() || (full.is_empty() && dead.len() == 1), "an event or a dead letter, never both");
    for (id, bytes) in &dead {
        let letter: DeadLetter = serde_json::from_slice(bytes).unwrap();
        assert_eq!((letter.id, &letter.data[..], letter.size), (*id, data, data.len() as u64));
        match &reread(bytes)[..] {
            [Item::Record(found)] => assert_eq!(found.data, data, "it comes back as it was"),
            // What looks like an answer of EC2, with its secrets, is refused unseen; what is packed cannot.
            [Item::Unreadable(found)] if found.reason == Reason::Ec2Inventory => {
                assert!(!data.starts_with(&[0x1f, 0x8b]) && !data.starts_with(&[0xf3, 0x89, 0x9a, 0xc2]));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A BGP line of a tunnel.
pub(crate) fn bgp(data: &[u8]) {
    line("vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log", &String::from_utf8_lossy(data));
}

/// A tunnel activity line, whose identity is in its stream's name alone.
pub(crate) fn ike(data: &[u8]) {
    line("vpn-0a1b2c3d4e5f60718_2001-db8--17-IKE.log", &String::from_utf8_lossy(data));
}

/// Any line of any stream: the input's first line is the stream's name.
pub(crate) fn text(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (stream, message) = input.split_once('\n').unwrap_or(("", &input));
    line(stream, message);
}

fn line(stream: &str, message: &str) {
    let log = LogEvent { timestamp: Some(Millis(1_762_580_400_000)), message: message.into(), ..LogEvent::default() };
    let stream = LogStream { owner: "123456789012".into(), group: "/aws/vendedlogs/vpn".into(), stream: stream.into() };
    let id = id::of_log(&stream, &log);
    let (mut buffer, mut before) = (vec![1, 2, 3], LogEvent { id: "1".into(), ..log.clone() });
    let mut namer = id::Namer::new(&stream, &mut buffer);
    for _ in 0..2 {
        namer.of_log(&before);
        assert_eq!(id, namer.of_log(&log), "whatever the buffer held");
        before.id = "".into();
    }
    let next = LogEvent { occurrence: 1, ..log.clone() };
    assert_ne!(id, id::of_log(&stream, &next), "two equal lines are two events");
    let (identity, mut summary) = (StreamIdentity::parse(&stream.stream), String::new());
    let found = normalize(&log, &stream, &identity, None, id, &mut summary);
    let encode = |raw: RawOption| {
        let mut bytes = Vec::new();
        JsonFormat::new(&JsonOptions { raw, ..JsonOptions::default() }).encode(&found, &mut bytes);
        bytes
    };
    let bytes = encode(RawOption::Always);
    // A text is in `raw`, in the summary (cut), and in one or two fields; escapes make a byte six.
    let bound = 24 * message.len() + 8 * stream.stream.len() + 4096;
    assert!(bytes.len() <= bound, "{} bytes of {}", bytes.len(), message.len());
    assert_eq!(event(&bytes, id)["raw"], message, "the line is kept");
    twins::line(message);
    let lean = event(&encode(RawOption::Problems), id);
    let is_odd = lean["kind"] == "unparsed" || lean["action"] == "other" || !lean["problems"].is_null();
    assert_eq!(lean["raw"].is_string(), is_odd, "what is not understood is kept as it is");
    for (name, pointer) in
        [(FormatName::Ocsf, "/metadata/uid"), (FormatName::Ecs, "/event/id"), (FormatName::Splunk, "/id")]
    {
        let mut bytes = Vec::new();
        Format::resolve(None, name, false).encode(&found, &mut bytes);
        let line = bytes.strip_suffix(b"\n").expect("an item ends its line");
        let value: Value = serde_json::from_slice(line).expect("JSON");
        assert_eq!(value.pointer(pointer), Some(&id.to_string().into()), "{name:?}");
        assert!(!line.contains(&b'\n'), "{name:?} is one line");
    }
    let mut shown = Vec::new();
    TimelineFormat { colour: false, date: true, grouped: false }.encode(&found, &mut shown);
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.chars().all(|character| character == '\n' || !character.is_control()), "{shown:?}");
}

/// A file for `replay` or `decode`: dead letters above all.
pub(crate) fn letters(data: &[u8]) {
    let mut recognizer = Recognizer::with_cap(data, Identity::default(), MAX_RECORD_BYTES);
    let mut number = 0;
    while let Some(item) = recognizer.next().unwrap() {
        match item {
            Item::Record(found) => {
                assert_eq!(found.number, number);
                assert!(found.data.len() <= data.len() + 8 * MAX_RECORD_BYTES, "{} bytes", found.data.len());
                let mut record = Record::new(Position::from(1), found.arrival, found.data.clone());
                record.rejected = found.rejected;
                replayed(&record);
            }
            Item::Unreadable(found) => {
                assert_eq!(found.number, number);
                assert!(
                    found.bytes.is_none_or(|bytes| bytes.len() <= data.len() + MAX_RECORD_BYTES),
                    "unpacked at most"
                );
            }
        }
        number += 1;
        assert!(number <= data.len() as u64 + 1, "it must come to an end");
    }
}

/// A record, or a rejected item that goes back to its sink as it is.
fn replayed(record: &Record) {
    let [full, lean, dead] = processed(record);
    let Some(letter) = &record.rejected else { return };
    assert_eq!(letter.data, record.data);
    let mut line = Vec::new();
    letter.encode(&mut line);
    match &reread(&line)[..] {
        [Item::Record(found)] => assert_eq!(found.rejected.as_deref(), Some(&**letter), "written and read again"),
        other => panic!("{other:?}"),
    }
    let sink = SINKS.iter().position(|name| letter.sink.as_deref() == Some(*name)).filter(|sink| *sink < 2);
    let given = [full, lean, dead];
    for (index, items) in given.iter().enumerate() {
        assert_eq!(items.len(), usize::from(index == sink.unwrap_or(2)), "its sink, else the dead letters");
    }
    let (_, bytes) = &given[sink.unwrap_or(2)][0];
    match sink {
        Some(_) => assert_eq!(
            bytes.strip_suffix(b"\n").unwrap_or(bytes),
            letter.data.strip_suffix(b"\n").unwrap_or(&letter.data)
        ),
        None => assert_eq!(serde_json::from_slice::<DeadLetter>(bytes).unwrap().data, letter.data),
    }
}

/// Stands where AWS has secrets.
const SECRET: &str = "NEVER-SHOW-THIS";

/// An answer of EC2's, and what is made of it.
pub(crate) fn xml(data: &[u8]) {
    let forms = [
        &xml_reader::VPN_CONNECTIONS,
        &xml_reader::CUSTOMER_GATEWAYS,
        &xml_reader::VPN_GATEWAYS,
        &xml_reader::TRANSIT_GATEWAYS,
    ];
    let marked = with_secrets(data);
    let _ = xml_reader::error(&marked);
    for form in forms {
        let mut json = format!("{{\"{}\":[", form.list);
        let read = xml_reader::read(form, &marked, &mut json);
        let seen = match &read {
            Ok(token) => format!("{json}{token:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!seen.contains(SECRET), "{seen}");
        // An item has a name for each element, of a few letters more than the element's.
        assert!(json.len() <= 8 * data.len() + 64, "{} bytes of {}", json.len(), data.len());
        if read.is_ok() {
            xml_reader::close(&mut json, ']');
            json.push('}');
            let _: Value = serde_json::from_str(&json).expect("JSON");
            let mut answers = Answers::default();
            answers.add_slice(Some("123456789012"), Some("eu-west-1"), Some(Millis(1)), json.as_bytes()).unwrap();
            let snapshot = join(&answers, &["site".to_owned()], Overlay::default());
            assert!(snapshot.connections.len() <= data.len());
        }
    }
}

/// Secrets wherever the answer has a place for one. In CDATA that is a text like others.
fn with_secrets(data: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(data);
    if text.contains("<![CDATA[") || text.contains(SECRET) {
        return text.replace(SECRET, "").into_bytes();
    }
    let mut text = text.into_owned();
    for element in ["<preSharedKey>", "<customerGatewayConfiguration>"] {
        text = text.replace(element, &format!("{element}{SECRET}"));
    }
    text.into_bytes()
}
