//! A channel: what was sent on it and is not acknowledged yet. Pure: the time is an argument.
//!
//! An event collector counts the requests of each channel and acknowledges the numbers. It forgets the count when it
//! restarts, and begins again at the first number; then a number that is still awaited would be acknowledged although it
//! stands for another request by now. So:
//!
//! - One call at a time on a channel: no acknowledgement is asked for while events are under way.
//! - A number that is not above all earlier ones says that the count began anew: what is awaited is sent again.
//! - After a lost answer nobody knows whether a number was given to it. Until a later number proves that the count went on,
//!   the channel is *in doubt* and is not asked.
//!
//! Invariant: what is reported as acknowledged was acknowledged as itself, whatever restarts and answers are lost (property
//! test below).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shipment::Shipment;

/// Requests of a channel that may await their acknowledgement.
pub(super) const MOST_AWAITED: usize = 64;

/// The pause after events were taken before it is asked whether they are acknowledged, and after an answer that
/// acknowledged something.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest: it doubles while nothing is acknowledged. Splunk's own clients ask every 10 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A request that was taken and is not acknowledged.
#[derive(Debug)]
struct Awaited {
    shipment: Shipment,
    sent: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Channel {
    /// Which of the endpoints it belongs to: acknowledgements are known only there.
    pub(super) endpoint: usize,
    /// A GUID.
    pub(super) id: Arc<str>,
    pub(super) cookies: Arc<str>,
    /// A call is under way.
    pub(super) is_busy: bool,
    awaited: BTreeMap<u64, Awaited>,
    /// The highest number so far.
    last: u64,
    /// Requests since then whose answers were lost.
    lost: u64,
    ask_at: Option<Instant>,
    pause: Duration,
}

impl Channel {
    pub(super) fn new(endpoint: usize, id: Arc<str>) -> Channel {
        Channel {
            endpoint,
            id,
            cookies: "".into(),
            is_busy: false,
            awaited: BTreeMap::new(),
            last: 0,
            lost: 0,
            ask_at: None,
            pause: FIRST_PAUSE,
        }
    }

    /// How many requests await their acknowledgement.
    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Whether a later number must first prove that the count has gone on.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.lost > 0 && !self.awaited.is_empty()
    }

    /// Events were taken under this number. Returns what must be sent again, since the count began anew.
    pub(super) fn taken(&mut self, number: u64, shipment: Shipment, now: Instant) -> Vec<Shipment> {
        // After a restart the numbers begin at 0 (or 1): those whose answers were lost had them before this one.
        let goes_on = number > self.last && (self.lost == 0 || number > self.lost + 1);
        let again = if goes_on { Vec::new() } else { self.all() };
        (self.last, self.lost) = (number, 0);
        if self.awaited.is_empty() {
            (self.pause, self.ask_at) = (FIRST_PAUSE, Some(now + FIRST_PAUSE));
        }
        self.awaited.insert(number, Awaited { shipment, sent: now });
        again
    }

    /// The answer to events was lost: perhaps they were taken.
    pub(super) fn answer_lost(&mut self) {
        self.lost += 1;
    }

    /// The numbers to ask for, if it is time.
    pub(super) fn question(&self, now: Instant) -> Option<Vec<u64>> {
        let is_time = self.ask_at.is_some_and(|time| time <= now);
        (is_time && self.can_ask()).then(|| self.awaited.keys().copied().collect())
    }

    /// When it is to be asked for acknowledgements.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        self.ask_at.filter(|_| self.can_ask())
    }

    fn can_ask(&self) -> bool {
        !self.is_busy && !self.awaited.is_empty() && !self.is_in_doubt()
    }

    /// These numbers are acknowledged: returns what they stand for.
    pub(super) fn acknowledged(&mut self, numbers: &[u64], now: Instant) -> Vec<Shipment> {
        let done = numbers.iter().filter_map(|number| self.awaited.remove(number));
        let done: Vec<Shipment> = done.map(|awaited| awaited.shipment).collect();
        if done.is_empty() {
            self.ask_later(now);
        } else {
            (self.pause, self.ask_at) = (FIRST_PAUSE, Some(now + FIRST_PAUSE));
        }
        done
    }

    /// Nothing was acknowledged.
    pub(super) fn ask_later(&mut self, now: Instant) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.ask_at = Some(now + self.pause);
    }

    /// When the first of the requests has waited too long.
    pub(super) fn overdue_at(&self, patience: Duration) -> Option<Instant> {
        self.awaited.values().map(|awaited| awaited.sent + patience).min()
    }

    /// What has waited too long, and when it was sent.
    pub(super) fn overdue(&mut self, now: Instant, patience: Duration) -> Vec<(Shipment, Instant)> {
        let late = self.awaited.extract_if(.., |_, awaited| awaited.sent + patience <= now);
        late.map(|(_, awaited)| (awaited.shipment, awaited.sent)).collect()
    }

    /// Nothing of it will be acknowledged. It goes on under a new name.
    pub(super) fn renew(&mut self, id: Arc<str>) -> Vec<Shipment> {
        self.id = id;
        (self.last, self.lost) = (0, 0);
        self.all()
    }

    fn all(&mut self) -> Vec<Shipment> {
        std::mem::take(&mut self.awaited).into_values().map(|awaited| awaited.shipment).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::sink::held::{Run, Ticket};

    /// A shipment that is known by a number.
    fn shipment(number: u64) -> Shipment {
        Shipment::of(vec![Run { ticket: Ticket(number), items: 0..1 }])
    }

    fn name(shipment: &Shipment) -> u64 {
        shipment.runs[0].ticket.0
    }

    /// What happens at the event collector, and on the way to it.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Send,
        /// It is taken, and the answer is lost.
        SendAnswerLost,
        /// It is lost on the way.
        SendLost,
        /// Everything that was taken since the start is indexed.
        Index,
        Ask,
        Restart,
    }

    /// An event collector with one channel.
    #[derive(Default)]
    struct Collector {
        first: u64,
        /// By number: what it stands for, and whether it is indexed.
        taken: Vec<(u64, bool)>,
        indexed: BTreeSet<u64>,
    }

    impl Collector {
        fn take(&mut self, name: u64) -> u64 {
            self.taken.push((name, false));
            self.first + self.taken.len() as u64 - 1
        }

        fn index(&mut self) {
            for (name, is_indexed) in &mut self.taken {
                *is_indexed = true;
                self.indexed.insert(*name);
            }
        }

        fn is_acknowledged(&self, number: u64) -> bool {
            let index = number.checked_sub(self.first).map(|index| index as usize);
            index.and_then(|index| self.taken.get(index)).is_some_and(|(_, is_indexed)| *is_indexed)
        }
    }

    fn run(first: u64, steps: &[Step]) {
        let (mut channel, mut collector) = (Channel::new(0, "guid".into()), Collector { first, ..Default::default() });
        let (now, mut next) = (Instant::now(), 0);
        let (mut waiting, mut settled) = (Vec::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Send | Step::SendAnswerLost | Step::SendLost => {
                    let one = waiting.pop().unwrap_or_else(|| {
                        next += 1;
                        shipment(next)
                    });
                    match step {
                        Step::Send => {
                            let number = collector.take(name(&one));
                            waiting.extend(channel.taken(number, one, now));
                        }
                        Step::SendAnswerLost => {
                            collector.take(name(&one));
                            channel.answer_lost();
                            waiting.push(one);
                        }
                        _ => {
                            channel.answer_lost();
                            waiting.push(one);
                        }
                    }
                }
                Step::Index => collector.index(),
                Step::Restart => collector.taken.clear(),
                Step::Ask => {
                    let Some(numbers) = channel.question(now + LONGEST_PAUSE) else { continue };
                    let yes: Vec<u64> =
                        numbers.into_iter().filter(|number| collector.is_acknowledged(*number)).collect();
                    settled.extend(channel.acknowledged(&yes, now).iter().map(name));
                }
            }
        }
        let wrong: Vec<&u64> = settled.difference(&collector.indexed).collect();
        assert!(wrong.is_empty(), "{wrong:?} are settled and were never indexed");
        let mut known: BTreeSet<u64> = settled;
        known.extend(waiting.iter().map(name));
        known.extend(channel.all().iter().map(name));
        assert_eq!(known, (1..=next).collect(), "nothing is forgotten");
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => Just(Step::Send),
            1 => Just(Step::SendAnswerLost),
            1 => Just(Step::SendLost),
            3 => Just(Step::Index),
            4 => Just(Step::Ask),
            1 => Just(Step::Restart),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn nothing_settles_that_was_not_indexed(steps in steps(), first in 0..2u64) {
            run(first, &steps);
        }
    }

    #[test]
    fn a_restart_behind_a_lost_answer_acknowledges_nothing_else() {
        use Step::{Ask, Index, Restart, Send, SendAnswerLost};
        // The second request gets the number that the first one had.
        run(0, &[Send, Restart, SendAnswerLost, Index, Ask, Send, Index, Ask]);
        run(0, &[Send, Restart, Send, Index, Ask]);
    }

    #[test]
    fn a_lost_answer_alone_repeats_nothing_that_was_taken_before() {
        let (mut channel, now) = (Channel::new(0, "guid".into()), Instant::now());
        for number in 0..4 {
            assert!(channel.taken(number, shipment(number), now).is_empty());
        }
        channel.answer_lost();
        assert!(channel.is_in_doubt() && channel.question(now + LONGEST_PAUSE).is_none());
        assert!(channel.taken(5, shipment(9), now).is_empty(), "the count went on");
        assert_eq!(channel.question(now + LONGEST_PAUSE).unwrap(), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn questions_come_less_often_while_nothing_is_acknowledged() {
        let (mut channel, mut now) = (Channel::new(0, "guid".into()), Instant::now());
        channel.taken(0, shipment(1), now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let time = channel.ask_at().unwrap();
            pauses.push((time - now).as_millis());
            now = time;
            channel.acknowledged(&[], now);
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
    }
}
