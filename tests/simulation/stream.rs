//! The model stream: shards that split and merge, records that expire. Data only; `service` speaks for it.

use std::collections::BTreeMap;
use std::io::Write as _;

use bytes::Bytes;

use super::world::Dice;
use crate::source::Position;

/// How long the stream keeps its records: the least that the service offers.
pub(super) const RETENTION_MS: i64 = 24 * 3_600_000;

/// Where sequence numbers begin: they have 56 digits, as real ones.
const FIRST_SEQUENCE: u64 = 1_000;

pub(super) fn sequence(number: u64) -> String {
    format!("4967{number:052}")
}

pub(super) fn position(number: u64) -> Position {
    Position::parse(&sequence(number)).unwrap_or_default()
}

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    Events,
    Control,
    Garbage,
}

/// One log event.
#[derive(Clone, Debug)]
pub(super) struct LogEvent {
    /// CloudWatch's id; a duplicate has the same.
    pub id: String,
    pub ike: bool,
}

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub shard: usize,
    pub sequence: u64,
    pub arrival_ms: i64,
    pub data: Bytes,
    pub content: Content,
    pub events: Vec<LogEvent>,
    pub log_stream: usize,
}

/// One shard.
#[derive(Clone, Debug)]
pub(super) struct Shard {
    pub name: String,
    pub created: i64,
    pub parents: Vec<usize>,
    /// Hash keys from, and to (exclusive).
    pub keys: (u64, u64),
    pub records: Vec<usize>,
    pub first_sequence: u64,
    pub closed: Option<(i64, u64)>,
    /// Listed from then on.
    pub listed_at: i64,
    /// The stream was deleted with it.
    pub lost: bool,
    /// It was left out of a listing once: never twice in a row.
    pub overlooked: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub created: i64,
    /// Deleted until then.
    pub away_until: i64,
    pub shards: Vec<Shard>,
    pub records: Vec<Record>,
    by_place: BTreeMap<(usize, Position), usize>,
    next_sequence: u64,
    next_shard: usize,
    next_event: u64,
}

impl Stream {
    pub(super) fn new(shards: usize, now: i64) -> Stream {
        let mut stream = Stream {
            created: now - 5_000,
            away_until: 0,
            shards: Vec::new(),
            records: Vec::new(),
            by_place: BTreeMap::new(),
            next_sequence: FIRST_SEQUENCE,
            next_shard: 0,
            next_event: 0,
        };
        stream.first_shards(shards, now);
        stream
    }

    fn first_shards(&mut self, count: usize, now: i64) {
        let part = (1 << 32) / count as u64;
        for index in 0..count as u64 {
            let to = if index + 1 == count as u64 { 1 << 32 } else { (index + 1) * part };
            self.add_shard(Vec::new(), (index * part, to), now);
        }
    }

    fn add_shard(&mut self, parents: Vec<usize>, keys: (u64, u64), listed_at: i64) {
        let name = format!("shardId-{:012}", self.next_shard);
        // Nobody hears of a child before its parents.
        let listed_at = parents.iter().map(|parent: &usize| self.shards[*parent].listed_at).fold(listed_at, i64::max);
        self.next_shard += 1;
        self.next_sequence += 10;
        self.shards.push(Shard {
            name,
            created: self.created,
            parents,
            keys,
            records: Vec::new(),
            first_sequence: self.next_sequence,
            closed: None,
            listed_at,
            lost: false,
            overlooked: false,
        });
    }

    pub(super) fn open_shards(&self) -> Vec<usize> {
        (0..self.shards.len())
            .filter(|index| self.shards[*index].closed.is_none() && !self.shards[*index].lost)
            .collect()
    }

    pub(super) fn is_there(&self, now: i64) -> bool {
        now >= self.away_until
    }

    /// Whether the shard can still be read.
    pub(super) fn shard_is_there(&self, shard: usize, now: i64) -> bool {
        let shard = &self.shards[shard];
        !shard.lost && shard.closed.is_none_or(|(at, _)| at >= now - RETENTION_MS)
    }

    /// Whether a record has expired.
    pub(super) fn is_gone(&self, record: usize, now: i64) -> bool {
        let record = &self.records[record];
        record.arrival_ms < now - RETENTION_MS || !self.shard_is_there(record.shard, now)
    }

    pub(super) fn shard_named(&self, created: &str, name: &str) -> Option<usize> {
        let created: i64 = created.parse().ok()?;
        self.shards.iter().position(|shard| shard.created == created && shard.name == name)
    }

    pub(super) fn record_at(&self, shard: usize, position: Position) -> Option<usize> {
        self.by_place.get(&(shard, position)).copied()
    }

    /// Below what comes next.
    pub(super) fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    // --- what happens to it ---

    /// Puts a record of a log stream into the shard that it belongs to.
    fn put(
        &mut self,
        log_stream: usize,
        content: Content,
        events: Vec<LogEvent>,
        now: i64,
        dice: &mut Dice,
    ) -> Option<usize> {
        if !self.is_there(now) {
            return None;
        }
        let key = xxhash_rust::xxh3::xxh3_64(&log_stream.to_le_bytes()) & 0xffff_ffff;
        let owns = |shard: &usize| (self.shards[*shard].keys.0..self.shards[*shard].keys.1).contains(&key);
        let shard = self.open_shards().into_iter().find(owns)?;
        self.next_sequence += 1 + dice.below(5);
        let data = encode(log_stream, content, &events, now, dice);
        // An envelope without events is a dead letter: CloudWatch Logs sends none.
        let content = if content == Content::Events && events.is_empty() { Content::Garbage } else { content };
        let sequence = self.next_sequence;
        let index = self.records.len();
        self.records.push(Record { shard, sequence, arrival_ms: now, data, content, events, log_stream });
        self.shards[shard].records.push(index);
        self.by_place.insert((shard, position(sequence)), index);
        Some(index)
    }

    /// Something is logged; sometimes it was logged before, sometimes long ago.
    pub(super) fn produce(&mut self, streams: usize, now: i64, dice: &mut Dice) -> Option<usize> {
        let log_stream = dice.index(streams);
        match dice.below(20) {
            0 => return self.put(log_stream, Content::Control, Vec::new(), now, dice),
            1 => return self.put(log_stream, Content::Garbage, Vec::new(), now, dice),
            2 | 3 => {
                // Again what was there before, whole or in part.
                let before: Vec<usize> = (0..self.records.len())
                    .filter(|index| {
                        self.records[*index].log_stream == log_stream && !self.records[*index].events.is_empty()
                    })
                    .collect();
                if let Some(again) = before.get(dice.index(before.len().max(1))) {
                    let mut events = self.records[*again].events.clone();
                    events.truncate(1 + dice.index(events.len()));
                    return self.put(log_stream, Content::Events, events, now, dice);
                }
            }
            _ => {}
        }
        let count = if dice.per_mille(60) { 20 + dice.below(30) } else { dice.below(5) };
        let mut events = Vec::new();
        for _ in 0..count {
            self.next_event += 1;
            events.push(LogEvent { id: format!("399{:053}", self.next_event), ike: dice.per_mille(500) });
        }
        self.put(log_stream, Content::Events, events, now, dice)
    }

    fn close(&mut self, shard: usize, now: i64) {
        self.next_sequence += 3;
        self.shards[shard].closed = Some((now, self.next_sequence));
    }

    /// The shard that was split.
    pub(super) fn split(&mut self, now: i64, listed_at: i64, dice: &mut Dice) -> Option<String> {
        let open = self.open_shards();
        let shard = *open.get(dice.index(open.len().max(1)))?;
        let (from, to) = self.shards[shard].keys;
        if to - from < 4 || !self.is_there(now) {
            return None;
        }
        self.close(shard, now);
        let middle = from + (to - from) / 2;
        self.add_shard(vec![shard], (from, middle), listed_at);
        self.add_shard(vec![shard], (middle, to), listed_at);
        Some(self.shards[shard].name.clone())
    }

    /// The shards that were merged.
    pub(super) fn merge(&mut self, now: i64, listed_at: i64) -> Option<String> {
        let open = self.open_shards();
        let pairs = open.iter().flat_map(|left| open.iter().map(move |right| (*left, *right)));
        let (left, right) =
            pairs.into_iter().find(|(left, right)| self.shards[*left].keys.1 == self.shards[*right].keys.0)?;
        self.close(left, now);
        self.close(right, now);
        let keys = (self.shards[left].keys.0, self.shards[right].keys.1);
        self.add_shard(vec![left, right], keys, listed_at);
        Some(format!("{} and {}", self.shards[left].name, self.shards[right].name))
    }

    /// The stream is deleted, and made again a while later.
    pub(super) fn recreate(&mut self, shards: usize, back_at: i64) {
        for shard in &mut self.shards {
            shard.lost = true;
        }
        // Whole seconds, as the service tells them.
        let back_at = (back_at + 999) / 1_000 * 1_000;
        self.created = back_at;
        self.away_until = back_at;
        self.next_shard = 0;
        self.first_shards(shards, back_at);
    }
}

fn log_stream_name(log_stream: usize) -> String {
    format!("vpn-0a1b2c3d4e5f6071{log_stream}_203.0.113.{}-LOG.log", log_stream + 1)
}

fn message(event: &LogEvent, now: i64) -> String {
    if event.ike {
        return format!(
            r#"{{"event_timestamp":{now},"details":"AWS tunnel DPD timed out after 3 retransmits","dpd_enabled":true,"nat_t_detected":false,"ike_phase1_state":"down","ike_phase2_state":"down"}}"#
        );
    }
    format!(
        r#"{{"resource_id":"vpn-0a1b2c3d4e5f60718_203.0.113.17","event_timestamp":{now},"type":"BGPStatus","status":"DOWN","message":{{"details":"AWS-side peer sent a Hold Timer Expired notification to neighbor 169.254.50.86"}}}}"#
    )
}

fn encode(log_stream: usize, content: Content, events: &[LogEvent], now: i64, dice: &mut Dice) -> Bytes {
    let (kind, group) = match content {
        Content::Events => ("DATA_MESSAGE", "/aws/vendedlogs/vpn"),
        Content::Control => ("CONTROL_MESSAGE", ""),
        Content::Garbage => return Bytes::from(format!("\u{1f}no gzip {}", dice.below(1 << 40))),
    };
    // A late arrival tells of what was minutes ago.
    let time = now - if dice.per_mille(100) { dice.below(900_000) as i64 } else { 200 };
    let mut events: Vec<serde_json::Value> = events
        .iter()
        .map(|event| serde_json::json!({"id": event.id, "timestamp": time, "message": message(event, time)}))
        .collect();
    if content == Content::Control {
        events.push(serde_json::json!({"id": "", "timestamp": time, "message": "CWL CONTROL MESSAGE: Checking health of destination Kinesis stream."}));
    }
    let envelope = serde_json::json!({
        "messageType": kind, "owner": "123456789012", "logGroup": group, "logStream": log_stream_name(log_stream),
        "subscriptionFilters": ["all"], "logEvents": events,
    });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing into memory does not fail.
    let _ = gzip.write_all(envelope.to_string().as_bytes());
    Bytes::from(gzip.finish().unwrap_or_default())
}
