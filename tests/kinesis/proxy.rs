//! A proxy between the SDK and ferrokinesis that fails on demand: "the next GetRecords gets this". Plain HTTP/1.1, one
//! call after the other on a connection; counts every call. Deterministic: a fault is used up by the call that gets
//! it, in the order in which they were given.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a call gets in place of its answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// An error of the service: status and code.
    Error(u16, &'static str),
    /// The connection is reset.
    Reset,
    /// Half of the answer, then the end.
    Half,
    /// This answer.
    Json(Value),
    /// PutRecords: these of its records are refused, the others written.
    Refuse(Vec<usize>),
}

/// A call that came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) operation: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
struct State {
    faults: BTreeMap<String, VecDeque<Fault>>,
    calls: Vec<Call>,
    page: Option<usize>,
    behind_ms: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    upstream: SocketAddr,
    state: Mutex<State>,
}

impl Proxy {
    pub(crate) async fn start(tasks: &mut JoinSet<()>, upstream: SocketAddr) -> Arc<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Arc::new(Proxy { address, upstream, state: Mutex::default() });
        let own = Arc::clone(&proxy);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let own = Arc::clone(&own);
                connections.spawn(async move { own.serve(client).await });
            }
        });
        proxy
    }

    /// The next calls of `operation` get these, one each.
    pub(crate) fn fail(&self, operation: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.entry(operation.into()).or_default().extend(faults);
    }

    /// ListShards answers in pages of this size, as AWS does in pages of 1,000.
    pub(crate) fn page(&self, shards: usize) {
        self.state.lock().unwrap().page = Some(shards);
    }

    /// GetRecords says that it is so far behind.
    pub(crate) fn behind(&self, behind_ms: i64) {
        self.state.lock().unwrap().behind_ms = Some(behind_ms);
    }

    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        let state = self.state.lock().unwrap();
        state.calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    /// Faults that no call has got yet.
    pub(crate) fn unused(&self) -> usize {
        self.state.lock().unwrap().faults.values().map(VecDeque::len).sum()
    }

    /// Until the client goes, or a fault ends the connection.
    async fn serve(&self, mut client: TcpStream) -> Option<()> {
        loop {
            let (head, body) = read_message(&mut client).await.ok()?;
            let operation = operation(&head);
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            let fault = {
                let mut state = self.state.lock().unwrap();
                let call = Call { operation: operation.clone(), body: asked.clone(), at: Instant::now() };
                state.calls.push(call);
                state.faults.get_mut(&operation).and_then(VecDeque::pop_front)
            };
            match fault {
                Some(Fault::Reset) => {
                    client.set_zero_linger().ok()?;
                    return None;
                }
                Some(Fault::Half) => {
                    let (status, answer) = self.ask(&head, &body).await.ok()?;
                    let half = &answer[..answer.len() / 2];
                    reply(&mut client, status, half, answer.len()).await.ok()?;
                    return None;
                }
                Some(Fault::Error(status, code)) => {
                    let answer = json!({"__type": code, "message": "it was the proxy"}).to_string();
                    reply(&mut client, status, answer.as_bytes(), answer.len()).await.ok()?;
                }
                Some(Fault::Json(answer)) => {
                    let answer = answer.to_string();
                    reply(&mut client, 200, answer.as_bytes(), answer.len()).await.ok()?;
                }
                Some(Fault::Refuse(refused)) => {
                    let answer = self.refuse(&head, asked, &refused).await.ok()?.to_string();
                    reply(&mut client, 200, answer.as_bytes(), answer.len()).await.ok()?;
                }
                None if operation == "SubscribeToShard" => return self.stream(client, &head, &body).await.ok(),
                None => {
                    let (status, answer) = self.pass(&operation, &head, &body, &asked).await.ok()?;
                    reply(&mut client, status, &answer, answer.len()).await.ok()?;
                }
            }
        }
    }

    /// A call without a fault.
    async fn pass(&self, operation: &str, head: &str, body: &[u8], asked: &Value) -> io::Result<(u16, Vec<u8>)> {
        let (page, behind_ms) = {
            let state = self.state.lock().unwrap();
            (state.page, state.behind_ms)
        };
        match (operation, page, behind_ms) {
            ("ListShards", Some(page), _) => self.list(head, asked, page).await,
            ("GetRecords", _, Some(behind_ms)) => {
                let (status, answer) = self.ask(head, body).await?;
                let mut answer: Value = serde_json::from_slice(&answer)?;
                answer["MillisBehindLatest"] = behind_ms.into();
                Ok((status, answer.to_string().into_bytes()))
            }
            _ => self.ask(head, body).await,
        }
    }

    /// One page. The token is the stream's name and the place where the page begins.
    async fn list(&self, head: &str, asked: &Value, page: usize) -> io::Result<(u16, Vec<u8>)> {
        let token = asked["NextToken"].as_str();
        let (name, from) = match token.map(|token| token.split_once('|').unwrap()) {
            Some((name, from)) => (name.to_owned(), from.parse().unwrap()),
            None => (asked["StreamName"].as_str().unwrap().to_owned(), 0),
        };
        let (status, answer) = self.ask(head, json!({"StreamName": name}).to_string().as_bytes()).await?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        let all = answer["Shards"].as_array().cloned().unwrap_or_default();
        if from + page < all.len() {
            answer["NextToken"] = format!("{name}|{}", from + page).into();
        }
        answer["Shards"] = all.into_iter().skip(from).take(page).collect();
        Ok((status, answer.to_string().into_bytes()))
    }

    async fn refuse(&self, head: &str, mut asked: Value, refused: &[usize]) -> io::Result<Value> {
        let records = asked["Records"].as_array().cloned().unwrap_or_default();
        let kept: Vec<Value> =
            (0..records.len()).filter(|index| !refused.contains(index)).map(|index| records[index].clone()).collect();
        let mut written = Vec::new();
        if !kept.is_empty() {
            asked["Records"] = kept.into();
            let (_, answer) = self.ask(head, asked.to_string().as_bytes()).await?;
            let answer: Value = serde_json::from_slice(&answer)?;
            written = answer["Records"].as_array().cloned().unwrap();
        }
        let mut written = written.into_iter();
        let error =
            json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded for shard"});
        let of = |index| if refused.contains(&index) { error.clone() } else { written.next().unwrap() };
        let answers: Vec<Value> = (0..records.len()).map(of).collect();
        Ok(json!({"FailedRecordCount": refused.len(), "Records": answers}))
    }

    /// What ferrokinesis answers, as it comes, until one of the two goes.
    async fn stream(&self, mut client: TcpStream, head: &str, body: &[u8]) -> io::Result<()> {
        let mut upstream = self.send(head, body).await?;
        tokio::io::copy_bidirectional(&mut client, &mut upstream).await.map(drop)
    }

    /// What ferrokinesis answers.
    async fn ask(&self, head: &str, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        let mut upstream = self.send(head, body).await?;
        let (head, answer) = read_message(&mut upstream).await?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(|| io::Error::other("no status"))?, answer))
    }

    async fn send(&self, head: &str, body: &[u8]) -> io::Result<TcpStream> {
        let mut upstream = TcpStream::connect(self.upstream).await?;
        let kept = head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.starts_with("content-length:") && !line.starts_with("connection:") && !line.is_empty()
        });
        let mut request: String = kept.map(|line| format!("{line}\r\n")).collect();
        request.push_str(&format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()));
        upstream.write_all(request.as_bytes()).await?;
        upstream.write_all(body).await?;
        Ok(upstream)
    }
}

fn operation(head: &str) -> String {
    let target = head.lines().find(|line| line.to_ascii_lowercase().starts_with("x-amz-target:"));
    target.and_then(|line| line.rsplit('.').next()).unwrap_or_default().trim().to_owned()
}

async fn reply(client: &mut TcpStream, status: u16, body: &[u8], length: usize) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body).await?;
    client.flush().await
}

/// Head and body of a request or an answer, whose length its head tells.
async fn read_message(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let mut more = async |bytes: &mut Vec<u8>| -> io::Result<()> {
        // A connection that says nothing for this long is forgotten.
        let read = tokio::time::timeout(Duration::from_secs(120), stream.read(&mut buffer)).await;
        match read.map_err(|_| io::ErrorKind::TimedOut)?? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                bytes.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    };
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        more(&mut bytes).await?;
    }
    Ok((head, bytes[end..end + length].to_vec()))
}
