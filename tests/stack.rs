//! The test stack itself: each part answers a real client as the real service would, two of a kind do not disturb each
//! other, and none outlives the process that started it.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "stack/mod.rs"]
mod stack;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_s3::error::ProvideErrorMetadata;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

/// For what must happen: far more than it ever takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let poll = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, poll).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

/// The answers of a shard from its oldest record, to the first that says no more than `enough`.
async fn read_shard(
    client: &aws_sdk_kinesis::Client,
    stream: &str,
    shard: &str,
    enough: impl Fn(&GetRecordsOutput) -> bool,
) -> Vec<GetRecordsOutput> {
    let request = client.get_shard_iterator().stream_name(stream).shard_id(shard);
    let iterator = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let mut next = iterator.shard_iterator;
    let mut answers = Vec::new();
    let read = async {
        while let Some(iterator) = next.take() {
            let answer = client.get_records().shard_iterator(iterator).send().await.unwrap();
            next.clone_from(&answer.next_shard_iterator);
            let done = enough(&answer);
            answers.push(answer);
            if done {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the shard is read in time");
    answers
}

#[tokio::test]
async fn a_split_shard_of_kinesis_ends_and_names_its_children() {
    let kinesis = stack::kinesis();
    let (client, stream) = (kinesis.client(), kinesis.stream(1));
    let shards = client.list_shards().stream_name(&stream).send().await.unwrap();
    let parent = shards.shards()[0].shard_id().to_owned();
    let put = client.put_record().stream_name(&stream).partition_key("p").data(b"before".to_vec().into());
    put.send().await.unwrap();

    let middle = (1_u128 << 127).to_string();
    let split = client.split_shard().stream_name(&stream).shard_to_split(&parent).new_starting_hash_key(middle);
    split.send().await.unwrap();
    stack::active(&client, &stream).await;

    let answers = read_shard(&client, &stream, &parent, |_| false).await;
    let data: Vec<_> =
        answers.iter().flat_map(GetRecordsOutput::records).map(|record| record.data().as_ref()).collect();
    assert_eq!(data, [b"before"]);
    assert_eq!(answers.last().unwrap().child_shards().len(), 2);
}

#[tokio::test]
async fn s3_checks_signatures_and_permissions_and_conditions() {
    let s3 = stack::s3();
    let (client, bucket) = (s3.client(), s3.bucket());
    let put = client.put_object().bucket(&bucket).key("a/b").body(b"content".to_vec().into());
    put.send().await.unwrap();
    let got = client.get_object().bucket(&bucket).key("a/b").send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"content");

    let again = client.put_object().bucket(&bucket).key("a/b").if_none_match("*").send().await.unwrap_err();
    assert_eq!(again.code(), Some("PreconditionFailed"), "{again:?}");
    let elsewhere = client.put_object().bucket("nobody-made-this").key("k").send().await.unwrap_err();
    assert_eq!(elsewhere.code(), Some("NoSuchBucket"), "{elsewhere:?}");
    for (access, secret, code) in
        [(s3.access_key.as_str(), "wrong", "SignatureDoesNotMatch"), (stack::READER.0, stack::READER.1, "AccessDenied")]
    {
        let other = aws_sdk_s3::Client::new(&stack::aws(&s3.endpoint, access, secret));
        let refused = other.put_object().bucket(&bucket).key("c").send().await.unwrap_err();
        assert_eq!(refused.code(), Some(code), "{refused:?}");
    }
    let listed = client.list_objects_v2().bucket(&bucket).send().await.unwrap();
    assert_eq!(listed.contents().len(), 1, "nothing that was refused is there");
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing_and_a_completed_one_its_parts() {
    let s3 = stack::s3();
    let (client, bucket) = (s3.client(), s3.bucket());
    for (key, complete) in [("aborted", false), ("completed", true)] {
        let upload = client.create_multipart_upload().bucket(&bucket).key(key).send().await.unwrap();
        let id = upload.upload_id().unwrap();
        let part = client.upload_part().bucket(&bucket).key(key).upload_id(id).part_number(1);
        let part = part.body(b"a part".to_vec().into()).send().await.unwrap();
        if complete {
            let part = aws_sdk_s3::types::CompletedPart::builder().part_number(1).set_e_tag(part.e_tag).build();
            let parts = aws_sdk_s3::types::CompletedMultipartUpload::builder().parts(part).build();
            let complete = client.complete_multipart_upload().bucket(&bucket).key(key).upload_id(id);
            complete.multipart_upload(parts).send().await.unwrap();
        } else {
            client.abort_multipart_upload().bucket(&bucket).key(key).upload_id(id).send().await.unwrap();
        }
    }
    let listed = client.list_objects_v2().bucket(&bucket).send().await.unwrap();
    let keys: Vec<_> = listed.contents().iter().filter_map(|object| object.key()).collect();
    assert_eq!(keys, ["completed"]);
    let open = client.list_multipart_uploads().bucket(&bucket).send().await.unwrap();
    assert!(open.uploads().is_empty(), "{open:?}");
}

#[tokio::test]
async fn firehose_of_moto_writes_into_its_s3() {
    let config = stack::aws(&stack::moto().endpoint, "any", "key");
    let (bucket, stream) = (stack::unique("bucket"), stack::unique("delivery"));
    let s3 = aws_sdk_s3::Client::new(&config);
    s3.create_bucket().bucket(&bucket).send().await.unwrap();
    let firehose = aws_sdk_firehose::Client::new(&config);
    let destination = aws_sdk_firehose::types::ExtendedS3DestinationConfiguration::builder()
        .bucket_arn(format!("arn:aws:s3:::{bucket}"))
        .role_arn("arn:aws:iam::123456789012:role/firehose")
        .build()
        .unwrap();
    let made = firehose.create_delivery_stream().delivery_stream_name(&stream);
    made.extended_s3_destination_configuration(destination).send().await.unwrap();
    let record = |text: &str| {
        let data = text.as_bytes().to_vec().into();
        aws_sdk_firehose::types::Record::builder().data(data).build().unwrap()
    };
    let put = firehose.put_record_batch().delivery_stream_name(&stream).records(record("one\n"));
    let answer = put.records(record("two\n")).send().await.unwrap();
    assert_eq!(answer.failed_put_count(), 0);

    let listed = s3.list_objects_v2().bucket(&bucket).send().await.unwrap();
    let [object] = listed.contents() else { panic!("not one object: {listed:?}") };
    let got = s3.get_object().bucket(&bucket).key(object.key().unwrap()).send().await.unwrap();
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"one\ntwo\n");
}

#[tokio::test]
async fn log_events_of_moto_reach_its_kinesis_as_gzip_envelopes() {
    let moto = stack::moto();
    let client = aws_sdk_kinesis::Client::new(&stack::aws(&moto.endpoint, "any", "key"));
    let (group, stream) = (stack::unique("/aws/vendedlogs/vpn"), stack::unique("logs"));
    client.create_stream().stream_name(&stream).shard_count(1).send().await.unwrap();
    stack::active(&client, &stream).await;
    let call = |operation: &str, body| moto.call(&format!("Logs_20140328.{operation}"), &body);
    call("CreateLogGroup", json!({"logGroupName": group}));
    call("CreateLogStream", json!({"logGroupName": group, "logStreamName": "s-BGP.log"}));
    let destination = format!("arn:aws:kinesis:{}:123456789012:stream/{stream}", stack::REGION);
    call(
        "PutSubscriptionFilter",
        json!({"logGroupName": group, "filterName": "all", "filterPattern": "", "destinationArn": destination,
            "roleArn": "arn:aws:iam::123456789012:role/logs"}),
    );
    // Events of long ago are refused.
    let time_ms = std::process::Command::new("date").arg("+%s000").output().unwrap().stdout;
    let time_ms: u64 = String::from_utf8(time_ms).unwrap().trim().parse().unwrap();
    call(
        "PutLogEvents",
        json!({"logGroupName": group, "logStreamName": "s-BGP.log",
            "logEvents": [{"timestamp": time_ms, "message": "a line"}]}),
    );

    let shards = client.list_shards().stream_name(&stream).send().await.unwrap();
    let found = |answer: &GetRecordsOutput| {
        answer.records().iter().any(|record| envelope(record.data().as_ref())["messageType"] == "DATA_MESSAGE")
    };
    let answers = read_shard(&client, &stream, shards.shards()[0].shard_id(), found).await;
    let envelope = envelope(answers.last().unwrap().records().last().unwrap().data().as_ref());
    assert_eq!((&envelope["logGroup"], &envelope["logStream"]), (&json!(group), &json!("s-BGP.log")));
    let event = &envelope["logEvents"][0];
    assert_eq!((&event["message"], &event["timestamp"]), (&json!("a line"), &json!(time_ms)));
    assert_eq!(event["id"].as_str().unwrap().len(), 56, "{event}");
}

fn envelope(data: &[u8]) -> serde_json::Value {
    let mut text = String::new();
    flate2::read::GzDecoder::new(data).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The ways to reach a broker.
fn doors(kafka: &stack::Kafka) -> Vec<(&'static str, ClientConfig)> {
    let config = |address: &str, settings: &[(&str, &str)]| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address);
        config.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        config
    };
    let (ca, certificate, key) =
        (kafka.ca.to_str().unwrap(), kafka.certificate.to_str().unwrap(), kafka.key.to_str().unwrap());
    let tls = [("security.protocol", "ssl"), ("ssl.ca.location", ca)];
    let own = [("ssl.certificate.location", certificate), ("ssl.key.location", key)];
    let login = [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", ca),
        ("sasl.username", kafka.user.as_str()),
        ("sasl.password", kafka.password.as_str()),
    ];
    let sasl = |mechanism| config(&kafka.sasl_tls, &[&login[..], &[("sasl.mechanism", mechanism)]].concat());
    vec![
        ("plain", config(&kafka.plain, &[])),
        ("tls", config(&kafka.tls, &tls)),
        ("mutual tls", config(&kafka.mutual_tls, &[tls, own].concat())),
        ("scram-sha-512", sasl("SCRAM-SHA-512")),
        ("scram-sha-256", sasl("SCRAM-SHA-256")),
        ("plain login", sasl("PLAIN")),
    ]
}

async fn produce(config: &ClientConfig, topic: &str, text: &str) {
    let producer: FutureProducer = config.create().unwrap();
    let sent = producer.send(FutureRecord::<(), _>::to(topic).payload(text), PATIENCE).await;
    sent.unwrap_or_else(|(error, _)| panic!("{text}: {error}"));
}

/// The first `count` messages of a topic of one partition.
fn consume(config: &ClientConfig, topic: &str, count: usize) -> Vec<String> {
    let consumer: BaseConsumer = config.clone().set("group.id", "reads").create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let next = |_| {
        let message = consumer.poll(PATIENCE).unwrap_or_else(|| panic!("{topic} has fewer messages")).unwrap();
        String::from_utf8_lossy(message.payload().unwrap()).into_owned()
    };
    (0..count).map(next).collect()
}

#[tokio::test]
async fn kafka_is_reached_by_every_listener_and_login() {
    let kafka = stack::secure_kafka();
    let topic = kafka.topic(1);
    let doors = doors(kafka);
    for (name, config) in &doors {
        produce(config, &topic, name).await;
    }
    let names: Vec<&str> = doors.iter().map(|(name, _)| *name).collect();
    for (_, config) in &doors {
        assert_eq!(consume(config, &topic, names.len()), names);
    }
}

#[test]
fn kafka_refuses_a_wrong_password_a_stranger_and_an_unknown_topic() {
    let kafka = stack::secure_kafka();
    let topic = kafka.topic(1);
    for (name, mut config) in doors(kafka) {
        match name {
            "plain" => continue,
            "tls" => config.remove("ssl.ca.location"),
            "mutual tls" => config.remove("ssl.certificate.location").remove("ssl.key.location"),
            _ => config.set("sasl.password", "wrong"),
        };
        let consumer: BaseConsumer = config.create().unwrap();
        let answer = consumer.fetch_metadata(Some(&topic), Duration::from_secs(3));
        assert!(answer.is_err(), "{name} lets anybody in");
    }
    let producer: FutureProducer = kafka.config().create().unwrap();
    let answer = producer.client().fetch_metadata(Some("nobody-made-this"), PATIENCE).unwrap();
    assert!(answer.topics()[0].error().is_some(), "an unknown topic is made");
}

#[tokio::test]
async fn a_broker_that_was_stopped_and_one_that_was_killed_keep_address_and_data() {
    let mut broker = stack::KafkaBroker::start();
    let (topic, config) = (broker.topic(1), broker.config());
    produce(&config, &topic, "first").await;
    broker.stop();
    assert!(std::net::TcpStream::connect(&broker.plain).is_err(), "it is stopped");
    broker.start_again();
    produce(&config, &topic, "after a stop").await;
    broker.kill();
    broker.start_again();
    produce(&config, &topic, "after a crash").await;
    assert_eq!(consume(&config, &topic, 3), ["first", "after a stop", "after a crash"]);
}

#[tokio::test]
async fn two_of_a_kind_know_nothing_of_each_other() {
    let (one, two) = (stack::KinesisLocal::start(), stack::KinesisLocal::start());
    let stream = one.stream(1);
    let of = async |kinesis: &stack::KinesisLocal| {
        kinesis.client().list_streams().send().await.unwrap().stream_names().to_vec()
    };
    assert_eq!((of(&one).await, of(&two).await), (vec![stream], vec![]));
    let (one, two) = (stack::S3::start(), stack::S3::start());
    let bucket = one.bucket();
    let there = async |s3: &stack::S3| s3.client().head_bucket().bucket(&bucket).send().await.is_ok();
    assert_eq!((there(&one).await, there(&two).await), (true, false));
}

/// Marks the process that is told of somebody's own endpoints.
const GUEST: &str = "TUNNELOG_STACK_GUEST";

#[test]
fn somebodys_own_endpoints_are_used_in_place_of_starting_one() {
    if std::env::var_os(GUEST).is_some() {
        let (moto, kinesis, s3, kafka) = (stack::moto(), stack::kinesis(), stack::s3(), stack::kafka());
        println!("\nuses {} {} {} {}", moto.endpoint, kinesis.endpoint, s3.endpoint, kafka.plain);
        return;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "somebodys_own_endpoints_are_used_in_place_of_starting_one", "--nocapture"]);
    command.env(GUEST, "1").env("TUNNELOG_TEST_MOTO", "http://moto").env("TUNNELOG_TEST_KINESIS", "http://kinesis");
    command.env("TUNNELOG_TEST_S3", "http://s3").env("TUNNELOG_TEST_S3_ACCESS_KEY", "a");
    let done = command.env("TUNNELOG_TEST_KAFKA", "kafka:1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("TUNNELOG_TEST_S3 is set, TUNNELOG_TEST_S3_SECRET_KEY is not"), "{said}");

    let done = command.env("TUNNELOG_TEST_S3_SECRET_KEY", "s").output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains("uses http://moto http://kinesis http://s3 kafka:1"), "{said}");
}

/// Marks the process that starts the parts and is killed.
const OWNER: &str = "TUNNELOG_STACK_OWNER";

#[tokio::test]
async fn parts_end_when_their_owner_is_killed() {
    if std::env::var_os(OWNER).is_some() {
        own_until_killed();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut owner = owner(folder.path());
    let mut said = BufReader::new(owner.stdout.take().unwrap());
    let mut addresses = Vec::new();
    while addresses.len() < 4 {
        let mut line = String::new();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "the owner ended before it was killed");
        addresses.extend(line.trim().strip_prefix("at ").map(str::to_owned));
    }
    let open = |address: &String| std::net::TcpStream::connect(address).is_ok();
    assert!(addresses.iter().all(open), "{addresses:?}");
    assert!(processes_of(folder.path()).len() >= 4);

    // SIGKILL: nothing of the owner can clean up.
    owner.kill().unwrap();
    owner.wait().unwrap();
    until("no port is open", || !addresses.iter().any(open)).await;
    until("no process is left", || processes_of(folder.path()).is_empty()).await;
    until("no folder is left", || std::fs::read_dir(folder.path()).unwrap().next().is_none()).await;
}

/// This test again, in a process of its own whose parts have their folders in `folder`.
fn owner(folder: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "parts_end_when_their_owner_is_killed", "--nocapture"]);
    command.env(OWNER, "1").env("TMPDIR", folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn own_until_killed() {
    let (moto, kinesis, s3) = (stack::Moto::start(), stack::KinesisLocal::start(), stack::S3::start());
    let kafka = stack::KafkaBroker::start();
    for endpoint in [&moto.endpoint, &kinesis.endpoint, &s3.endpoint, &kafka.plain] {
        println!("\nat {}", endpoint.trim_start_matches("http://"));
    }
    // Ends by itself if the test that started it does.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The processes whose command names a folder.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let commands = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let number = entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
        // A process may end between the two looks.
        let command = number.then(|| std::fs::read(entry.path().join("cmdline")).ok()).flatten()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    commands.filter(|command| command.contains(folder)).collect()
}
