//! How much this sink holds, and what is under way of it.

use super::pack::Parcel;
use crate::sink::held::{Bounds, Held, Run};

/// Bytes that may be held before batches are refused: four requests and some more to fill the next ones.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// Likewise batches.
const HELD_BATCHES: usize = 4096;

/// What may be held.
pub(super) const HELD: Bounds = Bounds { bytes: HELD_BYTES, batches: HELD_BATCHES };

/// A record's bytes.
pub(super) fn bytes_of(parcel: &Parcel, held: &Held) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parcel.bytes);
    for run in &parcel.runs {
        let Some(batch) = held.get(run.ticket) else { continue };
        for index in run.own(batch) {
            bytes.extend_from_slice(batch.encoded.bytes_of(index as usize));
        }
    }
    bytes
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
