//! A sink whose destination refuses some items for good, as a sink should deal with them: the others are settled at
//! once, a refused one when its dead letter is kept.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use async_trait::async_trait;
use tunnelog::delivery::{Epoch, Item, LaneBatch, LaneId, LaneKey, RecordInfo, Seal};
use tunnelog::encode::DeadLetter;
use tunnelog::event::EventId;
use tunnelog::sink::rejects::SharedRejects;
use tunnelog::sink::{FromSink, Sink, Tell};

use super::letters_in;

/// What was told of an item beside its bytes.
pub(crate) type Told = (Item, RecordInfo);

/// The destination.
#[derive(Debug, Default)]
pub(crate) struct Far {
    pub(crate) items: Vec<Vec<u8>>,
    pub(crate) told: BTreeMap<EventId, Told>,
    /// Items whose letters are kept.
    pub(crate) kept: usize,
}

pub(crate) type SharedFar = Arc<Mutex<Far>>;

/// What happens once letters are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The items are settled.
    Settle,
    /// Never: it is as if the process died in between.
    Die,
}

type Keeping = Pin<Box<dyn Future<Output = (LaneBatch, Vec<u32>)> + Send>>;

pub(crate) struct Picky {
    pub(crate) name: &'static str,
    pub(crate) rejects: SharedRejects,
    pub(crate) refuses: fn(&[u8]) -> bool,
    pub(crate) then: Then,
    /// Letters must be in this file before their items are settled.
    pub(crate) durable: Option<PathBuf>,
    pub(crate) far: SharedFar,
    pub(crate) lanes: BTreeMap<LaneId, LaneKey>,
    pub(crate) keeping: Vec<Keeping>,
    pub(crate) outbox: VecDeque<FromSink>,
}

impl Picky {
    fn lock(&self) -> MutexGuard<'_, Far> {
        self.far.lock().unwrap()
    }

    fn start(&mut self, batch: LaneBatch, refused: Vec<u32>, letters: Vec<DeadLetter>) {
        let (rejects, far, then, durable) =
            (Arc::clone(&self.rejects), Arc::clone(&self.far), self.then, self.durable.clone());
        self.keeping.push(Box::pin(async move {
            rejects.keep(&letters).await;
            if let Some(path) = durable {
                let ids: Vec<EventId> = letters_in(&path).iter().map(|letter| letter.id).collect();
                assert!(letters.iter().all(|letter| ids.contains(&letter.id)), "`keep` returned before it was written");
            }
            far.lock().unwrap().kept += letters.len();
            if then == Then::Die {
                std::future::pending::<()>().await;
            }
            (batch, refused)
        }));
    }
}

#[async_trait]
impl Sink for Picky {
    fn open(&mut self, lane: LaneId, key: &LaneKey, _: Epoch, _: Option<Seal>) {
        self.lanes.insert(lane, key.clone());
    }

    fn submit(&mut self, mut batch: LaneBatch) -> Result<(), LaneBatch> {
        let (mut refused, mut taken, mut letters) = (Vec::new(), Vec::new(), Vec::new());
        for (index, item, bytes) in batch.items() {
            let record = &batch.encoded.records[item.record as usize];
            self.lock().told.insert(item.id, (*item, record.clone()));
            if (self.refuses)(bytes) {
                let lane = &self.lanes[&batch.lane];
                letters.push(DeadLetter::of_item(self.name, lane, record, item, bytes, "too_odd", "DETAIL"));
                refused.push(index);
            } else {
                self.lock().items.push(bytes.to_vec());
                taken.push(index);
            }
        }
        for index in taken {
            self.outbox.push_back(FromSink::Settled(batch.receipt.settle(index..index + 1)));
        }
        if !refused.is_empty() {
            self.start(batch, refused, letters);
        }
        Ok(())
    }

    fn tell(&mut self, _: LaneId, _: Epoch, _: Tell) {}

    async fn next(&mut self) -> FromSink {
        if let Some(word) = self.outbox.pop_front() {
            return word;
        }
        let keeping = &mut self.keeping;
        let (mut batch, refused) = poll_fn(|context| {
            for index in 0..keeping.len() {
                if let Poll::Ready(kept) = keeping[index].as_mut().poll(context) {
                    drop(keeping.remove(index));
                    return Poll::Ready(kept);
                }
            }
            Poll::Pending
        })
        .await;
        for index in refused {
            self.outbox.push_back(FromSink::Settled(batch.receipt.reject(index..index + 1)));
        }
        self.outbox.pop_front().unwrap()
    }

    async fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}
