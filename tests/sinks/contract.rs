//! The contract of every sink: each function is one clause, for one destination.
//!
//! Under paused time for sinks without a network, on real time for the others (a multi-threaded runtime: see
//! [`Destination`]).
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::sink::Sink;

use super::bench::{Bench, Fate, Load, Odd, by_shard, expected};

/// Where a sink's items go, as somebody else sees it. Its methods may block: a destination behind a network uses
/// `tokio::task::block_in_place`.
pub(crate) trait Destination {
    fn name(&self) -> String;
    /// Opens the sink, as a process that starts does.
    fn open(&self) -> Result<Box<dyn Sink>, String>;
    /// The ids of what is there and whole, in order; a torn tail is left out.
    fn delivered(&self) -> Vec<String>;
    /// Whether the order of a lane is kept (DESIGN 4, invariant 7).
    fn keeps_order(&self) -> bool;
    /// Whether it publishes only what the store knows of.
    fn seals(&self) -> bool;
    /// From now on it takes nothing.
    fn break_down(&self);
    /// It takes everything again.
    fn mend(&self);
    /// Cuts into what was written last, as a crash does.
    fn tear(&self);
    /// Fails unless it is whole, torn nowhere.
    fn check_whole(&self);
    /// The store has this now.
    fn remember(&self, states: &[(LaneKey, LaneState)]);
    /// How many items were refused for good and are durable as dead letters.
    fn rejected(&self) -> usize {
        0
    }
    /// The process commits: what becomes of it.
    fn commit(&self) -> Fate {
        Fate::Lives
    }
    /// How long the sink may have nothing to say although it should. Paused time costs nothing.
    fn silence(&self) -> Duration {
        Duration::from_secs(600)
    }
}

/// Everything is there, and nothing twice.
#[track_caller]
pub(crate) fn check_once(destination: &dyn Destination, load: Load) {
    destination.check_whole();
    let name = destination.name();
    let mut delivered = by_shard(load, &destination.delivered());
    if !destination.keeps_order() {
        let number = |id: &String| id.split('/').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
        delivered.iter_mut().for_each(|ids| ids.sort_by_key(number));
    }
    assert_eq!(delivered, expected(load), "{name}");
}

/// Everything is there, perhaps again; each shard goes on in order but for jumps back.
#[track_caller]
pub(crate) fn check_at_least_once(destination: &dyn Destination, load: Load) {
    destination.check_whole();
    let name = destination.name();
    for (got, wanted) in by_shard(load, &destination.delivered()).into_iter().zip(expected(load)) {
        let missing: Vec<_> = wanted.iter().filter(|id| !got.contains(id)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} are missing");
        if !destination.keeps_order() {
            continue;
        }
        let place = |id: &String| wanted.iter().position(|other| other == id).unwrap();
        for pair in got.windows(2) {
            let (before, after) = (place(&pair[0]), place(&pair[1]));
            assert!(after <= before + 1, "{name}: {} before {}", pair[0], pair[1]);
        }
    }
}

pub(crate) async fn everything_is_delivered_and_settled_in_order(destination: &dyn Destination) {
    let load = Load::default();
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.finish().await;
    assert!(bench.is_all_remembered(), "{}", destination.name());
    check_once(destination, load);
}

pub(crate) async fn a_barrier_settles_all_that_is_on_the_way(destination: &dyn Destination) {
    let load = Load::default();
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    for records in [1, 2, 30] {
        bench.may_read = records;
        bench.barrier().await;
        assert_eq!(bench.open_records(), 0);
        assert_eq!(bench.settled as usize, destination.delivered().len(), "{}", destination.name());
    }
    bench.finish().await;
    check_once(destination, load);
}

pub(crate) async fn a_lane_that_can_read_no_further_is_flushed(destination: &dyn Destination) {
    let load = Load { open_records: 3, ..Load::default() };
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    // No checkpoint comes on the way: without flushes this would never end.
    bench.finish().await;
    check_once(destination, load);
}

pub(crate) async fn refused_batches_come_back_when_there_is_room(destination: &dyn Destination) {
    // 3 shards of 20 records, 40 items each, of half a MiB: more than any sink holds.
    let load = Load { records: 20, padding: 512 * 1024, ..Load::default() };
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.fill();
    assert!(bench.refusals > 0, "{}", destination.name());
    bench.finish().await;
    check_once(destination, load);
}

pub(crate) async fn what_is_discarded_before_it_is_written_comes_once(destination: &dyn Destination) {
    let load = Load::default();
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.may_read = 30;
    bench.fill();
    bench.rewind();
    bench.may_read = 20;
    bench.fill();
    bench.rewind();
    bench.finish().await;
    check_once(destination, load);
}

pub(crate) async fn a_rewind_repeats_a_whole_suffix_and_loses_nothing(destination: &dyn Destination) {
    let load = Load::default();
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.may_read = 30;
    bench.barrier().await;
    bench.may_read = 30;
    bench.fill();
    // Some of it may be written by now and some not.
    bench.hear().await;
    bench.rewind();
    bench.finish().await;
    check_at_least_once(destination, load);
}

pub(crate) async fn a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest(
    destination: &dyn Destination,
) {
    let load = Load::default();
    let mut first = Bench::new(load, destination, BTreeMap::new());
    first.may_read = 50;
    first.fill();
    first.shut_down().await;
    assert!(!first.is_all_remembered());
    let store = std::mem::take(&mut first.store);
    drop(first);
    let half = destination.delivered();
    assert!(!half.is_empty() && half.len() < expected(load).concat().len(), "{}", destination.name());

    let mut second = Bench::new(load, destination, store);
    second.finish().await;
    check_once(destination, load);
}

pub(crate) async fn a_destination_that_fails_for_a_while_gets_everything_once(destination: &dyn Destination) {
    let load = Load::default();
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.may_read = 20;
    bench.barrier().await;
    let settled = bench.settled;
    destination.break_down();
    bench.may_read = usize::MAX;
    bench.fill();
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert!(bench.is_silent().await, "{}: one word is enough", destination.name());
    assert_eq!((bench.settled, bench.ups), (settled, 0), "{}: nothing settles", destination.name());
    destination.mend();
    while bench.ups == 0 {
        bench.hear().await;
    }
    bench.finish().await;
    assert_eq!((bench.downs, bench.ups), (1, 1), "{}", destination.name());
    check_once(destination, load);
}

pub(crate) async fn a_torn_tail_is_repaired_and_its_items_come_again(destination: &dyn Destination) {
    let load = Load::default();
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.may_read = 40;
    bench.barrier().await;
    // The rest is written, but the process dies before it is remembered, and the disk loses the tail.
    bench.hold_commits = true;
    bench.may_read = 40;
    bench.fill();
    if !destination.seals() {
        bench.barrier().await;
    }
    let store = std::mem::take(&mut bench.store);
    drop(bench);
    destination.tear();

    let mut again = Bench::new(load, destination, store);
    again.finish().await;
    check_at_least_once(destination, load);
    let all: BTreeSet<String> = destination.delivered().into_iter().collect();
    assert_eq!(all.len(), expected(load).concat().len());
}

/// The destination refuses one item for good: it becomes a dead letter, its neighbours go on.
pub(crate) async fn a_refused_item_becomes_a_dead_letter_and_its_neighbours_go_on(
    destination: &dyn Destination,
    odd: Odd,
) {
    // This record has four items: one in the middle.
    let load = Load { odd: Some(((1, 6, 1), odd)), ..Load::default() };
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.finish().await;
    assert!(bench.is_all_remembered(), "{}", destination.name());
    assert_eq!(destination.rejected(), 1, "{}", destination.name());
    destination.check_whole();
    let delivered = by_shard(load, &destination.delivered());
    for (got, wanted) in delivered.into_iter().zip(expected(load)) {
        let wanted: Vec<String> = wanted.into_iter().filter(|id| id != "1/6/1").collect();
        let missing: Vec<_> = wanted.iter().filter(|id| !got.contains(id)).collect();
        assert!(missing.is_empty(), "{}: {missing:?} are missing", destination.name());
        if !destination.keeps_order() {
            continue;
        }
        let place = |id: &String| wanted.iter().position(|other| other == id).unwrap();
        for pair in got.windows(2) {
            assert!(place(&pair[1]) <= place(&pair[0]) + 1, "{}: {} before {}", destination.name(), pair[0], pair[1]);
        }
    }
}
