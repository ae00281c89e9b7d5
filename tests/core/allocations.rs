//! A record costs some allocations; an event costs none.

use allocation_counter::measure;
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan};
use tunnelog::delivery::SinkId;
use tunnelog::enrich::Snapshot;
use tunnelog::route::Filter;

use super::twins::{SAMPLES, envelope, snapshot};
use super::{MAX_RECORD_BYTES, json, record, shard};

/// How many allocations the core makes of a record of so many lines, when its buffers have grown.
fn allocations(lines: &[&str], events: usize, snapshot: &Snapshot) -> u64 {
    let core = Core::new(MAX_RECORD_BYTES, vec![SinkPlan { format: json(), filter: Filter::default() }]);
    let text = envelope("vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log", lines.iter().copied().cycle().take(events));
    let (shard, record, mut scratch) = (shard(), record(1, text), Scratch::default());
    let mut run = || {
        let mut out = core.output(&[SinkId(0)]);
        core.process(
            From { shard: &shard, region: None },
            &record,
            Resume::default(),
            snapshot,
            &mut scratch,
            &mut out,
        );
        assert_eq!(out.counts.events.iter().sum::<u64>(), events as u64);
    };
    run();
    measure(run).count_total
}

#[test]
fn an_event_allocates_nothing() {
    let snapshot = snapshot();
    for sample in SAMPLES.iter().take(3) {
        // Lines that the plain way has to read again are not what the steady state is made of.
        let is_usual = |line: &&str| !line.contains(r#"\""#) && !line.contains("resource_arn");
        let lines: Vec<&str> = sample.lines().filter(is_usual).collect();
        let [few, many] = [100, 1100].map(|events| allocations(&lines, events, &snapshot));
        // 1,000 events more double the growing buffers a few times.
        assert!(many <= few + 32, "{few} allocations of 100 events, {many} of 1,100: {}", lines[0]);
    }
}
