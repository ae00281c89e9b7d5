//! Reads the envelope that a CloudWatch Logs subscription wraps around log events.
//!
//! [`Envelope::parse`] checks the structure of the whole record, so that a broken record is one error and
//! never half a record; [`Events`] then reads one event at a time, from any [`Cursor`] on, so that a record
//! with a million events needs no million elements. A strange *element* is no error: its JSON text becomes
//! the message, so that nothing is dropped.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::{DecodeError, LogEvent, LogStream};
use crate::event::Millis;

/// What an envelope is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageKind {
    /// Log events.
    Data,
    /// CloudWatch Logs checks that the destination works: counted and skipped.
    Control,
}

/// One subscription envelope, its events not yet read.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// Data or control.
    pub kind: MessageKind,
    /// What all events of the record share.
    pub stream: LogStream<'a>,
    /// The JSON text of `logEvents`, brackets included; known to be well formed.
    events: &'a str,
}

/// A place between two events of a record, to resume from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    /// Bytes into the text of `logEvents`.
    offset: usize,
    /// How many events come before.
    index: u32,
}

impl Cursor {
    /// The place of the event that begins `offset` bytes into the text of `logEvents` and is the `index`th.
    pub(super) fn new(offset: usize, index: u32) -> Cursor {
        Cursor { offset, index }
    }

    /// How many events of the record come before this place; the index of the next one.
    pub fn index(self) -> u32 {
        self.index
    }
}

/// The events of an envelope, in order.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    text: &'a str,
    cursor: Cursor,
}

/// The keys of an envelope. All values are read later and leniently: an emulator's odd type is no reason
/// to lose a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    owner: Option<&'a RawValue>,
    #[serde(borrow)]
    log_group: Option<&'a RawValue>,
    #[serde(borrow)]
    log_stream: Option<&'a RawValue>,
    #[serde(borrow)]
    log_events: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads the envelope in `data`, the plain bytes of one record.
    pub fn parse(data: &'a [u8]) -> Result<Envelope<'a>, DecodeError> {
        let text = str::from_utf8(data).map_err(|error| DecodeError::InvalidUtf8 { offset: error.valid_up_to() })?;
        let raw: RawEnvelope<'a> = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => DecodeError::NotAnEnvelope,
            _ => DecodeError::NotJson { line: error.line(), column: error.column() },
        })?;
        let kind = match raw.message_type.and_then(scalar).as_deref() {
            Some("DATA_MESSAGE") => MessageKind::Data,
            Some("CONTROL_MESSAGE") => MessageKind::Control,
            Some(_) => return Err(DecodeError::UnknownMessageType),
            None => return Err(DecodeError::NotAnEnvelope),
        };
        let text = |raw: Option<&'a RawValue>| raw.and_then(scalar).unwrap_or_default();
        let stream = LogStream { owner: text(raw.owner), group: text(raw.log_group), stream: text(raw.log_stream) };
        let events = match raw.log_events.map(RawValue::get) {
            Some(events) if events.starts_with('[') => events,
            None | Some(_) if kind == MessageKind::Control => "[]",
            _ => return Err(DecodeError::MalformedEnvelope),
        };
        let envelope = Envelope { kind, stream, events };
        if kind == MessageKind::Data && envelope.events(Cursor::default()).is_at_end() {
            return Err(DecodeError::EmptyBatch);
        }
        Ok(envelope)
    }

    /// The events from `from` on; `Cursor::default()` is the first one.
    pub fn events(&self, from: Cursor) -> Events<'a> {
        let first = Cursor { offset: from.offset.max(1), ..from };
        Events { text: self.events, cursor: first }
    }
}

impl<'a> Events<'a> {
    /// Where the next event is.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Whether there is no further event.
    pub fn is_at_end(&self) -> bool {
        self.rest().is_none()
    }

    /// The text that begins with the next element.
    fn rest(&self) -> Option<&'a str> {
        let rest = self.text.get(self.cursor.offset..)?;
        let rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        (!rest.is_empty() && !rest.starts_with(']')).then_some(rest)
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = LogEvent<'a>;

    fn next(&mut self) -> Option<LogEvent<'a>> {
        let rest = self.rest()?;
        let (mut event, bytes) = match one::<RawEvent<'a>>(rest) {
            Some((raw, bytes)) => (raw.into_event(), bytes),
            None => odd_event(rest),
        };
        let index = self.cursor.index;
        if event.occurrence == ABSENT {
            event.occurrence = if event.id.is_empty() { index } else { 0 };
        }
        let offset = self.text.len() - rest.len() + bytes;
        self.cursor = Cursor { offset, index: index.saturating_add(1) };
        Some(event)
    }
}

/// Stands for an `occurrence` that is not there, until the event's index is known.
const ABSENT: u32 = u32::MAX;

/// A string that borrows where no escape stands in the way.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The keys of a log event.
#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow, rename = "extractedFields")]
    extracted_fields: Option<&'a RawValue>,
    #[serde(borrow)]
    occurrence: Option<&'a RawValue>,
}

/// A log event whose message is no string, or cannot be one (half a surrogate pair).
#[derive(Deserialize)]
struct RawOddEvent<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    message: &'a RawValue,
    #[serde(borrow, rename = "extractedFields")]
    extracted_fields: Option<&'a RawValue>,
    #[serde(borrow)]
    occurrence: Option<&'a RawValue>,
}

/// The system fields that CloudWatch Logs emits if the subscription asks for them.
#[derive(Default, Deserialize)]
struct ExtractedFields<'a> {
    #[serde(borrow, rename = "@aws.account")]
    account: Option<&'a RawValue>,
    #[serde(borrow, rename = "@aws.region")]
    region: Option<&'a RawValue>,
}

impl<'a> RawEvent<'a> {
    fn into_event(self) -> LogEvent<'a> {
        let fields: ExtractedFields<'a> =
            self.extracted_fields.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        LogEvent {
            id: self.id.map(canonical_id).unwrap_or_default(),
            timestamp: self.timestamp.and_then(scalar).and_then(|text| millis(&text)),
            message: self.message.0,
            account: fields.account.and_then(scalar).filter(|text| !text.is_empty()),
            region: fields.region.and_then(scalar).filter(|text| !text.is_empty()),
            occurrence: self.occurrence.and_then(|raw| raw.get().parse().ok()).unwrap_or(ABSENT),
        }
    }
}

/// Reads one value at the start of `text`; also returns its length.
fn one<'a, T: Deserialize<'a>>(text: &'a str) -> Option<(T, usize)> {
    let mut stream = Deserializer::from_str(text).into_iter::<T>();
    let value = stream.next()?.ok()?;
    Some((value, stream.byte_offset()))
}

/// The event of an element that is none: with the JSON text of the message, or of the whole element.
fn odd_event(text: &str) -> (LogEvent<'_>, usize) {
    if let Some((raw, bytes)) = one::<RawOddEvent<'_>>(text) {
        let message = Text(Cow::Borrowed(raw.message.get()));
        let RawOddEvent { id, timestamp, extracted_fields, occurrence, .. } = raw;
        return (RawEvent { id, timestamp, message, extracted_fields, occurrence }.into_event(), bytes);
    }
    // `parse` has checked the structure, so the second case cannot happen; if it does, nothing is dropped.
    let (element, bytes) = one::<&RawValue>(text).map_or((text, text.len()), |(raw, bytes)| (raw.get(), bytes));
    let event = LogEvent { message: Cow::Borrowed(element), occurrence: ABSENT, ..LogEvent::default() };
    (event, bytes)
}

/// A string's content, or a number or boolean as written; nothing for null, an object or an array.
pub(crate) fn scalar(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    match text.as_bytes() {
        [b'"', ..] if text.contains('\\') => serde_json::from_str::<Text<'_>>(text).ok().map(|text| text.0),
        [b'"', .., b'"'] => text.get(1..text.len() - 1).map(Cow::Borrowed),
        [b'{' | b'[' | b'n', ..] => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

/// An id as decimal digits without leading zeros. What is not all digits stays as it is.
fn canonical_id(raw: &RawValue) -> Cow<'_, str> {
    let text = match raw.get() {
        "null" => return Cow::Borrowed(""),
        text => scalar(raw).unwrap_or(Cow::Borrowed(text)),
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    let zeros = text.len() - text.trim_start_matches('0').len();
    let zeros = zeros.min(text.len() - 1);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(zeros..).unwrap_or(text)),
        Cow::Owned(text) => Cow::Owned(text.get(zeros..).unwrap_or(&text).to_owned()),
    }
}

/// Epoch milliseconds as a number or in a string, or RFC 3339. Absurd values saturate.
pub(crate) fn millis(text: &str) -> Option<Millis> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return Some(Millis(number));
    }
    match text.parse::<f64>() {
        // `as` saturates, which is what is wanted of an absurd time.
        Ok(number) if !number.is_nan() => Some(Millis(number as i64)),
        _ => Millis::parse(text),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn data(events: &str) -> String {
        format!(
            r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","policyLevel":"X","logEvents":[{events}]}}"#
        )
    }

    fn events(text: &str) -> Vec<LogEvent<'_>> {
        Envelope::parse(text.as_bytes()).unwrap().events(Cursor::default()).collect()
    }

    #[test]
    fn ids_are_canonical_whatever_their_json_type() {
        for (json, id) in [
            (
                r#""39914058728991429450395327189911295461740495520467910656""#,
                "39914058728991429450395327189911295461740495520467910656",
            ),
            (
                "39914058728991429450395327189911295461740495520467910656",
                "39914058728991429450395327189911295461740495520467910656",
            ),
            (r#""007""#, "7"),
            (r#""000""#, "0"),
            (r#""\u0030\u0031""#, "1"),
            (r#""""#, ""),
            ("null", ""),
            (r#""a-b""#, "a-b"),
            ("3.5e3", "3.5e3"),
        ] {
            let text = data(&format!(r#"{{"id":{json},"timestamp":1,"message":"m"}}"#));
            assert_eq!(events(&text)[0].id, id, "{json}");
        }
    }

    #[test]
    fn timestamps_are_tolerated_in_every_type_and_size() {
        for (json, time) in [
            ("1762580400000", Some(1_762_580_400_000)),
            (r#""1762580400000""#, Some(1_762_580_400_000)),
            ("1762580400000.7", Some(1_762_580_400_000)),
            (r#""2025-11-08T05:40:00Z""#, Some(1_762_580_400_000)),
            ("-5", Some(-5)),
            ("1e999", Some(i64::MAX)),
            ("99999999999999999999999", Some(i64::MAX)),
            (r#""soon""#, None),
            ("null", None),
            ("{}", None),
        ] {
            let text = data(&format!(r#"{{"id":"1","timestamp":{json},"message":"m"}}"#));
            assert_eq!(events(&text)[0].timestamp, time.map(Millis), "{json}");
        }
    }

    #[test]
    fn what_is_no_event_becomes_a_message_so_that_nothing_is_dropped() {
        for (json, message) in [
            ("17", "17"),
            ("null", "null"),
            (r#""line""#, r#""line""#),
            (r#"{"id":"1"}"#, r#"{"id":"1"}"#),
            (r#"{"id":"1","message":{"a":[1, 2]}}"#, r#"{"a":[1, 2]}"#),
            (r#"{"id":"1","message":null}"#, "null"),
            (r#"{"id":"1","message":"\ud800"}"#, r#""\ud800""#),
            ("[[1],2]", "[[1],2]"),
        ] {
            let text = data(&format!(r#"{{"id":"8","message":"before"}}, {json} ,{{"id":"9","message":"after"}}"#));
            let got = events(&text);
            assert_eq!(got.len(), 3, "{json}");
            assert_eq!(got[1].message, message);
            assert_eq!(got[2].message, "after");
        }
    }

    #[test]
    fn reading_resumes_at_a_cursor() {
        let text = data(r#"{"id":"1","message":"a"} , {"message":"b"},{"message":"c","occurrence":7}"#);
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        let mut cursor = Cursor::default();
        let mut seen = Vec::new();
        loop {
            let mut events = envelope.events(cursor);
            let Some(event) = events.next() else { break };
            cursor = events.cursor();
            seen.push((event.message.into_owned(), event.occurrence, cursor.index()));
        }
        assert_eq!(seen, [("a".into(), 0, 1), ("b".into(), 1, 2), ("c".into(), 7, 3)]);
        assert!(envelope.events(Cursor { offset: usize::MAX, index: 0 }).next().is_none());
    }

    #[test]
    fn system_fields_and_stream_are_read() {
        let text = data(
            r#"{"id":"1","message":"m","extractedFields":{"@aws.account":123456789012,"@aws.region":"eu-west-1","@source.log":"x"}}"#,
        );
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        assert_eq!((&*envelope.stream.owner, &*envelope.stream.group, &*envelope.stream.stream), ("1", "g", "s"));
        let event = envelope.events(Cursor::default()).next().unwrap();
        assert_eq!(event.account.as_deref(), Some("123456789012"));
        assert_eq!(event.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn messages_without_escapes_are_borrowed() {
        let text = data(r#"{"id":"1","message":"plain"}"#);
        assert!(matches!(events(&text)[0].message, Cow::Borrowed("plain")));
    }

    #[test]
    fn each_broken_envelope_has_its_own_reason() {
        for (text, reason) in [
            (&b"{"[..], "not_json"),
            (b"{} {}", "not_json"),
            (b"\xff{}", "invalid_utf8"),
            (b"[]", "not_an_envelope"),
            (b"{}", "not_an_envelope"),
            (br#"{"VpnConnections":[]}"#, "not_an_envelope"),
            (br#"{"messageType":null}"#, "not_an_envelope"),
            (br#"{"messageType":"OTHER"}"#, "unknown_message_type"),
            (br#"{"messageType":"DATA_MESSAGE"}"#, "malformed_envelope"),
            (br#"{"messageType":"DATA_MESSAGE","logEvents":{}}"#, "malformed_envelope"),
            (br#"{"messageType":"DATA_MESSAGE","logEvents":[ ]}"#, "empty_batch"),
            (br#"{"messageType":"DATA_MESSAGE","logEvents":[{"message":}]}"#, "not_json"),
        ] {
            assert_eq!(Envelope::parse(text).unwrap_err().reason(), reason, "{}", String::from_utf8_lossy(text));
        }
        let control = Envelope::parse(br#"{"messageType":"CONTROL_MESSAGE"}"#).unwrap();
        assert_eq!(control.kind, MessageKind::Control);
        assert!(control.events(Cursor::default()).is_at_end());
    }
}
