//! A pipeline through its reloads: a rolling restart inside one process.
//!
//! SIGHUP reads the pipeline file again, checks it and reaches what it names *while the old pipeline runs*; whatever
//! is wrong leaves that one alone. Then the old one drains as at a SIGTERM, and the new one goes on from what is
//! remembered. The checkpoint store, the status page, metrics and health outlive all of them, so no other process can
//! come in between.
//!
//! Invariants: nothing is read between the old pipeline's last commit and the new one's start; there is always a
//! pipeline that runs or is being opened until the process is asked to stop.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::changes::{Changes, impossible};
use super::connect;
use super::interrupt::Asked;
use super::status;
use crate::backoff::Backoff;
use crate::checkpoint::{CheckpointStore, StoreError, StoreName};
use crate::config::{Loaded, count_line, load};
use crate::pipeline::{self, Ended, Inputs, OpenStore, Parts, Report, Unassembled};
use crate::telemetry::health::{self, Health};
use crate::telemetry::metrics::{Metrics, ReloadMetrics};

/// How often the process says that it lives while it opens things.
const BEAT: Duration = Duration::from_secs(5);

/// A pipeline that has ended in order.
pub(super) struct Finished {
    /// The pipeline file that was in use last.
    pub(super) loaded: Loaded,
    /// What came of all its runs.
    pub(super) report: Report,
    /// The store, still open.
    pub(super) store: Option<Box<dyn CheckpointStore>>,
}

/// Why a pipeline file does not take over.
struct Refused {
    /// In a few words, without anything that stands in the file.
    headline: String,
    /// All that is wrong.
    problems: Vec<String>,
}

/// See the module.
pub(super) struct Generations<'a> {
    loaded: Loaded,
    inputs: &'a Inputs,
    health: &'a Health,
    metrics: &'a Metrics,
    reloads: ReloadMetrics,
    asked: &'a Asked,
    report: Report,
    /// Sinks and sources that this process has counted for, by their label.
    counted: BTreeSet<(&'static str, String)>,
}

impl<'a> Generations<'a> {
    pub(super) fn new(
        loaded: Loaded,
        inputs: &'a Inputs,
        health: &'a Health,
        metrics: &'a Metrics,
        asked: &'a Asked,
    ) -> Generations<'a> {
        let counted = labels(&loaded).collect();
        let reloads = ReloadMetrics::new(unix_seconds());
        Generations { loaded, inputs, health, metrics, reloads, asked, report: Report::default(), counted }
    }

    /// Runs until the sources end or the process is asked to stop.
    pub(super) async fn run(self) -> anyhow::Result<Finished> {
        let Some(store) = self.patiently(pipeline::open_store(&self.loaded, self.inputs)).await else {
            return Ok(self.finished(None));
        };
        let store = store?;
        let page = status::page(&self.loaded, self.metrics.clone(), self.health.clone()).await?;
        tokio::select! {
            finished = self.run_from(store) => finished,
            error = page => Err(error),
        }
    }

    async fn run_from(mut self, store: OpenStore) -> anyhow::Result<Finished> {
        let name = store.name.clone();
        let Some(parts) = self.assemble(&self.loaded, store).await else { return Ok(self.finished(None)) };
        let mut parts = parts.map_err(|failed| failed.error)?;
        let checkpoint = self.inputs.checkpoint(&self.loaded);
        tracing::info!(pipeline = self.loaded.name, %checkpoint, "running");
        loop {
            let (ended, new) = self.until_replaced(parts, &name).await?;
            self.report.add(ended.report);
            let Some(new) = new.filter(|_| !self.asked.shutdown.is_cancelled()) else {
                let grace = self.loaded.pipeline.limits.shutdown_grace.0;
                let store = tokio::time::timeout(grace, ended.store).await.ok().and_then(Result::ok);
                return Ok(self.finished(store));
            };
            self.health.forget_parts();
            let Some(store) = self.patiently(ended.store).await else { return Ok(self.finished(None)) };
            let Some(opened) = self.take_over(new, OpenStore { store: store?, name: name.clone() }).await? else {
                return Ok(self.finished(None));
            };
            parts = opened;
        }
    }

    fn finished(self, store: Option<Box<dyn CheckpointStore>>) -> Finished {
        Finished { loaded: self.loaded, report: self.report, store }
    }

    /// Runs one pipeline to its end, or until another one may take over.
    async fn until_replaced(&self, parts: Parts, store: &StoreName) -> anyhow::Result<(Ended, Option<Loaded>)> {
        let stop = self.asked.shutdown.child_token();
        let mut run = pin!(pipeline::run_and_keep(parts, stop.clone()));
        tokio::select! {
            ended = &mut run => Ok((ended?, None)),
            new = self.next_file(store) => {
                tracing::info!("reloading: what is under way is delivered and remembered, then the new file takes over");
                self.health.set(health::RELOAD, Some("the new pipeline file takes over"));
                stop.cancel();
                Ok((run.await?, Some(new)))
            }
        }
    }

    /// The next pipeline file that may take over.
    async fn next_file(&self, store: &StoreName) -> Loaded {
        loop {
            self.asked.reload.notified().await;
            if let Inputs::Files { .. } = self.inputs {
                tracing::info!("SIGHUP changes nothing in a replay: stop it and start it again to use another file");
                continue;
            }
            match self.patiently(self.prepare(store)).await {
                Some(Ok(new)) => return new,
                Some(Err(refused)) => self.failed(&refused),
                // What runs is stopping by itself.
                None => std::future::pending().await,
            }
        }
    }

    /// Reads the pipeline file again, and reaches what it names.
    async fn prepare(&self, store: &StoreName) -> Result<Loaded, Refused> {
        let path = self.loaded.path.clone();
        tracing::info!(file = %path.display(), "SIGHUP: the pipeline file is read again");
        let read = tokio::task::spawn_blocking(move || load(&path, &|name| std::env::var(name).ok()));
        let new = match read.await {
            Ok(Ok(new)) => new,
            Ok(Err(problems)) => {
                let headline = format!("the pipeline file has {}", count_line(&problems.list));
                return Err(Refused { headline, problems: problems.list.iter().map(ToString::to_string).collect() });
            }
            Err(error) => return Err(Refused::because(format!("reading the file ended abnormally: {error}"))),
        };
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let mut problems = impossible(&self.loaded, &new);
        if problems.is_empty() {
            problems = connect::failures(&new, &self.loaded, store).await;
        }
        match problems.first() {
            None => Ok(new),
            Some(first) => Err(Refused { headline: first.clone(), problems }),
        }
    }

    /// Opens the new pipeline, or the old one again, or waits until one of them can be opened. Nothing if the process
    /// is asked to stop.
    async fn take_over(&mut self, mut new: Loaded, mut store: OpenStore) -> anyhow::Result<Option<Parts>> {
        let Some(known) = self.patiently(known_sinks(&mut store, &new.name)).await else { return Ok(None) };
        let known = known?;
        let (mut backoff, mut told) = (Backoff::new(2), false);
        loop {
            store = match self.assemble(&new, store).await {
                None => return Ok(None),
                Some(Ok(parts)) => {
                    self.reloaded(new, &known);
                    return Ok(Some(parts));
                }
                Some(Err(failed)) => {
                    if !std::mem::replace(&mut told, true) {
                        self.failed(&Refused::because(failed.error.to_string()));
                    }
                    failed.store
                }
            };
            store = match self.assemble(&self.loaded, store).await {
                None => return Ok(None),
                Some(Ok(parts)) => return Ok(Some(parts)),
                Some(Err(failed)) => {
                    let reason = failed.error.to_string();
                    tracing::error!(reason, "the old pipeline cannot be opened again; both are tried until one can");
                    failed.store
                }
            };
            let newer = async {
                tokio::select! {
                    () = tokio::time::sleep(backoff.next()) => None,
                    () = self.asked.reload.notified() => Some(self.prepare(&store.name).await),
                }
            };
            match self.patiently(newer).await {
                None => return Ok(None),
                Some(None) => {}
                Some(Some(Ok(newer))) => (new, told) = (newer, false),
                Some(Some(Err(refused))) => self.failed(&refused),
            }
        }
    }

    async fn assemble(&self, loaded: &Loaded, store: OpenStore) -> Option<Result<Parts, Box<Unassembled>>> {
        self.patiently(pipeline::assemble(loaded, self.inputs, self.health.clone(), store)).await
    }

    /// A reload has come to nothing: what ran runs on.
    fn failed(&self, refused: &Refused) {
        for problem in &refused.problems {
            tracing::error!("not reloaded: {problem}");
        }
        tracing::error!(
            problems = refused.problems.len(),
            "the pipeline runs on as it was; mend it and send SIGHUP again"
        );
        self.reloads.failed();
        self.health
            .set(health::RELOAD, Some(&format!("failed, the old pipeline file is in use: {}", refused.headline)));
    }

    fn reloaded(&mut self, new: Loaded, known: &BTreeSet<Arc<str>>) {
        let changes = Changes::between(&self.loaded, &new);
        tracing::info!(pipeline = new.name, changes = changes.in_words(), "reloaded");
        for sink in &changes.sinks.added {
            if known.contains(sink.as_str()) {
                tracing::info!(sink, "the sink is back: it goes on where it stopped");
            } else {
                tracing::info!(sink, "the sink is new: it starts where the `start` of each source says");
            }
        }
        for sink in &changes.sinks.removed {
            tracing::info!(sink, "the sink is removed: its place is kept for a sink of this name");
        }
        self.loaded = new;
        let current: BTreeSet<_> = labels(&self.loaded).collect();
        self.counted.extend(current.iter().cloned());
        let gone = self.counted.difference(&current);
        self.metrics.hide(gone.map(|(label, name)| (*label, name.as_str())));
        self.reloads.succeeded(unix_seconds());
        self.health.set(health::RELOAD, None);
    }

    /// Does this, and says meanwhile that the process lives. Nothing if it is asked to stop.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = self.asked.shutdown.cancelled() => return None,
                _ = beat.tick() => self.health.heartbeat(),
            }
        }
    }
}

impl Refused {
    fn because(reason: String) -> Refused {
        Refused { headline: reason.clone(), problems: vec![reason] }
    }
}

/// Sinks that have a place in the store.
async fn known_sinks(store: &mut OpenStore, pipeline: &str) -> anyhow::Result<BTreeSet<Arc<str>>> {
    let mut backoff = Backoff::new(3);
    loop {
        match store.store.load().await {
            Ok(states) => {
                let own = states.into_iter().filter(|(key, _)| *key.pipeline == *pipeline);
                return Ok(own.map(|(key, _)| key.sink).collect());
            }
            Err(StoreError::Retry(reason)) => {
                tracing::error!(reason, "the checkpoint cannot be read; it is tried again");
                tokio::time::sleep(backoff.next()).await;
            }
            Err(error @ StoreError::Fenced(_)) => return Err(error.into()),
        }
    }
}

/// The labels of a pipeline's metrics.
fn labels(loaded: &Loaded) -> impl Iterator<Item = (&'static str, String)> {
    let sinks = loaded.pipeline.sinks.keys().map(|name| ("sink", name.clone()));
    sinks.chain(loaded.pipeline.sources.keys().map(|name| ("source", name.clone())))
}

#[expect(clippy::disallowed_methods, reason = "a time for people; it decides nothing")]
fn unix_seconds() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
