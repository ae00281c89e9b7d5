//! What was admitted and is not settled: batches in the order in which they came, and what the brokers said of their
//! items. No clock, no librdkafka.
//!
//! Invariants: a batch leaves when all its items are settled, or when its lane is dropped; bytes and items that are
//! held never exceed [`HELD_BYTES`] and [`HELD_ITEMS`] by more than one batch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use fixedbitset::FixedBitSet;

use crate::delivery::{Epoch, LaneBatch, LaneId, Selection, Settlement};

/// Bytes of the buffers of admitted batches: some seconds of a busy fleet.
pub(super) const HELD_BYTES: usize = 32 * 1024 * 1024;

/// Items of admitted batches: as many as librdkafka takes at most.
pub(super) const HELD_ITEMS: usize = super::settings::QUEUE_MESSAGES as usize;

/// An admitted batch.
pub(super) struct Held {
    pub(super) batch: LaneBatch,
    /// The first item (index in the buffer) that librdkafka does not have yet.
    pub(super) next: u32,
    /// Items of the lane that are neither delivered nor dead letters.
    open: usize,
    /// The brokers have them.
    delivered: FixedBitSet,
    /// Some of them are not settled yet.
    owes: bool,
    /// The brokers refuse them; their dead letters are on the way.
    refused: FixedBitSet,
}

impl Held {
    fn items(&self) -> usize {
        self.batch.encoded.items.len()
    }

    /// Whether all of it was given to librdkafka.
    pub(super) fn is_sent(&self) -> bool {
        self.next as usize >= self.items()
    }

    /// Whether an item belongs to the lane.
    pub(super) fn owns(&self, item: u32) -> bool {
        match &self.batch.own {
            Selection::All => (item as usize) < self.items(),
            Selection::Some(bits) => bits.contains(item as usize),
        }
    }

    /// Whether librdkafka has, or had, an item whose fate is open.
    fn is_on_the_way(&self) -> bool {
        let settled = |item: u32| self.delivered.contains(item as usize) || self.refused.contains(item as usize);
        (0..self.next).any(|item| self.owns(item) && !settled(item))
    }

    /// Settles what was delivered, a word for each run.
    fn settle_delivered(&mut self, words: &mut Vec<Settlement>) {
        if !std::mem::take(&mut self.owes) {
            return;
        }
        let mut runs: Vec<Range<u32>> = Vec::new();
        for item in self.delivered.ones() {
            // Lossless: a batch has at most u32::MAX items.
            let item = item as u32;
            match runs.last_mut() {
                Some(run) if run.end == item => run.end += 1,
                _ => runs.push(item..item + 1),
            }
        }
        words.extend(runs.into_iter().map(|run| self.batch.receipt.settle(run)).filter(|word| word.count() > 0));
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    held: BTreeMap<u64, Held>,
    next_number: u64,
    bytes: usize,
    items: usize,
    epochs: HashMap<LaneId, Epoch>,
    /// Settlements that are ready.
    pub(super) words: Vec<Settlement>,
}

impl Ledger {
    /// From now on only this epoch of the lane counts.
    pub(super) fn begin(&mut self, lane: LaneId, epoch: Epoch) {
        self.epochs.insert(lane, epoch);
        self.remove(|held| held.batch.lane == lane && held.batch.epoch < epoch);
    }

    /// Drops the lane's receipts: it will be rewound. What still comes of its epoch is dropped as well, else it would
    /// be sent before what it follows.
    pub(super) fn abandon(&mut self, lane: LaneId) {
        let epoch = self.epochs.get(&lane).copied().unwrap_or_default();
        self.epochs.insert(lane, Epoch(epoch.0.saturating_add(1)));
        self.remove(|held| held.batch.lane == lane);
    }

    fn remove(&mut self, void: impl Fn(&Held) -> bool) {
        for (_, held) in self.held.extract_if(.., |_, held| void(held)) {
            self.bytes -= held.batch.encoded.bytes.len();
            self.items -= held.items();
        }
    }

    /// Whether another batch may come.
    pub(super) fn has_room(&self) -> bool {
        self.bytes < HELD_BYTES && self.items < HELD_ITEMS
    }

    /// Takes a batch in; one of a void epoch is forgotten.
    pub(super) fn admit(&mut self, batch: LaneBatch) {
        if self.epochs.get(&batch.lane).is_some_and(|epoch| batch.epoch < *epoch) {
            return;
        }
        let open = batch.receipt.open_items();
        if open == 0 {
            self.words.push(batch.receipt.settle_all());
            return;
        }
        let items = batch.encoded.items.len();
        self.bytes += batch.encoded.bytes.len();
        self.items += items;
        let none = FixedBitSet::with_capacity(items);
        let held = Held { batch, next: 0, open, delivered: none.clone(), owes: false, refused: none };
        self.held.insert(self.next_number, held);
        self.next_number += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The batch with this number, if it is still held.
    pub(super) fn get(&self, number: u64) -> Option<&Held> {
        self.held.get(&number)
    }

    /// The first batch from `number` on that librdkafka does not have all of.
    pub(super) fn unsent(&mut self, number: u64) -> Option<(u64, &mut Held)> {
        self.held.range_mut(number..).find(|(_, held)| !held.is_sent()).map(|(number, held)| (*number, held))
    }

    /// The brokers have these items.
    pub(super) fn delivered(&mut self, number: u64, items: Range<u32>) {
        let Some(held) = self.held.get_mut(&number) else { return };
        for item in items {
            if held.owns(item) && !held.delivered.put(item as usize) {
                held.open = held.open.saturating_sub(1);
                held.owes = true;
            }
        }
        self.close_if_done(number);
    }

    /// The brokers refuse this item; it stays open until its dead letter is durable. False if it is not held any more.
    pub(super) fn refuse(&mut self, number: u64, item: u32) -> bool {
        let held = self.held.get_mut(&number).filter(|held| held.owns(item));
        held.map(|held| held.refused.insert(item as usize)).is_some()
    }

    /// This item is a dead letter now, and that is durable.
    pub(super) fn rejected(&mut self, number: u64, item: u32) {
        let Some(held) = self.held.get_mut(&number) else { return };
        self.words.push(held.batch.receipt.reject(item..item + 1));
        held.open = held.open.saturating_sub(1);
        self.close_if_done(number);
    }

    fn close_if_done(&mut self, number: u64) {
        if self.held.get(&number).is_none_or(|held| held.open > 0) {
            return;
        }
        let Some(held) = self.held.remove(&number) else { return };
        self.bytes -= held.batch.encoded.bytes.len();
        self.items -= held.items();
        self.words.push(held.batch.receipt.settle_all());
    }

    /// Settles what was delivered of batches that are not complete.
    pub(super) fn settle_delivered(&mut self) {
        for held in self.held.values_mut() {
            held.settle_delivered(&mut self.words);
        }
    }

    /// Lanes of which librdkafka has, or had, items whose fate is open.
    pub(super) fn lanes_on_the_way(&self) -> BTreeSet<LaneId> {
        self.held.values().filter(|held| held.is_on_the_way()).map(|held| held.batch.lane).collect()
    }
}
