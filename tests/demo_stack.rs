//! `make demo-stack`: the simulated fleet through the real path, on one machine and without an account: a local Kinesis, the
//! binary, Apache Kafka and an S3. All of it is started here and gone at the end, after Ctrl-C too; what stays is
//! `target/demo-stack/` with the pipeline file, to look at and to change.
//!
//! It believes nothing that the binary says of itself: what arrived is counted in the topic and in the bucket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a demo ends where a step fails")]

#[path = "stack/mod.rs"]
mod stack;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tokio::time::Instant;
use tunnelog::config::types::Simulate;
use tunnelog::source::simulate::Fleet;

/// The fleet's seed: another one is another fleet and another day.
const SEED: u64 = 7;
const HOURS: u32 = 4;
/// Records a second into the stream, if the machine keeps up: a quarter of a minute.
const RATE: u32 = 200;
const SHARDS: i32 = 2;
const PARTITIONS: i32 = 3;
/// How long everything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(240);
/// Events of each sink that are shown.
const SHOWN: usize = 3;

fn main() {
    let mut demo = Demo::prepare();
    let mut run = demo.run();
    demo.simulate(&mut run);
    demo.wait(&mut run);
    say("stop", "SIGTERM: what is under way is delivered and remembered, then the ledger is closed");
    run.stop();
    let log = run.log();
    let ledger = log.find(": stopped").and_then(|at| log[..at].rfind('\n'));
    println!("{}", ledger.map_or(log.as_str(), |at| log[at..].trim_end()));
    assert!(ledger.is_some(), "the run closed no ledger");
    demo.show();
    println!("\nThe pipeline file is {}. Kinesis, Kafka and S3 are gone now.", demo.folder.join("demo.yaml").display());
}

fn say(step: &str, text: &str) {
    println!("\n── {step}: {text}");
}

struct Demo {
    folder: PathBuf,
    kinesis: &'static stack::KinesisLocal,
    kafka: &'static stack::Kafka,
    s3: &'static stack::S3,
    stream: String,
    topic: String,
    bucket: String,
    /// Events that each sink must get.
    expected: usize,
    /// The objects seen so far, with their lines.
    objects: BTreeMap<String, Vec<String>>,
}

impl Demo {
    fn prepare() -> Demo {
        println!("A simulated fleet of VPN connections, through a real stream into a real topic and a real bucket.");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("demo-stack");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir_all(&folder).unwrap();
        say("start", "kinesis-local (the stream), Apache Kafka and SeaweedFS (an S3 that checks signatures)");
        let begun = Instant::now();
        let (kinesis, kafka, s3) = (stack::kinesis(), stack::kafka(), stack::s3());
        let (stream, topic, bucket) = (kinesis.stream(SHARDS), kafka.topic(PARTITIONS), s3.bucket());
        println!("   Kinesis {}  stream `{stream}`, {SHARDS} shards", kinesis.endpoint);
        println!("   Kafka   {}         topic `{topic}`, {PARTITIONS} partitions", kafka.plain);
        println!("   S3      {}  bucket `{bucket}`", s3.endpoint);
        println!("   ready after {:.0?}", begun.elapsed());
        let fleet = Fleet::new(&Simulate { seed: SEED, hours: HOURS, damaged: 1, ..Simulate::default() }).unwrap();
        let whole = fleet.records().filter(|record| !record.damaged);
        let expected = whole.map(|record| record.events as usize).sum();
        let demo = Demo { folder, kinesis, kafka, s3, stream, topic, bucket, expected, objects: BTreeMap::new() };
        demo.inventory();
        std::fs::write(demo.folder.join("demo.yaml"), demo.pipeline()).unwrap();
        demo
    }

    /// The binary, with credentials that the bucket wants and the stream does not look at.
    fn tunnelog(&self, arguments: &[&str]) -> Vec<std::ffi::OsString> {
        let environment = [
            format!("AWS_ACCESS_KEY_ID={}", self.s3.access_key),
            format!("AWS_SECRET_ACCESS_KEY={}", self.s3.secret_key),
            format!("AWS_REGION={}", stack::REGION),
        ];
        let start = ["env".into(), "-C".into(), self.folder.clone().into_os_string()];
        let program = [env!("CARGO_BIN_EXE_tunnelog").into()];
        let arguments = arguments.iter().map(Into::into);
        start.into_iter().chain(environment.map(Into::into)).chain(program).chain(arguments).collect()
    }

    /// Runs the binary to its end.
    fn finish(&self, arguments: &[&str]) {
        let command = self.tunnelog(arguments);
        println!("   $ tunnelog {}", arguments.join(" "));
        let done = Command::new(&command[0]).args(&command[1..]).output().unwrap();
        let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        assert!(done.status.success(), "`tunnelog {}` failed: {said}", arguments.join(" "));
        for line in said.lines().take_while(|line| !line.starts_with("records are in")) {
            println!("   {line}");
        }
    }

    /// What EC2 would say about the fleet, as the AWS CLI prints it.
    fn inventory(&self) {
        say("inventory", "what EC2 would say about these connections, as files of the AWS CLI's answers");
        let (seed, hours) = (SEED.to_string(), HOURS.to_string());
        self.finish(&["simulate", "--seed", &seed, "--hours", &hours, "--damaged", "1", "--to", "day"]);
        // Only the records that went through the stream count.
        std::fs::remove_dir_all(self.folder.join("day/records")).unwrap();
    }

    fn pipeline(&self) -> String {
        let region = stack::REGION;
        let (kinesis, stream, kafka, topic) = (&self.kinesis.endpoint, &self.stream, &self.kafka.plain, &self.topic);
        let (s3, bucket) = (&self.s3.endpoint, &self.bucket);
        format!(
            "\
# Written by `make demo-stack`: a real stream into a SIEM's topic and a data lake's bucket. On AWS the `endpoint:`
# lines go, and the credentials are those of the task's role.

name: demo-stack

sources:
  vpn-logs:
    kinesis: {{ stream: {stream}, start: trim_horizon }}
    aws: {{ region: {region}, endpoint: '{kinesis}' }}

enrich:
  file: day/inventory     # what EC2 says about the connections: names, gateways, tags
  tags: [site, env]

sinks:
  # For the SIEM: all events, those of one VPN connection in one partition and in order.
  siem:
    kafka:
      brokers: ['{kafka}']
      topic: {topic}
      key: connection

  # For the data lake: one object for each day and kind, each event of the stream exactly once.
  lake:
    s3:
      bucket: {bucket}
      prefix: 'events/dt={{yyyy}}-{{mm}}-{{dd}}/kind={{kind}}/'
      window: 10s         # minutes in a real lake: fewer and larger objects
    aws: {{ region: {region}, endpoint: '{s3}' }}

# What cannot be read (one record is truncated on purpose) is kept with its original bytes.
dead_letters:
  file: {{ path: dead-letters.ndjson }}

checkpoint:
  file: state.redb
"
        )
    }

    /// Starts the pipeline; it runs until it is stopped.
    fn run(&mut self) -> stack::Part {
        say("check", "the pipeline file, before anything runs");
        self.finish(&["check", "demo.yaml"]);
        say("run", "the pipeline waits for what comes through the stream");
        println!("   $ tunnelog run demo.yaml");
        let command = self.tunnelog(&["run", "demo.yaml"]);
        stack::Part::start("tunnelog", &stack::folder("demo"), command)
    }

    fn simulate(&self, run: &mut stack::Part) {
        say("simulate", "the fleet's records into the stream, as CloudWatch Logs would send them");
        let to = format!("kinesis:{}", self.stream);
        let (seed, hours, rate) = (SEED.to_string(), HOURS.to_string(), RATE.to_string());
        let fleet = ["simulate", "--seed", &seed, "--hours", &hours, "--damaged", "1"];
        let way = ["--rate", &rate, "--to", &to, "--endpoint", &self.kinesis.endpoint];
        self.finish(&[&fleet[..], &way[..]].concat());
        alive(run);
    }

    /// Waits until all events are in the topic and in the bucket.
    #[expect(clippy::disallowed_methods, reason = "a person watches it in real time; there is no runtime here")]
    fn wait(&mut self, run: &mut stack::Part) {
        say("wait", "until everything is in the topic and in the bucket, counted there");
        let begun = Instant::now();
        let mut before = None;
        loop {
            let counts = (self.in_topic(), self.in_bucket());
            if before.replace(counts) != Some(counts) {
                println!(
                    "   topic {} of {expected}, bucket {} of {expected}",
                    counts.0,
                    counts.1,
                    expected = self.expected
                );
            }
            if counts.0 >= self.expected && counts.1 >= self.expected {
                return;
            }
            alive(run);
            assert!(begun.elapsed() < PATIENCE, "not all of it arrived within {PATIENCE:?}:\n{}", run.log());
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Messages in the topic.
    fn in_topic(&self) -> usize {
        let consumer: BaseConsumer = self.kafka.config().create().unwrap();
        let of = |partition| {
            let (low, high) = consumer.fetch_watermarks(&self.topic, partition, Duration::from_secs(30)).unwrap();
            usize::try_from(high - low).unwrap()
        };
        (0..PARTITIONS).map(of).sum()
    }

    /// Lines in the bucket's objects; an object never changes, so each is read once.
    fn in_bucket(&mut self) -> usize {
        let client = self.s3.client();
        let (bucket, objects) = (&self.bucket, &mut self.objects);
        stack::block_on(async {
            let mut pages = client.list_objects_v2().bucket(bucket).prefix("events/").into_paginator().send();
            while let Some(page) = pages.next().await {
                for key in page.unwrap().contents().iter().filter_map(|object| object.key()) {
                    if objects.contains_key(key) || !key.ends_with(".gz") {
                        continue;
                    }
                    let object = client.get_object().bucket(bucket).key(key).send().await.unwrap();
                    let bytes = object.body.collect().await.unwrap().to_vec();
                    let mut text = String::new();
                    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
                    objects.insert(key.to_owned(), text.lines().map(str::to_owned).collect());
                }
            }
        });
        self.objects.values().map(Vec::len).sum()
    }

    /// A few events from each sink.
    fn show(&self) {
        say("read back", &format!("topic `{}`, by a consumer of its own", self.topic));
        let consumer: BaseConsumer = self.kafka.config().set("group.id", "demo").create().unwrap();
        let mut from = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            from.add_partition_offset(&self.topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&from).unwrap();
        for _ in 0..SHOWN {
            let message = consumer.poll(Duration::from_secs(30)).expect("the topic has messages").unwrap();
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            let place = format!("{}@{} {key}", message.partition(), message.offset());
            println!("   {place}: {}", headline(&String::from_utf8_lossy(message.payload().unwrap_or_default())));
        }
        say("read back", &format!("bucket `{}`: {} objects", self.bucket, self.objects.len()));
        for (key, lines) in self.objects.iter().take(SHOWN) {
            println!("   {key}: {} events, the first:\n      {}", lines.len(), headline(&lines[0]));
        }
        let letters = std::fs::read_to_string(self.folder.join("dead-letters.ndjson")).unwrap_or_default();
        say("dead letters", &format!("{}, with its original bytes", letters.lines().count()));
        for letter in letters.lines().take(SHOWN) {
            let letter: Value = serde_json::from_str(letter).unwrap();
            println!(
                "   reason {}, shard {}, sequence {}",
                letter["reason"], letter["origin"]["shard"], letter["origin"]["sequence"]
            );
        }
    }
}

/// Ends the demo where the pipeline has ended by itself.
fn alive(run: &mut stack::Part) {
    assert!(run.alive(), "the pipeline ended by itself:\n{}", run.log());
}

/// An event in a line.
fn headline(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    // Events of route servers belong to no connection.
    let connection = event["vpn"]["connection_id"]
        .as_str()
        .map_or("route server".into(), |id| format!("{} {id}", text(&event["vpn"]["name"])));
    format!("{} {} [{connection}] {}", text(&event["time"]), text(&event["severity"]), text(&event["summary"]))
}
