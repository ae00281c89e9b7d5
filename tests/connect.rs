//! `check --connect` with the real binary: what is there, what is missing, what is out of reach, and whose the
//! credentials are. It writes nothing anywhere.
#![cfg(all(feature = "aws", feature = "kafka"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "stack/mod.rs"]
mod stack;
mod support;

use std::path::Path;
use std::process::Command;

use aws_sdk_firehose::types::{CompressionFormat, ExtendedS3DestinationConfiguration};
use support::program::{Done, Running, finish, run, tunnelog, wait_until};

/// A port that nothing listens on.
fn closed() -> String {
    format!("127.0.0.1:{}", stack::free_port())
}

/// The command with credentials of the S3, and nothing of this machine's own settings.
fn check(folder: &Path) -> Command {
    let s3 = stack::s3();
    let mut command = tunnelog(folder, &["check", "--connect", "p.yaml"]);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command.envs([
        ("AWS_ACCESS_KEY_ID", s3.access_key.as_str()),
        ("AWS_SECRET_ACCESS_KEY", s3.secret_key.as_str()),
        ("AWS_REGION", stack::REGION),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_ENDPOINT_URL_KINESIS", stack::kinesis().endpoint.as_str()),
        ("AWS_ENDPOINT_URL_FIREHOSE", stack::moto().endpoint.as_str()),
        ("AWS_ENDPOINT_URL_STS", stack::moto().endpoint.as_str()),
        ("AWS_ENDPOINT_URL_S3", s3.endpoint.as_str()),
    ]);
    command
}

/// What a pipeline names.
struct Names {
    stream: String,
    brokers: String,
    topic: String,
    delivery: String,
    bucket: String,
}

impl Names {
    fn made() -> Names {
        let (kafka, delivery) = (stack::kafka(), stack::unique("delivery"));
        let moto = aws_sdk_firehose::Client::new(&stack::aws(&stack::moto().endpoint, "any", "key"));
        let lake = ExtendedS3DestinationConfiguration::builder()
            .bucket_arn("arn:aws:s3:::lake")
            .role_arn("arn:aws:iam::123456789012:role/firehose")
            // AWS always answers with one; moto only if it was told.
            .compression_format(CompressionFormat::Uncompressed)
            .build();
        let call = moto.create_delivery_stream().delivery_stream_name(&delivery);
        stack::block_on(call.extended_s3_destination_configuration(lake.unwrap()).send()).unwrap();
        Names {
            stream: stack::kinesis().stream(1),
            brokers: kafka.plain.clone(),
            topic: kafka.topic(2),
            delivery,
            bucket: stack::s3().bucket(),
        }
    }

    fn write(&self, folder: &Path) {
        let Names { stream, brokers, topic, delivery, bucket } = self;
        let text = format!(
            "sources: {{ main: {{ kinesis: {{ stream: {stream} }} }} }}\n\
             sinks:\n  siem: {{ kafka: {{ brokers: [\"{brokers}\"], topic: {topic} }} }}\n  \
             firehose: {{ firehose: {{ stream: {delivery} }} }}\n  \
             lake: {{ s3: {{ bucket: {bucket}, prefix: \"vpn/dt={{yyyy}}/\" }} }}\n  \
             tty: {{ console: {{}} }}\n  local: {{ file: {{ path: out/x.ndjson }} }}\n\
             dead_letters: {{ s3: {{ bucket: {bucket}, prefix: dead/ }} }}\n"
        );
        std::fs::write(folder.join("p.yaml"), text).unwrap();
    }
}

/// The line of a part: its label and its text.
#[track_caller]
fn line(done: &Done, part: &str) -> (String, String) {
    let out = done.out();
    let found = out.lines().find_map(|line| {
        let (label, rest) = line.trim_start().split_once("  ")?;
        Some((label.to_owned(), rest.trim_start().strip_prefix(part)?.strip_prefix("  ")?.trim_start().to_owned()))
    });
    found.unwrap_or_else(|| panic!("no line of `{part}` in: {out}"))
}

#[track_caller]
fn expect(done: &Done, part: &str, label: &str, texts: &[&str]) {
    let (found, said) = line(done, part);
    assert_eq!(found.trim(), label, "{part}: {said}");
    for text in texts {
        assert!(said.contains(text), "`{text}` is missing in: {said}");
    }
}

#[test]
fn what_is_there_is_reached_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::made();
    names.write(folder.path());
    let done = finish(check(folder.path())).expect(0);
    expect(&done, "source main", "ok", &[&names.stream, "1 open shard"]);
    expect(&done, "sink siem", "ok", &[&names.topic, "2 partitions"]);
    expect(&done, "sink firehose", "ok", &[&names.delivery]);
    expect(&done, "sink lake", "ok", &[&names.bucket, "is taken at the first start"]);
    expect(&done, "sink tty", "ok", &["standard output"]);
    expect(&done, "sink local", "ok", &["out/x.ndjson is made"]);
    expect(&done, "dead letters", "ok", &[&names.bucket]);
    expect(&done, "checkpoint", "ok", &["state/p.redb is made at the first start"]);
    let who = "source main, sink firehose, sink lake, dead letters as arn:aws:";
    expect(&done, "aws", "ok", &[who]);
    let left: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["p.yaml"], "nothing is made here");
    let objects = stack::s3().client().list_objects_v2().bucket(&names.bucket).send();
    assert_eq!(stack::block_on(objects).unwrap().key_count(), Some(0), "nothing is written there");
}

#[test]
fn everything_that_is_missing_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names {
        stream: stack::unique("no-stream"),
        brokers: stack::kafka().plain.clone(),
        topic: stack::unique("no-topic"),
        delivery: stack::unique("no-delivery"),
        bucket: stack::unique("no-bucket"),
    };
    names.write(folder.path());
    let done = finish(check(folder.path())).expect(1);
    expect(&done, "source main", "fail", &["kinesis:DescribeStreamSummary", &names.stream, "create it, or correct"]);
    expect(&done, "sink siem", "fail", &[&names.topic, "create"]);
    expect(&done, "sink firehose", "fail", &["firehose:DescribeDeliveryStream", &names.delivery, "create it"]);
    expect(&done, "sink lake", "fail", &["s3:GetObject", &names.bucket, "create it"]);
    expect(&done, "dead letters", "fail", &[&names.bucket]);
    expect(&done, "sink tty", "ok", &[]);
}

#[test]
fn what_is_out_of_reach_is_named_and_keeps_nobody_else_from_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names { brokers: closed(), ..Names::made() };
    names.write(folder.path());
    let (kinesis, s3) = (format!("http://{}", closed()), format!("http://{}", closed()));
    let mut command = check(folder.path());
    command.env("AWS_ENDPOINT_URL_KINESIS", &kinesis).env("AWS_ENDPOINT_URL_S3", &s3);
    let done = finish(command).expect(1);
    expect(&done, "source main", "fail", &["kinesis:DescribeStreamSummary", "Connection refused"]);
    expect(&done, "sink siem", "fail", &[&names.brokers]);
    expect(&done, "sink lake", "fail", &["s3:GetObject", "Connection refused"]);
    expect(&done, "dead letters", "fail", &["Connection refused"]);
    expect(&done, "sink firehose", "ok", &[&names.delivery]);
}

#[test]
fn a_wrong_secret_is_told_as_such_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::made();
    names.write(folder.path());
    let mut command = check(folder.path());
    command.env("AWS_SECRET_ACCESS_KEY", "NEVER-SHOW-THIS");
    let done = finish(command).expect(1);
    expect(&done, "sink lake", "fail", &["SignatureDoesNotMatch", "check the credentials"]);
    expect(&done, "sink siem", "ok", &[]);
    assert!(!format!("{} {}", done.out(), done.err()).contains("NEVER-SHOW-THIS"));
}

#[test]
fn a_role_is_taken_on_at_sts_and_not_at_the_parts_own_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let stream = stack::kinesis().stream(1);
    let endpoint = &stack::kinesis().endpoint;
    let text = format!(
        "sources:\n  main:\n    kinesis: {{ stream: {stream} }}\n    aws:\n      endpoint: {endpoint}\n      \
         assume_role: arn:aws:iam::111122223333:role/vpn-log-reader\n      external_id: abc\n\
         sinks: {{ tty: {{ console: {{}} }} }}\n"
    );
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    let mut command = check(folder.path());
    command.env("AWS_ENDPOINT_URL_KINESIS", format!("http://{}", closed()));
    let done = finish(command).expect(0);
    expect(&done, "aws", "ok", &["source main as arn:aws:sts::111122223333:assumed-role/vpn-log-reader/tunnelog"]);
    expect(&done, "source main", "ok", &[&stream, endpoint]);

    // Without STS the role cannot be taken on: the part fails, and who it is cannot be said.
    let mut command = check(folder.path());
    command.env("AWS_ENDPOINT_URL_STS", format!("http://{}", closed()));
    let done = finish(command).expect(1);
    expect(&done, "aws", "note", &["source main", "cannot be asked"]);
    expect(&done, "source main", "fail", &["aws.assume_role"]);
}

#[test]
fn a_prefix_that_another_checkpoint_wrote_is_told_before_the_start_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = stack::s3().bucket();
    let text = format!(
        "sources: {{ fleet: {{ simulate: {{ connections: 1, hours: 1 }} }} }}\n\
         sinks: {{ lake: {{ s3: {{ bucket: {bucket}, prefix: vpn/ }} }} }}\n"
    );
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    let first = check(folder.path());
    let settings: Vec<_> =
        first.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    let mut command = tunnelog(folder.path(), &["run", "p.yaml"]);
    command.envs(settings);
    finish(command).expect(0);
    let done = finish(check(folder.path())).expect(0);
    expect(&done, "sink lake", "ok", &["belongs to this checkpoint"]);
    expect(&done, "checkpoint", "ok", &["goes on where it stopped"]);
    std::fs::remove_file(folder.path().join("state/p.redb")).unwrap();
    let done = finish(check(folder.path())).expect(1);
    expect(&done, "sink lake", "fail", &["another checkpoint store", "choose a new `prefix`"]);
}

#[test]
fn a_running_pipeline_is_noticed_and_not_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let text = "sources: { fleet: { simulate: { rate: 1 } } }\nsinks: { out: { file: { path: out.ndjson } } }\n";
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    let mut running = Running::start(folder.path(), &["run", "p.yaml"]);
    wait_until("it runs", || folder.path().join("out.ndjson").exists());
    let done = finish(check(folder.path())).expect(0);
    expect(&done, "checkpoint", "note", &["another process runs this pipeline"]);
    expect(&done, "sink out", "ok", &["is there"]);
    assert!(!running.has_ended());
    assert_eq!(running.terminate().code(), Some(0));
}

#[test]
fn a_checkpoint_and_files_that_cannot_be_made_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = "sources: { fleet: { simulate: {} } }\nsinks: { out: { file: { path: file/out.ndjson } } }\n\
                checkpoint: { file: file/c.redb }\n";
    std::fs::write(folder.path().join("p.yaml"), text).unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let done = run(folder.path(), &["check", "--connect", "p.yaml"]).expect(1);
    expect(&done, "checkpoint", "fail", &["file"]);
    expect(&done, "sink out", "fail", &["file"]);
    assert!(run(folder.path(), &["check", "p.yaml"]).expect(0).out().contains(": ok"), "without it nothing is asked");
}
