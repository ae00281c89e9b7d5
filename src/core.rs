//! The core: one record in, encoded items out. Pure and synchronous: no I/O, no clock, cannot fail.
//!
//! decode → normalize → enrich → route → encode, in one pass over a record's log events. What cannot be
//! decoded becomes one item of the dead-letter lane, with its original bytes; what cannot be looked up is
//! listed in [`Output::misses`] for the shell to refresh. The same core runs under every engine.
//!
//! A record may be resumed: when the output is full, [`Step::More`] says where to go on, so one huge record
//! needs no huge buffer.

mod buffer;
mod rejected;
mod walk;

use std::borrow::Cow;
use std::sync::Arc;

use fixedbitset::FixedBitSet;

use crate::decode::envelope::Cursor;
use crate::decode::inflate::Inflater;
use crate::decode::{DecodeError, LogStream};
use crate::delivery::{Encoded, Item, LaneItems, Piece, RecordInfo, SinkId};
use crate::encode::{DeadLetter, Format};
use crate::enrich::{Lookup, Miss, Snapshot, is_account_id};
use crate::event::{Action, Event, EventId, Kind, Millis, Severity};
use crate::route::{Decision, Filter};
use crate::source::{Position, Record, ShardId};
use buffer::{Buffer, Usual};
use walk::{Texts, Walk};

/// A record's events are cut into pieces of about this many encoded bytes: large enough that reading a
/// record's envelope anew for each piece costs little, small against `limits.memory`.
const MAX_PIECE_BYTES: usize = 4 * 1024 * 1024;

fn max_piece_bytes() -> usize {
    #[cfg(test)]
    if let Some(bytes) = crate::hooks::piece_bytes() {
        return bytes;
    }
    MAX_PIECE_BYTES
}

/// Connections that one piece reports as unknown; the rest will be reported by a later one.
const MAX_MISSES: usize = 64;

/// One sink, as the core sees it.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// The form of its items.
    pub format: Format,
    /// Which events it gets.
    pub filter: Filter,
}

/// See the module.
#[derive(Debug)]
pub struct Core {
    max_record_bytes: usize,
    /// Distinct formats; sinks of one format share its buffers.
    formats: Vec<Format>,
    /// By sink: which format, which filter.
    sinks: Vec<(usize, Filter)>,
    /// By sink: its name, by which a rejected item finds it again.
    names: Vec<Arc<str>>,
    /// Whether a format may write `raw` of an event that has been understood.
    keeps_raw: bool,
}

/// Where a record comes from, for its events' `origin`.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// The shard.
    pub shard: &'a ShardId,
    /// The Region of events that nothing else tells it of.
    pub region: Option<&'a str>,
}

/// Where to go on within a record; the default is its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resume(Cursor);

/// How far a record was processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// To its end.
    Done,
    /// The output is full: take it, and go on from here.
    More(Resume),
}

/// Whether to go on with a record's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// With the next one.
    On,
    /// Not now.
    Stop,
}

/// What is known of an event beside what it says.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Its log stream.
    pub stream: &'a LogStream<'a>,
    /// Whether the inventory knows its connection.
    pub lookup: Lookup,
    /// Account and Region by the record and the configuration alone: what names objects and topics must not depend
    /// on the inventory, since a replay has to find the same names.
    pub account: Option<Cow<'a, str>>,
    /// See `account`.
    pub region: Option<Cow<'a, str>>,
    /// How many events of the record follow; 0 where that is not known.
    pub follow: u32,
}

/// Who is shown a record's events.
pub type Visit<'v> = &'v mut dyn FnMut(&Event<'_>, &Seen<'_>) -> Go;

/// How far a record's events were shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked {
    /// A control message has no events.
    Control,
    /// All of them.
    ToTheEnd,
    /// The visitor said stop; the rest begins here.
    Stopped(Resume),
}

/// Buffers that are used again for every record.
#[derive(Debug, Default)]
pub struct Scratch {
    inflater: Inflater,
    /// The record that `inflater` holds and its length there, so that resuming need not inflate it again.
    holds: Option<(Position, usize)>,
    texts: Texts,
    /// By format: what a record's events became.
    usual: Vec<Usual>,
}

/// What a reader keeps of its inflate buffer between grants: enough for common records.
const KEPT_BYTES: usize = 4 * 1024 * 1024;

impl Scratch {
    /// Gives back the memory that an unusually large record took; not to be called within a record.
    pub fn trim(&mut self) {
        if self.inflater.capacity() > KEPT_BYTES {
            *self = Scratch::default();
        }
    }

    /// Whether anything was inflated with it.
    #[cfg(test)]
    pub(crate) fn is_used(&self) -> bool {
        self.inflater.capacity() > 0
    }

    /// Keeps the buffers and forgets what is in them: another reader goes on with it.
    pub fn forget(&mut self) {
        self.holds = None;
    }
}

/// What a piece contained, for metrics and the closing table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Their bytes, as the source delivered them.
    pub record_bytes: u64,
    /// Control messages among them.
    pub control: u64,
    /// Records that could not be read: reason, and what to do about it.
    pub unreadable: Vec<(&'static str, String)>,
    /// Events by kind, in the order of [`Kind::ALL`].
    pub events: [u64; Kind::ALL.len()],
    /// Lookups that found no connection.
    pub misses: u64,
    /// By sink: items that passed because a condition could not be decided.
    pub passed_unknown: Vec<u64>,
}

/// What the core made of some records, growing until it is taken.
#[derive(Debug, Default)]
pub struct Output {
    records: Vec<RecordInfo>,
    buffers: Vec<Buffer>,
    wanted: Vec<bool>,
    own: Vec<FixedBitSet>,
    filtered: Vec<u32>,
    /// Connections that the inventory does not know.
    pub misses: Vec<Miss>,
    /// What was in it.
    pub counts: Counts,
}

impl Output {
    /// Encoded bytes so far, of the largest format.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(|buffer| buffer.bytes.len()).max().unwrap_or(0)
    }

    fn push(&mut self, format: usize, id: EventId, event: (Millis, Kind, Action, Severity)) -> u32 {
        let record = self.records.len() as u32;
        let buffer = &mut self.buffers[format];
        let (time, kind, action, severity) = event;
        // Lossless: a piece ends near `MAX_PIECE_BYTES`, and one event is at most `limits.record` (256 MiB)
        // times 6 for escapes.
        let end = buffer.bytes.len() as u32;
        // Lossless: an item takes a byte at least.
        let index = buffer.items.len() as u32;
        buffer.items.push(Item { end, record, id, time, kind, action, severity });
        index
    }

    fn own(&mut self, sink: usize, item: u32) {
        let (bits, item) = (&mut self.own[sink], item as usize);
        bits.grow(item + 1);
        bits.insert(item);
    }
}

impl Core {
    /// A core for these sinks. Sinks of equal formats share one encoding.
    pub fn new(max_record_bytes: usize, plans: Vec<SinkPlan>) -> Core {
        let mut formats: Vec<Format> = Vec::new();
        let mut sinks = Vec::with_capacity(plans.len());
        for SinkPlan { format, filter } in plans {
            let index = formats.iter().position(|known| *known == format).unwrap_or_else(|| {
                formats.push(format);
                formats.len() - 1
            });
            sinks.push((index, filter));
        }
        let keeps_raw = formats.iter().any(Format::keeps_raw);
        Core { max_record_bytes, formats, sinks, names: Vec::new(), keeps_raw }
    }

    /// Tells the sinks' names, in the order of the plans. An item that a sink refused finds it again by its name;
    /// where no sink has the name it is a dead letter again.
    #[must_use]
    pub fn with_names(self, names: Vec<Arc<str>>) -> Core {
        Core { names, ..self }
    }

    /// An empty output for the wanted sinks.
    pub fn output(&self, wanted: &[SinkId]) -> Output {
        let mut out = Output {
            buffers: self.formats.iter().map(|_| Buffer::default()).collect(),
            wanted: vec![false; self.sinks.len()],
            own: vec![FixedBitSet::new(); self.sinks.len()],
            filtered: vec![0; self.sinks.len()],
            ..Output::default()
        };
        out.counts.passed_unknown = vec![0; self.sinks.len()];
        for sink in wanted {
            if let Some(wanted) = out.wanted.get_mut(sink.0 as usize) {
                *wanted = true;
            }
        }
        out
    }

    /// The piece that an output holds.
    pub fn piece(&self, out: Output) -> Piece {
        let records = Arc::new(out.records);
        let encodings: Vec<Arc<Encoded>> =
            out.buffers.into_iter().map(|buffer| Arc::new(buffer.encoded(&records))).collect();
        let lanes = out.own.into_iter().enumerate().map(|(sink, mut own)| {
            let (format, _) = self.sinks[sink];
            own.grow(encodings[format].items.len());
            out.wanted[sink].then(|| LaneItems::new(&encodings[format], own, out.filtered[sink]))
        });
        Piece { lanes: lanes.collect(), records }
    }

    /// Processes a record, or the rest of it from `resume` on.
    pub fn process(
        &self,
        from: From<'_>,
        record: &Record,
        resume: Resume,
        snapshot: &Snapshot,
        scratch: &mut Scratch,
        out: &mut Output,
    ) -> Step {
        if resume == Resume::default() {
            out.counts.records += 1;
            out.counts.record_bytes += record.data.len() as u64;
        }
        if let Some(letter) = &record.rejected {
            self.give_back(record, letter, out);
            return Step::Done;
        }
        match self.read(from, record, resume, snapshot, scratch, out) {
            Ok(step) => step,
            Err(error) => {
                self.dead_letter(from, record, &error, out);
                out.records.push(bare_record(record));
                Step::Done
            }
        }
    }

    fn read(
        &self,
        from: From<'_>,
        record: &Record,
        resume: Resume,
        snapshot: &Snapshot,
        scratch: &mut Scratch,
        out: &mut Output,
    ) -> Result<Step, DecodeError> {
        let mut usual = std::mem::take(&mut scratch.usual);
        usual.resize_with(self.formats.len(), Usual::default);
        let mut shown = 0;
        let mut info: Option<RecordInfo> = None;
        let walk = Walk { from, record, snapshot, keeps_raw: self.keeps_raw };
        let walked = self.walk_by(walk, resume, scratch, &mut |event, seen| {
            if shown == 0 {
                let buffers = out.buffers.iter_mut().zip(&mut usual);
                buffers.for_each(|(buffer, usual)| buffer.begin_record(seen.follow as usize + 1, snapshot, usual));
            }
            shown += 1;
            if seen.lookup == Lookup::Miss {
                note_miss(event, out);
            }
            self.emit(event, out);
            info.get_or_insert_with(|| record_info(record, event, seen, out.records.last()));
            if out.bytes() < max_piece_bytes() { Go::On } else { Go::Stop }
        });
        usual.iter_mut().zip(&mut out.buffers).for_each(|(usual, buffer)| buffer.end_record(shown, usual));
        scratch.usual = usual;
        let walked = walked?;
        let info = info.unwrap_or_else(|| bare_record(record));
        out.counts.control += u64::from(walked == Walked::Control);
        out.records.push(RecordInfo { done: !matches!(walked, Walked::Stopped(_)), ..info });
        Ok(match walked {
            Walked::Stopped(resume) => Step::More(resume),
            Walked::Control | Walked::ToTheEnd => Step::Done,
        })
    }

    /// Shows every event of a record to `visit`, normalized and enriched, until it says stop.
    pub fn walk(
        &self,
        from: From<'_>,
        record: &Record,
        resume: Resume,
        snapshot: &Snapshot,
        scratch: &mut Scratch,
        visit: Visit<'_>,
    ) -> Result<Walked, DecodeError> {
        self.walk_by(Walk { from, record, snapshot, keeps_raw: true }, resume, scratch, visit)
    }

    fn walk_by(
        &self,
        walk: Walk<'_>,
        resume: Resume,
        scratch: &mut Scratch,
        visit: Visit<'_>,
    ) -> Result<Walked, DecodeError> {
        let record = walk.record;
        let Scratch { inflater, holds, texts, .. } = scratch;
        let is_here = |(position, length): &(Position, usize)| {
            resume != Resume::default() && *position == record.position && inflater.held(*length).is_some()
        };
        let held = holds.filter(is_here);
        let plain = match held {
            Some((_, length)) => inflater.held(length).unwrap_or_default(),
            None => {
                *holds = None;
                let plain = inflater.inflate(&record.data, self.max_record_bytes)?;
                let is_inflated = !std::ptr::eq(plain, &record.data[..]);
                *holds = is_inflated.then_some((record.position, plain.len()));
                plain
            }
        };
        walk.show_all(plain, resume, texts, visit)
    }

    /// Routes an event, and encodes it once for each format that a sink wants it in.
    fn emit(&self, event: &Event<'_>, out: &mut Output) {
        out.counts.events[event.kind as usize] += 1;
        let mut encoded: [Option<u32>; MAX_FORMATS] = [None; MAX_FORMATS];
        for (sink, (format, filter)) in self.sinks.iter().enumerate() {
            if !out.wanted[sink] || self.formats[*format] == Format::DeadLetter {
                continue;
            }
            match filter.decide(event) {
                Decision::Drop => {
                    out.filtered[sink] += 1;
                    continue;
                }
                Decision::PassUnknown => out.counts.passed_unknown[sink] += 1,
                Decision::Pass => {}
            }
            let item = match encoded.get(*format).copied().flatten() {
                Some(item) => item,
                None => {
                    let Buffer { bytes, repeat, .. } = &mut out.buffers[*format];
                    self.formats[*format].encode_next(event, bytes, repeat);
                    out.push(*format, event.id, (event.time, event.kind, event.action, event.severity))
                }
            };
            if let Some(slot) = encoded.get_mut(*format) {
                *slot = Some(item);
            }
            out.own(sink, item);
        }
    }

    fn dead_letter(&self, from: From<'_>, record: &Record, error: &DecodeError, out: &mut Output) {
        out.counts.unreadable.push((error.reason(), error.to_string()));
        let letter = DeadLetter::of_record(from.shard, record, error.reason(), error.to_string());
        self.emit_letter(&letter, record.arrival.unwrap_or_default(), out);
    }

    /// One item of every dead-letter lane.
    fn emit_letter(&self, letter: &DeadLetter, time: Millis, out: &mut Output) {
        for (sink, (format, _)) in self.sinks.iter().enumerate() {
            if out.wanted[sink] && self.formats[*format] == Format::DeadLetter {
                letter.encode(&mut out.buffers[*format].bytes);
                let item = out.push(*format, letter.id, (time, Kind::Unparsed, Action::Unparsed, Severity::Error));
                out.own(sink, item);
            }
        }
    }
}

/// Distinct formats that are encoded at most once an event; further ones, if a pipeline has them, are
/// encoded once a sink. There are fewer formats than this.
const MAX_FORMATS: usize = 16;

fn note_miss(event: &Event<'_>, out: &mut Output) {
    out.counts.misses += 1;
    let Some(vpn) = &event.vpn else { return };
    if out.misses.len() < MAX_MISSES && !out.misses.iter().any(|miss| miss.connection == vpn.connection_id) {
        let text = |text: &Option<Cow<'_, str>>| text.clone().map(Cow::into_owned);
        let (account, region) = (text(&event.cloud.account_id), text(&event.cloud.region));
        out.misses.push(Miss { connection: vpn.connection_id.clone().into_owned(), account, region });
    }
}

fn bare_record(record: &Record) -> RecordInfo {
    RecordInfo {
        position: record.position,
        arrival: record.arrival,
        // A source's record has at most some MiB.
        bytes: u32::try_from(record.data.len()).unwrap_or(u32::MAX),
        done: true,
        ..RecordInfo::default()
    }
}

fn account_of<'a>(stream: &'a LogStream<'_>) -> Option<Cow<'a, str>> {
    Some(stream.owner.as_ref()).filter(|owner| is_account_id(owner)).map(Cow::Borrowed)
}

/// What a record's items have in common, as its first event tells. A text that `before` has too is shared with it.
fn record_info(record: &Record, event: &Event<'_>, seen: &Seen<'_>, before: Option<&RecordInfo>) -> RecordInfo {
    let Seen { stream, account, region, .. } = seen;
    let shared = |text: &str, known: fn(&RecordInfo) -> &Option<Arc<str>>| {
        let known = before.and_then(|before| known(before).as_ref()).filter(|known| ***known == *text);
        known.map_or_else(|| Arc::from(text), Arc::clone)
    };
    let connection = event.vpn.as_ref().map(|vpn| &*vpn.connection_id);
    let log_stream = Some(&*stream.stream).filter(|name| !name.is_empty());
    RecordInfo {
        account: account.as_deref().map(|text| shared(text, |info| &info.account)),
        region: region.as_deref().map(|text| shared(text, |info| &info.region)),
        connection: connection.map(|text| shared(text, |info| &info.connection)),
        tunnel: event.vpn.as_ref().and_then(|vpn| vpn.tunnel.as_ref()).and_then(|tunnel| tunnel.outside_ip),
        log_stream: log_stream.map(|text| shared(text, |info| &info.log_stream)),
        ..bare_record(record)
    }
}
