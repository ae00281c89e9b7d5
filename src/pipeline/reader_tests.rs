//! A reader that has helpers make pieces before their grants come: under paused time, with helpers that never come, so
//! that whose the helpers are is all that shows of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use async_trait::async_trait;
use tokio::sync::mpsc::{Receiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::config::types::Simulate;
use crate::core::SinkPlan;
use crate::encode::{Format, JsonFormat};
use crate::enrich::Snapshot;
use crate::memory::{Slot, Slots};
use crate::route::Filter;
use crate::source::simulate::Fleet;

const HELPERS: usize = 2;

/// Records that a reader gets in one answer.
struct Answer(Vec<Record>);

#[async_trait]
impl Reopen for Answer {
    async fn open(&self, _: &ShardId, _: StartAt) -> Result<Box<dyn Reader>, SourceError> {
        Ok(Box::new(Answer(self.0.clone())))
    }
}

#[async_trait]
impl Reader for Answer {
    async fn next(&mut self) -> Result<Feed, SourceError> {
        let records = std::mem::take(&mut self.0);
        Ok(if records.is_empty() { Feed::ShardEnd } else { Feed::Records(records) })
    }
}

struct World {
    grants: UnboundedSender<Grant>,
    events: Receiver<Happened>,
    helpers: Arc<Helpers>,
    /// The one that helpers would need.
    _slot: Slot,
    _tasks: JoinSet<()>,
    records: Vec<Position>,
}

impl World {
    /// A reader at work. There is room for one piece at a time.
    #[expect(clippy::disallowed_methods, reason = "grants come in a channel without a bound, as the engine makes it")]
    fn new() -> World {
        let fleet = Fleet::new(&Simulate { seed: 5, connections: 100, hours: 4, ..Simulate::default() }).unwrap();
        let records = fleet.records().map(|record| Record::new(record.position, Some(record.arrival), record.data));
        let records: Vec<Record> = records.collect();
        let positions = records.iter().map(|record| record.position).collect();
        let slots = Slots::new(1);
        let slot = slots.try_take().unwrap();
        let helpers = Helpers::new(HELPERS, &slots);
        let format = Format::Json(JsonFormat::new(&Default::default()));
        let task = ReaderTask {
            id: ReaderId(1),
            shard: ShardId {
                source: "main".into(),
                stream: "vpn".into(),
                stream_created: "".into(),
                shard: "0".into(),
            },
            from: StartAt::TrimHorizon,
            pause: Duration::ZERO,
            reopen: Arc::new(Answer(records)),
            region: None,
            core: Arc::new(Core::new(64 << 20, vec![SinkPlan { format, filter: Filter::default() }])),
            inventory: Arc::new(Inventory::new(Snapshot::default())),
            memory: Memory::even(1, 1 << 20),
            helpers: Arc::clone(&helpers),
            tally: Arc::new(SourceTally::new(&"main".into(), Arc::new([]), Arc::default())),
        };
        let ((grants, granted), (happened, events)) = (unbounded_channel(), channel(1));
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(granted, happened));
        World { grants, events, helpers, _slot: slot, _tasks: tasks, records: positions }
    }

    fn grant(&self) {
        self.grants.send(Grant { sinks: vec![SinkId(0)], until: None }).unwrap();
    }

    async fn result(&mut self) -> ReadResult {
        match self.events.recv().await.unwrap() {
            Happened::Read(result) => result,
            _ => panic!("the reader has ended"),
        }
    }

    async fn next(&mut self) -> ReadResult {
        self.grant();
        self.result().await
    }

    /// What comes after `read`, to the end: all records, each once and in order.
    async fn check_rest(&mut self, mut read: Vec<Position>) {
        loop {
            let result = self.next().await;
            read.extend(positions(&result));
            if result.end == PieceEnd::ShardEnd {
                break;
            }
        }
        assert!(read == self.records, "{} of {} records", read.len(), self.records.len());
    }
}

fn positions(result: &ReadResult) -> impl Iterator<Item = Position> {
    result.piece.records.iter().filter(|record| record.done).map(|record| record.position)
}

#[tokio::test(start_paused = true)]
async fn what_is_made_ahead_is_let_go_of_when_no_grant_comes() {
    let mut world = World::new();
    let mut read: Vec<Position> = positions(&world.next().await).collect();
    assert_eq!(world.helpers.idle(), HELPERS, "what makes a piece is not known yet");
    read.extend(positions(&world.next().await));
    assert_eq!(world.helpers.idle(), 0);
    sleep(AHEAD_PATIENCE / 2).await;
    assert_eq!(world.helpers.idle(), 0);
    sleep(AHEAD_PATIENCE).await;
    assert_eq!(world.helpers.idle(), HELPERS, "they are for others");
    read.extend(positions(&world.next().await));
    assert_eq!(world.helpers.idle(), 0, "and come again");
    world.check_rest(read).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_made_ahead_is_let_go_of_when_no_room_comes() {
    let mut world = World::new();
    let mut read: Vec<Position> = positions(&world.next().await).collect();
    let held = world.next().await;
    read.extend(positions(&held));
    world.grant();
    sleep(AHEAD_PATIENCE / 2).await;
    assert_eq!(world.helpers.idle(), 0);
    sleep(AHEAD_PATIENCE).await;
    assert_eq!(world.helpers.idle(), HELPERS, "they are for others");
    assert!(world.events.try_recv().is_err(), "it waits for room");
    drop(held);
    read.extend(positions(&world.result().await));
    assert_eq!(world.helpers.idle(), 0, "and come again");
    world.check_rest(read).await;
}
