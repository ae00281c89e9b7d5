//! Who of a shard's readers may ask next: one scheduler shares a shard's calls and bytes. Pure: time is an argument.
//!
//! AWS allows a shard 5 GetRecords calls and 2 MB a second, and GetShardIterator 5 times a second, over all who
//! read it. Other programs may read it too: then the service throttles, and a reader waits longer by itself.
//!
//! The reader that is furthest along is the *tip*, the others catch up (their lanes were parked, or rewound). As
//! long as the tip has work to do, the others have at most 2 of the 5 calls and what the tip leaves of the bytes, at
//! least a tenth; while it idles or is served by enhanced fan-out, they have all of it. The tip never waits for
//! bytes that others spent.
//!
//! Invariants: however many readers there are, their calls are at least [`CALL_GAP`] apart; one reader at most
//! holds the seat of the shard's subscription; nobody waits for a reader that has stopped asking.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::Position;

/// Between two calls: 5 a second.
pub(super) const CALL_GAP: Duration = Duration::from_millis(200);

/// What a shard gives: 2 MB/s. After an answer of 10 MB the service refuses for 5 s, which is just that.
const BYTES_PER_SECOND: f64 = 2_000_000.0;

/// The longest pause that an answer's size may cause: 10 MB at 2 MB/s.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Calls a second of all who catch up, while the tip is at work.
const CATCH_UP_CALLS: f64 = 2.0;

/// The share of the bytes that who catches up has in any case: a tip that is far behind itself must not starve it.
const CATCH_UP_SHARE: f64 = 0.1;

/// Bytes that must be there before who catches up may ask: what a shard gives between two calls.
const QUANTUM: f64 = 400_000.0;

/// What an answer may cost more than was there: all that the service may give in one.
const LARGEST_ANSWER: f64 = 10_000_000.0;

/// A reader that has not asked for this long is not waited for: it is asked for nothing itself, or has a call in
/// flight that hangs. As long as the longest rest.
const FORGOTTEN: Duration = LONGEST_REST;

/// Between two subscriptions to one shard by one consumer: the service refuses a second one within 5 s. It counts from
/// when a call arrives, we from when it is made.
pub(super) const SUBSCRIPTION_GAP: Duration = Duration::from_millis(5_500);

/// What a reader is told.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Turn {
    /// Ask now, for about so many bytes; `None`: for as many as the service gives.
    Now(Option<usize>),
    /// Ask again then.
    At(Instant),
}

/// What a reader is to its shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Tip,
    CatchUp,
}

/// A budget that fills with time.
#[derive(Debug)]
struct Bucket {
    level: f64,
    most: f64,
    per_second: f64,
    at: Option<Instant>,
}

impl Bucket {
    const fn new(per_second: f64, most: f64) -> Bucket {
        Bucket { level: most, most, per_second, at: None }
    }

    fn level(&mut self, now: Instant) -> f64 {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.level = (self.level + since.as_secs_f64() * self.per_second).min(self.most);
        self.level
    }

    fn take(&mut self, amount: f64, least: f64, now: Instant) {
        self.level = (self.level(now) - amount).max(least);
    }

    /// When there will be so much.
    fn has(&mut self, amount: f64, now: Instant) -> Instant {
        let missing = (amount - self.level(now)).max(0.0);
        // Rounded up: who comes back at that moment must find it.
        now + Duration::from_secs_f64(missing / self.per_second) + Duration::from_micros(1)
    }
}

/// One reader, as the scheduler knows it.
#[derive(Debug, Default)]
struct Standing {
    at: Option<Position>,
    behind_ms: Option<i64>,
    /// It has nothing to ask before.
    idle_until: Option<Instant>,
    /// It asks for a turn, last at.
    asked: Option<Instant>,
    /// It had its last turn at.
    served: Option<Instant>,
}

impl Standing {
    /// Positions are exact; without them the service's word counts, which is as old as the last answer.
    fn is_further_than(&self, other: &Standing) -> bool {
        match (self.at, other.at) {
            (Some(own), Some(other)) if own != other => own > other,
            _ => match (self.behind_ms, other.behind_ms) {
                (Some(own), Some(other)) if own != other => own < other,
                // Who has no position yet begins with the oldest record, or has read nothing.
                _ => self.at > other.at,
            },
        }
    }

    fn is_at_work(&self, now: Instant) -> bool {
        let last = self.asked.max(self.served);
        self.idle_until.is_none_or(|until| until <= now) && last.is_some_and(|last| now < last + FORGOTTEN)
    }
}

/// One shard's readers.
#[derive(Debug)]
pub(super) struct Pace {
    /// In the order of their numbers: of two that are equally far the older one is the tip.
    readers: BTreeMap<u64, Standing>,
    next_call: Option<Instant>,
    next_iterator: Option<Instant>,
    /// Until then the tip's own answers have used up the shard's bytes.
    tip_rests: Option<Instant>,
    /// Calls of those who catch up.
    calls: Bucket,
    /// Bytes that nobody has used.
    spare: Bucket,
    /// Bytes that who catches up has in any case.
    share: Bucket,
    /// Who is subscribed to the shard: the service allows one subscription a consumer.
    seat: Option<u64>,
    next_subscription: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            readers: BTreeMap::new(),
            next_call: None,
            next_iterator: None,
            tip_rests: None,
            // Two saved up: turns come in fifths of a second, calls in halves.
            calls: Bucket::new(CATCH_UP_CALLS, 2.0),
            spare: Bucket::new(BYTES_PER_SECOND, BYTES_PER_SECOND),
            share: Bucket::new(BYTES_PER_SECOND * CATCH_UP_SHARE, QUANTUM),
            seat: None,
            next_subscription: None,
        }
    }
}

impl Pace {
    /// A reader begins after `at`.
    pub(super) fn join(&mut self, reader: u64, at: Option<Position>) {
        self.readers.insert(reader, Standing { at, ..Standing::default() });
    }

    pub(super) fn leave(&mut self, reader: u64) {
        self.readers.remove(&reader);
        self.rise(reader);
    }

    /// Where a reader stands after an answer or an event.
    pub(super) fn stands(&mut self, reader: u64, at: Option<Position>, behind_ms: i64) {
        let standing = self.readers.entry(reader).or_default();
        (standing.at, standing.behind_ms) = (at, Some(behind_ms));
    }

    /// A reader has nothing to ask before `until`.
    pub(super) fn idles(&mut self, reader: u64, until: Option<Instant>) {
        self.readers.entry(reader).or_default().idle_until = until;
    }

    fn tip(&self) -> Option<u64> {
        let mut readers = self.readers.iter();
        let first = readers.next()?;
        let tip = readers.fold(first, |tip, other| if other.1.is_further_than(tip.1) { other } else { tip });
        Some(*tip.0)
    }

    pub(super) fn role(&self, reader: u64) -> Role {
        if self.tip() == Some(reader) { Role::Tip } else { Role::CatchUp }
    }

    /// May a reader send GetRecords? A turn is used up by being told.
    pub(super) fn ask(&mut self, reader: u64, now: Instant) -> Turn {
        self.readers.entry(reader).or_default().asked = Some(now);
        if let Some(next) = self.next_call.filter(|next| *next > now) {
            return Turn::At(next);
        }
        let role = self.role(reader);
        let turn = match role {
            Role::Tip => self.tip_rests.filter(|until| *until > now).map_or(Turn::Now(None), Turn::At),
            Role::CatchUp => self.catch_up(reader, now),
        };
        if let Turn::Now(_) = turn {
            self.next_call = Some(now + CALL_GAP);
            if role == Role::CatchUp {
                self.calls.take(1.0, 0.0, now);
            }
            let standing = self.readers.entry(reader).or_default();
            (standing.served, standing.asked, standing.idle_until) = (Some(now), None, None);
        }
        turn
    }

    fn catch_up(&mut self, reader: u64, now: Instant) -> Turn {
        if self.tip_is_at_work(now) && self.calls.level(now) < 1.0 {
            // No later than the next call might be: the tip may have nothing to ask by then.
            return Turn::At(self.calls.has(1.0, now).min(now + CALL_GAP));
        }
        if self.someone_waits_longer(reader, now) {
            return Turn::At(now + CALL_GAP);
        }
        let bytes = self.spare.level(now).max(self.share.level(now));
        if bytes < QUANTUM {
            return Turn::At(self.spare.has(QUANTUM, now).min(self.share.has(QUANTUM, now)));
        }
        Turn::Now(Some(bytes as usize))
    }

    /// A tip that is served by fan-out needs none of the calls.
    fn tip_is_at_work(&self, now: Instant) -> bool {
        let tip = self.tip().filter(|tip| self.seat != Some(*tip));
        tip.and_then(|tip| self.readers.get(&tip)).is_some_and(|tip| tip.is_at_work(now))
    }

    /// Among those who catch up, who had its turn longest ago is next.
    fn someone_waits_longer(&self, reader: u64, now: Instant) -> bool {
        let served = |reader: &u64| self.readers.get(reader).and_then(|standing| standing.served);
        let (tip, own) = (self.tip(), served(&reader));
        let waits = |standing: &Standing| standing.asked.is_some_and(|asked| now < asked + 2 * CALL_GAP);
        let mut others = self.readers.iter().filter(|(other, _)| **other != reader && Some(**other) != tip);
        others.any(|(other, standing)| waits(standing) && served(other) < own)
    }

    /// An answer brought so many bytes: the shard's budget is spent for a while.
    pub(super) fn spent(&mut self, reader: u64, bytes: usize, now: Instant) {
        let bytes = bytes as f64;
        self.spare.take(bytes, -LARGEST_ANSWER, now);
        match self.role(reader) {
            Role::Tip => {
                let shared = self.readers.len() > 1 + usize::from(self.seat.is_some_and(|seat| seat != reader));
                let share = if shared { 1.0 - CATCH_UP_SHARE } else { 1.0 };
                let rest = Duration::from_secs_f64(bytes / (BYTES_PER_SECOND * share)).min(LONGEST_REST);
                self.tip_rests = self.tip_rests.max(Some(now + rest));
            }
            Role::CatchUp => self.share.take(bytes, -LARGEST_ANSWER, now),
        }
    }

    /// May a reader send GetShardIterator? A turn is used up by being told.
    pub(super) fn ask_iterator(&mut self, now: Instant) -> Turn {
        if let Some(next) = self.next_iterator.filter(|next| *next > now) {
            return Turn::At(next);
        }
        self.next_iterator = Some(now + CALL_GAP);
        Turn::Now(None)
    }

    /// May a reader subscribe? The tip alone may, one at a time, and not too soon after the last one. Who holds the seat
    /// and is no longer the tip gives it up here.
    pub(super) fn sit(&mut self, reader: u64, now: Instant) -> bool {
        if self.role(reader) != Role::Tip {
            self.rise(reader);
            return false;
        }
        let free = self.seat.is_none_or(|seat| seat == reader);
        if !free || self.next_subscription.is_some_and(|next| next > now) {
            // Until then it polls, as who has no seat.
            self.rise(reader);
            return false;
        }
        self.seat = Some(reader);
        true
    }

    /// Whether nothing of it matters any more, once nobody reads.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        let due = [self.next_call, self.next_iterator, self.tip_rests, self.next_subscription];
        due.into_iter().flatten().all(|due| due + LONGEST_REST < now)
    }

    /// The reader that has the seat sends SubscribeToShard.
    pub(super) fn subscribes(&mut self, now: Instant) {
        self.next_subscription = Some(now + SUBSCRIPTION_GAP);
    }

    /// A reader gives the seat up, if it has it.
    pub(super) fn rise(&mut self, reader: u64) {
        self.seat = self.seat.filter(|seat| *seat != reader);
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
