//! What lies in the table: a shard's lanes as one item, large states apart in parts. Pure: no calls.
//!
//! | `pk` | `sk` | what |
//! |---|---|---|
//! | `NAME` | `lease` | who holds the pipeline ([`super::lease`]) |
//! | `NAME/b` | `shard/HASH` | a shard's lanes, by sink: `{state, updated}`, or `{version, parts, updated}` |
//! | `NAME/b` | `part/HASH/VERSION/N` | a piece of a state that is too large for its item |
//!
//! `HASH` stands for the names of the shard (a replayed file's path is longer than a key may be), which the item has in
//! words; `b` is its last digit: 16 partition keys, so that the commits of many shards do not meet in one partition.
//! A part counts only while an item names its version; what no item names is garbage of a process that died.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::checkpoint::Remembered;
use crate::delivery::{LaneKey, LaneState};
use crate::event::{EventId, Millis};
use crate::source::ShardId;

pub(super) type Item = HashMap<String, AttributeValue>;

/// Of the partition key and the sort key.
pub(super) const PARTITION: &str = "pk";
pub(super) const SORT: &str = "sk";
/// The last digits of hashes.
pub(super) const BUCKETS: &str = "0123456789abcdef";

/// A larger state goes apart: an item is written whole at each change of one of its lanes, which is billed by size.
const INLINE_BYTES: usize = 8 * 1024;
/// What of a shard's lanes lies in its item: an item has at most 400 KB, names and references included.
const SHARD_BYTES: usize = 300 * 1024;
/// A part: an item of at most 400 KB.
const PART_BYTES: usize = 256 * 1024;
/// Bytes of a transaction: at most 4 MB. The last shard that it takes may bring [`SHARD_BYTES`] more.
const TRANSACTION_BYTES: usize = 3 * 1024 * 1024;
/// Shards of a transaction: 100 items, one of them the lease.
const TRANSACTION_SHARDS: usize = 99;

/// A shard of a pipeline.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct ShardKey {
    pub(super) pipeline: Arc<str>,
    pub(super) shard: ShardId,
}

impl ShardKey {
    pub(super) fn of(key: &LaneKey) -> ShardKey {
        ShardKey { pipeline: Arc::clone(&key.pipeline), shard: key.shard.clone() }
    }

    fn lane(&self, sink: &Arc<str>) -> LaneKey {
        LaneKey { pipeline: Arc::clone(&self.pipeline), shard: self.shard.clone(), sink: Arc::clone(sink) }
    }
}

/// Where a shard's items lie.
pub(super) struct Address {
    pub(super) partition: String,
    hash: String,
}

impl Address {
    pub(super) fn of(name: &str, key: &ShardKey) -> Address {
        let ShardId { source, stream, stream_created, shard } = &key.shard;
        let parts = [&key.pipeline, source, stream, stream_created, shard].map(|part| part.as_bytes());
        let hash = EventId::of_parts(&parts).to_string();
        Address { partition: format!("{name}/{}", hash.get(hash.len() - 1..).unwrap_or_default()), hash }
    }

    pub(super) fn shard(&self) -> String {
        format!("shard/{}", self.hash)
    }

    pub(super) fn part(&self, version: &str, index: usize) -> String {
        format!("part/{}/{version}/{index:04}", self.hash)
    }

    pub(super) fn key(&self, sort: String) -> Item {
        key(&self.partition, &sort)
    }
}

pub(super) fn key(partition: &str, sort: &str) -> Item {
    [(PARTITION, partition), (SORT, sort)].map(|(name, value)| (name.to_owned(), text(value))).into()
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A lane's state as JSON, or where it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Text {
    Inline(String),
    Apart(Version),
}

/// A large state's parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) parts: usize,
}

/// A lane in its shard's item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lane {
    pub(super) text: Text,
    pub(super) updated: i64,
}

impl Lane {
    fn bytes(&self, sink: &str) -> usize {
        // A reference: a version of up to 42 digits, and what names its fields.
        let text = if let Text::Inline(text) = &self.text { text.len() } else { 64 };
        sink.len() + text + 64
    }
}

/// A shard's lanes, by sink.
pub(super) type Lanes = BTreeMap<Arc<str>, Lane>;

pub(super) fn bytes_of(lanes: &Lanes) -> usize {
    lanes.iter().map(|(sink, lane)| lane.bytes(sink)).sum()
}

/// Whether a state goes apart, in a shard whose other lanes have this many bytes.
pub(super) fn goes_apart(text: &str, others: usize) -> bool {
    text.len() > INLINE_BYTES || others + text.len() > SHARD_BYTES
}

/// The pieces of a large state.
pub(super) fn split(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while !text.is_empty() {
        let mut end = PART_BYTES.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let (part, rest) = text.split_at(end);
        parts.push(part);
        text = rest;
    }
    parts
}

/// A shard's item.
pub(super) fn write(address: &Address, key: &ShardKey, lanes: &Lanes) -> Item {
    let ShardId { source, stream, stream_created, shard } = &key.shard;
    let names: [(&str, &str); 5] = [
        ("pipeline", &key.pipeline),
        ("source", source),
        ("stream", stream),
        ("stream_created", stream_created),
        ("shard", shard),
    ];
    let lane = |lane: &Lane| {
        let mut fields: Item = [("updated".to_owned(), number(lane.updated))].into();
        match &lane.text {
            Text::Inline(state) => drop(fields.insert("state".into(), text(state))),
            Text::Apart(Version { version, parts }) => {
                fields.extend([("version".to_owned(), text(version)), ("parts".to_owned(), number(parts))]);
            }
        }
        AttributeValue::M(fields)
    };
    let mut item = address.key(address.shard());
    item.extend(names.map(|(name, value)| (name.to_owned(), text(value))));
    let lanes = lanes.iter().map(|(sink, state)| (sink.to_string(), lane(state))).collect();
    item.insert("lanes".into(), AttributeValue::M(lanes));
    item
}

/// What the items of a pipeline come to.
#[derive(Default)]
pub(super) struct Read {
    pub(super) image: BTreeMap<ShardKey, Lanes>,
    pub(super) lanes: Vec<Remembered>,
    /// Parts that no item names.
    pub(super) garbage: Vec<Item>,
}

/// Why items cannot be understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A part is not there: it was read while another process replaced it, or it is lost.
    PartMissing(String),
    /// It says something else than this version writes.
    Strange(String),
}

/// Puts all items of a pipeline together.
pub(super) fn read(name: &str, items: Vec<Item>) -> Result<Read, Unreadable> {
    let mut read = Read::default();
    let (mut parts, mut shards) = (BTreeMap::new(), Vec::new());
    for item in items {
        let sort = field(&item, SORT)?.to_owned();
        if sort.starts_with("part/") {
            parts.insert((field(&item, PARTITION)?.to_owned(), sort), item);
        } else if sort.starts_with("shard/") {
            shards.push(item);
        }
    }
    let mut named = BTreeSet::new();
    for item in shards {
        let (key, lanes) = read_shard(&item)?;
        let address = Address::of(name, &key);
        for (sink, lane) in &lanes {
            let state = match &lane.text {
                Text::Inline(state) => state.clone(),
                Text::Apart(Version { version, parts: count }) => {
                    let mut whole = String::new();
                    for index in 0..*count {
                        let place = (address.partition.clone(), address.part(version, index));
                        let missing = || Unreadable::PartMissing(place.1.clone());
                        whole.push_str(field(parts.get(&place).ok_or_else(missing)?, "text")?);
                        named.insert(place);
                    }
                    whole
                }
            };
            let state: LaneState = serde_json::from_str(&state).map_err(|error| strange(&error))?;
            read.lanes.push(Remembered { key: key.lane(sink), state, updated: Some(Millis(lane.updated)) });
        }
        read.image.insert(key, lanes);
    }
    read.lanes.sort_by(|one, other| one.key.cmp(&other.key));
    let garbage = parts.into_keys().filter(|place| !named.contains(place));
    read.garbage = garbage.map(|(partition, sort)| key(&partition, &sort)).collect();
    Ok(read)
}

fn read_shard(item: &Item) -> Result<(ShardKey, Lanes), Unreadable> {
    let name = |name| field(item, name).map(Arc::from);
    let shard = ShardId {
        source: name("source")?,
        stream: name("stream")?,
        stream_created: name("stream_created")?,
        shard: name("shard")?,
    };
    let Some(AttributeValue::M(found)) = item.get("lanes") else { return Err(strange(&"a shard has no `lanes`")) };
    let mut lanes = Lanes::new();
    for (sink, lane) in found {
        let AttributeValue::M(lane) = lane else { return Err(strange(&"a lane is no map")) };
        let text = match lane.get("state") {
            Some(_) => Text::Inline(field(lane, "state")?.to_owned()),
            None => {
                Text::Apart(Version { version: field(lane, "version")?.to_owned(), parts: numeric(lane, "parts")? })
            }
        };
        lanes.insert(sink.as_str().into(), Lane { text, updated: numeric(lane, "updated")? });
    }
    Ok((ShardKey { pipeline: name("pipeline")?, shard }, lanes))
}

fn strange(what: &dyn std::fmt::Display) -> Unreadable {
    Unreadable::Strange(what.to_string())
}

/// A text of an item.
pub(super) fn field<'i>(item: &'i Item, name: &str) -> Result<&'i str, Unreadable> {
    let value = item.get(name).and_then(|value| value.as_s().ok());
    value.map(String::as_str).ok_or_else(|| strange(&format_args!("`{name}` is no text")))
}

/// A number of an item.
pub(super) fn numeric<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, Unreadable> {
    let value = item.get(name).and_then(|value| value.as_n().ok()).and_then(|digits| digits.parse().ok());
    value.ok_or_else(|| strange(&format_args!("`{name}` is no number")))
}

/// What one transaction writes: shards with the states that change, as JSON.
pub(super) type Batch = Vec<(ShardKey, Vec<(Arc<str>, String)>)>;

/// The transactions of a commit, in its order: each lane's state is in the transaction of those before it or in a later
/// one, never in an earlier one.
pub(super) fn batches(image: &BTreeMap<ShardKey, Lanes>, states: Vec<(ShardKey, Arc<str>, String)>) -> Vec<Batch> {
    let (mut batches, mut batch, mut places) = (Vec::new(), Batch::new(), HashMap::new());
    let mut bytes = 0;
    for (key, sink, state) in states {
        let inline = state.len().min(INLINE_BYTES) + sink.len() + 64;
        let place = match places.get(&key) {
            Some(place) => *place,
            None => {
                let size = image.get(&key).map_or(0, bytes_of) + inline;
                if batch.len() == TRANSACTION_SHARDS || (bytes + size > TRANSACTION_BYTES && !batch.is_empty()) {
                    batches.push(std::mem::take(&mut batch));
                    places.clear();
                    bytes = 0;
                }
                bytes += size;
                places.insert(key.clone(), batch.len());
                batch.push((key, Vec::new()));
                batch.len() - 1
            }
        };
        if let Some((_, lanes)) = batch.get_mut(place) {
            lanes.push((sink, state));
        }
    }
    batches.extend((!batch.is_empty()).then_some(batch));
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::At;

    fn shard(number: usize) -> ShardKey {
        let shard = ShardId {
            source: "main".into(),
            stream: "vpn-logs".into(),
            stream_created: "1".into(),
            shard: format!("shardId-{number:012}").into(),
        };
        ShardKey { pipeline: "p".into(), shard }
    }

    fn inline(state: &LaneState) -> Lane {
        Lane { text: Text::Inline(serde_json::to_string(state).unwrap()), updated: 7 }
    }

    #[test]
    fn a_shard_is_read_as_it_was_written_and_unnamed_parts_are_garbage() {
        let state = LaneState { at: At::After(5.into()), seal: None };
        let text = serde_json::to_string(&state).unwrap();
        let (one, two) = text.split_at(3);
        let key = shard(1);
        let address = Address::of("p", &key);
        let apart = Text::Apart(Version { version: "4.2".into(), parts: 2 });
        let lanes: Lanes =
            [("a".into(), inline(&state)), ("b".into(), Lane { text: apart, updated: 8 })].into_iter().collect();
        let part = |version: &str, index, text: &str| {
            let mut item = address.key(address.part(version, index));
            item.insert("text".into(), super::text(text));
            item
        };
        let mut items = vec![part("4.2", 1, two), write(&address, &key, &lanes), part("4.2", 0, one)];
        items.push(part("3.9", 0, "old"));
        let found = read("p", items.clone()).unwrap();
        assert_eq!(found.image.get(&key), Some(&lanes));
        assert!(found.lanes.iter().all(|lane| lane.state == state));
        assert_eq!(found.garbage, [address.key(address.part("3.9", 0))]);
        items.remove(0);
        let missing = read("p", items).err();
        assert_eq!(missing, Some(Unreadable::PartMissing(address.part("4.2", 1))));
    }

    #[test]
    fn parts_are_cut_between_characters_and_lose_none() {
        for text in ["x".repeat(PART_BYTES), "€".repeat(PART_BYTES), format!("x{}", "ä".repeat(PART_BYTES))] {
            let parts = split(&text);
            assert!(parts.iter().all(|part| part.len() <= PART_BYTES));
            assert_eq!(parts.concat(), text);
        }
    }

    #[test]
    fn a_commit_of_many_shards_keeps_its_order_over_its_transactions() {
        let states: Vec<_> = (0..250)
            .flat_map(|number| ["a", "b"].map(|sink| (shard(number), Arc::from(sink), "{}".to_owned())))
            .collect();
        let batches = batches(&BTreeMap::new(), states.clone());
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [99, 99, 52]);
        let flat = batches.into_iter().flatten().flat_map(|(key, lanes)| {
            lanes.into_iter().map(move |(sink, state)| (key.clone(), sink, state)).collect::<Vec<_>>()
        });
        assert!(flat.eq(states));
    }

    #[test]
    fn a_shard_that_comes_again_later_is_not_moved_to_an_earlier_transaction() {
        let mut states: Vec<_> = (0..150).map(|number| (shard(number), Arc::from("a"), "1".to_owned())).collect();
        states.push((shard(0), "b".into(), "2".into()));
        let batches = batches(&BTreeMap::new(), states);
        let last = batches.last().and_then(|batch| batch.last()).unwrap();
        assert_eq!(last, &(shard(0), vec![("b".into(), "2".into())]));
    }

    #[test]
    fn transactions_stay_below_four_megabytes() {
        let large: Lanes = [("x".into(), Lane { text: Text::Inline("x".repeat(SHARD_BYTES)), updated: 0 })].into();
        let image: BTreeMap<_, _> = (0..50).map(|number| (shard(number), large.clone())).collect();
        let states: Vec<_> = (0..50).map(|number| (shard(number), Arc::from("a"), "{}".to_owned())).collect();
        for batch in batches(&image, states) {
            let bytes: usize = batch.iter().map(|(key, _)| image.get(key).map_or(0, bytes_of)).sum();
            assert!(bytes + SHARD_BYTES < 4_000_000, "{bytes}");
        }
    }
}
