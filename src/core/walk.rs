//! A record's events, one after the other: decoded, normalized, enriched.
//!
//! Two ways lead to the same events. The usual record is read in one pass ([`scan`](mod@crate::decode::scan)), its
//! lines while they are still escaped; all others are read by the plain parsers, and so is any line of which the quick
//! way does not understand everything. `tests/core` compares the two.

use std::borrow::Cow;

use super::{From, Go, Resume, Seen, Visit, Walked, account_of};
use crate::decode::envelope::{Envelope, MessageKind};
use crate::decode::scan::{Scanned, scan};
use crate::decode::{DecodeError, LogEvent, LogStream};
use crate::enrich::{Finder, Snapshot};
use crate::event::{Event, Origin};
use crate::normalize;
use crate::normalize::escaped::Lines;
use crate::normalize::id::Namer;
use crate::normalize::line::Line;
use crate::normalize::stream::StreamIdentity;
use crate::source::{Record, ShardId};

/// Texts that are made for one event and used again for the next.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The line without its escapes.
    line: String,
    summary: String,
    id: Vec<u8>,
    lines: Lines,
}

/// What all events of a record have in common.
#[derive(Clone, Copy)]
pub(super) struct Walk<'w> {
    pub(super) from: From<'w>,
    pub(super) record: &'w Record,
    pub(super) snapshot: &'w Snapshot,
    /// Whether every event has to have its `raw`.
    pub(super) keeps_raw: bool,
}

/// What a record's events are read with, one after the other.
struct Tools<'t> {
    line: &'t mut String,
    summary: &'t mut String,
    namer: Namer<'t>,
    identity: StreamIdentity<'t>,
    finder: Finder<'t>,
    visit: Visit<'t>,
    /// How many events the record has, if that is known.
    count: u32,
}

impl<'w> Walk<'w> {
    /// Shows the events of the record whose plain bytes are given.
    pub(super) fn show_all(
        self,
        plain: &[u8],
        resume: Resume,
        texts: &mut Texts,
        visit: Visit<'_>,
    ) -> Result<Walked, DecodeError> {
        if let Some(scanned) = scan(plain, |reader, line| texts.lines.read(reader, line)) {
            // The scan takes far fewer.
            let count = u32::try_from(scanned.events.len()).unwrap_or(u32::MAX);
            return Ok(self.scanned(&scanned, resume, &mut self.tools(&scanned.stream, count, texts, visit)));
        }
        let envelope = Envelope::parse(plain)?;
        if envelope.kind == MessageKind::Control {
            return Ok(Walked::Control);
        }
        let mut tools = self.tools(&envelope.stream, 0, texts, visit);
        let mut events = envelope.events(resume.0);
        loop {
            let index = events.cursor().index();
            let Some(log) = events.next() else { return Ok(Walked::ToTheEnd) };
            let go = self.show(&envelope.stream, index, &log, &mut tools);
            if go == Go::Stop && !events.is_at_end() {
                return Ok(Walked::Stopped(Resume(events.cursor())));
            }
        }
    }

    fn tools<'t>(self, stream: &'t LogStream<'t>, count: u32, texts: &'t mut Texts, visit: Visit<'t>) -> Tools<'t>
    where
        'w: 't,
    {
        let Texts { line, summary, id, .. } = texts;
        let (namer, identity) = (Namer::new(stream, id), StreamIdentity::parse(&stream.stream));
        Tools { line, summary, namer, identity, finder: Finder::new(self.snapshot), visit, count }
    }

    fn scanned(self, scanned: &Scanned<'_, Line<'_>>, resume: Resume, tools: &mut Tools<'_>) -> Walked {
        let stream = &scanned.stream;
        let mut events = (resume.0.index()..).zip(scanned.events.iter().skip(resume.0.index() as usize)).peekable();
        while let Some((index, event)) = events.next() {
            let quick = event.line.as_ref().filter(|_| !self.keeps_raw);
            let shown = quick.and_then(|line| self.show_line(stream, index, &event.log(""), line, tools));
            let go = shown.unwrap_or_else(|| {
                let mut line = std::mem::take(tools.line);
                event.unescape(&mut line);
                let go = self.show(stream, index, &event.log(&line), tools);
                *tools.line = line;
                go
            });
            if let (Go::Stop, Some((next, event))) = (go, events.peek()) {
                return Walked::Stopped(Resume(event.cursor(*next)));
            }
        }
        Walked::ToTheEnd
    }

    /// Shows an event whose line has been read; nothing if the event has to carry the line itself.
    fn show_line(
        self,
        stream: &LogStream<'_>,
        index: u32,
        log: &LogEvent<'_>,
        line: &Line<'_>,
        tools: &mut Tools<'_>,
    ) -> Option<Go> {
        let Tools { summary, namer, identity, finder, visit, count, .. } = tools;
        let (id, arrival) = (namer.of_log(log), self.record.arrival);
        let mut event = normalize::of_line(line, Vec::new(), log, stream, identity, arrival, id, summary);
        event.is_understood().then(|| self.visit(&mut event, stream, (index, *count), finder, visit))
    }

    /// Shows the event of a line.
    fn show(self, stream: &LogStream<'_>, index: u32, log: &LogEvent<'_>, tools: &mut Tools<'_>) -> Go {
        let Tools { summary, namer, identity, finder, visit, count, .. } = tools;
        let id = namer.of_log(log);
        let mut event = normalize::normalize(log, stream, identity, self.record.arrival, id, summary);
        self.visit(&mut event, stream, (index, *count), finder, visit)
    }

    /// Adds what is known from elsewhere.
    fn visit<'a, 'f: 'a>(
        self,
        event: &mut Event<'a>,
        stream: &'a LogStream<'_>,
        (index, count): (u32, u32),
        finder: &mut Finder<'f>,
        visit: Visit<'_>,
    ) -> Go
    where
        'w: 'a,
    {
        let Walk { from, record, .. } = self;
        let ShardId { source, stream: name, shard, .. } = from.shard;
        event.origin = Some(Origin { source, stream: name, shard, sequence: record.position, index });
        let account = event.cloud.account_id.clone().or_else(|| account_of(stream));
        let region = event.cloud.region.clone().or(from.region.map(Cow::Borrowed));
        let lookup = finder.enrich(event, from.region, &stream.owner);
        visit(event, &Seen { stream, lookup, account, region, follow: count.saturating_sub(index + 1) })
    }
}
