//! A simulated day: its records for a stream, and what they must come to at every far end.

use std::collections::BTreeMap;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Shard};
use serde_json::Value;
use tunnelog::config::types::{JsonOptions, Simulate};
use tunnelog::core::SinkPlan;
use tunnelog::encode::{Format, JsonFormat};
use tunnelog::route::Filter;
use tunnelog::source::simulate::SimulatedRecord;
use tunnelog::source::{Record, ShardId};

use super::support::program::wait_until;
use super::support::{forms, parts, text};
use crate::stack;

/// See the module.
pub(crate) struct Day {
    pub(crate) records: Vec<SimulatedRecord>,
    /// Records that are damaged on purpose.
    pub(crate) damaged: usize,
}

impl Day {
    pub(crate) fn new(config: Simulate) -> Day {
        let damaged = config.damaged as usize;
        Day { records: forms::records(&config), damaged }
    }

    /// What all of it must come to: by log stream, in order, upstream's own duplicates included.
    pub(crate) fn expected(&self) -> BTreeMap<String, Vec<Value>> {
        self.expected_as(&JsonOptions::default())
    }

    /// The same in a form of JSON.
    pub(crate) fn expected_as(&self, options: &JsonOptions) -> BTreeMap<String, Vec<Value>> {
        let mut expected: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for event in self.events(Format::Json(JsonFormat::new(options))) {
            expected.entry(log_stream(&event)).or_default().push(event);
        }
        assert!(expected.values().map(Vec::len).sum::<usize>() > 1000, "a day of some size");
        expected
    }

    /// All of it in a form, record by record.
    pub(crate) fn events(&self, format: Format) -> Vec<Value> {
        let shard = ShardId { source: "main".into(), stream: "s".into(), stream_created: "".into(), shard: "0".into() };
        let plan = SinkPlan { format, filter: Filter::default() };
        let of_record = |record: &SimulatedRecord| {
            let record = Record::new(record.position, None, record.data.clone());
            parts::encode(plan.clone(), &shard, &[record])
        };
        let items = self.records.iter().flat_map(of_record);
        items.map(|item| serde_json::from_slice(&item).unwrap()).collect()
    }
}

pub(crate) fn log_stream(event: &Value) -> String {
    text(event, "/log/stream_name").to_owned()
}

/// An event without what depends on when and where it was read.
pub(crate) fn bare(event: &Value) -> Value {
    let mut event = event.clone();
    for field in ["observed", "origin"] {
        event.as_object_mut().unwrap().remove(field);
    }
    event
}

/// A stream of the local Kinesis.
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) client: Client,
}

impl Stream {
    pub(crate) fn new(shards: i32) -> Stream {
        Stream { name: stack::kinesis().stream(shards), client: stack::kinesis().client() }
    }

    fn wait_until_active(&self) {
        wait_until("the stream is active", || {
            let asked = self.client.describe_stream_summary().stream_name(&self.name).send();
            let status = stack::block_on(asked).unwrap().stream_description_summary.unwrap().stream_status;
            status.as_str() == "ACTIVE"
        });
    }

    pub(crate) fn put(&self, records: &[SimulatedRecord]) {
        for records in records.chunks(100) {
            let entry = |record: &SimulatedRecord| {
                let data = Blob::new(record.data.to_vec());
                PutRecordsRequestEntry::builder().data(data).partition_key(&record.partition_key).build().unwrap()
            };
            let entries = records.iter().map(entry).collect();
            let put = self.client.put_records().stream_name(&self.name).set_records(Some(entries)).send();
            assert_eq!(stack::block_on(put).unwrap().failed_record_count.unwrap_or(0), 0);
        }
    }

    fn open_shards(&self) -> Vec<Shard> {
        let listed = stack::block_on(self.client.list_shards().stream_name(&self.name).send()).unwrap();
        let mut shards = listed.shards.unwrap();
        shards.retain(|shard| shard.sequence_number_range.as_ref().unwrap().ending_sequence_number.is_none());
        shards.sort_by_key(start_of);
        shards
    }

    /// Splits the first shard in the middle.
    pub(crate) fn split(&self) {
        let shard = self.open_shards().remove(0);
        let range = shard.hash_key_range.as_ref().unwrap();
        let end: u128 = range.ending_hash_key.parse().unwrap();
        let middle = start_of(&shard) + (end - start_of(&shard)) / 2;
        let split = self.client.split_shard().stream_name(&self.name).shard_to_split(shard.shard_id);
        stack::block_on(split.new_starting_hash_key(middle.to_string()).send()).unwrap();
        self.wait_until_active();
    }

    /// Merges the last two shards.
    pub(crate) fn merge(&self) {
        let mut shards = self.open_shards();
        let (last, before) = (shards.pop().unwrap(), shards.pop().unwrap());
        let merge = self.client.merge_shards().stream_name(&self.name).shard_to_merge(before.shard_id);
        stack::block_on(merge.adjacent_shard_to_merge(last.shard_id).send()).unwrap();
        self.wait_until_active();
    }
}

fn start_of(shard: &Shard) -> u128 {
    shard.hash_key_range.as_ref().unwrap().starting_hash_key.parse().unwrap()
}
