//! How lanes begin, change readers, are rewound and end: a part of the dispatcher.

use std::time::Duration;

use super::dispatcher::Dispatcher;
use super::lane::{Lane, Phase, Standing};
use super::{Command, LaneId, ReaderId};
use crate::sink::Tell;
use crate::source::StartAt;

/// The pause before a rewound lane reads again: doubles from 100 ms to 30 s.
fn pause_after(rewinds: u32) -> Duration {
    match rewinds {
        0 => Duration::ZERO,
        n => Duration::from_millis((100_u64 << (n - 1).min(9)).min(30_000)),
    }
}

impl Dispatcher {
    /// Starts a lane whose parents are resolved to their end.
    pub(super) fn start_if_ready(&mut self, lane: usize) {
        if self.lanes[lane].phase != Phase::Waiting || self.draining || !self.parents_are_done(lane) {
            return;
        }
        self.lanes[lane].phase = Phase::Idle;
        self.open_lane(lane);
        self.find_reader(lane);
    }

    pub(super) fn parents_are_done(&self, lane: usize) -> bool {
        let sink = self.lanes[lane].sink.0 as usize;
        self.shards[self.lanes[lane].shard].parents.iter().all(|parent| {
            let parent = self.shards[*parent].lanes[sink];
            self.lanes[parent.0 as usize].phase == Phase::Done || mutant!(ChildEarly)
        })
    }

    pub(super) fn open_lane(&mut self, lane: usize) {
        let lane = &self.lanes[lane];
        self.commands.push_back(Command::OpenLane {
            sink: lane.sink,
            lane: lane.id,
            key: lane.key.clone(),
            epoch: lane.epoch,
            seal: lane.seal.as_ref().filter(|standing| standing.told).map(|standing| standing.seal.clone()),
        });
    }

    pub(super) fn find_reader(&mut self, lane: usize) {
        let Some(at) = self.lanes[lane].state().at.start() else { return };
        let shard = self.lanes[lane].shard;
        // A lane that was rewound waits before it tries again, so it does not jump on a running reader; nor does one
        // whose sink may take nothing.
        let Lane { rewinds, trying, parked, .. } = self.lanes[lane];
        let joined = if rewinds == 0 && !trying { self.readers.to_join(shard, at, None) } else { None };
        let reader = joined.unwrap_or_else(|| self.open_reader(shard, at, pause_after(rewinds)));
        if let Some(opened) = self.readers.get_mut(reader).filter(|_| trying) {
            (opened.apart, opened.oldest) = (true, parked.and_then(|parked| parked.oldest));
        }
        self.join(lane, reader);
    }

    pub(super) fn open_reader(&mut self, shard: usize, from: StartAt, pause: Duration) -> ReaderId {
        let reader = self.readers.open(shard, from);
        if let Some(opened) = self.readers.get_mut(reader) {
            opened.asked_at = self.now + pause;
        }
        self.commands.push_back(Command::OpenReader { reader, shard: self.shards[shard].id.clone(), from, pause });
        reader
    }

    pub(super) fn join(&mut self, lane: usize, reader: ReaderId) {
        self.lanes[lane].phase = Phase::Reading(reader);
        if let Some(found) = self.readers.get_mut(reader) {
            found.lanes.push(LaneId(lane as u32));
        }
    }

    pub(super) fn leave_reader(&mut self, lane: usize) {
        let Phase::Reading(reader) = self.lanes[lane].phase else { return };
        let Some(found) = self.readers.get_mut(reader) else { return };
        found.lanes.retain(|member| member.0 as usize != lane);
        let is_closed = found.lanes.is_empty();
        if !is_closed {
            self.commands.push_back(Command::Forgo { reader, sink: self.lanes[lane].sink });
        }
        self.lanes[lane].lacks_room = false;
        if is_closed {
            self.close_reader(reader);
        }
    }

    pub(super) fn close_reader(&mut self, reader: ReaderId) {
        self.readers.remove(reader);
        self.commands.push_back(Command::CloseReader(reader));
    }

    /// No further record will come for a lane.
    pub(super) fn end_lane(&mut self, lane: usize) {
        match self.lanes[lane].phase {
            Phase::Ending | Phase::Done | Phase::Dropped => return,
            // The sink may have to finish what an earlier run had sealed.
            Phase::New | Phase::Waiting | Phase::Parked => self.open_lane(lane),
            Phase::Idle | Phase::Reading(_) => {}
        }
        self.leave_reader(lane);
        self.lanes[lane].phase = Phase::Ending;
        // "Nothing more will come" must not overtake a batch that the sink has not admitted.
        if self.lanes[lane].awaiting.is_none() {
            self.tell(lane, Tell::Finish);
        }
        self.finish_if_resolved(lane);
    }

    pub(super) fn drop_lane(&mut self, lane: usize) {
        if matches!(self.lanes[lane].phase, Phase::Done | Phase::Dropped) {
            return;
        }
        self.leave_reader(lane);
        self.live_lanes -= 1;
        self.dirty.remove(&lane);
        self.void(lane);
        let state = &mut self.lanes[lane];
        state.phase = Phase::Dropped;
        (state.trying, state.parked) = (false, None);
        (state.seal, state.next_seal) = (None, None);
        self.tell(lane, Tell::Discard);
    }

    /// What is in flight counts for nothing any more: a new epoch.
    pub(super) fn void(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        let void = std::mem::take(&mut state.frontier).open_items();
        state.epoch.0 += 1;
        state.awaiting = None;
        state.read_to = None;
        state.mid_record = false;
        self.accounts[state.sink.0 as usize].abandoned += void;
    }

    /// The shard is no more: whoever reads it finds out by himself, the others need not wait for it. Whether the
    /// lane was not read to its end.
    pub(super) fn end_unread_lane(&mut self, lane: usize) -> bool {
        let unread = matches!(self.lanes[lane].phase, Phase::New | Phase::Waiting | Phase::Idle | Phase::Parked)
            && !self.draining;
        if unread {
            self.end_lane(lane);
        }
        unread
    }

    pub(super) fn finish_if_resolved(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        let sealed = state.seal.is_some() || state.next_seal.is_some();
        let unsettled = !state.frontier.is_clear() && !mutant!(EndUnsettled);
        if state.phase != Phase::Ending || unsettled || sealed {
            return;
        }
        state.phase = Phase::Done;
        (state.trying, state.parked) = (false, None);
        self.live_lanes -= 1;
        self.dirty.insert(lane);
        self.commit();
        let sink = self.lanes[lane].sink.0 as usize;
        for child in self.shards[self.lanes[lane].shard].children.clone() {
            self.start_if_ready(self.shards[child].lanes[sink].0 as usize);
            self.pump(child);
        }
    }

    /// Back to what is settled; what is in flight is void.
    pub(super) fn rewind(&mut self, lane: usize) {
        if !self.let_go(lane) {
            return;
        }
        let state = &mut self.lanes[lane];
        state.phase = Phase::Idle;
        state.rewinds += 1;
        let (sink, shard) = (state.sink.0 as usize, state.shard);
        self.accounts[sink].rewinds += 1;
        self.open_lane(lane);
        self.find_reader(lane);
        self.pump(shard);
    }

    /// A lane gives up its reader and what is in flight; it stands at what is settled. False: it has nothing of it.
    pub(super) fn let_go(&mut self, lane: usize) -> bool {
        match self.lanes[lane].phase {
            Phase::Idle | Phase::Reading(_) | Phase::Ending => {}
            Phase::New | Phase::Waiting | Phase::Parked | Phase::Done | Phase::Dropped => return false,
        }
        self.leave_reader(lane);
        self.dirty.insert(lane);
        let state = &mut self.lanes[lane];
        // A seal that the sink was not told of has published nothing and is forgotten with the batch; but if it
        // replaces a remembered one, that one's objects may be visible: it stands again.
        if let Some(standing) = state.seal.take_if(|standing| !standing.told) {
            let before = state.committed.as_ref().and_then(|committed| committed.seal.clone());
            let replaced = before.filter(|seal| seal.start == standing.seal.start);
            state.seal = replaced.map(|seal| Standing::told(seal, standing.at));
        }
        state.next_seal = None;
        state.base = state.state().at;
        if mutant!(RewindLate) {
            state.base = state.frontier.first_open().map_or(state.base, super::At::After);
        }
        state.published = None;
        self.void(lane);
        let state = &mut self.lanes[lane];
        state.barrier_sent = false;
        state.flush_sent = false;
        state.hasten_sent = false;
        state.full_since = None;
        if let Some(standing) = &mut state.seal {
            standing.published = false;
        }
        if !mutant!(KeepDiscarded) {
            self.tell(lane, Tell::Discard);
        }
        true
    }

    pub(super) fn tell(&mut self, lane: usize, what: Tell) {
        let lane = &self.lanes[lane];
        self.commands.push_back(Command::Tell { sink: lane.sink, lane: lane.id, epoch: lane.epoch, what });
    }
}
