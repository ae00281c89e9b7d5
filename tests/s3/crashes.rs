//! A process that dies at each thing that it does to the outside, and the next ones.
//!
//! Whatever it was, and whatever the next process's pipeline file says: each event that the last filter lets through
//! is in the bucket exactly once, nothing else is, and no upload is left.

use std::collections::{BTreeMap, BTreeSet};

use tunnelog::config::types::Compression;
use tunnelog::sink::s3::Objects;

use super::bench::{Bench, Load, expected};
use super::contract::Destination as _;
use super::lake::{Death, Lake};

/// One shard, three days, two chunks (of at most ten records of 100 bytes).
fn load() -> Load {
    // Padding: the bench looks at the bucket at each settlement only while items are small.
    Load { shards: 1, records: 16, days: 3, padding: 1000, ..Load::default() }
}

/// What the second process does otherwise.
pub(crate) struct Change {
    /// What the first one made.
    pub(crate) before: Objects,
    pub(crate) prefix: &'static str,
    pub(crate) compression: Compression,
    pub(crate) objects: Objects,
    pub(crate) filter: fn(usize, usize) -> bool,
}

pub(crate) const SAME: Change = Change {
    before: Objects::Lines,
    prefix: "vpn/dt={yyyy}-{mm}-{dd}/",
    compression: Compression::Gzip,
    objects: Objects::Lines,
    filter: |_, _| true,
};

fn lake(objects: Objects) -> Lake {
    let mut lake = Lake::new();
    lake.objects = objects;
    lake.config.chunk.0 = 1000;
    lake
}

/// Dies at step `death`, lives again as `change` says, dies again at step `second`, and lives to the end. What the
/// processes died of; `None` if the first one lived to its end.
async fn run(death: Death, change: &Change, second: Option<Death>) -> Option<Vec<String>> {
    let mut lake = lake(change.before);
    let mut died = Vec::new();
    let mut bench = Bench::new(load(), &lake, BTreeMap::new());
    // Opening the sink writes the marker at most: that is looked at elsewhere.
    lake.begin_life(Some(death));
    let lived = bench.live(|| lake.is_dead()).await;
    let mut store = std::mem::take(&mut bench.store);
    drop(bench);
    died.push(lake.died_of());
    if lived {
        return None;
    }
    let visible_before: BTreeSet<String> = lake.delivered().into_iter().collect();
    lake.config.prefix = format!("{}/{}", lake.root, change.prefix);
    lake.config.compression = change.compression;
    lake.objects = change.objects;
    let load = Load { filter: change.filter, ..load() };
    if let Some(second) = second {
        lake.begin_life(None);
        let mut bench = Bench::new(load, &lake, store);
        lake.begin_life(Some(second));
        bench.live(|| lake.is_dead()).await;
        store = std::mem::take(&mut bench.store);
        drop(bench);
        died.push(lake.died_of());
    }
    lake.begin_life(None);
    let mut bench = Bench::new(load, &lake, store);
    assert!(bench.live(|| false).await);
    drop(bench);
    check(&lake, load, change, &visible_before, &format!("{death:?} {second:?} {died:?}"));
    Some(died)
}

fn check(lake: &Lake, load: Load, change: &Change, before: &BTreeSet<String>, when: &str) {
    let mut delivered = lake.delivered();
    delivered.sort();
    let all: BTreeSet<String> = delivered.iter().cloned().collect();
    assert_eq!(all.len(), delivered.len(), "{when}: an event is there twice: {delivered:?} in {:?}", lake.objects());
    for id in expected(load).concat() {
        assert!(all.contains(&id), "{when}: {id} is missing");
    }
    // What a narrower filter would not let through can only be there from a chunk that was over before.
    let wanted: BTreeSet<String> = expected(load).concat().into_iter().collect();
    assert!(all.difference(&wanted).all(|id| before.contains(id)), "{when}: {all:?} beyond {wanted:?}");
    assert_eq!(lake.uploads(), Vec::new(), "{when}: uploads are left");
    if change.prefix == SAME.prefix && change.compression == SAME.compression {
        let days = ["dt=1970-01-01", "dt=1970-01-02", "dt=1970-01-03"];
        let objects = lake.objects();
        let found: BTreeSet<&str> = objects.iter().map(|key| key.rsplit('/').nth(1).unwrap()).collect();
        assert!(found.iter().all(|day| days.contains(day)), "{when}: {found:?}");
        assert!(!objects.is_empty() || wanted.is_empty(), "{when}");
    }
}

/// At every step, before and after it, until a process lives to its end.
pub(crate) async fn at_every_step(change: &Change) -> BTreeSet<String> {
    let mut died_of = BTreeSet::new();
    for at in 1.. {
        let mut ended = true;
        for after in [false, true] {
            if let Some(died) = run(Death { at, after }, change, None).await {
                ended = false;
                died_of.extend(died);
            }
        }
        if ended {
            assert!(at > 20, "{at} steps are too few to mean anything");
            return died_of;
        }
    }
    unreachable!("a process lives at last")
}

fn set<'a>(words: &[&'a str]) -> BTreeSet<&'a str> {
    words.iter().copied().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_step_leaves_each_event_once() {
    let died = at_every_step(&SAME).await;
    let died: BTreeSet<&str> = died.iter().map(String::as_str).collect();
    assert!(died.is_superset(&set(&["create", "part", "complete", "commit"])), "{died:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_may_have_another_template() {
    at_every_step(&Change { prefix: "vpn/{kind}/d={dd}/", ..SAME }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_may_have_a_narrower_filter() {
    // Of the second and third day nothing is left: their objects are deleted.
    at_every_step(&Change { filter: |_, item| item % 3 == 0, ..SAME }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_may_filter_all_out() {
    at_every_step(&Change { filter: |_, _| false, ..SAME }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_may_have_another_compression() {
    at_every_step(&Change { compression: Compression::Zstd, ..SAME }).await;
}

/// The first process dies while the first chunk is being published; the second one, which finds the seal and has
/// another template and filter, at each of its steps.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_rebuilds_may_die_at_any_step_too() {
    let change = Change { prefix: "vpn/d={dd}/", filter: |_, item| item % 3 != 1, ..SAME };
    let first = first_completion().await;
    let mut died_of = BTreeSet::new();
    for at in 1.. {
        let mut ended = true;
        for after in [false, true] {
            let second = Death { at, after };
            let died = run(Death { at: first, after: true }, &change, Some(second)).await.unwrap();
            assert_eq!(died[0], "complete");
            ended &= died[1].is_empty();
            died_of.extend(died);
        }
        if ended {
            break;
        }
    }
    let died: BTreeSet<&str> = died_of.iter().map(String::as_str).collect();
    let all = ["abort", "create", "part", "commit", "complete", "delete", "head"];
    assert!(died.is_superset(&set(&all)), "{died:?}");
}

/// The step at which the first object becomes visible.
async fn first_completion() -> usize {
    for at in 1.. {
        let died = run(Death { at, after: true }, &SAME, None).await.expect("an object is completed at some step");
        if died[0] == "complete" {
            return at;
        }
    }
    unreachable!()
}
