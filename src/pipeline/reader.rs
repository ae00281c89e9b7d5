//! A reader's task: fetch, wait for room with the sinks, run the core, hand over one piece for each grant.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::Happened;
use super::spread::{Ahead, Helpers, Made, Work};
use super::tally::SourceTally;
use crate::backoff::Backoff;
use crate::core::{Core, Resume, Scratch};
use crate::delivery::{PieceEnd, ReadResult, ReaderId, SinkId};
use crate::enrich::Inventory;
use crate::memory::{Memory, Pass, Pressure};
use crate::source::{Feed, Position, Reader, Record, Reopen, ShardId, SourceError, StartAt};

/// A piece is handed over when this much is encoded: work crosses tasks in pieces worth the crossing.
const PIECE_BYTES: usize = 512 * 1024;

/// A reader in line for room with its sinks lets go of what it has fetched after this long, if others need the memory:
/// a sink that is only slow gives room much sooner. Sixteen calls may wait for what it holds, and each has a minute.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest such time.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// What is made ahead is let go of when a grant, or room for its piece, does not come for so long: helpers are for those
/// whose sinks take what is made. It takes some milliseconds to make again.
const AHEAD_PATIENCE: Duration = Duration::from_millis(20);

/// How long the room is kept for a reader that then fetches anew.
const REFETCH: Duration = Duration::from_secs(10);

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
    pub memory: Memory,
    pub helpers: Arc<Helpers>,
    pub tally: Arc<SourceTally>,
}

/// What has been fetched and not yet processed.
#[derive(Default)]
struct Buffer {
    records: VecDeque<Record>,
    resume: Resume,
    /// The record that `resume` is within, if it was let go of.
    missing: Option<Position>,
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

    fn is_used_up(&self) -> bool {
        self.records.is_empty() && !self.ended
    }

    fn is_within_record(&self) -> bool {
        self.resume != Resume::default()
    }

    /// Whether there is a record that the piece may have.
    fn has_record_for(&self, grant: &Grant) -> bool {
        let front = self.records.front();
        front.is_some_and(|record| grant.until.is_none_or(|until| record.position <= until))
    }

    /// After a fetch: a record that was let go of in its middle must be the next.
    fn goes_on(&mut self) -> Result<(), Stop> {
        let Some(missing) = self.missing else { return Ok(()) };
        match self.records.front() {
            None if !self.ended => Ok(()),
            Some(record) if record.position == missing => {
                self.missing = None;
                Ok(())
            }
            _ => Err(Stop::Lost),
        }
    }
}

/// What a reader's task reads from.
struct Input {
    /// The source's reader, while it is open.
    reader: Option<Box<dyn Reader>>,
    buffer: Buffer,
    ahead: Ahead,
    /// Behind the last whole record.
    from: StartAt,
    /// Before it is opened.
    pause: Duration,
    /// Room with the sinks is kept for what is fetched.
    hurry: bool,
    /// How long it keeps what it has fetched from others while it waits for room. It grows when fetching anew took
    /// too long, so that a reader whose shard is slow to answer comes to its piece too.
    patience: Duration,
}

impl Input {
    /// Nothing is kept for it any more.
    fn no_hurry(&mut self) {
        self.hurry = false;
        if let Some(reader) = &mut self.reader {
            reader.set_hurry(false);
        }
    }

    /// Whether records were fetched, or a call for some may be under way.
    fn may_hold_memory(&self) -> bool {
        !self.buffer.records.is_empty() || self.may_be_calling()
    }

    /// Whether a call may be under way. What it would have brought begins behind what was fetched before, which is done
    /// by the time when the reader is opened anew.
    fn may_be_calling(&self) -> bool {
        self.reader.is_some() && !self.buffer.ended
    }

    /// Gives back the memory of what was fetched; it is fetched again.
    fn let_go(&mut self) {
        self.ahead.let_go();
        let Buffer { records, resume, missing, .. } = &mut self.buffer;
        if *resume != Resume::default() {
            *missing = missing.or(records.front().map(|record| record.position));
        }
        records.clear();
        records.shrink_to_fit();
        // What it had fetched it would not give a second time.
        self.reader = None;
        self.buffer.ended = false;
    }
}

/// Gives a reader's reserves back.
struct Leaves<'t>(&'t ReaderTask);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.memory.gate.leave(self.0.id);
    }
}

/// Why a reader's task ended.
enum Stop {
    /// Nobody wants it any more.
    Closed,
    /// The rest of a record that was begun is not there any more.
    Lost,
    /// No retry will help.
    Fatal(String),
}

impl ReaderTask {
    /// Runs until the grants end.
    pub(super) async fn run(self, mut grants: UnboundedReceiver<Grant>, events: Sender<Happened>) {
        let happened = match self.read(&mut grants, &events).await {
            Err(Stop::Fatal(reason)) => Happened::Failed(format!("source `{}`: {reason}", self.shard.source)),
            Err(Stop::Lost) => Happened::RecordLost(self.id),
            Ok(()) | Err(Stop::Closed) => return,
        };
        // The dispatcher may be gone already, and then nobody needs the reason.
        let _ = events.send(happened).await;
    }

    async fn read(&self, grants: &mut UnboundedReceiver<Grant>, events: &Sender<Happened>) -> Result<(), Stop> {
        // Its reserves are free when it ends, however it does.
        let _leaves = Leaves(self);
        let Some(mut grant) = grants.recv().await else { return Ok(()) };
        let mut input = Input {
            reader: None,
            buffer: Buffer::default(),
            ahead: Ahead::new(&self.helpers),
            from: self.from,
            pause: self.pause,
            hurry: false,
            patience: PATIENCE,
        };
        loop {
            let result = tokio::select! {
                // In order, so that a run can be repeated; the end comes first and comes once.
                biased;
                // One grant at a time: what comes now can only be the end.
                _ = grants.recv() => return Err(Stop::Closed),
                made = self.make(&grant, &mut input) => made?,
            };
            events.send(Happened::Read(result)).await.map_err(|_| Stop::Closed)?;
            match self.next_grant(grants, &mut input).await {
                Some(next) => grant = next,
                None => return Ok(()),
            }
        }
    }

    /// Waits for the next grant. A reader that is not asked to read, as that of a parked lane between two tries, is in
    /// nobody's way: if others need the memory, it lets go of what it has fetched, and of a call that nobody drives
    /// meanwhile.
    async fn next_grant(&self, grants: &mut UnboundedReceiver<Grant>, input: &mut Input) -> Option<Grant> {
        if !input.ahead.is_empty() {
            match tokio::time::timeout(AHEAD_PATIENCE, grants.recv()).await {
                Ok(grant) => return grant,
                Err(_) => input.ahead.let_go(),
            }
        }
        while input.may_hold_memory() {
            tokio::select! {
                biased;
                grant = grants.recv() => return grant,
                () = self.is_pressed(PATIENCE) => {
                    tracing::debug!(shard = %self.shard, "it rests and others need the memory: what was fetched is read again later");
                    input.let_go();
                }
                () = self.is_crowded(), if input.may_be_calling() => {
                    tracing::debug!(shard = %self.shard, "it rests and others need its place: its call is made again later");
                    input.reader = None;
                }
            }
        }
        grants.recv().await
    }

    /// Others have waited for a while to make a call.
    async fn is_crowded(&self) {
        tokio::time::sleep(PATIENCE).await;
        self.memory.fetch.crowded().await;
    }

    /// Fetches if need be, waits for room with the sinks, makes a piece.
    async fn make(&self, grant: &Grant, input: &mut Input) -> Result<ReadResult, Stop> {
        loop {
            if input.buffer.is_used_up() {
                self.fetch(input).await?;
            }
            if !input.buffer.has_record_for(grant) {
                return Ok(self.piece(grant, input, &mut Scratch::default()).await);
            }
            let pass = self.room_for(grant, input).await;
            if input.buffer.is_used_up() {
                input.hurry = true;
                let fetched = tokio::time::timeout(REFETCH, self.fetch(input)).await;
                input.no_hurry();
                if fetched.is_err() {
                    input.patience = (input.patience * 2).min(LONGEST_PATIENCE);
                }
                fetched.unwrap_or(Ok(()))?;
                if !input.buffer.has_record_for(grant) {
                    // The room is for others in the meantime.
                    continue;
                }
            }
            return Ok(self.make_in_room(grant, input, pass).await);
        }
    }

    async fn make_in_room(&self, grant: &Grant, input: &mut Input, mut pass: Pass) -> ReadResult {
        let mut slot = self.memory.slots.take(self.id).await;
        let mut result = self.piece(grant, input, &mut slot.scratch).await;
        slot.is_within_record = input.buffer.is_within_record();
        drop(slot);
        input.patience = PATIENCE;
        let done = result.piece.records.iter().rev().find(|record| record.done);
        input.from = done.map_or(input.from, |done| StartAt::After(done.position));
        for sink in &grant.sinks {
            let lane = result.piece.lanes.get_mut(sink.0 as usize).and_then(Option::as_mut);
            if let Some(items) = lane.filter(|items| items.count() > 0)
                && let Some(hold) = pass.hold(*sink, items.encoded.footprint())
            {
                items.encoded.in_room(hold);
            }
        }
        if !input.buffer.is_within_record() {
            // What was lent for the record is for others, also while this reader finds nothing new.
            self.memory.gate.leave(self.id);
        }
        result
    }

    /// Waits for room with the sinks that a piece is for. If that lasts and others need the memory of what was fetched,
    /// it is let go of: the source has it still.
    async fn room_for(&self, grant: &Grant, input: &mut Input) -> Pass {
        let mut passing = pin!(self.memory.gate.pass(self.id, &grant.sinks, input.buffer.is_within_record()));
        if !input.ahead.is_empty() {
            match tokio::time::timeout(AHEAD_PATIENCE, &mut passing).await {
                Ok(pass) => return pass,
                Err(_) => input.ahead.let_go(),
            }
        }
        tokio::select! {
            biased;
            pass = &mut passing => return pass,
            () = self.is_pressed(input.patience) => {}
        }
        tracing::debug!(shard = %self.shard, "its sinks take nothing and others need the memory: what was fetched is read again later");
        input.let_go();
        passing.await
    }

    /// Somebody waits for the memory and has room with the sinks already; or it has been held for a while, and somebody
    /// waits for it. Who has grown patient does not yield to the hurry of others.
    async fn is_pressed(&self, patience: Duration) {
        let fetch = &self.memory.fetch;
        tokio::select! {
            biased;
            () = fetch.pressed(Pressure::Urgent), if patience == PATIENCE => {}
            () = async {
                tokio::time::sleep(patience).await;
                fetch.pressed(Pressure::Some).await;
            } => {}
        }
    }

    /// Opens the source's reader behind the last whole record.
    async fn open(&self, from: StartAt) -> Result<Box<dyn Reader>, Stop> {
        let mut backoff = Backoff::new(self.id.0);
        loop {
            match self.reopen.open(&self.shard, from).await {
                Ok(reader) => {
                    self.tally.works(Some(self.id));
                    return Ok(reader);
                }
                Err(error) => self.survive(error, &mut backoff).await?,
            }
        }
    }

    async fn fetch(&self, input: &mut Input) -> Result<(), Stop> {
        let mut backoff = Backoff::new(self.id.0);
        if input.reader.is_none() {
            tokio::time::sleep(input.pause).await;
            input.pause = Duration::ZERO;
            input.reader = Some(self.open(input.from).await?);
        }
        let Some(reader) = &mut input.reader else { return Ok(()) };
        reader.set_hurry(input.hurry);
        loop {
            match reader.next().await {
                Ok(Feed::Records(records)) => {
                    self.tally.works(Some(self.id));
                    input.buffer.records.extend(records);
                    return input.buffer.goes_on();
                }
                Ok(Feed::ShardEnd) => {
                    input.buffer.ended = true;
                    return input.buffer.goes_on();
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
    async fn piece(&self, grant: &Grant, input: &mut Input, scratch: &mut Scratch) -> ReadResult {
        let Input { buffer, ahead, .. } = input;
        let buffered_to = buffer.records.back().map(|record| record.position);
        let known = (buffer.resume, buffer.worth);
        let Made { piece, counts, misses, bytes, records, resume } =
            ahead.next(self.work(grant), &buffer.records, grant.until, known, scratch).await;
        buffer.resume = resume;
        let mut read_bytes = 0;
        for record in buffer.records.drain(..records) {
            self.tally.read_to(&record);
            read_bytes += record.data.len();
        }
        buffer.learn(read_bytes, bytes);
        self.tally.count(&counts);
        self.inventory.misses.note(misses);
        let is_beyond = !buffer.records.is_empty() && !buffer.has_record_for(grant);
        let end = match (buffer.records.is_empty(), buffer.ended) {
            (true, true) => PieceEnd::ShardEnd,
            _ if is_beyond => PieceEnd::Limit,
            _ => PieceEnd::More,
        };
        ReadResult { reader: self.id, piece, end, buffered_to }
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

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
