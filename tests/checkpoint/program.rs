//! The whole program on a table: killed, paused and woken, shut down and started elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::TempDir;
use tunnelog::config::types::Simulate;

use super::proxy::{Proxy, Verdict};
use super::stack;
use super::support::program::{Done, Running, finish, size, tunnelog, wait_until};
use super::support::{forms, json_lines, text, unpacked};

/// An event's place: its file, its record's ordinal there, and its own in the record.
type Place = (String, u64, u64);

/// Two files of records.
static INPUTS: LazyLock<(TempDir, Vec<PathBuf>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Simulate { seed: 5, connections: 60, hours: 4, shards: 2, ..Simulate::default() };
    let records = forms::records(&fleet);
    let files: Vec<PathBuf> = (0..2).map(|shard| folder.path().join(format!("shard-{shard}.b64"))).collect();
    for (shard, file) in files.iter().enumerate() {
        let own = records.iter().filter(|record| record.shard as usize == shard);
        let own: Vec<&[u8]> = own.map(|record| &*record.data).collect();
        std::fs::write(file, forms::base64_lines(&own)).unwrap();
    }
    (folder, files)
});

/// A table and a bucket that outlive every machine.
pub(crate) struct Cloud {
    pub(crate) table: String,
    pub(crate) bucket: String,
}

impl Cloud {
    pub(crate) fn new() -> Cloud {
        Cloud { table: stack::unique("checkpoint"), bucket: stack::s3().bucket() }
    }

    /// The pipeline on a machine with an empty disk.
    pub(crate) fn machine(&self, sinks: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let inputs = INPUTS.1.iter().map(|path| format!("\"{}\"", path.display())).collect::<Vec<_>>().join(", ");
        let pipeline = format!(
            "sources:\n  files: {{ replay: {{ inputs: [{inputs}] }} }}\nsinks:\n{sinks}checkpoint: {{ dynamodb: {{ \
             table: {}, create: true, lease: 10s }}, interval: 100ms }}\nlimits: {{ open_records: 1000 }}\n",
            self.table
        );
        std::fs::write(folder.path().join("siem.yaml"), pipeline).unwrap();
        folder
    }

    pub(crate) fn lake(&self) -> String {
        format!(
            "  lake:\n    s3: {{ bucket: {}, prefix: \"vpn/{{kind}}/\", compression: none, chunk: 64KiB }}\n    format: {{ \
             json: {{ origin: true }} }}\n",
            self.bucket
        )
    }

    pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
        let s3 = stack::s3();
        let mut command = tunnelog(folder, arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs([
            ("AWS_ACCESS_KEY_ID", s3.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", s3.secret_key.as_str()),
            ("AWS_REGION", stack::REGION),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_ENDPOINT_URL_STS", stack::moto().endpoint.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", stack::moto().endpoint.as_str()),
            ("AWS_ENDPOINT_URL_S3", s3.endpoint.as_str()),
        ]);
        command
    }

    pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Done {
        finish(Self::command(folder, arguments))
    }

    fn start(folder: &Path) -> Running {
        let log = std::fs::File::create(folder.join("stderr")).unwrap();
        Running::of(Self::command(folder, &["run", "siem.yaml"]).stdout(Stdio::null()).stderr(log))
    }

    /// How often each event is in the bucket.
    fn in_bucket(&self) -> BTreeMap<Place, usize> {
        let client = stack::s3().client();
        let mut found = BTreeMap::new();
        let list = client.list_objects_v2().bucket(&self.bucket).prefix("vpn/").into_paginator().send();
        let pages = stack::block_on(list.collect::<Result<Vec<_>, _>>()).unwrap();
        let keys = pages.into_iter().flat_map(|page| page.contents.unwrap_or_default()).filter_map(|object| object.key);
        for key in keys.filter(|key| !key.contains("/_")) {
            let body = stack::block_on(async {
                let got = client.get_object().bucket(&self.bucket).key(&key).send().await.unwrap();
                got.body.collect().await.unwrap().to_vec()
            });
            for event in json_lines(&body) {
                *found.entry(place(&event)).or_default() += 1;
            }
        }
        found
    }
}

fn place(event: &Value) -> Place {
    let (stream, sequence) = (text(event, "/origin/stream"), text(event, "/origin/sequence"));
    (stream.to_owned(), sequence.parse().unwrap(), event["origin"]["index"].as_u64().unwrap())
}

fn file_sink() -> String {
    "  events: { file: { path: out/events.ndjson, rotate: 1GiB }, format: { json: { origin: true } } }\n".into()
}

/// The events in a folder; a kill may have torn the last line.
fn written(folder: &Path) -> Vec<Place> {
    let bytes = unpacked(&folder.join("out/events.ndjson"));
    let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    json_lines(&bytes[..end]).iter().map(place).collect()
}

/// Everything that is to be delivered, from a run that nothing disturbs.
fn expected() -> BTreeSet<Place> {
    static EXPECTED: LazyLock<BTreeSet<Place>> = LazyLock::new(|| {
        let folder = Cloud { table: "none".into(), bucket: "none".into() }.machine(&file_sink());
        let path = folder.path().join("siem.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.find("checkpoint:").unwrap()]).unwrap();
        finish(tunnelog(folder.path(), &["run", "siem.yaml"])).expect(0);
        let all: BTreeSet<Place> = written(folder.path()).into_iter().collect();
        assert!(all.len() > 2000);
        all
    });
    EXPECTED.clone()
}

/// Whether events are remembered as written to the file: a shard's first records may carry none.
fn has_come_far(table: &str) -> bool {
    let client = aws_sdk_dynamodb::Client::new(&stack::aws(&stack::moto().endpoint, "any", "key"));
    let items = stack::block_on(client.scan().table_name(table).send()).unwrap().items.unwrap();
    let mut lanes = items.iter().filter_map(|item| item.get("lanes")?.as_m().ok()?.get("events")?.as_m().ok());
    lanes.any(|lane| {
        let state: Value = serde_json::from_str(lane["state"].as_s().unwrap()).unwrap();
        state.pointer("/at/after").is_some_and(|after| after.as_str().unwrap().parse::<u64>().unwrap() > 50)
    })
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("stderr")).unwrap()
}

fn signal(running: &Running, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", running.id())]).status().unwrap();
    assert!(sent.success(), "it ended before");
}

#[test]
fn killed_machines_with_empty_disks_lose_nothing() {
    let cloud = Cloud::new();
    let sinks = file_sink() + &cloud.lake();
    let mut machines = Vec::new();
    for _ in 0..2 {
        let machine = cloud.machine(&sinks);
        let mut running = Cloud::start(machine.path());
        wait_until("something is written", || {
            assert!(!running.has_ended(), "{}", log_of(machine.path()));
            size(&machine.path().join("out/events.ndjson")) > 200_000
        });
        wait_until("some of it is remembered", || has_come_far(&cloud.table));
        running.kill();
        machines.push(machine);
    }
    let machine = cloud.machine(&sinks);
    let done = Cloud::run(machine.path(), &["run", "siem.yaml"]).expect(0);
    done.says(&["another process holds this pipeline's checkpoint", "the lease has lapsed", "finished"]);
    machines.push(machine);
    let all: Vec<Vec<Place>> = machines.iter().map(|machine| written(machine.path())).collect();
    let distinct: BTreeSet<Place> = all.iter().flatten().cloned().collect();
    assert_eq!(distinct, expected(), "nothing is lost");
    let last: BTreeSet<Place> = all.last().unwrap().iter().cloned().collect();
    let sizes: Vec<usize> = all.iter().map(Vec::len).collect();
    assert!(last.len() < expected().len(), "the last machine went on where the others had stopped: {sizes:?}");
    let in_bucket = cloud.in_bucket();
    assert!(in_bucket.values().all(|count| *count == 1), "each event is in the bucket once");
    assert_eq!(in_bucket.into_keys().collect::<BTreeSet<_>>(), expected());
    Cloud::run(machines[2].path(), &["run", "siem.yaml"])
        .expect(0)
        .says(&["nothing left to do", "tunnelog checkpoint reset siem.yaml"]);
}

#[test]
fn a_paused_process_that_wakes_after_another_took_over_changes_nothing() {
    let cloud = Cloud::new();
    let (one, two) = (cloud.machine(&cloud.lake()), cloud.machine(&cloud.lake()));
    let mut first = Cloud::start(one.path());
    wait_until("it publishes", || {
        assert!(!first.has_ended(), "{}", log_of(one.path()));
        !cloud.in_bucket().is_empty()
    });
    signal(&first, "STOP");
    let second = Cloud::run(two.path(), &["run", "siem.yaml"]).expect(0);
    second.says(&["the lease has lapsed", "finished"]);
    signal(&first, "CONT");
    assert_eq!(first.wait().code(), Some(1));
    assert!(log_of(one.path()).contains("was taken over by process"), "{}", log_of(one.path()));
    let in_bucket = cloud.in_bucket();
    assert!(in_bucket.values().all(|count| *count == 1), "each event is in the bucket once");
    assert_eq!(in_bucket.into_keys().collect::<BTreeSet<_>>(), expected());
}

/// It has the lease: to end now would leave the next process to wait for it.
#[test]
fn a_table_that_cannot_be_read_for_a_while_at_the_start_is_read_later() {
    let cloud = Cloud::new();
    let (machine, proxy) = (cloud.machine(&file_sink()), Proxy::new(&stack::moto().endpoint));
    // More than the SDK tries by itself.
    proxy.next(10, Verdict::Answer(500, "InternalServerError"), |call| call.is("Query"));
    let mut command = Cloud::command(machine.path(), &["run", "siem.yaml"]);
    command.env("AWS_ENDPOINT_URL_DYNAMODB", &proxy.endpoint);
    let done = finish(command).expect(0);
    done.says(&["the checkpoint cannot be read", "dynamodb:Query on table", "finished"]);
    let written = written(machine.path());
    assert_eq!(written.len(), expected().len(), "once");
    assert_eq!(written.into_iter().collect::<BTreeSet<_>>(), expected());
}

#[test]
fn a_process_that_is_stopped_in_order_hands_over_at_once() {
    let cloud = Cloud::new();
    let (one, two) = (cloud.machine(&file_sink()), cloud.machine(&file_sink()));
    let mut first = Cloud::start(one.path());
    wait_until("something is written", || size(&one.path().join("out/events.ndjson")) > 100_000);
    assert_eq!(first.terminate().code(), Some(0), "{}", log_of(one.path()));
    let second = Cloud::run(two.path(), &["run", "siem.yaml"]).expect(0);
    assert!(!second.err().contains("holds this pipeline's checkpoint"), "it need not wait: {}", second.err());
    let (before, after) = (written(one.path()), written(two.path()));
    assert!(!before.is_empty() && !after.is_empty());
    assert_eq!(before.len() + after.len(), expected().len(), "nothing is repeated");
    assert_eq!(before.into_iter().chain(after).collect::<BTreeSet<_>>(), expected());
}

#[test]
fn a_table_is_looked_at_shown_and_reset() {
    let cloud = Cloud::new();
    let machine = cloud.machine(&cloud.lake());
    let folder = machine.path();
    let check = || Cloud::run(folder, &["check", "--connect", "siem.yaml"]);
    let named = format!("DynamoDB table {} (as siem)", cloud.table);
    let out = check().expect(0).out();
    assert!(out.contains(&format!("{named} is made at the first start")), "{out}");
    assert!(out.contains("sink lake, checkpoint as arn:aws:"), "{out}");
    let empty = Cloud::run(folder, &["checkpoint", "show", "siem.yaml"]).expect(0).out();
    assert_eq!(empty, format!("siem: checkpoint in {named}\nnothing is remembered\n"));
    Cloud::run(folder, &["checkpoint", "reset", "siem.yaml", "--yes"]).expect(0);

    // While it runs, it can be looked at and not be reset.
    let mut running = Cloud::start(folder);
    wait_until("it publishes", || {
        assert!(!running.has_ended(), "{}", log_of(folder));
        !cloud.in_bucket().is_empty()
    });
    signal(&running, "STOP");
    let out = check().expect(0).out();
    assert!(out.contains(&format!("{named} is held by process {} on", running.id())), "{out}");
    assert!(out.contains("belongs to this checkpoint"), "the store's name is known: {out}");
    let shown = Cloud::run(folder, &["checkpoint", "show", "siem.yaml"]).expect(0).out();
    assert!(
        shown.contains(&format!("held by process {} on", running.id())) && shown.contains("shard-0.b64"),
        "{shown}"
    );
    signal(&running, "CONT");
    let refused = Cloud::run(folder, &["checkpoint", "reset", "siem.yaml", "--yes"]);
    if !running.has_ended() {
        let refused = refused.expect(1);
        refused.says(&["is held by process", "which runs this pipeline: stop it first"]);
    }
    assert_eq!(running.wait().code(), Some(0), "{}", log_of(folder));

    let out = check().expect(0).out();
    assert!(out.contains(&format!("{named} goes on where it stopped")), "{out}");
    let json: Value =
        serde_json::from_slice(&Cloud::run(folder, &["checkpoint", "show", "siem.yaml", "--json"]).expect(0).stdout)
            .unwrap();
    assert_eq!(json["lanes"].as_array().unwrap().len(), 4);
    assert_eq!(json["lanes"][1]["at"], "shard_end");
    assert_eq!(json["held_by"], Value::Null);

    // Forgotten, the lake is not written a second time by mistake.
    let reset = Cloud::run(folder, &["checkpoint", "reset", "siem.yaml", "--sink", "lake", "--yes"]).expect(0).out();
    for text in ["siem: 2 of 4 lanes", "demands a new `prefix`", "2 lanes forgotten"] {
        assert!(reset.contains(text), "{reset}");
    }
    let refused = Cloud::run(folder, &["run", "siem.yaml"]).expect(1);
    refused.says(&["before this sink's checkpoint was reset", "choose a new `prefix`"]);
    let out = check().expect(1).out();
    assert!(out.contains("before this sink's checkpoint was reset"), "{out}");
    let pipeline = std::fs::read_to_string(folder.join("siem.yaml")).unwrap();
    std::fs::write(folder.join("siem.yaml"), pipeline.replace("vpn/{kind}/", "vpn/again/")).unwrap();
    Cloud::run(folder, &["run", "siem.yaml"]).expect(0).says(&["finished"]);
    assert!(cloud.in_bucket().values().all(|count| *count == 2), "all of it, under the new prefix");
}
