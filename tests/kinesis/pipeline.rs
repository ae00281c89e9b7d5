//! Through the real pipeline: every event of a stream once, parents before children, whatever happens to the shards
//! and whenever the process is started again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::primitives::Blob;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tunnelog::checkpoint::{CheckpointStore, RedbStore, StoreError};
use tunnelog::config::types::{Kinesis, Start};
use tunnelog::core::Core;
use tunnelog::delivery::{At, LaneKey, LaneState};
use tunnelog::enrich::{Inventory, Snapshot};
use tunnelog::memory::Memory;
use tunnelog::pipeline::{NamedSink, NamedSource, Parts, Report, run};
use tunnelog::source::kinesis::open;
use tunnelog::source::simulate::SimulatedRecord;
use tunnelog::source::{Record, ShardId, Source as _, StartAt};
use tunnelog::telemetry::health::Health;

use super::bench::{Bench, PATIENCE, announced, config, fan_out, ferro, local, local_h2, next_second, until};
use super::support::parts::{encode, with_origin};
use super::support::test_sink::{Far, Manners, SharedFar, TestSink};
use super::support::{forms, text};

/// The real store, and what it has, for a test that waits for it.
struct Watched {
    store: RedbStore,
    far: SharedFar,
}

#[async_trait]
impl CheckpointStore for Watched {
    async fn load(&mut self) -> Result<Vec<(LaneKey, LaneState)>, StoreError> {
        self.store.load().await
    }

    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError> {
        self.store.commit(states.clone()).await?;
        self.far.lock().unwrap().remembered.extend(states);
        Ok(())
    }
}

/// A pipeline from a stream into a test sink, run after run.
struct World<'b> {
    bench: &'b Bench,
    config: Kinesis,
    far: SharedFar,
    folder: TempDir,
}

impl World<'_> {
    fn new(bench: &Bench, config: Kinesis) -> World<'_> {
        let far = SharedFar::new(std::sync::Mutex::new(Far::default()));
        World { bench, config, far, folder: tempfile::tempdir().unwrap() }
    }

    fn checkpoint(&self) -> PathBuf {
        self.folder.path().join("checkpoint.redb")
    }

    async fn parts(&self) -> Parts {
        let source = open("main", &self.config, &self.bench.sdk).await.unwrap();
        Parts {
            name: "world".into(),
            sources: vec![NamedSource { name: "main".into(), source: Box::new(source), region: None }],
            core: Arc::new(Core::new(64 << 20, vec![with_origin()])),
            inventory: Arc::new(Inventory::new(Snapshot::default())),
            sinks: vec![NamedSink::new("sink", Box::new(TestSink::new(7, Manners::default(), &self.far)))],
            store: Box::new(Watched {
                store: RedbStore::open(&self.checkpoint()).unwrap(),
                far: Arc::clone(&self.far),
            }),
            checkpoint_interval: Duration::from_millis(50),
            open_records: 1_000,
            outage_after: Duration::from_secs(30),
            shutdown_grace: PATIENCE,
            memory: Memory::even(1, 32 << 20),
            health: Health::new(),
            background: Vec::new(),
        }
    }

    /// Runs while `meanwhile` does its work, and is then asked to end.
    async fn run(&self, meanwhile: impl Future<Output = ()>) -> Report {
        let shutdown = CancellationToken::new();
        let asked = async {
            meanwhile.await;
            shutdown.cancel();
        };
        let (report, ()) = tokio::join!(run(self.parts().await, shutdown.clone()), asked);
        report.unwrap()
    }

    fn delivered(&self) -> Vec<Value> {
        let far = self.far.lock().unwrap();
        far.items.iter().map(|item| serde_json::from_slice(item).unwrap()).collect()
    }

    async fn has(&self, events: usize) {
        until("the events arrive", async || self.far.lock().unwrap().items.len() >= events).await;
    }

    async fn remembered(&self) -> Vec<At> {
        let states = RedbStore::open(&self.checkpoint()).unwrap().load().await.unwrap();
        states.into_iter().map(|(_, state)| state.at).collect()
    }
}

/// Records with events, in the order of the day, some hundred.
fn day() -> Vec<SimulatedRecord> {
    forms::records(&forms::small_fleet()).into_iter().filter(|record| record.events > 0).collect()
}

/// The ids of what these records come to.
fn ids(records: &[SimulatedRecord]) -> Vec<String> {
    let id = ShardId { source: "x".into(), stream: "x".into(), stream_created: "x".into(), shard: "x".into() };
    let plain = |record: &SimulatedRecord| Record::new(record.position, Some(record.arrival), record.data.clone());
    let items = encode(with_origin(), &id, &records.iter().map(plain).collect::<Vec<_>>());
    let parse = |item: &Vec<u8>| serde_json::from_slice::<Value>(item).unwrap();
    sorted(items.iter().map(|item| text(&parse(item), "/id").to_owned()).collect())
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn ids_of(events: &[Value]) -> Vec<String> {
    sorted(events.iter().map(|event| text(event, "/id").to_owned()).collect())
}

async fn put(bench: &Bench, stream: &str, records: &[SimulatedRecord]) {
    for record in records {
        bench.put(stream, &record.partition_key, &record.data).await;
    }
}

/// A child's events all come after its parents'.
async fn assert_parents_first(bench: &Bench, stream: &str, events: &[Value]) -> usize {
    let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        places.entry(text(event, "/origin/shard")).or_insert((place, place)).1 = place;
    }
    let mut edges = 0;
    for shard in bench.client.list_shards().stream_name(stream).send().await.unwrap().shards() {
        for parent in [shard.parent_shard_id(), shard.adjacent_parent_shard_id()].into_iter().flatten() {
            if let (Some(child), Some(parent)) = (places.get(shard.shard_id()), places.get(parent)) {
                assert!(parent.1 < child.0, "{}: {} began before its parent's end", bench.name, shard.shard_id());
                edges += 1;
            }
        }
    }
    edges
}

async fn splits_and_merges(bench: &Bench, of: fn(&str) -> Kinesis) {
    let stream = bench.stream(2).await;
    let day = day();
    let (all, quarter) = (ids(&day), day.len() / 4);
    let part = |number: usize| &day[number * quarter..if number == 3 { day.len() } else { (number + 1) * quarter }];
    let world = World::new(bench, of(&stream));
    put(bench, &stream, part(0)).await;
    // Split while nobody looks, and while it runs.
    bench.split(&stream, "shardId-000000000000").await;
    put(bench, &stream, part(1)).await;
    world
        .run(async {
            world.has(ids(&day[..quarter]).len()).await;
            bench.split(&stream, "shardId-000000000001").await;
            put(bench, &stream, part(2)).await;
            world.has(ids(&day[..2 * quarter]).len()).await;
        })
        .await;
    bench.merge(&stream, "shardId-000000000002", "shardId-000000000003").await;
    put(bench, &stream, part(3)).await;
    let report = world.run(world.has(all.len())).await;
    let events = world.delivered();
    assert_eq!(ids_of(&events), all, "{}: every event once", bench.name);
    assert_eq!(report.totals.gaps, 0);
    assert!(assert_parents_first(bench, &stream, &events).await >= 4, "{}: too few shards had events", bench.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_through_splits_a_merge_and_a_restart_in_ferrokinesis() {
    splits_and_merges(&ferro().await, config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_through_splits_a_merge_and_a_restart_in_kinesis_local() {
    splits_and_merges(&local().await, config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_by_fan_out_through_splits_a_merge_and_a_restart_in_ferrokinesis() {
    let bench = ferro().await;
    splits_and_merges(&bench, fan_out).await;
    assert!(bench.proxy().calls("SubscribeToShard").len() >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_by_fan_out_through_splits_a_merge_and_a_restart_in_kinesis_local() {
    splits_and_merges(&local().await, fan_out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_comes_once_by_fan_out_over_http_2() {
    splits_and_merges(&local_h2().await, fan_out).await;
}

async fn latest(bench: &Bench) {
    let stream = bench.stream(1).await;
    let day = day();
    let (old, rest) = day.split_at(day.len() / 3);
    let (while_down, in_child) = rest.split_at(rest.len() / 2);
    put(bench, &stream, old).await;
    next_second().await;
    let config = Kinesis { start: Start::Latest, ..config(&stream) };
    let world = World::new(bench, config);
    // A first start that reads nothing: where it begins is remembered all the same.
    let first = world.run(until("it is remembered", async || !world.far.lock().unwrap().remembered.is_empty()));
    first.await;
    assert!(matches!(world.remembered().await[..], [At::Start(StartAt::AtTimestamp(_))]), "{}", bench.name);
    assert!(world.delivered().is_empty());
    put(bench, &stream, while_down).await;
    bench.split(&stream, "shardId-000000000000").await;
    put(bench, &stream, in_child).await;
    next_second().await;
    let expected = ids(rest);
    world.run(world.has(expected.len())).await;
    assert_eq!(ids_of(&world.delivered()), expected, "{}", bench.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_first_start_and_a_restart_skips_nothing() {
    latest(&ferro().await).await;
    latest(&local().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_timestamp_begins_with_what_arrived_then() {
    for bench in [ferro().await, local().await] {
        let stream = bench.stream(2).await;
        let day = day();
        let (old, new) = day.split_at(day.len() / 2);
        put(&bench, &stream, old).await;
        let second = next_second().await;
        put(&bench, &stream, new).await;
        let timestamp = tunnelog::event::Millis(second * 1_000).to_string();
        let config = Kinesis { start: Start::AtTimestamp, timestamp: Some(timestamp), ..config(&stream) };
        let (world, expected) = (World::new(&bench, config), ids(new));
        world.run(world.has(expected.len())).await;
        assert_eq!(ids_of(&world.delivered()), expected, "{}", bench.name);
    }
}

#[tokio::test]
async fn shards_are_listed_page_by_page_and_found_again_as_they_split() {
    let bench = ferro().await;
    let stream = bench.stream(10).await;
    bench.split(&stream, "shardId-000000000004").await;
    bench.proxy().page(3);
    let (mut source, shards) = bench.opened(&stream, 12).await;
    let names: Vec<&str> = shards.iter().map(|shard| &*shard.shard).collect();
    assert!(names.is_sorted() && names.len() == 12, "{names:?}");
    let lists = bench.proxy().calls("ListShards");
    assert_eq!(lists.len(), 4);
    for (number, call) in lists.iter().enumerate() {
        let has = |field: &str| call.body.get(field).is_some();
        assert_eq!((has("StreamName"), has("NextToken"), has("StreamARN")), (number == 0, number > 0, false));
    }
    // A reader that comes to a shard's end has its children looked for at once, not after half a minute.
    let asked = tokio::time::Instant::now();
    bench.split(&stream, "shardId-000000000007").await;
    let mut reader = source.reopen().open(&shards[7], StartAt::TrimHorizon).await.unwrap();
    let brought = super::bench::read(reader.as_mut(), 1).await;
    assert!(brought.ended);
    for _ in 0..2 {
        let (child, parents, start) = announced(&mut source).await;
        assert_eq!((parents, start), (vec![shards[7].clone()], StartAt::TrimHorizon), "{child}");
    }
    assert!(asked.elapsed() < Duration::from_secs(14), "the next listing would have been due after 15 to 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_and_an_arn_are_the_same_lanes() {
    let bench = local().await;
    let stream = bench.stream(2).await;
    let call = bench.client.put_record().stream_name(&stream).partition_key("key").data(Blob::new(b"a"));
    call.send().await.unwrap();
    let (_, by_name) = bench.opened(&stream, 2).await;
    let arn = by_name[0].stream.to_string();
    assert!(arn.starts_with("arn:aws:kinesis:us-east-1:") && arn.ends_with(&stream), "{arn}");
    let (source, by_arn) = bench.opened(&arn, 2).await;
    assert_eq!(by_name, by_arn);
    let mut found = Vec::new();
    for shard in &by_arn {
        let mut reader = source.reopen().open(shard, StartAt::TrimHorizon).await.unwrap();
        if let tunnelog::source::Feed::Records(records) = reader.next().await.unwrap() {
            found.extend(records.into_iter().map(|record| record.data));
        }
    }
    assert_eq!(found, ["a"]);
}
