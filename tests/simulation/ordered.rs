//! The model of Kafka: appends each lane's items in their order; an answer may be lost, but nothing is appended twice
//! for that; a fatal error forgets all batches.

use std::collections::{BTreeMap, VecDeque};

use async_trait::async_trait;
use tokio::time::Instant;

use super::hand::{Found, Hand, Trouble, until};
use crate::delivery::{BatchId, Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::sink::{FromSink, Sink, Tell};

/// Items in one request.
const REQUEST_ITEMS: usize = 6;

/// One lane's queue.
#[derive(Debug, Default)]
struct Queue {
    batches: BTreeMap<BatchId, LaneBatch>,
    items: VecDeque<(BatchId, Found)>,
    /// The request under way: how many of the first items, and when it arrives.
    request: Option<(usize, Instant)>,
    /// So many of the first items are appended, but their answer was lost.
    appended: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ordered {
    hand: Hand,
    queues: BTreeMap<LaneId, Queue>,
    outbox: VecDeque<FromSink>,
    room: usize,
    refused: bool,
    trouble: Trouble,
}

impl Ordered {
    pub(super) fn new(hand: Hand) -> Ordered {
        let room = 10 + hand.below(60);
        Ordered {
            hand,
            queues: BTreeMap::new(),
            outbox: VecDeque::new(),
            room,
            refused: false,
            trouble: Trouble::default(),
        }
    }

    fn held(&self) -> usize {
        self.queues.values().map(|queue| queue.items.len()).sum()
    }

    fn make_room(&mut self) {
        if self.refused && self.held() < self.room {
            self.refused = false;
            self.outbox.push_back(FromSink::Room);
        }
    }

    fn start(&mut self) {
        for queue in self.queues.values_mut() {
            if queue.request.is_none() && !queue.items.is_empty() {
                let count = queue.appended.max(1 + self.hand.below(queue.items.len().min(REQUEST_ITEMS)));
                queue.request = Some((count.min(queue.items.len()), self.hand.call()));
            }
        }
    }

    fn land(&mut self, lane: LaneId) {
        let out = self.hand.is_out() || self.hand.fault("failed request of a sink", 60);
        if let Some(down) = self.trouble.heard(out) {
            self.hand.note(if down { "is down" } else { "is up" });
            self.outbox.push_back(if down { FromSink::Down("the model is down".into()) } else { FromSink::Up });
        }
        let lost = self.hand.fault("lost answer of a sink", 40);
        let fatal = self.hand.fault("fatal error of a sink", 6);
        let shard = self.hand.shard(lane);
        let Some(queue) = self.queues.get_mut(&lane) else { return };
        let Some((count, _)) = queue.request.take() else { return };
        if out {
            queue.request = Some((count, self.hand.later()));
            return;
        }
        for (_, item) in queue.items.iter().take(count).skip(queue.appended) {
            let mut world = self.hand.world.lock();
            world.check_order(self.hand.process.number, self.hand.name, item.event);
            world.delivered(self.hand.process.number, self.hand.name, shard, item.event);
        }
        queue.appended = queue.appended.max(count);
        self.hand.note(format_args!(
            "{} appends {count}{}",
            lane.0,
            if lost { ", and the answer is lost" } else { "" }
        ));
        if fatal {
            self.hand.note("has a fatal error");
            self.queues.values_mut().for_each(|queue| *queue = Queue::default());
        } else if !lost {
            queue.appended -= count;
            for (batch, item) in queue.items.drain(..count) {
                let Some(held) = queue.batches.get_mut(&batch) else { continue };
                self.outbox.push_back(FromSink::Settled(held.receipt.settle(item.index..item.index + 1)));
                if held.receipt.open_items() == 0 {
                    queue.batches.remove(&batch);
                }
            }
        }
        self.make_room();
    }
}

#[async_trait]
impl Sink for Ordered {
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, _seal: Option<Seal>) {
        self.hand.open(lane, key);
        if self.queues.get(&lane).is_some_and(|queue| queue.batches.values().any(|batch| batch.epoch < epoch)) {
            self.hand.world.lock().fail(format!("{lane:?} begins anew, and what was in flight was not discarded"));
        }
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        if self.held() >= self.room {
            self.refused = true;
            return Err(batch);
        }
        let items = self.hand.items(&batch);
        if !items.is_empty() {
            let queue = self.queues.entry(batch.lane).or_default();
            queue.items.extend(items.into_iter().map(|item| (batch.batch, item)));
            queue.batches.insert(batch.batch, batch);
        }
        Ok(())
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        if what == Tell::Discard {
            let void = |queue: &Queue| queue.batches.values().all(|batch| batch.epoch < epoch);
            if self.queues.get(&lane).is_some_and(void) {
                self.queues.remove(&lane);
            }
            self.make_room();
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            self.start();
            let due = |queue: &Queue| queue.request.map(|(_, due)| due);
            until(self.queues.values().filter_map(due).min()).await;
            self.hand.process.gate().await;
            let now = Instant::now();
            let lane =
                self.queues.iter().find(|(_, queue)| due(queue).is_some_and(|due| due <= now)).map(|(id, _)| *id);
            if let Some(lane) = lane {
                self.land(lane);
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}
