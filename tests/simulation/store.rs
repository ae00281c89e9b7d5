//! The model store: slow, failing, failing after it has written, and fenced by a newer writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::sleep;

use super::world::{Process, Shared};
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::delivery::{LaneKey, LaneState};

/// What is remembered; it stays when processes die.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    pub lanes: BTreeMap<LaneKey, LaneState>,
    /// The process that may write.
    pub writer: usize,
}

/// A process's way to it.
#[derive(Debug)]
pub(super) struct ModelStore {
    world: Shared,
    process: Arc<Process>,
}

impl ModelStore {
    /// Takes the right to write.
    pub(super) fn open(world: &Shared, process: &Arc<Process>) -> ModelStore {
        world.lock().store.writer = process.number;
        ModelStore { world: world.clone(), process: Arc::clone(process) }
    }
}

#[async_trait]
impl CheckpointStore for ModelStore {
    async fn load(&mut self) -> Result<Vec<(LaneKey, LaneState)>, StoreError> {
        self.process.gate().await;
        let world = self.world.lock();
        Ok(world.store.lanes.iter().map(|(key, state)| (key.clone(), state.clone())).collect())
    }

    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError> {
        self.process.gate().await;
        let (latency, fails, answer_lost) = {
            let mut world = self.world.lock();
            let bad = world.plan.store;
            let slow = world.fault("slow commit", 50 * bad / 1_000);
            let latency = if slow { world.dice.millis(1_000, 20_000) } else { world.dice.millis(1, 30) };
            (
                latency,
                world.fault("failed commit", 40 * bad / 1_000),
                world.fault("lost answer of the store", 30 * bad / 1_000),
            )
        };
        sleep(latency).await;
        self.process.gate().await;
        {
            let mut world = self.world.lock();
            let number = self.process.number;
            if world.store.writer != number {
                world.note(format_args!("p{number} is fenced"));
                world.count("fenced");
                return Err(StoreError::Fenced("another process owns the store".into()));
            }
            if fails {
                return Err(StoreError::Retry("the model store fails".into()));
            }
            for (key, state) in &states {
                world.committed(number, key, state);
                world.store.lanes.insert(key.clone(), state.clone());
            }
        }
        self.process.gate().await;
        if answer_lost {
            return Err(StoreError::Retry("the model store's answer is lost".into()));
        }
        Ok(())
    }
}
