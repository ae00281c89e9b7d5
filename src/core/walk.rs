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
use crate::enrich::{Snapshot, enrich};
use crate::event::{Event, Origin};
use crate::normalize::line::Line;
use crate::normalize::stream::StreamIdentity;
use crate::normalize::{self, escaped};
use crate::source::{Record, ShardId};

/// Texts that are made for one event and used again for the next.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// The line without its escapes.
    line: String,
    summary: String,
    id: Vec<u8>,
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

impl Walk<'_> {
    /// Shows the events of the record whose plain bytes are given.
    pub(super) fn show_all(
        self,
        plain: &[u8],
        resume: Resume,
        texts: &mut Texts,
        visit: Visit<'_>,
    ) -> Result<Walked, DecodeError> {
        if let Some(scanned) = scan(plain, escaped::line) {
            return Ok(self.scanned(&scanned, resume, texts, visit));
        }
        let envelope = Envelope::parse(plain)?;
        if envelope.kind == MessageKind::Control {
            return Ok(Walked::Control);
        }
        let identity = StreamIdentity::parse(&envelope.stream.stream);
        let mut events = envelope.events(resume.0);
        loop {
            let index = events.cursor().index();
            let Some(log) = events.next() else { return Ok(Walked::ToTheEnd) };
            let go = self.show(&envelope.stream, &identity, index, &log, texts, visit);
            if go == Go::Stop && !events.is_at_end() {
                return Ok(Walked::Stopped(Resume(events.cursor())));
            }
        }
    }

    fn scanned(self, scanned: &Scanned<'_, Line<'_>>, resume: Resume, texts: &mut Texts, visit: Visit<'_>) -> Walked {
        let stream = &scanned.stream;
        let identity = StreamIdentity::parse(&stream.stream);
        let mut events = (resume.0.index()..).zip(scanned.events.iter().skip(resume.0.index() as usize)).peekable();
        while let Some((index, event)) = events.next() {
            let quick = event.line.as_ref().filter(|_| !self.keeps_raw);
            let shown = quick.and_then(|line| {
                let log = event.log("");
                self.show_line(stream, &identity, index, &log, line, texts, visit)
            });
            let go = shown.unwrap_or_else(|| {
                let mut line = std::mem::take(&mut texts.line);
                event.unescape(&mut line);
                let go = self.show(stream, &identity, index, &event.log(&line), texts, visit);
                texts.line = line;
                go
            });
            if let (Go::Stop, Some((next, event))) = (go, events.peek()) {
                return Walked::Stopped(Resume(event.cursor(*next)));
            }
        }
        Walked::ToTheEnd
    }

    /// Shows an event whose line has been read; nothing if the event has to carry the line itself.
    #[expect(clippy::too_many_arguments, reason = "one event's parts")]
    fn show_line(
        self,
        stream: &LogStream<'_>,
        identity: &StreamIdentity<'_>,
        index: u32,
        log: &LogEvent<'_>,
        line: &Line<'_>,
        texts: &mut Texts,
        visit: Visit<'_>,
    ) -> Option<Go> {
        let id = normalize::id::of_log(&mut texts.id, stream, log);
        let summary = &mut texts.summary;
        let event = normalize::of_line(line, Vec::new(), log, stream, identity, self.record.arrival, id, summary);
        event.is_understood().then(|| self.visit(event, stream, index, visit))
    }

    /// Shows the event of a line.
    fn show(
        self,
        stream: &LogStream<'_>,
        identity: &StreamIdentity<'_>,
        index: u32,
        log: &LogEvent<'_>,
        texts: &mut Texts,
        visit: Visit<'_>,
    ) -> Go {
        let id = normalize::id::of_log(&mut texts.id, stream, log);
        let event = normalize::normalize(log, stream, identity, self.record.arrival, id, &mut texts.summary);
        self.visit(event, stream, index, visit)
    }

    /// Adds what is known from elsewhere.
    fn visit<'a>(self, mut event: Event<'a>, stream: &'a LogStream<'_>, index: u32, visit: Visit<'_>) -> Go
    where
        Self: 'a,
    {
        let Walk { from, record, snapshot, .. } = self;
        let ShardId { source, stream: name, shard, .. } = from.shard;
        event.origin = Some(Origin { source, stream: name, shard, sequence: record.position, index });
        let account = event.cloud.account_id.clone().or_else(|| account_of(stream));
        let region = event.cloud.region.clone().or(from.region.map(Cow::Borrowed));
        let lookup = enrich(&mut event, snapshot, from.region, &stream.owner);
        visit(&event, &Seen { stream, lookup, account, region })
    }
}
