//! The sink `firehose`: the contract of every sink, and what is its own.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "sinks/bench.rs"]
mod bench;
#[path = "sinks/contract.rs"]
mod contract;
#[path = "firehose/destination.rs"]
mod destination;
#[path = "firehose/end_to_end.rs"]
mod end_to_end;
#[path = "firehose/faults.rs"]
mod faults;
#[path = "firehose/moto.rs"]
mod moto;
#[path = "firehose/server.rs"]
mod server;
#[path = "stack/mod.rs"]
mod stack;
#[path = "firehose/start.rs"]
mod start;
mod support;

use destination::Firehose;
use tunnelog::config::types::Pack;
use tunnelog::event::Millis;

/// Clauses of the contract, each for these destinations.
macro_rules! clauses {
    ([$($destination:expr),*] $($clause:ident)*) => {
        clauses! { @each ($($destination),*) $($clause)* }
    };
    (@each $destinations:tt $($clause:ident)*) => {
        $(clauses! { @one $destinations $clause })*
    };
    (@one ($($destination:expr),*) $clause:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $clause() {
            $(contract::$clause(&$destination).await;)*
        }
    };
}
use clauses;

clauses! {
    [Firehose::new(Pack::Always), Firehose::new(Pack::Never), Firehose::new(Pack::Always).compressing()]
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
    let all = [Firehose::new(Pack::Always), Firehose::new(Pack::Never), Firehose::new(Pack::Always).compressing()];
    for destination in &all {
        contract::a_refused_item_becomes_a_dead_letter_and_its_neighbours_go_on(destination, odd).await;
    }
}
