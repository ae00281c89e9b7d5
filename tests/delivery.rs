//! The dispatcher against model readers, sinks and stores: one thread, one seed, no clock.
//!
//! A seed drives everything: shards that split, records of no or many items, pieces that end within a record,
//! sinks that settle late and out of order, forget receipts, ask for seals; stores that answer late; crashes at
//! any step. What is checked are the invariants of the design, by their numbers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "delivery/model.rs"]
mod model;

use model::{Faults, World};

/// How often lanes were parked in all these worlds.
fn check(faults: Faults, seeds: std::ops::Range<u64>) -> u64 {
    let mut parks = 0;
    for seed in seeds {
        match std::panic::catch_unwind(|| World::new(seed, faults).run()) {
            Ok(parked) => parks += parked.iter().sum::<u64>(),
            Err(panic) => {
                eprintln!("failing seed: {seed} with {faults:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    parks
}

#[test]
fn everything_is_delivered_when_nothing_fails() {
    check(Faults::default(), 0..100);
}

#[test]
fn sinks_that_settle_out_of_order_and_forget_receipts_lose_nothing() {
    check(Faults { forget: true, ..Faults::default() }, 0..200);
}

#[test]
fn crashes_at_any_step_repeat_but_lose_nothing() {
    check(Faults { crash: true, ..Faults::default() }, 0..200);
}

#[test]
fn everything_at_once() {
    check(Faults { crash: true, forget: true, drain: true, ..Faults::default() }, 0..400);
}

#[test]
fn a_process_that_is_asked_to_stop_ends_within_no_record_and_repeats_nothing() {
    check(Faults { drain: true, ..Faults::default() }, 0..400);
}

#[test]
fn a_chunk_that_is_rebuilt_under_another_filter_is_published_once() {
    check(Faults { crash: true, forget: true, drain: true, filter: true, ..Faults::default() }, 0..200);
}

#[test]
fn a_shard_that_vanishes_holds_nothing_up() {
    check(Faults { gone: true, forget: true, ..Faults::default() }, 0..100);
}

#[test]
fn sinks_that_take_nothing_for_long_are_parked_and_catch_up() {
    let parks = check(Faults { outage: true, forget: true, ..Faults::default() }, 0..100);
    assert!(parks > 30, "only {parks} lanes were parked in 100 worlds");
    check(Faults { outage: true, crash: true, forget: true, drain: true, filter: true, ..Faults::default() }, 0..100);
    check(Faults { outage: true, gone: true, ..Faults::default() }, 0..100);
}

#[test]
fn one_sink_that_is_out_holds_nothing_of_another_up() {
    for seed in 0..100 {
        for (out, told) in [(0, true), (0, false), (1, true), (1, false)] {
            World::new(seed, Faults::default()).run_beside_an_outage(out, told);
        }
    }
}

#[test]
fn a_shard_that_another_process_gives_back_is_read_to_its_end() {
    check(Faults { revoked: true, forget: true, ..Faults::default() }, 0..100);
    check(Faults { revoked: true, outage: true, crash: true, drain: true, ..Faults::default() }, 0..100);
}
