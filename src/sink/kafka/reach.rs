//! Whether the brokers and the topic can be reached, in words that say what to do. Produces nothing.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::Instant;

use super::client::{Producer, Trouble, code_of, producer};
use super::refusal::explain;
use super::settings::Settings;
use crate::sink::ConnectError;

/// How long brokers may take to answer at the start.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a missing topic may take to appear: brokers that make topics by themselves need a moment.
const TOPIC_PATIENCE: Duration = Duration::from_secs(4);

/// How long one question may take, so that an error that is known meanwhile is not waited out.
const SLICE: Duration = Duration::from_millis(500);

/// The pause between questions.
const PAUSE: Duration = Duration::from_millis(200);

/// What was found.
pub(super) struct Reached {
    /// Partitions of the topic that was asked for.
    pub(super) partitions: Option<usize>,
    /// Brokers of the cluster.
    pub(super) brokers: usize,
}

/// A new producer that has reached its brokers, and `topic` if one is asked for.
pub(super) async fn reach(settings: Arc<Settings>, topic: Option<String>) -> Result<(Producer, Reached), ConnectError> {
    if let Some(tokens) = &settings.tokens {
        // librdkafka would try again every 10 s and say less.
        tokens.make().await?;
    }
    let mut producer = producer(&settings)?;
    let start = Instant::now();
    loop {
        let (returned, answer) = ask(producer, topic.clone()).await?;
        producer = returned;
        let trouble = producer.context().trouble();
        let verdict = match answer {
            Ok(metadata) => match judge(&metadata, topic.as_deref()) {
                Ok(reached) => return Ok((producer, reached)),
                Err(code) => {
                    let text = explain(code, topic.as_deref().unwrap_or_default(), &settings.brokers);
                    let error = if stands(code) { ConnectError::Standing } else { ConnectError::Passing };
                    let last = start.elapsed() >= TOPIC_PATIENCE || code == Code::TopicAuthorizationFailed;
                    Verdict { error: error(text), last }
                }
            },
            Err(error) => {
                let text = unreachable(&trouble, code_of(&error), &settings);
                let hopeless = is_hopeless(&trouble);
                let error = if hopeless { ConnectError::Standing } else { ConnectError::Passing };
                Verdict { error: error(text), last: hopeless || start.elapsed() >= PATIENCE }
            }
        };
        if verdict.last {
            drop_aside(producer).await;
            return Err(verdict.error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Verdict {
    error: ConnectError,
    last: bool,
}

async fn ask(producer: Producer, topic: Option<String>) -> Result<(Producer, Result<Metadata, KafkaError>), String> {
    let asked = tokio::task::spawn_blocking(move || {
        let answer = producer.client().fetch_metadata(topic.as_deref(), SLICE);
        (producer, answer)
    });
    asked.await.map_err(|error| format!("asking the brokers ended abnormally ({error}); please report this"))
}

/// Drops a producer where it may block: it joins its threads.
pub(super) async fn drop_aside(producer: Producer) {
    // It only fails by a panic of librdkafka's destructor, and the producer is gone then too.
    let _ = tokio::task::spawn_blocking(move || drop(producer)).await;
}

fn judge(metadata: &Metadata, topic: Option<&str>) -> Result<Reached, Code> {
    let brokers = metadata.brokers().len();
    let Some(topic) = topic else { return Ok(Reached { partitions: None, brokers }) };
    let found = metadata.topics().iter().find(|found| found.name() == topic).ok_or(Code::UnknownTopicOrPartition)?;
    if let Some(error) = found.error() {
        return Err(error.into());
    }
    if found.partitions().is_empty() {
        return Err(Code::UnknownTopicOrPartition);
    }
    Ok(Reached { partitions: Some(found.partitions().len()), brokers })
}

/// Whether a person has to do something about a topic; the other codes say that brokers or leaders are away.
fn stands(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// Waiting longer does not help: no broker takes this handshake or login.
fn is_hopeless(trouble: &Trouble) -> bool {
    let hopeless = matches!(
        trouble.last,
        Some((Code::SSL | Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism, _))
    );
    trouble.all_down && hopeless
}

fn unreachable(trouble: &Trouble, code: Code, settings: &Settings) -> String {
    let why = trouble.explain().unwrap_or_else(|| format!("{code}; {}", super::refusal::connection_remedy(code)));
    format!("brokers at {} cannot be reached ({}): {why}", settings.brokers, settings.security)
}
