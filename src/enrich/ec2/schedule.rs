//! When which place is asked next. Pure: time is an argument.
//!
//! Every place has its own rhythm with jitter, slower while it fails. An unknown connection brings its place
//! forward, once for each connection and not more often than [`MISS_PAUSE`].

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::store::Place;

/// The shortest time between two refreshes of one place: five calls every ten seconds are a hundredth of what EC2
/// allows an account.
const MISS_PAUSE: Duration = Duration::from_secs(10);
/// The first pause after a failure that is likely to pass; doubles, at most the refresh.
const RETRY: Duration = Duration::from_secs(15);
/// Unknown connections that a place remembers to have been asked for. Logs of deleted connections stop within
/// minutes; more than this is somebody's noise, and then [`MISS_PAUSE`] alone limits.
const MAX_ASKED: usize = 1024;

#[derive(Debug)]
struct Due {
    at: Instant,
    began: Option<Instant>,
    is_running: bool,
    failures: u32,
    turns: u64,
    /// Unknown connections that the next, or the running, refresh is for.
    wanted: HashSet<String>,
    /// Those that an earlier one did not find.
    asked: HashSet<String>,
}

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Answered,
    /// Likely to pass by itself.
    FailedForNow,
    /// Somebody has to mend it.
    Failed,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Schedule {
    refresh: Duration,
    places: BTreeMap<Place, Due>,
}

impl Schedule {
    pub(super) fn new(refresh: Duration) -> Schedule {
        Schedule { refresh, places: BTreeMap::new() }
    }

    /// These places and no others; those that are new are due at once.
    pub(super) fn set(&mut self, places: &BTreeSet<Place>, now: Instant) {
        self.places.retain(|place, _| places.contains(place));
        for place in places {
            self.places.entry(place.clone()).or_insert_with(|| Due {
                at: now,
                began: None,
                is_running: false,
                failures: 0,
                turns: 0,
                wanted: HashSet::new(),
                asked: HashSet::new(),
            });
        }
    }

    /// The place that has been due for the longest time; it counts as running now.
    pub(super) fn start(&mut self, now: Instant) -> Option<Place> {
        let waiting = self.places.iter_mut().filter(|(_, due)| !due.is_running && due.at <= now);
        let (place, due) = waiting.min_by_key(|(_, due)| due.at)?;
        (due.is_running, due.began) = (true, Some(now));
        let wanted = std::mem::take(&mut due.wanted);
        if due.asked.len() + wanted.len() > MAX_ASKED {
            due.asked.clear();
        }
        due.asked.extend(wanted.into_iter().take(MAX_ASKED));
        Some(place.clone())
    }

    /// When something is due next; in the past if it is already.
    pub(super) fn next(&self) -> Option<Instant> {
        self.places.values().filter(|due| !due.is_running).map(|due| due.at).min()
    }

    /// A refresh has ended.
    pub(super) fn ended(&mut self, place: &Place, how: Ended, now: Instant) {
        let refresh = self.refresh;
        let Some(due) = self.places.get_mut(place) else { return };
        due.is_running = false;
        due.turns += 1;
        due.failures = if how == Ended::Answered { 0 } else { due.failures.saturating_add(1) };
        let pause = match how {
            Ended::FailedForNow => (RETRY * (1 << (due.failures - 1).min(8))).min(refresh),
            Ended::Answered | Ended::Failed => refresh,
        };
        due.at = now + jittered(pause, place, due.turns);
        // What was missed meanwhile is not in this answer for sure.
        if !due.wanted.is_empty() {
            due.at = due.at.min(due.began.map_or(now, |began| began + MISS_PAUSE).max(now));
        }
    }

    /// A connection is unknown. The place that its record names is asked first; if that does not know it, the
    /// other Regions of the account, since the place a log lies in is no proof.
    pub(super) fn missed(&mut self, connection: &str, account: Option<&str>, region: Option<&str>, now: Instant) {
        let of_account = |place: &Place| account.is_none_or(|account| place.account.as_ref() == account);
        let named = |place: &Place| account.is_some() && region.is_some_and(|region| place.region.as_ref() == region);
        let known_there = |due: &Due| due.asked.contains(connection) && !due.is_running;
        let others_too = !self.places.iter().any(|(place, due)| of_account(place) && named(place) && !known_there(due));
        for (place, due) in self.places.iter_mut().filter(|(place, _)| of_account(place)) {
            if (others_too || named(place)) && !due.asked.contains(connection) && due.wanted.len() < MAX_ASKED {
                due.wanted.insert(connection.to_owned());
                let earliest = due.began.map_or(now, |began| (began + MISS_PAUSE).max(now));
                due.at = due.at.min(earliest);
            }
        }
    }
}

/// Give or take a tenth, so that places that began together drift apart; the same for the same turn.
fn jittered(pause: Duration, place: &Place, turn: u64) -> Duration {
    let seed = format!("{}/{}/{turn}", place.account, place.region);
    let share = (xxhash_rust::xxh3::xxh3_64(seed.as_bytes()) % 1024) as f64 / 1023.0;
    pause.mul_f64(0.9 + share * 0.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(account: &str, region: &str) -> Place {
        Place { account: account.into(), region: region.into() }
    }

    /// Two Regions of one account and one of another, all asked and answered at the beginning.
    fn settled() -> (Schedule, Instant) {
        let now = Instant::now();
        let mut schedule = Schedule::new(Duration::from_secs(300));
        schedule.set(&BTreeSet::from([place("1", "a"), place("1", "b"), place("2", "a")]), now);
        while let Some(place) = schedule.start(now) {
            schedule.ended(&place, Ended::Answered, now);
        }
        (schedule, now)
    }

    fn started(schedule: &mut Schedule, now: Instant) -> Vec<String> {
        let all = std::iter::from_fn(|| schedule.start(now));
        all.map(|place| format!("{}/{}", place.account, place.region)).collect()
    }

    #[test]
    fn every_place_comes_again_with_jitter() {
        let (mut schedule, now) = settled();
        assert!(started(&mut schedule, now + Duration::from_secs(269)).is_empty());
        assert_eq!(started(&mut schedule, now + Duration::from_secs(331)).len(), 3);
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_sooner_and_then_slower() {
        let (mut schedule, now) = settled();
        let one = place("1", "a");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            schedule.ended(&one, Ended::FailedForNow, now);
            pauses.push(schedule.places[&one].at - now);
        }
        assert!(pauses[0] <= Duration::from_secs(17) && pauses[1] > pauses[0], "{pauses:?}");
        assert!(pauses[7] >= Duration::from_secs(270) && pauses[7] <= Duration::from_secs(330), "{pauses:?}");
        schedule.ended(&one, Ended::Failed, now);
        assert!(schedule.places[&one].at - now >= Duration::from_secs(270));
    }

    #[test]
    fn an_unknown_connection_is_asked_for_once_where_it_should_be_and_then_elsewhere() {
        let (mut schedule, now) = settled();
        let missed = |schedule: &mut Schedule, now| schedule.missed("vpn-1", Some("1"), Some("a"), now);
        missed(&mut schedule, now);
        assert!(started(&mut schedule, now + Duration::from_secs(9)).is_empty(), "it was asked a moment ago");
        let now = now + Duration::from_secs(10);
        assert_eq!(started(&mut schedule, now), ["1/a"]);
        missed(&mut schedule, now);
        schedule.ended(&place("1", "a"), Ended::Answered, now);
        assert!(started(&mut schedule, now + Duration::from_secs(60)).is_empty(), "asked for already");
        missed(&mut schedule, now);
        assert_eq!(started(&mut schedule, now), ["1/b"], "not where its record said, nor in another account");
        schedule.ended(&place("1", "b"), Ended::Answered, now);
        missed(&mut schedule, now);
        assert!(started(&mut schedule, now + Duration::from_secs(60)).is_empty());
    }

    #[test]
    fn a_connection_of_an_account_that_is_not_configured_asks_nobody() {
        let (mut schedule, now) = settled();
        schedule.missed("vpn-1", Some("3"), None, now);
        assert!(started(&mut schedule, now + Duration::from_secs(60)).is_empty());
        schedule.missed("vpn-1", None, None, now);
        assert_eq!(started(&mut schedule, now + Duration::from_secs(60)).len(), 3, "it may be anywhere");
    }

    #[test]
    fn noise_is_bounded() {
        let (mut schedule, now) = settled();
        for number in 0..5000 {
            schedule.missed(&format!("vpn-{number}"), Some("1"), Some("a"), now);
        }
        assert_eq!(started(&mut schedule, now + Duration::from_secs(10)), ["1/a"]);
        assert!(schedule.places.values().all(|due| due.asked.len() <= MAX_ASKED && due.wanted.len() <= MAX_ASKED));
    }
}
