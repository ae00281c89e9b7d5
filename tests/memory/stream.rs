//! A model of Kinesis with records of 10 MiB, which no emulator here takes, and answers of 10 MiB at full speed, which
//! none gives. AWS JSON 1.1 over HTTP/1.1; no faults, no resharding: that is other tests' business.
//!
//! Records are made when they are asked for, out of gzip members that they share: a stream of gigabytes costs nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::gzip;

/// The stream's name.
pub(crate) const STREAM: &str = "large";

/// What GetRecords answers with at most, in bytes of records.
const ANSWER_BYTES: usize = 10 << 20;

/// The length of an event's message in large records: a common limit of what is sent on is a megabyte.
const MESSAGE_BYTES: usize = 225_000;

/// Accounts by turns: sinks are told apart by them.
pub(crate) const ACCOUNTS: [&str; 2] = ["111111111111", "222222222222"];

/// What a shard has, in each part: one record of nearly 10 MiB, two that are small and inflate to nearly 16 MiB, and
/// some common ones.
const PART: [Kind; 6] = [Kind::Common, Kind::Large, Kind::Common, Kind::Dense, Kind::Dense, Kind::Common];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Common,
    /// Incompressible: 10 MiB on the wire.
    Large,
    /// The same letter again and again: some KiB on the wire, as large as may be after inflation.
    Dense,
}

impl Kind {
    fn events(self) -> usize {
        match self {
            Kind::Common => 40,
            Kind::Large => 58,
            Kind::Dense => 70,
        }
    }
}

/// See the module.
pub(crate) struct Stream {
    pub(crate) endpoint: String,
    pub(crate) shards: usize,
    shared: Arc<Shared>,
}

struct Shared {
    shards: usize,
    /// Parts that are in the stream.
    parts: AtomicUsize,
    texts: Texts,
}

/// Compressed once.
struct Texts {
    common: Vec<u8>,
    random: Vec<u8>,
    letters: Vec<u8>,
}

impl Stream {
    pub(crate) fn start(shards: usize) -> Stream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { shards, parts: AtomicUsize::new(0), texts: Texts::new() });
        let own = Arc::clone(&shared);
        thread(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&own);
                thread(move || shared.serve(&connection));
            }
        });
        Stream { endpoint, shards, shared }
    }

    /// Every shard gets its next part.
    pub(crate) fn next_part(&self) {
        self.shared.parts.fetch_add(1, Ordering::SeqCst);
    }

    /// Events of an account in so many parts; `None`: of both.
    pub(crate) fn events(&self, parts: usize, account: Option<&str>) -> usize {
        let of_account = |number: &usize| account.is_none_or(|account| ACCOUNTS[number % 2] == account);
        let in_shard: usize = (0..parts * PART.len()).filter(of_account).map(|number| kind(number).events()).sum();
        self.shards * in_shard
    }
}

/// Ends with its connection, or with the test process.
fn thread(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(run).unwrap();
}

fn kind(number: usize) -> Kind {
    PART[number % PART.len()]
}

impl Texts {
    fn new() -> Texts {
        let mut state = 1_u64;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[(state >> 33) as usize % 62]
        };
        let random: Vec<u8> = (0..MESSAGE_BYTES).map(|_| letter()).collect();
        Texts { common: gzip("nothing that is known"), random: gzip(random), letters: gzip("a".repeat(MESSAGE_BYTES)) }
    }

    /// A record: members of gzip one after the other, which are one JSON text.
    fn record(&self, shard: usize, number: usize) -> Vec<u8> {
        let kind = kind(number);
        let text = match kind {
            Kind::Common => &self.common,
            Kind::Large => &self.random,
            Kind::Dense => &self.letters,
        };
        let head = json!({"messageType": "DATA_MESSAGE", "owner": ACCOUNTS[number % 2], "logGroup": "/aws/vpn",
            "logStream": format!("vpn-0a1b2c3d4e5f6{shard:04}_203.0.113.17-IKE.log"), "subscriptionFilters": ["all"]});
        let head = head.to_string();
        let mut record = gzip(format!("{},\"logEvents\":[", head.strip_suffix('}').unwrap()));
        for event in 0..kind.events() {
            let comma = if event > 0 { "," } else { "" };
            let id = shard * 1_000_000 + number * 100 + event;
            record.extend(gzip(format!("{comma}{{\"id\":\"{id:056}\",\"timestamp\":1789808054802,\"message\":\"")));
            record.extend_from_slice(text);
            record.extend(gzip("\"}"));
        }
        record.extend(gzip("]}"));
        assert!(record.len() < ANSWER_BYTES && (kind != Kind::Large || record.len() > ANSWER_BYTES * 9 / 10));
        record
    }
}

impl Shared {
    fn serve(&self, connection: &TcpStream) {
        let mut reader = BufReader::new(connection);
        while let Some((operation, body)) = read(&mut reader) {
            let answer = self.answer(&operation, &body).to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: ";
            let answer = format!("{head}{}\r\n\r\n{answer}", answer.len());
            if (&mut &*connection).write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, operation: &str, body: &Value) -> Value {
        let arn = format!("arn:aws:kinesis:us-east-1:111111111111:stream/{STREAM}");
        match operation {
            "DescribeStreamSummary" => json!({"StreamDescriptionSummary": {"StreamARN": arn, "StreamName": STREAM,
                "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1_789_808_000,
                "EnhancedMonitoring": [], "OpenShardCount": self.shards}}),
            "ListShards" => {
                let shard = |shard| {
                    json!({"ShardId": format!("shardId-{shard:012}"), "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
                        "SequenceNumberRange": {"StartingSequenceNumber": "1"}})
                };
                json!({"Shards": (0..self.shards).map(shard).collect::<Vec<Value>>()})
            }
            "GetShardIterator" => {
                let shard = body["ShardId"].as_str().unwrap().trim_start_matches("shardId-").parse::<usize>().unwrap();
                // Sequence numbers begin with 1.
                let at = body["StartingSequenceNumber"].as_str().map_or(0, |at| at.parse::<usize>().unwrap() - 1);
                json!({"ShardIterator": format!("{shard}/{at}")})
            }
            "GetRecords" => self.records(body),
            other => panic!("the model does not know {other}"),
        }
    }

    fn records(&self, body: &Value) -> Value {
        let (shard, mut at) = body["ShardIterator"].as_str().unwrap().split_once('/').unwrap();
        let (shard, mut at): (usize, usize) = (shard.parse().unwrap(), std::mem::take(&mut at).parse().unwrap());
        let end = self.parts.load(Ordering::SeqCst) * PART.len();
        let limit = body["Limit"].as_u64().unwrap_or(10_000) as usize;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while at < end && records.len() < limit {
            let data = self.texts.record(shard, at);
            if bytes + data.len() > ANSWER_BYTES && !records.is_empty() {
                break;
            }
            bytes += data.len();
            at += 1;
            records.push(json!({"SequenceNumber": at.to_string(), "PartitionKey": "p", "Data": STANDARD.encode(data),
                "ApproximateArrivalTimestamp": 1_789_808_054}));
        }
        let behind_ms = if at < end { 1_000 } else { 0 };
        json!({"Records": records, "NextShardIterator": format!("{shard}/{at}"), "MillisBehindLatest": behind_ms})
    }
}

/// A request: its operation and its body.
fn read(reader: &mut BufReader<&TcpStream>) -> Option<(String, Value)> {
    let (mut operation, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line == "\r\n" { break } else { continue }
        };
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => operation = value.trim().rsplit('.').next().unwrap().to_owned(),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((operation, serde_json::from_slice(&body).unwrap_or_default()))
}
