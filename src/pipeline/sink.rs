//! A sink's task: hands it batches and words from the dispatcher, and its words back.
//!
//! A lane has at most one batch that its sink has not admitted, so what waits here is bounded by the number of
//! lanes, and a lane that finds no room holds up no other.

use std::collections::VecDeque;

use tokio::sync::mpsc::{Sender, UnboundedReceiver};

use super::Happened;
use crate::delivery::{BatchId, Epoch, LaneBatch, LaneId, LaneKey, Seal, SinkId};
use crate::sink::{FromSink, Sink, Tell};

/// What the dispatcher has for a sink.
#[derive(Debug)]
pub(super) enum ToSink {
    Open { lane: LaneId, key: LaneKey, epoch: Epoch, seal: Option<Seal> },
    Submit(LaneBatch),
    Tell { lane: LaneId, epoch: Epoch, what: Tell },
}

/// A sink's task.
pub(super) struct SinkTask {
    pub id: SinkId,
    pub sink: Box<dyn Sink>,
    pub events: Sender<Happened>,
    /// Refused, in the order of refusal.
    pub waiting: VecDeque<LaneBatch>,
}

impl SinkTask {
    /// Runs until the inbox is closed, then closes the sink.
    pub(super) async fn run(mut self, mut inbox: UnboundedReceiver<ToSink>) -> Result<(), String> {
        loop {
            tokio::select! {
                // The dispatcher's word first: a discard must not be overtaken by what it voids.
                biased;
                word = inbox.recv() => match word {
                    Some(word) => self.hear(word).await,
                    None => break,
                },
                word = self.sink.next() => self.say(word).await,
            }
        }
        self.sink.close().await
    }

    async fn hear(&mut self, word: ToSink) {
        match word {
            ToSink::Open { lane, key, epoch, seal } => self.sink.open(lane, &key, epoch, seal),
            ToSink::Submit(batch) => self.submit(batch).await,
            ToSink::Tell { lane, epoch, what } => {
                if what == Tell::Discard {
                    self.waiting.retain(|batch| batch.lane != lane);
                }
                self.sink.tell(lane, epoch, what);
            }
        }
    }

    async fn submit(&mut self, batch: LaneBatch) {
        let (lane, id) = (batch.lane, batch.batch);
        match self.sink.submit(batch) {
            Ok(()) => self.admitted(lane, id).await,
            Err(batch) => {
                self.waiting.push_back(batch);
            }
        }
    }

    async fn admitted(&mut self, lane: LaneId, batch: BatchId) {
        self.send(Happened::Admitted { lane, batch }).await;
    }

    async fn say(&mut self, word: FromSink) {
        let sink = self.id;
        match word {
            FromSink::Settled(settlement) => self.send(Happened::Settled(settlement)).await,
            FromSink::SealWanted { lane, epoch, seal } => self.send(Happened::SealWanted { lane, epoch, seal }).await,
            FromSink::Room => {
                // The oldest first, so that no lane starves.
                for batch in std::mem::take(&mut self.waiting) {
                    self.submit(batch).await;
                }
            }
            FromSink::Published { lane, epoch } => self.send(Happened::Published { lane, epoch }).await,
            FromSink::Down(reason) => self.send(Happened::SinkDown { sink, reason }).await,
            FromSink::Up => self.send(Happened::SinkUp(sink)).await,
            FromSink::Failed(reason) => self.send(Happened::SinkFailed { sink, reason }).await,
        }
    }

    async fn send(&mut self, happened: Happened) {
        // The pipeline is ending when nobody listens; what is not settled is read again next time.
        let _ = self.events.send(happened).await;
    }
}
