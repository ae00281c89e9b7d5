//! What an object's size follows: `chunk` and `window` of the stream, however slowly it flows.

use std::collections::BTreeMap;
use std::time::Duration;

use tunnelog::config::units;
use tunnelog::sink::s3::Objects;

use super::bench::{Bench, Load};
use super::contract::{self, Destination as _};
use super::lake::Lake;

const RECORDS: usize = 100;

/// A record every half minute, five read at a time, with checkpoints in between: where each object begins.
async fn begins_of_objects(lake: &mut Lake, chunk_bytes: u64, window: Duration) -> Vec<usize> {
    (lake.config.chunk, lake.config.window) = (units::Size(chunk_bytes), units::Duration(window));
    let load = Load { shards: 1, records: RECORDS, together: 5, apart_ms: 30_000, ..Load::default() };
    let mut bench = Bench::new(load, lake, BTreeMap::new());
    for _ in 0..RECORDS / 5 {
        bench.may_read = 5;
        // As long as nothing comes, one is due each second.
        for _ in 0..10 {
            bench.checkpoint().await;
        }
    }
    bench.finish().await;
    contract::check_once(lake, load);
    lake.objects().iter().map(|key| begin(key)).collect()
}

/// The position in `lane-position.…`.
fn begin(key: &str) -> usize {
    let name = key.rsplit('/').next().unwrap();
    name.split_once('-').unwrap().1.split('.').next().unwrap().parse().unwrap()
}

/// Ten records make a chunk. The first record has no items, so that no object begins with it.
#[tokio::test(flavor = "multi_thread")]
async fn objects_reach_their_size_at_a_record_every_half_minute() {
    for objects in [Objects::Lines, Objects::Parquet] {
        let mut lake = Lake::new();
        lake.objects = objects;
        let begins = begins_of_objects(&mut lake, 1_000, Duration::from_secs(3_600)).await;
        assert_eq!(begins, (0..10).map(|ten| 10 * ten + 2).collect::<Vec<_>>(), "{}", lake.name());
    }
}

/// Twenty records are a window of ten minutes, and 100 MB never come.
#[tokio::test(flavor = "multi_thread")]
async fn objects_below_their_size_hold_a_window() {
    let mut lake = Lake::new();
    let begins = begins_of_objects(&mut lake, 100_000_000, Duration::from_secs(600)).await;
    assert_eq!(begins, [2, 22, 42, 62, 82]);
}
