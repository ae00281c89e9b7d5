//! moto: Firehose that writes to its own S3, CloudWatch Logs that writes to its own Kinesis, STS, EC2 and more, with
//! what `moto_plus.py` adds.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

use super::REGION;
use super::process::{Part, file, folder, free_port, given, installed, start};

/// An unanswered question is asked again.
const ASK: Duration = Duration::from_secs(5);

/// A moto server. Any credentials are good; its account is 123456789012.
pub(crate) struct Moto {
    pub(crate) endpoint: String,
    part: Option<Part>,
}

/// The one of this test process, or `TUNNELOG_TEST_MOTO`.
pub(crate) fn moto() -> &'static Moto {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    MOTO.get_or_init(|| match given("TUNNELOG_TEST_MOTO") {
        Some(endpoint) => Moto { endpoint, part: None },
        None => Moto::start(),
    })
}

impl Moto {
    /// One for the caller alone, until it is dropped.
    pub(crate) fn start() -> Moto {
        start(|| {
            let port = free_port();
            let (python, script) = (installed("python/bin/python"), file("moto_plus.py"));
            let mut part = Part::start(
                "moto",
                &folder("moto"),
                // -B: no __pycache__ beside the script.
                [python.into(), "-B".into(), script.into(), "-H".into(), "127.0.0.1".into(), "-p".into()]
                    .into_iter()
                    .chain([port.to_string().into()]),
            );
            part.wait(|| answers(port))?;
            Ok(Moto { endpoint: format!("http://127.0.0.1:{port}"), part: Some(part) })
        })
    }
}

impl Moto {
    /// One call of a JSON service that the project has no client of, for example `Logs_20140328.PutLogEvents`.
    pub(crate) fn call(&self, target: &str, body: &serde_json::Value) -> serde_json::Value {
        let port = self.endpoint.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).unwrap();
        // moto finds the service in the credential's scope and checks nothing.
        let service = target.split('_').next().unwrap().to_lowercase();
        let headers = format!(
            "X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=any/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0\r\n"
        );
        let (status, answer) = ask(port, "POST /", &headers, &body.to_string()).unwrap();
        assert_eq!(status, 200, "{target} fails: {answer}");
        if answer.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&answer).unwrap() }
    }
}

/// Asks moto for its own settings, which only moto has.
fn answers(port: u16) -> Result<(), String> {
    let (status, answer) = ask(port, "GET /moto-api/config", "", "").map_err(|error| error.to_string())?;
    // It answers 201 to this GET.
    if matches!(status, 200 | 201) && answer.contains("batch") {
        return Ok(());
    }
    Err(format!("it answers {status} {answer}"))
}

/// One HTTP request; its status and body.
fn ask(port: u16, request: &str, headers: &str, body: &str) -> std::io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    connection.set_read_timeout(Some(ASK))?;
    let length = body.len();
    write!(
        connection,
        "{request} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())))
}
