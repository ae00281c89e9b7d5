//! Reading by subscription (enhanced fan-out): events come by themselves, with 2 MB a second that nobody shares.
//!
//! A consumer has one subscription a shard. The shard's tip reader has it; readers that catch up poll. It is renewed
//! where the last event ended (`ContinuationSequenceNumber`): begun *at* that place, never after it, since a record that
//! comes twice is left out by the cursor and one that does not come is lost. The service refuses a second subscription
//! within five seconds and may refuse or break off any other; until the next try the reader polls.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::SubscribeToShardEvent;
use tokio::time::Instant;

use super::fan_out::{OFF, is_unknown};
use super::lines::{Events, Over};
use super::lock;
use super::lost::Fault;
use super::pace::SUBSCRIPTION_GAP;
use super::reader::{ShardReader, Step};
use crate::aws::{AwsError, Class};
use crate::backoff::Backoff;
use crate::source::{Position, SourceError};

/// Refusals in a row that are said: the first ones may be an earlier subscription of ours that has not ended yet.
const REFUSALS: u32 = 4;

/// Somebody else is subscribed with this consumer, or we were a moment ago.
const IN_USE: &str = "ResourceInUseException";

impl ShardReader {
    /// Polls, and tries to subscribe again after a pause of at least `least`.
    fn poll_for_now(&mut self, least: Duration) {
        self.line = None;
        self.stream.meter.subscribed(self.number, false);
        self.step = Step::Iterator;
        lock(&self.pace).rise(self.number);
        let pause = self.resubscribe.next_within(OFF);
        self.subscribe_from = Instant::now() + pause.max(least);
    }

    pub(super) fn subscribed(&mut self, events: Events, client: Arc<Client>) {
        let Some(fan_out) = &self.stream.fan_out else { return };
        fan_out.works();
        self.line = Some(fan_out.lines.line(events, client, self.stream.api.place()));
        self.stream.meter.subscribed(self.number, true);
        self.step = Step::Events;
        tracing::debug!(shard = %self.shard, "subscribed");
    }

    /// The service took no subscription.
    pub(super) fn no_subscription(&mut self, error: AwsError) {
        let Some(fan_out) = &self.stream.fan_out else { return };
        self.refused += 1;
        tracing::debug!(shard = %self.shard, %error, refused = self.refused, "no subscription");
        match error.class {
            Class::Denied => fan_out.off(&error.to_string()),
            _ if is_unknown(&error) => fan_out.off(&format!("this endpoint does not offer it: {error}")),
            Class::Missing => return self.examine_consumer(&error),
            // The place is not taken: another one is found by polling.
            Class::Invalid => self.cursor.continues_at(None),
            Class::Throttled | Class::Unavailable | Class::Credentials | Class::Kms => {}
        }
        if self.refused.is_multiple_of(REFUSALS) {
            let hint = if error.code.as_deref() == Some(IN_USE) {
                "; if another process reads with this consumer, give each one a name of its own"
            } else {
                ""
            };
            fan_out.say(&format!("{error}{hint}"));
        }
        self.poll_for_now(SUBSCRIPTION_GAP);
    }

    fn examine_consumer(&mut self, error: &AwsError) {
        self.poll_for_now(SUBSCRIPTION_GAP);
        self.step = Step::Examine(Fault::consumer(error));
    }

    /// The shard is there, so it is the consumer that is not.
    pub(super) fn consumer_is_gone(&mut self, reason: &str) {
        if let Some(fan_out) = &self.stream.fan_out {
            tracing::warn!(reason, "the consumer of enhanced fan-out is gone: it is registered again");
            fan_out.forget();
        }
    }

    pub(super) fn took_event(&mut self, event: SubscribeToShardEvent) -> Result<(), SourceError> {
        let continuation = Position::parse(&event.continuation_sequence_number);
        let mut taken = match self.cursor.take(event.records) {
            Ok(taken) => taken,
            Err(reason) => {
                // What polling finds there is said again, or is better.
                self.poll_for_now(SUBSCRIPTION_GAP);
                let place = self.stream.api.place();
                return Err(SourceError::Retry(format!("{} on {place}: {reason}", super::api::SUBSCRIBE)));
            }
        };
        // It is here already: what the budget does not have is not counted.
        if let Some(fetch) = self.stream.fetch.get() {
            let lent = fetch.unasked(taken.bytes as u64);
            taken.records.iter_mut().for_each(|record| record.data = lent.record(std::mem::take(&mut record.data)));
        }
        (self.refused, self.astray) = (0, false);
        self.resubscribe = Backoff::new(self.number);
        self.cursor.continues_at(continuation);
        self.stands(&taken, event.millis_behind_latest);
        // AWS names the children in the last event, which has no continuation; others do from the moment of the split,
        // with records yet to come.
        let children = event.child_shards.is_some_and(|children| !children.is_empty());
        let ends = children && (continuation.is_none() || taken.answered == 0 || mutant!(ChildrenAreTheEnd));
        let quiet = taken.answered == 0 && event.millis_behind_latest <= 0;
        if taken.answered > 0 || taken.expired.is_some() {
            self.hand_out(taken);
        }
        if ends {
            self.shard_has_ended();
        } else if quiet && self.stream.is_closed(&self.shard.shard) {
            // It has an end, and this subscription does not say that it is reached: GetRecords does.
            self.poll_for_now(OFF);
        }
        Ok(())
    }

    /// No more events come by this subscription.
    pub(super) fn line_is_over(&mut self, over: Over) {
        self.line = None;
        self.stream.meter.subscribed(self.number, false);
        self.step = Step::Iterator;
        match over {
            // The next step is another subscription if it may be; `refused` is about calls, not about streams.
            Over::Old if mutant!(LineIsShard) => self.shard_has_ended(),
            Over::Old => {}
            Over::Silent => {
                tracing::warn!(shard = %self.shard, "a subscription brought nothing for 35 s: it is made anew")
            }
            Over::Stalled => {
                // What was there may have expired meanwhile: it is looked for.
                self.cursor.continues_at(None);
                tracing::debug!(shard = %self.shard, "nobody took from a subscription: it was given up");
            }
            Over::Failed(error) => match error.class {
                Class::Missing => self.examine_consumer(&error),
                Class::Unavailable => tracing::debug!(shard = %self.shard, %error, "a subscription broke off"),
                _ => {
                    if error.code.as_deref() == Some(IN_USE) {
                        // We never subscribe twice at a time: somebody else has taken the consumer.
                        self.refused = REFUSALS - 1;
                    }
                    self.no_subscription(error);
                }
            },
        }
    }
}
