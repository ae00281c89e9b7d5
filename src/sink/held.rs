//! What a sink holds that sends many items in one request: the batches that are not settled yet, the items of them that
//! its destination refuses for good, and the requests that are under way.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;

use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Selection, Settlement};
use crate::encode::DeadLetter;

/// Bytes of dead letters that are made at once.
const LETTER_BYTES: usize = 4 * 1024 * 1024;

/// A batch, as long as its sink has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Ticket(pub(super) u64);

/// Items of one batch that follow one another. Only the lane's own items in the range are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) ticket: Ticket,
    pub(super) items: Range<u32>,
}

impl Run {
    /// The items that it means.
    pub(super) fn own<'b>(&self, batch: &'b LaneBatch) -> impl Iterator<Item = u32> + use<'b> {
        self.items.clone().filter(|index| match &batch.own {
            Selection::All => true,
            Selection::Some(own) => own.contains(*index as usize),
        })
    }
}

/// How much may be held before batches are refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    /// Of some hundred bytes each beside their buffers.
    pub(super) batches: usize,
}

/// The batches that are not settled yet.
#[derive(Debug)]
pub(super) struct Held {
    batches: BTreeMap<Ticket, LaneBatch>,
    bytes: usize,
    last: u64,
    bounds: Bounds,
}

impl Held {
    pub(super) fn new(bounds: Bounds) -> Held {
        Held { batches: BTreeMap::new(), bytes: 0, last: 0, bounds }
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bounds.bytes || self.batches.len() >= self.bounds.batches
    }

    pub(super) fn take(&mut self, batch: LaneBatch) -> Ticket {
        self.last += 1;
        self.bytes += batch.encoded.bytes.len();
        self.batches.insert(Ticket(self.last), batch);
        Ticket(self.last)
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&LaneBatch> {
        self.batches.get(&ticket)
    }

    pub(super) fn has(&self, ticket: Ticket) -> bool {
        self.batches.contains_key(&ticket)
    }

    /// Settles a run as delivered, or as dead letters. Nothing if its lane was rewound meanwhile.
    pub(super) fn settle(&mut self, run: &Run, rejected: bool) -> Option<Settlement> {
        let batch = self.batches.get_mut(&run.ticket)?;
        let items = run.items.clone();
        let settlement = if rejected { batch.receipt.reject(items) } else { batch.receipt.settle(items) };
        if batch.receipt.open_items() == 0 {
            self.remove(run.ticket);
        }
        Some(settlement).filter(|settlement| settlement.count() > 0)
    }

    /// Drops what belongs to older epochs of a lane.
    pub(super) fn discard(&mut self, lane: LaneId, epoch: Epoch) {
        let void =
            |(ticket, batch): (&Ticket, &LaneBatch)| (batch.lane == lane && batch.epoch < epoch).then_some(*ticket);
        let void: Vec<Ticket> = self.batches.iter().filter_map(void).collect();
        for ticket in void {
            self.remove(ticket);
        }
    }

    fn remove(&mut self, ticket: Ticket) {
        if let Some(batch) = self.batches.remove(&ticket) {
            self.bytes -= batch.encoded.bytes.len();
        }
    }
}

/// Items that no try will deliver.
#[derive(Debug)]
pub(super) struct Reject {
    pub(super) run: Run,
    /// A stable word.
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

/// The rejects that are not dead letters yet.
#[derive(Debug, Default)]
pub(super) struct RejectQueue(VecDeque<Reject>);

impl RejectQueue {
    pub(super) fn push(&mut self, reject: Reject) {
        self.0.push_back(reject);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next dead letters of `sink`, and the runs that settle when they are durable.
    pub(super) fn letters(
        &mut self,
        sink: &str,
        held: &Held,
        lanes: &HashMap<LaneId, LaneKey>,
    ) -> (Vec<DeadLetter>, Vec<Run>) {
        let (mut letters, mut runs, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < LETTER_BYTES
            && let Some(reject) = self.0.pop_front()
        {
            let Some(batch) = held.get(reject.run.ticket) else { continue };
            let Some(key) = lanes.get(&batch.lane) else { continue };
            for index in reject.run.own(batch) {
                let Some(item) = batch.encoded.items.get(index as usize) else { continue };
                let Some(record) = batch.encoded.records.get(item.record as usize) else { continue };
                let data = batch.encoded.bytes_of(index as usize);
                bytes += data.len();
                letters.push(DeadLetter::of_item(sink, key, record, item, data, reject.reason, reject.detail.clone()));
            }
            runs.push(reject.run);
        }
        if let Some(first) = letters.first() {
            let (count, detail) = (letters.len(), &first.detail);
            tracing::warn!(sink, count, detail, "events are refused for good and become dead letters");
        }
        (letters, runs)
    }
}

/// A request that is under way, or dead letters that are being written.
pub(super) type Flight<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Waits for the first flight that lands. Cancel-safe: flights stay in the list until they have.
pub(super) async fn first_landed<T>(flights: &mut Vec<Flight<T>>) -> T {
    poll_fn(|context| {
        let landed = flights.iter_mut().enumerate().find_map(|(index, flight)| match flight.as_mut().poll(context) {
            Poll::Ready(landed) => Some((index, landed)),
            Poll::Pending => None,
        });
        match landed {
            Some((index, landed)) => {
                drop(flights.swap_remove(index));
                Poll::Ready(landed)
            }
            None => Poll::Pending,
        }
    })
    .await
}
