//! Wraps bare lines into envelopes, so that the core sees nothing else.
//!
//! Consecutive lines of one log stream share a record, up to [`MAX_LINES`] and [`MAX_BYTES`]. A line
//! without an event id is counted among its equals: that number, `occurrence`, keeps two equal lines apart
//! and is the same each time the file is read. The count remembers at least the last
//! [`GENERATION_LINES`] different lines, at most twice as many; an equal line that comes later than that
//! counts from zero again and gets the id of the first.

use std::collections::HashMap;
use std::mem;

use bytes::Bytes;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::{Identity, Place};
use crate::event::Millis;

/// Lines in one record.
const MAX_LINES: usize = 500;
/// Bytes after which a record is closed; a single line may be longer.
const MAX_BYTES: usize = 64 * 1024;
/// Different lines in one generation of the count: 65,536 hashes and numbers take about 1 MiB.
const GENERATION_LINES: usize = 65_536;

/// One line, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct BareLine<'l> {
    pub(super) stream: Option<&'l str>,
    pub(super) id: Option<&'l str>,
    pub(super) timestamp: Option<Millis>,
    pub(super) message: &'l str,
}

/// The keys of a synthetic envelope, in the order of the wire, without the events and the closing brace.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'h> {
    message_type: &'static str,
    owner: &'h str,
    log_group: &'h str,
    log_stream: &'h str,
    subscription_filters: [&'static str; 0],
}

#[derive(Serialize)]
struct Event<'e> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    message: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrence: Option<u32>,
}

/// The envelope under construction.
pub(super) struct Batch {
    identity: Identity,
    json: Vec<u8>,
    lines: usize,
    stream: String,
    place: Place,
    seen: Occurrences,
}

impl Batch {
    pub(super) fn new(identity: Identity) -> Self {
        Batch {
            identity,
            json: Vec::new(),
            lines: 0,
            stream: String::new(),
            place: Place::default(),
            seen: Occurrences::default(),
        }
    }

    /// Adds a line; returns the record that had to be closed for it, if any.
    pub(super) fn add(&mut self, line: BareLine<'_>, place: Place) -> Option<(Place, Bytes)> {
        let stream = line.stream.or(self.identity.log_stream.as_deref()).unwrap_or_default();
        let full = self.lines >= MAX_LINES || self.json.len() >= MAX_BYTES || self.stream != stream;
        let stream = if self.lines == 0 || full { Some(stream.to_owned()) } else { None };
        let closed = if full { self.close() } else { None };
        if let Some(stream) = stream {
            self.stream = stream;
            self.place = place;
            self.open();
        }
        let id = line.id.filter(|id| !id.is_empty());
        let occurrence = if id.is_none() { Some(self.seen.count(&self.stream, &line)) } else { None };
        if self.lines > 0 {
            self.json.push(b',');
        }
        let event = Event { id, timestamp: line.timestamp.map(|time| time.0), message: line.message, occurrence };
        // Writing strings and numbers to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.json, &event);
        self.lines += 1;
        closed
    }

    /// The record so far, if it has a line.
    pub(super) fn close(&mut self) -> Option<(Place, Bytes)> {
        if self.lines == 0 {
            return None;
        }
        self.lines = 0;
        self.json.extend_from_slice(b"]}");
        Some((self.place, Bytes::from(mem::take(&mut self.json))))
    }

    fn open(&mut self) {
        let head = Head {
            message_type: "DATA_MESSAGE",
            owner: self.identity.owner.as_deref().unwrap_or_default(),
            log_group: self.identity.log_group.as_deref().unwrap_or_default(),
            log_stream: &self.stream,
            subscription_filters: [],
        };
        // Writing strings to memory cannot fail.
        let _ = serde_json::to_writer(&mut self.json, &head);
        self.json.pop();
        self.json.extend_from_slice(b",\"logEvents\":[");
    }
}

/// How often each line was seen, in two generations: when the younger is full, the older is forgotten.
#[derive(Default)]
struct Occurrences {
    young: HashMap<u64, u32>,
    old: HashMap<u64, u32>,
    key: Vec<u8>,
}

impl Occurrences {
    /// How many equal lines came before.
    fn count(&mut self, stream: &str, line: &BareLine<'_>) -> u32 {
        self.key.clear();
        let time = line.timestamp.map_or(0, |time| time.0);
        self.key.extend_from_slice(&time.to_le_bytes());
        self.key.extend_from_slice(&(stream.len() as u64).to_le_bytes());
        self.key.extend_from_slice(stream.as_bytes());
        self.key.extend_from_slice(line.message.as_bytes());
        let hash = xxh3_64(&self.key);
        let before = self.young.get(&hash).or_else(|| self.old.get(&hash)).copied().unwrap_or(0);
        if self.young.len() >= GENERATION_LINES && !self.young.contains_key(&hash) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(hash, before.saturating_add(1));
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_counted_within_a_bounded_memory() {
        let mut seen = Occurrences::default();
        let mut count = |message: &str| seen.count("s", &BareLine { stream: None, id: None, timestamp: None, message });
        assert_eq!((count("a"), count("b"), count("a"), count("a")), (0, 0, 1, 2));
        for number in 0..GENERATION_LINES {
            assert_eq!(count(&format!("line {number}")), 0);
        }
        assert_eq!(count("a"), 3, "one generation back is remembered");
        for number in 0..2 * GENERATION_LINES + 2 {
            count(&format!("other {number}"));
        }
        assert_eq!(count("a"), 0, "two generations back are forgotten");
        assert!(seen.young.len() <= GENERATION_LINES && seen.old.len() <= GENERATION_LINES);
    }
}
