//! How a run ends, at the end of its sources or because it is asked to: a part of the dispatcher.

use super::ReaderId;
use super::dispatcher::Dispatcher;
use super::lane::{Lane, Phase};
use crate::sink::Tell;

impl Dispatcher {
    /// Whether every shard has been delivered to its end and this is remembered.
    pub fn is_finished(&self) -> bool {
        self.sources_open == 0 && self.live_lanes == 0 && self.is_committed()
    }

    /// Whether nothing is on its way and everything that is settled is remembered.
    pub fn is_drained(&self) -> bool {
        let is_at_rest = |lane: &Lane| {
            lane.frontier.is_clear() && lane.awaiting.is_none() && !lane.publishes() && !self.is_within_record(lane)
        };
        self.draining && self.lanes.iter().all(is_at_rest) && self.is_committed()
    }

    fn is_committed(&self) -> bool {
        self.committing.is_none() && !self.dirty.iter().any(|lane| self.changed_state(*lane).is_some())
    }

    /// Stop reading; let what the sinks have settle. See [`Dispatcher::is_drained`].
    ///
    /// A piece that a reader is at is void: an idle source may hold it up for long, and it is read next time. But a
    /// record of which a sink has the beginning is read to its end: it is at hand, no object can hold half of it, and
    /// what had settled of it would come again.
    pub fn drain(&mut self) {
        self.draining = true;
        for lane in 0..self.lanes.len() {
            let stays = self.is_within_record(&self.lanes[lane]);
            if matches!(self.lanes[lane].phase, Phase::Reading(_)) && !stays {
                self.leave_reader(lane);
                self.lanes[lane].phase = Phase::Idle;
            }
            // Nobody waits for a sink that takes nothing.
            if self.lanes[lane].trying && self.let_go(lane) {
                self.lanes[lane].phase = Phase::Parked;
            }
            // What is gathered is asked for anew, also of those that were asked for less.
            self.lanes[lane].barrier_sent = false;
            // What lacks records cannot be published now, and would hold the shutdown up.
            if self.lanes[lane].lacks_sealed_records() && !self.lanes[lane].frontier.is_clear() {
                self.void(lane);
                self.tell(lane, Tell::Discard);
            }
        }
        // Those that have left held nobody else up from now on.
        (0..self.shards.len()).for_each(|shard| self.pump(shard));
        self.checkpoint();
    }

    /// Whether the lane has the beginning of a record and is about to get the rest.
    fn is_within_record(&self, lane: &Lane) -> bool {
        let Phase::Reading(reader) = lane.phase else { return false };
        let goes_on = self.readers.get(reader).is_some_and(|reader| reader.mid_record);
        goes_on && lane.mid_record && !lane.trying && !lane.lacks_sealed_records()
    }

    /// Before the end a reader stops as soon as it is within no record.
    pub(super) fn stop_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get(id).filter(|reader| self.draining && !reader.mid_record) else { return };
        for lane in reader.lanes.clone() {
            self.leave_reader(lane.0 as usize);
            self.lanes[lane.0 as usize].phase = Phase::Idle;
        }
    }

    /// A shutdown does not wait for the next tick.
    pub(super) fn checkpoint_if_draining(&mut self) {
        if self.draining {
            self.checkpoint();
        }
    }
}
