//! The frontier of a lane: how far everything that was read is settled.
//!
//! One slot a record, kept as runs: a stretch in which everything is settled is one entry. Pure and bounded:
//! the dispatcher stops reading at [`Frontier::open_records`] = `limits.open_records`.
//!
//! Invariant: [`Frontier::resolved`] never passes a record with an unsettled item, nor one whose last piece
//! has not come.

use std::collections::VecDeque;

use super::{BatchId, LaneItems, Records, Selection, Settlement};
use crate::event::Millis;
use crate::source::Position;

/// One stretch of records, in the order in which they were read.
#[derive(Debug)]
struct Entry {
    /// The batch, of a run the last one in it: entries ascend by it.
    batch: BatchId,
    stretch: Stretch,
}

#[derive(Debug)]
enum Stretch {
    /// Everything in it is settled.
    Run { last_done: Option<Position>, records: usize },
    /// A batch with unsettled items.
    Open(OpenBatch),
}

#[derive(Debug)]
struct OpenBatch {
    records: Vec<OpenRecord>,
    /// Unsettled items in all records.
    open: u64,
}

#[derive(Debug)]
struct OpenRecord {
    position: Position,
    arrival: Option<Millis>,
    done: bool,
    /// One past the last item of this record, in the batch's numbering.
    items_end: u32,
    /// Unsettled items.
    open: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Frontier {
    entries: VecDeque<Entry>,
    resolved: Option<Position>,
    open_records: usize,
}

impl Frontier {
    /// The last record up to which everything is settled; `None` before the first.
    pub fn resolved(&self) -> Option<Position> {
        self.resolved
    }

    /// The first record that is not resolved.
    pub fn first_open(&self) -> Option<Position> {
        self.entries.iter().find_map(|entry| match &entry.stretch {
            Stretch::Run { .. } => None,
            Stretch::Open(open) => open.records.first().map(|record| record.position),
        })
    }

    /// When the oldest record arrived that is not resolved, if its source tells.
    pub fn oldest_arrival(&self) -> Option<Millis> {
        self.entries.iter().find_map(|entry| match &entry.stretch {
            Stretch::Run { .. } => None,
            Stretch::Open(open) => open.records.first().map(|record| record.arrival),
        })?
    }

    /// Records that were read and are not resolved.
    pub fn open_records(&self) -> usize {
        self.open_records
    }

    /// Items that were read and are not settled.
    pub fn open_items(&self) -> u64 {
        let open = self.entries.iter().map(|entry| match &entry.stretch {
            Stretch::Run { .. } => 0,
            Stretch::Open(open) => open.open,
        });
        open.sum()
    }

    /// Whether everything that was read is resolved.
    pub fn is_clear(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds the records of a piece. Those without items of this lane are settled at once.
    pub fn push(&mut self, batch: BatchId, records: &Records, items: &LaneItems) {
        self.open_records += records.len();
        let stretch = if items.count() == 0 {
            let last_done = records.iter().rev().find(|record| record.done).map(|record| record.position);
            Stretch::Run { last_done, records: records.len() }
        } else {
            Stretch::Open(OpenBatch::new(records, items))
        };
        self.entries.push_back(Entry { batch, stretch });
        self.merge_with_previous(self.entries.len() - 1);
        self.advance();
    }

    /// Settles items. A settlement for a batch that is not open is ignored: it was settled already.
    pub fn settle(&mut self, settlement: &Settlement) {
        let mut index = self.entries.partition_point(|entry| entry.batch < settlement.batch);
        if mutant!(ForgetEpoch) && self.entries.get(index).is_none_or(|entry| entry.batch != settlement.batch) {
            // As if batches were numbered within an epoch: an older one is taken for the first of this one.
            index = self.entries.iter().position(|entry| matches!(entry.stretch, Stretch::Open(_))).unwrap_or(index);
        }
        let Some(entry) =
            self.entries.get_mut(index).filter(|entry| entry.batch == settlement.batch || mutant!(ForgetEpoch))
        else {
            return;
        };
        let Stretch::Open(open) = &mut entry.stretch else { return };
        open.settle(settlement);
        if mutant!(PartIsWhole) {
            open.open = 0;
        }
        if mutant!(ForgetEpoch) {
            open.open = 0;
        }
        if open.open == 0 {
            entry.stretch = open.as_run();
            self.merge_with_previous(index + 1);
            self.merge_with_previous(index);
        }
        self.advance();
    }

    /// Joins the entry at `index` to the one before it if both are runs.
    fn merge_with_previous(&mut self, index: usize) {
        let Some(before) = index.checked_sub(1) else { return };
        let (
            Some(Entry { stretch: Stretch::Run { .. }, .. }),
            Some(Entry { batch, stretch: Stretch::Run { last_done, records } }),
        ) = (self.entries.get(before), self.entries.get(index))
        else {
            return;
        };
        let (batch, last_done, records) = (*batch, *last_done, *records);
        if let Some(Entry { batch: last, stretch: Stretch::Run { last_done: done, records: count } }) =
            self.entries.get_mut(before)
        {
            *last = batch;
            *done = last_done.or(*done);
            *count += records;
            self.entries.remove(index);
        }
    }

    /// Moves over what is settled at the front.
    fn advance(&mut self) {
        while let Some(Entry { stretch, .. }) = self.entries.front_mut() {
            match stretch {
                Stretch::Run { last_done, records } => {
                    self.resolved = last_done.or(self.resolved);
                    self.open_records -= *records;
                    self.entries.pop_front();
                }
                Stretch::Open(open) => {
                    let (resolved, records) = open.take_settled_head();
                    self.resolved = resolved.or(self.resolved);
                    self.open_records -= records;
                    return;
                }
            }
        }
    }
}

impl OpenBatch {
    fn new(records: &Records, items: &LaneItems) -> OpenBatch {
        let mut open: Vec<OpenRecord> = records
            .iter()
            .map(|record| OpenRecord {
                position: record.position,
                arrival: record.arrival,
                done: record.done,
                items_end: 0,
                open: 0,
            })
            .collect();
        for (index, item) in items.encoded.items.iter().enumerate() {
            let own = match &items.own {
                Selection::All => true,
                Selection::Some(bits) => bits.contains(index),
            };
            if let Some(record) = open.get_mut(item.record as usize) {
                record.items_end = index as u32 + 1;
                record.open += u32::from(own);
            }
        }
        let mut end = 0;
        for record in &mut open {
            end = end.max(record.items_end);
            record.items_end = end;
        }
        OpenBatch { records: open, open: items.count() as u64 }
    }

    fn settle(&mut self, settlement: &Settlement) {
        for range in &settlement.items {
            let mut record = self.records.partition_point(|record| record.items_end <= range.start);
            for item in range.clone() {
                while self.records.get(record).is_some_and(|found| found.items_end <= item) {
                    record += 1;
                }
                if let Some(found) = self.records.get_mut(record) {
                    // The receipt settles an item once and only the lane's own, so neither can underflow.
                    found.open = found.open.saturating_sub(1);
                    self.open = self.open.saturating_sub(1);
                }
            }
        }
    }

    fn as_run(&self) -> Stretch {
        let last_done = self.records.iter().rev().find(|record| record.done).map(|record| record.position);
        Stretch::Run { last_done, records: self.records.len() }
    }

    /// Removes the settled records at the head; the last finished position among them and their number.
    fn take_settled_head(&mut self) -> (Option<Position>, usize) {
        let settled = self.records.iter().take_while(|record| record.open == 0).count();
        let mut resolved = None;
        for record in self.records.drain(..settled) {
            if record.done {
                resolved = Some(record.position);
            }
        }
        (resolved, settled)
    }
}
