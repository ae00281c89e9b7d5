//! Reloads under load against the real parts.

use super::*;

/// Sends SIGHUP and waits until the pipeline file is in use.
#[track_caller]
fn reload(world: &World, running: &mut Running) {
    let reloads = || {
        let log = std::fs::read_to_string(world.log()).unwrap();
        assert!(!log.contains("not reloaded"), "{log}");
        log.matches("\"message\":\"reloaded\"").count()
    };
    let before = reloads();
    running.signal("HUP");
    world.wait_while_it_runs(running, "it is reloaded", || reloads() > before);
}

#[test]
fn two_reloads_lose_nothing_and_repeat_nothing_at_any_far_end() {
    let (day, world) = (small_day(), World::new(2));
    let expected = day.expected();
    let parts: Vec<_> = day.records.chunks(day.records.len().div_ceil(3)).collect();
    world.stream.put(parts[0]);
    let mut running = world.start("pipeline.yaml");
    world.wait_while_it_runs(&mut running, "first events are delivered", || !world.in_topic().is_empty());
    reload(&world, &mut running);

    world.stream.put(parts[1]);
    // Counted by what was put, not by what is there now: that may be all of it already.
    let first: u32 = parts[0].iter().map(|record| record.events).sum();
    world.wait_while_it_runs(&mut running, "more is delivered", || world.in_topic().len() > first as usize);
    let changed = PIPELINE
        .replace("chunk: 64KiB, window: 10s", "chunk: 128KiB, window: 20s")
        .replace("sinks:\n", "sinks:\n  late: { file: { path: late.ndjson }, format: { json: { origin: true } } }\n");
    std::fs::write(world.folder.path().join("pipeline.yaml"), changed).unwrap();
    reload(&world, &mut running);
    world.stream.put(parts[2]);
    world.stop_when_all_is_there(&mut running, &expected);

    check_in_order(world.in_topic(), &expected);
    check_exactly_once(world.in_hose(), &expected);
    let objects = world.in_bucket();
    check_objects(&objects);
    check_exactly_once(objects.into_iter().flat_map(|(_, events)| events).collect(), &expected);
    // A new sink starts where the source's `start` says: with all that the stream has.
    check_in_order(events_in(&world.folder.path().join("late.ndjson")), &expected);
    assert_eq!(letters(world.folder.path()), day.damaged);
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(log.contains("sinks added: late; sinks changed: lake"), "{log}");
}
