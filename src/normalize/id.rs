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

/// The id of a log event: of CloudWatch's id if it has one, else of the line itself. `buffer` is scratch.
pub fn of_log(buffer: &mut Vec<u8>, stream: &LogStream<'_>, log: &LogEvent<'_>) -> EventId {
    if log.id.is_empty() { of_line(buffer, stream, log) } else { of_event_id(buffer, stream, &log.id) }
}

/// The id of (owner, log group, log stream, canonical event id).
pub fn of_event_id(buffer: &mut Vec<u8>, stream: &LogStream<'_>, event_id: &str) -> EventId {
    let parts =
        [LOG_EVENT, stream.owner.as_bytes(), stream.group.as_bytes(), stream.stream.as_bytes(), event_id.as_bytes()];
    EventId::of_parts(buffer, &parts)
}

/// The id of a line without an event id: (owner, log group, log stream, line, CloudWatch's time in ms or
/// nothing, how many equal lines came before).
pub fn of_line(buffer: &mut Vec<u8>, stream: &LogStream<'_>, log: &LogEvent<'_>) -> EventId {
    let time = log.timestamp.map(|time| time.0.to_string()).unwrap_or_default();
    let occurrence = log.occurrence.to_string();
    let parts = [
        LINE,
        stream.owner.as_bytes(),
        stream.group.as_bytes(),
        stream.stream.as_bytes(),
        log.message.as_bytes(),
        time.as_bytes(),
        occurrence.as_bytes(),
    ];
    EventId::of_parts(buffer, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Millis;

    fn stream() -> LogStream<'static> {
        LogStream { owner: "123456789012".into(), group: "/aws/vendedlogs/vpn".into(), stream: "s-BGP.log".into() }
    }

    #[test]
    fn ids_are_pinned_forever() {
        let buffer = &mut Vec::new();
        let id = "39914058728991429450395327189911295461740495520467910656";
        let with_id = LogEvent { id: id.into(), message: "ignored".into(), ..LogEvent::default() };
        let bare = LogEvent {
            message: "a line".into(),
            timestamp: Some(Millis(1_762_580_400_000)),
            occurrence: 1,
            ..LogEvent::default()
        };
        let got = [
            of_log(buffer, &stream(), &with_id),
            of_log(buffer, &stream(), &bare),
            of_log(buffer, &stream(), &LogEvent { timestamp: None, ..bare }),
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
        let buffer = &mut Vec::new();
        let base = of_event_id(buffer, &stream(), "1");
        assert_ne!(base, of_event_id(buffer, &LogStream { owner: "2".into(), ..stream() }, "1"));
        assert_ne!(base, of_event_id(buffer, &LogStream { group: "g".into(), ..stream() }, "1"));
        assert_ne!(base, of_event_id(buffer, &LogStream { stream: "s".into(), ..stream() }, "1"));
        assert_ne!(base, of_event_id(buffer, &stream(), "2"));
        let line = LogEvent { message: "1".into(), ..LogEvent::default() };
        assert_ne!(base, of_log(buffer, &stream(), &line));
        assert_ne!(of_log(buffer, &stream(), &line), of_log(buffer, &stream(), &LogEvent { occurrence: 1, ..line }));
    }
}
