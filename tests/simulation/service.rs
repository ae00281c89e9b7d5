//! The model Kinesis, spoken over the SDK's own HTTP client interface: AWS JSON 1.1, in this process, no sockets.
//!
//! What it does beside answering rightly: five calls a second a shard, large answers and the refusal after them,
//! iterators that expire, throttling, server errors, resets, answers that are cut in half or never come, answers
//! without records in the middle, shards that are listed late or overlooked once, pages. Subscriptions are `fan_out`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::fan_out::{self, TOO_SOON_MS};
use super::stream::{RETENTION_MS, Stream, sequence};
use super::world::{Process, Shared, World};

pub(super) const STREAM: &str = "vpn-logs";
pub(super) const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/vpn-logs";

/// How long an iterator lives.
const ITERATOR_MS: i64 = 300_000;

/// Refusals after a large answer last so long.
const REST_MS: i64 = 5_000;

/// GetRecords calls of each shard in the last second, and until when it refuses.
#[derive(Debug, Default)]
struct Budget {
    calls: BTreeMap<usize, VecDeque<i64>>,
    refuses_until: BTreeMap<usize, i64>,
    /// When calls were sent, in the last second.
    sent: BTreeMap<String, VecDeque<i64>>,
    /// When the last subscription to a shard was sent.
    subscribed: BTreeMap<String, i64>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub world: Shared,
    pub process: Arc<Process>,
    budget: Arc<Mutex<Budget>>,
    /// Subscriptions; they end with the process.
    streams: Arc<Mutex<JoinSet<Option<()>>>>,
}

/// The settings of an SDK whose calls end here.
pub(super) fn sdk(world: &Shared, process: &Arc<Process>) -> SdkConfig {
    let (world, process) = (world.clone(), Arc::clone(process));
    let service = Service { world, process, budget: Arc::default(), streams: Arc::default() };
    let credentials = Credentials::new("AKIDEXAMPLE", "model", None, None, "model");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url("http://kinesis.model")
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(service)
        // It goes by the wall clock, which no seed rules.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

impl HttpClient for Service {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.clone();
        HttpConnectorFuture::new(async move { service.answer(request).await })
    }
}

/// A service's error: status and code.
pub(super) type Refusal = (u16, &'static str);

const THROTTLED: Refusal = (400, "ProvisionedThroughputExceededException");
const EXPIRED: Refusal = (400, "ExpiredIteratorException");
pub(super) const MISSING: Refusal = (400, "ResourceNotFoundException");
pub(super) const INVALID: Refusal = (400, "InvalidArgumentException");
pub(super) const LIMIT: Refusal = (400, "LimitExceededException");
pub(super) const IN_USE: Refusal = (400, "ResourceInUseException");
const INTERNAL: Refusal = (500, "InternalFailure");
const UNAVAILABLE: Refusal = (503, "ServiceUnavailable");

/// What happens to a call on its way.
enum Way {
    Fine,
    Reset,
    Lost,
    Half,
}

impl Service {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let operation = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = operation.rsplit('.').next().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default();
        // When it is sent: a process that sleeps has several on their way when it wakes.
        match operation.as_str() {
            "GetRecords" => self.check_pace(&body),
            "SubscribeToShard" => self.check_subscriptions(&body),
            _ => {}
        }
        self.process.gate().await;
        let (latency, way) = way(&mut self.world.lock());
        sleep(latency).await;
        let (status, said) = {
            let mut world = self.world.lock();
            let answer = self.serve(&mut world, &operation, &body);
            if operation != "GetRecords" || answer.is_err() {
                let said = answer.as_ref().map_or_else(|(_, code)| *code, |_| "ok");
                world.note(format_args!("p{} {operation} {said}", self.process.number));
            }
            match answer {
                Ok(answer) => (200, answer),
                Err((status, code)) => {
                    (status, Said::Text(json!({"__type": code, "message": "the model says so"}).to_string()))
                }
            }
        };
        self.process.gate().await;
        let body = match (way, said) {
            (Way::Fine, Said::Text(text)) => SdkBody::from(text),
            (Way::Fine, Said::Frames(body)) => body,
            (Way::Half, Said::Text(text)) => SdkBody::from(&text[..text.len() / 2]),
            // The service has the subscription, and nobody takes from it.
            (Way::Half, Said::Frames(_)) | (Way::Reset, _) => {
                return Err(ConnectorError::io("connection reset by peer".into()));
            }
            (Way::Lost, _) => std::future::pending().await,
        };
        let status = status.try_into().map_err(|_| ConnectorError::user("no status".into()))?;
        let mut response = HttpResponse::new(status, body);
        response.headers_mut().insert("content-type", "application/x-amz-json-1.1");
        Ok(response)
    }

    /// Readers keep to the pace: five calls a second, and the one that proved at the start that reading is allowed.
    fn check_pace(&self, body: &Value) {
        let mut world = self.world.lock();
        let now = world.now_ms();
        let shard = body["ShardIterator"].as_str().and_then(|iterator| iterator.split('/').nth(1)).unwrap_or_default();
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = budget.sent.entry(shard.to_owned()).or_default();
        sent.retain(|sent| now - sent < 1_000);
        sent.push_back(now);
        if sent.len() > 6 {
            world.fail(format!("shard {shard} was asked more than five times in a second"));
        }
    }

    /// A process subscribes to a shard no sooner than it may.
    fn check_subscriptions(&self, body: &Value) {
        let mut world = self.world.lock();
        let now = world.now_ms();
        let shard = format!("{} of {}", body["ShardId"], body["ConsumerARN"]);
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.subscribed.insert(shard.clone(), now).is_some_and(|before| now - before < TOO_SOON_MS) {
            world.fail(format!("shard {shard} was subscribed to twice within five seconds"));
        }
    }

    /// Runs a subscription.
    pub(super) fn spawn(&self, subscription: impl Future<Output = Option<()>> + Send + 'static) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        while streams.try_join_next().is_some() {}
        streams.spawn(subscription);
    }

    fn serve(&self, world: &mut World, operation: &str, body: &Value) -> Result<Said, Refusal> {
        let bad = world.plan.service;
        if world.fault("5xx", 8 * bad / 1_000) {
            return Err(if world.dice.per_mille(500) { INTERNAL } else { UNAVAILABLE });
        }
        let now = world.now_ms();
        if !world.stream.is_there(now) {
            return Err(MISSING);
        }
        let answer = match operation {
            "DescribeStreamSummary" => Ok(describe(world)),
            "ListShards" => list(world, body, now),
            "GetShardIterator" => iterator(world, body, now),
            "GetRecords" => self.records(world, body, now),
            "DescribeStreamConsumer" => fan_out::describe_consumer(world, now),
            "RegisterStreamConsumer" => fan_out::register_consumer(world, now),
            "SubscribeToShard" => return fan_out::subscribe(self, world, body, now).map(Said::Frames),
            other => {
                world.fail(format!("the model does not know {other}"));
                Err(INVALID)
            }
        };
        answer.map(|answer| Said::Text(answer.to_string()))
    }

    fn records(&self, world: &mut World, body: &Value, now: i64) -> Result<Value, Refusal> {
        let text = body["ShardIterator"].as_str().unwrap_or_default();
        let parts: Vec<i64> = text.split('/').filter_map(|part| part.parse().ok()).collect();
        let [shard, from, issued] = parts[..] else { return Err(INVALID) };
        let (shard, from) = (shard as usize, from as u64);
        if !world.stream.shard_is_there(shard, now) {
            return Err(MISSING);
        }
        let bad = world.plan.service;
        if now - issued > ITERATOR_MS || world.fault("expired iterator", 6 * bad / 1_000) {
            return Err(EXPIRED);
        }
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = budget.calls.entry(shard).or_default();
        calls.retain(|call| now - call < 1_000);
        if calls.len() >= 5 {
            return Err(THROTTLED);
        }
        calls.push_back(now);
        let refuses = budget.refuses_until.get(&shard).is_some_and(|until| now < *until);
        if refuses || world.fault("throttle", 25 * bad / 1_000) {
            return Err(THROTTLED);
        }
        let hidden = world.fault("empty answer", 40 * bad / 1_000);
        let wanted = if hidden { 0 } else { 1 + world.dice.index(world.plan.answer_records) };
        let Page { records, bytes, next, behind_ms, ended, .. } =
            page(&world.stream, shard, from, wanted, world.plan.answer_bytes, now);
        if bytes >= world.plan.answer_bytes {
            budget.refuses_until.insert(shard, now + REST_MS);
        }
        let count = records.len();
        let mut answer = json!({"Records": records, "MillisBehindLatest": behind_ms});
        if ended {
            answer["ChildShards"] = children(&world.stream, shard);
        } else {
            answer["NextShardIterator"] = format!("it/{shard}/{next}/{now}").into();
        }
        if count > 0 || ended {
            let end = if ended { " and the end" } else { "" };
            world.note(format_args!(
                "p{} GetRecords shard {shard} from {from}: {count} records{end}",
                self.process.number
            ));
        }
        Ok(answer)
    }
}

/// What the service says.
enum Said {
    Text(String),
    /// Of a subscription.
    Frames(SdkBody),
}

/// Records of a shard, as an answer or an event has them.
pub(super) struct Page {
    pub records: Vec<Value>,
    bytes: usize,
    /// From where it goes on.
    pub next: u64,
    /// The record that comes next, if it is there.
    pub upcoming: Option<u64>,
    pub behind_ms: i64,
    /// The shard is closed, and nothing is left.
    pub ended: bool,
}

/// Up to `wanted` records, fewer where they reach `most` bytes.
pub(super) fn page(stream: &Stream, shard: usize, from: u64, wanted: usize, most: usize, now: i64) -> Page {
    let all = stream.shards[shard].records.iter().map(|index| (*index, &stream.records[*index]));
    let mut left = all.filter(|(index, record)| record.sequence >= from && !stream.is_gone(*index, now)).peekable();
    let mut page = Page { records: Vec::new(), bytes: 0, next: from, upcoming: None, behind_ms: 0, ended: false };
    while page.records.len() < wanted
        && page.bytes < most
        && let Some((_, record)) = left.next()
    {
        page.bytes += record.data.len();
        page.next = record.sequence + 1;
        page.records.push(json!({
            "SequenceNumber": sequence(record.sequence), "PartitionKey": "key", "Data": BASE64.encode(&record.data),
            "ApproximateArrivalTimestamp": record.arrival_ms as f64 / 1_000.0,
        }));
    }
    let upcoming = left.peek().map(|(_, record)| *record);
    page.behind_ms = upcoming.map_or(0, |record| (now - record.arrival_ms).max(1));
    page.ended = stream.shards[shard].closed.is_some() && upcoming.is_none();
    page.upcoming = upcoming.map(|record| record.sequence);
    page
}

pub(super) fn children(stream: &Stream, shard: usize) -> Value {
    let children = stream.shards.iter().filter(|child| child.parents.contains(&shard));
    let told = |child: &super::stream::Shard| json!({"ShardId": child.name, "ParentShards": [], "HashKeyRange": range_of(child.keys)});
    children.map(told).collect::<Vec<Value>>().into()
}

/// How long a call takes and what becomes of it.
fn way(world: &mut World) -> (Duration, Way) {
    let bad = world.plan.service;
    let latency = if world.fault("slow call", 10 * bad / 1_000) {
        world.dice.millis(1_000, 35_000)
    } else {
        world.dice.millis(2, 40)
    };
    let way = if world.fault("reset", 6 * bad / 1_000) {
        Way::Reset
    } else if world.fault("lost answer of the service", 3 * bad / 1_000) {
        Way::Lost
    } else if world.fault("half answer", 6 * bad / 1_000) {
        Way::Half
    } else {
        Way::Fine
    };
    (latency, way)
}

fn describe(world: &World) -> Value {
    json!({"StreamDescriptionSummary": {
        "StreamName": STREAM, "StreamARN": ARN, "StreamStatus": "ACTIVE", "RetentionPeriodHours": RETENTION_MS / 3_600_000,
        "StreamCreationTimestamp": world.stream.created as f64 / 1_000.0, "EnhancedMonitoring": [],
        "OpenShardCount": world.stream.open_shards().len(),
    }})
}

fn range_of(keys: (u64, u64)) -> Value {
    json!({"StartingHashKey": keys.0.to_string(), "EndingHashKey": (keys.1 - 1).to_string()})
}

fn list(world: &mut World, body: &Value, now: i64) -> Result<Value, Refusal> {
    let bad = world.plan.service;
    if world.fault("listing refused", 10 * bad / 1_000) {
        return Err(LIMIT);
    }
    let token = body["NextToken"].as_str();
    if token.is_some() && (!body["StreamName"].is_null() || !body["StreamARN"].is_null()) {
        world.fail("ListShards has a name beside its token");
        return Err(INVALID);
    }
    let (created, from) = token.and_then(|token| token.split_once('/')).unwrap_or(("", "0"));
    let from: usize = from.parse().map_err(|_| INVALID)?;
    if !created.is_empty() && created != world.stream.created.to_string() {
        return Err(EXPIRED);
    }
    let overlooks = world.fault("a shard is overlooked", 15 * bad / 1_000);
    let stream = &mut world.stream;
    let mut there: Vec<usize> = (0..stream.shards.len())
        .filter(|index| stream.shard_is_there(*index, now) && stream.shards[*index].listed_at <= now)
        .collect();
    let childless = |index: &usize| !there.iter().any(|other| stream.shards[*other].parents.contains(index));
    if overlooks
        && let Some(place) = there.iter().rposition(|index| !stream.shards[*index].overlooked && childless(index))
    {
        stream.shards[there[place]].overlooked = true;
        there.remove(place);
    }
    let names: Vec<&str> = stream.shards.iter().map(|shard| shard.name.as_str()).collect();
    let listed: Vec<Value> = there
        .iter()
        .filter(|index| **index >= from)
        .take(world.plan.page)
        .map(|index| {
            let shard = &stream.shards[*index];
            let mut listed = json!({"ShardId": shard.name, "HashKeyRange": range_of(shard.keys),
                "SequenceNumberRange": {"StartingSequenceNumber": sequence(shard.first_sequence)}});
            if let Some((_, end)) = shard.closed {
                listed["SequenceNumberRange"]["EndingSequenceNumber"] = sequence(end).into();
            }
            for (field, parent) in ["ParentShardId", "AdjacentParentShardId"].iter().zip(&shard.parents) {
                listed[*field] = names[*parent].into();
            }
            listed
        })
        .collect();
    let rest = there.iter().filter(|index| **index >= from).nth(world.plan.page);
    let mut answer = json!({"Shards": listed});
    if let Some(next) = rest {
        answer["NextToken"] = format!("{}/{next}", stream.created).into();
    }
    Ok(answer)
}

fn iterator(world: &mut World, body: &Value, now: i64) -> Result<Value, Refusal> {
    let name = body["ShardId"].as_str().unwrap_or_default();
    let created = world.stream.created.to_string();
    let shard = world.stream.shard_named(&created, name).ok_or(MISSING)?;
    let kind = body["ShardIteratorType"].as_str().unwrap_or_default();
    let from = begin(world, shard, kind, &body["StartingSequenceNumber"], &body["Timestamp"], now)?;
    Ok(json!({"ShardIterator": format!("it/{shard}/{from}/{now}")}))
}

/// The sequence number that an iterator or a subscription begins at.
pub(super) fn begin(
    world: &World,
    shard: usize,
    kind: &str,
    number: &Value,
    time: &Value,
    now: i64,
) -> Result<u64, Refusal> {
    if !world.stream.shard_is_there(shard, now) {
        return Err(MISSING);
    }
    let found = &world.stream.shards[shard];
    let number = || -> Result<u64, Refusal> {
        let digits = number.as_str().unwrap_or_default().strip_prefix("4967").ok_or(INVALID)?;
        let number: u64 = digits.parse().map_err(|_| INVALID)?;
        let beyond = number < found.first_sequence || found.closed.is_some_and(|(_, end)| number > end);
        if beyond { Err(INVALID) } else { Ok(number) }
    };
    match kind {
        "TRIM_HORIZON" => Ok(0),
        "AT_TIMESTAMP" => {
            let time = (time.as_f64().ok_or(INVALID)? * 1_000.0).round() as i64;
            let mut after = found.records.iter().map(|index| &world.stream.records[*index]);
            // What is at the tip begins with what comes next.
            let first = after.find(|record| record.arrival_ms >= time);
            Ok(first.map_or_else(|| world.stream.next_sequence(), |record| record.sequence))
        }
        "AT_SEQUENCE_NUMBER" => number(),
        // What nobody asks for but a mutant.
        "AFTER_SEQUENCE_NUMBER" => number().map(|number| number + 1),
        _ => Err(INVALID),
    }
}
