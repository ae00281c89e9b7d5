//! Checkpoint stores remember lane states.
//!
//! A store belongs to one writer at a time: opening it takes that right or says who has it. The store's
//! fence is against other processes; a lane's epoch is against its own past.

mod redb;

use async_trait::async_trait;

pub use self::redb::{OpenError, Peek, RedbStore};
use crate::delivery::{LaneKey, LaneState};

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth another try after a pause; nothing of the commit is remembered.
    #[error("{0}")]
    Retry(String),
    /// Another process owns the store now, or no retry will help; the text says what to do.
    #[error("{0}")]
    Fenced(String),
}

/// Remembers lane states.
#[async_trait]
pub trait CheckpointStore: Send {
    /// Everything that is remembered.
    async fn load(&mut self) -> Result<Vec<(LaneKey, LaneState)>, StoreError>;
    /// Remembers these states durably: all or none.
    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError>;
}
