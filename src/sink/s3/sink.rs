//! The sink itself: takes batches in, gathers chunks, and says what the lanes need to know.
//!
//! How a cut chunk is sealed and published is `publish`. Everything runs inside [`Sink::next`], but for calls to S3:
//! those are jobs of a set that this struct owns, so dropping it ends them.
//!
//! Memory: [`QUEUE_BYTES`] wait, [`object_bytes()`] are in open objects and parts on their way, over all lanes; beyond
//! that, one batch a lane (of which at most one lane may add to its objects: the first that rebuilds a sealed chunk,
//! which cannot be cut early) and the rest of a record that has begun.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Objects;
use super::bucket::Bucket;
use super::chunk::{Chunk, Due, Shape, Spread};
use super::lane::{Clearing, Gathering, Lane, Rebuild};
use super::names;
use super::publish::Done;
use super::trouble::Standing;
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::sink::{FromSink, Sink, Tell};

/// Bytes of batches that may wait over all lanes.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Bytes of batches that may wait in one lane: some pieces, so that reading goes on while one is compressed.
const LANE_QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// What of the sink's own memory is not for objects: copies of parts in requests.
const REQUEST_BYTES: u64 = 16 * 1024 * 1024;

/// Nor this: the row group that is written, one at a time.
const ROWS_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes in open objects, compressors included, and in parts on their way, over all lanes: 64 MiB are worth having. Beyond
/// it the oldest chunk is cut early.
pub(super) fn object_bytes(own_bytes: u64, objects: Objects) -> usize {
    const GOOD: u64 = 64 * 1024 * 1024;
    let rows = if objects == Objects::Parquet { ROWS_BYTES } else { 0 };
    own_bytes.saturating_sub(REQUEST_BYTES + rows).min(GOOD) as usize
}

/// Bytes that are compressed before others get their turn: some milliseconds.
const TURN_BYTES: usize = 256 * 1024;

/// Uploads of nobody that are aborted at a time.
const SWEEPS: usize = 4;

/// Uploads of nobody that are remembered; a lifecycle rule ends the others.
const LITTER: usize = 10_000;

/// How long closing waits for the last of them.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct S3 {
    pub(super) bucket: Arc<Bucket>,
    pub(super) shape: Shape,
    pub(super) lanes: BTreeMap<LaneId, Lane>,
    /// Uploads that earlier processes left, by lane hash.
    stale: HashMap<String, Vec<(String, String)>>,
    pub(super) jobs: JoinSet<Done>,
    pub(super) outbox: VecDeque<FromSink>,
    /// Uploads that nobody will complete: key and id.
    pub(super) litter: VecDeque<(String, String)>,
    pub(super) sweeping: usize,
    refused: BTreeSet<LaneId>,
    /// See [`object_bytes()`].
    most_object_bytes: usize,
    next_chunk: u64,
    /// Whose turn to be compressed comes after this lane's.
    last_turn: LaneId,
    down: bool,
    /// It cannot go on: it has said so.
    pub(super) failed: bool,
}

impl S3 {
    pub(super) fn new(
        bucket: Bucket,
        shape: Shape,
        stale: HashMap<String, Vec<(String, String)>>,
        most_object_bytes: usize,
    ) -> S3 {
        S3 {
            bucket: Arc::new(bucket),
            shape,
            lanes: BTreeMap::new(),
            stale,
            jobs: JoinSet::new(),
            outbox: VecDeque::new(),
            litter: VecDeque::new(),
            sweeping: 0,
            refused: BTreeSet::new(),
            most_object_bytes,
            next_chunk: 0,
            last_turn: LaneId(0),
            down: false,
            failed: false,
        }
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.failed = true;
        self.outbox.push_back(FromSink::Failed(reason));
    }

    pub(super) fn discard_uploads(&mut self, uploads: Vec<(String, String)>) {
        self.litter.extend(uploads);
        self.litter.truncate(LITTER);
    }

    // --- bounds ---

    fn object_bytes(&self) -> usize {
        self.lanes.values().map(Lane::held).sum()
    }

    /// The first lane that rebuilds a sealed chunk: that chunk cannot be cut early, so it may exceed the bounds.
    fn first_rebuilding(&self) -> Option<LaneId> {
        let rebuilds = |lane: &Lane| lane.open.as_ref().is_some_and(|open| open.rebuild.is_some());
        self.lanes.iter().find(|(_, lane)| rebuilds(lane)).map(|(id, _)| *id)
    }

    fn admits(&self, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        if lane.queue.is_mid_record() {
            return true;
        }
        let waiting: usize = self.lanes.values().map(|lane| lane.queue.bytes()).sum();
        let first = lane.queue.is_empty() && self.first_rebuilding() == Some(id);
        lane.queue.bytes() < LANE_QUEUE_BYTES && (waiting < QUEUE_BYTES || first)
    }

    /// Cuts the oldest chunk early while open objects take too much.
    fn relieve(&mut self) {
        if self.object_bytes() < self.most_object_bytes {
            return;
        }
        // What is on its way already makes room by itself.
        if self.lanes.values().any(|lane| lane.cut.is_some()) {
            return;
        }
        let open = self.lanes.values_mut().filter_map(|lane| lane.open.as_mut());
        let open = open.filter(|open| open.rebuild.is_none() && !open.chunk.objects.is_empty());
        if let Some(oldest) = open.min_by_key(|open| open.number) {
            oldest.is_closed = true;
        }
    }

    fn make_room(&mut self) {
        if self.refused.iter().any(|lane| self.admits(*lane)) {
            self.refused.clear();
            self.outbox.push_back(FromSink::Room);
        }
    }

    // --- gathering ---

    /// Compresses some of what waits. Whether there was anything to do.
    fn work(&mut self) -> bool {
        let full = self.object_bytes() >= self.most_object_bytes;
        let first = if full { self.first_rebuilding() } else { None };
        let after = self.lanes.range(LaneId(self.last_turn.0 + 1)..).chain(self.lanes.range(..=self.last_turn));
        let ids: Vec<LaneId> = after.map(|(id, _)| *id).filter(|id| !full || first == Some(*id)).collect();
        for id in ids {
            let mut done = 0;
            let mut any = false;
            while done < TURN_BYTES
                && let Some(bytes) = self.feed(id)
            {
                done += bytes;
                any = true;
            }
            if any {
                self.last_turn = id;
                return true;
            }
        }
        false
    }

    /// Puts a lane's next record into its chunk. Its bytes; `None` if nothing can be done.
    fn feed(&mut self, id: LaneId) -> Option<usize> {
        let lane = self.lanes.get_mut(&id)?;
        if lane.open.as_ref().is_some_and(|open| open.is_closed) {
            return None;
        }
        let record = lane.queue.peek()?;
        let position = record.info.position;
        let spread = Spread::of(&self.shape.template, &record);
        if lane.open.is_none() && record.pieces.iter().all(|(_, items)| items.is_empty()) {
            let mut due: Vec<Due> = Vec::new();
            lane.queue.take(&mut due);
            let settled = lane.settle(&due);
            self.outbox.extend(settled.into_iter().map(FromSink::Settled));
            return Some(0);
        }
        let now = Instant::now();
        let open = lane.open.get_or_insert_with(|| {
            self.next_chunk += 1;
            Gathering::new(self.next_chunk, Chunk::new(record.info), None, now)
        });
        open.is_closed = match &mut open.rebuild {
            Some(rebuild) if position > rebuild.seal.end => return close(open),
            Some(rebuild) => {
                let first = rebuild.seen.map_or(position, |(first, _)| first);
                rebuild.seen = Some((first, position));
                position == rebuild.seal.end
            }
            None if !open.chunk.takes(&self.shape, record.info, &spread) => return close(open),
            None => false,
        };
        open.touched = now;
        match open.chunk.push(&self.shape, &record, &spread) {
            Ok(bytes) => {
                lane.queue.take(&mut open.chunk.due);
                Some(bytes)
            }
            Err(error) => {
                self.fail(format!("compressing failed ({error}); please report this"));
                None
            }
        }
    }

    /// When a chunk is to be cut although no record says so.
    fn wake_at(&self) -> Option<Instant> {
        self.lanes.values().filter_map(|lane| self.clock_cut(lane)).min()
    }

    /// A lane without records for a window, or whose records tell no time, is cut by the clock.
    pub(super) fn clock_cut(&self, lane: &Lane) -> Option<Instant> {
        let open = lane.open.as_ref().filter(|open| open.rebuild.is_none() && !open.is_closed)?;
        let since = if open.chunk.is_timeless() { open.since } else { open.touched };
        (lane.cut.is_none() && lane.queue.is_empty()).then_some(since + self.shape.window)
    }

    // --- words ---

    fn note_trouble(&mut self) {
        match self.bucket.trouble.standing() {
            Standing::Fine if self.down => {
                self.down = false;
                self.outbox.push_back(FromSink::Up);
            }
            Standing::Failing { down_at, reason } if !self.down && down_at <= Instant::now() => {
                self.down = true;
                self.outbox.push_back(FromSink::Down(reason));
            }
            Standing::Fine | Standing::Failing { .. } => {}
        }
    }

    fn down_at(&self) -> Option<Instant> {
        match self.bucket.trouble.standing() {
            Standing::Failing { down_at, .. } if !self.down => Some(down_at),
            _ => None,
        }
    }

    fn sweep(&mut self) {
        while self.sweeping < SWEEPS
            && let Some((key, id)) = self.litter.pop_front()
        {
            self.sweeping += 1;
            let bucket = Arc::clone(&self.bucket);
            self.jobs.spawn(async move {
                bucket.abandon(&key, &id).await;
                Done::Swept
            });
        }
    }

    fn advance(&mut self) {
        self.note_trouble();
        self.relieve();
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            self.advance_lane(id);
        }
        self.sweep();
        self.make_room();
    }
}

/// The record that comes next is not this chunk's.
fn close(open: &mut Gathering) -> Option<usize> {
    open.is_closed = true;
    Some(0)
}

#[async_trait]
impl Sink for S3 {
    fn open(&mut self, id: LaneId, key: &LaneKey, epoch: Epoch, seal: Option<Seal>) {
        let hash = names::lane_hash(key);
        let stale = self.stale.remove(&hash).unwrap_or_default();
        let sealed: Vec<(String, String)> = seal
            .as_ref()
            .map(|seal| seal.keys.iter().cloned().zip(seal.upload_ids.iter().cloned()).collect())
            .unwrap_or_default();
        self.discard_uploads(
            stale.into_iter().filter(|(_, upload)| !sealed.iter().any(|(_, id)| id == upload)).collect(),
        );
        let running = self.lanes.get(&id).map_or(0, |lane| lane.running);
        let void = self.lanes.get_mut(&id).map(Lane::void).unwrap_or_default();
        self.discard_uploads(void);
        let mut lane = Lane { running, ..Lane::new(hash, epoch) };
        if let Some(seal) = seal {
            self.next_chunk += 1;
            let chunk = Chunk::rebuilding(seal.start, seal.end);
            lane.clearing = Clearing::Wanted(sealed);
            lane.open =
                Some(Gathering::new(self.next_chunk, chunk, Some(Rebuild { seal, seen: None }), Instant::now()));
        }
        self.lanes.insert(id, lane);
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        let id = batch.lane;
        if !self.admits(id) {
            self.refused.insert(id);
            return Err(batch);
        }
        // A batch of an older epoch, or of a lane that is about to rewind, is dropped with its receipt.
        if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.epoch == batch.epoch && !lane.is_lost) {
            let (number, receipt) = lane.queue.push(batch);
            lane.receipts.insert(number, receipt);
        }
        Ok(())
    }

    fn tell(&mut self, id: LaneId, epoch: Epoch, what: Tell) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match what {
            // An object would hold the events of seconds: a chunk that is open is simply not settled.
            Tell::Barrier | Tell::Hasten => {}
            Tell::Flush => lane.flush = true,
            Tell::Finish => {
                lane.finish = true;
                lane.queue.end();
            }
            Tell::Discard => {
                let litter = lane.void();
                lane.epoch = epoch;
                self.discard_uploads(litter);
                self.refused.remove(&id);
            }
            Tell::SealCommitted if lane.epoch == epoch => self.seal_committed(id),
            Tell::SealCommitted => {}
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if !self.failed {
                self.advance();
            }
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            if self.failed {
                std::future::pending::<()>().await;
            }
            if self.work() {
                tokio::task::yield_now().await;
                continue;
            }
            let wake = self.wake_at().into_iter().chain(self.down_at()).min();
            let trouble = Arc::clone(&self.bucket.trouble);
            tokio::select! {
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.job_done(done),
                    Err(error) => self.fail(format!("a call to S3 ended abnormally ({error}); please report this")),
                },
                () = trouble.changed() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        // What is open is in no seal: nothing of it will be visible, and the next run aborts it.
        let uploads: Vec<(String, String)> = self.lanes.values_mut().flat_map(Lane::void).collect();
        self.discard_uploads(uploads);
        let deadline = Instant::now() + CLOSE_WAIT;
        self.sweep();
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.jobs.join_next()).await {
            if let Ok(done) = done {
                self.job_done(done);
            }
            self.sweep();
        }
        Ok(())
    }
}
