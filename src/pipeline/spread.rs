//! One reader's records on several cores: while the reader makes one piece, helpers make those that come after it.
//!
//! What is buffered is cut into runs of records that follow one another, each worth a piece at most. Whoever is free
//! makes the next run that nobody has begun, the reader too; what becomes of them leaves in their order, one run a
//! piece. Nothing of it shows outside: each sink gets of each record what it would get of one core.
//!
//! Helpers are as many as the runtime has threads beside one, and slots beside one, for all readers together. A reader
//! that has helpers is ahead of its pieces by [`RUNS_AHEAD`] runs for each of them at most. A runtime of one thread, such
//! as the simulation's, has none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::core::{Core, Counts, From, Resume, Scratch, Step};
use crate::delivery::{Piece, SinkId};
use crate::enrich::{Miss, Snapshot};
use crate::memory::Slots;
use crate::source::{Position, Record, ShardId};

/// Helpers that one reader has at most.
const MAX_HELPERS: usize = 3;

/// Runs that are being made or are made beside the one that leaves next, for each helper: one under way and two to go on
/// with. With two, threads wait for one another a tenth longer, more than three gain nothing (replays of one file on two
/// cores).
const RUNS_AHEAD: usize = 3;

/// A run that is not full is worth a thread from so many bytes of records on: compressed, so some hundred events. Waking
/// a thread costs what some ten do.
const RUN_BYTES: usize = 16 * 1024;

/// A run is no larger, also where filters leave so little that more records would make a piece: all cores are to have
/// some of what is buffered. Some thousand events; a full piece of JSON is about half of it.
const MOST_RUN_BYTES: usize = 256 * 1024;

/// A larger record is made in its turn only, in room with the sinks: a run that is made ahead is mostly below twice a
/// piece, and one record cannot make much more of it unless it unpacks to a hundred times its size (then 4 MiB and an
/// event, for each format). A helper makes no letter of a large record, which its slot has room for (`memory::plan`).
const LARGE_RECORD_BYTES: usize = 128 * 1024;

/// Threads that readers may ask for help. The buffers are those of slots that no reader uses at the moment.
#[derive(Debug)]
pub(super) struct Helpers {
    idle: Arc<Semaphore>,
    slots: Arc<Slots>,
}

impl Helpers {
    /// Those of the runtime that this is called in.
    pub(super) fn of_runtime(slots: &Arc<Slots>) -> Arc<Helpers> {
        let runtime = Handle::current();
        let threads = match runtime.runtime_flavor() {
            RuntimeFlavor::CurrentThread => 1,
            _ => runtime.metrics().num_workers(),
        };
        // Each has a slot beside the reader's own.
        Helpers::new(threads.min(slots.count()).saturating_sub(1), slots)
    }

    pub(super) fn new(count: usize, slots: &Arc<Slots>) -> Arc<Helpers> {
        Arc::new(Helpers { idle: Arc::new(Semaphore::new(count)), slots: Arc::clone(slots) })
    }

    fn ask(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.idle).try_acquire_owned().ok()
    }

    /// How many help nobody.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.available_permits()
    }
}

/// What a piece's records go through.
#[derive(Clone)]
pub(super) struct Work {
    pub core: Arc<Core>,
    pub shard: ShardId,
    pub region: Option<Arc<str>>,
    pub snapshot: Arc<Snapshot>,
    pub sinks: Vec<SinkId>,
    /// A piece ends when this much is encoded.
    pub full_bytes: usize,
}

/// What became of some records.
pub(super) struct Made {
    pub piece: Piece,
    pub counts: Counts,
    pub misses: Vec<Miss>,
    /// Encoded, of the largest format.
    pub bytes: usize,
    /// Records that were processed to their end.
    pub records: usize,
    /// Where the next one goes on.
    pub resume: Resume,
}

impl Work {
    /// One record after another, until `full_bytes` are encoded.
    fn make<'r>(
        &self,
        records: impl IntoIterator<Item = &'r Record>,
        resume: Resume,
        full_bytes: usize,
        scratch: &mut Scratch,
    ) -> Made {
        let from = From { shard: &self.shard, region: self.region.as_deref() };
        let (mut out, mut done, mut resume) = (self.core.output(&self.sinks), 0, resume);
        for record in records {
            if out.bytes() >= full_bytes {
                break;
            }
            match self.core.process(from, record, resume, &self.snapshot, scratch, &mut out) {
                Step::Done => {
                    let goes_on = std::mem::take(&mut resume) != Resume::default();
                    done += 1;
                    scratch.trim();
                    if goes_on {
                        // The end of a record is a piece's end too: what is lent for a record is given back behind it.
                        break;
                    }
                }
                Step::More(from) => {
                    resume = from;
                    break;
                }
            }
        }
        let (bytes, counts, misses) = (out.bytes(), std::mem::take(&mut out.counts), std::mem::take(&mut out.misses));
        Made { piece: self.core.piece(out), counts, misses, bytes, records: done, resume }
    }

    /// A run was cut at what makes a full piece on the average: it may become more.
    fn make_run<'r>(&self, records: impl IntoIterator<Item = &'r Record>, scratch: &mut Scratch) -> Made {
        self.make(records, Resume::default(), 2 * self.full_bytes, scratch)
    }

    /// Whether what the other, of the same reader, makes is what this one would make.
    fn is_as(&self, other: &Work) -> bool {
        Arc::ptr_eq(&self.snapshot, &other.snapshot) && self.sinks == other.sinks
    }
}

/// A run that nobody has begun.
struct Job {
    work: Arc<Work>,
    records: Vec<Record>,
    made: oneshot::Sender<Made>,
}

impl Job {
    fn make(self, scratch: &mut Scratch) {
        // Who has let go of it meanwhile does not want it any more.
        let _ = self.made.send(self.work.make_run(&self.records, scratch));
    }
}

/// The runs of one reader that nobody has begun, in order, and who is at work on them.
#[derive(Default)]
struct Jobs {
    waiting: Mutex<VecDeque<Job>>,
    helping: AtomicUsize,
}

impl Jobs {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Job>> {
        // Nothing here panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Job> {
        self.waiting().pop_front()
    }
}

/// One helper at work, until it is dropped.
struct Helping(Arc<Jobs>);

impl Helping {
    /// Makes runs until there is none, or no slot for it: readers come first.
    fn help(&self, slots: &Arc<Slots>) {
        while let Some(mut slot) = slots.try_take()
            && let Some(job) = self.0.next()
        {
            job.make(&mut slot.scratch);
        }
    }
}

impl Drop for Helping {
    fn drop(&mut self) {
        self.0.helping.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A run that somebody makes or has made.
struct Run {
    /// So many records of the buffer.
    records: usize,
    last: Position,
    made: oneshot::Receiver<Made>,
}

/// What is made of a reader's buffer before its turn: runs that follow one another.
pub(super) struct Ahead {
    helpers: Arc<Helpers>,
    jobs: Arc<Jobs>,
    runs: VecDeque<Run>,
    /// Records of the buffer before the first run: the one before it became more than a piece.
    before: usize,
    /// What they are made with.
    work: Option<Arc<Work>>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Ahead {
    pub(super) fn new(helpers: &Arc<Helpers>) -> Ahead {
        let (helpers, jobs) = (Arc::clone(helpers), Arc::default());
        Ahead { helpers, jobs, runs: VecDeque::new(), before: 0, work: None, permits: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Forgets what was made, and leaves the helpers to others.
    pub(super) fn let_go(&mut self) {
        self.jobs.waiting().clear();
        self.runs.clear();
        self.permits.clear();
        (self.before, self.work) = (0, None);
    }

    /// What becomes of the first records of a buffer, up to and with `until`: a piece. `worth` is how many bytes of
    /// records make a full one, if that is known. The caller takes the records that were processed out of the buffer
    /// before the next call. Cancel-safe: nothing is taken before it is there.
    pub(super) async fn next(
        &mut self,
        work: Work,
        records: &VecDeque<Record>,
        until: Option<Position>,
        (resume, worth): (Resume, Option<usize>),
        scratch: &mut Scratch,
    ) -> Made {
        let granted = |record: &&Record| until.is_none_or(|until| record.position <= until);
        let beyond = self.runs.front().is_some_and(|run| until.is_some_and(|until| run.last > until));
        if beyond || self.work.as_ref().is_some_and(|other| !work.is_as(other)) {
            self.let_go();
        }
        let work = Arc::new(work);
        // A run begins where a record does.
        if self.before == 0
            && resume == Resume::default()
            && let Some(worth) = worth
        {
            self.fill(&work, records, granted, worth);
        }
        if self.before > 0 || self.runs.is_empty() {
            let count = if self.runs.is_empty() { usize::MAX } else { self.before };
            let made = work.make(records.iter().take(count).take_while(granted), resume, work.full_bytes, scratch);
            self.before = self.before.saturating_sub(made.records);
            return made;
        }
        let made = self.first(scratch).await;
        let count = self.runs.pop_front().map_or(0, |run| run.records);
        let made = match made {
            Some(made) => made,
            // It panicked: so will the reader itself, which then says so.
            None => work.make_run(records.iter().take(count), scratch),
        };
        self.before = count - made.records;
        if self.runs.is_empty() {
            self.let_go();
        }
        made
    }

    /// What the first run became. While somebody else is at it, this makes those that nobody has begun.
    async fn first(&mut self, scratch: &mut Scratch) -> Option<Made> {
        let made = &mut self.runs.front_mut()?.made;
        loop {
            match made.try_recv() {
                Ok(made) => return Some(made),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => match self.jobs.next() {
                    Some(job) => job.make(scratch),
                    None => return made.await.ok(),
                },
            }
        }
    }

    /// Cuts more runs, if there are helpers for them.
    fn fill(&mut self, work: &Arc<Work>, records: &VecDeque<Record>, granted: impl Fn(&&Record) -> bool, worth: usize) {
        if self.permits.is_empty() && self.helpers.idle.available_permits() == 0 {
            return;
        }
        let worth = worth.min(MOST_RUN_BYTES);
        let mut at: usize = self.runs.iter().map(|run| run.records).sum();
        let mut cut = Vec::new();
        while self.runs.len() + cut.len() <= MAX_HELPERS * RUNS_AHEAD {
            let (mut end, mut bytes) = (at, 0);
            for record in records.range(at..).take_while(&granted) {
                if bytes >= worth || record.data.len() > LARGE_RECORD_BYTES {
                    break;
                }
                (end, bytes) = (end + 1, bytes + record.data.len());
            }
            // A full piece is worth a thread in any case: it costs what is encoded.
            if bytes == 0 || bytes < RUN_BYTES.min(worth) {
                break;
            }
            cut.push((at..end, records[end - 1].position));
            at = end;
        }
        let wanted = (self.runs.len() + cut.len()).saturating_sub(1).min(MAX_HELPERS);
        while self.permits.len() < wanted
            && let Some(permit) = self.helpers.ask()
        {
            self.permits.push(permit);
        }
        if self.permits.is_empty() {
            return;
        }
        let more = (self.permits.len() * RUNS_AHEAD + 1).saturating_sub(self.runs.len());
        for (range, last) in cut.into_iter().take(more) {
            let (sender, made) = oneshot::channel();
            self.runs.push_back(Run { records: range.len(), last, made });
            let records = records.range(range).cloned().collect();
            self.jobs.waiting().push_back(Job { work: Arc::clone(work), records, made: sender });
        }
        self.work = Some(Arc::clone(work));
        // One that waits alone is the reader's, who comes for it at once.
        while self.jobs.helping.load(Ordering::Relaxed) < self.permits.len() && self.jobs.waiting().len() > 1 {
            self.jobs.helping.fetch_add(1, Ordering::Relaxed);
            let (helping, slots) = (Helping(Arc::clone(&self.jobs)), Arc::clone(&self.helpers.slots));
            tokio::task::spawn_blocking(move || helping.help(&slots));
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.let_go();
    }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
