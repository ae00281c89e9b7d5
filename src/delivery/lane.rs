//! One lane: a sink's view of a shard, and what is remembered of it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BatchId, Epoch, Frontier, LaneId, ReaderId, SinkId};
use crate::event::Millis;
use crate::source::{Position, ShardId, StartAt};

/// What a lane is called in the checkpoint store: survives restarts and changes of the pipeline file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneKey {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The shard, with its source and stream.
    pub shard: ShardId,
    /// The sink's name.
    pub sink: Arc<str>,
}

/// How far a lane has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// Nothing is settled yet.
    Start(StartAt),
    /// Everything up to this record is settled.
    After(Position),
    /// Everything in the shard is settled, and the shard is closed.
    ShardEnd,
}

impl At {
    /// Where a reader for this lane begins; `None` at the shard's end.
    pub(super) fn start(self) -> Option<StartAt> {
        match self {
            At::Start(start) => Some(start),
            At::After(position) => Some(StartAt::After(position)),
            At::ShardEnd => None,
        }
    }
}

/// A sink's word that it is about to publish a fixed run of records under fixed names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seal {
    /// The first record of the chunk.
    pub start: Position,
    /// The last record of the chunk.
    pub end: Position,
    /// The names that it will publish.
    pub keys: Vec<String>,
    /// The uploads that it has begun, one for each key.
    pub upload_ids: Vec<String>,
}

/// What is remembered of a lane.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LaneState {
    /// How far it has come.
    pub at: At,
    /// The chunk that is being published beyond `at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

/// What a lane is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Its first state is on its way to the store.
    New,
    /// It waits for its parents to be resolved.
    Waiting,
    /// It needs a reader.
    Idle,
    /// It gets what this reader reads.
    Reading(ReaderId),
    /// Everything is read; it waits for the last settlements.
    Ending,
    /// Its sink takes nothing: it has no reader and nothing in flight, so that the shard's other lanes go on.
    Parked,
    /// Resolved to the shard's end.
    Done,
    /// Another process has the shard now: nothing of it is committed any more.
    Dropped,
}

/// One lane of this run.
#[derive(Debug)]
pub(super) struct Lane {
    pub key: LaneKey,
    pub id: LaneId,
    pub sink: SinkId,
    pub shard: usize,
    pub epoch: Epoch,
    pub phase: Phase,
    pub frontier: Frontier,
    /// What the store has.
    pub committed: Option<LaneState>,
    /// Where the frontier begins: `at` before its first resolved record.
    pub base: At,
    /// The chunk that is being published.
    pub seal: Option<Standing>,
    /// The last piece ended within a record.
    pub mid_record: bool,
    /// The last whole record that was read in this epoch.
    pub read_to: Option<Position>,
    /// Up to here the sink has published, also where there was nothing to settle.
    pub published: Option<Position>,
    /// The next chunk that the sink wants to publish: one at a time.
    pub next_seal: Option<Seal>,
    /// A batch that the sink has not admitted yet.
    pub awaiting: Option<BatchId>,
    /// A barrier was sent and nothing has settled since.
    pub barrier_sent: bool,
    /// A flush was asked for and nothing has settled since.
    pub flush_sent: bool,
    /// It was told to send what it gathers, and nothing has come or settled since.
    pub hasten_sent: bool,
    /// Rewinds without a settlement in between, for the pause before the next try.
    pub rewinds: u32,
    /// Its reader waits for room with its sink.
    pub lacks_room: bool,
    /// Since when it could bring nothing more, and nothing has settled.
    pub full_since: Option<Duration>,
    /// Since when its sink has taken nothing of it, from the moment it is parked until something settles again.
    pub parked: Option<Parked>,
    /// It has come back to try, with a reader of its own and no more than a piece at a time.
    pub trying: bool,
}

impl Lane {
    /// Whether as many records are open as may be.
    pub(super) fn is_full(&self, open_records: usize) -> bool {
        self.frontier.open_records() >= open_records
    }

    /// Whether it can bring nothing more until its sink takes or settles something.
    pub(super) fn is_blocked(&self, open_records: usize) -> bool {
        let live = matches!(self.phase, Phase::Reading(_) | Phase::Ending);
        live && (self.awaiting.is_some() || self.lacks_room || self.is_full(open_records))
    }

    /// How far everything is settled.
    pub(super) fn resolved(&self) -> At {
        match self.frontier.resolved().max(self.published) {
            _ if self.phase == Phase::Done => At::ShardEnd,
            Some(position) => At::After(position),
            None => self.base,
        }
    }

    /// How far the lane has come, as it may be remembered.
    ///
    /// While a seal stands, the position stays before the chunk: a restart then rebuilds exactly that chunk.
    pub(super) fn state(&self) -> LaneState {
        match &self.seal {
            Some(standing) => LaneState { at: standing.at, seal: Some(standing.seal.clone()) },
            None if mutant!(AdvanceEarly) && self.read_to.is_some() => {
                LaneState { at: self.read_to.map_or(self.base, At::After), seal: None }
            }
            None => LaneState { at: self.resolved(), seal: None },
        }
    }

    /// Whether the sink is about to publish a sealed chunk, all of whose records it has.
    pub(super) fn publishes(&self) -> bool {
        self.next_seal.is_some() || (self.seal.is_some() && !self.lacks_sealed_records())
    }

    /// Whether a seal of an earlier run stands whose records have not all come again.
    pub(super) fn lacks_sealed_records(&self) -> bool {
        self.seal.as_ref().is_some_and(|standing| standing.told && self.read_to < Some(standing.seal.end))
    }

    /// Whether records must be read that a seal covers, however many are open: the chunk cannot be published
    /// without them, and they were within the bounds when it was sealed.
    pub(super) fn rebuilds_beyond(&self, at: StartAt) -> bool {
        let Some(standing) = &self.seal else { return false };
        match at {
            StartAt::After(position) => position < standing.seal.end,
            StartAt::TrimHorizon | StartAt::AtTimestamp(_) => true,
        }
    }

    /// Lets go of a seal whose chunk is published, and takes up the next. Whether anything changed.
    pub(super) fn turn_seal(&mut self) -> bool {
        if let Some(standing) = &self.seal {
            let end = standing.seal.end;
            if !standing.published || self.frontier.first_open().is_some_and(|open| open <= end) {
                return false;
            }
            self.published = self.published.max(Some(end));
        }
        let next = self.next_seal.take().map(|seal| Standing::asked(seal, self.resolved()));
        let changed = self.seal.is_some() || next.is_some();
        self.seal = next;
        changed
    }
}

/// A lane whose sink takes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parked {
    /// By the shell's clock.
    pub since: Duration,
    /// When the oldest record arrived in the stream that the sink does not have, if that is known.
    pub oldest: Option<Millis>,
}

/// A seal on its way through the store to publication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Standing {
    pub seal: Seal,
    /// Where the lane stood when it was sealed.
    pub at: At,
    /// It is committed and the sink knows: it may publish.
    pub told: bool,
    /// The sink has published it.
    pub published: bool,
}

impl Standing {
    /// A seal that is on its way to the store.
    pub(super) fn asked(seal: Seal, at: At) -> Standing {
        Standing { seal, at, told: false, published: false }
    }

    /// A seal that the store has and the sink knows.
    pub(super) fn told(seal: Seal, at: At) -> Standing {
        Standing { seal, at, told: true, published: false }
    }
}
