//! The sink `kafka`: the contract of every sink and what Kafka promises beyond it, on a real Apache Kafka and, for
//! failures that a real one won't show, on librdkafka's mock cluster.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "sinks/bench.rs"]
mod bench;
#[path = "sinks/contract.rs"]
mod contract;
#[path = "kafka/far.rs"]
mod far;
#[path = "kafka/faults.rs"]
mod faults;
#[path = "kafka/messages.rs"]
mod messages;
#[path = "kafka/outage.rs"]
mod outage;
#[path = "kafka/reaching.rs"]
mod reaching;
#[path = "stack/mod.rs"]
mod stack;
mod support;

use far::{Mock, Real};
use tunnelog::event::Millis;

/// Larger than librdkafka and brokers take by default.
const LARGE: bench::Odd = bench::Odd { padding: 1_500_000, time: Millis(0) };

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_delivered_and_settled_in_order() {
    contract::everything_is_delivered_and_settled_in_order(&Real::new(3)).await;
    contract::everything_is_delivered_and_settled_in_order(&Mock::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_settles_all_that_is_on_the_way() {
    contract::a_barrier_settles_all_that_is_on_the_way(&Real::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_can_read_no_further_is_flushed() {
    contract::a_lane_that_can_read_no_further_is_flushed(&Real::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_batches_come_back_when_there_is_room() {
    contract::refused_batches_come_back_when_there_is_room(&Real::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_before_it_is_written_comes_once() {
    contract::what_is_discarded_before_it_is_written_comes_once(&Real::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_repeats_a_whole_suffix_and_loses_nothing() {
    contract::a_rewind_repeats_a_whole_suffix_and_loses_nothing(&Real::new(3)).await;
    contract::a_rewind_repeats_a_whole_suffix_and_loses_nothing(&Mock::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest() {
    let far = Real::new(3);
    contract::a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest(&far).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_fails_for_a_while_gets_everything_once() {
    contract::a_destination_that_fails_for_a_while_gets_everything_once(&Mock::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_repaired_and_its_items_come_again() {
    contract::a_torn_tail_is_repaired_and_its_items_come_again(&Real::new(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_too_large_for_librdkafka_becomes_a_dead_letter_and_its_neighbours_go_on() {
    let far = Real::new(3);
    contract::a_refused_item_becomes_a_dead_letter_and_its_neighbours_go_on(&far, LARGE).await;
    let letter = &far.letters()[0];
    assert_eq!((&*letter.reason, letter.sink.as_deref()), ("too_large", Some("sink")));
    assert!(letter.size > 1_500_000 && letter.detail.contains("raise `message.max.bytes`"), "{}", letter.detail);
    let all = bench::expected(bench::Load::default()).concat().len();
    assert_eq!(far.0.seen().len(), all - 1, "nothing was sent twice for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_too_large_for_the_broker_is_found_among_its_neighbours() {
    // librdkafka takes it, the broker does not: 1 MiB by default.
    let far = Real::new(3).with("message.max.bytes", "5000000").uncompressed();
    contract::a_refused_item_becomes_a_dead_letter_and_its_neighbours_go_on(&far, LARGE).await;
    assert_eq!(far.letters()[0].reason, "too_large");
}
