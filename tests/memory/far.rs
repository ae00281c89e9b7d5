//! What has arrived at each far end: which events, each counted once.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::stack::{self, KafkaBroker};

/// Ids of the events in some lines.
pub(crate) fn ids(lines: &[u8], found: &mut BTreeSet<[u8; 32]>) {
    const BEFORE: &[u8] = br#""id":""#;
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let at = line.windows(BEFORE.len()).position(|part| part == BEFORE).unwrap() + BEFORE.len();
        found.insert(line[at..at + 32].try_into().unwrap());
    }
}

/// A topic, read on from where it was read to.
pub(crate) struct Topic {
    consumer: BaseConsumer,
    found: BTreeSet<[u8; 32]>,
}

impl Topic {
    pub(crate) fn new(broker: &KafkaBroker, name: &str, partitions: i32) -> Topic {
        let consumer: BaseConsumer = broker.config().set("group.id", "none").create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..partitions {
            all.add_partition_offset(name, partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&all).unwrap();
        Topic { consumer, found: BTreeSet::new() }
    }

    pub(crate) fn count(&mut self) -> usize {
        while let Some(message) = self.consumer.poll(Duration::from_millis(200)) {
            ids(message.unwrap().payload().unwrap(), &mut self.found);
        }
        self.found.len()
    }
}

/// A bucket; each object is read once.
pub(crate) struct Bucket {
    name: String,
    client: aws_sdk_s3::Client,
    found: HashMap<String, BTreeSet<[u8; 32]>>,
}

impl Bucket {
    pub(crate) fn new(name: String) -> Bucket {
        Bucket { name, client: stack::s3().client(), found: HashMap::new() }
    }

    /// Events; it fails if one of them is in two objects.
    pub(crate) fn count(&mut self) -> usize {
        for key in self.keys() {
            if !self.found.contains_key(&key) {
                let get = self.client.get_object().bucket(&self.name).key(&key).send();
                let body = stack::block_on(async { get.await.unwrap().body.collect().await.unwrap().to_vec() });
                let (mut lines, mut own) = (Vec::new(), BTreeSet::new());
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut lines).unwrap();
                ids(&lines, &mut own);
                self.found.insert(key, own);
            }
        }
        let all: BTreeSet<&[u8; 32]> = self.found.values().flatten().collect();
        assert_eq!(all.len(), self.found.values().map(BTreeSet::len).sum::<usize>(), "an event is in two objects");
        all.len()
    }

    fn keys(&self) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(&self.name).prefix("vpn/kind").into_paginator().send();
        stack::block_on(async move {
            let mut keys = Vec::new();
            while let Some(page) = pages.next().await {
                keys.extend(page.unwrap().contents().iter().map(|object| object.key().unwrap().to_owned()));
            }
            keys
        })
    }
}
