//! HTTP 200 is received; only an acknowledgement settles, whatever becomes of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::bench::{Bench, Load, expected};
use super::collector::Fault;
use super::contract::{Destination as _, check_at_least_once, check_once};
use super::destination::Splunk;

const SMALL: fn() -> Load = || Load { shards: 1, records: 10, ..Load::default() };

async fn run(splunk: &Splunk, load: Load) {
    let mut bench = Bench::new(load, splunk, BTreeMap::new());
    bench.finish().await;
    assert!(bench.is_all_remembered());
}

/// With this in place of the first answer to a question for acknowledgements (the start has asked one too).
async fn run_with(splunk: &Splunk, fault: Fault) {
    let mut bench = Bench::new(SMALL(), splunk, BTreeMap::new());
    splunk.collector.state().next_question.push_back(fault);
    bench.finish().await;
    assert!(splunk.collector.state().next_question.is_empty(), "it was met");
}

/// Hears words until the collector has received this many requests that it has not indexed.
async fn until_pending(bench: &mut Bench<'_>, splunk: &Splunk, requests: usize) {
    while splunk.collector.state().pending() < requests {
        let look = tokio::time::timeout(std::time::Duration::from_millis(50), bench.hear());
        let _ = look.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_received_settles_only_when_it_is_acknowledged() {
    let splunk = Splunk::new();
    splunk.collector.state().holds = true;
    let mut bench = Bench::new(SMALL(), &splunk, BTreeMap::new());
    until_pending(&mut bench, &splunk, 1).await;
    let questions = splunk.collector.state().questions;
    while splunk.collector.state().questions < questions + 3 {
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), bench.hear()).await;
    }
    assert_eq!(bench.settled, 0, "three times it was asked, and nothing is indexed");
    splunk.collector.state().release();
    bench.finish().await;
    check_once(&splunk, SMALL());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_acknowledged_is_sent_again_with_the_same_ids_and_the_sink_is_down() {
    let splunk = Splunk::new();
    splunk.collector.state().holds = true;
    let mut bench = Bench::new(SMALL(), &splunk, BTreeMap::new());
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert!(bench.last_down.contains("has acknowledged none of them"), "{}", bench.last_down);
    assert_eq!(bench.settled, 0);
    until_pending(&mut bench, &splunk, 2).await;
    splunk.collector.state().release();
    bench.finish().await;
    assert_eq!(bench.ups, 1);
    check_at_least_once(&splunk, SMALL());
    let state = splunk.collector.state();
    let ids: Vec<&str> = state.indexed.iter().map(|envelope| envelope["fields"]["id"].as_str().unwrap()).collect();
    let distinct: BTreeSet<&&str> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (40, 20), "each twice, under one id");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_restart_of_splunk_loses_is_sent_again() {
    let splunk = Splunk::new();
    splunk.collector.state().holds = true;
    let load = Load::default();
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    bench.may_read = 20;
    bench.fill();
    until_pending(&mut bench, &splunk, 1).await;
    {
        let mut state = splunk.collector.state();
        state.restart();
        state.release();
    }
    bench.finish().await;
    check_at_least_once(&splunk, load);
}

/// The next request gets the number that the lost one had, and nobody hears of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_another_request_had_before_a_restart_settles_nothing_else() {
    let splunk = Splunk::new();
    splunk.collector.state().holds = true;
    let load = Load::default();
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    bench.may_read = 20;
    bench.fill();
    until_pending(&mut bench, &splunk, 1).await;
    {
        let mut state = splunk.collector.state();
        state.restart();
        state.release();
        state.next.extend([Fault::LoseAnswer, Fault::LoseAnswer, Fault::LoseAnswer]);
    }
    // The bench fails if more settles than is indexed.
    bench.finish().await;
    check_at_least_once(&splunk, load);
}

/// Splunk says `true` once.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_is_lost_on_its_way_costs_a_repeat_and_loses_nothing() {
    let splunk = Splunk::new();
    run_with(&splunk, Fault::LoseAnswer).await;
    check_at_least_once(&splunk, SMALL());
    assert!(splunk.delivered().len() > 20, "{:?}", splunk.delivered());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_refused_is_a_failure_and_asked_again() {
    let splunk = Splunk::new();
    let mut bench = Bench::new(SMALL(), &splunk, BTreeMap::new());
    splunk.collector.state().next_question.extend([
        Fault::Answer(503, 19, "HEC is unhealthy, ack service unavailable"),
        Fault::Answer(403, 1, "Token disabled"),
    ]);
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert_eq!(bench.settled, 0);
    assert!(bench.last_down.contains("the token is disabled; enable it in Settings"), "{}", bench.last_down);
    bench.finish().await;
    assert_eq!(bench.ups, 1);
    check_at_least_once(&splunk, SMALL());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_refused_is_followed_by_another_one() {
    let splunk = Splunk::new();
    run_with(&splunk, Fault::Answer(400, 11, "Invalid data channel")).await;
    check_at_least_once(&splunk, SMALL());
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgement_that_is_switched_off_under_way_settles_nothing_and_says_what_to_do() {
    let splunk = Splunk::new();
    let mut bench = Bench::new(SMALL(), &splunk, BTreeMap::new());
    splunk.collector.state().standing = Some(Fault::NoNumber);
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert_eq!(bench.settled, 0);
    assert!(bench.last_down.contains("the token has no indexer acknowledgement; switch it on"), "{}", bench.last_down);
    splunk.mend();
    bench.finish().await;
    assert_eq!(bench.ups, 1);
    check_at_least_once(&splunk, SMALL());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_go_where_the_events_went() {
    let splunk = Splunk::new();
    splunk.collector.state().cookie = Some("AWSALB=one");
    let load = Load { padding: 40_000, ..Load::default() };
    run(&splunk, load).await;
    check_once(&splunk, load);
    assert!(splunk.collector.state().requests.len() > 8, "{:?}", splunk.collector.state().requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_acknowledgement_nothing_is_asked() {
    let splunk = Splunk::with(json!({"acknowledgement": false, "compression": "none"}));
    let load = Load::default();
    run(&splunk, load).await;
    check_once(&splunk, load);
    assert_eq!(splunk.collector.state().questions, 0);
    assert_eq!(splunk.delivered().len(), expected(load).concat().len());
}
