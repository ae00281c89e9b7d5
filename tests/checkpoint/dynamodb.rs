//! The lease, the fence, and every way in which a call can go wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use tunnelog::checkpoint::{CheckpointStore as _, DynamoStore, ManagedStore as _, Patience, StoreError};
use tunnelog::delivery::{At, LaneState};

use super::contract::{after, commit, lane, load, sealed};
use super::proxy::{Call, Verdict};
use super::stack;
use super::world::World;

const LONG: Duration = Duration::from_secs(600);
/// A lease that lapses soon where nobody renews it; nothing depends on how soon.
const SHORT: Duration = Duration::from_secs(1);

async fn try_commit(store: &mut DynamoStore, position: u64) -> Result<(), StoreError> {
    store.commit(vec![(lane(1, "siem"), after(position))]).await
}

#[track_caller]
fn is_fenced(outcome: Result<(), StoreError>) {
    match outcome {
        Err(StoreError::Fenced(text)) => assert!(text.contains("taken over by process"), "{text}"),
        other => panic!("it should be fenced, and says {other:?}"),
    }
}

#[track_caller]
fn is_retried(outcome: Result<(), StoreError>, text: &str) {
    match outcome {
        Err(StoreError::Retry(reason)) => assert!(reason.contains(text), "`{text}` is missing in: {reason}"),
        other => panic!("it should be tried again, and says {other:?}"),
    }
}

#[tokio::test]
async fn a_process_that_wakes_after_its_lease_has_lapsed_changes_nothing() {
    let world = World::new();
    let mut old = world.process(SHORT, Patience::Wait).await.unwrap();
    load(&mut old).await;
    try_commit(&mut old, 1).await.unwrap();
    // It is paused; the next process waits until the lease has lapsed.
    let mut new = world.process(SHORT, Patience::Wait).await.unwrap();
    assert_eq!(load(&mut new).await, [(lane(1, "siem"), after(1))].into());
    is_fenced(try_commit(&mut old, 2).await);
    is_fenced(old.commit(vec![(lane(1, "lake"), sealed(9, 1500))]).await);
    is_fenced(old.keep().await);
    is_fenced(old.forget(&[]).await.and(try_commit(&mut old, 3).await));
    // Nor does its orderly end take anything from the other one.
    old.close().await;
    try_commit(&mut new, 4).await.unwrap();
    assert_eq!(load(&mut new).await, [(lane(1, "siem"), after(4))].into());
    new.close().await;
}

#[tokio::test]
async fn what_a_fenced_process_wrote_apart_is_found_and_removed() {
    let world = World::new();
    let mut old = world.process(SHORT, Patience::Wait).await.unwrap();
    commit(&mut old, &[(lane(1, "lake"), sealed(1, 1500))]).await;
    let mut new = world.process(SHORT, Patience::Wait).await.unwrap();
    load(&mut new).await;
    let parts = world.items("part/").await;
    assert!(parts.len() > 1);
    is_fenced(old.commit(vec![(lane(1, "lake"), sealed(2, 2500))]).await);
    assert!(world.items("part/").await.len() > parts.len(), "it was written before the fence");
    assert_eq!(load(&mut new).await, [(lane(1, "lake"), sealed(1, 1500))].into());
    assert_eq!(world.items("part/").await, parts);
}

#[tokio::test]
async fn a_process_that_ends_in_order_is_followed_at_once() {
    let world = World::new();
    let mut first = world.process(LONG, Patience::Wait).await.unwrap();
    try_commit(&mut first, 1).await.unwrap();
    let ending = async {
        // The second one has looked, and waits.
        let mut looks = 0;
        while looks < 2 {
            tokio::task::yield_now().await;
            looks += world.proxy.seen().iter().filter(|call| call.is("GetItem")).count();
        }
        first.close().await;
    };
    // The lease is of ten minutes: it cannot lapse here.
    let (second, ()) = tokio::join!(world.process(LONG, Patience::Wait), ending);
    let mut second = second.unwrap();
    assert_eq!(load(&mut second).await, [(lane(1, "siem"), after(1))].into());
    is_fenced(try_commit(&mut first, 2).await);
}

#[tokio::test]
async fn a_process_that_is_alive_is_not_disturbed() {
    let world = World::new();
    let mut first = world.process(LONG, Patience::Wait).await.unwrap();
    let working = async {
        for position in 1.. {
            if try_commit(&mut first, position).await.is_err() {
                panic!("it has lost its lease");
            }
        }
    };
    let refused = tokio::select! {
        () = working => unreachable!(),
        refused = world.process(LONG, Patience::Refuse) => refused.err().unwrap().to_string(),
    };
    assert!(refused.contains("is held by process") && refused.contains("stop it first"), "{refused}");
    try_commit(&mut first, 0).await.unwrap();
}

#[tokio::test]
async fn an_idle_process_renews_its_lease() {
    let world = World::new();
    let mut first = world.process(SHORT, Patience::Wait).await.unwrap();
    world.proxy.seen();
    for _ in 0..3 {
        first.keep().await.unwrap();
    }
    assert_eq!(world.proxy.seen().iter().filter(|call| call.is("UpdateItem")).count(), 3);
    // A commit renews it too.
    try_commit(&mut first, 1).await.unwrap();
    let begun = tokio::time::Instant::now();
    first.keep().await.unwrap();
    assert!(begun.elapsed() >= SHORT / 4, "it was not due yet");
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_has_succeeded() {
    let world = World::new();
    let mut store = world.store().await;
    load(&mut store).await;
    // The SDK asks again, and is refused since the first try was heard.
    world.proxy.next(1, Verdict::LoseAnswer, Call::is_commit);
    try_commit(&mut store, 1).await.unwrap();
    // All answers of a call are lost; the lease tells.
    world.proxy.next(3, Verdict::LoseAnswer, Call::is_commit);
    try_commit(&mut store, 2).await.unwrap();
    // Even that cannot be asked for a while: it is repeated, and nothing is taken for a fence.
    world.proxy.judge(|call| if call.is("UpdateItem") { Verdict::Pass } else { Verdict::LoseAnswer });
    is_retried(try_commit(&mut store, 3).await, "dynamodb:UpdateItem");
    world.proxy.heal();
    try_commit(&mut store, 3).await.unwrap();
    try_commit(&mut store, 4).await.unwrap();
    assert_eq!(load(&mut store).await, [(lane(1, "siem"), after(4))].into());
}

#[tokio::test]
async fn a_commit_that_arrives_late_does_not_undo_what_came_after() {
    let world = World::new();
    let mut store = world.store().await;
    load(&mut store).await;
    world.proxy.next(3, Verdict::Late, Call::is_commit);
    is_retried(try_commit(&mut store, 1).await, "dynamodb:UpdateItem");
    try_commit(&mut store, 1).await.unwrap();
    try_commit(&mut store, 2).await.unwrap();
    let statuses = world.proxy.arrive();
    assert_eq!(statuses, [400, 400, 400], "the condition has passed");
    assert_eq!(load(&mut store).await, [(lane(1, "siem"), after(2))].into());
    // Late, but before the next try: that one goes on from it.
    world.proxy.next(3, Verdict::Late, Call::is_commit);
    is_retried(try_commit(&mut store, 3).await, "dynamodb:UpdateItem");
    assert_eq!(world.proxy.arrive(), [200, 400, 400]);
    try_commit(&mut store, 3).await.unwrap();
    try_commit(&mut store, 4).await.unwrap();
    assert_eq!(load(&mut store).await, [(lane(1, "siem"), after(4))].into());
}

#[tokio::test]
async fn throttles_and_failures_of_the_service_pass() {
    let world = World::new();
    let mut store = world.store().await;
    load(&mut store).await;
    let errors = [
        (400, "ProvisionedThroughputExceededException"),
        (400, "ThrottlingException"),
        (400, "TransactionConflictException"),
        (400, "TransactionInProgressException"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (400, "AccessDeniedException"),
    ];
    for (round, (status, code)) in errors.into_iter().enumerate() {
        let position = round as u64 + 1;
        world.proxy.judge(move |_| Verdict::Answer(status, code));
        is_retried(try_commit(&mut store, position).await, code);
        world.proxy.heal();
        try_commit(&mut store, position).await.unwrap();
        // One of a few: the SDK is patient.
        if code != "AccessDeniedException" && !code.starts_with("Transaction") {
            world.proxy.next(1, Verdict::Answer(status, code), Call::is_commit);
            try_commit(&mut store, position + 100).await.unwrap();
        }
    }
    // What is refused for what it says will be so again.
    world.proxy.judge(
        |call| {
            if call.is_commit() { Verdict::Answer(400, "ValidationException") } else { Verdict::Pass }
        },
    );
    assert!(matches!(try_commit(&mut store, 9).await, Err(StoreError::Fenced(_))));
}

#[tokio::test]
async fn a_commit_of_many_shards_that_fails_is_remembered_up_to_a_point() {
    let world = World::new();
    let mut store = world.store().await;
    load(&mut store).await;
    let states: Vec<_> = (0..250).map(|shard| (lane(shard, "siem"), after(1))).collect();
    for transactions in 0..3 {
        let mut passed = 0;
        world.proxy.judge(move |call| {
            if !call.is_commit() {
                return Verdict::Pass;
            }
            passed += 1;
            if passed <= transactions { Verdict::Pass } else { Verdict::Lose }
        });
        is_retried(store.commit(states.clone()).await, "dynamodb:UpdateItem");
        let found = load(&mut store).await;
        let beginning: BTreeMap<_, _> = states.iter().take(99 * transactions).cloned().collect();
        assert_eq!(found, beginning, "after {transactions} transactions");
    }
    world.proxy.heal();
    commit(&mut store, &states).await;
    assert_eq!(load(&mut store).await.len(), 250);
}

#[tokio::test]
async fn a_crash_between_the_parts_of_a_state_and_its_item_leaves_the_state_before() {
    let world = World::new();
    let mut old = world.process(SHORT, Patience::Wait).await.unwrap();
    commit(&mut old, &[(lane(1, "lake"), sealed(1, 1500))]).await;
    let before = world.items("part/").await;
    for verdict in [Verdict::Lose, Verdict::LoseAnswer] {
        // Some parts are written, and then nothing more is heard.
        let mut puts = 0;
        world.proxy.judge(move |call| {
            puts += usize::from(call.is("PutItem"));
            if call.is_commit() || puts > 2 { verdict } else { Verdict::Pass }
        });
        assert!(matches!(old.commit(vec![(lane(1, "lake"), sealed(5, 2500))]).await, Err(StoreError::Retry(_))));
    }
    drop(old);
    world.proxy.heal();
    assert!(world.items("part/").await.len() > before.len());
    let mut new = world.process(SHORT, Patience::Wait).await.unwrap();
    let found = load(&mut new).await;
    assert_eq!(found, [(lane(1, "lake"), sealed(1, 1500))].into());
    assert_eq!(world.items("part/").await, before, "the others are removed");
}

#[tokio::test]
async fn a_large_commit_that_is_repeated_for_long_writes_its_parts_once() {
    let world = World::new();
    let mut store = world.store().await;
    load(&mut store).await;
    world.proxy.judge(|call| if call.is_commit() { Verdict::Lose } else { Verdict::Pass });
    let states = vec![(lane(1, "lake"), sealed(1, 1500))];
    for _ in 0..3 {
        assert!(matches!(store.commit(states.clone()).await, Err(StoreError::Retry(_))));
    }
    let parts = world.items("part/").await;
    world.proxy.heal();
    commit(&mut store, &states).await;
    assert_eq!(world.items("part/").await, parts);
    // What another state replaces is removed at once.
    commit(&mut store, &[(lane(1, "lake"), after(3))]).await;
    assert!(world.items("part/").await.is_empty());
}

#[tokio::test]
async fn a_shard_of_hundreds_of_sinks_stays_within_an_item() {
    let world = World::new();
    let mut store = world.store().await;
    let states: Vec<_> = (0..120).map(|sink| (lane(1, &format!("sink-{sink}")), sealed(1, 18))).collect();
    assert!(serde_json::to_string(&states[0].1).unwrap().len() * 120 > 600_000);
    commit(&mut store, &states).await;
    let end: Vec<_> = states.iter().map(|(key, _)| (key.clone(), LaneState { at: At::ShardEnd, seal: None })).collect();
    assert_eq!(load(&mut store).await, states.into_iter().collect());
    for call in world.proxy.seen().into_iter().filter(Call::is_commit) {
        let items = call.body["TransactItems"].as_array().unwrap();
        assert!(items.iter().all(|item| item.to_string().len() < 400_000));
    }
    commit(&mut store, &end).await;
    assert_eq!(load(&mut store).await, end.into_iter().collect());
    assert!(world.items("part/").await.is_empty());
}

#[tokio::test]
async fn pipelines_share_a_table_and_nothing_else() {
    let world = World::new();
    let sdk = stack::aws(&world.proxy.endpoint, "any", "key");
    let mut stores = Vec::new();
    for name in ["siem", "siem.replay", "lake"] {
        stores.push(DynamoStore::open_with(&world.config(LONG), &sdk, name, Patience::Wait).await.unwrap());
    }
    for (position, store) in stores.iter_mut().enumerate() {
        try_commit(store, position as u64).await.unwrap();
    }
    let mut names = Vec::new();
    for (position, store) in stores.iter_mut().enumerate() {
        assert_eq!(load(store).await, [(lane(1, "siem"), after(position as u64))].into());
        names.push(store.name().id.clone());
    }
    names.dedup();
    assert_eq!(names.len(), 3, "each is a store of its own");
}

#[tokio::test]
async fn a_table_that_is_not_there_is_told_with_the_command_that_makes_it() {
    let world = World::new();
    let config = tunnelog::config::types::DynamoDb { create: false, ..world.config(LONG) };
    let sdk = stack::aws(&world.proxy.endpoint, "any", "key");
    let error = DynamoStore::open_with(&config, &sdk, "siem", Patience::Wait).await.err().unwrap().to_string();
    for text in
        [&format!("aws dynamodb create-table --table-name {}", world.table), "set `create: true`", "KeyType=RANGE"]
    {
        assert!(error.contains(text), "{error}");
    }
    assert!(world.proxy.seen().iter().all(|call| !call.is("CreateTable")));
    // On request it is made; a lost answer, or somebody who was faster, does not matter.
    world.proxy.next(1, Verdict::LoseAnswer, |call| call.is("CreateTable"));
    let mut store = world.store().await;
    assert!(load(&mut store).await.is_empty());
    let made = world.client().describe_table().table_name(&world.table).send().await.unwrap();
    let mode = made.table().unwrap().billing_mode_summary().and_then(|summary| summary.billing_mode().cloned());
    assert_eq!(mode, Some(BillingMode::PayPerRequest));
}

#[tokio::test]
async fn a_table_of_somebody_else_is_refused() {
    let world = World::new();
    let attribute =
        AttributeDefinition::builder().attribute_name("leaseKey").attribute_type(ScalarAttributeType::S).build();
    let key = KeySchemaElement::builder().attribute_name("leaseKey").key_type(KeyType::Hash).build();
    let call = world.client().create_table().table_name(&world.table).billing_mode(BillingMode::PayPerRequest);
    call.attribute_definitions(attribute.unwrap()).key_schema(key.unwrap()).send().await.unwrap();
    let error = world.process(LONG, Patience::Wait).await.err().unwrap().to_string();
    assert!(error.contains("has other keys") && error.contains("another `table`"), "{error}");
}

#[tokio::test]
async fn an_item_that_cannot_be_understood_is_no_empty_checkpoint() {
    let world = World::new();
    let mut store = world.store().await;
    try_commit(&mut store, 1).await.unwrap();
    let found = world.client().scan().table_name(&world.table).send().await.unwrap();
    let mut item = found.items().iter().find(|item| item["sk"].as_s().unwrap().starts_with("shard/")).unwrap().clone();
    item.insert("lanes".into(), AttributeValue::S("of a later version".into()));
    world.client().put_item().table_name(&world.table).set_item(Some(item)).send().await.unwrap();
    match store.load().await {
        Err(StoreError::Fenced(text)) => assert!(text.contains("does not understand"), "{text}"),
        other => panic!("{other:?}"),
    }
}
