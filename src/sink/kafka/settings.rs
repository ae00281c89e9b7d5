//! From the pipeline file to librdkafka's settings.
//!
//! The user's own settings come first and ours over them, so that nothing passed through can weaken a guarantee even
//! if the check of the pipeline file was left out. Secrets end here: nothing of this module can be printed.

use std::path::Path;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::kafka::{TopicTemplate, problems, shown_brokers};
use crate::config::types::{KafkaCompression, KafkaKey, KafkaSink, Mechanism, Sasl, Tls};

/// Messages that librdkafka may hold at most.
pub(super) const QUEUE_MESSAGES: u32 = 100_000;

/// Its bookkeeping of a message, in bytes.
const MESSAGE_BYTES: u64 = 300;

/// What librdkafka may hold for us of so many bytes, in KiB and in messages: copies of what the sink has admitted and of
/// what was discarded meanwhile are two thirds, the bookkeeping is one.
fn queue(own_bytes: u64) -> (u64, u64) {
    let messages = (own_bytes / 3 / MESSAGE_BYTES).clamp(1, u64::from(QUEUE_MESSAGES));
    ((own_bytes / 3 * 2 / 1024).max(1), messages)
}

/// Requests on their way to one broker: the most with which idempotence keeps the order.
const IN_FLIGHT: u32 = 5;

/// The smallest batch that a refusing broker is offered, in bytes.
const SMALLEST_BATCH: u32 = 16 * 1024;

/// What librdkafka puts into one request at most where nobody says otherwise, in bytes (its own default).
const LARGEST_BATCH: u32 = 1_000_000;

/// The longest password file, in bytes.
const LONGEST_PASSWORD: usize = 4096;

/// Everything that a producer and its messages need to know.
#[derive(Clone)]
pub(super) struct Settings {
    client: ClientConfig,
    /// `b-1:9094, b-2:9094`, for messages.
    pub(super) brokers: String,
    /// `TLS, SCRAM-SHA-512`, for messages.
    pub(super) security: String,
    pub(super) topic: TopicTemplate,
    pub(super) key: KafkaKey,
    /// The header `schema`, where the format has a named schema.
    pub(super) schema: Option<&'static str>,
    pub(super) tokens: Option<Arc<super::token::Tokens>>,
}

impl Settings {
    /// Reads the files that the part names. The error says what is wrong and what to do.
    pub(super) fn new(folder: &Path, config: &KafkaSink, own_bytes: u64) -> Result<Settings, String> {
        let wrong: Vec<String> =
            problems(config).into_iter().map(|(field, text)| format!("`kafka.{field}`: {text}")).collect();
        if !wrong.is_empty() {
            return Err(wrong.join("; "));
        }
        let mut client = ClientConfig::new();
        client.set_log_level(RDKafkaLogLevel::Info);
        client.set("client.id", "tunnelog").set("socket.keepalive.enable", "true");
        for (name, value) in &config.librdkafka {
            client.set(name, value);
        }
        if config.librdkafka.contains_key("debug") {
            client.set_log_level(RDKafkaLogLevel::Debug);
        }
        guarantees(&mut client);
        let (kib, messages) = queue(own_bytes);
        client.set("queue.buffering.max.kbytes", kib.to_string());
        client.set("queue.buffering.max.messages", messages.to_string());
        client.set("bootstrap.servers", crate::config::kafka::brokers(config).join(","));
        client.set("compression.type", compression(config.compression));
        let iam = config.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == Mechanism::AwsMskIam);
        let encrypted = config.tls.is_some() || iam;
        let protocol = match (encrypted, config.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(tls) = &config.tls {
            set_tls(&mut client, folder, tls)?;
        }
        if let Some(sasl) = &config.sasl {
            set_login(&mut client, folder, sasl)?;
        }
        let mechanism = config.sasl.as_ref().map_or("no login", |sasl| mechanism_name(sasl.mechanism));
        Ok(Settings {
            client,
            brokers: shown_brokers(config),
            security: format!("{}, {mechanism}", if encrypted { "TLS" } else { "no TLS" }),
            topic: TopicTemplate::parse(&config.topic)?,
            key: config.key,
            schema: None,
            tokens: None,
        })
    }

    pub(super) fn client(&self) -> &ClientConfig {
        &self.client
    }

    /// Makes later producers send smaller batches: a broker refused one as too large, whose messages may be small.
    pub(super) fn shrink_batches(&mut self) {
        let now = self.client.get("batch.size").and_then(|size| size.parse().ok()).unwrap_or(LARGEST_BATCH);
        self.client.set("batch.size", (now / 4).max(SMALLEST_BATCH).to_string());
    }
}

/// What DESIGN 8 promises rests on these.
fn guarantees(client: &mut ClientConfig) {
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // A message that fails ends the producer, so that no successor in its partition overtakes it.
        .set("enable.gapless.guarantee", "true")
        // Never give up locally and let successors go first.
        .set("message.timeout.ms", "0")
        .set("max.in.flight.requests.per.connection", IN_FLIGHT.to_string())
        // As the Java clients do it.
        .set("partitioner", "murmur2_random")
        .set("queuing.strategy", "fifo");
}

fn compression(compression: KafkaCompression) -> &'static str {
    match compression {
        KafkaCompression::None => "none",
        KafkaCompression::Gzip => "gzip",
        KafkaCompression::Snappy => "snappy",
        KafkaCompression::Lz4 => "lz4",
        KafkaCompression::Zstd => "zstd",
    }
}

fn mechanism_name(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::ScramSha256 => "SCRAM-SHA-256",
        Mechanism::ScramSha512 => "SCRAM-SHA-512",
        Mechanism::AwsMskIam => "AWS IAM",
    }
}

fn set_tls(client: &mut ClientConfig, folder: &Path, tls: &Tls) -> Result<(), String> {
    let files = [
        ("tls.ca", "ssl.ca.location", &tls.ca),
        ("tls.certificate", "ssl.certificate.location", &tls.certificate),
        ("tls.key", "ssl.key.location", &tls.key),
    ];
    for (field, setting, file) in files {
        let Some(file) = file else { continue };
        let path = folder.join(file);
        std::fs::File::open(&path)
            .map_err(|error| format!("`kafka.{field}`: `{}` cannot be read: {error}", path.display()))?;
        let path = path.to_str().ok_or_else(|| format!("`kafka.{field}`: its path must be UTF-8"))?;
        client.set(setting, path);
    }
    if let Some(password) = &tls.key_password {
        client.set("ssl.key.password", password);
    }
    Ok(())
}

fn set_login(client: &mut ClientConfig, folder: &Path, sasl: &Sasl) -> Result<(), String> {
    let mechanism = match sasl.mechanism {
        Mechanism::AwsMskIam => "OAUTHBEARER",
        other => mechanism_name(other),
    };
    client.set("sasl.mechanism", mechanism);
    if let Some(name) = &sasl.username {
        client.set("sasl.username", name);
    }
    if let Some(file) = &sasl.password_file {
        client.set("sasl.password", password_in(&folder.join(file))?);
    } else if let Some(password) = &sasl.password {
        client.set("sasl.password", password);
    }
    Ok(())
}

/// A file's password without the line break that editors put at its end.
fn password_in(path: &Path) -> Result<String, String> {
    let failed = |what: &dyn std::fmt::Display| {
        format!("`kafka.sasl.password_file`: `{}` {what}: put the password alone into it", path.display())
    };
    let bytes = std::fs::read(path).map_err(|error| failed(&format!("cannot be read ({error})")))?;
    if bytes.len() > LONGEST_PASSWORD {
        return Err(failed(&"is too long for a password"));
    }
    let text = String::from_utf8(bytes).map_err(|_| failed(&"is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(failed(&"is empty"));
    }
    Ok(text.to_owned())
}
