//! What a pipeline is made of, and how a run of it ended.

use std::sync::Arc;
use std::time::Duration;

use super::Totals;
use crate::checkpoint::CheckpointStore;
use crate::core::Core;
use crate::delivery::{Account, OnOutage};
use crate::enrich::Inventory;
use crate::enrich::file::FileInventory;
use crate::memory::Memory;
use crate::sink::Sink;
use crate::source::Source;
use crate::telemetry::health::Health;

/// A source with its name and the Region of events that tell none.
pub struct NamedSource {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// The source.
    pub source: Box<dyn Source>,
    /// The configured default Region.
    pub region: Option<Arc<str>>,
}

/// A sink with its name and what its lanes do while it takes nothing.
pub struct NamedSink {
    /// Its name in the pipeline file.
    pub name: Arc<str>,
    /// The sink.
    pub sink: Box<dyn Sink>,
    /// What its lanes do while it takes nothing.
    pub on_outage: OnOutage,
}

impl NamedSink {
    /// A sink whose lanes are parked while it takes nothing.
    pub fn new(name: impl Into<Arc<str>>, sink: Box<dyn Sink>) -> NamedSink {
        NamedSink { name: name.into(), sink, on_outage: OnOutage::default() }
    }
}

/// Everything a pipeline is made of.
pub struct Parts {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// Where records come from.
    pub sources: Vec<NamedSource>,
    /// The core; its sinks are `sinks`, in this order.
    pub core: Arc<Core>,
    /// What is known about connections.
    pub inventory: Arc<Inventory>,
    /// Where items go, dead letters included.
    pub sinks: Vec<NamedSink>,
    /// What remembers.
    pub store: Box<dyn CheckpointStore>,
    /// How often it does.
    pub checkpoint_interval: Duration,
    /// Records that may be open in one lane.
    pub open_records: usize,
    /// How long a lane may be full and settle nothing before it counts as down.
    pub outage_after: Duration,
    /// How long a shutdown waits for sinks.
    pub shutdown_grace: Duration,
    /// Who may hold how much; its rooms are `sinks`, in this order.
    pub memory: Memory,
    /// What `/readyz` and `/healthz` show.
    pub health: Health,
    /// What runs beside it.
    pub background: Vec<Background>,
}

/// Something that runs beside the pipeline and ends with it.
pub enum Background {
    /// Looks for changes of the inventory's files.
    Watch(FileInventory, Duration),
    /// Asks EC2 for the inventory again and again.
    #[cfg(feature = "aws")]
    Ec2(Box<crate::enrich::ec2::Ec2Inventory>),
}

/// A run that has ended in order.
pub struct Ended {
    /// How.
    pub report: Report,
    /// The store: it comes back when its last commit is done.
    pub store: StoreTask,
}

/// A store that is used by a task until that ends.
pub type StoreTask = tokio::task::JoinHandle<Box<dyn CheckpointStore>>;

/// How a run ended.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All sources have ended and all of it is delivered and remembered.
    pub finished: bool,
    /// What was read.
    pub totals: Totals,
    /// What each sink got, dead letters included.
    pub sinks: Vec<(Arc<str>, Account)>,
}

impl Report {
    /// Adds what came of the run after this one, in the same process.
    pub fn add(&mut self, next: Report) {
        self.finished = next.finished;
        self.totals.add_all(&next.totals);
        for (name, account) in next.sinks {
            match self.sinks.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => sum.add(&account),
                None => self.sinks.push((name, account)),
            }
        }
    }
}

/// Why a run failed. What was not remembered is read again next time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A part cannot go on; the text says what to do.
    #[error("{0}")]
    Failed(String),
}
