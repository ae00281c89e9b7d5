//! Bytes of a source's answers, from before they are read from the network until their records are processed.
//!
//! How large an answer is nobody knows before the service answers: up to 10 MiB, mostly a few KiB. So a call starts
//! with a place and [`START_BYTES`], and when the answer's head tells its length, [`Call::grow`] waits for as much as
//! reading it takes; only then is the body read. What is kept of it goes with the records ([`Call::record`]).
//!
//! Calls and what they grow by wait in one line, first come, first served, but for those in a [`Hurry`]: a reader that
//! keeps room with the sinks for what it fetches. [`Fetch::new`] leaves room for the largest answer beside what all
//! calls start with, so the first in line is always served once those that have records let go of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

/// Calls under way at a time.
const CALLS: usize = 16;

/// What a call starts with: answers of shards where little happens, and what a connection reads ahead.
const START_BYTES: u64 = 512 * 1024;

/// The largest answer: 10 MiB of records (`GetRecords`), as base64 in JSON, and the rest of it.
const ANSWER_BYTES: u64 = 15 * 1024 * 1024;

/// Reading an answer takes this many times its length: it arrives in pieces, is put together, and its records are
/// decoded from it (3/4).
const READING: u64 = 3;

/// What a service's answers ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Calls under way at a time.
    pub calls: usize,
    /// What a call starts with, in bytes.
    pub start_bytes: u64,
    /// The largest answer, in bytes.
    pub answer_bytes: u64,
}

/// Of Kinesis.
const SIZES: Sizes = Sizes { calls: CALLS, start_bytes: START_BYTES, answer_bytes: ANSWER_BYTES };

/// The least that [`Fetch`] works with.
pub(super) const LEAST_BYTES: u64 = SIZES.least_bytes();

impl Sizes {
    /// The largest answer, beside what all calls start with.
    const fn least_bytes(self) -> u64 {
        self.answer_bytes * READING + self.calls as u64 * self.start_bytes
    }
}

/// Whether a reader's calls go before those of others. Shared by the reader's task, its reader and its calls.
pub type Hurry = Arc<AtomicBool>;

/// See the module.
#[derive(Debug)]
pub struct Fetch {
    state: Mutex<State>,
    sizes: Sizes,
    total_bytes: u64,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    free_bytes: u64,
    free_places: usize,
    line: VecDeque<Ask>,
    tickets: u64,
}

#[derive(Debug)]
struct Ask {
    ticket: u64,
    bytes: u64,
    /// It is a call that begins.
    wants_place: bool,
    hurry: Hurry,
    caller: oneshot::Sender<Loan>,
}

/// What was lent. Given back when it is dropped.
#[derive(Debug)]
struct Loan {
    fetch: Arc<Fetch>,
    bytes: u64,
    has_place: bool,
}

/// One call under way, until its answer is taken apart. What [`Call::record`] has not given away is free then.
#[derive(Debug)]
pub struct Call {
    loan: Mutex<Loan>,
    hurry: Hurry,
}

/// Who waits for memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Pressure {
    /// Nobody.
    None,
    /// Somebody.
    Some,
    /// Somebody in a hurry.
    Urgent,
}

impl State {
    /// Who is served next: those in a hurry before the others, each in the order of the line. Who wants a place while
    /// there is none lets others pass: that one comes back without this memory.
    fn next(&self) -> Option<usize> {
        let hurries = self.line.iter().position(|ask| self.may_begin(ask) && ask.is_urgent());
        let next = hurries.or_else(|| self.line.iter().position(|ask| self.may_begin(ask)))?;
        self.line.get(next).filter(|ask| ask.bytes <= self.free_bytes).map(|_| next)
    }

    /// Who waits for bytes: a place alone is nothing that those who hold bytes could give.
    fn pressure(&self) -> Pressure {
        let mut waiting = self.line.iter().filter(|ask| self.may_begin(ask)).peekable();
        match waiting.peek().is_some() {
            true if waiting.any(Ask::is_urgent) => Pressure::Urgent,
            true => Pressure::Some,
            false => Pressure::None,
        }
    }

    fn may_begin(&self, ask: &Ask) -> bool {
        !ask.wants_place || self.free_places > 0
    }
}

impl Ask {
    fn is_urgent(&self) -> bool {
        self.hurry.load(Ordering::SeqCst)
    }
}

impl Fetch {
    /// A budget of so many bytes, at least what one answer takes.
    pub fn new(bytes: u64) -> Arc<Fetch> {
        Fetch::with_sizes(SIZES, bytes)
    }

    /// The same for answers of other sizes.
    pub fn with_sizes(sizes: Sizes, bytes: u64) -> Arc<Fetch> {
        let total_bytes = bytes.max(sizes.least_bytes());
        let state = State { free_bytes: total_bytes, free_places: sizes.calls, line: VecDeque::new(), tickets: 0 };
        Arc::new(Fetch { state: Mutex::new(state), sizes, total_bytes, changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing here panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for leave to make a call. Cancel-safe.
    pub async fn call(self: &Arc<Self>, hurry: &Hurry) -> Call {
        let loan = self.borrow(self.sizes.start_bytes, true, hurry).await;
        Call { loan: Mutex::new(loan), hurry: Arc::clone(hurry) }
    }

    /// Leave to make a call, if nobody waits and there is memory.
    pub fn try_call(self: &Arc<Self>, hurry: &Hurry) -> Option<Call> {
        let mut state = self.lock();
        let bytes = self.sizes.start_bytes;
        if !state.line.is_empty() || state.free_places == 0 || state.free_bytes < bytes {
            return None;
        }
        state.free_places -= 1;
        state.free_bytes -= bytes;
        drop(state);
        Some(Call { loan: Mutex::new(self.loan(bytes, true)), hurry: Arc::clone(hurry) })
    }

    /// So much memory, if it is there and nobody waits for it: for what comes unasked. Else it is not counted.
    pub fn unasked(self: &Arc<Self>, bytes: u64) -> Call {
        let mut state = self.lock();
        let bytes = if state.line.is_empty() && bytes <= state.free_bytes { bytes } else { 0 };
        state.free_bytes -= bytes;
        drop(state);
        Call { loan: Mutex::new(self.loan(bytes, false)), hurry: Hurry::default() }
    }

    fn loan(self: &Arc<Self>, bytes: u64, has_place: bool) -> Loan {
        Loan { fetch: Arc::clone(self), bytes, has_place }
    }

    async fn borrow(self: &Arc<Self>, bytes: u64, wants_place: bool, hurry: &Hurry) -> Loan {
        let (caller, mut turn) = oneshot::channel();
        let ticket = {
            let mut state = self.lock();
            state.tickets += 1;
            let ticket = state.tickets;
            state.line.push_back(Ask { ticket, bytes, wants_place, hurry: Arc::clone(hurry), caller });
            ticket
        };
        // Leaves the line, whatever happens.
        let in_line = InLine { fetch: self, ticket };
        self.serve();
        if let Ok(loan) = turn.try_recv() {
            return loan;
        }
        self.changed.notify_waiters();
        let loan = turn.await;
        drop(in_line);
        // Who is in the line is served before the line goes.
        loan.unwrap_or_else(|_| self.loan(0, false))
    }

    /// Lends to those whose turn has come. A loan that nobody takes any more comes back.
    fn serve(self: &Arc<Self>) {
        loop {
            let (ask, loan) = {
                let mut state = self.lock();
                let Some(ask) = state.next().and_then(|next| state.line.remove(next)) else { return };
                state.free_bytes -= ask.bytes;
                state.free_places -= usize::from(ask.wants_place);
                let loan = self.loan(ask.bytes, ask.wants_place);
                (ask, loan)
            };
            let _ = ask.caller.send(loan);
        }
    }

    /// Sets whether a reader's calls go before those of others.
    pub fn set_hurry(self: &Arc<Self>, hurry: &Hurry, on: bool) {
        if hurry.swap(on, Ordering::SeqCst) != on {
            self.serve();
            self.changed.notify_waiters();
        }
    }

    /// Waits until somebody waits for bytes, this urgently. Cancel-safe.
    pub async fn pressed(&self, pressure: Pressure) {
        self.until(|state| state.pressure() >= pressure).await;
    }

    /// Waits until anybody waits, be it for a place only. Cancel-safe.
    pub async fn crowded(&self) {
        self.until(|state| !state.line.is_empty()).await;
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on nothing is missed.
            changed.as_mut().enable();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Bytes lent.
    pub fn used_bytes(&self) -> u64 {
        self.total_bytes - self.lock().free_bytes
    }
}

struct InLine<'f> {
    fetch: &'f Arc<Fetch>,
    ticket: u64,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let gone = {
            let mut state = self.fetch.lock();
            let waiting = state.line.len();
            state.line.retain(|ask| ask.ticket != self.ticket);
            state.line.len() < waiting
        };
        // Those behind it may be served now.
        if gone {
            self.fetch.serve();
        }
    }
}

impl Loan {
    /// So much of it apart, as far as there is so much.
    fn split(&mut self, bytes: u64) -> Loan {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.fetch.loan(bytes, false)
    }

    fn merge(&mut self, mut more: Loan) {
        self.bytes += std::mem::take(&mut more.bytes);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        {
            let mut state = self.fetch.lock();
            state.free_bytes += self.bytes;
            state.free_places += usize::from(self.has_place);
        }
        self.fetch.serve();
        if self.has_place {
            // Who waited for a place may wait for bytes now.
            self.fetch.changed.notify_waiters();
        }
    }
}

impl Call {
    /// The answer's head says how long its body is; nothing: it does not. Waits for what reading it takes.
    pub async fn grow(&self, length: Option<u64>) {
        let (fetch, has) = {
            let loan = self.lock();
            (Arc::clone(&loan.fetch), loan.bytes)
        };
        let largest = fetch.sizes.answer_bytes;
        let wanted = length.unwrap_or(largest).min(largest) * READING;
        if wanted > has {
            let more = fetch.borrow(wanted - has, false, &self.hurry).await;
            self.lock().merge(more);
        }
    }

    /// A record of the answer: the same bytes with their part of what was lent, which is given back with them.
    pub fn record(&self, data: Bytes) -> Bytes {
        let part = self.lock().split(data.len() as u64);
        Bytes::from_owner(Lent { data, _part: part })
    }

    fn lock(&self) -> MutexGuard<'_, Loan> {
        self.loan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record's bytes with their loan.
struct Lent {
    data: Bytes,
    _part: Loan,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::super::now;
    use super::*;

    #[tokio::test]
    async fn a_record_keeps_its_part_and_the_rest_is_free_when_the_call_ends() {
        let fetch = Fetch::new(0);
        let call = fetch.call(&Hurry::default()).await;
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
            calls.push(fetch.call(&Hurry::default()).await);
        }
        let steady = Hurry::default();
        let mut beginning = Box::pin(fetch.call(&steady));
        assert!(now(&mut beginning).await.is_none(), "so many calls at a time");
        now(Box::pin(fetch.crowded())).await.expect("one waits");
        assert!(now(Box::pin(fetch.pressed(Pressure::Some))).await.is_none(), "but not for bytes");
        drop(beginning);
        let (first, second) = (calls.pop().unwrap(), calls.pop().unwrap());
        now(Box::pin(first.grow(None))).await.expect("there is room for one");
        let mut growing = Box::pin(second.grow(None));
        assert!(now(&mut growing).await.is_none());
        now(Box::pin(fetch.pressed(Pressure::Some))).await.expect("somebody waits");
        drop(first);
        now(&mut growing).await.expect("its turn");
        assert!(fetch.used_bytes() <= fetch.total_bytes);
    }

    #[tokio::test]
    async fn who_waits_no_longer_leaves_the_line() {
        let fetch = Fetch::new(0);
        let call = fetch.call(&Hurry::default()).await;
        call.grow(None).await;
        let other = fetch.call(&Hurry::default()).await;
        let mut growing = Box::pin(other.grow(None));
        assert!(now(&mut growing).await.is_none());
        drop(growing);
        assert!(now(Box::pin(fetch.pressed(Pressure::Some))).await.is_none(), "nobody waits");
        drop((call, other));
        assert_eq!(fetch.used_bytes(), 0);
    }

    #[tokio::test]
    async fn who_is_in_a_hurry_goes_first_also_when_the_hurry_comes_while_it_waits() {
        let fetch = Fetch::new(0);
        let (steady, hurry) = (Hurry::default(), Hurry::default());
        let busy = fetch.call(&steady).await;
        let (first, second) = (fetch.call(&steady).await, fetch.call(&hurry).await);
        busy.grow(None).await;
        let (mut one, mut other) = (Box::pin(first.grow(None)), Box::pin(second.grow(None)));
        assert!(now(&mut one).await.is_none() && now(&mut other).await.is_none());
        assert!(now(Box::pin(fetch.pressed(Pressure::Urgent))).await.is_none());
        fetch.set_hurry(&hurry, true);
        now(Box::pin(fetch.pressed(Pressure::Urgent))).await.expect("it is urgent now");
        drop(busy);
        now(&mut other).await.expect("before the other");
        assert!(now(&mut one).await.is_none());
        drop(other);
        drop(second);
        now(&mut one).await.expect("its turn");
        drop(one);
        drop(first);
        assert_eq!(fetch.used_bytes(), 0);
    }

    #[tokio::test]
    async fn a_call_without_a_place_keeps_no_other_from_the_memory_that_it_waits_for() {
        let fetch = Fetch::new(0);
        let steady = Hurry::default();
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            calls.push(fetch.call(&steady).await);
        }
        let mut beginning = Box::pin(fetch.call(&steady));
        assert!(now(&mut beginning).await.is_none());
        now(Box::pin(calls[0].grow(None))).await.expect("it has its place");
        calls.clear();
        now(&mut beginning).await.expect("places are free");
    }
}
