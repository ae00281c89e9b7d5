//! kinesis-local: Kinesis Data Streams with shards that end and have children as in AWS.

use std::sync::OnceLock;

use super::process::{Part, folder, free_port, given, installed, start};
use super::{aws, block_on, unique};

/// Streams have at most this many shards together; its own default is 50.
const SHARD_LIMIT: u32 = 1_000;

/// A kinesis-local. Any credentials are good; its account is 000000000000.
pub(crate) struct KinesisLocal {
    pub(crate) endpoint: String,
    part: Option<Part>,
}

/// The one of this test process, or `TUNNELOG_TEST_KINESIS`.
pub(crate) fn kinesis() -> &'static KinesisLocal {
    static KINESIS: OnceLock<KinesisLocal> = OnceLock::new();
    KINESIS.get_or_init(|| match given("TUNNELOG_TEST_KINESIS") {
        Some(endpoint) => KinesisLocal { endpoint, part: None },
        None => KinesisLocal::start(),
    })
}

impl KinesisLocal {
    /// One for the caller alone, until it is dropped.
    pub(crate) fn start() -> KinesisLocal {
        start(|| {
            let (plain, tls) = (free_port(), free_port());
            let package = installed("kinesis-local/node_modules/kinesis-local");
            let certificate = package.join("server.json");
            let settings = [
                format!("KINESIS_MOCK_PLAIN_PORT={plain}"),
                format!("KINESIS_MOCK_TLS_PORT={tls}"),
                format!("KINESIS_MOCK_CERT_PATH={}", certificate.display()),
                format!("SHARD_LIMIT={SHARD_LIMIT}"),
                // Its default of half a second for each of these makes tests wait for nothing.
                "CREATE_STREAM_DURATION=20ms".into(),
                "DELETE_STREAM_DURATION=20ms".into(),
                "SPLIT_SHARD_DURATION=20ms".into(),
                "MERGE_SHARDS_DURATION=20ms".into(),
                "UPDATE_SHARD_COUNT_DURATION=20ms".into(),
                "LOG_LEVEL=WARN".into(),
            ];
            let program = ["node".into(), package.join("main.js").into()];
            let mut part = Part::start(
                "kinesis-local",
                &folder("kinesis"),
                ["env".into()].into_iter().chain(settings.map(Into::into)).chain(program),
            );
            let endpoint = format!("http://127.0.0.1:{plain}");
            let kinesis = aws_sdk_kinesis::Client::new(&aws(&endpoint, "any", "key"));
            part.wait(|| {
                let answer = block_on(kinesis.list_streams().send());
                answer.map(drop).map_err(|error| format!("{error:?}"))
            })?;
            Ok(KinesisLocal { endpoint, part: Some(part) })
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
