//! `tunnelog checkpoint reset`: says what is forgotten and what comes of it, asks, and forgets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};

use super::super::{Outcome, say_error};
use super::{Which, count, is_removed};
use crate::checkpoint::{Location, ManagedStore, Patience, Presence, Remembered};
use crate::config::Loaded;
use crate::pipeline::DEAD_LETTERS;

/// Lines of a list; what is beyond is counted.
const LINES: usize = 20;

pub(super) async fn run(loaded: &Loaded, location: &Location, which: &Which, yes: bool) -> anyhow::Result<Outcome> {
    if location.presence().await.map_err(anyhow::Error::msg)? == Presence::Absent {
        anstream::println!("{}: nothing is remembered in {location}", loaded.name);
        return Ok(Outcome::Finished);
    }
    let mut store = location.open(Patience::Refuse).await.map_err(anyhow::Error::msg)?;
    let outcome = forget(loaded, location, which, yes, store.as_mut()).await;
    store.close().await;
    outcome
}

async fn forget(
    loaded: &Loaded,
    location: &Location,
    which: &Which,
    yes: bool,
    store: &mut dyn ManagedStore,
) -> anyhow::Result<Outcome> {
    let all = store.list().await?;
    let lanes = which.of(loaded, all.clone());
    if lanes.is_empty() {
        return Ok(nothing(loaded, &all));
    }
    anstream::print!("{}", plan(loaded, location, &lanes, &all));
    if !yes && !confirmed()? {
        return Ok(Outcome::Misused);
    }
    store.forget(&lanes).await?;
    anstream::println!("{} forgotten", count(lanes.len(), "lane"));
    Ok(Outcome::Finished)
}

/// Nothing fits: what there is.
fn nothing(loaded: &Loaded, all: &[Remembered]) -> Outcome {
    let own: Vec<&Remembered> = all.iter().filter(|lane| *lane.key.pipeline == *loaded.name).collect();
    if own.is_empty() {
        anstream::println!("{}: nothing is remembered", loaded.name);
        return Outcome::Finished;
    }
    let names = |name: fn(&Remembered) -> &str| {
        let names: BTreeSet<&str> = own.iter().map(|lane| name(lane)).collect();
        names.into_iter().take(LINES).collect::<Vec<_>>().join(", ")
    };
    say_error(&format!(
        "no lane fits; sinks: {}; sources: {}; shards: {}",
        names(|lane| &lane.key.sink),
        names(|lane| &lane.key.shard.source),
        names(|lane| &lane.key.shard.shard)
    ));
    Outcome::Misused
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        say_error("nothing was changed: add `--yes` to do it");
        return Ok(false);
    }
    anstream::eprint!("Type yes to do it: ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    let confirmed = answer.trim() == "yes";
    if !confirmed {
        anstream::eprintln!("nothing was changed");
    }
    Ok(confirmed)
}

fn plan(loaded: &Loaded, location: &Location, lanes: &[Remembered], all: &[Remembered]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}: {} of {} in {location} will be forgotten\n",
        loaded.name,
        lanes.len(),
        count(all.iter().filter(|lane| *lane.key.pipeline == *loaded.name).count(), "lane")
    );
    let mut sinks: BTreeMap<&str, Vec<&Remembered>> = BTreeMap::new();
    for lane in lanes {
        sinks.entry(&lane.key.sink).or_default().push(lane);
    }
    for (sink, lanes) in sinks {
        let _ = writeln!(text, "  {sink}, {}: {}", count(lanes.len(), "shard"), consequence(loaded, sink, &lanes, all));
        for lane in lanes.iter().take(LINES) {
            let shard = &lane.key.shard;
            let _ = writeln!(text, "    {} {} {}", shard.source, shard.stream, shard.shard);
        }
        if lanes.len() > LINES {
            let _ = writeln!(text, "    and {} more", lanes.len() - LINES);
        }
        for line in sealed(&lanes) {
            let _ = writeln!(text, "    {line}");
        }
    }
    text.push('\n');
    text
}

/// What the next start does for a sink.
fn consequence(loaded: &Loaded, sink: &str, lanes: &[&Remembered], all: &[Remembered]) -> String {
    if is_removed(loaded, sink) {
        return "no sink of this name is in the pipeline file, so nothing is delivered again".into();
    }
    // A lane that is new in a stream that its sink follows begins with its shard.
    let follows = |lane: &Remembered| {
        let (own, shard) = (&lane.key, &lane.key.shard);
        all.iter().any(|other| {
            let is_stream = other.key.shard.source == shard.source
                && other.key.shard.stream == shard.stream
                && other.key.shard.stream_created == shard.stream_created;
            let stays = !lanes.iter().any(|lane| lane.key == other.key);
            other.key.pipeline == own.pipeline && other.key.sink == own.sink && is_stream && stays
        })
    };
    let from = match lanes.iter().filter(|lane| follows(lane)).count() {
        0 => "from the source's `start` on",
        some if some == lanes.len() => "from the beginning of these shards on",
        _ => "from the source's `start` on, or from the beginning of the shard in streams where it keeps other shards",
    };
    let repeats = if in_s3(loaded, sink) {
        "; since records may be cut into other objects than before, the next start demands a new `prefix`, or an \
         empty one without its marker"
    } else {
        "; what is there already comes again with the same ids"
    };
    let repeats = if lanes.iter().any(|lane| lane.has_delivered()) { repeats } else { "" };
    format!("everything {from} is delivered again{repeats}")
}

fn in_s3(loaded: &Loaded, sink: &str) -> bool {
    if sink == DEAD_LETTERS {
        return loaded.pipeline.dead_letters.as_ref().is_some_and(|letters| letters.s3.is_some());
    }
    loaded.pipeline.sinks.get(sink).is_some_and(|sink| sink.s3.is_some())
}

/// What is being published: some of it may be visible.
fn sealed(lanes: &[&Remembered]) -> Vec<String> {
    let seals: Vec<_> = lanes.iter().filter_map(|lane| lane.state.seal.as_ref()).collect();
    let mut keys: Vec<&String> = seals.iter().flat_map(|seal| &seal.keys).collect();
    keys.sort();
    if seals.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "{} was being published: some of its {} may be visible, the uploads of the others are aborted at the next \
         start under this prefix, else by the bucket's lifecycle rule:",
        count(seals.len(), "chunk"),
        count(keys.len(), "object")
    )];
    lines.extend(keys.iter().take(LINES).map(|key| format!("  {key}")));
    lines.extend((keys.len() > LINES).then(|| format!("  and {} more", keys.len() - LINES)));
    lines
}
