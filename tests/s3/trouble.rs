//! What S3, and other processes, can do to the sink.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tunnelog::config::types::Compression;
use tunnelog::sink::s3;

use super::bench::{Bench, Load, expected};
use super::contract::{Destination as _, check_once};
use super::lake::{Death, Lake};
use super::proxy::{Proxy, Verdict};
use super::stack;

fn load() -> Load {
    Load { shards: 1, records: 16, days: 3, padding: 1000, ..Load::default() }
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// Runs until the first object is visible, and dies: its store, and the lake.
async fn dies_at_first_completion() -> (Lake, BTreeMap<tunnelog::delivery::LaneKey, tunnelog::delivery::LaneState>) {
    for at in 1.. {
        let mut lake = Lake::new();
        lake.config.chunk.0 = 1000;
        let mut bench = Bench::new(load(), &lake, BTreeMap::new());
        lake.begin_life(Some(Death { at, after: true }));
        bench.live(|| lake.is_dead()).await;
        let store = std::mem::take(&mut bench.store);
        drop(bench);
        if lake.died_of() == "complete" {
            return (lake, store);
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_wakes_late_publishes_nothing() {
    let mut old = Lake::new();
    old.config.chunk.0 = 1000;
    let mut sleeper = Bench::new(load(), &old, BTreeMap::new());
    // It has the leave to publish, and none of it gets through.
    old.proxy.judge(|request| if request.operation() == "complete" { Verdict::Lose } else { Verdict::Pass });
    let asleep = || sleeper_is_at_it(&old);
    sleeper.live(asleep).await;
    let sealed = sleeper.store.clone();
    assert!(sealed.values().any(|state| state.seal.is_some()), "{sealed:?}");

    let new = old.twin();
    let mut successor = Bench::new(load(), &new, sealed);
    successor.finish().await;
    check_once_in_any_order(&new);
    let objects: Vec<(String, Vec<u8>)> = new.objects().into_iter().map(|key| (key.clone(), new.bytes(&key))).collect();

    // The old one has lost the store; its calls arrive now.
    old.fence();
    old.proxy.seen();
    old.proxy.judge(|_| Verdict::Pass);
    let mut operations = BTreeSet::new();
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    // It finds that its uploads are gone, and would build the chunk again.
    while !(operations.contains("complete") && operations.contains("create")) {
        assert!(tokio::time::Instant::now() < patience, "{operations:?}");
        let moment = tokio::time::Instant::now() + Duration::from_millis(200);
        sleeper.live(|| tokio::time::Instant::now() > moment).await;
        operations.extend(old.proxy.seen().iter().map(|request| request.operation()));
    }
    let after: Vec<(String, Vec<u8>)> = new.objects().into_iter().map(|key| (key.clone(), new.bytes(&key))).collect();
    assert!(objects == after, "{:?}", new.objects());
}

fn sleeper_is_at_it(lake: &Lake) -> bool {
    lake.proxy.seen().iter().any(|request| request.operation() == "complete")
}

fn check_once_in_any_order(lake: &Lake) {
    assert_eq!(sorted(lake.delivered()), sorted(expected(load()).concat()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_completion_is_found_out() {
    let lake = Lake::new();
    let mut lost = BTreeSet::new();
    lake.proxy.judge(move |request| match request.operation() {
        "complete" if lost.insert(request.path.clone()) => Verdict::LoseAnswer,
        // SeaweedFS would say yes again; AWS may say this.
        "complete" => Verdict::Answer(404, "NoSuchUpload"),
        _ => Verdict::Pass,
    });
    let mut bench = Bench::new(load(), &lake, BTreeMap::new());
    bench.finish().await;
    check_once_in_any_order(&lake);
    let heads = lake.proxy.seen().iter().filter(|request| request.operation() == "head").count();
    assert!(heads >= 3, "{heads} objects were looked at");
    assert_eq!(lake.uploads(), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_slows_down_and_loses_nothing() {
    let lake = Lake::new();
    let mut slowed: BTreeMap<String, usize> = BTreeMap::new();
    let mut bench = Bench::new(load(), &lake, BTreeMap::new());
    lake.proxy.judge(move |request| {
        let count = slowed.entry(format!("{request:?}")).or_default();
        *count += 1;
        if *count <= 2 { Verdict::Answer(503, "SlowDown") } else { Verdict::Pass }
    });
    bench.finish().await;
    check_once_in_any_order(&lake);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_goes_up_in_parts_while_it_grows() {
    let mut lake = Lake::new();
    lake.config.compression = Compression::None;
    let load = Load { shards: 1, records: 20, padding: 512 * 1024, ..Load::default() };
    let mut bench = Bench::new(load, &lake, BTreeMap::new());
    bench.finish().await;
    let seen = lake.proxy.seen();
    let numbers = seen.iter().filter_map(|request| request.path.split("partNumber=").nth(1));
    let numbers: BTreeSet<&str> = numbers.map(|rest| rest.split('&').next().unwrap()).collect();
    assert!(numbers.contains("2"), "{numbers:?}");
    check_once(&lake, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_somebody_aborted_is_made_again() {
    let lake = Lake::new();
    let (client, bucket, root) = (lake.client.clone(), lake.bucket.clone(), lake.root.clone());
    let mut bench = Bench::new(load(), &lake, BTreeMap::new());
    let mut aborted = false;
    lake.proxy.judge(move |request| {
        if request.operation() == "complete" && !std::mem::replace(&mut aborted, true) {
            let abort = async {
                let list = client.list_multipart_uploads().bucket(&bucket).prefix(&root).send().await.unwrap();
                for upload in list.uploads() {
                    let call = client.abort_multipart_upload().bucket(&bucket);
                    let call = call.set_key(upload.key.clone()).set_upload_id(upload.upload_id.clone());
                    call.send().await.unwrap();
                }
            };
            stack::block_on(abort);
        }
        Verdict::Pass
    });
    assert!(bench.live(|| false).await);
    check_once_in_any_order(&lake);
    assert_eq!(lake.uploads(), Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_of_an_expired_range_is_kept() {
    // In the middle of the first chunk (10 records), at its end, and beyond it.
    for expired in [3, 10, 13] {
        let (lake, store) = dies_at_first_completion().await;
        let before: BTreeSet<String> = lake.delivered().into_iter().collect();
        assert!(!before.is_empty());
        lake.begin_life(None);
        let mut bench = Bench::new(Load { expired, ..load() }, &lake, store);
        bench.finish().await;
        let delivered = lake.delivered();
        let after: BTreeSet<String> = delivered.iter().cloned().collect();
        assert_eq!(after.len(), delivered.len(), "expired {expired}: an event is there twice");
        assert!(before.is_subset(&after), "expired {expired}: what was there is gone");
        let record = |id: &String| id.split('/').nth(1).unwrap().parse::<usize>().unwrap();
        for id in expected(load()).concat().iter().filter(|id| record(id) >= expired) {
            assert!(after.contains(id), "expired {expired}: {id} is missing");
        }
        assert_eq!(lake.uploads(), Vec::new(), "expired {expired}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_another_checkpoint_store_is_refused() {
    let mut lake = Lake::new();
    let probe = || async { s3::probe_with(&lake.context(), &lake.config, &lake.aws()).await };
    assert!(probe().await.unwrap().contains("is taken at the first start"));
    assert_eq!(lake.keys(), Vec::<String>::new(), "a probe writes nothing");
    lake.open().map(drop).unwrap();
    lake.open().map(drop).unwrap();
    assert!(probe().await.unwrap().contains("belongs to this checkpoint"));
    let marker = format!("{}/vpn/_tunnelog/bench.sink.json", lake.root);
    assert_eq!(lake.keys(), std::slice::from_ref(&marker));
    lake.store = "store-2".into();
    let error = lake.open().map(drop).unwrap_err();
    for word in ["another checkpoint store", "pipeline `bench`", "new `prefix`", &marker] {
        assert!(error.contains(word), "{error}");
    }
    // Who accepts that deletes the marker.
    stack::block_on(lake.client.delete_object().bucket(&lake.bucket).key(&marker).send()).unwrap();
    lake.open().map(drop).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_at_the_start_is_said_with_what_to_do() {
    let lake = Lake::new();
    let check = async |lake: &Lake, aws: &aws_config::SdkConfig, words: &[&str]| {
        let error = s3::open(lake.context(), &lake.config, lake.objects, aws).await.map(drop).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    let mut missing = Lake::new();
    missing.config.bucket = "no-such-bucket-here".into();
    check(&missing, &missing.aws(), &["bucket `no-such-bucket-here`", "NoSuchBucket", "create it"]).await;
    let wrong = stack::aws(&lake.proxy.endpoint, "nobody", "nothing");
    check(&lake, &wrong, &["InvalidAccessKeyId", "check the credentials"]).await;
    let gone = stack::aws("http://127.0.0.1:9", "a", "b");
    check(&lake, &gone, &["http://127.0.0.1:9", "can be reached"]).await;
    let mut bad = Lake::new();
    bad.config.prefix = "{day}/".into();
    check(&bad, &bad.aws(), &["`{day}`", "`{dd}`"]).await;
    for (answer, words) in [
        ((403, "AccessDenied"), ["s3:GetObject", "s3:ListBucket"]),
        ((301, "PermanentRedirect"), ["the bucket is in eu-west-1", "`aws.region`"]),
    ] {
        let proxy = Proxy::new(&lake.proxy.endpoint);
        proxy.judge(move |_| Verdict::Answer(answer.0, answer.1));
        check(&lake, &stack::aws(&proxy.endpoint, "a", "b"), &words).await;
    }
}
