//! The steps that are measured, each over a whole corpus: what `core` and `ratios` have in common.
//!
//! `normalize` and `encode` start from what the step before them made, so the steps add up to about the
//! core; `decode` begins with the record, so it contains `inflate`.

mod typed;

use std::hint::black_box;

use tunnelog::config::types::{Condition, FormatName};
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan, Step as CoreStep};
use tunnelog::decode::LogEvent;
use tunnelog::decode::envelope::{Cursor, Envelope};
use tunnelog::decode::inflate::{Inflater, inflate};
use tunnelog::decode::scan::{Scanned, scan};
use tunnelog::delivery::SinkId;
use tunnelog::encode::{Format, Repeat};
use tunnelog::enrich::{Lookup, Snapshot, enrich};
use tunnelog::event::{Event, Kind, Millis, Severity};
use tunnelog::normalize::escaped::Lines;
use tunnelog::normalize::line::Line;
use tunnelog::normalize::stream::StreamIdentity;
use tunnelog::normalize::{id, normalize, of_line};
use tunnelog::route::Filter;
use tunnelog::source::ShardId;

use crate::corpus::{Corpus, Inventories, MAX_RECORD_BYTES};

/// Work crosses tasks in pieces of at least this size (DESIGN 2).
const PIECE_BYTES: usize = 64 * 1024;

/// The steps that others are compared with.
pub(crate) const INFLATE: &str = "inflate";
/// See `typed`.
pub(crate) const TYPED: &str = "typed serde";

/// One step; every call runs it over the whole corpus.
pub(crate) struct Step<'c> {
    pub name: &'static str,
    pub run: Box<dyn FnMut() + 'c>,
}

fn step<'c>(name: &'static str, run: impl FnMut() + 'c) -> Step<'c> {
    Step { name, run: Box::new(run) }
}

/// Prepares the steps on a corpus and hands them to `measure`. The last ones are the core's under other circumstances: an
/// inventory without the connections, one of 50,000, a second sink of the same format, and one whose filter lets nothing
/// pass.
pub(crate) fn with_steps(corpus: &Corpus, inventories: &Inventories, measure: impl FnOnce(&mut Vec<Step<'_>>)) {
    let Inventories { hit, miss, large } = inventories;
    let plain: Vec<Vec<u8>> = corpus.records.iter().map(|record| plain(&record.data)).collect();
    let envelopes: Vec<Envelope<'_>> = plain.iter().map(|plain| Envelope::parse(plain).unwrap()).collect();
    let logs: Vec<Vec<LogEvent<'_>>> =
        envelopes.iter().map(|envelope| envelope.events(Cursor::default()).collect()).collect();
    let mut lines = Lines::default();
    // Nearly all; the others take the plain way, which is no step of its own.
    let scanned: Vec<Scanned<'_, Line<'_>>> =
        plain.iter().filter_map(|plain| scan(plain, |reader, line| lines.read(reader, line))).collect();
    let mut summaries = vec![String::new(); corpus.events as usize];
    let events = enriched(corpus, &envelopes, &logs, &mut summaries, hit);
    let format = Format::resolve(None, FormatName::Json, false);
    let (mut inflater, mut decoder, mut ids, mut text) = Default::default();
    let mut out = Vec::new();
    let sinks = |filters: &[Option<Condition>]| {
        let plan = |only: &Option<Condition>| SinkPlan {
            format: format.clone(),
            filter: Filter::compile(only.as_ref(), None),
        };
        Core::new(MAX_RECORD_BYTES, filters.iter().map(plan).collect())
    };
    let nothing = Condition { min_severity: Some(Severity::Critical), kind: vec![Kind::Alert], ..Condition::default() };
    let (one, two, filtered) = (sinks(&[None]), sinks(&[None, None]), sinks(&[None, Some(nothing)]));
    let (mut typed_inflater, mut typed_out) = Default::default();
    let mut scratches: [Scratch; 5] = Default::default();
    let [first, second, third, fourth, fifth] = &mut scratches;
    measure(&mut vec![
        step(INFLATE, || inflate_all(corpus, &mut inflater)),
        step(TYPED, || typed::typed_all(corpus, &mut typed_inflater, hit, &mut typed_out)),
        step("decode", || decode_all(corpus, &mut decoder, &mut lines)),
        step("normalize", || normalize_all(corpus.records[0].arrival, &scanned, &mut ids, &mut text)),
        step("encode", || encode_all(&events, &format, &mut out)),
        step("core", || core_all(corpus, &one, 1, hit, first)),
        step("core, miss", || core_all(corpus, &one, 1, miss, second)),
        step("core, 50,000", || core_all(corpus, &one, 1, large, third)),
        step("core, 2 sinks", || core_all(corpus, &two, 2, hit, fourth)),
        step("core, filter", || core_all(corpus, &filtered, 2, hit, fifth)),
    ]);
}

fn plain(data: &[u8]) -> Vec<u8> {
    inflate(data, MAX_RECORD_BYTES, &mut Vec::new()).unwrap().to_vec()
}

fn enriched<'a>(
    corpus: &Corpus,
    envelopes: &'a [Envelope<'a>],
    logs: &'a [Vec<LogEvent<'a>>],
    summaries: &'a mut [String],
    snapshot: &'a Snapshot,
) -> Vec<Event<'a>> {
    let mut summaries = summaries.iter_mut();
    let mut events = Vec::new();
    for ((record, envelope), logs) in corpus.records.iter().zip(envelopes).zip(logs) {
        let stream = &envelope.stream;
        let identity = StreamIdentity::parse(&stream.stream);
        for log in logs {
            let id = id::of_log(stream, log);
            let mut event = normalize(log, stream, &identity, record.arrival, id, summaries.next().unwrap());
            let lookup = enrich(&mut event, snapshot, None, &stream.owner);
            assert_ne!(lookup, Lookup::Miss, "the inventory is of the same fleet");
            events.push(event);
        }
    }
    events
}

fn inflate_all(corpus: &Corpus, inflater: &mut Inflater) {
    for record in &corpus.records {
        black_box(inflater.inflate(&record.data, MAX_RECORD_BYTES).unwrap());
    }
}

fn decode_all(corpus: &Corpus, inflater: &mut Inflater, lines: &mut Lines) {
    for record in &corpus.records {
        let plain = inflater.inflate(&record.data, MAX_RECORD_BYTES).unwrap();
        black_box(scan(plain, |reader, line| lines.read(reader, line)));
    }
}

fn normalize_all(arrival: Option<Millis>, scanned: &[Scanned<'_, Line<'_>>], ids: &mut Vec<u8>, text: &mut String) {
    for scanned in scanned {
        let identity = StreamIdentity::parse(&scanned.stream.stream);
        let mut namer = id::Namer::new(&scanned.stream, ids);
        for event in &scanned.events {
            let Some(line) = &event.line else { continue };
            let log = event.log("");
            let id = namer.of_log(&log);
            black_box(&of_line(line, Vec::new(), &log, &scanned.stream, &identity, arrival, id, text));
        }
    }
}

fn encode_all(events: &[Event<'_>], format: &Format, out: &mut Vec<u8>) {
    let mut repeat = Repeat::default();
    for event in events {
        format.encode_next(event, out, &mut repeat);
        if out.len() >= PIECE_BYTES {
            black_box(&*out);
            out.clear();
            repeat = Repeat::default();
        }
    }
}

/// As a pipeline runs it: pieces are handed on and dropped, so their buffers are new each time.
fn core_all(corpus: &Corpus, core: &Core, sinks: u32, snapshot: &Snapshot, scratch: &mut Scratch) {
    let shard = ShardId {
        source: "bench".into(),
        stream: "vpn-logs".into(),
        stream_created: "0".into(),
        shard: "shardId-000000000000".into(),
    };
    let from = From { shard: &shard, region: None };
    let wanted: Vec<SinkId> = (0..sinks).map(SinkId).collect();
    let mut out = core.output(&wanted);
    for record in &corpus.records {
        let mut resume = Resume::default();
        while let CoreStep::More(next) = core.process(from, record, resume, snapshot, scratch, &mut out) {
            resume = next;
        }
        if out.bytes() >= PIECE_BYTES {
            let full = std::mem::replace(&mut out, core.output(&wanted));
            black_box(core.piece(full));
        }
    }
    black_box(core.piece(out));
}
