//! A record as it lies in the stream: compressed, numbered, under its partition key.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, GzBuilder};

use super::cloudwatch::{Draft, Sort, partition_key};
use crate::event::Millis;
use crate::source::Position;

/// One record of the simulated Kinesis stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedRecord {
    /// When it arrived in the stream.
    pub arrival: Millis,
    /// Its shard, from 0.
    pub shard: u32,
    /// Its sequence number: ascending over the whole stream, not only within the shard.
    pub position: Position,
    /// Lower-case hex MD5 of `owner:logGroup:logStream`.
    pub partition_key: String,
    /// One gzip member with one subscription envelope, unless it is damaged.
    pub data: Bytes,
    /// Log events in it; 0 in control messages and damaged records.
    pub events: u32,
    /// Whether the same events arrived before, in another record.
    pub duplicate: bool,
    /// Whether it is a subscription's health check.
    pub control: bool,
    /// Whether its bytes were damaged on purpose.
    pub damaged: bool,
}

/// Compresses and numbers a draft.
pub(super) fn seal(draft: Draft, position: Position) -> SimulatedRecord {
    let damaged = draft.sort == Sort::Damaged;
    SimulatedRecord {
        arrival: Millis(draft.arrival),
        shard: draft.shard,
        position,
        partition_key: partition_key(draft.hash),
        data: if damaged { draft.body } else { gzip(&draft.body) },
        events: draft.events,
        duplicate: draft.sort == Sort::Duplicate,
        control: draft.sort == Sort::Control,
        damaged,
    }
}

/// The sequence number of the `number`th record of a stream: 56 digits, as Kinesis writes them. The first four
/// are those of today's streams, the next twelve the stream's own.
pub(super) fn position(stream: u64, number: u64) -> Position {
    Position::parse(&format!("4967{:012}{number:040}", stream % 1_000_000_000_000)).unwrap_or_default()
}

/// One gzip member without a time. The level is fixed; that the same input gives the same bytes on every machine
/// rests on zlib-rs, whose matching does not depend on the processor. A test pins the result.
pub(super) fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::new(6));
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}
