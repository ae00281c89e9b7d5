//! What a sink's destination refuses is a dead letter before it is settled, and a replay gives it to that sink only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "rejects/odd.rs"]
mod odd;
#[path = "rejects/picky.rs"]
mod picky;
#[path = "rejects/program.rs"]
mod program;
mod support;
#[path = "rejects/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::path::Path;

use picky::Then;
use tokio_util::sync::CancellationToken;
use tunnelog::config::types::{Compression, FileSink};
use tunnelog::config::units::Size;
use tunnelog::encode::DeadLetter;
use tunnelog::event::EventId;
use tunnelog::pipeline::run;
use tunnelog::sink::rejects::{FileRejects, Rejects as _};
use world::{Manner, RUN, World, until};

/// The letters of a file, whose last line may be in the making, or torn by a kill.
fn letters_in(path: &Path) -> Vec<DeadLetter> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ids(letters: &[DeadLetter]) -> BTreeSet<EventId> {
    letters.iter().map(|letter| letter.id).collect()
}

fn data(letters: &[DeadLetter]) -> BTreeSet<Vec<u8>> {
    letters.iter().map(|letter| letter.data.to_vec()).collect()
}

/// Takes everything.
const MENDED: Manner = Manner { checkpoint: "mended.redb", refuses: |_| false, ..RUN };

#[tokio::test]
async fn what_a_sink_refuses_is_a_dead_letter_and_its_neighbours_go_on() {
    let world = World::new();
    let report = world.run(World::fleet(), RUN).await;
    let letters = letters_in(&world.rejected());
    assert!(letters.len() > 20 && world.items(0).len() > 50, "{} letters", letters.len());

    let account = report.sinks[0].1;
    assert_eq!((account.rejected, account.settled), (letters.len() as u64, world.items(0).len() as u64));
    assert_eq!(report.sinks[1].1.rejected, 0);
    let events = world.set(1);
    let (taken, refused) = (world.set(0), data(&letters));
    assert!(taken.is_disjoint(&refused));
    assert!(taken.union(&refused).eq(&events), "the other sink has what this one took and refused");
    for letter in &letters {
        assert_eq!((letter.sink.as_deref(), &*letter.reason), (Some("siem"), "too_odd"));
        let event: serde_json::Value = serde_json::from_slice(&letter.data).unwrap();
        assert_eq!(event["id"], letter.event_id.unwrap().to_string());
        let origin = letter.origin.as_ref().unwrap();
        assert_eq!(event["origin"]["sequence"], origin.sequence.to_string());
        assert_eq!(event["origin"]["shard"], origin.shard);
    }
}

#[tokio::test]
async fn a_replay_gives_what_was_refused_to_that_sink_only_with_all_that_it_was_told() {
    let world = World::new();
    world.run(World::fleet(), RUN).await;
    let letters = letters_in(&world.rejected());
    // Filters have changed since: what was refused had passed them.
    let mended = world.beside();
    let report = mended.replay(world.rejected(), Manner { filtered: true, ..MENDED }).await;

    assert_eq!(mended.items(0).len(), letters.len());
    assert_eq!(mended.set(0), data(&letters), "the bytes as they were");
    assert!(mended.items(1).is_empty() && mended.items(2).is_empty(), "nobody else gets any");
    assert_eq!(report.totals.events.iter().sum::<u64>(), letters.len() as u64);
    let told = |world: &World| world.fars[0].lock().unwrap().told.clone();
    let (before, after) = (told(&world), told(&mended));
    for (id, (item, record)) in &after {
        let (old_item, old_record) = &before[id];
        let words = |item: &tunnelog::delivery::Item| (item.id, item.time, item.kind, item.action, item.severity);
        assert_eq!(words(item), words(old_item));
        let mut expected = old_record.clone();
        (expected.position, expected.done, expected.bytes) = (record.position, true, record.bytes);
        assert_eq!(*record, expected);
    }
    mended.replay(world.rejected(), Manner { filtered: true, ..MENDED }).await;
    assert_eq!(mended.items(0).len(), letters.len(), "a replay that has ended has nothing left to do");
}

#[tokio::test]
async fn what_is_refused_again_is_the_same_letter_again() {
    let world = World::new();
    world.run(World::fleet(), RUN).await;
    let first = letters_in(&world.rejected());
    let again = world.beside();
    for checkpoint in ["first.redb", "second.redb"] {
        again.replay(world.rejected(), Manner { checkpoint, ..RUN }).await;
    }
    let letters = letters_in(&again.rejected());
    assert_eq!(letters.len(), 2 * first.len());
    assert_eq!(ids(&letters), ids(&first));
    assert_eq!(data(&letters), data(&first));
    // The file that is read is the one that is written: what it gains belongs to the next replay.
    world.replay(world.rejected(), Manner { checkpoint: "same.redb", ..RUN }).await;
    assert_eq!(letters_in(&world.rejected()).len(), 2 * first.len());
}

#[tokio::test]
async fn without_a_sink_of_that_name_it_is_a_dead_letter_again_and_can_still_be_replayed() {
    let world = World::new();
    world.run(World::fleet(), RUN).await;
    let letters = letters_in(&world.rejected());
    let stranger = world.beside();
    let names = ["elsewhere", "lake", "dead letters"];
    let report = stranger.replay(world.rejected(), Manner { names, ..MENDED }).await;
    assert_eq!(report.totals.unreadable.get("unknown_sink"), Some(&(letters.len() as u64)));
    assert!(stranger.items(0).is_empty() && stranger.items(1).is_empty());
    let dead = stranger.dead();
    assert_eq!((ids(&dead), data(&dead)), (ids(&letters), data(&letters)));
    for letter in &dead {
        assert_eq!((letter.sink.as_deref(), &*letter.reason), (Some("siem"), "unknown_sink"));
        assert!(letter.detail.contains("no sink `siem`") && letter.detail.ends_with("too_odd: DETAIL"), "{letter:?}");
        let first = letters.iter().find(|first| first.id == letter.id).unwrap();
        assert_eq!((&letter.event, letter.event_id, &letter.origin), (&first.event, first.event_id, &first.origin));
    }

    // From there it finds its sink, and a second stranger changes nothing more.
    let file = stranger.folder.path().join("dead.ndjson");
    std::fs::write(&file, stranger.items(2).concat()).unwrap();
    let second = world.beside();
    second.replay(file.clone(), Manner { names, ..MENDED }).await;
    assert_eq!(second.dead(), dead);
    let mended = world.beside();
    mended.replay(file, MENDED).await;
    assert_eq!(mended.set(0), data(&letters));
}

#[tokio::test]
async fn an_item_whose_letter_cannot_be_kept_does_not_settle_and_the_others_go_on() {
    let all = World::new();
    all.run(World::fleet(), RUN).await;
    let world = World::new();
    // A folder in place of the file bars the superuser too.
    std::fs::create_dir_all(world.rejected()).unwrap();
    let shutdown = CancellationToken::new();
    let mut running = std::pin::pin!(run(world.parts(World::fleet(), RUN), shutdown));
    let others = until("the others go on", || {
        world.items(0).len() == all.items(0).len() && world.items(1).len() == all.items(1).len()
    });
    tokio::select! {
        report = &mut running => panic!("it ended with items that are nowhere: {report:?}"),
        () = others => {}
    }
    assert_eq!(world.fars[0].lock().unwrap().kept, 0);
    std::fs::remove_dir(world.rejected()).unwrap();
    let report = tokio::time::timeout(world::PATIENCE, running).await.expect("it goes on by itself").unwrap();
    assert!(report.finished);
    assert_eq!(ids(&letters_in(&world.rejected())), ids(&letters_in(&all.rejected())));
    assert_eq!(report.sinks[0].1.rejected, letters_in(&all.rejected()).len() as u64);
}

#[tokio::test]
async fn a_run_that_stops_before_a_letter_is_kept_refuses_the_item_again() {
    let world = World::new();
    std::fs::create_dir_all(world.rejected()).unwrap();
    let mut parts = world.parts(World::fleet(), RUN);
    parts.shutdown_grace = std::time::Duration::from_millis(100);
    let shutdown = CancellationToken::new();
    let stopping = async {
        until("something is delivered", || world.items(0).len() > 50).await;
        shutdown.cancel();
    };
    let (report, ()) = tokio::join!(run(parts, shutdown.clone()), stopping);
    assert!(!report.unwrap().finished);
    std::fs::remove_dir(world.rejected()).unwrap();
    world.run(World::fleet(), RUN).await;
    let refused = data(&letters_in(&world.rejected()));
    assert!(world.set(0).union(&refused).eq(&world.set(1)), "what was open is there after the second run");
}

/// Whether this process is the one that is to be killed, and where.
const CHILD: &str = "TUNNELOG_TEST_CHILD";

#[tokio::test]
async fn a_process_killed_between_keeping_and_settling_keeps_the_letter_again_and_loses_nothing() {
    let dying = Manner { then: Then::Die, ..RUN };
    if let Some(folder) = std::env::var_os(CHILD) {
        let mut world = World::new();
        let parent = tempfile::Builder::new().disable_cleanup(true).tempdir_in(&folder).unwrap();
        std::mem::drop(std::mem::replace(&mut world.folder, parent));
        let done = async {
            until("letters are kept", || world.fars[0].lock().unwrap().kept > 5).await;
            std::fs::write(Path::new(&folder).join("kept"), "").unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = run(world.parts(World::fleet(), dying), CancellationToken::new()) => {}
            () = done => {}
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "a_process_killed_between_keeping_and_settling_keeps_the_letter_again_and_loses_nothing";
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(CHILD, folder.path()).stdout(std::process::Stdio::null());
    let mut child = support::program::Running::of(&mut command);
    support::program::wait_until("letters are kept", || folder.path().join("kept").exists());
    child.kill();

    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let left = left.into_iter().find(|path| path.is_dir()).unwrap();
    let mut world = World::new();
    for file in ["run.redb", "state/p.rejected.ndjson"] {
        std::fs::create_dir_all(world.folder.path().join("state")).unwrap();
        std::fs::copy(left.join(file), world.folder.path().join(file)).unwrap();
    }
    world.fars = Default::default();
    let before = letters_in(&world.rejected());
    world.run(World::fleet(), RUN).await;
    let letters = letters_in(&world.rejected());
    let undisturbed = World::new();
    undisturbed.run(World::fleet(), RUN).await;
    assert_eq!(ids(&letters), ids(&letters_in(&undisturbed.rejected())), "none is lost");
    for letter in &before {
        let same: Vec<&DeadLetter> = letters.iter().filter(|other| other.id == letter.id).collect();
        assert!(same.len() > 1 && same.iter().all(|other| *other == letter), "it came again, the same");
    }
}

/// A letter is data: neither its bytes nor what the destination said of them is for the log. A process of its own,
/// since which log lines are wanted is one state for all threads.
#[tokio::test]
async fn the_log_names_sink_reason_and_place_and_no_part_of_a_letter() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::TRACE);
        subscriber.with_writer(std::io::stderr).init();
        let mut world = World::new();
        world.folder = tempfile::tempdir_in(&folder).unwrap();
        std::fs::create_dir_all(world.rejected()).unwrap();
        let letters = [letter_of(b"HIDDEN")];
        let file = FileSink { path: world.rejected(), compression: Compression::None, rotate: Size::mib(1) };
        let rejects = FileRejects::new(file);
        let keeping = rejects.keep(&letters);
        tokio::pin!(keeping);
        // One try at the least, within which the place is a folder.
        let tried = tokio::time::timeout(std::time::Duration::from_secs(2), &mut keeping).await;
        assert!(tried.is_err(), "a folder is in the way");
        std::fs::remove_dir(world.rejected()).unwrap();
        return keeping.await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_log_names_sink_reason_and_place_and_no_part_of_a_letter"]).env(CHILD, folder.path());
    let log = support::program::finish(command).expect(0).err();
    for part in ["cannot be kept", "Is a directory", "refused events for good", "siem", "too_odd", "p.rejected.ndjson"]
    {
        assert!(log.contains(part), "`{part}` is missing in {log}");
    }
    assert!(!log.contains("HIDDEN") && !log.contains("SElEREVO") && !log.contains("DETAIL"), "{log}");
}

fn letter_of(data: &'static [u8]) -> DeadLetter {
    let id = DeadLetter::id_of_item("siem", EventId(1), data);
    let text = serde_json::json!({"schema": "tunnelog.dead-letter/1", "id": id, "reason": "too_odd",
        "detail": "DETAIL", "sink": "siem", "size": data.len(), "data": ""});
    DeadLetter { data: data.into(), ..serde_json::from_value(text).unwrap() }
}
