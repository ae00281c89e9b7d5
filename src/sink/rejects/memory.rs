//! Rejects in memory: they end with the process. For tests of sinks.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::Rejects;
use crate::encode::DeadLetter;

/// Keeps them in memory: for tests.
#[derive(Debug, Default)]
pub struct MemoryRejects {
    letters: Mutex<Vec<DeadLetter>>,
}

impl MemoryRejects {
    /// What was kept so far.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Rejects for MemoryRejects {
    async fn keep(&self, letters: &[DeadLetter]) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(letters);
    }
}
