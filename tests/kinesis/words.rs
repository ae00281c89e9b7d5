//! What a person reads: when a stream cannot be opened, and what `check --connect` says of one that can.

use std::path::Path;

use aws_config::SdkConfig;
use serde_json::json;
use tunnelog::config::types::{Kinesis, Start};
use tunnelog::source::kinesis::{open, probe_with};

use super::bench::{Bench, config, ferro, local};
use super::proxy::Fault;
use super::stack;

/// What opening says; probing must say the same.
async fn refused(config: &Kinesis, sdk: &SdkConfig, prepare: impl Fn()) -> String {
    prepare();
    let opened = open("main", config, sdk).await.err().expect("an error").to_string();
    prepare();
    assert_eq!(probe_with(config, sdk).await.unwrap_err(), opened);
    opened
}

async fn after(bench: &Bench, operation: &str, fault: Fault) -> String {
    let stream = bench.stream(1).await;
    let said = refused(&config(&stream), &bench.sdk, || bench.proxy().fail(operation, [fault.clone()])).await;
    assert_eq!(bench.proxy().unused(), 0, "{operation}");
    said.replace(&stream, "NAME")
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_named_with_a_remedy() {
    let bench = ferro().await;
    let proxy = format!("http://{}", bench.proxy().address);
    let mut said = vec![("missing", refused(&config("missing"), &bench.sdk, || ()).await)];
    let denied = || Fault::Error(400, "AccessDeniedException");
    said.push(("not allowed to describe", after(&bench, "DescribeStreamSummary", denied()).await));
    said.push(("not allowed to list", after(&bench, "ListShards", denied()).await));
    said.push(("not allowed to begin", after(&bench, "GetShardIterator", denied()).await));
    said.push(("not allowed to read", after(&bench, "GetRecords", denied()).await));
    said.push(("KMS", after(&bench, "GetRecords", Fault::Error(400, "KMSAccessDeniedException")).await));
    let token = || Fault::Error(400, "UnrecognizedClientException");
    said.push(("credentials", after(&bench, "DescribeStreamSummary", token()).await));
    for status in ["CREATING", "DELETING"] {
        let summary = json!({"StreamDescriptionSummary": {"StreamName": "NAME", "StreamARN": "arn", "StreamStatus": status,
            "RetentionPeriodHours": 24, "StreamCreationTimestamp": 1, "EnhancedMonitoring": [], "OpenShardCount": 1}});
        said.push((status, after(&bench, "DescribeStreamSummary", Fault::Json(summary)).await));
    }
    let arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/NAME";
    said.push(("another Region", refused(&config(arn), &bench.sdk, || ()).await));
    said.push(("no ARN of a stream", refused(&config("arn:aws:s3:::NAME"), &bench.sdk, || ()).await));
    let config = Kinesis { start: Start::AtTimestamp, ..config("NAME") };
    said.push(("no timestamp", refused(&config, &bench.sdk, || ()).await));
    let text: String = said.iter().map(|(what, said)| format!("{what}:\n  {said}\n")).collect();
    golden("refused.txt", &text.replace(&proxy, "http://ENDPOINT"));
}

#[tokio::test]
async fn an_address_where_nobody_is_is_named() {
    let endpoint = format!("http://127.0.0.1:{}", stack::free_port());
    let said = refused(&config("NAME"), &stack::aws(&endpoint, "any", "key"), || ()).await;
    for part in [
        "kinesis:DescribeStreamSummary on stream `NAME` in us-east-1",
        "can be reached from here (set by `aws.endpoint`",
        &endpoint,
    ] {
        assert!(said.contains(part), "`{part}` is missing in {said}");
    }
}

#[tokio::test]
async fn what_may_pass_by_itself_does_not_keep_a_source_from_starting() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    bench.proxy().fail("DescribeStreamSummary", [Fault::Error(500, "InternalFailure")]);
    bench.proxy().fail("ListShards", [Fault::Error(400, "LimitExceededException"), Fault::Reset]);
    bench.proxy().fail("GetRecords", [Fault::Error(400, "ProvisionedThroughputExceededException")]);
    open("main", &config(&stream), &bench.sdk).await.map(drop).unwrap();
    assert_eq!(bench.proxy().unused(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_what_it_found() {
    for bench in [ferro().await, local().await] {
        let stream = bench.stream(3).await;
        bench.split(&stream, "shardId-000000000000").await;
        let said = probe_with(&config(&stream), &bench.sdk).await.unwrap();
        let endpoint = bench.sdk.endpoint_url().unwrap();
        let expect = format!(
            "stream `{stream}` in us-east-1 at {endpoint}: 4 open shards, 1 closed, retention 24 h, not encrypted"
        );
        assert_eq!(said, expect, "{}", bench.name);
    }
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kinesis").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expect = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expect, "{}: `UPDATE_GOLDEN=1` writes it anew", path.display());
}
