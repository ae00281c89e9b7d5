//! CloudWatch Logs between a log stream and Kinesis: batches, envelopes, delays, duplicates.
//!
//! Lines of one log stream are gathered for a few seconds (or 200 lines) into one envelope, which arrives 1
//! to 5 s later, sometimes minutes later; one record in a hundred arrives twice. What the lines say is not
//! known here.
//!
//! Invariants: ids ascend within a stream and are never reused, only repeated by a duplicate; first deliveries
//! of one stream arrive in the order of its lines; records leave in the order of arrival; memory holds the open
//! batches and what is under way, never the day.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::identity::{self, StreamIdentity};
use super::plan::Plan;
use super::random::{Purpose, Random};

/// Lines that close a batch at once.
const MAX_BATCH: usize = 200;

/// One log stream: 80 bytes when it is quiet.
struct Stream {
    /// MD5 of its partition key's source: decides the shard.
    hash: u128,
    shard: u32,
    /// Lines that were ever written: the counter in their ids.
    issued: u64,
    last_line: i64,
    last_arrival: i64,
    open: Vec<LogLine>,
}

struct LogLine {
    at: i64,
    number: u64,
    text: String,
}

/// What a record is, apart from its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Sort {
    /// The first delivery of some lines.
    Data,
    /// A second delivery of a record.
    Duplicate,
    /// A control message.
    Control,
    /// Damaged on purpose.
    Damaged,
}

/// A record on its way, not yet compressed. Ordered by arrival, then by making.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Draft {
    pub(super) arrival: i64,
    order: u64,
    pub(super) sort: Sort,
    pub(super) hash: u128,
    pub(super) shard: u32,
    pub(super) events: u32,
    /// The envelope; of damaged records the bytes as they are. Empty in shards that nobody reads here.
    pub(super) body: Bytes,
}

/// All log streams of the fleet and the records under way.
pub(super) struct CloudWatch {
    plan: Arc<Plan>,
    random: Random,
    streams: Vec<Stream>,
    under_way: BinaryHeap<Reverse<Draft>>,
    made: u64,
    /// Only this shard's records get a body.
    only: Option<u32>,
}

impl CloudWatch {
    pub(super) fn new(plan: Arc<Plan>, only: Option<u32>) -> CloudWatch {
        let streams = (0..identity::stream_count(&plan)).map(|number| stream(&plan, number)).collect();
        let random = Random::new(plan.seed, Purpose::CloudWatch, 0);
        CloudWatch { plan, random, streams, under_way: BinaryHeap::new(), made: 0, only }
    }

    fn reads(&self, shard: u32) -> bool {
        self.only.is_none_or(|only| only == shard)
    }

    /// Adds a line that the function writes for the time it is given: not before the line that came last.
    /// Answers when the batch must be closed, if this line opened one.
    pub(super) fn push(&mut self, stream: u32, at: i64, write: impl FnOnce(&mut String, i64)) -> Option<i64> {
        let wait = self.random.between(2_000, 8_000);
        let wanted = self.reads(self.streams[stream as usize].shard);
        let state = &mut self.streams[stream as usize];
        let at = at.max(state.last_line);
        state.last_line = at;
        let mut text = String::new();
        if wanted {
            write(&mut text, at);
        }
        state.open.push(LogLine { at, number: state.issued, text });
        state.issued += 1;
        match state.open.len() {
            1 => Some(at + wait),
            MAX_BATCH.. => {
                self.close(stream, at);
                None
            }
            _ => None,
        }
    }

    /// Sends the stream's open batch on its way.
    pub(super) fn close(&mut self, stream: u32, now: i64) {
        let delay = self.delay();
        let twice = self.random.one_in(100);
        let state = &mut self.streams[stream as usize];
        if state.open.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut state.open);
        let arrival = (now.max(state.last_line) + delay).max(state.last_arrival + 1);
        state.last_arrival = arrival;
        let (hash, shard) = (state.hash, state.shard);
        let body = if self.reads(shard) { envelope(&self.plan, stream, &lines) } else { Bytes::new() };
        let events = lines.len() as u32;
        let draft = Draft { arrival, order: 0, sort: Sort::Data, hash, shard, events, body };
        if twice {
            let arrival = arrival + self.random.between(5_000, 90_000);
            self.send(Draft { arrival, sort: Sort::Duplicate, ..draft.clone() });
        }
        self.send(draft);
    }

    /// 1 to 5 s; one batch in 400 takes 2 to 9 minutes.
    fn delay(&mut self) -> i64 {
        if self.random.one_in(400) { self.random.between(120_000, 540_000) } else { self.random.between(1_000, 5_000) }
    }

    /// A health check of the subscription, as CloudWatch sends it when one is made, and later.
    pub(super) fn control(&mut self, now: i64) {
        let body = format!(
            r#"{{"messageType":"CONTROL_MESSAGE","owner":"CloudwatchLogs","logGroup":"","logStream":"","subscriptionFilters":[],"logEvents":[{{"id":"","timestamp":{now},"message":"CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}}]}}"#
        );
        let hash = hash_of("CloudwatchLogs::");
        let shard = shard_of(hash, self.plan.shards);
        let arrival = now + self.random.between(200, 900);
        self.send(Draft { arrival, order: 0, sort: Sort::Control, hash, shard, events: 0, body: body.into() });
    }

    /// A record with damaged bytes under the partition key of this stream, made and arriving at these times. It
    /// takes no number from the stream and draws none here, so that it changes nothing else of the day.
    pub(super) fn damaged(&mut self, stream: u32, (now, arrival): (i64, i64), make: impl FnOnce(Bytes) -> Bytes) {
        const NEVER_ISSUED: u64 = 1 << 39;
        let Stream { hash, shard, .. } = self.streams[stream as usize];
        let text = identity::lost_line(&self.plan, stream, now);
        let body = make(envelope(&self.plan, stream, &[LogLine { at: now, number: NEVER_ISSUED, text }]));
        self.send(Draft { arrival, order: 0, sort: Sort::Damaged, hash, shard, events: 0, body });
    }

    fn send(&mut self, mut draft: Draft) {
        draft.order = self.made;
        self.made += 1;
        self.under_way.push(Reverse(draft));
    }

    /// The next record that has arrived by `now`; with no `now`, the next at all.
    pub(super) fn arrived(&mut self, now: Option<i64>) -> Option<Draft> {
        let Reverse(next) = self.under_way.peek()?;
        if now.is_some_and(|now| next.arrival > now) {
            return None;
        }
        self.under_way.pop().map(|Reverse(draft)| draft)
    }
}

fn stream(plan: &Plan, number: u32) -> Stream {
    let StreamIdentity { owner, group, name, .. } = identity::of(plan, number);
    let hash = hash_of(&format!("{owner}:{group}:{name}"));
    let shard = shard_of(hash, plan.shards);
    Stream { hash, shard, issued: 0, last_line: i64::MIN, last_arrival: i64::MIN, open: Vec::new() }
}

/// MD5 as a number: Kinesis maps partition keys to its hash ranges by MD5, and CloudWatch's partition key is
/// itself one, written in hex.
fn hash_of(text: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(text.as_bytes()).into())
}

/// CloudWatch's partition key: lower-case hex.
pub(super) fn partition_key(hash: u128) -> String {
    format!("{hash:032x}")
}

/// The shard of a record among `shards` equal ranges: by the MD5 of its *partition key*, as Kinesis does.
fn shard_of(hash: u128, shards: u32) -> u32 {
    let placed = hash_of(&partition_key(hash));
    let range = u128::MAX / u128::from(shards.max(1));
    u32::try_from(placed / range).unwrap_or(u32::MAX).min(shards.saturating_sub(1))
}

/// The id of a log event: 56 decimal digits. As on real AWS the bits above 144 are the time in milliseconds; below
/// them stand a mark of the stream and the line's number.
fn event_id(out: &mut String, at: i64, hash: u128, number: u64) {
    const BASE: u128 = 10_u128.pow(18);
    let time = u128::from(at.max(0).unsigned_abs());
    // time * 2^144 + low, in limbs of 10^18: multiply by 2^48 three times.
    let mut limbs = [time % BASE, time / BASE, 0, 0];
    for _ in 0..3 {
        let mut carry = 0;
        for limb in &mut limbs {
            let product = (*limb << 48) + carry;
            (*limb, carry) = (product % BASE, product / BASE);
        }
    }
    let mut carry = ((hash >> 64) << 40) | u128::from(number & ((1 << 40) - 1));
    for limb in &mut limbs {
        let sum = *limb + carry;
        (*limb, carry) = (sum % BASE, sum / BASE);
    }
    let _ = write!(out, "{:02}{:018}{:018}{:018}", limbs[3], limbs[2], limbs[1], limbs[0]);
}

/// The envelope in the order of keys that AWS writes.
fn envelope(plan: &Plan, stream: u32, lines: &[LogLine]) -> Bytes {
    let StreamIdentity { owner, group, name, region, account_level } = identity::of(plan, stream);
    let hash = hash_of(&format!("{owner}:{group}:{name}"));
    let mut out = String::with_capacity(200 + lines.iter().map(|line| line.text.len() + 180).sum::<usize>());
    let _ = write!(
        out,
        r#"{{"messageType":"DATA_MESSAGE","owner":"{owner}","logGroup":"{group}","logStream":"{name}","subscriptionFilters":["vpn-to-kinesis"],"#
    );
    if account_level {
        out.push_str(r#""policyLevel":"ACCOUNT_LEVEL_POLICY","#);
    }
    out.push_str(r#""logEvents":["#);
    for (index, line) in lines.iter().enumerate() {
        out.push_str(if index == 0 { r#"{"id":""# } else { r#",{"id":""# });
        event_id(&mut out, line.at, hash, line.number);
        let _ = write!(out, r#"","timestamp":{},"message":""#, line.at);
        escape(&mut out, &line.text);
        out.push('"');
        if account_level {
            let _ = write!(
                out,
                r#","extractedFields":{{"@aws.account":"{owner}","@aws.region":"{region}","@source.log":"{group}"}}"#
            );
        }
        out.push('}');
    }
    out.push_str("]}");
    Bytes::from(out)
}

/// Our lines are printable ASCII: only these two need an escape.
fn escape(out: &mut String, text: &str) {
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_56_digits_and_begins_with_the_time_times_two_to_the_144() {
        let mut id = String::new();
        event_id(&mut id, 1_789_808_294_461, 0, 0);
        assert_eq!(id, "39914058728991429448231581729881356892604973812627275776");
        let mut later = String::new();
        event_id(&mut later, 1_789_808_294_461, u128::MAX, 5);
        assert!(later > id && later.len() == 56);
    }

    #[test]
    fn the_ranges_of_the_shards_cover_every_hash() {
        for shards in [1, 2, 3, 7, 1000] {
            let seen = (0..10_000_u32).map(|n| shard_of(hash_of(&n.to_string()), shards));
            assert!(seen.into_iter().all(|shard| shard < shards));
        }
    }
}
