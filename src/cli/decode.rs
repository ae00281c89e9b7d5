//! `tunnelog decode`: files or standard input to events on standard output, without a pipeline file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use super::run::IdentityArgs;
use super::{Outcome, refused, say_error};
use crate::config::types::{Identity, JsonOptions, RawOption};
use crate::core::{Core, From, Go, Resume, Scratch, SinkPlan, Step, Walked};
use crate::decode::recognize::{FoundRecord, Item, Place, Recognizer};
use crate::delivery::SinkId;
use crate::encode::timeline::{GroupKey, group_key};
use crate::encode::{DeadLetter, Format, JsonFormat, TimelineFormat};
use crate::enrich::{FileInventory, InventoryError, Snapshot};
use crate::event::Millis;
use crate::route::Filter;
use crate::source::replay::{files_in, identity_of};
use crate::source::{Position, Record, ShardId};

/// The cap on a record after decompression: the pipeline's default.
const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// A timeline is sorted in memory up to this size; a larger input is shown in several parts.
const MAX_TIMELINE_BYTES: usize = 64 * 1024 * 1024;

const AFTER_HELP: &str = "\
Recognised by content, mixed freely, also gzipped:
  raw gzip records, and base64 of them, a line each      aws kinesis get-records ...
  subscription envelopes, a line each                    aws logs filter-log-events ...
  log lines, JSON or text                                files of an export task
  dead letters of tunnelog

Of an event that a sink refused, standard error says which sink and why.

What cannot be read goes to standard error with its place and the reason; the exit code is 1 then, after all the
rest has been read.

Examples:
  tunnelog decode --pretty records.b64
  aws logs filter-log-events --log-group-name /aws/vendedlogs/vpn | tunnelog decode --log-group /aws/vendedlogs/vpn
  aws ec2 describe-vpn-connections > vpn.json && tunnelog decode --inventory vpn.json exported-logs/";

/// Show what is in log files, records or dead letters: one JSON event a line
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DecodeArgs {
    /// Files and folders; `-`, or none: standard input
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// A timeline per tunnel, for people; times are UTC
    #[arg(long)]
    pretty: bool,
    /// Saved answers of `aws ec2 describe-vpn-connections` and its siblings: a file or a folder of them
    #[arg(long, value_name = "PATH")]
    inventory: Option<PathBuf>,
    /// The EC2 tags that events carry (repeat, or separate by commas)
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,
    #[command(flatten)]
    identity: IdentityArgs,
    /// The Region of events that nothing else tells it of
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// When the log line itself goes along
    #[arg(long, value_enum, default_value_t = Raw::Problems)]
    raw: Raw,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Raw {
    /// With events that could not be read in full
    Problems,
    /// With every event
    Always,
    /// Never
    Never,
}

pub(super) fn run(arguments: &DecodeArgs) -> anyhow::Result<Outcome> {
    let mut decoder = match Decoder::new(arguments) {
        Ok(decoder) => decoder,
        Err(error) => {
            say_error(&error.to_string());
            return Ok(Outcome::Misused);
        }
    };
    match decoder.read_all(arguments) {
        // Whoever read our output has seen enough: no failure.
        Err(error) if is_broken_pipe(&error) => {}
        outcome => outcome?,
    }
    Ok(if decoder.unreadable == 0 { Outcome::Finished } else { Outcome::Failed })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Decoder {
    core: Core,
    snapshot: Snapshot,
    identity: Identity,
    region: Option<String>,
    scratch: Scratch,
    timeline: Option<Timeline>,
    out: io::BufWriter<io::Stdout>,
    unreadable: u64,
}

impl Decoder {
    fn new(arguments: &DecodeArgs) -> Result<Decoder, InventoryError> {
        let raw = match arguments.raw {
            Raw::Problems => RawOption::Problems,
            Raw::Always => RawOption::Always,
            Raw::Never => RawOption::Never,
        };
        let format = Format::Json(JsonFormat::new(&JsonOptions { raw, ..JsonOptions::default() }));
        let snapshot = match &arguments.inventory {
            Some(path) => FileInventory::new(Some(path.clone()), None, arguments.tags.clone()).load()?,
            None => Snapshot::default(),
        };
        Ok(Decoder {
            core: Core::new(MAX_RECORD_BYTES, vec![SinkPlan { format, filter: Filter::default() }]),
            snapshot,
            identity: arguments.identity.identity(),
            region: arguments.region.clone(),
            scratch: Scratch::default(),
            timeline: arguments.pretty.then(Timeline::new),
            out: io::BufWriter::new(io::stdout()),
            unreadable: 0,
        })
    }

    fn read_all(&mut self, arguments: &DecodeArgs) -> anyhow::Result<()> {
        if arguments.inputs.is_empty() && io::stdin().is_terminal() {
            anstream::eprintln!("reading log lines or records from the terminal; Ctrl-D ends, `--help` explains");
        }
        let stdin = [PathBuf::from("-")];
        let inputs = if arguments.inputs.is_empty() { &stdin[..] } else { &arguments.inputs };
        for input in inputs {
            if input.as_os_str() == "-" {
                self.read(io::stdin().lock(), Path::new("standard input"))?;
                continue;
            }
            match files_in(std::slice::from_ref(input)) {
                Ok(files) => files.iter().try_for_each(|file| self.read_file(file))?,
                Err(error) => self.missing(&error.to_string()),
            }
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.show(&mut self.out)?;
        }
        Ok(self.out.flush()?)
    }

    fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        match File::open(path) {
            Ok(file) => self.read(file, path),
            Err(error) => {
                self.missing(&format!("input `{}` cannot be read: {error}", path.display()));
                Ok(())
            }
        }
    }

    fn read(&mut self, input: impl Read, path: &Path) -> anyhow::Result<()> {
        let mut recognizer = Recognizer::new(BufReader::new(input), identity_of(path, &self.identity));
        let shard = ShardId {
            source: "decode".into(),
            stream: path.to_string_lossy().into(),
            stream_created: "".into(),
            shard: "0".into(),
        };
        loop {
            match recognizer.next() {
                Ok(Some(Item::Record(found))) => self.record(&shard, found)?,
                Ok(Some(Item::Unreadable(found))) => {
                    self.unreadable(&shard, found.place, found.reason.as_str(), found.reason.hint());
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.missing(&format!("input `{}` cannot be read to its end: {error}", path.display()));
                    return Ok(());
                }
            }
        }
    }

    fn record(&mut self, shard: &ShardId, found: FoundRecord) -> anyhow::Result<()> {
        let sequence = found.sequence.as_deref().and_then(Position::parse);
        let position = sequence.unwrap_or_else(|| Position::from(found.number + 1));
        if let Some(letter) = &found.rejected {
            return self.refused(shard, found.place, letter);
        }
        let record = Record::new(position, found.arrival, found.data);
        if self.timeline.is_some() {
            self.add_to_timeline(shard, &record, found.place)
        } else {
            self.write_json(shard, &record, found.place)
        }
    }

    /// An event that a sink refused: it is shown as it was to be sent, and is no failure of ours.
    fn refused(&mut self, shard: &ShardId, place: Place, letter: &DeadLetter) -> anyhow::Result<()> {
        let Some(timeline) = &mut self.timeline else {
            self.out.write_all(&refused::json_line(letter))?;
            self.out.flush()?;
            let style = anstyle::AnsiColor::Yellow.on_default();
            anstream::eprintln!("{style}refused{style:#} {}, {place}: {}", shard.stream, refused::note(letter));
            return Ok(());
        };
        refused::with_event(letter, |event| timeline.add(event));
        if timeline.bytes >= MAX_TIMELINE_BYTES {
            timeline.show(&mut self.out)?;
        }
        Ok(())
    }

    fn write_json(&mut self, shard: &ShardId, record: &Record, place: Place) -> anyhow::Result<()> {
        let mut resume = Resume::default();
        loop {
            let mut out = self.core.output(&[SinkId(0)]);
            let from = From { shard, region: self.region.as_deref() };
            let step = self.core.process(from, record, resume, &self.snapshot, &mut self.scratch, &mut out);
            for (reason, detail) in std::mem::take(&mut out.counts.unreadable) {
                self.unreadable(shard, place, reason, &detail);
            }
            for lane in self.core.piece(out).lanes.into_iter().flatten() {
                self.out.write_all(&lane.encoded.bytes)?;
            }
            match step {
                Step::Done => return Ok(()),
                Step::More(next) => resume = next,
            }
        }
    }

    fn add_to_timeline(&mut self, shard: &ShardId, record: &Record, place: Place) -> anyhow::Result<()> {
        let Some(timeline) = &mut self.timeline else { return Ok(()) };
        let mut resume = Resume::default();
        loop {
            let from = From { shard, region: self.region.as_deref() };
            let walked = self.core.walk(from, record, resume, &self.snapshot, &mut self.scratch, &mut |event, _| {
                timeline.add(event);
                if timeline.bytes < MAX_TIMELINE_BYTES { Go::On } else { Go::Stop }
            });
            if timeline.bytes >= MAX_TIMELINE_BYTES {
                timeline.show(&mut self.out)?;
            }
            match walked {
                Ok(Walked::Stopped(next)) => resume = next,
                Ok(Walked::Control | Walked::ToTheEnd) => return Ok(()),
                Err(error) => {
                    self.unreadable(shard, place, error.reason(), &error.to_string());
                    return Ok(());
                }
            }
        }
    }

    fn unreadable(&mut self, shard: &ShardId, place: Place, reason: &str, detail: &str) {
        self.complain(&format!("{}, {place}: {reason}: {detail}", shard.stream));
    }

    /// An input that is not there, or breaks off: the others are read all the same.
    fn missing(&mut self, text: &str) {
        self.unreadable += 1;
        let _ = self.out.flush();
        say_error(text);
    }

    fn complain(&mut self, text: &str) {
        self.unreadable += 1;
        // Events that were read before stand before the complaint.
        let _ = self.out.flush();
        let style = anstyle::AnsiColor::Red.on_default();
        anstream::eprintln!("{style}cannot read{style:#} {text}");
    }
}

/// The events of each tunnel, sorted by time when they are shown.
struct Timeline {
    format: TimelineFormat,
    groups: BTreeMap<GroupKey, Group>,
    bytes: usize,
}

struct Group {
    heading: Vec<u8>,
    lines: Vec<(Millis, Vec<u8>)>,
}

impl Timeline {
    fn new() -> Timeline {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Timeline { format: TimelineFormat { colour, date: true, grouped: true }, groups: BTreeMap::new(), bytes: 0 }
    }

    fn add(&mut self, event: &crate::event::Event<'_>) {
        let group = self.groups.entry(group_key(event)).or_insert_with(|| {
            let mut heading = Vec::new();
            self.format.heading(event, &mut heading);
            Group { heading, lines: Vec::new() }
        });
        let mut line = b"  ".to_vec();
        self.format.encode(event, &mut line);
        self.bytes += line.len();
        group.lines.push((event.time, line));
    }

    fn show(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.bytes = 0;
        for (_, mut group) in std::mem::take(&mut self.groups) {
            out.write_all(&group.heading)?;
            // A stable sort: lines of one time keep the order of the log.
            group.lines.sort_by_key(|(time, _)| *time);
            group.lines.iter().try_for_each(|(_, line)| out.write_all(line))?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}
