//! Sources bring records with their positions, and announce shards.
//!
//! A source does not understand bytes: that is `decode`. It never acknowledges: what was delivered is the
//! business of `delivery`, which opens as many readers on a shard as its lanes have positions.

#[cfg(feature = "aws")]
pub mod kinesis;
pub mod replay;
pub mod simulate;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::encode::DeadLetter;
use crate::event::Millis;
use crate::memory::Fetch;

/// A record's place in its shard: a number of up to 76 decimal digits, ordered numerically.
///
/// Kinesis sequence numbers have up to 56 digits and are compared as numbers, never as text; they do not
/// fit 128 bits, hence two halves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The digits above the lower 38.
    high: u128,
    /// The lower 38 digits: below 10^38.
    low: u128,
}

/// Digits in the lower half of a [`Position`]: 10^38 is the largest power of ten below 2^127.
const LOW_DIGITS: usize = 38;

impl Position {
    /// Parses a decimal number of 1 to 76 digits.
    pub fn parse(digits: &str) -> Option<Position> {
        if digits.is_empty() || digits.len() > 2 * LOW_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (high, low) = digits.split_at(digits.len().saturating_sub(LOW_DIGITS));
        Some(Position { high: if high.is_empty() { 0 } else { high.parse().ok()? }, low: low.parse().ok()? })
    }
}

impl From<u64> for Position {
    fn from(number: u64) -> Self {
        Position { high: 0, low: u128::from(number) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.high == 0 { write!(f, "{}", self.low) } else { write!(f, "{}{:038}", self.high, self.low) }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Position::parse(&text).ok_or_else(|| serde::de::Error::custom("not a decimal number of at most 76 digits"))
    }
}

impl JsonSchema for Position {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Position".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9]{1,76}$" })
    }
}

/// A shard: an ordered sequence of records. Named within one stream of one source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId {
    /// Name of the source in the pipeline file.
    pub source: Arc<str>,
    /// The stream's name or ARN, or the file's path.
    pub stream: Arc<str>,
    /// What tells a stream from a later one of the same name: its creation time, or a file's fingerprint.
    pub stream_created: Arc<str>,
    /// The shard's name.
    pub shard: Arc<str>,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.stream, self.shard)
    }
}

/// One record: the bytes of one subscription envelope, as the source delivered them.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its place in the shard.
    pub position: Position,
    /// When it arrived in the stream: `observed` of its events. Never "now".
    pub arrival: Option<Millis>,
    /// Gzip or plain; not yet looked at. Of a rejected item: its bytes as they were to be sent.
    pub data: Bytes,
    /// It is no record but an item that a sink refused, read back from its dead letter: it goes to that sink only.
    /// Only what reads dead letters from files sets this; whatever arrives in a stream is a record.
    pub rejected: Option<Arc<DeadLetter>>,
}

impl Record {
    /// A record as a stream has it.
    pub fn new(position: Position, arrival: Option<Millis>, data: Bytes) -> Record {
        Record { position, arrival, data, rejected: None }
    }
}

/// Where a reader begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartAt {
    /// At the oldest record that is still there.
    TrimHorizon,
    /// At the first record that arrived at this time (milliseconds since 1970) or later.
    AtTimestamp(i64),
    /// After this record.
    After(Position),
}

/// What a source says about shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardEvent {
    /// A shard can be read. Lanes start on it once they have resolved all `parents` to their end.
    Opened {
        /// The shard.
        shard: ShardId,
        /// Shards that come before it, announced before it; those that were not do not hold it up.
        parents: Vec<ShardId>,
        /// Where a lane without a checkpoint begins.
        start: StartAt,
    },
    /// Everything that is left of a stream has been announced: what a lane remembers beside it is no more, however
    /// many generations ago.
    Complete {
        /// The source's name.
        source: Arc<str>,
        /// The stream.
        stream: Arc<str>,
    },
    /// The shard is no more (its retention has passed): do not wait for it.
    Gone(ShardId),
    /// Another process reads the shard now: drop it without a commit.
    Revoked(ShardId),
}

/// What a reader yields. Finite inputs end in `ShardEnd`.
#[derive(Clone, Debug)]
pub enum Feed {
    /// Records in ascending order; empty when there is nothing new.
    Records(Vec<Record>),
    /// The shard is closed and read to its end. The source announces the children by itself.
    ShardEnd,
    /// Records that should be here are gone: counted and logged, never silent.
    Gap {
        /// The last position that was read, if any.
        after: Option<Position>,
        /// Why, for a person.
        reason: String,
    },
}

/// Why a source failed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Worth another try after a pause: the reader stays usable.
    #[error("{0}")]
    Retry(String),
    /// No try will help until a person acts; the text says what to do.
    #[error("{0}")]
    Fatal(String),
}

/// Announces shards.
#[async_trait]
pub trait Source: Send {
    /// The next news; `None`: no shard will ever be added. Cancel-safe.
    async fn next(&mut self) -> Result<Option<ShardEvent>, SourceError>;
    /// The factory of readers.
    fn reopen(&self) -> Arc<dyn Reopen>;
}

/// Opens readers, any number on one shard.
#[async_trait]
pub trait Reopen: Send + Sync {
    /// A reader of `shard` that begins at `from`.
    async fn open(&self, shard: &ShardId, from: StartAt) -> Result<Box<dyn Reader>, SourceError>;

    /// How long the source keeps a record after it arrived, as far as is known now; `None`: for ever.
    fn retention(&self) -> Option<Duration> {
        None
    }

    /// Where readers take the memory for what they fetch. Told once, before any is opened. A source that reads little
    /// at a time takes none.
    fn draw_on(&self, _: &Arc<Fetch>) {}
}

/// Reads one shard from one position on.
#[async_trait]
pub trait Reader: Send {
    /// The next records. After `ShardEnd` it is not called again. Cancel-safe.
    async fn next(&mut self) -> Result<Feed, SourceError>;

    /// Whether it goes before others where memory for answers is scarce: room with the sinks is kept for what it reads.
    fn set_hurry(&mut self, _on: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_order_as_numbers_and_keep_their_digits() {
        let small = Position::parse("9").unwrap();
        let large = Position::parse("49673895273895273895273895273895273895273895273895273890").unwrap();
        assert!(small < large, "text order would say otherwise");
        assert_eq!(large.to_string(), "49673895273895273895273895273895273895273895273895273890");
        let padded = Position::parse("100000000000000000000000000000000000000").unwrap();
        assert_eq!(padded.to_string(), "100000000000000000000000000000000000000");
    }

    #[test]
    fn what_is_no_number_is_no_position() {
        for bad in ["", "-1", "1.5", "abc", &"1".repeat(77)] {
            assert_eq!(Position::parse(bad), None, "{bad}");
        }
        assert!(Position::parse(&"9".repeat(76)).is_some());
    }
}
