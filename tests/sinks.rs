//! The contract of every sink, and what files promise beyond it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "sinks/bench.rs"]
mod bench;
#[path = "sinks/contract.rs"]
mod contract;
#[path = "sinks/destination.rs"]
mod destination;
#[path = "sinks/files.rs"]
mod files;
#[path = "sinks/restarts.rs"]
mod restarts;
mod support;

#[tokio::test(start_paused = true)]
async fn everything_is_delivered_and_settled_in_order() {
    for destination in destination::all() {
        contract::everything_is_delivered_and_settled_in_order(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_barrier_settles_all_that_is_on_the_way() {
    for destination in destination::all() {
        contract::a_barrier_settles_all_that_is_on_the_way(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_can_read_no_further_is_flushed() {
    for destination in destination::all() {
        contract::a_lane_that_can_read_no_further_is_flushed(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refused_batches_come_back_when_there_is_room() {
    for destination in destination::all() {
        contract::refused_batches_come_back_when_there_is_room(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_discarded_before_it_is_written_comes_once() {
    for destination in destination::all() {
        contract::what_is_discarded_before_it_is_written_comes_once(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewind_repeats_a_whole_suffix_and_loses_nothing() {
    for destination in destination::all() {
        contract::a_rewind_repeats_a_whole_suffix_and_loses_nothing(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest() {
    for destination in destination::all() {
        contract::a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_fails_for_a_while_gets_everything_once() {
    // A file that is not rotated would only fail on a full disk: see tests/disk.rs.
    let mut destinations = destination::all().split_off(files::COMPRESSIONS.len());
    for compression in files::COMPRESSIONS {
        // Every unit begins a new file, so that the next one can be barred.
        destinations.push(Box::new(destination::Files::new(compression).rotated_at(1)));
    }
    for destination in destinations {
        contract::a_destination_that_fails_for_a_while_gets_everything_once(&*destination).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_torn_tail_is_repaired_and_its_items_come_again() {
    for destination in destination::all() {
        contract::a_torn_tail_is_repaired_and_its_items_come_again(&*destination).await;
    }
}
