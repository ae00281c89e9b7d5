//! The usual record in one pass: an envelope as CloudWatch Logs writes it, byte for byte, with its keys in their
//! order and nothing between the tokens.
//!
//! [`Envelope`](super::envelope::Envelope) is the meaning; this is its quick twin, for what nearly all records look
//! like. [`scan`] reads a record whole or not at all: at the first byte that is not as expected it gives up, and the
//! record goes the plain way. So whatever comes out here is what comes out there, which tests and fuzzing compare.
//!
//! Log lines are read while they are still escaped, by the caller's function: no VPN knowledge is here.

use std::borrow::Cow;

use super::envelope::Cursor;
use super::reader::Reader;
use super::{LogEvent, LogStream};
use crate::event::Millis;

/// Longer records go the plain way, so that the list of events stays small.
const MAX_BYTES: usize = 1024 * 1024;
/// Records of more events go the plain way: what is held of an event is about 500 bytes, so 2 MiB of a record.
const MAX_EVENTS: usize = 4096;

/// A record with all its events.
#[derive(Debug)]
pub struct Scanned<'a, L> {
    /// What all events of the record share.
    pub stream: LogStream<'a>,
    /// The events, in order; at least one.
    pub events: Vec<ScannedEvent<'a, L>>,
}

/// One log event, its line not yet unescaped.
#[derive(Debug, Default)]
pub struct ScannedEvent<'a, L> {
    id: &'a str,
    timestamp: i64,
    account: Option<&'a str>,
    region: Option<&'a str>,
    /// The line as it stands in the record, escapes and all.
    escaped: &'a str,
    /// Where the event begins, in bytes from the start of `logEvents`.
    offset: usize,
    /// What the caller's function made of the line, if it could read it.
    pub line: Option<L>,
}

impl<'a, L> ScannedEvent<'a, L> {
    /// The event with this text as its line.
    pub fn log<'m>(&self, message: &'m str) -> LogEvent<'m>
    where
        'a: 'm,
    {
        LogEvent {
            id: Cow::Borrowed(self.id),
            timestamp: Some(Millis(self.timestamp)),
            message: Cow::Borrowed(message),
            account: self.account.map(Cow::Borrowed),
            region: self.region.map(Cow::Borrowed),
            occurrence: 0,
        }
    }

    /// Writes the line without its escapes into `text`, whose former content does not matter.
    pub fn unescape(&self, text: &mut String) {
        text.clear();
        let mut rest = self.escaped;
        while let Some((before, after)) = rest.split_once('\\') {
            text.push_str(before);
            let escape = after.as_bytes().first().copied().unwrap_or_default();
            // The scan has met no other escape than these.
            text.push(plain_of(escape).unwrap_or_default());
            rest = after.get(1..).unwrap_or_default();
        }
        text.push_str(rest);
    }

    /// The place of this event, the `index`th of its record.
    pub fn cursor(&self, index: u32) -> Cursor {
        Cursor::new(self.offset, index)
    }
}

/// Reads the record in `data`, and each log line by `line`: given a reader behind the quote with which the line begins,
/// it fills in what the line says and leaves the reader before the closing quote, or answers nothing.
pub fn scan<'a, L: Default>(
    data: &'a [u8],
    mut line: impl FnMut(&mut Reader<'a>, &mut L) -> Option<()>,
) -> Option<Scanned<'a, L>> {
    // A control character is an error within a string, and no usual record has one outside. The least byte: one wide
    // instruction for sixteen.
    if data.len() > MAX_BYTES || data.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ' {
        return None;
    }
    let mut reader = Reader::new(str::from_utf8(data).ok()?);
    reader.expect(br#"{"messageType":"DATA_MESSAGE","owner":""#)?;
    let owner = plain_string(&mut reader)?;
    reader.expect(br#","logGroup":""#)?;
    let group = plain_string(&mut reader)?;
    reader.expect(br#","logStream":""#)?;
    let stream = plain_string(&mut reader)?;
    reader.expect(br#","subscriptionFilters":["#)?;
    filters(&mut reader)?;
    if reader.eat(br#","policyLevel":""#) {
        plain_string(&mut reader)?;
    }
    reader.expect(br#","logEvents":"#)?;
    let start = reader.offset();
    reader.expect(b"[")?;
    let mut events = Vec::with_capacity(reader.left() / USUAL_EVENT_BYTES + 1);
    loop {
        // Made and filled in where it stays: an event is large.
        events.resize_with(events.len() + 1, ScannedEvent::default);
        event(&mut reader, start, &mut line, events.last_mut()?)?;
        if !reader.eat(b",") {
            break;
        }
        if events.len() == MAX_EVENTS {
            return None;
        }
    }
    reader.expect(b"]}")?;
    let stream = LogStream { owner: owner.into(), group: group.into(), stream: stream.into() };
    (reader.left() == 0).then_some(Scanned { stream, events })
}

/// An event with its line is seldom shorter, so that the list seldom grows.
const USUAL_EVENT_BYTES: usize = 320;

/// The rest of a string without escapes, its closing quote included.
fn plain_string<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let text = reader.until_quote_or_backslash();
    reader.expect(b"\"")?;
    Some(text)
}

fn filters(reader: &mut Reader<'_>) -> Option<()> {
    if reader.eat(b"]") {
        return Some(());
    }
    loop {
        reader.expect(b"\"")?;
        plain_string(reader)?;
        if reader.eat(b"]") {
            return Some(());
        }
        reader.expect(b",")?;
    }
}

fn event<'a, L: Default>(
    reader: &mut Reader<'a>,
    start: usize,
    line: &mut impl FnMut(&mut Reader<'a>, &mut L) -> Option<()>,
    event: &mut ScannedEvent<'a, L>,
) -> Option<()> {
    event.offset = reader.offset() - start;
    reader.expect(br#"{"id":""#)?;
    // Canonical: without leading zeros. Any other id goes the plain way.
    event.id = reader.digits().filter(|id| !id.starts_with('0'))?;
    reader.expect(br#"","timestamp":"#)?;
    event.timestamp = reader.integer()?;
    reader.expect(br#","message":""#)?;
    message(reader, line, event)?;
    if reader.eat(br#","extractedFields":{"#) {
        extracted_fields(reader, event)?;
    }
    reader.expect(b"}")
}

/// The line, to behind its closing quote; and what `line` made of it.
fn message<'a, L: Default>(
    reader: &mut Reader<'a>,
    line: &mut impl FnMut(&mut Reader<'a>, &mut L) -> Option<()>,
    event: &mut ScannedEvent<'a, L>,
) -> Option<()> {
    let from = reader.clone();
    let read = line(reader, event.line.insert(L::default())).filter(|()| reader.eat(b"\""));
    if read.is_none() {
        event.line = None;
        *reader = from.clone();
        loop {
            reader.until_quote_or_backslash();
            if reader.eat(b"\"") {
                break;
            }
            reader.expect(b"\\")?;
            // `\u` among others: the plain way.
            reader.take().and_then(plain_of)?;
        }
    }
    event.escaped = reader.since(&from, 1)?;
    Some(())
}

/// The character that a one-letter escape stands for (RFC 8259 section 7).
fn plain_of(escape: u8) -> Option<char> {
    Some(match escape {
        b'"' | b'\\' | b'/' => char::from(escape),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    })
}

/// The system fields, to behind their closing brace: strings only, each key once.
fn extracted_fields<'a, L>(reader: &mut Reader<'a>, event: &mut ScannedEvent<'a, L>) -> Option<()> {
    loop {
        reader.expect(b"\"")?;
        let key = plain_string(reader)?;
        reader.expect(b":\"")?;
        let value = plain_string(reader)?;
        let slot = match key {
            "@aws.account" => &mut event.account,
            "@aws.region" => &mut event.region,
            _ => &mut None,
        };
        // A key that comes twice, or with nothing in it: the plain way knows what that means.
        if slot.is_some() || value.is_empty() {
            return None;
        }
        *slot = Some(value);
        if reader.eat(b"}") {
            return Some(());
        }
        reader.expect(b",")?;
    }
}
