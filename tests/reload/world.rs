//! A folder with a pipeline file over a simulated fleet, and what the fleet must come to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;

use super::support::program::{Running, get, run, size, status_address, tunnelog, wait_until};
use super::support::{json_lines, text};

/// An event's place in its shard: its record's sequence number, and its own in the record.
pub(crate) type Place = (u64, u64);

/// By shard, in the order of the output.
pub(crate) type Written = BTreeMap<String, Vec<Place>>;

/// By shard, in order: each event's place and kind.
type Kinds = BTreeMap<String, Vec<(Place, String)>>;

static EXPECTED: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let world = World::new();
    world.write(&pipeline("", &[&file_sink("all", "")]));
    run(world.folder.path(), &["run", "pipeline.yaml"]).expect(0);
    world.events("all")
});

static PLACES: LazyLock<Written> = LazyLock::new(|| places(&EXPECTED));

/// What a run that nothing disturbs writes.
pub(crate) fn expected() -> &'static Written {
    &PLACES
}

pub(crate) fn expected_kinds() -> Kinds {
    let mut kinds = Kinds::new();
    for event in EXPECTED.iter() {
        kinds.entry(stream_of(event).to_owned()).or_default().push((place(event), text(event, "/kind").to_owned()));
    }
    kinds
}

/// The shard that an event came from.
pub(crate) fn stream_of(event: &Value) -> &str {
    text(event, "/origin/shard")
}

pub(crate) fn place(event: &Value) -> Place {
    // The last digits are the record's number.
    let sequence = text(event, "/origin/sequence");
    (sequence[sequence.len() - 18..].parse().unwrap(), event["origin"]["index"].as_u64().unwrap())
}

pub(crate) fn places(events: &[Value]) -> Written {
    let mut written = Written::new();
    for event in events {
        written.entry(stream_of(event).to_owned()).or_default().push(place(event));
    }
    written
}

/// A file sink that shows where each event comes from.
pub(crate) fn file_sink(name: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!("{name}: {{ file: {{ path: out/{name}.ndjson }}, format: {{ json: {{ origin: true }} }}{comma}{more} }}")
}

/// A pipeline file of these sinks. The fleet is the same whatever its rate is.
pub(crate) fn pipeline(rate: &str, sinks: &[&str]) -> String {
    let comma = if rate.is_empty() { "" } else { ", " };
    let mut text =
        format!("sources:\n  fleet: {{ simulate: {{ connections: 10, hours: 12, seed: 7{comma}{rate} }} }}\nsinks:\n");
    for sink in sinks {
        writeln!(text, "  {sink}").unwrap();
    }
    text + "checkpoint: { interval: 100ms }\nlimits: { shutdown_grace: 2s }\nstatus: { listen: \"127.0.0.1:0\" }\n"
}

pub(crate) struct World {
    pub(crate) folder: TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        World { folder: tempfile::tempdir().unwrap() }
    }

    /// Writes the pipeline file, whole or not at all, as an editor does.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new.yaml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.path().join("pipeline.yaml")).unwrap();
    }

    /// Starts the program; its log begins anew.
    pub(crate) fn start(&self) -> Running {
        let _ = std::fs::remove_file(self.folder.path().join("stderr"));
        Running::start(self.folder.path(), &["run", "pipeline.yaml"])
    }

    /// The same for a program that may be forbidden to let a file grow: it sees a full disk.
    pub(crate) fn start_unkilled_by_limits(&self) -> Running {
        let program = tunnelog(self.folder.path(), &[]).get_program().to_owned();
        let log = std::fs::File::create(self.folder.path().join("stderr")).unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" run pipeline.yaml"]).arg(program).current_dir(self.folder.path());
        Running::of(shell.stderr(log).stdout(Stdio::null()))
    }

    /// The terminal in which the program is started; killing it closes it.
    pub(crate) fn start_in_a_terminal(&self) -> Running {
        let program = tunnelog(self.folder.path(), &[]).get_program().to_owned();
        let mut terminal = Command::new("script");
        terminal.args(["-q", "-c", "exec \"$TUNNELOG\" run pipeline.yaml", "/dev/null"]).env("TUNNELOG", program);
        Running::of(terminal.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()))
    }

    pub(crate) fn output(&self, sink: &str) -> PathBuf {
        self.folder.path().join(format!("out/{sink}.ndjson"))
    }

    pub(crate) fn events(&self, sink: &str) -> Vec<Value> {
        // The last line may still be on its way into the file.
        let content = std::fs::read(self.output(sink)).unwrap();
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        json_lines(&content[..whole])
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// Log lines whose message begins like this.
    pub(crate) fn count(&self, message: &str) -> usize {
        let begins = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            text(&line, "/message").starts_with(message)
        };
        self.log().lines().filter(|line| begins(line)).count()
    }

    pub(crate) fn page(&self) -> String {
        status_address(&self.folder.path().join("stderr"))
    }

    pub(crate) fn get(&self, path: &str) -> String {
        get(&self.page(), path)
    }

    #[track_caller]
    pub(crate) fn wait_for_growth(&self, sink: &str) {
        let from = size(&self.output(sink));
        wait_until(&format!("`{sink}` grows"), || size(&self.output(sink)) > from);
    }

    /// SIGHUP, and waits until the file is in use.
    #[track_caller]
    pub(crate) fn reload(&self, running: &Running) {
        let before = self.count("reloaded");
        running.signal("HUP");
        wait_until("it is reloaded", || self.count("reloaded") > before);
    }

    /// Reloads without a rate, and waits for the end.
    #[track_caller]
    pub(crate) fn finish(&self, running: &mut Running, sinks: &[&str]) {
        self.write(&pipeline("", sinks));
        running.signal("HUP");
        assert_eq!(running.wait().code(), Some(0), "{}", self.log());
    }
}
