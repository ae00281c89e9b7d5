//! One log line per reason and interval, with a count of what was held back.
//!
//! A source can send a million damaged records; the log says so once a minute. Counting is the business of
//! the metrics, which count each one. It has no clock and writes nothing: the caller passes the time and
//! logs what comes back. Invariants: memory is bounded by [`MAX_REASONS`]; every occurrence is in exactly one
//! `suppressed` count or is the line itself, as long as [`RateLimit::overdue`] is asked now and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Reasons that are told apart; all others share one line named [`OTHER`]. Reasons come from closed lists
/// of about a dozen, so more than 64 means that somebody passes data as a reason.
pub const MAX_REASONS: usize = 64;

/// The reason that stands for all beyond [`MAX_REASONS`].
pub const OTHER: &str = "other";

/// Says for each occurrence whether it is worth a line. For one task, or behind a mutex.
#[derive(Debug)]
pub struct RateLimit {
    interval: Duration,
    windows: BTreeMap<Box<str>, Window>,
}

/// One reason since its latest line.
#[derive(Debug)]
struct Window {
    logged_at: Instant,
    suppressed: u64,
}

/// A line that is due now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The reason, or [`OTHER`].
    pub reason: String,
    /// Occurrences since the line before, this one not counted.
    pub suppressed: u64,
}

impl RateLimit {
    /// At most one line per reason in each `interval`.
    pub fn new(interval: Duration) -> Self {
        RateLimit { interval, windows: BTreeMap::new() }
    }

    /// Notes one occurrence; `Some` if it should be logged.
    pub fn note(&mut self, reason: &str, now: Instant) -> Option<Line> {
        let reason = self.admit(reason, now);
        let Some(window) = self.windows.get_mut(reason) else {
            self.windows.insert(reason.into(), Window { logged_at: now, suppressed: 0 });
            return Some(Line { reason: reason.to_owned(), suppressed: 0 });
        };
        if now.saturating_duration_since(window.logged_at) < self.interval {
            window.suppressed = window.suppressed.saturating_add(1);
            return None;
        }
        window.logged_at = now;
        Some(Line { reason: reason.to_owned(), suppressed: std::mem::take(&mut window.suppressed) })
    }

    /// Lines for what was held back and not followed by another occurrence: ask once an interval, and with
    /// `None` at the end of the run.
    pub fn overdue(&mut self, now: Option<Instant>) -> Vec<Line> {
        let mut lines = Vec::new();
        for (reason, window) in &mut self.windows {
            let expired = now.is_none_or(|now| now.saturating_duration_since(window.logged_at) >= self.interval);
            if expired && window.suppressed > 0 {
                window.logged_at = now.unwrap_or(window.logged_at);
                lines.push(Line { reason: reason.to_string(), suppressed: std::mem::take(&mut window.suppressed) });
            }
        }
        lines
    }

    /// The reason itself if there is room to tell it apart, else [`OTHER`].
    fn admit<'a>(&mut self, reason: &'a str, now: Instant) -> &'a str {
        // One place is kept for `OTHER`.
        if self.windows.contains_key(reason) || self.windows.len() < MAX_REASONS - 1 {
            return reason;
        }
        let interval = self.interval;
        self.windows
            .retain(|_, window| window.suppressed > 0 || now.saturating_duration_since(window.logged_at) < interval);
        if self.windows.len() < MAX_REASONS - 1 { reason } else { OTHER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Instant {
        // All times of one test need one origin; which one does not matter.
        static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *ORIGIN.get_or_init(|| tokio::time::Instant::now().into_std()) + Duration::from_secs(number)
    }

    fn line(reason: &str, suppressed: u64) -> Line {
        Line { reason: reason.into(), suppressed }
    }

    #[test]
    fn the_first_of_a_reason_is_logged_and_the_rest_of_the_interval_counted() {
        let mut limit = RateLimit::new(Duration::from_secs(60));
        assert_eq!(limit.note("not_gzip", second(0)), Some(line("not_gzip", 0)));
        assert_eq!(limit.note("not_gzip", second(1)), None);
        assert_eq!(limit.note("not_gzip", second(59)), None);
        assert_eq!(limit.note("not_gzip", second(60)), Some(line("not_gzip", 2)));
        assert_eq!(limit.note("not_gzip", second(61)), None);
    }

    #[test]
    fn reasons_do_not_hide_each_other() {
        let mut limit = RateLimit::new(Duration::from_secs(60));
        assert!(limit.note("not_gzip", second(0)).is_some());
        assert!(limit.note("not_json", second(1)).is_some());
    }

    #[test]
    fn what_a_burst_left_uncounted_is_overdue_once() {
        let mut limit = RateLimit::new(Duration::from_secs(60));
        for _ in 0..5 {
            limit.note("not_gzip", second(0));
        }
        assert_eq!(limit.overdue(Some(second(59))), []);
        assert_eq!(limit.overdue(Some(second(60))), [line("not_gzip", 4)]);
        assert_eq!(limit.overdue(Some(second(200))), []);
    }

    #[test]
    fn the_end_of_the_run_waits_for_no_interval() {
        let mut limit = RateLimit::new(Duration::from_secs(60));
        limit.note("not_gzip", second(0));
        limit.note("not_gzip", second(0));
        assert_eq!(limit.overdue(None), [line("not_gzip", 1)]);
    }

    #[test]
    fn any_number_of_reasons_fits_the_bound() {
        let mut limit = RateLimit::new(Duration::from_secs(60));
        let lines = (0..10_000).filter(|number| limit.note(&format!("reason {number}"), second(0)).is_some()).count();
        assert_eq!(lines, MAX_REASONS);
        assert_eq!(limit.windows.len(), MAX_REASONS);
        assert_eq!(limit.overdue(None), [line(OTHER, 10_000 - MAX_REASONS as u64)]);
        // Once they are quiet for an interval, new reasons have room again.
        assert_eq!(limit.note("new", second(60)), Some(line("new", 0)));
    }
}
