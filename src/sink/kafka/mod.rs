//! The sink `kafka`: a topic of Apache Kafka, Amazon MSK or what speaks their protocol, through librdkafka.
//!
//! **Accepted** is the delivery report with `acks=all`. A message is never given up (`message.timeout.ms=0`): a broker
//! that is away for a day finds everything in order when it comes back. What waits meanwhile is bounded: 32 MiB of
//! admitted batches here (`ledger::HELD_BYTES`) and in librdkafka what `limits.memory` has for it, 64 MiB and 100,000
//! messages at most.
//!
//! **Order** within a log stream: items of a lane are given to librdkafka in order, the key chooses the partition,
//! idempotence keeps the order through librdkafka's own tries. A message that fails all the same ends the producer
//! (`enable.gapless.guarantee`), so that no successor in its partition overtakes it; the lanes that have something on
//! the way are rewound by dropping their receipts, and a new producer begins after a pause. So a rewind repeats a
//! whole suffix. After a rewind that the sink did not ask for, librdkafka still delivers what it holds of the older
//! epoch; that comes before the repeated suffix, since a partition's queue is first in, first out. Not covered: a
//! request of an ended producer that a broker left unread on its connection may land behind the first messages of
//! the new one. Events of one log stream of several kinds with `{kind}` in the topic are in several topics, and there
//! is no order across topics.
//!
//! **Refused for good**: what is too large for librdkafka is known before it is sent. A broker refuses a whole
//! batch; its messages are then sent again one by one (`delivery`), and the one that is refused alone becomes a dead
//! letter before it settles. Its neighbours go on.
//!
//! **Not taken for now** (topic missing, no permission): the sink is down with words that say what to do, and tries
//! again for ever. With a topic template one missing topic holds up the others.

mod client;
mod delivery;
mod ledger;
mod message;
mod reach;
mod refusal;
mod settings;
mod token;

use std::sync::Arc;

use aws_config::SdkConfig;

use self::reach::{Reached, drop_aside, reach};
use self::settings::Settings;
use super::{ConnectError, Context};
use crate::config::kafka::region_of;
use crate::config::types::{Aws, KafkaSink, Mechanism};
use crate::sink::Sink;

/// Opens the sink: fails with what is wrong and what to do if its destination cannot be reached. `schema` names the
/// schema of the items' format, if it has one.
pub async fn connect(
    context: Context,
    config: &KafkaSink,
    aws: Option<&Aws>,
    schema: Option<&'static str>,
) -> Result<Box<dyn Sink>, ConnectError> {
    open(context, config, aws_of(config, aws).await?.as_ref(), schema).await
}

/// Opens the sink with settings of the SDK that are loaded already; only `aws_msk_iam` needs them.
pub async fn open(
    context: Context,
    config: &KafkaSink,
    aws: Option<&SdkConfig>,
    schema: Option<&'static str>,
) -> Result<Box<dyn Sink>, ConnectError> {
    let settings = Arc::new(settings(&context, config, aws, schema)?);
    let topic = settings.topic.fixed().map(str::to_owned);
    let (producer, _) = reach(Arc::clone(&settings), topic).await?;
    Ok(Box::new(delivery::Kafka::new(context, settings, producer)))
}

/// What `check --connect` says: what was reached, or what is wrong and what to do. Produces nothing.
pub async fn probe(context: &Context, config: &KafkaSink, aws: Option<&Aws>) -> Result<String, ConnectError> {
    let aws = aws_of(config, aws).await?;
    let settings = Arc::new(settings(context, config, aws.as_ref(), None)?);
    let topic = settings.topic.fixed().map(str::to_owned);
    let (producer, reached) = reach(Arc::clone(&settings), topic).await?;
    drop_aside(producer).await;
    Ok(say(config, &settings, &reached))
}

fn say(config: &KafkaSink, settings: &Settings, reached: &Reached) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let partitions = match reached.partitions {
        Some(number) => count(number, "partition"),
        None => "made of each event".into(),
    };
    let (brokers, security) = (count(reached.brokers, "broker"), &settings.security);
    format!("topic `{}` at {}: {partitions}, {brokers}, {security}", config.topic, settings.brokers)
}

async fn aws_of(config: &KafkaSink, aws: Option<&Aws>) -> Result<Option<SdkConfig>, String> {
    match &config.sasl {
        Some(sasl) if sasl.mechanism == Mechanism::AwsMskIam => {
            crate::aws::sdk_config(aws, region_of(config)).await.map(Some)
        }
        _ => Ok(None),
    }
}

fn settings(
    context: &Context,
    config: &KafkaSink,
    aws: Option<&SdkConfig>,
    schema: Option<&'static str>,
) -> Result<Settings, String> {
    let mut settings = Settings::new(&context.folder, config, context.own_bytes)?;
    settings.schema = schema;
    if config.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == Mechanism::AwsMskIam) {
        let aws = aws.ok_or("`aws_msk_iam` needs AWS settings")?;
        settings.tokens = Some(Arc::new(token::Tokens::new(aws)?));
    }
    Ok(settings)
}
