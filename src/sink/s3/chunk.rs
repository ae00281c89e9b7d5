//! A chunk: a contiguous run of a lane's records, cut for all partitions at once.
//!
//! Pure: no clock, no client. Where a chunk is cut depends on its records alone (size, number, partitions, window of
//! arrival), never on how they came in batches; a cut by clock, flush or pressure is the sink's, and the seal fixes it.
//! A chunk begins with a record that has items: what comes before it is settled without any object.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::Objects;
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
    pub(super) objects: Objects,
    /// Of lines.
    pub(super) compression: Compression,
    /// Bytes of records, as Kinesis counts them.
    pub(super) bytes: u64,
    /// Time from the first record's arrival to the last one's.
    pub(super) window: Duration,
    /// Objects at a time.
    pub(super) partitions: usize,
}

impl Shape {
    /// How an object's name ends.
    pub(super) fn ending(&self) -> &'static str {
        match (self.objects, self.compression) {
            (Objects::Parquet, _) => "parquet",
            (Objects::Lines, Compression::None) => "ndjson",
            (Objects::Lines, Compression::Gzip) => "ndjson.gz",
            (Objects::Lines, Compression::Zstd) => "ndjson.zst",
        }
    }
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
        let encoder = Some(Encoder::new(shape.objects, shape.compression));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fixedbitset::FixedBitSet;
    use proptest::prelude::*;

    use super::super::queue::Queue;
    use super::*;
    use crate::delivery::Selection;
    use crate::event::{Action, EventId, Kind, Severity};

    /// A record: its bytes, the seconds since the one before, and the day of each item with whether it is the lane's.
    #[derive(Clone, Debug)]
    struct Made {
        bytes: u32,
        later_s: i64,
        items: Vec<(i64, bool)>,
    }

    fn made() -> impl Strategy<Value = Made> {
        let items = proptest::collection::vec((0..4_i64, proptest::bool::weighted(0.8)), 0..5);
        (1..400_u32, 0..40_i64, items).prop_map(|(bytes, later_s, items)| Made { bytes, later_s, items })
    }

    fn shape() -> Shape {
        Shape {
            template: Template::parse("{dd}/").unwrap(),
            objects: Objects::Lines,
            compression: Compression::None,
            bytes: 1000,
            window: Duration::from_secs(60),
            partitions: 3,
        }
    }

    fn encode(item: usize, record: usize, day: i64, encoded: &mut Encoded, place: usize) {
        encoded.bytes.extend(format!("{record}/{item}\n").bytes());
        encoded.items.push(Item {
            end: encoded.bytes.len() as u32,
            record: place as u32,
            id: EventId(0),
            time: Millis(day * 24 * 3_600_000),
            kind: Kind::Ike,
            action: Action::Rekey,
            severity: Severity::Info,
        });
    }

    /// The records in batches; where `cuts` says so, a batch ends, perhaps within a record.
    fn batches(records: &[Made], cuts: &[u8]) -> Vec<(Encoded, Selection)> {
        let mut all = Vec::new();
        let (mut infos, mut encoded, mut own) = (Vec::new(), Encoded::default(), FixedBitSet::new());
        let mut arrival = 0;
        for (number, record) in records.iter().enumerate() {
            arrival += record.later_s * 1000;
            let position = Position::from(number as u64 + 1);
            let info = RecordInfo {
                position,
                arrival: Some(Millis(arrival)),
                bytes: record.bytes,
                done: true,
                ..RecordInfo::default()
            };
            let cut = cuts.get(number).copied().unwrap_or_default();
            for (index, (day, is_own)) in record.items.iter().enumerate() {
                if cut == 1 && index == 1 {
                    infos.push(RecordInfo { done: false, ..info.clone() });
                    encoded.records = Arc::new(std::mem::take(&mut infos));
                    all.push((std::mem::take(&mut encoded), Selection::Some(std::mem::take(&mut own))));
                }
                encode(index, number, *day, &mut encoded, infos.len());
                own.grow(encoded.items.len());
                own.set(encoded.items.len() - 1, *is_own);
            }
            infos.push(info);
            if cut > 0 || number + 1 == records.len() {
                encoded.records = Arc::new(std::mem::take(&mut infos));
                all.push((std::mem::take(&mut encoded), Selection::Some(std::mem::take(&mut own))));
            }
        }
        all
    }

    type Cut = (Position, Position, Vec<(String, Vec<u8>)>);

    fn cut(chunk: Chunk<()>) -> Cut {
        let objects = chunk.objects.into_iter();
        let objects = objects.map(|object| (object.partition, object.encoder.unwrap().finish().unwrap()));
        (chunk.start, chunk.end, objects.collect())
    }

    /// What the sink makes of them; and what is due, by batch.
    fn chunks(batches: Vec<(Encoded, Selection)>) -> (Vec<Cut>, Vec<Due>) {
        let (shape, mut queue) = (shape(), Queue::default());
        for (number, (encoded, own)) in batches.into_iter().enumerate() {
            queue.enqueue(BatchId(number as u64), Arc::new(encoded).into(), own);
        }
        let (mut cuts, mut due, mut open): (Vec<Cut>, Vec<Due>, Option<Chunk<()>>) = (Vec::new(), Vec::new(), None);
        while let Some(record) = queue.peek() {
            let spread = Spread::of(&shape.template, &record);
            if open.is_none() && spread.names.is_empty() {
                queue.take(&mut due);
                continue;
            }
            let chunk = open.get_or_insert_with(|| Chunk::new(record.info));
            if chunk.takes(&shape, record.info, &spread) {
                chunk.push(&shape, &record, &spread).unwrap();
                queue.take(&mut due);
            } else {
                cuts.extend(open.take().map(cut));
            }
        }
        cuts.extend(open.take().map(cut));
        (cuts, due)
    }

    proptest! {
        #[test]
        fn the_same_records_make_the_same_chunks_whatever_the_batches(
            records in proptest::collection::vec(made(), 1..40),
            cuts in proptest::collection::vec(0..3_u8, 40),
        ) {
            let (whole, _) = chunks(batches(&records, &[]));
            let pieces = batches(&records, &cuts);
            let lengths: Vec<usize> = pieces.iter().map(|(encoded, _)| encoded.items.len()).collect();
            let (split, due) = chunks(pieces);
            prop_assert_eq!(&whole, &split);
            // Each item is due once, with the last part of its batch.
            for (batch, length) in lengths.into_iter().enumerate() {
                let own = due.iter().filter(|due| due.batch == BatchId(batch as u64));
                let (count, last) = own.fold((0, 0), |(count, last), due| (count + due.items.len(), last + usize::from(due.last)));
                prop_assert_eq!((count, last), (length, 1));
            }
            // Each of the lane's items is there once, in a chunk that keeps its bounds.
            let wanted: usize = records.iter().flat_map(|record| &record.items).filter(|(_, own)| *own).count();
            let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
            let found: usize = whole.iter().flat_map(|(_, _, objects)| objects).map(|(_, bytes)| lines(bytes)).sum();
            prop_assert_eq!(found, wanted);
            for (start, end, objects) in &whole {
                let number = |position: &Position| position.to_string().parse::<usize>().unwrap();
                let inside = &records[number(start) - 1..number(end)];
                let single = inside.len() == 1;
                prop_assert!(single || inside.iter().map(|record| record.bytes).sum::<u32>() <= 1000);
                prop_assert!(single || inside[1..].iter().map(|record| record.later_s).sum::<i64>() < 60);
                prop_assert!(single || objects.len() <= 3);
            }
        }
    }
}
