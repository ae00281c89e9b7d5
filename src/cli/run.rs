//! `tunnelog run` and `tunnelog replay`: a pipeline from its sources, or from files in their place.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::check::load_and_say;
use super::interrupt::{self, Asked};
use super::reload::{Finished, Generations};
use super::{Outcome, summary};
use crate::config::Loaded;
use crate::config::types::Identity;
use crate::pipeline::{Inputs, Progress};
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

const RUN_HELP: &str = "\
SIGTERM or Ctrl-C stops reading, lets what is under way be delivered, remembers it, and exits 0; a second one exits
at once. Started again, it goes on where it stopped.

SIGHUP reads the pipeline file and the files that it names again, also if nothing has changed. It checks them and
reaches what they name; then what is under way is delivered and remembered, and the new pipeline goes on from there.
On any problem the old one runs on; the log and /readyz say why.

Example:
  tunnelog run pipelines/quickstart.yaml";

const REPLAY_HELP: &str = "\
The pipeline's sinks get the events of the files, so a lake can be filled with history, or dead letters be taken back
once their cause is mended. A replay remembers its own progress beside the live checkpoint, which it never touches:
started again, it goes on where it stopped.

An event that a sink refused goes back to that sink only, as it was to be sent, also if the sink's format or filters
have changed since. It is a dead letter again where no sink has that name.

What still cannot be read, or is refused again, goes to a file of the replay's own: `.replay` is in its name, and it is
none of the files that are read.

Inputs are recognised by content, as `tunnelog decode` does.

Examples:
  tunnelog replay pipelines/quickstart.yaml exported-logs/
  tunnelog replay pipelines/quickstart.yaml out/quickstart/dead-letters.ndjson";

/// Run a pipeline until its sources end, or until it is stopped
#[derive(Debug, clap::Args)]
#[command(after_help = RUN_HELP)]
pub(super) struct RunArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
}

/// Run a pipeline on files in place of its sources
#[derive(Debug, clap::Args)]
#[command(after_help = REPLAY_HELP)]
pub(super) struct ReplayArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// Files and folders
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// What bare log lines and `filter-log-events` answers do not carry.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct IdentityArgs {
    /// Log stream of bare log lines, such as vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log: IKE lines carry no
    /// identity of their own
    #[arg(long, value_name = "NAME")]
    log_stream: Option<String>,
    /// Log group of bare log lines
    #[arg(long, value_name = "NAME")]
    log_group: Option<String>,
    /// Account that owns the log group, 12 digits. With log group and owner, the ids of `filter-log-events`
    /// answers can equal those of the live events; bare lines have no event id and get one of their own
    #[arg(long, value_name = "ACCOUNT", value_parser = account)]
    owner: Option<String>,
}

pub(super) fn account(text: &str) -> Result<String, String> {
    let valid = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if valid { Ok(text.into()) } else { Err("an account id has 12 digits".into()) }
}

impl IdentityArgs {
    pub(super) fn identity(&self) -> Identity {
        Identity { owner: self.owner.clone(), log_group: self.log_group.clone(), log_stream: self.log_stream.clone() }
    }
}

pub(super) fn run(arguments: &RunArgs) -> anyhow::Result<Outcome> {
    let Some(loaded) = load_and_say(&arguments.pipeline) else { return Ok(Outcome::Misused) };
    drive(loaded, &Inputs::Configured)
}

pub(super) fn replay(arguments: &ReplayArgs) -> anyhow::Result<Outcome> {
    let Some(loaded) = load_and_say(&arguments.pipeline) else { return Ok(Outcome::Misused) };
    // Inputs that cannot be listed are told of when they are opened.
    let loaded = loaded.for_replay(&crate::source::replay::files_in(&arguments.inputs).unwrap_or_default());
    let bar = progress_bar(&arguments.inputs);
    let progress = bar.clone().map(|bar| Arc::new(move |bytes| bar.inc(bytes)) as Progress);
    let inputs = Inputs::Files { inputs: arguments.inputs.clone(), identity: arguments.identity.identity(), progress };
    let outcome = drive(loaded, &inputs);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    outcome
}

/// A bar over the bytes of all inputs, on a terminal.
fn progress_bar(inputs: &[PathBuf]) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let files = crate::source::replay::files_in(inputs).ok()?;
    let bytes = files.iter().filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum();
    let style =
        ProgressStyle::with_template("{bar:40} {percent}% of {total_bytes}  {bytes_per_sec}  {eta} left").ok()?;
    let bar = ProgressBar::new(bytes).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    Some(bar)
}

fn drive(loaded: Loaded, inputs: &Inputs) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(drive_until_signal(loaded, inputs)).map(|Finished { loaded, report, store }| {
        summary::say(&loaded, inputs, &report);
        // Last of all: who waits for it may rely on everything else being free.
        if let Some(mut store) = store {
            runtime.block_on(store.close());
        }
        Outcome::Finished
    });
    // A read that blocks must not keep a finished process.
    runtime.shutdown_background();
    outcome
}

async fn drive_until_signal(loaded: Loaded, inputs: &Inputs) -> anyhow::Result<Finished> {
    let metrics = Metrics::install()?;
    let health = Health::new();
    let asked = Asked::default();
    tokio::select! {
        // Signals first: they are caught before anything is opened.
        biased;
        failed = interrupt::watch_all(&asked, &health) => {
            failed?;
            anyhow::bail!("signals cannot be watched")
        }
        finished = Generations::new(loaded, inputs, &health, &metrics, &asked).run() => finished,
    }
}
