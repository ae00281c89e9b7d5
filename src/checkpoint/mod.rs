//! Checkpoint stores remember lane states.
//!
//! A store belongs to one writer at a time: opening it takes that right, waits for it or says who has it. The store's
//! fence is against other processes; a lane's epoch is against its own past.
//!
//! Not here: what a state means, and when one is remembered; that is `delivery`.

#[cfg(feature = "aws")]
mod dynamodb;
mod location;
mod redb;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

#[cfg(feature = "aws")]
pub use self::dynamodb::DynamoStore;
pub use self::location::{Contents, Location, Patience, Presence};
pub use self::redb::{OpenError, Peek, RedbStore};
use crate::delivery::{At, LaneKey, LaneState};
use crate::event::Millis;

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth another try after a pause; of a commit any beginning may be remembered.
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

    /// Remembers these states durably. They come with a parent's lane before its children's, and are remembered in
    /// this order: where it fails, what is remembered of them is a beginning of the list, so a child's state never
    /// outruns its parents'. A commit that failed is repeated with the same states before the next one.
    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError>;

    /// Keeps the right to write while nothing is to be committed: waits until that needs a call, makes it and returns.
    /// Cancel-safe. By default there is nothing to keep.
    async fn keep(&mut self) -> Result<(), StoreError> {
        std::future::pending().await
    }

    /// Gives the right to write back, so that the next process need not wait. By default dropping the store does it.
    async fn close(&mut self) {}
}

/// A store that a person may look into and make forget.
#[async_trait]
pub trait ManagedStore: CheckpointStore {
    /// What the store is called.
    fn name(&self) -> &StoreName;

    /// Everything that is remembered, with its age where that is known.
    async fn list(&mut self) -> Result<Vec<Remembered>, StoreError>;

    /// Forgets these lanes. A sink that has delivered something of them becomes another one to [`StoreName::of`].
    async fn forget(&mut self, lanes: &[Remembered]) -> Result<(), StoreError>;
}

/// A lane as it is remembered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The lane.
    pub key: LaneKey,
    /// How far it has come.
    pub state: LaneState,
    /// When that was remembered, by the clock of the machine that did; for people only.
    pub updated: Option<Millis>,
}

impl Remembered {
    /// Whether something of the lane is, or is about to be, at its destination.
    pub fn has_delivered(&self) -> bool {
        self.state.seal.is_some() || !matches!(self.state.at, At::Start(_))
    }
}

/// Names a store, for good: a new one has a new name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreName {
    /// Random: it has to differ from that of any store before it, on any machine.
    pub id: String,
    /// How often lanes of a sink, by its name, were made to forget what they had delivered.
    pub resets: BTreeMap<String, u64>,
}

impl StoreName {
    /// The name to a sink that marks its destination with it: another one after each reset of the sink, since what is
    /// delivered again does not match what is there.
    pub fn of(&self, sink: &str) -> Arc<str> {
        match self.resets.get(sink) {
            None | Some(0) => self.id.as_str().into(),
            Some(count) => format!("{}.{count}", self.id).into(),
        }
    }

    /// Counts the sinks of these lanes that have delivered something.
    fn count_resets(&mut self, lanes: &[Remembered]) {
        let sinks: std::collections::BTreeSet<&str> =
            lanes.iter().filter(|lane| lane.has_delivered()).map(|lane| &*lane.key.sink).collect();
        for sink in sinks {
            *self.resets.entry(sink.to_owned()).or_default() += 1;
        }
    }
}

/// A name that no other store has.
fn random_id() -> Result<String, std::io::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// When something was remembered, for a person.
#[expect(clippy::disallowed_methods, reason = "shown to a person; nothing depends on it")]
fn wall_clock() -> Millis {
    Millis(jiff::Timestamp::now().as_millisecond())
}
