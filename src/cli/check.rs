//! `tunnelog check`: every problem of a pipeline file at once.

use std::path::{Path, PathBuf};

use super::{Outcome, place};
use crate::config::{Level, Loaded, Problem, count_line, load};

/// Check pipeline files: every problem at once, with its place and what to write instead
///
/// Connects to nothing and starts nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  tunnelog check pipelines/*.yaml")]
pub(super) struct CheckArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
}

pub(super) fn run(arguments: &CheckArgs) -> Outcome {
    let mut outcome = Outcome::Finished;
    for path in &arguments.pipelines {
        match load_and_say(path) {
            Some(loaded) => say_what_it_does(&loaded),
            None => outcome = Outcome::Misused,
        }
    }
    outcome
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
        loaded.checkpoint_file().display()
    );
}
