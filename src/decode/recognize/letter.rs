//! Reads the dead letter of an item that a sink refused, as far as it can be read.
//!
//! The item's bytes and its sink decide; all else is read field by field, and a field that cannot be read is
//! left out or gets a plain default: a letter of a newer version, or one that a person has edited, must still
//! reach its sink.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::super::envelope::scalar;
use crate::encode::DeadLetter;
use crate::encode::dead_letter::{DeadLetterEvent, SCHEMA};
use crate::event::{Action, Kind, Millis, Severity};

/// What a letter says beside its sink and its bytes.
#[derive(Default, Deserialize)]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
    #[serde(borrow)]
    origin: Option<&'a RawValue>,
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct EventFields<'a> {
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    severity: Option<&'a RawValue>,
    #[serde(borrow)]
    account: Option<&'a RawValue>,
    #[serde(borrow)]
    region: Option<&'a RawValue>,
    #[serde(borrow)]
    connection: Option<&'a RawValue>,
    #[serde(borrow)]
    tunnel: Option<&'a RawValue>,
    #[serde(borrow)]
    log_stream: Option<&'a RawValue>,
}

/// The sink that a letter names; none if it is of an unreadable record. What is there but is no name becomes a name
/// that no sink has, so that it is never taken for a record.
pub(super) fn sink(raw: &RawValue) -> Option<String> {
    (raw.get() != "null").then(|| scalar(raw).unwrap_or_default().into_owned())
}

/// The letter of an item with these bytes.
pub(super) fn read(sink: String, data: Bytes, observed: Option<Millis>, text: &str) -> DeadLetter {
    let fields: Fields<'_> = serde_json::from_str(text).unwrap_or_default();
    let event_id = field(fields.event_id);
    DeadLetter {
        schema: SCHEMA.into(),
        id: field(fields.id).unwrap_or_else(|| DeadLetter::id_of_item(&sink, event_id.unwrap_or_default(), &data)),
        reason: field::<String>(fields.reason).unwrap_or_else(|| "other".into()).into(),
        detail: field(fields.detail).unwrap_or_default(),
        observed,
        origin: field(fields.origin),
        sink: Some(sink),
        event_id,
        event: fields.event.map(|raw| event(raw, observed)),
        size: data.len() as u64,
        data,
    }
}

fn event(raw: &RawValue, observed: Option<Millis>) -> DeadLetterEvent {
    let fields: EventFields<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    DeadLetterEvent {
        time: field(fields.time).or(observed).unwrap_or_default(),
        kind: field(fields.kind).unwrap_or(Kind::Unparsed),
        action: field(fields.action).unwrap_or(Action::Other),
        severity: field(fields.severity).unwrap_or(Severity::Notice),
        account: field(fields.account),
        region: field(fields.region),
        connection: field(fields.connection),
        tunnel: field(fields.tunnel),
        log_stream: field(fields.log_stream),
    }
}

fn field<T: DeserializeOwned>(raw: Option<&RawValue>) -> Option<T> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}
