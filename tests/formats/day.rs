//! A simulated day through the program, into a file of each format.

use serde_json::Value;

use crate::support::events_in;
use crate::support::program::run as program;

/// The same events in each format.
pub(crate) struct Day {
    pub(crate) ocsf: Vec<Value>,
    pub(crate) ecs: Vec<Value>,
    pub(crate) splunk: Vec<Value>,
}

const PIPELINE: &str = "
sources: { fleet: { simulate: { seed: 11, connections: 4, hours: 24 } } }
enrich: { simulated: fleet, tags: [site, env] }
sinks:
  ocsf:
    file: { path: ocsf.ndjson }
    format: { ocsf: { raw: always, origin: true, constants: { team: net } } }
  ecs:
    file: { path: ecs.ndjson }
    format: { ecs: { raw: always, origin: true, constants: { team: net } } }
  splunk:
    file: { path: splunk.ndjson }
    format: { splunk: { raw: always, origin: true, constants: { team: net } } }
";

pub(crate) fn run() -> Day {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("day.yaml"), PIPELINE).unwrap();
    program(folder.path(), &["run", "day.yaml"]).expect(0);
    let [ocsf, ecs, splunk] =
        ["ocsf", "ecs", "splunk"].map(|name| events_in(&folder.path().join(name).with_extension("ndjson")));
    Day { ocsf, ecs, splunk }
}
