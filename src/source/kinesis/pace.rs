//! How often a shard may be asked: shared by all of its readers in this process.
//!
//! AWS allows a shard 5 GetRecords calls and 2 MB a second, and GetShardIterator 5 times a second, over all who
//! read it. Other programs may read it too: then the service throttles, and a reader waits longer by itself.
//! Invariant: however many readers there are, their calls are at least [`CALL_GAP`] apart.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Between two calls: 5 a second.
pub(super) const CALL_GAP: Duration = Duration::from_millis(200);

/// What a shard gives: 2 MB/s. After an answer of 10 MB the service refuses for 5 s, which is just that.
const BYTES_PER_SECOND: f64 = 2_000_000.0;

/// The longest pause that an answer's size may cause: 10 MB at 2 MB/s.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// One shard's calls.
#[derive(Debug, Default)]
pub(super) struct ShardPace {
    records: Mutex<Option<Instant>>,
    iterators: Mutex<Option<Instant>>,
}

impl ShardPace {
    /// When the next GetRecords may be sent: that moment is the caller's.
    pub(super) fn reserve_records(&self) -> Instant {
        reserve(&self.records)
    }

    /// When the next GetShardIterator may be sent: that moment is the caller's.
    pub(super) fn reserve_iterator(&self) -> Instant {
        reserve(&self.iterators)
    }

    /// An answer brought so many bytes: the shard's budget is spent for a while.
    pub(super) fn spent(&self, bytes: usize) {
        let rest = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND).min(LONGEST_REST);
        let mut next = lock(&self.records);
        *next = (*next).max(Some(Instant::now() + rest));
    }
}

fn reserve(next: &Mutex<Option<Instant>>) -> Instant {
    let mut next = lock(next);
    let now = Instant::now();
    let at = next.map_or(now, |next| next.max(now));
    *next = Some(at + CALL_GAP);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_a_fifth_of_a_second_apart_whoever_makes_them() {
        let (pace, start) = (ShardPace::default(), Instant::now());
        let due: Vec<u128> = (0..4).map(|_| (pace.reserve_records() - start).as_millis()).collect();
        assert_eq!(due, [0, 200, 400, 600]);
        // The other operation has a limit of its own.
        assert_eq!(pace.reserve_iterator(), start);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pace.reserve_records(), Instant::now(), "a rest is not saved up");
        assert_eq!(pace.reserve_records() - Instant::now(), CALL_GAP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_answer_spends_the_budget_of_bytes() {
        let (pace, start) = (ShardPace::default(), Instant::now());
        pace.reserve_records();
        pace.spent(10_000_000);
        assert_eq!(pace.reserve_records() - start, Duration::from_secs(5));
        let small = ShardPace::default();
        small.reserve_records();
        small.spent(1_000);
        assert_eq!(small.reserve_records() - start, CALL_GAP, "a small one costs no more than a call");
        small.spent(usize::MAX);
        assert_eq!(small.reserve_records() - start, LONGEST_REST, "nothing stalls a shard for long");
    }
}
