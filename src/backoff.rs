//! Pauses between tries: doubling, capped, with jitter.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The first pause, before jitter.
const FIRST: Duration = Duration::from_millis(200);

/// The longest pause, before jitter.
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses of 50 % to 100 % of 200 ms, 400 ms, … 30 s. Jitter keeps readers that failed together from
/// coming back together; it is seeded, so that a test can repeat it.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    jitter: ChaCha8Rng,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Backoff {
        Backoff { pause: FIRST, jitter: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// All is well again: the next failure begins with the first pause.
    #[cfg(any(feature = "aws", feature = "splunk"))]
    pub(crate) fn reset(&mut self) {
        self.pause = FIRST;
    }

    /// The next pause, of at most `longest`.
    #[cfg(any(feature = "aws", feature = "splunk"))]
    pub(crate) fn next_within(&mut self, longest: Duration) -> Duration {
        self.pause = self.pause.min(longest);
        self.next()
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.pause;
        self.pause = (full * 2).min(LONGEST);
        full.mul_f64(self.share())
    }

    /// The jitter alone: 0.5 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        0.5 + f64::from(self.jitter.next_u32()) / f64::from(u32::MAX) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_within_their_bounds() {
        let mut backoff = Backoff::new(7);
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.next()).collect();
        assert!(pauses.iter().all(|pause| *pause >= FIRST / 2 && *pause <= LONGEST));
        assert!(pauses.last() > pauses.first());
    }
}
