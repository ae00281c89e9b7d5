//! The real program with `pipelines/splunk.yaml`: a simulated day through a real stream into a collector that fails on the
//! way, through `kill -9`; and that the token is in nothing that is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tunnelog::config::types::{JsonOptions, Simulate};
use tunnelog::encode::{Format, SplunkFormat};

use super::collector::{Collector, Fault, TOKEN};
use super::day::{Day, Stream, bare};
use super::stack;
use super::support::program::{Running, finish, get, status_address, tunnelog, wait_until};
use super::support::{events_in, text};

/// What the pipeline file leaves out.
const LEFT_OUT: [&str; 6] =
    ["rekey", "connecting", "open_sent", "open_received", "state_changed", "attributes_received"];

struct World {
    folder: TempDir,
    stream: Stream,
    collector: Collector,
}

impl World {
    fn new(shards: i32) -> World {
        World { folder: tempfile::tempdir().unwrap(), stream: Stream::new(shards), collector: Collector::start() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/splunk.yaml");
        let mut command = tunnelog(self.folder.path(), &[arguments, &[pipeline.to_str().unwrap()]].concat());
        command.envs([
            ("KINESIS_STREAM", self.stream.name.as_str()),
            ("SPLUNK_HEC_URL", &self.collector.address),
            ("SPLUNK_HEC_TOKEN", TOKEN),
            ("STATUS_LISTEN", "127.0.0.1:0"),
            ("AWS_ENDPOINT_URL_KINESIS", &stack::kinesis().endpoint),
            ("AWS_ENDPOINT_URL_STS", &stack::moto().endpoint),
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
            ("AWS_REGION", stack::REGION),
        ]);
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("stderr")
    }

    fn start(&self) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command(&["run", "--log", "trace"]);
        Running::of(command.stdout(Stdio::null()).stderr(log))
    }

    /// By id: what is indexed, and how often.
    fn indexed(&self) -> BTreeMap<String, Vec<Value>> {
        let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for envelope in &self.collector.state().indexed {
            let id = text(envelope, "/fields/id").to_owned();
            all.entry(id).or_default().push(envelope["event"].clone());
        }
        all
    }
}

/// Everything that the program has written is without the token.
fn check_no_token(folder: &Path) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_no_token(&path);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let secret = TOKEN.as_bytes();
        let is_shown = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!is_shown, "the token is in {}", path.display());
    }
}

#[test]
fn a_day_reaches_splunk_through_faults_and_a_kill_and_the_token_is_written_nowhere() {
    let world = World::new(2);
    let day = Day::new(Simulate { connections: 6, hours: 12, damaged: 3, ..Simulate::default() });
    let half = day.records.len() / 2;
    world.stream.put(&day.records[..half]);
    world.collector.state().next.extend([
        Fault::Answer(503, 9, "Server is busy"),
        Fault::LoseAnswer,
        Fault::Answer(429, 26, "Queue is at capacity"),
    ]);
    let mut running = world.start();
    wait_until("some of it is indexed", || {
        assert!(!running.has_ended(), "it ended: {}", std::fs::read_to_string(world.log()).unwrap());
        world.indexed().len() > 10
    });
    running.kill();
    // What it had sent and not heard of is lost with Splunk's own memory of it.
    world.collector.state().restart();
    world.stream.put(&day.records[half..]);
    let mut running = world.start();

    let format = Format::Splunk(SplunkFormat::new(&JsonOptions::default()));
    let wanted: BTreeMap<String, Value> = day
        .events(format)
        .iter()
        .filter(|event| !LEFT_OUT.contains(&text(event, "/vendor_action")))
        .map(|event| (text(event, "/id").to_owned(), bare(event)))
        .collect();
    assert!(wanted.len() > 100, "{}", wanted.len());
    wait_until("all of it is indexed", || {
        assert!(!running.has_ended(), "it ended: {}", std::fs::read_to_string(world.log()).unwrap());
        world.indexed().len() >= wanted.len()
    });
    let metrics = get(&status_address(&world.log()), "/metrics");
    assert!(metrics.contains("tunnelog_") && !metrics.contains(TOKEN));
    assert_eq!(running.terminate().code(), Some(0), "{}", std::fs::read_to_string(world.log()).unwrap());

    let indexed = world.indexed();
    let ids = |map: BTreeSet<&String>| map.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(ids(indexed.keys().collect()), ids(wanted.keys().collect()));
    for (id, events) in &indexed {
        for event in events {
            assert_eq!(bare(event), wanted[id], "the same each time");
        }
    }
    let state = world.collector.state();
    assert_eq!(state.violations, Vec::<String>::new());
    assert!(state.indexed.iter().all(|envelope| envelope["index"] == "vpn" && envelope["sourcetype"] == "tunnelog"));
    drop(state);
    // A letter that was written when the process was killed comes again.
    let letters = events_in(&world.folder.path().join("state/splunk.dead-letters.ndjson"));
    let letters: BTreeSet<&str> = letters.iter().map(|letter| text(letter, "/id")).collect();
    assert_eq!(letters.len(), day.damaged);
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("\"level\":\"TRACE\""), "it was at trace level");
    check_no_token(world.folder.path());
}

#[test]
fn check_says_what_is_there_and_what_is_wrong_without_the_token() {
    let world = World::new(1);
    let done = finish(world.command(&["check", "--connect", "--log", "trace"])).expect(0);
    assert!(done.out().contains("well, takes the token, with indexer acknowledgement; index `vpn`"), "{}", done.out());
    assert!(!(done.out() + &done.err()).contains(TOKEN));
    world.collector.state().no_acknowledgement = true;
    let done = finish(world.command(&["check", "--connect", "--log", "trace"])).expect(1);
    assert!(done.out().contains("the token has no indexer acknowledgement; switch it on"), "{}", done.out());
    assert!(!(done.out() + &done.err()).contains(TOKEN));
    assert!(world.collector.state().requests.is_empty(), "no event was sent");
}

#[test]
fn a_token_in_the_file_or_in_a_default_is_refused_and_covered() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = |token: &str| {
        format!(
            "sources: {{ fleet: {{ simulate: {{}} }} }}\nsinks:\n  siem:\n    splunk_hec:\n      endpoints: \
             ['https://hec:8088']\n      token: {token}\n"
        )
    };
    for token in [TOKEN.to_owned(), format!("${{HEC:-{TOKEN}}}")] {
        std::fs::write(folder.path().join("p.yaml"), pipeline(&token)).unwrap();
        let done = finish(tunnelog(folder.path(), &["check", "p.yaml"])).expect(2);
        let done = done.says(&["a secret does not belong into this file", "token: ${SPLUNK_HEC_TOKEN}"]);
        assert!(!(done.out() + &done.err()).contains(TOKEN), "{}", done.err());
    }
}
