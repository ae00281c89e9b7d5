//! Signals: the first SIGTERM or Ctrl-C drains, a second one ends the process at once; SIGHUP reloads.

use std::io::IsTerminal;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::telemetry::health::{self, Health};

/// The exit code of a process that a second signal ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// What signals ask of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// To drain and end.
    pub(super) shutdown: CancellationToken,
    /// To reload. It keeps one request that nobody waits for yet: none is lost, and many are one.
    pub(super) reload: Notify,
}

/// Passes on what signals ask of a pipeline. Runs until dropped.
pub(super) async fn watch_all(asked: &Asked, health: &Health) -> anyhow::Result<()> {
    let stopping = async {
        asked.shutdown.cancelled().await;
        health.set(health::STOPPING, Some("asked to stop"));
        std::future::pending().await
    };
    tokio::select! {
        failed = watch(asked.shutdown.clone()) => failed,
        failed = watch_hangups(asked) => failed,
        never = stopping => never,
    }
}

async fn watch_hangups(asked: &Asked) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let had_terminal = std::io::stderr().is_terminal();
    while hangup.recv().await.is_some() {
        let is_stopping = asked.shutdown.is_cancelled();
        if had_terminal && !std::io::stderr().is_terminal() {
            // Who closes a terminal asks for no reload. It comes twice: from the system and from a shell.
            asked.shutdown.cancel();
        } else if is_stopping {
            tracing::info!("SIGHUP comes too late for a reload: the pipeline is stopping");
        } else {
            asked.reload.notify_one();
        }
    }
    Ok(())
}

/// Cancels `shutdown` at the first signal and exits at the second. Runs until dropped.
pub(super) async fn watch(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for time in 0_u32.. {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if time > 0 {
            exit_now();
        }
        tracing::info!("stopping: what is under way is delivered and remembered; a second signal stops at once");
        shutdown.cancel();
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the second signal asks for exactly this; nothing unsettled is acknowledged"
)]
fn exit_now() -> ! {
    std::process::exit(INTERRUPTED)
}
