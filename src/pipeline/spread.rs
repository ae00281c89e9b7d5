//! One piece on several cores: what is buffered is cut into runs of records that follow one another, each run goes
//! through the core by itself, and what becomes of them is joined in order.
//!
//! The runs are more than the threads that make them, and who is done with one takes another: a helper's core has other
//! things to do too, a file's writes above all, and nobody waits for it longer than a run takes that it has begun.
//!
//! Nothing of it shows outside: a piece has the same records and items in the same order as if one core had made it.
//! Helpers are as many as the runtime has threads beside one, for all readers together, and a reader asks for those
//! that are idle at the moment only. A runtime of one thread, such as the simulation's, has none.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::core::{Core, From, Output, Resume, Scratch, Step};
use crate::delivery::SinkId;
use crate::enrich::Snapshot;
use crate::memory::{Slot, Slots};
use crate::source::{Record, ShardId};

/// Runs that one piece is cut into at most.
const MAX_RUNS: usize = 8;

/// Who helps with one piece. Each makes at most what the reader does, so this bounds a piece.
const MAX_HELPERS: usize = 3;

/// A helper's run ends at so many times the bytes that are expected of it: what comes after it has to be made anew.
const TIMES_EXPECTED: usize = 2;

/// A run is worth a thread from so many bytes of records on: compressed, so some hundred events. Waking a thread costs
/// what some ten do.
const RUN_BYTES: usize = 16 * 1024;

/// Threads that readers may ask for help. The buffers are those of slots that no reader uses at the moment.
#[derive(Debug)]
pub(super) struct Helpers {
    idle: Arc<Semaphore>,
    slots: Arc<Slots>,
}

/// One of them, until it is dropped.
struct Helper {
    slot: Slot,
    _permit: OwnedSemaphorePermit,
}

impl Helpers {
    /// Those of the runtime that this is called in.
    pub(super) fn of_runtime(slots: &Arc<Slots>) -> Arc<Helpers> {
        let runtime = Handle::current();
        let threads = match runtime.runtime_flavor() {
            RuntimeFlavor::CurrentThread => 1,
            _ => runtime.metrics().num_workers(),
        };
        Helpers::new(threads.saturating_sub(1), slots)
    }

    fn new(count: usize, slots: &Arc<Slots>) -> Arc<Helpers> {
        Arc::new(Helpers { idle: Arc::new(Semaphore::new(count)), slots: Arc::clone(slots) })
    }

    fn ask(&self) -> Option<Helper> {
        let permit = Arc::clone(&self.idle).try_acquire_owned().ok()?;
        Some(Helper { slot: self.slots.try_take()?, _permit: permit })
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
    /// A run ends when this much is encoded.
    pub full_bytes: usize,
}

/// What became of some records.
pub(super) struct Made {
    pub out: Output,
    /// Records that were processed to their end.
    pub records: usize,
    /// Where the next one goes on.
    pub resume: Resume,
}

impl Work {
    /// One record after another.
    fn run<'r>(&self, records: impl IntoIterator<Item = &'r Record>, resume: Resume, scratch: &mut Scratch) -> Made {
        let mut made = Made { out: self.core.output(&self.sinks), records: 0, resume };
        self.go_on(&mut made, records, scratch);
        made
    }

    /// And those that follow, until it is full.
    fn go_on<'r>(&self, made: &mut Made, records: impl IntoIterator<Item = &'r Record>, scratch: &mut Scratch) {
        let from = From { shard: &self.shard, region: self.region.as_deref() };
        for record in records {
            if made.out.bytes() >= self.full_bytes {
                break;
            }
            match self.core.process(from, record, made.resume, &self.snapshot, scratch, &mut made.out) {
                Step::Done => {
                    let goes_on = std::mem::take(&mut made.resume) != Resume::default();
                    made.records += 1;
                    scratch.trim();
                    if goes_on {
                        // The end of a record is a piece's end too: what is lent for a record is given back behind it.
                        break;
                    }
                }
                Step::More(resume) => {
                    made.resume = resume;
                    break;
                }
            }
        }
    }

    /// The same, with those helpers who are idle. `worth` is how many bytes of records make a full piece, if that is
    /// known. Cancel-safe: the records stay with the caller.
    pub(super) async fn spread(
        &self,
        records: &[&Record],
        resume: Resume,
        worth: Option<usize>,
        helpers: &Arc<Helpers>,
        scratch: &mut Scratch,
    ) -> Made {
        // A record that has been begun is in this reader's own buffers.
        let worth = worth.filter(|_| resume == Resume::default());
        let (runs, hands) = worth.map_or_else(Default::default, |worth| cut(records, worth, helpers));
        let (Some(first), Some(last)) = (runs.first().cloned(), runs.last()) else {
            return self.run(records.iter().copied(), resume, scratch);
        };
        let shared = Arc::new(Shared {
            run_bytes: self.full_bytes * TIMES_EXPECTED / runs.len(),
            work: self.clone(),
            records: records[..last.end].iter().map(|record| (*record).clone()).collect(),
            left: Mutex::new(1..runs.len()),
            runs,
        });
        let jobs: Vec<_> = hands.into_iter().map(|hand| shared.hand_over(hand)).collect();
        // The first one is always the reader's: a piece has something in it, whatever becomes of the others.
        let mut all = self.run(&shared.records[first], resume, scratch);
        while let Some(run) = shared.take(Range::next) {
            if all.records == run.start {
                self.go_on(&mut all, &shared.records[run.clone()], scratch);
            }
        }
        let mut made = Vec::new();
        for job in jobs {
            // Who has not begun has nothing to do any more.
            job.abort();
            // A helper's runs that panicked are made anew by the reader, as the first ones of pieces to come, and then
            // the reader says so.
            made.extend(job.await.unwrap_or_default());
        }
        made.sort_unstable_by_key(|(start, _)| *start);
        for (start, made) in made {
            // What comes after an end that is too early is made anew.
            if all.records == start {
                self.core.append(&mut all.out, made.out);
                (all.records, all.resume) = (all.records + made.records, made.resume);
            }
        }
        all
    }
}

/// A piece that is being made by several. The reader takes its runs from the first one on, which are one output, and the
/// helpers from the last one on; they meet somewhere.
struct Shared {
    work: Work,
    /// Where a helper's run ends.
    run_bytes: usize,
    records: Vec<Record>,
    runs: Vec<Range<usize>>,
    /// Those that nobody has begun.
    left: Mutex<Range<usize>>,
}

impl Shared {
    fn take(&self, which: impl FnOnce(&mut Range<usize>) -> Option<usize>) -> Option<&Range<usize>> {
        let index = which(&mut self.left.lock().unwrap_or_else(PoisonError::into_inner))?;
        self.runs.get(index)
    }

    /// What became of a helper's runs; each with its start.
    fn hand_over(self: &Arc<Self>, mut helper: Helper) -> JoinHandle<Vec<(usize, Made)>> {
        let shared = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let work = Work { full_bytes: shared.run_bytes, ..shared.work.clone() };
            let (mut all, mut bytes) = (Vec::new(), 0);
            while bytes < shared.work.full_bytes
                && let Some(run) = shared.take(Range::next_back)
            {
                let made = work.run(&shared.records[run.clone()], Resume::default(), &mut helper.slot.scratch);
                bytes += made.out.bytes();
                all.push((run.start, made));
            }
            all
        })
    }
}

/// Cuts as many records as make a piece into runs of about equal bytes, for the reader and these helpers. None: the
/// reader works alone.
fn cut(records: &[&Record], worth: usize, helpers: &Arc<Helpers>) -> (Vec<Range<usize>>, Vec<Helper>) {
    let mut bytes = 0;
    let fit = |record: &&&Record| {
        let fits = bytes < worth;
        bytes += record.data.len();
        fits
    };
    let count = records.iter().take_while(fit).count();
    let bytes: usize = records[..count].iter().map(|record| record.data.len()).sum();
    let wanted = (bytes / RUN_BYTES).min(MAX_RUNS);
    if wanted < 2 {
        return Default::default();
    }
    let share = bytes.div_ceil(wanted);
    let (mut runs, mut start, mut filled) = (Vec::new(), 0, 0);
    for (end, record) in (1..=count).zip(records) {
        filled += record.data.len();
        if (filled >= share && runs.len() + 1 < wanted) || end == count {
            runs.push(start..end);
            (start, filled) = (end, 0);
        }
    }
    let hands: Vec<Helper> = (1..runs.len()).take(MAX_HELPERS).map_while(|_| helpers.ask()).collect();
    if hands.is_empty() { Default::default() } else { (runs, hands) }
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
