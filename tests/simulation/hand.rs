//! What the model sinks have in common: where they belong, what their batches hold, how long a call takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::checker::EventRef;
use super::world::{Process, Shared};
use crate::delivery::{LaneBatch, LaneId, LaneKey};
use crate::source::Position;

/// See the module.
#[derive(Debug)]
pub(super) struct Hand {
    pub world: Shared,
    pub process: Arc<Process>,
    pub name: &'static str,
    /// Every lane's name and shard.
    pub lanes: BTreeMap<LaneId, (LaneKey, usize)>,
}

/// An item of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Its number in the batch.
    pub index: u32,
    pub event: EventRef,
    pub position: Position,
}

impl Hand {
    pub(super) fn new(world: &Shared, process: &Arc<Process>, name: &'static str) -> Hand {
        Hand { world: world.clone(), process: Arc::clone(process), name, lanes: BTreeMap::new() }
    }

    pub(super) fn open(&mut self, lane: LaneId, key: &LaneKey) {
        let shard = self.world.lock().stream.shard_named(&key.shard.stream_created, &key.shard.shard);
        match shard {
            Some(shard) => drop(self.lanes.insert(lane, (key.clone(), shard))),
            None => self.world.lock().fail(format!("a lane of {key:?} is opened, and there is no such shard")),
        }
    }

    pub(super) fn shard(&self, lane: LaneId) -> usize {
        self.lanes.get(&lane).map_or(usize::MAX, |(_, shard)| *shard)
    }

    /// The lane's own items in a batch.
    pub(super) fn items(&self, batch: &LaneBatch) -> Vec<Found> {
        let mut world = self.world.lock();
        let Some((key, shard)) = self.lanes.get(&batch.lane) else {
            world.fail(format!("a batch comes for {:?}, which was not opened", batch.lane));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (index, item, bytes) in batch.items() {
            let position =
                batch.encoded.records.get(item.record as usize).map(|record| record.position).unwrap_or_default();
            match world.event_of(*shard, position, bytes) {
                Some(event) => found.push(Found { index, event, position }),
                None => world.fail(format!("an item of {key:?} at {position} is no event of that record")),
            }
        }
        found
    }

    /// Whether the destination takes nothing now.
    pub(super) fn is_out(&self) -> bool {
        self.world.lock().is_out(self.name)
    }

    pub(super) fn fault(&self, what: &'static str, per_mille: u64) -> bool {
        let mut world = self.world.lock();
        let bad = world.plan.sink;
        world.fault(what, per_mille * bad / 1_000)
    }

    /// A number below `bound` by the seed.
    pub(super) fn below(&self, bound: usize) -> usize {
        self.world.lock().dice.index(bound)
    }

    /// When a call that begins now has its effect.
    pub(super) fn call(&self) -> Instant {
        let slow = self.fault("slow sink", 40);
        let mut world = self.world.lock();
        let latency = if slow { world.dice.millis(500, 8_000) } else { world.dice.millis(1, 80) };
        Instant::now() + latency
    }

    /// When a call that failed is tried again.
    pub(super) fn later(&self) -> Instant {
        Instant::now() + self.world.lock().dice.millis(100, 3_000)
    }

    pub(super) fn note(&self, what: impl std::fmt::Display) {
        let mut world = self.world.lock();
        world.note(format_args!("p{} {} {what}", self.process.number, self.name));
    }
}

/// Waits until the first of some moments; for ever where there is none.
pub(super) async fn until(first: Option<Instant>) {
    match first {
        Some(first) => tokio::time::sleep_until(first).await,
        None => std::future::pending().await,
    }
}

/// How long an outage must last before a sink says that it is down.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// Whether a sink has said that its destination takes nothing.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    since: Option<Instant>,
    pub said: bool,
}

impl Trouble {
    /// A call failed or did not: what is to be said now. `Some(true)`: down.
    pub(super) fn heard(&mut self, failed: bool) -> Option<bool> {
        if failed {
            let since = *self.since.get_or_insert_with(Instant::now);
            let down = !self.said && since.elapsed() >= PATIENCE;
            self.said |= down;
            return down.then_some(true);
        }
        self.since = None;
        std::mem::take(&mut self.said).then_some(false)
    }
}
