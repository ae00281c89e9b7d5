//! The sink `s3`: NDJSON or Parquet objects in an S3 bucket, each event exactly once (DESIGN 3, "S3: seal, then
//! publish").
//!
//! A lane's records are gathered into **chunks** (`chunk`), each of which becomes one object a partition (`names`).
//! Objects grow as multipart uploads, of which nothing is visible. When a chunk is cut, its names and uploads are
//! **sealed**: the checkpoint store remembers them. Only then are the uploads completed, and the chunk's items settled
//! (`publish`). A run that finds a seal aborts its uploads, builds exactly those records again, publishes, and deletes
//! what it has not produced again: whatever was visible in between belongs to the same records.
//!
//! Invariants:
//! - Nothing is completed before its seal is committed; an upload that a successor aborted can never be completed.
//! - A chunk holds whole records only, and a lane has at most one sealed chunk.
//! - Names come from record data and positions: no clock, no random number, no inventory.
//! - A marker object ties the prefix to the checkpoint store (`marker`).
//!
//! Not here: what is done with a lane's position (`delivery`), what a Parquet file holds (`encode::parquet`), and any
//! look at what objects hold.

mod bucket;
mod chunk;
mod encoder;
mod lane;
mod marker;
mod names;
mod publish;
mod queue;
mod sink;
mod stale;
mod trouble;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::config::retry::RetryConfig;

use self::bucket::Bucket;
use self::chunk::Shape;
use self::marker::{Markers, Owner};
use self::names::Template;
use super::{ConnectError, Context};
use crate::config::types::{Aws, Compression, Format, S3Sink};
use crate::sink::Sink;

/// Dead letters are few, and somebody may wait for them: their window is no longer than this.
const LETTERS_WINDOW: Duration = Duration::from_secs(60);

/// What the lane of dead letters is called.
const LETTERS: &str = "dead-letters";

/// What objects are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Objects {
    /// Items as they are, compressed as the sink says.
    Lines,
    /// Parquet files, of items in the format `json`.
    Parquet,
}

impl Objects {
    /// What a sink's `format` asks for.
    pub fn of(format: Option<&Format>) -> Objects {
        if format.is_some_and(Format::is_parquet) { Objects::Parquet } else { Objects::Lines }
    }
}

/// Whether a `prefix` can be rendered; what is wrong with it otherwise.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    Template::parse(prefix).map(drop)
}

/// Opens the sink: fails with what is wrong and what to do if its destination cannot be reached.
pub async fn connect(
    context: Context,
    config: &S3Sink,
    objects: Objects,
    aws: Option<&Aws>,
) -> Result<Box<dyn Sink>, ConnectError> {
    open(context, config, objects, &crate::aws::sdk_config(aws, None).await?).await
}

/// Opens the sink with settings of the SDK that are loaded already.
pub async fn open(
    context: Context,
    config: &S3Sink,
    objects: Objects,
    aws: &SdkConfig,
) -> Result<Box<dyn Sink>, ConnectError> {
    if objects == Objects::Parquet && !cfg!(feature = "parquet") {
        return Err("this build has no format `parquet`: build with `cargo build --features parquet`"
            .to_owned()
            .into());
    }
    let mut shape = Shape { objects, ..shape(config)? };
    if *context.name == *LETTERS {
        shape.window = shape.window.min(LETTERS_WINDOW);
    }
    let client = bucket::client(aws, RetryConfig::standard());
    let place = bucket::place(aws, &config.bucket);
    let markers = Markers { client: &client, bucket: &config.bucket, place: &place, context: &context };
    markers.claim(&marker::key(shape.template.fixed(), &context)).await?;
    let stale = stale::uploads(&client, &config.bucket, shape.template.fixed(), &place).await;
    let bucket = Bucket::new(aws, &config.bucket, config.kms_key.as_deref())?;
    Ok(Box::new(sink::S3::new(bucket, shape, stale, sink::object_bytes(context.own_bytes, objects))))
}

/// What `check --connect` says: what was reached, or what is wrong and what to do. It writes nothing.
pub async fn probe(context: &Context, config: &S3Sink, aws: Option<&Aws>) -> Result<String, ConnectError> {
    probe_with(context, config, &crate::aws::sdk_config(aws, None).await?).await
}

/// [`probe`] with settings of the SDK that are loaded already.
pub async fn probe_with(context: &Context, config: &S3Sink, aws: &SdkConfig) -> Result<String, ConnectError> {
    let shape = shape(config)?;
    let client = bucket::client(aws, RetryConfig::standard());
    let place = bucket::place(aws, &config.bucket);
    let markers = Markers { client: &client, bucket: &config.bucket, place: &place, context };
    let key = marker::key(shape.template.fixed(), context);
    let prefix = format!("s3://{}/{}", config.bucket, shape.template.fixed());
    Ok(match markers.owner(&key).await? {
        Owner::Ours => format!("{place} answers; {prefix} belongs to this checkpoint; writing was not tried"),
        Owner::Nobody => format!("{place} answers; {prefix} is taken at the first start; writing was not tried"),
        Owner::Somebody => {
            format!(
                "{place} answers; {prefix} is taken, whether by this checkpoint is not known; writing was not tried"
            )
        }
    })
}

fn shape(config: &S3Sink) -> Result<Shape, String> {
    if config.compression == Compression::Zstd && !cfg!(feature = "zstd") {
        return Err("this build has no zstd: use `gzip`, or build with `cargo build --features zstd`".into());
    }
    Ok(Shape {
        template: Template::parse(&config.prefix)?,
        objects: Objects::Lines,
        compression: config.compression,
        bytes: config.chunk.0,
        window: config.window.0,
        partitions: config.partitions.max(1) as usize,
    })
}
