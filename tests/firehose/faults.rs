//! What Firehose refuses, loses, throttles and cannot take.

use std::collections::{BTreeMap, BTreeSet};

use tunnelog::config::types::Pack;

use super::bench::{Bench, Load, expected};
use super::contract::{Destination as _, check_at_least_once, check_once};
use super::destination::Firehose;
use super::server::{Fault, Seen};

fn seen(destination: &Firehose) -> Vec<Seen> {
    destination.server.state().seen.clone()
}

async fn run(destination: &Firehose, load: Load) {
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.finish().await;
    assert!(bench.is_all_remembered());
}

/// Everything is delivered once or a dead letter once, and the dead letters are these.
#[track_caller]
fn check_rejected(destination: &Firehose, load: Load, rejected: &[&str]) {
    destination.check_whole();
    let mut letters = destination.dead_letters();
    letters.sort();
    assert_eq!(letters, rejected);
    let mut all = [destination.delivered(), letters].concat();
    all.sort();
    let mut wanted = expected(load).concat();
    wanted.sort();
    assert_eq!(all, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_records_that_failed_are_sent_again() {
    let destination = Firehose::new(Pack::Never);
    destination.server.state().next.extend([
        Fault::Records(|index| index % 3 == 1, "ServiceUnavailableException"),
        Fault::Records(|index| index > 3, "InternalFailure"),
    ]);
    let load = Load { shards: 1, records: 10, ..Load::default() };
    run(&destination, load).await;
    check_once(&destination, load);
    let sent: Vec<(usize, usize)> =
        seen(&destination).iter().map(|request| (request.records.len(), request.taken)).collect();
    // 20 items: a third fails, all but four of those fail once more.
    assert_eq!(sent, [(20, 13), (7, 4), (3, 3)]);
}

/// The others settle at once: they do not wait for the failed ones.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_settles_while_the_rest_is_refused() {
    let destination = Firehose::new(Pack::Never);
    destination.server.state().standing = Some(Fault::Records(|index| index == 0, "ServiceUnavailableException"));
    let load = Load { shards: 1, records: 10, ..Load::default() };
    let mut bench = Bench::new(load, &destination, BTreeMap::new());
    while bench.settled < 19 {
        bench.hear().await;
    }
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert_eq!(bench.settled, 19, "the first is refused whenever it comes");
    destination.mend();
    bench.finish().await;
    assert_eq!(bench.ups, 1);
    check_once(&destination, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_failures_of_the_service_are_ridden_out() {
    let destination = Firehose::new(Pack::Always);
    destination.server.state().next.extend([
        Fault::Answer(503, "ServiceUnavailableException", "Slow down."),
        Fault::Answer(503, "ServiceUnavailableException", "Slow down."),
        Fault::Answer(400, "ThrottlingException", "Rate exceeded"),
        Fault::Answer(500, "InternalFailure", ""),
        Fault::Reset,
        Fault::Records(|_| true, "ServiceUnavailableException"),
    ]);
    let load = Load::default();
    let mut bench = Bench::new(load, &destination, BTreeMap::new());
    bench.finish().await;
    assert_eq!((bench.downs, bench.ups), (1, 1), "six tries in a row are an outage");
    check_once(&destination, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_repeats_the_records_and_loses_none() {
    let destination = Firehose::new(Pack::Always);
    destination.server.state().next.push_back(Fault::LoseAnswer);
    let load = Load::default();
    run(&destination, load).await;
    check_at_least_once(&destination, load);
    let (all, distinct) = (destination.delivered(), BTreeSet::from_iter(destination.delivered()));
    assert_eq!(distinct.len(), expected(load).concat().len());
    assert!(all.len() > distinct.len(), "the records of the lost answer came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_refused_for_good_is_found_and_its_neighbours_go_on() {
    for pack in [Pack::Always, Pack::Never] {
        let destination = Firehose::new(pack);
        destination.server.state().poison = vec!["\"0/7/0\"".into(), "\"2/20/1\"".into()];
        let load = Load::default();
        run(&destination, load).await;
        check_rejected(&destination, load, &["0/7/0", "2/20/1"]);
        let letter = &destination.rejects.letters()[0];
        assert_eq!((&*letter.reason, letter.sink.as_deref()), ("refused", Some("sink")));
        assert!(letter.detail.contains("InvalidArgumentException: a record is not to its taste"), "{}", letter.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_refused_alone_is_taken_apart() {
    for pack in [Pack::Always, Pack::Never] {
        let destination = Firehose::new(pack);
        destination.server.state().bad_record = Some("\"1/11/2\"".into());
        let load = Load::default();
        run(&destination, load).await;
        check_rejected(&destination, load, &["1/11/2"]);
    }
}

/// An only item that is refused cannot be told from a stream that refuses everything, but it does not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_item_without_neighbours_does_not_hold_up_the_end() {
    let destination = Firehose::new(Pack::Always);
    destination.server.state().poison = vec!["\"0/2/0\"".into()];
    // Records 0 and 1 have 0 and 3 items; record 2 has one.
    let load = Load { shards: 1, records: 3, ..Load::default() };
    let mut bench = Bench::new(load, &destination, BTreeMap::new());
    bench.may_read = 2;
    bench.barrier().await;
    bench.finish().await;
    check_rejected(&destination, load, &["0/2/0"]);
}

/// A stream that refuses everything for a while: nothing is taken for a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_refuses_everything_is_down_and_nothing_is_rejected() {
    let destination = Firehose::new(Pack::Never);
    let refusal = Fault::Answer(400, "InvalidArgumentException", "not permitted on this delivery stream type");
    destination.server.state().standing = Some(refusal);
    let load = Load { shards: 1, records: 10, ..Load::default() };
    let mut bench = Bench::new(load, &destination, BTreeMap::new());
    while bench.downs == 0 {
        bench.hear().await;
    }
    destination.mend();
    bench.finish().await;
    assert_eq!(bench.ups, 1);
    check_rejected(&destination, load, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_no_record_holds_is_a_dead_letter() {
    let destination = Firehose::new(Pack::Always);
    let load = Load { shards: 1, records: 2, padding: 1_000 * 1024, ..Load::default() };
    run(&destination, load).await;
    check_rejected(&destination, load, &["0/1/0", "0/1/1", "0/1/2"]);
    assert!(seen(&destination).is_empty(), "they are not even tried");
    let letter = &destination.rejects.letters()[0];
    assert_eq!((&*letter.reason, &*letter.detail), ("too_large", "1024024 bytes; a Firehose record takes 1024000"));
    assert_eq!(letter.data.len(), 1_024_024, "whole");
}

/// The largest items that fit, and a byte more: the limit is exact.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_exactly_1000_kib_is_delivered() {
    for (padding, delivered) in [(1_024_000 - 24, 3), (1_024_000 - 23, 0)] {
        let destination = Firehose::new(Pack::Always);
        let load = Load { shards: 1, records: 2, padding, ..Load::default() };
        run(&destination, load).await;
        assert_eq!((destination.delivered().len(), destination.rejected()), (delivered, 3 - delivered));
        destination.check_whole();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_items_fill_records_and_requests() {
    // 30 MiB in items of 100 KiB.
    let load = Load { shards: 3, records: 50, padding: 100 * 1024, ..Load::default() };
    let destination = Firehose::new(Pack::Always);
    run(&destination, load).await;
    check_once(&destination, load);
    let full = seen(&destination).into_iter().flat_map(|request| request.records).filter(|size| *size > 900_000);
    assert!(full.count() >= 20, "{:?}", seen(&destination));
    // 1,200 small ones.
    let load = Load { shards: 3, records: 200, ..Load::default() };
    let destination = Firehose::new(Pack::Never);
    run(&destination, load).await;
    check_once(&destination, load);
    assert!(seen(&destination).iter().any(|request| request.records.len() == 500), "{:?}", seen(&destination));
}

#[tokio::test(flavor = "multi_thread")]
async fn items_gather_for_a_second_and_not_longer() {
    let destination = Firehose::new(Pack::Always);
    let load = Load { shards: 1, records: 10, ..Load::default() };
    let mut bench = Bench::new(load, &destination, BTreeMap::new());
    bench.may_read = 5;
    bench.fill();
    // No barrier, no flush.
    while bench.settled < 10 {
        bench.hear().await;
    }
    assert_eq!(seen(&destination).len(), 1, "one request");
    assert_eq!(seen(&destination)[0].records.len(), 1, "one record");
    bench.finish().await;
}
