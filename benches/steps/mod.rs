//! The steps that are measured, each over a whole corpus: what `core` and `ratios` have in common.
//!
//! `normalize` and `encode` start from what the step before them made, so the steps add up to about the
//! core; `decode` begins with the record, so it contains `inflate`.

use std::hint::black_box;

use tunnelog::config::types::FormatName;
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan, Step as CoreStep};
use tunnelog::decode::LogEvent;
use tunnelog::decode::envelope::{Cursor, Envelope};
use tunnelog::decode::inflate::inflate;
use tunnelog::delivery::SinkId;
use tunnelog::encode::Format;
use tunnelog::enrich::{Lookup, Snapshot, enrich};
use tunnelog::event::Event;
use tunnelog::normalize::stream::StreamIdentity;
use tunnelog::normalize::{id, normalize};
use tunnelog::route::Filter;
use tunnelog::source::ShardId;

use crate::corpus::{Corpus, MAX_RECORD_BYTES};

/// Work crosses tasks in pieces of at least this size (DESIGN 2).
const PIECE_BYTES: usize = 64 * 1024;

/// One step; every call runs it over the whole corpus.
pub(crate) struct Step<'c> {
    pub name: &'static str,
    pub run: Box<dyn FnMut() + 'c>,
}

fn step<'c>(name: &'static str, run: impl FnMut() + 'c) -> Step<'c> {
    Step { name, run: Box::new(run) }
}

/// Prepares the steps on a corpus and hands them to `measure`; `inflate` comes first.
pub(crate) fn with_steps(corpus: &Corpus, snapshot: &Snapshot, measure: impl FnOnce(&mut [Step<'_>])) {
    let plain: Vec<Vec<u8>> = corpus.records.iter().map(|record| plain(&record.data)).collect();
    let envelopes: Vec<Envelope<'_>> = plain.iter().map(|plain| Envelope::parse(plain).unwrap()).collect();
    let logs: Vec<Vec<LogEvent<'_>>> =
        envelopes.iter().map(|envelope| envelope.events(Cursor::default()).collect()).collect();
    let mut summaries = vec![String::new(); corpus.events as usize];
    let events = enriched(corpus, &envelopes, &logs, &mut summaries, snapshot);
    let format = Format::resolve(None, FormatName::Json, false);
    let (mut inflated, mut decoded, mut ids, mut text) = Default::default();
    let mut out = Vec::new();
    let mut scratch = Scratch::default();
    measure(&mut [
        step("inflate", || inflate_all(corpus, &mut inflated)),
        step("decode", || decode_all(corpus, &mut decoded)),
        step("normalize", || normalize_all(corpus, &envelopes, &logs, &mut ids, &mut text)),
        step("encode", || encode_all(&events, &format, &mut out)),
        step("core", || core_all(corpus, snapshot, &format, &mut scratch)),
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
            let id = id::of_log(&mut Vec::new(), stream, log);
            let mut event = normalize(log, stream, &identity, record.arrival, id, summaries.next().unwrap());
            let lookup = enrich(&mut event, snapshot, None, &stream.owner);
            assert_ne!(lookup, Lookup::Miss, "the inventory is of the same fleet");
            events.push(event);
        }
    }
    events
}

fn inflate_all(corpus: &Corpus, buffer: &mut Vec<u8>) {
    for record in &corpus.records {
        black_box(inflate(&record.data, MAX_RECORD_BYTES, buffer).unwrap());
    }
}

fn decode_all(corpus: &Corpus, buffer: &mut Vec<u8>) {
    for record in &corpus.records {
        let plain = inflate(&record.data, MAX_RECORD_BYTES, buffer).unwrap();
        for log in Envelope::parse(plain).unwrap().events(Cursor::default()) {
            black_box(&log);
        }
    }
}

fn normalize_all(
    corpus: &Corpus,
    envelopes: &[Envelope<'_>],
    logs: &[Vec<LogEvent<'_>>],
    ids: &mut Vec<u8>,
    text: &mut String,
) {
    for ((record, envelope), logs) in corpus.records.iter().zip(envelopes).zip(logs) {
        let identity = StreamIdentity::parse(&envelope.stream.stream);
        for log in logs {
            let id = id::of_log(ids, &envelope.stream, log);
            black_box(&normalize(log, &envelope.stream, &identity, record.arrival, id, text));
        }
    }
}

fn encode_all(events: &[Event<'_>], format: &Format, out: &mut Vec<u8>) {
    for event in events {
        format.encode(event, out);
        if out.len() >= PIECE_BYTES {
            black_box(&*out);
            out.clear();
        }
    }
}

/// As a pipeline with one sink runs it: pieces are handed on and dropped, so their buffers are new each time.
fn core_all(corpus: &Corpus, snapshot: &Snapshot, format: &Format, scratch: &mut Scratch) {
    let core = Core::new(MAX_RECORD_BYTES, vec![SinkPlan { format: format.clone(), filter: Filter::default() }]);
    let shard = ShardId {
        source: "bench".into(),
        stream: "vpn-logs".into(),
        stream_created: "0".into(),
        shard: "shardId-000000000000".into(),
    };
    let from = From { shard: &shard, region: None };
    let mut out = core.output(&[SinkId(0)]);
    for record in &corpus.records {
        let mut resume = Resume::default();
        while let CoreStep::More(next) = core.process(from, record, resume, snapshot, scratch, &mut out) {
            resume = next;
        }
        if out.bytes() >= PIECE_BYTES {
            let full = std::mem::replace(&mut out, core.output(&[SinkId(0)]));
            black_box(core.piece(full));
        }
    }
    black_box(core.piece(out));
}
