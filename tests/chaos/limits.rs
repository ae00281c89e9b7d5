//! What no emulator does: GetRecords five times a second a shard and no more, and five seconds of rest after an answer
//! of 10 MB ("Quotas and limits" and GetRecords in the Kinesis Data Streams documentation).
//!
//! The answer after which a shard rests is 1 MB here: kinesis-local takes half a minute for 10 MB. The program, which
//! knows of 10 MB, is thereby throttled where it does not expect it.
//!
//! A call names no shard, only an iterator: so every iterator that an answer gives is remembered with its shard.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use tokio::time::{Duration, Instant};

/// Calls of a shard within [`SECOND`].
const CALLS: usize = 5;
const SECOND: Duration = Duration::from_secs(1);
/// An answer as large as this makes the shard rest. On the wire a record is a third larger: base64.
const LARGE_BYTES: usize = 1_000_000 / 3 * 4;
const REST: Duration = Duration::from_secs(5);
/// Iterators that are remembered: more than are in use at any time.
const ITERATORS: usize = 10_000;

/// Why a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    Calls,
    Bytes,
}

#[derive(Default)]
struct Shard {
    calls: VecDeque<Instant>,
    rests_until: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct ReadLimits {
    shards: HashMap<String, Shard>,
    iterators: HashMap<String, String>,
    oldest: VecDeque<String>,
}

impl ReadLimits {
    /// A GetRecords is about to be passed on.
    pub(crate) fn ask(&mut self, asked: &Value, now: Instant) -> Result<(), Refused> {
        // An iterator that no answer gave: the far end will say so.
        let Some(name) = self.shard_of(asked) else { return Ok(()) };
        let shard = self.shards.entry(name).or_default();
        shard.calls.retain(|call| now - *call < SECOND);
        if shard.rests_until.is_some_and(|until| now < until) {
            return Err(Refused::Bytes);
        }
        if shard.calls.len() >= CALLS {
            return Err(Refused::Calls);
        }
        shard.calls.push_back(now);
        Ok(())
    }

    /// What GetShardIterator or GetRecords answered, and its size on the wire.
    pub(crate) fn learn(&mut self, asked: &Value, told: &Value, size: usize, now: Instant) {
        let shard = asked["ShardId"].as_str().map(str::to_owned).or_else(|| self.shard_of(asked));
        let Some(shard) = shard else { return };
        let next = told["ShardIterator"].as_str().or_else(|| told["NextShardIterator"].as_str());
        if size >= LARGE_BYTES {
            self.shards.entry(shard.clone()).or_default().rests_until = Some(now + REST);
        }
        let Some(next) = next else { return };
        if self.iterators.insert(next.to_owned(), shard).is_none() {
            self.oldest.push_back(next.to_owned());
        }
        if self.oldest.len() > ITERATORS
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.iterators.remove(&oldest);
        }
    }

    fn shard_of(&self, asked: &Value) -> Option<String> {
        self.iterators.get(asked["ShardIterator"].as_str()?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sixth_call_of_a_shard_within_a_second_is_refused_also_by_another_iterator() {
        let (mut limits, begun) = (ReadLimits::default(), Instant::now());
        for (shard, iterator) in [("one", "a"), ("one", "b"), ("two", "c")] {
            limits.learn(&json!({"ShardId": shard}), &json!({"ShardIterator": iterator}), 100, begun);
        }
        let mut ask =
            |iterator: &str, ms| limits.ask(&json!({"ShardIterator": iterator}), begun + Duration::from_millis(ms));
        for ms in [0, 200, 400, 600, 800] {
            assert_eq!(ask("a", ms), Ok(()));
        }
        assert_eq!(ask("b", 900), Err(Refused::Calls));
        assert_eq!(ask("c", 900), Ok(()), "another shard");
        assert_eq!(ask("b", 1_000), Ok(()), "the first is a second ago");
    }

    #[test]
    fn after_a_large_answer_a_shard_rests_for_five_seconds() {
        let (mut limits, begun) = (ReadLimits::default(), Instant::now());
        limits.learn(&json!({"ShardId": "one"}), &json!({"ShardIterator": "a"}), 100, begun);
        let asked = json!({"ShardIterator": "a"});
        limits.learn(&asked, &json!({"NextShardIterator": "b"}), 1_400_000, begun);
        let next = json!({"ShardIterator": "b"});
        assert_eq!(limits.ask(&next, begun + Duration::from_millis(4_999)), Err(Refused::Bytes));
        assert_eq!(limits.ask(&next, begun + Duration::from_secs(5)), Ok(()));
    }
}
