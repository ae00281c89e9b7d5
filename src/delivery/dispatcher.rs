//! The dispatcher: which reader reads, which lane gets what, when a position may be remembered.
//!
//! A pure state machine. The shell hands it what happened and executes the [`Command`]s that it leaves; it
//! never waits, never reads a clock ([`Dispatcher::tick`] tells it the time) and never touches a client. Everything that can be out at one time is
//! bounded: one grant a reader, one batch a lane that its sink has not admitted, `open_records` a lane, one
//! commit at all.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::lane::{Lane, Phase, Standing};
use super::outage::SinkStanding;
use super::readers::Readers;
use super::{
    Abandoned, Account, At, BatchId, Command, Epoch, Frontier, LaneBatch, LaneId, LaneKey, LaneState, Load, Options,
    Piece, PieceEnd, ReadResult, ReaderId, Receipt, Seal, Settlement, SinkId, SinkOptions,
};
use crate::sink::Tell;
use crate::source::{ShardEvent, ShardId, StartAt};

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) id: ShardId,
    /// Parents that are known; the others hold nothing up.
    pub(super) parents: Vec<usize>,
    pub(super) children: Vec<usize>,
    /// By sink.
    pub(super) lanes: Vec<LaneId>,
}

/// A stream that a sink follows: the source's name, the stream, its creation time, the sink's name.
type Followed = (Arc<str>, Arc<str>, Arc<str>, Arc<str>);

fn followed(key: &LaneKey) -> Followed {
    let shard = &key.shard;
    let names = [&shard.source, &shard.stream, &shard.stream_created, &key.sink];
    let [source, stream, created, sink] = names.map(Arc::clone);
    (source, stream, created, sink)
}

/// Where a sink begins on a shard that was not there when it stopped: the shard's records came after those of its
/// parents, whatever the source's `start` says by now. A sink that has not got beyond a start in time keeps to it.
fn starts_of_followed(pipeline: &Arc<str>, remembered: &[(LaneKey, LaneState)]) -> BTreeMap<Followed, StartAt> {
    let mut starts: BTreeMap<Followed, StartAt> = BTreeMap::new();
    for (key, state) in remembered.iter().filter(|(key, _)| key.pipeline == *pipeline) {
        let start = starts.entry(followed(key)).or_insert(StartAt::TrimHorizon);
        *start = match (*start, state.at) {
            (StartAt::AtTimestamp(first), At::Start(StartAt::AtTimestamp(other))) => {
                StartAt::AtTimestamp(first.min(other))
            }
            (_, At::Start(at @ StartAt::AtTimestamp(_))) => at,
            (start, _) => start,
        };
    }
    starts
}

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    pub(super) options: Options,
    /// What the store had at the start, by lane; taken out as shards open.
    pub(super) remembered: BTreeMap<LaneKey, LaneState>,
    /// Streams that a sink followed before this run.
    followed: BTreeMap<Followed, StartAt>,
    pub(super) shards: Vec<Shard>,
    pub(super) by_id: HashMap<ShardId, usize>,
    pub(super) lanes: Vec<Lane>,
    pub(super) readers: Readers,
    pub(super) commands: VecDeque<Command>,
    /// Lanes that are neither done nor dropped.
    pub(super) live_lanes: usize,
    /// Lanes whose state may differ from what is committed.
    pub(super) dirty: BTreeSet<usize>,
    pub(super) committing: Option<Vec<(LaneId, LaneState)>>,
    pub(super) commit_again: bool,
    pub(super) next_batch: u64,
    pub(super) abandoned: Arc<Abandoned>,
    pub(super) accounts: Vec<Account>,
    pub(super) sources_open: usize,
    pub(super) draining: bool,
    /// The shell's monotonic clock at its last [`Dispatcher::tick`].
    pub(super) now: Duration,
    /// By sink.
    pub(super) standings: Vec<SinkStanding>,
}

impl Dispatcher {
    /// A dispatcher for `sources` sources that knows what the store remembered.
    pub fn new(options: Options, sources: usize, remembered: Vec<(LaneKey, LaneState)>) -> Dispatcher {
        let accounts = vec![Account::default(); options.sinks.len()];
        let standings = vec![SinkStanding::default(); options.sinks.len()];
        Dispatcher {
            followed: starts_of_followed(&options.pipeline, &remembered),
            options,
            remembered: remembered.into_iter().collect(),
            shards: Vec::new(),
            by_id: HashMap::new(),
            lanes: Vec::new(),
            readers: Readers::default(),
            commands: VecDeque::new(),
            live_lanes: 0,
            dirty: BTreeSet::new(),
            committing: None,
            commit_again: false,
            next_batch: 0,
            abandoned: Arc::new(Abandoned::default()),
            accounts,
            sources_open: sources,
            draining: false,
            now: Duration::ZERO,
            standings,
        }
    }

    /// Where dropped receipts leave word; the shell hands it to [`Dispatcher::abandoned`].
    pub fn abandonments(&self) -> Arc<Abandoned> {
        Arc::clone(&self.abandoned)
    }

    /// The next thing to do.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// The account of each sink.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// What is under way, for metrics.
    pub fn load(&self) -> Load {
        let mut load = Load { lanes: self.live_lanes, readers: self.readers.count(), ..Load::default() };
        load.open_records.resize(self.options.sinks.len(), 0);
        load.parked.resize(self.options.sinks.len(), 0);
        for lane in &self.lanes {
            let sink = lane.sink.0 as usize;
            load.open_records[sink] += lane.frontier.open_records();
            load.parked[sink] += usize::from(lane.parked.is_some());
        }
        load
    }

    // --- what sources say ---

    /// A source will announce no further shards.
    pub fn source_done(&mut self) {
        self.sources_open = self.sources_open.saturating_sub(1);
    }

    /// A source announced something about a shard. The number of lanes that it ends before they were read.
    pub fn shard(&mut self, event: ShardEvent) -> usize {
        match event {
            ShardEvent::Opened { shard, parents, start } => {
                self.shard_opened(shard, parents, start);
                0
            }
            ShardEvent::Complete { source, stream } => {
                self.listing_is_complete(&source, &stream);
                0
            }
            ShardEvent::Gone(shard) => {
                let lanes = self.lanes_of(&shard).into_iter();
                lanes.filter(|lane| self.end_unread_lane(*lane)).count()
            }
            ShardEvent::Revoked(shard) => {
                self.lanes_of(&shard).into_iter().for_each(|lane| self.drop_lane(lane));
                0
            }
        }
    }

    fn lanes_of(&self, shard: &ShardId) -> Vec<usize> {
        self.by_id.get(shard).map(|index| self.lane_indexes(*index)).unwrap_or_default()
    }

    pub(super) fn lane_indexes(&self, shard: usize) -> Vec<usize> {
        self.shards[shard].lanes.iter().map(|lane| lane.0 as usize).collect()
    }

    fn shard_opened(&mut self, id: ShardId, parents: Vec<ShardId>, start: StartAt) {
        if let Some(index) = self.by_id.get(&id).copied() {
            return self.shard_is_back(index);
        }
        for parent in &parents {
            self.parent_is_missing(parent, start);
        }
        let index = self.shards.len();
        let parents: Vec<usize> = parents.iter().filter_map(|parent| self.by_id.get(parent).copied()).collect();
        for parent in &parents {
            self.shards[*parent].children.push(index);
        }
        self.by_id.insert(id.clone(), index);
        let lanes = (0..self.options.sinks.len()).map(|sink| self.add_lane(&id, index, sink, start)).collect();
        self.shards.push(Shard { id, parents, children: Vec::new(), lanes });
        for lane in self.lane_indexes(index) {
            self.start_if_ready(lane);
        }
        // A first state is remembered before the first read, so that `latest` means the same after a restart.
        self.commit();
        self.pump(index);
    }

    /// A parent that is not there any more, but was remembered short of its end: its reader finds out, and what is
    /// lost is a gap that is counted, not silence.
    fn parent_is_missing(&mut self, parent: &ShardId, start: StartAt) {
        let is_known = self.by_id.contains_key(parent);
        let unread = |key: &LaneKey, state: &LaneState| key.shard == *parent && state.at != At::ShardEnd;
        if !is_known && self.remembered.iter().any(|(key, state)| unread(key, state)) {
            self.open_missing(parent, start);
        }
    }

    /// What is remembered of the stream, not to its end, and was not announced: an ancestor whose children are not there
    /// any more either, or a shard of the stream before it was deleted and created again.
    fn listing_is_complete(&mut self, source: &Arc<str>, stream: &Arc<str>) {
        if self.draining {
            return;
        }
        let sinks = &self.options.sinks;
        let unread = self.remembered.iter().filter(|(key, state)| {
            let of_stream = key.shard.source == *source && key.shard.stream == *stream;
            let is_ours = key.pipeline == self.options.pipeline && sinks.iter().any(|sink| sink.name == key.sink);
            of_stream && is_ours && state.at != At::ShardEnd && !self.by_id.contains_key(&key.shard)
        });
        let missing: BTreeSet<ShardId> = unread.map(|(key, _)| key.shard.clone()).collect();
        for shard in missing {
            self.open_missing(&shard, StartAt::TrimHorizon);
        }
    }

    /// A shard that is not there any more is opened: its reader finds out what is lost of it.
    fn open_missing(&mut self, parent: &ShardId, start: StartAt) {
        let is_new =
            |sink: &SinkOptions| !self.remembered.keys().any(|key| key.shard == *parent && key.sink == sink.name);
        let new: Vec<bool> = self.options.sinks.iter().map(is_new).collect();
        self.shard_opened(parent.clone(), Vec::new(), start);
        let Some(index) = self.by_id.get(parent).copied() else { return };
        // A sink that never had the shard misses nothing of it.
        for lane in self.lane_indexes(index).into_iter().zip(new).filter_map(|(lane, new)| new.then_some(lane)) {
            self.end_lane(lane);
        }
    }

    /// Another process had the shard, and it is ours again. What that one remembered is not known here: its lanes go
    /// on where we left them, which repeats and loses nothing.
    fn shard_is_back(&mut self, shard: usize) {
        for lane in self.lane_indexes(shard) {
            let state = &mut self.lanes[lane];
            if state.phase != Phase::Dropped {
                continue;
            }
            state.phase = Phase::Waiting;
            if let Some(committed) = &state.committed {
                let base = committed.at;
                (state.base, state.published) = (base, None);
                state.seal = committed.seal.clone().map(|seal| Standing::told(seal, base));
            } else {
                state.phase = Phase::New;
                self.dirty.insert(lane);
            }
            self.live_lanes += 1;
            self.start_if_ready(lane);
        }
        self.commit();
        self.pump(shard);
    }

    fn add_lane(&mut self, shard_id: &ShardId, shard: usize, sink: usize, start: StartAt) -> LaneId {
        let id = LaneId(self.lanes.len() as u32);
        let key = LaneKey {
            pipeline: Arc::clone(&self.options.pipeline),
            shard: shard_id.clone(),
            sink: Arc::clone(&self.options.sinks[sink].name),
        };
        let committed = self.remembered.remove(&key);
        let base = match &committed {
            Some(state) => state.at,
            None => At::Start(self.followed.get(&followed(&key)).copied().unwrap_or(start)),
        };
        let phase = match &committed {
            None => Phase::New,
            Some(LaneState { at: At::ShardEnd, .. }) => Phase::Done,
            Some(_) => Phase::Waiting,
        };
        let seal = committed.as_ref().and_then(|state| state.seal.clone()).filter(|_| !mutant!(ForgetFoundSeal));
        self.live_lanes += usize::from(phase != Phase::Done);
        self.dirty.insert(self.lanes.len());
        self.lanes.push(Lane {
            key,
            id,
            sink: SinkId(sink as u32),
            shard,
            epoch: Epoch::default(),
            phase,
            frontier: Frontier::default(),
            committed,
            base,
            seal: seal.map(|seal| Standing::told(seal, base)),
            mid_record: false,
            read_to: None,
            published: None,
            next_seal: None,
            awaiting: None,
            barrier_sent: false,
            flush_sent: false,
            hasten_sent: false,
            rewinds: 0,
            lacks_room: false,
            full_since: None,
            parked: None,
            trying: false,
        });
        id
    }

    // --- what readers bring ---

    /// A reader made a piece.
    pub fn read(&mut self, result: ReadResult) {
        let ReadResult { reader: id, mut piece, end, buffered_to } = result;
        let Some(reader) = self.readers.get_mut(id) else { return };
        let lanes = reader.in_flight.take().unwrap_or_default();
        let shard = reader.shard;
        reader.landed(buffered_to);
        if let Some(last) = piece.records.last() {
            reader.mid_record = !last.done;
        }
        if let Some(done) = piece.records.iter().rev().find(|record| record.done) {
            reader.at = StartAt::After(done.position);
        }
        // The reader has arrived at the one ahead, even if the record that stood there is gone.
        let until = reader.until.take();
        if let (Some(until), PieceEnd::Limit) = (until, end) {
            reader.at = StartAt::After(until);
        }
        // It has come to where another stood a moment ago: that one waits for it next time.
        reader.near = until.is_some_and(|until| reader.at == StartAt::After(until));
        for lane in lanes {
            self.take_piece(lane.0 as usize, id, &mut piece);
        }
        match end {
            PieceEnd::ShardEnd => self.end_reader(id),
            PieceEnd::More | PieceEnd::Limit => self.join_reader(id),
        }
        self.stop_reader(id);
        self.pump(shard);
        self.checkpoint_if_draining();
    }

    fn take_piece(&mut self, lane: usize, reader: ReaderId, piece: &mut Piece) {
        let Some(state) = self.lanes.get_mut(lane).filter(|state| state.phase == Phase::Reading(reader)) else {
            return;
        };
        let sink = state.sink.0 as usize;
        let Some(items) = piece.lanes.get_mut(sink).and_then(Option::take) else { return };
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        state.frontier.push(batch, &piece.records, &items);
        let whole = piece.records.iter().rev().find(|record| record.done);
        state.read_to = whole.map(|record| record.position).or(state.read_to);
        self.dirty.insert(lane);
        let account = &mut self.accounts[sink];
        account.records += piece.records.len() as u64;
        account.filtered += u64::from(items.filtered);
        let count = items.count();
        let was_mid_record = state.mid_record;
        state.mid_record = piece.records.last().map_or(was_mid_record, |record| !record.done);
        // While a seal stands the sink has to see where its chunk ends, be it with a record that has no items; and
        // where a record ends of which it has the beginning.
        let shown = state.seal.is_some() || was_mid_record;
        if count == 0 && (!shown || piece.records.is_empty()) {
            let nothing_to_try = state.trying && state.frontier.is_clear() && !self.standings[sink].is_down;
            if nothing_to_try {
                self.is_back(lane);
            }
            return;
        }
        account.submitted += count as u64;
        account.bytes += items.bytes() as u64;
        state.awaiting = Some(batch);
        let receipt =
            Receipt::new(state.id, state.epoch, batch, items.encoded.items.len(), &items.own, &self.abandoned);
        let (lane, epoch) = (state.id, state.epoch);
        let batch = LaneBatch { lane, epoch, batch, encoded: items.encoded, own: items.own, receipt };
        self.commands.push_back(Command::Submit { sink: SinkId(sink as u32), batch });
    }

    fn end_reader(&mut self, id: ReaderId) {
        let Some(reader) = self.readers.get_mut(id) else { return };
        for lane in reader.lanes.clone() {
            self.end_lane(lane.0 as usize);
        }
    }

    // --- what sinks say ---

    /// A sink took a batch: the lane may bring the next one.
    pub fn admitted(&mut self, lane: LaneId, batch: BatchId) {
        let Some(state) = self.lanes.get_mut(lane.0 as usize) else { return };
        if state.awaiting != Some(batch) {
            return;
        }
        state.awaiting = None;
        // A barrier or a flush that went before this batch says nothing about it.
        (state.barrier_sent, state.flush_sent, state.hasten_sent) = (false, false, false);
        state.full_since = None;
        let (shard, ending) = (state.shard, state.phase == Phase::Ending);
        if ending {
            self.tell(lane.0 as usize, Tell::Finish);
        }
        self.pump(shard);
        self.checkpoint_if_draining();
    }

    /// A sink settled items. Void if they belong to an older epoch.
    pub fn settled(&mut self, settlement: &Settlement) {
        let index = settlement.lane.0 as usize;
        let current = |lane: &&mut Lane| lane.epoch == settlement.epoch || mutant!(ForgetEpoch);
        let Some(lane) = self.lanes.get_mut(index).filter(current) else { return };
        if mutant!(SkipResolve) && settlement.batch.0 % 7 == 3 {
            return;
        }
        lane.frontier.settle(settlement);
        self.dirty.insert(index);
        lane.barrier_sent = false;
        lane.flush_sent = false;
        lane.hasten_sent = false;
        lane.rewinds = 0;
        lane.full_since = None;
        let (sink, shard) = (lane.sink.0 as usize, lane.shard);
        self.standings[sink].settled_at = Some(self.now);
        let came_back = lane.trying;
        let account = &mut self.accounts[sink];
        *if settlement.rejected { &mut account.rejected } else { &mut account.settled } += settlement.count();
        if came_back {
            self.is_back(index);
        }
        self.seal_moves(index);
        self.pump(shard);
        self.checkpoint_if_draining();
    }

    /// A sink is about to publish a chunk: it is told when this is remembered.
    pub fn seal_wanted(&mut self, lane: LaneId, epoch: Epoch, seal: Seal) {
        let Some(state) = self.lanes.get_mut(lane.0 as usize).filter(|lane| lane.epoch == epoch) else { return };
        self.dirty.insert(lane.0 as usize);
        if state.seal.as_ref().is_some_and(|standing| standing.told && standing.seal == seal) {
            // The rebuilt chunk of an earlier run, unchanged: it is remembered already.
            self.tell(lane.0 as usize, Tell::SealCommitted);
            return;
        }
        if let Some(standing) = state.seal.as_mut().filter(|standing| standing.seal.start == seal.start) {
            // Rebuilt with other names (a filter, a template or the code changed): remember the union first.
            *standing = Standing::asked(seal, standing.at);
        } else {
            state.next_seal = Some(seal);
            state.turn_seal();
        }
        if mutant!(PublishBeforeSeal) {
            self.tell(lane.0 as usize, Tell::SealCommitted);
        }
        self.commit();
    }

    /// A sink has published the chunk whose seal was committed.
    pub fn published(&mut self, lane: LaneId, epoch: Epoch) {
        let index = lane.0 as usize;
        let Some(state) = self.lanes.get_mut(index).filter(|lane| lane.epoch == epoch) else { return };
        let Some(standing) = state.seal.as_mut().filter(|standing| standing.told) else { return };
        standing.published = true;
        self.seal_moves(index);
        self.checkpoint_if_draining();
    }

    fn seal_moves(&mut self, lane: usize) {
        if self.lanes[lane].turn_seal() {
            self.dirty.insert(lane);
            self.commit();
        }
        self.finish_if_resolved(lane);
    }

    /// Receipts were dropped: their lanes rewind.
    pub fn abandoned(&mut self, lane: LaneId, epoch: Epoch) {
        if self.lanes.get(lane.0 as usize).is_some_and(|state| state.epoch == epoch) {
            self.rewind(lane.0 as usize);
        }
    }
}
