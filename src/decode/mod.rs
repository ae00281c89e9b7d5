//! From a record's bytes to log lines: gunzip with a cap, read the subscription envelope.
//!
//! No VPN knowledge, no I/O, no panic on any input. What cannot be read is a [`DecodeError`] with a stable
//! reason; the caller keeps the original bytes as a dead letter.
//!
//! - [`inflate`]: gzip to bytes, capped.
//! - [`envelope`]: bytes to log events, one at a time and resumable.
//! - [`scan`](mod@scan): the usual envelope in one pass; `envelope` is its meaning, and what it falls back to.
//! - [`recognize`]: a file of any form to records, for `tunnelog decode` and the `replay` source.

pub mod envelope;
pub mod inflate;
pub mod reader;
pub mod recognize;
pub mod scan;

use std::borrow::Cow;

use crate::event::Millis;

/// One log event of an envelope. Borrows from the inflated record where no escape stands in the way.
#[derive(Clone, Debug, Default)]
pub struct LogEvent<'a> {
    /// CloudWatch's id in canonical form: decimal digits without leading zeros; empty if it has none.
    pub id: Cow<'a, str>,
    /// CloudWatch's timestamp.
    pub timestamp: Option<Millis>,
    /// The log line.
    pub message: Cow<'a, str>,
    /// `@aws.account` of the emitted system fields.
    pub account: Option<Cow<'a, str>>,
    /// `@aws.region` of the emitted system fields.
    pub region: Option<Cow<'a, str>>,
    /// For a line without an id: how many equal lines of equal time came before it.
    pub occurrence: u32,
}

/// What all log events of one record share.
#[derive(Clone, Debug, Default)]
pub struct LogStream<'a> {
    /// The account that sent the envelope.
    pub owner: Cow<'a, str>,
    /// Log group.
    pub group: Cow<'a, str>,
    /// Log stream.
    pub stream: Cow<'a, str>,
}

/// Why a record could not be read. The words are stable: they are metric labels and dead-letter reasons.
///
/// No variant holds any of the input, only lengths and positions: an error is logged, and the input may
/// be anything, a file with pre-shared keys included.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Zero bytes, or nothing but white space.
    #[error("the record is empty: see what else writes to this stream")]
    Empty,
    /// Neither gzip nor a JSON object.
    #[error(
        "neither gzip nor a JSON envelope ({bytes} bytes): send the log group's subscription filter to this stream directly"
    )]
    NotGzip {
        /// Size of the record.
        bytes: usize,
    },
    /// Aggregated by the Kinesis Producer Library.
    #[error(
        "a record aggregated by the Kinesis Producer Library ({bytes} bytes): write one envelope a record, without aggregation"
    )]
    Aggregated {
        /// Size of the record.
        bytes: usize,
    },
    /// The gzip data ends too early.
    #[error("the gzip data ends early, after {bytes} bytes: see what shortens records on their way")]
    TruncatedGzip {
        /// Size of the record.
        bytes: usize,
    },
    /// The gzip data is damaged.
    #[error("the gzip data ({bytes} bytes) is damaged: see what changes records on their way")]
    CorruptGzip {
        /// Size of the record.
        bytes: usize,
    },
    /// More than the cap after inflating.
    #[error("more than {max_bytes} bytes when unpacked: raise the limit on a record's size if that is real data")]
    TooLarge {
        /// The cap.
        max_bytes: usize,
    },
    /// Not UTF-8, so not JSON either.
    #[error("not UTF-8 from byte {offset} on: see what writes to this stream")]
    InvalidUtf8 {
        /// The first byte that is wrong.
        offset: usize,
    },
    /// Not JSON, or more than one JSON document.
    #[error("not one JSON document: wrong at line {line}, column {column}; see what else writes to this stream")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// JSON, but without `messageType`.
    #[error("JSON, but no CloudWatch Logs envelope (no `messageType`): see what else writes to this stream")]
    NotAnEnvelope,
    /// Neither DATA_MESSAGE nor CONTROL_MESSAGE.
    #[error("an envelope of unknown `messageType`: update tunnelog if AWS has added one")]
    UnknownMessageType,
    /// `logEvents` is missing or no array.
    #[error("an envelope without a `logEvents` array: see what writes to this stream")]
    MalformedEnvelope,
    /// A data envelope without log events.
    #[error("an envelope without log events: nothing is lost, but CloudWatch Logs does not send these")]
    EmptyBatch,
}

impl DecodeError {
    /// The stable word for metrics and dead letters.
    pub const fn reason(&self) -> &'static str {
        match self {
            DecodeError::Empty => "empty",
            DecodeError::NotGzip { .. } => "not_gzip",
            DecodeError::Aggregated { .. } => "kpl_aggregated",
            DecodeError::TruncatedGzip { .. } => "gzip_truncated",
            DecodeError::CorruptGzip { .. } => "gzip_corrupt",
            DecodeError::TooLarge { .. } => "too_large",
            DecodeError::InvalidUtf8 { .. } => "invalid_utf8",
            DecodeError::NotJson { .. } => "not_json",
            DecodeError::NotAnEnvelope => "not_an_envelope",
            DecodeError::UnknownMessageType => "unknown_message_type",
            DecodeError::MalformedEnvelope => "malformed_envelope",
            DecodeError::EmptyBatch => "empty_batch",
        }
    }
}
