//! A proxy in front of DynamoDB: counts calls, loses them or their answers, refuses them, or lets them arrive late.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// A call, as far as a test decides by it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// For example `TransactWriteItems`.
    pub(crate) operation: String,
    pub(crate) body: Value,
}

impl Call {
    pub(crate) fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }

    /// A commit: not one of the calls around it.
    pub(crate) fn is_commit(&self) -> bool {
        self.is("TransactWriteItems")
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Pass,
    /// It never arrives.
    Lose,
    /// It arrives; its answer does not.
    LoseAnswer,
    /// It is lost to the caller, and arrives when the test says so.
    Late,
    /// It is answered so, and never arrives.
    Answer(u16, &'static str),
}

type Judge = Box<dyn FnMut(&Call) -> Verdict + Send>;

struct Shared {
    judge: Mutex<Judge>,
    seen: Mutex<Vec<Call>>,
    late: Mutex<Vec<Vec<u8>>>,
    upstream: String,
}

/// Listens until the test process ends.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// In front of `http://host:port`.
    #[expect(clippy::disallowed_methods, reason = "a proxy of the test, in threads of its own")]
    pub(crate) fn new(upstream: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            judge: Mutex::new(Box::new(|_| Verdict::Pass)),
            seen: Mutex::default(),
            late: Mutex::default(),
            upstream: upstream.trim_start_matches("http://").to_owned(),
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&ours);
                // A connection that breaks is the test's intention, or fails the test elsewhere.
                std::thread::spawn(move || drop(serve(connection, &shared)));
            }
        });
        Proxy { endpoint, shared }
    }

    /// From now on, calls are judged by this.
    pub(crate) fn judge(&self, judge: impl FnMut(&Call) -> Verdict + Send + 'static) {
        *self.shared.judge.lock().unwrap() = Box::new(judge);
    }

    /// Judges so the calls that meet the condition, for so many of them.
    pub(crate) fn next(&self, mut count: usize, verdict: Verdict, on: impl Fn(&Call) -> bool + Send + 'static) {
        self.judge(move |call| {
            if count > 0 && on(call) {
                count -= 1;
                return verdict;
            }
            Verdict::Pass
        });
    }

    /// All is well from now on.
    pub(crate) fn heal(&self) {
        self.judge(|_| Verdict::Pass);
    }

    /// What was asked so far; forgets it.
    pub(crate) fn seen(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// The calls that were to come late arrive now; their answers' statuses.
    pub(crate) fn arrive(&self) -> Vec<u16> {
        let late = std::mem::take(&mut *self.shared.late.lock().unwrap());
        let status = |request: Vec<u8>| {
            let answer = String::from_utf8_lossy(&pass(&self.shared.upstream, &request).unwrap()).into_owned();
            answer.split(' ').nth(1).unwrap().parse().unwrap()
        };
        late.into_iter().map(status).collect()
    }
}

fn pass(upstream: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(upstream)?;
    upstream.write_all(request)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// One call a connection: the other end is told to come again.
fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some((head, mut body)) = read_head(&mut client)? else { return Ok(()) };
    let value = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = value("content-length").map_or(0, |length| length.parse().unwrap());
    let have = body.len();
    body.resize(length.max(have), 0);
    client.read_exact(&mut body[have..])?;
    let operation = value("x-amz-target").and_then(|target| Some(target.split_once('.')?.1.to_owned()));
    let call = Call { operation: operation.unwrap(), body: serde_json::from_slice(&body).unwrap() };
    let verdict = (shared.judge.lock().unwrap())(&call);
    shared.seen.lock().unwrap().push(call);
    let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let kept: String = kept.map(|line| format!("{line}\r\n")).collect();
    let request = [format!("{kept}connection: close\r\n\r\n").into_bytes(), body].concat();
    match verdict {
        Verdict::Pass => client.write_all(&pass(&shared.upstream, &request)?)?,
        Verdict::Lose => {}
        Verdict::LoseAnswer => drop(pass(&shared.upstream, &request)?),
        Verdict::Late => shared.late.lock().unwrap().push(request),
        Verdict::Answer(status, code) => {
            let text =
                format!("{{\"__type\":\"com.amazonaws.dynamodb.v20120810#{code}\",\"message\":\"so says the test\"}}");
            write!(
                client,
                "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\nconnection: \
                 close\r\n\r\n{text}",
                text.len()
            )?;
        }
    }
    client.shutdown(Shutdown::Both)
}

/// The head without its empty line, and what came of the body with it.
fn read_head(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let (mut read, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = read.split_off(end + 4);
            read.truncate(end);
            return Ok(Some((String::from_utf8(read).unwrap(), body)));
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            count => read.extend_from_slice(&buffer[..count]),
        }
    }
}
