//! From an item to an event as the collector reads it, and from events to a request's body. Pure.
//!
//! `{"time":1762580429.641,"host":"…","source":"…","sourcetype":"…","index":"…","fields":{"id":"…"},"event":{…}}`

use std::io::Write as _;

use super::settings::Texts;
use crate::config::splunk::ID;
use crate::config::types::SplunkCompression;
use crate::delivery::{Encoded, Item, RecordInfo};
use crate::event::Millis;

/// What stands behind an event.
const END: &[u8] = b"}\n";

/// Appends an item of a batch with its envelope.
pub(super) fn append(texts: &Texts, encoded: &Encoded, index: u32, out: &mut Vec<u8>) {
    let Some(item) = encoded.items.get(index as usize) else { return };
    match encoded.records.get(item.record as usize) {
        Some(record) => append_head(texts, item, record, out),
        None => append_head(texts, item, &RecordInfo::default(), out),
    }
    let event = encoded.bytes_of(index as usize);
    // The line break belongs to files.
    out.extend_from_slice(event.strip_suffix(b"\n").unwrap_or(event));
    out.extend_from_slice(END);
}

fn append_head(texts: &Texts, item: &Item, record: &RecordInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":");
    append_time(item.time, out);
    let mut text = String::new();
    for (name, template) in [("host", &texts.host), ("source", &texts.source), ("sourcetype", &texts.sourcetype)] {
        text.clear();
        template.render(item, record, &mut text);
        append_field(name, &text, out);
    }
    if let Some(index) = &texts.index {
        text.clear();
        index.render_index(item, record, &mut text);
        append_field("index", &text, out);
    }
    out.extend_from_slice(b",\"fields\":{");
    append_text(ID, out);
    out.push(b':');
    append_text(&item.id.to_string(), out);
    for (name, template) in &texts.fields {
        text.clear();
        if template.render(item, record, &mut text) {
            append_field(name, &text, out);
        }
    }
    out.extend_from_slice(b"},\"event\":");
}

fn append_field(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b',');
    append_text(name, out);
    out.push(b':');
    append_text(value, out);
}

/// A JSON text.
fn append_text(text: &str, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Seconds since 1970, with milliseconds.
fn append_time(time: Millis, out: &mut Vec<u8>) {
    let sign = if time.0 < 0 { "-" } else { "" };
    let ms = time.0.unsigned_abs();
    // Likewise.
    let _ = write!(out, "{sign}{}.{:03}", ms / 1000, ms % 1000);
}

/// The body as it goes over the wire.
pub(super) fn packed(body: Vec<u8>, compression: SplunkCompression) -> Vec<u8> {
    match compression {
        SplunkCompression::None => body,
        SplunkCompression::Gzip => {
            let room = Vec::with_capacity(body.len() / 4);
            // Events repeat their keys: the quickest level already makes a sixth of them.
            let mut gzip = flate2::write::GzEncoder::new(room, flate2::Compression::fast());
            // Likewise.
            let _ = gzip.write_all(&body);
            gzip.finish().unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use std::sync::Arc;

    use super::*;
    use crate::config::splunk::Template;
    use crate::event::{Action, EventId, Kind, Severity};

    fn encoded(time: i64) -> Encoded {
        let bytes = b"{\"id\":\"x\"}\n".to_vec();
        let item = Item {
            end: bytes.len() as u32,
            record: 0,
            id: EventId(0xab),
            time: Millis(time),
            kind: Kind::Ike,
            action: Action::DpdTimeout,
            severity: Severity::Error,
        };
        let record = RecordInfo { connection: Some("vpn-\"1".into()), ..RecordInfo::default() };
        Encoded { bytes, items: vec![item], records: Arc::new(vec![record]) }
    }

    fn texts() -> Texts {
        let template = |text: &str| Template::parse(text).unwrap();
        Texts {
            host: template("{connection}"),
            source: template("{log_stream}"),
            sourcetype: template("tunnelog"),
            index: Some(template("vpn_{kind}")),
            fields: vec![
                ("severity".into(), template("{severity}")),
                ("region".into(), template("{region}")),
                ("action".into(), template("{action}")),
            ],
        }
    }

    #[test]
    fn an_event_has_its_envelope() {
        let mut out = Vec::new();
        append(&texts(), &encoded(1_762_580_429_041), 0, &mut out);
        let expect = "{\"time\":1762580429.041,\"host\":\"vpn-\\\"1\",\"source\":\"unknown\",\
            \"sourcetype\":\"tunnelog\",\"index\":\"vpn_ike\",\"fields\":{\
            \"id\":\"000000000000000000000000000000ab\",\"severity\":\"error\",\"action\":\"dpd_timeout\"},\
            \"event\":{\"id\":\"x\"}}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn time_is_in_seconds_with_milliseconds() {
        for (ms, expect) in [(0, "0.000"), (7, "0.007"), (1_500, "1.500"), (-1_500, "-1.500"), (-7, "-0.007")] {
            let mut out = Vec::new();
            append_time(Millis(ms), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }

    #[test]
    fn a_packed_body_is_the_body() {
        use std::io::Read as _;
        let body = b"{\"event\":1}\n".repeat(100);
        let packed = packed(body.clone(), SplunkCompression::Gzip);
        assert!(packed.len() * 6 < body.len(), "{}", packed.len());
        let mut read = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, body);
    }
}
