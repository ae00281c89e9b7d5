//! The far ends: a topic of a real broker or of librdkafka's mock, read by a consumer of our own making.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfig as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tunnelog::config::types::{KafkaCompression, KafkaKey, KafkaSink};
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::encode::DeadLetter;
use tunnelog::sink::rejects::MemoryRejects;
use tunnelog::sink::{Context, Sink, kafka};

use super::contract::Destination;
use super::stack;
use super::support::{json_lines, text};

/// No answer of a broker takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) time_ms: Option<i64>,
    pub(crate) payload: Vec<u8>,
}

/// Reads a topic from its beginning, partition by partition in order.
pub(crate) struct Reading {
    consumer: BaseConsumer,
    topic: String,
    seen: Vec<Seen>,
    next: BTreeMap<i32, i64>,
}

impl Reading {
    pub(crate) fn new(brokers: &str, topic: &str, partitions: i32) -> Reading {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "reading").set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest").set("reconnect.backoff.max.ms", "500");
        // Looked at after every word of the sink: nobody waits for more.
        config.set("fetch.wait.max.ms", "5").set("fetch.error.backoff.ms", "5");
        let consumer = BaseConsumer::from_config(&config).unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        let next = (0..partitions).map(|partition| (partition, 0)).collect();
        Reading { consumer, topic: topic.into(), seen: Vec::new(), next }
    }

    /// Everything that is there by now.
    pub(crate) fn all(&mut self) -> &[Seen] {
        let begun = tokio::time::Instant::now();
        let mut ends = BTreeMap::new();
        for partition in self.next.keys() {
            // A broker that has just started again does not know its partitions at once.
            let (_, end) = loop {
                match self.consumer.fetch_watermarks(&self.topic, *partition, PATIENCE) {
                    Ok(marks) => break marks,
                    Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
                }
            };
            ends.insert(*partition, end);
        }
        while self.next.iter().any(|(partition, next)| *next < ends[partition]) {
            assert!(begun.elapsed() < PATIENCE, "the consumer gets nothing: {:?} of {ends:?}", self.next);
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) else { continue };
            let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            self.next.insert(message.partition(), message.offset() + 1);
            self.seen.push(Seen {
                partition: message.partition(),
                key: message.key().map(utf8),
                headers: headers.map(|header| (header.key.to_owned(), utf8(header.value.unwrap()))).collect(),
                time_ms: message.timestamp().to_millis(),
                payload: message.payload().unwrap_or_default().to_vec(),
            });
        }
        &self.seen
    }
}

/// A sink with everything in it, that may fail quickly in a test.
pub(crate) fn config(brokers: &str, topic: &str) -> KafkaSink {
    let quick = [("reconnect.backoff.max.ms", "500"), ("socket.timeout.ms", "3000"), ("retry.backoff.max.ms", "300")];
    KafkaSink {
        brokers: vec![brokers.into()],
        topic: topic.into(),
        key: KafkaKey::default(),
        compression: KafkaCompression::default(),
        tls: None,
        sasl: None,
        librdkafka: quick.map(|(name, value)| (name.into(), value.into())).into(),
    }
}

pub(crate) fn context(rejects: &Arc<MemoryRejects>) -> Context {
    Context {
        pipeline: "test".into(),
        name: "sink".into(),
        folder: std::path::PathBuf::new(),
        store: "store".into(),
        rejects: Arc::clone(rejects) as _,
        own_bytes: tunnelog::sink::OWN_BYTES,
    }
}

/// Opens a sink from code that is not async.
pub(crate) fn open(rejects: &Arc<MemoryRejects>, config: &KafkaSink) -> Result<Box<dyn Sink>, String> {
    let schema = Some("tunnelog.event/1");
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(kafka::open(context(rejects), config, None, schema))
    })
    .map_err(|error| error.to_string())
}

/// A topic somewhere.
pub(crate) struct Topic {
    pub(crate) config: KafkaSink,
    pub(crate) rejects: Arc<MemoryRejects>,
    reading: Mutex<Reading>,
}

impl Topic {
    fn new(brokers: &str, topic: &str, partitions: i32) -> Topic {
        Topic {
            config: config(brokers, topic),
            rejects: Arc::default(),
            reading: Mutex::new(Reading::new(brokers, topic, partitions)),
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        tokio::task::block_in_place(|| self.reading.lock().unwrap().all().to_vec())
    }

    fn delivered(&self) -> Vec<String> {
        let lines = self.seen().into_iter().flat_map(|seen| [seen.payload, vec![b'\n']].concat()).collect::<Vec<u8>>();
        json_lines(&lines).iter().map(|line| text(line, "/id").to_owned()).collect()
    }
}

/// A topic of the real broker that the tests share.
pub(crate) struct Real(pub(crate) Topic);

impl Real {
    pub(crate) fn new(partitions: i32) -> Real {
        let broker = stack::kafka();
        let topic = tokio::task::block_in_place(|| broker.topic(partitions));
        Real(Topic::new(&broker.plain, &topic, partitions))
    }

    /// A topic of another broker.
    pub(crate) fn of(broker: &stack::Kafka, partitions: i32) -> Real {
        let topic = tokio::task::block_in_place(|| broker.topic(partitions));
        Real(Topic::new(&broker.plain, &topic, partitions))
    }

    /// The same sink, and its far end in a topic of this name, which is made now.
    pub(crate) fn on_topic(&self, topic: &str, partitions: i32) -> Real {
        tokio::task::block_in_place(|| stack::kafka().create_topic(topic, partitions));
        let there = Topic::new(&stack::kafka().plain, topic, partitions);
        Real(Topic { config: self.0.config.clone(), rejects: Arc::clone(&self.0.rejects), ..there })
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Real {
        self.0.config.librdkafka.insert(name.into(), value.into());
        self
    }

    pub(crate) fn uncompressed(mut self) -> Real {
        self.0.config.compression = KafkaCompression::None;
        self
    }

    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        self.0.rejects.letters()
    }
}

/// librdkafka's mock cluster: one broker that fails as it is told.
pub(crate) struct Mock {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(crate) topic: Topic,
}

impl Mock {
    pub(crate) fn new(partitions: i32) -> Mock {
        let cluster = MockCluster::new(1).unwrap();
        let name = stack::unique("mock");
        cluster.create_topic(&name, partitions, 1).unwrap();
        let topic = Topic::new(&cluster.bootstrap_servers(), &name, partitions);
        Mock { cluster, topic }
    }
}

macro_rules! destination {
    ($type:ty, $topic:tt, $break_down:expr, $mend:expr) => {
        impl Destination for $type {
            fn name(&self) -> String {
                format!("{} {}", stringify!($type), self.$topic.config.topic)
            }

            fn open(&self) -> Result<Box<dyn Sink>, String> {
                open(&self.$topic.rejects, &self.$topic.config)
            }

            fn delivered(&self) -> Vec<String> {
                self.$topic.delivered()
            }

            fn keeps_order(&self) -> bool {
                true
            }

            fn seals(&self) -> bool {
                false
            }

            fn break_down(&self) {
                $break_down(self)
            }

            fn mend(&self) {
                $mend(self)
            }

            /// A topic has no tail that tears.
            fn tear(&self) {}

            fn check_whole(&self) {}

            fn remember(&self, _: &[(LaneKey, LaneState)]) {}

            fn rejected(&self) -> usize {
                self.$topic.rejects.letters().len()
            }

            fn silence(&self) -> Duration {
                Duration::from_secs(15)
            }
        }
    };
}

destination!(Real, 0, |_: &Real| unreachable!("the broker is shared"), |_: &Real| unreachable!());
destination!(Mock, topic, |mock: &Mock| mock.cluster.broker_down(1).unwrap(), |mock: &Mock| mock
    .cluster
    .broker_up(1)
    .unwrap());
