//! The fleet as a pipeline's source: shards, readers, positions.
//!
//! A reader runs the whole day from its beginning and passes over what lies before its start. It never blocks
//! for long: it hands out what it has, also nothing, after a bounded number of steps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::cloudwatch::Draft;
use super::{Fleet, Records, record};
use crate::config::types::Simulate;
use crate::event::Millis;
use crate::source::{Feed, Reader, Record, Reopen, ShardEvent, ShardId, Source, SourceError, StartAt};

/// The name of the simulated stream.
const STREAM: &str = "simulated";
/// Records in one answer, at most.
const BATCH_RECORDS: usize = 100;
/// An answer is closed by the record that passes this size (1 MiB).
const BATCH_BYTES: usize = 1 << 20;
/// Records of the whole stream that are generated for one answer, at most: some milliseconds.
const BATCH_STEPS: usize = 2_000;
/// With a rate, how much of the future one answer may hold.
const PACE: Duration = Duration::from_millis(100);

/// The source `simulate`.
pub struct SimulateSource {
    shared: Arc<Shared>,
    announced: u32,
}

struct Shared {
    name: Arc<str>,
    stream: Arc<str>,
    created: Arc<str>,
    fleet: Fleet,
    rate: Option<u32>,
}

impl SimulateSource {
    /// The source called `name` in the pipeline file.
    ///
    /// # Errors
    /// As [`Fleet::new`], and a rate of 0.
    pub fn new(name: &str, config: &Simulate) -> Result<SimulateSource, SourceError> {
        if config.rate == Some(0) {
            return Err(SourceError::Fatal("`rate` is 0; leave it out for as fast as possible".into()));
        }
        let fleet = Fleet::new(config)?;
        let created = fleet.fingerprint().into();
        let shared = Shared { name: name.into(), stream: STREAM.into(), created, fleet, rate: config.rate };
        Ok(SimulateSource { shared: Arc::new(shared), announced: 0 })
    }

    /// The fleet behind it, for its inventory.
    pub fn fleet(&self) -> &Fleet {
        &self.shared.fleet
    }
}

impl Shared {
    fn shard(&self, number: u32) -> ShardId {
        ShardId {
            source: Arc::clone(&self.name),
            stream: Arc::clone(&self.stream),
            stream_created: Arc::clone(&self.created),
            shard: format!("shardId-{number:012}").into(),
        }
    }
}

#[async_trait]
impl Source for SimulateSource {
    async fn next(&mut self) -> Result<Option<ShardEvent>, SourceError> {
        if self.announced == self.shared.fleet.shards() {
            return Ok(None);
        }
        let shard = self.shared.shard(self.announced);
        self.announced += 1;
        Ok(Some(ShardEvent::Opened { shard, parents: Vec::new(), start: StartAt::TrimHorizon }))
    }

    fn reopen(&self) -> Arc<dyn Reopen> {
        Arc::clone(&self.shared) as Arc<dyn Reopen>
    }
}

#[async_trait]
impl Reopen for Shared {
    async fn open(&self, shard: &ShardId, from: StartAt) -> Result<Box<dyn Reader>, SourceError> {
        let number = (0..self.fleet.shards()).find(|number| self.shard(*number) == *shard).ok_or_else(|| {
            SourceError::Fatal(format!("shard `{shard}` is not one of this simulation: its seed or its size changed"))
        })?;
        let pace = self.rate.map(|rate| Pace { rate, origin: None });
        let records = self.fleet.drafts(Some(number));
        Ok(Box::new(SimulateReader {
            records,
            shard: number,
            from,
            pace,
            ready: Vec::new(),
            held: None,
            due: None,
            ended: false,
        }))
    }
}

/// When records are due, by their numbers in the whole stream: so all shards together keep the rate.
struct Pace {
    /// Records a second.
    rate: u32,
    /// The first record that was wanted, and when.
    origin: Option<(u64, Instant)>,
}

impl Pace {
    fn due(&mut self, number: u64) -> Instant {
        let (first, at) = *self.origin.get_or_insert_with(|| (number, Instant::now()));
        at + Duration::from_secs_f64(number.saturating_sub(first) as f64 / f64::from(self.rate))
    }
}

struct SimulateReader {
    records: Records,
    shard: u32,
    from: StartAt,
    pace: Option<Pace>,
    /// What the next answer holds. Kept here, so that a cancelled call loses nothing.
    ready: Vec<Record>,
    /// A record that was generated but is not due yet.
    held: Option<(u64, Draft)>,
    /// When `ready` may be handed out.
    due: Option<Instant>,
    ended: bool,
}

impl SimulateReader {
    fn begun(&self, number: u64, draft: &Draft) -> bool {
        match self.from {
            StartAt::TrimHorizon => true,
            StartAt::AtTimestamp(at) => draft.arrival >= at,
            StartAt::After(position) => record::position(self.records.stream, number) > position,
        }
    }

    /// Gathers records up to the limits of an answer. Answers when it may be handed out.
    fn gather(&mut self) -> Option<Instant> {
        let (mut bytes, mut first_due) = (0, None);
        for _ in 0..BATCH_STEPS {
            let Some((number, draft)) = self.held.take().or_else(|| self.records.next_draft()) else {
                self.ended = true;
                break;
            };
            if !self.begun(number, &draft) {
                continue;
            }
            // Records of other shards take part in the rate: they set where it begins.
            let due = self.pace.as_mut().map(|pace| pace.due(number));
            if draft.shard != self.shard {
                continue;
            }
            if let (Some(due), Some(first)) = (due, first_due)
                && due > first + PACE
            {
                self.held = Some((number, draft));
                break;
            }
            first_due = first_due.or(due);
            let sealed = self.records.seal(number, draft);
            bytes += sealed.data.len();
            let arrival: Option<Millis> = Some(sealed.arrival);
            self.ready.push(Record::new(sealed.position, arrival, sealed.data));
            if self.ready.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
        }
        first_due
    }
}

/// How long a reader may have nothing before it says so.
const QUIET: Duration = Duration::from_secs(1);

#[async_trait]
impl Reader for SimulateReader {
    async fn next(&mut self) -> Result<Feed, SourceError> {
        if self.ready.is_empty() && !self.ended {
            self.due = self.gather();
        }
        if let Some(due) = self.due {
            // At a low rate a shard is quiet for long: that is an answer too.
            let soon = Instant::now() + QUIET;
            tokio::time::sleep_until(due.min(soon)).await;
            if soon < due {
                return Ok(Feed::Records(Vec::new()));
            }
        } else {
            tokio::task::yield_now().await;
        }
        self.due = None;
        if self.ready.is_empty() && self.ended {
            return Ok(Feed::ShardEnd);
        }
        Ok(Feed::Records(std::mem::take(&mut self.ready)))
    }
}
