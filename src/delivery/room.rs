//! Rooms with the sinks, as far as they concern lanes: a part of the dispatcher.
//!
//! Who may hold how much is `memory`'s business. Here is what follows for lanes: a lane whose reader waits for its
//! sink's room can bring nothing more, and is parked like one whose batch is refused; a lane that has left its reader
//! wants no room for the piece that is on its way; and a sink that must have a sealed chunk's records before it can
//! settle anything else gets them whatever it holds.

use std::collections::BTreeSet;

use super::dispatcher::Dispatcher;
use super::lane::Phase;
use super::{ReaderId, SinkId};
use crate::sink::Tell;

impl Dispatcher {
    /// Which readers wait for room, and with which sinks. To be told before each [`Dispatcher::tick`]. Those sinks are
    /// asked to send what they gather: they do not know that nothing more can come.
    pub fn wait_for_room(&mut self, waiting: &[(ReaderId, Vec<SinkId>)]) {
        for lane in &mut self.lanes {
            lane.lacks_room = false;
        }
        let full: BTreeSet<SinkId> = waiting.iter().flat_map(|(_, sinks)| sinks).copied().collect();
        for lane in 0..self.lanes.len() {
            let state = &mut self.lanes[lane];
            let holds = full.contains(&state.sink) && !state.frontier.is_clear();
            if holds && !std::mem::replace(&mut state.hasten_sent, true) {
                self.tell(lane, Tell::Hasten);
            }
        }
        for (reader, sinks) in waiting {
            let lanes = self.readers.get(*reader).and_then(|reader| reader.in_flight.clone()).unwrap_or_default();
            for lane in lanes {
                let lane = &mut self.lanes[lane.0 as usize];
                lane.lacks_room = lane.phase == Phase::Reading(*reader) && sinks.contains(&lane.sink);
            }
        }
    }

    /// By sink: the reader of its first lane that lacks records of a chunk that was sealed. Such a chunk cannot be
    /// cut earlier, so its records may go beyond the sink's room, of one lane at a time.
    pub fn first_readers(&self) -> Vec<Option<ReaderId>> {
        let mut first = vec![None; self.options.sinks.len()];
        // In the order of lanes, as the sinks themselves choose.
        for lane in self.lanes.iter().filter(|lane| lane.lacks_sealed_records()) {
            if let Phase::Reading(reader) = lane.phase
                && let Some(first) = first.get_mut(lane.sink.0 as usize)
            {
                first.get_or_insert(reader);
            }
        }
        first
    }

    /// A reader had let go of a record in its middle, and it has expired since. Its lanes go back to what is settled,
    /// where the source says what is missing.
    pub fn record_lost(&mut self, reader: ReaderId) {
        let lanes = self.readers.get(reader).map(|reader| reader.lanes.clone()).unwrap_or_default();
        lanes.into_iter().for_each(|lane| self.rewind(lane.0 as usize));
    }
}
