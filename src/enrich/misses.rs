//! Connections that were looked up and not found: readers list them, a loader that can ask for them takes them.
//!
//! Bounded by [`MAX_WAITING`]; what does not fit is counted elsewhere and comes again with the next event. Where no
//! loader listens nothing is listed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Misses that wait to be taken: 64 of each of 64 readers' pieces.
const MAX_WAITING: usize = 4096;

/// A connection that the inventory does not have, and what its record told of its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Miss {
    /// `vpn-…`
    pub connection: String,
    /// The account, by the record.
    pub account: Option<String>,
    /// The Region, by the record or the source's default.
    pub region: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Misses {
    wanted: AtomicBool,
    waiting: Mutex<BTreeSet<Miss>>,
    noted: Notify,
}

impl Misses {
    /// A loader listens from now on.
    pub fn listen(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Lists what a piece of work did not find.
    pub fn note(&self, misses: Vec<Miss>) {
        if misses.is_empty() || !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for miss in misses {
            if waiting.len() < MAX_WAITING {
                waiting.insert(miss);
            }
        }
        drop(waiting);
        self.noted.notify_one();
    }

    /// Waits for misses and takes them. To be dropped and called again at will.
    pub async fn take(&self) -> BTreeSet<Miss> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.noted.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn miss(number: usize) -> Miss {
        Miss { connection: format!("vpn-{number}"), account: None, region: None }
    }

    #[tokio::test]
    async fn misses_are_listed_once_and_within_their_bound_where_a_loader_listens() {
        let misses = Misses::default();
        misses.note(vec![miss(1)]);
        misses.listen();
        misses.note(vec![miss(3)]);
        misses.note((0..MAX_WAITING + 9).map(miss).collect());
        assert_eq!(misses.take().await, (0..MAX_WAITING).map(miss).collect());
    }
}
