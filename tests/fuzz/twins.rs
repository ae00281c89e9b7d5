//! The quick ways of the core and the plain ones that they stand for: the same events, for every input.
//!
//! Run by the fuzz targets and by `tests/core.rs`.

use std::sync::Arc;

use tunnelog::config::types::{JsonOptions, RawOption};
use tunnelog::core::{Core, From, Go, Resume, Scratch, SinkPlan, Step};
use tunnelog::decode::envelope::{Cursor, Envelope, MessageKind};
use tunnelog::decode::reader::Reader;
use tunnelog::decode::scan::scan;
use tunnelog::delivery::SinkId;
use tunnelog::encode::{EcsFormat, Format, JsonFormat, OcsfFormat, Repeat, TimelineFormat};
use tunnelog::enrich::Snapshot;
use tunnelog::event::EventId;
use tunnelog::normalize::escaped::Lines;
use tunnelog::normalize::line::Line;
use tunnelog::route::Filter;
use tunnelog::source::{Position, Record, ShardId};

const MAX_RECORD_BYTES: usize = 64 << 20;

/// Compares all twins on the plain bytes of a record; whether it is a usual one, which the quick way reads.
pub(crate) fn record(plain: &[u8], snapshot: &Snapshot) -> bool {
    let is_usual = decoding(plain);
    core(plain, snapshot);
    encoding(plain, snapshot);
    is_usual
}

/// What the scan reads is what the parsers read.
fn decoding(plain: &[u8]) -> bool {
    let mut lines = Lines::default();
    let Some(scanned) = scan(plain, |reader, line| lines.read(reader, line)) else { return false };
    let envelope = Envelope::parse(plain).expect("what the scan reads is an envelope");
    assert_eq!(envelope.kind, MessageKind::Data);
    let stream = |stream: &tunnelog::decode::LogStream<'_>| format!("{stream:?}");
    assert_eq!(stream(&scanned.stream), stream(&envelope.stream));
    let mut events = envelope.events(Cursor::default());
    let mut text = String::new();
    for (index, quick) in (0_u32..).zip(&scanned.events) {
        let resumed = envelope.events(quick.cursor(index)).next().expect("an event at the cursor");
        let event = events.next().expect("as many events");
        quick.unescape(&mut text);
        let log = quick.log(&text);
        assert_eq!(format!("{log:?}"), format!("{event:?}"));
        assert_eq!(format!("{log:?}"), format!("{resumed:?}"));
        if let Some(line) = &quick.line {
            assert_eq!(Some(line), Line::from_json(&event.message).as_ref(), "{}", event.message);
        }
    }
    assert!(events.next().is_none(), "no more events");
    true
}

/// A line by itself, as it would be escaped within an envelope.
pub(crate) fn line(line: &str) {
    let escaped = serde_json::to_string(line).unwrap();
    let mut lines = Lines::default();
    // The second time it knows the order of the keys.
    for _ in 0..2 {
        let (mut reader, mut read) = (Reader::new(&escaped[1..]), Line::default());
        if lines.read(&mut reader, &mut read).is_some() && reader.peek() == Some(b'"') {
            assert_eq!(Some(read), Line::from_json(line), "{line}");
        }
    }
}

/// The core's items are the same whichever way it takes. A space before the envelope is enough to make it unusual.
fn core(plain: &[u8], snapshot: &Snapshot) {
    // Anything else is never usual, and packed records are read by their first bytes.
    if !plain.starts_with(b"{") {
        return;
    }
    let unusual = [b" ", plain].concat();
    let [quick, slow] = [plain, &unusual].map(|data| items(data, snapshot));
    assert_eq!(quick, slow);
}

/// The formats of [`items`]: with every line, with odd lines only, in another schema, and for a person.
fn formats() -> [Format; 5] {
    let odd = JsonOptions::default();
    let all = JsonOptions { raw: RawOption::Always, ..JsonOptions::default() };
    let timeline = TimelineFormat { colour: false, date: true, grouped: false };
    [
        Format::Json(JsonFormat::new(&all)),
        Format::Json(JsonFormat::new(&odd)),
        Format::Ecs(EcsFormat::new(&all)),
        Format::Ocsf(OcsfFormat::new(&odd)),
        Format::Timeline(timeline),
    ]
}

/// Ids and bytes of a record's items in each format, each by a core of its own.
fn items(data: &[u8], snapshot: &Snapshot) -> Vec<Vec<(EventId, String)>> {
    formats().map(|format| items_of(format, data, snapshot)).into()
}

fn items_of(format: Format, data: &[u8], snapshot: &Snapshot) -> Vec<(EventId, String)> {
    let core = Core::new(MAX_RECORD_BYTES, vec![SinkPlan { format, filter: Filter::default() }]);
    let (shard, mut scratch) = (shard(), Scratch::default());
    let from = From { shard: &shard, region: Some("eu-west-1") };
    let record = Record::new(Position::from(1), None, data.to_vec().into());
    let (mut items, mut resume) = (Vec::new(), Resume::default());
    loop {
        let mut out = core.output(&[SinkId(0)]);
        let step = core.process(from, &record, resume, snapshot, &mut scratch, &mut out);
        for lane in core.piece(out).lanes.into_iter().flatten() {
            let text = |index| String::from_utf8(lane.encoded.bytes_of(index).to_vec()).unwrap();
            items.extend(lane.encoded.items.iter().enumerate().map(|(index, item)| (item.id, text(index))));
        }
        match step {
            Step::Done => return items,
            Step::More(next) => resume = next,
        }
    }
}

/// Events are written as serde writes them, also one after the other.
fn encoding(plain: &[u8], snapshot: &Snapshot) {
    let core = Core::new(MAX_RECORD_BYTES, Vec::new());
    let (shard, mut scratch) = (shard(), Scratch::default());
    let from = From { shard: &shard, region: Some("eu-west-1") };
    let record = Record::new(Position::from(1), None, plain.to_vec().into());
    let json = JsonFormat::new(&JsonOptions { raw: RawOption::Always, origin: true, ..JsonOptions::default() });
    let (mut quick, mut slow, mut repeat) = (Vec::new(), Vec::new(), Repeat::default());
    let mut compare = |event: &tunnelog::event::Event<'_>, _: &tunnelog::core::Seen<'_>| {
        json.encode_next(event, &mut quick, &mut repeat);
        json.encode_by_serde(event, &mut slow);
        Go::On
    };
    // What cannot be read has no events to compare.
    let _ = core.walk(from, &record, Resume::default(), snapshot, &mut scratch, &mut compare);
    assert_eq!(String::from_utf8(quick).unwrap(), String::from_utf8(slow).unwrap());
}

fn shard() -> ShardId {
    let [source, stream, stream_created, shard] = ["main", "s", "0", "shard"].map(Arc::from);
    ShardId { source, stream, stream_created, shard }
}
