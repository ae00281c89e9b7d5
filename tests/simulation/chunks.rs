//! The model of S3: per lane a chunk of whole records grows, is cut, uploaded, sealed, published, settled.
//!
//! It keeps to the protocol of the real sink: nothing is completed before the seal is committed; a seal that is found
//! at the opening is rebuilt from exactly its records, after its uploads were aborted; names of it that are not
//! produced again are deleted. What a dead process had asked the bucket to complete may still be completed later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::{Duration, Instant};

use super::checker::EventRef;
use super::hand::{Found, Hand, Trouble, until};
use crate::delivery::{BatchId, Encoded, Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::sink::{FromSink, Sink, Tell};
use crate::source::Position;

/// A lane without news for so long is cut.
const IDLE: Duration = Duration::from_secs(6);

/// A record that is whole, or the beginning of one.
#[derive(Debug)]
struct Gathered {
    position: Position,
    done: bool,
    items: Vec<(BatchId, Found)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// The uploads are on their way.
    Uploading,
    Asked,
    /// These uploads are to be completed.
    Publishing(Vec<String>),
    /// These keys are to be deleted.
    Deleting(Vec<String>),
}

#[derive(Debug)]
struct Cut {
    start: Position,
    end: Position,
    items: Vec<(BatchId, Found)>,
    /// What the seal that is rebuilt had named.
    old_keys: Vec<String>,
    keys: Vec<String>,
    uploads: Vec<String>,
    /// Some records had expired.
    lacks: bool,
    phase: Phase,
    due: Instant,
}

#[derive(Debug)]
struct Lane {
    key: LaneKey,
    shard: usize,
    epoch: Epoch,
    batches: BTreeMap<BatchId, LaneBatch>,
    records: VecDeque<Gathered>,
    touched: Instant,
    rebuild: Option<Seal>,
    /// Uploads of the seal that was found, and when they are aborted.
    clearing: Option<(Vec<String>, Instant)>,
    cut: Option<Cut>,
    flush: bool,
    finish: bool,
    /// It has forgotten its receipts and waits for the rewind.
    is_lost: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Chunks {
    hand: Hand,
    template: u64,
    /// Records of a chunk.
    most: usize,
    lanes: BTreeMap<LaneId, Lane>,
    outbox: VecDeque<FromSink>,
    litter: VecDeque<String>,
    trouble: Trouble,
}

impl Chunks {
    pub(super) fn new(hand: Hand, template: u64) -> Chunks {
        let most = 1 + hand.below(8);
        Chunks {
            hand,
            template,
            most,
            lanes: BTreeMap::new(),
            outbox: VecDeque::new(),
            litter: VecDeque::new(),
            trouble: Trouble::default(),
        }
    }

    /// The object that an event belongs to, by what it tells itself.
    fn partition(&self, event: EventRef) -> String {
        let world = self.hand.world.lock();
        let ike = world.stream.records[event.0].events.get(event.1).is_some_and(|event| event.ike);
        match self.template {
            0 => String::new(),
            1 => format!("kind={}/", if ike { "ike" } else { "bgp" }),
            _ => format!("part={}/", event.1 % 3),
        }
    }

    fn name(&self, lane: &LaneKey, start: Position) -> String {
        format!("{}-{}-{start}", lane.shard.stream_created, lane.shard.shard)
    }

    /// Cuts a chunk where one is due.
    fn cut(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.cut.is_none()) else { return };
        // What has no items before a chunk is nobody's business.
        while lane.rebuild.is_none()
            && lane.records.front().is_some_and(|record| record.done && record.items.is_empty())
        {
            lane.records.pop_front();
        }
        let whole = lane.records.iter().take_while(|record| record.done || lane.finish).count();
        let idle = lane.touched + IDLE <= Instant::now();
        let (count, lacks) = match &lane.rebuild {
            Some(seal) => {
                let within = lane.records.iter().take(whole).take_while(|record| record.position <= seal.end).count();
                let first = lane.records.front().map(|record| record.position);
                let last = within.checked_sub(1).and_then(|last| lane.records.get(last)).map(|record| record.position);
                let complete = first.is_some_and(|first| first <= seal.start) && last == Some(seal.end);
                if last != Some(seal.end) && whole == within && !lane.finish {
                    return;
                }
                (within, !complete)
            }
            None if whole >= self.most => (self.most, false),
            None if whole > 0 && (lane.flush || lane.finish || idle) => (whole, false),
            None => {
                lane.flush = false;
                return;
            }
        };
        let records: Vec<Gathered> = lane.records.drain(..count).collect();
        let ends = records.first().map(|first| first.position).zip(records.last().map(|last| last.position));
        let rebuild = lane.rebuild.take();
        let Some((start, end)) = rebuild.as_ref().map(|seal| (seal.start, seal.end)).or(ends) else { return };
        if lacks {
            self.hand.world.lock().relax(self.hand.name, lane.shard, start, end);
        }
        let items = records.into_iter().flat_map(|record| record.items).collect();
        let old_keys = rebuild.map(|seal| seal.keys).unwrap_or_default();
        let due = self.hand.call();
        lane.cut = Some(Cut {
            start,
            end,
            items,
            old_keys,
            keys: Vec::new(),
            uploads: Vec::new(),
            lacks,
            phase: Phase::Uploading,
            due,
        });
    }

    /// A call of a lane has arrived.
    fn land(&mut self, id: LaneId) {
        let out = self.hand.is_out() || self.hand.fault("failed call to the bucket", 60);
        if let Some(down) = self.trouble.heard(out) {
            self.outbox.push_back(if down { FromSink::Down("the model is down".into()) } else { FromSink::Up });
        }
        let again = self.hand.later();
        let soon = self.hand.call();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let now = Instant::now();
        if let Some((uploads, due)) = &mut lane.clearing
            && *due <= now
        {
            *due = again;
            if !out {
                let mut world = self.hand.world.lock();
                uploads.iter().for_each(|upload| world.bucket.abort(upload));
                lane.clearing = None;
            }
            return;
        }
        let clear = lane.clearing.is_none();
        let Some(cut) = lane.cut.as_mut().filter(|cut| cut.due <= now) else { return };
        if out {
            cut.due = again;
            return;
        }
        cut.due = soon;
        match cut.phase.clone() {
            Phase::Uploading if cut.uploads.is_empty() && !cut.items.is_empty() => self.upload(id),
            Phase::Uploading if clear => self.ask(id),
            Phase::Uploading | Phase::Asked => {}
            Phase::Publishing(uploads) => self.publish(id, uploads),
            Phase::Deleting(keys) => self.delete(id, keys),
        }
    }

    fn upload(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let Some(cut) = &lane.cut else { return };
        let file = self.name(&lane.key, cut.start);
        let mut objects: BTreeMap<String, Vec<EventRef>> = BTreeMap::new();
        for (_, item) in &cut.items {
            objects.entry(format!("{}{file}", self.partition(item.event))).or_default().push(item.event);
        }
        let (key, process, shard) = (lane.key.clone(), self.hand.process.number, lane.shard);
        let mut world = self.hand.world.lock();
        let mut begun = Vec::new();
        for (object, items) in objects {
            items.iter().for_each(|event| world.check_item(process, self.hand.name, shard, *event));
            begun.push((world.bucket.begin(&key, &object, items), object));
        }
        drop(world);
        if let Some(cut) = self.lanes.get_mut(&id).and_then(|lane| lane.cut.as_mut()) {
            (cut.uploads, cut.keys) = begun.into_iter().unzip();
        }
    }

    fn ask(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(cut) = &mut lane.cut else { return };
        if cut.items.is_empty() {
            // An earlier chunk of which nothing is left: its seal stands, and nothing is published.
            cut.phase = Phase::Publishing(Vec::new());
            return;
        }
        cut.phase = Phase::Asked;
        let stale = cut.old_keys.iter().filter(|key| !cut.keys.contains(key));
        let seal = Seal {
            start: cut.start,
            end: cut.end,
            keys: cut.keys.iter().chain(stale).cloned().collect(),
            upload_ids: cut.uploads.clone(),
        };
        let epoch = lane.epoch;
        self.hand.note(format_args!("{} wants a seal from {} to {}", id.0, seal.start, seal.end));
        self.outbox.push_back(FromSink::SealWanted { lane: id, epoch, seal });
    }

    fn publish(&mut self, id: LaneId, mut uploads: Vec<String>) {
        let lost = self.hand.fault("lost answer of the bucket", 80);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(cut) = &mut lane.cut else { return };
        if let Some(upload) = uploads.first().cloned() {
            let mut world = self.hand.world.lock();
            let key = cut.uploads.iter().position(|other| *other == upload).and_then(|place| cut.keys.get(place));
            let kept = cut.lacks && key.is_some_and(|key| world.bucket.is_there(self.hand.name, key));
            if !kept && !world.complete(self.hand.process.number, &upload) {
                drop(world);
                // Its receipts go, and so the lane rewinds and builds it again.
                self.void(id);
                return;
            }
            if lost {
                return;
            }
            uploads.remove(0);
        }
        cut.phase = if uploads.is_empty() {
            let stale = cut.old_keys.iter().filter(|key| !cut.keys.contains(key) && !cut.lacks);
            Phase::Deleting(stale.cloned().collect())
        } else {
            Phase::Publishing(uploads)
        };
    }

    fn delete(&mut self, id: LaneId, mut keys: Vec<String>) {
        if let Some(key) = keys.pop() {
            let mut world = self.hand.world.lock();
            world.note(format_args!("p{} deletes {key}", self.hand.process.number));
            world.bucket.delete(self.hand.name, &key);
            drop(world);
            if let Some(cut) = self.lanes.get_mut(&id).and_then(|lane| lane.cut.as_mut()) {
                cut.phase = Phase::Deleting(keys);
            }
            return;
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(cut) = lane.cut.take() else { return };
        for (batch, item) in cut.items {
            let Some(held) = lane.batches.get_mut(&batch) else { continue };
            self.outbox.push_back(FromSink::Settled(held.receipt.settle(item.index..item.index + 1)));
            if held.receipt.open_items() == 0 {
                lane.batches.remove(&batch);
            }
        }
        self.outbox.push_back(FromSink::Published { lane: id, epoch: lane.epoch });
    }

    /// Drops all that a lane has gathered.
    fn void(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_lost = !lane.batches.is_empty();
        lane.batches.clear();
        lane.records.clear();
        (lane.rebuild, lane.clearing) = (None, None);
        (lane.flush, lane.finish) = (false, false);
        // What is committed belongs to whoever opens the lane next.
        if let Some(cut) = lane.cut.take().filter(|cut| matches!(cut.phase, Phase::Uploading | Phase::Asked)) {
            self.litter.extend(cut.uploads);
        }
    }

    fn due(&self) -> Option<Instant> {
        let of = |lane: &Lane| {
            let clearing = lane.clearing.as_ref().map(|(_, due)| *due);
            let works = |cut: &&Cut| cut.phase != Phase::Asked && (clearing.is_none() || cut.uploads.is_empty());
            let cut = lane.cut.as_ref().filter(works).map(|cut| cut.due);
            let idle = (lane.cut.is_none() && lane.rebuild.is_none() && !lane.records.is_empty())
                .then_some(lane.touched + IDLE);
            clearing.into_iter().chain(cut).chain(idle.filter(|at| *at > Instant::now())).min()
        };
        self.lanes.values().filter_map(of).min()
    }
}

#[async_trait]
impl Sink for Chunks {
    fn open(&mut self, id: LaneId, key: &LaneKey, epoch: Epoch, seal: Option<Seal>) {
        self.hand.open(id, key);
        self.void(id);
        let uploads = seal.as_ref().map(|seal| seal.upload_ids.clone());
        self.lanes.insert(
            id,
            Lane {
                key: key.clone(),
                shard: self.hand.shard(id),
                epoch,
                batches: BTreeMap::new(),
                records: VecDeque::new(),
                touched: Instant::now(),
                clearing: uploads.map(|uploads| (uploads, self.hand.call())),
                rebuild: seal,
                cut: None,
                flush: false,
                finish: false,
                is_lost: false,
            },
        );
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        let found = self.hand.items(&batch);
        let Some(lane) = self.lanes.get_mut(&batch.lane).filter(|lane| lane.epoch == batch.epoch && !lane.is_lost)
        else {
            return Ok(());
        };
        let mut items = found.into_iter().peekable();
        for record in batch.encoded.records.iter() {
            let mut own = Vec::new();
            while let Some(item) = items.next_if(|item| item.position == record.position) {
                own.push((batch.batch, item));
            }
            match lane.records.back_mut().filter(|last| last.position == record.position) {
                Some(begun) => {
                    begun.items.extend(own);
                    begun.done = record.done;
                }
                None => {
                    if let Some(before) = lane.records.back_mut() {
                        before.done = true;
                    }
                    lane.records.push_back(Gathered { position: record.position, done: record.done, items: own });
                }
            }
        }
        lane.touched = Instant::now();
        let is_whole = batch.encoded.records.last().is_none_or(|record| record.done);
        if batch.receipt.open_items() > 0 {
            lane.batches.insert(batch.batch, batch);
        }
        if is_whole {
            // Whole records are compressed, and their buffers given back.
            lane.batches.values_mut().for_each(|batch| batch.encoded = Arc::new(Encoded::default()).into());
        }
        Ok(())
    }

    fn tell(&mut self, id: LaneId, epoch: Epoch, what: Tell) {
        if what == Tell::Discard {
            self.void(id);
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match what {
            Tell::Barrier | Tell::Hasten => {}
            Tell::Flush => lane.flush = true,
            Tell::Finish => lane.finish = true,
            Tell::Discard => lane.epoch = epoch,
            Tell::SealCommitted => {
                if let Some(cut) = lane.cut.as_mut().filter(|cut| cut.phase == Phase::Asked && lane.epoch == epoch) {
                    cut.phase = Phase::Publishing(cut.uploads.clone());
                    cut.due = self.hand.call();
                }
            }
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            for id in self.lanes.keys().copied().collect::<Vec<_>>() {
                self.cut(id);
            }
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            if self.litter.is_empty() {
                until(self.due()).await;
            }
            self.hand.process.gate().await;
            let litter = std::mem::take(&mut self.litter);
            litter.iter().for_each(|upload| self.hand.world.lock().bucket.abort(upload));
            if self.hand.fault("forgotten chunk", 8) {
                let has = self.lanes.iter().filter(|(_, lane)| !lane.batches.is_empty());
                let ids: BTreeSet<LaneId> = has.map(|(id, _)| *id).collect();
                if let Some(id) = ids.iter().nth(self.hand.below(ids.len())) {
                    self.hand.note(format_args!("forgets lane {}", id.0));
                    self.void(*id);
                }
                continue;
            }
            let now = Instant::now();
            let ready = |lane: &Lane| {
                lane.clearing.as_ref().is_some_and(|(_, due)| *due <= now)
                    || lane.cut.as_ref().is_some_and(|cut| cut.due <= now && cut.phase != Phase::Asked)
            };
            if let Some(id) = self.lanes.iter().find(|(_, lane)| ready(lane)).map(|(id, _)| *id) {
                self.land(id);
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}

impl Drop for Chunks {
    /// What was on its way to the bucket when the process died may arrive all the same.
    fn drop(&mut self) {
        let cuts = self.lanes.values().filter_map(|lane| lane.cut.as_ref());
        let underway =
            cuts.filter_map(|cut| if let Phase::Publishing(uploads) = &cut.phase { uploads.first() } else { None });
        let mut world = self.hand.world.lock();
        for upload in underway.cloned().collect::<Vec<_>>() {
            let process = self.hand.process.number;
            if self.hand.process.is_dead() && world.dice.per_mille(500) {
                let after = world.dice.millis(1, 20_000);
                world.arrives_late(upload, process, after);
            }
        }
    }
}
