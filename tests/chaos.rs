//! Chaos with real parts: the program between a Kinesis, an Apache Kafka, an S3, a Firehose, EC2, STS and, in one of two
//! runs, the DynamoDB that has its checkpoint; with a small proxy of ours before each. Rounds of faults, chosen by a seed; then good weather, and the ledger.
//!
//! `make chaos ROUNDS=10 SEED=1` is the long run. The real parts make it not fully deterministic: a seed repeats the
//! plan (what happens, with which numbers, in which order), not every step of the machine.
#![cfg(all(feature = "aws", feature = "kafka"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "end_to_end/day.rs"]
#[allow(dead_code, reason = "the stream is used, the day is not")]
mod day;
#[path = "end_to_end/far.rs"]
#[allow(dead_code, reason = "keys and headers are other tests' business")]
mod far;
#[path = "stack/mod.rs"]
mod stack;
mod support;

/// In files of their own.
mod chaos {
    pub(crate) mod dice;
    pub(crate) mod http;
    pub(crate) mod input;
    pub(crate) mod ledger;
    pub(crate) mod ledger_tests;
    pub(crate) mod limits;
    pub(crate) mod plan;
    pub(crate) mod proxy;
    pub(crate) mod store;
    pub(crate) mod supervisor;
    pub(crate) mod world;
}

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use chaos::ledger::Row;
use chaos::plan;
use chaos::store::Store;
use chaos::world::World;
use tokio::time::Instant;

/// When what is left at the end was produced.
const END_OF_STREAM: &str = "after the last round";

/// Without the variables of `make chaos`: a run of a few minutes that meets every incident.
const ROUNDS: usize = 3;
const SEED: u64 = 1;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Err(_) => default,
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is `{text}`: write a number")),
    }
}

#[test]
fn a_chaos_run_with_its_checkpoint_in_a_file_loses_nothing_and_repeats_only_what_each_far_end_allows() {
    chaos_run(Store::File);
}

/// The same, and beside it: the table is throttled, fails, loses answers and is away; a process is frozen for longer than
/// its lease, replaced by one on a machine with an empty disk, and woken.
#[test]
fn a_chaos_run_with_its_checkpoint_in_dynamodb_loses_nothing_and_repeats_only_what_each_far_end_allows() {
    chaos_run(Store::table());
}

fn chaos_run(store: Store) {
    let (seed, rounds) = (setting("TUNNELOG_CHAOS_SEED", SEED), setting("TUNNELOG_CHAOS_ROUNDS", ROUNDS));
    // Kept where it fails: logs of all runs, the checkpoint, the files.
    let folder = tempfile::Builder::new().prefix("tunnelog-chaos-").tempdir().unwrap().keep();
    let (mut world, begun) = (World::new(&folder, seed, rounds, store), Instant::now());
    let mut at = "before the first round".to_owned();
    let passed = catch_unwind(AssertUnwindSafe(|| {
        for (round, steps) in plan::rounds(seed, rounds, &world.link_names()).into_iter().enumerate() {
            for step in &steps {
                at = format!("round {} of {rounds}: {step}", round + 1);
                println!("{:>6.1} s  {at}", begun.elapsed().as_secs_f32());
                world.step(step, &at);
            }
        }
        at = "after the last round".into();
        println!("{:>6.1} s  {at}: good weather until everything is there", begun.elapsed().as_secs_f32());
        world.finish();
    }));
    let rows = world.rows();
    show(&world, &rows, &format!("seed {seed}, {rounds} rounds, {:.0} s", begun.elapsed().as_secs_f32()));
    let failed = passed.is_err() || rows.iter().any(|row| row.lost > 0 || !row.problems.is_empty());
    if failed {
        println!("the last lines of the program's log:\n{}", world.program.tail());
        let kind = if world.program.store().is_table() { "dynamodb" } else { "file" };
        println!(
            "{at}; repeat it: make chaos CHECKPOINT={kind} SEED={seed} ROUNDS={rounds}; its folder: {}",
            folder.display()
        );
    }
    if let Err(panic) = passed {
        resume_unwind(panic);
    }
    assert!(!failed, "seed {seed}: the ledger does not balance, see above");
    drop(world);
    std::fs::remove_dir_all(folder).unwrap();
}

/// What was done, what was met, and the ledger.
fn show(world: &World, rows: &[Row], title: &str) {
    println!("\nthe ledger: {title}");
    for link in &world.links {
        let met: Vec<String> = link.met().iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!("  {:<12}{:>7} calls; {}", link.name, link.calls(), met.join(", "));
    }
    let counts = &world.program.counts;
    println!(
        "  the program: {} starts, {} times kill -9, {} orderly stops, {} stops whose grace ended, {} failed starts; {} silences",
        counts.starts, counts.kills, counts.orderly, counts.unfinished, counts.failed_starts, world.silences
    );
    let taken = match counts.replaced {
        0 => String::new(),
        count => format!("; taken over {count} times from a frozen process, which wrote nothing more"),
    };
    println!("  its checkpoint: {}{taken}", world.program.store());
    let ledger = &world.ledger;
    let again = ledger.records().filter(|record| record.again).count();
    let damaged = ledger.records().filter(|record| record.content.damaged).count();
    println!(
        "  produced: {} log events in {} records; {again} of them upstream's repeats, {damaged} damaged",
        ledger.events(),
        ledger.records().count(),
    );
    println!("{}", Row::HEAD);
    rows.iter().for_each(|row| println!("{row}"));
}
