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
}

/// Shared by all calls of a sink. Bounded: at most one entry for a call that is under way.
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

    /// Waits for a change. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn standing(&self) -> Standing {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match calls.failing.values().min_by_key(|(since, _)| *since) {
            None => Standing::Fine,
            Some((since, reason)) => Standing::Failing { down_at: *since + DOWN_AFTER, reason: reason.clone() },
        }
    }
}

/// A call that is tried; when it is dropped it fails no longer.
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
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.trouble.with(|calls| calls.failing.remove(&number));
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
        assert!(matches!(trouble.standing(), Standing::Fine));
    }
}
