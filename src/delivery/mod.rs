//! Delivery: what is read, what is settled, what may be remembered.
//!
//! A **lane** is one sink's view of one shard, with a position of its own. Its **frontier** has a slot for
//! every record that was read; a **receipt** resolves a batch's items one by one, and forgetting it rewinds
//! the lane: it never advances it. The [`Dispatcher`] is a pure state machine over all lanes and readers:
//! events in, commands out, no I/O, no clock, no task. `pipeline` executes its commands.
//!
//! Invariants (DESIGN's numbers):
//! 1. A lane's checkpoint never passes a record with an unsettled item.
//! 2. An item settles at most once per epoch; results of an older epoch are ignored.
//! 3. Within a lane, a child shard starts after the lane has resolved all its parents to their end.
//!
//! Not here: Kinesis, Kafka, files. A lane does not know what its sink is.

mod batch;
mod command;
mod dispatcher;
mod drain;
mod frontier;
#[cfg(test)]
mod frontier_model;
mod lane;
mod lifecycle;
mod memory;
mod outage;
mod readers;
mod reading;
mod receipt;
mod room;

pub use batch::{Encoded, Item, LaneBatch, LaneItems, Lent, Piece, RecordInfo, Records, Selection};
pub use command::{Account, Command, Load, OnOutage, Options, ParkedLane, PieceEnd, ReadResult, SinkOptions, Stall};
pub use dispatcher::Dispatcher;
pub use frontier::Frontier;
pub use lane::{At, LaneKey, LaneState, Seal};
pub use receipt::{Abandoned, Receipt, Settlement};

/// A lane of this run: dense, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId(pub u32);

/// A sink of this run, in the order of [`Options::sinks`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SinkId(pub u32);

/// A reader of this run: never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReaderId(pub u64);

/// Counts a lane's rewinds within this process. What belongs to an older epoch is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u32);

/// A batch of a lane; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchId(pub u64);
