//! From a cut chunk to visible objects: upload, ask for the seal, complete, delete, settle.
//!
//! Nothing is completed before the seal is committed. An upload that is gone when it should be completed (a successor
//! or a lifecycle rule has aborted it) costs the lane its receipts, and so a rewind that builds the chunk again.

use std::sync::Arc;

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::{Bucket, Refusal, Upload};
use super::chunk::Object;
use super::lane::{Clearing, Cut, Gathering, Lane, Phase, Transfer};
use super::names;
use super::sink::S3;
use crate::delivery::{LaneId, Seal};
use crate::sink::FromSink;

/// Compressed bytes of an object that are worth a part: above S3's least of 5 MiB; 10,000 of them are 80 GiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// Which object of which chunk a job was for.
#[derive(Clone, Copy, Debug)]
pub(super) struct For {
    pub(super) lane: LaneId,
    chunk: u64,
    object: usize,
}

/// How a job ended.
pub(super) enum Done {
    /// A part is up, in an upload that was perhaps begun for it.
    Part { of: For, upload: Option<Upload>, part: Result<Box<CompletedPart>, Refusal> },
    /// An object is visible, or was already.
    Visible { of: For, outcome: Result<(), Refusal> },
    /// Whether all that an earlier run had sealed is there.
    Checked { of: For, outcome: Result<bool, Refusal> },
    /// A key that is not produced any more is deleted.
    Deleted { of: For, outcome: Result<(), Refusal> },
    /// An upload of an earlier seal is out of the way.
    Cleared { lane: LaneId, outcome: Result<(), Refusal> },
    /// An upload of nobody was aborted, if it could be.
    Swept,
}

impl S3 {
    /// Does what can be done for a lane now.
    pub(super) fn advance_lane(&mut self, id: LaneId) {
        self.clear(id);
        self.cut_if_due(id);
        self.send_parts(id);
        self.ask_for_seal(id);
    }

    fn spawn(&mut self, id: LaneId, job: impl Future<Output = Done> + Send + 'static) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.running += 1;
        }
        self.jobs.spawn(job);
    }

    /// Aborts what an earlier seal's uploads are, once no job of the lane's past is under way.
    fn clear(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.running == 0) else { return };
        let Clearing::Wanted(uploads) = &mut lane.clearing else { return };
        let uploads = std::mem::take(uploads);
        lane.clearing = if uploads.is_empty() { Clearing::Done } else { Clearing::Running(uploads.len()) };
        let stop = lane.stop.clone();
        for (key, upload) in uploads {
            let (bucket, stop) = (Arc::clone(&self.bucket), stop.clone());
            self.spawn(
                id,
                async move { Done::Cleared { lane: id, outcome: bucket.abort(&key, &upload, &stop).await } },
            );
        }
    }

    // --- cutting ---

    fn cut_if_due(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get(&id).filter(|lane| lane.cut.is_none()) else { return };
        let waits = lane.queue.peek().is_some();
        let clock = self.clock_cut(lane).is_some_and(|time| time <= Instant::now());
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let asked = (lane.flush || lane.finish) && !waits;
        let Some(open) = &lane.open else {
            // What was asked for is done. After the end nothing more comes.
            lane.flush = lane.flush && waits;
            return;
        };
        // A sealed chunk is cut where it was cut, unless nothing more will come.
        let due = if open.rebuild.is_some() { lane.finish && !waits } else { asked || clock };
        if !open.is_closed && !due {
            return;
        }
        lane.flush = lane.flush && (waits || open.rebuild.is_some());
        let Some(open) = lane.open.take() else { return };
        match finish(open, &lane.hash, &self.shape) {
            Ok(cut) => lane.cut = Some(cut),
            Err(error) => self.fail(format!("compressing failed ({error}); please report this")),
        }
    }

    // --- uploading ---

    /// Sends the next part of each object that has one.
    fn send_parts(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let mut jobs = Vec::new();
        if let Some(open) = &mut lane.open {
            let start = open.rebuild.as_ref().map_or(open.chunk.start, |rebuild| rebuild.seal.start);
            let file = names::file_name(&lane.hash, start, self.shape.ending());
            for (index, object) in open.chunk.objects.iter_mut().enumerate() {
                if let Some(encoder) = object.encoder.as_mut().filter(|encoder| encoder.ready() >= PART_BYTES)
                    && !object.upload.is_sending
                {
                    object.upload.waiting.push_back(encoder.take().into());
                }
                jobs.extend(
                    next_part(object, &file).map(|part| (For { lane: id, chunk: open.number, object: index }, part)),
                );
            }
        }
        if let Some(cut) = lane.cut.as_mut().filter(|cut| cut.phase == Phase::Uploading) {
            let file = names::file_name(&lane.hash, cut.chunk.start, self.shape.ending());
            for (index, object) in cut.chunk.objects.iter_mut().enumerate() {
                jobs.extend(
                    next_part(object, &file).map(|part| (For { lane: id, chunk: cut.number, object: index }, part)),
                );
            }
        }
        let stop = lane.stop.clone();
        for (of, part) in jobs {
            self.spawn(id, send(Arc::clone(&self.bucket), of, part, stop.clone()));
        }
    }

    /// Asks for the seal of a chunk whose parts are all up.
    fn ask_for_seal(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(cut) = lane.cut.as_mut().filter(|cut| cut.phase == Phase::Uploading) else { return };
        let all_up =
            cut.chunk.objects.iter().all(|object| !object.upload.is_sending && object.upload.waiting.is_empty());
        if !all_up || !matches!(lane.clearing, Clearing::Done) {
            return;
        }
        if cut.chunk.objects.is_empty() {
            // An earlier run's chunk of which nothing is left: its seal stands, and nothing is published.
            self.begin_to_publish(id);
            return;
        }
        let uploads = cut.chunk.objects.iter().filter_map(|object| object.upload.upload.as_ref());
        let seal = Seal {
            start: cut.chunk.start,
            end: cut.chunk.end,
            // Both runs' keys, so that whoever comes next knows them all; the first ones have the uploads.
            keys: cut.keys.iter().cloned().chain(cut.stale_keys()).collect(),
            upload_ids: uploads.map(|upload| upload.id.clone()).collect(),
        };
        cut.phase = Phase::Asked;
        self.outbox.push_back(FromSink::SealWanted { lane: id, epoch: lane.epoch, seal });
    }

    // --- publishing ---

    /// The store has the seal.
    pub(super) fn seal_committed(&mut self, id: LaneId) {
        let cut = self.lanes.get(&id).and_then(|lane| lane.cut.as_ref());
        if cut.is_some_and(|cut| cut.phase == Phase::Asked) {
            self.begin_to_publish(id);
        }
    }

    fn begin_to_publish(&mut self, id: LaneId) {
        let Some((lane, cut)) = self.cut_of(id) else { return };
        if cut.is_complete() {
            self.publish(id, false);
            return;
        }
        cut.phase = Phase::Checking;
        let keys = cut.rebuild.as_ref().map(|rebuild| rebuild.seal.keys.clone()).unwrap_or_default();
        tracing::warn!(
            lane = %lane,
            start = %cut.chunk.start,
            end = %cut.chunk.end,
            "some records of a chunk that was being published have expired: what was published of it is kept"
        );
        let of = For { lane: id, chunk: cut.number, object: 0 };
        let (bucket, stop) = (Arc::clone(&self.bucket), self.stop_of(id));
        self.spawn(id, async move {
            let mut all = true;
            for key in keys {
                match bucket.find(&key, &stop).await {
                    Ok(found) => all &= found.is_some(),
                    Err(refusal) => return Done::Checked { of, outcome: Err(refusal) },
                }
            }
            Done::Checked { of, outcome: Ok(all) }
        });
    }

    /// Makes the chunk's objects visible; `keep`: only those whose key is free.
    fn publish(&mut self, id: LaneId, keep: bool) {
        let Some((_, cut)) = self.cut_of(id) else { return };
        let number = cut.number;
        let uploads: Vec<(Upload, Vec<CompletedPart>)> = cut
            .chunk
            .objects
            .iter_mut()
            .filter_map(|object| Some((object.upload.upload.clone()?, std::mem::take(&mut object.upload.parts))))
            .collect();
        cut.phase = Phase::Publishing(uploads.len());
        let stop = self.stop_of(id);
        for (object, (upload, parts)) in uploads.into_iter().enumerate() {
            let of = For { lane: id, chunk: number, object };
            let (bucket, stop) = (Arc::clone(&self.bucket), stop.clone());
            self.spawn(id, async move {
                Done::Visible { of, outcome: complete(&bucket, upload, &parts, keep, &stop).await }
            });
        }
        self.delete_if_published(id);
    }

    /// Deletes what an earlier run had published under names that this chunk has not.
    fn delete_if_published(&mut self, id: LaneId) {
        let Some((_, cut)) = self.cut_of(id).filter(|(_, cut)| cut.phase == Phase::Publishing(0)) else { return };
        let number = cut.number;
        let keys = if cut.is_complete() { cut.stale_keys() } else { Vec::new() };
        cut.phase = Phase::Deleting(keys.len());
        let stop = self.stop_of(id);
        for (object, key) in keys.into_iter().enumerate() {
            let of = For { lane: id, chunk: number, object };
            let (bucket, stop) = (Arc::clone(&self.bucket), stop.clone());
            self.spawn(id, async move { Done::Deleted { of, outcome: bucket.delete(&key, &stop).await } });
        }
        self.settle_if_published(id);
    }

    fn settle_if_published(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(cut) = lane.cut.take_if(|cut| cut.phase == Phase::Deleting(0)) else { return };
        let settled = lane.settle(&cut.chunk.due);
        self.outbox.extend(settled.into_iter().map(FromSink::Settled));
        self.outbox.push_back(FromSink::Published { lane: id, epoch: lane.epoch });
    }

    /// The lane's chunk cannot be published as it is: without its receipts the lane rewinds and builds it again.
    fn lose(&mut self, id: LaneId, word: &str) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        tracing::warn!(lane = %lane.hash, reason = word, "an upload is gone: its chunk is built again");
        lane.is_lost = true;
        let litter = lane.void();
        self.discard_uploads(litter);
    }

    fn cut_of(&mut self, id: LaneId) -> Option<(String, &mut Cut)> {
        let lane = self.lanes.get_mut(&id)?;
        Some((lane.hash.clone(), lane.cut.as_mut()?))
    }

    fn stop_of(&self, id: LaneId) -> CancellationToken {
        self.lanes.get(&id).map(|lane| lane.stop.clone()).unwrap_or_default()
    }

    // --- what jobs bring ---

    pub(super) fn job_done(&mut self, done: Done) {
        let lane = match &done {
            Done::Part { of, .. } | Done::Visible { of, .. } | Done::Checked { of, .. } | Done::Deleted { of, .. } => {
                Some(of.lane)
            }
            Done::Cleared { lane, .. } => Some(*lane),
            Done::Swept => None,
        };
        if let Some(lane) = lane.and_then(|id| self.lanes.get_mut(&id)) {
            lane.running = lane.running.saturating_sub(1);
        }
        match done {
            Done::Part { of, upload, part } => self.part_done(of, upload, part),
            Done::Visible { of, outcome } => self.step(of, outcome.map(|()| true), |sink| {
                if let Some((_, Cut { phase: Phase::Publishing(left), .. })) = sink.cut_of(of.lane) {
                    *left = left.saturating_sub(1);
                }
                sink.delete_if_published(of.lane);
            }),
            Done::Checked { of, outcome: Ok(true) } => self.step(of, Ok(true), |sink| sink.keep_all(of.lane)),
            Done::Checked { of, outcome } => self.step(of, outcome, |sink| sink.publish(of.lane, true)),
            Done::Deleted { of, outcome } => self.step(of, outcome.map(|()| true), |sink| {
                if let Some((_, Cut { phase: Phase::Deleting(left), .. })) = sink.cut_of(of.lane) {
                    *left = left.saturating_sub(1);
                }
                sink.settle_if_published(of.lane);
            }),
            Done::Cleared { lane, outcome } => self.cleared(lane, &outcome),
            Done::Swept => self.sweeping = self.sweeping.saturating_sub(1),
        }
    }

    /// Goes on with the chunk that a job was for, if it is still there.
    fn step(&mut self, of: For, outcome: Result<bool, Refusal>, on: impl FnOnce(&mut S3)) {
        if self.cut_of(of.lane).is_none_or(|(_, cut)| cut.number != of.chunk) {
            return;
        }
        match outcome {
            Ok(_) => on(self),
            Err(Refusal::Word(word)) => self.lose(of.lane, &word),
            Err(Refusal::Stopped) => {}
        }
    }

    /// All of a chunk was published by an earlier run: what was uploaded for it again is not needed.
    fn keep_all(&mut self, id: LaneId) {
        let Some((_, cut)) = self.cut_of(id) else { return };
        let uploads = cut.chunk.objects.iter_mut().filter_map(|object| object.upload.upload.take());
        let litter: Vec<(String, String)> = uploads.map(|upload| (upload.key, upload.id)).collect();
        self.discard_uploads(litter);
        self.publish(id, true);
    }

    fn cleared(&mut self, id: LaneId, outcome: &Result<(), Refusal>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Clearing::Running(left) = &mut lane.clearing
            && outcome.is_ok()
        {
            *left -= 1;
            if *left == 0 {
                lane.clearing = Clearing::Done;
            }
        }
    }

    fn part_done(&mut self, of: For, upload: Option<Upload>, part: Result<Box<CompletedPart>, Refusal>) {
        let lane = self.lanes.get_mut(&of.lane);
        let Some(transfer) = lane.and_then(|lane| transfer_of(lane, of)) else {
            // The chunk is gone: so is its upload.
            self.discard_uploads(upload.map(|upload| (upload.key, upload.id)).into_iter().collect());
            return;
        };
        (transfer.is_sending, transfer.sending) = (false, 0);
        transfer.upload = upload;
        match part {
            Ok(part) => transfer.parts.push(*part),
            Err(Refusal::Word(word)) => self.lose(of.lane, &word),
            Err(Refusal::Stopped) => {}
        }
    }
}

/// What a part job starts from.
struct NextPart {
    key: String,
    upload: Option<Upload>,
    number: i32,
    bytes: Bytes,
}

fn next_part(object: &mut Object<Transfer>, file: &str) -> Option<NextPart> {
    let transfer = &mut object.upload;
    if transfer.is_sending {
        return None;
    }
    let bytes = transfer.waiting.pop_front()?;
    (transfer.is_sending, transfer.sending) = (true, bytes.len());
    // Lossless: there are at most 10,000 parts, see `PART_BYTES`.
    let number = transfer.parts.len() as i32 + 1;
    Some(NextPart { key: format!("{}{file}", object.partition), upload: transfer.upload.clone(), number, bytes })
}

async fn send(bucket: Arc<Bucket>, of: For, part: NextPart, stop: CancellationToken) -> Done {
    let upload = match part.upload {
        Some(upload) => upload,
        None => match bucket.create(&part.key, &stop).await {
            Ok(upload) => upload,
            Err(refusal) => return Done::Part { of, upload: None, part: Err(refusal) },
        },
    };
    let part = bucket.part(&upload, part.number, part.bytes, &stop).await.map(Box::new);
    Done::Part { of, upload: Some(upload), part }
}

async fn complete(
    bucket: &Bucket,
    upload: Upload,
    parts: &[CompletedPart],
    keep: bool,
    stop: &CancellationToken,
) -> Result<(), Refusal> {
    if keep && bucket.find(&upload.key, stop).await?.is_some() {
        return bucket.abort(&upload.key, &upload.id, stop).await;
    }
    bucket.complete(&upload, parts, stop).await
}

/// The object that a job was for, wherever its chunk is by now.
fn transfer_of(lane: &mut Lane, of: For) -> Option<&mut Transfer> {
    let open = lane.open.as_mut().map(|open| (open.number, &mut open.chunk));
    let cut = lane.cut.as_mut().map(|cut| (cut.number, &mut cut.chunk));
    let (_, chunk) = open.into_iter().chain(cut).find(|(number, _)| *number == of.chunk)?;
    chunk.objects.get_mut(of.object).map(|object| &mut object.upload)
}

/// Ends a chunk's objects.
fn finish(open: Gathering, lane: &str, shape: &super::chunk::Shape) -> std::io::Result<Cut> {
    let Gathering { number, mut chunk, rebuild, .. } = open;
    if let Some(rebuild) = &rebuild {
        // What is asked for is the same chunk, whatever is left of it.
        (chunk.start, chunk.end) = (rebuild.seal.start, rebuild.seal.end);
    }
    let file = names::file_name(lane, chunk.start, shape.ending());
    let mut keys = Vec::with_capacity(chunk.objects.len());
    for object in &mut chunk.objects {
        keys.push(format!("{}{file}", object.partition));
        let rest = object.encoder.take().map(super::encoder::Encoder::finish).transpose()?.unwrap_or_default();
        let transfer = &mut object.upload;
        // Without compression everything may be up already; but an upload has at least one part.
        if !rest.is_empty() || (transfer.upload.is_none() && !transfer.is_sending && transfer.waiting.is_empty()) {
            transfer.waiting.push_back(rest.into());
        }
    }
    Ok(Cut { number, chunk, rebuild, phase: Phase::Uploading, keys })
}

impl Gathering {
    /// A chunk that has just begun.
    pub(super) fn new(
        number: u64,
        chunk: super::chunk::Chunk<Transfer>,
        rebuild: Option<super::lane::Rebuild>,
        now: Instant,
    ) -> Gathering {
        Gathering { number, chunk, rebuild, is_closed: false, since: now, touched: now }
    }
}
