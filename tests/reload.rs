//! SIGHUP and rolling restarts of the real program under load: nothing lost, nothing repeated, and on any problem
//! the old pipeline goes on and says what is wrong.
#![cfg(feature = "status")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[cfg(all(feature = "aws", feature = "kafka"))]
#[path = "end_to_end/far.rs"]
#[allow(dead_code, reason = "the end-to-end tests look at all of it")]
mod far;
#[cfg(all(feature = "aws", feature = "kafka"))]
#[path = "reload/late.rs"]
mod late;
#[cfg(all(feature = "aws", feature = "kafka"))]
#[path = "stack/mod.rs"]
mod stack;
mod support;
#[path = "reload/world.rs"]
mod world;

use std::collections::BTreeSet;

use serde_json::Value;
use support::program::{Running, run, size, wait_until};
use support::text;
use tunnelog::checkpoint::{Peek, RedbStore};
use world::{World, expected, file_sink, pipeline, place, places, stream_of};

#[test]
fn five_reloads_under_load_lose_nothing_and_repeat_nothing() {
    let world = World::new();
    let all = file_sink("all", "");
    let some = |more: &str| file_sink("some", more);
    let ike = "only: { kind: [ike] }";
    world.write(&pipeline("rate: 100", &[&all, &some(ike)]));
    let mut running = world.start();
    for sinks in [
        vec![some("only: { kind: [bgp.route] }")],
        vec![some("only: { kind: [bgp.route] }"), file_sink("late", "")],
        vec![file_sink("some", "only: { kind: [bgp.route] }").replace("origin: true", "origin: true, raw: always")],
        vec![file_sink("late", "")],
        vec![file_sink("late", "")],
    ] {
        world.wait_for_growth("all");
        let sinks: Vec<&str> = std::iter::once(all.as_str()).chain(sinks.iter().map(String::as_str)).collect();
        world.write(&pipeline("rate: 100", &sinks));
        world.reload(&running);
    }
    // The rest as fast as it goes, to the end.
    world.write(&pipeline("", &[&all, &file_sink("late", "")]));
    world.reload(&running);
    assert_eq!(running.wait().code(), Some(0));

    assert_eq!(places(&world.events("all")), *expected(), "everything once and in order, as without a reload");
    assert_eq!(places(&world.events("late")), *expected(), "what came later got everything, through its own removal");
    let mut once = BTreeSet::new();
    assert!(world.events("some").iter().all(|event| once.insert((stream_of(event), place(event)))), "repeated");
    let log = world.log();
    assert!(log.contains("sinks added: late") && log.contains("nothing in the file"), "{log}");
    let table = log.lines().find(|line| line.trim_start().starts_with("all ")).unwrap();
    let table: Vec<&str> = table.split_whitespace().collect();
    let count: usize = expected().values().map(Vec::len).sum();
    assert_eq!(table[1].replace(',', ""), count.to_string(), "the closing table sums up all of the runs");
}

#[test]
fn a_changed_filter_and_format_hold_from_one_record_on() {
    let world = World::new();
    world.write(&pipeline("rate: 100", &[&file_sink("some", "only: { kind: [ike] }")]));
    let mut running = world.start();
    world.wait_for_growth("some");
    let changed =
        file_sink("some", "only: { kind: [bgp.session] }").replace("origin: true", "origin: true, raw: always");
    world.write(&pipeline("", &[&changed]));
    world.reload(&running);
    assert_eq!(running.wait().code(), Some(0));

    let events = world.events("some");
    for (stream, all) in world::expected_kinds() {
        let own: Vec<&Value> = events.iter().filter(|event| stream_of(event) == stream.as_str()).collect();
        let places = |kind: &str| -> Vec<_> {
            own.iter().filter(|event| text(event, "/kind") == kind).map(|event| place(event)).collect()
        };
        let (last, first) = (places("ike").last().map_or(0, |place| place.0), places("bgp.session")[0].0);
        assert!(last < first, "{stream}: the old filter up to a record, the new one from there");
        let due = |(place, kind): &(world::Place, String)| match kind.as_str() {
            "ike" => place.0 <= last,
            "bgp.session" => place.0 >= first,
            _ => false,
        };
        let expected: Vec<_> = all.iter().filter(|event| due(event)).map(|(place, _)| *place).collect();
        assert_eq!(own.iter().map(|event| place(event)).collect::<Vec<_>>(), expected, "{stream}");
        // Between the two, either all records were read under the old filter or all under the new one, up to a cut.
        let between = all.iter().filter(|(place, _)| (last + 1..first).contains(&place.0));
        let last_session = between.clone().filter(|(_, kind)| kind == "bgp.session").map(|(place, _)| place.0).max();
        let first_ike = between.filter(|(_, kind)| kind == "ike").map(|(place, _)| place.0).min();
        let is_cut = last_session.is_none() || first_ike.is_none() || last_session < first_ike;
        assert!(is_cut, "{stream}: a record went to neither filter");
        assert!(own.iter().all(|event| event.get("raw").is_some() == (text(event, "/kind") == "bgp.session")));
    }
}

#[test]
fn a_renamed_sink_is_a_new_one_and_the_old_name_goes_on_where_it_stopped() {
    let world = World::new();
    let (old, new) = (file_sink("all", ""), file_sink("renamed", ""));
    world.write(&pipeline("rate: 100", &[&old]));
    let mut running = world.start();
    world.wait_for_growth("all");
    world.write(&pipeline("rate: 100", &[&new]));
    world.reload(&running);
    let before = size(&world.output("all"));
    world.wait_for_growth("renamed");
    assert!(!world.get("/metrics").contains("sink=\"all\""), "a sink that is gone shows no series");
    assert_eq!(size(&world.output("all")), before, "a removed sink gets nothing");

    world.write(&pipeline("", &[&old, &new]));
    world.reload(&running);
    assert_eq!(running.wait().code(), Some(0));
    for sink in ["all", "renamed"] {
        assert_eq!(places(&world.events(sink)), *expected(), "{sink}");
    }
    let log = world.log();
    for words in [
        "the sink is new: it starts where the `start` of each source says",
        "the sink is removed: its place is kept",
        "the sink is back: it goes on where it stopped",
    ] {
        assert!(log.contains(words), "`{words}` is missing in {log}");
    }
}

#[test]
fn on_any_problem_the_old_pipeline_goes_on_and_says_what_is_wrong() {
    let world = World::new();
    let good = pipeline("rate: 100", &[&file_sink("all", "")]);
    world.write(&good);
    let mut running = world.start();
    world.wait_for_growth("all");
    std::fs::write(world.folder.path().join("a-file"), "").unwrap();
    let blocked = file_sink("blocked", "").replace("out/", "a-file/");
    let check = |text: &str, words: &[&str]| {
        let failures = world.count("the pipeline runs on as it was");
        world.write(text);
        running.signal("HUP");
        wait_until("the failure is told", || world.count("the pipeline runs on as it was") > failures);
        let log = world.log();
        for part in words {
            assert!(log.contains(part), "`{part}` is missing in {log}");
        }
        world.wait_for_growth("all");
        let ready = world.get("/readyz");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("reload: failed"), "{ready}");
        assert!(world.get("/metrics").contains("tunnelog_last_reload_successful 0"));
    };
    check("sources: [", &["pipeline.yaml"]);
    check(&good.replace("simulate:", "simulat:"), &["did you mean `simulate`"]);
    check(&good.replace("rate: 100", "rate: no"), &["sources.fleet.simulate.rate", "expected a whole number"]);
    check(&pipeline("rate: 100", &[&file_sink("all", ""), &blocked]), &["sink blocked", "is a file, not a folder"]);
    check(&format!("name: other\n{good}"), &["cannot change from `pipeline` to `other`"]);
    check(&good.replace("127.0.0.1:0", "127.0.0.1:1"), &["`status` cannot change"]);
    check(&good.replace("interval: 100ms", "file: other.redb"), &["`checkpoint` names another store"]);

    world.write(&good);
    world.reload(&running);
    wait_until("it is ready", || world.get("/readyz").starts_with("HTTP/1.1 200"));
    let metrics = world.get("/metrics");
    for line in [
        "tunnelog_reloads_total{result=\"failed\"} 7",
        "tunnelog_reloads_total{result=\"succeeded\"} 1",
        "tunnelog_last_reload_successful 1",
    ] {
        assert!(metrics.contains(line), "`{line}` is missing in {metrics}");
    }
    world.finish(&mut running, &[&file_sink("all", "")]);
    assert_eq!(places(&world.events("all")), *expected());
}

/// What no question finds before: the old pipeline has ended by then, and is opened again.
#[test]
fn a_sink_that_cannot_be_opened_after_all_brings_the_old_pipeline_back() {
    let world = World::new();
    let (all, held) = (file_sink("all", ""), file_sink("held", ""));
    world.write(&pipeline("rate: 100", &[&all]));
    let mut running = world.start();
    world.wait_for_growth("all");
    let lock = std::fs::File::create(world.output("held")).unwrap();
    lock.lock().unwrap();
    world.write(&pipeline("rate: 100", &[&all, &held]));
    running.signal("HUP");
    wait_until("the failure is told", || world.count("the pipeline runs on as it was") == 1);
    assert!(world.log().contains("not reloaded: sink `held`: `out/held.ndjson` is being written by another process"));
    world.wait_for_growth("all");
    drop(lock);
    world.reload(&running);
    world.finish(&mut running, &[&all, &held]);
    for sink in ["all", "held"] {
        assert_eq!(places(&world.events(sink)), *expected(), "{sink}");
    }
}

#[test]
fn many_signals_at_once_are_one_reload_or_two_and_none_is_lost() {
    let world = World::new();
    let all = file_sink("all", "");
    world.write(&pipeline("rate: 100", &[&all]));
    let mut running = world.start();
    world.wait_for_growth("all");
    for _ in 0..5 {
        running.signal("HUP");
    }
    wait_until("it is reloaded", || world.count("reloaded") > 0);
    // What was written before the last signal is in use in the end.
    world.write(&pipeline("rate: 100", &[&all, &file_sink("late", "")]));
    running.signal("HUP");
    running.signal("HUP");
    wait_until("the last file is in use", || world.log().contains("sinks added: late"));
    world.finish(&mut running, &[&all, &file_sink("late", "")]);
    assert_eq!(places(&world.events("all")), *expected());
    assert_eq!(places(&world.events("late")), *expected());
}

#[test]
fn a_shutdown_during_a_reload_ends_the_process_and_the_next_one_repeats_nothing() {
    let world = World::new();
    let all = file_sink("all", "");
    world.write(&pipeline("rate: 100", &[&all]));
    for _ in 0..3 {
        let mut running = world.start();
        world.wait_for_growth("all");
        running.signal("HUP");
        assert_eq!(running.terminate().code(), Some(0), "{}", world.log());
    }
    world.write(&pipeline("", &[&all]));
    assert_eq!(world.start().wait().code(), Some(0));
    assert_eq!(places(&world.events("all")), *expected());
}

/// A file that may not grow is a full disk. The drain takes its grace; then the other sinks go on.
#[test]
fn a_reload_while_a_sink_is_down_costs_the_grace_and_nothing_else() {
    let world = World::new();
    let (all, full) = (file_sink("all", ""), file_sink("full", ""));
    world.write(&pipeline("rate: 100", &[&full]));
    // Larger than anything else that is written, so that the limit holds for this file alone.
    std::fs::create_dir(world.folder.path().join("out")).unwrap();
    std::fs::write(world.output("full"), "{}\n".repeat(3 << 20)).unwrap();
    let mut running = world.start_unkilled_by_limits();
    world.wait_for_growth("full");
    let page = world.page();
    let id = running.id().to_string();
    let limit = |bytes: &str| {
        let limited = std::process::Command::new("prlimit").args(["--pid", &id, &format!("--fsize={bytes}")]).status();
        assert!(limited.unwrap().success());
    };
    limit(&format!("{}:", size(&world.output("full")) + 1));
    wait_until("the sink is down", || support::program::get(&page, "/readyz").contains("sink full: "));
    world.write(&pipeline("rate: 100", &[&full, &all]));
    world.reload(&running);
    world.wait_for_growth("all");
    wait_until("the sink is down again", || support::program::get(&page, "/readyz").contains("sink full: "));
    limit("unlimited:");
    wait_until("the sink is up", || support::program::get(&page, "/readyz").starts_with("HTTP/1.1 200"));
    world.finish(&mut running, &[&full, &all]);
    assert_eq!(places(&world.events("all")), *expected());
    let mut events = world.events("full");
    events.retain(|event| event.get("id").is_some());
    assert_eq!(places(&events), *expected(), "what had not settled was written again, and nothing else");
}

#[test]
fn a_rolling_restart_loses_nothing_and_repeats_nothing() {
    let world = World::new();
    let all = file_sink("all", "");
    world.write(&pipeline("rate: 100", &[&all]));
    let mut old = world.start();
    for round in 0..5 {
        world.wait_for_growth("all");
        // Some begin before the old one is told to stop, some after.
        let mut new;
        if round % 2 == 0 {
            new = world.start();
            wait_until("it waits", || world.count("another process has the checkpoint") > 0);
            assert_eq!(old.terminate().code(), Some(0));
        } else {
            old.signal("TERM");
            new = world.start();
            assert_eq!(old.wait().code(), Some(0));
        }
        assert!(!new.has_ended(), "{}", world.log());
        std::mem::swap(&mut old, &mut new);
    }
    world.finish(&mut old, &[&all]);
    assert_eq!(places(&world.events("all")), *expected());
}

#[test]
fn a_replay_does_not_reload() {
    let world = World::new();
    world.write(&pipeline("rate: 1", &[&file_sink("all", "")]));
    let lines: String = (0..50_000).map(|number| format!("line {number}\n")).collect();
    std::fs::write(world.folder.path().join("lines.log"), lines).unwrap();
    let mut replay = Running::start(world.folder.path(), &["replay", "pipeline.yaml", "lines.log"]);
    wait_until("it writes", || size(&world.output("all")) > 0);
    replay.signal("HUP");
    wait_until("it says so", || world.log().contains("SIGHUP changes nothing in a replay"));
    assert_eq!(replay.wait().code(), Some(0));
    assert_eq!(world.events("all").len(), 50_000);
}

/// Who closes a terminal asks for no reload.
#[test]
fn a_terminal_that_is_closed_stops_the_pipeline_in_order() {
    let world = World::new();
    world.write(&pipeline("rate: 100", &[&file_sink("all", "")]));
    let mut terminal = world.start_in_a_terminal();
    world.wait_for_growth("all");
    terminal.kill();
    let checkpoint = world.folder.path().join("state/pipeline.redb");
    // A process that is killed leaves it unclosed, one that runs on has it in use.
    wait_until("the checkpoint is closed", || matches!(RedbStore::peek(&checkpoint), Ok(Peek::Name(_))));
    world.write(&pipeline("", &[&file_sink("all", "")]));
    assert_eq!(world.start().wait().code(), Some(0));
    assert_eq!(places(&world.events("all")), *expected());
}

#[test]
fn check_does_not_wait_for_a_running_pipeline() {
    let world = World::new();
    world.write(&pipeline("rate: 100", &[&file_sink("all", "")]));
    let mut running = world.start();
    world.wait_for_growth("all");
    run(world.folder.path(), &["check", "--connect", "pipeline.yaml"]).expect(0);
    assert_eq!(running.terminate().code(), Some(0));
}
