//! A broker that is away, a topic that is not there: the sink says so, waits, and delivers all of it in order.

use std::collections::BTreeMap;

use super::bench::{Bench, Load};
use super::contract::{check_at_least_once, check_once};
use super::far::Real;
use super::stack::{self, KafkaBroker};

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_longer_than_any_time_out_everything_is_there_in_order() {
    let mut broker = tokio::task::block_in_place(KafkaBroker::start);
    let far = Real::of(&broker, 3);
    // Items this long are not looked for at each word: a broker that is away shows nothing.
    let load = Load { shards: 5, records: 200, padding: 1000, ..Load::default() };
    let mut bench = Bench::new(load, &far, BTreeMap::new());
    bench.may_read = 300;
    bench.barrier().await;
    // Something is on the way when it dies.
    bench.may_read = 200;
    bench.fill();
    bench.hear().await;
    tokio::task::block_in_place(|| broker.kill());
    bench.may_read = usize::MAX;
    bench.fill();
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert!(
        bench.last_down.contains(&broker.plain) && bench.last_down.contains("check the addresses"),
        "{}",
        bench.last_down
    );
    // `socket.timeout.ms` is 3 s here, and everything else that could end is longer than the sink's silence.
    assert!(bench.is_silent().await, "it says so once");
    tokio::task::block_in_place(|| broker.start_again());
    bench.finish().await;
    assert_eq!((bench.downs, bench.ups), (1, 1));
    check_at_least_once(&far, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_in_good_order_is_hardly_noticed() {
    let mut broker = tokio::task::block_in_place(KafkaBroker::start);
    let far = Real::of(&broker, 3);
    let load = Load::default();
    let mut bench = Bench::new(load, &far, BTreeMap::new());
    bench.may_read = 40;
    bench.barrier().await;
    tokio::task::block_in_place(|| {
        broker.stop();
        broker.start_again();
    });
    bench.finish().await;
    check_once(&far, load);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_of_a_template_is_named_and_everything_comes_once_it_is_made() {
    let mut far = Real::new(1).with("topic.metadata.propagation.max.ms", "1000");
    let topic = stack::unique("late-ike");
    far.0.config.topic = topic.replace("ike", "{kind}");
    let load = Load { padding: 1000, ..Load::default() };
    let mut bench = Bench::new(load, &far, BTreeMap::new());
    while bench.downs == 0 {
        bench.hear().await;
    }
    assert!(
        bench.last_down.contains(&format!("topic `{topic}`")) && bench.last_down.contains("create it"),
        "{}",
        bench.last_down
    );
    assert!(bench.is_silent().await, "it says so once");
    let there = far.on_topic(&topic, 3);
    bench.finish().await;
    assert_eq!((bench.downs, bench.ups), (1, 1));
    check_at_least_once(&there, load);
}
