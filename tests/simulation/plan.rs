//! What a seed stands for: the size of its world, which sinks there are, how bad things get.

use std::time::Duration;

use super::world::{Dice, Fate};
use crate::memory::FetchSizes;

/// What kind of sink it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    /// Settles in any order, resends what failed, refuses some items for good: like Firehose and Splunk HEC.
    Any,
    /// Keeps the order: like Kafka.
    Ordered,
    /// Seals and publishes chunks: like S3.
    Chunks,
    /// Records that cannot be read, in any order.
    Letters,
}

/// Which events a sink gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Only {
    All,
    Ike,
    Bgp,
}

/// How a subscription tells of a closed shard that it is read to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    /// Its last event names the children and has no continuation: AWS.
    Told,
    /// Not at all; GetRecords tells.
    Missing,
    /// Every event names the children from the moment when the shard is closed, with records yet to come.
    Early,
}

/// One sink of a process's pipeline file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SinkPlan {
    pub name: &'static str,
    pub kind: Kind,
    pub only: Only,
    /// Which part of an event S3's template names.
    pub template: u64,
}

/// What is the same in all processes of a seed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub shards: usize,
    /// Names and kinds of the sinks that there may be.
    pub sinks: Vec<(&'static str, Kind)>,
    /// Where lanes start that are new: at the tip, or at the oldest record.
    pub latest: bool,
    /// How long faults happen.
    pub faults_for: Duration,
    /// How bad it gets, in thousandths of each chance.
    pub service: u64,
    pub sink: u64,
    pub store: u64,
    pub life: u64,
    pub reshard: u64,
    pub jump: u64,
    pub outage: u64,
    pub open_records: usize,
    pub piece_bytes: usize,
    /// What each sink's batches may hold.
    pub room_bytes: u64,
    /// What answers may take, where it is little.
    pub fetch: Option<FetchSizes>,
    pub answer_records: usize,
    /// Bytes of an answer after which a shard refuses for 5 s.
    pub answer_bytes: usize,
    pub page: usize,
    pub interval: Duration,
    pub streams: usize,
    /// The source has a consumer.
    pub fan_out: bool,
    pub ends: Ends,
    /// The pipeline file changes between processes.
    pub edits: bool,
    /// Sinks whose lanes are not parked in an outage, but wait.
    pub blocks: Vec<&'static str>,
    /// How long a full lane may settle nothing.
    pub outage_after: Duration,
}

impl Plan {
    /// `own`: for what only some seeds have, so that the others are told as they were without it.
    pub(super) fn draw(dice: &mut Dice, own: &mut Dice) -> Plan {
        let all = [("hec", Kind::Any), ("kafka", Kind::Ordered), ("lake", Kind::Chunks), ("second-lake", Kind::Chunks)];
        let mut sinks: Vec<(&'static str, Kind)> = all.into_iter().filter(|_| dice.per_mille(600)).collect();
        if sinks.is_empty() {
            sinks.push(all[dice.index(all.len())]);
        }
        let blocks = sinks.iter().map(|(name, _)| *name).filter(|_| dice.per_mille(250)).collect();
        let level = |dice: &mut Dice| [0, 300, 1_000, 2_500][dice.index(4)];
        let fan_out = own.per_mille(400);
        // What fails, and where a shard ends, is where the two ways of reading differ.
        let least = if fan_out { 1_000 } else { 0 };
        let mut plan = Plan {
            shards: 1 + dice.index(2),
            sinks,
            latest: dice.per_mille(150),
            faults_for: dice.millis(5_000, 25_000),
            service: level(dice).max(least),
            sink: level(dice),
            store: level(dice),
            life: level(dice),
            reshard: level(dice).max(least),
            jump: level(dice),
            outage: level(dice),
            open_records: 4 + dice.index(24),
            piece_bytes: [600, 1_500, 5_000, 60_000][dice.index(4)],
            room_bytes: 32 << 20,
            fetch: None,
            answer_records: 1 + dice.index(12),
            answer_bytes: if dice.per_mille(300) { 1_500 } else { 1 << 20 },
            page: 1 + dice.index(4),
            interval: dice.millis(300, 5_000),
            streams: 2 + dice.index(4),
            fan_out,
            ends: [Ends::Told, Ends::Missing, Ends::Early, Ends::Early][own.index(4)],
            edits: dice.per_mille(500),
            blocks,
            outage_after: dice.millis(1_500, 30_000),
        };
        // Room for one piece at a time, for some, for many. Without a throw of its own: seeds keep their stories.
        // Two calls at a time, and one answer.
        let little = FetchSizes { calls: 2, start_bytes: 600, answer_bytes: 8_000 };
        plan.fetch = (plan.answer_records + plan.page).is_multiple_of(2).then_some(little);
        plan.room_bytes = [1, 4_000, 40_000, 32 << 20][(plan.open_records + plan.answer_records) % 4];
        plan
    }

    /// The pipeline file of one process.
    pub(super) fn sinks_of(&self, number: usize, dice: &mut Dice) -> Vec<SinkPlan> {
        let first = number == 0 || !self.edits;
        let mut sinks: Vec<SinkPlan> = Vec::new();
        for (name, kind) in &self.sinks {
            let only = if first { Only::All } else { [Only::All, Only::Ike, Only::Bgp][dice.index(3)] };
            let template = if first { 0 } else { dice.below(3) };
            if first || dice.per_mille(850) {
                sinks.push(SinkPlan { name, kind: *kind, only, template });
            }
        }
        sinks.push(SinkPlan { name: "dead-letters", kind: Kind::Letters, only: Only::All, template: 0 });
        sinks
    }

    /// What a process comes to, and at which of its steps.
    pub(super) fn fate(&self, dice: &mut Dice) -> Option<(u64, Fate)> {
        if self.life == 0 || !dice.per_mille(700) {
            return None;
        }
        let far = [30, 120, 600][dice.index(3)];
        let fate = if dice.per_mille(250) { Fate::Sleep } else { Fate::Crash };
        Some((3 + dice.below(far), fate))
    }
}
