//! The closed shards of a stream as a source that ends, for the contract of every source.

use std::sync::Arc;

use async_trait::async_trait;
use tunnelog::config::types::Kinesis;
use tunnelog::source::kinesis::KinesisSource;
use tunnelog::source::{Reopen, ShardEvent, Source, SourceError};

use super::bench::Bench;
use super::support::forms;

/// A stream of two closed shards with a small fleet's hour, and their children.
pub(crate) async fn stream(bench: &Bench) -> String {
    let stream = bench.stream(2).await;
    for record in forms::records(&forms::small_fleet()) {
        bench.put(&stream, &record.partition_key, &record.data).await;
    }
    for shard in ["shardId-000000000000", "shardId-000000000001"] {
        bench.split(&stream, shard).await;
    }
    stream
}

/// See the module.
pub(crate) struct Closed {
    source: KinesisSource,
    left: usize,
}

impl Closed {
    pub(crate) async fn open(bench: &Bench, config: &Kinesis) -> Closed {
        Closed { source: tunnelog::source::kinesis::open("main", config, &bench.sdk).await.unwrap(), left: 2 }
    }
}

#[async_trait]
impl Source for Closed {
    async fn next(&mut self) -> Result<Option<ShardEvent>, SourceError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.source.next().await
    }

    fn reopen(&self) -> Arc<dyn Reopen> {
        self.source.reopen()
    }
}
