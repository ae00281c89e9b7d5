//! What a JSON document is: one of the forms, or a log line.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::envelope::{millis, scalar};
use super::super::inflate::{GZIP_MAGIC, KPL_MAGIC};
use super::batch::BareLine;
use super::{Reason, letter};
use crate::encode::DeadLetter;
use crate::event::Millis;

/// Base64 with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64; nothing if it is none.
pub(super) fn base64(text: &str) -> Option<Bytes> {
    BASE64.decode(text.trim()).ok().map(Bytes::from)
}

/// Where the findings go, in order.
pub(super) trait Findings {
    fn record(&mut self, data: Bytes, arrival: Option<Millis>, sequence: Option<String>);
    fn rejected(&mut self, letter: DeadLetter);
    fn line(&mut self, line: BareLine<'_>);
    fn unreadable(&mut self, reason: Reason, bytes: Option<Bytes>);
}

/// The top-level keys that tell the forms apart.
#[derive(Default, Deserialize)]
struct Keys<'a> {
    #[serde(borrow, rename = "messageType")]
    message_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "Records")]
    records: Option<&'a RawValue>,
    #[serde(borrow, rename = "records")]
    firehose: Option<&'a RawValue>,
    #[serde(borrow)]
    awslogs: Option<&'a RawValue>,
    #[serde(borrow)]
    events: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: Option<&'a RawValue>,
    #[serde(borrow)]
    sink: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    arrival: Option<&'a RawValue>,
    #[serde(borrow)]
    observed: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow, rename = "logStreamName")]
    log_stream_name: Option<&'a RawValue>,
}

/// One entry of `aws kinesis get-records`; in lower case, as Lambda gets it from Kinesis, Firehose
/// (`records[]`) or CloudWatch Logs (`awslogs`, which has the data alone).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KinesisRecord<'a> {
    #[serde(borrow, alias = "sequenceNumber")]
    sequence_number: Option<&'a RawValue>,
    #[serde(borrow, alias = "approximateArrivalTimestamp")]
    approximate_arrival_timestamp: Option<&'a RawValue>,
    #[serde(borrow, alias = "data")]
    data: Option<&'a RawValue>,
    /// Lambda's Kinesis event has the record in here.
    #[serde(borrow, rename = "kinesis")]
    kinesis: Option<&'a RawValue>,
}

/// What makes an entry of `records` one of Firehose, and not a part of some log line.
#[derive(Deserialize)]
struct FirehoseRecord<'a> {
    #[serde(borrow, rename = "recordId")]
    _record_id: &'a RawValue,
}

/// One entry of `aws logs filter-log-events` or `get-log-events`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilteredEvent<'a> {
    #[serde(borrow)]
    log_stream_name: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
}

/// The words that only an EC2 answer has. Its pre-shared keys must never be carried on, not even as an
/// unreadable piece of one.
const EC2_MARKS: [&str; 11] = [
    "\"VpnConnections\"",
    "\"CustomerGateways\"",
    "\"VpnGateways\"",
    "\"TransitGateways\"",
    "PreSharedKey",
    "pre_shared_key",
    "CustomerGatewayConfiguration",
    // The same in EC2's XML, as a proxy or `aws --debug` may have saved it.
    "preSharedKey",
    "customerGatewayConfiguration",
    // `aws --output text`, which has no keys: a row begins with what it is.
    "VPNCONNECTIONS\t",
    "TUNNELOPTIONS\t",
];

/// Whether the text is an EC2 inventory answer or a part of one, be it UTF-16 that was read as UTF-8.
pub(crate) fn is_ec2(text: &str) -> bool {
    let marked = |text: &str| EC2_MARKS.iter().any(|mark| text.contains(mark));
    marked(text) || (text.contains('\0') && marked(&text.replace('\0', "")))
}

/// Reads a JSON document, an object or an array. `text` is UTF-8 and its brackets match.
pub(super) fn read(text: &str, out: &mut dyn Findings) {
    if text.trim_start().starts_with('[') {
        array(text, out);
    } else {
        object(text, out);
    }
}

/// An array of documents, as `jq -s` makes one; of anything else it is a log line.
fn array(text: &str, out: &mut dyn Findings) {
    match serde_json::from_str::<Vec<&RawValue>>(text) {
        Ok(elements) if elements.iter().all(|element| element.get().starts_with('{')) && !elements.is_empty() => {
            for element in elements {
                object(element.get(), out);
            }
        }
        _ => line(text, out),
    }
}

fn object(text: &str, out: &mut dyn Findings) {
    let keys: Keys<'_> = serde_json::from_str(text).unwrap_or_default();
    // A cut-off or damaged envelope is a record all the same: the core says what is wrong with it.
    if keys.message_type.is_some() || text.trim_start().starts_with("{\"messageType\"") {
        return out.record(Bytes::copy_from_slice(text.as_bytes()), None, None);
    }
    if keys.schema.and_then(scalar).is_some_and(|schema| schema.starts_with("tunnelog.dead-letter/")) {
        let arrival = keys.arrival.or(keys.observed).and_then(scalar).and_then(|text| millis(&text));
        return match keys.sink.and_then(letter::sink) {
            Some(sink) => rejected(sink, keys.data, text, arrival, out),
            None => data(keys.data, text, arrival, None, out),
        };
    }
    if let Some(Ok(records)) = keys.records.map(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get())) {
        return records.into_iter().for_each(|raw| kinesis_record(raw, out));
    }
    if let Some(Ok(records)) = keys.firehose.map(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()))
        && records.iter().all(|raw| serde_json::from_str::<FirehoseRecord<'_>>(raw.get()).is_ok())
        && !records.is_empty()
    {
        return records.into_iter().for_each(|raw| kinesis_record(raw, out));
    }
    if let Some(raw) = keys.awslogs.filter(|raw| raw.get().starts_with('{')) {
        return kinesis_record(raw, out);
    }
    if let Some(Ok(events)) = keys.events.map(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get())) {
        return events.into_iter().for_each(|raw| filtered_event(raw, out));
    }
    if keys.log_stream_name.is_some()
        && keys.message.is_some_and(|raw| raw.get().starts_with('"'))
        && let Ok(raw) = serde_json::from_str::<&RawValue>(text)
    {
        return filtered_event(raw, out);
    }
    line(text, out);
}

fn line(text: &str, out: &mut dyn Findings) {
    out.line(BareLine { stream: None, id: None, timestamp: None, message: text.trim() });
}

/// A record in base64; `whole` is kept if it is none.
fn data(
    data: Option<&RawValue>,
    whole: &str,
    arrival: Option<Millis>,
    sequence: Option<String>,
    out: &mut dyn Findings,
) {
    match bytes_of(data) {
        Ok(data) => out.record(data, arrival, sequence),
        // Base64 of an EC2 answer would be a secret in disguise.
        Err(Reason::Ec2Inventory) => out.unreadable(Reason::Ec2Inventory, None),
        Err(reason) => out.unreadable(reason, Some(Bytes::copy_from_slice(whole.as_bytes()))),
    }
}

fn bytes_of(data: Option<&RawValue>) -> Result<Bytes, Reason> {
    let data = scalar(data.ok_or(Reason::NoData)?).and_then(|text| base64(&text)).ok_or(Reason::BadBase64)?;
    // What is packed is no answer as a person saves it.
    let is_packed = data.starts_with(&GZIP_MAGIC) || data.starts_with(&KPL_MAGIC);
    let secret = !is_packed && is_ec2(&String::from_utf8_lossy(&data));
    if secret { Err(Reason::Ec2Inventory) } else { Ok(data) }
}

/// The dead letter of an item that a sink refused; `whole` is kept if it holds no item.
fn rejected(sink: String, data: Option<&RawValue>, whole: &str, observed: Option<Millis>, out: &mut dyn Findings) {
    match bytes_of(data) {
        Ok(data) if !data.is_empty() => out.rejected(letter::read(sink, data, observed, whole)),
        Ok(_) => out.unreadable(Reason::NoData, Some(Bytes::copy_from_slice(whole.as_bytes()))),
        Err(Reason::Ec2Inventory) => out.unreadable(Reason::Ec2Inventory, None),
        Err(reason) => out.unreadable(reason, Some(Bytes::copy_from_slice(whole.as_bytes()))),
    }
}

fn read_record(raw: &RawValue) -> serde_json::Result<KinesisRecord<'_>> {
    let record: KinesisRecord<'_> = serde_json::from_str(raw.get())?;
    match record.kinesis {
        Some(inner) => serde_json::from_str(inner.get()),
        None => Ok(record),
    }
}

fn kinesis_record(raw: &RawValue, out: &mut dyn Findings) {
    let Ok(record) = read_record(raw) else {
        return out.unreadable(Reason::BrokenJson, Some(Bytes::copy_from_slice(raw.get().as_bytes())));
    };
    let arrival = record.approximate_arrival_timestamp.and_then(scalar).and_then(|text| arrival(&text));
    let sequence = record.sequence_number.and_then(scalar).map(|text| text.into_owned());
    data(record.data, raw.get(), arrival, sequence, out);
}

/// The CLI writes seconds with a fraction or, as version 2 does by default, ISO 8601.
fn arrival(text: &str) -> Option<Millis> {
    match text.parse::<f64>() {
        // Below 10^11 it is seconds; `as` saturates.
        Ok(number) if number.abs() < 1e11 => Some(Millis((number * 1000.0).round() as i64)),
        Ok(number) if number.is_finite() => Some(Millis(number as i64)),
        _ => Millis::parse(text),
    }
}

fn filtered_event(raw: &RawValue, out: &mut dyn Findings) {
    let Ok(event) = serde_json::from_str::<FilteredEvent<'_>>(raw.get()) else {
        return line(raw.get(), out);
    };
    let stream = event.log_stream_name.and_then(scalar);
    let id = event.event_id.and_then(scalar);
    // What has no message that is a string is its own message, so that nothing is dropped.
    let message = event.message.and_then(scalar);
    let message = message.as_deref().unwrap_or_else(|| event.message.map_or(raw.get(), RawValue::get));
    let timestamp = event.timestamp.and_then(scalar).and_then(|text| millis(&text));
    out.line(BareLine { stream: stream.as_deref(), id: id.as_deref(), timestamp, message });
}
