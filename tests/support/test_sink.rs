//! A sink that behaves as badly as the contract allows: it settles late and out of order, refuses batches, forgets
//! receipts, goes down and up, and as a sealer publishes chunks, each only when the store has its seal.
//!
//! Everything is drawn from a seed. What it must never see or do is asserted on the spot: an item twice within
//! one epoch, a batch of a lane that was not opened, a chunk that is published before its seal is remembered or
//! that is rebuilt with other items.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use fixedbitset::FixedBitSet;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, sleep_until};
use tunnelog::delivery::{Epoch, LaneBatch, LaneId, LaneKey, LaneState, Seal};
use tunnelog::sink::{FromSink, Sink, Tell};
use tunnelog::source::Position;

/// Batches that it holds before it refuses.
const CAPACITY: usize = 2;

/// What the sink does, beside being late and out of order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    pub(crate) refuses: bool,
    pub(crate) forgets: bool,
    pub(crate) goes_down: bool,
    pub(crate) seals: bool,
}

/// The far end: what survives the process.
#[derive(Debug, Default)]
pub(crate) struct Far {
    /// In the order of arrival; of sealed chunks in the order of publication.
    pub(crate) items: Vec<Vec<u8>>,
    pub(crate) objects: BTreeMap<String, Vec<Vec<u8>>>,
    /// What the store has.
    pub(crate) remembered: BTreeMap<LaneKey, LaneState>,
    /// Takes nothing.
    pub(crate) broken: bool,
    /// How many more faults there may be: when they stop, everything must come to rest.
    pub(crate) mischief: u32,
    pub(crate) settled: u64,
    pub(crate) forgotten: u32,
    pub(crate) downs: u32,
    pub(crate) refusals: u32,
    pub(crate) rebuilt: u32,
}

pub(crate) type SharedFar = Arc<Mutex<Far>>;

struct Held {
    batch: LaneBatch,
    /// Not yet delivered.
    open: FixedBitSet,
}

struct Lane {
    key: LaneKey,
    epoch: Epoch,
    held: Vec<Held>,
    /// A chunk that is asked for, or to be rebuilt.
    seal: Option<Seal>,
    asked: bool,
    committed: bool,
    /// Settle what there is.
    flush: bool,
    /// Nothing more comes.
    finish: bool,
    /// The last whole record, be it without items.
    whole_to: Option<Position>,
}

impl Lane {
    fn is_busy(&self) -> bool {
        !self.held.is_empty() || self.seal.is_some()
    }
}

/// See the module.
pub(crate) struct TestSink {
    far: SharedFar,
    manners: Manners,
    rng: ChaCha8Rng,
    lanes: BTreeMap<LaneId, Lane>,
    seen: BTreeSet<(LaneId, Epoch, u64, u32)>,
    down: bool,
    refused: bool,
    due: Option<Instant>,
    outbox: VecDeque<FromSink>,
}

fn lock(far: &SharedFar) -> MutexGuard<'_, Far> {
    far.lock().unwrap()
}

impl TestSink {
    pub(crate) fn new(seed: u64, manners: Manners, far: &SharedFar) -> TestSink {
        TestSink {
            far: Arc::clone(far),
            manners,
            rng: ChaCha8Rng::seed_from_u64(seed),
            lanes: BTreeMap::new(),
            seen: BTreeSet::new(),
            down: false,
            refused: false,
            due: None,
            outbox: VecDeque::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound.max(1)
    }

    fn held(&self) -> usize {
        self.lanes.values().map(|lane| lane.held.len()).sum()
    }

    /// Whether a fault happens now: one in `odds`, while there are any left.
    fn mischief(&mut self, wanted: bool, odds: usize) -> bool {
        let happens = wanted && self.below(odds) == 0;
        let mut far = lock(&self.far);
        if !happens || far.mischief == 0 {
            return false;
        }
        far.mischief -= 1;
        true
    }

    fn act(&mut self) {
        self.weather();
        if self.down {
            return;
        }
        if self.mischief(self.manners.forgets, 12) {
            self.forget();
        }
        let busy: Vec<LaneId> = self.lanes.iter().filter(|(_, lane)| lane.is_busy()).map(|(id, _)| *id).collect();
        if !busy.is_empty() {
            let lane = busy[self.below(busy.len())];
            if self.manners.seals {
                self.seal(lane);
            } else if !self.lanes[&lane].held.is_empty() {
                self.settle_some(lane);
            }
        }
        if self.refused && self.held() < CAPACITY {
            self.refused = false;
            self.outbox.push_back(FromSink::Room);
        }
    }

    /// Goes down and up.
    fn weather(&mut self) {
        let broken = lock(&self.far).broken;
        let falls = !self.down && (broken || self.mischief(self.manners.goes_down, 25));
        if falls {
            self.down = true;
            lock(&self.far).downs += 1;
            self.outbox.push_back(FromSink::Down("the far end is out".into()));
        } else if self.down && !broken && self.below(4) == 0 {
            self.down = false;
            self.outbox.push_back(FromSink::Up);
        }
    }

    /// Drops the receipts of one batch; the lane is rewound for it.
    fn forget(&mut self) {
        let busy: Vec<LaneId> =
            self.lanes.iter().filter(|(_, lane)| !lane.held.is_empty()).map(|(id, _)| *id).collect();
        if busy.is_empty() {
            return;
        }
        let id = busy[self.below(busy.len())];
        let count = self.lanes[&id].held.len();
        let index = self.below(count);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.held.remove(index);
            // A chunk with a hole must not be published; the lane begins anew anyway.
            lane.asked = true;
            lane.committed = false;
        }
        lock(&self.far).forgotten += 1;
    }

    /// Delivers a few items somewhere in some batch.
    fn settle_some(&mut self, id: LaneId) {
        let (index, start, length) = (self.below(64), self.below(64), 1 + self.below(40));
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let index = index % lane.held.len();
        let held = &mut lane.held[index];
        let open: Vec<usize> = held.open.ones().collect();
        let start = open[start % open.len()];
        self.deliver(id, index, start as u32..(start + length) as u32, None);
    }

    fn deliver(&mut self, id: LaneId, index: usize, range: std::ops::Range<u32>, object: Option<&str>) {
        let mut far = lock(&self.far);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Held { batch, open } = &mut lane.held[index];
        let mut items = Vec::new();
        for (item, _, bytes) in batch.items() {
            if range.contains(&item) && open.contains(item as usize) {
                open.remove(item as usize);
                assert!(self.seen.insert((id, batch.epoch, batch.batch.0, item)), "an item twice in one epoch");
                items.push(bytes.to_vec());
            }
        }
        far.items.extend(items.iter().cloned());
        if let Some(object) = object {
            far.objects.entry(object.to_owned()).or_default().extend(items);
        }
        let settlement = batch.receipt.settle(range);
        far.settled += settlement.count();
        self.outbox.push_back(FromSink::Settled(settlement));
        if open.is_clear() {
            lane.held.remove(index);
        }
    }

    /// A sealer's turn: publish what may be, or ask for the next seal.
    fn seal(&mut self, id: LaneId) {
        let (enough, chosen) = (self.below(5) == 0, self.below(1 << 20));
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.asked {
            if lane.committed {
                self.publish(id);
            }
            return;
        }
        let records = whole_records(lane);
        let ends = records.first().copied().zip(records.last().copied());
        let seal = match (&lane.seal, ends) {
            // All of the records of a chunk that is rebuilt must be there again.
            (Some(seal), _) if lane.whole_to < Some(seal.end) && !lane.finish => return,
            (Some(seal), _) => {
                lock(&self.far).rebuilt += 1;
                seal.clone()
            }
            (None, None) => return,
            (None, Some(_)) if !enough && !lane.flush => return,
            (None, Some((first, last))) => {
                let end = if lane.flush { last } else { records[chosen % records.len()] };
                let shard = &lane.key.shard.shard;
                Seal { start: first, end, keys: vec![format!("{shard}-{first}")], upload_ids: vec!["upload".into()] }
            }
        };
        lane.flush = false;
        lane.asked = true;
        lane.seal = Some(seal.clone());
        self.outbox.push_back(FromSink::SealWanted { lane: id, epoch: lane.epoch, seal });
    }

    fn publish(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(seal) = lane.seal.take() else { return };
        (lane.asked, lane.committed) = (false, false);
        let object = seal.keys[0].clone();
        let old = lock(&self.far).objects.remove(&object);
        for index in (0..lane_length(&self.lanes, id)).rev() {
            let end = self.lanes[&id].held[index].items_up_to(seal.end);
            if end > 0 {
                self.deliver(id, index, 0..end, Some(&object));
            }
        }
        let epoch = self.lanes[&id].epoch;
        self.outbox.push_back(FromSink::Published { lane: id, epoch });
        let far = lock(&self.far);
        if let (Some(mut old), Some(new)) = (old, far.objects.get(&object)) {
            let mut new = new.clone();
            old.sort();
            new.sort();
            assert!(old == new, "{object} is rebuilt with other items");
        }
    }
}

fn lane_length(lanes: &BTreeMap<LaneId, Lane>, id: LaneId) -> usize {
    lanes.get(&id).map_or(0, |lane| lane.held.len())
}

impl Held {
    /// How many items, from the first, belong to records up to `end`.
    fn items_up_to(&self, end: Position) -> u32 {
        let records = &self.batch.encoded.records;
        let within = self.batch.encoded.items.iter().take_while(|item| records[item.record as usize].position <= end);
        within.count() as u32
    }
}

/// The positions of a lane's records with items, as far as they are whole.
fn whole_records(lane: &Lane) -> Vec<Position> {
    let mut positions = Vec::new();
    for held in &lane.held {
        let records = &held.batch.encoded.records;
        for (_, item, _) in held.batch.items() {
            let record = &records[item.record as usize];
            if record.done && positions.last() != Some(&record.position) {
                positions.push(record.position);
            }
        }
    }
    positions
}

#[async_trait]
impl Sink for TestSink {
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, seal: Option<Seal>) {
        let new = Lane {
            key: key.clone(),
            epoch,
            held: Vec::new(),
            seal,
            asked: false,
            committed: false,
            flush: false,
            finish: false,
            whole_to: None,
        };
        let old = self.lanes.insert(lane, new);
        assert!(old.is_none_or(|old| old.held.is_empty() && old.epoch <= epoch), "opened anew without a discard");
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        let full = self.manners.refuses && self.held() >= CAPACITY;
        let lane = self.lanes.get_mut(&batch.lane).expect("a batch of a lane that was not opened");
        assert_eq!(batch.epoch, lane.epoch, "a batch of another epoch");
        // A chunk that is rebuilt needs its records, whatever else there is.
        if full && lane.seal.is_none() {
            self.refused = true;
            lock(&self.far).refusals += 1;
            return Err(batch);
        }
        let whole = batch.encoded.records.iter().rev().find(|record| record.done);
        lane.whole_to = whole.map(|record| record.position).or(lane.whole_to);
        if batch.items().next().is_none() {
            return Ok(());
        }
        let mut open = FixedBitSet::with_capacity(batch.encoded.items.len());
        batch.items().for_each(|(index, _, _)| open.insert(index as usize));
        lane.held.push(Held { batch, open });
        Ok(())
    }

    fn tell(&mut self, id: LaneId, epoch: Epoch, what: Tell) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match what {
            Tell::Barrier | Tell::Hasten | Tell::Flush => lane.flush = true,
            Tell::Finish => (lane.flush, lane.finish) = (true, true),
            Tell::Discard => {
                lane.epoch = epoch;
                lane.held.retain(|held| held.batch.epoch >= epoch);
                (lane.seal, lane.asked, lane.committed, lane.flush) = (None, false, false, false);
                (lane.finish, lane.whole_to) = (false, None);
                if std::mem::take(&mut self.refused) {
                    self.outbox.push_back(FromSink::Room);
                }
            }
            Tell::SealCommitted if epoch == lane.epoch => {
                let far = lock(&self.far);
                let remembered = far.remembered.get(&lane.key).and_then(|state| state.seal.as_ref());
                assert!(lane.seal.is_some() && remembered == lane.seal.as_ref(), "a seal that is not remembered");
                lane.committed = true;
            }
            Tell::SealCommitted => {}
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            if !self.lanes.values().any(Lane::is_busy) && !self.down && !self.refused {
                std::future::pending::<()>().await;
            }
            let pause = Duration::from_millis(if self.down { 500 } else { 1 + self.below(9) as u64 });
            let due = *self.due.get_or_insert_with(|| Instant::now() + pause);
            sleep_until(due).await;
            self.due = None;
            self.act();
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}
