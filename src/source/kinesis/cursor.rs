//! Where a reader stands in its shard: what it asks for, and what it keeps of an answer. Pure.
//!
//! An iterator is always opened *at* the last record, not after it: if that record comes again (it is left out)
//! nothing can be missing; if it does not, it has expired, and records after it may have too. Invariant: records
//! are handed out in ascending order and none twice, whatever an answer repeats.

use aws_sdk_kinesis::types::Record as Answered;
use bytes::Bytes;

use super::api::Begin;
use crate::event::Millis;
use crate::source::{Position, Record, StartAt};

/// See the module.
#[derive(Debug)]
pub(super) struct Cursor {
    start: Begin,
    /// The last record that was handed out, or after which the reader starts.
    last: Option<Position>,
    /// The record that the iterator was opened at, until an answer shows whether it is still there.
    expected: Option<Position>,
    /// Where a subscription goes on: how far its last event reached, whether or not that had records.
    continuation: Option<Position>,
}

/// What is kept of an answer.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub records: Vec<Record>,
    /// How many records the answer had.
    pub answered: usize,
    /// What they weigh against the shard's limit.
    pub bytes: usize,
    /// The time over which they had arrived.
    pub span_ms: i64,
    /// The last record of before has expired; the arrival of the first one that is left.
    pub expired: Option<(Position, Option<Millis>)>,
}

impl Cursor {
    pub(super) fn new(from: StartAt) -> Cursor {
        let (start, last) = match from {
            StartAt::TrimHorizon => (Begin::Oldest, None),
            StartAt::AtTimestamp(time) => (Begin::AtTime(time), None),
            StartAt::After(position) => (Begin::Oldest, Some(position)),
        };
        Cursor { start, last, expected: None, continuation: None }
    }

    pub(super) fn last(&self) -> Option<Position> {
        self.last
    }

    /// The last record, as long as it is not known whether it is still there.
    pub(super) fn expected(&self) -> Option<Position> {
        self.expected
    }

    /// How far a subscription has reached; `None`: not known, or too long ago.
    pub(super) fn continues_at(&mut self, continuation: Option<Position>) {
        self.continuation = continuation;
    }

    /// Where the next subscription is to begin: where the last one ended, else as an iterator.
    pub(super) fn resume(&mut self) -> Begin {
        match self.continuation.filter(|continuation| self.last.is_none_or(|last| *continuation >= last)) {
            // Nothing is expected: in a quiet shard the last record may have expired long ago.
            Some(continuation) => Begin::At(continuation),
            None => self.begin(false),
        }
    }

    /// Where the next iterator is to begin. `astray`: the service does not know the last record any more.
    pub(super) fn begin(&mut self, astray: bool) -> Begin {
        self.expected = self.last.filter(|_| !astray);
        match self.last {
            None => self.start,
            Some(_) if astray => Begin::Oldest,
            Some(last) => Begin::At(last),
        }
    }

    /// Takes an answer, or leaves everything as it was.
    pub(super) fn take(&mut self, answer: Vec<Answered>) -> Result<Taken, String> {
        let answered = answer.len();
        let weight =
            |record: &Answered| record.data.as_ref().len() + record.partition_key.as_ref().map_or(0, String::len);
        let bytes = answer.iter().map(weight).sum();
        let all = answer.into_iter().map(record).collect::<Result<Vec<Record>, String>>()?;
        let arrival = |record: Option<&Record>| record.and_then(|record| record.arrival).map(|at| at.0);
        let span_ms = arrival(all.last()).zip(arrival(all.first())).map_or(0, |(last, first)| last - first);
        let mut taken = Taken { answered, bytes, span_ms, ..Taken::default() };
        let mut late = mutant!(RenewLate).then_some(self.expected).flatten();
        for record in all {
            if let Some(after) = late
                && record.position > after
            {
                late = None;
                self.last = Some(record.position);
            }
            if let Some(expected) = self.expected.take_if(|expected| record.position >= *expected)
                && record.position > expected
            {
                taken.expired = Some((expected, record.arrival));
            }
            let is_new = self.last.is_none_or(|last| record.position > last) || mutant!(TakeTwice);
            if is_new && self.is_wanted(&record) {
                self.last = Some(record.position);
                taken.records.push(record);
            }
        }
        Ok(taken)
    }

    /// Some services begin too early with a start in time; what follows the first wanted record is wanted too.
    fn is_wanted(&self, record: &Record) -> bool {
        match (self.start, self.last, record.arrival) {
            (Begin::AtTime(time), None, Some(arrival)) => arrival.0 >= time,
            _ => true,
        }
    }
}

fn record(answered: Answered) -> Result<Record, String> {
    let number = answered.sequence_number;
    let position = Position::parse(&number).ok_or_else(|| {
        let shown: String = number.chars().filter(|character| !character.is_control()).take(100).collect();
        format!("a record's sequence number is `{shown}` and no decimal number of at most 76 digits")
    })?;
    let arrival = answered.approximate_arrival_timestamp.and_then(|at| at.to_millis().ok()).map(Millis);
    Ok(Record::new(position, arrival, Bytes::from(answered.data.into_inner())))
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::{Blob, DateTime};

    use super::*;

    fn answer(records: &[(&str, i64)]) -> Vec<Answered> {
        let make = |(number, arrival): &(&str, i64)| {
            let record = Answered::builder().sequence_number(*number).data(Blob::new(b"data".to_vec()));
            record.approximate_arrival_timestamp(DateTime::from_millis(*arrival)).build().unwrap()
        };
        records.iter().map(make).collect()
    }

    fn positions(taken: &Taken) -> Vec<String> {
        taken.records.iter().map(|record| record.position.to_string()).collect()
    }

    #[test]
    fn nothing_is_handed_out_twice_and_an_iterator_begins_at_the_last_record() {
        let mut cursor = Cursor::new(StartAt::TrimHorizon);
        assert_eq!(cursor.begin(false), Begin::Oldest);
        assert_eq!(positions(&cursor.take(answer(&[("8", 1), ("9", 2)])).unwrap()), ["8", "9"]);
        assert_eq!(cursor.begin(false), Begin::At(Position::from(9)));
        let again = cursor.take(answer(&[("8", 1), ("9", 2), ("10", 5)])).unwrap();
        assert_eq!((positions(&again), again.expired, again.span_ms), (vec!["10".to_owned()], None, 4));
        assert_eq!((again.answered, again.bytes), (3, 12));
    }

    #[test]
    fn a_last_record_that_does_not_come_again_has_expired() {
        let mut cursor = Cursor::new(StartAt::After(Position::from(9)));
        assert_eq!(cursor.begin(false), Begin::At(Position::from(9)));
        assert!(cursor.take(Vec::new()).unwrap().expired.is_none(), "an empty answer says nothing");
        let taken = cursor.take(answer(&[("20", 7), ("21", 8)])).unwrap();
        assert_eq!(taken.expired, Some((Position::from(9), Some(Millis(7)))));
        assert_eq!(positions(&taken), ["20", "21"]);
        assert!(cursor.take(answer(&[("22", 9)])).unwrap().expired.is_none(), "it is said once");
    }

    #[test]
    fn a_subscription_goes_on_where_the_last_one_ended() {
        let mut cursor = Cursor::new(StartAt::After(Position::from(9)));
        assert_eq!((cursor.resume(), cursor.expected()), (Begin::At(Position::from(9)), Some(Position::from(9))));
        cursor.take(answer(&[("9", 1), ("10", 2)])).unwrap();
        cursor.continues_at(Some(Position::from(12)));
        // Nothing is expected there: no record need be at a continuation.
        assert_eq!((cursor.resume(), cursor.expected()), (Begin::At(Position::from(12)), None));
        // It was read on by other means since.
        cursor.take(answer(&[("13", 3)])).unwrap();
        assert_eq!(cursor.resume(), Begin::At(Position::from(13)));
        // A start in time that has brought no record yet.
        let mut cursor = Cursor::new(StartAt::AtTimestamp(5));
        assert_eq!(cursor.resume(), Begin::AtTime(5));
        cursor.continues_at(Some(Position::from(7)));
        assert_eq!(cursor.resume(), Begin::At(Position::from(7)));
    }

    #[test]
    fn a_reader_that_went_astray_reads_from_the_oldest_and_leaves_out_what_it_had() {
        let mut cursor = Cursor::new(StartAt::After(Position::from(9)));
        assert_eq!(cursor.begin(true), Begin::Oldest);
        let taken = cursor.take(answer(&[("8", 1), ("10", 2)])).unwrap();
        assert_eq!((positions(&taken), taken.expired), (vec!["10".to_owned()], None));
    }

    #[test]
    fn a_start_in_time_leaves_out_only_what_comes_before_its_first_record() {
        let mut cursor = Cursor::new(StartAt::AtTimestamp(100));
        assert_eq!(cursor.begin(false), Begin::AtTime(100));
        // Arrival times need not ascend.
        assert_eq!(positions(&cursor.take(answer(&[("1", 98), ("2", 101), ("3", 99)])).unwrap()), ["2", "3"]);
        assert_eq!(cursor.begin(false), Begin::At(Position::from(3)));
        assert_eq!(positions(&cursor.take(answer(&[("3", 99), ("4", 97)])).unwrap()), ["4"]);
    }

    #[test]
    fn what_is_no_sequence_number_is_an_error_and_changes_nothing() {
        for bad in ["", "-1", "1.5", "shardId-7", &"1".repeat(77)] {
            let mut cursor = Cursor::new(StartAt::TrimHorizon);
            let said = cursor.take(answer(&[("1", 1), (bad, 2)])).unwrap_err();
            assert!(said.contains("no decimal number"), "{said}");
            assert_eq!(cursor.last(), None);
        }
    }
}
