//! A pipeline with two sinks and dead letters, in a folder; the real run, core, checkpoint file and rejects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tunnelog::checkpoint::RedbStore;
use tunnelog::config::types::{Compression, Condition, FileSink, Identity, Simulate};
use tunnelog::config::units::Size;
use tunnelog::core::{Core, SinkPlan};
use tunnelog::encode::DeadLetter;
use tunnelog::enrich::{Inventory, Snapshot};
use tunnelog::event::Severity;
use tunnelog::memory::Memory;
use tunnelog::pipeline::{NamedSink, NamedSource, Parts, Report, run};
use tunnelog::route::Filter;
use tunnelog::sink::Sink;
use tunnelog::sink::rejects::{FileRejects, SharedRejects};
use tunnelog::source::Source;
use tunnelog::source::replay::ReplaySource;
use tunnelog::source::simulate::SimulateSource;
use tunnelog::telemetry::health::Health;

use super::picky::{Picky, SharedFar, Then};
use super::support::parts::{dead_letters, with_origin};

/// The sink that refuses, one that takes all, and the dead letters.
pub(crate) const NAMES: [&str; 3] = ["siem", "lake", "dead letters"];

pub(crate) struct World {
    pub(crate) folder: TempDir,
    /// What the destinations have, by sink.
    pub(crate) fars: [SharedFar; 3],
}

/// How one run differs from another.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    pub(crate) checkpoint: &'static str,
    pub(crate) names: [&'static str; 3],
    pub(crate) refuses: fn(&[u8]) -> bool,
    pub(crate) then: Then,
    /// Every filter keeps everything out.
    pub(crate) filtered: bool,
}

pub(crate) const RUN: Manner = Manner {
    checkpoint: "run.redb",
    names: NAMES,
    refuses: |bytes| bytes.len() % 5 == 0,
    then: Then::Settle,
    filtered: false,
};

impl World {
    pub(crate) fn new() -> World {
        World { folder: tempfile::tempdir().unwrap(), fars: Default::default() }
    }

    /// Another pipeline that shares nothing but the folder.
    pub(crate) fn beside(&self) -> World {
        World::new()
    }

    pub(crate) fn rejected(&self) -> PathBuf {
        self.folder.path().join("state/p.rejected.ndjson")
    }

    pub(crate) fn fleet() -> Box<dyn Source> {
        let config = Simulate { seed: 5, connections: 3, hours: 1, shards: 2, ..Simulate::default() };
        Box::new(SimulateSource::new("fleet", &config).unwrap())
    }

    pub(crate) fn files(inputs: &[PathBuf]) -> Box<dyn Source> {
        Box::new(ReplaySource::new("fleet", inputs, &Identity::default()).unwrap())
    }

    fn sink(&self, index: usize, manner: Manner, rejects: &SharedRejects) -> Box<dyn Sink> {
        let refusing = index == 0;
        Box::new(Picky {
            name: manner.names[index],
            rejects: Arc::clone(rejects),
            refuses: if refusing { manner.refuses } else { |_| false },
            then: manner.then,
            durable: refusing.then(|| self.rejected()),
            far: Arc::clone(&self.fars[index]),
            lanes: BTreeMap::new(),
            keeping: Vec::new(),
            outbox: VecDeque::new(),
        })
    }

    pub(crate) fn parts(&self, source: Box<dyn Source>, manner: Manner) -> Parts {
        let file = FileSink { path: self.rejected(), compression: Compression::None, rotate: Size::mib(256) };
        let rejects: SharedRejects = Arc::new(FileRejects::new(file));
        let nothing = Condition { min_severity: Some(Severity::Debug), ..Condition::default() };
        let filter = || if manner.filtered { Filter::compile(None, Some(&nothing)) } else { Filter::default() };
        let plan = || SinkPlan { filter: filter(), ..with_origin() };
        let names: Vec<Arc<str>> = manner.names.iter().map(|name| Arc::from(*name)).collect();
        let core = Core::new(64 << 20, vec![plan(), plan(), dead_letters()]).with_names(names.clone());
        Parts {
            name: "p".into(),
            sources: vec![NamedSource { name: "fleet".into(), source, region: Some("eu-central-1".into()) }],
            core: Arc::new(core),
            inventory: Arc::new(Inventory::new(Snapshot::default())),
            sinks: names
                .into_iter()
                .enumerate()
                .map(|(index, name)| NamedSink::new(name, self.sink(index, manner, &rejects)))
                .collect(),
            store: Box::new(RedbStore::open(&self.folder.path().join(manner.checkpoint)).unwrap()),
            checkpoint_interval: Duration::from_millis(50),
            open_records: 1000,
            outage_after: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(100),
            memory: Memory::even(3, 32 << 20),
            health: Health::new(),
            background: Vec::new(),
        }
    }

    /// Runs to the end.
    pub(crate) async fn run(&self, source: Box<dyn Source>, manner: Manner) -> Report {
        let running = run(self.parts(source, manner), CancellationToken::new());
        let report = tokio::time::timeout(PATIENCE, running).await.expect("it ends").unwrap();
        assert!(report.finished);
        for (name, account) in &report.sinks {
            assert_eq!(account.submitted, account.settled + account.rejected + account.abandoned, "{name}");
        }
        report
    }

    /// Gives letters back to a pipeline of this manner, with a checkpoint of its own.
    pub(crate) async fn replay(&self, letters: PathBuf, manner: Manner) -> Report {
        self.run(World::files(&[letters]), manner).await
    }

    pub(crate) fn items(&self, sink: usize) -> Vec<Vec<u8>> {
        self.fars[sink].lock().unwrap().items.clone()
    }

    /// What a sink got, each once.
    pub(crate) fn set(&self, sink: usize) -> BTreeSet<Vec<u8>> {
        self.items(sink).into_iter().collect()
    }

    /// The letters that lie in the dead letters' own lane.
    pub(crate) fn dead(&self) -> Vec<DeadLetter> {
        self.items(2).iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

/// Far more than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// Waits for something that the pipeline does meanwhile.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited too long: {what}"));
}
