//! The ledger is itself on trial: each kind of trouble is made by hand, and must be told.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::Arc;

use tunnelog::delivery::{At, LaneKey, LaneState};
use tunnelog::source::{Position, ShardId};

use super::ledger::{Content, Event, Found, Ledger, Order, Place, Promise, Repeats, Row};

const STREAM: &str = "vpn-1_203.0.113.1-BGP.log";

fn place(sequence: u64) -> Place {
    ("shard-0".into(), Position::parse(&sequence.to_string()).unwrap())
}

/// Records 1 to 4 with an event each; that of 3 is a rekey.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.file(&[]);
    produce(&mut ledger, 1..=4);
    ledger
}

fn produce(ledger: &mut Ledger, sequences: impl IntoIterator<Item = u64>) {
    for sequence in sequences {
        let action = if sequence % 4 == 3 { "rekey" } else { "established" };
        let event = Event { id: sequence.to_string(), action: action.into(), log_stream: STREAM.into() };
        ledger.produced(place(sequence), Content { events: vec![event], damaged: false }, "round 1", false);
    }
}

fn found(sequences: &[u64]) -> Vec<Found> {
    let one =
        |sequence: &u64| Found { place: place(*sequence), index: 0, id: sequence.to_string(), within: STREAM.into() };
    sequences.iter().map(one).collect()
}

fn promise(repeats: Repeats, order: Order) -> Promise {
    Promise { sink: "sink", letters: false, repeats, order }
}

fn remembered(sequence: u64) -> BTreeMap<LaneKey, LaneState> {
    let shard =
        ShardId { source: "main".into(), stream: "s".into(), stream_created: "".into(), shard: "shard-0".into() };
    let key = LaneKey { pipeline: "p".into(), shard, sink: Arc::from("sink") };
    BTreeMap::from([(key, LaneState { at: At::After(place(sequence).1), seal: None })])
}

/// The row's numbers (delivered, repeated, filtered, lost), and what its problems begin with.
fn check(row: &Row, numbers: [usize; 4], problems: &[&str]) {
    assert_eq!([row.delivered, row.repeated, row.filtered, row.lost], numbers, "{row}");
    assert_eq!(row.problems.len(), problems.len(), "{row}");
    for (told, begins) in row.problems.iter().zip(problems) {
        assert!(told.starts_with(begins), "{row}");
    }
}

#[test]
fn what_is_there_once_and_in_order_is_well() {
    for (repeats, order) in [(Repeats::Never, Order::Strict), (Repeats::Allowed, Order::Suffixes)] {
        check(&ledger().row(promise(repeats, order), &found(&[1, 2, 3, 4])), [4, 0, 0, 0], &[]);
    }
}

#[test]
fn a_missing_event_is_lost_and_named_with_where_it_was_produced() {
    let row = ledger().row(promise(Repeats::Allowed, Order::None), &found(&[1, 2, 4]));
    check(&row, [3, 0, 0, 1], &["lost: 1"]);
    assert!(row.problems[0].contains("3 (shard-0 3 index 0; produced: round 1)"), "{row}");
}

#[test]
fn a_repeat_is_counted_and_told_where_it_is_forbidden() {
    let found = found(&[1, 2, 2, 3, 4]);
    check(&ledger().row(promise(Repeats::Allowed, Order::None), &found), [4, 1, 0, 0], &[]);
    check(&ledger().row(promise(Repeats::Never, Order::None), &found), [4, 1, 0, 0], &["too often: 1"]);
}

#[test]
fn what_was_remembered_must_not_be_repeated() {
    let mut ledger = ledger();
    ledger.ended(remembered(2));
    let promise = promise(Repeats::OfWhatWasNotRemembered, Order::Suffixes);
    check(&ledger.row(promise, &found(&[1, 2, 3, 3, 4])), [4, 1, 0, 0], &[]);
    check(&ledger.row(promise, &found(&[1, 2, 2, 3, 4])), [4, 1, 0, 0], &["too often: 1"]);
}

#[test]
fn a_rewind_repeats_a_suffix_and_nothing_overtakes() {
    let first = promise(Repeats::Allowed, Order::FirstOfEach);
    let suffix = promise(Repeats::Allowed, Order::Suffixes);
    check(&ledger().row(suffix, &found(&[1, 2, 3, 2, 3, 4])), [4, 2, 0, 0], &[]);
    check(&ledger().row(suffix, &found(&[1, 2, 3, 2, 4])), [4, 1, 0, 0], &["out of order"]);
    check(&ledger().row(first, &found(&[1, 2, 3, 2, 4])), [4, 1, 0, 0], &[]);
    check(&ledger().row(first, &found(&[1, 3, 2, 4])), [4, 0, 0, 0], &["out of order"]);
    check(
        &ledger().row(promise(Repeats::Never, Order::Strict), &found(&[1, 3, 2, 4])),
        [4, 0, 0, 0],
        &["out of order in an object"],
    );
}

#[test]
fn what_nobody_sent_or_another_id_is_told() {
    let promise = promise(Repeats::Allowed, Order::None);
    check(&ledger().row(promise, &found(&[1, 2, 3, 4, 9])), [4, 0, 0, 0], &["not due, and there: 1"]);
    let mut wrong = found(&[1, 2, 3, 4]);
    wrong[1].id = "other".into();
    check(&ledger().row(promise, &wrong), [4, 0, 0, 0], &["another id: 1"]);
}

#[test]
fn a_filter_decides_when_a_record_is_settled() {
    // Up to 2 was remembered when the file changed; 3 is a rekey, and so is 7, which came later.
    let mut ledger = ledger();
    ledger.ended(remembered(2));
    ledger.file(&["rekey"]);
    produce(&mut ledger, 5..=8);
    let kafka = promise(Repeats::Allowed, Order::FirstOfEach);
    let lake = promise(Repeats::Never, Order::Strict);
    check(&ledger.row(kafka, &found(&[1, 2, 4, 5, 6, 8])), [6, 0, 2, 0], &[]);
    check(&ledger.row(kafka, &found(&[1, 2, 3, 4, 5, 6, 8])), [7, 0, 1, 0], &[]);
    check(&ledger.row(lake, &found(&[1, 2, 3, 4, 5, 6, 8])), [6, 0, 2, 0], &["not due, and there: 1"]);
    check(&ledger.row(kafka, &found(&[1, 2, 4, 5, 6, 7, 8])), [6, 0, 2, 0], &["not due, and there: 1"]);
    // Had 3 been remembered under the old file, it would have to be there.
    let mut ledger = self::ledger();
    ledger.ended(remembered(3));
    ledger.file(&["rekey"]);
    check(&ledger.row(kafka, &found(&[1, 2, 4])), [3, 0, 0, 1], &["lost: 1"]);
}

#[test]
fn only_damaged_records_are_due_as_dead_letters() {
    let mut ledger = ledger();
    ledger.produced(place(9), Content { events: Vec::new(), damaged: true }, "round 2", false);
    let letters = Promise { letters: true, ..promise(Repeats::Never, Order::None) };
    let letter = Found { id: "its own".into(), ..found(&[9]).remove(0) };
    check(&ledger.row(letters, &[letter]), [1, 0, 0, 0], &[]);
    check(&ledger.row(letters, &[]), [0, 0, 0, 1], &["lost: 1"]);
    check(&ledger.row(letters, &found(&[1, 9])), [1, 0, 0, 0], &["not due, and there: 1"]);
}
