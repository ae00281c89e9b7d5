//! The table of `make bench`: what each step costs as a multiple of bare inflate of the same bytes.
//!
//! Rounds run all steps in turn and each round's ratios are its own, so that a machine that is slow for a
//! while is slow for all of them; the table shows medians. Numbers never fail anything here.
//! `cargo bench --bench ratios -- --quick` takes a few rounds only, for CI.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may panic")]

mod corpus;
mod steps;

use std::time::{Duration, Instant};

use corpus::Corpus;
use steps::Step;

/// How long one corpus is measured, and at least how many rounds.
#[derive(Clone, Copy)]
struct Effort {
    time: Duration,
    rounds: usize,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let time = if quick { Duration::ZERO } else { Duration::from_secs(3) };
    let effort = Effort { time, rounds: 5 };
    let (corpora, snapshot) = corpus::all();
    println!(
        "{:<8}{:>9}{:>9}  {:<10}{:>8}{:>12}{:>12}{:>14}",
        "corpus", "records", "events", "step", "MB/s", "events/s", "× inflate", "allocs/event"
    );
    for corpus in &corpora {
        steps::with_steps(corpus, &snapshot, |steps| report(corpus, steps, effort));
    }
    println!("MB/s of inflated JSON; × inflate: time as a multiple of bare decompression of the same records");
}

fn report(corpus: &Corpus, steps: &mut [Step<'_>], effort: Effort) {
    // The first run fills caches and lets reused buffers grow; the second is the steady state.
    let allocations: Vec<u64> = steps.iter_mut().map(|step| allocations(step)).collect();
    let rounds = rounds(steps, effort);
    for (index, step) in steps.iter().enumerate() {
        let seconds = median(rounds.iter().map(|round| round[index]));
        let ratio = median(rounds.iter().map(|round| round[index] / round[0]));
        let per_event = allocations[index] as f64 / corpus.events as f64;
        let (megabytes, events) = (corpus.json_bytes as f64 / 1e6 / seconds, corpus.events as f64 / seconds);
        println!(
            "{:<8}{:>9}{:>9}  {:<10}{megabytes:>8.0}{events:>12.0}{ratio:>12.2}{per_event:>14.2}",
            corpus.name,
            corpus.records.len(),
            corpus.events,
            step.name,
        );
    }
}

fn allocations(step: &mut Step<'_>) -> u64 {
    (step.run)();
    allocation_counter::measure(&mut step.run).count_total
}

/// The seconds of every step, round by round.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn rounds(steps: &mut [Step<'_>], effort: Effort) -> Vec<Vec<f64>> {
    let begin = Instant::now();
    let mut rounds = Vec::new();
    while rounds.len() < effort.rounds || begin.elapsed() < effort.time {
        let seconds = steps.iter_mut().map(|step| {
            let start = Instant::now();
            (step.run)();
            start.elapsed().as_secs_f64()
        });
        rounds.push(seconds.collect());
    }
    rounds
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
