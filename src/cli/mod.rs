//! The commands, one file each. What they print is for people; what they pipe is on standard output.
//!
//! Exit codes: 0 finished, 1 failed (or something could not be read), 2 wrong usage or configuration.

mod age;
mod changes;
mod check;
mod checkpoint;
mod connect;
mod cost;
mod decode;
mod interrupt;
#[cfg(feature = "aws")]
mod inventory;
mod place;
mod refused;
mod reload;
mod run;
mod schema;
pub mod simulate;
mod status;
mod summary;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::telemetry::log;

const AFTER_HELP: &str = "\
First steps, none of which needs an AWS account:
  tunnelog run pipelines/quickstart.yaml        a simulated day through a whole pipeline
  tunnelog simulate --hours 1 | tunnelog decode --pretty
  tunnelog decode --pretty FILE                 what is in this file?

Exit codes: 0 finished, 1 failed or something could not be read, 2 wrong usage or configuration";

/// Stream processor for the logs of AWS Site-to-Site VPN.
///
/// Reads BGP and IKE logs as CloudWatch Logs sends them, turns each line into a typed event, adds what EC2 knows
/// about the VPN connection, and delivers the events; nothing that is acknowledged is lost.
#[derive(Debug, Parser)]
#[command(name = "tunnelog", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    /// What to log: error, warn, info, debug, trace, or by module, such as `info,tunnelog::delivery=trace`
    /// [default: info; also $TUNNELOG_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Replay(run::ReplayArgs),
    Decode(decode::DecodeArgs),
    Check(check::CheckArgs),
    Checkpoint(checkpoint::CheckpointArgs),
    #[cfg(feature = "aws")]
    Inventory(inventory::InventoryArgs),
    Simulate(simulate::SimulateArgs),
    Schema(schema::SchemaArgs),
    /// Print the completion script of a shell
    ///
    /// For example: tunnelog completions bash > ~/.local/share/bash-completion/completions/tunnelog
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Exit code 0.
    Finished,
    /// Exit code 1: the command has said why.
    Failed,
    /// Exit code 2: the command has said why.
    Misused,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Finished => 0,
            Outcome::Failed => 1,
            Outcome::Misused => 2,
        })
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    run_with(std::env::args_os())
}

fn run_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, of exit code 0; a closed pipe is nobody's loss.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if let Err(error) = log::init(arguments.log.as_deref()) {
        say_error(&error.to_string());
        return Outcome::Misused.into();
    }
    match dispatch(arguments.command) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            say_error(&format!("{error:#}"));
            Outcome::Failed.into()
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Replay(arguments) => run::replay(&arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Checkpoint(arguments) => checkpoint::run(&arguments),
        #[cfg(feature = "aws")]
        Command::Inventory(arguments) => inventory::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments).map(|_| Outcome::Finished),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tunnelog", &mut script);
            print_all(&script)?;
            Ok(Outcome::Finished)
        }
    }
}

/// Writes to standard output; a reader that has gone away wants no more, which is no failure.
fn print_all(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// An error for a person, on standard error.
fn say_error(text: &str) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    anstream::eprintln!("{style}error{style:#}: {text}");
}
