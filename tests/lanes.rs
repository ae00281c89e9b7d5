//! Single steps of the dispatcher that the model's worlds do not reach: a gap up to another reader, and a
//! rewind between a seal and its replacement.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::sync::Arc;
use std::time::Duration;

use fixedbitset::FixedBitSet;
use tunnelog::delivery::{
    At, Command, Dispatcher, Encoded, Epoch, Item, LaneItems, LaneKey, LaneState, Options, Piece, PieceEnd, ReadResult,
    ReaderId, RecordInfo, Seal, SinkOptions,
};
use tunnelog::event::{Action, EventId, Kind, Millis, Severity};
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
    let position = Position::from(position);
    let info = RecordInfo { position, done: true, ..RecordInfo::default() };
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
