//! A proxy in front of an S3: counts requests, loses them or their answers, and shows what was asked.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::support::program::wait_until;

/// A request, as far as a test decides by it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
}

impl Request {
    /// What S3 calls it.
    pub(crate) fn operation(&self) -> &'static str {
        let has = |word: &str| self.path.contains(word);
        match self.method.as_str() {
            "POST" if has("?uploads") => "create",
            "POST" => "complete",
            "PUT" if has("partNumber=") => "part",
            "PUT" => "put",
            "DELETE" if has("uploadId=") => "abort",
            "DELETE" => "delete",
            "HEAD" => "head",
            "GET" if has("uploads") => "list uploads",
            _ => "get",
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Pass,
    /// It never arrives.
    Lose,
    /// It arrives; its answer does not.
    LoseAnswer,
    /// It is answered so, and never arrives.
    Answer(u16, &'static str),
}

type Judge = Box<dyn FnMut(&Request) -> Verdict + Send>;

struct Shared {
    judge: Mutex<Judge>,
    seen: Mutex<Vec<Request>>,
    /// Connections that are open: each has one request, perhaps not read yet, which the far end may still get.
    under_way: AtomicUsize,
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
            under_way: AtomicUsize::new(0),
            upstream: upstream.trim_start_matches("http://").to_owned(),
        });
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&ours);
                shared.under_way.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let _under_way = UnderWay(&shared.under_way);
                    // A connection that breaks is the test's intention, or fails the test elsewhere.
                    drop(serve(connection, &shared));
                });
            }
        });
        Proxy { endpoint, shared }
    }

    /// From now on, requests are judged by this.
    pub(crate) fn judge(&self, judge: impl FnMut(&Request) -> Verdict + Send + 'static) {
        *self.shared.judge.lock().unwrap() = Box::new(judge);
    }

    /// Waits until the far end has done what it was asked: a process that dies does not stop that.
    pub(crate) fn rest(&self) {
        wait_until("the far end rests", || self.shared.under_way.load(Ordering::SeqCst) == 0);
    }

    /// What was asked so far; forgets it.
    pub(crate) fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

/// Counts a connection until its request is answered or given up.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One request a connection: the other end is told to come again.
fn serve(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let Some((head, mut body)) = read_head(&mut client)? else { return Ok(()) };
    let lines: Vec<&str> = head.lines().collect();
    let mut words = lines[0].split(' ');
    let request = Request { method: words.next().unwrap().into(), path: words.next().unwrap().into() };
    let value = |name: &str| {
        let line = lines.iter().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    if value("expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length: usize = value("content-length").map_or(0, |length| length.parse().unwrap());
    let have = body.len();
    body.resize(length.max(have), 0);
    client.read_exact(&mut body[have..])?;
    let verdict = shared.judge.lock().unwrap()(&request);
    shared.seen.lock().unwrap().push(request);
    match verdict {
        Verdict::Lose => return client.shutdown(Shutdown::Both),
        Verdict::Answer(status, code) => {
            let text =
                format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so says the test</Message></Error>");
            let length = text.len();
            let region = if status == 301 { "x-amz-bucket-region: eu-west-1" } else { "x-nothing: 1" };
            return write!(
                client,
                "HTTP/1.1 {status} X\r\n{region}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            );
        }
        Verdict::Pass | Verdict::LoseAnswer => {}
    }
    let mut upstream = TcpStream::connect(&shared.upstream)?;
    let skip = |line: &&&str| {
        let line = line.to_ascii_lowercase();
        !line.starts_with("connection:") && !line.starts_with("expect:")
    };
    let kept: String = lines.iter().filter(skip).map(|line| format!("{line}\r\n")).collect();
    upstream.write_all(format!("{kept}connection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if verdict == Verdict::Pass {
        client.write_all(&answer)?;
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
