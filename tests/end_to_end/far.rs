//! The far ends as somebody else sees them: an independent consumer of the topic, the objects in a bucket.

use std::time::Duration;

use aws_sdk_firehose::types::{CompressionFormat, ExtendedS3DestinationConfiguration};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::support::json_lines;
use crate::stack;

/// How long a broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message: where it is, its key, its headers, its event.
pub(crate) struct Message {
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) event: Value,
}

/// Everything in a topic: partition by partition, in order.
pub(crate) fn topic(brokers: &str, topic: &str) -> Vec<Message> {
    let config = [("bootstrap.servers", brokers), ("group.id", "reader"), ("enable.auto.commit", "false")];
    let config: ClientConfig = config.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let mut messages = Vec::new();
    for partition in metadata.topics()[0].partitions().iter().map(|partition| partition.id()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
        consumer.assign(&list).unwrap();
        let mut next = low;
        while next < high {
            let message = consumer.poll(PATIENCE).expect("there are more messages").unwrap();
            next = message.offset() + 1;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            messages.push(Message {
                key: message.key().map(text),
                headers: headers.map(|header| (header.key.to_owned(), text(header.value.unwrap()))).collect(),
                event: serde_json::from_slice(message.payload().unwrap()).unwrap(),
            });
        }
    }
    messages
}

/// Every object below a prefix, in the order of names: its key, its lines. What begins with `_` is not data.
pub(crate) fn bucket(client: &aws_sdk_s3::Client, bucket: &str, prefix: &str) -> Vec<(String, Vec<Value>)> {
    let list = client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
    let pages = stack::block_on(list.collect::<Result<Vec<_>, _>>()).unwrap();
    let objects = pages.into_iter().flat_map(|page| page.contents.unwrap_or_default());
    let keys = objects.filter_map(|object| object.key);
    let keys = keys.filter(|key| !key.split('/').any(|part| part.starts_with('_')));
    keys.map(|key| {
        let body = stack::block_on(async {
            let got = client.get_object().bucket(bucket).key(&key).send().await.unwrap();
            got.body.collect().await.unwrap().to_vec()
        });
        let plain = if key.ends_with(".gz") {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&body[..]), &mut plain).unwrap();
            plain
        } else {
            body
        };
        (key, json_lines(&plain))
    })
    .collect()
}

/// A Firehose stream of moto's that delivers to a bucket of its own.
pub(crate) struct Hose {
    pub(crate) name: String,
    s3: aws_sdk_s3::Client,
}

impl Hose {
    pub(crate) fn new() -> Hose {
        let config = stack::aws(&stack::moto().endpoint, "any", "key");
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let hose = Hose { name: stack::unique("vpn"), s3: aws_sdk_s3::Client::from_conf(s3) };
        let to = ExtendedS3DestinationConfiguration::builder()
            .role_arn("arn:aws:iam::123456789012:role/firehose")
            .bucket_arn(format!("arn:aws:s3:::{}", hose.name))
            .compression_format(CompressionFormat::Uncompressed)
            .build()
            .unwrap();
        let create = aws_sdk_firehose::Client::new(&config).create_delivery_stream().delivery_stream_name(&hose.name);
        stack::block_on(async {
            hose.s3.create_bucket().bucket(&hose.name).send().await.unwrap();
            create.extended_s3_destination_configuration(to).send().await.unwrap();
        });
        hose
    }

    /// Everything that it has delivered.
    pub(crate) fn events(&self) -> Vec<Value> {
        bucket(&self.s3, &self.name, "").into_iter().flat_map(|(_, events)| events).collect()
    }
}
