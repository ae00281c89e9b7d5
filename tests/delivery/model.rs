//! Model shards, readers, sinks and store around the real dispatcher, and the checker of its invariants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fixedbitset::FixedBitSet;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tunnelog::delivery::{
    At, Command, Dispatcher, Encoded, Epoch, Item, LaneBatch, LaneId, LaneItems, LaneKey, LaneState, Options, Piece,
    PieceEnd, ReadResult, ReaderId, RecordInfo, Seal, SinkId,
};
use tunnelog::event::{Action, EventId, Kind, Millis, Severity};
use tunnelog::sink::Tell;
use tunnelog::source::{Position, ShardEvent, ShardId, StartAt};

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Faults {
    /// Sinks drop receipts.
    pub(crate) forget: bool,
    /// The process dies and starts again with what the store has.
    pub(crate) crash: bool,
    /// The process is asked to stop and starts again.
    pub(crate) drain: bool,
    /// A shard's retention passes.
    pub(crate) gone: bool,
    /// A restart comes with another filter for sink 1.
    pub(crate) filter: bool,
    /// Sinks take nothing for long, and say so or do not; time passes.
    pub(crate) outage: bool,
    /// Another process takes a shard and gives it back.
    pub(crate) revoked: bool,
}

/// Sink 0 settles items in any order; sink 1 publishes sealed chunks.
const SINKS: usize = 2;
const CHUNKER: usize = 1;

struct ModelShard {
    id: ShardId,
    parents: Vec<usize>,
    /// Items of each record, by sink.
    records: Vec<[u32; SINKS]>,
    gone: bool,
}

struct ModelReader {
    shard: usize,
    /// The next record, and how many of its items (of both sinks) have gone before.
    next: usize,
    half: bool,
}

/// A lane's part of an item: which record, which item, to settle with which batch.
struct Pending {
    position: u64,
    id: u128,
    batch: usize,
    index: u32,
}

#[derive(Default)]
struct ModelLane {
    key: Option<LaneKey>,
    epoch: Epoch,
    pending: Vec<Pending>,
    batches: BTreeMap<usize, LaneBatch>,
    seal: Option<Seal>,
    asked: bool,
    /// Nothing more comes for now, or at all.
    flush: bool,
    finish: bool,
    /// Records up to here are whole.
    whole_to: u64,
}

/// See the module.
pub(crate) struct World {
    rng: ChaCha8Rng,
    faults: Faults,
    shards: Vec<ModelShard>,
    announced: usize,
    /// What survives a crash.
    store: BTreeMap<LaneKey, LaneState>,
    delivered: Vec<BTreeSet<u128>>,
    objects: BTreeMap<String, BTreeSet<u128>>,
    /// What does not.
    dispatcher: Dispatcher,
    readers: BTreeMap<ReaderId, ModelReader>,
    grants: Vec<(ReaderId, Vec<SinkId>, Option<Position>)>,
    lanes: BTreeMap<(usize, LaneId), ModelLane>,
    inboxes: Vec<VecDeque<LaneBatch>>,
    committing: Option<Vec<(LaneKey, LaneState)>>,
    next_batch: usize,
    draining: bool,
    sources_done: bool,
    /// The shell's clock, in milliseconds.
    now: u64,
    /// By sink: until when it takes nothing, and whether it says so.
    out: Vec<Option<(u64, bool)>>,
    /// By sink: how often its lanes were parked, over all processes.
    pub(crate) parks: [u64; SINKS],
    /// Of these records (by number, modulo 3) sink 1 gets nothing; `None`: it gets all.
    filtered: Option<usize>,
}

fn item_id(shard: usize, record: u64, sink: usize, item: u32) -> u128 {
    (shard as u128) << 96 | u128::from(record) << 64 | (sink as u128) << 32 | u128::from(item)
}

fn position(record: usize) -> u64 {
    record as u64 * 3 + 1
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shards = make_shards(&mut rng);
        World {
            rng,
            faults,
            shards,
            announced: 0,
            store: BTreeMap::new(),
            delivered: vec![BTreeSet::new(); SINKS],
            objects: BTreeMap::new(),
            dispatcher: dispatcher(Vec::new()),
            readers: BTreeMap::new(),
            grants: Vec::new(),
            lanes: BTreeMap::new(),
            inboxes: (0..SINKS).map(|_| VecDeque::new()).collect(),
            committing: None,
            next_batch: 0,
            draining: false,
            sources_done: false,
            filtered: None,
            now: 0,
            out: vec![None; SINKS],
            parks: [0; SINKS],
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u32() as usize) % bound.max(1)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Runs to the end; faults stop after a while, and then everything must come to rest (invariant 10).
    pub(crate) fn run(mut self) -> [u64; SINKS] {
        for step in 0..200_000 {
            self.execute();
            if self.dispatcher.is_finished() {
                self.check_end();
                return self.parks;
            }
            let faulty = step < 4_000;
            if self.faults.outage {
                self.pass_time(faulty);
            }
            if faulty && self.faults.revoked && self.chance(1) {
                self.revoke();
            }
            if faulty && self.faults.crash && self.chance(1) && self.chance(30) {
                self.restart();
                continue;
            }
            if faulty && self.faults.drain && !self.draining && self.chance(1) && self.chance(20) {
                self.draining = true;
                self.dispatcher.drain();
            }
            if self.draining && self.dispatcher.is_drained() {
                self.check_drained();
                self.restart();
                continue;
            }
            self.step(faulty);
        }
        let readers: Vec<_> =
            self.readers.iter().map(|(id, reader)| (*id, reader.shard, reader.next, reader.half)).collect();
        panic!(
            "not finished: {:?} readers {readers:?} grants {:?} {:#?}",
            self.dispatcher.load(),
            self.grants,
            self.dispatcher
        );
    }

    /// One sink is out and says so or not; the other one gets everything meanwhile. Then both do.
    pub(crate) fn run_beside_an_outage(mut self, out: usize, told: bool) {
        self.out[out] = Some((u64::MAX, told));
        if told {
            self.dispatcher.sink_down(SinkId(out as u32));
        }
        let other = 1 - out;
        for step in 0.. {
            assert!(step < 200_000, "sink {other} waits for sink {out}: {:#?}", self.dispatcher);
            self.execute();
            let has_all = |shard: usize| self.items_of(shard, other, None).is_subset(&self.delivered[other]);
            if self.announced == self.shards.len() && (0..self.shards.len()).all(has_all) {
                break;
            }
            self.now += 10 + self.below(500) as u64;
            self.dispatcher.tick(Duration::from_millis(self.now));
            self.step(false);
        }
        assert!(self.delivered[out].is_empty());
        self.out[out] = None;
        self.dispatcher.sink_up(SinkId(out as u32));
        self.run();
    }

    fn step(&mut self, faulty: bool) {
        match self.below(9) {
            0 => self.announce(),
            1 | 2 => self.read(),
            3 | 4 => self.admit(),
            5 | 6 => self.settle(faulty),
            7 => self.commit(),
            _ => self.tick(),
        }
        let abandoned = self.dispatcher.abandonments().take();
        for (lane, epoch) in abandoned {
            self.dispatcher.abandoned(lane, epoch);
        }
    }

    /// Ten milliseconds to three seconds; now and then a sink goes out for up to five minutes.
    fn pass_time(&mut self, faulty: bool) {
        self.now += 10 + self.below(300) as u64 * self.below(11) as u64;
        for sink in 0..SINKS {
            let goes_out = faulty && self.chance(1);
            match self.out[sink] {
                Some((until, told)) if self.now >= until || !faulty => {
                    self.out[sink] = None;
                    if told {
                        self.dispatcher.sink_up(SinkId(sink as u32));
                    }
                }
                None if goes_out => {
                    let told = self.chance(50);
                    self.out[sink] = Some((self.now + self.below(100_000) as u64, told));
                    if told {
                        self.dispatcher.sink_down(SinkId(sink as u32));
                    }
                }
                _ => {}
            }
        }
        self.dispatcher.tick(Duration::from_millis(self.now));
    }

    /// Another process takes a shard and gives it back at once; what it did is not modelled.
    fn revoke(&mut self) {
        if self.announced == 0 || self.committing.is_some() {
            return;
        }
        let chosen = self.below(self.announced);
        let shard = &self.shards[chosen];
        let parents = shard.parents.iter().map(|parent| self.shards[*parent].id.clone()).collect();
        let opened = ShardEvent::Opened { shard: shard.id.clone(), parents, start: StartAt::TrimHorizon };
        self.dispatcher.shard(ShardEvent::Revoked(shard.id.clone()));
        self.dispatcher.shard(opened);
    }

    fn announce(&mut self) {
        if self.announced == self.shards.len() {
            if !self.sources_done {
                self.sources_done = true;
                self.dispatcher.source_done();
            } else if self.faults.gone && self.chance(2) {
                let gone = self.below(self.shards.len());
                self.shards[gone].gone = true;
                self.dispatcher.shard(ShardEvent::Gone(self.shards[gone].id.clone()));
            }
            return;
        }
        let shard = &self.shards[self.announced];
        let parents = shard.parents.iter().map(|parent| self.shards[*parent].id.clone()).collect();
        let opened = ShardEvent::Opened { shard: shard.id.clone(), parents, start: StartAt::TrimHorizon };
        self.dispatcher.shard(opened);
        self.announced += 1;
    }

    /// Makes the piece of some grant, of some records, perhaps ending within one.
    fn read(&mut self) {
        if self.grants.is_empty() {
            return;
        }
        let chosen = self.below(self.grants.len());
        let (id, sinks, until) = self.grants.swap_remove(chosen);
        let Some((shard, start, half)) = self.readers.get(&id).map(|reader| (reader.shard, reader.next, reader.half))
        else {
            return;
        };
        let count = self.below(4);
        let total = self.shards[shard].records.len();
        let mut end = (start + count).min(total);
        while let Some(until) = until
            && end > start
            && Position::from(position(end - 1)) > until
        {
            end -= 1;
        }
        let cut = end > start && self.chance(20) && !(half && end - start == 1);
        let piece = self.piece(shard, start..end, half, cut, &sinks);
        let reader = self.readers.get_mut(&id).unwrap();
        (reader.next, reader.half) = if cut { (end - 1, true) } else { (end, half && end == start) };
        let ended = reader.next == total && !reader.half;
        let buffered_to = (total > 0).then(|| Position::from(position((end + 2).min(total) - 1)));
        let next = reader.next;
        let limit = !reader.half && until.is_some_and(|until| Position::from(position(next)) > until);
        let end = match (ended, limit) {
            (true, _) => PieceEnd::ShardEnd,
            (false, true) => PieceEnd::Limit,
            (false, false) => PieceEnd::More,
        };
        self.dispatcher.read(ReadResult { reader: id, piece, end, buffered_to });
    }

    /// Records `range`; the first one's first half may be gone already, the last one's second half may follow.
    fn piece(&mut self, shard: usize, range: Range<usize>, half: bool, cut: bool, sinks: &[SinkId]) -> Piece {
        let records: Vec<RecordInfo> = range
            .clone()
            .map(|record| RecordInfo {
                position: Position::from(position(record)),
                done: !(cut && record + 1 == range.end),
                ..RecordInfo::default()
            })
            .collect();
        let records = Arc::new(records);
        let lanes = (0..SINKS).map(|sink| {
            let mut encoded = Encoded { records: Arc::clone(&records), ..Encoded::default() };
            for (place, record) in range.clone().enumerate() {
                let items = self.items_in(shard, record, sink);
                let from = if half && place == 0 { items / 2 } else { 0 };
                let to = if cut && record + 1 == range.end { items / 2 } else { items };
                for item in from..to {
                    encoded.bytes.push(b'x');
                    encoded.items.push(make_item(
                        place,
                        item_id(shard, position(record), sink, item),
                        encoded.bytes.len(),
                    ));
                }
            }
            let mut own = FixedBitSet::with_capacity(encoded.items.len());
            own.insert_range(..);
            sinks.contains(&SinkId(sink as u32)).then(|| LaneItems::new(&Arc::new(encoded), own, 0))
        });
        let lanes = lanes.collect();
        Piece { records, lanes }
    }

    /// How many items of a record the sink gets now.
    fn items_in(&self, shard: usize, record: usize, sink: usize) -> u32 {
        let filtered = sink == CHUNKER && self.filtered == Some(record % 3);
        if filtered { 0 } else { self.shards[shard].records[record][sink] }
    }

    fn admit(&mut self) {
        let sink = self.below(SINKS);
        if self.out[sink].is_some() {
            return;
        }
        let Some(batch) = self.inboxes[sink].pop_front() else { return };
        let (lane_id, batch_id) = (batch.lane, batch.batch);
        let number = self.next_batch;
        self.next_batch += 1;
        let lane = self.lanes.get_mut(&(sink, lane_id)).unwrap();
        if batch.epoch == lane.epoch {
            for (index, item, _) in batch.items() {
                let position = batch.encoded.records[item.record as usize].position.to_string().parse().unwrap();
                lane.pending.push(Pending { position, id: item.id.0, batch: number, index });
            }
            if let Some(whole) = batch.encoded.records.iter().rev().find(|record| record.done) {
                lane.whole_to = whole.position.to_string().parse().unwrap();
            }
            lane.batches.insert(number, batch);
        }
        self.dispatcher.admitted(lane_id, batch_id);
    }

    fn settle(&mut self, faulty: bool) {
        if self.lanes.is_empty() {
            return;
        }
        let chosen = self.below(self.lanes.len());
        let key = *self.lanes.keys().nth(chosen).unwrap();
        if self.out[key.0].is_some() {
            return;
        }
        if self.faults.forget && faulty && self.chance(3) {
            let lane = self.lanes.get_mut(&key).unwrap();
            lane.batches.clear();
            return;
        }
        if key.0 == CHUNKER { self.seal(key) } else { self.settle_some(key) }
    }

    fn settle_some(&mut self, key: (usize, LaneId)) {
        let count = self.lanes[&key].pending.len();
        if count == 0 {
            return;
        }
        let chosen = self.below(count);
        let pending = self.lanes.get_mut(&key).unwrap().pending.swap_remove(chosen);
        self.delivered[key.0].insert(pending.id);
        self.settle_item(key, &pending);
    }

    fn settle_item(&mut self, key: (usize, LaneId), pending: &Pending) {
        let lane = self.lanes.get_mut(&key).unwrap();
        let Some(batch) = lane.batches.get_mut(&pending.batch) else { return };
        let settlement = batch.receipt.settle(pending.index..pending.index + 1);
        if batch.receipt.open_items() == 0 {
            lane.batches.remove(&pending.batch);
        }
        self.dispatcher.settled(&settlement);
    }

    /// The chunker: asks for a seal when a run of whole records is there.
    fn seal(&mut self, key: (usize, LaneId)) {
        let enough = self.chance(30);
        let lane = self.lanes.get_mut(&key).unwrap();
        if lane.asked || (lane.pending.is_empty() && lane.seal.is_none()) {
            return;
        }
        let end = match &lane.seal {
            Some(seal) => seal.end.to_string().parse().unwrap(),
            None if !enough && !lane.flush && !lane.finish => return,
            // The last record may go on in the next piece: a chunk ends with a whole one.
            None => match lane.pending.iter().map(|pending| pending.position).filter(|at| *at <= lane.whole_to).max() {
                Some(end) => end,
                None => return,
            },
        };
        if lane.seal.is_some() && lane.whole_to < end && !lane.finish {
            // A rebuilt chunk must hold all of its records.
            return;
        }
        lane.flush = false;
        let start = lane.pending.iter().map(|pending| pending.position).min().unwrap_or_default();
        let name = format!("{:?}-{start}", lane.key.as_ref().unwrap());
        let seal = lane.seal.clone().unwrap_or_else(|| Seal {
            start: Position::from(start),
            end: Position::from(end),
            keys: vec![name],
            upload_ids: vec![],
        });
        lane.asked = true;
        lane.seal = Some(seal.clone());
        let epoch = lane.epoch;
        self.dispatcher.seal_wanted(key.1, epoch, seal);
    }

    fn publish(&mut self, key: (usize, LaneId)) {
        let lane = self.lanes.get_mut(&key).unwrap();
        let Some(seal) = lane.seal.take() else { return };
        lane.asked = false;
        let end: u64 = seal.end.to_string().parse().unwrap();
        let (chunk, rest): (Vec<Pending>, Vec<Pending>) =
            std::mem::take(&mut lane.pending).into_iter().partition(|pending| pending.position <= end);
        lane.pending = rest;
        let remembered = &self.store[lane.key.as_ref().unwrap()];
        assert_eq!(remembered.seal.as_ref(), Some(&seal), "published before the seal was remembered");
        let items: BTreeSet<u128> = chunk.iter().map(|pending| pending.id).collect();
        if let Some(before) = self.objects.insert(seal.keys[0].clone(), items.clone()) {
            assert!(self.faults.filter || before == items, "a rebuilt chunk differs");
        }
        self.delivered[key.0].extend(items);
        for pending in &chunk {
            self.settle_item(key, pending);
        }
        let epoch = self.lanes[&key].epoch;
        self.dispatcher.published(key.1, epoch);
    }

    fn commit(&mut self) {
        let Some(states) = self.committing.take() else { return };
        for (key, state) in states {
            self.check_commit(&key, &state);
            self.store.insert(key, state);
        }
        self.dispatcher.committed();
    }

    fn tick(&mut self) {
        self.dispatcher.checkpoint();
    }

    fn execute(&mut self) {
        while let Some(command) = self.dispatcher.next_command() {
            match command {
                Command::OpenReader { reader, shard, from, .. } => self.open_reader(reader, &shard, from),
                Command::Read { reader, sinks, until } => self.grants.push((reader, sinks, until)),
                // The model's sinks have room without end.
                Command::Forgo { .. } => {}
                Command::CloseReader(reader) => {
                    self.readers.remove(&reader);
                }
                Command::OpenLane { sink, lane, key, epoch, seal } => {
                    let opened = ModelLane { key: Some(key), epoch, seal, ..ModelLane::default() };
                    self.lanes.insert((sink.0 as usize, lane), opened);
                }
                Command::Submit { sink, batch } => self.inboxes[sink.0 as usize].push_back(batch),
                Command::Tell { sink, lane, epoch, what } => self.hear((sink.0 as usize, lane), epoch, what),
                Command::Commit(states) => {
                    assert!(self.committing.is_none(), "one commit at a time");
                    self.check_order(&states);
                    self.committing = Some(states);
                }
            }
        }
    }

    fn open_reader(&mut self, reader: ReaderId, shard: &ShardId, from: StartAt) {
        let index = self.shards.iter().position(|known| known.id == *shard).unwrap();
        let next = match from {
            StartAt::After(after) => {
                let after: u64 = after.to_string().parse().unwrap();
                (0..).find(|record| position(*record) > after).unwrap()
            }
            _ => 0,
        };
        self.readers.insert(reader, ModelReader { shard: index, next, half: false });
        self.check_parents(index);
    }

    fn hear(&mut self, key: (usize, LaneId), epoch: Epoch, what: Tell) {
        match what {
            Tell::Discard => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    *lane = ModelLane { key: lane.key.take(), epoch, ..ModelLane::default() };
                }
                self.inboxes[key.0].retain(|batch| batch.lane != key.1);
            }
            Tell::SealCommitted => self.publish(key),
            Tell::Flush => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.flush = true;
                }
            }
            Tell::Finish => {
                if let Some(lane) = self.lanes.get_mut(&key) {
                    lane.finish = true;
                    // Even half a record, of a shard that is gone, is all there will be.
                    lane.whole_to = u64::MAX;
                }
            }
            Tell::Barrier | Tell::Hasten => {}
        }
    }

    /// The process dies; what it had is gone, what the store and the destinations have remains.
    fn restart(&mut self) {
        if self.chance(50)
            && let Some(states) = self.committing.take()
        {
            // A beginning of the commit had reached the store; the answer had not reached the process.
            let beginning = self.below(states.len() + 1);
            self.store.extend(states.into_iter().take(beginning));
        }
        self.count_parks();
        self.dispatcher = dispatcher(self.store.clone().into_iter().collect());
        self.out = vec![None; SINKS];
        self.now = 0;
        self.readers.clear();
        self.grants.clear();
        self.lanes.clear();
        self.inboxes.iter_mut().for_each(VecDeque::clear);
        self.committing = None;
        self.announced = 0;
        self.sources_done = false;
        self.draining = false;
        if self.faults.filter {
            self.filtered = [None, Some(0), Some(1), Some(2)][self.below(4)];
        }
    }

    // --- the checker ---

    fn items_of(&self, shard: usize, sink: usize, up_to: Option<Position>) -> BTreeSet<u128> {
        if sink == CHUNKER && self.faults.filter {
            // Which filter stood when a record was delivered is not known here; the objects are checked at the end.
            return BTreeSet::new();
        }
        let records = &self.shards[shard].records;
        (0..records.len())
            .filter(|record| up_to.is_none_or(|limit| Position::from(position(*record)) <= limit))
            .flat_map(|record| (0..records[record][sink]).map(move |item| item_id(shard, position(record), sink, item)))
            .collect()
    }

    /// An orderly end: where nothing else fails, all that a sink has got is remembered, so that nothing comes again.
    fn check_drained(&self) {
        let alone = Faults { drain: true, ..Faults::default() };
        if self.faults != alone {
            return;
        }
        for sink in 0..SINKS {
            let remembered = self.store.iter().filter(|(key, _)| *key.sink == sink.to_string());
            let all: BTreeSet<u128> = remembered
                .flat_map(|(key, state)| {
                    let shard = self.shards.iter().position(|known| known.id == key.shard).unwrap();
                    match state.at {
                        At::Start(_) => BTreeSet::new(),
                        At::After(position) => self.items_of(shard, sink, Some(position)),
                        At::ShardEnd => self.items_of(shard, sink, None),
                    }
                })
                .collect();
            assert!(self.delivered[sink].is_subset(&all), "an orderly end leaves items that come again");
        }
    }

    /// Invariant 1: what is remembered as settled is at its destination.
    fn check_commit(&self, key: &LaneKey, state: &LaneState) {
        let shard = self.shards.iter().position(|known| known.id == key.shard).unwrap();
        let sink: usize = key.sink.parse().unwrap();
        let expected = match state.at {
            At::Start(_) => return,
            At::After(position) => self.items_of(shard, sink, Some(position)),
            At::ShardEnd if self.shards[shard].gone => return,
            At::ShardEnd => self.items_of(shard, sink, None),
        };
        assert!(expected.is_subset(&self.delivered[sink]), "{key:?} is remembered at {:?} too early", state.at);
    }

    /// Invariant 3, in every beginning of a commit: no child's lane is remembered beyond its start before its parents'
    /// are at their end.
    fn check_order(&self, states: &[(LaneKey, LaneState)]) {
        for (index, (key, state)) in states.iter().enumerate() {
            let shard = self.shards.iter().find(|known| known.id == key.shard).unwrap();
            if shard.gone {
                // It ended unread: nothing of it can come before its parents'.
                continue;
            }
            for parent in shard.parents.iter().map(|parent| &self.shards[*parent]).filter(|parent| !parent.gone) {
                let parent = LaneKey { shard: parent.id.clone(), ..key.clone() };
                let earlier = states[..index].iter().find(|(other, _)| *other == parent).map(|(_, state)| state);
                let ended = earlier.or(self.store.get(&parent)).is_some_and(|state| state.at == At::ShardEnd);
                assert!(ended || matches!(state.at, At::Start(_)), "{key:?} is remembered before its parent");
            }
        }
    }

    /// Invariant 3: some lane has resolved all parents to their end, since a reader was opened.
    fn check_parents(&self, shard: usize) {
        let resolved = (0..SINKS).any(|sink| {
            self.shards[shard].parents.iter().all(|parent| {
                self.shards[*parent].gone || self.items_of(*parent, sink, None).is_subset(&self.delivered[sink])
            })
        });
        assert!(resolved, "shard {shard} is read before its parents");
    }

    fn count_parks(&mut self) {
        for (sum, account) in self.parks.iter_mut().zip(self.dispatcher.accounts()) {
            *sum += account.parks;
        }
    }

    fn check_end(&mut self) {
        self.count_parks();
        for sink in 0..SINKS {
            for shard in (0..self.shards.len()).filter(|shard| !self.shards[*shard].gone) {
                let expected = self.items_of(shard, sink, None);
                assert!(expected.is_subset(&self.delivered[sink]), "sink {sink} lacks items of shard {shard}");
            }
        }
        for account in self.dispatcher.accounts() {
            assert_eq!(
                account.submitted,
                account.settled + account.rejected + account.abandoned,
                "invariant 4: {account:?}"
            );
        }
        let mut published = BTreeSet::new();
        for id in self.objects.values().flatten() {
            assert!(published.insert(*id), "an item is in two objects: {id:x}");
        }
    }
}

fn dispatcher(remembered: Vec<(LaneKey, LaneState)>) -> Dispatcher {
    let sinks = (0..SINKS).map(|sink| sink.to_string().as_str().into()).collect();
    let options = Options { pipeline: "model".into(), sinks, open_records: 8, outage_after: Duration::from_secs(30) };
    Dispatcher::new(options, 1, remembered)
}

fn make_item(record: usize, id: u128, end: usize) -> Item {
    Item {
        end: end as u32,
        record: record as u32,
        id: EventId(id),
        time: Millis(0),
        kind: Kind::Ike,
        action: Action::Rekey,
        severity: Severity::Debug,
    }
}

/// One to three root shards; some split, and some of the halves merge again.
fn make_shards(rng: &mut ChaCha8Rng) -> Vec<ModelShard> {
    let mut pick = |bound: u32| rng.next_u32() % bound;
    let mut parents: Vec<Vec<usize>> = vec![vec![]; 1 + pick(3) as usize];
    if pick(2) == 0 {
        parents.extend([vec![0], vec![0]]);
        if pick(2) == 0 {
            let last = parents.len();
            parents.push(vec![last - 2, last - 1]);
        }
    }
    let shards = parents.into_iter().enumerate().map(|(index, parents)| ModelShard {
        id: ShardId {
            source: "main".into(),
            stream: "stream".into(),
            stream_created: "then".into(),
            shard: format!("shard-{index}").into(),
        },
        parents,
        records: (0..pick(25)).map(|_| [pick(4), pick(4)]).collect(),
        gone: false,
    });
    shards.collect()
}
