//! From a record's bytes to log lines: gunzip with a cap, read the subscription envelope.
//!
//! No VPN knowledge, no I/O, no panic on any input. What cannot be read is a [`DecodeError`] with a stable
//! reason; the caller keeps the original bytes as a dead letter.

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Zero bytes.
    #[error("the record is empty")]
    Empty,
}
