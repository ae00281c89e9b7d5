//! Dead letters: what could not be read, or what a sink refused for good, with its original bytes.
//!
//! One JSON object a line. `tunnelog replay` takes them back, so the bytes are complete and exact. Nothing
//! here decides what becomes a dead letter.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::display::Base64Display;
use base64::engine::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::delivery::{Item, LaneKey, RecordInfo};
use crate::event::{Action, EventId, Kind, Millis, Severity};
use crate::source::{Position, Record, ShardId};

/// The name and version of the schema.
pub const SCHEMA: &str = "tunnelog.dead-letter/1";

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    /// Name and version of this schema.
    pub schema: Cow<'static, str>,
    /// Same record, same id, however often it is read.
    pub id: EventId,
    /// A stable word, for example `truncated_gzip`.
    pub reason: Cow<'static, str>,
    /// The reason for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When the record arrived in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Millis>,
    /// The record's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<DeadLetterOrigin>,
    /// The sink that refused an event; a replay goes to this sink only. Absent: the record was unreadable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The event that the sink refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// What else is known of that event: a replay gives it to the sink again, for keys, topics and object names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<DeadLetterEvent>,
    /// Length of `data` before base64.
    pub size: u64,
    /// The original bytes, in base64 (RFC 4648 section 4): of the record or, where `sink` is set, of the event in the
    /// form in which it was to be sent.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    #[schemars(with = "String", extend("contentEncoding" = "base64"))]
    pub data: Bytes,
}

/// Where a dead letter's record stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterOrigin {
    /// Name of the source in the pipeline file.
    pub source: String,
    /// The stream (its name or ARN), or the file.
    pub stream: String,
    /// The shard.
    pub shard: String,
    /// The record's sequence number in the shard, decimal.
    pub sequence: Position,
}

/// What a sink is told of an event beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterEvent {
    /// The event's time.
    pub time: Millis,
    /// The event's kind.
    pub kind: Kind,
    /// The event's action.
    pub action: Action,
    /// The event's severity.
    pub severity: Severity,
    /// Account by the record itself, never by the inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Region by the record itself or the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// VPN connection id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The tunnel's outside address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub tunnel: Option<IpAddr>,
    /// Log stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_stream: Option<String>,
}

impl DeadLetterOrigin {
    fn of(shard: &ShardId, sequence: Position) -> DeadLetterOrigin {
        DeadLetterOrigin {
            source: shard.source.to_string(),
            stream: shard.stream.to_string(),
            shard: shard.shard.to_string(),
            sequence,
        }
    }
}

impl DeadLetterEvent {
    fn of(record: &RecordInfo, item: &Item) -> DeadLetterEvent {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        DeadLetterEvent {
            time: item.time,
            kind: item.kind,
            action: item.action,
            severity: item.severity,
            account: text(&record.account),
            region: text(&record.region),
            connection: text(&record.connection),
            tunnel: record.tunnel,
            log_stream: text(&record.log_stream),
        }
    }
}

impl DeadLetter {
    /// The dead letter of a record that could not be read. Shares the record's bytes.
    pub fn of_record(
        shard: &ShardId,
        record: &Record,
        reason: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> DeadLetter {
        DeadLetter {
            schema: SCHEMA.into(),
            id: Self::id_of(shard, record.position),
            reason: reason.into(),
            detail: detail.into(),
            observed: record.arrival,
            origin: Some(DeadLetterOrigin::of(shard, record.position)),
            sink: None,
            event_id: None,
            event: None,
            size: record.data.len() as u64,
            data: record.data.clone(),
        }
    }

    /// The dead letter of an item that the destination of `sink` refused for good; `bytes` are the item's, as they
    /// were to be sent. `reason` is a stable word, `detail` says for a person what the destination had against it;
    /// neither may hold any of the bytes.
    pub fn of_item(
        sink: &str,
        lane: &LaneKey,
        record: &RecordInfo,
        item: &Item,
        bytes: &[u8],
        reason: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> DeadLetter {
        DeadLetter {
            schema: SCHEMA.into(),
            id: Self::id_of_item(sink, item.id, bytes),
            reason: reason.into(),
            detail: detail.into(),
            observed: record.arrival,
            origin: Some(DeadLetterOrigin::of(&lane.shard, record.position)),
            sink: Some(sink.to_owned()),
            event_id: Some(item.id),
            event: Some(DeadLetterEvent::of(record, item)),
            size: bytes.len() as u64,
            data: Bytes::copy_from_slice(bytes),
        }
    }

    /// The id of a refused item: what was refused, by whom; the same however often it is tried.
    pub fn id_of_item(sink: &str, event: EventId, bytes: &[u8]) -> EventId {
        EventId::of_parts(&[b"rejected", sink.as_bytes(), &event.0.to_be_bytes(), bytes])
    }

    /// The id of an unreadable record: its place, without the source's name, which a person may change.
    pub fn id_of(shard: &ShardId, position: Position) -> EventId {
        let position = position.to_string();
        let place = [&*shard.stream, &*shard.stream_created, &*shard.shard, &position];
        let [stream, created, shard, position] = place.map(str::as_bytes);
        EventId::of_parts(&[b"dead-letter", stream, created, shard, position])
    }

    /// Appends the dead letter as one line. The base64 goes straight to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        // Base64 is 4/3; the other fields are some hundred bytes.
        out.reserve(self.data.len() / 3 * 4 + 1024);
        if serde_json::to_writer(&mut *out, self).is_err() {
            // No value of these types refuses to be written and a Vec takes all bytes; the data alone would
            // still be a letter that replay can read.
            out.truncate(start);
            let data = Base64Display::new(&self.data, &STANDARD);
            out.extend_from_slice(
                format!(
                    r#"{{"schema":"{SCHEMA}","id":"{}","reason":"other","size":{},"data":"{data}"}}"#,
                    self.id, self.size
                )
                .as_bytes(),
            );
        }
        out.push(b'\n');
    }
}

fn to_base64<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(data, &STANDARD))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    struct Base64;

    impl serde::de::Visitor<'_> for Base64 {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("base64 (RFC 4648 section 4)")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
            // The decoder's own message is left out: it may quote a byte.
            STANDARD.decode(text).map(Bytes::from).map_err(|_| E::custom("`data` is not base64 (RFC 4648 section 4)"))
        }
    }

    deserializer.deserialize_str(Base64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    fn shard() -> ShardId {
        ShardId {
            source: "main".into(),
            stream: "vpn-logs".into(),
            stream_created: "1".into(),
            shard: "shardId-000000000000".into(),
        }
    }

    fn letter(data: &'static [u8]) -> DeadLetter {
        let record = Record::new(
            Position::parse("49673895273895273895273895273895273895273895273895273890").unwrap(),
            Some(Millis(1_762_580_431_102)),
            Bytes::from_static(data),
        );
        DeadLetter::of_record(&shard(), &record, "truncated_gzip", "the gzip data ends early")
    }

    #[test]
    fn a_dead_letter_is_one_line_and_comes_back_with_its_bytes() {
        let mut out = Vec::new();
        letter(b"\x1f\x8b\x00\xff\n").encode(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"schema\":\"tunnelog.dead-letter/1\",\"id\":\"ID\",\"reason\":\"truncated_gzip\",\
             \"detail\":\"the gzip data ends early\",\"observed\":\"2025-11-08T05:40:31.102Z\",\
             \"origin\":{\"source\":\"main\",\"stream\":\"vpn-logs\",\"shard\":\"shardId-000000000000\",\
             \"sequence\":\"49673895273895273895273895273895273895273895273895273890\"},\"size\":5,\
             \"data\":\"H4sA/wo=\"}\n"
                .replace("ID", "46c7cb7d4df1fa3e078088c13a188262")
        );
        assert_eq!(serde_json::from_str::<DeadLetter>(&text).unwrap(), letter(b"\x1f\x8b\x00\xff\n"));
    }

    #[test]
    fn a_refused_item_keeps_its_bytes_and_what_the_sink_needs_to_take_it_again() {
        let lane = LaneKey { pipeline: "siem".into(), shard: shard(), sink: "kafka".into() };
        let record = RecordInfo {
            position: Position::from(7),
            arrival: Some(Millis(1_762_580_431_102)),
            bytes: 100,
            done: true,
            account: Some("123456789012".into()),
            region: None,
            connection: Some("vpn-0a1b2c3d4e5f60718".into()),
            tunnel: "203.0.113.17".parse().ok(),
            log_stream: Some("stream".into()),
        };
        let item = Item {
            end: 3,
            record: 0,
            id: EventId(1),
            time: Millis(1_762_580_431_102),
            kind: Kind::Ike,
            action: Action::Rekey,
            severity: Severity::Info,
        };
        let letter = |bytes| DeadLetter::of_item("siem", &lane, &record, &item, bytes, "too_large", "above 1 MiB");
        let mut out = Vec::new();
        letter(b"{}\n").encode(&mut out);
        let text = String::from_utf8(out).unwrap();
        let expected = r#"{"schema":"tunnelog.dead-letter/1","id":"ID","reason":"too_large","detail":"above 1 MiB",
"observed":"2025-11-08T05:40:31.102Z","origin":{"source":"main","stream":"vpn-logs","shard":"shardId-000000000000","sequence":"7"},"sink":"siem",
"event_id":"00000000000000000000000000000001","event":{"time":"2025-11-08T05:40:31.102Z","kind":"ike",
"action":"rekey","severity":"info","account":"123456789012","connection":"vpn-0a1b2c3d4e5f60718",
"tunnel":"203.0.113.17","log_stream":"stream"},"size":3,"data":"e30K"}"#;
        let id = letter(b"{}\n").id.to_string();
        assert_eq!(text.trim_end(), expected.replace('\n', "").replace("ID", &id));
        assert_eq!(id, "05cf2b9dbc7470de66ab5d47c47dcb39", "an id never changes");
        assert_eq!(serde_json::from_str::<DeadLetter>(&text).unwrap(), letter(b"{}\n"));
        assert_ne!(letter(b"{ }\n").id, letter(b"{}\n").id, "other content is another letter");
        let other = DeadLetter::of_item("lake", &lane, &record, &item, b"{}\n", "too_large", "");
        assert_ne!(other.id, letter(b"{}\n").id, "another sink's is another letter");
    }

    #[test]
    fn what_is_no_base64_is_refused_without_being_quoted() {
        let text = r#"{"schema":"x","id":"00000000000000000000000000000001","reason":"r","size":1,"data":"SECRET!"}"#;
        let error = serde_json::from_str::<DeadLetter>(text).unwrap_err().to_string();
        assert!(error.contains("not base64") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn large_records_are_written_without_growing_twice() {
        let mut out = Vec::new();
        let data: &'static [u8] = Vec::leak(vec![7; 3_000_000]);
        letter(data).encode(&mut out);
        assert!(out.len() > 4_000_000 && out.capacity() < 4_010_000, "{} {}", out.len(), out.capacity());
    }
}
