//! `tunnelog simulate --to kinesis:NAME`: what is read back is what the fleet sent, in order within each log stream.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use tunnelog::config::types::Simulate;
use tunnelog::source::StartAt;

use super::bench::{Bench, ferro, local, until};
use super::proxy::Fault;
use super::support::forms;
use super::support::program::{Done, Running, finish, tunnelog};

fn command(folder: &Path, endpoint: &str, stream: &str, more: &[&str]) -> Command {
    let to = format!("kinesis:{stream}");
    let fixed = ["simulate", "--to", &to, "--endpoint", endpoint, "--region", "us-east-1"];
    let mut command = tunnelog(folder, &[&fixed[..], more].concat());
    command.env("AWS_ACCESS_KEY_ID", "any").env("AWS_SECRET_ACCESS_KEY", "key");
    command
}

async fn simulate(endpoint: &str, stream: &str, more: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let command = command(folder.path(), endpoint, stream, more);
    tokio::task::spawn_blocking(move || finish(command)).await.unwrap()
}

/// What the stream has, by partition key, in order.
async fn read_back(bench: &Bench, stream: &str, shards: usize) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut found: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for shard in 0..shards {
        let client = &bench.client;
        let iterator = client.get_shard_iterator().stream_name(stream).shard_id(format!("shardId-{shard:012}"));
        let iterator = iterator.shard_iterator_type("TRIM_HORIZON".into()).send().await.unwrap().shard_iterator;
        let mut next = iterator;
        loop {
            let answer = client.get_records().set_shard_iterator(next).send().await.unwrap();
            if answer.records.is_empty() {
                break;
            }
            for record in answer.records {
                found.entry(record.partition_key.unwrap()).or_default().push(record.data.into_inner());
            }
            next = answer.next_shard_iterator;
        }
    }
    found
}

fn sent(config: &Simulate) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut sent: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for record in forms::records(config) {
        sent.entry(record.partition_key.clone()).or_default().push(record.data.to_vec());
    }
    sent
}

const SMALL: [&str; 6] = ["--seed", "3", "--connections", "4", "--hours", "1"];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_back_is_what_was_sent_in_order_by_key() {
    for bench in [ferro().await, local().await] {
        let stream = bench.stream(2).await;
        let done = simulate(bench.sdk.endpoint_url().unwrap(), &stream, &SMALL).await.expect(0);
        let expected = sent(&forms::small_fleet());
        let records: usize = expected.values().map(Vec::len).sum();
        let done =
            done.says(&[&format!("wrote {records} records with "), &format!("to stream `{stream}` in us-east-1")]);
        assert!(done.out().is_empty());
        assert_eq!(read_back(&bench, &stream, 2).await, expected, "{}", bench.name);
        // And the source reads the same.
        let (source, shards) = bench.opened(&stream, 2).await;
        let mut count = 0;
        for shard in &shards {
            let mut reader = tunnelog::source::Source::reopen(&source).open(shard, StartAt::TrimHorizon).await.unwrap();
            if let tunnelog::source::Feed::Records(read) = reader.next().await.unwrap() {
                count += read.len();
            }
        }
        assert_eq!(count, records, "{}", bench.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_refused_are_sent_again_and_not_overtaken() {
    let bench = ferro().await;
    let stream = bench.stream(2).await;
    let throttled = Fault::Error(400, "ProvisionedThroughputExceededException");
    let refuse = |indexes: &[usize]| Fault::Refuse(indexes.to_vec());
    let faults = [
        refuse(&[0]),
        refuse(&[0, 2]),
        throttled,
        refuse(&[1, 3, 4]),
        Fault::Error(500, "InternalFailure"),
        refuse(&[0]),
    ];
    bench.proxy().fail("PutRecords", faults);
    let done = simulate(bench.sdk.endpoint_url().unwrap(), &stream, &SMALL).await.expect(0);
    done.says(&["were refused for the moment and sent again"]);
    assert_eq!(bench.proxy().unused(), 0);
    assert_eq!(read_back(&bench, &stream, 2).await, sent(&forms::small_fleet()));
    for call in bench.proxy().calls("PutRecords") {
        let records = call.body["Records"].as_array().unwrap();
        let keys: std::collections::BTreeSet<_> =
            records.iter().map(|record| record["PartitionKey"].as_str()).collect();
        assert_eq!(keys.len(), records.len(), "one record of a key in a call");
        assert!(records.len() <= 500);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_with_the_account_of_what_was_written() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), bench.sdk.endpoint_url().unwrap(), &stream, &["--rate", "20"]);
    let log = std::fs::File::create(folder.path().join("stderr")).unwrap();
    let mut running = Running::of(command.stderr(log));
    until("some records are written", async || bench.proxy().calls("PutRecords").len() >= 3).await;
    let status = tokio::task::spawn_blocking(move || running.terminate()).await.unwrap();
    let said = std::fs::read_to_string(folder.path().join("stderr")).unwrap();
    assert!(status.success(), "{said}");
    let written: usize = read_back(&bench, &stream, 1).await.values().map(Vec::len).sum();
    assert!(said.contains(&format!("interrupted: wrote {written} records with ")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_missing_is_named() {
    let bench = ferro().await;
    let endpoint = bench.sdk.endpoint_url().unwrap();
    let done = simulate(endpoint, "missing", &SMALL).await.expect(1);
    done.says(&["kinesis:PutRecords on stream `missing` in us-east-1", "ResourceNotFoundException", "create it"]);
    simulate(endpoint, "", &SMALL).await.expect(1).says(&["names no stream"]);
}
