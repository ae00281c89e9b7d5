//! A link's business where HTTP/1.1 is spoken: one request a connection, the other end is told to come again.
//!
//! Requests are passed on as they came (a signature covers them); what the far end says is passed back as it is.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Duration, sleep};

use super::limits::Refused;
use super::proxy::{Fault, Shared, Speech, answer, cut, stall};

struct Request {
    /// The request line and fields that are passed on, each with its line end.
    head: String,
    body: Vec<u8>,
    /// Of `X-Amz-Target`.
    operation: String,
}

impl Request {
    /// What a JSON service was asked.
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// One request.
pub(super) async fn serve(link: &Shared, mut client: TcpStream) -> io::Result<()> {
    let Some(request) = read_request(&mut client).await? else { return Ok(()) };
    let fault = link.call();
    match fault {
        Some(Fault::Cut(end)) => return cut(client, end).await,
        Some(Fault::Stall { ms }) => return stall(client, ms).await,
        Some(Fault::Delay { ms }) => sleep(Duration::from_millis(ms)).await,
        Some(Fault::Error(status, code)) => {
            client.write_all(&refusal(link.speech, status, code, &request)).await?;
            return client.shutdown().await;
        }
        _ => {}
    }
    if request.operation == "GetRecords" {
        let asked = link.limits.lock().unwrap().ask(&request.json(), tokio::time::Instant::now());
        if let Err(refused) = asked {
            link.count(match refused {
                Refused::Calls => "over 5 calls a second",
                Refused::Bytes => "resting after 1 MB",
            });
            let throttled = refusal(link.speech, 400, "ProvisionedThroughputExceededException", &request);
            answer(&mut client, &throttled, fault).await?;
            return client.shutdown().await;
        }
    }
    let said = match fault {
        Some(Fault::RefuseSome) if request.operation == "PutRecordBatch" => refuse_some(link, request).await?,
        _ => {
            let said = ask(link, &request).await?;
            if matches!(request.operation.as_str(), "GetRecords" | "GetShardIterator") {
                let told = serde_json::from_slice(&body_of(&said)).unwrap_or_default();
                link.limits.lock().unwrap().learn(&request.json(), &told, said.len(), tokio::time::Instant::now());
            }
            said
        }
    };
    answer(&mut client, &said, fault).await?;
    client.shutdown().await
}

/// What the far end answers, as it is on the wire.
async fn ask(link: &Shared, request: &Request) -> io::Result<Vec<u8>> {
    let mut upstream = link.connect().await?;
    let head = format!("{}content-length: {}\r\nconnection: close\r\n\r\n", request.head, request.body.len());
    upstream.write_all(head.as_bytes()).await?;
    upstream.write_all(&request.body).await?;
    let mut said = Vec::new();
    upstream.read_to_end(&mut said).await?;
    if said.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(said) }
}

/// Writes some records of a PutRecordBatch and says of the others that they were refused, as Firehose does.
async fn refuse_some(link: &Shared, mut request: Request) -> io::Result<Vec<u8>> {
    let mut asked = request.json();
    let records = asked["Records"].as_array().cloned().unwrap_or_default();
    let refused: Vec<bool> = records.iter().map(|_| link.draw(0, 3) == 0).collect();
    let kept: Vec<Value> =
        records.into_iter().zip(&refused).filter(|(_, refused)| !**refused).map(|one| one.0).collect();
    let mut written = Vec::new();
    if !kept.is_empty() {
        asked["Records"] = kept.into();
        request.body = asked.to_string().into_bytes();
        let told: Value = serde_json::from_slice(&body_of(&ask(link, &request).await?))?;
        written = told["RequestResponses"].as_array().cloned().unwrap_or_default();
    }
    let mut written = written.into_iter();
    let error = json!({"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."});
    let answers: Vec<Value> = refused
        .iter()
        .map(|refused| if *refused { error.clone() } else { written.next().unwrap_or_else(|| error.clone()) })
        .collect();
    let failed = answers.iter().filter(|answer| answer.get("ErrorCode").is_some()).count();
    let told = json!({"FailedPutCount": failed, "Encrypted": false, "RequestResponses": answers});
    Ok(whole(200, "application/x-amz-json-1.1", &told.to_string()))
}

/// An error as the service writes it.
fn refusal(speech: Speech, status: u16, code: &str, request: &Request) -> Vec<u8> {
    let xml = |inside: &str| format!("<?xml version=\"1.0\"?>{inside}");
    let error = format!("<Code>{code}</Code><Message>so says the chaos run</Message>");
    match speech {
        Speech::S3 => whole(status, "application/xml", &xml(&format!("<Error>{error}</Error>"))),
        Speech::Query if String::from_utf8_lossy(&request.body).contains("Version=2011-06-15") => {
            whole(status, "text/xml", &xml(&format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>")))
        }
        Speech::Query => {
            whole(status, "text/xml", &xml(&format!("<Response><Errors><Error>{error}</Error></Errors></Response>")))
        }
        Speech::Json | Speech::Bytes => {
            let text = json!({"__type": code, "message": "so says the chaos run"}).to_string();
            whole(status, "application/x-amz-json-1.1", &text)
        }
    }
}

fn whole(status: u16, content: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Chaos\r\ncontent-type: {content}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The request, whole; nothing if the client went without a word.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<Request>> {
    let (mut read, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let end = loop {
        if let Some(end) = end_of_head(&read) {
            break end;
        }
        match client.read(&mut buffer).await? {
            0 => return Ok(None),
            count => read.extend_from_slice(&buffer[..count]),
        }
    };
    let mut body = read.split_off(end);
    let head = String::from_utf8_lossy(&read).into_owned();
    if field(&head, "expect").is_some() {
        client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let length: usize = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let have = body.len().min(length);
    body.resize(length, 0);
    client.read_exact(&mut body[have..]).await?;
    let ours = ["connection", "expect", "content-length"];
    let kept = head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !line.is_empty() && !ours.iter().any(|ours| name.eq_ignore_ascii_case(ours))
    });
    let operation = field(&head, "x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap_or_default();
    Ok(Some(Request { operation: operation.to_owned(), head: kept.map(|line| format!("{line}\r\n")).collect(), body }))
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The body of a whole answer, also where it came in chunks.
fn body_of(said: &[u8]) -> Vec<u8> {
    let Some(end) = end_of_head(said) else { return Vec::new() };
    let head = String::from_utf8_lossy(&said[..end]).into_owned();
    let mut rest = &said[end..];
    if !field(&head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return rest.to_vec();
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..line]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let (from, to) = (line + 2, line + 2 + size);
        if size == 0 || to + 2 > rest.len() {
            break;
        }
        body.extend_from_slice(&rest[from..to]);
        rest = &rest[to + 2..];
    }
    body
}
