//! The sink `s3` against SeaweedFS: the contract of every sink, crashes at every step, and what S3 can do to it.
#![cfg(all(feature = "aws", feature = "zstd", feature = "parquet"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "sinks/bench.rs"]
mod bench;
#[path = "sinks/contract.rs"]
mod contract;
#[path = "s3/crashes.rs"]
mod crashes;
#[path = "s3/lake.rs"]
mod lake;
#[path = "s3/parquet.rs"]
mod parquet_files;
#[path = "s3/proxy.rs"]
mod proxy;
#[path = "s3/sizes.rs"]
mod sizes;
#[path = "stack/mod.rs"]
mod stack;
mod support;
#[path = "s3/trouble.rs"]
mod trouble;

use lake::Lake;

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_delivered_and_settled_in_order() {
    contract::everything_is_delivered_and_settled_in_order(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_the_way_settles_when_nothing_more_comes_for_a_window() {
    contract::a_barrier_settles_all_that_is_on_the_way(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_can_read_no_further_is_flushed() {
    contract::a_lane_that_can_read_no_further_is_flushed(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_batches_come_back_when_there_is_room() {
    contract::refused_batches_come_back_when_there_is_room(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_before_it_is_written_comes_once() {
    contract::what_is_discarded_before_it_is_written_comes_once(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_repeats_nothing_and_loses_nothing() {
    let lake = Lake::new();
    contract::a_rewind_repeats_a_whole_suffix_and_loses_nothing(&lake).await;
    contract::check_once(&lake, bench::Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest() {
    contract::a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_for_a_while_gets_everything_once() {
    contract::a_destination_that_fails_for_a_while_gets_everything_once(&Lake::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sealed_by_a_process_that_died_comes_once() {
    let lake = Lake::new();
    contract::a_torn_tail_is_repaired_and_its_items_come_again(&lake).await;
    contract::check_once(&lake, bench::Load::default());
}

/// A batch whose first record has items and whose last one has none: the chunk is cut between them, and nothing of the
/// first may settle before it is published (the bench compares at every word).
#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_items_settles_nothing_of_a_chunk_that_is_on_its_way() {
    let mut lake = Lake::new();
    lake.config.chunk.0 = 1000;
    let filter = |record: usize, _: usize| record.is_multiple_of(20);
    let load = bench::Load { together: 15, filter, ..bench::Load::default() };
    let mut bench = bench::Bench::new(load, &lake, std::collections::BTreeMap::new());
    bench.finish().await;
    assert!(bench.is_all_remembered());
    let there = contract::Destination::delivered(&lake).len();
    assert!(there > 0 && bench.settled as usize == there, "{there} are there");
}
