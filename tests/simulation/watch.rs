//! The real source, watched: what it says to be lost must be lost, and records ascend.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::world::{Process, Shared};
use crate::memory::Fetch;
use crate::source::{Feed, Position, Reader, Reopen, ShardEvent, ShardId, Source, SourceError, StartAt};

/// See the module.
pub(super) struct Watched {
    pub source: Box<dyn Source>,
    pub world: Shared,
    pub process: Arc<Process>,
}

struct WatchedReopen {
    reopen: Arc<dyn Reopen>,
    world: Shared,
    process: Arc<Process>,
}

struct WatchedReader {
    reader: Box<dyn Reader>,
    world: Shared,
    process: Arc<Process>,
    shard: Option<usize>,
    last: Option<Position>,
}

#[async_trait]
impl Source for Watched {
    async fn next(&mut self) -> Result<Option<ShardEvent>, SourceError> {
        let event = self.source.next().await?;
        if let Some(event) = &event {
            let what = match event {
                ShardEvent::Opened { shard, start, .. } => format!("opened {} at {start:?}", shard.shard),
                ShardEvent::Complete { .. } => "listed completely".into(),
                ShardEvent::Gone(shard) => format!("gone {}", shard.shard),
                ShardEvent::Revoked(shard) => format!("revoked {}", shard.shard),
            };
            self.world.lock().note(format_args!("p{} {what}", self.process.number));
        }
        Ok(event)
    }

    fn reopen(&self) -> Arc<dyn Reopen> {
        let (world, process) = (self.world.clone(), Arc::clone(&self.process));
        Arc::new(WatchedReopen { reopen: self.source.reopen(), world, process })
    }
}

#[async_trait]
impl Reopen for WatchedReopen {
    fn retention(&self) -> Option<Duration> {
        self.reopen.retention()
    }

    fn draw_on(&self, fetch: &Arc<Fetch>) {
        self.reopen.draw_on(fetch);
    }

    async fn open(&self, shard: &ShardId, from: StartAt) -> Result<Box<dyn Reader>, SourceError> {
        let reader = self.reopen.open(shard, from).await?;
        let mut world = self.world.lock();
        world.note(format_args!("p{} reader of {} from {from:?}", self.process.number, shard.shard));
        let index = world.stream.shard_named(&shard.stream_created, &shard.shard);
        let last = if let StartAt::After(position) = from { Some(position) } else { None };
        let (world, process) = (self.world.clone(), Arc::clone(&self.process));
        Ok(Box::new(WatchedReader { reader, world, process, shard: index, last }))
    }
}

#[async_trait]
impl Reader for WatchedReader {
    async fn next(&mut self) -> Result<Feed, SourceError> {
        let feed = self.reader.next().await?;
        let mut world = self.world.lock();
        match &feed {
            Feed::Records(records) => {
                for record in records {
                    if self.last.is_some_and(|last| record.position <= last) {
                        world.fail(format!("record {} is read twice by one reader", record.position));
                    }
                    self.last = Some(record.position);
                }
            }
            Feed::ShardEnd => {
                world.note(format_args!("p{} shard {:?} is read to its end", self.process.number, self.shard))
            }
            Feed::Gap { after, reason } => {
                let now = world.now_ms();
                let true_gap = self.shard.is_some_and(|shard| {
                    let gone = |index: &usize| {
                        let position = super::stream::position(world.stream.records[*index].sequence);
                        after.is_none_or(|after| position >= after) && world.stream.is_gone(*index, now)
                    };
                    !world.stream.shard_is_there(shard, now) || world.stream.shards[shard].records.iter().any(gone)
                });
                world.note(format_args!(
                    "p{} gap in shard {:?} after {after:?}: {reason}",
                    self.process.number, self.shard
                ));
                world.count("gaps");
                if !true_gap {
                    world.fail(format!("a gap is reported after {after:?} where nothing has expired: {reason}"));
                }
            }
        }
        Ok(feed)
    }
}
