//! What this sink holds, and what is under way of it.

use std::collections::BTreeMap;

use super::pack::{Parcel, Run, Ticket};
use crate::delivery::{Epoch, LaneBatch, LaneId, Settlement};

/// Bytes that may be held before batches are refused: four requests and some more to fill the next ones.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// Likewise batches: of some hundred bytes each beside their buffers.
const HELD_BATCHES: usize = 4096;

/// The batches that are not settled yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    batches: BTreeMap<Ticket, LaneBatch>,
    bytes: usize,
    last: u64,
}

impl Held {
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= HELD_BYTES || self.batches.len() >= HELD_BATCHES
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

    /// A record's bytes.
    pub(super) fn bytes_of(&self, parcel: &Parcel) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(parcel.bytes);
        for run in &parcel.runs {
            if let Some(batch) = self.get(run.ticket) {
                run.append_to(batch, &mut bytes);
            }
        }
        bytes
    }
}

/// A request on its way, or to be sent again.
#[derive(Debug, Default)]
pub(super) struct Shipment {
    pub parcels: Vec<Parcel>,
    /// It, or what it is a part of, was refused when this many records had been accepted.
    pub refused_at: Option<u64>,
    /// How often it was refused as it is.
    pub refusals: u32,
    /// What was said at the last refusal.
    pub why: String,
}

impl Shipment {
    pub(super) fn of(parcels: Vec<Parcel>) -> Shipment {
        Shipment { parcels, ..Shipment::default() }
    }

    /// Leaves out what was rewound meanwhile.
    pub(super) fn prune(&mut self, held: &Held) {
        for parcel in &mut self.parcels {
            parcel.runs.retain(|run| held.has(run.ticket));
        }
        self.parcels.retain(|parcel| !parcel.runs.is_empty());
    }

    /// Two halves, to find which one is to blame; none if it is a single item already.
    pub(super) fn halves(mut self, held: &Held) -> Result<[Shipment; 2], Shipment> {
        let second = match &mut self.parcels[..] {
            [] => return Err(self),
            [parcel] => match split(parcel, held) {
                Some(second) => vec![second],
                None => return Err(self),
            },
            parcels => {
                let middle = parcels.len() / 2;
                self.parcels.split_off(middle)
            }
        };
        let half = |parcels| Shipment { parcels, refused_at: self.refused_at, ..Shipment::default() };
        Ok([half(self.parcels), half(second)])
    }
}

/// Takes the second half of a record's items out of it.
fn split(parcel: &mut Parcel, held: &Held) -> Option<Parcel> {
    let size = |run: &Run, item: u32| {
        let batch = held.get(run.ticket)?;
        Some(batch.encoded.bytes_of(item as usize).len())
    };
    let mut items: Vec<(Run, usize)> = Vec::new();
    for run in &parcel.runs {
        let Some(batch) = held.get(run.ticket) else { continue };
        for item in run.own(batch) {
            items.push((Run { ticket: run.ticket, items: item..item + 1 }, size(run, item).unwrap_or(0)));
        }
    }
    if items.len() < 2 {
        return None;
    }
    let second = items.split_off(items.len() / 2);
    *parcel = of_items(items);
    Some(of_items(second))
}

/// A run an item: records that are halved are halved again, down to one.
fn of_items(items: Vec<(Run, usize)>) -> Parcel {
    let bytes = items.iter().map(|(_, bytes)| bytes).sum();
    Parcel { runs: items.into_iter().map(|(run, _)| run).collect(), bytes }
}
