//! Where a sink's rejects go: items that its destination refuses for good, as dead letters with their sink.
//!
//! A reject is no lane. It is written at once, at least once, under a name or in a line that says which item it is,
//! and only when it is durable does the sink settle the item ([`crate::delivery::Receipt::reject`]).

use std::sync::Arc;

use async_trait::async_trait;

use crate::encode::DeadLetter;

/// Keeps dead letters of sinks.
#[async_trait]
pub trait Rejects: Send + Sync {
    /// Makes the letters durable. Tries until it succeeds, with pauses, and says so in the log; dropping the future
    /// gives up, and what was written may then come again.
    async fn keep(&self, letters: &[DeadLetter]);
}

/// Keeps them in memory: for tests.
#[derive(Debug, Default)]
pub struct MemoryRejects {
    letters: std::sync::Mutex<Vec<DeadLetter>>,
}

impl MemoryRejects {
    /// What was kept so far.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Rejects for MemoryRejects {
    async fn keep(&self, letters: &[DeadLetter]) {
        self.letters.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(letters);
    }
}

/// Shared by all sinks of a pipeline.
pub type SharedRejects = Arc<dyn Rejects>;
