//! Encoded items of one format, while they are being made.
//!
//! A buffer that grows is copied, and so is one that turns out too large. So room for a record's events is made before
//! the first of them, by what the events of the record before became; and in an empty buffer for the piece, as it was.

use std::sync::Arc;

use crate::delivery::{Encoded, Item, RecordInfo};
use crate::encode::{Places, Repeat};
use crate::enrich::Snapshot;

/// Gives back the spare room of a list, if it is more than a quarter of what is used.
fn give_back_spare<T>(list: &mut Vec<T>) {
    if list.capacity() > list.len() + list.len() / 4 {
        list.shrink_to_fit();
    }
}

/// How much memory is asked for at once, in bytes; what needs more grows by doubling.
const MAX_RESERVED_BYTES: usize = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    pub(super) items: Vec<Item>,
    /// Of the record that is being processed.
    pub(super) repeat: Repeat,
    /// Bytes and items when that record began.
    begun: (usize, usize),
}

/// What the events of the record before became in one format.
#[derive(Debug, Default)]
pub(super) struct Usual {
    events: usize,
    bytes: usize,
    items: usize,
    /// Bytes and items of the piece, with that record.
    piece: (usize, usize),
    places: Places,
}

impl Buffer {
    /// Before the first of a record's `events`.
    pub(super) fn begin_record(&mut self, events: usize, snapshot: &Snapshot, usual: &mut Usual) {
        self.repeat = Repeat::of(std::mem::take(&mut usual.places), snapshot.stamp.number());
        self.begun = (self.bytes.len(), self.items.len());
        let of = usual.events.max(1);
        let (bytes, items) = (events.saturating_mul(usual.bytes) / of, events.saturating_mul(usual.items) / of);
        let (piece_bytes, piece_items) = if self.items.is_empty() { usual.piece } else { (0, 0) };
        // An eighth more, since no two records are the same, nor two pieces.
        let with_spare = |wanted: usize| wanted.saturating_add(wanted / 8);
        self.bytes.reserve(with_spare(bytes.max(piece_bytes)).min(MAX_RESERVED_BYTES));
        self.items.reserve(with_spare(items.max(piece_items)).min(MAX_RESERVED_BYTES / size_of::<Item>()));
    }

    /// Behind the last of the events that were shown.
    pub(super) fn end_record(&mut self, events: usize, usual: &mut Usual) {
        if events > 0 {
            let (bytes, items) = (self.bytes.len(), self.items.len());
            let (bytes_before, items_before) = self.begun;
            let piece = (bytes, items);
            let places = std::mem::take(&mut self.repeat).into_places();
            *usual = Usual { events, bytes: bytes - bytes_before, items: items - items_before, piece, places };
        }
    }

    /// What it holds. Its memory counts for as long as a sink has it, so spare room is given back.
    pub(super) fn encoded(mut self, records: &Arc<Vec<RecordInfo>>) -> Encoded {
        give_back_spare(&mut self.bytes);
        give_back_spare(&mut self.items);
        Encoded { bytes: self.bytes, items: self.items, records: Arc::clone(records) }
    }
}
