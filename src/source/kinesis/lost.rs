//! What is gone of a shard, and how that is known.
//!
//! Gone is said as a `Gap`: the shard, the stream, or the last record when what is left begins where retention ends.
//! **Not detectable**: records that expired together with the last one that was read, when the shard was quiet since;
//! Kinesis does not tell a quiet shard from an emptied one. That is a warning.

use aws_sdk_kinesis::types::StreamStatus;

use super::reader::{ShardReader, Step};
use super::start::now;
use super::{Stream, lock, probe};
use crate::aws::AwsError;
use crate::event::Millis;
use crate::source::{Feed, Position, ShardId, SourceError};

/// What is left of a shard begins where retention ends if its first record is within this of it: the service
/// removes data in pieces, not to the second.
const RETENTION_SLACK_MS: i64 = 10 * 60 * 1_000;

pub(super) const RECREATED: &str = "the stream was deleted and created again: what was not read of the old one is lost with it, the new one is read from its beginning";

/// What the service does not know any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unknown {
    Shard,
    Position,
    /// The shard or the consumer.
    Consumer,
}

/// What was asked for and is not known.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    unknown: Unknown,
    text: String,
}

impl Fault {
    pub(super) fn shard(error: &AwsError) -> Fault {
        Fault { unknown: Unknown::Shard, text: error.to_string() }
    }

    pub(super) fn position(error: &AwsError) -> Fault {
        Fault { unknown: Unknown::Position, text: error.to_string() }
    }

    pub(super) fn consumer(error: &AwsError) -> Fault {
        Fault { unknown: Unknown::Consumer, text: error.to_string() }
    }
}

/// How a shard stands that the service seemed not to know.
pub(super) enum Standing {
    Listed,
    Expired,
    Recreated,
}

impl ShardReader {
    /// The record that was read last is gone; `first` is the arrival of the oldest one that is left.
    pub(super) fn last_has_expired(&mut self, last: Position, first: Option<Millis>) {
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

    pub(super) fn examined(&mut self, fault: Fault, standing: Result<Standing, String>) -> Result<(), SourceError> {
        self.step = Step::Iterator;
        match (standing, fault.unknown) {
            (Err(reason), _) => {
                // Not before it is known: a stream that is made again has shards of the same names.
                self.step = Step::Examine(fault);
                return Err(SourceError::Retry(reason));
            }
            (Ok(Standing::Recreated), _) => {
                self.give_up(RECREATED.into());
                self.stream.is_stale();
            }
            (Ok(Standing::Expired), _) => {
                self.give_up("the stream does not list the shard any more: what was not read of it has expired".into());
            }
            (Ok(Standing::Listed), Unknown::Position) => {
                self.astray = true;
                let after = self.cursor.last();
                let reason = format!("the place where reading stopped is not known any more ({})", fault.text);
                self.feeds.push_back(Feed::Gap { after, reason });
            }
            (Ok(Standing::Listed), Unknown::Consumer) => self.consumer_is_gone(&fault.text),
            (Ok(Standing::Listed), Unknown::Shard) => return Err(SourceError::Retry(fault.text)),
        }
        Ok(())
    }

    /// The rest of the shard is lost.
    pub(super) fn give_up(&mut self, reason: String) {
        self.feeds.push_back(Feed::Gap { after: self.cursor.last(), reason });
        self.end();
    }

    pub(super) fn end(&mut self) {
        self.feeds.push_back(Feed::ShardEnd);
        (self.step, self.line) = (Step::End, None);
        // The scheduler waits for nobody who has ended.
        lock(&self.pace).leave(self.number);
        self.stream.meter.behind(&self.shard.shard, self.number, None);
    }
}

pub(super) fn warn_expired(shard: &ShardId, last: Position) {
    tracing::warn!(
        %shard,
        %last,
        "the record that was read last has expired; if this pipeline stood still for longer than the stream's \
         retention, records after it are lost"
    );
}

pub(super) async fn examine(stream: &Stream, shard: &ShardId) -> Result<Standing, String> {
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
