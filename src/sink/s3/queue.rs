//! A lane's batches that are not in a chunk yet, taken out by whole records.
//!
//! A record may go on in the next batch; it is taken when all of it is there, so a chunk never holds half a record.
//! What waits is then one record more than the sink's bounds allow, and a record is bounded by `limits.record`.

use std::collections::VecDeque;

use super::chunk::{Due, Whole};
use crate::delivery::{BatchId, LaneBatch, Lent, Receipt, RecordInfo, Selection};
use crate::source::Position;

struct Queued {
    batch: BatchId,
    encoded: Lent,
    own: Selection,
    /// Records, and items, before these are taken.
    record: usize,
    item: usize,
}

impl Queued {
    fn info(&self) -> Option<&RecordInfo> {
        self.encoded.records.get(self.record)
    }

    fn owns(&self, index: usize) -> bool {
        match &self.own {
            Selection::All => true,
            Selection::Some(bits) => bits.contains(index),
        }
    }

    /// One past the last item of the record that is next.
    fn items_end(&self) -> usize {
        let items = self.encoded.items.iter().skip(self.item);
        self.item + items.take_while(|item| item.record as usize <= self.record).count()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    batches: VecDeque<Queued>,
    bytes: usize,
    /// Nothing more comes: what is there of a record is all of it.
    has_ended: bool,
}

impl Queue {
    /// Appends a batch; its receipt is the caller's.
    pub(super) fn push(&mut self, batch: LaneBatch) -> (BatchId, Receipt) {
        let LaneBatch { batch: id, encoded, own, receipt, .. } = batch;
        self.enqueue(id, encoded, own);
        (id, receipt)
    }

    pub(super) fn enqueue(&mut self, batch: BatchId, encoded: Lent, own: Selection) {
        self.bytes += encoded.bytes.len();
        self.batches.push_back(Queued { batch, encoded, own, record: 0, item: 0 });
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Queue::default();
    }

    /// Whether what came last is the beginning of a record whose rest has not come.
    pub(super) fn is_mid_record(&self) -> bool {
        self.batches.back().and_then(|batch| batch.encoded.records.last()).is_some_and(|record| !record.done)
    }

    /// In how many of the batches the next record stands; `None` if there is none that is whole.
    fn next_span(&self) -> Option<usize> {
        let mut position: Option<Position> = None;
        for (index, queued) in self.batches.iter().enumerate() {
            let info = queued.info()?;
            if position.is_some_and(|position| position != info.position) {
                // Its end had nothing for this lane and never came.
                return Some(index);
            }
            position = Some(info.position);
            if info.done || queued.record + 1 < queued.encoded.records.len() {
                return Some(index + 1);
            }
        }
        (self.has_ended && !self.batches.is_empty()).then_some(self.batches.len())
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    /// The next whole record.
    pub(super) fn peek(&self) -> Option<Whole<'_>> {
        let span = self.next_span()?;
        let info = self.batches.front()?.info()?;
        let own = |queued: &Queued| (queued.item..queued.items_end()).filter(|index| queued.owns(*index)).collect();
        let pieces = self.batches.iter().take(span).map(|queued| (&*queued.encoded, own(queued))).collect();
        Some(Whole { info, pieces })
    }

    /// Takes the next whole record out: what is settled when it is published.
    pub(super) fn take(&mut self, due: &mut Vec<Due>) {
        let Some(span) = self.next_span() else { return };
        let mut used_up = 0;
        for queued in self.batches.iter_mut().take(span) {
            let end = queued.items_end();
            queued.record += 1;
            let last = queued.record >= queued.encoded.records.len();
            used_up += usize::from(last);
            // Lossless: a batch has at most u32::MAX items, checked where it is encoded.
            let items = queued.item as u32..end as u32;
            match due.last_mut() {
                Some(before) if before.batch == queued.batch => {
                    before.items.end = items.end;
                    before.last = last;
                }
                _ => due.push(Due { batch: queued.batch, items, last }),
            }
            queued.item = end;
        }
        // Only the first ones can be used up: a record in several batches is the last one of all but the last.
        for queued in self.batches.drain(..used_up) {
            self.bytes -= queued.encoded.bytes.len();
        }
    }
}
