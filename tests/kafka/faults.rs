//! What brokers answer when they are not well, by librdkafka's mock cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::bindings::rd_kafka_resp_err_t as Error;
use rdkafka::types::RDKafkaApiKey;

use super::bench::{Bench, Load};
use super::contract::{Destination as _, check_at_least_once, check_once};
use super::far::Mock;

/// A run in which produce requests get these answers after the first records were delivered.
async fn run_with(mock: &Mock, errors: &[Error]) -> (usize, usize, String) {
    let load = Load::default();
    let mut bench = Bench::new(load, mock, BTreeMap::new());
    bench.may_read = 20;
    bench.barrier().await;
    mock.cluster.request_errors(RDKafkaApiKey::Produce, errors);
    bench.finish().await;
    (bench.downs, bench.ups, bench.last_down)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_pass_are_tried_again_in_order_without_a_repeat() {
    let mock = Mock::new(3);
    let errors = [
        Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        Error::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
        Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        Error::RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    let (downs, ..) = run_with(&mock, &errors).await;
    assert_eq!(downs, 0);
    check_once(&mock, Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_at_its_end_is_replaced_and_its_lanes_are_rewound() {
    let mock = Mock::new(3);
    run_with(&mock, &[Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]).await;
    check_at_least_once(&mock, Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_taken_away_is_named_and_everything_comes_once_it_is_back() {
    let mock = Mock::new(3);
    let (downs, ups, why) = run_with(&mock, &[Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]).await;
    assert_eq!((downs, ups), (1, 1));
    let topic = &mock.topic.config.topic;
    assert!(why.contains(&format!("topic `{topic}`")) && why.contains("allow this user"), "{why}");
    check_at_least_once(&mock, Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_refused_once_is_sent_again_one_by_one_and_no_letter_is_written() {
    let mock = Mock::new(1);
    run_with(&mock, &[Error::RD_KAFKA_RESP_ERR_INVALID_RECORD]).await;
    assert_eq!(mock.rejected(), 0);
    check_at_least_once(&mock, Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_come_too_late_lose_nothing() {
    let mock = Mock::new(3);
    let load = Load::default();
    let mut bench = Bench::new(load, &mock, BTreeMap::new());
    bench.may_read = 20;
    bench.barrier().await;
    // Stored, but the answer comes after the client has given the request up (`socket.timeout.ms`, 3 s).
    mock.cluster.broker_round_trip_time(1, Duration::from_secs(5)).unwrap();
    bench.may_read = 20;
    bench.fill();
    assert!(bench.is_silent().await || bench.downs > 0);
    mock.cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    bench.finish().await;
    check_at_least_once(&mock, load);
}
