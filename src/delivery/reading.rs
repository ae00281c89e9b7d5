//! Which reader reads next, and how readers become one: a part of the dispatcher.
//!
//! A reader that catches up rejoins the one ahead where both offer the same place. The one ahead moves on with every
//! answer, so it has to stand still for a moment: it does once the other has the way to it in its buffer or has come
//! to where it stood a moment ago, for [`LONGEST_WAIT`] at most, and then not again for [`BETWEEN_WAITS`], so that a
//! sink that catches up slowly costs the others little. At the tip, where nothing is new, the one that arrives waits
//! for the piece that is on its way to the other.

use std::collections::BTreeSet;
use std::time::Duration;

use super::dispatcher::Dispatcher;
use super::lane::Phase;
use super::readers::Reader;
use super::{Command, ReaderId};
use crate::sink::Tell;

/// How long a reader stands still for one behind it: what this costs the sinks that it serves.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Between two such waits, if the first was in vain.
const BETWEEN_WAITS: Duration = Duration::from_secs(10);

impl Dispatcher {
    /// Joins the lanes of a reader to another that stands at the same position.
    pub(super) fn join_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id) else { return };
        if reader.mid_record || reader.apart {
            return;
        }
        let (shard, at) = (reader.shard, reader.at);
        let Some(other) = self.readers.to_join(shard, at, Some(id)) else { return };
        // The older one goes on: it may have a subscription, and serves those that were not in trouble.
        let (kept, closed) = (id.min(other), id.max(other));
        let lanes = self.readers.get(closed).map(|reader| reader.lanes.clone()).unwrap_or_default();
        self.close_reader(closed);
        for lane in lanes {
            self.join(lane.0 as usize, kept);
        }
    }

    /// Lets the readers of a shard go on whose lanes have room.
    pub(super) fn pump(&mut self, shard: usize) {
        // Before the end only records that have begun are read on.
        let goes_on = |reader: &&Reader| !self.draining || reader.mid_record;
        let ids: Vec<ReaderId> = self.readers.of_shard(shard).filter(goes_on).map(|reader| reader.id).collect();
        for id in ids {
            if self.may_read(id) {
                self.grant(id);
            }
        }
        if !self.draining {
            self.flush_full_lanes(shard);
        }
    }

    /// A sink may be gathering a chunk: where nothing more can be read, it has to do with what it has.
    fn flush_full_lanes(&mut self, shard: usize) {
        for lane in self.lane_indexes(shard) {
            let state = &mut self.lanes[lane];
            let full = matches!(state.phase, Phase::Reading(_))
                && state.awaiting.is_none()
                // A record that has begun is read to its end: before that there may be nothing to settle.
                && !state.mid_record
                && (state.is_full(self.options.open_records) || (state.trying && !state.frontier.is_clear()));
            if full && !std::mem::replace(&mut state.flush_sent, true) {
                self.tell(lane, Tell::Flush);
            }
        }
    }

    fn may_read(&mut self, id: ReaderId) -> bool {
        let progresses = |other: &Reader| other.in_flight.is_some() || self.has_room(other);
        let ready = self
            .readers
            .get(id)
            .is_some_and(|reader| reader.in_flight.is_none() && !reader.lanes.is_empty() && self.has_room(reader));
        if !ready || self.readers.is_met(id) || self.readers.is_shared(id, progresses) {
            return false;
        }
        let awaited = self.readers.is_awaited(id, progresses);
        let now = self.now;
        let Some(reader) = self.readers.get_mut(id) else { return false };
        if !awaited || now < reader.waits_not_before {
            reader.waits_since = None;
            return true;
        }
        if now.saturating_sub(*reader.waits_since.get_or_insert(now)) < LONGEST_WAIT {
            return false;
        }
        reader.waits_since = None;
        reader.waits_not_before = now + BETWEEN_WAITS;
        true
    }

    /// Lets those go on that have waited long enough.
    pub(super) fn end_waits(&mut self) {
        let waiting = self.readers.all().filter(|reader| reader.waits_since.is_some());
        let shards: BTreeSet<usize> = waiting.map(|reader| reader.shard).collect();
        for shard in shards {
            self.pump(shard);
        }
    }

    fn has_room(&self, reader: &Reader) -> bool {
        reader.lanes.iter().all(|lane| {
            let lane = &self.lanes[lane.0 as usize];
            // A record that has begun is read to its end: no sink could settle half of it. Its size is bounded.
            let full = lane.is_full(self.options.open_records) || (lane.trying && !lane.frontier.is_clear());
            lane.awaiting.is_none() && (reader.mid_record || !full || lane.rebuilds_beyond(reader.at))
        })
    }

    fn grant(&mut self, id: ReaderId) {
        let (until, now) = (self.readers.until(id), self.now);
        let Some(reader) = self.readers.get_mut(id) else { return };
        reader.asked_at = reader.asked_at.max(now);
        reader.in_flight = Some(reader.lanes.clone());
        reader.until = until;
        let sinks = reader.lanes.iter().map(|lane| self.lanes[lane.0 as usize].sink).collect();
        self.commands.push_back(Command::Read { reader: id, sinks, until });
    }
}
