//! The core as a whole: shared buffers, pieces of one large record, limits, and that no record is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "core/allocations.rs"]
mod allocations;
mod damage;
#[path = "fuzz/twins.rs"]
mod fuzz_twins;
#[path = "core/twins.rs"]
mod twins;

use std::sync::Arc;

use damage::{gzip, mutated};
use proptest::prelude::*;
use tunnelog::config::types::{self, Condition, FormatName, FormatOptions, JsonOptions, RawOption};
use tunnelog::core::{Core, Counts, From, Go, Resume, Scratch, Seen, SinkPlan, Step};
use tunnelog::decode::inflate::inflate;
use tunnelog::delivery::{LaneItems, Piece, RecordInfo, Selection, SinkId};
use tunnelog::encode::Format;
use tunnelog::enrich::Snapshot;
use tunnelog::event::{Event, Kind, Severity};
use tunnelog::route::{Decision, Filter};
use tunnelog::source::{Position, Record, ShardId};

const MAX_RECORD_BYTES: usize = 64 << 20;

fn shard() -> ShardId {
    let [source, stream, stream_created, shard] = ["main", "vpn-logs", "0", "shardId-000000000000"].map(Arc::from);
    ShardId { source, stream, stream_created, shard }
}

fn record(number: u64, data: impl Into<Vec<u8>>) -> Record {
    Record::new(Position::from(number), None, data.into().into())
}

fn json() -> Format {
    Format::resolve(None, FormatName::Json, false)
}

fn json_with_raw() -> Format {
    let options = JsonOptions { raw: RawOption::Always, ..JsonOptions::default() };
    let format = types::Format::Options(FormatOptions { json: Some(options), ..FormatOptions::default() });
    Format::resolve(Some(&format), FormatName::Json, false)
}

fn timeline() -> Format {
    Format::resolve(None, FormatName::Timeline, false)
}

fn only(condition: Condition) -> Filter {
    Filter::compile(Some(&condition), None)
}

/// One route in every 50 events, the rest lines of IKE.
fn envelope(events: usize) -> String {
    let line = |index: usize| {
        let message = match index % 50 {
            0 => r#"{\"type\":\"RouteStatus\",\"status\":\"WITHDRAWN\",\"message\":{\"prefix\":\"10.0.0.0/8\"}}"#,
            _ => r#"{\"details\":\"AWS tunnel DPD timed out after 3 retransmits\",\"ike_phase2_state\":\"down\"}"#,
        };
        format!(r#"{{"id":"{index}","timestamp":1762580400000,"message":"{message}"}}"#)
    };
    let lines: Vec<String> = (0..events).map(line).collect();
    // As long as AWS allows, so that few events make much output.
    let group = "g".repeat(512);
    format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"{group}","logStream":"vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log","logEvents":[{}]}}"#,
        lines.join(",")
    )
}

/// What came out of some records: the pieces in order, and what was counted in them.
#[derive(Default)]
struct Run {
    pieces: Vec<Piece>,
    counts: Vec<Counts>,
}

/// Processes records as a reader does, with a piece for every step. `forget`: with a new scratch each time.
fn run(core: &Core, sinks: usize, records: &[Record], forget: bool) -> Run {
    let (shard, snapshot, mut scratch) = (shard(), Snapshot::default(), Scratch::default());
    let wanted: Vec<SinkId> = (0..sinks as u32).map(SinkId).collect();
    let mut run = Run::default();
    for record in records {
        let mut resume = Resume::default();
        loop {
            let mut out = core.output(&wanted);
            let from = From { shard: &shard, region: None };
            let step = core.process(from, record, resume, &snapshot, &mut scratch, &mut out);
            run.counts.push(out.counts.clone());
            run.pieces.push(core.piece(out));
            match step {
                Step::Done => break,
                Step::More(next) => resume = next,
            }
            if forget {
                scratch = Scratch::default();
            }
        }
    }
    run
}

fn core(max_record_bytes: usize, sinks: &[(Format, Filter)]) -> Core {
    let plans = sinks.iter().cloned().map(|(format, filter)| SinkPlan { format, filter });
    Core::new(max_record_bytes, plans.collect())
}

fn lane(piece: &Piece, sink: usize) -> &LaneItems {
    piece.lanes[sink].as_ref().unwrap()
}

/// The bytes of a lane's own items.
fn bytes(lane: &LaneItems) -> Vec<u8> {
    let own = |index: &usize| match &lane.own {
        Selection::All => true,
        Selection::Some(bits) => bits.contains(*index),
    };
    (0..lane.encoded.items.len()).filter(own).flat_map(|index| lane.encoded.bytes_of(index).to_vec()).collect()
}

#[test]
fn sinks_of_one_format_share_one_buffer() {
    let warnings = only(Condition { min_severity: Some(Severity::Warning), ..Condition::default() });
    let sinks = [(json(), Filter::default()), (json(), warnings), (timeline(), Filter::default())];
    let run = run(&core(MAX_RECORD_BYTES, &sinks), 3, &[record(1, envelope(100))], false);
    let [all, most, other] = [0, 1, 2].map(|sink| lane(&run.pieces[0], sink));
    assert!(std::ptr::eq(&*all.encoded, &*most.encoded), "98 of 100 events are no sparse selection");
    assert!(!std::ptr::eq(&*all.encoded, &*other.encoded));
    assert_eq!((all.count(), most.count(), most.filtered, other.count()), (100, 98, 2, 100));
    assert_eq!(all.own, Selection::All);
}

#[test]
fn a_sparse_selection_is_copied_out() {
    let routes = only(Condition { kind: vec![Kind::BgpRoute], ..Condition::default() });
    let sinks = [(json(), Filter::default()), (json(), routes)];
    let run = run(&core(MAX_RECORD_BYTES, &sinks), 2, &[record(1, envelope(100))], false);
    let [all, few] = [0, 1].map(|sink| lane(&run.pieces[0], sink));
    assert!(!std::ptr::eq(&*all.encoded, &*few.encoded), "two of 100 events must not pin the buffer of all");
    assert_eq!((few.count(), few.filtered, &few.own), (2, 98, &Selection::All));
    assert_eq!(few.encoded.bytes, [all.encoded.bytes_of(0), all.encoded.bytes_of(50)].concat());
    assert!(Arc::ptr_eq(&few.encoded.records, &run.pieces[0].records));
}

/// What a sink gets of a record, by a way that knows no pieces.
fn unsplit(record: &Record, format: &Format, filter: &Filter) -> Vec<u8> {
    let (shard, snapshot, mut scratch) = (shard(), Snapshot::default(), Scratch::default());
    let mut bytes = Vec::new();
    let from = From { shard: &shard, region: None };
    let mut visit = |event: &Event<'_>, _: &Seen<'_>| {
        if filter.decide(event) != Decision::Drop {
            format.encode(event, &mut bytes);
        }
        Go::On
    };
    let core = core(MAX_RECORD_BYTES, &[]);
    core.walk(from, record, Resume::default(), &snapshot, &mut scratch, &mut visit).unwrap();
    bytes
}

#[test]
fn a_large_record_comes_in_pieces_that_together_are_the_whole() {
    let record = record(7, gzip(envelope(5_000).as_bytes()));
    let all = Filter::default;
    let routes = || only(Condition { kind: vec![Kind::BgpRoute], ..Condition::default() });
    let none = || only(Condition { kind: vec![Kind::Alert], ..Condition::default() });
    let combinations: [(&[(Format, Filter)], bool); 5] = [
        (&[(json(), all())], true),
        (&[(json(), all()), (json(), routes()), (timeline(), all()), (Format::DeadLetter, all())], true),
        (&[(timeline(), none()), (json_with_raw(), all()), (json(), routes())], true),
        // Little output: one piece, however many events are read for it.
        (&[(json(), routes()), (json(), none())], false),
        (&[], false),
    ];
    for (number, (sinks, splits)) in combinations.into_iter().enumerate() {
        let run = run(&core(MAX_RECORD_BYTES, sinks), sinks.len(), std::slice::from_ref(&record), number == 1);
        assert_eq!(run.pieces.len() > 1, splits, "combination {number}: {} pieces", run.pieces.len());
        for (sink, (format, filter)) in sinks.iter().enumerate() {
            let got: Vec<u8> = run.pieces.iter().flat_map(|piece| bytes(lane(piece, sink))).collect();
            let expect = if *format == Format::DeadLetter { Vec::new() } else { unsplit(&record, format, filter) };
            assert!(got == expect, "combination {number}, sink {sink}: {} bytes of {}", got.len(), expect.len());
        }
        let infos: Vec<&RecordInfo> = run.pieces.iter().flat_map(|piece| piece.records.iter()).collect();
        let done: Vec<bool> = infos.iter().map(|info| info.done).collect();
        assert_eq!(done.iter().position(|done| *done), Some(run.pieces.len() - 1), "done once, at the end: {done:?}");
        assert!(infos.iter().all(|info| info.position == record.position));
        assert_eq!(run.counts.iter().map(|counts| counts.records).sum::<u64>(), 1);
        assert_eq!(run.counts.iter().map(|counts| counts.events.iter().sum::<u64>()).sum::<u64>(), 5_000);
    }
}

#[test]
fn a_large_plain_record_goes_on_from_its_own_bytes_and_not_from_those_of_the_record_before() {
    let format = json();
    let records = [record(1, gzip(envelope(5_000).as_bytes())), record(2, envelope(4_800))];
    let run = run(&core(MAX_RECORD_BYTES, &[(format.clone(), Filter::default())]), 1, &records, false);
    let got: Vec<u8> = run.pieces.iter().flat_map(|piece| bytes(lane(piece, 0))).collect();
    let expect = records.map(|record| unsplit(&record, &format, &Filter::default())).concat();
    assert!(got == expect, "{} bytes of {}", got.len(), expect.len());
    assert!(run.pieces.len() > 3, "both records are split");
}

#[test]
fn a_gzip_bomb_takes_no_more_memory_than_the_cap_and_ends_as_a_dead_letter() {
    const CAP: usize = 1 << 20;
    // Two members, each below the cap; and a trailer that claims 4 GiB.
    let member = gzip(&vec![b' '; CAP - 1]);
    let mut lying = gzip(&vec![b'x'; 3 * CAP]);
    let claim = lying.len() - 4;
    lying[claim..].fill(0xff);
    for bomb in [[&*member, &*member].concat(), lying] {
        let mut buffer = Vec::new();
        assert_eq!(inflate(&bomb, CAP, &mut buffer).unwrap_err().reason(), "too_large");
        assert!(buffer.capacity() <= CAP + 1, "{}", buffer.capacity());
        let core = core(CAP, &[(json(), Filter::default()), (Format::DeadLetter, Filter::default())]);
        let run = run(&core, 2, &[record(1, bomb)], false);
        assert_eq!(run.counts[0].unreadable[0].0, "too_large");
        assert_eq!([0, 1].map(|sink| lane(&run.pieces[0], sink).count()), [0, 1]);
    }
}

#[test]
fn a_record_of_10_mib_and_a_message_of_1_mb_pass() {
    let envelope = |message: &str, events: usize| {
        let event = format!(r#"{{"id":"1","timestamp":1762580400000,"message":"{message}"}}"#);
        let head = r#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":["#;
        format!("{head}{}]}}", vec![event; events].join(","))
    };
    let large = envelope(&format!(r#"{{\"dpd_enabled\":true,\"pad\":\"{}\"}}"#, "word ".repeat(2_000)), 1_050);
    assert!(large.len() > 10 << 20);
    let long = envelope(&"word ".repeat(200_000), 1);
    let core = core(MAX_RECORD_BYTES, &[(json(), Filter::default())]);
    let run = run(&core, 1, &[record(1, large), record(2, gzip(long.as_bytes()))], false);
    let counted: u64 = run.counts.iter().map(|counts| counts.events.iter().sum::<u64>()).sum();
    assert_eq!(counted, 1_050 + 1);
    let last = lane(run.pieces.last().unwrap(), 0);
    assert_eq!(last.encoded.items[0].kind, Kind::Unparsed);
    assert!(last.encoded.bytes.len() > 1_000_000, "the whole message is kept");
}

/// Every record ends once, as events, as a control message or as one dead letter.
fn account_for(records: &[Record]) {
    const CAP: usize = 4096;
    let core = core(CAP, &[(json(), Filter::default()), (Format::DeadLetter, Filter::default())]);
    for record in records {
        let run = run(&core, 2, std::slice::from_ref(record), false);
        let infos: Vec<&RecordInfo> = run.pieces.iter().flat_map(|piece| piece.records.iter()).collect();
        assert_eq!(infos.iter().filter(|info| info.done).count(), 1);
        assert!(infos.last().unwrap().done && infos.iter().all(|info| info.position == record.position));
        let sum = |of: fn(&Counts) -> u64| run.counts.iter().map(of).sum::<u64>();
        let events = sum(|counts| counts.events.iter().sum());
        let unreadable = sum(|counts| counts.unreadable.len() as u64);
        let control = sum(|counts| counts.control);
        assert_eq!(u64::from(events > 0) + unreadable + control, 1, "{events} events, {unreadable}, {control}");
        let items = [0, 1].map(|sink| run.pieces.iter().map(|piece| lane(piece, sink).count() as u64).sum::<u64>());
        assert_eq!(items, [events, unreadable]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_are_accounted_for(data in prop::collection::vec(any::<u8>(), 0..300), text in any::<String>()) {
        let events = format!(r#"{{"messageType":"DATA_MESSAGE","logEvents":[{text}]}}"#);
        let packed = gzip(&data);
        account_for(&[record(1, data), record(2, packed), record(3, events), record(4, text)]);
    }

    #[test]
    fn changed_samples_are_accounted_for(data in mutated(), cut in any::<prop::sample::Index>()) {
        let packed = gzip(&data);
        let cut = packed[..cut.index(packed.len())].to_vec();
        account_for(&[record(1, data), record(2, packed), record(3, cut)]);
    }
}
