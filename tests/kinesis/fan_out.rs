//! Enhanced fan-out against the model of Kinesis, in virtual time: every record once and in order, whatever becomes of a
//! subscription.

use std::time::Duration;

use tokio::time::{Instant, advance, timeout};
use tunnelog::source::kinesis::{KinesisSource, open, probe_with};
use tunnelog::source::{Feed, Position, Reader, ShardEvent, ShardId, Source as _, SourceError, StartAt};

use super::bench::{Brought, announced, news, read};
use super::model::{Model, name};
use super::served::Fate;

/// What the service allows between two subscriptions, and what a subscription lives.
const TOO_SOON: Duration = Duration::from_secs(5);
const LIFE: Duration = Duration::from_secs(300);

async fn reader(source: &KinesisSource, shard: &ShardId, from: StartAt) -> Box<dyn Reader> {
    source.reopen().open(shard, from).await.unwrap()
}

fn after(number: u64) -> StartAt {
    StartAt::After(Position::from(number))
}

/// The numbers of what was brought.
fn numbers(brought: &Brought) -> Vec<u64> {
    brought.data.iter().map(|data| std::str::from_utf8(data).unwrap().parse().unwrap()).collect()
}

/// Reads for so long; no answer of `next` may take longer than a second and a call.
async fn read_for(reader: &mut dyn Reader, time: Duration) -> Brought {
    let (mut brought, end) = (Brought::default(), Instant::now() + time);
    while Instant::now() < end && !brought.ended {
        let next = timeout(Duration::from_millis(1_200), reader.next()).await.expect("an answer about every second");
        match next {
            Ok(Feed::Records(records)) => brought.data.extend(records.iter().map(|record| record.data.to_vec())),
            Ok(Feed::Gap { reason, .. }) => brought.gaps.push(reason),
            Ok(Feed::ShardEnd) => brought.ended = true,
            Err(SourceError::Retry(reason)) => brought.errors.push(reason),
            Err(SourceError::Fatal(reason)) => panic!("{reason}"),
        }
    }
    brought
}

/// Does something while the source is waited for, as in a pipeline.
async fn while_tended<T>(source: &mut KinesisSource, work: impl Future<Output = T>) -> T {
    tokio::select! {
        done = work => done,
        () = async { loop { source.next().await.unwrap(); } } => unreachable!("a stream has no end"),
    }
}

/// Subscriptions are at least five seconds apart.
fn assert_apart(model: &Model) -> usize {
    let times: Vec<Instant> = model.calls("SubscribeToShard").iter().map(|call| call.at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] > TOO_SOON), "{times:?}");
    times.len()
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_read_by_subscription_alone() {
    let model = Model::new(1);
    model.put(0, 1..20);
    let (source, shards) = model.opened().await;
    let before = model.calls("GetRecords").len();
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    let brought = read(reader.as_mut(), 19).await;
    assert_eq!(numbers(&brought), Vec::from_iter(1..20));
    assert!(brought.errors.is_empty() && brought.gaps.is_empty(), "{brought:?}");
    assert_eq!(model.calls("GetRecords").len(), before, "the one before is the proof at the start");
    let call = &model.calls("SubscribeToShard")[0].body;
    assert_eq!(call["StartingPosition"]["Type"], "TRIM_HORIZON");
    assert_eq!(model.calls("RegisterStreamConsumer").len(), 1);
    // Another process, or the next run, has the same consumer.
    model.opened().await;
    assert_eq!(model.calls("RegisterStreamConsumer").len(), 1);
    assert!(!model.state().calls.iter().any(|call| call.operation == "DeregisterStreamConsumer"));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_renewed_before_it_ends_and_goes_on_where_it_was() {
    let model = Model::new(1);
    let (source, shards) = model.opened().await;
    let before = model.calls("GetRecords").len();
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    let mut found = Vec::new();
    for minute in 0..20 {
        model.put(0, minute * 10 + 1..minute * 10 + 11);
        let brought = read_for(reader.as_mut(), Duration::from_secs(60)).await;
        assert!(brought.errors.is_empty() && brought.gaps.is_empty(), "{brought:?}");
        found.extend(numbers(&brought));
    }
    assert_eq!(found, Vec::from_iter(1..201));
    let calls = model.calls("SubscribeToShard");
    assert!((5..=6).contains(&calls.len()), "{} in 20 minutes", calls.len());
    assert!(calls.windows(2).all(|pair| pair[1].at - pair[0].at < LIFE), "never after its end");
    assert!(calls[1..].iter().all(|call| call.body["StartingPosition"]["Type"] == "AT_SEQUENCE_NUMBER"));
    assert_eq!(model.calls("GetRecords").len(), before);
}

/// Every way in which a subscription can end, and calls that fail, with records all the time.
#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_repeated_whatever_becomes_of_subscriptions() {
    let fates = [
        Fate::Error(2, "InternalFailureException"),
        Fate::Error(0, "ResourceInUseException"),
        Fate::Silence(3),
        Fate::Break(1),
        Fate::End(0),
        Fate::Error(1, "KMSThrottlingException"),
        Fate::Break(0),
        Fate::End(4),
        Fate::Error(3, "SomethingNewException"),
        Fate::Silence(0),
    ];
    let model = Model::new(1);
    let (source, shards) = model.opened().await;
    model.state().fates.extend(fates);
    for code in ["ResourceInUseException", "LimitExceededException", "InternalFailure", "reset"] {
        model.state().faults.entry("SubscribeToShard".into()).or_default().push_back(code);
    }
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    let (mut found, mut next) = (Vec::new(), 1);
    while !model.state().fates.is_empty() {
        model.put(0, next..next + 2);
        next += 2;
        let brought = read_for(reader.as_mut(), Duration::from_secs(2)).await;
        assert!(brought.gaps.is_empty() && brought.errors.is_empty(), "{brought:?}");
        found.extend(numbers(&brought));
    }
    found.extend(numbers(&read_for(reader.as_mut(), Duration::from_secs(60)).await));
    assert_eq!(found, Vec::from_iter(1..next));
    assert!(assert_apart(&model) >= fates.len() + 4);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_half_open_is_left_after_35_s() {
    let model = Model::new(1);
    let (source, shards) = model.opened().await;
    model.state().fates.push_back(Fate::Silence(1));
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    read_for(reader.as_mut(), Duration::from_secs(2)).await;
    model.put(0, 1..4);
    let start = Instant::now();
    let brought = read(reader.as_mut(), 3).await;
    assert_eq!(numbers(&brought), [1, 2, 3]);
    assert!((30..37).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(assert_apart(&model), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_consumer_is_in_use_elsewhere_the_shard_is_polled() {
    let model = Model::new(1);
    let (source, shards) = model.opened().await;
    model.state().always.insert("SubscribeToShard".into(), "ResourceInUseException");
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    for next in 1..31 {
        model.put(0, next..next + 1);
        let start = Instant::now();
        assert_eq!(numbers(&read(reader.as_mut(), 1).await), [next]);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    let (tries, from) = (assert_apart(&model), Instant::now());
    model.state().always.clear();
    // It is tried less and less often, but always again.
    let before = model.state().events;
    read_for(reader.as_mut(), Duration::from_secs(10 * 60)).await;
    assert!(model.state().events > before && tries >= 2, "{tries} tries, then none in {:?}", from.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_foremost_reader_subscribes_and_the_others_poll() {
    let model = Model::new(1);
    model.put(0, 1..1_000);
    let (source, shards) = model.opened().await;
    let mut behind = reader(&source, &shards[0], after(100)).await;
    let mut tip = reader(&source, &shards[0], after(900)).await;
    let (ones, twos) = tokio::join!(read(tip.as_mut(), 99), read(behind.as_mut(), 899));
    assert_eq!(numbers(&ones), Vec::from_iter(901..1_000));
    assert_eq!(numbers(&twos), Vec::from_iter(101..1_000));
    let subscriptions = model.calls("SubscribeToShard");
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(subscriptions[0].body["StartingPosition"]["SequenceNumber"], "900");
    // The tip goes; the other one takes its place.
    drop(tip);
    read_for(behind.as_mut(), Duration::from_secs(10)).await;
    let before = model.calls("GetRecords").len();
    model.put(0, 1_000..1_003);
    assert_eq!(numbers(&read(behind.as_mut(), 3).await), [1_000, 1_001, 1_002]);
    assert_eq!(assert_apart(&model), 2);
    assert_eq!(model.calls("GetRecords").len(), before);
}

#[tokio::test(start_paused = true)]
async fn who_was_overtaken_leaves_its_subscription_when_it_is_to_be_renewed() {
    let model = Model::new(1);
    model.put(0, 1..10);
    let (source, shards) = model.opened().await;
    let mut slow = reader(&source, &shards[0], after(9)).await;
    read_for(slow.as_mut(), Duration::from_secs(2)).await;
    let mut fast = reader(&source, &shards[0], after(8)).await;
    // The one that subscribed stands still for a moment: its lane is full.
    model.put(0, 10..20);
    assert_eq!(numbers(&read(fast.as_mut(), 11).await), Vec::from_iter(9..20));
    for _ in 0..300 {
        tokio::join!(read_for(slow.as_mut(), Duration::from_secs(1)), read_for(fast.as_mut(), Duration::from_secs(1)));
    }
    model.put(0, 20..22);
    let (ones, twos) = tokio::join!(read(slow.as_mut(), 2), read(fast.as_mut(), 2));
    assert_eq!((numbers(&ones), numbers(&twos)), (vec![20, 21], vec![20, 21]));
    assert!(assert_apart(&model) >= 2);
}

#[tokio::test(start_paused = true)]
async fn a_shards_end_is_known_from_the_last_event() {
    let model = Model::new(2);
    model.put(0, 1..8);
    let (mut source, shards) = model.opened().await;
    let mut first = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    assert_eq!(numbers(&read(first.as_mut(), 4).await)[..4], [1, 2, 3, 4]);
    model.close(0, 7);
    let brought = read(first.as_mut(), usize::MAX).await;
    assert!(brought.ended && brought.gaps.is_empty(), "{brought:?}");
    let (child, parents, start) = announced(&mut source).await;
    assert_eq!((&*child.shard, parents, start), (&*name(7), vec![shards[0].clone()], StartAt::TrimHorizon));
    // A closed shard from its end: no record, and the end.
    let mut again = reader(&source, &shards[0], after(7)).await;
    let brought = read(again.as_mut(), 1).await;
    assert!(brought.ended && brought.data.is_empty() && brought.gaps.is_empty(), "{brought:?}");
}

#[tokio::test(start_paused = true)]
async fn what_expired_before_a_subscription_began_is_a_gap() {
    let model = Model::new(1);
    model.put(0, 1..20);
    model.expire(0, 12);
    let (source, shards) = model.opened().await;
    let mut reader = reader(&source, &shards[0], after(5)).await;
    let brought = read(reader.as_mut(), 8).await;
    assert_eq!(numbers(&brought), Vec::from_iter(12..20));
    assert_eq!(brought.gaps.len(), 1, "{:?}", brought.gaps);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_expires_under_a_subscription_is_a_gap_and_then_its_end() {
    let model = Model::new(2);
    model.put(0, 1..3);
    let (source, shards) = model.opened().await;
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    read(reader.as_mut(), 2).await;
    model.forget(0);
    let brought = read(reader.as_mut(), 1).await;
    assert!(brought.ended && brought.data.is_empty(), "{brought:?}");
    assert!(brought.gaps[0].contains("has expired"), "{brought:?}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_was_deleted_is_registered_again() {
    let model = Model::new(1);
    let (mut source, shards) = model.opened().await;
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    model.put(0, 1..4);
    read(reader.as_mut(), 3).await;
    model.state().consumer = None;
    model.put(0, 4..40);
    let brought = read(reader.as_mut(), 36).await;
    assert_eq!(numbers(&brought), Vec::from_iter(4..40));
    assert!(brought.gaps.is_empty() && brought.errors.is_empty(), "{brought:?}");
    while_tended(&mut source, read_for(reader.as_mut(), Duration::from_secs(30))).await;
    assert_eq!(model.calls("RegisterStreamConsumer").len(), 2);
    let before = model.state().events;
    read_for(reader.as_mut(), Duration::from_secs(10)).await;
    assert!(model.state().events > before, "it is subscribed again");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_created_again_has_a_consumer_of_its_own() {
    let model = Model::new(1);
    model.put(0, 1..4);
    let (mut source, shards) = model.opened().await;
    let mut old = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    read(old.as_mut(), 3).await;
    model.recreate();
    model.put(0, 1..3);
    let brought = read(old.as_mut(), 1).await;
    assert!(brought.ended && brought.gaps[0].contains("deleted and created again"), "{brought:?}");
    assert_eq!(news(&mut source).await, ShardEvent::Gone(shards[0].clone()));
    let (shard, _, start) = announced(&mut source).await;
    let mut new = reader(&source, &shard, start).await;
    assert_eq!(numbers(&read(new.as_mut(), 2).await), [1, 2]);
    while_tended(&mut source, read_for(new.as_mut(), Duration::from_secs(20))).await;
    let arn = model.calls("SubscribeToShard").last().unwrap().body["ConsumerARN"].to_string();
    let made = model.state().consumer.unwrap();
    assert!(arn.ends_with(&format!(":{made}\"")), "{arn}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_at_any_pause_loses_nothing() {
    let model = Model::new(1);
    model.put(0, 1..40);
    let (source, shards) = model.opened().await;
    model.state().fates.extend([Fate::Error(3, "InternalFailureException"), Fate::Break(2)]);
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    let mut found = Vec::new();
    while found.len() < 39 {
        if let Ok(next) = timeout(Duration::from_millis(7), reader.next()).await
            && let Feed::Records(records) = next.unwrap()
        {
            found.extend(records.iter().map(|record| record.position));
        }
    }
    assert_eq!(found, Vec::from_iter((1..40).map(Position::from)));
}

#[tokio::test(start_paused = true)]
async fn events_are_taken_no_faster_than_they_are_asked_for_and_a_line_that_stands_still_is_closed() {
    let model = Model::new(1);
    model.put(0, 1..40);
    let (mut source, shards) = model.opened().await;
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    assert_eq!(numbers(&read(reader.as_mut(), 3).await), [1, 2, 3]);
    // Nobody takes; the source is waited for as in a pipeline.
    assert!(timeout(Duration::from_secs(9), source.next()).await.is_err());
    assert!(model.state().events <= 4, "{} events for one that was taken", model.state().events);
    let complete = timeout(Duration::from_secs(60), source.next()).await.expect("a second listing").unwrap();
    assert!(matches!(complete, Some(ShardEvent::Complete { .. })), "{complete:?}");
    assert!(timeout(Duration::from_secs(60), source.next()).await.is_err());
    let brought = read(reader.as_mut(), 36).await;
    assert_eq!(numbers(&brought), Vec::from_iter(4..40));
    assert!(brought.gaps.is_empty() && brought.errors.is_empty(), "{brought:?}");
    assert_eq!(assert_apart(&model), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_in_time_is_asked_for_and_one_at_the_end_waits() {
    let model = Model::new(1);
    let (source, shards) = model.opened().await;
    let mut reader = reader(&source, &shards[0], StartAt::AtTimestamp(1_700_000_000_000)).await;
    let brought = read_for(reader.as_mut(), Duration::from_secs(30)).await;
    assert!(brought.data.is_empty() && brought.errors.is_empty());
    let position = model.calls("SubscribeToShard")[0].body["StartingPosition"].clone();
    assert_eq!((&position["Type"], position["Timestamp"].as_f64()), (&"AT_TIMESTAMP".into(), Some(1_700_000_000.0)));
}

async fn polls_in_place_of(operation: &str, code: &'static str, said: &[&str]) {
    let model = Model::new(1);
    model.state().always.insert(operation.into(), code);
    let (mut source, shards) = model.opened().await;
    model.put(0, 1..4);
    let mut reader = reader(&source, &shards[0], StartAt::TrimHorizon).await;
    let brought = read(reader.as_mut(), 3).await;
    assert_eq!(numbers(&brought), [1, 2, 3], "{operation} {code}");
    assert!(brought.errors.is_empty(), "{brought:?}");
    let word = probe_with(&Model::config(), &model.sdk()).await.unwrap();
    for said in said {
        assert!(word.contains(said), "`{said}` is missing in {word}");
    }
    // It is tried again, not often, and found to work once it does.
    model.state().always.clear();
    while_tended(&mut source, read_for(reader.as_mut(), Duration::from_secs(12 * 60))).await;
    assert!(model.state().events > 0, "{operation} {code}");
}

#[tokio::test(start_paused = true)]
async fn where_fan_out_cannot_be_had_the_stream_is_polled() {
    let allow = "allow `kinesis:DescribeStreamConsumer`";
    polls_in_place_of("DescribeStreamConsumer", "AccessDeniedException", &["will be polled", allow]).await;
    let offered = "does not offer it";
    polls_in_place_of("DescribeStreamConsumer", "UnknownOperationException", &["will be polled", offered]).await;
    polls_in_place_of("RegisterStreamConsumer", "AccessDeniedException", &["is registered at the first start"]).await;
    polls_in_place_of("SubscribeToShard", "AccessDeniedException", &["enhanced fan-out by its consumer"]).await;
    polls_in_place_of("SubscribeToShard", "UnknownOperationException", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_cannot_be_had_by_waiting_is_refused_at_the_start() {
    let model = Model::new(1);
    model.state().always.insert("RegisterStreamConsumer".into(), "LimitExceededException");
    let error = open("main", &Model::config(), &model.sdk()).await.err().expect("an error").to_string();
    for part in ["as many consumers as AWS allows", "deregister one", "remove `consumer`"] {
        assert!(error.contains(part), "`{part}` is missing in {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_registers_nothing_and_subscribes_to_nothing() {
    let model = Model::new(1);
    let said = probe_with(&Model::config(), &model.sdk()).await.unwrap();
    assert!(said.ends_with("; enhanced fan-out: consumer `tunnelog` is registered at the first start"), "{said}");
    model.state().consumer = Some(1);
    let said = probe_with(&Model::config(), &model.sdk()).await.unwrap();
    assert!(said.ends_with("; enhanced fan-out by its consumer `tunnelog`"), "{said}");
    for operation in ["RegisterStreamConsumer", "SubscribeToShard"] {
        assert!(model.calls(operation).is_empty(), "{operation}");
    }
    advance(Duration::from_secs(1)).await;
}
