//! The invariants, checked at every delivery, at every commit and at the end. Numbers are the design's.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Kind, Only, SinkPlan};
use super::stream::{Content, RETENTION_MS, position};
use super::world::World;
use crate::delivery::{At, LaneKey, LaneState};
use crate::source::{Position, StartAt};

/// An event of a record: numbers in the stream.
pub(super) type EventRef = (usize, usize);

/// What the checker knows; see `World`'s methods below.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// The pipeline file of each process.
    pub files: BTreeMap<usize, Vec<SinkPlan>>,
    /// By sink: what its destination has, chunks apart.
    delivered: BTreeMap<String, BTreeSet<EventRef>>,
    rejected: BTreeMap<String, BTreeSet<EventRef>>,
    /// The last event of a log stream that a process wrote: process, sink, log stream.
    last: BTreeMap<(usize, String, usize), EventRef>,
    /// Shards of which a process has delivered something.
    begun: BTreeSet<(usize, String, usize)>,
    /// What is remembered, by sink and shard.
    at: BTreeMap<(String, usize), At>,
    /// Records that a checkpoint has passed, with the filter of the process that did so.
    passed: BTreeMap<(String, usize), Only>,
    /// Chunks' records whose exact content nobody can demand: a part had expired.
    relaxed: BTreeSet<(String, usize)>,
}

fn order(at: At) -> (u8, Option<Position>) {
    match at {
        At::Start(_) => (0, None),
        At::After(position) => (1, Some(position)),
        At::ShardEnd => (2, None),
    }
}

impl World {
    fn file(&self, process: usize, sink: &str) -> Option<SinkPlan> {
        self.checker.files.get(&process)?.iter().find(|plan| plan.name == sink).cloned()
    }

    /// The events of a record that a sink wants.
    fn wanted(&self, kind: Kind, only: Only, record: usize) -> Vec<EventRef> {
        let found = &self.stream.records[record];
        match (kind, found.content) {
            (Kind::Letters, Content::Garbage) => vec![(record, 0)],
            (Kind::Letters, _) | (_, Content::Garbage | Content::Control) => Vec::new(),
            _ => {
                let wants = |ike: bool| match only {
                    Only::All => true,
                    Only::Ike => ike,
                    Only::Bgp => !ike,
                };
                let events = found.events.iter().enumerate().filter(|(_, event)| wants(event.ike));
                events.map(|(index, _)| (record, index)).collect()
            }
        }
    }

    fn has(&self, kind: Kind, sink: &str, event: EventRef) -> bool {
        let within =
            |sets: &BTreeMap<String, BTreeSet<EventRef>>| sets.get(sink).is_some_and(|set| set.contains(&event));
        if kind == Kind::Chunks {
            self.bucket.count(sink, event) > 0
        } else {
            within(&self.checker.delivered) || within(&self.checker.rejected)
        }
    }

    fn passes(&self, at: At, record: usize) -> bool {
        let found = &self.stream.records[record];
        match at {
            At::ShardEnd => true,
            At::After(limit) => position(found.sequence) <= limit,
            At::Start(StartAt::AtTimestamp(time)) => found.arrival_ms < time,
            At::Start(_) => false,
        }
    }

    fn is_passed(&self, sink: &str, record: usize) -> bool {
        let at = self.checker.at.get(&(sink.to_owned(), self.stream.records[record].shard));
        at.is_some_and(|at| self.passes(*at, record))
    }

    /// Whether nothing of a record is owed to a sink by a process any more.
    fn is_settled(&self, plan: &SinkPlan, record: usize) -> bool {
        self.is_passed(plan.name, record)
            || self.stream.is_gone(record, self.now_ms())
            || self.wanted(plan.kind, plan.only, record).iter().all(|event| self.has(plan.kind, plan.name, *event))
    }

    /// What an item of a lane is, by its record's position and its own bytes.
    pub(super) fn event_of(&self, shard: usize, position: Position, bytes: &[u8]) -> Option<EventRef> {
        let record = self.stream.record_at(shard, position)?;
        let found = &self.stream.records[record];
        if found.content == Content::Garbage {
            return Some((record, 0));
        }
        let text = std::str::from_utf8(bytes).ok()?;
        let id = text.split_once("\"event_id\":\"")?.1.split_once('"')?.0;
        Some((record, found.events.iter().position(|event| event.id == id)?))
    }

    /// Invariants 3 and 4: a process hands something of a shard to a destination.
    pub(super) fn check_item(&mut self, process: usize, sink: &str, shard: usize, event: EventRef) {
        let Some(plan) = self.file(process, sink) else { return };
        if !self.wanted(plan.kind, plan.only, event.0).contains(&event) {
            return self.fail(format!("`{sink}` got event {event:?}, which its filter keeps out"));
        }
        if !self.checker.begun.insert((process, sink.to_owned(), shard)) {
            return;
        }
        for parent in self.stream.shards[shard].parents.clone() {
            let records = self.stream.shards[parent].records.clone();
            if let Some(open) = records.into_iter().find(|record| !self.is_settled(&plan, *record)) {
                self.fail(format!(
                    "`{sink}` got an event of shard {shard} before record {open} of its parent {parent}"
                ));
            }
        }
    }

    /// A destination has an event.
    pub(super) fn delivered(&mut self, process: usize, sink: &str, shard: usize, event: EventRef) {
        self.check_item(process, sink, shard, event);
        self.count("delivered");
        if !self.checker.delivered.entry(sink.to_owned()).or_default().insert(event) {
            self.count("repeated");
        }
    }

    /// A sink's dead letter is kept.
    pub(super) fn rejected(&mut self, sink: &str, event: EventRef) {
        self.count("rejected");
        self.checker.rejected.entry(sink.to_owned()).or_default().insert(event);
    }

    /// Invariant 7: what is appended follows what came before it, or repeats a whole suffix.
    pub(super) fn check_order(&mut self, process: usize, sink: &str, event: EventRef) {
        let Some(plan) = self.file(process, sink) else { return };
        let log_stream = self.stream.records[event.0].log_stream;
        let before = self.checker.last.insert((process, sink.to_owned(), log_stream), event);
        if before.is_some_and(|before| event <= before) {
            return;
        }
        let now = self.now_ms();
        let records: Vec<usize> = (before.map_or(0, |before| before.0)..=event.0)
            .filter(|record| self.stream.records[*record].log_stream == log_stream)
            .collect();
        for record in records {
            let skipped = self.wanted(plan.kind, plan.only, record).into_iter().find(|other| {
                *other < event
                    && before.is_none_or(|before| *other > before)
                    // Across processes it is enough that it is there.
                    && !(before.is_none() && self.has(plan.kind, sink, *other))
                    && !self.checker.rejected.get(sink).is_some_and(|set| set.contains(other))
            });
            let excused = self.stream.is_gone(record, now) || (before.is_none() && self.is_passed(sink, record));
            if let Some(skipped) = skipped.filter(|_| !excused) {
                return self.fail(format!(
                    "`{sink}` got event {event:?} before {skipped:?} of the same log stream (last was {before:?})"
                ));
            }
        }
    }

    /// Invariants 1 and 6, and S3's promise: what is remembered as settled is where it belongs.
    pub(super) fn committed(&mut self, process: usize, key: &LaneKey, state: &LaneState) {
        let sink = key.sink.to_string();
        let Some(shard) = self.stream.shard_named(&key.shard.stream_created, &key.shard.shard) else {
            return self.fail(format!("{key:?} is remembered, and there is no such shard"));
        };
        let Some(plan) = self.file(process, &sink) else {
            return self.fail(format!("{key:?} is remembered, and the file has no such sink"));
        };
        let sealed = state.seal.as_ref().map(|seal| format!(" with a seal from {:.0} to {:.0}", seal.start, seal.end));
        self.note(format_args!("p{process} remembers {sink} {shard} {:?}{}", state.at, sealed.unwrap_or_default()));
        self.count("commits");
        let place = (sink.clone(), shard);
        let old = self.checker.at.insert(place.clone(), state.at);
        if old.is_some_and(|old| order(old) > order(state.at)) {
            return self.fail(format!("{sink} {shard} goes back from {old:?} to {:?}", state.at));
        }
        if let (At::After(at), Some(seal)) = (state.at, &state.seal)
            && at >= seal.start
        {
            return self
                .fail(format!("{sink} {shard} is remembered at {at} with a seal that starts at {}", seal.start));
        }
        let now = self.now_ms();
        if state.at == At::ShardEnd
            && self.stream.shards[shard].closed.is_none()
            && self.stream.shard_is_there(shard, now)
        {
            return self.fail(format!("{sink} {shard} is remembered at its end, and it is open"));
        }
        if matches!(state.at, At::Start(_)) {
            return;
        }
        for record in self.stream.shards[shard].records.clone() {
            if self.passes(state.at, record) && !old.is_some_and(|old| self.passes(old, record)) {
                self.record_passed(&plan, record, now);
            }
        }
    }

    fn record_passed(&mut self, plan: &SinkPlan, record: usize, now: i64) {
        let sink = plan.name;
        let place = (sink.to_owned(), record);
        if self.stream.is_gone(record, now) {
            self.checker.relaxed.insert(place);
            return;
        }
        for event in self.wanted(plan.kind, plan.only, record) {
            if !self.has(plan.kind, sink, event) {
                return self.fail(format!("`{sink}` is remembered beyond event {event:?}, which it does not have"));
            }
        }
        self.checker.passed.insert(place, plan.only);
        if plan.kind == Kind::Chunks {
            self.check_bucket(sink, record, plan.only);
        }
    }

    /// Every event of a record that a chunk holds is in the bucket exactly once.
    fn check_bucket(&mut self, sink: &str, record: usize, only: Only) {
        let wanted = self.wanted(Kind::Chunks, only, record);
        for event in 0..self.stream.records[record].events.len() {
            let expected = u32::from(wanted.contains(&(record, event)));
            let found = self.bucket.count(sink, (record, event));
            if found != expected {
                return self.fail(format!(
                    "event {:?} is in the bucket of `{sink}` {found} times, and should be {expected} times",
                    (record, event)
                ));
            }
        }
    }

    /// A part of a chunk had expired before it was rebuilt: nothing exact can be said about its records.
    pub(super) fn relax(&mut self, sink: &str, shard: usize, from: Position, to: Position) {
        for record in self.stream.shards[shard].records.clone() {
            let at = position(self.stream.records[record].sequence);
            if (from..=to).contains(&at) {
                self.checker.relaxed.insert((sink.to_owned(), record));
            }
        }
    }

    /// Invariant 10: what a process's lanes still lack to the tip.
    pub(super) fn behind(&self, process: usize) -> Option<String> {
        let now = self.now_ms();
        for plan in self.checker.files.get(&process)? {
            for (index, shard) in self.stream.shards.iter().enumerate() {
                let kept = shard.closed.is_none_or(|(at, _)| at > now - RETENTION_MS / 2);
                if shard.lost || !kept {
                    continue;
                }
                let at = self.checker.at.get(&(plan.name.to_owned(), index));
                let left = shard.records.iter().rfind(|record| !self.stream.is_gone(**record, now));
                let there = match (shard.closed, left) {
                    (Some(_), _) => at == Some(&At::ShardEnd),
                    (None, Some(last)) => at.is_some_and(|at| self.passes(*at, *last)),
                    (None, None) => at.is_some(),
                };
                if !there {
                    return Some(format!("`{}` is at {at:?} in shard {index} ({})", plan.name, shard.name));
                }
            }
        }
        None
    }

    /// Everything once more when all has come to rest.
    pub(super) fn check_end(&mut self, process: usize) {
        let now = self.now_ms();
        let plans = self.checker.files.get(&process).cloned().unwrap_or_default();
        for plan in &plans {
            for record in 0..self.stream.records.len() {
                if !self.stream.is_gone(record, now) && !self.is_passed(plan.name, record) {
                    return self.fail(format!("`{}` never got beyond record {record}", plan.name));
                }
            }
        }
        let kinds: BTreeMap<&str, Kind> = self.plan.sinks.iter().copied().collect();
        for ((sink, record), only) in self.checker.passed.clone() {
            if kinds.get(sink.as_str()) == Some(&Kind::Chunks)
                && !self.checker.relaxed.contains(&(sink.clone(), record))
            {
                self.check_bucket(&sink, record, only);
            }
        }
    }
}
