//! The run's parts and the links to them, and the steps of a plan as they are done to them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_s3::Client;
use serde_json::Value;
use tokio::time::Instant;
use tunnelog::source::Position;

use super::input::Input;
use super::ledger::{Found, Ledger, Order, Promise, Repeats, Row};
use super::plan::{FIREHOSE, INVENTORY, KAFKA, KINESIS, S3, Step};
use super::proxy::{Link, Speech, Weather};
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
checkpoint: { file: state/chaos.redb }
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
    folder: PathBuf,
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
    pub(crate) fn new(folder: PathBuf, seed: u64, rounds: usize) -> World {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let to_kafka = listen();
        let broker = KafkaBroker::start_behind(to_kafka.local_addr().unwrap().port());
        let at = |url: &str| -> SocketAddr { url.trim_start_matches("http://").parse().unwrap() };
        let link = |about, listener, upstream: &str| Link::start(&runtime, about, listener, at(upstream), seed);
        let links = vec![
            link((KINESIS, Speech::Json), listen(), &stack::kinesis().endpoint),
            link((KAFKA, Speech::Bytes), to_kafka, &broker.behind),
            link((S3, Speech::S3), listen(), &stack::s3().endpoint),
            link((FIREHOSE, Speech::Json), listen(), &stack::moto().endpoint),
            link((INVENTORY, Speech::Query), listen(), &stack::moto().endpoint),
        ];
        let (topic, bucket, hose, stream) = (broker.topic(4), stack::s3().bucket(), Hose::new(), Stream::new(2));
        let (s3, kinesis, inventory) = (links[2].url(), links[0].url(), links[4].url());
        let environment = vec![
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
        ];
        let program = Supervisor::new(&folder, environment);
        let mut world = World {
            folder,
            runtime,
            links,
            broker,
            s3: stack::s3().client(),
            topic,
            bucket,
            hose,
            program,
            ledger: Ledger::default(),
            input: Input::new(stream, seed, rounds),
            letters_in_s3: seed % 2 == 1,
            filters: seed % 4 < 2,
            start_at: None,
            silences: 0,
        };
        world.write_pipeline();
        world.program.start();
        world
    }

    pub(crate) fn link_names() -> [&'static str; 5] {
        [KINESIS, KAFKA, S3, FIREHOSE, INVENTORY]
    }

    fn link(&self, name: &str) -> &Link {
        self.links.iter().find(|link| link.name == name).unwrap()
    }

    /// Writes the file anew: from every second one the routine is left out.
    fn write_pipeline(&mut self) {
        self.filters = !self.filters;
        let filter = if self.filters { "except: { action: [rekey] }" } else { "" };
        let letters = if self.letters_in_s3 { LETTERS_IN_S3 } else { LETTERS_IN_FILE };
        let file = PIPELINE.replace("FILTER", filter).replace("LETTERS", letters);
        std::fs::write(self.folder.join("pipeline.yaml"), file).unwrap();
        self.ledger.file(if self.filters { &[ROUTINE] } else { &[] });
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
                self.ledger.ended(self.program.remembered());
                self.write_pipeline();
                self.start_at = None;
                self.program.start();
            }
            Step::OthersGoOn(link) => self.catch_up_but(link),
            Step::CatchUp => self.catch_up_but(""),
        }
    }

    fn start_again(&mut self) {
        self.ledger.ended(self.program.remembered());
        self.start_at = None;
        self.program.start();
    }

    /// A program that could not start is started again.
    fn tend(&mut self) {
        if self.program.has_ended() {
            self.ledger.ended(self.program.remembered());
            self.start_at = Some(Instant::now() + RESTART);
        }
        if self.start_at.is_some_and(|at| at <= Instant::now()) {
            self.start_at = None;
            self.program.start();
        }
        self.runtime.block_on(async { tokio::time::sleep(PAUSE).await });
    }

    fn calls(&self) -> u64 {
        self.links.iter().map(Link::calls).sum()
    }

    /// Until the program has made so many calls more.
    fn wait(&mut self, calls: u64) {
        let (begun, end) = (Instant::now(), self.calls() + calls);
        while self.calls() < end {
            if begun.elapsed() > SILENCE {
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
        self.ledger.ended(self.program.remembered());
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

    /// The whole lines of a file: the last may be under way, or be torn by a kill and not yet mended.
    fn lines(&self, file: &str) -> Vec<Value> {
        let bytes = std::fs::read(self.folder.join(file)).unwrap_or_default();
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        json_lines(&bytes[..end])
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
