//! The Kafka part of a pipeline file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A topic of Apache Kafka, Amazon MSK or what speaks their protocol.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KafkaSink {
    /// Bootstrap brokers, `host:port`; a single text may list several, separated by commas.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// The topic. `{kind}`, `{account}`, `{region}` stand for the event's own, so that a topic for each is possible.
    #[schemars(length(min = 1))]
    pub topic: String,
    /// What a message's key is: messages of one key keep their order, in one partition.
    #[serde(default)]
    pub key: KafkaKey,
    /// Compression of what goes over the wire and into the broker's log.
    #[serde(default)]
    pub compression: KafkaCompression,
    /// TLS. Absent: plain text, unless `sasl` is `aws_msk_iam`, which always uses TLS. `tls: {}` trusts the system's
    /// certificate authorities.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How to log in.
    #[serde(default)]
    pub sasl: Option<Sasl>,
    /// Any setting of librdkafka by its own name, for example `linger.ms: "50"`. What the guarantees rest on
    /// (`acks`, `enable.idempotence`, `message.timeout.ms`, ...) cannot be changed here.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, String>,
}

/// What a message's key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaKey {
    /// The VPN connection id; the log stream where it is unknown.
    #[default]
    Connection,
    /// The connection id and the tunnel's outside address.
    Tunnel,
    /// The account id.
    Account,
    /// No key: spread over partitions, the order across partitions is not kept.
    None,
}

/// Compression of Kafka batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KafkaCompression {
    /// As it is.
    None,
    /// Gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard: the smallest.
    #[default]
    Zstd,
}

/// TLS settings; paths are relative to the pipeline file.
#[derive(Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate authorities to trust in place of the system's, PEM.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The client's certificate for mutual TLS, PEM.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The client's private key, PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// The private key's password: a variable, never the password itself.
    #[serde(default)]
    pub key_password: Option<String>,
}

/// How to log in.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user's name (not with `aws_msk_iam`).
    #[serde(default)]
    pub username: Option<String>,
    /// The password: a variable such as `${KAFKA_PASSWORD}`, never the password itself.
    #[serde(default)]
    pub password: Option<String>,
    /// A file that holds the password, relative to the pipeline file; a final line break is left out.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// A SASL mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// PLAIN; only with TLS.
    Plain,
    /// SCRAM-SHA-256.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// SCRAM-SHA-512: Amazon MSK with SASL/SCRAM, port 9096.
    #[serde(rename = "scram_sha_512")]
    ScramSha512,
    /// Amazon MSK with IAM, port 9098: tokens from the part's `aws` credentials.
    AwsMskIam,
}

/// What stands for a secret wherever one would be shown.
const HIDDEN: &str = "[hidden]";

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .field("key_password", &self.key_password.as_ref().map(|_| HIDDEN))
            .finish()
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| HIDDEN))
            .field("password_file", &self.password_file)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let tls = Tls { key_password: Some("SECRET".into()), ..Tls::default() };
        let sasl = Sasl {
            mechanism: Mechanism::ScramSha512,
            username: Some("reader".into()),
            password: Some("SECRET".into()),
            password_file: None,
        };
        let shown = format!("{tls:?} {sasl:?}");
        assert!(!shown.contains("SECRET") && shown.contains("reader") && shown.contains(HIDDEN), "{shown}");
    }
}
