//! The tasks around the dispatcher that are neither readers nor sinks: sources, the store, what runs beside.

use std::sync::Arc;
#[cfg(feature = "status")]
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::SourceTally;
use super::{Background, Happened};
use crate::backoff::Backoff;
use crate::checkpoint::{CheckpointStore, StoreError};
use crate::delivery::{LaneKey, LaneState};
use crate::enrich::Inventory;
use crate::source::{Source, SourceError};
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
        #[cfg(feature = "status")]
        Background::Status(listener, metrics, health) => {
            let upkeep = async {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    metrics.upkeep();
                }
            };
            tokio::select! {
                served = crate::telemetry::server::serve(listener, health, metrics.clone(), ending) => {
                    served.map_err(|error| format!("the status page ended: {error}"))
                }
                () = upkeep => Ok(()),
            }
        }
    }
}

/// How often the recorder folds what histograms have gathered.
#[cfg(feature = "status")]
const UPKEEP: Duration = Duration::from_secs(5);

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

/// The store's task: commits one set of states after the other, each until it is remembered.
pub(super) async fn commit_all(
    mut store: Box<dyn CheckpointStore>,
    mut commits: mpsc::Receiver<Vec<(LaneKey, LaneState)>>,
    events: mpsc::Sender<Happened>,
) -> Result<(), String> {
    let seconds = CoreMetrics::new().checkpoint_commit_seconds;
    while let Some(states) = commits.recv().await {
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
                return Ok(());
            }
            if !again {
                break;
            }
            tokio::time::sleep(backoff.next()).await;
        }
        seconds.record(began.elapsed().as_secs_f64());
    }
    Ok(())
}
