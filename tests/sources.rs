//! The contract of every source: the same records at the same positions for every reader, from every start,
//! in every run; a shard ends; what cannot be read is named. A stream has no end: of `kinesis` the closed shards are
//! held to it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[cfg(feature = "aws")]
#[path = "kinesis/bench.rs"]
mod bench;
#[cfg(feature = "aws")]
#[path = "kinesis/closed.rs"]
mod closed;
#[cfg(feature = "aws")]
#[path = "kinesis/proxy.rs"]
mod proxy;
#[cfg(feature = "aws")]
#[path = "stack/mod.rs"]
mod stack;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use serde_json::Value;
use support::forms::{self, GROUP, IKE_STREAM, OWNER};
use support::parts::{encode, expected, next_records, read_shard, shards_of, with_origin};
use tunnelog::config::types::Identity;
use tunnelog::source::replay::ReplaySource;
use tunnelog::source::simulate::SimulateSource;
use tunnelog::source::{Position, Reader, Record, Source, SourceError, StartAt};

/// Makes the same source again, as a restart does.
type Make = Box<dyn Fn() -> Made>;
type Made = Pin<Box<dyn Future<Output = Box<dyn Source>>>>;

fn ready(source: impl Source + 'static) -> Made {
    Box::pin(async move { Box::new(source) as Box<dyn Source> })
}

/// What sources need as long as they are tested.
#[cfg(feature = "aws")]
type Kept = Vec<std::sync::Arc<bench::Bench>>;
#[cfg(not(feature = "aws"))]
type Kept = ();

#[cfg(feature = "aws")]
async fn add_kinesis(sources: &mut Vec<(String, Make)>) -> Kept {
    let mut kept = Vec::new();
    for bench in [bench::ferro().await, bench::local().await] {
        let bench = std::sync::Arc::new(bench);
        let stream = closed::stream(&bench).await;
        for fan_out in [false, true] {
            let (own, stream) = (std::sync::Arc::clone(&bench), stream.clone());
            let make = move || -> Made {
                let (bench, stream) = (std::sync::Arc::clone(&own), stream.clone());
                let config = if fan_out { bench::fan_out(&stream) } else { bench::config(&stream) };
                Box::pin(async move { Box::new(closed::Closed::open(&bench, &config).await) as Box<dyn Source> })
            };
            let how = if fan_out { "by fan-out" } else { "polled" };
            sources.push((format!("{} {how}", bench.name), Box::new(make)));
        }
        kept.push(bench);
    }
    kept
}

#[cfg(not(feature = "aws"))]
async fn add_kinesis(_: &mut Vec<(String, Make)>) -> Kept {}

fn identity() -> Identity {
    Identity { owner: Some(OWNER.into()), log_group: Some(GROUP.into()), log_stream: Some(IKE_STREAM.into()) }
}

fn replay(inputs: &[PathBuf]) -> Result<ReplaySource, SourceError> {
    ReplaySource::new("main", inputs, &identity())
}

/// Every source that there is, with a name for messages.
async fn sources(folder: &Path) -> (Kept, Vec<(String, Make)>) {
    let files = forms::write_forms(folder);
    let mut sources: Vec<(String, Make)> = Vec::new();
    for file in &files {
        let inputs = vec![file.clone()];
        sources.push((file.display().to_string(), Box::new(move || ready(replay(&inputs).unwrap()))));
    }
    let all = vec![folder.to_path_buf()];
    sources.push(("a folder".into(), Box::new(move || ready(replay(&all).unwrap()))));
    let fleet = tunnelog::config::types::Simulate { damaged: 3, ..forms::small_fleet() };
    sources.push(("simulate".into(), Box::new(move || ready(SimulateSource::new("main", &fleet).unwrap()))));
    let kept = add_kinesis(&mut sources).await;
    (kept, sources)
}

fn told(records: &[Record]) -> Vec<(Position, Option<i64>, &[u8])> {
    records.iter().map(|record| (record.position, record.arrival.map(|at| at.0), &*record.data)).collect()
}

#[tokio::test]
async fn every_source_reads_the_same_again_from_any_position() {
    let folder = tempfile::tempdir().unwrap();
    let (_kept, sources) = sources(folder.path()).await;
    for (name, make) in sources {
        let mut source = make().await;
        let reopen = source.reopen();
        let shards = shards_of(source.as_mut()).await;
        assert!(!shards.is_empty(), "{name}");
        for shard in &shards {
            let all = read_shard(reopen.as_ref(), shard, StartAt::TrimHorizon).await;
            assert!(!all.is_empty(), "{name}: {shard} is empty");
            assert!(all.is_sorted_by(|a, b| a.position < b.position), "{name}: positions ascend");
            // Both ends, and a few between them.
            let step = (all.len() / 4).max(1);
            let starts: BTreeSet<usize> = (0..all.len()).step_by(step).chain([all.len() - 1]).collect();
            for index in starts {
                let again = make().await.reopen();
                let tail = read_shard(again.as_ref(), shard, StartAt::After(all[index].position)).await;
                assert_eq!(told(&tail), told(&all[index + 1..]), "{name}: {shard} after record {index}");
            }
        }
    }
}

#[tokio::test]
async fn two_readers_of_one_shard_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (_kept, sources) = sources(folder.path()).await;
    for (name, make) in sources {
        let mut source = make().await;
        let reopen = source.reopen();
        for shard in shards_of(source.as_mut()).await {
            let mut first = reopen.open(&shard, StartAt::TrimHorizon).await.unwrap();
            let mut second = reopen.open(&shard, StartAt::TrimHorizon).await.unwrap();
            let (mut ones, mut twos) = (Vec::new(), Vec::new());
            let (mut first_reads, mut second_reads) = (true, true);
            // In turns; how many records an answer has may differ.
            while first_reads || second_reads {
                let more = async |reads: bool, reader: &mut dyn Reader| {
                    if reads { next_records(reader).await } else { None }
                };
                let (one, two) = tokio::join!(more(first_reads, first.as_mut()), more(second_reads, second.as_mut()));
                (first_reads, second_reads) = (one.is_some(), two.is_some());
                ones.extend(one.into_iter().flatten());
                twos.extend(two.into_iter().flatten());
            }
            assert_eq!(told(&ones), told(&twos), "{name}: {shard}");
        }
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_kept, sources) = sources(folder.path()).await;
    for (name, make) in sources {
        let mut source = make().await;
        let reopen = source.reopen();
        let shard = shards_of(source.as_mut()).await.remove(0);
        let all = read_shard(reopen.as_ref(), &shard, StartAt::TrimHorizon).await;
        let mut reader = reopen.open(&shard, StartAt::TrimHorizon).await.unwrap();
        let mut read = Vec::new();
        loop {
            // Each call is dropped once at its first pause.
            tokio::select! {
                biased;
                more = next_records(reader.as_mut()) => match more {
                    Some(more) => read.extend(more),
                    None => break,
                },
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(told(&read), told(&all), "{name}");
    }
}

#[tokio::test]
async fn a_start_in_time_leaves_out_only_what_arrived_before() {
    let mut source = SimulateSource::new("main", &forms::small_fleet()).unwrap();
    let reopen = source.reopen();
    for shard in shards_of(&mut source).await {
        let all = read_shard(reopen.as_ref(), &shard, StartAt::TrimHorizon).await;
        let middle = all[all.len() / 2].arrival.unwrap().0;
        let late = read_shard(reopen.as_ref(), &shard, StartAt::AtTimestamp(middle)).await;
        let wanted: Vec<Record> = all.into_iter().filter(|record| record.arrival.unwrap().0 >= middle).collect();
        assert_eq!(told(&late), told(&wanted));
    }
}

#[tokio::test]
async fn ids_are_the_same_when_a_source_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_kept, sources) = sources(folder.path()).await;
    for (name, make) in sources {
        let first = expected(make().await.as_mut(), &with_origin()).await;
        assert_eq!(first, expected(make().await.as_mut(), &with_origin()).await, "{name}");
        // And from the middle: what follows does not depend on what was read before it.
        let mut source = make().await;
        let reopen = source.reopen();
        for shard in shards_of(source.as_mut()).await {
            let all = read_shard(reopen.as_ref(), &shard, StartAt::TrimHorizon).await;
            let tail = read_shard(reopen.as_ref(), &shard, StartAt::After(all[all.len() / 2].position)).await;
            let items = encode(with_origin(), &shard, &tail);
            assert!(first[&shard].ends_with(&items), "{name}: {shard}");
        }
    }
}

#[tokio::test]
async fn equal_lines_of_one_file_have_ids_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.log");
    std::fs::write(&file, "same\nsame\nother\nsame\n").unwrap();
    let items = expected(&mut replay(&[file]).unwrap(), &with_origin()).await;
    let parse = |item: &Vec<u8>| serde_json::from_slice::<Value>(item).unwrap()["id"].to_string();
    let ids: BTreeSet<String> = items.values().flatten().map(parse).collect();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn a_file_that_was_replaced_or_has_grown_is_another_shard_and_so_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.log");
    let shard = async |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        shards_of(&mut replay(std::slice::from_ref(&file)).unwrap()).await.remove(0)
    };
    let long = "a line\n".repeat(20_000).into_bytes();
    let first = shard(&long).await;
    assert_eq!(first, shard(&long).await);
    assert_ne!(first, shard(&[&long[..], b"more\n"].concat()).await, "what it has gained must be read");
    assert_ne!(first, shard(&[b"new\n", &long[..]].concat()).await);
}

/// What is written to a file while it is read belongs to the next run; else a replay that writes dead letters
/// into the file that it reads would never end.
#[tokio::test]
async fn a_file_is_read_as_long_as_it_was_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.log");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    let mut source = replay(std::slice::from_ref(&file)).unwrap();
    let reopen = source.reopen();
    let shard = shards_of(&mut source).await.remove(0);
    std::fs::write(&file, "one\ntwo\nthree\n").unwrap();
    let records = read_shard(reopen.as_ref(), &shard, StartAt::TrimHorizon).await;
    assert_eq!(encode(with_origin(), &shard, &records).len(), 2);
}

#[test]
fn inputs_that_cannot_be_read_are_named_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let check = |input: &Path, parts: &[&str]| {
        let error = replay(&[input.to_path_buf()]).err().expect("an error").to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is missing in {error}");
        }
    };
    let missing = folder.path().join("missing.log");
    check(&missing, &[&missing.display().to_string(), "check the path"]);
    check(Path::new("-"), &["standard input cannot be read twice", "save it to a file"]);
    let locked = folder.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    let mode = |mode| std::fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    mode(0o000);
    if std::fs::read_dir(&locked).is_err() {
        check(&locked, &[&locked.display().to_string(), "make it readable for this user"]);
    } else {
        // The superuser may read it: there is nothing in it.
        assert!(replay(std::slice::from_ref(&locked)).is_ok());
    }
    mode(0o755);
}

#[test]
fn a_folder_is_read_without_what_an_export_task_tests_its_rights_with() {
    let folder = tempfile::tempdir().unwrap();
    let stream = folder.path().join("export/vpn-1_203.0.113.17-BGP.log");
    std::fs::create_dir_all(&stream).unwrap();
    for file in [folder.path().join("export/aws-logs-write-test"), stream.join("000000.gz")] {
        std::fs::write(file, "Permission Check Successful").unwrap();
    }
    let files = |input: std::path::PathBuf| tunnelog::source::replay::files_in(&[input]).unwrap();
    assert_eq!(files(folder.path().into()), [stream.join("000000.gz")]);
    // Named itself it is read: somebody wants it.
    let named = folder.path().join("export/aws-logs-write-test");
    assert_eq!(files(named.clone()), [named]);
}

#[tokio::test]
async fn a_shard_that_is_not_the_sources_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.log");
    std::fs::write(&file, "one\n").unwrap();
    let mut files = replay(std::slice::from_ref(&file)).unwrap();
    let shard = shards_of(&mut files).await.remove(0);
    let fleet = SimulateSource::new("main", &forms::small_fleet()).unwrap();
    let error = fleet.reopen().open(&shard, StartAt::TrimHorizon).await.err().expect("an error");
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("its seed or its size changed")), "{error}");
    // A file that is gone when it is opened again.
    std::fs::remove_file(&file).unwrap();
    let error = files.reopen().open(&shard, StartAt::TrimHorizon).await.err().expect("an error");
    assert!(matches!(&error, SourceError::Fatal(text) if text.contains("lines.log")), "{error}");
}
