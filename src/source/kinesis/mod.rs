//! The source `kinesis`: an Amazon Kinesis data stream, polled with GetRecords or read by enhanced fan-out.
//!
//! `api` speaks to the service, `shards` keeps the list of them, `reader` reads one (`polled`, `subscribed` and `lost`
//! are its parts), `pace` shares each shard's calls among its readers, `fan_out` has the consumer and `lines` the
//! subscriptions, `meter` says how far behind they are, `metered` counts the
//! memory of answers, `probe` is what `check --connect` asks.
//!
//! Invariants: a shard is announced after its listed parents; no shard is forgotten (a listing counts only when it
//! is complete, and a shard is given up only when two listings in a row miss it); a stream has no end, so the
//! source never says that it is done; what expired before it was read is a `Gap` wherever that can be known (see
//! `reader` for where it cannot). Records that the Kinesis Producer Library has packed together are passed on as
//! they are: CloudWatch Logs writes none.

mod api;
mod cursor;
mod fan_out;
mod lines;
mod lost;
mod meter;
mod metered;
mod pace;
mod polled;
mod probe;
mod reader;
mod shards;
mod source;
mod start;
mod subscribed;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use aws_config::SdkConfig;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::api::{Api, Summary};
use self::fan_out::FanOut;
use self::meter::Meter;
use self::pace::Pace;
pub use self::source::KinesisSource;
use crate::config::types::{Aws, Kinesis};
use crate::memory::Fetch;
use crate::source::{ShardId, Source, SourceError};

/// Opens a stream: fails with what is wrong and what to do if it cannot be reached, described or listed.
pub async fn connect(name: &str, config: &Kinesis, aws: Option<&Aws>) -> Result<Box<dyn Source>, SourceError> {
    let sdk = sdk_config(config, aws).await.map_err(SourceError::Fatal)?;
    Ok(Box::new(open(name, config, &sdk).await?))
}

/// As [`connect`], with the SDK's settings at hand.
pub async fn open(name: &str, config: &Kinesis, sdk: &SdkConfig) -> Result<KinesisSource, SourceError> {
    KinesisSource::open(name, config, sdk).await
}

/// What `check --connect` says: what was reached, or what is wrong and what to do.
pub async fn probe(config: &Kinesis, aws: Option<&Aws>) -> Result<String, String> {
    probe_with(config, &sdk_config(config, aws).await?).await
}

/// As [`probe`], with the SDK's settings at hand.
pub async fn probe_with(config: &Kinesis, sdk: &SdkConfig) -> Result<String, String> {
    probe::probe(config, sdk).await
}

/// The stream's ARN tells the Region where the pipeline file sets none.
async fn sdk_config(config: &Kinesis, aws: Option<&Aws>) -> Result<SdkConfig, String> {
    crate::aws::sdk_config(aws, api::region_of(&config.stream)).await
}

/// The Region that a stream's ARN tells; a name tells none.
pub(crate) fn region_of(stream: &str) -> Option<&str> {
    api::region_of(stream)
}

/// What all readers of a shard share.
type ShardPace = Mutex<Pace>;

/// What the source and its readers share.
struct Stream {
    /// The source's name in the pipeline file.
    source: Arc<str>,
    api: Api,
    /// As AWS reports it, so that lanes keep their places whether the file gives a name or an ARN.
    arn: Arc<str>,
    /// What was last seen of the stream: it may be deleted and created again while we run.
    seen: Mutex<Seen>,
    /// Shards that have an open reader, or had one: the next one must know what the last one has asked. One a shard, so
    /// bounded by the stream; those that nobody uses any more go when another is added.
    paces: Mutex<HashMap<Arc<str>, Arc<ShardPace>>>,
    /// Shards that were read to their end since the last listing: their children are looked for at once.
    ended: Mutex<BTreeSet<Arc<str>>>,
    /// Shards that the last listing had as closed: what comes of them has an end.
    closed: Mutex<BTreeSet<Arc<str>>>,
    /// What is known of the stream is out of date: it is listed anew at once.
    stale: AtomicBool,
    /// A shard has ended, or `stale` was set.
    wake: Notify,
    meter: Meter,
    /// With `consumer`.
    fan_out: Option<FanOut>,
    /// Readers that are open.
    open: AtomicUsize,
    /// Readers opened so far: each has a number.
    readers: AtomicU64,
    /// Where readers take the memory for answers.
    fetch: OnceLock<Arc<Fetch>>,
    /// Itself: readers outlive the call that opens them.
    own: Weak<Stream>,
}

/// The part of a stream's description that can change.
#[derive(Clone, Debug)]
struct Seen {
    created: Arc<str>,
    retention_hours: i32,
}

impl Seen {
    fn of(summary: &Summary) -> Seen {
        Seen { created: Arc::clone(&summary.created), retention_hours: summary.retention_hours }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics while it holds a lock, and what is inside is valid after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    fn shard_id(&self, created: &Arc<str>, shard: &Arc<str>) -> ShardId {
        ShardId {
            source: Arc::clone(&self.source),
            stream: Arc::clone(&self.arn),
            stream_created: Arc::clone(created),
            shard: Arc::clone(shard),
        }
    }

    /// The pace that all readers of a shard in this process share.
    fn pace(&self, shard: &Arc<str>) -> Arc<ShardPace> {
        let mut paces = lock(&self.paces);
        if let Some(pace) = paces.get(shard) {
            return Arc::clone(pace);
        }
        // Now and then: looking at all of them for each of 1,000 shards would be a million looks.
        if paces.len() == paces.capacity() {
            let now = Instant::now();
            paces.retain(|_, pace| Arc::strong_count(pace) > 1 || !lock(pace).is_rested(now));
        }
        let pace = Arc::new(ShardPace::default());
        paces.insert(Arc::clone(shard), Arc::clone(&pace));
        pace
    }

    /// Something was met that the last listing did not know.
    fn is_stale(&self) {
        self.stale.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    fn is_closed(&self, shard: &Arc<str>) -> bool {
        lock(&self.closed).contains(shard)
    }

    /// A shard was read to its end.
    fn shard_ended(&self, shard: &Arc<str>) {
        lock(&self.ended).insert(Arc::clone(shard));
        self.wake.notify_one();
    }
}
