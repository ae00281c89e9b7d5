//! The Splunk part of a pipeline file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Duration;

/// The HTTP Event Collector (HEC) of Splunk. Texts may have `{account}`, `{region}`, `{connection}`, `{tunnel}`,
/// `{log_stream}`, `{kind}`, `{action}` and `{severity}`, which stand for the event's own; what it does not have
/// is `unknown`.
#[derive(Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplunkHecSink {
    /// Addresses of indexers or of a load balancer, for example `https://hec.example.com:8088`. The paths
    /// (`/services/collector/...`) are added. Events are spread over them; one that is away is left out.
    #[schemars(length(min = 1, max = 16))]
    pub endpoints: Vec<String>,
    /// The HEC token: a variable such as `${SPLUNK_HEC_TOKEN}`, never the token itself. Either this or `token_file`.
    #[serde(default)]
    pub token: Option<String>,
    /// A file that holds the token, relative to the pipeline file; a final line break is left out.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Whether events count as delivered only when the indexers have acknowledged them. The token must have
    /// "Enable indexer acknowledgement" set in the same way. `false`: they count as delivered when Splunk has received
    /// them, and a Splunk that crashes before it has indexed them loses them.
    #[serde(default = "default_acknowledgement")]
    pub acknowledgement: bool,
    /// How long an acknowledgement may take before the events are sent again, with the same ids. 10s to 1h.
    #[serde(default = "default_ack_timeout")]
    pub ack_timeout: Duration,
    /// The index. Absent: the token's own.
    #[serde(default)]
    pub index: Option<String>,
    /// What an event is of, in Splunk's `host`.
    #[serde(default = "default_host")]
    pub host: String,
    /// Where it comes from, in Splunk's `source`.
    #[serde(default = "default_source")]
    pub source: String,
    /// How Splunk reads it.
    #[serde(default = "default_sourcetype")]
    pub sourcetype: String,
    /// Indexed fields beside `id`, the event's id, which every event has: name and text. A field that the event has no
    /// value for is left out.
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Compression of what goes over the wire.
    #[serde(default)]
    pub compression: SplunkCompression,
    /// TLS. Absent: the system's certificate authorities are trusted.
    #[serde(default)]
    pub tls: Option<SplunkTls>,
}

fn default_acknowledgement() -> bool {
    true
}

fn default_ack_timeout() -> Duration {
    Duration::from_secs(300)
}

fn default_host() -> String {
    "{connection}".into()
}

fn default_source() -> String {
    "{log_stream}".into()
}

fn default_sourcetype() -> String {
    "tunnelog".into()
}

/// Compression of requests to Splunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplunkCompression {
    /// As it is.
    None,
    /// Gzip.
    #[default]
    Gzip,
}

/// TLS towards Splunk. There is no switch that leaves certificates unchecked: name the authority.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplunkTls {
    /// Certificate authorities to trust in place of the system's, PEM; relative to the pipeline file.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for SplunkHecSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplunkHecSink")
            .field("endpoints", &self.endpoints)
            .field("token", &self.token.as_ref().map(|_| "[hidden]"))
            .field("token_file", &self.token_file)
            .field("acknowledgement", &self.acknowledgement)
            .field("ack_timeout", &self.ack_timeout)
            .field("index", &self.index)
            .field("host", &self.host)
            .field("source", &self.source)
            .field("sourcetype", &self.sourcetype)
            .field("fields", &self.fields)
            .field("compression", &self.compression)
            .field("tls", &self.tls)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn a_token_is_not_shown() {
        let value = serde_json::json!({ "endpoints": ["https://hec:8088"], "token": "SECRET" });
        let sink: SplunkHecSink = serde_json::from_value(value).unwrap();
        let shown = format!("{sink:?}");
        assert!(!shown.contains("SECRET") && shown.contains("hec:8088") && shown.contains("[hidden]"), "{shown}");
    }
}
