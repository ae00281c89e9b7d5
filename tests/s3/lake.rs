//! A bucket of its own with the sink in front of it, as somebody else sees both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use tunnelog::config::types::{Compression, S3Sink};
use tunnelog::config::units;
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::sink::rejects::MemoryRejects;
use tunnelog::sink::s3::{self, Objects};
use tunnelog::sink::{Context, Sink};

use super::bench::Fate;
use super::contract::Destination;
use super::proxy::{Proxy, Verdict};
use super::stack;
use super::support::{json_lines, text};

/// When the process of a test dies: at the nth thing that it does to the outside, a request or a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) at: usize,
    /// What it did is done; it has not heard of it.
    pub(crate) after: bool,
}

#[derive(Default)]
struct Life {
    steps: usize,
    death: Option<Death>,
    dead: bool,
    /// What it died of.
    last: String,
}

impl Life {
    /// One more step. Whether it is done, and whether anybody hears of it.
    fn step(&mut self, what: &str) -> (bool, bool) {
        self.steps += 1;
        match self.death {
            _ if self.dead => (false, false),
            Some(death) if death.at == self.steps => {
                self.dead = true;
                self.last = what.to_owned();
                (death.after, false)
            }
            _ => (true, true),
        }
    }
}

/// See the module.
pub(crate) struct Lake {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// Its own folder in the bucket: a bucket of its own would cost SeaweedFS seconds.
    pub(crate) root: String,
    pub(crate) proxy: Proxy,
    pub(crate) config: S3Sink,
    pub(crate) objects: Objects,
    pub(crate) store: String,
    keys: (String, String),
    life: Arc<Mutex<Life>>,
    fenced: AtomicBool,
}

impl Lake {
    /// Another process before the same objects.
    pub(crate) fn twin(&self) -> Lake {
        let s3 = stack::s3();
        let twin = Lake::on(&s3.endpoint, (&self.keys.0, &self.keys.1), &self.bucket);
        Lake { root: self.root.clone(), config: self.config.clone(), objects: self.objects, ..twin }
    }

    /// Another process has the checkpoint store now.
    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::Relaxed);
    }

    /// On SeaweedFS.
    pub(crate) fn new() -> Lake {
        static BUCKET: OnceLock<String> = OnceLock::new();
        let s3 = stack::s3();
        Lake::on(&s3.endpoint, (&s3.access_key, &s3.secret_key), BUCKET.get_or_init(|| s3.bucket()))
    }

    pub(crate) fn on(endpoint: &str, keys: (&str, &str), bucket: &str) -> Lake {
        let client = Client::new(&stack::aws(endpoint, keys.0, keys.1));
        let (bucket, root) = (bucket.to_owned(), stack::unique("lake"));
        Lake {
            client,
            proxy: Proxy::new(endpoint),
            config: S3Sink {
                bucket: bucket.clone(),
                prefix: format!("{root}/vpn/dt={{yyyy}}-{{mm}}-{{dd}}/"),
                compression: Compression::Gzip,
                chunk: units::Size(1 << 20),
                window: units::Duration(Duration::from_millis(300)),
                partitions: 64,
                kms_key: None,
            },
            objects: Objects::Lines,
            bucket,
            root,
            store: "store-1".into(),
            keys: (keys.0.into(), keys.1.into()),
            life: Arc::default(),
            fenced: AtomicBool::new(false),
        }
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            pipeline: "bench".into(),
            name: "sink".into(),
            folder: ".".into(),
            store: self.store.as_str().into(),
            rejects: Arc::new(MemoryRejects::default()),
            own_bytes: tunnelog::sink::OWN_BYTES,
        }
    }

    pub(crate) fn aws(&self) -> aws_config::SdkConfig {
        stack::aws(&self.proxy.endpoint, &self.keys.0, &self.keys.1)
    }

    /// A new process, which may die.
    pub(crate) fn begin_life(&self, death: Option<Death>) {
        self.proxy.rest();
        *self.life.lock().unwrap() = Life { death, ..Life::default() };
        let life = Arc::clone(&self.life);
        self.proxy.judge(move |request| match life.lock().unwrap().step(request.operation()) {
            (true, true) => Verdict::Pass,
            (true, false) => Verdict::LoseAnswer,
            (false, _) => Verdict::Lose,
        });
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life.lock().unwrap().dead
    }

    /// What the process was doing when it died.
    pub(crate) fn died_of(&self) -> String {
        self.life.lock().unwrap().last.clone()
    }

    /// All keys, the marker's included.
    pub(crate) fn keys(&self) -> Vec<String> {
        let list = async {
            let mut pages =
                self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.root).into_paginator().send();
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                keys.extend(page.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()));
            }
            keys
        };
        stack::block_on(list)
    }

    /// The keys of objects with events, by lane and first record.
    pub(crate) fn objects(&self) -> Vec<String> {
        let mut keys = self.keys();
        keys.retain(|key| !key.contains("_tunnelog/"));
        keys.sort_by_key(|key| {
            let (lane, rest) = key.rsplit('/').next().unwrap().split_once('-').unwrap();
            (lane.to_owned(), rest.split('.').next().unwrap().parse::<u64>().unwrap(), key.clone())
        });
        keys
    }

    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        let get = async {
            let object = self.client.get_object().bucket(&self.bucket).key(key).send().await.unwrap();
            object.body.collect().await.unwrap().into_bytes().to_vec()
        };
        stack::block_on(get)
    }

    pub(crate) fn events(&self, key: &str) -> Vec<String> {
        let bytes = self.bytes(key);
        if key.ends_with(".parquet") {
            return parquet_ids(bytes);
        }
        let mut plain = Vec::new();
        match key.rsplit('.').next().unwrap() {
            // A reader of one member only.
            "gz" => drop(std::io::copy(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut plain).unwrap()),
            "zst" => zstd::stream::copy_decode(&bytes[..], &mut plain).unwrap(),
            _ => plain = bytes,
        }
        json_lines(&plain).iter().map(|line| text(line, "/id").to_owned()).collect()
    }

    /// Uploads that have begun and not ended: key and id.
    pub(crate) fn uploads(&self) -> Vec<(String, String)> {
        let list = stack::block_on(self.client.list_multipart_uploads().bucket(&self.bucket).prefix(&self.root).send())
            .unwrap();
        let names = |upload: &aws_sdk_s3::types::MultipartUpload| {
            (upload.key().unwrap().to_owned(), upload.upload_id().unwrap().to_owned())
        };
        list.uploads().iter().map(names).collect()
    }
}

impl Destination for Lake {
    fn name(&self) -> String {
        format!("s3 with {:?}, {:?}", self.objects, self.config.compression)
    }

    fn open(&self) -> Result<Box<dyn Sink>, String> {
        let aws = self.aws();
        let opened = s3::open(self.context(), &self.config, self.objects, &aws);
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(opened))
            .map_err(|error| error.to_string())
    }

    fn delivered(&self) -> Vec<String> {
        self.objects().iter().flat_map(|key| self.events(key)).collect()
    }

    /// A Parquet file's rows are sorted.
    fn keeps_order(&self) -> bool {
        self.objects == Objects::Lines
    }

    fn seals(&self) -> bool {
        true
    }

    fn break_down(&self) {
        self.proxy.judge(|_| Verdict::Lose);
    }

    fn mend(&self) {
        self.proxy.judge(|_| Verdict::Pass);
    }

    fn tear(&self) {}

    fn check_whole(&self) {
        self.delivered();
    }

    fn remember(&self, _: &[(LaneKey, LaneState)]) {}

    fn commit(&self) -> Fate {
        if self.fenced.load(Ordering::Relaxed) {
            return Fate::DiesBefore;
        }
        match self.life.lock().unwrap().step("commit") {
            (true, true) => Fate::Lives,
            (true, false) => Fate::DiesAfter,
            (false, _) => Fate::DiesBefore,
        }
    }

    /// Longer than the longest pause between tries.
    fn silence(&self) -> Duration {
        Duration::from_secs(35)
    }
}

/// The column `id` of a file, row by row, read by the library alone.
fn parquet_ids(bytes: Vec<u8>) -> Vec<String> {
    use arrow_array::cast::AsArray as _;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    let mut ids = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let column = batch.column_by_name("id").unwrap().as_string::<i32>();
        ids.extend(column.iter().map(|id| id.unwrap().to_owned()));
    }
    ids
}
