//! The scheduler in virtual time: readers that ask as soon as they may, and what each of them got.

use super::*;

/// A reader of the model: asks as soon as it may, and its answers have this size.
struct Asks {
    number: u64,
    /// An answer's bytes, if as many were asked for.
    answer: usize,
    /// In place of it: what is written a second, all of which an answer has.
    written: usize,
    /// The pause after each answer.
    idle: Duration,
    next: Instant,
    calls: usize,
    bytes: usize,
}

impl Asks {
    fn new(number: u64, answer: usize, idle_ms: u64, start: Instant) -> Asks {
        Asks { number, answer, written: 0, idle: Duration::from_millis(idle_ms), next: start, calls: 0, bytes: 0 }
    }
}

/// Lets them ask for so many seconds; answers come at once.
fn run(pace: &mut Pace, readers: &mut [Asks], start: Instant, seconds: u64) {
    let end = start + Duration::from_secs(seconds);
    let (mut last, mut read) = (None, start);
    loop {
        // The later one first: nothing may depend on who wakes first.
        let Some(reader) = readers.iter_mut().rev().min_by_key(|reader| reader.next) else { return };
        let now = reader.next;
        if now >= end {
            return;
        }
        match pace.ask(reader.number, now) {
            Turn::At(at) => {
                assert!(at > now, "a turn that is put off is put off into the future");
                reader.next = at;
            }
            Turn::Now(allowed) => {
                assert!(last.is_none_or(|last| now >= last + CALL_GAP), "calls are {CALL_GAP:?} apart");
                last = Some(now);
                let mut bytes = allowed.map_or(reader.answer, |allowed| allowed.min(reader.answer));
                if reader.written > 0 {
                    bytes = ((now - read).as_secs_f64() * reader.written as f64) as usize;
                    read = now;
                }
                pace.spent(reader.number, bytes, now);
                (reader.calls, reader.bytes) = (reader.calls + 1, reader.bytes + bytes);
                reader.next = now + reader.idle.max(Duration::from_micros(1));
                pace.idles(reader.number, (!reader.idle.is_zero()).then_some(reader.next));
            }
        }
    }
}

fn shard(positions: &[u64]) -> Pace {
    let mut pace = Pace::default();
    for (number, position) in positions.iter().enumerate() {
        pace.join(number as u64, (*position > 0).then(|| Position::from(*position)));
    }
    pace
}

/// Calls and bytes a second of each reader.
fn check(readers: &[(u64, usize, u64)], expect: &[(std::ops::RangeInclusive<f64>, std::ops::RangeInclusive<f64>)]) {
    let start = Instant::now();
    let mut pace = shard(&readers.iter().map(|reader| reader.0).collect::<Vec<_>>());
    let numbered = readers.iter().enumerate();
    let mut asks: Vec<Asks> =
        numbered.map(|(number, (_, answer, idle))| Asks::new(number as u64, *answer, *idle, start)).collect();
    run(&mut pace, &mut asks, start, 100);
    for (reader, (calls, kilobytes)) in asks.iter().zip(expect) {
        let found = (reader.calls as f64 / 100.0, reader.bytes as f64 / 100_000.0);
        assert!(calls.contains(&found.0) && kilobytes.contains(&found.1), "{}: {found:?} of {expect:?}", reader.number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_alone_has_the_whole_shard() {
    check(&[(9, 1_000, 0)], &[(4.9..=5.0, 4.9..=5.0)]);
    check(&[(9, 400_000, 0)], &[(4.9..=5.0, 1_960.0..=2_000.0)]);
    check(&[(9, 10_000_000, 0)], &[(0.2..=0.2, 2_000.0..=2_000.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_tip_keeps_three_of_five_calls() {
    check(&[(9, 1_000, 0), (1, 1_000, 0)], &[(2.9..=3.1, 2.9..=3.1), (1.9..=2.1, 1.9..=2.1)]);
    // Three that catch up have the same two calls together, each its part.
    let third = (0.6..=0.72, 0.0..=1.0);
    check(
        &[(9, 1_000, 0), (1, 1_000, 0), (2, 1_000, 0), (3, 1_000, 0)],
        &[(2.9..=3.1, 2.9..=3.1), third.clone(), third.clone(), third],
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_tip_leaves_the_others_nearly_everything() {
    check(&[(9, 0, 1_000), (1, 400_000, 0)], &[(0.8..=1.0, 0.0..=0.0), (3.9..=4.2, 1_500.0..=1_700.0)]);
}

#[tokio::test(start_paused = true)]
async fn the_tip_does_not_wait_for_what_others_spent() {
    // It takes all of the shard's bytes but the tenth that nobody takes from the others.
    check(&[(9, 10_000_000, 0), (1, 10_000_000, 0)], &[(0.2..=0.2, 1_800.0..=2_000.0), (0.4..=0.6, 150.0..=220.0)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_tip_leaves_is_for_the_others() {
    // As much as may be written to a shard: the tip keeps up with it.
    let (mut pace, start) = (shard(&[9, 1]), Instant::now());
    let mut readers = [Asks::new(0, 0, 200, start), Asks::new(1, 10_000_000, 0, start)];
    readers[0].written = 1_000_000;
    run(&mut pace, &mut readers, start, 100);
    let found = readers.map(|reader| (reader.calls / 10, reader.bytes / 1_000_000));
    assert!((28..=32).contains(&found[0].0) && (98..=100).contains(&found[0].1), "{found:?}");
    assert!((5..=21).contains(&found[1].0) && (95..=103).contains(&found[1].1), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_surprisingly_large_answer_of_one_that_catches_up_does_not_stop_the_tip() {
    let (mut pace, start) = (shard(&[9, 1]), Instant::now());
    assert!(matches!(pace.ask(1, start), Turn::Now(Some(_))));
    pace.spent(1, 10_000_000, start);
    assert_eq!(pace.ask(0, start + CALL_GAP), Turn::Now(None));
    // The one that had it rests for what it had.
    let Turn::At(at) = pace.ask(1, start + 3 * CALL_GAP) else { panic!("it asked for too much") };
    assert!(at >= start + Duration::from_secs(4), "{:?}", at - start);
}

#[tokio::test(start_paused = true)]
async fn the_tip_is_who_is_furthest() {
    let mut pace = shard(&[0, 5, 7]);
    let tip = |pace: &Pace| (0..4).filter(|reader| pace.role(*reader) == Role::Tip).collect::<Vec<_>>();
    assert_eq!(tip(&pace), [2]);
    pace.stands(1, Some(8.into()), 60_000);
    assert_eq!(tip(&pace), [1], "who overtakes is the tip");
    // One that begins with what comes now has no position yet.
    pace.join(3, None);
    assert_eq!(tip(&pace), [1]);
    pace.stands(3, None, 0);
    assert_eq!(tip(&pace), [3]);
    pace.leave(3);
    pace.leave(1);
    assert_eq!(tip(&pace), [2], "who remains");
    pace.stands(0, Some(7.into()), 0);
    pace.stands(2, Some(7.into()), 0);
    assert_eq!(tip(&pace), [0], "of two at one place it is the older one");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_reader_that_has_stopped_asking() {
    let (mut pace, start) = (shard(&[9, 1, 2]), Instant::now());
    // The tip and one that catches up ask once and are not heard of again: their lanes stand still.
    pace.ask(0, start);
    pace.ask(2, start);
    let mut left = [Asks::new(1, 1_000, 0, start + CALL_GAP)];
    run(&mut pace, &mut left, start, 20);
    assert!(left[0].calls > 2 * 5 + 4 * 14, "{} calls in 20 s", left[0].calls);
}

#[tokio::test(start_paused = true)]
async fn iterators_have_a_limit_of_their_own_and_a_rest_is_not_saved_up() {
    let (mut pace, start) = (Pace::default(), Instant::now());
    pace.join(0, None);
    assert_eq!(pace.ask(0, start), Turn::Now(None));
    assert_eq!(pace.ask_iterator(start), Turn::Now(None));
    assert_eq!(pace.ask_iterator(start), Turn::At(start + CALL_GAP));
    let later = start + Duration::from_secs(10);
    assert_eq!(pace.ask(0, later), Turn::Now(None));
    assert_eq!(pace.ask(0, later), Turn::At(later + CALL_GAP));
    pace.spent(0, usize::MAX, later);
    assert_eq!(pace.ask(0, later + CALL_GAP), Turn::At(later + LONGEST_REST), "nothing stalls a shard for long");
}

#[tokio::test(start_paused = true)]
async fn the_tip_alone_subscribes_and_not_too_soon_again() {
    let (mut pace, start) = (shard(&[9, 1]), Instant::now());
    assert!(!pace.sit(1, start), "who catches up polls");
    assert!(pace.sit(0, start));
    pace.subscribes(start);
    assert!(!pace.sit(0, start + Duration::from_secs(5)));
    assert!(pace.sit(0, start + SUBSCRIPTION_GAP));
    // The other one overtakes: it has to wait until the seat is free.
    pace.stands(1, Some(10.into()), 0);
    assert!(!pace.sit(1, start + 2 * SUBSCRIPTION_GAP));
    assert!(!pace.sit(0, start + 2 * SUBSCRIPTION_GAP), "who is no longer the tip gives it up when it is to renew");
    assert!(pace.sit(1, start + 2 * SUBSCRIPTION_GAP));
    pace.leave(1);
    assert!(pace.sit(0, start + 2 * SUBSCRIPTION_GAP), "who closes gives it up too");
}

#[tokio::test(start_paused = true)]
async fn a_tip_on_fan_out_leaves_all_calls_and_bytes() {
    let (mut pace, start) = (shard(&[9, 1]), Instant::now());
    assert!(pace.sit(0, start));
    let mut left = [Asks::new(1, 400_000, 0, start)];
    run(&mut pace, &mut left, start, 100);
    assert!(
        (490..=500).contains(&left[0].calls) && left[0].bytes >= 190_000_000,
        "{} {}",
        left[0].calls,
        left[0].bytes
    );
}
