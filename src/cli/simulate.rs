//! `tunnelog simulate`: a simulated day to a directory, to standard output or (see `stream`) to a Kinesis stream.
//!
//! Files get base64 of one record a line, which `tunnelog decode` reads. They ask no clock and no network; the summary
//! goes to standard error. A reader that closes the pipe early is a clean end.

#[cfg(feature = "aws")]
mod stream;

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::config::types::Simulate;
use crate::source::simulate::{Counts, Fleet};

/// The examples under `--help`.
const EXAMPLES: &str = "\
Examples:
  tunnelog simulate | tunnelog decode --pretty
      a day of 25 VPN connections, as a timeline

  tunnelog simulate --to day --damaged 1
  tunnelog decode --pretty --inventory day/inventory day/records
      the same day as files, with what EC2 would say about its connections

  tunnelog simulate --seed 7 --connections 1000 --hours 1 --rate 500
      another, larger fleet, at 500 records a second

  tunnelog simulate --rate 50 --to kinesis:vpn-logs --region ap-northeast-2
      into a real stream, as CloudWatch Logs would; --endpoint http://127.0.0.1:4567 for an emulator

The files:
  DIR/records/shard-000.b64, ...                       base64 of one Kinesis record a line
  DIR/inventory/{account}/{region}/describe-*.json     as the AWS CLI prints them, without secrets
  DIR/inventory/accounts.json                          as `aws organizations list-accounts` prints it";

/// Generate the logs of a fleet of VPN connections, without any AWS account.
///
/// A seeded day in the life of a fleet: BGP sessions that come and go, routes, rekeys, incidents, maintenance,
/// as CloudWatch Logs would send it through Kinesis, with duplicates and control messages. The same options
/// give the same bytes, always.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// Another seed is another fleet and another day
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// How many VPN connections, each of two tunnels
    #[arg(long, default_value_t = 25, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub connections: u32,
    /// How many hours they live
    #[arg(long, default_value_t = 24, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub hours: u32,
    /// When the first hour begins, as RFC 3339
    #[arg(long, default_value = "2026-01-15T00:00:00Z", value_name = "TIME")]
    pub start: String,
    /// How many shards the stream has
    #[arg(long, default_value_t = 2, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub shards: u32,
    /// Records to damage on purpose (the first is a truncated gzip): what becomes of them is worth seeing
    #[arg(long, default_value_t = 0, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub damaged: u32,
    /// Records a second; without it as fast as possible
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// A directory for records and inventory; `-`: records to standard output; `kinesis:NAME` (or its ARN): records
    /// into this stream, whose order by log stream is kept
    #[arg(long, default_value = "-", value_name = "DIR")]
    pub to: PathBuf,
    /// Region of the stream; without it that of its ARN, else the environment's
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Another address of Kinesis than the service's own, such as an emulator's
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Write into a directory that is not empty; files of the same names are replaced
    #[arg(long)]
    pub force: bool,
}

impl SimulateArgs {
    fn config(&self) -> Simulate {
        Simulate {
            seed: self.seed,
            connections: self.connections,
            hours: self.hours,
            start: self.start.clone(),
            shards: self.shards,
            damaged: self.damaged,
            rate: self.rate,
        }
    }

    /// The name or ARN of the stream to write to.
    fn stream(&self) -> Option<&str> {
        self.to.to_str()?.strip_prefix("kinesis:")
    }
}

#[cfg(feature = "aws")]
fn to_stream(fleet: &Fleet, args: &SimulateArgs, stream: &str) -> anyhow::Result<Counts> {
    if stream.is_empty() {
        bail!("`--to kinesis:` names no stream: write --to kinesis:NAME");
    }
    stream::run(fleet, args, stream)
}

#[cfg(not(feature = "aws"))]
fn to_stream(_: &Fleet, _: &SimulateArgs, _: &str) -> anyhow::Result<Counts> {
    bail!("this build has no AWS parts: build it with the feature `aws` to write to a stream")
}

/// Runs the command and answers what was written; the summary is on standard error.
///
/// # Errors
/// Options out of range, a directory that is not empty or cannot be written.
pub fn run(args: &SimulateArgs) -> anyhow::Result<Counts> {
    let fleet = Fleet::new(&args.config())?;
    if let Some(stream) = args.stream() {
        return to_stream(&fleet, args, stream);
    }
    if args.region.is_some() || args.endpoint.is_some() {
        bail!("--region and --endpoint go with --to kinesis:NAME only");
    }
    let counts = if args.to.as_os_str() == "-" {
        match write_records(&fleet, args.rate, &mut [BufWriter::new(io::stdout().lock())]) {
            Err((error, counts)) if error.kind() == ErrorKind::BrokenPipe => return Ok(counts),
            written => written.map_err(|(error, _)| error).context("cannot write to standard output")?,
        }
    } else {
        write_directory(&fleet, args)?
    };
    eprint!("{}", summary(&counts, &args.to));
    Ok(counts)
}

fn write_directory(fleet: &Fleet, args: &SimulateArgs) -> anyhow::Result<Counts> {
    let directory = &args.to;
    prepare(directory, args.force)?;
    write_inventory(fleet, &directory.join("inventory"))?;
    let records = directory.join("records");
    fs::create_dir_all(&records).with_context(|| format!("cannot make `{}`", records.display()))?;
    let mut files = Vec::new();
    for shard in 0..fleet.shards() {
        let path = records.join(format!("shard-{shard:03}.b64"));
        let file = File::create(&path).with_context(|| format!("cannot write `{}`", path.display()))?;
        files.push(BufWriter::new(file));
    }
    write_records(fleet, args.rate, &mut files)
        .map_err(|(error, _)| error)
        .with_context(|| format!("cannot write records into `{}`", records.display()))
}

/// Makes the directory, or refuses one that holds something already.
fn prepare(directory: &Path, force: bool) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    let mut entries = fs::read_dir(directory).with_context(|| format!("cannot read `{}`", directory.display()))?;
    if entries.next().is_some() && !force {
        bail!("`{}` is not empty; give another directory, or --force to write into this one", directory.display());
    }
    Ok(())
}

fn write_inventory(fleet: &Fleet, directory: &Path) -> anyhow::Result<()> {
    let inventory = fleet.inventory();
    for answers in &inventory.regions {
        let place = directory.join(&answers.account).join(&answers.region);
        fs::create_dir_all(&place).with_context(|| format!("cannot make `{}`", place.display()))?;
        for (name, answer) in answers.files() {
            write_json(&place.join(name), answer)?;
        }
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make `{}`", directory.display()))?;
    write_json(&directory.join("accounts.json"), &inventory.accounts)
}

fn write_json(path: &Path, value: &Value) -> anyhow::Result<()> {
    fs::write(path, format!("{value:#}\n")).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Writes every record to its shard's writer, or all to the only one; with an error what was sent until then.
fn write_records<W: Write>(fleet: &Fleet, rate: Option<u32>, writers: &mut [W]) -> Result<Counts, (io::Error, Counts)> {
    let mut records = fleet.records();
    let begun = now();
    let mut line = String::new();
    let mut number = 0_u64;
    while let Some(record) = records.next() {
        line.clear();
        STANDARD.encode_string(&record.data, &mut line);
        line.push('\n');
        let place = (record.shard as usize).min(writers.len().saturating_sub(1));
        if let Some(writer) = writers.get_mut(place) {
            // A paced stream is watched by somebody: nothing stays in the buffer while we wait.
            let flushed = |writer: &mut W| if rate.is_some() { writer.flush() } else { Ok(()) };
            let written = writer.write_all(line.as_bytes()).and_then(|()| flushed(writer));
            written.map_err(|error| (error, records.counts()))?;
        }
        if let Some(rate) = rate {
            wait(rate, number, begun);
        }
        number += 1;
    }
    let counts = records.counts();
    writers.iter_mut().try_for_each(Write::flush).map(|()| counts).map_err(|error| (error, counts))
}

#[expect(clippy::disallowed_methods, reason = "the pace of a command; what it writes does not depend on it")]
fn now() -> Instant {
    Instant::now()
}

/// Sleeps until record `number + 1` is due.
#[expect(clippy::disallowed_methods, reason = "a command without a runtime: there is nothing to block")]
fn wait(rate: u32, number: u64, begun: Instant) {
    let due = begun + Duration::from_secs_f64((number + 1) as f64 / f64::from(rate));
    std::thread::sleep(due.saturating_duration_since(now()));
}

fn summary(counts: &Counts, to: &Path) -> String {
    let mut text = format!(
        "simulated {} events in {} records\n  BGP sessions {}, routes {} ({} denied), IKE {}, route servers {}\n  \
         sent twice: {} records with {} events; control messages: {}; damaged: {}\n",
        counts.events(),
        counts.records,
        counts.bgp_status,
        counts.bgp_route,
        counts.denied_routes,
        counts.ike,
        counts.route_server,
        counts.duplicates,
        counts.duplicate_events,
        counts.control_messages,
        counts.damaged,
    );
    if to.as_os_str() != "-" {
        let to = to.display();
        text.push_str(&format!(
            "records are in {to}/records, the inventory in {to}/inventory; next:\n  \
             tunnelog decode --pretty --inventory {to}/inventory {to}/records\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parse(arguments: &[&str]) -> SimulateArgs {
        Cli::try_parse_from(std::iter::once(&"simulate").chain(arguments)).unwrap().args
    }

    #[test]
    fn the_defaults_are_those_of_the_pipeline_file() {
        let (args, config) = (parse(&[]).config(), Simulate::default());
        assert_eq!(format!("{args:?}"), format!("{config:?}"));
    }

    #[test]
    fn a_directory_gets_one_file_a_shard_and_the_inventory_and_is_not_overwritten_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("day");
        let mut args = parse(&["--hours", "1", "--connections", "4", "--shards", "3", "--damaged", "1"]);
        args.to = to.clone();
        let counts = run(&args).unwrap();
        let lines: usize = (0..3)
            .map(|shard| fs::read_to_string(to.join(format!("records/shard-{shard:03}.b64"))).unwrap().lines().count())
            .sum();
        assert_eq!(lines as u64, counts.records);
        assert_eq!(counts.damaged, 1);
        assert!(to.join("inventory/123456789012/ap-northeast-2/describe-vpn-connections.json").is_file());
        assert!(to.join("inventory/accounts.json").is_file());

        let refused = run(&args).unwrap_err().to_string();
        assert!(refused.contains("is not empty") && refused.contains("--force"), "{refused}");
        args.force = true;
        assert_eq!(run(&args).unwrap(), counts);
    }
}
