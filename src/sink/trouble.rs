//! When to try again after a failure, and when to say that the sink is down. Pure: the time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::FromSink;
use crate::backoff::Backoff;

/// Longest pause after an answer that took a part of a request: it is a matter of a limit a second.
const PAUSE_PARTIAL: Duration = Duration::from_secs(1);

/// Longest pause while nothing is accepted.
const PAUSE_OUTAGE: Duration = Duration::from_secs(5);

/// Longest pause where a person has to mend something.
const PAUSE_PERSON: Duration = Duration::from_secs(30);

/// Tries without success after which the sink is down: about two seconds of pauses.
const DOWN_AFTER_TRIES: u32 = 5;

/// Likewise in time: one try may take half a minute.
const DOWN_AFTER: Duration = Duration::from_secs(10);

/// A try of which nothing was accepted. `W` says what is wrong: a `Down` is repeated where it changes.
#[derive(Debug)]
pub(super) struct Failed<W> {
    pub(super) what: W,
    pub(super) text: String,
    /// False: something in the request is to blame.
    pub(super) passes: bool,
    pub(super) needs_a_person: bool,
}

/// What fails, since when.
#[derive(Debug)]
pub(super) struct Trouble<W> {
    backoff: Backoff,
    /// Requests that are sent at once while all is well.
    most_in_flight: usize,
    /// Tries since something was accepted.
    tries: u32,
    since: Option<Instant>,
    not_before: Option<Instant>,
    /// What was said to be wrong in the last `Down`.
    down: Option<W>,
}

impl<W: PartialEq> Trouble<W> {
    pub(super) fn new(seed: u64, most_in_flight: usize) -> Trouble<W> {
        Trouble { backoff: Backoff::new(seed), most_in_flight, tries: 0, since: None, not_before: None, down: None }
    }

    /// Nothing is sent before this time.
    pub(super) fn pause(&self) -> Option<Instant> {
        self.not_before
    }

    /// Requests that may be under way now: one is enough to see whether an outage is over.
    pub(super) fn in_flight(&self) -> usize {
        if self.tries == 0 { self.most_in_flight } else { 1 }
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
    pub(super) fn failed(&mut self, now: Instant, failure: Failed<W>) -> Option<FromSink> {
        let since = *self.since.get_or_insert(now);
        // Requests that were under way together are one try.
        if self.not_before.is_none_or(|time| time <= now) {
            self.tries += 1;
        }
        // The first two refusals are halved at once: the destination will show that it takes the rest.
        if self.not_before.is_none_or(|time| time <= now) && (failure.passes || self.tries > 2) {
            let longest = if failure.needs_a_person { PAUSE_PERSON } else { PAUSE_OUTAGE };
            self.not_before = Some(now + self.backoff.next_within(longest));
        }
        let is_down = failure.needs_a_person || self.tries >= DOWN_AFTER_TRIES || now - since >= DOWN_AFTER;
        // A code of another kind only matters where a person has to know: throttles and time-outs come mixed.
        let is_news = match &self.down {
            None => true,
            Some(said) => failure.needs_a_person && *said != failure.what,
        };
        if !is_down || !is_news {
            tracing::debug!(reason = failure.text, tries = self.tries, "a request is sent again");
            return None;
        }
        self.down = Some(failure.what);
        Some(FromSink::Down(failure.text))
    }
}
