//! A token bucket for the calls of one account in one Region: EC2 counts them there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Calls that may follow each other at once: one refresh (four calls, a few pages).
const BURST: f64 = 8.0;

/// Gives one token a call.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    state: Mutex<(f64, Instant)>,
}

impl RateLimit {
    pub(super) fn new(per_second: u32) -> RateLimit {
        RateLimit { per_second: f64::from(per_second.max(1)), state: Mutex::new((BURST, Instant::now())) }
    }

    /// Waits for a token.
    pub(super) async fn take(&self) {
        // A token is taken now, be it on credit: who comes later waits longer.
        let wait = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let (tokens, since) = *state;
            let tokens = (tokens + now.duration_since(since).as_secs_f64() * self.per_second).min(BURST) - 1.0;
            *state = (tokens, now);
            (-tokens / self.per_second).max(0.0)
        };
        if wait > 0.0 {
            tokio::time::sleep(Duration::from_secs_f64(wait)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn calls_are_spread_once_the_burst_is_used_up() {
        let limit = RateLimit::new(2);
        let began = Instant::now();
        for _ in 0..8 {
            limit.take().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            limit.take().await;
        }
        assert!((4.9..5.2).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    }
}
