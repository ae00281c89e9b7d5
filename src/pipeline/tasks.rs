//! The tasks around the dispatcher that are neither readers nor sinks: sources, the store, what runs beside.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::SourceTally;
use super::{Background, Happened, RunError, StoreTask};
use crate::backoff::Backoff;
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::delivery::{LaneKey, LaneState};
use crate::enrich::Inventory;
use crate::source::{Source, SourceError};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::CoreMetrics;

/// Runs one of the things beside the pipeline until `ending`.
pub(super) async fn beside(
    part: Background,
    inventory: Arc<Inventory>,
    ending: CancellationToken,
) -> Result<(), String> {
    match part {
        Background::Watch(files, refresh) => {
            files.watch(inventory, refresh, ending).await;
            Ok(())
        }
        #[cfg(feature = "aws")]
        Background::Ec2(ec2) => {
            ec2.keep_fresh(inventory, ending).await;
            Ok(())
        }
    }
}

/// A source's task: passes on what it announces.
pub(super) async fn announce(
    name: Arc<str>,
    mut source: Box<dyn Source>,
    tally: Arc<SourceTally>,
    events: mpsc::Sender<Happened>,
) -> Result<(), String> {
    let mut backoff = Backoff::new(0);
    loop {
        let happened = tokio::select! {
            // In order, so that a run can be repeated; the end comes first and comes once.
            biased;
            () = events.closed() => return Ok(()),
            announced = source.next() => match announced {
                Ok(Some(event)) => {
                    backoff = Backoff::new(0);
                    tally.works(None);
                    Happened::Shard(event, Arc::clone(&name))
                }
                Ok(None) => Happened::SourceDone,
                Err(SourceError::Retry(reason)) => {
                    tally.cannot_list(&reason);
                    tokio::select! {
                        biased;
                        () = events.closed() => return Ok(()),
                        () = tokio::time::sleep(backoff.next()) => continue,
                    }
                }
                Err(SourceError::Fatal(reason)) => Happened::Failed(format!("source `{name}`: {reason}")),
            },
        };
        let last = matches!(happened, Happened::SourceDone | Happened::Failed(_));
        if events.send(happened).await.is_err() || last {
            return Ok(());
        }
    }
}

/// How long a checkpoint that this process has already may not be readable before the run gives up: a process that ends
/// would leave the next one to wait for its lease. What does not pass by itself is for a person to see.
const LOAD_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Everything that the store remembers. What fails for a while is tried again; `None`: a shutdown came meanwhile.
pub(super) async fn load(
    store: &mut Box<dyn CheckpointStore>,
    health: &Health,
    shutdown: &CancellationToken,
) -> Result<Option<Vec<(LaneKey, LaneState)>>, RunError> {
    let (began, mut backoff) = (Instant::now(), Backoff::new(3));
    loop {
        let reason = match store.load().await {
            Ok(remembered) => {
                health.set("checkpoint", None);
                return Ok(Some(remembered));
            }
            Err(StoreError::Retry(reason)) if began.elapsed() < LOAD_PATIENCE => reason,
            Err(error) => return Err(RunError::Failed(error.to_string())),
        };
        tracing::error!(reason, "the checkpoint cannot be read; nothing is read from the sources until it can");
        health.set("checkpoint", Some(&reason));
        health.heartbeat();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(None),
            () = tokio::time::sleep(backoff.next().min(KEEP_PAUSE)) => {}
        }
    }
}

/// The store's task: commits one set of states after the other, each until it is remembered, and keeps the right to
/// write meanwhile; then gives the store back.
async fn commit_all(
    mut store: Box<dyn CheckpointStore>,
    mut commits: mpsc::Receiver<Vec<(LaneKey, LaneState)>>,
    events: mpsc::Sender<Happened>,
) -> Box<dyn CheckpointStore> {
    let seconds = CoreMetrics::new().checkpoint_commit_seconds;
    let mut kept = Backoff::new(2);
    loop {
        let states = tokio::select! {
            biased;
            states = commits.recv() => states,
            outcome = store.keep() => {
                if !tell_kept(outcome, &mut kept, &events).await {
                    // The run is about to end, and says why.
                    while commits.recv().await.is_some() {}
                    return store;
                }
                continue;
            }
        };
        let Some(states) = states else { break };
        let mut backoff = Backoff::new(1);
        let began = Instant::now();
        loop {
            let happened = match store.commit(states.clone()).await {
                Ok(()) => Happened::Committed,
                Err(StoreError::Retry(reason)) => Happened::StoreDown(reason),
                Err(StoreError::Fenced(reason)) => Happened::Failed(reason),
            };
            let again = matches!(happened, Happened::StoreDown(_));
            if events.send(happened).await.is_err() {
                return store;
            }
            if !again {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = events.closed() => return store,
            }
        }
        seconds.record(began.elapsed().as_secs_f64());
    }
    store
}

/// The longest pause between two tries to keep the right to write: commits wait for it too.
const KEEP_PAUSE: Duration = Duration::from_secs(2);

/// Says how keeping the right to write went; pauses if it failed. Whether to go on.
async fn tell_kept(outcome: Result<(), StoreError>, backoff: &mut Backoff, events: &mpsc::Sender<Happened>) -> bool {
    match outcome {
        Ok(()) => {
            *backoff = Backoff::new(2);
            events.send(Happened::StoreUp).await.is_ok()
        }
        Err(StoreError::Retry(reason)) => {
            let listens = events.send(Happened::StoreDown(reason)).await.is_ok();
            tokio::time::sleep(backoff.next().min(KEEP_PAUSE)).await;
            listens
        }
        Err(StoreError::Fenced(reason)) => {
            // Nobody listens when the run is about to end anyway.
            let _ = events.send(Happened::Failed(reason)).await;
            false
        }
    }
}

/// Starts the store's task, which commits what is sent to it.
#[expect(clippy::disallowed_methods, reason = "joined by who runs on; in the engine's set it would be aborted")]
pub(super) fn keep(
    store: Box<dyn CheckpointStore>,
    events: mpsc::Sender<Happened>,
) -> (mpsc::Sender<Vec<(LaneKey, LaneState)>>, StoreTask) {
    let (commits, inbox) = mpsc::channel(1);
    (commits, tokio::spawn(commit_all(store, inbox, events)))
}

/// A store without a task, for who runs on.
#[expect(clippy::disallowed_methods, reason = "it ends at once")]
pub(super) fn unused(store: Box<dyn CheckpointStore>) -> StoreTask {
    tokio::spawn(std::future::ready(store))
}

/// The store's task only ends after the engine: it has panicked.
pub(super) fn store_ended(error: Option<tokio::task::JoinError>) -> RunError {
    let why = error.map_or_else(|| "without a reason".into(), |error| error.to_string());
    RunError::Failed(format!("the checkpoint's task ended abnormally ({why}); please report this"))
}

/// The deadline, if there is one; else never.
pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
