//! kinesis-local: Kinesis Data Streams with shards that end and have children as in AWS.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::process::{Part, folder, free_port, given, installed, start};
use super::{aws, block_on, unique};

/// Streams have at most this many shards together; its own default is 50.
const SHARD_LIMIT: u32 = 1_000;

/// A kinesis-local. Any credentials are good; its account is 000000000000.
pub(crate) struct KinesisLocal {
    pub(crate) endpoint: String,
    /// HTTP/2, with this certificate (PEM). Not of one that was given.
    pub(crate) tls_endpoint: String,
    pub(crate) certificate: String,
    part: Option<Part>,
}

/// The one of this test process, or `TUNNELOG_TEST_KINESIS`.
pub(crate) fn kinesis() -> &'static KinesisLocal {
    static KINESIS: OnceLock<KinesisLocal> = OnceLock::new();
    KINESIS.get_or_init(|| match given("TUNNELOG_TEST_KINESIS") {
        Some(endpoint) => {
            KinesisLocal { tls_endpoint: endpoint.clone(), endpoint, certificate: String::new(), part: None }
        }
        None => KinesisLocal::start(),
    })
}

impl KinesisLocal {
    /// One for the caller alone, until it is dropped.
    pub(crate) fn start() -> KinesisLocal {
        start(|| {
            let (plain, tls) = (free_port(), free_port());
            let package = installed("kinesis-local/node_modules/kinesis-local");
            let folder = folder("kinesis");
            let (keys, certificate) = keys(&folder);
            let settings = [
                format!("KINESIS_MOCK_PLAIN_PORT={plain}"),
                format!("KINESIS_MOCK_TLS_PORT={tls}"),
                format!("KINESIS_MOCK_CERT_PATH={}", keys.display()),
                format!("SHARD_LIMIT={SHARD_LIMIT}"),
                // Its default of half a second for each of these makes tests wait for nothing.
                "CREATE_STREAM_DURATION=20ms".into(),
                "DELETE_STREAM_DURATION=20ms".into(),
                "SPLIT_SHARD_DURATION=20ms".into(),
                "MERGE_SHARDS_DURATION=20ms".into(),
                "UPDATE_SHARD_COUNT_DURATION=20ms".into(),
                "REGISTER_STREAM_CONSUMER_DURATION=20ms".into(),
                "LOG_LEVEL=WARN".into(),
            ];
            let program = ["node".into(), package.join("main.js").into()];
            let mut part = Part::start(
                "kinesis-local",
                &folder,
                ["env".into()].into_iter().chain(settings.map(Into::into)).chain(program),
            );
            let endpoint = format!("http://127.0.0.1:{plain}");
            let kinesis = aws_sdk_kinesis::Client::new(&aws(&endpoint, "any", "key"));
            part.wait(|| {
                let answer = block_on(kinesis.list_streams().send());
                answer.map(drop).map_err(|error| format!("{error:?}"))
            })?;
            let tls_endpoint = format!("https://localhost:{tls}");
            Ok(KinesisLocal { endpoint, tls_endpoint, certificate, part: Some(part) })
        })
    }

    /// A client with credentials that it accepts.
    pub(crate) fn client(&self) -> aws_sdk_kinesis::Client {
        aws_sdk_kinesis::Client::new(&aws(&self.endpoint, "any", "key"))
    }

    /// A new active stream of this many shards; its name.
    pub(crate) fn stream(&self, shards: i32) -> String {
        let (client, name) = (self.client(), unique("stream"));
        block_on(async {
            client.create_stream().stream_name(&name).shard_count(shards).send().await.unwrap();
            active(&client, &name).await;
        });
        name
    }
}

/// The file that it reads its key and certificate from, and the certificate. Its own is for no name at all.
fn keys(folder: &Path) -> (PathBuf, String) {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let done = openssl.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read = |file| std::fs::read_to_string(file).unwrap();
    let keys = serde_json::json!({"server": {"key": read(&key), "cert": read(&certificate)}});
    let file = folder.join("server.json");
    std::fs::write(&file, keys.to_string()).unwrap();
    (file, read(&certificate))
}

/// Waits until a stream can be used, after it was made, split or merged.
pub(crate) async fn active(client: &aws_sdk_kinesis::Client, stream: &str) {
    use aws_sdk_kinesis::types::StreamStatus;
    let ready = async {
        loop {
            let answer = client.describe_stream_summary().stream_name(stream).send().await.unwrap();
            if answer.stream_description_summary().unwrap().stream_status() == &StreamStatus::Active {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ready).await.expect("the stream becomes active");
}
