//! Single steps of the dispatcher that the model's worlds do not reach: a gap up to another reader, a rewind between
//! a seal and its replacement, lanes that leave their reader and come back to it while the stream goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fixedbitset::FixedBitSet;
use tunnelog::delivery::{
    At, Command, Dispatcher, Encoded, Epoch, Item, LaneBatch, LaneItems, LaneKey, LaneState, OnOutage, Options, Piece,
    PieceEnd, ReadResult, ReaderId, RecordInfo, Seal, SinkId, SinkOptions,
};
use tunnelog::event::{Action, EventId, Kind, Millis, Severity};
use tunnelog::sink::Tell;
use tunnelog::source::{Position, ShardEvent, ShardId, StartAt};

fn shard() -> ShardId {
    ShardId { source: "main".into(), stream: "s".into(), stream_created: "".into(), shard: "0".into() }
}

fn options(sinks: Vec<SinkOptions>) -> Options {
    Options { pipeline: "p".into(), sinks, open_records: 1000, outage_after: Duration::from_secs(30) }
}

/// A dispatcher whose lanes, one a sink, are remembered in these states, with its shard opened.
fn opened(states: Vec<LaneState>) -> Dispatcher {
    let sinks: Vec<SinkOptions> = (0..states.len()).map(|sink| sink.to_string().as_str().into()).collect();
    let key = |sink: &SinkOptions| LaneKey { pipeline: "p".into(), shard: shard(), sink: Arc::clone(&sink.name) };
    let remembered = sinks.iter().map(key).zip(states).collect();
    let mut dispatcher = Dispatcher::new(options(sinks), 1, remembered);
    dispatcher.shard(ShardEvent::Opened { shard: shard(), parents: vec![], start: StartAt::TrimHorizon });
    dispatcher
}

fn commands(dispatcher: &mut Dispatcher) -> Vec<Command> {
    std::iter::from_fn(|| dispatcher.next_command()).collect()
}

fn after(position: u64, seal: Option<Seal>) -> LaneState {
    LaneState { at: At::After(Position::from(position)), seal }
}

fn seal(keys: &[&str]) -> Seal {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Seal { start: Position::from(6), end: Position::from(8), keys, upload_ids: vec![] }
}

/// One record with one item for the only sink.
fn piece(position: u64) -> Piece {
    part(position, true)
}

/// A part of a record, with one item for the only sink.
fn part(position: u64, done: bool) -> Piece {
    let position = Position::from(position);
    let info = RecordInfo { position, done, ..RecordInfo::default() };
    let records = Arc::new(vec![info]);
    let item = Item {
        end: 1,
        record: 0,
        id: EventId(0),
        time: Millis(0),
        kind: Kind::Ike,
        action: Action::Rekey,
        severity: Severity::Debug,
    };
    let encoded = Arc::new(Encoded { bytes: vec![b'x'], items: vec![item], records: Arc::clone(&records) });
    let mut own = FixedBitSet::with_capacity(1);
    own.insert(0);
    Piece { lanes: vec![Some(LaneItems::new(&encoded, own, 0))], records }
}

#[test]
fn a_reader_whose_gap_spans_the_reader_ahead_goes_on() {
    let mut dispatcher = opened(vec![after(5, None), after(9, None)]);
    let bound = |commands: Vec<Command>| {
        commands.into_iter().find_map(|command| match command {
            Command::Read { reader: ReaderId(0), until, .. } => Some(until),
            _ => None,
        })
    };
    assert_eq!(bound(commands(&mut dispatcher)), Some(Some(Position::from(9))));
    // The oldest record that is left is 500: nothing lies between 5 and 9 any more.
    let piece = Piece { lanes: vec![None, None], ..Piece::default() };
    let buffered_to = Some(Position::from(500));
    dispatcher.read(ReadResult { reader: ReaderId(0), piece, end: PieceEnd::Limit, buffered_to });
    assert_eq!(bound(commands(&mut dispatcher)), Some(None), "it has arrived, and nobody is ahead of it");
}

#[test]
fn a_rewind_before_the_replacement_is_remembered_keeps_the_seal_that_is() {
    let mut dispatcher = opened(vec![after(5, Some(seal(&["a"])))]);
    let lane = commands(&mut dispatcher).into_iter().find_map(|command| match command {
        Command::OpenLane { lane, seal, .. } => seal.map(|_| lane),
        _ => None,
    });
    let lane = lane.expect("the lane opens with its seal");
    dispatcher.read(ReadResult { reader: ReaderId(0), piece: piece(6), end: PieceEnd::More, buffered_to: None });
    let batches = commands(&mut dispatcher);
    dispatcher.seal_wanted(lane, Epoch(0), seal(&["a", "b"]));
    assert!(commands(&mut dispatcher).iter().any(|command| matches!(command, Command::Commit(_))));
    // The receipt is dropped before the store has answered: objects under `a` may be visible.
    drop(batches);
    for (lane, epoch) in dispatcher.abandonments().take() {
        dispatcher.abandoned(lane, epoch);
    }
    let reopened = commands(&mut dispatcher).into_iter().find_map(|command| match command {
        Command::OpenLane { seal, .. } => Some(seal),
        _ => None,
    });
    assert_eq!(reopened, Some(Some(seal(&["a"]))));
}

/// A process that stood still while its stream was split must not skip what came meanwhile, though `latest` is a
/// later time at each start.
#[test]
fn a_sink_that_follows_a_stream_skips_nothing_of_a_shard_that_is_new_to_it() {
    let check = |sink: &str, remembered: LaneState, expect: StartAt| {
        let key = |sink: &str| LaneKey { pipeline: "p".into(), shard: shard(), sink: sink.into() };
        let mut dispatcher = Dispatcher::new(options(vec![sink.into()]), 1, vec![(key("old"), remembered)]);
        let child = ShardId { shard: "1".into(), ..shard() };
        let start = StartAt::AtTimestamp(900);
        dispatcher.shard(ShardEvent::Opened { shard: child, parents: vec![shard()], start });
        let committed = commands(&mut dispatcher).into_iter().find_map(|command| match command {
            Command::Commit(states) => Some(states[0].1.at),
            _ => None,
        });
        assert_eq!(committed, Some(At::Start(expect)));
    };
    let at = |at| LaneState { at, seal: None };
    check("old", at(At::ShardEnd), StartAt::TrimHorizon);
    check("old", after(5, None), StartAt::TrimHorizon);
    check("old", at(At::Start(StartAt::TrimHorizon)), StartAt::TrimHorizon);
    check("old", at(At::Start(StartAt::AtTimestamp(100))), StartAt::AtTimestamp(100));
    check("new", at(At::ShardEnd), StartAt::AtTimestamp(900));
}

/// What had expired of a parent while the process was down is for its reader to find out, before its child is read.
#[test]
fn a_parent_that_is_not_there_any_more_is_asked_for_where_it_was_not_read_to_its_end() {
    let parent = ShardId { shard: "expired".into(), ..shard() };
    let check = |at: At, expect: Option<StartAt>| {
        let key = |shard: &ShardId| LaneKey { pipeline: "p".into(), shard: shard.clone(), sink: "old".into() };
        let remembered = vec![(key(&parent), LaneState { at, seal: None })];
        let mut dispatcher = Dispatcher::new(options(vec!["old".into(), "new".into()]), 1, remembered);
        let (parents, start) = (vec![parent.clone()], StartAt::TrimHorizon);
        dispatcher.shard(ShardEvent::Opened { shard: shard(), parents, start });
        let mut opened: Vec<(ShardId, StartAt)> = Vec::new();
        while let Some(command) = dispatcher.next_command() {
            match command {
                Command::OpenReader { shard, from, .. } => opened.push((shard, from)),
                Command::Commit(_) => dispatcher.committed(),
                _ => {}
            }
        }
        let of_parent = opened.iter().find(|(shard, _)| *shard == parent).map(|(_, from)| *from);
        assert_eq!(of_parent, expect);
        let child = opened.iter().filter(|(opened, _)| *opened == shard()).count();
        assert_eq!(child, 1, "of both sinks, or of the one that has nothing to wait for");
    };
    check(At::ShardEnd, None);
    check(At::After(Position::from(7)), Some(StartAt::After(Position::from(7))));
    check(At::Start(StartAt::TrimHorizon), Some(StartAt::TrimHorizon));
}

/// The parent of what is left has expired as well, so that nobody names the shard that was not read to its end.
#[test]
fn a_grandparent_that_is_not_there_any_more_is_asked_for_once_the_listing_is_complete() {
    let grandparent = ShardId { shard: "expired".into(), ..shard() };
    let before = ShardId { stream_created: "before".into(), ..shard() };
    let elsewhere = ShardId { stream: "other".into(), ..shard() };
    let check = |shard_before: &ShardId, sink: &str, at: At, expect: Option<StartAt>| {
        let key = LaneKey { pipeline: "p".into(), shard: shard_before.clone(), sink: sink.into() };
        let remembered = vec![(key, LaneState { at, seal: None })];
        let mut dispatcher = Dispatcher::new(options(vec!["old".into(), "new".into()]), 1, remembered);
        let parents = vec![ShardId { shard: "expired too".into(), ..shard() }];
        dispatcher.shard(ShardEvent::Opened { shard: shard(), parents, start: StartAt::TrimHorizon });
        let mut opened: Vec<(ShardId, StartAt)> = Vec::new();
        for complete in [false, true] {
            assert!(complete || opened.iter().all(|(shard, _)| shard != shard_before), "it may still be announced");
            if complete {
                dispatcher.shard(ShardEvent::Complete { source: "main".into(), stream: "s".into() });
            }
            while let Some(command) = dispatcher.next_command() {
                match command {
                    Command::OpenReader { shard, from, .. } => opened.push((shard, from)),
                    Command::Commit(_) => dispatcher.committed(),
                    _ => {}
                }
            }
        }
        let found: Vec<StartAt> =
            opened.iter().filter(|(shard, _)| shard == shard_before).map(|(_, from)| *from).collect();
        assert_eq!(found, Vec::from_iter(expect));
    };
    let after = StartAt::After(Position::from(7));
    check(&grandparent, "old", At::After(Position::from(7)), Some(after));
    check(&grandparent, "old", At::Start(StartAt::TrimHorizon), Some(StartAt::TrimHorizon));
    check(&before, "old", At::After(Position::from(7)), Some(after));
    check(&grandparent, "old", At::ShardEnd, None);
    check(&grandparent, "removed", At::After(Position::from(7)), None);
    check(&elsewhere, "old", At::After(Position::from(7)), None);
}

/// Half of a record is with the sink when the process is asked to stop.
#[test]
fn a_shutdown_in_the_middle_of_a_record_reads_it_to_its_end_and_no_further() {
    let mut dispatcher = opened(vec![after(5, None)]);
    let reads = |commands: &[Command]| commands.iter().filter(|one| matches!(one, Command::Read { .. })).count();
    let read = |dispatcher: &mut Dispatcher, done: bool| {
        let result = ReadResult { reader: ReaderId(0), piece: part(6, done), end: PieceEnd::More, buffered_to: None };
        dispatcher.read(result);
        let commands = commands(dispatcher);
        (
            reads(&commands),
            commands.into_iter().find_map(|command| match command {
                Command::Submit { batch, .. } => Some(batch),
                _ => None,
            }),
        )
    };
    commands(&mut dispatcher);
    let (_, first) = read(&mut dispatcher, false);
    let mut first = first.expect("the first half");
    dispatcher.drain();
    assert!(!dispatcher.is_drained());
    dispatcher.admitted(first.lane, first.batch);
    assert_eq!(reads(&commands(&mut dispatcher)), 1, "the rest of the record is asked for");
    dispatcher.settled(&first.receipt.settle(0..1));
    assert!(!dispatcher.is_drained(), "the rest is to come");
    let (more, second) = read(&mut dispatcher, true);
    let mut second = second.expect("the second half");
    dispatcher.admitted(second.lane, second.batch);
    assert_eq!(more + reads(&commands(&mut dispatcher)), 0, "and nothing after it");
    dispatcher.settled(&second.receipt.settle(0..1));
    let committed = commands(&mut dispatcher).into_iter().find_map(|command| match command {
        Command::Commit(states) => Some(states[0].1.at),
        _ => None,
    });
    assert_eq!(committed, Some(At::After(Position::from(6))));
    dispatcher.committed();
    assert!(dispatcher.is_drained());
}

/// A stream without an end, read by whoever is granted a piece; each answer reaches to the tip.
struct Stream {
    dispatcher: Dispatcher,
    now: Duration,
    /// Records so far: positions 1 to this.
    tip: u64,
    readers: BTreeMap<ReaderId, u64>,
    grants: Vec<(ReaderId, Vec<SinkId>, Option<Position>)>,
    /// Takes nothing, since it is out.
    out: Vec<bool>,
    refused: Vec<LaneBatch>,
    received: Vec<Vec<u64>>,
}

impl Stream {
    fn new(sinks: Vec<SinkOptions>) -> Stream {
        let count = sinks.len();
        let mut dispatcher = Dispatcher::new(options(sinks), 1, Vec::new());
        dispatcher.shard(ShardEvent::Opened { shard: shard(), parents: vec![], start: StartAt::TrimHorizon });
        let mut stream = Stream {
            dispatcher,
            now: Duration::ZERO,
            tip: 0,
            readers: BTreeMap::new(),
            grants: Vec::new(),
            out: vec![false; count],
            refused: Vec::new(),
            received: vec![Vec::new(); count],
        };
        stream.execute();
        stream
    }

    fn execute(&mut self) {
        while let Some(command) = self.dispatcher.next_command() {
            match command {
                Command::OpenReader { reader, from, .. } => {
                    let from = if let StartAt::After(position) = from { number(position) } else { 0 };
                    self.readers.insert(reader, from);
                }
                Command::CloseReader(reader) => drop(self.readers.remove(&reader)),
                Command::Read { reader, sinks, until } => self.grants.push((reader, sinks, until)),
                Command::Submit { sink, batch } if self.out[sink.0 as usize] => self.refused.push(batch),
                Command::Submit { sink, batch } => self.take(sink, batch),
                Command::Tell { lane, what: Tell::Discard, .. } => self.refused.retain(|batch| batch.lane != lane),
                Command::Commit(_) => self.dispatcher.committed(),
                Command::Forgo { .. } | Command::OpenLane { .. } | Command::Tell { .. } => {}
            }
        }
    }

    fn take(&mut self, sink: SinkId, batch: LaneBatch) {
        let positions = batch.encoded.records.iter().map(|record| number(record.position));
        self.received[sink.0 as usize].extend(positions);
        self.dispatcher.admitted(batch.lane, batch.batch);
        self.dispatcher.settled(&batch.receipt.settle_all());
    }

    /// The oldest grant is answered: one record of those up to the tip.
    fn answer(&mut self) {
        if self.grants.is_empty() {
            return;
        }
        let (reader, sinks, until) = self.grants.remove(0);
        let Some(at) = self.readers.get(&reader).copied() else { return };
        let next = at + 1;
        let is_there = next <= self.tip && until.is_none_or(|until| next <= number(until));
        let mut made = if is_there { piece(next) } else { Piece::default() };
        let items = made.lanes.pop().flatten();
        made.lanes =
            (0..self.out.len()).map(|sink| items.clone().filter(|_| sinks.contains(&SinkId(sink as u32)))).collect();
        if is_there {
            self.readers.insert(reader, next);
        }
        let end = if until.is_some_and(|until| next >= number(until)) && next <= self.tip {
            PieceEnd::Limit
        } else {
            PieceEnd::More
        };
        let end = if is_there { PieceEnd::More } else { end };
        let buffered_to = (self.tip > 0).then(|| Position::from(self.tip));
        self.dispatcher.read(ReadResult { reader, piece: made, end, buffered_to });
        self.execute();
    }

    /// The sink takes what it has, and all that comes.
    fn is_back(&mut self, sink: SinkId) {
        self.out[sink.0 as usize] = false;
        for batch in std::mem::take(&mut self.refused) {
            self.take(sink, batch);
        }
        self.execute();
    }

    /// A quarter of a second in which `records` come.
    fn pass(&mut self, records: u64) {
        self.tip += records;
        self.now += Duration::from_millis(250);
        self.dispatcher.tick(self.now);
        self.execute();
        for _ in 0..=2 * records + 2 {
            self.answer();
        }
    }
}

fn number(position: Position) -> u64 {
    position.to_string().parse().unwrap()
}

/// Nothing but what a record needs to be told apart is in a piece, so a reader's way is seen in what arrives.
fn is_complete(received: &[u64]) -> bool {
    let mut sorted = received.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.iter().copied().eq(1..=sorted.len() as u64)
}

#[test]
fn a_parked_lane_leaves_its_reader_and_comes_back_to_it_while_records_keep_coming() {
    let mut stream = Stream::new(vec!["fine".into(), "out".into()]);
    (0..4).for_each(|_| stream.pass(3));
    assert_eq!(stream.readers.len(), 1, "both read together");
    stream.out[1] = true;
    stream.dispatcher.sink_down(SinkId(1));
    (0..40).for_each(|_| stream.pass(3));
    assert_eq!(stream.dispatcher.load().parked, [0, 1]);
    let behind = stream.received[1].len();
    assert!(stream.received[0].len() > behind + 100, "the other one goes on");
    assert_eq!(stream.refused.len(), 1, "it has something to try with");
    stream.is_back(SinkId(1));
    stream.dispatcher.sink_up(SinkId(1));
    stream.execute();
    assert_eq!(stream.readers.len(), 2, "it reads what it missed by itself");
    // While it catches up it gets an answer for each of the other's.
    (0..400).for_each(|_| stream.pass(1));
    assert_eq!(stream.readers.len(), 1, "they read together again: {:#?}", stream.dispatcher);
    (0..4).for_each(|_| stream.pass(3));
    for received in &stream.received {
        assert!(is_complete(received), "{received:?}");
    }
    assert_eq!(stream.received[0].last(), stream.received[1].last());
    assert_eq!(stream.received[0].len(), stream.received[0].last().copied().unwrap_or(0) as usize, "nothing twice");
}

#[test]
fn lanes_that_meet_where_nothing_comes_read_together() {
    let mut stream = Stream::new(vec!["fine".into(), "out".into()]);
    stream.out[1] = true;
    stream.dispatcher.sink_down(SinkId(1));
    (0..40).for_each(|_| stream.pass(1));
    assert_eq!(stream.dispatcher.load().parked, [0, 1]);
    assert_eq!(stream.refused.len(), 1, "it has something to try with");
    stream.is_back(SinkId(1));
    stream.dispatcher.sink_up(SinkId(1));
    stream.execute();
    (0..60).for_each(|_| stream.pass(0));
    assert_eq!(stream.readers.len(), 1, "{:#?}", stream.dispatcher);
    assert_eq!(stream.received[0], stream.received[1]);
}

#[test]
fn a_sink_that_says_nothing_is_taken_for_down_and_tried_again() {
    let mut stream = Stream::new(vec!["fine".into(), "mute".into()]);
    stream.out[1] = true;
    let parked = |stream: &Stream| stream.dispatcher.load().parked[1];
    (0..100).for_each(|_| stream.pass(1));
    assert_eq!(parked(&stream), 0, "30 s have not passed");
    (0..40).for_each(|_| stream.pass(1));
    assert_eq!(parked(&stream), 1);
    (0..400).for_each(|_| stream.pass(1));
    assert_eq!((parked(&stream), stream.refused.len()), (1, 1), "it has something to try with, and no more");
    assert!(stream.received[0].len() > 500, "which holds nothing up");
    stream.is_back(SinkId(1));
    (0..400).for_each(|_| stream.pass(1));
    assert_eq!((parked(&stream), stream.readers.len()), (0, 1));
    assert!(is_complete(&stream.received[1]));
    assert_eq!(stream.received[0].last(), stream.received[1].last());
}

#[test]
fn a_sink_that_blocks_is_waited_for_and_told_of() {
    let block = SinkOptions { on_outage: OnOutage::Block, ..SinkOptions::from("block") };
    let mut stream = Stream::new(vec!["fine".into(), block]);
    (0..4).for_each(|_| stream.pass(3));
    let before = stream.received[0].len();
    stream.out[1] = true;
    stream.dispatcher.sink_down(SinkId(1));
    (0..170).for_each(|_| stream.pass(3));
    assert_eq!(stream.dispatcher.load().parked, [0, 0]);
    assert!(stream.received[0].len() <= before + 1, "it waits");
    assert!(stream.dispatcher.stalls().is_empty(), "45 s have not passed");
    (0..20).for_each(|_| stream.pass(3));
    let stalls = stream.dispatcher.stalls();
    assert_eq!(stalls.iter().map(|stall| stall.sink).collect::<Vec<_>>(), [Some(SinkId(1))]);
    stream.is_back(SinkId(1));
    (0..600).for_each(|_| stream.pass(0));
    assert_eq!(stream.received[0], stream.received[1]);
    assert!(stream.dispatcher.stalls().is_empty());
}

#[test]
fn a_reader_that_does_not_answer_is_told_of_within_a_minute() {
    let mut dispatcher = opened(vec![after(5, None)]);
    assert!(commands(&mut dispatcher).iter().any(|command| matches!(command, Command::Read { .. })));
    dispatcher.tick(Duration::from_secs(44));
    assert!(dispatcher.stalls().is_empty());
    dispatcher.tick(Duration::from_secs(46));
    let stalls = dispatcher.stalls();
    assert_eq!(stalls.iter().map(|stall| (stall.sink, stall.lasting.as_secs())).collect::<Vec<_>>(), [(None, 46)]);
}
