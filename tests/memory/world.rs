//! The program, its stream and its far ends, with a link before each that can be stalled.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use super::far::{Bucket, Topic, ids};
use super::stream::{ACCOUNTS, STREAM, Stream};
use crate::chaos::proxy::{Fault, Link, Speech, Weather};
use crate::destination::plain;
use crate::server::Server;
use crate::stack::{self, KafkaBroker};
use crate::support::program::{Running, get, status_address, tunnelog};

/// Calls are taken and never answered.
const STALLED: Weather = Weather { percent: 100, fault: Fault::Stall { ms: None } };

/// A hanging run is told from a slow one by this: nothing at all arrived for so long, where something should.
const HANGS: std::time::Duration = std::time::Duration::from_secs(600);

const PARTITIONS: i32 = 4;

/// Which events each sink gets.
const SINKS: [(&str, Option<&str>); 3] = [("topic", Some(ACCOUNTS[0])), ("lake", None), ("hose", Some(ACCOUNTS[1]))];

/// A sink of each kind that is far away. The large events are for Kafka and for Firehose by halves, and all for S3.
const PIPELINE: &str = "
sources:
  main:
    kinesis: { stream: 'STREAM' }
sinks:
  topic:
    kafka:
      brokers: ['${KAFKA}']
      topic: '${TOPIC}'
      librdkafka: { socket.timeout.ms: '10000', reconnect.backoff.max.ms: '1000' }
    only: { account: ['FIRST'] }
  lake:
    s3: { bucket: '${BUCKET}', prefix: 'vpn/kind={kind}/', compression: gzip, window: 10s }
  hose:
    firehose: { stream: '${FIREHOSE}', pack: always }
    only: { account: ['SECOND'] }
checkpoint: { file: state/memory.redb }
status: { listen: '127.0.0.1:0' }
limits: { memory: LIMIT, record: 16MiB, outage_after: 10s }
";

/// The variables that the file names.
pub(crate) fn names() -> [&'static str; 4] {
    ["KAFKA", "TOPIC", "BUCKET", "FIREHOSE"]
}

pub(crate) fn pipeline(limit: &str) -> String {
    let [first, second] = ACCOUNTS;
    let file = PIPELINE.replace("STREAM", STREAM).replace("LIMIT", limit);
    file.replace("FIRST", first).replace("SECOND", second)
}

/// See the module.
pub(crate) struct World {
    _folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
    _broker: KafkaBroker,
    stream: Stream,
    links: Vec<Link>,
    topic: Topic,
    bucket: Bucket,
    hose: Server,
    hose_ids: BTreeSet<[u8; 32]>,
    program: Running,
    status: String,
    parts: usize,
    pub(crate) limit_mib: u64,
}

impl World {
    pub(crate) fn new(shards: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let to_kafka = listen();
        let broker = KafkaBroker::start_behind(to_kafka.local_addr().unwrap().port());
        let (stream, hose) = (Stream::start(shards), Server::start());
        let at = |url: &str| -> SocketAddr { url.trim_start_matches("http://").parse().unwrap() };
        let link = |about, listener, upstream: &str| Link::start(&runtime, about, listener, at(upstream), 1);
        let links = vec![
            link(("topic", Speech::Bytes), to_kafka, &broker.behind),
            link(("lake", Speech::S3), listen(), &stack::s3().endpoint),
            link(("hose", Speech::Json), listen(), &hose.endpoint),
        ];
        let (topic, bucket) = (broker.topic(PARTITIONS), stack::s3().bucket());
        let limit_mib = least_mib(&folder);
        std::fs::write(folder.path().join("p.yaml"), pipeline(&format!("{limit_mib}MiB"))).unwrap();
        let log = folder.path().join("log");
        let mut command = tunnelog(folder.path(), &["run", "p.yaml"]);
        command.envs([
            ("KAFKA", links[0].address.to_string()),
            ("TOPIC", topic.clone()),
            ("BUCKET", bucket.clone()),
            ("FIREHOSE", "hose".into()),
            ("AWS_ENDPOINT_URL_KINESIS", stream.endpoint.clone()),
            ("AWS_ENDPOINT_URL_S3", links[1].url()),
            ("AWS_ENDPOINT_URL_FIREHOSE", links[2].url()),
            ("AWS_ACCESS_KEY_ID", stack::s3().access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", stack::s3().secret_key.clone()),
            ("AWS_REGION", stack::REGION.into()),
        ]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        let program = Running::of(&mut command);
        let status = status_address(&log);
        let topic = Topic::new(&broker, &topic, PARTITIONS);
        World {
            _folder: folder,
            _runtime: runtime,
            _broker: broker,
            stream,
            links,
            topic,
            bucket: Bucket::new(bucket),
            hose,
            hose_ids: BTreeSet::new(),
            program,
            status,
            parts: 0,
            limit_mib,
        }
    }

    pub(crate) fn next_part(&mut self) {
        self.stream.next_part();
        self.parts += 1;
    }

    pub(crate) fn stall(&self, sinks: &[&str]) {
        for link in self.links.iter().filter(|link| sinks.contains(&link.name)) {
            link.weather(Some(STALLED));
        }
    }

    pub(crate) fn clear(&self) {
        self.links.iter().for_each(|link| link.weather(None));
    }

    /// The kernel's own peak of resident memory, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap().div_ceil(1024)
    }

    fn has(&mut self, sink: &str) -> usize {
        match sink {
            "topic" => self.topic.count(),
            "lake" => self.bucket.count(),
            _ => {
                for record in std::mem::take(&mut self.hose.state().stored) {
                    ids(&plain(&record), &mut self.hose_ids);
                }
                self.hose_ids.len()
            }
        }
    }

    /// What these sinks lack of what is in the stream.
    fn missing(&mut self, sinks: impl Fn(&str) -> bool) -> usize {
        let mut missing = 0;
        for (sink, account) in SINKS.iter().filter(|(sink, _)| sinks(sink)) {
            let expected = self.stream.events(self.parts, *account);
            let has = self.has(sink);
            assert!(has <= expected, "{sink} has {has} events of {expected}");
            missing += expected - has;
        }
        missing
    }

    /// Lanes that are parked, by the program's own metrics.
    fn parked(&self) -> usize {
        let page = get(&self.status, "/metrics");
        let line = page.lines().find(|line| line.starts_with("tunnelog_lanes{state=\"parked\"}")).unwrap_or("0");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as usize
    }

    pub(crate) fn until_the_others_have_everything_and_these_are_parked(&mut self, stalled: &[&str]) {
        // All but one of each sink, which tries.
        let parked = stalled.len() * (self.stream.shards - 1);
        self.until(|world| {
            let missing = world.missing(|sink| !stalled.contains(&sink));
            missing + parked.saturating_sub(world.parked())
        });
    }

    pub(crate) fn until_all_have_everything(&mut self) {
        self.until(|world| world.missing(|_| true));
    }

    /// Until nothing is left to wait for. No time limit decides but one against hanging.
    #[expect(
        clippy::disallowed_methods,
        reason = "other processes' doing can only be polled; nothing rests on the pause"
    )]
    fn until(&mut self, mut left: impl FnMut(&mut World) -> usize) {
        let (mut least, mut moved) = (usize::MAX, std::time::Instant::now());
        loop {
            assert!(!self.program.has_ended(), "the program has ended by itself");
            let now = left(self);
            if now == 0 {
                return;
            }
            if now < least {
                (least, moved) = (now, std::time::Instant::now());
            }
            assert!(
                moved.elapsed() < HANGS,
                "nothing arrived for {HANGS:?}: {now} are missing\n{}",
                get(&self.status, "/metrics")
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    pub(crate) fn ends_in_order(&mut self) {
        assert!(self.program.terminate().success(), "an orderly stop");
    }
}

/// The least that the pipeline works with, by the program's own word.
fn least_mib(folder: &tempfile::TempDir) -> u64 {
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, pipeline("1MiB")).unwrap();
    let mut check = tunnelog(folder.path(), &["check", "p.yaml"]);
    check.envs(names().map(|name| (name, "127.0.0.1:1")));
    let said = crate::support::program::finish(check).expect(2).err();
    let (_, number) = said.split_once("at least ").unwrap_or_else(|| panic!("{said}"));
    number.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{said}"))
}
