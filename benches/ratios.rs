//! The table of `make bench`: what each step costs as a multiple of bare inflate of the same bytes, and of a quick path
//! by `serde_json` (`steps/typed.rs`), with the allocator that is shipped. `allocations` counts what is allocated, which
//! needs an allocator of its own.
//!
//! Rounds run all steps in turn, so that a machine that is slow for a while is slow for all of them, and what is
//! measured is the time on the CPU; the table shows sums.
//!
//! `--quick` takes a few rounds only. `--check`, for CI, measures what has a goal and fails if it is far from it
//! ([`GOALS`]) three times in a row. A time never fails anything. `--corpus mid --step core` runs nothing else, for a
//! profiler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark may panic")]

mod corpus;
mod steps;

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use corpus::Corpus;
use steps::{INFLATE, Step, TYPED};

/// How long one corpus is measured, and at least how many rounds.
#[derive(Clone, Copy)]
struct Effort {
    time: Duration,
    rounds: usize,
}

/// What the core may cost on a corpus, as multiples of the yardsticks.
struct Goal {
    corpus: &'static str,
    inflate: f64,
    /// What `inflate` comes to where a typed path took 2.2 times as long as bare inflate on small records and 5.7 to 7
    /// times on mid ones: there the goals were set. Processors differ in what inflate costs beside all other code, and
    /// those that others use too differ from one minute to the next; typed path and core are slowed alike.
    typed: f64,
}

const GOALS: [Goal; 2] =
    [Goal { corpus: "small", inflate: 1.9, typed: 1.9 / 2.2 }, Goal { corpus: "mid", inflate: 4.0, typed: 4.0 / 6.35 }];

/// How far from its goal the core may be, by both yardsticks, before [`main`] fails with `--check`.
const TOLERANCE: f64 = 1.5;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is far from its goal is measured again, up to so often: the machine may have had something else to do.
const ATTEMPTS: usize = 3;

fn main() -> ExitCode {
    let has = |flag: &str| std::env::args().any(|arg| arg == flag);
    let is_check = has("--check");
    let time = if has("--quick") || is_check { Duration::ZERO } else { Duration::from_secs(3) };
    let effort = Effort { time, rounds: 40 };
    let wanted = |flag: &str, name: &str| value_of(flag).is_none_or(|value| value == name);
    let (corpora, inventories) = corpus::all();
    println!(
        "{:<8}{:>9}{:>9}  {:<14}{:>8}{:>12}{:>12}{:>10}",
        "corpus", "records", "events", "step", "MB/s", "events/s", "× inflate", "× typed"
    );
    let mut missed = Vec::new();
    for corpus in corpora.iter().filter(|corpus| wanted("--corpus", corpus.name)) {
        if is_check && goal_of(corpus).is_none() {
            continue;
        }
        steps::with_steps(corpus, &inventories, |steps| {
            steps.retain(|step| wanted("--step", step.name) && (!is_check || CHECKED.contains(&step.name)));
            let attempts = if is_check { ATTEMPTS } else { 1 };
            missed.extend((0..attempts).map_while(|_| report(corpus, steps, effort)).nth(attempts - 1));
        });
    }
    println!(
        "MB/s of inflated JSON; × inflate: time as a multiple of bare decompression of the same records; × typed: of a \
         quick path by serde_json"
    );
    missed.iter().for_each(|missed| println!("far from its goal: {missed}"));
    if is_check && !missed.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The yardsticks, and what is measured by them.
const CHECKED: [&str; 3] = [INFLATE, TYPED, "core"];

fn goal_of(corpus: &Corpus) -> Option<&'static Goal> {
    GOALS.iter().find(|goal| goal.corpus == corpus.name)
}

/// What follows a flag.
fn value_of(flag: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != flag).nth(1)
}

/// Prints a corpus's lines; whether the core is far from its goal, and how far.
fn report(corpus: &Corpus, steps: &mut [Step<'_>], effort: Effort) -> Option<String> {
    let mut missed = None;
    // Fills caches and lets reused buffers grow.
    steps.iter_mut().for_each(|step| (step.run)());
    let rounds = rounds(steps, effort);
    let sums: Vec<f64> = (0..steps.len()).map(|index| rounds.iter().map(|round| round[index]).sum()).collect();
    // A yardstick that does not run, by `--step`, gives no ratio.
    let yardstick = |name: &str| steps.iter().position(|step| step.name == name).map_or(f64::NAN, |index| sums[index]);
    for (step, sum) in steps.iter().zip(&sums) {
        let (by_inflate, by_typed) = (sum / yardstick(INFLATE), sum / yardstick(TYPED));
        let seconds = sum / rounds.len() as f64;
        let (megabytes, events) = (corpus.json_bytes as f64 / 1e6 / seconds, corpus.events as f64 / seconds);
        println!(
            "{:<8}{:>9}{:>9}  {:<14}{megabytes:>8.0}{events:>12.0}{by_inflate:>12.2}{by_typed:>10.2}",
            corpus.name,
            corpus.records.len(),
            corpus.events,
            step.name,
        );
        let is_far = |goal: &&Goal| by_inflate > goal.inflate * TOLERANCE && by_typed > goal.typed * TOLERANCE;
        if let Some(Goal { inflate, typed, .. }) = goal_of(corpus).filter(|goal| step.name == "core" && is_far(goal)) {
            missed = Some(format!(
                "`{}` takes {by_inflate:.2} × inflate and {by_typed:.2} × the typed path; the goals are {inflate} and \
                 {typed:.2}",
                corpus.name
            ));
        }
    }
    missed
}

/// How long this thread has run: on a machine that others use too, waiting is not work. Where the system does not
/// tell, the time of day. Linux may count in steps of 4 ms, which sums over many rounds even out.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn cpu_time() -> Duration {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    // Linux: nanoseconds on a CPU, nanoseconds waiting, slices.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| BEGIN.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// The seconds of every step, round by round.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn rounds(steps: &mut [Step<'_>], effort: Effort) -> Vec<Vec<f64>> {
    let begin = Instant::now();
    let mut rounds = Vec::new();
    while rounds.len() < effort.rounds || begin.elapsed() < effort.time {
        let seconds = steps.iter_mut().map(|step| {
            let start = cpu_time();
            (step.run)();
            (cpu_time() - start).as_secs_f64()
        });
        rounds.push(seconds.collect());
    }
    rounds
}
