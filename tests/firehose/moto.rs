//! Before moto: what arrives is read back from the bucket that the stream delivers to.

use aws_sdk_firehose::types::{CompressionFormat, ExtendedS3DestinationConfiguration};
use tunnelog::config::types::Pack;

use super::destination::{Firehose, plain};
use super::server::Server;
use super::stack;
use super::{clauses, contract};

/// A stream of moto's that delivers to a bucket of its own.
pub(crate) struct Delivery {
    pub(crate) stream: String,
    bucket: String,
    s3: aws_sdk_s3::Client,
}

impl Delivery {
    pub(crate) fn new() -> Delivery {
        let config = stack::aws(&stack::moto().endpoint, "any", "key");
        let name = stack::unique("vpn");
        let s3 = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let delivery = Delivery { stream: name.clone(), bucket: name, s3: aws_sdk_s3::Client::from_conf(s3) };
        let firehose = aws_sdk_firehose::Client::new(&config);
        let to = ExtendedS3DestinationConfiguration::builder()
            .role_arn("arn:aws:iam::123456789012:role/firehose")
            .bucket_arn(format!("arn:aws:s3:::{}", delivery.bucket))
            .compression_format(CompressionFormat::Uncompressed)
            .build()
            .unwrap();
        stack::block_on(async {
            delivery.s3.create_bucket().bucket(&delivery.bucket).send().await.unwrap();
            let create = firehose.create_delivery_stream().delivery_stream_name(&delivery.stream);
            create.extended_s3_destination_configuration(to).send().await.unwrap();
        });
        delivery
    }

    /// All objects, one after another.
    pub(crate) fn read_back(&self) -> Vec<u8> {
        stack::block_on(async {
            let mut bytes = Vec::new();
            let mut pages = self.s3.list_objects_v2().bucket(&self.bucket).into_paginator().send();
            while let Some(page) = pages.next().await {
                for object in page.unwrap().contents() {
                    let get = self.s3.get_object().bucket(&self.bucket).key(object.key().unwrap());
                    // An object of compressed records is read as one file.
                    bytes.extend(plain(&get.send().await.unwrap().body.collect().await.unwrap().to_vec()));
                }
            }
            bytes
        })
    }
}

fn before_moto(pack: Pack) -> Firehose {
    let delivery = Delivery::new();
    let server = Server::before(Some(&stack::moto().endpoint));
    Firehose::before(server, &delivery.stream.clone(), pack).reading_back(Box::new(move || delivery.read_back()))
}

clauses! {
    [before_moto(Pack::Auto)]
    everything_is_delivered_and_settled_in_order
    a_barrier_settles_all_that_is_on_the_way
    refused_batches_come_back_when_there_is_room
    a_rewind_repeats_a_whole_suffix_and_loses_nothing
    a_shutdown_in_the_middle_delivers_what_was_read_and_the_next_run_the_rest
    a_destination_that_fails_for_a_while_gets_everything_once
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_records_make_objects_that_any_tool_reads() {
    let destination = before_moto(Pack::Auto).compressing();
    contract::everything_is_delivered_and_settled_in_order(&destination).await;
    contract::a_destination_that_fails_for_a_while_gets_everything_once(&before_moto(Pack::Auto).compressing()).await;
}

/// Without our server between them: the SDK and moto alone, as a pipeline reaches a real stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_reached_without_anything_between() {
    let delivery = Delivery::new();
    let mut server = Server::start();
    server.endpoint = stack::moto().endpoint.clone();
    let stream = delivery.stream.clone();
    let destination =
        Firehose::before(server, &stream, Pack::Auto).reading_back(Box::new(move || delivery.read_back()));
    contract::everything_is_delivered_and_settled_in_order(&destination).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_moto_does_not_have_is_named() {
    use super::contract::Destination as _;
    let server = Server::before(Some(&stack::moto().endpoint));
    let text = Firehose::before(server, "nobody", Pack::Auto).open().err().expect("it must not open");
    assert!(text.contains("delivery stream `nobody` in us-east-1") && text.contains("create it"), "{text}");
}
