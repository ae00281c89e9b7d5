//! Many shards, and shards that come and go, against the model of Kinesis: in virtual time, so what is measured is what
//! the program asks for and keeps, not what this machine can do.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tunnelog::source::kinesis::KinesisSource;
use tunnelog::source::{Feed, Reader, ShardEvent, ShardId, Source as _, SourceError, StartAt};

use super::bench::{announced, config, news, read};
use super::model::{Model, STREAM, name};

const SHARDS: usize = 1_050;

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1_024
}

async fn readers(source: &KinesisSource, shards: &[ShardId]) -> Vec<Box<dyn Reader>> {
    let reopen = source.reopen();
    let mut readers = Vec::new();
    for shard in shards {
        readers.push(reopen.open(shard, StartAt::TrimHorizon).await.unwrap());
    }
    readers
}

/// Reads all of them for so long, each for itself; what they brought.
async fn read_all(readers: Vec<Box<dyn Reader>>, time: Duration) -> (Vec<Box<dyn Reader>>, usize) {
    let (mut tasks, end) = (JoinSet::new(), Instant::now() + time);
    for mut reader in readers {
        tasks.spawn(async move {
            let mut found = 0;
            while Instant::now() < end {
                if let Feed::Records(records) = reader.next().await.unwrap() {
                    found += records.len();
                }
            }
            (reader, found)
        });
    }
    let done = tasks.join_all().await;
    let found = done.iter().map(|(_, found)| found).sum();
    (done.into_iter().map(|(reader, _)| reader).collect(), found)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_shards_are_begun_a_few_at_a_time_and_idle_ones_are_asked_seldom() {
    let model = Model::new(SHARDS);
    let (source, shards) = model.opened_as(&config(STREAM)).await;
    assert_eq!(shards.len(), SHARDS);
    let before = resident();
    let readers = readers(&source, &shards).await;
    let (mut readers, _) = read_all(readers, Duration::from_secs(1)).await;
    let each = resident().saturating_sub(before) / SHARDS;
    println!("{each} bytes of resident memory a shard, the model's part included");
    assert!(each < 64 * 1_024, "{each} bytes a shard");
    assert!(model.most_at_once("GetShardIterator") <= 32, "{}", model.most_at_once("GetShardIterator"));
    assert_eq!(model.calls("GetShardIterator").len(), SHARDS + 1, "one each, and the proof at the start");
    // Once they idle: about 250 calls a second for all of them. One in ten is looked at, the others stay open.
    let rest = readers.split_off(SHARDS / 10);
    let (readers, _) = read_all(readers, Duration::from_secs(10)).await;
    let before = model.calls("GetRecords").len();
    let (readers, _) = read_all(readers, Duration::from_secs(20)).await;
    let rate = (model.calls("GetRecords").len() - before) * 10 / 20;
    assert!((150..=350).contains(&rate), "{rate} calls a second");
    // And what comes is seen within seconds.
    (0..SHARDS).for_each(|shard| model.put(shard, 1..2));
    let (_readers, found) = read_all(readers, Duration::from_secs(6)).await;
    assert_eq!(found, SHARDS / 10);
    drop(rest);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_shards_are_subscribed_to_a_few_at_a_time() {
    let model = Model::new(SHARDS);
    let (source, shards) = model.opened().await;
    let before = (resident(), model.calls("GetRecords").len());
    let readers = readers(&source, &shards).await;
    (0..SHARDS).for_each(|shard| model.put(shard, 1..4));
    let (_readers, found) = read_all(readers, Duration::from_secs(3)).await;
    assert_eq!(found, 3 * SHARDS);
    let each = resident().saturating_sub(before.0) / SHARDS;
    println!("{each} bytes of resident memory a subscribed shard, the model's part included");
    assert!(each < 128 * 1_024, "{each} bytes a shard");
    assert!(model.most_at_once("SubscribeToShard") <= 32);
    assert_eq!(model.calls("SubscribeToShard").len(), SHARDS);
    assert_eq!(model.calls("GetRecords").len(), before.1);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_listed_late_is_announced_after_its_parent_and_read_from_its_beginning() {
    let model = Model::new(1);
    model.put(0, 1..3);
    let (mut source, shards) = model.opened_as(&config(STREAM)).await;
    let mut parent = readers(&source, &shards).await.remove(0);
    model.close(0, 1);
    model.put(1, 3..5);
    model.state().unlisted.push(name(1));
    let brought = read(parent.as_mut(), usize::MAX).await;
    assert!(brought.ended && brought.data.len() == 2, "{brought:?}");
    let complete = timeout(Duration::from_secs(60), source.next()).await.expect("a second listing").unwrap();
    assert!(matches!(complete, Some(ShardEvent::Complete { .. })), "{complete:?}");
    // The parent has ended, the child is not listed: it is looked for more and more slowly, and never given up.
    let before = model.calls("ListShards").len();
    assert!(timeout(Duration::from_secs(5 * 60), source.next()).await.is_err());
    let listings = model.calls("ListShards").len() - before;
    assert!((10..=40).contains(&listings), "{listings} listings in five minutes");
    model.state().unlisted.clear();
    let (child, parents, start) = announced(&mut source).await;
    assert_eq!((&*child.shard, parents, start), (&*name(1), shards.clone(), StartAt::TrimHorizon));
    let mut reader = source.reopen().open(&child, start).await.unwrap();
    assert_eq!(read(reader.as_mut(), 2).await.data, [b"3", b"4"]);
}

/// The parent's retention has passed between two runs: its child is announced all the same, with the parent's name.
#[tokio::test(start_paused = true)]
async fn a_parent_that_has_expired_is_gone_and_does_not_hold_up_its_child() {
    let model = Model::new(1);
    model.close(0, 1);
    model.put(0, 1..3);
    model.put(1, 3..5);
    let (mut source, shards) = model.opened_as(&config(STREAM)).await;
    let mut parent = readers(&source, &shards[..1]).await.remove(0);
    model.forget(0);
    let brought = read(parent.as_mut(), 1).await;
    assert!(brought.ended && brought.gaps.len() == 1 && brought.data.is_empty(), "{brought:?}");
    let gone = timeout(Duration::from_secs(120), news(&mut source)).await.expect("it is noticed");
    assert_eq!(gone, ShardEvent::Gone(shards[0].clone()));
    // The next run.
    let mut again = tunnelog::source::kinesis::open("main", &config(STREAM), &model.sdk()).await.unwrap();
    let (child, parents, _) = announced(&mut again).await;
    assert_eq!((child, parents), (shards[1].clone(), vec![shards[0].clone()]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_many_shards_that_was_created_again_is_read_anew() {
    let model = Model::new(50);
    let (mut source, shards) = model.opened_as(&config(STREAM)).await;
    let old = readers(&source, &shards).await;
    model.recreate();
    (0..50).for_each(|shard| model.put(shard, 1..2));
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    while new.len() < 50 {
        match timeout(Duration::from_secs(120), news(&mut source)).await.expect("it is noticed") {
            ShardEvent::Gone(shard) => gone.push(shard),
            ShardEvent::Opened { shard, start, .. } => {
                assert_eq!(start, StartAt::TrimHorizon);
                new.push(shard);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(gone, shards);
    let (_readers, found) = read_all(readers(&source, &new).await, Duration::from_secs(10)).await;
    assert_eq!(found, 50);
    drop(old);
}

/// The shard's calls and bytes over the reader's whole way: the tip keeps up while another reads from the beginning.
#[tokio::test(start_paused = true)]
async fn a_reader_that_catches_up_does_not_slow_down_the_tip() {
    let model = Model::new(1);
    model.put(0, 1..60_000);
    let (source, shards) = model.opened_as(&config(STREAM)).await;
    let reopen = source.reopen();
    let mut tip = reopen.open(&shards[0], StartAt::After(59_999.into())).await.unwrap();
    let mut behind = reopen.open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let (mut slowest, mut next) = (Duration::ZERO, 60_000_u64);
    let leading = async {
        for _ in 0..60 {
            model.put(0, next..next + 10);
            next += 10;
            let start = Instant::now();
            assert_eq!(read(tip.as_mut(), 10).await.data.len(), 10);
            slowest = slowest.max(start.elapsed());
            // As fast as it can: the tip is never idle.
        }
    };
    let catching_up = async {
        loop {
            behind.next().await.unwrap();
        }
    };
    let before = model.calls("GetRecords").len();
    let start = Instant::now();
    tokio::select! {
        () = leading => {}
        () = catching_up => unreachable!(),
    }
    let calls: Vec<Instant> = model.calls("GetRecords")[before..].iter().map(|call| call.at).collect();
    assert!(calls.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(200)), "{calls:?}");
    assert!(slowest <= Duration::from_secs(1), "a record waited for {slowest:?}");
    let share = 60.0 / start.elapsed().as_secs_f64();
    assert!(share >= 2.5, "the tip had {share} calls a second");
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_too_large_to_arrive_in_time_are_asked_for_in_smaller_ones() {
    let model = Model::new(1);
    model.put(0, 1..2_001);
    model.state().slow_beyond = Some(300);
    let (source, shards) = model.opened_as(&config(STREAM)).await;
    let mut reader = source.reopen().open(&shards[0], StartAt::TrimHorizon).await.unwrap();
    let (mut found, mut failures) = (0, 0);
    while found < 2_000 {
        match reader.next().await {
            Ok(Feed::Records(records)) => found += records.len(),
            Ok(other) => panic!("{other:?}"),
            Err(SourceError::Retry(_)) => failures += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(failures < 100, "{found} records after {failures} failures");
    }
    assert!(failures > 0);
}
