//! The simulation: the real delivery code (the pipeline's tasks, the dispatcher, the Kinesis source over the AWS SDK)
//! in one thread with virtual time, against a model Kinesis, model sinks and a model store. A seed decides all of it.
//!
//! `story` tells a seed, `plan` says what it stands for, `world` is what all share; `stream` and `service` are the model
//! Kinesis, `loose`, `ordered` and `chunks` (with its `bucket`) the model sinks, `store` the model store; `watch` looks
//! at what the source says, `checker` holds the design's invariants. The checker is itself checked: `mutants`.
//!
//! A failure prints its seed and its last steps: `make simulate SEED=42` runs it again, with every step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![allow(clippy::print_stderr, reason = "a failure shows its seed and its steps")]

mod bucket;
mod checker;
mod chunks;
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

use std::sync::atomic::{AtomicU64, Ordering};

use self::story::{Outcome, simulate};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number"))
}

/// Runs seeds on all processors; the first that fails, if any does.
fn first_failure(seeds: std::ops::Range<u64>) -> Option<(u64, Outcome)> {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        let mut failed = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= stop.load(Ordering::Relaxed) {
                return failed;
            }
            let outcome = simulate(seed, None);
            if outcome.failure.is_some() {
                stop.fetch_min(seed, Ordering::Relaxed);
                failed.push((seed, outcome));
            }
        }
    };
    let failed: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    failed.into_iter().min_by_key(|(seed, _)| *seed)
}

fn check(seeds: std::ops::Range<u64>) {
    if let Some((seed, outcome)) = first_failure(seeds) {
        eprintln!("{}", outcome.last);
        panic!("seed {seed}: {}; `make simulate SEED={seed}` runs it again", outcome.failure.unwrap_or_default());
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
    for seed in [3, 7, 11, 19] {
        let (first, second) = (simulate(seed, None), simulate(seed, None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
