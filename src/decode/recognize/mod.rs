//! Splits a file or standard input of any form into records: for `tunnelog decode` and `replay`.
//!
//! Recognised by content, mixed freely: raw gzip records, one after the other; base64 of a record, a line
//! each; what `aws kinesis get-records`, `aws logs filter-log-events` and `get-log-events` print, on one
//! line or many; the events that Lambda gets from Kinesis, Firehose or CloudWatch Logs; plain envelopes; our dead letters; lines of an export task; bare log lines, JSON or text;
//! and a gzip or Zstandard file of any of these.
//!
//! Invariants: the input is read as a stream, and never more than [`Recognizer::MAX_UNIT_BYTES`] of a line
//! or JSON document are held; every byte of the input ends up in a record or is reported as unreadable,
//! blank lines and UTF-16 apart; the same input gives the same items; an EC2 inventory answer, which has pre-shared
//! keys in it, is refused and none of its bytes are carried in an item.
//!
//! It does not decode: a record that comes out may be broken all the same, which the core reports.

mod batch;
mod document;
mod input;
mod item;
mod letter;
mod member;
mod scan;

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::inflate::{GZIP_MAGIC, KPL_MAGIC};
pub use crate::config::types::Identity;
use crate::encode::DeadLetter;
use crate::event::Millis;
use batch::{BareLine, Batch};
use document::Findings;
pub(crate) use document::is_ec2;
use input::{Input, LineEnd, Peek, Stream, ZSTD_MAGIC, read_line};
pub use item::{FoundRecord, Item, Place, Reason, Unreadable};
use member::Member;
use scan::{Progress, Scanner};

/// The byte order marks of UTF-16: little endian, as Windows has it, and big endian.
const UTF16_MARKS: [[u8; 2]; 2] = [[0xff, 0xfe], [0xfe, 0xff]];

/// Reads the input once, from its start to its end.
pub struct Recognizer<R: BufRead> {
    /// Absent only when a gzip file's underlying input got lost, which ends the reading.
    stream: Option<Stream<R>>,
    line_number: u64,
    /// Line number and byte of the file itself, while a gzip file in it is read.
    outside: Option<(u64, u64)>,
    max_bytes: usize,
    line: Vec<u8>,
    found: Found,
}

impl<R: BufRead> Recognizer<R> {
    /// A line, a JSON document or an unpacked record is held up to this size: 6 times the largest Kinesis
    /// record, 10 MiB, which JSON and base64 make larger.
    pub const MAX_UNIT_BYTES: usize = 64 << 20;

    /// Reads `input`; lines that lack an identity get `identity`.
    pub fn new(input: R, identity: Identity) -> Self {
        Self::with_cap(input, identity, Self::MAX_UNIT_BYTES)
    }

    /// As [`Recognizer::new`], with another cap.
    pub fn with_cap(input: R, identity: Identity, max_bytes: usize) -> Self {
        Recognizer {
            stream: Some(Stream::Plain(Input::new(input))),
            line_number: 0,
            outside: None,
            max_bytes,
            line: Vec::new(),
            found: Found {
                batch: Batch::new(identity),
                items: VecDeque::new(),
                number: 0,
                place: Place::default(),
                in_secret_table: false,
            },
        }
    }

    /// The next item; `None` at the end. An error is the input's own (a disk, a pipe).
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would go on after an error")]
    pub fn next(&mut self) -> io::Result<Option<Item>> {
        while self.found.items.is_empty() && self.stream.is_some() {
            match self.step() {
                Err(error) if self.outside.is_some() && member::is_damage(&error) => self.leave_damaged()?,
                step => step?,
            }
        }
        Ok(self.found.items.pop_front())
    }

    fn reader(&mut self) -> io::Result<&mut dyn Peek> {
        self.stream.as_mut().map(Stream::reader).ok_or_else(|| io::Error::other("the input has ended"))
    }

    /// Reads one unit: a member, a line or a document of several lines.
    fn step(&mut self) -> io::Result<()> {
        let start = self.reader()?.peek(4)?;
        if start.is_empty() {
            return self.end();
        }
        let byte = self.reader()?.offset();
        let gzip_at = self.outside.map(|(_, byte)| byte);
        self.found.place = Place { line: 0, byte, gzip_at };
        if start.starts_with(&GZIP_MAGIC) {
            return self.member(byte);
        }
        if start == ZSTD_MAGIC {
            return self.zstd(byte);
        }
        if start == KPL_MAGIC {
            return self.aggregated();
        }
        if byte == 0 && UTF16_MARKS.iter().any(|mark| start.starts_with(mark)) {
            self.found.unreadable(Reason::Utf16, None);
            return self.drain();
        }
        self.found.place.line = self.line_number + 1;
        let mut line = mem::take(&mut self.line);
        let result = self.unit(&mut line);
        self.line = line;
        result
    }

    /// The end of the input, or of the gzip file in it.
    fn end(&mut self) -> io::Result<()> {
        self.found.close_batch();
        self.stream = match self.outside.take() {
            Some((line_number, _)) => {
                self.line_number = line_number;
                self.stream.take().and_then(Stream::leave)
            }
            None => None,
        };
        Ok(())
    }

    /// A gzip file that turned out to be damaged: reports it and goes on behind it.
    fn leave_damaged(&mut self) -> io::Result<()> {
        let partial = mem::take(&mut self.line);
        let bytes = (!partial.is_empty()).then(|| Bytes::from(partial));
        self.found.unreadable(Reason::GzipDamaged, bytes);
        self.end()?;
        let max_bytes = self.max_bytes;
        if self.stream.is_some() {
            member::resync(self.reader()?, Vec::new(), max_bytes)?;
        }
        Ok(())
    }

    /// A gzip member: a record, or a file to look into.
    fn member(&mut self, byte: u64) -> io::Result<()> {
        let max_bytes = self.max_bytes;
        match member::sniff(self.reader()?, max_bytes)? {
            Member::Record(data) | Member::Damaged(data) => self.found.record(data.into(), None, None),
            Member::File if self.outside.is_none() => {
                self.outside = Some((self.line_number, byte));
                self.line_number = 0;
                self.stream = self.stream.take().map(|stream| stream.enter(max_bytes));
            }
            Member::File => {
                self.found.unreadable(Reason::NestedGzip, None);
                self.drain()?;
            }
        }
        Ok(())
    }

    /// A Zstandard file: nothing else begins like this, and a record is never packed so.
    #[cfg(feature = "zstd")]
    fn zstd(&mut self, byte: u64) -> io::Result<()> {
        if self.outside.is_some() {
            self.found.unreadable(Reason::NestedGzip, None);
            return self.drain();
        }
        self.outside = Some((self.line_number, byte));
        self.line_number = 0;
        let max_bytes = self.max_bytes;
        self.stream = self.stream.take().map(|stream| stream.enter_zstd(max_bytes)).transpose()?;
        Ok(())
    }

    #[cfg(not(feature = "zstd"))]
    fn zstd(&mut self, _: u64) -> io::Result<()> {
        self.found.unreadable(Reason::Zstd, None);
        self.drain()
    }

    /// Reads to the end and keeps nothing.
    fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.reader()?, &mut io::sink()).map(drop)
    }

    /// A record that the Kinesis Producer Library has aggregated: all that follows is its own.
    fn aggregated(&mut self) -> io::Result<()> {
        let max_bytes = self.max_bytes as u64;
        let mut data = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(self.reader()?, max_bytes), &mut data)?;
        self.found.record(data.into(), None, None);
        Ok(())
    }

    /// A line, and those that belong to it if it begins a JSON document.
    fn unit(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        if self.next_line(line)? == LineEnd::TooLong {
            self.found.unreadable(Reason::TooLarge, None);
            return Ok(());
        }
        let text = line.trim_ascii();
        // A byte order mark, as some editors put it in front of a file.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if !text.starts_with(b"{") && !text.starts_with(b"[") {
            self.found.text(text);
            return Ok(());
        }
        let mut text = text;
        loop {
            let mut scanner = Scanner::default();
            match scanner.feed(text) {
                Progress::Broken => self.found.text(text),
                Progress::Complete(end) => {
                    let (value, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
                    match rest.trim_ascii_start() {
                        [] => self.found.document(value),
                        // Documents one after the other on one line, as Firehose writes them to S3.
                        next @ [b'{' | b'[', ..] => {
                            self.found.document(value);
                            text = next;
                            continue;
                        }
                        _ => self.found.text(text),
                    }
                }
                Progress::Open => {
                    let document = text.to_vec();
                    return self.document_of_lines(document, scanner, line);
                }
            }
            return Ok(());
        }
    }

    /// Goes on with a document that the line before did not end.
    fn document_of_lines(&mut self, first: Vec<u8>, scanner: Scanner, line: &mut Vec<u8>) -> io::Result<()> {
        let mut document = Document { text: first, lines: 1, too_large: false };
        let progress = match self.collect(&mut document, scanner, line) {
            Ok(progress) => progress,
            Err(error) => {
                // What was read so far is reported with the error.
                document.text.append(line);
                *line = document.text;
                return Err(error);
            }
        };
        match progress {
            _ if document.too_large => self.found.unreadable(Reason::TooLarge, None),
            Progress::Complete(_) => self.found.document(&document.text),
            _ if document.lines == 1 => self.found.text(&document.text),
            _ => self.found.broken(&document.text),
        }
        Ok(())
    }

    /// Adds lines to the document until it is complete or cannot become so.
    fn collect(&mut self, document: &mut Document, mut scanner: Scanner, line: &mut Vec<u8>) -> io::Result<Progress> {
        // The end of a line within a string breaks JSON; the end of the input only cuts it off.
        let mut progress = if self.is_at_end()? { Progress::Open } else { scanner.feed(b"\n") };
        while progress == Progress::Open {
            match self.next_line(line)? {
                LineEnd::EndOfInput => break,
                LineEnd::TooLong => document.too_large = true,
                LineEnd::Whole => {}
            }
            progress = scanner.feed(line);
            if progress == Progress::Open && !self.is_at_end()? {
                progress = scanner.feed(b"\n");
            }
            if progress == Progress::Broken {
                // This line begins something new: it is read again, alone.
                self.line_number -= 1;
                line.push(b'\n');
                self.reader()?.push_back(line);
                break;
            }
            document.lines += 1;
            document.too_large |= document.text.len() + line.len() >= self.max_bytes;
            if !document.too_large {
                document.text.push(b'\n');
                document.text.append(line);
            }
        }
        Ok(progress)
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.reader()?.fill_buf()?.is_empty())
    }

    fn next_line(&mut self, line: &mut Vec<u8>) -> io::Result<LineEnd> {
        let max_bytes = self.max_bytes;
        let end = read_line(self.reader()?, line, max_bytes)?;
        self.line_number += u64::from(end != LineEnd::EndOfInput);
        Ok(end)
    }
}

/// A JSON document of several lines, as far as it has been read.
struct Document {
    text: Vec<u8>,
    lines: usize,
    too_large: bool,
}

/// What was found and is not yet handed out.
struct Found {
    batch: Batch,
    items: VecDeque<Item>,
    number: u64,
    /// Where the unit that is being read begins.
    place: Place,
    /// Whether the last piece was refused as a secret, and only lines of a table may have followed.
    in_secret_table: bool,
}

impl Found {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number - 1
    }

    fn push_record(&mut self, place: Place, data: Bytes, arrival: Option<Millis>, sequence: Option<String>) {
        let number = self.next_number();
        self.items.push_back(Item::Record(FoundRecord { number, place, data, arrival, sequence, rejected: None }));
    }

    /// Hands out the lines so far, so that the order stays.
    fn close_batch(&mut self) {
        if let Some((place, data)) = self.batch.close() {
            self.push_record(place, data, None, None);
        }
    }

    fn document(&mut self, bytes: &[u8]) {
        match str::from_utf8(bytes) {
            Ok(text) => document::read(text, self),
            Err(_) => self.unreadable(Reason::InvalidUtf8, Some(Bytes::copy_from_slice(bytes))),
        }
    }

    /// A JSON document of several lines that breaks off.
    fn broken(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if text.contains("\"messageType\"") && !document::is_ec2(&text) {
            // The core says what is wrong with an envelope.
            self.record(Bytes::copy_from_slice(bytes), None, None);
        } else {
            self.unreadable(Reason::BrokenJson, Some(Bytes::copy_from_slice(bytes)));
        }
    }

    /// A line that is no JSON.
    fn text(&mut self, bytes: &[u8]) {
        // `aws --output table` names the key in a heading, once, and has the secrets in the rows below.
        let first = bytes.iter().find(|byte| **byte != 0);
        self.in_secret_table &= first.is_none_or(|first| b"|+-".contains(first));
        if self.in_secret_table && first.is_some() {
            return self.unreadable(Reason::Ec2Inventory, None);
        }
        let text = match str::from_utf8(bytes) {
            Ok("") => return,
            Ok(text) => text,
            Err(_) => return self.unreadable(Reason::InvalidUtf8, Some(Bytes::copy_from_slice(bytes))),
        };
        if text.starts_with("{\"messageType\"") {
            return self.record(Bytes::copy_from_slice(bytes), None, None);
        }
        // How gzip (1f 8b 08), a KPL record and `{"` begin in base64.
        let bare = text.trim_matches(['"', ',', '\'']);
        if bare.starts_with("H4sI") || bare.starts_with("84maw") {
            return match document::base64(bare) {
                Some(data) => self.record(data, None, None),
                None => self.unreadable(Reason::BadBase64, Some(Bytes::copy_from_slice(bytes))),
            };
        }
        if let Some(data) = Some(bare).filter(|bare| bare.starts_with("eyJ")).and_then(document::base64) {
            // Base64 of an EC2 answer would be a secret in disguise.
            if document::is_ec2(&String::from_utf8_lossy(&data)) {
                return self.unreadable(Reason::Ec2Inventory, None);
            }
            return self.record(data, None, None);
        }
        let (timestamp, message) = exported(text).map_or((None, text), |(time, message)| (Some(time), message));
        self.line(BareLine { stream: None, id: None, timestamp, message });
    }
}

/// Time and message of an export task's line: `2025-11-08T05:40:29.641Z <message>`.
fn exported(text: &str) -> Option<(Millis, &str)> {
    let (time, message) = text.split_once(' ')?;
    let iso = time.ends_with('Z') && time.as_bytes().get(10) == Some(&b'T');
    Some((Millis::parse(time).filter(|_| iso && !message.is_empty())?, message))
}

impl Findings for Found {
    fn record(&mut self, data: Bytes, arrival: Option<Millis>, sequence: Option<String>) {
        self.close_batch();
        let place = self.place;
        self.push_record(place, data, arrival, sequence);
    }

    fn rejected(&mut self, letter: DeadLetter) {
        self.close_batch();
        let (number, place) = (self.next_number(), self.place);
        let (data, arrival) = (letter.data.clone(), letter.observed);
        let rejected = Some(Arc::new(letter));
        self.items.push_back(Item::Record(FoundRecord { number, place, data, arrival, sequence: None, rejected }));
    }

    fn line(&mut self, line: BareLine<'_>) {
        if document::is_ec2(line.message) {
            return self.unreadable(Reason::Ec2Inventory, None);
        }
        if let Some((place, data)) = self.batch.add(line, self.place) {
            self.push_record(place, data, None, None);
        }
    }

    fn unreadable(&mut self, reason: Reason, bytes: Option<Bytes>) {
        self.close_batch();
        let secret = bytes.as_ref().is_some_and(|bytes| document::is_ec2(&String::from_utf8_lossy(bytes)));
        let (reason, bytes) = if secret { (Reason::Ec2Inventory, None) } else { (reason, bytes) };
        self.in_secret_table = reason == Reason::Ec2Inventory;
        let (number, place) = (self.next_number(), self.place);
        self.items.push_back(Item::Unreadable(Unreadable { number, place, reason, bytes }));
    }
}
