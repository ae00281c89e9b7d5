//! How far a stream's readers are behind its tip, and how often they were throttled: metrics only.
//!
//! Kinesis says how many milliseconds an answer is behind, and no number of records: that is estimated from how
//! closely the records of the last answer had arrived. At the tip it is 0, which is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::lock;
use super::pace::Role;
use crate::telemetry::metrics::StreamMetrics;

/// As long as there are no more readers than this, their sum is told after each answer.
const FEW: usize = 64;

/// Of more readers it is told this often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// One reader's distance from the tip.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Behind {
    pub seconds: f64,
    pub records: f64,
}

impl Behind {
    /// What an answer tells: `count` records that arrived within `span_ms`, `behind_ms` before the tip.
    pub(super) fn of(behind_ms: i64, count: usize, span_ms: i64, before: Behind) -> Behind {
        let behind_ms = behind_ms.max(0) as f64;
        let records = match (count, span_ms) {
            _ if behind_ms == 0.0 => 0.0,
            (2.., 1..) => behind_ms * (count - 1) as f64 / span_ms as f64,
            // Nothing to estimate from: the rate that was last seen.
            _ if before.seconds > 0.0 => before.records * behind_ms / (before.seconds * 1_000.0),
            _ => count as f64,
        };
        Behind { seconds: behind_ms / 1_000.0, records }
    }
}

/// One stream's meters.
#[derive(Debug)]
pub(super) struct Meter {
    metrics: StreamMetrics,
    /// By shard and reader: a shard is as far behind as its slowest reader.
    behind: Mutex<BTreeMap<(Arc<str>, u64), Behind>>,
    /// When the sum of it was told last.
    told: Mutex<Option<Instant>>,
    /// Readers that have a subscription.
    subscribed: Mutex<BTreeSet<u64>>,
}

impl Meter {
    pub(super) fn new(source: &Arc<str>) -> Meter {
        Meter {
            metrics: StreamMetrics::new(source),
            behind: Mutex::default(),
            told: Mutex::default(),
            subscribed: Mutex::default(),
        }
    }

    pub(super) fn throttled(&self) {
        self.metrics.throttled.increment(1);
    }

    /// A GetRecords call brought so many bytes.
    pub(super) fn called(&self, role: Role, bytes: usize) {
        let metrics = match role {
            Role::Tip => &self.metrics.tip_bytes,
            Role::CatchUp => &self.metrics.catch_up_bytes,
        };
        metrics.increment(bytes as u64);
    }

    /// Whether a reader has a subscription.
    pub(super) fn subscribed(&self, reader: u64, has: bool) {
        let mut all = lock(&self.subscribed);
        if has {
            all.insert(reader)
        } else {
            all.remove(&reader)
        };
        self.metrics.subscriptions.set(all.len() as f64);
    }

    /// A reader's place; `None`: it is gone.
    pub(super) fn behind(&self, shard: &Arc<str>, reader: u64, behind: Option<Behind>) {
        let mut all = lock(&self.behind);
        match behind {
            Some(behind) => drop(all.insert((Arc::clone(shard), reader), behind)),
            None => drop(all.remove(&(Arc::clone(shard), reader))),
        }
        // Looking at all of 1,000 shards after each answer would cost more than reading them.
        let mut told = lock(&self.told);
        let now = Instant::now();
        if all.len() > FEW && told.is_some_and(|told| now < told + TELL_AGAIN) {
            return;
        }
        *told = Some(now);
        let total = total(&all);
        self.metrics.behind_seconds.set(total.seconds);
        self.metrics.behind_records.set(total.records.round());
    }
}

/// The slowest shard's seconds, and all shards' records.
fn total(all: &BTreeMap<(Arc<str>, u64), Behind>) -> Behind {
    let mut slowest: BTreeMap<&str, f64> = BTreeMap::new();
    let mut seconds = 0.0_f64;
    for ((shard, _), behind) in all {
        seconds = seconds.max(behind.seconds);
        let records = slowest.entry(shard).or_default();
        *records = records.max(behind.records);
    }
    Behind { seconds, records: slowest.values().sum() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_records_behind_follows_from_how_closely_they_arrived() {
        let check = |behind: Behind, seconds: f64, records: f64| assert_eq!(behind, Behind { seconds, records });
        check(Behind::of(0, 500, 1_000, Behind::default()), 0.0, 0.0);
        let busy = Behind::of(10_000, 101, 1_000, Behind::default());
        check(busy, 10.0, 1_000.0);
        check(Behind::of(5_000, 0, 0, busy), 5.0, 500.0);
        check(Behind::of(5_000, 1, 0, Behind::default()), 5.0, 1.0);
        check(Behind::of(-1, 0, 0, busy), 0.0, 0.0);
    }

    #[test]
    fn a_stream_is_as_far_behind_as_its_slowest_shard() {
        let mut all = BTreeMap::new();
        let mut add = |shard: &str, reader, seconds, records| {
            all.insert((Arc::from(shard), reader), Behind { seconds, records });
        };
        add("one", 1, 5.0, 50.0);
        add("one", 2, 60.0, 600.0);
        add("two", 3, 7.0, 7.0);
        assert_eq!(total(&all), Behind { seconds: 60.0, records: 607.0 });
    }
}
