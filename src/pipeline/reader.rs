//! A reader's task: fetch, run the core, hand over one piece for each grant.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::Happened;
use super::spread::{Helpers, Made, Work};
use super::tally::SourceTally;
use crate::backoff::Backoff;
use crate::core::{Core, Resume, Scratch};
use crate::delivery::{PieceEnd, ReadResult, ReaderId, SinkId};
use crate::enrich::Inventory;
use crate::source::{Feed, Position, Reader, Record, Reopen, ShardId, SourceError, StartAt};

/// A piece is handed over when this much is encoded: work crosses tasks in pieces worth the crossing.
const PIECE_BYTES: usize = 512 * 1024;

fn piece_bytes() -> usize {
    #[cfg(test)]
    if let Some(bytes) = crate::hooks::piece_bytes() {
        return bytes;
    }
    PIECE_BYTES
}

/// Leave to make one piece.
#[derive(Debug)]
pub(super) struct Grant {
    pub sinks: Vec<SinkId>,
    pub until: Option<Position>,
}

/// What a reader's task works with.
pub(super) struct ReaderTask {
    pub id: ReaderId,
    pub shard: ShardId,
    pub from: StartAt,
    pub pause: Duration,
    pub reopen: Arc<dyn Reopen>,
    pub region: Option<Arc<str>>,
    pub core: Arc<Core>,
    pub inventory: Arc<Inventory>,
    pub helpers: Arc<Helpers>,
    pub tally: Arc<SourceTally>,
}

/// What has been fetched and not yet processed.
#[derive(Default)]
struct Buffer {
    records: VecDeque<Record>,
    resume: Resume,
    ended: bool,
    /// Bytes of records that make a full piece, as the last ones did.
    worth: Option<usize>,
}

impl Buffer {
    /// `read` bytes of records became `made` bytes of a piece.
    fn learn(&mut self, read: usize, made: usize) {
        if read > 0 {
            // Where filters leave nothing, a piece is never full.
            let worth = (read as u64).saturating_mul(piece_bytes() as u64).checked_div(made as u64);
            self.worth = Some(worth.map_or(usize::MAX, |worth| usize::try_from(worth).unwrap_or(usize::MAX)));
        }
    }
}

/// Why a reader's task ended.
enum Stop {
    /// Nobody wants it any more.
    Closed,
    /// No retry will help.
    Fatal(String),
}

impl ReaderTask {
    /// Runs until the grants end.
    pub(super) async fn run(self, mut grants: UnboundedReceiver<Grant>, events: Sender<Happened>) {
        if let Err(Stop::Fatal(reason)) = self.read(&mut grants, &events).await {
            // The dispatcher may be gone already, and then nobody needs the reason.
            let _ = events.send(Happened::Failed(format!("source `{}`: {reason}", self.shard.source))).await;
        }
    }

    async fn read(&self, grants: &mut UnboundedReceiver<Grant>, events: &Sender<Happened>) -> Result<(), Stop> {
        let Some(mut grant) = grants.recv().await else { return Ok(()) };
        let mut reader = tokio::select! {
            // In order, so that a run can be repeated; the end comes first and comes once.
            biased;
            // One grant at a time: what comes now can only be the end.
            _ = grants.recv() => return Err(Stop::Closed),
            opened = self.open() => opened?,
        };
        let mut buffer = Buffer::default();
        let mut scratch = Scratch::default();
        loop {
            if buffer.records.is_empty() && !buffer.ended {
                tokio::select! {
                    // As above.
                    biased;
                    _ = grants.recv() => return Err(Stop::Closed),
                    fetched = self.fetch(reader.as_mut(), &mut buffer) => fetched?,
                }
            }
            let result = self.piece(&grant, &mut buffer, &mut scratch).await;
            events.send(Happened::Read(result)).await.map_err(|_| Stop::Closed)?;
            match grants.recv().await {
                Some(next) => grant = next,
                None => return Ok(()),
            }
        }
    }

    async fn open(&self) -> Result<Box<dyn Reader>, Stop> {
        tokio::time::sleep(self.pause).await;
        let mut backoff = Backoff::new(self.id.0);
        loop {
            match self.reopen.open(&self.shard, self.from).await {
                Ok(reader) => {
                    self.tally.works(Some(self.id));
                    return Ok(reader);
                }
                Err(error) => self.survive(error, &mut backoff).await?,
            }
        }
    }

    async fn fetch(&self, reader: &mut dyn Reader, buffer: &mut Buffer) -> Result<(), Stop> {
        let mut backoff = Backoff::new(self.id.0);
        loop {
            match reader.next().await {
                Ok(Feed::Records(records)) => {
                    self.tally.works(Some(self.id));
                    buffer.records.extend(records);
                    return Ok(());
                }
                Ok(Feed::ShardEnd) => {
                    buffer.ended = true;
                    return Ok(());
                }
                Ok(Feed::Gap { after, reason }) => self.tally.gap(&self.shard, after, &reason),
                Err(error) => self.survive(error, &mut backoff).await?,
            }
        }
    }

    async fn survive(&self, error: SourceError, backoff: &mut Backoff) -> Result<(), Stop> {
        match error {
            SourceError::Retry(reason) => {
                self.tally.error(self.id, &self.shard, &reason);
                tokio::time::sleep(backoff.next()).await;
                Ok(())
            }
            SourceError::Fatal(reason) => Err(Stop::Fatal(reason)),
        }
    }

    /// Processes what is in the buffer, up to a piece's size or the grant's end.
    async fn piece(&self, grant: &Grant, buffer: &mut Buffer, scratch: &mut Scratch) -> ReadResult {
        let buffered_to = buffer.records.back().map(|record| record.position);
        let granted = |record: &&Record| grant.until.is_none_or(|until| record.position <= until);
        let records: Vec<&Record> = buffer.records.iter().take_while(granted).collect();
        let made = self.work(grant).spread(&records, buffer.resume, buffer.worth, &self.helpers, scratch).await;
        let Made { mut out, records, resume } = made;
        buffer.resume = resume;
        let mut read_bytes = 0;
        for record in buffer.records.drain(..records) {
            self.tally.read_to(&record);
            read_bytes += record.data.len();
        }
        buffer.learn(read_bytes, out.bytes());
        self.tally.count(&out.counts);
        self.inventory.misses.note(std::mem::take(&mut out.misses));
        let is_beyond = buffer.records.front().is_some_and(|record| !granted(&record));
        let end = match (buffer.records.is_empty(), buffer.ended) {
            (true, true) => PieceEnd::ShardEnd,
            _ if is_beyond => PieceEnd::Limit,
            _ => PieceEnd::More,
        };
        ReadResult { reader: self.id, piece: self.core.piece(out), end, buffered_to }
    }

    fn work(&self, grant: &Grant) -> Work {
        Work {
            core: Arc::clone(&self.core),
            shard: self.shard.clone(),
            region: self.region.clone(),
            snapshot: self.inventory.snapshot(),
            sinks: grant.sinks.clone(),
            full_bytes: piece_bytes(),
        }
    }
}
