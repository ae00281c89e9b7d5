//! What is said at the start, and what a person is told while it runs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tunnelog::config::types::Pack;
use tunnelog::sink::FromSink;

use super::bench::{Bench, Load};
use super::contract::{Destination as _, check_once};
use super::destination::Firehose;
use super::server::{Fault, description};

fn refusal(destination: &Firehose) -> String {
    destination.open().err().expect("it must not open")
}

#[track_caller]
fn check(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in: {text}");
    }
    assert!(text.len() < 500 && !text.contains('\n'), "too long: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_there_is_named_at_the_start() {
    let destination = Firehose::new(Pack::Auto);
    destination.server.state().description = Some(Err("ResourceNotFoundException"));
    let at = format!(
        "firehose:DescribeDeliveryStream on delivery stream `vpn` in us-east-1 at {}",
        destination.server.endpoint
    );
    check(&refusal(&destination), &[&at, "ResourceNotFoundException", "create it, or correct the name or the Region"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_write_is_told_at_the_start() {
    let destination = Firehose::new(Pack::Auto);
    destination.server.state().knock = Some("AccessDeniedException");
    check(
        &refusal(&destination),
        &["firehose:PutRecordBatch on delivery stream `vpn`", "allow `firehose:PutRecordBatch`"],
    );
    destination.server.state().description = Some(Err("AccessDeniedException"));
    check(&refusal(&destination), &["allow `firehose:PutRecordBatch`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_where_nobody_listens_is_named_at_the_start() {
    let mut destination = Firehose::new(Pack::Always);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    destination.server.endpoint = format!("http://{closed}");
    let text = refusal(&destination);
    check(
        &text,
        &["Connection refused", &format!("check that http://{closed} can be reached from here (set by `aws.endpoint`")],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_takes_nothing_from_us_is_refused_at_the_start() {
    let with = |key: &str, value: &str| {
        let mut with = description("lake");
        with[key] = json!(value);
        with
    };
    let decompressing = {
        let mut with = description("lake");
        with["Destinations"][0]["ExtendedS3DestinationDescription"]["ProcessingConfiguration"] =
            json!({"Enabled": true, "Processors": [{"Type": "Decompression"}]});
        with
    };
    let cases: [(Value, &str); 4] = [
        (with("DeliveryStreamType", "KinesisStreamAsSource"), "it reads from a Kinesis stream"),
        (with("DeliveryStreamStatus", "DELETING"), "it is being deleted"),
        (with("DeliveryStreamStatus", "CREATING"), "start again when it is ACTIVE"),
        (decompressing, "decompression of CloudWatch Logs switched on"),
    ];
    for (description, expect) in cases {
        let destination = Firehose::new(Pack::Always);
        destination.server.state().description = Some(Ok(description));
        check(&refusal(&destination), &["delivery stream `vpn` in us-east-1", expect]);
    }
}

/// Sent all the same, the objects would be unreadable.
#[tokio::test(flavor = "multi_thread")]
async fn compression_is_refused_where_the_stream_reads_or_compresses_its_records() {
    let s3 = |key: &str, value: Value| {
        let mut with = description("lake");
        with["Destinations"][0]["ExtendedS3DestinationDescription"][key] = value;
        with
    };
    let mut search = description("lake");
    search["Destinations"][0] = json!({"DestinationId": "d", "AmazonopensearchserviceDestinationDescription": {}});
    let delimiter = json!({"Enabled": true, "Processors": [{"Type": "AppendDelimiterToRecord"}]});
    let cases: [(Value, &str); 4] = [
        (s3("CompressionFormat", json!("GZIP")), "set its compression to UNCOMPRESSED"),
        (s3("DataFormatConversionConfiguration", json!({"Enabled": true})), "switch off record format conversion"),
        (s3("ProcessingConfiguration", delimiter), "switch off its processing"),
        (search, "only buckets take what is compressed already"),
    ];
    for (description, expect) in cases {
        let destination = Firehose::new(Pack::Auto).compressing();
        destination.server.state().description = Some(Ok(description));
        check(&refusal(&destination), &["delivery stream `vpn` in us-east-1", expect, "or set `compression: none`"]);
    }
    // Where it cannot be asked, `pack: always` says that somebody knows.
    let unknown = Firehose::new(Pack::Auto).compressing();
    unknown.server.state().description = Some(Err("AccessDeniedException"));
    check(&refusal(&unknown), &["`compression` cannot be used", "`firehose:DescribeDeliveryStream` is not allowed"]);
    let known = Firehose::new(Pack::Always).compressing();
    known.server.state().description = Some(Err("AccessDeniedException"));
    assert!(is_packed(&known).await);
    assert!(known.server.state().stored[0].starts_with(&[0x1f, 0x8b]));
}

/// Checkpoints come each second, and each record is billed as 5 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_does_not_cut_a_record_short() {
    let mut destination = Firehose::new(Pack::Always);
    destination.config.linger = tunnelog::config::units::Duration::from_secs(30);
    let load = Load { shards: 1, records: 9, ..Load::default() };
    let mut bench = Bench::new(load, &destination, BTreeMap::new());
    // The last record is left to the end, which does not wait.
    for _ in 0..8 {
        bench.may_read = 1;
        bench.checkpoint().await;
    }
    bench.finish().await;
    check_once(&destination, load);
    let records: usize = destination.server.state().seen.iter().map(|request| request.records.len()).sum();
    assert_eq!(records, 1, "what came within `linger` shares a record");
}

/// Delivers a few items and says whether they shared a record.
async fn is_packed(destination: &Firehose) -> bool {
    let load = Load { shards: 1, records: 5, ..Load::default() };
    let mut bench = Bench::new(load, destination, BTreeMap::new());
    bench.finish().await;
    check_once(destination, load);
    destination.server.state().seen[0].records.len() == 1
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_packs_where_the_destination_takes_lines() {
    assert!(is_packed(&Firehose::new(Pack::Auto)).await);
    let destination = Firehose::new(Pack::Auto);
    let mut search = description("lake");
    search["Destinations"][0] = json!({"DestinationId": "d", "AmazonopensearchserviceDestinationDescription": {}});
    destination.server.state().description = Some(Ok(search));
    assert!(!is_packed(&destination).await);
    let destination = Firehose::new(Pack::Auto);
    destination.server.state().description = Some(Err("AccessDeniedException"));
    assert!(!is_packed(&destination).await, "nobody knows");
}

/// `always` and `never` need no permission to ask.
#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_file_overrules_what_is_found() {
    for (pack, packed) in [(Pack::Always, true), (Pack::Never, false)] {
        let destination = Firehose::new(pack);
        destination.server.state().description = Some(Err("AccessDeniedException"));
        assert_eq!(is_packed(&destination).await, packed);
    }
}

/// While it runs: down at once, with what to do; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_mend_is_said_at_once() {
    let cases: [(u16, &str, &[&str]); 5] = [
        (400, "ResourceNotFoundException", &["create it, or correct the name or the Region"]),
        (400, "AccessDeniedException", &["allow `firehose:PutRecordBatch` on it"]),
        (400, "InvalidKMSResourceException", &["enable its KMS key"]),
        (400, "ExpiredTokenException", &["check the credentials"]),
        (400, "InvalidSourceException", &["decompression of CloudWatch Logs switched on", "switch it off"]),
    ];
    for (status, code, parts) in cases {
        let destination = Firehose::new(Pack::Always);
        destination.server.state().next.push_back(Fault::Answer(status, code, "as the test wants it"));
        let load = Load { shards: 1, records: 5, ..Load::default() };
        let mut bench = Bench::new(load, &destination, BTreeMap::new());
        bench.finish().await;
        assert_eq!((bench.downs, bench.ups), (1, 1), "{code}");
        check_once(&destination, load);
        check(&bench.last_down, parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_has_nothing_says_nothing() {
    let destination = Firehose::new(Pack::Always);
    let mut sink = destination.open().unwrap();
    let word = tokio::time::timeout(std::time::Duration::from_millis(300), sink.next()).await;
    assert!(word.is_err(), "{:?}", word.map(|word: FromSink| word));
    sink.close().await.unwrap();
}
