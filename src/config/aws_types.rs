//! The AWS parts of a pipeline file: the source `kinesis`, the sinks `firehose` and `s3`, the checkpoint in DynamoDB, and
//! how they reach AWS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::types::Compression;
use super::units::{Duration, Size};

/// How a part reaches AWS. What is not set comes from where AWS tools look: environment variables, the shared
/// configuration files, the container's or the instance's role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// Region, for example `ap-northeast-2`. Default: that of the stream's ARN, else the environment's.
    #[serde(default)]
    pub region: Option<String>,
    /// A role to take on, by ARN.
    #[serde(default)]
    pub assume_role: Option<String>,
    /// What the role's trust policy demands as `sts:ExternalId`.
    #[serde(default)]
    pub external_id: Option<String>,
    /// Names the session in CloudTrail. Default: `tunnelog`.
    #[serde(default)]
    pub session_name: Option<String>,
    /// Another address than the service's own, for example of a VPC endpoint or an emulator.
    #[serde(default)]
    #[schemars(extend("format" = "uri"))]
    pub endpoint: Option<String>,
}

/// A Kinesis data stream.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kinesis {
    /// The stream's name, or its ARN, which also names the Region and may be of another account.
    #[schemars(length(min = 1))]
    pub stream: String,
    /// Where a sink begins that has no checkpoint yet.
    #[serde(default)]
    pub start: Start,
    /// With `start: at_timestamp`: from records on that arrived at this time, RFC 3339.
    #[serde(default)]
    #[schemars(extend("format" = "date-time"))]
    pub timestamp: Option<String>,
    /// How the stream is read other than by polling it.
    #[serde(default)]
    pub consumer: Option<Consumer>,
}

/// How a stream is read other than by polling it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Enhanced fan-out by the stream's consumer of this name: 2 MB/s a shard that nobody else uses, and records some
    /// hundred milliseconds earlier; AWS bills it by shard, hour and GB. The consumer is registered if it is not there,
    /// and never deregistered. One process at a time can use it. Where it cannot be had, the stream is polled.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9_.-]+$"))]
    pub enhanced_fan_out: String,
}

/// Where a sink begins that has no checkpoint yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest record that the stream still has.
    #[default]
    TrimHorizon,
    /// With what arrives after the first start; remembered, so that a restart skips nothing.
    Latest,
    /// With what arrived at `timestamp` or later.
    AtTimestamp,
}

/// An Amazon Data Firehose stream.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirehoseSink {
    /// The stream's name.
    #[schemars(length(min = 1, max = 64))]
    pub stream: String,
    /// Whether many events share one Firehose record. Each record is billed as a multiple of 5 KiB.
    #[serde(default)]
    pub pack: Pack,
    /// Compresses each packed record, which is what is billed. For streams that deliver to S3 and neither compress,
    /// convert nor process: an object is then a chain of gzip members or Zstandard frames, so give the stream the file
    /// extension `.gz` (`.zst`).
    #[serde(default)]
    pub compression: Compression,
    /// How long events gather before a packed record is sent that is not full, at most 30s. Firehose itself waits longer
    /// before it writes an object.
    #[serde(default = "default_linger")]
    pub linger: Duration,
}

/// At some events a second the records of this much time are a few times 5 KiB, whatever they are rounded up to.
fn default_linger() -> Duration {
    Duration::from_secs(10)
}

/// Whether many events share one Firehose record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pack {
    /// Where the destination takes lines (S3); one event a record where it does not, or where it cannot be told.
    #[default]
    Auto,
    /// Always: newline-ended events, up to 1,000 KiB a record.
    Always,
    /// Never: one event a record, as OpenSearch destinations need it.
    Never,
}

/// Objects in an S3 bucket.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Sink {
    /// The bucket's name.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// What object keys begin with. `{yyyy}`, `{mm}`, `{dd}`, `{hh}` are the event's UTC time; `{account}`, `{region}`,
    /// `{connection}` and `{kind}` the event's own. Each combination is an object of its own.
    #[serde(default)]
    pub prefix: String,
    /// Compression of an object.
    #[serde(default = "gzip")]
    pub compression: Compression,
    /// An object set is closed after this much of the stream's (compressed) data, 64KiB to 1GiB.
    #[serde(default = "default_chunk")]
    pub chunk: Size,
    /// An object set is closed when its records arrived over this much time.
    #[serde(default = "default_window")]
    pub window: Duration,
    /// Objects that one lane may have open at a time; an object set is closed before there are more.
    #[serde(default = "default_partitions")]
    #[schemars(range(min = 1, max = 1000))]
    pub partitions: u32,
    /// Objects are encrypted with this KMS key (SSE-KMS): its id, ARN or alias. Default: the bucket's own setting.
    #[serde(default)]
    pub kms_key: Option<String>,
}

impl S3Sink {
    /// What the keys of rejects begin with if these are the dead letters' settings: what the prefix has before its
    /// first placeholder, up to the last `/`, and `rejected/`.
    pub fn rejected_folder(&self) -> String {
        let fixed = self.prefix.split('{').next().unwrap_or_default();
        let whole = fixed.rfind('/').map_or("", |slash| fixed.get(..=slash).unwrap_or_default());
        format!("{whole}rejected/")
    }
}

fn gzip() -> Compression {
    Compression::Gzip
}

/// A day of a busy fleet makes objects of this order; Athena likes them above some MiB.
fn default_chunk() -> Size {
    Size::mib(32)
}

fn default_window() -> Duration {
    Duration::from_secs(300)
}

fn default_partitions() -> u32 {
    64
}

/// A table of Amazon DynamoDB that remembers, for machines whose disks do not last. Pipelines may share one: each holds
/// what is its own by a lease.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DynamoDb {
    /// The table's name. Its partition key is `pk`, its sort key `sk`, both text.
    #[schemars(length(min = 3, max = 255))]
    pub table: String,
    /// Make the table if there is none, billed by request.
    #[serde(default)]
    pub create: bool,
    /// A process that was not heard of for this long has lost the pipeline to the next one, 10s to 10m. A process that
    /// ends in order gives it back at once.
    #[serde(default = "default_lease")]
    pub lease: Duration,
}

fn default_lease() -> Duration {
    Duration::from_secs(60)
}
