//! `tunnelog checkpoint` on a file: what is shown, what is asked, what is refused.

use std::path::Path;

use serde_json::Value;
use tunnelog::checkpoint::{CheckpointStore as _, RedbStore};
use tunnelog::delivery::{At, LaneState};
use tunnelog::source::StartAt;

use super::contract::{after, lane, sealed};
use super::support::program::{Running, run, size, wait_until};

const PIPELINE: &str = "\
name: siem
sources: { main: { simulate: { connections: 1, hours: 1 } } }
sinks: { siem: { console: {} }, lake: { console: {} } }
";

/// A pipeline that remembers two shards.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    remember(&folder.path().join("state/siem.redb"));
    folder
}

fn remember(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let states = vec![
            (lane(1, "siem"), LaneState { at: At::ShardEnd, seal: None }),
            (lane(1, "lake"), sealed(7, 2)),
            (lane(1, "dead letters"), LaneState { at: At::Start(StartAt::TrimHorizon), seal: None }),
            (lane(2, "siem"), after(12)),
            (lane(2, "retired"), LaneState { at: At::Start(StartAt::AtTimestamp(1_700_000_000_000)), seal: None }),
        ];
        RedbStore::open(path).unwrap().commit(states).await.unwrap();
    });
}

/// Without what changes from run to run.
fn without_ages(text: &str) -> String {
    let age = |word: &str| word.strip_suffix('s').is_some_and(|number| number.parse::<u32>().is_ok());
    let words =
        |line: &str| line.split(' ').map(|word| if age(word) { "AGE" } else { word }).collect::<Vec<_>>().join(" ");
    text.lines().map(|line| words(line) + "\n").collect()
}

#[test]
fn a_checkpoint_is_shown_for_people() {
    let folder = machine();
    let shown = run(folder.path(), &["checkpoint", "show", "p.yaml"]).expect(0).out();
    let expected = "\
siem: checkpoint in state/siem.redb

source main, arn:aws:kinesis:eu-central-1:111122223333:stream/vpn-logs (1700000000000)
  shardId-000000000001
    dead letters  at the beginning; AGE ago
    lake          after 7; publishing 2 objects of 8 to 9; AGE ago
    siem          at the shard's end; AGE ago
  shardId-000000000002
    retired       before what arrives at 2023-11-14T22:13:20.000Z or later; AGE ago; no sink of this name is in the pipeline file
    siem          after 12; AGE ago

2 shards, 5 lanes, 1 at a shard's end, 1 publishing, 1 of removed sinks
";
    assert_eq!(without_ages(&shown), expected);
    let one = run(folder.path(), &["checkpoint", "show", "p.yaml", "--sink", "lake", "--json"]).expect(0);
    let one: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(one["schema"], "tunnelog.checkpoint/1");
    assert_eq!(one["lanes"].as_array().unwrap().len(), 1);
    assert_eq!(one["lanes"][0]["at"]["after"], "7");
    assert_eq!(one["lanes"][0]["seal"]["keys"].as_array().unwrap().len(), 2);
    assert_eq!(one["lanes"][0]["removed"], false);
}

#[test]
fn a_reset_says_what_comes_of_it_and_waits_for_a_yes() {
    let folder = machine();
    let asked = run(folder.path(), &["checkpoint", "reset", "p.yaml", "--shard", "shardId-000000000001"]).expect(2);
    let expected = "\
siem: 3 of 5 lanes in state/siem.redb will be forgotten

  dead letters, 1 shard: everything from the source's `start` on is delivered again
    main arn:aws:kinesis:eu-central-1:111122223333:stream/vpn-logs shardId-000000000001
  lake, 1 shard: everything from the source's `start` on is delivered again; what is there already comes again with the same ids
    main arn:aws:kinesis:eu-central-1:111122223333:stream/vpn-logs shardId-000000000001
    1 chunk was being published: some of its 2 objects may be visible, the uploads of the others are aborted at the next start under this prefix, else by the bucket's lifecycle rule:
";
    assert!(asked.out().starts_with(expected), "{}", asked.out());
    assert!(
        asked.out().contains("siem, 1 shard: everything from the beginning of these shards on is delivered again"),
        "{}",
        asked.out()
    );
    asked.says(&["nothing was changed: add `--yes` to do it"]);
    let count = || {
        let shown = run(folder.path(), &["checkpoint", "show", "p.yaml", "--json"]).expect(0);
        serde_json::from_slice::<Value>(&shown.stdout).unwrap()["lanes"].as_array().unwrap().len()
    };
    assert_eq!(count(), 5);
    // A name that is none is no "everything".
    let wrong = run(folder.path(), &["checkpoint", "reset", "p.yaml", "--sink", "leak", "--yes"]).expect(2);
    wrong
        .says(&["no lane fits; sinks: dead letters, lake, retired, siem; sources: main; shards: shardId-000000000001"]);
    let gone = run(folder.path(), &["checkpoint", "reset", "p.yaml", "--sink", "retired", "--yes"]).expect(0).out();
    assert!(gone.contains("so nothing is delivered again") && gone.contains("1 lane forgotten"), "{gone}");
    assert_eq!(count(), 4);
    run(folder.path(), &["checkpoint", "reset", "p.yaml", "--yes"]).expect(0);
    let empty = run(folder.path(), &["checkpoint", "show", "p.yaml"]).expect(0).out();
    assert_eq!(empty, "siem: checkpoint in state/siem.redb\nnothing is remembered\n");
    assert!(run(folder.path(), &["checkpoint", "reset", "p.yaml"]).expect(0).out().contains("nothing is remembered"));
}

#[test]
fn a_replays_checkpoint_is_another_one() {
    let folder = machine();
    let none = run(folder.path(), &["checkpoint", "show", "p.yaml", "--replay"]).expect(0).out();
    assert_eq!(none, "siem: checkpoint in state/siem.replay.redb\nnothing is remembered\n");
    assert!(!folder.path().join("state/siem.replay.redb").exists(), "looking makes nothing");
    remember(&folder.path().join("state/siem.replay.redb"));
    run(folder.path(), &["checkpoint", "reset", "p.yaml", "--replay", "--yes"]).expect(0);
    let live = run(folder.path(), &["checkpoint", "show", "p.yaml"]).expect(0).out();
    assert!(live.contains("5 lanes"), "{live}");
}

#[test]
fn a_running_pipeline_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "sources: { f: { simulate: { rate: 50 } } }\nsinks: { out: { file: { path: out.ndjson } } }\n\
                    checkpoint: { interval: 100ms }\n";
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    let mut running = Running::start(folder.path(), &["run", "p.yaml"]);
    wait_until("it writes", || size(&folder.path().join("out.ndjson")) > 0);
    for arguments in [["checkpoint", "show", "p.yaml"].as_slice(), &["checkpoint", "reset", "p.yaml", "--yes"]] {
        run(folder.path(), arguments).expect(1).says(&["in use by another process", "stop the other tunnelog"]);
    }
    assert!(!running.has_ended());
    // A file that a killed process left is shown, and forgotten too.
    running.kill();
    let shown = run(folder.path(), &["checkpoint", "show", "p.yaml"]).expect(0).out();
    assert!(shown.contains("source f"), "{shown}");
    let reset = run(folder.path(), &["checkpoint", "reset", "p.yaml", "--yes"]).expect(0).out();
    assert!(reset.contains("lanes forgotten"), "{reset}");
}
