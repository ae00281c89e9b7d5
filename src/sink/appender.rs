//! Appends batches, in order and in durable units, to something that is written like a file.
//!
//! A **unit** is what is written, compressed and synced at once: it succeeds or is undone as a whole, and its
//! items settle only then. A unit begins when enough bytes wait ([`Medium::UNIT_BYTES`]) or when a barrier asks
//! for it, so a file is synced at least once a checkpoint and not once an event.
//!
//! Memory: at most `QUEUE_BYTES` (16 MiB) wait, plus one batch. A failed unit is tried again after a pause that doubles
//! up to `PAUSE_MAX` (30 s); nothing of it has settled.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::{FromSink, Sink, Tell};
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal};

/// Bytes that may wait for a unit before batches are refused: two units of a file and some.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// The pause after a first failure.
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Why a unit could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// Another try may help, once a person has done what the text says.
    Retry(String),
    /// No try will help; the text says what to do.
    Fatal(String),
}

/// What units are written to.
pub trait Medium: Send + 'static {
    /// How many bytes make a unit worth its cost; 0: every batch at once.
    const UNIT_BYTES: usize;
    /// Writes the parts as one unit and makes it durable. On an error nothing of it remains.
    fn write_unit(&mut self, parts: &[LaneBatch]) -> Result<(), WriteError>;
    /// Closes it.
    fn close(&mut self) -> Result<(), String>;
}

/// What a write gives back: the medium, the batches, how it went.
type Written<M> = (M, Vec<LaneBatch>, Result<(), WriteError>);

enum State<M> {
    Ready(M),
    Writing(JoinHandle<Written<M>>),
    /// The write panicked, or the medium failed for good.
    Lost,
}

/// A sink that appends units to a [`Medium`].
pub struct Appender<M> {
    state: State<M>,
    queue: VecDeque<LaneBatch>,
    queue_bytes: usize,
    /// A unit that failed and is tried again.
    failed: Vec<LaneBatch>,
    /// Write what waits even if it is little.
    flush: bool,
    refused: bool,
    epochs: HashMap<LaneId, Epoch>,
    down: bool,
    pause: Duration,
    not_before: Option<Instant>,
    outbox: VecDeque<FromSink>,
}

impl<M: Medium> Appender<M> {
    /// A sink on this medium.
    pub fn new(medium: M) -> Self {
        Appender {
            state: State::Ready(medium),
            queue: VecDeque::new(),
            queue_bytes: 0,
            failed: Vec::new(),
            flush: false,
            refused: false,
            epochs: HashMap::new(),
            down: false,
            pause: PAUSE_MIN,
            not_before: None,
            outbox: VecDeque::new(),
        }
    }

    fn is_current(&self, batch: &LaneBatch) -> bool {
        self.epochs.get(&batch.lane).is_some_and(|epoch| *epoch == batch.epoch)
    }

    /// The next unit, if it is time for one.
    fn unit(&mut self) -> Option<Vec<LaneBatch>> {
        if !self.failed.is_empty() {
            return Some(std::mem::take(&mut self.failed));
        }
        if self.queue.is_empty() {
            self.flush = false;
            return None;
        }
        if !self.flush && self.queue_bytes < M::UNIT_BYTES {
            return None;
        }
        let mut unit = Vec::new();
        let mut bytes = 0;
        while bytes < M::UNIT_BYTES.max(1)
            && let Some(batch) = self.queue.pop_front()
        {
            bytes += batch.encoded.bytes.len();
            unit.push(batch);
        }
        self.queue_bytes -= bytes;
        if std::mem::take(&mut self.refused) {
            self.outbox.push_back(FromSink::Room);
        }
        Some(unit)
    }

    fn start(&mut self, unit: Vec<LaneBatch>) {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Ready(mut medium) => {
                self.state = State::Writing(tokio::task::spawn_blocking(move || {
                    let outcome = medium.write_unit(&unit);
                    (medium, unit, outcome)
                }));
            }
            other => {
                self.state = other;
                self.failed = unit;
            }
        }
    }

    fn written(&mut self, (medium, unit, outcome): Written<M>) {
        self.state = State::Ready(medium);
        match outcome {
            Ok(()) => {
                for batch in unit {
                    self.outbox.push_back(FromSink::Settled(batch.receipt.settle_all()));
                }
                self.pause = PAUSE_MIN;
                if std::mem::take(&mut self.down) {
                    self.outbox.push_back(FromSink::Up);
                }
            }
            Err(WriteError::Retry(reason)) => {
                self.failed = unit.into_iter().filter(|batch| self.is_current(batch)).collect();
                self.not_before = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                if !std::mem::replace(&mut self.down, true) {
                    self.outbox.push_back(FromSink::Down(reason));
                }
            }
            Err(WriteError::Fatal(reason)) => {
                self.state = State::Lost;
                // Keeping the batches keeps their receipts: the process ends, nothing is acknowledged.
                self.failed = unit;
                self.outbox.push_back(FromSink::Failed(reason));
            }
        }
    }
}

#[async_trait]
impl<M: Medium> Sink for Appender<M> {
    fn open(&mut self, lane: LaneId, _: &LaneKey, epoch: Epoch, _: Option<Seal>) {
        self.epochs.insert(lane, epoch);
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        if self.queue_bytes >= QUEUE_BYTES {
            self.refused = true;
            return Err(batch);
        }
        self.queue_bytes += batch.encoded.bytes.len();
        self.queue.push_back(batch);
        Ok(())
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        match what {
            Tell::Barrier | Tell::Hasten | Tell::Flush | Tell::Finish => self.flush = true,
            Tell::Discard => {
                self.epochs.insert(lane, epoch);
                let void = |batch: &LaneBatch| batch.lane == lane && batch.epoch < epoch;
                self.failed.retain(|batch| !void(batch));
                self.queue.retain(|batch| !void(batch));
                self.queue_bytes = self.queue.iter().map(|batch| batch.encoded.bytes.len()).sum();
                if std::mem::take(&mut self.refused) {
                    self.outbox.push_back(FromSink::Room);
                }
            }
            // A file asks for no seal.
            Tell::SealCommitted => {}
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            if let State::Writing(job) = &mut self.state {
                match job.await {
                    Ok(written) => self.written(written),
                    Err(panicked) => {
                        self.state = State::Lost;
                        return FromSink::Failed(format!("writing ended abnormally ({panicked}); please report this"));
                    }
                }
                continue;
            }
            if let Some(time) = self.not_before {
                sleep_until(time).await;
                self.not_before = None;
            }
            match self.unit() {
                Some(unit) if matches!(self.state, State::Ready(_)) => self.start(unit),
                Some(unit) => {
                    self.failed = unit;
                    std::future::pending::<()>().await;
                }
                None => std::future::pending().await,
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        if let State::Writing(job) = &mut self.state
            && let Ok((medium, _, _)) = job.await
        {
            self.state = State::Ready(medium);
        }
        match &mut self.state {
            State::Ready(medium) => medium.close(),
            State::Writing(_) | State::Lost => Ok(()),
        }
    }
}
