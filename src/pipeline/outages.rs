//! Tells of sinks whose lanes are parked, of the time left to what they miss, and of what stands still: log, metrics
//! and `/readyz`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::delivery::{Dispatcher, SinkId, Stall};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{CoreMetrics, SinkMetrics};

/// How often a sink that stays parked is told of.
const REPEAT: Duration = Duration::from_secs(10 * 60);

/// The condition of `/readyz` for what stands still.
const SHARDS: &str = "shards";

/// What a sink misses.
#[derive(Clone, Copy, Debug)]
struct Missed {
    lanes: usize,
    lasting: Duration,
    /// Age of the oldest record.
    oldest: Option<Duration>,
    /// Until the source deletes the oldest.
    left: Option<Duration>,
}

impl Missed {
    fn text(&self) -> String {
        let Missed { lanes, lasting, oldest, left } = self;
        let mut text = format!("{lanes} of its lanes are parked, the first for {} s", lasting.as_secs());
        if let Some(oldest) = oldest {
            text.push_str(&format!("; the oldest record it lacks is {} s old", oldest.as_secs()));
        }
        if let Some(left) = left {
            text.push_str(&format!(", and the stream deletes it in {} s", left.as_secs()));
        }
        text
    }
}

/// What was told of a sink.
#[derive(Clone, Copy, Debug)]
struct Told {
    at: Instant,
    /// The quarter of the retention that was left.
    quarter: Option<u64>,
}

/// See the module.
pub(super) struct Outages {
    core: CoreMetrics,
    told: BTreeMap<SinkId, Told>,
    stalled: BTreeSet<String>,
}

impl Outages {
    pub(super) fn new() -> Outages {
        Outages { core: CoreMetrics::new(), told: BTreeMap::new(), stalled: BTreeSet::new() }
    }

    /// Brings log, metrics and health up to date. `retentions`: how long each source keeps its records.
    pub(super) fn show(
        &mut self,
        dispatcher: &Dispatcher,
        names: &[Arc<str>],
        retentions: &BTreeMap<&Arc<str>, Duration>,
        metrics: &[SinkMetrics],
        health: &Health,
    ) {
        let missed = missed(dispatcher, retentions);
        for (index, (name, metrics)) in names.iter().zip(metrics).enumerate() {
            let sink = SinkId(index as u32);
            let condition = format!("lanes of sink {name}");
            let found = missed.get(&sink);
            let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
            metrics.parked_age_seconds.set(found.and_then(|missed| seconds(missed.oldest)).unwrap_or(0.0));
            metrics.parked_left_seconds.set(found.and_then(|missed| seconds(missed.left)).unwrap_or(f64::INFINITY));
            health.set(&condition, found.map(Missed::text).as_deref());
            match found {
                Some(missed) => self.tell(sink, name, missed, retentions.values().min().copied()),
                None if self.told.remove(&sink).is_some() => {
                    tracing::info!(sink = %name, "all lanes of the sink read again; they catch up from their checkpoints");
                }
                None => {}
            }
        }
        self.show_stalls(dispatcher, names, health);
    }

    /// At once, then every [`REPEAT`], and at every quarter of the retention that is gone.
    fn tell(&mut self, sink: SinkId, name: &str, missed: &Missed, retention: Option<Duration>) {
        let quarter = missed.left.zip(retention).map(|(left, all)| left.as_secs() * 4 / all.as_secs().max(1));
        let now = Instant::now();
        let due = self.told.get(&sink).is_none_or(|told| {
            now.duration_since(told.at) >= REPEAT || quarter.zip(told.quarter).is_some_and(|(now, then)| now < then)
        });
        if !due {
            return;
        }
        self.told.insert(sink, Told { at: now, quarter });
        let (lanes, oldest_s) = (missed.lanes, missed.oldest.map(|oldest| oldest.as_secs()));
        match missed.left {
            Some(left) if quarter == Some(0) => tracing::error!(
                sink = %name, lanes, oldest_s, left_s = left.as_secs(),
                "the sink is about to lose data: the stream deletes what it has not got; mend the sink, or raise the \
                 stream's retention now (aws kinesis increase-stream-retention-period)"
            ),
            left => tracing::warn!(
                sink = %name, lanes, oldest_s, left_s = left.map(|left| left.as_secs()),
                "the sink takes nothing and its lanes are parked; the other sinks go on, and the source keeps what it \
                 misses"
            ),
        }
    }

    fn show_stalls(&mut self, dispatcher: &Dispatcher, names: &[Arc<str>], health: &Health) {
        let text = |stall: &Stall| {
            let seconds = stall.lasting.as_secs();
            match stall.sink.and_then(|sink| names.get(sink.0 as usize)) {
                Some(sink) => format!("{} waits for sink {sink}, which has taken nothing for {seconds} s", stall.shard),
                None => format!("{}: its reader has not answered for {seconds} s", stall.shard),
            }
        };
        let stalls = dispatcher.stalls();
        let shards: BTreeSet<String> = stalls.iter().map(|stall| stall.shard.to_string()).collect();
        self.core.shards_stalled.set(shards.len() as f64);
        let reason = stalls.first().map(|first| match stalls.len() {
            1 => text(first),
            all => format!("{} (and {} more)", text(first), all - 1),
        });
        if let Some(reason) = reason.as_ref().filter(|_| !shards.is_subset(&self.stalled)) {
            tracing::warn!(shards = shards.len(), reason, "shards stand still");
        }
        health.set(SHARDS, reason.as_deref());
        self.stalled = shards;
    }
}

fn missed(dispatcher: &Dispatcher, retentions: &BTreeMap<&Arc<str>, Duration>) -> BTreeMap<SinkId, Missed> {
    let now = wall_clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut all: BTreeMap<SinkId, Missed> = BTreeMap::new();
    for lane in dispatcher.parked() {
        let arrived = lane.oldest.and_then(|at| u64::try_from(at.0).ok()).map(Duration::from_millis);
        let oldest = arrived.map(|arrived| now.saturating_sub(arrived));
        let left = oldest.zip(retentions.get(&lane.shard.source)).map(|(age, kept)| kept.saturating_sub(age));
        let entry = all.entry(lane.sink).or_insert(Missed { lanes: 0, lasting: Duration::ZERO, oldest, left });
        entry.lanes += 1;
        entry.lasting = entry.lasting.max(lane.lasting);
        entry.oldest = entry.oldest.max(oldest);
        entry.left = [entry.left, left].into_iter().flatten().min();
    }
    all
}

#[expect(clippy::disallowed_methods, reason = "the age of what is parked, by the wall clock; it decides nothing")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
