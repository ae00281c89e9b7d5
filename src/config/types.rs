//! The pipeline file as types: what may be written, with its defaults and its documentation.
//!
//! These types *are* the JSON Schema (`tunnelog schema config`) and the configuration reference. Where one
//! of several things is chosen, a struct of options stands in place of a tagged enum, since a tagged enum
//! loses the place of an error; `config::validate` checks that exactly one is set.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::aws_types::{Aws, Consumer, DynamoDb, FirehoseSink, Kinesis, Pack, S3Sink, Start};
pub use super::inventory_types::{Accounts, AccountsOf, Ec2};
pub use super::kafka_types::{KafkaCompression, KafkaKey, KafkaSink, Mechanism, Sasl, Tls};
pub use super::splunk_types::{SplunkCompression, SplunkHecSink, SplunkTls};
use super::units::{Duration, Size};
pub use crate::delivery::OnOutage;
use crate::event::{Action, Kind, Severity, Transition};

/// One pipeline: where records come from, what is added to them, and where the events go.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Names the pipeline in checkpoints, logs and metrics. Default: the file's name without `.yaml`.
    #[serde(default)]
    pub name: Option<String>,
    /// Where records come from, by name. At least one.
    #[schemars(extend("minProperties" = 1))]
    pub sources: BTreeMap<String, Source>,
    /// What is known about the VPN connections.
    #[serde(default)]
    pub enrich: Enrich,
    /// Where events go, by name. At least one.
    #[schemars(extend("minProperties" = 1))]
    pub sinks: BTreeMap<String, Sink>,
    /// Where records go that cannot be read, with their original bytes.
    /// Default: a file `<name>.dead-letters.ndjson` beside the checkpoint.
    #[serde(default)]
    pub dead_letters: Option<DeadLetters>,
    /// Where the pipeline remembers what is delivered.
    #[serde(default)]
    pub checkpoint: Checkpoint,
    /// Upper bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Metrics and health over HTTP. Absent: no listener.
    #[serde(default)]
    pub status: Option<Status>,
}

/// A source: exactly one of `kinesis`, `simulate`, `replay`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A Kinesis data stream that CloudWatch Logs subscriptions write to.
    #[serde(default)]
    pub kinesis: Option<Kinesis>,
    /// How `kinesis` reaches AWS. Default: the environment's Region and credentials.
    #[serde(default)]
    pub aws: Option<Aws>,
    /// A generated fleet of VPN connections; needs no account.
    #[serde(default)]
    pub simulate: Option<Simulate>,
    /// Files, read once from beginning to end.
    #[serde(default)]
    pub replay: Option<Replay>,
    /// The Region of events that neither carry one nor have one in the inventory.
    #[serde(default)]
    pub region: Option<String>,
}

/// A seeded fleet of VPN connections. One seed, one output.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simulate {
    /// Same seed, same records.
    pub seed: u64,
    /// How many VPN connections, each of two tunnels.
    #[schemars(range(min = 1, max = 100_000))]
    pub connections: u32,
    /// Simulated hours.
    #[schemars(range(min = 1, max = 8760))]
    pub hours: u32,
    /// When the simulated time begins, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub start: String,
    /// Shards of the simulated stream.
    #[schemars(range(min = 1, max = 1000))]
    pub shards: u32,
    /// Records that are damaged on purpose and must end as dead letters.
    #[schemars(range(max = 1000))]
    pub damaged: u32,
    /// Records a second; absent: as fast as they are taken.
    #[schemars(range(min = 1))]
    pub rate: Option<u32>,
}

impl Default for Simulate {
    fn default() -> Self {
        Simulate {
            seed: 1,
            connections: 25,
            hours: 24,
            start: "2026-01-15T00:00:00Z".into(),
            shards: 2,
            damaged: 0,
            rate: None,
        }
    }
}

/// Files, recognised by their content: envelopes, `aws kinesis get-records` answers, log lines, dead letters, …
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Files and folders, relative to the pipeline file.
    #[schemars(length(min = 1))]
    pub inputs: Vec<PathBuf>,
    /// What bare log lines do not carry.
    #[serde(default)]
    pub identity: Identity,
}

/// The identity of bare log lines and of `filter-log-events` answers, so that their ids can equal the live ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The account that owns the log group.
    #[serde(default)]
    pub owner: Option<String>,
    /// Log group.
    #[serde(default)]
    pub log_group: Option<String>,
    /// Log stream, for example `vpn-0a1b…_203.0.113.17-IKE.log`.
    #[serde(default)]
    pub log_stream: Option<String>,
}

/// What is known about the VPN connections: at most one of `ec2`, `file`, `simulated`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Enrich {
    /// EC2 itself, in many accounts and Regions; asked again and again.
    pub ec2: Option<Ec2>,
    /// A saved AWS CLI answer (`describe-vpn-connections` and its siblings), or a folder of them, best
    /// `{account}/{region}/describe-*.json`; `list-accounts` names the accounts, and its accounts may have an `OuPath`
    /// (`Root/Workloads/Prod`), as `tunnelog inventory export` writes. Read again when a file changes.
    pub file: Option<PathBuf>,
    /// The inventory of the `simulate` source of this name.
    pub simulated: Option<String>,
    /// A CSV file with a column named `connection_id`; the other columns become tags.
    pub overlay: Option<PathBuf>,
    /// The EC2 tags that events carry in `vpn.tags`. `Name` is always `vpn.name`.
    pub tags: Vec<String>,
    /// How often files are looked at for changes.
    pub refresh: Duration,
}

impl Default for Enrich {
    fn default() -> Self {
        Enrich {
            ec2: None,
            file: None,
            simulated: None,
            overlay: None,
            tags: Vec::new(),
            refresh: Duration::from_secs(30),
        }
    }
}

/// A sink: exactly one of `kafka`, `firehose`, `s3`, `splunk_hec`, `file`, `console`; and which events it gets in which format.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sink {
    /// A topic of Apache Kafka, Amazon MSK or what speaks their protocol.
    #[serde(default)]
    pub kafka: Option<KafkaSink>,
    /// An Amazon Data Firehose stream.
    #[serde(default)]
    pub firehose: Option<FirehoseSink>,
    /// Objects in an S3 bucket, the events of each record in them exactly once.
    #[serde(default)]
    pub s3: Option<S3Sink>,
    /// How `firehose`, `s3` and `kafka` with `aws_msk_iam` reach AWS. Default: the environment's Region and credentials.
    #[serde(default)]
    pub aws: Option<Aws>,
    /// The HTTP Event Collector of Splunk.
    #[serde(default)]
    pub splunk_hec: Option<SplunkHecSink>,
    /// Files on this machine, one event a line.
    #[serde(default)]
    pub file: Option<FileSink>,
    /// Standard output.
    #[serde(default)]
    pub console: Option<ConsoleSink>,
    /// The form of an event. Default: `json`; a console on a terminal: `timeline`.
    #[serde(default)]
    pub format: Option<Format>,
    /// Only events that meet every key: AND across keys, OR within one.
    #[serde(default)]
    pub only: Option<Condition>,
    /// Not the events that meet every key.
    #[serde(default)]
    pub except: Option<Condition>,
    /// What happens while the sink takes nothing. `park`: the pipeline's other sinks go on, and this one catches up
    /// from its checkpoint afterwards; what was on its way is sent again. `block`: the others wait for it.
    /// Default: `park`; a console: `block`.
    #[serde(default)]
    pub on_outage: Option<OnOutage>,
}

/// NDJSON files.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSink {
    /// The file, relative to the working directory; folders are made. Rotated files get a number
    /// before the ending: `events.ndjson`, `events.1.ndjson`, …
    pub path: PathBuf,
    /// Compression, each file one or more members or frames.
    #[serde(default)]
    pub compression: Compression,
    /// A file is closed and the next begun when it is this large.
    #[serde(default = "default_rotate")]
    pub rotate: Size,
}

fn default_rotate() -> Size {
    Size::mib(256)
}

/// Compression of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// Gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Standard output.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSink {}

/// The form of an event: a name, or a name with its options.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Format {
    /// A format with its defaults.
    Name(FormatName),
    /// A format with options.
    Options(FormatOptions),
}

/// The names of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FormatName {
    /// Our own schema, one JSON object.
    Json,
    /// Open Cybersecurity Schema Framework 1.8, one JSON object.
    Ocsf,
    /// Elastic Common Schema 9, one JSON object.
    Ecs,
    /// Flat JSON in the words of Splunk's Common Information Model.
    Splunk,
    /// A line for a person.
    Timeline,
    /// The rows of a Parquet file, for the sink `s3` only: `schemas/lake.md` has the columns.
    Parquet,
}

impl Format {
    /// Whether it makes Parquet files.
    pub fn is_parquet(&self) -> bool {
        match self {
            Format::Name(name) => *name == FormatName::Parquet,
            Format::Options(options) => options.parquet.is_some(),
        }
    }
}

/// Exactly one format with its options.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FormatOptions {
    /// Our own schema, one JSON object.
    #[serde(default)]
    pub json: Option<JsonOptions>,
    /// Open Cybersecurity Schema Framework 1.8, one JSON object; constants go to `metadata.tags`.
    #[serde(default)]
    pub ocsf: Option<JsonOptions>,
    /// Elastic Common Schema 9, one JSON object; constants go to `labels`.
    #[serde(default)]
    pub ecs: Option<JsonOptions>,
    /// Flat JSON in the words of Splunk's Common Information Model.
    #[serde(default)]
    pub splunk: Option<JsonOptions>,
    /// The rows of a Parquet file, for the sink `s3` only.
    #[serde(default)]
    pub parquet: Option<ParquetOptions>,
}

/// What rows carry beside the event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetOptions {
    /// When the column `raw` has the log line itself.
    #[serde(default)]
    pub raw: RawOption,
    /// Whether the columns `origin_…` have the record's stream, shard and sequence number.
    #[serde(default)]
    pub origin: bool,
}

/// What a format carries beside the event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonOptions {
    /// When the log line itself goes along.
    #[serde(default)]
    pub raw: RawOption,
    /// Whether the record's stream, shard and sequence number go along.
    #[serde(default)]
    pub origin: bool,
    /// Constant fields that are added to every event, at the top level; `ocsf` and `ecs` have their own place for them.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
}

/// When the log line itself goes along in `raw`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RawOption {
    /// With unparsed events, and with events that have `problems` or an `other` action.
    #[default]
    Problems,
    /// With every event.
    Always,
    /// Never; not even with unparsed events.
    Never,
}

/// A condition: AND across keys, OR within one. What cannot be known (the inventory does not have the
/// connection) neither keeps an event out nor throws it away: it passes and is counted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Kinds of event.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub kind: Vec<Kind>,
    /// Actions.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub action: Vec<Action>,
    /// Edges.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub transition: Vec<Transition>,
    /// This severity or a higher one.
    #[serde(default)]
    pub min_severity: Option<Severity>,
    /// Account ids.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub account: Vec<String>,
    /// Regions.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub region: Vec<String>,
    /// VPN connection ids.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub connection: Vec<String>,
    /// Tags of the connection (overlay columns included), each with the values that it may have.
    #[serde(default)]
    pub tag: BTreeMap<String, Vec<String>>,
}

impl Condition {
    /// Whether no key is set: such a condition says nothing.
    pub fn is_empty(&self) -> bool {
        let Condition { kind, action, transition, min_severity, account, region, connection, tag } = self;
        kind.is_empty()
            && action.is_empty()
            && transition.is_empty()
            && min_severity.is_none()
            && account.is_empty()
            && region.is_empty()
            && connection.is_empty()
            && tag.is_empty()
    }
}

/// Where dead letters go: exactly one of `file`, `s3`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetters {
    /// Objects in an S3 bucket, one dead letter a line.
    #[serde(default)]
    pub s3: Option<S3Sink>,
    /// How `s3` reaches AWS. Default: the environment's Region and credentials.
    #[serde(default)]
    pub aws: Option<Aws>,
    /// A file, one dead letter a line.
    #[serde(default)]
    pub file: Option<FileSink>,
}

/// Where the pipeline remembers what is delivered: at most one of `file`, `dynamodb`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checkpoint {
    /// An embedded database; one process at a time. Default: `state/<name>.redb`.
    pub file: Option<PathBuf>,
    /// A table of Amazon DynamoDB.
    pub dynamodb: Option<DynamoDb>,
    /// How `dynamodb` reaches AWS. Default: the environment's Region and credentials.
    pub aws: Option<Aws>,
    /// How often positions are committed. A crash repeats at most what was delivered since.
    pub interval: Duration,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { file: None, dynamodb: None, aws: None, interval: Duration::from_secs(1) }
    }
}

/// Upper bounds. What exceeds one is refused or waits; nothing grows without end.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// What the whole process may take, resident. Divided among the parts of the pipeline at the start; `tunnelog check`
    /// shows how, and how much a pipeline needs at least. Below it the operating system needs some for itself.
    pub memory: Size,
    /// A record's size after decompression, 1MiB to 256MiB. A larger one (a gzip bomb) becomes a dead letter.
    pub record: Size,
    /// Records that may be open in one lane (read, not yet settled) before reading waits.
    #[schemars(range(min = 1000, max = 10_000_000))]
    pub open_records: u32,
    /// A sink that can take no more of a shard and has delivered nothing of it for this long is taken for down,
    /// whatever its connection says (see `on_outage`). At least 1s.
    pub outage_after: Duration,
    /// How long a SIGTERM or a reload waits for sinks to settle. A start waits as long, and 5 s more, for another
    /// process to let go of the checkpoint.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: Size::mib(1024),
            record: Size::mib(64),
            open_records: 100_000,
            outage_after: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

/// Metrics and health over HTTP.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Address and port of `/metrics`, `/healthz`, `/readyz`. In a container: `0.0.0.0:8077`.
    #[serde(default = "default_listen")]
    #[schemars(with = "String", extend("format" = "socket-address"))]
    pub listen: SocketAddr,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8077))
}
