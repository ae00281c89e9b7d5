//! Where a sink's rejects go: items that its destination refuses for good, as dead letters with their sink.
//!
//! A reject is no lane. It is written at once, at least once, under a name or in a line that says which item it is,
//! and only when it is durable does the sink settle the item ([`crate::delivery::Receipt::reject`]).
//!
//! Writing is tried for ever, with pauses: the sink waits meanwhile, the others go on. The log and `/readyz` name
//! places, sinks and reasons, never a letter's detail or bytes.

mod file;
mod memory;
#[cfg(feature = "aws")]
mod s3;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

pub use self::file::FileRejects;
pub use self::memory::MemoryRejects;
#[cfg(feature = "aws")]
pub use self::s3::S3Rejects;
use crate::backoff::Backoff;
use crate::encode::DeadLetter;
use crate::telemetry::health::{Health, REFUSED};
use crate::telemetry::rate_limit::RateLimit;

/// Keeps dead letters of sinks.
#[async_trait]
pub trait Rejects: Send + Sync {
    /// Makes the letters durable. Tries until it succeeds, with pauses, and says so in the log; dropping the future
    /// gives up, and what was written may then come again.
    async fn keep(&self, letters: &[DeadLetter]);
}

/// Shared by all sinks of a pipeline.
pub type SharedRejects = Arc<dyn Rejects>;

/// One log line for each sink and reason in this time; the rest is counted in the next one.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Writes until it succeeds, and says how it goes.
#[derive(Debug)]
struct Patience {
    /// Where the letters go, for a person.
    place: String,
    log: Mutex<RateLimit>,
    /// Where it shows that something waits; `None`: in the log alone.
    health: Option<Health>,
}

/// Takes back what was shown, also where the writing is given up.
#[derive(Debug)]
struct Shown<'a>(&'a Health);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.set(REFUSED, None);
    }
}

impl Patience {
    fn new(place: String) -> Patience {
        Patience { place, log: Mutex::new(RateLimit::new(LOG_INTERVAL)), health: None }
    }

    /// Calls `write` until it succeeds, for letters of the sink `sink`. `seed` is for the jitter.
    async fn persist<W>(&self, sink: &str, seed: u64, mut write: impl FnMut() -> W)
    where
        W: Future<Output = Result<(), String>>,
    {
        let (mut backoff, mut shown) = (Backoff::new(seed), None);
        while let Err(reason) = write().await {
            if let Some(health) = &self.health {
                let place = &self.place;
                health
                    .set(REFUSED, Some(&format!("sink {sink} waits, since they cannot be kept in {place}: {reason}")));
                // Once: to drop it takes the word back.
                shown.get_or_insert_with(|| Shown(health));
            }
            if let Some(suppressed) = self.is_due("unwritable") {
                tracing::error!(place = %self.place, reason, suppressed, "what a sink's destination refused cannot be kept; the sink waits and tries again, nothing is lost");
            }
            sleep(backoff.next()).await;
        }
        drop(shown);
    }

    /// Says what has been kept.
    fn kept(&self, letters: &[DeadLetter]) {
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for letter in letters {
            *counts.entry((letter.sink.as_deref().unwrap_or_default(), &letter.reason)).or_default() += 1;
        }
        for ((sink, reason), count) in counts {
            if let Some(suppressed) = self.is_due(&format!("{sink} {reason}")) {
                tracing::warn!(place = %self.place, sink, reason, count, suppressed, "the sink's destination refused events for good; they are kept as dead letters");
            }
        }
    }

    fn is_due(&self, what: &str) -> Option<u64> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.note(what, Instant::now().into_std()).map(|line| line.suppressed)
    }
}

/// The sink whose letters these are: of several, the first.
fn sink_of(letters: &[DeadLetter]) -> &str {
    letters.first().and_then(|letter| letter.sink.as_deref()).unwrap_or_default()
}

/// A seed that is another one for other letters.
fn seed_of(letters: &[DeadLetter]) -> u64 {
    // The lower half of the hash.
    letters.first().map_or(0, |letter| letter.id.0 as u64)
}
