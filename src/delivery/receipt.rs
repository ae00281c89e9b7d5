//! Receipts: an acknowledgement is a value that is consumed once.
//!
//! A [`Receipt`] belongs to one batch of one lane. It alone can make a [`Settlement`], so a sink cannot claim
//! what it was not given, nor claim it twice. Dropping it abandons what is left, and the lane rewinds.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use fixedbitset::FixedBitSet;
use tokio::sync::Notify;

use super::{BatchId, Epoch, LaneId, Selection};

/// Items of a batch that the sink has settled: delivered, or dead-lettered and then settled.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    pub(super) lane: LaneId,
    pub(super) epoch: Epoch,
    pub(super) batch: BatchId,
    pub(super) items: Vec<Range<u32>>,
    /// They are dead letters, and those are durable.
    pub(super) rejected: bool,
}

impl Settlement {
    /// How many items it settles.
    pub fn count(&self) -> u64 {
        self.items.iter().map(|range| u64::from(range.end - range.start)).sum()
    }

    /// The lane.
    pub fn lane(&self) -> LaneId {
        self.lane
    }
}

/// The right, and the duty, to settle the items of one batch.
#[derive(Debug)]
pub struct Receipt {
    lane: LaneId,
    epoch: Epoch,
    batch: BatchId,
    open: FixedBitSet,
    abandoned: Arc<Abandoned>,
}

impl Receipt {
    pub(crate) fn new(
        lane: LaneId,
        epoch: Epoch,
        batch: BatchId,
        items: usize,
        own: &Selection,
        abandoned: &Arc<Abandoned>,
    ) -> Receipt {
        let mut open = FixedBitSet::with_capacity(items);
        match own {
            Selection::All => open.insert_range(..),
            Selection::Some(bits) => open.union_with(bits),
        }
        Receipt { lane, epoch, batch, open, abandoned: Arc::clone(abandoned) }
    }

    /// The lane it belongs to.
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// The epoch it belongs to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Items that are not settled yet.
    pub fn open_items(&self) -> usize {
        self.open.count_ones(..)
    }

    /// Settles those of `items` (indexes in the batch) that are still open.
    #[must_use = "a settlement must reach the dispatcher, else the items are delivered again"]
    pub fn settle(&mut self, items: Range<u32>) -> Settlement {
        let end = (items.end as usize).min(self.open.len());
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for index in items.start as usize..end {
            if !self.open.contains(index) {
                continue;
            }
            self.open.remove(index);
            // Lossless: a batch has at most u32::MAX items, checked where it is encoded.
            let index = index as u32;
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end = index + 1,
                _ => ranges.push(index..index + 1),
            }
        }
        Settlement { lane: self.lane, epoch: self.epoch, batch: self.batch, items: ranges, rejected: false }
    }

    /// Settles items that the destination refused for good, once their dead letters are durable.
    #[must_use = "a settlement must reach the dispatcher, else the items are delivered again"]
    pub fn reject(&mut self, items: Range<u32>) -> Settlement {
        Settlement { rejected: true, ..self.settle(items) }
    }

    /// Settles everything that is left.
    #[must_use = "a settlement must reach the dispatcher, else the items are delivered again"]
    pub fn settle_all(mut self) -> Settlement {
        self.settle(0..u32::MAX)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.open.is_clear() {
            self.abandoned.push(self.lane, self.epoch);
        }
    }
}

/// Where dropped receipts leave word. Bounded: at most one entry for a lane and epoch.
#[derive(Debug, Default)]
pub struct Abandoned {
    lanes: Mutex<BTreeSet<(LaneId, Epoch)>>,
    wake: Notify,
}

impl Abandoned {
    fn push(&self, lane: LaneId, epoch: Epoch) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).insert((lane, epoch));
        self.wake.notify_one();
    }

    /// Takes what has been abandoned so far.
    pub fn take(&self) -> Vec<(LaneId, Epoch)> {
        std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().collect()
    }

    /// Waits until something may have been abandoned. Cancel-safe.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(items: usize, own: &Selection) -> (Receipt, Arc<Abandoned>) {
        let abandoned = Arc::new(Abandoned::default());
        (Receipt::new(LaneId(3), Epoch(1), BatchId(9), items, own, &abandoned), abandoned)
    }

    #[test]
    fn an_item_settles_once() {
        let (mut receipt, abandoned) = receipt(10, &Selection::All);
        assert_eq!(receipt.settle(2..5).count(), 3);
        assert_eq!(receipt.settle(0..6).items, vec![0..2, 5..6]);
        assert_eq!(receipt.settle_all().items, vec![6..10]);
        assert!(abandoned.take().is_empty(), "nothing was left to abandon");
    }

    #[test]
    fn only_the_lanes_own_items_settle() {
        let mut bits = FixedBitSet::with_capacity(6);
        bits.insert(1);
        bits.insert(4);
        let (receipt, _) = receipt(6, &Selection::Some(bits));
        assert_eq!(receipt.settle_all().items, vec![1..2, 4..5]);
    }

    #[test]
    fn forgetting_a_receipt_leaves_word_once() {
        let (mut receipt, abandoned) = receipt(2, &Selection::All);
        let _ = receipt.settle(0..1);
        drop(receipt);
        assert_eq!(abandoned.take(), vec![(LaneId(3), Epoch(1))]);
        assert!(abandoned.take().is_empty());
    }

    #[test]
    fn settling_beyond_the_batch_is_harmless() {
        let (mut receipt, _) = receipt(2, &Selection::All);
        assert_eq!(receipt.settle(1..99).items, vec![1..2]);
        assert_eq!(receipt.settle(7..9).count(), 0);
        assert_eq!(receipt.settle_all().count(), 1);
    }
}
