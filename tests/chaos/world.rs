//! The run's parts and the links to them, and the steps of a plan as they are done to them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::Client;
use serde_json::Value;
use tokio::time::Instant;
use tunnelog::source::Position;

use super::input::Input;
use super::ledger::{Found, Ledger, Order, Promise, Repeats, Row};
use super::plan::{CHECKPOINT, FIREHOSE, INVENTORY, KAFKA, KINESIS, S3, Step};
use super::proxy::{Link, Speech, Weather};
use super::store::Store;
use super::supervisor::Supervisor;
use crate::day::Stream;
use crate::far::{self, Hose};
use crate::stack::{self, KafkaBroker};
use crate::support::{json_lines, text};

/// What the second pipeline file leaves out, or the first.
const ROUTINE: &str = "rekey";

/// The wait for calls ends also without them: everything may be stalled.
const SILENCE: Duration = Duration::from_secs(3);

/// Between a start that failed and the next.
const RESTART: Duration = Duration::from_millis(500);

/// A hanging run is told from a slow one by this: nothing at all arrived for so long, where something should.
const HANGS: Duration = Duration::from_secs(900);

const PAUSE: Duration = Duration::from_millis(20);

/// One source, a sink of each kind; chunks are small.
const PIPELINE: &str = "
sources:
  main:
    kinesis: { stream: '${STREAM}' }
    aws: { assume_role: 'arn:aws:iam::123456789012:role/reader' }
enrich:
  ec2: { endpoint: '${EC2}', refresh: 10s }
sinks:
  topic:
    kafka:
      brokers: ['${KAFKA}']
      topic: '${TOPIC}'
      librdkafka: { socket.timeout.ms: '5000', reconnect.backoff.max.ms: '1000' }
    format: { json: { origin: true } }
    FILTER
  lake:
    s3: { bucket: '${BUCKET}', prefix: 'vpn/dt={yyyy}-{mm}-{dd}/kind={kind}/', chunk: 64KiB, window: 10s }
    format: { json: { origin: true } }
    FILTER
  hose:
    firehose: { stream: '${FIREHOSE}' }
    format: { json: { origin: true } }
    FILTER
  paper:
    file: { path: out/events.ndjson, rotate: 1GiB }
    format: { json: { origin: true } }
    FILTER
dead_letters: LETTERS
checkpoint: CHECKPOINT
limits: { outage_after: 2s }
";

const LETTERS_IN_FILE: &str = "{ file: { path: out/letters.ndjson } }";
const LETTERS_IN_S3: &str = "{ s3: { bucket: '${BUCKET}', prefix: 'vpn-dead/', window: 10s } }";

/// What each far end promises, as README's guarantee table says it.
const PROMISES: [Promise; 5] = [
    Promise { sink: "topic", letters: false, repeats: Repeats::Allowed, order: Order::FirstOfEach },
    Promise { sink: "lake", letters: false, repeats: Repeats::Never, order: Order::Strict },
    Promise { sink: "hose", letters: false, repeats: Repeats::Allowed, order: Order::None },
    Promise { sink: "paper", letters: false, repeats: Repeats::OfWhatWasNotRemembered, order: Order::Suffixes },
    LETTERS,
];

const LETTERS: Promise =
    Promise { sink: "dead letters", letters: true, repeats: Repeats::OfWhatWasNotRemembered, order: Order::None };

/// In S3 they are objects as all others.
const LETTERS_IN_OBJECTS: Promise = Promise { repeats: Repeats::Never, order: Order::Strict, ..LETTERS };

/// See the module.
pub(crate) struct World {
    runtime: tokio::runtime::Runtime,
    pub(crate) links: Vec<Link>,
    broker: KafkaBroker,
    s3: Client,
    topic: String,
    bucket: String,
    hose: Hose,
    pub(crate) program: Supervisor,
    pub(crate) ledger: Ledger,
    input: Input,
    letters_in_s3: bool,
    /// Whether the pipeline file that holds now leaves the routine out.
    filters: bool,
    /// When a start that failed is tried again.
    start_at: Option<Instant>,
    /// Waits that ended by [`SILENCE`].
    pub(crate) silences: usize,
}

impl World {
    pub(crate) fn new(folder: &Path, seed: u64, rounds: usize, store: Store) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let to_kafka = listen();
        let broker = KafkaBroker::start_behind(to_kafka.local_addr().unwrap().port());
        let at = |url: &str| -> SocketAddr { url.trim_start_matches("http://").parse().unwrap() };
        let link = |about, listener, upstream: &str| Link::start(&runtime, about, listener, at(upstream), seed);
        let mut links = vec![
            link((KINESIS, Speech::Json), listen(), &stack::kinesis().endpoint),
            link((KAFKA, Speech::Bytes), to_kafka, &broker.behind),
            link((S3, Speech::S3), listen(), &stack::s3().endpoint),
            link((FIREHOSE, Speech::Json), listen(), &stack::moto().endpoint),
            link((INVENTORY, Speech::Query), listen(), &stack::moto().endpoint),
        ];
        let mut environment = Vec::new();
        if store.is_table() {
            links.push(link((CHECKPOINT, Speech::Json), listen(), &stack::moto().endpoint));
            environment.push(("AWS_ENDPOINT_URL_DYNAMODB", links[5].url()));
        }
        let (topic, bucket, hose, stream) = (broker.topic(4), stack::s3().bucket(), Hose::new(), Stream::new(2));
        let (s3, kinesis, inventory) = (links[2].url(), links[0].url(), links[4].url());
        environment.extend([
            ("STREAM", stream.name.clone()),
            ("KAFKA", links[1].address.to_string()),
            ("TOPIC", topic.clone()),
            ("BUCKET", bucket.clone()),
            ("FIREHOSE", hose.name.clone()),
            ("EC2", inventory.clone()),
            ("AWS_ENDPOINT_URL_KINESIS", kinesis),
            ("AWS_ENDPOINT_URL_FIREHOSE", links[3].url()),
            ("AWS_ENDPOINT_URL_S3", s3),
            ("AWS_ENDPOINT_URL_STS", inventory),
            ("AWS_ACCESS_KEY_ID", stack::s3().access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", stack::s3().secret_key.clone()),
            ("AWS_REGION", stack::REGION.into()),
        ]);
        let mut world = World {
            runtime,
            links,
            broker,
            s3: stack::s3().client(),
            topic,
            bucket,
            hose,
            program: Supervisor::new(folder, environment, store),
            ledger: Ledger::default(),
            input: Input::new(stream, seed, rounds),
            letters_in_s3: seed % 2 == 1,
            filters: seed % 4 < 2,
            start_at: None,
            silences: 0,
        };
        world.another_filter();
        world.program.start();
        world
    }

    pub(crate) fn link_names(&self) -> Vec<&'static str> {
        self.links.iter().map(|link| link.name).collect()
    }

    fn link(&self, name: &str) -> &Link {
        self.links.iter().find(|link| link.name == name).unwrap()
    }

    /// From every second file the routine is left out.
    fn another_filter(&mut self) {
        self.filters = !self.filters;
        self.write_pipeline();
        self.ledger.file(if self.filters { &[ROUTINE] } else { &[] });
    }

    fn write_pipeline(&self) {
        let filter = if self.filters { "except: { action: [rekey] }" } else { "" };
        let letters = if self.letters_in_s3 { LETTERS_IN_S3 } else { LETTERS_IN_FILE };
        let file = PIPELINE.replace("FILTER", filter).replace("LETTERS", letters);
        let file = file.replace("CHECKPOINT", &self.program.store().setting());
        std::fs::write(self.program.machine().join("pipeline.yaml"), file).unwrap();
    }

    /// Does a step of the plan.
    pub(crate) fn step(&mut self, step: &Step, when: &str) {
        match step {
            Step::Put { of, .. } => self.input.put(*of, &mut self.ledger, when),
            Step::Again { records } => self.input.again(*records, &mut self.ledger, when),
            Step::Damaged { records } => self.input.damaged(*records, &mut self.ledger, when),
            Step::Megabyte => self.input.megabyte(&mut self.ledger, when),
            Step::Wait { calls } => self.wait(*calls),
            Step::Weather(link, weather) => self.link(link).weather(Some(*weather)),
            Step::Clear(link) => self.link(link).weather(None),
            Step::Kill => {
                self.program.kill();
                self.start_again();
            }
            Step::Terminate => {
                self.program.terminate();
                self.start_again();
            }
            Step::Split => self.input.stream().split(),
            Step::Merge => self.input.stream().merge(),
            Step::BrokerAway { power_failure, calls } => {
                if *power_failure {
                    self.broker.kill()
                } else {
                    self.broker.stop()
                }
                self.wait(*calls);
                self.broker.start_again();
            }
            Step::ChangeFilter => {
                self.program.terminate();
                self.ended();
                self.another_filter();
                self.start_at = None;
                self.program.start();
            }
            Step::Freeze { calls } => self.freeze(*calls),
            Step::OthersGoOn(link) => self.catch_up_but(link),
            Step::CatchUp => self.catch_up_but(""),
        }
    }

    fn start_again(&mut self) {
        self.ended();
        self.start_at = None;
        self.program.start();
    }

    /// Enters what is remembered now that the program has ended: what it had on its way to the table has arrived.
    fn ended(&mut self) {
        if self.program.store().is_table() {
            let begun = Instant::now();
            while !self.link(CHECKPOINT).is_quiet() {
                assert!(begun.elapsed() < HANGS, "a call of a process that is gone does not end");
                self.pause();
            }
        }
        self.ledger.ended(self.program.remembered());
    }

    /// A process that is replaced while it cannot know it must find out, and change nothing.
    fn freeze(&mut self, calls: u64) {
        // Who has no lease yet cannot lose it.
        self.until("it reads", |world| world.program.has_begun());
        let Some(mut frozen) = self.program.freeze() else { return };
        // What it has on its way may still be remembered. Then more is allowed to be repeated than need be.
        self.ledger.ended(self.program.remembered());
        self.program.new_machine();
        self.write_pipeline();
        self.program.start();
        self.until("its successor reads", |world| world.program.has_begun());
        self.wait(calls);
        frozen.wake();
        self.until("the one that was replaced has ended", |_| frozen.has_ended());
        self.program.counts.replaced += 1;
    }

    /// Looks after the program until something is so.
    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut World) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < HANGS, "waited too long: {what}");
            self.tend();
        }
    }

    fn pause(&self) {
        self.runtime.block_on(async { tokio::time::sleep(PAUSE).await });
    }

    /// A program that could not start is started again.
    fn tend(&mut self) {
        if self.program.has_ended() {
            self.ended();
            self.start_at = Some(Instant::now() + RESTART);
        }
        if self.start_at.is_some_and(|at| at <= Instant::now()) {
            self.start_at = None;
            self.program.start();
        }
        self.pause();
    }

    fn calls(&self) -> u64 {
        self.links.iter().map(Link::calls).sum()
    }

    /// Until the program has made so many calls more.
    fn wait(&mut self, calls: u64) {
        let (begun, end) = (Instant::now(), self.calls() + calls);
        while self.calls() < end {
            // Until it has its checkpoint it makes few.
            let quiet = if self.program.has_begun() { Duration::ZERO } else { self.program.store().lease() };
            if begun.elapsed() > SILENCE + quiet {
                self.silences += 1;
                return;
            }
            self.tend();
        }
    }

    /// Good weather everywhere, all of the input, everything delivered, and an orderly end.
    pub(crate) fn finish(&mut self) {
        self.links.iter().for_each(|link| link.weather(None));
        self.input.put_rest(&mut self.ledger);
        self.catch_up_but("");
        let whole = self.program.terminate();
        assert!(whole, "in good weather an orderly stop delivers everything:\n{}", self.program.tail());
        self.ended();
    }

    /// Until nothing is missing anywhere, except behind this link. No time limit decides but one against hanging.
    fn catch_up_but(&mut self, down: &str) {
        let letters_behind = if self.letters_in_s3 { S3 } else { "" };
        let behind =
            [("topic", KAFKA), ("lake", S3), ("hose", FIREHOSE), ("paper", ""), ("dead letters", letters_behind)];
        let waited_for = behind.iter().filter(|(_, link)| down.is_empty() || *link != down);
        let (mut least, mut moved) = (usize::MAX, Instant::now());
        loop {
            let missing: BTreeMap<&str, usize> =
                waited_for.clone().map(|(sink, _)| (*sink, self.missing(sink))).collect();
            let all = missing.values().sum();
            if all == 0 {
                return;
            }
            if all < least {
                (least, moved) = (all, Instant::now());
            }
            assert!(moved.elapsed() < HANGS, "nothing arrived for {HANGS:?}; still missing: {missing:?}");
            let look_again = Instant::now() + 20 * PAUSE;
            while Instant::now() < look_again {
                self.tend();
            }
        }
    }

    fn missing(&self, sink: &str) -> usize {
        self.ledger.missing(self.promise(sink), &self.found(sink))
    }

    fn promise(&self, sink: &str) -> Promise {
        match PROMISES.iter().find(|promise| promise.sink == sink).unwrap() {
            promise if promise.letters && self.letters_in_s3 => LETTERS_IN_OBJECTS,
            promise => *promise,
        }
    }

    /// What is at a far end now.
    fn found(&self, sink: &str) -> Vec<Found> {
        match sink {
            "topic" => far::topic(&self.broker.plain, &self.topic).iter().map(|one| in_stream(&one.event)).collect(),
            "hose" => self.hose.events().iter().map(in_stream).collect(),
            "paper" => self.lines("out/events.ndjson").iter().map(in_stream).collect(),
            "lake" => self.objects("vpn/", |event| found(event, "/origin")),
            _ if self.letters_in_s3 => self.objects("vpn-dead/", letter),
            _ => self.lines("out/letters.ndjson").iter().map(letter).collect(),
        }
    }

    /// The whole lines of a file, machine after machine: the last may be under way, or be torn by a kill and not yet
    /// mended.
    fn lines(&self, file: &str) -> Vec<Value> {
        let of_machine = |machine: &PathBuf| {
            let bytes = std::fs::read(machine.join(file)).unwrap_or_default();
            let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            json_lines(&bytes[..end])
        };
        self.program.machines().iter().flat_map(of_machine).collect()
    }

    fn objects(&self, prefix: &str, read: impl Fn(&Value) -> Found) -> Vec<Found> {
        let objects = far::bucket(&self.s3, &self.bucket, prefix);
        let in_object = |(key, events): &(String, Vec<Value>)| -> Vec<Found> {
            events.iter().map(|event| Found { within: key.clone(), ..read(event) }).collect()
        };
        objects.iter().flat_map(in_object).collect()
    }

    /// The table's lines.
    pub(crate) fn rows(&self) -> Vec<Row> {
        PROMISES.iter().map(|one| self.ledger.row(self.promise(one.sink), &self.found(one.sink))).collect()
    }
}

impl Drop for World {
    /// Links that stall hold no one up.
    fn drop(&mut self) {
        self.links.iter().for_each(|link| link.weather(Some(Weather::DOWN)));
    }
}

fn found(event: &Value, origin: &str) -> Found {
    let origin = event.pointer(origin).unwrap();
    let sequence = Position::parse(text(origin, "/sequence")).unwrap();
    Found {
        place: (text(origin, "/shard").to_owned(), sequence),
        index: origin["index"].as_u64().unwrap_or(0),
        id: text(event, "/id").to_owned(),
        within: String::new(),
    }
}

fn in_stream(event: &Value) -> Found {
    Found { within: text(event, "/log/stream_name").to_owned(), ..found(event, "/origin") }
}

/// A dead letter, which must be a record's: no far end refuses what the run sends.
fn letter(letter: &Value) -> Found {
    assert!(letter.get("sink").is_none(), "a far end refused an event for good: {letter}");
    found(letter, "/origin")
}
