//! Whether the process lives and whether it is ready, with reasons a person can act on.
//!
//! *Live* means that the engine's loop still turns: a process that is not live should be restarted. *Ready*
//! means that every part works: a sink that is down makes it not ready, and a restart would not help. The
//! engine sets conditions and beats; this file decides nothing else, logs nothing and stops nothing.
//! Invariant: a condition's text is one line. It must carry no secret, since it is shown to anyone who asks.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the engine may be silent before the process counts as dead. The engine beats every second and
/// never blocks its loop; a minute outlasts a suspended laptop's wake-up and a slow disk's sync.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(60);

/// The condition of a process that has not begun to read yet. A new [`Health`] has it; the engine clears it.
pub const STARTING: &str = "starting";

/// The condition of a process that drains.
pub const STOPPING: &str = "stopping";

/// The condition of a process that cannot keep what its sinks' destinations refused: those sinks wait.
pub const REFUSED: &str = "refused events";

/// The condition of a process whose last reload failed, or that is between two pipelines.
pub const RELOAD: &str = "reload";

/// The clock that tells how long something lasts.
type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// Shared by the engine, which writes, and the status page, which reads. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    last_heartbeat: Instant,
    /// Why the process is not ready, by name. As many as the pipeline has sources and sinks, and a few.
    conditions: BTreeMap<String, Condition>,
}

struct Condition {
    reason: String,
    since: Instant,
}

/// One reason why the process is not ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotReady {
    /// What it is about, for example `sink siem`.
    pub name: String,
    /// What is wrong, one line.
    pub reason: String,
    /// For how long; another reason for the same name does not start it anew.
    pub lasting: Duration,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (for {} s)", self.name, self.reason, self.lasting.as_secs())
    }
}

impl Default for Health {
    fn default() -> Self {
        Health::new()
    }
}

impl Health {
    /// Live, and not ready because it is [`STARTING`].
    pub fn new() -> Self {
        // Tokio's clock, which tests can pause; outside a runtime it is the system's.
        Health::with_clock(|| tokio::time::Instant::now().into_std())
    }

    /// The same with another clock.
    pub fn with_clock(clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let now = clock();
        let starting = Condition { reason: "not reading yet".into(), since: now };
        let conditions = BTreeMap::from([(STARTING.to_owned(), starting)]);
        Health { clock: Arc::new(clock), state: Arc::new(Mutex::new(State { last_heartbeat: now, conditions })) }
    }

    /// The engine's loop has turned.
    pub fn heartbeat(&self) {
        let now = (self.clock)();
        self.state().last_heartbeat = now;
    }

    /// Sets or clears (`None`) the condition `name`, for example `sink siem` or [`STOPPING`].
    pub fn set(&self, name: &str, reason: Option<&str>) {
        let now = (self.clock)();
        let mut state = self.state();
        let Some(reason) = reason else {
            state.conditions.remove(name);
            return;
        };
        let reason = one_line(reason);
        match state.conditions.get_mut(name) {
            Some(condition) => condition.reason = reason,
            None => {
                state.conditions.insert(one_line(name), Condition { reason, since: now });
            }
        }
    }

    /// Forgets every condition but [`RELOAD`] and [`STOPPING`]: the parts that they were about are gone.
    pub fn forget_parts(&self) {
        self.state().conditions.retain(|name, _| name == RELOAD || name == STOPPING);
    }

    /// Whether the engine has beaten within [`HEARTBEAT_TIMEOUT`].
    pub fn is_live(&self) -> bool {
        self.silence() < HEARTBEAT_TIMEOUT
    }

    /// How long ago the latest heartbeat was.
    pub fn silence(&self) -> Duration {
        let now = (self.clock)();
        now.saturating_duration_since(self.state().last_heartbeat)
    }

    /// Why the process is not ready, in the order of names; empty: it is.
    pub fn not_ready(&self) -> Vec<NotReady> {
        let now = (self.clock)();
        let lasting = |since| now.saturating_duration_since(since);
        self.state()
            .conditions
            .iter()
            .map(|(name, Condition { reason, since })| NotReady {
                name: name.clone(),
                reason: reason.clone(),
                lasting: lasting(*since),
            })
            .collect()
    }

    /// The status page's `/readyz`: whether ready, and `ready` or the reasons, one a line.
    pub fn readiness(&self) -> (bool, String) {
        let mut reasons = self.not_ready();
        if !self.is_live() {
            let reason = "its loop does not turn".to_owned();
            reasons.push(NotReady { name: "engine".into(), reason, lasting: self.silence() });
        }
        if reasons.is_empty() {
            return (true, "ready\n".into());
        }
        let mut text = String::new();
        for reason in &reasons {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{reason}");
        }
        (false, text)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The lock is never held across code that can panic; a poisoned one still tells the truth.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("not_ready", &self.not_ready()).finish_non_exhaustive()
    }
}

/// Control characters become spaces, so that one condition stays one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A started health, and the seconds that its clock shows.
    fn health() -> (Health, Arc<AtomicU64>) {
        let seconds = Arc::new(AtomicU64::new(0));
        let origin = tokio::time::Instant::now().into_std();
        let shown = Arc::clone(&seconds);
        let health = Health::with_clock(move || origin + Duration::from_secs(shown.load(Ordering::Relaxed)));
        health.set(STARTING, None);
        (health, seconds)
    }

    #[test]
    fn a_new_process_is_live_but_not_ready() {
        let health = Health::new();
        assert!(health.is_live());
        assert_eq!(health.readiness(), (false, "starting: not reading yet (for 0 s)\n".into()));
        health.set(STARTING, None);
        assert_eq!(health.readiness(), (true, "ready\n".into()));
    }

    #[test]
    fn every_condition_is_named_with_its_age() {
        let (health, seconds) = health();
        health.set("sink siem", Some("no answer from the broker"));
        seconds.store(40, Ordering::Relaxed);
        health.heartbeat();
        health.set("source main", Some("access denied"));
        seconds.store(42, Ordering::Relaxed);
        let expected = "sink siem: no answer from the broker (for 42 s)\nsource main: access denied (for 2 s)\n";
        assert_eq!(health.readiness(), (false, expected.into()));
    }

    #[test]
    fn another_reason_does_not_make_a_condition_younger() {
        let (health, seconds) = health();
        health.set("sink siem", Some("refused"));
        seconds.store(5, Ordering::Relaxed);
        health.set("sink siem", Some("timed out"));
        assert_eq!(health.readiness().1, "sink siem: timed out (for 5 s)\n");
        health.set("sink siem", None);
        assert!(health.readiness().0);
    }

    #[test]
    fn a_silent_engine_is_dead_until_it_beats_again() {
        let (health, seconds) = health();
        seconds.store(59, Ordering::Relaxed);
        assert!(health.is_live());
        seconds.store(60, Ordering::Relaxed);
        assert!(!health.is_live());
        assert_eq!(health.readiness(), (false, "engine: its loop does not turn (for 60 s)\n".into()));
        health.heartbeat();
        assert!(health.is_live());
    }

    #[test]
    fn what_is_said_of_parts_goes_with_them() {
        let (health, _) = health();
        health.set("sink siem", Some("refused"));
        health.set(RELOAD, Some("2 problems"));
        health.forget_parts();
        assert_eq!(health.readiness().1, "reload: 2 problems (for 0 s)\n");
    }

    #[test]
    fn a_reason_cannot_forge_a_line() {
        let (health, _) = health();
        health.set("sink siem", Some("refused\nready"));
        assert_eq!(health.readiness().1, "sink siem: refused ready (for 0 s)\n");
    }
}
