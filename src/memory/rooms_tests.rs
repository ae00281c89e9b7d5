//! The rules of the line one by one, and a model: many shards, little room, slow and dead sinks, no lane starves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::collections::BTreeMap;

use super::*;

const A: SinkId = SinkId(0);
const B: SinkId = SinkId(1);

fn rooms(bytes: &[u64]) -> Rooms {
    Rooms::new(bytes.iter().map(|bytes| RoomSize { bytes: *bytes, ask_bytes: 10, keeps_records: true }).collect())
}

fn ask(rooms: &mut Rooms, reader: u64, sinks: &[SinkId], within_record: bool) -> u64 {
    rooms.ask(ReaderId(reader), sinks, within_record)
}

fn served(rooms: &mut Rooms) -> Vec<u64> {
    rooms.serve().into_iter().map(|turn| turn.ticket).collect()
}

#[test]
fn a_piece_gets_room_with_all_its_sinks_or_with_none() {
    let mut rooms = rooms(&[10, 10]);
    let first = ask(&mut rooms, 1, &[A], false);
    assert_eq!(served(&mut rooms), [first]);
    let both = ask(&mut rooms, 2, &[A, B], false);
    assert!(served(&mut rooms).is_empty());
    assert_eq!(rooms.used(), [10, 0], "nothing is held while it waits");
    assert_eq!(rooms.waiting(), [(ReaderId(2), vec![A])]);
    rooms.give_back(A, 10);
    assert_eq!(served(&mut rooms), [both]);
}

#[test]
fn nobody_overtakes_who_waits_for_one_of_the_same_sinks() {
    let mut rooms = rooms(&[10, 20]);
    ask(&mut rooms, 1, &[A], false);
    served(&mut rooms);
    let older = ask(&mut rooms, 2, &[A, B], false);
    let younger = ask(&mut rooms, 3, &[B], false);
    assert!(served(&mut rooms).is_empty(), "room with B is kept for the older");
    rooms.give_back(A, 10);
    assert_eq!(served(&mut rooms), [older, younger]);
}

#[test]
fn who_forgoes_a_sink_waits_for_it_no_longer() {
    let mut rooms = rooms(&[10, 20]);
    ask(&mut rooms, 1, &[A], false);
    served(&mut rooms);
    let older = ask(&mut rooms, 2, &[A, B], false);
    rooms.forgo(ReaderId(2), A);
    assert_eq!(rooms.serve(), [Turn { ticket: older, reader: ReaderId(2), taken: vec![(B, 10)] }]);
}

#[test]
fn a_record_that_has_begun_goes_first_and_borrows_what_is_missing_one_reader_at_a_time() {
    let mut rooms = rooms(&[20]);
    for reader in [1, 2] {
        ask(&mut rooms, reader, &[A], false);
    }
    assert_eq!(served(&mut rooms).len(), 2);
    let begins = ask(&mut rooms, 3, &[A], false);
    let goes_on = ask(&mut rooms, 2, &[A], true);
    let waits = ask(&mut rooms, 1, &[A], true);
    assert_eq!(served(&mut rooms), [goes_on], "the first of the two that are within a record has the reserve");
    let again = ask(&mut rooms, 2, &[A], true);
    assert_eq!(served(&mut rooms), [again], "until the record's end");
    // Its record is whole: the sink settles it, and the other has the reserve.
    rooms.leave(ReaderId(2));
    rooms.give_back(A, 20);
    assert_eq!(served(&mut rooms), [waits]);
    rooms.give_back(A, 20);
    assert_eq!(served(&mut rooms), [begins]);
}

#[test]
fn the_first_reader_of_a_sink_goes_beyond_its_room() {
    let mut rooms = rooms(&[10]);
    ask(&mut rooms, 1, &[A], false);
    served(&mut rooms);
    let second = ask(&mut rooms, 2, &[A], false);
    let third = ask(&mut rooms, 3, &[A], false);
    rooms.set_first(A, Some(ReaderId(3)));
    assert_eq!(served(&mut rooms), [third]);
    rooms.set_first(A, None);
    rooms.give_back(A, 20);
    assert_eq!(served(&mut rooms), [second]);
}

#[test]
fn what_was_forgone_before_a_reader_gets_in_line_is_not_waited_for() {
    let mut rooms = rooms(&[10, 10]);
    ask(&mut rooms, 1, &[A], false);
    served(&mut rooms);
    // Its lane to A is parked while it still fetches.
    rooms.asked(ReaderId(2));
    rooms.forgo(ReaderId(2), A);
    let without = ask(&mut rooms, 2, &[A, B], false);
    assert_eq!(served(&mut rooms), [without]);
    rooms.give_back(B, 10);
    // The next piece is for both again.
    rooms.asked(ReaderId(2));
    let with = ask(&mut rooms, 2, &[A, B], false);
    assert!(served(&mut rooms).is_empty());
    rooms.give_back(A, 10);
    assert_eq!(served(&mut rooms), [with]);
}

#[test]
fn a_piece_larger_than_asked_for_is_paid_back_before_the_next() {
    let mut rooms = rooms(&[30]);
    ask(&mut rooms, 1, &[A], false);
    served(&mut rooms);
    rooms.made(A, ReaderId(1), 10, 50);
    let next = ask(&mut rooms, 2, &[A], false);
    assert!(served(&mut rooms).is_empty());
    rooms.give_back(A, 25);
    assert!(served(&mut rooms).is_empty());
    rooms.give_back(A, 5);
    assert_eq!(served(&mut rooms), [next]);
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One reader's work: records of one or more pieces, for some of the sinks.
#[derive(Default)]
struct Work {
    sinks: Vec<SinkId>,
    /// Pieces left of each record.
    records: Vec<u64>,
    within: bool,
    ticket: Option<u64>,
}

/// What a sink has of each reader's record: it keeps the pieces until the record is whole.
#[derive(Default)]
struct Kept {
    open: BTreeMap<u64, u64>,
    /// Bytes that may be given back.
    whole: u64,
}

/// All readers finish, whatever the seed: sinks keep records until they are whole, and one of them is dead until the
/// readers have left it.
fn run(seed: u64) {
    let mut dice = Dice(seed);
    let (sinks, readers) = (2 + dice.below(2), 2 + dice.below(60));
    let keeps = |sink: u64| !(seed + sink).is_multiple_of(3);
    let size = |sink| RoomSize { bytes: 10 + (seed + sink) % 25, ask_bytes: 10, keeps_records: keeps(sink) };
    let mut rooms = Rooms::new((0..sinks).map(size).collect());
    let dead = dice.below(2 * sinks);
    let mut work: Vec<Work> = (0..readers)
        .map(|_| {
            let own: Vec<SinkId> = (0..sinks).filter(|_| dice.below(3) > 0).map(|sink| SinkId(sink as u32)).collect();
            let records = (0..1 + dice.below(4)).map(|_| 1 + dice.below(6)).collect();
            Work { sinks: own, records, ..Work::default() }
        })
        .collect();
    let mut kept: Vec<Kept> = (0..sinks).map(|_| Kept::default()).collect();
    let mut idle = 0;
    while work.iter().any(|work| !work.records.is_empty()) {
        // Now and then some find nothing new.
        let idles = dice.below(4);
        let mut moved = step(&mut rooms, &mut work, &mut kept, idles);
        for (sink, kept) in kept.iter_mut().enumerate().filter(|(sink, _)| *sink as u64 != dead) {
            let given = dice.below(kept.whole + 1).max(kept.whole.min(1));
            rooms.give_back(SinkId(sink as u32), given);
            kept.whole -= given;
            moved |= given > 0;
        }
        idle = if moved || rooms.waiting().is_empty() { 0 } else { idle + 1 };
        if idle == 3 {
            park(SinkId(dead as u32), &mut rooms, &mut work, &mut kept);
        }
        assert!(idle < 10, "seed {seed}: nobody moves; {:?}, used {:?}", rooms.waiting(), rooms.used());
    }
}

/// Asks for all who do not wait, and serves. Whether anybody was served.
fn step(rooms: &mut Rooms, work: &mut [Work], kept: &mut [Kept], idles: u64) -> bool {
    for (reader, work) in work.iter_mut().enumerate().filter(|(_, work)| !work.records.is_empty()) {
        let is_idle = !work.within && reader as u64 % 4 < idles;
        if work.ticket.is_none() && !is_idle {
            work.ticket = Some(rooms.ask(ReaderId(reader as u64), &work.sinks, work.within));
        }
    }
    let turns = rooms.serve();
    for turn in &turns {
        let reader = work.iter().position(|work| work.ticket == Some(turn.ticket)).unwrap();
        let own = &mut work[reader];
        own.ticket = None;
        let left = own.records.last_mut().unwrap();
        *left -= 1;
        own.within = *left > 0;
        for (sink, asked) in &turn.taken {
            // Pieces are smaller or larger than was asked for, also larger than the whole room.
            let bytes = 1 + (turn.ticket * 7 + u64::from(sink.0)) % 60;
            rooms.made(*sink, ReaderId(reader as u64), *asked, bytes);
            let kept = &mut kept[sink.0 as usize];
            let open = kept.open.entry(reader as u64).or_default();
            *open += bytes;
            // Those that keep no records give back every piece.
            if !own.within || !rooms.rooms[sink.0 as usize].size.keeps_records {
                kept.whole += std::mem::take(open);
            }
        }
        if !own.within {
            own.records.pop();
            rooms.leave(ReaderId(reader as u64));
        }
    }
    !turns.is_empty()
}

/// The dispatcher parks the lanes of a dead sink: their readers want no room there, and what it held is free.
fn park(sink: SinkId, rooms: &mut Rooms, work: &mut [Work], kept: &mut [Kept]) {
    let Some(dead) = kept.get_mut(sink.0 as usize) else { return };
    let held = std::mem::take(dead);
    rooms.give_back(sink, held.whole + held.open.values().sum::<u64>());
    for (reader, work) in work.iter_mut().enumerate() {
        work.sinks.retain(|other| *other != sink);
        rooms.forgo(ReaderId(reader as u64), sink);
    }
}

#[test]
fn no_reader_starves_whatever_the_seed() {
    (0..500).for_each(run);
}

#[test]
fn a_thousand_readers_and_room_for_one_piece_come_to_an_end() {
    let mut rooms = rooms(&[10, 10]);
    let mut work: Vec<Work> =
        (0..1_000).map(|reader| Work { sinks: vec![A, B], records: vec![1 + reader % 3], ..Work::default() }).collect();
    let mut kept = [Kept::default(), Kept::default()];
    let mut order = Vec::new();
    while work.iter().any(|work| !work.records.is_empty()) {
        let before: Vec<bool> = work.iter().map(|work| work.records.is_empty()).collect();
        assert!(step(&mut rooms, &mut work, &mut kept, 0) || kept.iter().any(|kept| kept.whole > 0));
        let ended = work.iter().enumerate().filter(|(reader, work)| work.records.is_empty() && !before[*reader]);
        order.extend(ended.map(|(reader, _)| reader));
        for (sink, kept) in kept.iter_mut().enumerate() {
            rooms.give_back(SinkId(sink as u32), std::mem::take(&mut kept.whole));
        }
    }
    assert!(order.is_sorted(), "in the order of asking");
}
