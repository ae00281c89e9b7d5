//! What fails right now: the calls that have not succeeded for a while make the sink say that it is down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A destination is down when some call has failed for this long: retries take care of what is shorter.
const DOWN_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    /// Since when, and why.
    failing: BTreeMap<u64, (Instant, String)>,
    /// The first of those that were given up (their lane was parked) since a call was last answered: that nobody
    /// tries any more does not mean that the destination is back.
    given_up: Option<(Instant, String)>,
}

/// Shared by all calls of a sink. Bounded: at most one entry for a call that is under way, and one more.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    calls: Mutex<Calls>,
    changed: Notify,
}

/// How things stand.
#[derive(Debug)]
pub(super) enum Standing {
    /// No call fails.
    Fine,
    /// Some call fails; from then on the sink is down.
    Failing { down_at: Instant, reason: String },
}

impl Trouble {
    fn with<T>(&self, act: impl FnOnce(&mut Calls) -> T) -> T {
        let outcome = act(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
        outcome
    }

    /// For one call, with all its tries.
    pub(super) fn watch(self: &Arc<Self>) -> Watch {
        Watch { trouble: Arc::clone(self), number: None }
    }

    fn has_given_up(&self) -> bool {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).given_up.is_some()
    }

    /// Waits for a change. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn standing(&self) -> Standing {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match calls.failing.values().chain(&calls.given_up).min_by_key(|(since, _)| *since) {
            None => Standing::Fine,
            Some((since, reason)) => Standing::Failing { down_at: *since + DOWN_AFTER, reason: reason.clone() },
        }
    }
}

/// A call that is tried.
#[derive(Debug)]
pub(super) struct Watch {
    trouble: Arc<Trouble>,
    number: Option<u64>,
}

impl Watch {
    /// A try has failed.
    pub(super) fn failed(&mut self, reason: String) {
        let number = self.number;
        let number = self.trouble.with(|calls| {
            let number = number.unwrap_or(calls.next);
            calls.next = calls.next.max(number + 1);
            let since = calls.failing.get(&number).map_or_else(Instant::now, |(since, _)| *since);
            calls.failing.insert(number, (since, reason));
            number
        });
        self.number = Some(number);
    }

    /// The destination has answered, be it with a refusal.
    pub(super) fn answered(&mut self) {
        let number = self.number.take();
        if number.is_some() || self.trouble.has_given_up() {
            self.trouble.with(|calls| {
                calls.given_up = None;
                number.and_then(|number| calls.failing.remove(&number))
            });
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.trouble.with(|calls| {
                let failure = calls.failing.remove(&number);
                calls.given_up = calls.given_up.take().or(failure);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_for_long_is_down_until_it_is_over() {
        let trouble = Arc::new(Trouble::default());
        let mut watch = trouble.watch();
        assert!(matches!(trouble.standing(), Standing::Fine));
        watch.failed("one".into());
        let begun = Instant::now();
        tokio::time::advance(Duration::from_secs(4)).await;
        watch.failed("two".into());
        let Standing::Failing { down_at, reason } = trouble.standing() else { panic!("it fails") };
        assert_eq!((down_at, reason.as_str()), (begun + DOWN_AFTER, "two"));
        drop(watch);
        assert!(matches!(trouble.standing(), Standing::Failing { .. }), "nobody tries any more");
        trouble.watch().answered();
        assert!(matches!(trouble.standing(), Standing::Fine));
        let mut watch = trouble.watch();
        watch.failed("three".into());
        watch.answered();
        drop(watch);
        assert!(matches!(trouble.standing(), Standing::Fine));
    }
}
