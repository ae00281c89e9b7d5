//! Sinks put items where they belong and say when they are safe there.
//!
//! A sink settles an item only when its destination has it for good: settled is durable. It retries inside,
//! keeps the order of a lane where its protocol can, and bounds what it holds by refusing batches
//! ([`Sink::submit`]). It never acknowledges anything to a source.

pub mod appender;
pub mod console;
#[cfg(any(feature = "aws", feature = "splunk"))]
mod custody;
pub mod file;
#[cfg(feature = "aws")]
pub mod firehose;
#[cfg(any(feature = "aws", feature = "splunk"))]
mod held;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod late;
pub mod rejects;
#[cfg(feature = "aws")]
pub mod s3;
#[cfg(feature = "splunk")]
pub mod splunk_hec;
#[cfg(any(feature = "aws", feature = "splunk"))]
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use self::rejects::SharedRejects;
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal, Settlement};

/// What a sink knows of the pipeline that it is in.
#[derive(Clone)]
pub struct Context {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The sink's name in the pipeline file.
    pub name: Arc<str>,
    /// The pipeline file's folder: certificates and password files are relative to it.
    pub folder: PathBuf,
    /// Names the checkpoint store: another one there, or a new one after a loss, has another name. Empty in a probe
    /// that cannot know it, since another process has the store.
    pub store: Arc<str>,
    /// Where items go that the destination refuses for good.
    pub rejects: SharedRejects,
    /// What the sink may hold beside the batches that it has admitted, in bytes: a client's queue, open objects. Its
    /// part of `limits.memory`.
    pub own_bytes: u64,
}

/// What a sink may hold beside its batches where nobody plans: as much as is worth having.
pub const OWN_BYTES: u64 = 96 * 1024 * 1024;

/// Why a sink is not connected to its destination; the text says what is wrong and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConnectError {
    /// It is away: not to be reached, too slow, too busy, or it says that it has failed. It may pass by itself.
    #[error("{0}")]
    Passing(String),
    /// It is missing, refuses these credentials or belongs to another one, or the pipeline file is wrong.
    #[error("{0}")]
    Standing(String),
}

impl From<String> for ConnectError {
    /// What nobody knows better stands.
    fn from(text: String) -> ConnectError {
        ConnectError::Standing(text)
    }
}

#[cfg(feature = "aws")]
impl From<crate::aws::AwsError> for ConnectError {
    fn from(error: crate::aws::AwsError) -> ConnectError {
        ConnectError::of(error.class, error.to_string())
    }
}

#[cfg(feature = "aws")]
impl ConnectError {
    /// Of an AWS call: another class than [`crate::aws::Class::passes`], which asks what a person may mend under a
    /// running pipeline.
    fn of(class: crate::aws::Class, text: String) -> ConnectError {
        use crate::aws::Class;
        match class {
            Class::Unavailable | Class::Throttled => ConnectError::Passing(text),
            Class::Credentials | Class::Denied | Class::Missing | Class::Kms | Class::Invalid => {
                ConnectError::Standing(text)
            }
        }
    }
}

/// What a sink is told about a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// The lane was rewound: drop everything of it that is older than this epoch, receipts included.
    Discard,
    /// The seal that was asked for is remembered: publish.
    SealCommitted,
    /// A checkpoint is due: make durable what can be, and settle it.
    Barrier,
    /// Readers wait for what the sink's batches hold: send what only waits for more to come with it. What is sealed
    /// stays as large as it is.
    Hasten,
    /// The lane can read no further until something settles, or the process is about to stop: settle what there
    /// is, however little. A chunk is cut after its last whole record.
    Flush,
    /// Nothing more will come for this lane: deliver and settle all of it.
    Finish,
}

/// What a sink says.
#[derive(Debug)]
pub enum FromSink {
    /// Items are durable at their destination.
    Settled(Settlement),
    /// A chunk is complete: remember this before it is published.
    SealWanted {
        /// The lane.
        lane: LaneId,
        /// The lane's epoch.
        epoch: Epoch,
        /// What will be published.
        seal: Seal,
    },
    /// The chunk whose seal was committed is published to its end, all its items are settled, and names of it
    /// that hold nothing any more are deleted: the seal may be forgotten. Only then is the next seal asked for.
    Published {
        /// The lane.
        lane: LaneId,
        /// The lane's epoch.
        epoch: Epoch,
    },
    /// A refused batch may be submitted again.
    Room,
    /// The destination does not take anything, and why; the sink goes on trying.
    Down(String),
    /// The destination takes items again.
    Up,
    /// No retry will help until a person acts; the text says what to do. The pipeline stops.
    Failed(String),
}

/// One destination, shared by all its lanes.
#[async_trait]
pub trait Sink: Send {
    /// A lane begins, or begins anew after a rewind. `seal` is a chunk that an earlier run, or epoch, had
    /// sealed and perhaps published in part: it is rebuilt from exactly its records. While a seal stands, batches
    /// come also for records without items, so that the sink sees where the chunk ends.
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, seal: Option<Seal>);
    /// Takes a batch, or gives it back while there is no room. Taking is admission, not delivery.
    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch>;
    /// Tells something about a lane. What belongs to an epoch older than `epoch` is void.
    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell);
    /// The next thing the sink has to say. Cancel-safe: it is dropped and called again at will.
    async fn next(&mut self) -> FromSink;
    /// Nothing more will be submitted: close what is open. Called once, after the last `next`.
    async fn close(&mut self) -> Result<(), String>;
}
