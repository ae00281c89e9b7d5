//! Dead letters: what could not be read, or what a sink refused for good, with its original bytes.
//!
//! One JSON object a line. `tunnelog replay` takes them back, so the bytes are complete and exact. Nothing
//! here decides what becomes a dead letter.

use std::borrow::Cow;
use std::fmt;

use base64::display::Base64Display;
use base64::engine::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{EventId, Millis};
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
    /// Length of the original bytes.
    pub size: u64,
    /// The original bytes, in base64 (RFC 4648 section 4).
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
            origin: Some(DeadLetterOrigin {
                source: shard.source.to_string(),
                stream: shard.stream.to_string(),
                shard: shard.shard.to_string(),
                sequence: record.position,
            }),
            sink: None,
            event_id: None,
            size: record.data.len() as u64,
            data: record.data.clone(),
        }
    }

    /// The id of an unreadable record: its place, without the source's name, which a person may change.
    pub fn id_of(shard: &ShardId, position: Position) -> EventId {
        let position = position.to_string();
        let place = [&*shard.stream, &*shard.stream_created, &*shard.shard, &position];
        let [stream, created, shard, position] = place.map(str::as_bytes);
        EventId::of_parts(&mut Vec::new(), &[b"dead-letter", stream, created, shard, position])
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

    fn letter(data: &'static [u8]) -> DeadLetter {
        let shard = ShardId {
            source: "main".into(),
            stream: "vpn-logs".into(),
            stream_created: "1".into(),
            shard: "shardId-000000000000".into(),
        };
        let record = Record {
            position: Position::parse("49673895273895273895273895273895273895273895273895273890").unwrap(),
            arrival: Some(Millis(1_762_580_431_102)),
            data: Bytes::from_static(data),
        };
        DeadLetter::of_record(&shard, &record, "truncated_gzip", "the gzip data ends early")
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
