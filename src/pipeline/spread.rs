//! One piece on several cores: what is buffered is cut into runs of records that follow one another, each run goes
//! through the core by itself, and what becomes of them is joined in order.
//!
//! Nothing of it shows outside: a piece has the same records and items in the same order as if one core had made it.
//! Helpers are as many as the runtime has threads beside one, for all readers together, and a reader asks for those
//! that are idle at the moment only. A runtime of one thread, such as the simulation's, has none.

use std::ops::Range;
use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::core::{Core, From, Output, Resume, Scratch, Step};
use crate::delivery::SinkId;
use crate::enrich::Snapshot;
use crate::memory::{Slot, Slots};
use crate::source::{Record, ShardId};

/// Runs that one piece is cut into at most. Each may make a piece's bytes, so this bounds a piece.
const MAX_RUNS: usize = 4;

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
        let from = From { shard: &self.shard, region: self.region.as_deref() };
        let mut made = Made { out: self.core.output(&self.sinks), records: 0, resume };
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
        made
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
        let Some((own, others)) = runs.split_first() else {
            return self.run(records.iter().copied(), resume, scratch);
        };
        let jobs: Vec<_> =
            others.iter().zip(hands).map(|(run, hand)| self.hand_over(&records[run.clone()], hand)).collect();
        let mut all = self.run(records[own.clone()].iter().copied(), resume, scratch);
        for (run, job) in others.iter().zip(jobs) {
            let made = job.await;
            // What comes after an end that is too early is made anew; so is a run that panicked, by the reader itself,
            // which then says so.
            if all.records == run.start
                && let Ok(made) = made
            {
                self.core.append(&mut all.out, made.out);
                (all.records, all.resume) = (all.records + made.records, made.resume);
            }
        }
        all
    }

    fn hand_over(&self, run: &[&Record], mut helper: Helper) -> JoinHandle<Made> {
        let (work, run): (Work, Vec<Record>) = (self.clone(), run.iter().map(|record| (*record).clone()).collect());
        tokio::task::spawn_blocking(move || work.run(&run, Resume::default(), &mut helper.slot.scratch))
    }
}

/// Cuts as many records as make a piece into runs of about equal bytes, the first of them for the reader itself and one
/// for each helper. None: the reader works alone.
fn cut(records: &[&Record], worth: usize, helpers: &Arc<Helpers>) -> (Vec<Range<usize>>, Vec<Helper>) {
    let mut bytes = 0;
    let fit = |record: &&&Record| {
        let fits = bytes < worth;
        bytes += record.data.len();
        fits
    };
    let count = records.iter().take_while(fit).count();
    let bytes: usize = records[..count].iter().map(|record| record.data.len()).sum();
    let wanted = (bytes / RUN_BYTES).min(MAX_RUNS).min(count);
    let hands: Vec<Helper> = (1..wanted).map_while(|_| helpers.ask()).collect();
    if hands.is_empty() {
        return Default::default();
    }
    let share = bytes.div_ceil(hands.len() + 1);
    let (mut runs, mut start, mut end, mut filled) = (Vec::new(), 0, 0, 0);
    for record in &records[..count] {
        (end, filled) = (end + 1, filled + record.data.len());
        if filled >= share * (runs.len() + 1) {
            runs.push(start..end);
            start = end;
        }
    }
    if start < end {
        runs.push(start..end);
    }
    (runs, hands)
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
