//! What `tunnelog decode` shows of an event that a sink refused: the event as it was to be sent, and who refused it
//! and why.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::encode::DeadLetter;
use crate::encode::timeline::cleaned;
use crate::event::{Action, Cloud, Event, Kind, Log, SCHEMA, Severity};
use crate::normalize::bare_vpn;

/// Longest text of a letter that is repeated on standard error, in characters.
const MAX_TEXT_CHARS: usize = 400;

/// Who refused it and why, on one line.
pub(super) fn note(letter: &DeadLetter) -> String {
    let sink = letter.sink.as_deref().unwrap_or_default();
    let colon = if letter.detail.is_empty() { "" } else { ": " };
    let text = format!("by sink `{sink}` as {}{colon}{}", letter.reason, letter.detail);
    cleaned(&text, MAX_TEXT_CHARS)
}

/// The event as one line of JSON: as it stands if it is an object, else what its letter says, with the bytes as text.
pub(super) fn json_line(letter: &DeadLetter) -> Vec<u8> {
    let bytes = letter.data.trim_ascii();
    let is_line = !bytes.contains(&b'\n') && bytes.starts_with(b"{");
    let mut line = if is_line && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        bytes.to_vec()
    } else {
        let mut about = serde_json::to_value(letter).unwrap_or_default();
        if let Some(fields) = about.as_object_mut() {
            fields.remove("data");
            fields.insert("text".into(), json!(String::from_utf8_lossy(bytes)));
        }
        about.to_string().into_bytes()
    };
    line.push(b'\n');
    line
}

/// Shows the event to `visit` in the form in which timelines take it. What is not in the letter is left out.
pub(super) fn with_event(letter: &DeadLetter, visit: impl FnOnce(&Event<'_>)) {
    let text = String::from_utf8_lossy(letter.data.trim_ascii());
    let parsed: Option<Value> = serde_json::from_str(&text).ok();
    let said = parsed.as_ref().and_then(|event| event.get("summary")).and_then(Value::as_str).unwrap_or(&text);
    let summary = format!("{said} [refused {}]", note(letter));
    let about = letter.event.as_ref();
    let text = |text: &Option<String>| text.as_deref().map(str::to_owned).map(Cow::Owned);
    let vpn = about.and_then(|event| event.connection.as_deref().map(|id| bare_vpn(Cow::Borrowed(id), event.tunnel)));
    visit(&Event {
        schema: SCHEMA,
        id: letter.event_id.unwrap_or(letter.id),
        time: about.map(|event| event.time).or(letter.observed).unwrap_or_default(),
        observed: letter.observed,
        kind: about.map_or(Kind::Unparsed, |event| event.kind),
        action: about.map_or(Action::Other, |event| event.action),
        transition: None,
        session_state: None,
        severity: about.map_or(Severity::Notice, |event| event.severity),
        summary: &summary,
        cloud: Cloud {
            provider: "aws",
            account_id: about.and_then(|event| text(&event.account)),
            account_name: None,
            account_ou: None,
            region: about.and_then(|event| text(&event.region)),
        },
        vpn,
        route_server: None,
        bgp: None,
        ike: None,
        problems: Vec::new(),
        log: Log {
            group_name: "",
            stream_name: about.and_then(|event| event.log_stream.as_deref()).unwrap_or_default(),
            event_id: "",
            owner_account_id: "",
        },
        origin: None,
        raw: None,
    });
}
