//! What is remembered, and when: a part of the dispatcher.

use std::collections::BTreeSet;

use super::dispatcher::Dispatcher;
use super::lane::Phase;
use super::{Command, LaneId, LaneState};
use crate::sink::Tell;

impl Dispatcher {
    /// A lane's state, if it differs from what is committed.
    pub(super) fn changed_state(&self, lane: usize) -> Option<LaneState> {
        let lane = &self.lanes[lane];
        let state = lane.state();
        (lane.committed.as_ref() != Some(&state)).then_some(state)
    }

    /// Commits what has changed; all of it or nothing, so a child's state never outruns its parents'.
    pub(super) fn commit(&mut self) {
        if self.committing.is_some() {
            self.commit_again = true;
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let changed = |lane: usize| Some((self.lanes[lane].id, self.changed_state(lane)?));
        let states: Vec<(LaneId, LaneState)> = dirty.into_iter().filter_map(changed).collect();
        if states.is_empty() {
            return;
        }
        let keyed = states.iter().map(|(lane, state)| (self.lanes[lane.0 as usize].key.clone(), state.clone()));
        self.commands.push_back(Command::Commit(keyed.collect()));
        self.committing = Some(states);
    }

    /// The store has the states of the last [`Command::Commit`].
    pub fn committed(&mut self) {
        let states = self.committing.take().unwrap_or_default();
        let lanes: Vec<usize> = states.iter().map(|(lane, _)| lane.0 as usize).collect();
        for (lane, state) in states {
            self.lane_committed(lane.0 as usize, state);
        }
        // Only when all of them have started: lanes that begin at one position share a reader.
        let shards: BTreeSet<usize> = lanes.iter().map(|lane| self.lanes[*lane].shard).collect();
        for shard in shards {
            self.pump(shard);
        }
        if std::mem::take(&mut self.commit_again) {
            self.commit();
        }
    }

    pub(super) fn lane_committed(&mut self, index: usize, state: LaneState) {
        let lane = &mut self.lanes[index];
        let sealed = state.seal.clone();
        lane.committed = Some(state);
        if let (Some(sealed), Some(standing)) = (sealed, lane.seal.as_mut())
            && standing.seal == sealed
            && !standing.told
        {
            standing.told = true;
            self.tell(index, Tell::SealCommitted);
            if mutant!(SealForgotten) {
                self.lanes[index].seal = None;
                self.dirty.insert(index);
            }
        }
        if self.lanes[index].phase == Phase::New {
            self.lanes[index].phase = Phase::Waiting;
            self.start_if_ready(index);
        }
    }

    /// It is time for a checkpoint: commit what is settled, and ask the sinks to settle what they can.
    pub fn checkpoint(&mut self) {
        self.commit();
        self.barriers();
    }

    /// Before the end a checkpoint asks for more: chunks that are being gathered are settled too.
    pub(super) fn barriers(&mut self) {
        let what = if self.draining { Tell::Flush } else { Tell::Barrier };
        for lane in 0..self.lanes.len() {
            let state = &mut self.lanes[lane];
            if !state.frontier.is_clear() && !std::mem::replace(&mut state.barrier_sent, true) {
                self.tell(lane, what);
            }
        }
    }
}
