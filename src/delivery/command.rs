//! What the dispatcher is told, what it asks for, and its accounts.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Epoch, LaneBatch, LaneId, LaneKey, LaneState, Piece, ReaderId, Seal, SinkId};
use crate::event::Millis;
use crate::sink::Tell;
use crate::source::{Position, ShardId, StartAt};

/// What the dispatcher is made for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The sinks; a [`SinkId`] is an index here.
    pub sinks: Vec<SinkOptions>,
    /// Records that may be open in one lane before its reader waits.
    pub open_records: usize,
    /// A lane that is full and has settled nothing for this long counts as down, whatever its sink says.
    pub outage_after: Duration,
}

/// What the dispatcher knows of a sink.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkOptions {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// What its lanes do while it takes nothing.
    pub on_outage: OnOutage,
}

impl From<&str> for SinkOptions {
    /// A sink whose lanes are parked while it takes nothing.
    fn from(name: &str) -> SinkOptions {
        SinkOptions { name: name.into(), on_outage: OnOutage::default() }
    }
}

/// What a sink's lanes do while it takes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// They leave their readers, so that the other sinks go on, and catch up from their checkpoints afterwards: what
    /// was on its way is sent again.
    #[default]
    Park,
    /// They wait, and with them the other sinks that read the same shards.
    Block,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Command {
    /// Open a reader on a shard, after a pause if a lane was rewound.
    OpenReader {
        /// Its name.
        reader: ReaderId,
        /// What to read.
        shard: ShardId,
        /// Where to begin.
        from: StartAt,
        /// How long to wait first.
        pause: Duration,
    },
    /// Let a reader make one piece.
    Read {
        /// Which reader.
        reader: ReaderId,
        /// For which sinks.
        sinks: Vec<SinkId>,
        /// The piece must not go beyond this record.
        until: Option<Position>,
    },
    /// A lane has left a reader that is at a piece: the piece need have no room with its sink.
    Forgo {
        /// The reader.
        reader: ReaderId,
        /// The sink.
        sink: SinkId,
    },
    /// Close a reader; a piece that still comes from it is void.
    CloseReader(ReaderId),
    /// Tell a sink that a lane begins, anew after a rewind.
    OpenLane {
        /// The sink.
        sink: SinkId,
        /// The lane.
        lane: LaneId,
        /// Its name.
        key: LaneKey,
        /// Its epoch.
        epoch: Epoch,
        /// A chunk that an earlier run, or an earlier epoch, had sealed.
        seal: Option<Seal>,
    },
    /// Hand a batch to a sink.
    Submit {
        /// The sink.
        sink: SinkId,
        /// The batch.
        batch: LaneBatch,
    },
    /// Tell a sink something about a lane.
    Tell {
        /// The sink.
        sink: SinkId,
        /// The lane.
        lane: LaneId,
        /// The lane's epoch.
        epoch: Epoch,
        /// What.
        what: Tell,
    },
    /// Remember these states, all or none; answer with [`super::Dispatcher::committed`].
    Commit(Vec<(LaneKey, LaneState)>),
}

/// Where a piece ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceEnd {
    /// There may be more.
    More,
    /// Everything up to the grant's `until` has been read; the next record lies beyond it.
    Limit,
    /// The shard is closed, and everything in it has been read.
    ShardEnd,
}

/// What a reader made of a grant.
#[derive(Debug)]
pub struct ReadResult {
    /// The reader.
    pub reader: ReaderId,
    /// The piece; without records if there was nothing new.
    pub piece: Piece,
    /// Where it ended.
    pub end: PieceEnd,
    /// The last record that the reader has fetched already.
    pub buffered_to: Option<Position>,
}

/// A sink's account. `submitted = settled + rejected + abandoned` once everything has come to rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Records that its lanes have read, repeats included.
    pub records: u64,
    /// Items handed to it, repeats included.
    pub submitted: u64,
    /// Items that it delivered.
    pub settled: u64,
    /// Items that its destination refused for good: they are dead letters.
    pub rejected: u64,
    /// Bytes handed to it, repeats included.
    pub bytes: u64,
    /// Items that a filter kept out.
    pub filtered: u64,
    /// Items that were void when a lane was rewound; they came again.
    pub abandoned: u64,
    /// How often a lane was rewound.
    pub rewinds: u64,
    /// How often a lane was parked.
    pub parks: u64,
}

impl Account {
    /// Adds what another run of the same sink came to.
    pub fn add(&mut self, other: &Account) {
        let Account { records, submitted, settled, rejected, bytes, filtered, abandoned, rewinds, parks } = other;
        self.records += records;
        self.submitted += submitted;
        self.settled += settled;
        self.rejected += rejected;
        self.bytes += bytes;
        self.filtered += filtered;
        self.abandoned += abandoned;
        self.rewinds += rewinds;
        self.parks += parks;
    }
}

/// What is under way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Lanes that are not done.
    pub lanes: usize,
    /// Readers.
    pub readers: usize,
    /// By sink: records that are read and not resolved.
    pub open_records: Vec<usize>,
    /// By sink: lanes that are parked.
    pub parked: Vec<usize>,
}

/// A lane whose sink takes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParkedLane {
    /// Its sink.
    pub sink: SinkId,
    /// Its shard.
    pub shard: ShardId,
    /// For how long.
    pub lasting: Duration,
    /// When the oldest record arrived in the stream that the sink does not have, if that is known.
    pub oldest: Option<Millis>,
}

/// Something that should progress and does not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stall {
    /// Where.
    pub shard: ShardId,
    /// The sink that holds the shard up; `None`: its reader does.
    pub sink: Option<SinkId>,
    /// For how long.
    pub lasting: Duration,
}
