//! The model Kinesis, spoken over the SDK's own HTTP client interface: AWS JSON 1.1, in this process, no sockets.
//!
//! What it does beside answering rightly: five calls a second a shard, large answers and the refusal after them,
//! iterators that expire, throttling, server errors, resets, answers that are cut in half or never come, answers
//! without records in the middle, shards that are listed late or overlooked once, pages.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use tokio::time::sleep;

use super::stream::{RETENTION_MS, sequence};
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
}

/// See the module.
#[derive(Clone, Debug)]
struct Service {
    world: Shared,
    process: Arc<Process>,
    budget: Arc<Mutex<Budget>>,
}

/// The settings of an SDK whose calls end here.
pub(super) fn sdk(world: &Shared, process: &Arc<Process>) -> SdkConfig {
    let service = Service { world: world.clone(), process: Arc::clone(process), budget: Arc::default() };
    let credentials = Credentials::new("AKIDEXAMPLE", "model", None, None, "model");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url("http://kinesis.model")
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(service)
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
type Refusal = (u16, &'static str);

const THROTTLED: Refusal = (400, "ProvisionedThroughputExceededException");
const EXPIRED: Refusal = (400, "ExpiredIteratorException");
const MISSING: Refusal = (400, "ResourceNotFoundException");
const INVALID: Refusal = (400, "InvalidArgumentException");
const LIMIT: Refusal = (400, "LimitExceededException");
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
        if operation == "GetRecords" {
            self.check_pace(&body);
        }
        self.process.gate().await;
        let (latency, way) = way(&mut self.world.lock());
        sleep(latency).await;
        let (status, text) = {
            let mut world = self.world.lock();
            let answer = self.serve(&mut world, &operation, &body);
            if operation != "GetRecords" || answer.is_err() {
                let said = answer.as_ref().map_or_else(|(_, code)| *code, |_| "ok");
                world.note(format_args!("p{} {operation} {said}", self.process.number));
            }
            match answer {
                Ok(answer) => (200, answer.to_string()),
                Err((status, code)) => (status, json!({"__type": code, "message": "the model says so"}).to_string()),
            }
        };
        self.process.gate().await;
        let text = match way {
            Way::Fine => text,
            Way::Half => text[..text.len() / 2].to_owned(),
            Way::Reset => return Err(ConnectorError::io("connection reset by peer".into())),
            Way::Lost => std::future::pending().await,
        };
        let status = status.try_into().map_err(|_| ConnectorError::user("no status".into()))?;
        let mut response = HttpResponse::new(status, SdkBody::from(text));
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

    fn serve(&self, world: &mut World, operation: &str, body: &Value) -> Result<Value, Refusal> {
        let bad = world.plan.service;
        if world.fault("5xx", 8 * bad / 1_000) {
            return Err(if world.dice.per_mille(500) { INTERNAL } else { UNAVAILABLE });
        }
        let now = world.now_ms();
        if !world.stream.is_there(now) {
            return Err(MISSING);
        }
        match operation {
            "DescribeStreamSummary" => Ok(describe(world)),
            "ListShards" => list(world, body, now),
            "GetShardIterator" => iterator(world, body, now),
            "GetRecords" => self.records(world, body, now),
            other => {
                world.fail(format!("the model does not know {other}"));
                Err(INVALID)
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one answer, from its budget to its children")]
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
        let stream = &world.stream;
        let all: Vec<usize> = stream.shards[shard].records.clone();
        let left: Vec<usize> = all
            .into_iter()
            .filter(|index| stream.records[*index].sequence >= from && !stream.is_gone(*index, now))
            .collect();
        let (mut bytes, mut answered, mut next) = (0, Vec::new(), from);
        for record in left.iter().take(wanted).map(|index| &stream.records[*index]) {
            bytes += record.data.len();
            next = record.sequence + 1;
            answered.push(json!({
                "SequenceNumber": sequence(record.sequence), "PartitionKey": "key", "Data": BASE64.encode(&record.data),
                "ApproximateArrivalTimestamp": record.arrival_ms as f64 / 1_000.0,
            }));
            if bytes >= world.plan.answer_bytes {
                budget.refuses_until.insert(shard, now + REST_MS);
                break;
            }
        }
        let count = answered.len();
        let behind = left.get(count).map_or(0, |index| (now - stream.records[*index].arrival_ms).max(1));
        let ended = stream.shards[shard].closed.is_some() && count == left.len();
        let mut answer = json!({"Records": answered, "MillisBehindLatest": behind});
        if ended {
            let children = stream.shards.iter().filter(|child| child.parents.contains(&shard));
            let children: Vec<Value> = children
                .map(|child| json!({"ShardId": child.name, "ParentShards": [], "HashKeyRange": range_of(child.keys)}))
                .collect();
            answer["ChildShards"] = children.into();
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
    if !world.stream.shard_is_there(shard, now) {
        return Err(MISSING);
    }
    let found = &world.stream.shards[shard];
    let from = match body["ShardIteratorType"].as_str().unwrap_or_default() {
        "TRIM_HORIZON" => 0,
        "AT_TIMESTAMP" => {
            let time = (body["Timestamp"].as_f64().ok_or(INVALID)? * 1_000.0).round() as i64;
            let mut after = found.records.iter().map(|index| &world.stream.records[*index]);
            after.find(|record| record.arrival_ms >= time).map_or(u64::from(u32::MAX), |record| record.sequence)
        }
        "AT_SEQUENCE_NUMBER" => {
            let number = body["StartingSequenceNumber"].as_str().unwrap_or_default();
            let digits = number.strip_prefix("4967").ok_or(INVALID)?;
            let number: u64 = digits.parse().map_err(|_| INVALID)?;
            if number < found.first_sequence || found.closed.is_some_and(|(_, end)| number > end) {
                return Err(INVALID);
            }
            number
        }
        _ => return Err(INVALID),
    };
    // What is at the tip begins with what comes next.
    let from = if from == u64::from(u32::MAX) { world.stream.next_sequence() } else { from };
    Ok(json!({"ShardIterator": format!("it/{shard}/{from}/{now}")}))
}
