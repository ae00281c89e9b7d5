//! Where the program under trial remembers, and how the judge reads that: past the links, whatever their weather.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tunnelog::checkpoint::{CheckpointStore as _, RedbStore};
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::source::ShardId;

use crate::stack;
use crate::support::program::{finish, tunnelog};
use crate::support::text;

pub(crate) type Lanes = BTreeMap<LaneKey, LaneState>;

/// The shortest that a pipeline file may set: who follows a killed process waits for so long.
const LEASE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// A file on the machine's own disk.
    File,
    /// A table of DynamoDB, by its name.
    Table(String),
}

impl Store {
    pub(crate) fn table() -> Store {
        Store::Table(stack::unique("chaos"))
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Store::Table(_))
    }

    /// As the pipeline file says it.
    pub(crate) fn setting(&self) -> String {
        match self {
            Store::File => "{ file: state/chaos.redb }".into(),
            Store::Table(name) => {
                format!("{{ dynamodb: {{ table: {name}, create: true, lease: {}s }} }}", LEASE.as_secs())
            }
        }
    }

    /// How long a start may have to wait for the process before it.
    pub(crate) fn lease(&self) -> Duration {
        if self.is_table() { LEASE } else { Duration::ZERO }
    }

    /// What is remembered, of a program on this machine.
    pub(crate) fn remembered(&self, machine: &Path, environment: &[(&'static str, String)]) -> Lanes {
        if self.is_table() {
            return shown(machine, environment);
        }
        let file = machine.join("state/chaos.redb");
        if !file.exists() {
            return Lanes::new();
        }
        let load = async { RedbStore::open(&file).unwrap().load().await.unwrap() };
        stack::block_on(load).into_iter().collect()
    }
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Store::File => f.write_str("a file"),
            Store::Table(name) => write!(f, "table {name} of DynamoDB, by a lease of {LEASE:?}"),
        }
    }
}

/// What `tunnelog checkpoint show` says, which reads a table also beside a process that writes.
fn shown(machine: &Path, environment: &[(&'static str, String)]) -> Lanes {
    let mut command = tunnelog(machine, &["checkpoint", "show", "pipeline.yaml", "--json"]);
    command.envs(environment.iter().cloned()).env("AWS_ENDPOINT_URL_DYNAMODB", &stack::moto().endpoint);
    let shown: Value = serde_json::from_slice(&finish(command).expect(0).stdout).unwrap();
    let part = |lane: &Value, name: &str| text(lane, &format!("/{name}")).into();
    let lane = |lane: &Value| {
        let shard = ShardId {
            source: part(lane, "source"),
            stream: part(lane, "stream"),
            stream_created: part(lane, "stream_created"),
            shard: part(lane, "shard"),
        };
        let key = LaneKey { pipeline: part(&shown, "pipeline"), shard, sink: part(lane, "sink") };
        let state: LaneState =
            serde_json::from_value(serde_json::json!({"at": lane["at"], "seal": lane["seal"]})).unwrap();
        (key, state)
    };
    shown["lanes"].as_array().unwrap().iter().map(lane).collect()
}
