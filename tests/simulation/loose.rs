//! The model of Firehose and Splunk: settles in any order, resends what failed, refuses some items for good, has
//! little room, loses answers after success, forgets batches, and hears of old ones late.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::checker::EventRef;
use super::hand::{Found, Hand, Trouble, until};
use crate::delivery::{Encoded, Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::sink::{FromSink, Sink, Tell};

/// Calls under way.
const FLIGHTS: usize = 3;

/// Items in one call.
const CALL_ITEMS: usize = 8;

/// Batches that were discarded and whose results are still to come.
const GHOSTS: usize = 6;

#[derive(Debug)]
struct Held {
    batch: LaneBatch,
    /// Neither settled nor on their way.
    open: Vec<Found>,
    flying: usize,
}

#[derive(Debug)]
struct Flight {
    due: Instant,
    batch: crate::delivery::BatchId,
    lane: LaneId,
    items: Vec<Found>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Loose {
    hand: Hand,
    held: Vec<Held>,
    ghosts: VecDeque<Held>,
    flights: Vec<Flight>,
    outbox: VecDeque<FromSink>,
    room: usize,
    refused: bool,
    trouble: Trouble,
    resume_at: Option<Instant>,
}

impl Loose {
    pub(super) fn new(hand: Hand) -> Loose {
        let room = 2 + hand.below(6);
        Loose {
            hand,
            held: Vec::new(),
            ghosts: VecDeque::new(),
            flights: Vec::new(),
            outbox: VecDeque::new(),
            room,
            refused: false,
            trouble: Trouble::default(),
            resume_at: None,
        }
    }

    fn start(&mut self) {
        if self.resume_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.resume_at = None;
        while self.flights.len() < FLIGHTS {
            let ready: Vec<usize> = (0..self.held.len()).filter(|index| !self.held[*index].open.is_empty()).collect();
            if ready.is_empty() {
                return;
            }
            let chosen = &mut self.held[ready[self.hand.below(ready.len())]];
            let count = 1 + self.hand.below(chosen.open.len().min(CALL_ITEMS));
            let items: Vec<Found> =
                (0..count).map(|_| chosen.open.swap_remove(self.hand.below(chosen.open.len()))).collect();
            chosen.flying += items.len();
            let (batch, lane, due) = (chosen.batch.batch, chosen.batch.lane, self.hand.call());
            self.flights.push(Flight { due, batch, lane, items });
        }
    }

    fn land(&mut self, flight: Flight) {
        let out = self.hand.is_out() || self.hand.fault("failed call of a sink", 60);
        if let Some(down) = self.trouble.heard(out) {
            self.hand.note(if down { "is down" } else { "is up" });
            self.outbox.push_back(if down { FromSink::Down("the model is down".into()) } else { FromSink::Up });
        }
        if out {
            self.resume_at = Some(self.hand.later());
        }
        let answer_lost = self.hand.fault("lost answer of a sink", 40);
        let shard = self.hand.shard(flight.lane);
        let mut done = Vec::new();
        let mut again = Vec::new();
        for item in flight.items {
            if out || self.hand.fault("partial failure", 120) {
                again.push(item);
                continue;
            }
            let refused = self.hand.name != "dead-letters" && is_poison(item.event);
            {
                let mut world = self.hand.world.lock();
                let process = self.hand.process.number;
                world.check_item(process, self.hand.name, shard, item.event);
                if refused {
                    world.rejected(self.hand.name, item.event);
                } else {
                    world.delivered(process, self.hand.name, shard, item.event);
                }
            }
            if answer_lost { again.push(item) } else { done.push((item.index, refused)) }
        }
        self.hand.note(format_args!("{} settles {} of {:?}", flight.lane.0, done.len(), flight.batch));
        self.settle(flight.batch, &done, again);
    }

    fn settle(&mut self, batch: crate::delivery::BatchId, done: &[(u32, bool)], again: Vec<Found>) {
        let mut all = self.held.iter_mut().chain(&mut self.ghosts);
        let Some(held) = all.find(|held| held.batch.batch == batch) else { return };
        held.flying -= done.len() + again.len();
        held.open.extend(again);
        for (index, refused) in done {
            let items = *index..*index + 1;
            let receipt = &mut held.batch.receipt;
            let settlement = if *refused { receipt.reject(items) } else { receipt.settle(items) };
            self.outbox.push_back(FromSink::Settled(settlement));
        }
        let forgets = self.hand.fault("forgotten batch", 40);
        self.held.retain(|held| {
            let is_done = held.open.is_empty() && held.flying == 0;
            !(is_done || (forgets && held.batch.batch == batch))
        });
        self.ghosts.retain(|ghost| ghost.flying > 0);
        if self.refused && self.held.len() < self.room {
            self.refused = false;
            self.outbox.push_back(FromSink::Room);
        }
    }
}

/// Some events no destination takes.
fn is_poison((record, event): EventRef) -> bool {
    (record * 7 + event) % 23 == 5
}

#[async_trait]
impl Sink for Loose {
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, _seal: Option<Seal>) {
        self.hand.open(lane, key);
        if self.held.iter().any(|held| held.batch.lane == lane && held.batch.epoch < epoch) {
            self.hand.world.lock().fail(format!("{lane:?} begins anew, and what was in flight was not discarded"));
        }
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        if self.held.len() >= self.room {
            self.refused = true;
            return Err(batch);
        }
        let open = self.hand.items(&batch);
        if !open.is_empty() {
            self.held.push(Held { batch, open, flying: 0 });
        }
        Ok(())
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        if what != Tell::Discard {
            return;
        }
        let is_void = |held: &Held| held.batch.lane == lane && held.batch.epoch < epoch;
        let (mut void, held): (Vec<Held>, Vec<Held>) = self.held.drain(..).partition(is_void);
        self.held = held;
        // What is on its way arrives all the same, and its result with it, perhaps long after the lane has begun anew.
        for flight in &mut self.flights {
            if void.iter().any(|held| held.batch.batch == flight.batch) {
                flight.due += self.hand.world.lock().dice.millis(0, 4_000);
            }
        }
        // What is under way are copies.
        void.iter_mut().for_each(|held| held.batch.encoded = Arc::new(Encoded::default()).into());
        self.ghosts.extend(void.into_iter().filter(|held| held.flying > 0));
        while self.ghosts.len() > GHOSTS {
            self.ghosts.pop_front();
        }
        if self.refused && self.held.len() < self.room {
            self.refused = false;
            self.outbox.push_back(FromSink::Room);
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            self.start();
            let first = self.flights.iter().map(|flight| flight.due).min();
            until(first.into_iter().chain(self.resume_at).min()).await;
            self.hand.process.gate().await;
            let now = Instant::now();
            if let Some(place) = self.flights.iter().position(|flight| flight.due <= now) {
                let flight = self.flights.remove(place);
                self.land(flight);
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}
