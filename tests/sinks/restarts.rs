//! The test sink in the real pipeline: simulated source, real core, real checkpoint file, several runs that are
//! stopped or die in the middle. One thread and paused time: a seed tells the whole story but for the disk's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;
use tunnelog::checkpoint::{CheckpointStore, RedbStore, StoreError};
use tunnelog::config::types::Simulate;
use tunnelog::core::Core;
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::enrich::{Inventory, Snapshot};
use tunnelog::memory::Memory;
use tunnelog::pipeline::{NamedSink, NamedSource, Parts, Report, run};
use tunnelog::sink::Sink;
use tunnelog::source::simulate::SimulateSource;
use tunnelog::telemetry::health::Health;

use super::support::parts::{dead_letters, expected, with_origin};
use super::support::test_sink::{Far, Manners, SharedFar, TestSink};

/// The real store, and what it has in the eyes of the test sinks.
struct Watched {
    store: RedbStore,
    fars: Vec<SharedFar>,
}

#[async_trait]
impl CheckpointStore for Watched {
    async fn load(&mut self) -> Result<Vec<(LaneKey, LaneState)>, StoreError> {
        let states = self.store.load().await?;
        self.show(&states);
        Ok(states)
    }

    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError> {
        self.store.commit(states.clone()).await?;
        self.show(&states);
        Ok(())
    }
}

impl Watched {
    fn show(&self, states: &[(LaneKey, LaneState)]) {
        for far in &self.fars {
            far.lock().unwrap().remembered.extend(states.iter().cloned());
        }
    }
}

struct World {
    seed: u64,
    checkpoint: PathBuf,
    simulate: Simulate,
    /// A plain sink, one that seals, one for dead letters.
    fars: Vec<SharedFar>,
}

const NAMES: [&str; 3] = ["plain", "sealer", "letters"];

impl World {
    fn new(seed: u64, folder: &Path) -> World {
        let far = || SharedFar::new(std::sync::Mutex::new(Far { mischief: 20, ..Far::default() }));
        World {
            seed,
            checkpoint: folder.join("checkpoint.redb"),
            simulate: Simulate { seed, connections: 3, hours: 2, shards: 3, damaged: 2, ..Simulate::default() },
            fars: vec![far(), far(), far()],
        }
    }

    /// A run that was dropped may hold the file for the moment that its last commit takes.
    async fn open_store(&self) -> RedbStore {
        for _ in 0..10_000 {
            match RedbStore::open(&self.checkpoint) {
                Ok(store) => return store,
                Err(_) => tokio::task::yield_now().await,
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        }
        panic!("the checkpoint file stays in use");
    }

    async fn parts(&self, number: u64) -> Parts {
        let manners = Manners { refuses: true, forgets: true, goes_down: true, seals: false };
        let sink = |index: usize| -> Box<dyn Sink> {
            let manners = Manners { seals: index == 1, ..manners };
            Box::new(TestSink::new(self.seed * 1000 + number * 10 + index as u64, manners, &self.fars[index]))
        };
        let source = SimulateSource::new("fleet", &self.simulate).unwrap();
        Parts {
            name: "world".into(),
            sources: vec![NamedSource { name: "fleet".into(), source: Box::new(source), region: None }],
            core: Arc::new(Core::new(64 << 20, vec![with_origin(), with_origin(), dead_letters()])),
            inventory: Arc::new(Inventory::new(Snapshot::default())),
            sinks: (0..3).map(|index| NamedSink::new(NAMES[index], sink(index))).collect(),
            store: Box::new(Watched { store: self.open_store().await, fars: self.fars.clone() }),
            checkpoint_interval: Duration::from_millis(100),
            open_records: 60,
            outage_after: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(3600),
            memory: Memory::even(3, 32 << 20),
            health: Health::new(),
            background: Vec::new(),
        }
    }

    /// Runs until `stop`; asks it to end, or lets it die.
    async fn run_until(&self, number: u64, stop: Option<Duration>, dies: bool) -> Option<Report> {
        let shutdown = CancellationToken::new();
        let running = run(self.parts(number).await, shutdown.clone());
        tokio::pin!(running);
        let Some(stop) = stop else { return Some(running.await.unwrap()) };
        tokio::select! {
            report = &mut running => return Some(report.unwrap()),
            () = tokio::time::sleep(stop) => {}
        }
        if dies {
            return None;
        }
        shutdown.cancel();
        Some(running.await.unwrap())
    }

    /// Runs that end in the middle, and one to the end.
    async fn live(&self) -> usize {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for number in 0.. {
            let stop = (number < 6).then(|| Duration::from_millis(20 + u64::from(rng.next_u32() % 1500)));
            let dies = rng.next_u32().is_multiple_of(2);
            let Some(report) = self.run_until(number, stop, dies).await else { continue };
            for (name, account) in &report.sinks {
                assert_eq!(
                    account.submitted,
                    account.settled + account.rejected + account.abandoned,
                    "{name}: {account:?}"
                );
            }
            if report.finished {
                return number as usize;
            }
        }
        unreachable!("the last run ends by itself")
    }

    /// Every item is there; sealed chunks hold each exactly once.
    async fn check(&self) {
        let shards = expected(&mut SimulateSource::new("fleet", &self.simulate).unwrap(), &with_origin()).await;
        let events: BTreeSet<Vec<u8>> = shards.into_values().flatten().collect();
        let shards = expected(&mut SimulateSource::new("fleet", &self.simulate).unwrap(), &dead_letters()).await;
        let letters: BTreeSet<Vec<u8>> = shards.into_values().flatten().collect();
        assert!(events.len() > 200 && letters.len() == 2, "{} {}", events.len(), letters.len());
        for (far, wanted) in self.fars.iter().zip([&events, &events, &letters]) {
            let got: BTreeSet<Vec<u8>> = far.lock().unwrap().items.iter().cloned().collect();
            assert!(got == *wanted, "{} of {} are there", got.intersection(wanted).count(), wanted.len());
        }
        let objects: BTreeMap<String, Vec<Vec<u8>>> = self.fars[1].lock().unwrap().objects.clone();
        let published: Vec<Vec<u8>> = objects.into_values().flatten().collect();
        assert_eq!(published.len(), events.len(), "each event is in the objects exactly once");
    }
}

#[test]
fn a_sink_of_bad_manners_gets_everything_through_every_restart() {
    let (mut restarts, mut seen) = (0, [0; 4]);
    for seed in 1..=6 {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(seed, folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let patience = Duration::from_secs(100_000);
                let count = tokio::time::timeout(patience, world.live()).await.expect("it comes to an end");
                world.check().await;
                count
            })
        }));
        match outcome {
            Ok(count) => restarts += count,
            Err(panic) => {
                eprintln!("failing seed: {seed}");
                std::panic::resume_unwind(panic);
            }
        }
        for far in &world.fars {
            let far = far.lock().unwrap();
            for (sum, count) in seen.iter_mut().zip([far.forgotten, far.downs, far.refusals, far.rebuilt]) {
                *sum += count;
            }
        }
    }
    eprintln!("{restarts} restarts; forgotten, down, refused, rebuilt: {seen:?}");
    assert!(restarts > 4, "{restarts} restarts");
    assert!(seen.iter().all(|count| *count > 0), "forgotten, down, refused, rebuilt: {seen:?}");
}
