//! Bytes of a source's answers, from before they are read from the network until their records are processed.
//!
//! How large an answer is nobody knows before the service answers: up to 10 MiB, mostly a few KiB. So a call starts
//! with a place and [`START_BYTES`], and when the answer's head tells its length, [`Call::grow`] waits for as much as
//! reading it takes; only then is the body read. What is kept of it goes with the records ([`Call::record`]).
//!
//! Calls and what they grow by wait in one line. [`Fetch::new`] leaves room for the largest answer beside what all
//! calls start with, so the first in line is always served once those that have records let go of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Calls under way at a time.
const CALLS: usize = 16;

/// What a call starts with: answers of shards where little happens, and what a connection reads ahead.
const START_BYTES: u64 = 512 * 1024;

/// The largest answer: 10 MiB of records (`GetRecords`), as base64 in JSON, and the rest of it.
const ANSWER_BYTES: u64 = 15 * 1024 * 1024;

/// Reading an answer takes this many times its length: it arrives in pieces, is put together, and its records are
/// decoded from it (3/4).
const READING: u64 = 3;

/// The least that [`Fetch`] works with.
pub(super) const LEAST_BYTES: u64 = ANSWER_BYTES * READING + CALLS as u64 * START_BYTES;

/// Permits are counted in this unit, since a semaphore's are 32 bits.
const UNIT: u64 = 1024;

/// See the module.
#[derive(Debug)]
pub struct Fetch {
    calls: Arc<Semaphore>,
    units: Arc<Semaphore>,
    total_units: u32,
    waiting: AtomicUsize,
    changed: Notify,
}

/// One call under way, until its answer is taken apart. What [`Call::record`] has not given away is free then.
#[derive(Debug)]
pub struct Call {
    fetch: Arc<Fetch>,
    _place: Option<OwnedSemaphorePermit>,
    units: Mutex<Option<OwnedSemaphorePermit>>,
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

impl Fetch {
    /// A budget of so many bytes, at least what one answer takes.
    pub fn new(bytes: u64) -> Arc<Fetch> {
        let total_units = units(bytes.max(LEAST_BYTES));
        Arc::new(Fetch {
            calls: Arc::new(Semaphore::new(CALLS)),
            units: Arc::new(Semaphore::new(total_units as usize)),
            total_units,
            waiting: AtomicUsize::new(0),
            changed: Notify::new(),
        })
    }

    /// Waits for leave to make a call. Cancel-safe.
    pub async fn call(self: &Arc<Self>) -> Call {
        // Neither semaphore is ever closed.
        let place = match Arc::clone(&self.calls).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                let _waits = Waits::new(self);
                Arc::clone(&self.calls).acquire_owned().await.ok()
            }
        };
        let units = self.acquire(units(START_BYTES)).await;
        Call { fetch: Arc::clone(self), _place: place, units: Mutex::new(units) }
    }

    /// So much memory, if it is there: for what comes unasked. What is beyond it is not counted.
    pub fn unasked(self: &Arc<Self>, bytes: u64) -> Call {
        let units = Arc::clone(&self.units).try_acquire_many_owned(units(bytes)).ok();
        Call { fetch: Arc::clone(self), _place: None, units: Mutex::new(units) }
    }

    async fn acquire(&self, units: u32) -> Option<OwnedSemaphorePermit> {
        let units = units.min(self.total_units);
        match Arc::clone(&self.units).try_acquire_many_owned(units) {
            Ok(permit) => Some(permit),
            Err(_) => {
                let _waits = Waits::new(self);
                Arc::clone(&self.units).acquire_many_owned(units).await.ok()
            }
        }
    }

    /// Waits until somebody waits. Cancel-safe.
    pub async fn pressed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.waiting.load(Ordering::SeqCst) > 0 {
                return;
            }
            changed.await;
        }
    }

    /// Bytes lent.
    pub fn used_bytes(&self) -> u64 {
        let free = self.units.available_permits() as u64;
        (u64::from(self.total_units).saturating_sub(free)) * UNIT
    }

    /// Bytes there are.
    pub fn total_bytes(&self) -> u64 {
        u64::from(self.total_units) * UNIT
    }
}

impl Call {
    /// The answer's head says how long its body is; nothing: it does not. Waits for what reading it takes.
    pub async fn grow(&self, length: Option<u64>) {
        let wanted = units(length.unwrap_or(ANSWER_BYTES).min(ANSWER_BYTES) * READING);
        let has = self.lock().as_ref().map_or(0, |permit| u32::try_from(permit.num_permits()).unwrap_or(u32::MAX));
        if wanted <= has {
            return;
        }
        let more = self.fetch.acquire(wanted.min(self.fetch.total_units) - has).await;
        let mut units = self.lock();
        match (units.as_mut(), more) {
            (Some(units), Some(more)) => units.merge(more),
            (None, more) => *units = more,
            (Some(_), None) => {}
        }
    }

    /// A record of the answer: the same bytes with their part of what was lent, which is given back with them.
    pub fn record(&self, data: Bytes) -> Bytes {
        let part = self.lock().as_mut().and_then(|permit| permit.split(data.len().div_ceil(UNIT as usize)));
        match part {
            Some(part) => Bytes::from_owner(Lent { data, _part: part }),
            None => data,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record's bytes with their permit.
struct Lent {
    data: Bytes,
    _part: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// Counts one who waits.
struct Waits<'f>(&'f Fetch);

impl Waits<'_> {
    fn new(fetch: &Fetch) -> Waits<'_> {
        fetch.waiting.fetch_add(1, Ordering::SeqCst);
        fetch.changed.notify_waiters();
        Waits(fetch)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    /// Whether it is ready at once.
    async fn now<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_record_keeps_its_part_and_the_rest_is_free_when_the_call_ends() {
        let fetch = Fetch::new(0);
        let call = fetch.call().await;
        call.grow(Some(4 << 20)).await;
        assert_eq!(fetch.used_bytes(), 12 << 20);
        let record = call.record(Bytes::from(vec![7; 1 << 20]));
        drop(call);
        assert_eq!(fetch.used_bytes(), 1 << 20);
        let copy = record.clone();
        drop(record);
        assert_eq!((fetch.used_bytes(), copy.len()), (1 << 20, 1 << 20));
        drop(copy);
        assert_eq!(fetch.used_bytes(), 0);
    }

    #[tokio::test]
    async fn the_largest_answer_fits_whatever_other_calls_have_begun_and_two_of_them_come_one_after_the_other() {
        let fetch = Fetch::new(0);
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            calls.push(fetch.call().await);
        }
        assert!(now(Box::pin(fetch.call())).await.is_none(), "so many calls at a time");
        let (first, second) = (calls.pop().unwrap(), calls.pop().unwrap());
        now(Box::pin(first.grow(None))).await.expect("there is room for one");
        let mut growing = Box::pin(second.grow(None));
        assert!(now(&mut growing).await.is_none());
        now(Box::pin(fetch.pressed())).await.expect("somebody waits");
        drop(first);
        now(&mut growing).await.expect("its turn");
        assert!(fetch.used_bytes() <= fetch.total_bytes());
    }

    #[tokio::test]
    async fn who_waits_no_longer_leaves_the_line() {
        let fetch = Fetch::new(0);
        let call = fetch.call().await;
        call.grow(None).await;
        let other = fetch.call().await;
        let mut growing = Box::pin(other.grow(None));
        assert!(now(&mut growing).await.is_none());
        drop(growing);
        assert!(now(Box::pin(fetch.pressed())).await.is_none(), "nobody waits");
        drop((call, other));
        assert_eq!(fetch.used_bytes(), 0);
    }
}
