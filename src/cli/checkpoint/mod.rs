//! `tunnelog checkpoint`: what a pipeline remembers, and making it forget.

mod reset;
mod show;

use std::path::PathBuf;

use anyhow::Context as _;

use super::Outcome;
use super::check::load_and_say;
use crate::checkpoint::{Location, Remembered};
use crate::config::Loaded;
use crate::pipeline::DEAD_LETTERS;

const SHOW_HELP: &str = "\
For each shard and sink: how far it has come, what is being published, and when that was remembered last. A checkpoint
file can be read while no process has it; a table of DynamoDB at any time.

Examples:
  tunnelog checkpoint show pipelines/siem-kafka.yaml
  tunnelog checkpoint show pipelines/datalake-s3.yaml --json | jq '.lanes[] | select(.seal)'";

const RESET_HELP: &str = "\
What is forgotten is delivered again: from the source's `start`, or from the beginning of the shard where the sink keeps
its place in other shards of the stream. Events keep their ids. A prefix in S3 cannot be used again as it is, and the
next start says so. Says what will happen and asks, or wants `--yes`. Refuses while a process runs the pipeline.

Examples:
  tunnelog checkpoint reset pipelines/siem-kafka.yaml --sink siem
  tunnelog checkpoint reset pipelines/siem-kafka.yaml --sink retired --yes      a sink that is gone from the file
  tunnelog checkpoint reset pipelines/quickstart.yaml --replay --yes";

/// Show what a pipeline remembers, or make it forget
#[derive(Debug, clap::Args)]
pub(super) struct CheckpointArgs {
    #[command(subcommand)]
    command: CheckpointCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CheckpointCommand {
    /// How far each sink has come in each shard
    #[command(after_help = SHOW_HELP)]
    Show {
        #[command(flatten)]
        which: Which,
        /// One JSON object in place of the table
        #[arg(long)]
        json: bool,
    },
    /// Forget positions, so that what came after them is delivered again
    #[command(after_help = RESET_HELP)]
    Reset {
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// The checkpoint of `tunnelog replay` in place of the live one
    #[arg(long)]
    replay: bool,
    /// Only this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only this shard
    #[arg(long, value_name = "ID")]
    shard: Option<String>,
}

impl Which {
    fn wants(&self, lane: &Remembered) -> bool {
        let wants = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        let key = &lane.key;
        wants(&self.sink, &key.sink) && wants(&self.source, &key.shard.source) && wants(&self.shard, &key.shard.shard)
    }

    /// The lanes of the pipeline that are meant: a file may hold those of another one too.
    fn of(&self, loaded: &Loaded, lanes: Vec<Remembered>) -> Vec<Remembered> {
        lanes.into_iter().filter(|lane| *lane.key.pipeline == *loaded.name && self.wants(lane)).collect()
    }
}

pub(super) fn run(arguments: &CheckpointArgs) -> anyhow::Result<Outcome> {
    let (CheckpointCommand::Show { which, .. } | CheckpointCommand::Reset { which, .. }) = &arguments.command;
    let Some(loaded) = load_and_say(&which.pipeline) else { return Ok(Outcome::Misused) };
    let location = Location::of(&loaded, which.replay);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        match &arguments.command {
            CheckpointCommand::Show { which, json } => show::run(&loaded, &location, which, *json).await,
            CheckpointCommand::Reset { which, yes } => reset::run(&loaded, &location, which, *yes).await,
        }
    })
}

/// Whether the pipeline file has no such sink any more.
fn is_removed(loaded: &Loaded, sink: &str) -> bool {
    sink != DEAD_LETTERS && !loaded.pipeline.sinks.contains_key(sink)
}

/// `1 lane`, `2 lanes`.
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
