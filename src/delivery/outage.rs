//! Sinks that take nothing: their lanes are parked, and what stands still is told. A part of the dispatcher.
//!
//! A lane is *down* when it can bring nothing more and its sink says that it is down, or has settled nothing of it
//! for `outage_after`. A parked lane has no reader and nothing in flight, so the shard's other lanes go on, and what
//! its sink held for it is free. It comes back from its own checkpoint, with its seal, as after a rewind; first with a
//! reader that nobody shares and one piece (`trying`), so that it holds nobody up before something settles. All lanes
//! of a sink come back when it says that it is up or settles anything; till then one of them always tries, since a
//! sink that has nothing to send cannot find out that its destination is back.

use std::time::Duration;

use super::dispatcher::Dispatcher;
use super::lane::{Lane, Parked, Phase};
use super::readers::Reader;
use super::{LaneId, OnOutage, ParkedLane, SinkId, Stall};

/// A lane of a sink that settles for others is slow rather than down: it gets this much longer.
const SLOW: u32 = 4;

/// What stands still for this long is told: within a minute, the shell's rounds included.
const STALLED_AFTER: Duration = Duration::from_secs(45);

/// One sink, as far as all of its lanes have seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SinkStanding {
    /// It says that its destination takes nothing.
    pub is_down: bool,
    /// When it last settled anything.
    pub settled_at: Option<Duration>,
    /// When a parked lane last came back to try.
    pub tried_at: Option<Duration>,
}

impl Dispatcher {
    /// Time has passed: the shell's monotonic clock. To be called a few times a second.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if self.draining {
            return;
        }
        for lane in 0..self.lanes.len() {
            if self.is_down(lane) {
                self.park(lane);
            }
        }
        for sink in 0..self.options.sinks.len() {
            self.bring_back(sink);
        }
        self.end_waits();
    }

    /// A sink says that its destination takes nothing.
    pub fn sink_down(&mut self, sink: SinkId) {
        if let Some(standing) = self.standings.get_mut(sink.0 as usize) {
            standing.is_down = true;
        }
    }

    /// A sink says that its destination takes items again.
    pub fn sink_up(&mut self, sink: SinkId) {
        let Some(standing) = self.standings.get_mut(sink.0 as usize) else { return };
        // A word of health, as good as a settlement: all of its lanes come back.
        (standing.is_down, standing.settled_at) = (false, Some(self.now));
        if !self.draining {
            self.bring_back(sink.0 as usize);
        }
    }

    /// Whether a lane's sink has taken nothing for too long. Notes since when the lane is full.
    fn is_down(&mut self, lane: usize) -> bool {
        let (now, open_records) = (self.now, self.options.open_records);
        let state = &mut self.lanes[lane];
        if state.trying || !state.is_blocked(open_records) {
            state.full_since = None;
            return false;
        }
        let (sink, standing) = (state.sink.0 as usize, self.standings[state.sink.0 as usize]);
        // What is being published shows no settlement until all of it is.
        if state.publishes() && !standing.is_down {
            state.full_since = Some(now);
        }
        let full = now.saturating_sub(*state.full_since.get_or_insert(now));
        if self.options.sinks[sink].on_outage == OnOutage::Block {
            return false;
        }
        let after = self.options.outage_after;
        let serves_others = standing.settled_at.is_some_and(|at| now.saturating_sub(at) < after);
        match standing.is_down {
            true => full > Duration::ZERO,
            false => full >= if serves_others { after * SLOW } else { after },
        }
    }

    fn park(&mut self, lane: usize) {
        let oldest = self.lanes[lane].frontier.oldest_arrival();
        if !self.let_go(lane) {
            return;
        }
        let now = self.now;
        let state = &mut self.lanes[lane];
        state.phase = Phase::Parked;
        state.parked = Some(Parked { since: now, oldest });
        state.trying = false;
        let (sink, shard) = (state.sink.0 as usize, state.shard);
        self.accounts[sink].parks += 1;
        self.pump(shard);
    }

    fn bring_back(&mut self, sink: usize) {
        let standing = self.standings[sink];
        let of_sink = |lane: &&Lane| lane.sink.0 as usize == sink;
        let parked: Vec<(LaneId, Parked)> = self
            .lanes
            .iter()
            .filter(of_sink)
            .filter(|lane| lane.phase == Phase::Parked)
            .filter_map(|lane| Some((lane.id, lane.parked?)))
            .collect();
        let Some((first, _)) = parked.first().copied() else { return };
        let settles = |parked: &Parked| standing.settled_at.is_some_and(|at| at >= parked.since);
        let mut back: Vec<LaneId> = Vec::new();
        if !standing.is_down {
            back.extend(parked.iter().filter(|(_, parked)| settles(parked)).map(|(lane, _)| *lane));
        }
        if back.is_empty() {
            let tries = self.lanes.iter().filter(of_sink).any(|lane| lane.trying || !lane.frontier.is_clear());
            let waited = self.now.saturating_sub(standing.tried_at.unwrap_or_default());
            if !tries || (!standing.is_down && waited >= self.options.outage_after) {
                self.standings[sink].tried_at = Some(self.now);
                back.push(first);
            }
        }
        // All of them first, then their readers: lanes that stand at one place share one.
        for lane in &back {
            let state = &mut self.lanes[lane.0 as usize];
            (state.phase, state.trying) = (Phase::Idle, true);
            self.open_lane(lane.0 as usize);
            self.find_reader(lane.0 as usize);
        }
        for lane in back {
            self.pump(self.lanes[lane.0 as usize].shard);
        }
    }

    /// Something of a lane that was parked has settled, or it finds nothing to try with: it is one of all again.
    pub(super) fn is_back(&mut self, lane: usize) {
        let state = &mut self.lanes[lane];
        (state.trying, state.parked) = (false, None);
        if let Phase::Reading(reader) = state.phase
            && let Some(reader) = self.readers.get_mut(reader)
        {
            reader.apart = false;
        }
    }

    /// The lanes that are parked, and those that have come back to try.
    pub fn parked(&self) -> impl Iterator<Item = ParkedLane> {
        self.lanes.iter().filter_map(|lane| {
            let Parked { since, oldest } = lane.parked?;
            let shard = lane.key.shard.clone();
            Some(ParkedLane { sink: lane.sink, shard, lasting: self.now.saturating_sub(since), oldest })
        })
    }

    /// What should progress and does not, and is not parked: a reader that does not answer, a lane whose sink takes
    /// nothing and which waits for it.
    pub fn stalls(&self) -> Vec<Stall> {
        let lasting =
            |since: Duration| Some(self.now.saturating_sub(since)).filter(|lasting| *lasting >= STALLED_AFTER);
        // A reader that waits for room is held up by the sink.
        let lacks_room = |reader: &&Reader| reader.lanes.iter().any(|lane| self.lanes[lane.0 as usize].lacks_room);
        let at_work = self.readers.all().filter(|reader| reader.in_flight.is_some());
        let readers = at_work.filter(|reader| !lacks_room(reader)).filter_map(|reader| {
            let shard = self.shards[reader.shard].id.clone();
            Some(Stall { shard, sink: None, lasting: lasting(reader.asked_at)? })
        });
        let lanes = self.lanes.iter().filter_map(|lane| {
            let lasting = lasting(lane.full_since?)?;
            Some(Stall { shard: lane.key.shard.clone(), sink: Some(lane.sink), lasting })
        });
        readers.chain(lanes).collect()
    }
}
