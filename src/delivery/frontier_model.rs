//! Property tests: frontier and receipts against a naive model that remembers every record and every item.

use std::sync::Arc;

use fixedbitset::FixedBitSet;
use proptest::prelude::*;

use super::{Abandoned, BatchId, Encoded, Epoch, Frontier, Item, LaneId, LaneItems, Receipt, RecordInfo};
use crate::event::{Action, EventId, Kind, Millis, Severity};
use crate::source::Position;

/// What happens to a lane.
#[derive(Clone, Debug)]
enum Step {
    /// A piece arrives: for each record its items, and which of them are the lane's own; whether the last
    /// record goes on in the next piece.
    Push { records: Vec<Vec<bool>>, cut: bool },
    /// Some items of some open batch settle, others again, others never.
    Settle { batch: usize, from: u32, count: u32 },
    /// A receipt is dropped: the lane rewinds, all of it is read again.
    Forget { batch: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let records = prop::collection::vec(prop::collection::vec(prop::bool::ANY, 0..5), 0..6);
    let step = prop_oneof![
        4 => (records, prop::bool::ANY).prop_map(|(records, cut)| Step::Push { records, cut }),
        8 => (0..8_usize, 0..12_u32, 0..12_u32).prop_map(|(batch, from, count)| Step::Settle { batch, from, count }),
        1 => (0..8_usize).prop_map(|batch| Step::Forget { batch }),
    ];
    prop::collection::vec(step, 0..60)
}

/// A record in the naive model.
struct NaiveRecord {
    position: u64,
    done: bool,
    /// Own items that are not settled: (batch, index).
    open: Vec<(u64, u32)>,
}

#[derive(Default)]
struct Naive {
    records: Vec<NaiveRecord>,
    resolved: Option<Position>,
}

impl Naive {
    /// The last finished record before the first one with an open item.
    fn resolve(&mut self) {
        let settled = self.records.iter().take_while(|record| record.open.is_empty()).count();
        for record in self.records.drain(..settled) {
            if record.done {
                self.resolved = Some(Position::from(record.position));
            }
        }
    }
}

struct Lane {
    frontier: Frontier,
    naive: Naive,
    receipts: Vec<(u64, Receipt)>,
    abandoned: Arc<Abandoned>,
    epoch: Epoch,
    next_batch: u64,
    next_position: u64,
}

impl Lane {
    fn new() -> Lane {
        Lane {
            frontier: Frontier::default(),
            naive: Naive::default(),
            receipts: Vec::new(),
            abandoned: Arc::default(),
            epoch: Epoch(0),
            next_batch: 0,
            next_position: 1,
        }
    }

    fn push(&mut self, records: &[Vec<bool>], cut: bool) {
        let batch = self.next_batch;
        self.next_batch += 1;
        let (mut infos, mut encoded, mut own) = (Vec::new(), Encoded::default(), FixedBitSet::new());
        for (place, items) in records.iter().enumerate() {
            let done = !(cut && place + 1 == records.len());
            let mut open = Vec::new();
            for is_own in items {
                let index = encoded.items.len();
                encoded.bytes.extend_from_slice(&[b'x'; 100]);
                encoded.items.push(item(place, encoded.bytes.len()));
                own.grow(index + 1);
                own.set(index, *is_own);
                if *is_own {
                    open.push(index);
                }
            }
            infos.push(info(self.next_position, done));
            let open = open.into_iter().map(|index| (batch, index as u32)).collect();
            self.naive.records.push(NaiveRecord { position: self.next_position, done, open });
            self.next_position += u64::from(done);
        }
        encoded.records = Arc::new(infos);
        own.grow(encoded.items.len());
        let records = Arc::clone(&encoded.records);
        let items = LaneItems::new(&Arc::new(encoded), own.clone(), 0);
        renumber(&mut self.naive, batch, &own, &items);
        self.frontier.push(BatchId(batch), &records, &items);
        if items.count() > 0 {
            let receipt = Receipt::new(
                LaneId(0),
                self.epoch,
                BatchId(batch),
                items.encoded.items.len(),
                &items.own,
                &self.abandoned,
            );
            self.receipts.push((batch, receipt));
        }
        self.naive.resolve();
    }

    fn settle(&mut self, batch: usize, from: u32, count: u32) {
        if self.receipts.is_empty() {
            return;
        }
        let place = batch % self.receipts.len();
        let (batch, receipt) = &mut self.receipts[place];
        let settlement = receipt.settle(from..from + count);
        self.frontier.settle(&settlement);
        for record in &mut self.naive.records {
            record.open.retain(|(of, index)| of != batch || !(from..from + count).contains(index));
        }
        self.naive.resolve();
        if receipt.open_items() == 0 {
            self.receipts.remove(place);
        }
    }

    fn forget(&mut self, batch: usize) {
        if self.receipts.is_empty() {
            return;
        }
        let place = batch % self.receipts.len();
        drop(self.receipts.remove(place));
        assert_eq!(self.abandoned.take(), vec![(LaneId(0), self.epoch)], "a forgotten receipt leaves word");
        // What the dispatcher does then: all that is not resolved is read again, in a new epoch.
        self.receipts.clear();
        self.abandoned.take();
        self.epoch.0 += 1;
        let resolved = self.frontier.resolved();
        assert_eq!(resolved, self.naive.resolved);
        self.frontier = Frontier::default();
        self.naive = Naive::default();
    }
}

/// A sparse choice is copied out and its items are numbered anew: the model follows.
fn renumber(naive: &mut Naive, batch: u64, own: &FixedBitSet, items: &LaneItems) {
    if items.encoded.items.len() == own.len() {
        return;
    }
    for (of, index) in naive.records.iter_mut().flat_map(|record| &mut record.open) {
        if *of == batch {
            *index = own.ones().take_while(|one| (*one as u32) < *index).count() as u32;
        }
    }
}

fn item(record: usize, end: usize) -> Item {
    Item {
        end: end as u32,
        record: record as u32,
        id: EventId(0),
        time: Millis(0),
        kind: Kind::Ike,
        action: Action::Rekey,
        severity: Severity::Debug,
    }
}

fn info(position: u64, done: bool) -> RecordInfo {
    let position = Position::from(position);
    RecordInfo { position, done, ..RecordInfo::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_frontier_agrees_with_a_model_that_remembers_everything(steps in steps()) {
        let mut lane = Lane::new();
        for step in steps {
            match step {
                Step::Push { records, cut } => lane.push(&records, cut),
                Step::Settle { batch, from, count } => lane.settle(batch, from, count),
                Step::Forget { batch } => lane.forget(batch),
            }
            let open: usize = lane.naive.records.iter().map(|record| record.open.len()).sum();
            prop_assert_eq!(lane.frontier.resolved(), lane.naive.resolved);
            prop_assert_eq!(lane.frontier.open_items(), open as u64);
            prop_assert_eq!(lane.frontier.open_records(), lane.naive.records.len());
            prop_assert_eq!(lane.frontier.is_clear(), lane.naive.records.is_empty());
        }
        for (_, receipt) in lane.receipts.drain(..) {
            lane.frontier.settle(&receipt.settle_all());
        }
        prop_assert!(lane.frontier.is_clear());
    }
}
