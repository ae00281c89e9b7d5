//! The sink `firehose`: an Amazon Data Firehose stream, by PutRecordBatch.
//!
//! Accepted is what the answer accepts record by record: an HTTP 200 may fail some of them, and only those are sent
//! again. Firehose is at least once: a lost answer repeats records, with the same ids inside. No order is promised.
//!
//! Firehose adds no delimiter and bills each record rounded up to 5 KiB, so many newline-ended events share a record of
//! up to 1,000 KiB where the destination takes that. `pack: auto` asks once, at the start:
//!
//! | destination | events a record | because |
//! |---|---|---|
//! | S3 | many | objects are the records' bytes one after another: lines stay lines |
//! | S3 with conversion to Parquet or ORC | many | its JSON readers take objects that follow one another |
//! | S3 with dynamic partitioning | one | its queries read one JSON object a record |
//! | the same with deaggregation of JSON, or delimited by newlines | many | it takes the record apart first |
//! | Redshift | many | COPY reads lines from S3 |
//! | any of these with a Lambda function | one | what the function makes of several events is its own affair |
//! | OpenSearch, OpenSearch Serverless, Elasticsearch | one | a record becomes one document |
//! | Splunk | one | its source type decides how a record breaks into events (raw), or it wants one event (HEC) |
//! | HTTP endpoint | one | receivers take a record for one event |
//! | Snowflake, Iceberg | one | a record becomes one row |
//! | unknown, or not allowed to ask | one | right everywhere, at a price that the log names |
//!
//! `always` and `never` overrule the table.
//!
//! What is billed is what is sent, so `compression` saves most: a fleet's events are an eighth of their size as gzip, and
//! a record of them is rounded up as a whole. The objects are then chains of gzip members, which every tool reads that
//! reads gzip. It is for buckets only, and for streams that need not read their records. `linger` fills records at low
//! rates; a checkpoint does not cut it short.
//!
//! It never waits for a person: what a person must mend ends the start, what fails later is tried again with pauses
//! while the sink says that it is down. An event that Firehose refuses for good is found by halving its request, goes
//! to the dead letters, and its neighbours go on.

mod compress;
mod destination;
mod pack;
mod sender;
mod shipment;
mod stream;

use aws_config::SdkConfig;

use self::sender::{Packing, Sender};
use self::stream::Stream;
use super::{ConnectError, Context};
use crate::aws::Class;
use crate::config::types::{Aws, Compression, FirehoseSink, Pack};
use crate::sink::Sink;

/// Opens the sink: fails with what is wrong and what to do if its destination cannot be reached.
pub async fn connect(
    context: Context,
    config: &FirehoseSink,
    aws: Option<&Aws>,
) -> Result<Box<dyn Sink>, ConnectError> {
    open(context, config, &crate::aws::sdk_config(aws, None).await?).await
}

/// Opens the sink with settings of the SDK that are loaded already.
pub async fn open(context: Context, config: &FirehoseSink, aws: &SdkConfig) -> Result<Box<dyn Sink>, ConnectError> {
    let stream = Stream::new(&config.stream, aws);
    let reached = reach(&stream, config).await?;
    reached.log(&context.name, &config.stream);
    let packing = Packing { packed: reached.packed, compression: config.compression, linger: config.linger.0 };
    Ok(Box::new(Sender::new(stream, context, packing)))
}

/// What `check --connect` says: what was reached, or what is wrong and what to do.
pub async fn probe(_: &Context, config: &FirehoseSink, aws: Option<&Aws>) -> Result<String, ConnectError> {
    let stream = Stream::new(&config.stream, &crate::aws::sdk_config(aws, None).await?);
    let reached = reach(&stream, config).await?;
    Ok(format!("{}: {}", stream.place, reached.in_words()))
}

/// A stream that can be written to.
#[derive(Debug)]
struct Reached {
    /// Where it delivers; none: it may not be asked.
    to: Option<String>,
    packed: bool,
    compression: Compression,
    /// Why not, where it is not the pipeline file that says so.
    because: Option<String>,
}

/// What one event a record costs.
const COST: &str = "each event is billed as 5 KiB, which for events of 800 bytes is 6 times as much";

async fn reach(stream: &Stream, config: &FirehoseSink) -> Result<Reached, ConnectError> {
    let described = match stream.describe().await {
        Ok(described) => Some(described?),
        // Writing may be allowed where asking is not.
        Err(error) if error.class == Class::Denied => None,
        Err(error) => return Err(error.into()),
    };
    stream.knock().await.map_err(|failure| ConnectError::of(failure.class, failure.text))?;
    let because = match &described {
        Some(destination) => destination.one_event_because.map(str::to_owned),
        None => Some(
            "`firehose:DescribeDeliveryStream` is not allowed, so nobody knows what its destination takes (allow it, \
             or set `pack`)"
                .to_owned(),
        ),
    };
    let compression = config.compression;
    let (packed, because) = match config.pack {
        Pack::Always => (true, None),
        Pack::Never => (false, None),
        Pack::Auto => (because.is_none(), because),
    };
    if compression != Compression::None {
        let plain = described.as_ref().and_then(|destination| destination.plain_because);
        if let Some(plain) = plain.or(because.as_deref()) {
            return Err(not_compressed(stream, plain));
        }
    }
    let to = described.map(|destination| destination.place);
    Ok(Reached { to, packed, compression, because })
}

/// What is asked for cannot be had: sent all the same, the objects would be unreadable.
fn not_compressed(stream: &Stream, because: &str) -> ConnectError {
    let text = format!("{}: `compression` cannot be used: {because}; or set `compression: none`", stream.place);
    ConnectError::Standing(text)
}

impl Reached {
    fn in_words(&self) -> String {
        let to = match &self.to {
            Some(place) => format!("ACTIVE, to {place}"),
            None => "reached".to_owned(),
        };
        match (self.packed, &self.because) {
            (true, _) if self.compression != Compression::None => format!("{to}, packed and compressed"),
            (true, _) => format!("{to}, packed"),
            (false, None) => format!("{to}, one event a record"),
            (false, Some(because)) => format!("{to}, one event a record: {because}; {COST}"),
        }
    }

    fn log(&self, sink: &str, stream: &str) {
        let to = self.to.as_deref().unwrap_or("unknown");
        match &self.because {
            // A table that only a permission hides costs money every day: worth a warning.
            Some(because) if self.to.is_none() => {
                tracing::warn!(sink, stream, because, "one event a Firehose record: {COST}");
            }
            Some(because) => tracing::info!(sink, stream, to, because, "one event a Firehose record: {COST}"),
            None => tracing::info!(sink, stream, to, packed = self.packed, "delivery stream reached"),
        }
    }
}
