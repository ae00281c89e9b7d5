//! SIGTERM and Ctrl-C: the first one drains, a second one ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code of a process that a second signal ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

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
