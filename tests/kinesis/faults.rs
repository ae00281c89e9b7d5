//! What goes wrong on the way: nothing is lost, nothing comes twice, and it is said.

use std::time::Duration;

use serde_json::json;
use tunnelog::source::{Position, ShardEvent, Source as _, StartAt};

use super::bench::{ferro, next_second, now_s, numbered, read};
use super::proxy::Fault;

const THROTTLED: Fault = Fault::Error(400, "ProvisionedThroughputExceededException");
const EXPIRED: Fault = Fault::Error(400, "ExpiredIteratorException");

#[tokio::test]
async fn faults_of_the_way_and_of_the_service_cost_time_and_no_record() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    bench.proxy().fail("GetShardIterator", [Fault::Error(500, "InternalFailure"), THROTTLED]);
    let faults = [
        EXPIRED,
        THROTTLED,
        THROTTLED,
        THROTTLED,
        Fault::Error(500, "InternalFailure"),
        Fault::Error(503, "ServiceUnavailable"),
        Fault::Reset,
        Fault::Half,
        Fault::Error(400, "KMSThrottlingException"),
        Fault::Error(400, "KMSAccessDeniedException"),
        Fault::Error(400, "AccessDeniedException"),
    ];
    bench.proxy().fail("GetRecords", faults.clone());
    let mut got = Vec::new();
    let mut errors = Vec::new();
    for round in 0..6 {
        for data in &numbered(round * 5..round * 5 + 5) {
            bench.put(&stream, "key", data).await;
        }
        // More of it in the middle, behind records that were read.
        if round == 3 {
            bench.proxy().fail("GetRecords", [Fault::Half, EXPIRED, Fault::Reset, EXPIRED]);
        }
        let brought = read(reader.as_mut(), 5).await;
        assert!(brought.gaps.is_empty(), "{:?}", brought.gaps);
        got.extend(brought.data);
        errors.extend(brought.errors);
    }
    assert_eq!(got, numbered(0..30));
    assert_eq!(bench.proxy().unused(), 0);
    // Expired iterators and throttling are paced in silence; these are not.
    let count = |part: &str| errors.iter().filter(|error| error.contains(part)).count();
    let found =
        ["InternalFailure", "ServiceUnavailable", "KMSAccessDenied", "`kms:Decrypt`", "allow `kinesis:GetRecords`"];
    assert_eq!(found.map(count), [2, 1, 1, 1, 1], "{errors:#?}");
    assert_eq!(errors.len(), 2 + 1 + 2 + 4, "{errors:#?}");
}

#[tokio::test]
async fn throttling_that_does_not_end_is_said() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    bench.put(&stream, "key", b"a").await;
    bench.proxy().fail("GetRecords", vec![THROTTLED; 10]);
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let brought = read(reader.as_mut(), 1).await;
    assert_eq!(brought.data, [b"a"]);
    assert_eq!(brought.errors.len(), 1, "{:?}", brought.errors);
    assert!(brought.errors[0].contains("ProvisionedThroughputExceededException"), "{:?}", brought.errors);
}

#[tokio::test]
async fn a_sequence_number_that_is_none_is_an_error_and_the_record_is_asked_for_again() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    bench.put(&stream, "key", b"a").await;
    let odd = json!({"SequenceNumber": "forty-two", "Data": "YQ=="});
    bench.proxy().fail("GetRecords", [Fault::Json(json!({"Records": [odd], "NextShardIterator": "x"}))]);
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let brought = read(reader.as_mut(), 1).await;
    assert_eq!(brought.data, [b"a"]);
    assert!(brought.errors[0].contains("`forty-two`"), "{:?}", brought.errors);
}

#[tokio::test]
async fn a_record_may_have_no_partition_key_and_no_arrival_time() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    let bare = json!({"SequenceNumber": "42", "Data": "YQ=="});
    bench.proxy().fail("GetRecords", [Fault::Json(json!({"Records": [bare]}))]);
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let brought = read(reader.as_mut(), 2).await;
    assert_eq!((brought.data, brought.ended), (vec![b"a".to_vec()], true));
}

#[tokio::test]
async fn readers_of_one_shard_share_its_five_calls_a_second() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    bench.proxy().behind(60_000);
    let before = bench.proxy().calls("GetRecords").len();
    let reopen = source.reopen();
    let mut one = reopen.open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let mut two = reopen.open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let mut three = reopen.open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    for _ in 0..7 {
        let (one, two, three) = tokio::join!(one.next(), two.next(), three.next());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
    }
    let times: Vec<_> = bench.proxy().calls("GetRecords")[before..].iter().map(|call| call.at).collect();
    assert_eq!(times.len(), 21);
    // Each has its fifth of a second; a busy machine may move one call by some milliseconds, never the whole.
    let spent = *times.last().unwrap() - times[0];
    assert!(spent >= Duration::from_millis(200 * 20 * 95 / 100), "{spent:?} for 21 calls");
    for window in times.windows(7) {
        assert!(window[6] - window[0] >= Duration::from_millis(1_000), "more than 6 calls in a second: {times:?}");
    }
}

#[tokio::test]
async fn a_quiet_shard_is_asked_once_a_second() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    let before = bench.proxy().calls("GetRecords").len();
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    for _ in 0..6 {
        reader.next().await.unwrap();
    }
    let times: Vec<_> = bench.proxy().calls("GetRecords")[before..].iter().map(|call| call.at).collect();
    let pauses: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, least_ms) in pauses.iter().zip([200, 400, 800, 1_000, 1_000]) {
        assert!(*pause >= Duration::from_millis(least_ms * 95 / 100), "{pauses:?}");
    }
}

#[tokio::test]
async fn a_shard_that_has_expired_is_a_gap_and_then_its_end() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    let gone = Fault::Error(400, "ResourceNotFoundException");
    bench.proxy().fail("GetShardIterator", [gone]);
    let other = json!({"ShardId": "shardId-000000000009", "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"}});
    bench.proxy().fail("ListShards", [Fault::Json(json!({"Shards": [other]}))]);
    let mut reader = source.reopen().open(&shards[0], StartAt::After(Position::from(5))).await.unwrap();
    let brought = read(reader.as_mut(), 1).await;
    assert!(brought.ended && brought.data.is_empty() && brought.errors.is_empty(), "{brought:?}");
    assert!(brought.gaps[0].contains("has expired"), "{brought:?}");
}

#[tokio::test]
async fn a_shard_that_is_listed_but_not_found_is_tried_again() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    bench.put(&stream, "key", b"a").await;
    let gone = || Fault::Error(400, "ResourceNotFoundException");
    bench.proxy().fail("GetShardIterator", [gone()]);
    bench.proxy().fail("GetRecords", [gone()]);
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let brought = read(reader.as_mut(), 1).await;
    assert_eq!((brought.data.len(), brought.errors.len(), brought.gaps.len()), (1, 2, 0), "{:?}", brought.errors);
}

#[tokio::test]
async fn a_position_that_the_shard_does_not_know_is_a_gap_and_the_oldest_record_is_next() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    bench.put(&stream, "key", b"a").await;
    let (source, shards) = bench.opened(&stream, 1).await;
    let mut reader = source.reopen().open(&shards[0], StartAt::After(Position::from(5))).await.unwrap();
    let brought = read(reader.as_mut(), 1).await;
    assert_eq!((brought.data, brought.gaps.len()), (vec![b"a".to_vec()], 1));
    assert!(brought.gaps[0].contains("is not known any more"), "{:?}", brought.gaps);
}

#[tokio::test]
async fn what_expired_between_the_last_record_and_the_oldest_one_is_a_gap() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    let (source, shards) = bench.opened(&stream, 1).await;
    let now = now_s();
    for (age_s, gaps) in [(24 * 3_600, 1), (3_600, 0)] {
        bench.proxy().fail("GetShardIterator", [Fault::Json(json!({"ShardIterator": "x"}))]);
        let record = json!({"SequenceNumber": "50", "Data": "YQ==", "ApproximateArrivalTimestamp": now - age_s});
        bench.proxy().fail("GetRecords", [Fault::Json(json!({"Records": [record]}))]);
        let mut reader = source.reopen().open(&shards[0], StartAt::After(Position::from(5))).await.unwrap();
        let brought = read(reader.as_mut(), 1).await;
        assert_eq!((brought.data, brought.gaps.len()), (vec![b"a".to_vec()], gaps), "{age_s} s old");
    }
}

#[tokio::test]
async fn a_stream_that_was_created_again_ends_the_old_shards_with_a_gap_and_is_read_from_its_beginning() {
    let bench = ferro().await;
    let stream = bench.stream(1).await;
    bench.put(&stream, "key", b"old").await;
    let (mut source, shards) = bench.opened(&stream, 1).await;
    let reopen = source.reopen();
    let mut reader = reopen.open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    assert_eq!(read(reader.as_mut(), 1).await.data, [b"old"]);
    bench.client.delete_stream().stream_name(&stream).send().await.unwrap();
    super::bench::until("the stream is gone", async || {
        bench.client.describe_stream_summary().stream_name(&stream).send().await.is_err()
    })
    .await;
    // While there is none: an error that says so, again and again, and never an end.
    bench.proxy().fail("GetRecords", [Fault::Error(400, "ResourceNotFoundException")]);
    let error = loop {
        match reader.next().await {
            Ok(feed) => assert!(matches!(&feed, tunnelog::source::Feed::Records(none) if none.is_empty()), "{feed:?}"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("kinesis:DescribeStreamSummary") && error.contains("create it"), "{error}");
    // ferrokinesis keeps whole seconds: created again within one, a stream looks the same.
    next_second().await;
    bench.create(&stream, 1).await;
    bench.put(&stream, "key", b"new").await;
    bench.proxy().fail("GetShardIterator", [Fault::Error(400, "ResourceNotFoundException")]);
    let brought = read(reader.as_mut(), 1).await;
    assert!(brought.ended && brought.data.is_empty(), "{brought:?}");
    assert!(brought.gaps[0].contains("deleted and created again"), "{brought:?}");
    let next = super::bench::news(&mut source).await;
    assert_eq!(next, ShardEvent::Gone(shards[0].clone()));
    let (shard, _, start) = super::bench::announced(&mut source).await;
    assert_eq!((&shard.shard, start), (&shards[0].shard, StartAt::TrimHorizon));
    assert_ne!(shard, shards[0]);
    let mut again = reopen.open(&shard, start).await.unwrap();
    assert_eq!(read(again.as_mut(), 1).await.data, [b"new"]);
    // A lane that still wants the old one is told the same.
    let mut old = reopen.open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    assert_eq!(read(old.as_mut(), 1).await.gaps.len(), 1);
}
