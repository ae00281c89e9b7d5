//! A Kinesis for a test: ferrokinesis in this process behind the proxy, or kinesis-local; and streams in it.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::StreamStatus;
use ferrokinesis::store::StoreOptions;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tunnelog::config::types::{Consumer, Kinesis, Start};
use tunnelog::source::kinesis::{KinesisSource, open};
use tunnelog::source::{Feed, Reader, ShardEvent, ShardId, Source as _, SourceError, StartAt};

use super::proxy::Proxy;
use super::stack;

/// How long something that must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    /// What the source is opened with.
    pub(crate) sdk: SdkConfig,
    proxy: Option<Arc<Proxy>>,
    _tasks: JoinSet<()>,
}

/// ferrokinesis behind the proxy.
pub(crate) async fn ferro() -> Bench {
    let options = StoreOptions {
        create_stream_ms: 0,
        delete_stream_ms: 0,
        update_stream_ms: 0,
        shard_limit: 1_000,
        ..StoreOptions::default()
    };
    let (app, _store) = ferrokinesis::create_app(options);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        ferrokinesis::serve_plain_http(listener, app, std::future::pending()).await.unwrap();
    });
    let proxy = Proxy::start(&mut tasks, upstream).await;
    let client = Client::new(&stack::aws(&format!("http://{upstream}"), "any", "key"));
    let sdk = stack::aws(&format!("http://{}", proxy.address), "any", "key");
    Bench { name: "ferrokinesis", client, sdk, proxy: Some(proxy), _tasks: tasks }
}

/// kinesis-local, which all tests share.
pub(crate) async fn local() -> Bench {
    let local = tokio::task::spawn_blocking(stack::kinesis).await.unwrap();
    let sdk = stack::aws(&local.endpoint, "any", "key");
    Bench { name: "kinesis-local", client: local.client(), sdk, proxy: None, _tasks: JoinSet::new() }
}

/// kinesis-local over TLS, so HTTP/2.
pub(crate) async fn local_h2() -> Bench {
    use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
    use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
    let local = tokio::task::spawn_blocking(stack::kinesis).await.unwrap();
    let trusted = TrustStore::empty().with_pem_certificate(local.certificate.clone());
    let context = TlsContext::builder().with_trust_store(trusted).build().unwrap();
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
    let http = http.tls_context(context).build_https();
    let sdk = stack::aws(&local.tls_endpoint, "any", "key").into_builder().http_client(http).build();
    Bench { name: "kinesis-local over HTTP/2", client: local.client(), sdk, proxy: None, _tasks: JoinSet::new() }
}

impl Bench {
    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().expect("only ferrokinesis has the proxy")
    }

    /// A new stream.
    pub(crate) async fn stream(&self, shards: i32) -> String {
        let name = stack::unique("stream");
        self.create(&name, shards).await;
        name
    }

    pub(crate) async fn create(&self, name: &str, shards: i32) {
        self.client.create_stream().stream_name(name).shard_count(shards).send().await.unwrap();
        self.active(name).await;
    }

    pub(crate) async fn active(&self, stream: &str) {
        until("the stream is active", async || {
            let answer = self.client.describe_stream_summary().stream_name(stream).send().await.unwrap();
            answer.stream_description_summary().unwrap().stream_status() == &StreamStatus::Active
        })
        .await;
    }

    pub(crate) async fn put(&self, stream: &str, key: &str, data: &[u8]) {
        let call = self.client.put_record().stream_name(stream).partition_key(key).data(Blob::new(data));
        call.send().await.unwrap();
    }

    /// Splits a shard in the middle.
    pub(crate) async fn split(&self, stream: &str, shard: &str) {
        let shards = self.client.list_shards().stream_name(stream).send().await.unwrap();
        let found = shards.shards().iter().find(|listed| listed.shard_id() == shard).unwrap();
        let range = found.hash_key_range().unwrap();
        let number = |text: &str| text.parse::<u128>().unwrap();
        let (first, last) = (number(range.starting_hash_key()), number(range.ending_hash_key()));
        let middle = (first + (last - first) / 2).to_string();
        let call = self.client.split_shard().stream_name(stream).shard_to_split(shard).new_starting_hash_key(middle);
        call.send().await.unwrap();
        self.active(stream).await;
    }

    pub(crate) async fn merge(&self, stream: &str, shard: &str, adjacent: &str) {
        let call = self.client.merge_shards().stream_name(stream).shard_to_merge(shard);
        call.adjacent_shard_to_merge(adjacent).send().await.unwrap();
        self.active(stream).await;
    }

    pub(crate) async fn open(&self, stream: &str) -> KinesisSource {
        open("main", &config(stream), &self.sdk).await.unwrap()
    }

    /// The source, and the shards that it announces first.
    pub(crate) async fn opened(&self, stream: &str, shards: usize) -> (KinesisSource, Vec<ShardId>) {
        self.opened_as(&config(stream), shards).await
    }

    pub(crate) async fn opened_as(&self, config: &Kinesis, shards: usize) -> (KinesisSource, Vec<ShardId>) {
        let mut source = open("main", config, &self.sdk).await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < shards {
            ids.push(announced(&mut source).await.0);
        }
        (source, ids)
    }
}

pub(crate) fn config(stream: &str) -> Kinesis {
    Kinesis { stream: stream.into(), start: Start::TrimHorizon, timestamp: None, consumer: None }
}

/// With enhanced fan-out, by a consumer that no other source has.
pub(crate) fn fan_out(stream: &str) -> Kinesis {
    let consumer = Consumer { enhanced_fan_out: stack::unique("consumer") };
    Kinesis { consumer: Some(consumer), ..config(stream) }
}

/// The next shard, its parents and where it starts.
pub(crate) async fn announced(source: &mut KinesisSource) -> (ShardId, Vec<ShardId>, StartAt) {
    match news(source).await {
        ShardEvent::Opened { shard, parents, start } => (shard, parents, start),
        other => panic!("{other:?}"),
    }
}

/// What the source says of a shard next.
pub(crate) async fn news(source: &mut KinesisSource) -> ShardEvent {
    loop {
        let next = tokio::time::timeout(PATIENCE, source.next()).await.expect("an announcement").unwrap().unwrap();
        if !matches!(next, ShardEvent::Complete { .. }) {
            return next;
        }
    }
}

/// Waits for something that another task does.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited too long: {what}"));
}

/// What a reader brought.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    pub(crate) data: Vec<Vec<u8>>,
    /// Errors that are to be tried again.
    pub(crate) errors: Vec<String>,
    pub(crate) gaps: Vec<String>,
    pub(crate) ended: bool,
}

/// Reads until there are so many records, or the shard ends.
pub(crate) async fn read(reader: &mut dyn Reader, records: usize) -> Brought {
    let mut brought = Brought::default();
    let reading = async {
        while brought.data.len() < records && !brought.ended {
            match reader.next().await {
                Ok(Feed::Records(records)) => brought.data.extend(records.iter().map(|record| record.data.to_vec())),
                Ok(Feed::Gap { reason, .. }) => brought.gaps.push(reason),
                Ok(Feed::ShardEnd) => brought.ended = true,
                Err(SourceError::Retry(reason)) => brought.errors.push(reason),
                Err(SourceError::Fatal(reason)) => panic!("{reason}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the records come");
    brought
}

/// Numbered records, in order.
pub(crate) fn numbered(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(|number| format!("record {number}").into_bytes()).collect()
}

/// Seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the service tells the age of its records by the wall clock")]
pub(crate) fn now_s() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Waits until a later second than this has begun: ferrokinesis keeps whole ones. Answers it.
pub(crate) async fn next_second() -> i64 {
    let before = now_s();
    until("the second passes", async || now_s() > before).await;
    now_s()
}
