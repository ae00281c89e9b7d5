//! A second yardstick: the same job as a person writes it in an afternoon with `serde_json`'s derived types, as fast as
//! that goes: texts borrowed where they can be, one buffer, the shipped inflate. It adds the connection's metadata and
//! checks, normalizes and names nothing.
//!
//! How fast a record is inflated depends on the processor and on how well the logs compress; this path stands beside it
//! as something else that the core is compared with.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hint::black_box;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tunnelog::decode::inflate::Inflater;
use tunnelog::enrich::Snapshot;
use tunnelog::event::{CustomerGateway, Gateway};

use super::PIECE_BYTES;
use crate::corpus::{Corpus, MAX_RECORD_BYTES};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    owner: Cow<'a, str>,
    #[serde(borrow)]
    log_group: Cow<'a, str>,
    #[serde(borrow)]
    log_stream: Cow<'a, str>,
    #[serde(borrow)]
    log_events: Vec<LogEvent<'a>>,
}

#[derive(Deserialize)]
struct LogEvent<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    timestamp: i64,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

/// The fields of a BGP log line and of an IKE one.
#[derive(Deserialize, Serialize)]
struct Line<'a> {
    event_timestamp: i64,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    resource_id: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    // `true` or `"True"`.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    dpd_enabled: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    nat_t_detected: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ike_phase1_state: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ike_phase2_state: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, str>>,
}

/// What a BGP log line tells of a route or a session.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prefix: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    as_path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_pref: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    med: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    next_hop_ip: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    details: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    owner: &'a str,
    log_group: &'a str,
    log_stream: &'a str,
    ingested: i64,
    line: Line<'a>,
    connection: &'a str,
    name: Option<&'a str>,
    account: Option<&'a str>,
    region: Option<&'a str>,
    gateway: Option<&'a Gateway>,
    customer_gateway: Option<&'a CustomerGateway>,
    tags: Option<&'a BTreeMap<String, String>>,
}

/// Every event of the corpus, as JSON.
pub(super) fn typed_all(corpus: &Corpus, inflater: &mut Inflater, snapshot: &Snapshot, out: &mut Vec<u8>) {
    for record in &corpus.records {
        let plain = inflater.inflate(&record.data, MAX_RECORD_BYTES).unwrap();
        let envelope: Envelope<'_> = serde_json::from_slice(plain).unwrap();
        let connection = envelope.log_stream.split('_').next().unwrap_or_default();
        let known = snapshot.connections.get(connection);
        for log in &envelope.log_events {
            let event = Event {
                id: &log.id,
                owner: &envelope.owner,
                log_group: &envelope.log_group,
                log_stream: &envelope.log_stream,
                ingested: log.timestamp,
                line: serde_json::from_str(&log.message).unwrap(),
                connection,
                name: known.and_then(|known| known.name.as_deref()),
                account: known.and_then(|known| known.account_id.as_deref()),
                region: known.and_then(|known| known.region.as_deref()),
                gateway: known.and_then(|known| known.gateway.as_deref()),
                customer_gateway: known.and_then(|known| known.customer_gateway.as_deref()),
                tags: known.map(|known| &*known.tags),
            };
            serde_json::to_writer(&mut *out, &event).unwrap();
            out.push(b'\n');
        }
        if out.len() >= PIECE_BYTES {
            black_box(&*out);
            out.clear();
        }
    }
}
