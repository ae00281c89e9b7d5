//! The calls to Kinesis, and their answers in our own words.
//!
//! Two clients: `control` describes and lists and lets the SDK retry; `data` reads and never retries by itself,
//! since the five calls a second of a shard are ours to spend. No call waits for ever: a half-open connection is
//! given up after [`READ`]. Subscriptions go over connections of their own, see `lines`.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ConsumerDescription, ShardIteratorType, StartingPosition, StreamStatus};
use aws_sdk_kinesis::{Client, Config};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Semaphore;

use super::lines::Events;
use super::metered::{self, Metered};

use crate::aws::{AwsError, Class, Place, explain};
use crate::config::types::Kinesis;
use crate::memory::Call;
use crate::source::Position;

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take to begin.
pub(super) const READ: Duration = Duration::from_secs(30);

/// How long an answer may take in all: 10 MB, as base64, at 2 Mbit/s.
const ANSWER: Duration = Duration::from_secs(60);

/// Tries of a call that describes or lists, at most.
/// The SDK's pauses between tries are random, and no simulation could repeat them: there the caller tries again.
const CONTROL_TRIES: u32 = if cfg!(test) { 1 } else { 3 };

/// Pages of one listing at most: 1,000 shards each, ten times the largest quota that AWS is known to grant.
const PAGES: usize = 1_000;

/// Calls at a time that begin to read a shard: the first moments of 1,000 shards are not 1,000 connections.
const BEGINS_AT_ONCE: usize = 32;

/// As an IAM policy names it.
pub(super) const SUBSCRIBE: &str = "kinesis:SubscribeToShard";

/// Where an iterator or a subscription is to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Begin {
    Oldest,
    AtTime(i64),
    At(Position),
}

/// A stream's description.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    pub arn: String,
    /// Milliseconds since 1970.
    pub created: Arc<str>,
    pub status: StreamStatus,
    pub retention_hours: i32,
    /// The KMS key that encrypts it.
    pub key: Option<String>,
}

/// A shard as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shard {
    pub id: Arc<str>,
    /// The shard that was split, or the two that were merged; they may not be listed any more.
    pub parents: Vec<Arc<str>>,
    pub closed: bool,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Api {
    control: Client,
    data: Client,
    /// What `data` goes over.
    http: SharedHttpClient,
    /// How a client for subscriptions is made.
    subscribing: Config,
    begins: Arc<Semaphore>,
    name: Option<String>,
    arn: Option<String>,
    place: Place,
}

/// The Region of a stream's ARN.
pub(super) fn region_of(stream: &str) -> Option<&str> {
    parts_of(stream).map(|(region, _)| region)
}

/// Region and stream name of `arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME`.
fn parts_of(stream: &str) -> Option<(&str, &str)> {
    let mut parts = stream.splitn(6, ':');
    let (prefix, service) = (parts.next()?, parts.nth(1)?);
    let (region, name) = (parts.next()?, parts.nth(1)?.strip_prefix("stream/")?);
    (prefix == "arn" && service == "kinesis" && !region.is_empty() && !name.is_empty()).then_some((region, name))
}

impl Api {
    /// # Errors
    /// A stream that is neither a name nor a stream's ARN, or an ARN of another Region than the calls would go to.
    pub(super) fn new(config: &Kinesis, sdk: &SdkConfig) -> Result<Api, String> {
        let stream = config.stream.as_str();
        let region = sdk.region().map(ToString::to_string).unwrap_or_default();
        let arn = stream.starts_with("arn:").then(|| stream.to_owned());
        if arn.is_some() {
            let Some((named, _)) = parts_of(stream) else {
                return Err(format!(
                    "`{stream}` is no stream's ARN: give arn:aws:kinesis:REGION:ACCOUNT:stream/NAME, or the name alone"
                ));
            };
            if named != region {
                return Err(format!(
                    "stream `{stream}` is in {named}, and `aws.region` says {region}: leave `aws.region` out, or \
                     correct the ARN"
                ));
            }
        }
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(READ).operation_attempt_timeout(ANSWER);
        let builder = Builder::from(sdk).timeout_config(timeouts.build());
        let control = builder.clone().retry_config(RetryConfig::standard().with_max_attempts(CONTROL_TRIES)).build();
        let http = metered::client(sdk);
        let data = builder.retry_config(RetryConfig::disabled());
        // A quiet shard's stream of events is no stalled one.
        let subscribing = data.clone().stalled_stream_protection(StalledStreamProtectionConfig::disabled()).build();
        Ok(Api {
            control: Client::from_conf(control),
            data: Client::from_conf(data.http_client(http.clone()).build()),
            http,
            subscribing,
            begins: Arc::new(Semaphore::new(BEGINS_AT_ONCE)),
            name: arn.is_none().then(|| stream.to_owned()),
            arn,
            place: Place {
                what: "stream",
                name: stream.into(),
                region,
                endpoint: sdk.endpoint_url().map(str::to_owned),
            },
        })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) async fn describe(&self) -> Result<Summary, AwsError> {
        let call = self.control.describe_stream_summary();
        let call = call.set_stream_name(self.name.clone()).set_stream_arn(self.arn.clone());
        let answer = call.send().await;
        let answer = answer.map_err(|error| explain(&error, "kinesis:DescribeStreamSummary", &self.place))?;
        let Some(summary) = answer.stream_description_summary else {
            return Err(AwsError::malformed("kinesis:DescribeStreamSummary", &self.place, "it describes no stream"));
        };
        Ok(Summary {
            arn: summary.stream_arn,
            created: summary.stream_creation_timestamp.to_millis().unwrap_or_default().to_string().into(),
            status: summary.stream_status,
            retention_hours: summary.retention_period_hours,
            key: summary.key_id,
        })
    }

    /// All shards whose data may still be there, open and closed; complete, or an error.
    pub(super) async fn list(&self) -> Result<Vec<Shard>, AwsError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            // The service refuses a name beside the token that stands for it.
            let call = match token {
                Some(token) => self.control.list_shards().next_token(token),
                None => {
                    let call = self.control.list_shards();
                    call.set_stream_name(self.name.clone()).set_stream_arn(self.arn.clone())
                }
            };
            let answer = call.send().await;
            let answer = answer.map_err(|error| explain(&error, "kinesis:ListShards", &self.place))?;
            shards.extend(answer.shards.unwrap_or_default().into_iter().map(shard));
            token = answer.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(shards);
            }
        }
        Err(AwsError::malformed("kinesis:ListShards", &self.place, "its pages do not end"))
    }

    /// A client with connections of its own.
    pub(super) fn client(&self) -> Client {
        Client::from_conf(self.subscribing.clone())
    }

    /// The consumer of this name; `None`: there is none.
    pub(super) async fn consumer(&self, stream: &str, name: &str) -> Result<Option<ConsumerDescription>, AwsError> {
        let call = self.control.describe_stream_consumer().stream_arn(stream).consumer_name(name);
        match call.send().await {
            Ok(answer) => Ok(answer.consumer_description),
            Err(error) => match explain(&error, "kinesis:DescribeStreamConsumer", &self.place) {
                missing if missing.class == Class::Missing => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Registers a consumer; one that is there already is an error of class `Invalid`.
    pub(super) async fn register(&self, stream: &str, name: &str) -> Result<(), AwsError> {
        let call = self.control.register_stream_consumer().stream_arn(stream).consumer_name(name);
        call.send().await.map(drop).map_err(|error| explain(&error, "kinesis:RegisterStreamConsumer", &self.place))
    }

    /// Subscribes a consumer to a shard, over `client`'s connections.
    pub(super) async fn subscribe(
        &self,
        client: &Client,
        consumer: &str,
        shard: &str,
        begin: Begin,
    ) -> Result<Events, AwsError> {
        let position = StartingPosition::builder();
        let position = match begin {
            Begin::Oldest => position.r#type(ShardIteratorType::TrimHorizon),
            Begin::AtTime(time) => {
                position.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(time))
            }
            Begin::At(at) if mutant!(AfterContinuation) => {
                position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(at.to_string())
            }
            Begin::At(at) => position.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(at.to_string()),
        };
        // It has a type: the builder cannot refuse it.
        let position = position.build().ok();
        let _permit = self.begins.acquire().await;
        let call = client.subscribe_to_shard().consumer_arn(consumer).shard_id(shard).set_starting_position(position);
        let answer = call.send().await.map_err(|error| explain(&error, SUBSCRIBE, &self.place))?;
        Ok(answer.event_stream)
    }

    pub(super) async fn iterator(&self, shard: &str, begin: Begin) -> Result<String, AwsError> {
        let _permit = self.begins.acquire().await;
        let call = self.data.get_shard_iterator();
        let call = call.set_stream_name(self.name.clone()).set_stream_arn(self.arn.clone()).shard_id(shard);
        let call = match begin {
            Begin::Oldest => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Begin::AtTime(time) => {
                call.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from_millis(time))
            }
            Begin::At(position) => call
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(position.to_string()),
        };
        let answer = call.send().await;
        let answer = answer.map_err(|error| explain(&error, "kinesis:GetShardIterator", &self.place))?;
        answer
            .shard_iterator
            .ok_or_else(|| AwsError::malformed("kinesis:GetShardIterator", &self.place, "it names no iterator"))
    }

    /// The memory for the answer is `lent`'s.
    pub(super) async fn records(
        &self,
        iterator: &str,
        limit: i32,
        lent: Option<&Arc<Call>>,
    ) -> Result<GetRecordsOutput, AwsError> {
        let call = self.data.get_records().shard_iterator(iterator).limit(limit).set_stream_arn(self.arn.clone());
        let answer = match lent {
            Some(lent) => {
                let metered = Metered { client: self.http.clone(), call: Arc::clone(lent) };
                call.customize().config_override(Config::builder().http_client(metered)).send().await
            }
            None => call.send().await,
        };
        answer.map_err(|error| explain(&error, "kinesis:GetRecords", &self.place))
    }
}

fn shard(listed: aws_sdk_kinesis::types::Shard) -> Shard {
    let parents = [listed.parent_shard_id, listed.adjacent_parent_shard_id];
    let closed = listed.sequence_number_range.is_some_and(|range| range.ending_sequence_number.is_some());
    Shard { id: listed.shard_id.into(), parents: parents.into_iter().flatten().map(Arc::from).collect(), closed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_its_region_and_a_name_does_not() {
        let check = |stream: &str, expect: Option<(&str, &str)>| assert_eq!(parts_of(stream), expect, "{stream}");
        check("arn:aws:kinesis:ap-northeast-2:111122223333:stream/vpn-logs", Some(("ap-northeast-2", "vpn-logs")));
        check("arn:aws-cn:kinesis:cn-north-1:111122223333:stream/a.b-c_d", Some(("cn-north-1", "a.b-c_d")));
        check("vpn-logs", None);
        check("arn:aws:firehose:ap-northeast-2:111122223333:deliverystream/vpn-logs", None);
        check("arn:aws:kinesis:ap-northeast-2:111122223333:vpn-logs", None);
        check("arn:aws:kinesis::111122223333:stream/vpn-logs", None);
    }
}
