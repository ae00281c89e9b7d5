//! A chunk: a contiguous run of a lane's records, cut for all partitions at once.
//!
//! Pure: no clock, no client. Where a chunk is cut depends on its records alone (size, number, partitions, window of
//! arrival), never on how they came in batches; a cut by clock, flush or pressure is the sink's, and the seal fixes it.
//! A chunk begins with a record that has items: what comes before it is settled without any object.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::encoder::Encoder;
use super::names::{self, Template};
use crate::config::types::Compression;
use crate::delivery::{BatchId, Encoded, Item, RecordInfo};
use crate::event::Millis;
use crate::source::Position;

/// Records in a chunk: a bound for what is rebuilt, far above what a chunk's bytes allow in common logs.
const CHUNK_RECORDS: u64 = 100_000;

/// Where chunks are cut, and how their objects look.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) template: Template,
    pub(super) compression: Compression,
    /// Bytes of records, as Kinesis counts them.
    pub(super) bytes: u64,
    /// Time from the first record's arrival to the last one's.
    pub(super) window: Duration,
    /// Objects at a time.
    pub(super) partitions: usize,
}

/// A whole record with the lane's own items in it, in one or more pieces.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) info: &'a RecordInfo,
    /// The buffer and the indexes of the lane's own items of this record.
    pub(super) pieces: Vec<(&'a Encoded, Vec<usize>)>,
}

/// A record's items by partition.
pub(super) struct Spread {
    names: Vec<String>,
    /// By piece, by item: an index in `names`.
    places: Vec<Vec<usize>>,
}

impl Spread {
    pub(super) fn of(template: &Template, record: &Whole<'_>) -> Spread {
        let mut spread = Spread { names: Vec::new(), places: Vec::new() };
        let mut last: Option<(Item, usize)> = None;
        for (encoded, indexes) in &record.pieces {
            let mut places = Vec::with_capacity(indexes.len());
            for item in indexes.iter().filter_map(|index| encoded.items.get(*index)) {
                let place = match last {
                    Some((before, place)) if names::same_partition(&before, item) => place,
                    _ => spread.place(template.render(record.info, item)),
                };
                last = Some((*item, place));
                places.push(place);
            }
            spread.places.push(places);
        }
        spread
    }

    fn place(&mut self, name: String) -> usize {
        self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }
}

/// What is settled with a chunk: some items of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) batch: BatchId,
    pub(super) items: Range<u32>,
    /// The batch has no further ones.
    pub(super) last: bool,
}

/// One object of a chunk.
pub(super) struct Object<U> {
    pub(super) partition: String,
    /// `None` once it is finished.
    pub(super) encoder: Option<Encoder>,
    /// What the sink keeps about its upload.
    pub(super) upload: U,
}

/// What is gathered so far.
pub(super) struct Chunk<U> {
    pub(super) start: Position,
    pub(super) end: Position,
    first_arrival: Option<Millis>,
    bytes: u64,
    records: u64,
    pub(super) objects: Vec<Object<U>>,
    by_name: HashMap<String, usize>,
    pub(super) due: Vec<Due>,
}

impl<U: Default> Chunk<U> {
    /// An empty chunk that begins with this record.
    pub(super) fn new(first: &RecordInfo) -> Chunk<U> {
        Chunk {
            start: first.position,
            end: first.position,
            first_arrival: first.arrival,
            bytes: 0,
            records: 0,
            objects: Vec::new(),
            by_name: HashMap::new(),
            due: Vec::new(),
        }
    }

    /// An empty chunk of exactly these records, which an earlier run had sealed.
    pub(super) fn rebuilding(start: Position, end: Position) -> Chunk<U> {
        Chunk { end, ..Chunk::new(&RecordInfo { position: start, ..RecordInfo::default() }) }
    }

    /// Whether the record belongs to this chunk; if not, the chunk is cut before it.
    pub(super) fn takes(&self, shape: &Shape, info: &RecordInfo, spread: &Spread) -> bool {
        if self.records == 0 {
            return true;
        }
        let in_window = match (self.first_arrival, info.arrival) {
            (Some(first), Some(arrival)) => {
                u128::try_from(arrival.0 - first.0).unwrap_or_default() < shape.window.as_millis()
            }
            _ => true,
        };
        in_window
            && self.records < CHUNK_RECORDS
            && self.bytes + u64::from(info.bytes) <= shape.bytes
            && self.objects.len() + self.new_partitions(spread) <= shape.partitions
    }

    fn new_partitions(&self, spread: &Spread) -> usize {
        spread.names.iter().filter(|name| !self.by_name.contains_key(*name)).count()
    }

    /// Appends a record. The bytes that its items have.
    pub(super) fn push(&mut self, shape: &Shape, record: &Whole<'_>, spread: &Spread) -> io::Result<usize> {
        self.end = record.info.position;
        self.records += 1;
        self.bytes += u64::from(record.info.bytes);
        let places: Vec<usize> = spread.names.iter().map(|name| self.object(shape, name)).collect();
        let mut written = 0;
        for ((encoded, indexes), by_item) in record.pieces.iter().zip(&spread.places) {
            for (index, place) in indexes.iter().zip(by_item) {
                let object = places.get(*place).and_then(|place| self.objects.get_mut(*place));
                let bytes = encoded.bytes_of(*index);
                written += bytes.len();
                if let Some(encoder) = object.and_then(|object| object.encoder.as_mut()) {
                    encoder.write(bytes)?;
                }
            }
        }
        Ok(written)
    }

    fn object(&mut self, shape: &Shape, name: &str) -> usize {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let encoder = Some(Encoder::new(shape.compression));
        self.objects.push(Object { partition: name.to_owned(), encoder, upload: U::default() });
        self.by_name.insert(name.to_owned(), self.objects.len() - 1);
        self.objects.len() - 1
    }

    /// Whether no record of it has told when it arrived: only a clock can close its window.
    pub(super) fn is_timeless(&self) -> bool {
        self.first_arrival.is_none()
    }

    /// Memory of its encoders.
    pub(super) fn held(&self) -> usize {
        self.objects.iter().filter_map(|object| object.encoder.as_ref()).map(Encoder::held).sum()
    }
}
