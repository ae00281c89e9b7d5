//! What Splunk refuses, loses, has no room for and cannot take.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::bench::{Bench, Load, expected};
use super::collector::{Collector, Fault, TOKEN};
use super::contract::{Destination as _, check_at_least_once, check_once};
use super::destination::Splunk;

async fn run(splunk: &Splunk, load: Load) {
    let mut bench = Bench::new(load, splunk, BTreeMap::new());
    bench.finish().await;
    assert!(bench.is_all_remembered());
}

/// Everything is delivered once or a dead letter once, and the dead letters are these.
#[track_caller]
fn check_rejected(splunk: &Splunk, load: Load, rejected: &[&str]) {
    splunk.check_whole();
    assert_eq!(splunk.dead_letters(), rejected);
    let mut all = [splunk.delivered(), splunk.dead_letters()].concat();
    all.sort();
    let mut wanted = expected(load).concat();
    wanted.sort();
    assert_eq!(all, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_splunk_is_ridden_out() {
    let splunk = Splunk::new();
    splunk.collector.state().next.extend([
        Fault::Answer(503, 9, "Server is busy"),
        Fault::Answer(429, 26, "Queue is at capacity"),
        Fault::Answer(500, 8, "Internal server error"),
        Fault::Answer(502, 0, "Bad Gateway"),
        Fault::Reset,
        Fault::Answer(429, 0, "Too Many Requests"),
    ]);
    let load = Load::default();
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    bench.finish().await;
    assert_eq!((bench.downs, bench.ups), (1, 1), "six tries in a row are an outage");
    check_once(&splunk, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_after_receipt_repeats_events_and_loses_none() {
    for acknowledgement in [true, false] {
        let splunk = Splunk::with(json!({"acknowledgement": acknowledgement}));
        splunk.collector.state().next.extend([Fault::LoseAnswer, Fault::LoseAnswer]);
        let load = Load::default();
        run(&splunk, load).await;
        check_at_least_once(&splunk, load);
        let (all, distinct) = (splunk.delivered(), BTreeSet::from_iter(splunk.delivered()));
        assert_eq!(distinct.len(), expected(load).concat().len());
        assert!(all.len() > distinct.len(), "the events of the lost answers came twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_for_good_is_found_and_its_neighbours_go_on() {
    for names_nobody in [false, true] {
        let splunk = Splunk::new();
        splunk.collector.state().poison = vec!["\"0/7/0\"".into(), "\"2/20/1\"".into()];
        splunk.collector.state().names_nobody = names_nobody;
        let load = Load::default();
        run(&splunk, load).await;
        check_rejected(&splunk, load, &["0/7/0", "2/20/1"]);
        let letter = &splunk.rejects.letters()[0];
        assert_eq!((&*letter.reason, letter.sink.as_deref()), ("refused", Some("sink")));
        assert!(letter.detail.contains("code 6: Invalid data format"), "{}", letter.detail);
        assert!(letter.data.starts_with(b"{\"id\":"), "the event itself, without its envelope");
        // Named, each costs a request or two more; halved, some ten.
        let requests = splunk.collector.state().requests.len();
        assert!(names_nobody || requests < 12, "{requests}");
    }
}

/// An only item that is refused cannot be told from a Splunk that refuses everything, but it does not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_event_without_neighbours_does_not_hold_up_the_end() {
    let splunk = Splunk::new();
    splunk.collector.state().poison = vec!["\"0/2/0\"".into()];
    // Records 0 and 1 have 0 and 3 items; record 2 has one.
    let load = Load { shards: 1, records: 3, ..Load::default() };
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    bench.may_read = 2;
    bench.barrier().await;
    bench.finish().await;
    check_rejected(&splunk, load, &["0/2/0"]);
}

/// A Splunk that refuses everything for a while: nothing is taken for a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_splunk_that_refuses_everything_is_down_and_nothing_is_rejected() {
    let splunk = Splunk::new();
    splunk.collector.state().standing = Some(Fault::Answer(400, 6, "Invalid data format"));
    let load = Load { shards: 1, records: 10, ..Load::default() };
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    while bench.downs == 0 {
        bench.hear().await;
    }
    splunk.mend();
    bench.finish().await;
    assert_eq!(bench.ups, 1);
    check_rejected(&splunk, load, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_index_is_the_fault_of_the_events_that_lead_there() {
    let splunk = Splunk::with(json!({"index": "vpn_{log_stream}"}));
    // The events of a shard are of one log stream.
    splunk.collector.state().indexes = vec!["vpn_stream-0".into(), "vpn_stream-2".into()];
    let load = Load { records: 12, ..Load::default() };
    run(&splunk, load).await;
    let wrong: Vec<String> = expected(load)[1].clone();
    let mut rejected: Vec<&str> = wrong.iter().map(String::as_str).collect();
    rejected.sort_unstable();
    check_rejected(&splunk, load, &rejected);
    assert!(splunk.rejects.letters()[0].detail.contains("code 7: Incorrect index"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_index_of_all_events_is_mended_by_a_person_and_rejects_nothing() {
    let splunk = Splunk::with(json!({"index": "vpn"}));
    splunk.collector.state().indexes = vec!["main".into()];
    let load = Load { shards: 1, records: 10, ..Load::default() };
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert!(bench.last_down.contains("add it to the token's allowed indexes"), "{}", bench.last_down);
    splunk.collector.state().indexes.push("vpn".into());
    bench.finish().await;
    assert_eq!((bench.downs, bench.ups), (1, 1));
    check_rejected(&splunk, load, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_disabled_under_way_stops_nothing_for_good() {
    let splunk = Splunk::new();
    let load = Load { shards: 1, records: 10, ..Load::default() };
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    splunk.collector.state().disabled = true;
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert!(bench.last_down.contains("the token is disabled"), "{}", bench.last_down);
    assert!(!bench.last_down.contains(TOKEN));
    splunk.collector.state().disabled = false;
    bench.finish().await;
    check_rejected(&splunk, load, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_is_left_out_and_the_sink_is_not_down() {
    let other = Collector::start();
    let mut splunk = Splunk::new();
    splunk.config.endpoints.push(other.address.clone());
    // It was there at the start.
    let load = Load { padding: 40_000, ..Load::default() };
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    other.state().standing = Some(Fault::Answer(503, 9, "Server is busy"));
    bench.finish().await;
    assert_eq!(bench.downs, 0);
    check_once(&splunk, load);
    assert!(!other.state().requests.is_empty(), "it was tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_spread_over_all_endpoints() {
    let other = Collector::start();
    let mut splunk = Splunk::new();
    splunk.config.endpoints.push(other.address.clone());
    let load = Load { padding: 40_000, ..Load::default() };
    let mut bench = Bench::new(load, &splunk, BTreeMap::new());
    let wanted = expected(load).concat().len();
    bench.finish().await;
    let (one, two) = (splunk.delivered().len(), other.state().indexed.len());
    assert_eq!(one + two, wanted);
    assert!(one > wanted / 10 && two > wanted / 10, "{one} and {two}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_fill_requests_of_a_megabyte() {
    let splunk = Splunk::new();
    // 30 MiB in items of 100 KiB, which with their envelopes go nine to a request.
    let load = Load { shards: 3, records: 50, padding: 100 * 1024, ..Load::default() };
    run(&splunk, load).await;
    check_once(&splunk, load);
    let full = splunk.collector.state().requests.iter().filter(|events| **events == 9).count();
    assert!(full >= 20, "{:?}", splunk.collector.state().requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_what_the_pipeline_file_says() {
    let fields = json!({"severity": "{severity}", "where": "{account}/{region}"});
    let splunk =
        Splunk::with(json!({"index": "vpn", "host": "fw-{log_stream}", "sourcetype": "a:b", "fields": fields}));
    let load = Load { shards: 1, records: 2, ..Load::default() };
    run(&splunk, load).await;
    let state = splunk.collector.state();
    let first = &state.indexed[0];
    let id = first["fields"]["id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    let expect = json!({
        "time": 0.0, "host": "fw-stream-0", "source": "stream-0", "sourcetype": "a:b", "index": "vpn",
        "fields": {"id": id, "severity": "info"}, "event": first["event"],
    });
    assert_eq!(*first, expect, "a field without a value is left out");
}
