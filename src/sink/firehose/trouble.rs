//! When to try again after a failure, and when to say that the sink is down. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::stream::Failure;
use crate::aws::Class;
use crate::backoff::Backoff;
use crate::sink::FromSink;

/// Longest pause after an answer that took some of the records: it is a matter of the stream's limit a second.
const PAUSE_PARTIAL: Duration = Duration::from_secs(1);

/// Longest pause while nothing is accepted.
const PAUSE_OUTAGE: Duration = Duration::from_secs(5);

/// Longest pause where a person has to mend something.
const PAUSE_PERSON: Duration = Duration::from_secs(30);

/// Tries without success after which the sink is down: about two seconds of pauses.
const DOWN_AFTER_TRIES: u32 = 5;

/// Likewise in time: one try may take half a minute.
const DOWN_AFTER: Duration = Duration::from_secs(10);

/// Requests that are sent at once while all is well. Each weighs up to 4 MiB and waits for its answer for some 50 ms to
/// 1 s, so four keep a stream's default limit (1 to 5 MiB/s) busy.
const IN_FLIGHT: usize = 4;

/// What is wrong, as said in the last `Down`.
type Said = (Class, Option<String>);

/// What fails, since when.
#[derive(Debug)]
pub(super) struct Trouble {
    backoff: Backoff,
    /// Tries since something was accepted.
    tries: u32,
    since: Option<Instant>,
    not_before: Option<Instant>,
    down: Option<Said>,
}

impl Trouble {
    pub(super) fn new(seed: u64) -> Trouble {
        Trouble { backoff: Backoff::new(seed), tries: 0, since: None, not_before: None, down: None }
    }

    /// Nothing is sent before this time.
    pub(super) fn pause(&self) -> Option<Instant> {
        self.not_before
    }

    /// Requests that may be under way now: one is enough to see whether an outage is over.
    pub(super) fn in_flight(&self) -> usize {
        if self.tries == 0 { IN_FLIGHT } else { 1 }
    }

    /// The pause, if there is one, is over.
    pub(super) fn resume(&mut self) {
        self.not_before = None;
    }

    /// A request was accepted, or a part of it (`partly`: the rest has to wait).
    pub(super) fn accepted(&mut self, now: Instant, partly: bool) -> Option<FromSink> {
        (self.tries, self.since, self.not_before) = (0, None, None);
        if partly {
            self.not_before = Some(now + self.backoff.next_within(PAUSE_PARTIAL));
        } else {
            self.backoff.reset();
        }
        self.down.take().map(|_| FromSink::Up)
    }

    /// Nothing of a request was accepted.
    pub(super) fn failed(&mut self, now: Instant, failure: &Failure) -> Option<FromSink> {
        let since = *self.since.get_or_insert(now);
        // Requests that were under way together are one try.
        if self.not_before.is_none_or(|time| time <= now) {
            self.tries += 1;
        }
        // The first two refusals are halved at once: the stream will show that it takes the rest.
        if self.not_before.is_none_or(|time| time <= now) && (failure.passes || self.tries > 2) {
            let longest = if failure.needs_a_person { PAUSE_PERSON } else { PAUSE_OUTAGE };
            self.not_before = Some(now + self.backoff.next_within(longest));
        }
        let is_down = failure.needs_a_person || self.tries >= DOWN_AFTER_TRIES || now - since >= DOWN_AFTER;
        let what = (failure.class, failure.code.clone());
        // A code of another kind only matters where a person has to know: throttles and time-outs come mixed.
        let is_news = match &self.down {
            None => true,
            Some(said) => failure.needs_a_person && *said != what,
        };
        if !is_down || !is_news {
            tracing::debug!(reason = failure.text, tries = self.tries, "records are sent again");
            return None;
        }
        self.down = Some(what);
        Some(FromSink::Down(failure.text.clone()))
    }
}
