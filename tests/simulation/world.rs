//! What all models share: the seed's numbers, virtual time, the trace, and the processes that come and go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::checker::Checker;
use super::fan_out::FanOut;
use super::plan::Plan;
use super::store::Remembered;
use super::stream::Stream;

/// Wall clock at the beginning: 2026-01-15T00:00:00Z.
pub(super) const BEGINNING_MS: i64 = 1_768_435_200_000;

/// Steps that a failure shows.
const SHOWN: usize = 60;

/// Random numbers of one seed.
#[derive(Debug)]
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// 0 to `bound` - 1.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    pub(super) fn index(&mut self, bound: usize) -> usize {
        self.below(bound as u64) as usize
    }

    /// True in so many of a thousand cases.
    pub(super) fn per_mille(&mut self, share: u64) -> bool {
        self.below(1_000) < share
    }

    pub(super) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }
}

/// What happened, in short; and a hash of all of it.
#[derive(Debug, Default)]
struct Trace {
    last: VecDeque<String>,
    hash: u64,
    steps: u64,
    /// Every step is printed.
    aloud: bool,
}

/// Everything outside of the processes: it stays when they die.
#[derive(Debug)]
pub(super) struct World {
    pub dice: Dice,
    pub plan: Plan,
    pub stream: Stream,
    pub fan_out: FanOut,
    pub store: Remembered,
    pub bucket: Bucket,
    pub checker: Checker,
    /// Faults happen.
    pub faulty: bool,
    start: Instant,
    /// When a sink's destination takes nothing: name, from, to.
    outages: Vec<(&'static str, i64, i64)>,
    /// Completions of dead processes that are still on their way: when, upload, process.
    late: Vec<(i64, String, usize)>,
    trace: Trace,
    failure: Option<String>,
    failed: Arc<Notify>,
    /// How often things happened, for the summary.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice, &mut Dice::new(!seed));
        let stream = Stream::new(plan.shards, BEGINNING_MS);
        World {
            dice,
            checker: Checker::default(),
            plan,
            stream,
            fan_out: FanOut::default(),
            store: Remembered::default(),
            bucket: Bucket::default(),
            faulty: true,
            start: Instant::now(),
            outages: Vec::new(),
            late: Vec::new(),
            trace: Trace { aloud: std::env::var_os("SIMULATE_ALOUD").is_some(), ..Trace::default() },
            failure: None,
            failed: Arc::default(),
            counts: Default::default(),
        }
    }

    /// The wall clock.
    pub(super) fn now_ms(&self) -> i64 {
        BEGINNING_MS + self.start.elapsed().as_millis() as i64
    }

    /// A sink's destination takes nothing for a while.
    pub(super) fn outage(&mut self, sink: &'static str, lasts: Duration) {
        let now = self.now_ms();
        self.note(format_args!("{sink} is out for {} ms", lasts.as_millis()));
        self.outages.push((sink, now, now + lasts.as_millis() as i64));
    }

    pub(super) fn is_out(&self, sink: &str) -> bool {
        let now = self.now_ms();
        self.faulty && self.outages.iter().any(|(name, from, to)| *name == sink && (*from..*to).contains(&now))
    }

    pub(super) fn arrives_late(&mut self, upload: String, process: usize, after: Duration) {
        self.late.push((self.now_ms() + after.as_millis() as i64, upload, process));
    }

    /// Lets arrive what is due.
    pub(super) fn late_arrivals(&mut self) {
        let now = self.now_ms();
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at, ..)| *at <= now);
        self.late = late;
        for (_, upload, process) in due {
            self.count("late completions");
            self.complete(process, &upload);
        }
    }

    /// True in so many of a thousand cases while faults happen.
    pub(super) fn fault(&mut self, name: &'static str, per_mille: u64) -> bool {
        let hit = self.faulty && self.dice.per_mille(per_mille);
        if hit {
            *self.counts.entry(name).or_default() += 1;
        }
        hit
    }

    pub(super) fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// Writes a step into the trace.
    pub(super) fn note(&mut self, step: impl std::fmt::Display) {
        let elapsed = self.start.elapsed().as_millis();
        let line = format!("{:>8}.{:03} {step}", elapsed / 1_000, elapsed % 1_000);
        let trace = &mut self.trace;
        trace.hash = xxhash_rust::xxh3::xxh3_64_with_seed(line.as_bytes(), trace.hash);
        trace.steps += 1;
        if trace.aloud {
            eprintln!("{line}");
        }
        trace.last.push_back(line);
        if trace.last.len() > SHOWN {
            trace.last.pop_front();
        }
    }

    /// An invariant is broken. The first one counts.
    pub(super) fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(format_args!("BROKEN: {what}"));
        self.failure.get_or_insert(what);
        self.failed.notify_one();
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    pub(super) fn failed(&self) -> Arc<Notify> {
        Arc::clone(&self.failed)
    }

    /// Hash and number of all steps.
    pub(super) fn hash(&self) -> (u64, u64) {
        (self.trace.hash, self.trace.steps)
    }

    pub(super) fn last_steps(&self) -> String {
        self.trace.last.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// The world, shared by one thread's tasks.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(world: World) -> Shared {
        Shared(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a process stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    Runs,
    /// It does nothing until somebody wakes it.
    Sleeps,
    Dead,
}

/// What a process comes to, at a step of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Crash,
    Sleep,
}

/// One process: everything that it does outside of itself passes its gate.
#[derive(Debug)]
pub(super) struct Process {
    pub number: usize,
    life: Mutex<Life>,
    /// Wakes in the order of waiting; a watch channel would wake at random.
    changed: Notify,
    steps: Mutex<u64>,
    fate: Option<(u64, Fate)>,
    /// Its fate has come.
    pub met: Notify,
}

impl Process {
    pub(super) fn new(number: usize, fate: Option<(u64, Fate)>) -> Arc<Process> {
        let life = Mutex::new(Life::Runs);
        Arc::new(Process { number, life, changed: Notify::new(), steps: Mutex::default(), fate, met: Notify::new() })
    }

    /// Goes on while the process lives. Dying here is dying at this await: nothing after it happens. Cancel-safe.
    pub(super) async fn gate(&self) {
        if let Some(fate) = self.step() {
            self.set(if fate == Fate::Crash { Life::Dead } else { Life::Sleeps });
            self.met.notify_one();
        }
        loop {
            let changed = self.changed.notified();
            match self.life() {
                Life::Runs => return,
                Life::Dead => break,
                Life::Sleeps => changed.await,
            }
        }
        std::future::pending().await
    }

    fn step(&self) -> Option<Fate> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        *steps += 1;
        self.fate.filter(|(at, _)| at == &*steps).map(|(_, fate)| fate)
    }

    pub(super) fn set(&self, life: Life) {
        let mut now = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        if *now != Life::Dead {
            *now = life;
        }
        drop(now);
        self.changed.notify_waiters();
    }

    fn life(&self) -> Life {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.life() == Life::Dead
    }
}
