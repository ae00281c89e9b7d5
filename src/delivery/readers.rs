//! Readers of a shard: one for each distinct lane position. Readers that meet are joined.
//!
//! After a crash or a rewind the lanes of a shard stand at different positions, and each position has a
//! reader. A reader behind another never reads past the other's position in one go (`until`), so that it can
//! stop exactly there; the one ahead waits a moment for it once it is near (see `reading`).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::{LaneId, ReaderId};
use crate::event::Millis;
use crate::source::{Position, StartAt};

/// Lanes that catch up from places this close share a reader: to read a minute twice costs less than calls do.
const NEARBY_MS: i64 = 60_000;

/// One reader, as the dispatcher knows it.
#[derive(Debug)]
pub(super) struct Reader {
    pub id: ReaderId,
    pub shard: usize,
    /// What its next piece begins after.
    pub at: StartAt,
    /// Its last record goes on in the next piece: nobody can join in the middle of a record.
    pub mid_record: bool,
    pub lanes: Vec<LaneId>,
    /// The lanes that a piece on its way is for.
    pub in_flight: Option<Vec<LaneId>>,
    /// The bound of that piece.
    pub until: Option<Position>,
    /// How far its buffer reaches.
    pub buffered_to: Option<Position>,
    /// When a piece was asked for, by the shell's clock; the pause of a rewound lane counted in.
    pub asked_at: Duration,
    /// It has brought a piece: it is open.
    pub open: bool,
    /// Its last piece ended where another reader stood a moment ago.
    pub near: bool,
    /// Since when it waits for one behind it to come up.
    pub waits_since: Option<Duration>,
    /// It has waited in vain: not again before this.
    pub waits_not_before: Duration,
    /// It serves a lane that tries whether its sink is back: no other has to do with it.
    pub apart: bool,
    /// When the record arrived that it begins with, if that is known: for readers that catch up.
    pub oldest: Option<Millis>,
}

impl Reader {
    fn position(&self) -> Option<Position> {
        match self.at {
            StartAt::After(position) => Some(position),
            StartAt::TrimHorizon | StartAt::AtTimestamp(_) => None,
        }
    }

    /// It has brought a piece.
    pub(super) fn landed(&mut self, buffered_to: Option<Position>) {
        self.buffered_to = buffered_to;
        self.open = true;
    }

    fn can_be_joined(&self, at: StartAt) -> bool {
        !self.apart
            && self.in_flight.is_none()
            && (!self.mid_record || mutant!(JoinMidRecord))
            && (self.at == at || mutant!(JoinAnywhere))
    }
}

/// All readers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    by_id: BTreeMap<ReaderId, Reader>,
    /// The readers of each shard, in the order of their ids: there are few of a shard, and many shards.
    by_shard: HashMap<usize, Vec<ReaderId>>,
    next: u64,
}

impl Readers {
    pub(super) fn open(&mut self, shard: usize, at: StartAt) -> ReaderId {
        let id = ReaderId(self.next);
        self.next += 1;
        let reader = Reader {
            id,
            shard,
            at,
            mid_record: false,
            lanes: Vec::new(),
            in_flight: None,
            until: None,
            buffered_to: None,
            asked_at: Duration::ZERO,
            open: false,
            near: false,
            waits_since: None,
            waits_not_before: Duration::ZERO,
            apart: false,
            oldest: None,
        };
        self.by_id.insert(id, reader);
        self.by_shard.entry(shard).or_default().push(id);
        id
    }

    pub(super) fn get_mut(&mut self, id: ReaderId) -> Option<&mut Reader> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn get(&self, id: ReaderId) -> Option<&Reader> {
        self.by_id.get(&id)
    }

    pub(super) fn remove(&mut self, id: ReaderId) {
        let Some(reader) = self.by_id.remove(&id) else { return };
        if let Some(ids) = self.by_shard.get_mut(&reader.shard) {
            ids.retain(|other| *other != id);
        }
    }

    pub(super) fn of_shard(&self, shard: usize) -> impl Iterator<Item = &Reader> {
        self.by_shard.get(&shard).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Reader> {
        self.by_id.values()
    }

    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// A reader that a lane standing at `at` can join, other than `except`.
    pub(super) fn to_join(&self, shard: usize, at: StartAt, except: Option<ReaderId>) -> Option<ReaderId> {
        self.of_shard(shard)
            .find(|reader| Some(reader.id) != except && reader.can_be_joined(at))
            .map(|reader| reader.id)
    }

    /// How far `id` may read in one go: to the nearest reader ahead of it.
    pub(super) fn until(&self, id: ReaderId) -> Option<Position> {
        let own = self.by_id.get(&id)?;
        self.of_shard(own.shard)
            .filter(|other| other.id != id)
            .filter_map(Reader::position)
            .filter(|ahead| own.position().is_none_or(|position| *ahead > position))
            .min()
    }

    /// Whether a reader that stands where `id` stands is on its way: if it finds nothing new, both are one.
    ///
    /// One that was only just opened is not waited for: a rewound lane pauses before it reads.
    pub(super) fn is_met(&self, id: ReaderId) -> bool {
        let Some(own) = self.by_id.get(&id).filter(|own| !own.mid_record && !own.apart) else { return false };
        self.of_shard(own.shard).any(|other| {
            other.id != id
                && other.open
                && !other.apart
                && other.in_flight.is_some()
                && !other.mid_record
                && other.at == own.at
        })
    }

    /// Whether another reader is about to arrive where `id` stands: it has the way in its buffer, or has come to
    /// where `id` was.
    ///
    /// `progresses` says whether a reader is at work or could be: a blocked one is not waited for.
    pub(super) fn is_awaited(&self, id: ReaderId, progresses: impl Fn(&Reader) -> bool) -> bool {
        let Some(own) = self.by_id.get(&id) else { return false };
        let Some(position) = own.position().filter(|_| !own.mid_record) else { return false };
        self.of_shard(own.shard).any(|other| {
            other.id != id
                && !other.apart
                && other.position().is_none_or(|behind| behind < position)
                && (other.near || other.buffered_to.is_some_and(|buffered| buffered >= position))
                && progresses(other)
        })
    }

    /// Whether one that catches up as well is a little behind `id`: the way is read once for both.
    pub(super) fn is_shared(&self, id: ReaderId, progresses: impl Fn(&Reader) -> bool) -> bool {
        let Some(own) = self.by_id.get(&id).filter(|own| !own.open) else { return false };
        let (Some(position), Some(oldest)) = (own.position(), own.oldest) else { return false };
        self.of_shard(own.shard).any(|other| {
            other.id != id
                && other.position().is_none_or(|behind| behind < position)
                && other.oldest.is_some_and(|behind| oldest.0 - behind.0 <= NEARBY_MS)
                && progresses(other)
        })
    }
}
