//! What is asked of a stream before it is read: is it there, is it ready, may its records be read.

use aws_config::SdkConfig;
use aws_sdk_kinesis::types::StreamStatus;

use super::api::{Api, Begin, Shard, Summary};
use super::fan_out;
use super::start::start_at;
use crate::aws::{AwsError, Class};
use crate::config::types::Kinesis;

/// What to do about a stream that is being deleted.
const CREATE_ANEW: &str = "wait until it is gone, create it anew, or name another one";

/// A stream that is being deleted is not read.
pub(super) fn deleting(api: &Api) -> String {
    format!("{} is being deleted: {CREATE_ANEW}", api.place())
}

/// Describes a stream that can be read now.
pub(super) async fn describe(api: &Api) -> Result<Summary, String> {
    let summary = api.describe().await.map_err(|error| error.to_string())?;
    match summary.status {
        StreamStatus::Deleting => Err(deleting(api)),
        StreamStatus::Creating => {
            Err(format!("{} is still being created: start again when it is active, in a minute", api.place()))
        }
        _ => Ok(summary),
    }
}

/// Reads from one shard, to prove that this is allowed; also that its KMS key may be used, if there is a record.
///
/// # Errors
/// What a person must mend. What may pass by itself proves nothing against it.
pub(super) async fn prove_reading(api: &Api, listing: &[Shard]) -> Result<(), String> {
    let Some(shard) = listing.iter().find(|shard| !shard.closed).or(listing.first()) else {
        return Err(format!("{} has no shards: check that its endpoint is the service", api.place()));
    };
    let iterator = match api.iterator(&shard.id, Begin::Oldest).await {
        Ok(iterator) => iterator,
        Err(error) => return unless_it_passes(error),
    };
    match api.records(&iterator, 1, None).await {
        Ok(_) => Ok(()),
        Err(error) => unless_it_passes(error),
    }
}

fn unless_it_passes(error: AwsError) -> Result<(), String> {
    match error.class {
        Class::Throttled | Class::Unavailable => Ok(()),
        Class::Credentials | Class::Denied | Class::Missing | Class::Kms | Class::Invalid => Err(error.to_string()),
    }
}

/// What `check --connect` says of a stream.
pub(super) async fn probe(config: &Kinesis, sdk: &SdkConfig) -> Result<String, String> {
    start_at(config)?;
    let api = Api::new(config, sdk)?;
    let summary = describe(&api).await?;
    let listing = api.list().await.map_err(|error| error.to_string())?;
    prove_reading(&api, &listing).await?;
    let mut text = said(&api, &summary, &listing);
    if let Some(consumer) = &config.consumer {
        let fan_out = fan_out::probe(&api, &summary.arn, &consumer.enhanced_fan_out).await?;
        text.push_str(&format!("; {fan_out}"));
    }
    Ok(text)
}

fn said(api: &Api, summary: &Summary, listing: &[Shard]) -> String {
    let closed = listing.iter().filter(|shard| shard.closed).count();
    let open = listing.len() - closed;
    let shards = if open == 1 { "shard" } else { "shards" };
    let mut text = format!("{}: {open} open {shards}", api.place());
    if closed > 0 {
        text.push_str(&format!(", {closed} closed"));
    }
    text.push_str(&format!(", retention {} h", summary.retention_hours));
    match &summary.key {
        Some(key) => text.push_str(&format!(", encrypted with KMS key {key}")),
        None => text.push_str(", not encrypted"),
    }
    text
}
