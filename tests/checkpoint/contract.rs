//! What every checkpoint store must do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tunnelog::checkpoint::{ManagedStore, Remembered, StoreError};
use tunnelog::delivery::{At, LaneKey, LaneState, Seal};
use tunnelog::source::{Position, ShardId, StartAt};

/// A place for one store: opened again and again, never twice at a time.
#[async_trait]
pub(crate) trait Opens: Send + Sync {
    async fn open(&self) -> Box<dyn ManagedStore>;
}

type States = BTreeMap<LaneKey, LaneState>;

pub(crate) fn lane(shard: usize, sink: &str) -> LaneKey {
    let shard = ShardId {
        source: "main".into(),
        stream: "arn:aws:kinesis:eu-central-1:111122223333:stream/vpn-logs".into(),
        stream_created: "1700000000000".into(),
        shard: format!("shardId-{shard:012}").into(),
    };
    LaneKey { pipeline: "siem".into(), shard, sink: sink.into() }
}

pub(crate) fn after(position: u64) -> LaneState {
    LaneState { at: At::After(position.into()), seal: None }
}

/// A sealed chunk of so many objects: with 1,500 it has more than 400 KB.
pub(crate) fn sealed(position: u64, objects: usize) -> LaneState {
    let seal = Seal {
        start: (position + 1).into(),
        end: (position + 2).into(),
        keys: (0..objects).map(|key| format!("vpn/dt=2026-01-15/ä/{key:0120}-{position}.ndjson.gz")).collect(),
        upload_ids: (0..objects).map(|id| format!("{id:0150}")).collect(),
    };
    LaneState { at: At::After(position.into()), seal: Some(seal) }
}

pub(crate) async fn load(store: &mut dyn ManagedStore) -> States {
    store.load().await.unwrap().into_iter().collect()
}

/// As a pipeline does: again and again, since an emulator on a busy machine may answer late.
pub(crate) async fn commit(store: &mut dyn ManagedStore, states: &[(LaneKey, LaneState)]) {
    while let Err(error) = store.commit(states.to_vec()).await {
        assert!(matches!(error, StoreError::Retry(_)), "{error}");
    }
}

/// All of it; each part has a place of its own.
pub(crate) async fn check<O: Opens>(place: impl Fn() -> O) {
    what_is_committed_is_loaded(&place()).await;
    large_states_are_kept_replaced_and_forgotten(&place()).await;
    thousands_of_lanes(&place()).await;
    what_is_forgotten_is_gone_and_renames_its_sink(&place()).await;
}

async fn what_is_committed_is_loaded(place: &dyn Opens) {
    let mut store = place.open().await;
    assert!(load(&mut *store).await.is_empty());
    let start = LaneState { at: At::Start(StartAt::AtTimestamp(-5)), seal: None };
    let end = LaneState { at: At::ShardEnd, seal: None };
    let large = LaneState { at: At::After(Position::parse(&"9".repeat(56)).unwrap()), seal: None };
    let mut expected: States = [
        (lane(1, "siem"), start),
        (lane(1, "dead letters"), large),
        (lane(1, "removed"), after(3)),
        (lane(2, "siem"), sealed(7, 2)),
        (lane(3, "siem"), end),
    ]
    .into();
    commit(&mut *store, &expected.clone().into_iter().collect::<Vec<_>>()).await;
    assert_eq!(load(&mut *store).await, expected);

    // Some lanes move on; the others, of removed sinks too, stay as they are.
    let changes = [(lane(1, "siem"), after(8)), (lane(2, "siem"), sealed(9, 3))];
    commit(&mut *store, &changes).await;
    expected.extend(changes);
    store.close().await;
    drop(store);
    let mut store = place.open().await;
    assert_eq!(load(&mut *store).await, expected);
    let ages: Vec<_> = store.list().await.unwrap().into_iter().map(|lane| lane.updated).collect();
    assert!(ages.iter().all(|age| age.is_some_and(|age| age.is_plausible())), "{ages:?}");

    // A seal that is published goes; a commit of nothing changes nothing.
    let changes = [(lane(2, "siem"), after(11))];
    commit(&mut *store, &changes).await;
    commit(&mut *store, &[]).await;
    expected.extend(changes);
    assert_eq!(load(&mut *store).await, expected);
    store.close().await;
}

async fn large_states_are_kept_replaced_and_forgotten(place: &dyn Opens) {
    let mut store = place.open().await;
    let mut expected = States::new();
    for state in [sealed(10, 1500), sealed(20, 2500), sealed(20, 40), sealed(30, 1500), after(40)] {
        assert!(state.seal.as_ref().is_none_or(|seal| seal.keys.len() < 100 || size(&state) > 400_000));
        expected.extend([(lane(1, "lake"), state.clone()), (lane(1, "siem"), after(50))]);
        commit(&mut *store, &[(lane(1, "lake"), state), (lane(1, "siem"), after(50))]).await;
        assert_eq!(load(&mut *store).await, expected);
        // A neighbour moves on while the large one stands.
        expected.insert(lane(1, "siem"), after(51));
        commit(&mut *store, &[(lane(1, "siem"), after(51))]).await;
        store.close().await;
        drop(store);
        store = place.open().await;
        assert_eq!(load(&mut *store).await, expected);
    }
    store.close().await;
}

fn size(state: &LaneState) -> usize {
    serde_json::to_string(state).unwrap().len()
}

async fn thousands_of_lanes(place: &dyn Opens) {
    let mut store = place.open().await;
    let all = |position| {
        (0..300)
            .flat_map(move |shard| ["a", "b", "c", "d", "e", "f", "g"].map(|sink| (lane(shard, sink), after(position))))
    };
    commit(&mut *store, &all(1).collect::<Vec<_>>()).await;
    commit(&mut *store, &all(2).collect::<Vec<_>>()).await;
    store.close().await;
    drop(store);
    let mut store = place.open().await;
    assert_eq!(load(&mut *store).await, all(2).collect::<States>());
    store.close().await;
}

async fn what_is_forgotten_is_gone_and_renames_its_sink(place: &dyn Opens) {
    let mut store = place.open().await;
    let begun = LaneState { at: At::Start(StartAt::TrimHorizon), seal: None };
    let states = [
        (lane(1, "lake"), sealed(1, 1500)),
        (lane(1, "siem"), after(1)),
        (lane(2, "lake"), after(1)),
        (lane(2, "new"), begun),
    ];
    commit(&mut *store, &states).await;
    let (lake, siem) = (store.name().of("lake"), store.name().of("siem"));
    assert_eq!(lake, siem, "one store, one name");
    let listed: Vec<Remembered> = store.list().await.unwrap();
    let gone = |sink: &str| -> Vec<_> { listed.iter().filter(|lane| &*lane.key.sink == sink).cloned().collect() };
    store.forget(&gone("lake")).await.unwrap();
    store.forget(&gone("new")).await.unwrap();
    store.close().await;
    drop(store);
    let mut store = place.open().await;
    assert_eq!(load(&mut *store).await, [(lane(1, "siem"), after(1))].into());
    assert_ne!(store.name().of("lake"), lake, "what it delivers again does not match what is there");
    assert_eq!(store.name().of("siem"), siem);
    assert_eq!(store.name().of("new"), lake, "nothing was delivered, so nothing comes again");

    // Again: another name again.
    let second = store.name().of("lake");
    commit(&mut *store, &[(lane(1, "lake"), after(1))]).await;
    let listed = store.list().await.unwrap();
    store.forget(&listed).await.unwrap();
    assert!(![lake, second].contains(&store.name().of("lake")));
    assert!(load(&mut *store).await.is_empty());
    store.close().await;
}
