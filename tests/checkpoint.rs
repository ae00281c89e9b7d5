//! Checkpoint stores: one contract for all of them, and what is DynamoDB's own: the lease, the fence, lost answers,
//! parts that a crash has left, a table that is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "checkpoint/contract.rs"]
mod contract;
#[cfg(feature = "aws")]
#[path = "checkpoint/dynamodb.rs"]
mod dynamodb;
#[cfg(feature = "aws")]
#[path = "checkpoint/program.rs"]
mod program;
#[cfg(feature = "aws")]
#[path = "checkpoint/proxy.rs"]
mod proxy;
#[path = "checkpoint/show.rs"]
mod show;
#[cfg(feature = "aws")]
#[path = "stack/mod.rs"]
mod stack;
mod support;
#[cfg(feature = "aws")]
#[path = "checkpoint/world.rs"]
mod world;

use async_trait::async_trait;
use contract::Opens;
use tempfile::TempDir;
use tunnelog::checkpoint::{ManagedStore, RedbStore};

struct File(TempDir);

#[async_trait]
impl Opens for File {
    async fn open(&self) -> Box<dyn ManagedStore> {
        Box::new(RedbStore::open(&self.0.path().join("c.redb")).unwrap())
    }
}

#[tokio::test]
async fn the_embedded_file_keeps_the_contract() {
    contract::check(|| File(tempfile::tempdir().unwrap())).await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn a_table_keeps_the_contract() {
    contract::check(world::World::new).await;
}
