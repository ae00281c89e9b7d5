//! Parts of a pipeline made by hand, and what a source's records must come out as.

use std::collections::BTreeMap;
use std::sync::Arc;

use tunnelog::config::types::JsonOptions;
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan, Step};
use tunnelog::delivery::SinkId;
use tunnelog::encode::{Format, JsonFormat};
use tunnelog::enrich::Snapshot;
use tunnelog::route::Filter;
use tunnelog::source::{Feed, Reader, Record, Reopen, ShardEvent, ShardId, Source, StartAt};

/// One sink that gets every event as JSON with its origin.
pub(crate) fn with_origin() -> SinkPlan {
    let format = Format::Json(JsonFormat::new(&JsonOptions { origin: true, ..JsonOptions::default() }));
    SinkPlan { format, filter: Filter::default() }
}

pub(crate) fn dead_letters() -> SinkPlan {
    SinkPlan { format: Format::DeadLetter, filter: Filter::default() }
}

/// Everything that a source announces.
pub(crate) async fn shards_of(source: &mut dyn Source) -> Vec<ShardId> {
    let mut shards = Vec::new();
    while let Some(event) = source.next().await.unwrap() {
        match event {
            ShardEvent::Opened { shard, .. } => shards.push(shard),
            other => panic!("a finite source says {other:?}"),
        }
    }
    shards
}

/// The next records of a reader; `None` at the shard's end. An empty answer means "ask again".
pub(crate) async fn next_records(reader: &mut dyn Reader) -> Option<Vec<Record>> {
    loop {
        match reader.next().await.unwrap() {
            Feed::Records(records) if records.is_empty() => {}
            Feed::Records(records) => return Some(records),
            Feed::ShardEnd => return None,
            Feed::Gap { reason, .. } => panic!("a gap: {reason}"),
        }
    }
}

/// A shard from `from` to its end.
pub(crate) async fn read_shard(reopen: &dyn Reopen, shard: &ShardId, from: StartAt) -> Vec<Record> {
    let mut reader = reopen.open(shard, from).await.unwrap();
    let mut all = Vec::new();
    while let Some(records) = next_records(reader.as_mut()).await {
        all.extend(records);
    }
    all
}

/// Encodes records as the core does for one sink: each item's bytes.
pub(crate) fn encode(plan: SinkPlan, shard: &ShardId, records: &[Record]) -> Vec<Vec<u8>> {
    let core = Core::new(64 << 20, vec![plan]);
    let (snapshot, mut scratch, mut items) = (Snapshot::default(), Scratch::default(), Vec::new());
    for record in records {
        let mut resume = Resume::default();
        loop {
            let mut out = core.output(&[SinkId(0)]);
            let step = core.process(From { shard, region: None }, record, resume, &snapshot, &mut scratch, &mut out);
            for lane in core.piece(out).lanes.into_iter().flatten() {
                items.extend((0..lane.encoded.items.len()).map(|item| lane.encoded.bytes_of(item).to_vec()));
            }
            match step {
                Step::Done => break,
                Step::More(next) => resume = next,
            }
        }
    }
    items
}

/// What a source must come to in a sink: the items of each shard, in order.
pub(crate) async fn expected(source: &mut dyn Source, plan: &SinkPlan) -> BTreeMap<ShardId, Vec<Vec<u8>>> {
    let reopen: Arc<dyn Reopen> = source.reopen();
    let mut all = BTreeMap::new();
    for shard in shards_of(source).await {
        let records = read_shard(reopen.as_ref(), &shard, StartAt::TrimHorizon).await;
        let items = encode(plan.clone(), &shard, &records);
        all.insert(shard, items);
    }
    all
}
