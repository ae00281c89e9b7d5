//! What a consumer finds: topic, key, headers, time, payload.

use std::collections::BTreeMap;

use tunnelog::config::types::KafkaKey;
use tunnelog::event::Millis;

use super::bench::{Bench, Load, Odd};
use super::contract::check_once;
use super::far::{Real, Seen};
use super::stack;

async fn deliver(far: &Real, load: Load) -> Vec<Seen> {
    let mut bench = Bench::new(load, far, BTreeMap::new());
    bench.finish().await;
    far.0.seen()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_key_headers_the_time_of_its_sending_and_the_event_alone() {
    let far = Real::new(4);
    let time = Millis(1_762_580_429_641);
    let load = Load { odd: Some(((1, 6, 1), Odd { padding: 0, time })), ..Load::default() };
    let seen = deliver(&far, load).await;
    let found = seen.iter().find(|seen| seen.payload == br#"{"id":"1/6/1","pad":""}"#).expect("it is there");
    let headers = [("id", "000000000000000000000000000f427d"), ("kind", "ike"), ("schema", "tunnelog.event/1")];
    assert_eq!(found.headers, headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(found.key.as_deref(), Some("stream-1"), "the log stream where the connection is unknown");
    // A topic's retention counts from a message's time: that of a year-old event would have it deleted at once.
    assert!(found.time_ms.is_some_and(|ms| ms > time.0 + 86_400_000), "{:?} is the event's own", found.time_ms);
    for shard in 0..3 {
        let key = format!("stream-{shard}");
        let own: Vec<&Seen> = seen.iter().filter(|seen| seen.key.as_ref() == Some(&key)).collect();
        assert!(own.len() > 50 && own.iter().all(|seen| seen.partition == own[0].partition), "one partition a key");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_may_be_made_of_the_events_own_words() {
    let base = stack::unique("made");
    let mut far = Real::new(1).on_topic(&format!("{base}.ike.unknown-unknown"), 3);
    far.0.config.topic = format!("{base}.{{kind}}.{{account}}-{{region}}");
    deliver(&far, Load::default()).await;
    check_once(&far, Load::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_lost() {
    let mut far = Real::new(1);
    far.0.config.key = KafkaKey::None;
    let seen = deliver(&far, Load::default()).await;
    assert!(seen.iter().all(|seen| seen.key.is_none()));
    check_once(&far, Load::default());
}
