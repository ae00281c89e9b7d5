//! The status page of a running pipeline. It outlives what a reload replaces.

use anyhow::Result;

use crate::config::Loaded;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

#[cfg(feature = "status")]
mod page {
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::{Health, Loaded, Metrics, Result};
    use crate::telemetry::server;

    /// How often the recorder folds what histograms have gathered.
    const UPKEEP: Duration = Duration::from_secs(5);

    /// The page, if the pipeline file wants one: it has its address, and is served while it is polled.
    pub(in crate::cli) async fn page(
        loaded: &Loaded,
        metrics: Metrics,
        health: Health,
    ) -> Result<impl Future<Output = anyhow::Error> + use<>> {
        let listener = match &loaded.pipeline.status {
            Some(status) => Some(server::bind(status.listen).await?),
            None => None,
        };
        if let Some(listener) = &listener {
            tracing::info!(address = %listener.local_addr()?, "status page");
        }
        Ok(async move {
            let Some(listener) = listener else { return std::future::pending().await };
            let upkeep = async {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    metrics.upkeep();
                }
            };
            let ended = tokio::select! {
                served = server::serve(listener, health, metrics.clone(), CancellationToken::new()) => served.err(),
                () = upkeep => None,
            };
            match ended {
                Some(error) => anyhow::anyhow!("the status page ended: {error}"),
                None => anyhow::anyhow!("the status page ended"),
            }
        })
    }
}

#[cfg(feature = "status")]
pub(super) use page::page;

/// This build has none.
#[cfg(not(feature = "status"))]
#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
pub(super) async fn page(_: &Loaded, _: Metrics, _: Health) -> Result<impl Future<Output = anyhow::Error> + use<>> {
    Ok(std::future::pending())
}
