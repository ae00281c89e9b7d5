//! What upstream sends: a simulated fleet's records, repeats of earlier ones, damaged ones, and a megabyte of control
//! messages; each entered into the ledger at the place that the stream gave it.

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use tunnelog::config::types::Simulate;
use tunnelog::source::{Position, Record, ShardId};

use super::dice::Dice;
use super::ledger::{Content, Event, Ledger};
use crate::day::Stream;
use crate::support::{forms, gzip, parts, text};
use crate::{END_OF_STREAM, stack};

/// What PutRecords takes at once, of small records and of large ones.
const RECORDS_AT_ONCE: usize = 100;
const LARGE_AT_ONCE: usize = 4;

/// A record before it is put.
#[derive(Clone)]
struct Draft {
    key: String,
    data: Bytes,
    content: Content,
}

/// See the module.
pub(crate) struct Input {
    stream: Stream,
    dice: Dice,
    /// Not put yet, in the order of arrival; the last is next.
    waiting: Vec<Draft>,
    /// Whole ones, for upstream to repeat.
    sent: Vec<Draft>,
    /// Records of a round.
    a_round: usize,
}

impl Input {
    pub(crate) fn new(stream: Stream, seed: u64, rounds: usize) -> Input {
        let hours = (rounds as u32 * 3).max(3);
        let fleet = Simulate { seed, connections: 8, hours, damaged: rounds as u32, ..Simulate::default() };
        let records = forms::records(&fleet);
        let mut waiting: Vec<Draft> = records
            .into_iter()
            .map(|record| {
                let content = content(&record.data);
                assert_eq!(content.damaged, record.damaged, "the fleet says which of its records are damaged");
                Draft { key: record.partition_key, data: record.data, content }
            })
            .collect();
        waiting.reverse();
        let a_round = waiting.len().div_ceil(rounds);
        Input { stream, dice: Dice::for_purpose(seed, "input"), waiting, sent: Vec::new(), a_round }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The fleet's next records: one of so many parts of a round.
    pub(crate) fn put(&mut self, of: usize, ledger: &mut Ledger, when: &str) {
        let count = self.a_round.div_ceil(of).min(self.waiting.len());
        let drafts: Vec<Draft> = self.waiting.split_off(self.waiting.len() - count).into_iter().rev().collect();
        self.send(&drafts, RECORDS_AT_ONCE, ledger, when, false);
        self.sent.extend(drafts);
    }

    /// What is left.
    pub(crate) fn put_rest(&mut self, ledger: &mut Ledger) {
        let drafts: Vec<Draft> = std::mem::take(&mut self.waiting).into_iter().rev().collect();
        self.send(&drafts, RECORDS_AT_ONCE, ledger, END_OF_STREAM, false);
    }

    /// Upstream repeats some records of earlier, as CloudWatch Logs may.
    pub(crate) fn again(&mut self, records: usize, ledger: &mut Ledger, when: &str) {
        let pick = |dice: &mut Dice, sent: &[Draft]| sent[dice.between(0, sent.len() as u64) as usize].clone();
        let drafts: Vec<Draft> = (0..records).map(|_| pick(&mut self.dice, &self.sent)).collect();
        self.send(&drafts, RECORDS_AT_ONCE, ledger, when, true);
    }

    pub(crate) fn damaged(&mut self, records: usize, ledger: &mut Ledger, when: &str) {
        let drafts: Vec<Draft> = (0..records).map(|_| self.damage()).collect();
        self.send(&drafts, RECORDS_AT_ONCE, ledger, when, false);
    }

    fn damage(&mut self) -> Draft {
        let count = self.dice.between(1, 2_000) as usize;
        let noise = self.dice.bytes(count);
        let data = match self.dice.between(0, 3) {
            0 => noise,
            1 => {
                let whole = gzip(STANDARD.encode(noise));
                whole[..whole.len() / 2].to_vec()
            }
            _ => gzip(STANDARD.encode(noise)),
        };
        let key = self.dice.between(0, u64::MAX).to_string();
        Draft { key, content: Content { events: Vec::new(), damaged: true }, data: data.into() }
    }

    /// More than a megabyte of control messages into one shard: they are skipped, but they must be read.
    pub(crate) fn megabyte(&mut self, ledger: &mut Ledger, when: &str) {
        let mut message = || {
            let noise = STANDARD.encode(self.dice.bytes(400_000));
            let event = json!({"id": "", "timestamp": 1_789_808_054_802_u64, "message": noise});
            let envelope = json!({"messageType": "CONTROL_MESSAGE", "owner": "CloudwatchLogs", "logGroup": "", "logStream": "",
                "subscriptionFilters": [], "logEvents": [event]});
            let (key, data) = ("control".to_owned(), gzip(envelope.to_string()).into());
            Draft { key, data, content: Content::default() }
        };
        let drafts: Vec<Draft> = (0..4).map(|_| message()).collect();
        self.send(&drafts, LARGE_AT_ONCE, ledger, when, false);
    }

    fn send(&self, drafts: &[Draft], at_once: usize, ledger: &mut Ledger, when: &str, again: bool) {
        for drafts in drafts.chunks(at_once) {
            let entry = |draft: &Draft| {
                let entry = PutRecordsRequestEntry::builder().data(Blob::new(draft.data.to_vec()));
                entry.partition_key(&draft.key).build().unwrap()
            };
            let put = self.stream.client.put_records().stream_name(&self.stream.name);
            let put = put.set_records(Some(drafts.iter().map(entry).collect())).send();
            let answer = stack::block_on(put).unwrap();
            assert_eq!(answer.failed_record_count.unwrap_or(0), 0, "the stream takes all");
            for (draft, answer) in drafts.iter().zip(answer.records()) {
                let sequence = Position::parse(answer.sequence_number().unwrap()).unwrap();
                let place = (answer.shard_id().unwrap().to_owned(), sequence);
                ledger.produced(place, draft.content.clone(), when, again);
            }
        }
    }
}

/// What a record must come to, by the core alone: nothing of what is on trial here.
fn content(data: &Bytes) -> Content {
    let shard = ShardId { source: "main".into(), stream: "s".into(), stream_created: "".into(), shard: "0".into() };
    let record = Record::new(Position::parse("1").unwrap(), None, data.clone());
    let events = parts::encode(parts::with_origin(), &shard, std::slice::from_ref(&record));
    let event = |bytes: Vec<u8>| {
        let event: Value = serde_json::from_slice(&bytes).unwrap();
        Event {
            id: text(&event, "/id").to_owned(),
            action: text(&event, "/action").to_owned(),
            log_stream: text(&event, "/log/stream_name").to_owned(),
        }
    };
    let letters = parts::encode(parts::dead_letters(), &shard, &[record]);
    Content { events: events.into_iter().map(event).collect(), damaged: !letters.is_empty() }
}
