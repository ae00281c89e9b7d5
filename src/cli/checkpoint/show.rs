//! `tunnelog checkpoint show`: the lanes, by source, stream and shard.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::age::{now, short};
use super::super::{Outcome, print_all};
use super::{Which, count, is_removed};
use crate::checkpoint::{Contents, Location, Presence, Remembered};
use crate::config::Loaded;
use crate::delivery::At;
use crate::event::Millis;
use crate::source::StartAt;

pub(super) async fn run(loaded: &Loaded, location: &Location, which: &Which, json: bool) -> anyhow::Result<Outcome> {
    let Contents { presence, lanes } = location.look().await.map_err(anyhow::Error::msg)?;
    let lanes = which.of(loaded, lanes);
    let text = if json {
        format!("{:#}\n", as_json(loaded, location, &presence, &lanes))
    } else {
        table(loaded, location, &presence, &lanes, now())
    };
    print_all(text.as_bytes())?;
    Ok(Outcome::Finished)
}

/// Every lane with all that is known of it; of a seal its names too.
fn as_json(loaded: &Loaded, location: &Location, presence: &Presence, lanes: &[Remembered]) -> Value {
    let (name, holder) = match presence {
        Presence::Free(name) => (Some(name), None),
        Presence::Held { name, holder } => (name.as_ref(), holder.as_ref()),
        Presence::Unclosed | Presence::Absent => (None, None),
    };
    let lane = |lane: &Remembered| {
        let shard = &lane.key.shard;
        json!({
            "source": *shard.source,
            "stream": *shard.stream,
            "stream_created": *shard.stream_created,
            "shard": *shard.shard,
            "sink": *lane.key.sink,
            "removed": is_removed(loaded, &lane.key.sink),
            "at": lane.state.at,
            "seal": lane.state.seal,
            "updated": lane.updated.map(|time| time.to_string()),
        })
    };
    json!({
        "schema": "tunnelog.checkpoint/1",
        "pipeline": loaded.name,
        "checkpoint": location.to_string(),
        "store": name.map(|name| &name.id),
        "resets": name.map(|name| &name.resets),
        "held_by": holder,
        "lanes": lanes.iter().map(lane).collect::<Vec<_>>(),
    })
}

fn table(loaded: &Loaded, location: &Location, presence: &Presence, lanes: &[Remembered], now: Millis) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}: checkpoint in {location}", loaded.name);
    if let Presence::Held { holder: Some(holder), .. } = presence {
        let _ = writeln!(text, "held by {holder}");
    }
    if lanes.is_empty() {
        let _ = writeln!(text, "nothing is remembered");
        return text;
    }
    let width = lanes.iter().map(|lane| lane.key.sink.chars().count()).max().unwrap_or_default();
    let (mut stream, mut shard) = (None, None);
    for lane in lanes {
        let id = &lane.key.shard;
        if stream.replace((&id.source, &id.stream, &id.stream_created))
            != Some((&id.source, &id.stream, &id.stream_created))
        {
            let _ = writeln!(text, "\nsource {}, {} ({})", id.source, id.stream, id.stream_created);
            shard = None;
        }
        if shard.replace(&id.shard) != Some(&id.shard) {
            let _ = writeln!(text, "  {}", id.shard);
        }
        let _ = writeln!(text, "    {:<width$}  {}", lane.key.sink, words(loaded, lane, now));
    }
    let _ = writeln!(text, "\n{}", closing(loaded, lanes));
    text
}

/// A lane in words.
fn words(loaded: &Loaded, lane: &Remembered, now: Millis) -> String {
    let mut text = match lane.state.at {
        At::Start(StartAt::TrimHorizon) => "at the beginning".to_owned(),
        At::Start(StartAt::AtTimestamp(time)) => format!("before what arrives at {} or later", Millis(time)),
        At::Start(StartAt::After(position)) | At::After(position) => format!("after {position}"),
        At::ShardEnd => "at the shard's end".to_owned(),
    };
    if let Some(seal) = &lane.state.seal {
        let objects = count(seal.keys.len(), "object");
        let _ = write!(text, "; publishing {objects} of {} to {}", seal.start, seal.end);
    }
    if let Some(updated) = lane.updated {
        let age = Duration::from_millis(u64::try_from(now.0 - updated.0).unwrap_or_default());
        let _ = write!(text, "; {} ago", short(age));
    }
    if is_removed(loaded, &lane.key.sink) {
        text.push_str("; no sink of this name is in the pipeline file");
    }
    text
}

fn closing(loaded: &Loaded, lanes: &[Remembered]) -> String {
    let mut shards: Vec<_> = lanes.iter().map(|lane| &lane.key.shard).collect();
    shards.dedup();
    let ended = lanes.iter().filter(|lane| lane.state.at == At::ShardEnd).count();
    let sealed = lanes.iter().filter(|lane| lane.state.seal.is_some()).count();
    let removed = lanes.iter().filter(|lane| is_removed(loaded, &lane.key.sink)).count();
    let mut parts = vec![count(shards.len(), "shard"), count(lanes.len(), "lane")];
    for (number, what) in [(ended, "at a shard's end"), (sealed, "publishing"), (removed, "of removed sinks")] {
        parts.extend((number > 0).then(|| format!("{number} {what}")));
    }
    parts.join(", ")
}
