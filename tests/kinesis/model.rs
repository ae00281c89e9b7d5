//! A model of Kinesis inside the SDK: it stands where the SDK's HTTP client would, so that there is no socket and time is
//! virtual. Five minutes of a subscription, 35 s of silence and 1,000 shards cost nothing and come out the same each
//! time. What it does is what AWS documents: one subscription a consumer and shard, none within 5 s of the last,
//! each ended after 5 minutes; the children in the last event, which has no continuation.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tunnelog::config::types::{Consumer, Kinesis};
use tunnelog::source::ShardId;
use tunnelog::source::kinesis::{KinesisSource, open};

use super::bench::{announced, config, now_s};
use super::frames;
use super::served::{Fate, Served};
use super::stack;

pub(crate) const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/model";
const TOO_SOON: Duration = Duration::from_secs(5);
/// A record: number and arrival, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Written {
    number: u64,
    arrival_s: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Shard {
    records: Vec<Written>,
    pub(crate) parents: Vec<String>,
    closed: bool,
    /// Of the current subscription.
    pub(crate) subscription: u64,
    subscribed: Option<Instant>,
}

/// A call that came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) created: i64,
    pub(crate) shards: BTreeMap<String, Shard>,
    /// Creation time of the consumer, and whether it is active.
    pub(crate) consumer: Option<i64>,
    pub(crate) calls: Vec<Call>,
    /// Errors that the next calls get.
    pub(crate) faults: BTreeMap<String, VecDeque<&'static str>>,
    /// Errors that all calls get.
    pub(crate) always: BTreeMap<String, &'static str>,
    pub(crate) fates: VecDeque<Fate>,
    pub(crate) latency: Duration,
    /// Answers to calls that ask for more records than this take minutes.
    pub(crate) slow_beyond: Option<u64>,
    /// Calls under way, and the most there ever were, by operation.
    under_way: BTreeMap<String, (usize, usize)>,
    /// Events handed to subscriptions.
    pub(crate) events: usize,
    subscriptions: JoinSet<Option<()>>,
    /// Shards that listings leave out.
    pub(crate) unlisted: Vec<String>,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Model(Arc<Mutex<State>>);

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

pub(crate) fn name(shard: usize) -> String {
    format!("shardId-{shard:012}")
}

impl Model {
    pub(crate) fn new(shards: usize) -> Model {
        let model = Model::default();
        let mut state = model.state();
        state.created = 1_700_000_000;
        state.latency = Duration::from_millis(20);
        state.shards.extend((0..shards).map(|shard| (name(shard), Shard::default())));
        drop(state);
        model
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Writes these numbers to a shard.
    pub(crate) fn put(&self, shard: usize, numbers: std::ops::Range<u64>) {
        let arrival_s = now_s();
        let mut state = self.state();
        let records = &mut state.shards.get_mut(&name(shard)).unwrap().records;
        records.extend(numbers.map(|number| Written { number, arrival_s }));
    }

    /// What is older than `number` has expired; what is left arrived where retention ends.
    pub(crate) fn expire(&self, shard: usize, number: u64) {
        let mut state = self.state();
        let records = &mut state.shards.get_mut(&name(shard)).unwrap().records;
        records.retain(|record| record.number >= number);
        records.iter_mut().for_each(|record| record.arrival_s = now_s() - 24 * 3_600);
    }

    /// Closes a shard; it has one child of this number.
    pub(crate) fn close(&self, shard: usize, child: usize) {
        let mut state = self.state();
        state.shards.get_mut(&name(shard)).unwrap().closed = true;
        state.shards.insert(name(child), Shard { parents: vec![name(shard)], ..Shard::default() });
    }

    pub(crate) fn forget(&self, shard: usize) {
        self.state().shards.remove(&name(shard));
    }

    /// Deletes the stream and makes it anew, with as many open shards.
    pub(crate) fn recreate(&self) {
        let mut state = self.state();
        state.created += 3_600;
        state.consumer = None;
        state.shards.values_mut().for_each(|shard| *shard = Shard::default());
    }

    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    pub(crate) fn most_at_once(&self, operation: &str) -> usize {
        self.state().under_way.get(operation).map_or(0, |counts| counts.1)
    }

    pub(crate) fn sdk(&self) -> SdkConfig {
        stack::aws("http://model", "any", "key").into_builder().http_client(self.clone()).build()
    }

    pub(crate) fn config() -> Kinesis {
        Kinesis { consumer: Some(Consumer { enhanced_fan_out: "tunnelog".into() }), ..config(STREAM) }
    }

    /// The source with fan-out, and its shards.
    pub(crate) async fn opened(&self) -> (KinesisSource, Vec<ShardId>) {
        self.opened_as(&Model::config()).await
    }

    pub(crate) async fn opened_as(&self, config: &Kinesis) -> (KinesisSource, Vec<ShardId>) {
        let mut source = open("main", config, &self.sdk()).await.unwrap();
        let mut ids = Vec::new();
        let shards = self.state().shards.len();
        for _ in 0..shards {
            ids.push(announced(&mut source).await.0);
        }
        (source, ids)
    }

    async fn answer(&self, operation: &str, body: &Value) -> Result<SdkBody, &'static str> {
        let latency = {
            let mut state = self.state();
            state.calls.push(Call { operation: operation.into(), body: body.clone(), at: Instant::now() });
            let counts = state.under_way.entry(operation.into()).or_default();
            *counts = (counts.0 + 1, counts.1.max(counts.0 + 1));
            let is_slow = state.slow_beyond.is_some_and(|most| body["Limit"].as_u64() > Some(most));
            if is_slow { Duration::from_secs(300) } else { state.latency }
        };
        let _guard = UnderWay(self, operation);
        sleep(latency).await;
        let mut state = self.state();
        if let Some(code) = state.faults.get_mut(operation).and_then(VecDeque::pop_front) {
            return Err(code);
        }
        if let Some(code) = state.always.get(operation) {
            return Err(code);
        }
        let answer = match operation {
            "DescribeStreamSummary" => json!({"StreamDescriptionSummary": {
                "StreamName": "model", "StreamARN": STREAM, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24,
                "StreamCreationTimestamp": state.created, "EnhancedMonitoring": [], "OpenShardCount": 1}}),
            "ListShards" => state.list(),
            "DescribeStreamConsumer" => json!({"ConsumerDescription": state.consumer()?}),
            "RegisterStreamConsumer" => {
                state.consumer = Some(state.created + 1);
                json!({"Consumer": state.consumer()?})
            }
            "GetShardIterator" => {
                let shard = body["ShardId"].as_str().unwrap();
                let (kind, number) = (body["ShardIteratorType"].as_str().unwrap(), &body["StartingSequenceNumber"]);
                let from = state.from(shard, kind, number)?;
                json!({"ShardIterator": format!("{shard}|{from}")})
            }
            "GetRecords" => state.records(body)?,
            "SubscribeToShard" => {
                drop(state);
                return self.subscribe(body);
            }
            other => panic!("{other}"),
        };
        Ok(SdkBody::from(answer.to_string()))
    }

    fn subscribe(&self, body: &Value) -> Result<SdkBody, &'static str> {
        let shard = body["ShardId"].as_str().unwrap().to_owned();
        let mut state = self.state();
        if state.consumer()?["ConsumerARN"] != body["ConsumerARN"] {
            return Err("ResourceNotFoundException");
        }
        let position = &body["StartingPosition"];
        let from = state.from(&shard, position["Type"].as_str().unwrap(), &position["SequenceNumber"])?;
        let fate = state.fates.pop_front();
        let own = state.shards.get_mut(&shard).unwrap();
        if own.subscribed.is_some_and(|at| at.elapsed() < TOO_SOON) {
            return Err("ResourceInUseException");
        }
        own.subscription += 1;
        own.subscribed = Some(Instant::now());
        let subscription = own.subscription;
        let (sender, body) = frames::stream();
        let served = Served { model: self.clone(), shard, subscription, from, fate };
        state.subscriptions.spawn(async move { served.serve(sender).await });
        Ok(body)
    }
}

struct UnderWay<'m>(&'m Model, &'m str);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way.get_mut(self.1).unwrap().0 -= 1;
    }
}

impl State {
    fn consumer(&self) -> Result<Value, &'static str> {
        let made = self.consumer.ok_or("ResourceNotFoundException")?;
        Ok(json!({"ConsumerName": "tunnelog", "ConsumerARN": format!("{STREAM}/consumer/tunnelog:{made}"),
            "ConsumerStatus": "ACTIVE", "ConsumerCreationTimestamp": made, "StreamARN": STREAM}))
    }

    fn list(&self) -> Value {
        let listed = self.shards.iter().filter(|(id, _)| !self.unlisted.contains(id)).map(|(id, shard)| {
            let mut range = json!({"StartingSequenceNumber": "1"});
            if shard.closed {
                range["EndingSequenceNumber"] = "99999".into();
            }
            json!({"ShardId": id, "ParentShardId": shard.parents.first(), "SequenceNumberRange": range,
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}})
        });
        json!({"Shards": listed.collect::<Vec<_>>()})
    }

    /// The number of the first record that is wanted.
    fn from(&self, shard: &str, kind: &str, number: &Value) -> Result<u64, &'static str> {
        self.shards.get(shard).ok_or("ResourceNotFoundException")?;
        let number = || number.as_str().and_then(|number| number.parse().ok()).ok_or("InvalidArgumentException");
        match kind {
            "AT_SEQUENCE_NUMBER" => number(),
            "AFTER_SEQUENCE_NUMBER" => number().map(|number: u64| number + 1),
            _ => Ok(0),
        }
    }

    pub(crate) fn some(&self, shard: &str, from: u64, most: usize) -> Option<(Vec<Value>, u64, i64, bool)> {
        let shard = self.shards.get(shard)?;
        let left: Vec<&Written> = shard.records.iter().filter(|record| record.number >= from).collect();
        let taken = left.len().min(most);
        let data = |number: u64| base64::engine::general_purpose::STANDARD.encode(number.to_string());
        let told = |record: &&Written| {
            json!({"SequenceNumber": record.number.to_string(), "Data": data(record.number), "PartitionKey": "key",
                "ApproximateArrivalTimestamp": record.arrival_s})
        };
        let next = left[..taken].last().map_or(from, |record| record.number + 1);
        let behind_ms = (left.len() - taken) as i64 * 1_000;
        Some((left[..taken].iter().map(told).collect(), next, behind_ms, shard.closed && taken == left.len()))
    }

    fn records(&self, body: &Value) -> Result<Value, &'static str> {
        let iterator = body["ShardIterator"].as_str().unwrap();
        let (shard, from) = iterator.split_once('|').unwrap();
        let limit = body["Limit"].as_u64().unwrap() as usize;
        let found = self.some(shard, from.parse().unwrap(), limit).ok_or("ResourceNotFoundException")?;
        let (records, next, behind_ms, ended) = found;
        let mut answer = json!({"Records": records, "MillisBehindLatest": behind_ms});
        if !ended {
            answer["NextShardIterator"] = format!("{shard}|{next}").into();
        }
        Ok(answer)
    }
}

impl HttpConnector for Model {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let model = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
            let operation = target.rsplit('.').next().unwrap_or_default();
            let body = serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap();
            let (status, body) = match model.answer(operation, &body).await {
                Ok(body) => (200, body),
                Err("reset") => return Err(ConnectorError::io("reset".into())),
                Err(code) => {
                    let status = if code == "InternalFailure" { 500 } else { 400 };
                    (status, SdkBody::from(json!({"__type": code, "message": "it was the model"}).to_string()))
                }
            };
            Ok(HttpResponse::new(status.try_into().unwrap(), body))
        })
    }
}

impl HttpClient for Model {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
