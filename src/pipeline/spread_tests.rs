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

/// A reader's buffer, and what is made of it.
struct Reading {
    buffer: VecDeque<Record>,
    ahead: Ahead,
    resume: Resume,
    scratch: Scratch,
}

impl Reading {
    fn new(records: &[Record], helpers: &Arc<Helpers>) -> Reading {
        let buffer = records.iter().cloned().collect();
        Reading { buffer, ahead: Ahead::new(helpers), resume: Resume::default(), scratch: Scratch::default() }
    }

    async fn next(&mut self, work: &Work, until: Option<Position>, worth: usize) -> Made {
        let known = (self.resume, Some(worth));
        let made = self.ahead.next(work.clone(), &self.buffer, until, known, &mut self.scratch).await;
        assert!(made.records > 0 || made.resume != self.resume, "it goes on");
        self.buffer.drain(..made.records);
        self.resume = made.resume;
        made
    }
}

/// All records in pieces, with so many helpers: the pieces, what was counted, and how many helpers were at work.
async fn pieces(records: &[Record], helpers: usize, full_bytes: usize, worth: usize) -> (Vec<Piece>, [u64; 3], usize) {
    let (work, helpers) = (work(full_bytes), Helpers::new(helpers, &Slots::new(helpers)));
    let (mut reading, mut pieces, mut counts) = (Reading::new(records, &helpers), Vec::new(), [0; 3]);
    while !reading.buffer.is_empty() {
        let made = reading.next(&work, None, worth).await;
        let counted = &made.counts;
        counts[0] += counted.records;
        counts[1] += counted.events.iter().sum::<u64>();
        counts[2] += counted.unreadable.len() as u64;
        pieces.push(made.piece);
    }
    assert!(reading.ahead.is_empty() && reading.ahead.permits.is_empty(), "the helpers are for others");
    let used = helpers.slots.used();
    (pieces, counts, used)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_is_the_same_whoever_makes_it() {
    let records = records();
    let (alone, counts, used) = pieces(&records, 0, 512 * 1024, usize::MAX).await;
    assert!(used == 0 && counts[2] == 9, "{counts:?}");
    // The last: what was cut as one run becomes several pieces.
    for (helpers, full_bytes, worth) in [(1, 512 * 1024, 40_000), (3, 512 * 1024, 20_000), (3, 40_000, 60_000)] {
        let mut used = 0;
        // On a busy machine the reader may have made all of it before a helper comes.
        for _ in 0..20 {
            let (together, counted, at_work) = pieces(&records, helpers, full_bytes, worth).await;
            assert_eq!(shown(&together), shown(&alone));
            assert_eq!(counted, counts);
            let infos = |pieces: &[Piece]| pieces.iter().flat_map(|piece| piece.records.to_vec()).collect::<Vec<_>>();
            let positions =
                |pieces: &[Piece]| infos(pieces).iter().map(|info| (info.position, info.done)).collect::<Vec<_>>();
            assert_eq!(positions(&together), positions(&alone));
            used = at_work;
            if used > 0 {
                break;
            }
        }
        assert!(used > 0 && used <= helpers, "{used} of {helpers} helpers");
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
    // Nor are there more than slots beside a reader's own.
    assert_eq!(Helpers::of_runtime(&Slots::new(2)).idle.available_permits(), 1);
    assert_eq!(Helpers::of_runtime(&Slots::new(1)).idle.available_permits(), 0);
}

/// Helpers that never come: there is no slot for them.
fn helpers_without_slots(count: usize) -> (Arc<Helpers>, crate::memory::Slot) {
    let slots = Slots::new(1);
    let taken = slots.try_take().unwrap();
    (Helpers::new(count, &slots), taken)
}

#[tokio::test]
async fn runs_follow_one_another_and_are_as_many_as_the_helpers_need() {
    let sizes = [10_000, 1, 30_000, 5_000, 5_000, 40_000, 9, 20_000, 30_000, 30_000, 30_000, 100_000, 200_000, 90_000];
    let of_sizes = |sizes: &[usize]| -> VecDeque<Record> {
        let record = |(at, size): (u64, &usize)| Record::new(at.into(), None, Bytes::from(vec![0; *size]));
        (1..).zip(sizes).map(record).collect()
    };
    let records = of_sizes(&sizes);
    let check = |until: u64, worth: usize, helpers: usize, expect: &[usize], permits: usize| {
        let (helpers, _taken) = helpers_without_slots(helpers);
        let mut ahead = Ahead::new(&helpers);
        ahead.fill(&Arc::new(work(1)), &records, |record| record.position <= Position::from(until), worth);
        assert_eq!(ahead.runs.iter().map(|run| run.records).collect::<Vec<_>>(), expect);
        let waiting: Vec<usize> = ahead.jobs.waiting().iter().map(|job| job.records.len()).collect();
        assert_eq!((waiting.as_slice(), ahead.permits.len()), (expect, permits));
        let lasts: Vec<Position> = ahead.runs.iter().map(|run| run.last).collect();
        let ends = expect.iter().scan(0, |end, count| {
            *end += *count as u64;
            Some(Position::from(*end))
        });
        assert_eq!(lasts, ends.collect::<Vec<_>>());
    };
    check(11, 30_000, 1, &[3, 3, 3, 1], 1);
    check(11, 30_000, 3, &[3, 3, 3, 1, 1], 3);
    check(11, 100_000, 3, &[8, 3], 1);
    check(11, 90_000, 3, &[6, 5], 1);
    check(11, usize::MAX, 3, &[], 0);
    check(11, 30_000, 0, &[], 0);
    // A run that is full may be small, one that is not may not.
    check(5, 10_000, 3, &[1, 2, 2], 2);
    check(11, 0, 3, &[], 0);
    check(5, 45_000, 3, &[], 0);
    // Not the large record, nor what comes after it.
    check(14, 90_000, 3, &[6, 5, 1], 2);

    // Filters leave nothing of them, and still there is some for each.
    let (helpers, _taken) = helpers_without_slots(1);
    let mut ahead = Ahead::new(&helpers);
    ahead.fill(&Arc::new(work(1)), &of_sizes(&[100_000; 7]), |_| true, usize::MAX);
    assert_eq!(ahead.runs.iter().map(|run| run.records).collect::<Vec<_>>(), [3, 3, 1]);
}

/// And those of a helper that panicked. In the last case most runs end within a record.
#[tokio::test]
async fn the_reader_makes_the_runs_that_nobody_begins() {
    let records = records();
    let (alone, ..) = pieces(&records, 0, 512 * 1024, usize::MAX).await;
    for (gone, piece_bytes) in [(false, None), (true, None), (false, Some(1_500))] {
        let _hooks = piece_bytes.map(|bytes| crate::hooks::Hooks::set(None, bytes));
        let mut within = 0;
        let ((helpers, _taken), work) = (helpers_without_slots(3), work(512 * 1024));
        let (mut reading, mut pieces) = (Reading::new(&records, &helpers), Vec::new());
        while !reading.buffer.is_empty() {
            let made = reading.next(&work, None, 20_000).await;
            within += usize::from(made.resume != Resume::default());
            pieces.push(made.piece);
            assert!(pieces.len() > 1 || reading.ahead.runs.len() == MAX_HELPERS * RUNS_AHEAD);
            if gone {
                reading.ahead.jobs.waiting().clear();
            }
        }
        assert_eq!(shown(&pieces), shown(&alone));
        assert_eq!(within > 0, piece_bytes.is_some());
    }
}

#[tokio::test]
async fn what_was_made_for_others_or_beyond_the_grant_is_let_go_of() {
    let (records, (helpers, _taken), work) = (records(), helpers_without_slots(1), work(512 * 1024));
    let mut reading = Reading::new(&records, &helpers);
    reading.next(&work, None, 20_000).await;
    assert_eq!(reading.ahead.runs.len(), RUNS_AHEAD);

    let until = reading.buffer[1].position;
    let made = reading.next(&work, Some(until), 20_000).await;
    assert!((1..=2).contains(&made.records) && reading.ahead.is_empty());

    reading.next(&work, None, 20_000).await;
    let other = Work { sinks: vec![SinkId(1)], ..work.clone() };
    let piece = reading.next(&other, None, 20_000).await.piece;
    assert_eq!(piece.lanes.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, false]);

    let newer = Work { snapshot: Arc::new(Snapshot::default()), ..other.clone() };
    reading.next(&newer, None, 20_000).await;
    let work = reading.ahead.work.as_ref().unwrap();
    assert!(newer.is_as(work) && !other.is_as(work));
}

/// Somebody else is at the first run when the call is given up.
#[tokio::test]
async fn a_call_that_is_given_up_takes_nothing() {
    let (records, (helpers, _taken), work) = (records(), helpers_without_slots(1), work(512 * 1024));
    let mut reading = Reading::new(&records, &helpers);
    reading.next(&work, None, 20_000).await;
    let due = reading.buffer[0].position;
    let jobs: Vec<Job> = reading.ahead.jobs.waiting().drain(..).collect();
    // No more runs are cut: the permits are there, the worth of a piece is not known.
    let (buffer, ahead) = (reading.buffer.clone(), &mut reading.ahead);
    let mut next = Box::pin(ahead.next(work.clone(), &buffer, None, (Resume::default(), None), &mut reading.scratch));
    let is_given_up = tokio::select! {
        biased;
        _ = &mut next => false,
        () = std::future::ready(()) => true,
    };
    assert!(is_given_up);
    drop(next);
    jobs.into_iter().for_each(|job| job.make(&mut Scratch::default()));
    assert_eq!(reading.next(&work, None, 20_000).await.piece.records[0].position, due);
}
