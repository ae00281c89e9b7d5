//! The pipelines that write somebody else's schema, as their users run them.

use std::collections::BTreeSet;

use serde_json::Value;
use tunnelog::event::Millis;

use crate::support::text;
use crate::{World, count, far, shipped, small_day, stack};

/// The ids of the events that a pipeline must deliver, upstream's own duplicates once.
fn ids<'e>(events: impl IntoIterator<Item = &'e Value>, pointer: &str) -> BTreeSet<String> {
    events.into_iter().map(|event| text(event, pointer).to_owned()).collect()
}

#[test]
fn the_pipeline_for_elastic_delivers_every_event_as_ecs() {
    let (day, world) = (small_day(), World::new(2));
    let expected = day.expected();
    world.stream.put(&day.records);
    let mut running = world.start(&shipped("elastic.yaml"));
    let all = count(&expected);
    world.wait_while_it_runs(&mut running, "everything is in the topic", || world.in_topic().len() >= all);
    world.stop(&mut running);

    let messages = far::topic(&stack::kafka().plain, &world.topic);
    assert_eq!(messages.len(), all);
    for message in &messages {
        let header = |name: &str| message.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let event = &message.event;
        assert_eq!((header("id"), header("schema")), (Some(text(event, "/event/id")), Some("ecs/9.4.0")));
        assert_eq!(text(event, "/labels/pipeline"), "elastic");
        if let Some(connection) = event.pointer("/aws/vpn/connection_id") {
            assert_eq!(message.key.as_deref(), connection.as_str());
        }
    }
    assert_eq!(
        ids(messages.iter().map(|message| &message.event), "/event/id"),
        ids(expected.values().flatten(), "/id")
    );
}

#[test]
fn the_pipeline_for_security_lake_has_one_class_a_source_and_its_partitions() {
    let (day, world) = (small_day(), World::new(2));
    let expected = day.expected();
    world.stream.put(&day.records);
    let mut running = world.start(&shipped("security-lake.yaml"));
    let client = stack::s3().client();
    let objects = || far::bucket(&client, &world.bucket, "ocsf/");
    let all = count(&expected);
    let delivered = || objects().iter().map(|(_, events)| events.len()).sum::<usize>();
    world.wait_while_it_runs(&mut running, "everything is in the bucket", || delivered() >= all);
    world.stop(&mut running);

    let objects = objects();
    for (key, event) in objects.iter().flat_map(|(key, events)| events.iter().map(move |event| (key, event))) {
        let source = match event["class_uid"].as_u64() {
            Some(4001) => "vpn-network",
            Some(4014) => "vpn-tunnel",
            Some(6008) => "vpn-error",
            other => panic!("class {other:?} in {key}"),
        };
        let time = Millis(event["time"].as_i64().unwrap()).to_string();
        let day = time[..10].replace('-', "");
        let account = text(event, "/cloud/account/uid");
        assert!(key.starts_with(&format!("ocsf/{source}/region=")), "{key} holds an event of {source}");
        assert!(key.contains(&format!("/accountId={account}/eventDay={day}/")), "{key}: {account} {day}");
    }
    let events: Vec<&Value> = objects.iter().flat_map(|(_, events)| events).collect();
    assert_eq!(events.len(), all, "the events of each record exactly once");
    assert_eq!(ids(events, "/metadata/uid"), ids(expected.values().flatten(), "/id"));
}
