//! The sink `splunk_hec`: the contract of every sink, and what is its own.
#![cfg(all(feature = "aws", feature = "splunk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "splunk_hec/acknowledgement.rs"]
mod acknowledgement;
#[path = "sinks/bench.rs"]
mod bench;
#[path = "splunk_hec/collector.rs"]
mod collector;
#[path = "sinks/contract.rs"]
mod contract;
#[path = "end_to_end/day.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod day;
#[path = "splunk_hec/destination.rs"]
mod destination;
#[path = "splunk_hec/faults.rs"]
mod faults;
#[path = "splunk_hec/program.rs"]
mod program;
#[path = "stack/mod.rs"]
mod stack;
#[path = "splunk_hec/start.rs"]
mod start;
mod support;
#[path = "splunk_hec/tls.rs"]
mod tls;

use destination::Splunk;
use serde_json::json;
use tunnelog::event::Millis;

/// Clauses of the contract, with acknowledgement and without.
macro_rules! clauses {
    ($($clause:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $clause() {
                contract::$clause(&Splunk::new()).await;
                contract::$clause(&Splunk::with(json!({"acknowledgement": false}))).await;
            }
        )*
    };
}

clauses! {
    everything_is_delivered_and_settled_in_order
    a_barrier_settles_all_that_is_on_the_way
    a_lane_that_can_read_no_further_is_flushed
    refused_batches_come_back_when_there_is_room
    what_is_discarded_before_it_is_written_comes_once
    a_rewind_repeats_a_whole_suffix_and_loses_nothing
    a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest
    a_destination_that_fails_for_a_while_gets_everything_once
    a_torn_tail_is_repaired_and_its_items_come_again
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_item_becomes_a_dead_letter_and_its_neighbours_go_on() {
    let odd = bench::Odd { padding: 1_100_000, time: Millis(0) };
    contract::a_refused_item_becomes_a_dead_letter_and_its_neighbours_go_on(&Splunk::new(), odd).await;
}
