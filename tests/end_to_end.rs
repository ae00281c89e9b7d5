//! The main job: a simulated day through a real stream into a real Kafka topic, Firehose and S3, by the real
//! program; counted and compared field by field, through a split, a merge and `kill -9`.
#![cfg(all(feature = "aws", feature = "kafka"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "end_to_end/day.rs"]
mod day;
#[path = "end_to_end/far.rs"]
mod far;
#[path = "end_to_end/formats.rs"]
mod formats;
#[path = "end_to_end/reload.rs"]
mod reload;
#[path = "stack/mod.rs"]
mod stack;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use day::{Day, Stream, bare, log_stream};
use far::Hose;
use serde_json::Value;
use support::program::{Running, run, tunnelog, wait_until};
use support::{events_in, text};
use tempfile::TempDir;
use tunnelog::checkpoint::{CheckpointStore as _, RedbStore};
use tunnelog::config::types::{JsonOptions, RawOption, Simulate};
use tunnelog::delivery::{At, LaneKey, LaneState};
use tunnelog::source::Position;

/// One source, a sink of each kind; checkpoints often, chunks small.
const PIPELINE: &str = "
sources:
  main:
    kinesis: { stream: '${STREAM}' }
sinks:
  topic:
    kafka: { brokers: ['${KAFKA}'], topic: '${TOPIC}' }
    format: { json: { origin: true } }
  lake:
    s3: { bucket: '${BUCKET}', prefix: 'vpn/dt={yyyy}-{mm}-{dd}/kind={kind}/', chunk: 64KiB, window: 10s }
    format: { json: { origin: true } }
  hose:
    firehose: { stream: '${FIREHOSE}' }
    format: { json: { origin: true } }
    aws: { endpoint: '${MOTO}' }
checkpoint: { interval: 200ms }
limits: { shutdown_grace: 60s }
";

/// A folder, a stream and a far end of each kind, all its own.
struct World {
    folder: TempDir,
    stream: Stream,
    topic: String,
    bucket: String,
    hose: Hose,
}

impl World {
    fn new(shards: i32) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).unwrap();
        let topic = stack::kafka().topic(4);
        World { folder, stream: Stream::new(shards), topic, bucket: stack::s3().bucket(), hose: Hose::new() }
    }

    fn start(&self, pipeline: &str) -> Running {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let s3 = stack::s3();
        let environment = [
            ("STREAM", self.stream.name.as_str()),
            ("KINESIS_STREAM", self.stream.name.as_str()),
            ("KAFKA", stack::kafka().plain.as_str()),
            ("KAFKA_BROKERS", stack::kafka().plain.as_str()),
            ("TOPIC", &self.topic),
            ("KAFKA_TOPIC", &self.topic),
            ("BUCKET", &self.bucket),
            ("S3_BUCKET", &self.bucket),
            ("FIREHOSE", &self.hose.name),
            ("FIREHOSE_STREAM", &self.hose.name),
            ("S3_WINDOW", "10s"),
            ("STATUS_LISTEN", "127.0.0.1:0"),
            ("MOTO", &stack::moto().endpoint),
            ("AWS_ENDPOINT_URL_KINESIS", &stack::kinesis().endpoint),
            ("AWS_ENDPOINT_URL_FIREHOSE", &stack::moto().endpoint),
            ("AWS_ENDPOINT_URL_S3", &s3.endpoint),
            ("AWS_ACCESS_KEY_ID", &s3.access_key),
            ("AWS_SECRET_ACCESS_KEY", &s3.secret_key),
            ("AWS_REGION", stack::REGION),
        ];
        let mut command = tunnelog(self.folder.path(), &["run", pipeline]);
        Running::of(command.envs(environment).stdout(Stdio::null()).stderr(log))
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("stderr")
    }

    /// What is in the topic, in order within each partition.
    fn in_topic(&self) -> Vec<Value> {
        far::topic(&stack::kafka().plain, &self.topic).into_iter().map(|message| message.event).collect()
    }

    fn in_bucket(&self) -> Vec<(String, Vec<Value>)> {
        far::bucket(&stack::s3().client(), &self.bucket, "")
    }

    fn in_hose(&self) -> Vec<Value> {
        self.hose.events()
    }

    /// Waits until the program itself says that all lanes have settled so many items, then stops it.
    fn stop_when_all_is_there(&self, running: &mut Running, expected: &BTreeMap<String, Vec<Value>>) {
        let all = count(expected);
        self.wait_while_it_runs(running, "everything is in the topic", || distinct(&self.in_topic()) >= all);
        self.wait_while_it_runs(running, "everything is in Firehose's bucket", || distinct(&self.in_hose()) >= all);
        self.stop(running);
    }

    fn wait_while_it_runs(&self, running: &mut Running, what: &str, mut condition: impl FnMut() -> bool) {
        wait_until(what, || {
            assert!(!running.has_ended(), "it ended: {}", std::fs::read_to_string(self.log()).unwrap());
            condition()
        });
    }

    /// An orderly shutdown delivers what was read, also what was gathered for objects.
    fn stop(&self, running: &mut Running) {
        assert_eq!(running.terminate().code(), Some(0), "{}", std::fs::read_to_string(self.log()).unwrap());
    }
}

fn count(expected: &BTreeMap<String, Vec<Value>>) -> usize {
    expected.values().map(Vec::len).sum()
}

/// How many places of records are there: upstream's own duplicates count, repeats do not.
fn distinct(events: &[Value]) -> usize {
    let mut places: Vec<_> = events.iter().map(place).collect();
    places.sort_unstable();
    places.dedup();
    places.len()
}

/// Where an event stands: shard, sequence number, index in the record.
fn place(event: &Value) -> (String, Position, u64) {
    let sequence = Position::parse(text(event, "/origin/sequence")).unwrap();
    (text(event, "/origin/shard").to_owned(), sequence, event["origin"]["index"].as_u64().unwrap())
}

fn by_stream(events: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut streams: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for event in events {
        streams.entry(log_stream(&event)).or_default().push(event);
    }
    streams
}

/// The same events, field by field, in the same order in every log stream.
#[track_caller]
fn check_in_order(events: Vec<Value>, expected: &BTreeMap<String, Vec<Value>>) {
    let streams = by_stream(events);
    assert_eq!(streams.len(), expected.len());
    for (stream, events) in streams {
        let events: Vec<Value> = events.iter().map(bare).collect();
        assert!(events == expected[&stream], "{stream}: {} of {} events", events.len(), expected[&stream].len());
    }
}

/// The same events, field by field, each exactly as often as upstream sent it.
#[track_caller]
fn check_exactly_once(events: Vec<Value>, expected: &BTreeMap<String, Vec<Value>>) {
    let mut there: Vec<String> = events.iter().map(|event| bare(event).to_string()).collect();
    let mut wanted: Vec<String> = expected.values().flatten().map(Value::to_string).collect();
    there.sort_unstable();
    wanted.sort_unstable();
    let missing = wanted.iter().filter(|event| there.binary_search(event).is_err()).count();
    assert!(there == wanted, "{} events, expected {}, {missing} missing", there.len(), wanted.len());
}

/// Each event once for each place, whatever was repeated.
fn once(events: Vec<Value>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    events.into_iter().filter(|event| seen.insert(place(event))).collect()
}

/// Every object holds what its name says, in the order of records.
fn check_objects(objects: &[(String, Vec<Value>)]) {
    assert!(objects.len() > 3, "several partitions: {}", objects.len());
    for (key, events) in objects {
        for event in events {
            let day = &text(event, "/time")[..10];
            let partition = format!("vpn/dt={day}/kind={}/", text(event, "/kind"));
            assert!(key.starts_with(&partition), "{key} holds an event of {partition}");
        }
        let places: Vec<_> = events.iter().map(place).collect();
        assert!(places.is_sorted(), "{key} is not in the order of records");
    }
}

fn small_day() -> Day {
    Day::new(Simulate { seed: 5, connections: 8, hours: 6, damaged: 2, ..Simulate::default() })
}

fn letters(folder: &Path) -> usize {
    events_in(&folder.join("state/pipeline.dead-letters.ndjson")).len()
}

#[test]
fn a_day_reaches_every_sink_through_a_split_and_a_merge() {
    let (day, world) = (small_day(), World::new(2));
    let expected = day.expected();
    let (first, rest) = day.records.split_at(day.records.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    world.stream.put(first);
    let mut running = world.start("pipeline.yaml");
    world.wait_while_it_runs(&mut running, "first events are delivered", || !world.in_topic().is_empty());
    world.stream.split();
    world.stream.put(second);
    world.stream.merge();
    world.stream.put(third);
    world.stop_when_all_is_there(&mut running, &expected);

    check_in_order(world.in_topic(), &expected);
    check_exactly_once(world.in_hose(), &expected);
    let objects = world.in_bucket();
    check_objects(&objects);
    check_exactly_once(objects.into_iter().flat_map(|(_, events)| events).collect(), &expected);
    assert_eq!(letters(world.folder.path()), day.damaged);
}

/// What the store remembers after a kill.
fn remembered(world: &World) -> BTreeMap<LaneKey, LaneState> {
    let load = async {
        let mut store = RedbStore::open(&world.folder.path().join("state/pipeline.redb")).unwrap();
        store.load().await.unwrap()
    };
    stack::block_on(load).into_iter().collect()
}

/// Whether the store said that this was delivered: a later run must not repeat it.
fn is_remembered(states: &BTreeMap<LaneKey, LaneState>, sink: &str, place: &(String, Position, u64)) -> bool {
    states.iter().any(|(key, state)| {
        let passed = match state.at {
            At::Start(_) => false,
            At::After(position) => place.1 <= position,
            At::ShardEnd => true,
        };
        *key.sink == *sink && *key.shard.shard == *place.0 && passed
    })
}

/// Nothing is repeated that was remembered as delivered; what is, comes with the same fields.
fn check_repeats(events: &[Value], sink: &str, kills: &[BTreeMap<LaneKey, LaneState>]) {
    let mut times: BTreeMap<_, Vec<&Value>> = BTreeMap::new();
    for event in events {
        times.entry(place(event)).or_default().push(event);
    }
    for (place, events) in times {
        let allowed = 1 + kills.iter().filter(|states| !is_remembered(states, sink, &place)).count();
        assert!(events.len() <= allowed, "{sink}: {place:?} came {} times, {allowed} were allowed", events.len());
        assert!(events.iter().all(|event| event == &events[0]), "{sink}: {place:?} came with other fields");
    }
}

#[test]
fn kill_9_and_a_restart_lose_nothing_and_repeat_only_what_was_not_remembered() {
    let (day, world) = (small_day(), World::new(3));
    let expected = day.expected();
    let mut kills = Vec::new();
    let parts: Vec<_> = day.records.chunks(day.records.len().div_ceil(4)).collect();
    for part in &parts[..3] {
        let before = world.in_topic().len();
        let mut running = world.start("pipeline.yaml");
        world.stream.put(part);
        world.wait_while_it_runs(&mut running, "some of it is delivered", || world.in_topic().len() > before + 20);
        running.kill();
        kills.push(remembered(&world));
    }
    world.stream.put(parts[3]);
    let mut running = world.start("pipeline.yaml");
    world.stop_when_all_is_there(&mut running, &expected);

    let topic = world.in_topic();
    check_repeats(&topic, "topic", &kills);
    check_in_order(once(topic), &expected);
    let hose = world.in_hose();
    check_repeats(&hose, "hose", &kills);
    check_exactly_once(once(hose), &expected);
    let objects = world.in_bucket();
    check_objects(&objects);
    check_exactly_once(objects.into_iter().flat_map(|(_, events)| events).collect(), &expected);
}

/// A pipeline that ships with the project, as its user runs it: only the environment says where things are.
fn shipped(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name).to_str().unwrap().to_owned()
}

#[test]
fn the_pipeline_for_a_siem_delivers_what_it_says() {
    let (day, world) = (small_day(), World::new(2));
    let mut expected = day.expected();
    let left_out = ["rekey", "connecting", "open_sent", "open_received", "state_changed", "attributes_received"];
    expected.values_mut().for_each(|events| events.retain(|event| !left_out.contains(&text(event, "/action"))));
    expected.retain(|_, events| !events.is_empty());
    world.stream.put(&day.records);
    let mut running = world.start(&shipped("siem-kafka.yaml"));
    let all = count(&expected);
    world.wait_while_it_runs(&mut running, "everything is in the topic", || world.in_topic().len() >= all);
    world.stop(&mut running);

    for message in far::topic(&stack::kafka().plain, &world.topic) {
        let header = |name: &str| message.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(header("id"), Some(text(&message.event, "/id")));
        assert_eq!(header("kind"), Some(text(&message.event, "/kind")));
        assert_eq!(header("schema"), Some("tunnelog.event/1"));
        if let Some(connection) = message.event.pointer("/vpn/connection_id") {
            assert_eq!(message.key.as_deref(), connection.as_str(), "{}", message.event);
        }
    }
    check_in_order(world.in_topic(), &expected);
    let letters = events_in(&world.folder.path().join("state/siem-kafka.dead-letters.ndjson"));
    assert_eq!(letters.len(), day.damaged);
}

#[test]
fn the_pipeline_for_a_lake_behind_firehose_delivers_what_it_says() {
    let (day, world) = (small_day(), World::new(2));
    let expected = day.expected_as(&JsonOptions { raw: RawOption::Always, ..JsonOptions::default() });
    world.stream.put(&day.records);
    let mut running = world.start(&shipped("datalake-firehose.yaml"));
    let all = count(&expected);
    world.wait_while_it_runs(&mut running, "everything is in Firehose's bucket", || world.in_hose().len() >= all);
    world.stop(&mut running);
    check_exactly_once(world.in_hose(), &expected);
}

#[test]
fn the_pipeline_for_a_lake_in_s3_delivers_what_it_says_and_replay_takes_its_dead_letters_back() {
    let (day, world) = (small_day(), World::new(2));
    let expected = day.expected_as(&JsonOptions { raw: RawOption::Always, ..JsonOptions::default() });
    world.stream.put(&day.records);
    let mut running = world.start(&shipped("datalake-s3.yaml"));
    let client = stack::s3().client();
    let events = || -> Vec<Value> {
        let objects = far::bucket(&client, &world.bucket, "vpn/");
        objects.into_iter().flat_map(|(_, events)| events).collect()
    };
    let all = count(&expected);
    world.wait_while_it_runs(&mut running, "everything is in the bucket", || events().len() >= all);
    world.stop(&mut running);
    check_exactly_once(events(), &expected);

    // The dead letters, as somebody copies them: `decode` and `replay` read them.
    let letters = far::bucket(&client, &world.bucket, "vpn-dead/");
    assert_eq!(letters.iter().map(|(_, letters)| letters.len()).sum::<usize>(), day.damaged);
    let copy = world.folder.path().join("letters");
    std::fs::create_dir(&copy).unwrap();
    for (number, (_, letters)) in letters.iter().enumerate() {
        let lines: String = letters.iter().map(|letter| format!("{letter}\n")).collect();
        std::fs::write(copy.join(format!("{number}.ndjson.gz")), support::gzip(lines)).unwrap();
    }
    let pipeline = "sources: { fleet: { simulate: {} } }\nsinks: { out: { file: { path: again.ndjson } } }\n";
    std::fs::write(world.folder.path().join("again.yaml"), pipeline).unwrap();
    run(world.folder.path(), &["replay", "again.yaml", "letters"]).expect(0);
    // They are damaged still: every one is a dead letter again, with its bytes.
    let again = events_in(&world.folder.path().join("state/again.dead-letters.replay.ndjson"));
    let data =
        |letters: Vec<Value>| letters.iter().map(|letter| text(letter, "/data").to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(data(again), data(letters.into_iter().flat_map(|(_, letters)| letters).collect()));
}
