//! The same sink with Parquet files: the contract, and a crash at every step.

use tunnelog::sink::s3::Objects;

use super::bench::Load;
use super::contract;
use super::crashes::{Change, SAME, at_every_step};
use super::lake::Lake;

fn lake() -> Lake {
    let mut lake = Lake::new();
    lake.objects = Objects::Parquet;
    lake
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_a_row_of_some_file_once() {
    let lake = lake();
    contract::everything_is_delivered_and_settled_in_order(&lake).await;
    let objects = lake.objects();
    assert!(!objects.is_empty() && objects.iter().all(|key| key.ends_with(".parquet")), "{objects:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_writes_no_row_twice() {
    let lake = lake();
    contract::a_rewind_repeats_a_whole_suffix_and_loses_nothing(&lake).await;
    contract::check_once(&lake, Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_whose_rows_wait_is_flushed_when_it_can_read_no_further() {
    contract::a_lane_that_can_read_no_further_is_flushed(&lake()).await;
}

/// More than any row group, part or bound holds.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_many_row_groups_go_up_in_parts() {
    contract::refused_batches_come_back_when_there_is_room(&lake()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_at_any_step_leaves_each_row_once() {
    at_every_step(&Change { before: Objects::Parquet, objects: Objects::Parquet, ..SAME }).await;
}

/// What was sealed as lines is published as rows, and the lines are deleted.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_process_may_change_from_lines_to_parquet() {
    at_every_step(&Change { objects: Objects::Parquet, ..SAME }).await;
}
