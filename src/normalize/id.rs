//! Names events: the same log event gets the same id through any filter, shard, source or replay.
//!
//! These functions are frozen: consumers deduplicate by the ids. A change of any byte that goes into one
//! is a new version of the event schema.

use crate::decode::{LogEvent, LogStream};
use crate::event::EventId;

/// Tag of ids made from CloudWatch's own event id.
const LOG_EVENT: &[u8] = b"tunnelog.event-id/1";
/// Tag of ids made from a line that has no event id.
const LINE: &[u8] = b"tunnelog.line-id/1";

/// Names the events of one log stream. What the names of all have in common is written once.
#[derive(Debug)]
pub struct Namer<'n> {
    stream: &'n LogStream<'n>,
    buffer: &'n mut Vec<u8>,
    /// Up to here the buffer holds what all names begin with.
    common: usize,
}

impl<'n> Namer<'n> {
    /// For the events of this stream; `buffer` is scratch.
    pub fn new(stream: &'n LogStream<'n>, buffer: &'n mut Vec<u8>) -> Namer<'n> {
        buffer.clear();
        let [owner, group, name] = parts_of(stream);
        [LOG_EVENT, owner, group, name].iter().for_each(|part| EventId::push_part(buffer, part));
        let common = buffer.len();
        Namer { stream, buffer, common }
    }

    /// The id of a log event: of CloudWatch's id if it has one, else of the line itself.
    pub fn of_log(&mut self, log: &LogEvent<'_>) -> EventId {
        if log.id.is_empty() { self.of_line(log) } else { self.of_event_id(&log.id) }
    }

    /// The id of (owner, log group, log stream, canonical event id).
    fn of_event_id(&mut self, event_id: &str) -> EventId {
        self.buffer.truncate(self.common);
        EventId::push_part(self.buffer, event_id.as_bytes());
        EventId::of_pushed(self.buffer)
    }

    /// The id of a line without an event id: (owner, log group, log stream, line, CloudWatch's time in ms or
    /// nothing, how many equal lines came before).
    fn of_line(&self, log: &LogEvent<'_>) -> EventId {
        let time = log.timestamp.map(|time| time.0.to_string()).unwrap_or_default();
        let occurrence = log.occurrence.to_string();
        let [owner, group, stream] = parts_of(self.stream);
        let parts = [LINE, owner, group, stream, log.message.as_bytes(), time.as_bytes(), occurrence.as_bytes()];
        EventId::of_parts(&parts)
    }
}

fn parts_of<'s>(stream: &'s LogStream<'_>) -> [&'s [u8]; 3] {
    [stream.owner.as_bytes(), stream.group.as_bytes(), stream.stream.as_bytes()]
}

/// The id of one log event; see [`Namer::of_log`].
pub fn of_log(stream: &LogStream<'_>, log: &LogEvent<'_>) -> EventId {
    Namer::new(stream, &mut Vec::new()).of_log(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Millis;

    fn stream() -> LogStream<'static> {
        LogStream { owner: "123456789012".into(), group: "/aws/vendedlogs/vpn".into(), stream: "s-BGP.log".into() }
    }

    fn of_event_id(stream: &LogStream<'_>, event_id: &str) -> EventId {
        of_log(stream, &LogEvent { id: event_id.into(), ..LogEvent::default() })
    }

    #[test]
    fn a_name_does_not_depend_on_those_before() {
        let (stream, mut buffer) = (stream(), b"used".to_vec());
        let mut namer = Namer::new(&stream, &mut buffer);
        let line = LogEvent { message: "1".into(), ..LogEvent::default() };
        let event = LogEvent { id: "1".into(), ..LogEvent::default() };
        for log in [&line, &event, &event, &line, &line, &event] {
            assert_eq!(namer.of_log(log), of_log(&stream, log));
        }
    }

    #[test]
    fn ids_are_pinned_forever() {
        let id = "39914058728991429450395327189911295461740495520467910656";
        let with_id = LogEvent { id: id.into(), message: "ignored".into(), ..LogEvent::default() };
        let bare = LogEvent {
            message: "a line".into(),
            timestamp: Some(Millis(1_762_580_400_000)),
            occurrence: 1,
            ..LogEvent::default()
        };
        let got = [
            of_log(&stream(), &with_id),
            of_log(&stream(), &bare),
            of_log(&stream(), &LogEvent { timestamp: None, ..bare }),
        ]
        .map(|id| id.to_string());
        let pinned = [
            "d257ddc48f1a170c54b936b879a3db98",
            "735c9276654dafc677cb0d32bd160d6e",
            "fa83902601535daab3352df303308fce",
        ];
        assert_eq!(got, pinned, "these ids must never change: consumers deduplicate by them");
    }

    #[test]
    fn the_message_of_an_event_with_an_id_does_not_matter_but_everything_else_does() {
        let base = of_event_id(&stream(), "1");
        assert_ne!(base, of_event_id(&LogStream { owner: "2".into(), ..stream() }, "1"));
        assert_ne!(base, of_event_id(&LogStream { group: "g".into(), ..stream() }, "1"));
        assert_ne!(base, of_event_id(&LogStream { stream: "s".into(), ..stream() }, "1"));
        assert_ne!(base, of_event_id(&stream(), "2"));
        let line = LogEvent { message: "1".into(), ..LogEvent::default() };
        assert_ne!(base, of_log(&stream(), &line));
        assert_ne!(of_log(&stream(), &line), of_log(&stream(), &LogEvent { occurrence: 1, ..line }));
    }
}
