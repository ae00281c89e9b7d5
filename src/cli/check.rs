//! `tunnelog check`: every problem of a pipeline file at once; with `--connect` also those of what it names.

use std::path::{Path, PathBuf};

use super::cost::CostArgs;
use super::{Outcome, connect, place};
use crate::checkpoint::Location;
use crate::config::{Level, Loaded, Problem, count_line, load};
use crate::memory::Plan;

const HELP: &str = "\
Without --connect nothing is connected to. With it, each source, sink, dead letters and inventory is reached, and for
each a line says what is there, or what is wrong and what to do. It starts nothing and writes nothing: that writing is
allowed shows at the start only. It may be used beside a running pipeline.

Where AWS bills something, it also says what a million events will cost, what that assumes, and what is not in it. That
is arithmetic on the pipeline file and list prices: nothing is asked.

Exit codes: 0 all is well, 1 something could not be reached, 2 a file has problems

Examples:
  tunnelog check pipelines/*.yaml
  tunnelog check --connect pipelines/siem-kafka.yaml
  tunnelog check --events-per-day 20000000 --shards 2 pipelines/datalake-firehose.yaml";

/// Check pipeline files: every problem at once, with its place and what to write instead
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct CheckArgs {
    /// Reach what the pipelines name: streams, topics, buckets, files; say whose the credentials are
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    cost: CostArgs,
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
}

pub(super) fn run(arguments: &CheckArgs) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Finished;
    let costs = arguments.cost.costs()?;
    for path in &arguments.pipelines {
        let Some(loaded) = load_and_say(path) else {
            outcome = Outcome::Misused;
            continue;
        };
        say_what_it_does(&loaded);
        anstream::print!("{}", costs.text(&loaded));
        if arguments.connect && connect::run(&loaded)? == Outcome::Failed && outcome == Outcome::Finished {
            outcome = Outcome::Failed;
        }
    }
    Ok(outcome)
}

/// Loads a pipeline file; prints its problems, or its warnings, on standard error.
pub(super) fn load_and_say(path: &Path) -> Option<Loaded> {
    match load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            say(&loaded.warnings);
            Some(loaded)
        }
        Err(problems) => {
            say(&problems.list);
            anstream::eprintln!("{} in {}", count_line(&problems.list), path.display());
            None
        }
    }
}

fn say(problems: &[Problem]) {
    for problem in problems {
        let colour = match problem.level {
            Level::Error => anstyle::AnsiColor::Red,
            Level::Warning => anstyle::AnsiColor::Yellow,
        };
        let style = colour.on_default().bold();
        let text = problem.to_string();
        let (level, rest) = text.split_once(':').unwrap_or(("", &text));
        anstream::eprintln!("{style}{level}{style:#}:{rest}\n");
    }
}

fn say_what_it_does(loaded: &Loaded) {
    let names = |names: Vec<&String>| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let warnings =
        if loaded.warnings.is_empty() { String::new() } else { format!(" ({})", count_line(&loaded.warnings)) };
    anstream::println!("{}: ok{warnings}", loaded.path.display());
    anstream::println!(
        "  {} → {}; dead letters to {}; checkpoint in {}",
        names(loaded.pipeline.sources.keys().collect()),
        names(loaded.pipeline.sinks.keys().collect()),
        place::of_dead_letters(loaded).text(),
        Location::of(loaded, false)
    );
    // One that does not fit is an error, and said already.
    if let Ok(plan) = Plan::here(&loaded.pipeline) {
        anstream::println!("  memory: {plan}");
    }
}
