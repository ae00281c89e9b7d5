//! moto: Firehose that writes to its own S3, CloudWatch Logs that writes to its own Kinesis, STS, EC2 and more, with
//! what `moto_plus.py` adds.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

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

/// Asks moto for its own state, which only moto has.
fn answers(port: u16) -> Result<(), String> {
    let ask = || {
        let mut connection = TcpStream::connect(("127.0.0.1", port))?;
        connection.set_read_timeout(Some(ASK))?;
        write!(connection, "GET /moto-api/config HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).map(|_| answer)
    };
    let answer = ask().map_err(|error: std::io::Error| error.to_string())?;
    // It answers 201 to a GET.
    if answer.contains(" 201 ") && answer.contains("batch") { Ok(()) } else { Err(format!("it answers {answer}")) }
}
