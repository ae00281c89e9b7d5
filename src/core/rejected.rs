//! Items that a sink refused, on their way back to it: they came out of a core once, in the form in which the
//! sink was to get them, and go to it as they are.
//!
//! Filters do not apply, other sinks and the dead letters get nothing. Where no sink of the pipeline has the
//! name, the letter is kept as it is in the dead letters, with the reason `unknown_sink`: never dropped.

use std::sync::Arc;

use super::{Core, Output, bare_record};
use crate::delivery::RecordInfo;
use crate::encode::dead_letter::DeadLetterEvent;
use crate::encode::{DeadLetter, Format};
use crate::event::{Action, Kind, Severity};
use crate::source::Record;

/// Why an item that was refused is a dead letter again.
const UNKNOWN_SINK: &str = "unknown_sink";

/// Letters of a sink's name that are shown: names have at most 64, but these come from a file.
const SHOWN: usize = 64;

impl Core {
    /// Gives a rejected item to the sink that its letter names.
    pub(super) fn give_back(&self, record: &Record, letter: &DeadLetter, out: &mut Output) {
        match self.sink_of(letter) {
            Some((sink, format)) => self.give_to(sink, format, record, letter, out),
            None => self.keep(record, letter, out),
        }
        out.records.push(info_of(record, letter.event.as_ref()));
    }

    /// Index and format of the sink. The dead letters' own lane is no sink that a letter may name.
    fn sink_of(&self, letter: &DeadLetter) -> Option<(usize, usize)> {
        let wanted = letter.sink.as_deref()?;
        let sink = self.names.iter().position(|name| **name == *wanted)?;
        let (format, _) = self.sinks.get(sink)?;
        (self.formats.get(*format)? != &Format::DeadLetter).then_some((sink, *format))
    }

    fn give_to(&self, sink: usize, format: usize, record: &Record, letter: &DeadLetter, out: &mut Output) {
        let id = letter.event_id.unwrap_or(letter.id);
        let event = match &letter.event {
            Some(event) => (event.time, event.kind, event.action, event.severity),
            None => (record.arrival.unwrap_or_default(), Kind::Unparsed, Action::Other, Severity::Notice),
        };
        out.counts.events[event.1 as usize] += 1;
        if !out.wanted[sink] {
            return;
        }
        let bytes = &mut out.buffers[format].bytes;
        bytes.extend_from_slice(&letter.data);
        // Every item ends a line; the letter of one that lost its end must not join its successor's.
        if !letter.data.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        let item = out.push(format, id, event);
        out.own(sink, item);
    }

    fn keep(&self, record: &Record, letter: &DeadLetter, out: &mut Output) {
        let name = letter.sink.as_deref().unwrap_or_default();
        let shown: String = name.chars().filter(|character| !character.is_control()).take(SHOWN).collect();
        let detail = format!(
            "this pipeline has no sink `{shown}`, which refused the event: replay it with the pipeline that has it"
        );
        out.counts.unreadable.push((UNKNOWN_SINK, detail.clone()));
        let mut again = letter.clone();
        // Why it was refused at first stays, however often it comes by here.
        if again.reason != UNKNOWN_SINK {
            again.detail = format!("{detail}; it was refused as {}: {}", letter.reason, letter.detail);
            again.reason = UNKNOWN_SINK.into();
        }
        self.emit_letter(&again, record.arrival.unwrap_or_default(), out);
    }
}

fn info_of(record: &Record, event: Option<&DeadLetterEvent>) -> RecordInfo {
    let bare = bare_record(record);
    let Some(event) = event else { return bare };
    let text = |text: &Option<String>| text.as_deref().map(Arc::from);
    RecordInfo {
        account: text(&event.account),
        region: text(&event.region),
        connection: text(&event.connection),
        tunnel: event.tunnel,
        log_stream: text(&event.log_stream),
        ..bare
    }
}
