//! The source itself: lists the stream's shards and announces what is new.
//!
//! The listing is refreshed when a reader reports its shard's end, until the children are found, and every
//! [`PERIOD`] besides. What goes wrong while it runs is tried again, never the end: a stream has none.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_kinesis::types::StreamStatus;
use tokio::time::Instant;

use super::api::{Api, Shard, Summary};
use super::fan_out::{FanOut, Refusal};
use super::lines::STALLED;
use super::meter::Meter;
use super::reader::ShardReader;
use super::shards::{Change, Shards};
use super::start::{FOUND_LATER, start_at};
use super::{Seen, Stream, lock, probe};
use crate::backoff::Backoff;
use crate::config::types::Kinesis;
use crate::memory::Fetch;
use crate::source::{Reader, Reopen, ShardEvent, ShardId, Source, SourceError, StartAt};

/// Between two listings of a quiet stream, before jitter. Listing takes one call a 1,000 shards; the account's limit
/// is 1,000 a second (and 20 a second to describe, which each listing does once).
const PERIOD: Duration = Duration::from_secs(30);

type Listing = Result<(Summary, Vec<Shard>), String>;

/// The search for a consumer. It takes as long as AWS takes to make one; readers poll meanwhile.
type Enrolling = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module.
pub struct KinesisSource {
    stream: Arc<Stream>,
    start: StartAt,
    shards: Shards,
    /// What is to be announced. Kept here, so that a call that is dropped loses nothing; bounded by a listing.
    news: VecDeque<ShardEvent>,
    /// The listing under way.
    listing: Option<Pin<Box<dyn Future<Output = Listing> + Send>>>,
    enrolling: Option<Enrolling>,
    /// When the next listing is due.
    due: Instant,
    /// Pauses while children are looked for that must be there.
    searching: Option<Backoff>,
    jitter: Backoff,
}

impl KinesisSource {
    /// Describes and lists the stream, and proves that its records may be read.
    ///
    /// # Errors
    /// What is wrong and what to do: no such stream, no permission, no way to the service, a start that makes no
    /// sense.
    pub async fn open(name: &str, config: &Kinesis, sdk: &SdkConfig) -> Result<KinesisSource, SourceError> {
        let start = start_at(config).map_err(SourceError::Fatal)?;
        let api = Api::new(config, sdk).map_err(SourceError::Fatal)?;
        let summary = probe::describe(&api).await.map_err(SourceError::Fatal)?;
        let listing = api.list().await.map_err(|error| SourceError::Fatal(error.to_string()))?;
        probe::prove_reading(&api, &listing).await.map_err(SourceError::Fatal)?;
        let fan_out = config.consumer.as_ref().map(|consumer| FanOut::new(&consumer.enhanced_fan_out));
        if let Some(fan_out) = &fan_out {
            match fan_out.enrol(&api, &summary.arn).await {
                // What keeps it from working is said, and it is tried again.
                Ok(()) | Err(Refusal::Later(_)) => {}
                Err(Refusal::Never(reason)) => return Err(SourceError::Fatal(reason)),
            }
        }
        let source = name.into();
        let stream = Arc::new_cyclic(|own| Stream {
            own: Weak::clone(own),
            api,
            arn: summary.arn.as_str().into(),
            seen: Seen::of(&summary).into(),
            paces: Default::default(),
            ended: Default::default(),
            closed: Default::default(),
            stale: AtomicBool::new(false),
            wake: Default::default(),
            meter: Meter::new(&source),
            fan_out,
            open: AtomicUsize::new(0),
            readers: AtomicU64::new(0),
            fetch: OnceLock::new(),
            source,
        });
        tracing::info!(
            source = name,
            stream = %stream.arn,
            shards = listing.len(),
            retention_hours = summary.retention_hours,
            ?start,
            "stream"
        );
        let jitter = Backoff::new(xxhash_rust::xxh3::xxh3_64(stream.arn.as_bytes()));
        let mut source = KinesisSource {
            stream,
            start,
            shards: Shards::default(),
            news: VecDeque::new(),
            listing: None,
            enrolling: None,
            due: Instant::now(),
            searching: None,
            jitter,
        };
        source.listed(&summary, listing);
        Ok(source)
    }

    fn listed(&mut self, summary: &Summary, listing: Vec<Shard>) {
        let before = std::mem::replace(&mut *lock(&self.stream.seen), Seen::of(summary));
        if let Some(fan_out) = &self.stream.fan_out
            && before.created != summary.created
        {
            // The consumers of a stream go with it.
            fan_out.forget();
        }
        let closed = listing.iter().filter(|shard| shard.closed).map(|shard| Arc::clone(&shard.id));
        *lock(&self.stream.closed) = closed.collect();
        for change in self.shards.listed(&summary.created, listing) {
            let event = match change {
                Change::Complete => ShardEvent::Complete {
                    source: Arc::clone(&self.stream.source),
                    stream: Arc::clone(&self.stream.arn),
                },
                Change::Gone { created, shard } => ShardEvent::Gone(self.stream.shard_id(&created, &shard)),
                Change::New { created, shard, parents, first } => ShardEvent::Opened {
                    shard: self.stream.shard_id(&created, &shard),
                    // Those that are not listed any more are named too: a checkpoint may know them.
                    parents: parents.iter().map(|parent| self.stream.shard_id(&created, parent)).collect(),
                    start: match first {
                        true => self.start,
                        false if mutant!(ChildrenAtTip) => StartAt::AtTimestamp(super::start::now().0),
                        false => FOUND_LATER,
                    },
                },
            };
            self.news.push_back(event);
        }
        let pause = if self.children_are_missing() {
            self.searching.get_or_insert_with(|| Backoff::new(0)).next().min(PERIOD)
        } else {
            self.searching = None;
            // Half of the period to all of it: sources that started together do not list together.
            PERIOD.mul_f64(self.jitter.share())
        };
        self.due = Instant::now() + pause;
    }

    /// Whether a shard has ended whose children were not listed yet.
    fn children_are_missing(&self) -> bool {
        let mut ended = lock(&self.stream.ended);
        ended.retain(|shard| self.shards.lacks_child(shard));
        !ended.is_empty()
    }

    /// Waits until a listing is due, or a shard has ended whose children are not known. Meanwhile subscriptions that
    /// nobody takes from are given up, and a lost consumer is looked for.
    async fn wait(&mut self) {
        loop {
            tokio::select! {
                // In order, so that a run can be repeated: either is the other's reason to list, and neither comes often.
                biased;
                () = tokio::time::sleep_until(self.due) => return,
                () = tend(&self.stream, &mut self.enrolling) => {}
                () = self.stream.wake.notified(), if self.searching.is_none() => {
                    if self.stream.stale.swap(false, Ordering::Relaxed) || self.children_are_missing() {
                        return;
                    }
                }
            }
        }
    }
}

/// Looks after enhanced fan-out: returns when there may be something to do again.
async fn tend(stream: &Arc<Stream>, enrolling: &mut Option<Enrolling>) {
    let Some(fan_out) = &stream.fan_out else { return std::future::pending().await };
    if let Some(under_way) = enrolling {
        under_way.await;
        *enrolling = None;
    }
    tokio::time::sleep(STALLED / 4).await;
    let now = Instant::now();
    fan_out.lines.sweep(now);
    if fan_out.is_due(now) {
        let stream = Arc::clone(stream);
        *enrolling = Some(Box::pin(async move {
            if let Some(fan_out) = &stream.fan_out {
                // It has said what kept it from that.
                let _ = fan_out.enrol(&stream.api, &stream.arn).await;
            }
        }));
    }
}

async fn list(stream: Arc<Stream>) -> Listing {
    let summary = stream.api.describe().await.map_err(|error| error.to_string())?;
    if summary.status == StreamStatus::Deleting {
        return Err(probe::deleting(&stream.api));
    }
    if *summary.arn != *stream.arn {
        return Err(format!("{} is now another one ({}): start anew to read it", stream.api.place(), summary.arn));
    }
    let shards = stream.api.list().await.map_err(|error| error.to_string())?;
    Ok((summary, shards))
}

#[async_trait]
impl Source for KinesisSource {
    async fn next(&mut self) -> Result<Option<ShardEvent>, SourceError> {
        loop {
            if let Some(event) = self.news.pop_front() {
                return Ok(Some(event));
            }
            if self.listing.is_none() {
                self.wait().await;
                self.listing = Some(Box::pin(list(Arc::clone(&self.stream))));
            }
            let Some(listing) = &mut self.listing else { continue };
            let listed = listing.await;
            self.listing = None;
            match listed {
                Ok((summary, shards)) => self.listed(&summary, shards),
                Err(reason) => {
                    // The caller pauses; then it is tried at once.
                    self.due = Instant::now();
                    return Err(SourceError::Retry(reason));
                }
            }
        }
    }

    fn reopen(&self) -> Arc<dyn Reopen> {
        Arc::clone(&self.stream) as Arc<dyn Reopen>
    }
}

#[async_trait]
impl Reopen for Stream {
    async fn open(&self, shard: &ShardId, from: StartAt) -> Result<Box<dyn Reader>, SourceError> {
        if shard.source != self.source || shard.stream != self.arn {
            return Err(SourceError::Fatal(format!("shard `{shard}` is not one of {}", self.arn)));
        }
        let Some(stream) = self.own.upgrade() else {
            return Err(SourceError::Fatal(format!("source `{}` is closed", self.source)));
        };
        Ok(Box::new(ShardReader::new(stream, shard, from)))
    }

    fn retention(&self) -> Option<Duration> {
        let hours = u64::try_from(self.seen().retention_hours).ok()?;
        Some(Duration::from_secs(hours * 3_600))
    }

    fn draw_on(&self, fetch: &Arc<Fetch>) {
        // The first one counts: a source is part of one pipeline.
        let _ = self.fetch.set(Arc::clone(fetch));
    }
}
