//! Several cores make what one makes, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use bytes::Bytes;

use super::*;
use crate::config::types::{Condition, Simulate};
use crate::core::SinkPlan;
use crate::delivery::Piece;
use crate::encode::{Format, JsonFormat};
use crate::event::Kind;
use crate::route::Filter;
use crate::source::simulate::Fleet;

/// A fleet's hours, with records that cannot be read among them.
fn records() -> Vec<Record> {
    let config = Simulate { seed: 5, connections: 40, hours: 4, damaged: 9, ..Simulate::default() };
    let fleet = Fleet::new(&config).unwrap();
    fleet.records().map(|record| Record::new(record.position, Some(record.arrival), record.data)).collect()
}

/// Two sinks of one format, one of them with a filter, one of another format, and dead letters.
fn work(full_bytes: usize) -> Work {
    let json = Format::Json(JsonFormat::new(&Default::default()));
    let routes = Condition { kind: vec![Kind::BgpRoute], ..Condition::default() };
    let routes = Filter::compile(Some(&routes), None);
    let plan = |format: &Format, filter: &Filter| SinkPlan { format: format.clone(), filter: filter.clone() };
    let plans = vec![
        plan(&json, &Filter::default()),
        plan(&json, &routes),
        plan(&Format::Timeline(Default::default()), &Filter::default()),
        plan(&Format::DeadLetter, &Filter::default()),
    ];
    Work {
        core: Arc::new(Core::new(64 << 20, plans)),
        shard: ShardId { source: "main".into(), stream: "vpn".into(), stream_created: "".into(), shard: "0".into() },
        region: None,
        snapshot: Arc::default(),
        sinks: (0..4).map(SinkId).collect(),
        full_bytes,
    }
}

/// Everything that shows of pieces: what each sink gets of each record, in order.
fn shown(pieces: &[Piece]) -> Vec<Vec<String>> {
    let mut sinks = vec![Vec::new(); 4];
    for piece in pieces {
        for (lane, shown) in piece.lanes.iter().zip(&mut sinks) {
            let lane = lane.as_ref().unwrap();
            let own = |index: &usize| match &lane.own {
                crate::delivery::Selection::All => true,
                crate::delivery::Selection::Some(own) => own.contains(*index),
            };
            for index in (0..lane.encoded.items.len()).filter(own) {
                let item = lane.encoded.items[index];
                let record = &lane.encoded.records[item.record as usize];
                let text = String::from_utf8_lossy(lane.encoded.bytes_of(index)).into_owned();
                shown.push(format!("{} {} {:?} {text}", record.position, item.id, item.kind));
            }
        }
    }
    sinks
}

/// All records in pieces, with so many helpers: the pieces, and what was counted.
async fn pieces(records: &[Record], helpers: usize, full_bytes: usize, worth: usize) -> (Vec<Piece>, [u64; 3], usize) {
    let (work, helpers, mut scratch) =
        (work(full_bytes), Helpers::new(helpers, &Slots::new(helpers)), Scratch::default());
    let all: Vec<&Record> = records.iter().collect();
    let (mut at, mut resume, mut pieces, mut counts) = (0, Resume::default(), Vec::new(), [0; 3]);
    while at < all.len() {
        let made = work.spread(&all[at..], resume, Some(worth), &helpers, &mut scratch).await;
        assert!(made.records > 0 || made.resume != resume, "it goes on");
        (at, resume) = (at + made.records, made.resume);
        let counted = &made.out.counts;
        counts[0] += counted.records;
        counts[1] += counted.events.iter().sum::<u64>();
        counts[2] += counted.unreadable.len() as u64;
        pieces.push(work.core.piece(made.out));
    }
    let used = helpers.slots.used();
    (pieces, counts, used)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_is_the_same_whoever_makes_it() {
    let records = records();
    let (alone, counts, used) = pieces(&records, 0, 512 * 1024, usize::MAX).await;
    assert!(used == 0 && counts[2] == 9, "{counts:?}");
    for (helpers, full_bytes, worth) in [(1, 512 * 1024, 64 * 1024), (3, 512 * 1024, 200_000), (3, 40_000, usize::MAX)]
    {
        let (together, counted, used) = pieces(&records, helpers, full_bytes, worth).await;
        assert!(used > 0 && used <= helpers, "{used} of {helpers} helpers");
        assert_eq!(shown(&together), shown(&alone));
        // Where a run is full before its end, those after it are made anew and counted once.
        assert_eq!(counted, counts);
        let infos = |pieces: &[Piece]| pieces.iter().flat_map(|piece| piece.records.to_vec()).collect::<Vec<_>>();
        let positions =
            |pieces: &[Piece]| infos(pieces).iter().map(|info| (info.position, info.done)).collect::<Vec<_>>();
        assert_eq!(positions(&together), positions(&alone));
    }
}

#[tokio::test]
async fn a_runtime_of_one_thread_has_no_helpers() {
    let helpers = Helpers::of_runtime(&Slots::new(4));
    assert!(helpers.ask().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn helpers_are_for_all_readers_together() {
    let helpers = Helpers::of_runtime(&Slots::new(4));
    let (first, second) = (helpers.ask(), helpers.ask());
    assert!(first.is_some() && second.is_some() && helpers.ask().is_none());
    drop(first);
    assert!(helpers.ask().is_some());
}

#[test]
fn runs_have_about_equal_bytes_and_nothing_between_them() {
    let sizes = [10_000, 1, 30_000, 5_000, 5_000, 40_000, 9, 20_000];
    let records: Vec<Record> = (1..)
        .zip(sizes)
        .map(|(at, size): (u64, usize)| Record::new(at.into(), None, Bytes::from(vec![0; size])))
        .collect();
    let records: Vec<&Record> = records.iter().collect();
    let check = |worth: usize, helpers: usize, expect: &[Range<usize>]| {
        let (runs, hands) = cut(&records, worth, &Helpers::new(helpers, &Slots::new(helpers)));
        assert_eq!(runs, expect);
        assert!(runs.len() <= hands.len() + 1);
    };
    check(usize::MAX, 1, &[0..6, 6..8]);
    check(usize::MAX, 2, &[0..3, 3..6, 6..8]);
    check(45_000, 1, &[0..3, 3..4]);
    check(usize::MAX, 0, &[]);
    check(10_000, 3, &[]);
}
