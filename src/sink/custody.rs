//! What sinks have in common that send many items in one request: the batches that were given into their hands, what
//! the dispatcher is told of them, and the dead letters of what is refused for good.

use std::collections::{HashMap, VecDeque};

use super::held::{Bounds, Flight, Held, Reject, RejectQueue, Run, Ticket};
use super::{Context, FromSink};
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey};

/// See the module.
pub(super) struct Custody {
    pub(super) context: Context,
    lanes: HashMap<LaneId, LaneKey>,
    pub(super) held: Held,
    rejects: RejectQueue,
    /// Dead letters are being written.
    is_keeping: bool,
    /// A batch was refused.
    has_refused: bool,
    outbox: VecDeque<FromSink>,
}

impl Custody {
    pub(super) fn new(context: Context, bounds: Bounds) -> Custody {
        Custody {
            context,
            lanes: HashMap::new(),
            held: Held::new(bounds),
            rejects: RejectQueue::default(),
            is_keeping: false,
            has_refused: false,
            outbox: VecDeque::new(),
        }
    }

    pub(super) fn open(&mut self, lane: LaneId, key: &LaneKey) {
        self.lanes.insert(lane, key.clone());
    }

    /// Takes a batch, unless too much is held. Nothing comes of one that has no open items: it is settled at once.
    pub(super) fn take(&mut self, batch: LaneBatch) -> Result<Option<Ticket>, LaneBatch> {
        if self.held.is_full() {
            self.has_refused = true;
            return Err(batch);
        }
        if batch.receipt.open_items() == 0 {
            self.say(FromSink::Settled(batch.receipt.settle_all()));
            return Ok(None);
        }
        Ok(Some(self.held.take(batch)))
    }

    /// Drops what belongs to older epochs of a lane.
    pub(super) fn discard(&mut self, lane: LaneId, epoch: Epoch) {
        self.held.discard(lane, epoch);
    }

    /// These items are delivered.
    pub(super) fn settle(&mut self, runs: &[Run]) {
        self.settle_as(runs, false);
    }

    fn settle_as(&mut self, runs: &[Run], rejected: bool) {
        for run in runs {
            self.outbox.extend(self.held.settle(run, rejected).map(FromSink::Settled));
        }
    }

    /// No try will deliver these items; `reason` is a stable word.
    pub(super) fn reject(&mut self, run: Run, reason: &'static str, detail: String) {
        self.rejects.push(Reject { run, reason, detail });
    }

    /// Writes dead letters, if there are any and none are being written: what is then to be told to [`kept`](Self::kept).
    pub(super) fn keep(&mut self) -> Option<Flight<Vec<Run>>> {
        if self.is_keeping || self.rejects.is_empty() {
            return None;
        }
        let (letters, runs) = self.rejects.letters(&self.context.name, &self.held, &self.lanes);
        if letters.is_empty() {
            return None;
        }
        self.is_keeping = true;
        let rejects = self.context.rejects.clone();
        Some(Box::pin(async move {
            rejects.keep(&letters).await;
            runs
        }))
    }

    /// The dead letters of these items are durable.
    pub(super) fn kept(&mut self, runs: &[Run]) {
        self.is_keeping = false;
        self.settle_as(runs, true);
    }

    /// Says that there is room again, if that is so and was asked for.
    pub(super) fn offer_room(&mut self) {
        if self.has_refused && !self.held.is_full() {
            self.has_refused = false;
            self.say(FromSink::Room);
        }
    }

    pub(super) fn say(&mut self, word: impl Into<Option<FromSink>>) {
        self.outbox.extend(word.into());
    }

    /// What is to be said next.
    pub(super) fn word(&mut self) -> Option<FromSink> {
        self.outbox.pop_front()
    }
}
