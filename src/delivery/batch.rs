//! What travels from the core to the sinks: encoded items, shared by every lane of one format.
//!
//! A buffer is encoded once for each distinct format and shared by `Arc`; a lane says which items are its
//! own. A lane that owns little of a buffer gets a copy of that little, so that it pins no big buffer.

use std::ops::Deref;
use std::sync::Arc;

use fixedbitset::FixedBitSet;

use super::{BatchId, Epoch, LaneId, Receipt};
use crate::event::{Action, EventId, Kind, Millis, Severity};
use crate::memory::Hold;
use crate::source::Position;

/// One item: an event in its format. A few machine words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where its bytes end in the buffer; they begin where the previous item's end.
    pub end: u32,
    /// Which of the piece's records it came from.
    pub record: u32,
    /// The event's id.
    pub id: EventId,
    /// The event's time.
    pub time: Millis,
    /// The event's kind.
    pub kind: Kind,
    /// The event's action.
    pub action: Action,
    /// The event's severity.
    pub severity: Severity,
}

/// What is the same for all items of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordInfo {
    /// Its position in the shard.
    pub position: Position,
    /// When it arrived in the stream.
    pub arrival: Option<Millis>,
    /// Its length as the source delivered it, compressed.
    pub bytes: u32,
    /// False if the record goes on in the next piece.
    pub done: bool,
    /// Account by the record itself (never the inventory), for the first event.
    pub account: Option<Arc<str>>,
    /// Region by the record itself or the configuration, likewise.
    pub region: Option<Arc<str>>,
    /// VPN connection id.
    pub connection: Option<Arc<str>>,
    /// The tunnel's outside address.
    pub tunnel: Option<std::net::IpAddr>,
    /// Log stream.
    pub log_stream: Option<Arc<str>>,
}

/// The records of one piece, in order; also those without items.
pub type Records = Vec<RecordInfo>;

/// One piece of work in one format.
#[derive(Debug, Default)]
pub struct Encoded {
    /// The items' bytes, one after another.
    pub bytes: Vec<u8>,
    /// The items, in order.
    pub items: Vec<Item>,
    /// The records they came from.
    pub records: Arc<Records>,
}

impl Encoded {
    /// The bytes of an item.
    pub fn bytes_of(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).and_then(|before| self.items.get(before)).map_or(0, |item| item.end);
        let end = self.items.get(index).map_or(start, |item| item.end);
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Its memory, in bytes; what is shared with other formats (the records) is counted in each.
    pub fn footprint(&self) -> u64 {
        let items = self.items.capacity() * size_of::<Item>();
        let records = self.records.len() * size_of::<RecordInfo>();
        (self.bytes.capacity() + items + records) as u64
    }

    /// A copy that holds only the chosen items.
    fn copy_of(&self, own: &FixedBitSet) -> Encoded {
        let mut copy = Encoded { records: Arc::clone(&self.records), ..Encoded::default() };
        for index in own.ones() {
            copy.bytes.extend_from_slice(self.bytes_of(index));
            if let Some(item) = self.items.get(index) {
                // Lossless: a copy is no longer than the buffer whose ends are u32.
                copy.items.push(Item { end: copy.bytes.len() as u32, ..*item });
            }
        }
        copy
    }
}

/// A buffer in the hands of one lane, with the room that it takes there. It may be shared with other lanes; the room is
/// given back when this lane's last handle is dropped.
#[derive(Clone, Debug)]
pub struct Lent {
    encoded: Arc<Encoded>,
    room: Option<Arc<Hold>>,
}

impl Lent {
    /// The same buffer, with the room that was asked for it.
    pub(crate) fn in_room(&mut self, hold: Hold) {
        self.room = Some(Arc::new(hold));
    }
}

impl From<Arc<Encoded>> for Lent {
    /// A buffer that takes no room of a sink.
    fn from(encoded: Arc<Encoded>) -> Lent {
        Lent { encoded, room: None }
    }
}

impl Deref for Lent {
    type Target = Encoded;

    fn deref(&self) -> &Encoded {
        &self.encoded
    }
}

/// Which items of a buffer are a lane's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// The set bits.
    Some(FixedBitSet),
}

/// One lane's part of a piece.
#[derive(Clone, Debug)]
pub struct LaneItems {
    /// The buffer.
    pub encoded: Lent,
    /// The lane's own items in it.
    pub own: Selection,
    /// Items that a filter kept out.
    pub filtered: u32,
}

impl LaneItems {
    /// Below this share of the bytes a lane gets its own copy: 1/4 keeps a shared buffer from being held
    /// by a lane that needs little of it, and costs at most a quarter more.
    const SPARSE: usize = 4;

    /// The lane's items in `encoded`; copies a sparse choice out.
    pub fn new(encoded: &Arc<Encoded>, own: FixedBitSet, filtered: u32) -> LaneItems {
        let count = own.count_ones(..);
        if count == encoded.items.len() {
            return LaneItems { encoded: Arc::clone(encoded).into(), own: Selection::All, filtered };
        }
        let bytes = bytes_of(encoded, &own);
        if bytes.saturating_mul(Self::SPARSE) <= encoded.bytes.len() {
            return LaneItems { encoded: Arc::new(encoded.copy_of(&own)).into(), own: Selection::All, filtered };
        }
        LaneItems { encoded: Arc::clone(encoded).into(), own: Selection::Some(own), filtered }
    }

    /// Bytes of the lane's items.
    pub fn bytes(&self) -> usize {
        match &self.own {
            Selection::All => self.encoded.bytes.len(),
            Selection::Some(own) => bytes_of(&self.encoded, own),
        }
    }

    /// How many items the lane owns.
    pub fn count(&self) -> usize {
        match &self.own {
            Selection::All => self.encoded.items.len(),
            Selection::Some(bits) => bits.count_ones(..),
        }
    }
}

fn bytes_of(encoded: &Encoded, own: &FixedBitSet) -> usize {
    own.ones().map(|index| encoded.bytes_of(index).len()).sum()
}

/// What a reader made of some records, for all its lanes.
#[derive(Debug, Default)]
pub struct Piece {
    /// The records, in order.
    pub records: Arc<Records>,
    /// By sink: the items of the sinks that were asked for, `None` for the others.
    pub lanes: Vec<Option<LaneItems>>,
}

/// A piece of one lane on its way to the sink.
#[derive(Debug)]
pub struct LaneBatch {
    /// The lane.
    pub lane: LaneId,
    /// The lane's epoch when the batch was made.
    pub epoch: Epoch,
    /// The batch.
    pub batch: BatchId,
    /// The buffer; sinks drop it when they no longer need the bytes, and with it the room that it takes.
    pub encoded: Lent,
    /// The lane's own items in it.
    pub own: Selection,
    /// Settles the items.
    pub receipt: Receipt,
}

impl LaneBatch {
    /// The lane's own items: index in the batch, what they are, their bytes.
    pub fn items(&self) -> impl Iterator<Item = (u32, &Item, &[u8])> {
        self.encoded
            .items
            .iter()
            .enumerate()
            .filter(|(index, _)| match &self.own {
                Selection::All => true,
                Selection::Some(bits) => bits.contains(*index),
            })
            .map(|(index, item)| (index as u32, item, self.encoded.bytes_of(index)))
    }

    /// The whole buffer where every item is the lane's own: what a sink can write in one go.
    pub fn whole(&self) -> Option<&[u8]> {
        matches!(self.own, Selection::All).then_some(self.encoded.bytes.as_slice())
    }

    /// The last record's position, for sinks that cut chunks.
    pub fn last_position(&self) -> Option<Position> {
        self.encoded.records.last().map(|record| record.position)
    }
}
