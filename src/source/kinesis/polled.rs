//! Reading by asking: an iterator, then GetRecords after GetRecords.
//!
//! At the tip it asks less and less often, up to [`LONGEST_IDLE`]; behind it, as often as the shard's pace lets it.
//! Throttling is expected (others may read the shard too): it is paced here and counted, and becomes an error only
//! when it does not end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use tokio::time::Instant;

use super::cursor::Taken;
use super::lock;
use super::lost::{Fault, warn_expired};
use super::meter::Behind;
use super::pace::CALL_GAP;
use super::reader::{ShardReader, Step};
use crate::aws::{AwsError, Class};
use crate::backoff::Backoff;
use crate::memory::Call;
use crate::source::{Feed, SourceError};

/// Records in one answer: what the service allows.
const ANSWER_RECORDS: i32 = 10_000;

/// Records in the first answer of a reader that catches up, as long as nobody knows how large they are.
const FIRST_ANSWER_RECORDS: i32 = 100;

/// The longest pause at the tip: what a record may wait to be seen. The first one is a call's own distance.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

/// Calls a second of all idle readers of a stream together, about: each costs some hundred microseconds here. With more
/// shards than this the pauses of idle ones are longer.
const IDLE_CALLS_PER_SECOND: usize = 250;

/// The longest pause after throttling: the service refuses for 5 s at most after a large answer.
const LONGEST_THROTTLE: Duration = Duration::from_secs(5);

/// Refusals in a row that become an error: about 30 s of them.
const THROTTLES: u32 = 10;

/// Iterators in a row that may expire before they were used once.
const RENEWALS: u32 = 3;

fn retry(error: AwsError) -> SourceError {
    SourceError::Retry(error.to_string())
}

/// Failures in a row after which a single record is asked for: 10,000 halved so often.
const HALVINGS: u32 = 14;

/// Answers that have to arrive before twice as many records are asked for again: a try costs up to a minute.
const LARGER_AFTER: u32 = 100;

impl ShardReader {
    /// How many records to ask for, to get about so many bytes.
    pub(super) fn limit_for(&self, bytes: Option<usize>) -> i32 {
        let wanted = match (bytes, self.record_bytes) {
            (None, _) => ANSWER_RECORDS,
            (Some(_), None) => FIRST_ANSWER_RECORDS,
            (Some(bytes), Some(each)) => {
                i32::try_from(bytes / each.max(1)).unwrap_or(ANSWER_RECORDS).clamp(1, ANSWER_RECORDS)
            }
        };
        // An answer that does not arrive in time would not do so the next time either: a smaller one may.
        (wanted >> self.halved.min(HALVINGS)).max(1)
    }

    pub(super) fn no_iterator(&mut self, error: AwsError) -> Result<(), SourceError> {
        match error.class {
            Class::Throttled => return self.wait_out(&error),
            Class::Missing => self.step = Step::Examine(Fault::shard(&error)),
            Class::Invalid if self.cursor.expected().is_some() => self.step = Step::Examine(Fault::position(&error)),
            Class::Invalid => {
                // A start in time that is yet to come by the service's clock: it will come.
                return Err(SourceError::Retry(format!("{error}; see also that the clock here is right")));
            }
            Class::Unavailable | Class::Credentials | Class::Denied | Class::Kms => return Err(retry(error)),
        }
        Ok(())
    }

    pub(super) fn no_records(&mut self, error: AwsError) -> Result<(), SourceError> {
        match error.class {
            Class::Throttled => return self.wait_out(&error),
            Class::Missing => self.step = Step::Examine(Fault::shard(&error)),
            Class::Invalid => {
                // The iterator has expired, or the service does not take it for another reason: a new one.
                self.step = Step::Iterator;
                self.renewed += 1;
                let expired = error.code.as_deref() == Some("ExpiredIteratorException");
                if !expired || self.renewed > RENEWALS {
                    return Err(retry(error));
                }
                tracing::debug!(shard = %self.shard, "the iterator had expired; a new one begins at the same place");
                if mutant!(FalseGap) {
                    self.feeds.push_back(Feed::Gap { after: self.cursor.last(), reason: "a mistake".into() });
                }
            }
            Class::Unavailable => {
                (self.halved, self.arrived) = ((self.halved + 1).min(HALVINGS), 0);
                return Err(retry(error));
            }
            Class::Credentials | Class::Denied | Class::Kms => return Err(retry(error)),
        }
        Ok(())
    }

    /// Throttled: waits, and says so only if it does not end.
    fn wait_out(&mut self, error: &AwsError) -> Result<(), SourceError> {
        self.stream.meter.throttled();
        self.throttled += 1;
        self.not_before = Some(Instant::now() + self.throttle.next().min(LONGEST_THROTTLE));
        if self.throttled.is_multiple_of(THROTTLES) { Err(SourceError::Retry(error.to_string())) } else { Ok(()) }
    }

    pub(super) fn took_records(&mut self, answer: GetRecordsOutput, lent: Option<&Call>) -> Result<(), SourceError> {
        let behind_ms = answer.millis_behind_latest.unwrap_or(0);
        let mut taken = self.cursor.take(answer.records).map_err(|reason| {
            SourceError::Retry(format!("kinesis:GetRecords on {}: {reason}", self.stream.api.place()))
        })?;
        if let Some(lent) = lent {
            taken.records.iter_mut().for_each(|record| record.data = lent.record(std::mem::take(&mut record.data)));
        }
        (self.throttled, self.renewed, self.astray) = (0, 0, false);
        self.arrived += 1;
        if self.arrived.is_multiple_of(LARGER_AFTER) {
            self.halved = self.halved.saturating_sub(1);
        }
        self.throttle = Backoff::new(self.number);
        let now = Instant::now();
        let role = lock(&self.pace).role(self.number);
        self.stream.meter.called(role, taken.bytes);
        lock(&self.pace).spent(self.number, taken.bytes, now);
        self.stands(&taken, behind_ms);
        if taken.answered == 0 && behind_ms <= 0 {
            self.not_before = Some(now + self.idle);
            self.idle = (self.idle * 2).min(self.longest_idle());
        } else {
            self.idle = CALL_GAP;
        }
        lock(&self.pace).idles(self.number, self.not_before);
        match answer.next_shard_iterator {
            Some(next) => {
                self.step = Step::Records(next);
                self.hand_out(taken);
            }
            None => {
                self.hand_out(taken);
                self.shard_has_ended();
            }
        }
        Ok(())
    }

    fn longest_idle(&self) -> Duration {
        let readers = self.stream.open.load(Ordering::Relaxed);
        LONGEST_IDLE.max(Duration::from_secs(1) * u32::try_from(readers / IDLE_CALLS_PER_SECOND).unwrap_or(1))
    }

    /// Tells where the reader stands after an answer or an event.
    pub(super) fn stands(&mut self, taken: &Taken, behind_ms: i64) {
        if let Some(each) = taken.bytes.checked_div(taken.answered) {
            self.record_bytes = Some(each);
        }
        self.behind = Behind::of(behind_ms, taken.answered, taken.span_ms, self.behind);
        self.stream.meter.behind(&self.shard.shard, self.number, Some(self.behind));
        lock(&self.pace).stands(self.number, self.cursor.last(), behind_ms);
    }

    pub(super) fn hand_out(&mut self, taken: Taken) {
        if let Some((last, first)) = taken.expired {
            self.last_has_expired(last, first);
        }
        self.feeds.push_back(Feed::Records(taken.records));
    }

    /// It was read to its end.
    pub(super) fn shard_has_ended(&mut self) {
        if let Some(last) = self.cursor.expected() {
            warn_expired(&self.shard, last);
        }
        self.end();
        self.stream.shard_ended(&self.shard.shard);
    }
}
