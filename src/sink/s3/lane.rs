//! What the sink knows of one lane: what waits, what is gathered, what is on its way.

use std::collections::HashMap;
use std::collections::VecDeque;

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bucket::Upload;
use super::chunk::{Chunk, Due};
use super::queue::Queue;
use crate::delivery::{BatchId, Epoch, Receipt, Seal, Settlement};
use crate::source::Position;

/// An object on its way into the bucket.
#[derive(Default)]
pub(super) struct Transfer {
    /// Begun with its first part.
    pub(super) upload: Option<Upload>,
    pub(super) parts: Vec<CompletedPart>,
    /// What goes next.
    pub(super) waiting: VecDeque<Bytes>,
    /// What is on its way: at most one part an object.
    pub(super) sending: usize,
    pub(super) is_sending: bool,
}

impl Transfer {
    fn held(&self) -> usize {
        self.sending + self.waiting.iter().map(Bytes::len).sum::<usize>()
    }
}

/// A chunk that an earlier run, or epoch, had sealed.
pub(super) struct Rebuild {
    pub(super) seal: Seal,
    /// The first and the last of its records that have come again.
    pub(super) seen: Option<(Position, Position)>,
}

impl Rebuild {
    /// Whether all of its records have come again. Else some have expired, and only what was published has them.
    pub(super) fn is_complete(&self) -> bool {
        self.seen.is_some_and(|(first, last)| first <= self.seal.start && last == self.seal.end)
    }
}

/// A chunk that grows.
pub(super) struct Gathering {
    pub(super) number: u64,
    pub(super) chunk: Chunk<Transfer>,
    pub(super) rebuild: Option<Rebuild>,
    /// The next record belongs to the next chunk.
    pub(super) is_closed: bool,
    pub(super) since: Instant,
    /// When it last got a record.
    pub(super) touched: Instant,
}

/// How far a cut chunk has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Its last parts go out.
    Uploading,
    /// The seal is on its way to the store.
    Asked,
    /// Some of its records have expired: what an earlier run had published is looked up.
    Checking,
    /// This many objects are on their way to being visible.
    Publishing(usize),
    /// This many objects that an earlier run had published and this one has not are on their way out.
    Deleting(usize),
}

/// A chunk that grows no more.
pub(super) struct Cut {
    pub(super) number: u64,
    pub(super) chunk: Chunk<Transfer>,
    pub(super) rebuild: Option<Rebuild>,
    pub(super) phase: Phase,
    /// What the seal names.
    pub(super) keys: Vec<String>,
}

impl Cut {
    /// Keys of the earlier seal that this chunk has not produced again.
    pub(super) fn stale_keys(&self) -> Vec<String> {
        let old = self.rebuild.iter().flat_map(|rebuild| &rebuild.seal.keys);
        old.filter(|key| !self.keys.contains(key)).cloned().collect()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.rebuild.as_ref().is_none_or(Rebuild::is_complete)
    }
}

/// Whether the uploads of an earlier seal are out of the way.
#[derive(Debug)]
pub(super) enum Clearing {
    /// They are to be aborted when nothing of the lane's past is under way: key and upload id.
    Wanted(Vec<(String, String)>),
    /// This many are being aborted.
    Running(usize),
    /// Nobody can publish what an earlier run had sealed.
    Done,
}

/// See the module.
pub(super) struct Lane {
    pub(super) hash: String,
    pub(super) epoch: Epoch,
    pub(super) queue: Queue,
    pub(super) receipts: HashMap<BatchId, Receipt>,
    pub(super) open: Option<Gathering>,
    pub(super) cut: Option<Cut>,
    pub(super) clearing: Clearing,
    /// Jobs under way, those of older epochs included.
    pub(super) running: usize,
    /// Stops the jobs of this epoch.
    pub(super) stop: CancellationToken,
    pub(super) flush: bool,
    pub(super) finish: bool,
    /// It has forgotten its receipts and waits for the rewind.
    pub(super) is_lost: bool,
}

impl Lane {
    pub(super) fn new(hash: String, epoch: Epoch) -> Lane {
        Lane {
            hash,
            epoch,
            queue: Queue::default(),
            receipts: HashMap::new(),
            open: None,
            cut: None,
            clearing: Clearing::Done,
            running: 0,
            stop: CancellationToken::new(),
            flush: false,
            finish: false,
            is_lost: false,
        }
    }

    /// Memory of its objects; what waits in the queue is counted apart.
    pub(super) fn held(&self) -> usize {
        let chunks = self.open.iter().map(|open| &open.chunk).chain(self.cut.iter().map(|cut| &cut.chunk));
        chunks.map(|chunk| chunk.held() + chunk.objects.iter().map(|object| object.upload.held()).sum::<usize>()).sum()
    }

    /// Drops everything of this epoch. The uploads that nobody will complete: key and id.
    pub(super) fn void(&mut self) -> Vec<(String, String)> {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        self.queue.clear();
        self.receipts.clear();
        (self.flush, self.finish) = (false, false);
        let mut litter = Vec::new();
        if let Some(open) = self.open.take() {
            litter.extend(uploads(&open.chunk));
        }
        if let Some(cut) = self.cut.take() {
            // What is committed belongs to whoever opens the lane next.
            if matches!(cut.phase, Phase::Uploading | Phase::Asked) {
                litter.extend(uploads(&cut.chunk));
            }
        }
        litter
    }

    /// Settles what is due.
    pub(super) fn settle(&mut self, due: &[Due]) -> Vec<Settlement> {
        let mut settled = Vec::new();
        for part in due {
            // Exactly these items: a batch's last record may be due (it has no items) while the chunk of an earlier one
            // is still on its way.
            let Some(receipt) = self.receipts.get_mut(&part.batch) else { continue };
            let settlement = receipt.settle(part.items.clone());
            if receipt.open_items() == 0 {
                self.receipts.remove(&part.batch);
            }
            settled.extend((settlement.count() > 0).then_some(settlement));
        }
        settled
    }
}

fn uploads(chunk: &Chunk<Transfer>) -> Vec<(String, String)> {
    let uploads = chunk.objects.iter().filter_map(|object| object.upload.upload.as_ref());
    uploads.map(|upload| (upload.key.clone(), upload.id.clone())).collect()
}
