//! The simulation: the real delivery code (the pipeline's tasks, the dispatcher, the Kinesis source over the AWS SDK)
//! in one thread with virtual time, against a model Kinesis, model sinks and a model store. A seed decides all of it.
//!
//! `story` tells a seed, `plan` says what it stands for, `world` is what all share; `stream`, `service` and `fan_out` are
//! the model Kinesis, `loose`, `ordered` and `chunks` (with its `bucket`) the model sinks, `store` the model store; `watch` looks
//! at what the source says, `checker` holds the design's invariants. The checker is itself checked: `mutants`.
//!
//! A failure prints its seed and its last steps: `make simulate SEED=42` runs it again, with every step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![allow(clippy::print_stderr, reason = "a failure shows its seed and its steps")]

mod bucket;
mod checker;
mod chunks;
mod fan_out;
#[path = "../kinesis/frames.rs"]
mod frames;
mod hand;
mod loose;
mod mutants;
mod ordered;
mod plan;
mod service;
mod store;
mod story;
mod stream;
mod watch;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::story::{Outcome, simulate};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number"))
}

/// Failures that are shown; then it stops.
const SHOWN: u64 = 12;

/// What happened how often, over all seeds.
type Counts = BTreeMap<&'static str, u64>;

/// Runs seeds on all processors; those that fail, by seed.
fn failures(seeds: std::ops::Range<u64>) -> (Vec<(u64, Outcome)>, Counts) {
    let (next, left) = (AtomicU64::new(seeds.start), AtomicU64::new(SHOWN));
    let sum = Mutex::new(Counts::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || left.load(Ordering::Relaxed) == 0 {
                return failed;
            }
            let outcome = simulate(seed, None);
            for (what, count) in &outcome.counts {
                *sum.lock().unwrap().entry(*what).or_default() += count;
            }
            if outcome.failure.is_some() {
                let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                failed.push((seed, outcome));
            }
        }
    };
    let mut failed: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    failed.sort_by_key(|(seed, _)| *seed);
    (failed, sum.into_inner().unwrap())
}

fn check(seeds: std::ops::Range<u64>) {
    let count = seeds.end - seeds.start;
    let (failed, counts) = failures(seeds);
    eprintln!("{count} seeds: {counts:?}");
    for (seed, outcome) in &failed {
        eprintln!("seed {seed}: {}", outcome.failure.as_deref().unwrap_or_default());
    }
    // Both ways of reading have their share.
    assert!(count < 100 || counts["events of subscriptions"] > 2 * count, "fan-out is hardly there");
    if let Some((seed, outcome)) = failed.first() {
        eprintln!("the last steps of seed {seed}:\n{}", outcome.last);
        panic!("seed {seed} is broken; `make simulate SEED={seed}` runs it again");
    }
}

/// `make simulate SEEDS=100000`, `make simulate SEED=42`; 500 seeds without either.
#[test]
fn no_seed_loses_anything() {
    match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => check(seed..seed + 1),
        (None, Some(seeds)) => check(0..seeds),
        (None, None) => check(0..500),
    }
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    let mut subscriptions = 0;
    for seed in [3, 7, 11, 19] {
        let (first, second) = (simulate(seed, None), simulate(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        subscriptions += first.counts.get("subscriptions").copied().unwrap_or(0);
    }
    assert!(subscriptions > 0, "one of them reads by subscription");
}
