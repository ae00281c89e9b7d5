//! A Firehose of ours: exact about its limits, and as faulty as the test says. It keeps what it accepts, or hands it
//! to another one (moto).
//!
//! Deterministic: a fault is for the next request, for every request, or for what a record says. A request that breaks
//! a limit is refused and remembered as a violation, which fails the test at its end.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::destination::plain;

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is refused as a whole: status, code, message.
    Answer(u16, &'static str, &'static str),
    /// The records at these places fail with this code; the others are taken.
    Records(fn(usize) -> bool, &'static str),
    /// It is taken, and the connection ends without an answer.
    LoseAnswer,
    /// The connection ends before anything is taken.
    Reset,
}

/// A request that was understood: how many records, and of how many bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) records: Vec<usize>,
    pub(crate) taken: usize,
}

/// What a test sets and reads.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Records that were accepted, in this order.
    pub(crate) stored: Vec<Vec<u8>>,
    pub(crate) seen: Vec<Seen>,
    /// For the next requests, one each.
    pub(crate) next: VecDeque<Fault>,
    /// For every request, as long as it stands.
    pub(crate) standing: Option<Fault>,
    /// A request with a record that contains this is refused as a whole.
    pub(crate) poison: Vec<String>,
    /// A record that contains this is refused alone.
    pub(crate) bad_record: Option<String>,
    /// The answer to DescribeDeliveryStream: a description, or the code of an error.
    pub(crate) description: Option<Result<Value, &'static str>>,
    /// The answer to a request without records.
    pub(crate) knock: Option<&'static str>,
    pub(crate) violations: Vec<String>,
    /// Where accepted records go instead: `host:port`.
    upstream: Option<String>,
}

/// See the module.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::before(None)
    }

    /// In front of another Firehose.
    pub(crate) fn before(upstream: Option<&str>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let upstream = upstream.map(|url| url.trim_start_matches("http://").to_owned());
        let state = Arc::new(Mutex::new(State { upstream, ..State::default() }));
        let shared = Arc::clone(&state);
        thread(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                thread(move || serve(&connection, &shared));
            }
        });
        Server { endpoint, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// Ends with its connection, or with the test process.
fn thread(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().spawn(run).unwrap();
}

struct Request {
    target: String,
    authorization: String,
    body: Value,
    length: usize,
    /// The client wants nothing more on this connection.
    is_last: bool,
}

enum Reply {
    Answer(u16, Value),
    Hang,
}

fn serve(connection: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read(&mut reader) {
        let reply = match request.target.as_str() {
            "Firehose_20150804.DescribeDeliveryStream" => describe(&request, state),
            "Firehose_20150804.PutRecordBatch" => put(&request, state),
            other => refused(400, "UnknownOperationException", other),
        };
        let Reply::Answer(status, body) = reply else {
            let _ = connection.shutdown(std::net::Shutdown::Both);
            return;
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} Answer\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let written = (&mut &*connection).write_all((head + &body).as_bytes());
        if written.is_err() || request.is_last {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut request =
        Request { target: String::new(), authorization: String::new(), body: Value::Null, length: 0, is_last: false };
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => request.target = value.to_owned(),
            "authorization" => request.authorization = value.to_owned(),
            "connection" => request.is_last = value.eq_ignore_ascii_case("close"),
            "content-length" => request.length = value.parse().unwrap(),
            "transfer-encoding" => panic!("a chunked request"),
            _ => {}
        }
    }
    let mut body = vec![0; request.length];
    reader.read_exact(&mut body).ok()?;
    request.body = serde_json::from_slice(&body).unwrap();
    Some(request)
}

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::Answer(status, json!({"__type": code, "message": message}))
}

fn describe(request: &Request, state: &Mutex<State>) -> Reply {
    let locked = state.lock().unwrap();
    match &locked.description {
        Some(Ok(description)) => Reply::Answer(200, json!({"DeliveryStreamDescription": description})),
        Some(Err(code)) => refused(400, code, "as the test wants it"),
        None => match locked.upstream.clone() {
            Some(upstream) => {
                drop(locked);
                let (status, body) = forward(&upstream, request, &request.body);
                Reply::Answer(status, body)
            }
            None => Reply::Answer(200, json!({"DeliveryStreamDescription": description("lake")})),
        },
    }
}

/// An active stream that delivers to a bucket.
pub(crate) fn description(bucket: &str) -> Value {
    json!({
        "DeliveryStreamName": "vpn",
        "DeliveryStreamARN": "arn:aws:firehose:us-east-1:123456789012:deliverystream/vpn",
        "DeliveryStreamStatus": "ACTIVE",
        "DeliveryStreamType": "DirectPut",
        "VersionId": "1",
        "HasMoreDestinations": false,
        "Destinations": [{
            "DestinationId": "destinationId-000000000001",
            "ExtendedS3DestinationDescription": {
                "RoleARN": "arn:aws:iam::123456789012:role/r",
                "BucketARN": format!("arn:aws:s3:::{bucket}"),
                "BufferingHints": {},
                "CompressionFormat": "UNCOMPRESSED",
                "EncryptionConfiguration": {}
            }
        }]
    })
}

fn put(request: &Request, state: &Mutex<State>) -> Reply {
    let entries = request.body["Records"].as_array().unwrap();
    let mut state = state.lock().unwrap();
    if entries.is_empty() {
        let code = state.knock.unwrap_or("ValidationException");
        return refused(400, code, "1 validation error detected: 'records' must have length >= 1");
    }
    let records: Vec<Vec<u8>> =
        entries.iter().map(|entry| STANDARD.decode(entry["Data"].as_str().unwrap()).unwrap()).collect();
    if let Some(broken) = broken_limit(&records, request.length) {
        state.violations.push(broken.clone());
        return refused(400, "InvalidArgumentException", &broken);
    }
    let fault = state.next.pop_front().or_else(|| state.standing.clone());
    let fails: Vec<Option<&str>> = records
        .iter()
        .enumerate()
        .map(|(index, record)| match &fault {
            Some(Fault::Records(which, code)) if which(index) => Some(*code),
            _ if state.bad_record.iter().any(|needle| contains(record, needle)) => Some("InvalidArgumentException"),
            _ => None,
        })
        .collect();
    let sizes = records.iter().map(Vec::len).collect();
    let mut seen = Seen { records: sizes, taken: 0 };
    let whole = match fault {
        Some(Fault::Answer(status, code, message)) => Some(refused(status, code, message)),
        Some(Fault::Reset) => Some(Reply::Hang),
        _ if records.iter().any(|record| state.poison.iter().any(|needle| contains(record, needle))) => {
            Some(refused(400, "InvalidArgumentException", "a record is not to its taste"))
        }
        _ => None,
    };
    if let Some(reply) = whole {
        state.seen.push(seen);
        return reply;
    }
    let taken: Vec<&Value> =
        entries.iter().zip(&fails).filter(|(_, fail)| fail.is_none()).map(|(entry, _)| entry).collect();
    seen.taken = taken.len();
    state.seen.push(seen);
    if let Some(upstream) = &state.upstream
        && !taken.is_empty()
    {
        let body = json!({"DeliveryStreamName": request.body["DeliveryStreamName"], "Records": taken});
        let (status, answer) = forward(upstream, request, &body);
        assert_eq!((status, answer["FailedPutCount"].as_u64()), (200, Some(0)), "{answer}");
    }
    for (record, fail) in records.into_iter().zip(&fails) {
        if fail.is_none() {
            state.stored.push(record);
        }
    }
    if matches!(fault, Some(Fault::LoseAnswer)) {
        return Reply::Hang;
    }
    answer(&fails)
}

fn answer(fails: &[Option<&str>]) -> Reply {
    let entry = |(index, fail): (usize, &Option<&str>)| match fail {
        None => json!({"RecordId": format!("record-{index}")}),
        Some(code) => json!({"ErrorCode": code, "ErrorMessage": "Slow down."}),
    };
    let failed = fails.iter().flatten().count();
    let entries: Vec<Value> = fails.iter().enumerate().map(entry).collect();
    Reply::Answer(200, json!({"FailedPutCount": failed, "Encrypted": false, "RequestResponses": entries}))
}

/// The limits of PutRecordBatch, exactly; 4 MiB also where what is sent is counted.
fn broken_limit(records: &[Vec<u8>], length: usize) -> Option<String> {
    let largest = records.iter().map(Vec::len).max().unwrap_or(0);
    if records.len() > 500 {
        return Some(format!("{} records", records.len()));
    }
    if largest > 1_000 * 1024 {
        return Some(format!("a record of {largest} bytes"));
    }
    if length > 4 * 1024 * 1024 {
        return Some(format!("a request of {length} bytes"));
    }
    let torn = records.iter().find(|record| !plain(record).ends_with(b"\n"));
    torn.map(|record| format!("a record of {} bytes that does not end its line", record.len()))
}

pub(crate) fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Hands a call on, as the same caller.
fn forward(upstream: &str, request: &Request, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut connection = TcpStream::connect(upstream).unwrap();
    write!(
        connection,
        "POST / HTTP/1.0\r\nHost: {upstream}\r\nX-Amz-Target: {}\r\nAuthorization: {}\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
        request.target,
        request.authorization,
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}
