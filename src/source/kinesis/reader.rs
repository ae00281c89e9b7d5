//! Reads one shard: an iterator, then GetRecords after GetRecords, one call in flight.
//!
//! The call under way and every pause are kept in the reader, so that a `next` that is dropped loses nothing and
//! asks nothing twice. At the tip it asks less and less often, up to [`LONGEST_IDLE`]; behind it, as often as the
//! shard allows. Throttling is expected (others may read the shard too): it is paced here and counted, and becomes
//! an error only when it does not end.
//!
//! What is gone is said as a `Gap`: the shard, the stream, or the last record when what is left begins where
//! retention ends. **Not detectable**: records that expired together with the last one that was read, when the
//! shard was quiet since; Kinesis does not tell a quiet shard from an emptied one. That is a warning.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::StreamStatus;
use tokio::time::{Instant, sleep_until};

use super::cursor::{Cursor, Taken};
use super::meter::Behind;
use super::pace::{CALL_GAP, ShardPace};
use super::start::now;
use super::{Stream, probe};
use crate::aws::{AwsError, Class};
use crate::backoff::Backoff;
use crate::event::Millis;
use crate::source::{Feed, Position, Reader, ShardId, SourceError, StartAt};

/// Records in one answer: what the service allows.
const ANSWER_RECORDS: i32 = 10_000;

/// The longest pause at the tip: what a record may wait to be seen. The first one is a call's own distance.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

/// The longest pause after throttling: the service refuses for 5 s at most after a large answer.
const LONGEST_THROTTLE: Duration = Duration::from_secs(5);

/// Refusals in a row that become an error: about 30 s of them.
const THROTTLES: u32 = 10;

/// Iterators in a row that may expire before they were used once.
const RENEWALS: u32 = 3;

/// What is left of a shard begins where retention ends if its first record is within this of it: the service
/// removes data in pieces, not to the second.
const RETENTION_SLACK_MS: i64 = 10 * 60 * 1_000;

/// What the reader does next.
#[derive(Clone, Debug)]
enum Step {
    /// Get an iterator.
    Iterator,
    /// Get records with this iterator.
    Records(String),
    /// Find out why the service does not know the shard or the position.
    Examine(Fault),
    /// Nothing.
    End,
}

/// What the service does not know any more.
#[derive(Clone, Debug)]
struct Fault {
    /// The position alone, not the shard.
    position: bool,
    text: String,
}

enum Answer {
    Iterator(Result<String, AwsError>),
    Records(Box<Result<GetRecordsOutput, AwsError>>),
    Examined(Fault, Result<Standing, String>),
}

/// How a shard stands that the service seemed not to know.
enum Standing {
    Listed,
    Expired,
    Recreated,
}

/// See the module.
pub(super) struct ShardReader {
    stream: Arc<Stream>,
    shard: ShardId,
    number: u64,
    pace: Arc<ShardPace>,
    cursor: Cursor,
    step: Step,
    /// The service does not know the last position: the oldest record is next.
    astray: bool,
    call: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    /// The pause before the next call.
    not_before: Option<Instant>,
    /// The moment of the shard's pace that is this reader's.
    slot: Option<Instant>,
    /// What is to be handed out: an answer's records and what follows them, at most.
    feeds: VecDeque<Feed>,
    idle: Duration,
    throttle: Backoff,
    throttled: u32,
    renewed: u32,
    behind: Behind,
}

impl ShardReader {
    pub(super) fn new(stream: Arc<Stream>, shard: &ShardId, from: StartAt) -> ShardReader {
        let number = stream.readers.fetch_add(1, Ordering::Relaxed);
        let mut reader = ShardReader {
            pace: stream.pace(&shard.shard),
            cursor: Cursor::new(from),
            step: Step::Iterator,
            astray: false,
            call: None,
            not_before: None,
            slot: None,
            feeds: VecDeque::new(),
            idle: CALL_GAP,
            throttle: Backoff::new(number),
            throttled: 0,
            renewed: 0,
            behind: Behind::default(),
            shard: shard.clone(),
            number,
            stream,
        };
        if reader.stream.seen().created != shard.stream_created {
            reader.give_up(RECREATED.into());
        }
        reader
    }

    /// Waits for the pause to end, and for the reader's turn.
    async fn rest(&mut self) {
        if let Some(at) = self.not_before {
            sleep_until(at).await;
            self.not_before = None;
        }
        let pace = &self.pace;
        let slot = match &self.step {
            Step::Iterator => *self.slot.get_or_insert_with(|| pace.reserve_iterator()),
            Step::Records(_) => *self.slot.get_or_insert_with(|| pace.reserve_records()),
            Step::Examine(_) | Step::End => return,
        };
        sleep_until(slot).await;
        self.slot = None;
    }

    fn make_call(&mut self) -> Option<Pin<Box<dyn Future<Output = Answer> + Send>>> {
        let (stream, shard) = (Arc::clone(&self.stream), self.shard.clone());
        match self.step.clone() {
            Step::Iterator => {
                let begin = self.cursor.begin(self.astray);
                Some(Box::pin(async move { Answer::Iterator(stream.api.iterator(&shard.shard, begin).await) }))
            }
            Step::Records(iterator) => {
                Some(Box::pin(
                    async move { Answer::Records(Box::new(stream.api.records(&iterator, ANSWER_RECORDS).await)) },
                ))
            }
            Step::Examine(fault) => {
                Some(Box::pin(async move { Answer::Examined(fault, examine(&stream, &shard).await) }))
            }
            Step::End => None,
        }
    }

    fn heard(&mut self, answer: Answer) -> Result<(), SourceError> {
        match answer {
            Answer::Iterator(Ok(iterator)) => self.step = Step::Records(iterator),
            Answer::Iterator(Err(error)) => return self.no_iterator(error),
            Answer::Records(answer) => match *answer {
                Ok(answer) => return self.took(answer),
                Err(error) => return self.no_records(error),
            },
            Answer::Examined(fault, standing) => return self.examined(fault, standing),
        }
        Ok(())
    }

    fn no_iterator(&mut self, error: AwsError) -> Result<(), SourceError> {
        match error.class {
            Class::Throttled => return self.wait_out(&error),
            Class::Missing => self.step = Step::Examine(Fault { position: false, text: error.to_string() }),
            Class::Invalid if self.cursor.expected().is_some() => {
                self.step = Step::Examine(Fault { position: true, text: error.to_string() });
            }
            Class::Invalid => {
                // A start in time that is yet to come by the service's clock: it will come.
                return Err(SourceError::Retry(format!("{error}; see also that the clock here is right")));
            }
            Class::Unavailable | Class::Credentials | Class::Denied | Class::Kms => return Err(retry(error)),
        }
        Ok(())
    }

    fn no_records(&mut self, error: AwsError) -> Result<(), SourceError> {
        match error.class {
            Class::Throttled => return self.wait_out(&error),
            Class::Missing => self.step = Step::Examine(Fault { position: false, text: error.to_string() }),
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
            Class::Unavailable | Class::Credentials | Class::Denied | Class::Kms => return Err(retry(error)),
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

    fn took(&mut self, answer: GetRecordsOutput) -> Result<(), SourceError> {
        let behind_ms = answer.millis_behind_latest.unwrap_or(0);
        let taken = self.cursor.take(answer.records).map_err(|reason| {
            SourceError::Retry(format!("kinesis:GetRecords on {}: {reason}", self.stream.api.place()))
        })?;
        (self.throttled, self.renewed, self.astray) = (0, 0, false);
        self.throttle = Backoff::new(self.number);
        self.pace.spent(taken.bytes);
        self.behind = Behind::of(behind_ms, taken.answered, taken.span_ms, self.behind);
        self.stream.meter.behind(&self.shard.shard, self.number, Some(self.behind));
        if taken.answered == 0 && behind_ms <= 0 {
            self.not_before = Some(Instant::now() + self.idle);
            self.idle = (self.idle * 2).min(LONGEST_IDLE);
        } else {
            self.idle = CALL_GAP;
        }
        self.hand_out(taken, answer.next_shard_iterator);
        Ok(())
    }

    fn hand_out(&mut self, taken: Taken, next: Option<String>) {
        if let Some((last, first)) = taken.expired {
            self.last_has_expired(last, first);
        }
        self.feeds.push_back(Feed::Records(taken.records));
        match next {
            Some(next) => self.step = Step::Records(next),
            None => {
                if let Some(last) = self.cursor.expected() {
                    warn_expired(&self.shard, last);
                }
                self.end();
                self.stream.shard_ended(&self.shard.shard);
            }
        }
    }

    /// The record that was read last is gone; `first` is the arrival of the oldest one that is left.
    fn last_has_expired(&mut self, last: Position, first: Option<Millis>) {
        let retention_ms = i64::from(self.stream.seen().retention_hours) * 3_600_000;
        let edge = now().0 - retention_ms + RETENTION_SLACK_MS;
        if first.is_some_and(|first| first.0 <= edge) {
            let reason = format!(
                "the record that was read last has expired, and what is left begins where the stream's retention of {} h \
                 ends: records between them are lost; raise the retention, or the speed of what reads it",
                retention_ms / 3_600_000
            );
            self.feeds.push_back(Feed::Gap { after: Some(last), reason });
        } else {
            warn_expired(&self.shard, last);
        }
    }

    fn examined(&mut self, fault: Fault, standing: Result<Standing, String>) -> Result<(), SourceError> {
        self.step = Step::Iterator;
        match standing {
            Err(reason) => {
                // Not before it is known: a stream that is made again has shards of the same names.
                self.step = Step::Examine(fault);
                return Err(SourceError::Retry(reason));
            }
            Ok(Standing::Recreated) => {
                self.give_up(RECREATED.into());
                self.stream.is_stale();
            }
            Ok(Standing::Expired) => {
                self.give_up("the stream does not list the shard any more: what was not read of it has expired".into());
            }
            Ok(Standing::Listed) if fault.position => {
                self.astray = true;
                let after = self.cursor.last();
                let reason = format!("the place where reading stopped is not known any more ({})", fault.text);
                self.feeds.push_back(Feed::Gap { after, reason });
            }
            Ok(Standing::Listed) => return Err(SourceError::Retry(fault.text)),
        }
        Ok(())
    }

    /// The rest of the shard is lost.
    fn give_up(&mut self, reason: String) {
        self.feeds.push_back(Feed::Gap { after: self.cursor.last(), reason });
        self.end();
    }

    fn end(&mut self) {
        self.feeds.push_back(Feed::ShardEnd);
        self.step = Step::End;
        self.stream.meter.behind(&self.shard.shard, self.number, None);
    }
}

const RECREATED: &str = "the stream was deleted and created again: what was not read of the old one is lost with it, the new one is read from its beginning";

fn retry(error: AwsError) -> SourceError {
    SourceError::Retry(error.to_string())
}

fn warn_expired(shard: &ShardId, last: Position) {
    tracing::warn!(
        %shard,
        %last,
        "the record that was read last has expired; if this pipeline stood still for longer than the stream's \
         retention, records after it are lost"
    );
}

async fn examine(stream: &Stream, shard: &ShardId) -> Result<Standing, String> {
    let summary = stream.api.describe().await.map_err(|error| error.to_string())?;
    if summary.created != shard.stream_created {
        return Ok(Standing::Recreated);
    }
    if summary.status == StreamStatus::Deleting {
        return Err(probe::deleting(&stream.api));
    }
    let listed = stream.api.list().await.map_err(|error| error.to_string())?;
    let found = listed.iter().any(|listed| listed.id == shard.shard);
    Ok(if found { Standing::Listed } else { Standing::Expired })
}

#[async_trait]
impl Reader for ShardReader {
    async fn next(&mut self) -> Result<Feed, SourceError> {
        loop {
            if let Some(feed) = self.feeds.pop_front() {
                return Ok(feed);
            }
            if self.call.is_none() {
                self.rest().await;
                self.call = self.make_call();
            }
            let Some(call) = &mut self.call else { return Ok(Feed::ShardEnd) };
            let answer = call.await;
            self.call = None;
            self.heard(answer)?;
        }
    }
}

impl Drop for ShardReader {
    fn drop(&mut self) {
        self.stream.meter.behind(&self.shard.shard, self.number, None);
    }
}
