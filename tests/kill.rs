//! `kill -9` in the middle of a replay, SIGTERM, and two processes at once: nothing is lost, and what is repeated
//! is exactly what was written since the last checkpoint.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;
use support::program::{Running, run, size, wait_until};
use support::{forms, json_lines, text};
use tempfile::TempDir;
use tunnelog::checkpoint::{CheckpointStore as _, RedbStore};
use tunnelog::config::types::Simulate;
use tunnelog::delivery::At;

/// An event's place: its record's ordinal in its file, and its own in the record.
type Place = (u64, u64);

/// By file, in the order of the output.
type Written = BTreeMap<String, Vec<Place>>;

/// Two files of records, and what they come to.
struct Inputs {
    _folder: TempDir,
    files: Vec<PathBuf>,
    expected: Written,
    ids: BTreeSet<String>,
}

/// A folder to run in.
struct World {
    folder: TempDir,
}

const PIPELINE: &str = "\
sources:
  fleet: { simulate: { connections: 1, hours: 1 } }
sinks:
  events:
    file: { path: out/events.ndjson, rotate: 1GiB }
    format: { json: { origin: true } }
checkpoint: { interval: 100ms }
limits: { open_records: 1000 }
";

/// Made once: a debug build takes its time for them, which is what the tests need.
static INPUTS: LazyLock<Inputs> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Simulate { seed: 11, connections: 20, hours: 2, shards: 2, ..Simulate::default() };
    let records = forms::records(&fleet);
    let files: Vec<PathBuf> = (0..2).map(|shard| folder.path().join(format!("shard-{shard}.b64"))).collect();
    for (shard, file) in files.iter().enumerate() {
        let own = records.iter().filter(|record| record.shard as usize == shard);
        let own: Vec<&[u8]> = own.map(|record| &*record.data).collect();
        std::fs::write(file, forms::base64_lines(&own)).unwrap();
    }
    // A replay that nothing disturbs says what there is to deliver.
    std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).unwrap();
    run(folder.path(), &replay(&files)).expect(0);
    let events = whole_lines(&folder.path().join("out/events.ndjson"));
    let expected = places(&events);
    assert!(expected.values().all(|places| places.is_sorted() && places.len() > 1000));
    Inputs { _folder: folder, files, expected, ids: ids_of(&events) }
});

fn replay(files: &[PathBuf]) -> Vec<&str> {
    let files = files.iter().map(|file| file.to_str().unwrap());
    ["replay", "pipeline.yaml"].into_iter().chain(files).collect()
}

fn ids_of(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| text(event, "/id").to_owned()).collect()
}

fn expected_count() -> usize {
    INPUTS.expected.values().map(Vec::len).sum()
}

/// What a run must write that starts with this in the checkpoint.
fn rest(remembered: &BTreeMap<String, u64>) -> Written {
    let rest = INPUTS.expected.iter().map(|(stream, places)| {
        let after = remembered.get(stream).copied().unwrap_or(0);
        (stream.clone(), places.iter().copied().filter(|place| place.0 > after).collect())
    });
    rest.collect()
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).unwrap();
        World { folder }
    }

    fn replay(&self) -> Running {
        Running::start(self.folder.path(), &replay(&INPUTS.files))
    }

    /// Replays to the end.
    fn finish(&self) -> support::program::Done {
        run(self.folder.path(), &replay(&INPUTS.files)).expect(0)
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out/events.ndjson")
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("state/pipeline.replay.redb")
    }

    /// By file: the last record that is remembered as delivered.
    fn remembered(&self) -> BTreeMap<String, u64> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let states = runtime.block_on(async {
            let mut store = RedbStore::open(&self.checkpoint()).unwrap();
            store.load().await.unwrap()
        });
        let own = states.into_iter().filter(|(key, _)| &*key.sink == "events");
        own.map(|(key, state)| {
            let after = match state.at {
                At::Start(_) => 0,
                At::After(position) => position.to_string().parse().unwrap(),
                At::ShardEnd => u64::MAX,
            };
            (key.shard.stream.to_string(), after)
        })
        .collect()
    }
}

/// The whole lines of a file; a kill may have torn the last.
fn whole_lines(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    json_lines(&bytes[..end])
}

fn places(events: &[Value]) -> Written {
    let mut written = Written::new();
    for event in events {
        let place = (text(event, "/origin/sequence").parse().unwrap(), event["origin"]["index"].as_u64().unwrap());
        written.entry(text(event, "/origin/stream").to_owned()).or_default().push(place);
    }
    written
}

#[test]
fn a_killed_replay_loses_nothing_and_repeats_only_what_followed_the_last_checkpoint() {
    let world = World::new();
    let (mut lines_before, mut repeated) = (0, 0);
    let mut remembered = BTreeMap::new();
    for round in 1..=4 {
        let from = size(&world.output());
        let mut program = world.replay();
        // Every event is some 1.3 KiB, and a checkpoint is due every 100 ms.
        wait_until("more is written", || size(&world.output()) > from + 150_000 * round);
        program.kill();

        let events = whole_lines(&world.output());
        let written = places(&events[lines_before..]);
        let due = rest(&remembered);
        for (stream, places) in &written {
            assert!(due[stream].starts_with(places), "round {round}: {stream} does not go on where it is remembered");
        }
        let before = std::mem::replace(&mut remembered, world.remembered());
        for (stream, after) in &remembered {
            assert!(*after >= before.get(stream).copied().unwrap_or(0), "a checkpoint never goes back");
            let settled = due[stream].iter().filter(|place| place.0 <= *after).count();
            let count = written.get(stream).map_or(0, Vec::len);
            assert!(count >= settled, "round {round}: {stream} is remembered to {after}, but that is not written");
            repeated += count - settled;
        }
        lines_before = events.len();
    }
    world.finish();

    let events = whole_lines(&world.output());
    // The last run wrote all that was not remembered, once and in order.
    assert_eq!(places(&events[lines_before..]), rest(&remembered));
    assert_eq!(events.len(), expected_count() + repeated, "what followed a checkpoint is repeated, and no more");
    assert_eq!(ids_of(&events), INPUTS.ids);
}

#[test]
fn sigterm_drains_and_the_next_run_repeats_nothing() {
    let world = World::new();
    let mut program = world.replay();
    wait_until("more is written", || size(&world.output()) > 200_000);
    assert_eq!(program.terminate().code(), Some(0));
    let log = std::fs::read_to_string(world.folder.path().join("stderr")).unwrap();
    assert!(log.contains("stopped; run it again to go on from here"), "{log}");
    let first = whole_lines(&world.output()).len();
    assert!(first < expected_count(), "it was stopped in the middle");

    world.finish().says(&["finished"]);
    assert_eq!(places(&whole_lines(&world.output())), INPUTS.expected, "everything once, in order");
    world.finish().says(&["nothing left to do"]);
    assert_eq!(places(&whole_lines(&world.output())), INPUTS.expected);
}

/// A live pipeline that takes its time, so that a second one meets it.
const SLOW: &str = "\
sources:
  fleet: { simulate: { connections: 5, hours: 24, rate: 50 } }
sinks:
  events: { file: { path: \"${OUT:-out}/events.ndjson\" } }
checkpoint: { interval: 100ms }
# As long as a second process waits for the first one to stop, and 5 s more.
limits: { shutdown_grace: 1s }
";

#[test]
fn a_second_process_on_the_same_checkpoint_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slow.yaml"), SLOW).unwrap();
    let output = folder.path().join("out/events.ndjson");
    let mut first = Running::start(folder.path(), &["run", "slow.yaml"]);
    wait_until("the first one writes", || size(&output) > 0);

    let second = run(folder.path(), &["run", "slow.yaml"]).expect(1);
    second.says(&["checkpoint file `state/slow.redb` is in use by another process", "stop the other tunnelog"]);
    // A replay has a checkpoint of its own, but the file is the live one's.
    let input = folder.path().join("line.log");
    std::fs::write(&input, "a line\n").unwrap();
    let replay = run(folder.path(), &["replay", "slow.yaml", "line.log"]).expect(1);
    replay.says(&["`out/events.ndjson` is being written by another process", "choose another `path`"]);

    // The first one never noticed.
    assert!(!first.has_ended());
    let before = size(&output);
    wait_until("the first one goes on", || size(&output) > before);
    assert_eq!(first.terminate().code(), Some(0));
}

#[test]
fn a_replay_never_touches_the_live_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("slow.yaml"), SLOW).unwrap();
    let mut live = Running::start(folder.path(), &["run", "slow.yaml"]);
    wait_until("the live one writes", || size(&folder.path().join("out/events.ndjson")) > 0);
    assert_eq!(live.terminate().code(), Some(0));
    let checkpoint = folder.path().join("state/slow.redb");
    let before = std::fs::read(&checkpoint).unwrap();
    std::fs::write(folder.path().join("lines.log"), "one\ntwo\n").unwrap();

    run(folder.path(), &["replay", "slow.yaml", "lines.log"]).expect(0).says(&["finished"]);
    run(folder.path(), &["replay", "slow.yaml", "lines.log"]).expect(0).says(&["nothing left to do"]);
    assert!(before == std::fs::read(&checkpoint).unwrap(), "the live checkpoint has changed");
    assert!(folder.path().join("state/slow.replay.redb").exists());
}
