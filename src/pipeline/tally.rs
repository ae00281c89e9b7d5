//! What a run has seen and done: metrics as it goes, totals for the closing table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::core::Counts;
use crate::delivery::ReaderId;
use crate::event::Kind;
use crate::source::{Position, Record, ShardId};
use crate::telemetry::metrics::{CoreMetrics, SinkMetrics, SourceMetrics};
use crate::telemetry::rate_limit::RateLimit;

/// One log line for each reason in this time; the rest is counted in the next one.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What was read in a run. Repeats, after a crash or a rewind, count again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Control messages among them.
    pub control: u64,
    /// Records that could not be read, by reason.
    pub unreadable: BTreeMap<&'static str, u64>,
    /// Events by kind, in the order of [`Kind::ALL`].
    pub events: [u64; Kind::ALL.len()],
    /// Lookups that found no connection.
    pub misses: u64,
    /// Gaps in shards.
    pub gaps: u64,
}

impl Totals {
    fn add(&mut self, counts: &Counts) {
        self.records += counts.records;
        self.record_bytes += counts.record_bytes;
        self.control += counts.control;
        self.misses += counts.misses;
        for (reason, _) in &counts.unreadable {
            *self.unreadable.entry(reason).or_default() += 1;
        }
        for (sum, count) in self.events.iter_mut().zip(counts.events) {
            *sum += count;
        }
    }

    /// Adds what a later run has read.
    pub(super) fn add_all(&mut self, later: &Totals) {
        self.records += later.records;
        self.record_bytes += later.record_bytes;
        self.control += later.control;
        self.misses += later.misses;
        self.gaps += later.gaps;
        for (reason, count) in &later.unreadable {
            *self.unreadable.entry(reason).or_default() += count;
        }
        for (sum, count) in self.events.iter_mut().zip(later.events) {
            *sum += count;
        }
    }
}

/// One source's tally; its readers share it.
#[derive(Debug)]
pub(super) struct SourceTally {
    source: Arc<str>,
    metrics: SourceMetrics,
    core: CoreMetrics,
    sinks: Arc<[SinkMetrics]>,
    totals: Arc<Mutex<Totals>>,
    log: Mutex<RateLimit>,
    /// Readers, and the listing of shards (`None`), whose last call failed.
    failing: Mutex<BTreeMap<Option<ReaderId>, Failing>>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    reason: String,
}

/// A failure that is not repeated for this long has passed: twice the longest call and pause (30 s each). Of the
/// listing nothing is heard while there is no news.
const PASSED_AFTER: Duration = Duration::from_secs(120);

/// A failure that lasts longer than this is told on `/readyz`: throttling and lost connections pass sooner.
const TOLD_AFTER: Duration = Duration::from_secs(5);

impl SourceTally {
    pub(super) fn new(source: &Arc<str>, sinks: Arc<[SinkMetrics]>, totals: Arc<Mutex<Totals>>) -> SourceTally {
        SourceTally {
            source: Arc::clone(source),
            metrics: SourceMetrics::new(source),
            core: CoreMetrics::new(),
            sinks,
            totals,
            log: Mutex::new(RateLimit::new(LOG_INTERVAL)),
            failing: Mutex::default(),
        }
    }

    /// Counts a piece.
    pub(super) fn count(&self, counts: &Counts) {
        self.metrics.records_read.increment(counts.records);
        self.metrics.record_bytes_read.increment(counts.record_bytes);
        self.metrics.control_messages.increment(counts.control);
        self.core.inventory_misses.increment(counts.misses);
        for (kind, count) in Kind::ALL.iter().zip(counts.events) {
            self.core.events(*kind, count);
            if *kind == Kind::Unparsed {
                self.core.unparsed.increment(count);
            }
        }
        for (sink, count) in self.sinks.iter().zip(&counts.passed_unknown) {
            sink.passed_unknown.increment(*count);
        }
        for (reason, detail) in &counts.unreadable {
            self.metrics.unreadable(reason);
            self.warn(reason, detail, "a record cannot be read; it goes to the dead letters");
        }
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).add(counts);
    }

    /// A record was processed: the source's lag is the age of its arrival.
    pub(super) fn read_to(&self, record: &Record) {
        if let (Some(arrival), Ok(now)) = (record.arrival, wall_clock().duration_since(SystemTime::UNIX_EPOCH)) {
            self.metrics.lag_seconds.set((now.as_secs_f64() - arrival.0 as f64 / 1000.0).max(0.0));
        }
    }

    /// Records that should be there are gone.
    pub(super) fn gap(&self, shard: &ShardId, after: Option<Position>, reason: &str) {
        self.metrics.gaps.increment(1);
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).gaps += 1;
        tracing::error!(source = %self.source, shard = %shard.shard, after = ?after, reason, "records are gone from the shard before they were read");
    }

    /// The shards cannot be listed; it will be tried again.
    pub(super) fn cannot_list(&self, reason: &str) {
        self.metrics.errors.increment(1);
        self.fails(None, reason);
        self.warn("source_error", reason, "the source cannot list its shards; it is tried again");
    }

    /// A reader, or the listing of shards, works (again).
    pub(super) fn works(&self, reader: Option<ReaderId>) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).remove(&reader);
    }

    fn fails(&self, reader: Option<ReaderId>, reason: &str) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let entry = failing.entry(reader).or_insert_with(|| Failing { since: now, last: now, reason: String::new() });
        (entry.last, entry.reason) = (now, reason.to_owned());
    }

    /// What has been failing for a while: how many readers, and the reason of one.
    pub(super) fn trouble(&self) -> Option<String> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.retain(|_, failure| failure.last.elapsed() < PASSED_AFTER);
        let lasting = failing.values().filter(|failure| failure.since.elapsed() >= TOLD_AFTER);
        let mut lasting = lasting.map(|failure| &failure.reason);
        let first = lasting.next()?;
        Some(match lasting.count() {
            0 => first.clone(),
            others => format!("{first} (and {others} more)"),
        })
    }

    /// A call to the source failed and will be tried again.
    pub(super) fn error(&self, reader: ReaderId, shard: &ShardId, reason: &str) {
        self.metrics.errors.increment(1);
        self.fails(Some(reader), reason);
        self.warn("source_error", &format!("shard {}: {reason}", shard.shard), "reading failed; it is tried again");
    }

    /// Says what was held back: of reasons whose time is up or, at the end of the run, of all.
    pub(super) fn overdue(&self, at_end: bool) {
        let now = (!at_end).then(|| Instant::now().into_std());
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner).overdue(now);
        for line in lines {
            tracing::warn!(source = %self.source, reason = line.reason, suppressed = line.suppressed, "more of the same");
        }
    }

    fn warn(&self, reason: &str, detail: &str, message: &str) {
        let line = self.log.lock().unwrap_or_else(PoisonError::into_inner).note(reason, Instant::now().into_std());
        if let Some(line) = line {
            tracing::warn!(source = %self.source, reason, detail, suppressed = line.suppressed, "{message}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "lag is measured against the wall clock; it decides nothing")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}
