//! Disks that are full or not ours: a message with the path and the remedy, and nothing is acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::path::Path;

use support::program::{Running, get, run, size, status_address, tunnelog, wait_until};
use support::{events_in, forms};
use tunnelog::config::types::{Compression, FileSink};
use tunnelog::config::units::Size;
use tunnelog::sink::file::file;

/// A pipeline over `records.b64`; its status page tells whether the sink is up.
const PIPELINE: &str = "\
sources:
  files: { replay: { inputs: [records.b64] } }
  fleet: { simulate: { connections: 1, hours: 24, rate: 1 } }
sinks:
  events: { file: { path: out/events.ndjson }, format: { json: { origin: true } } }
checkpoint: { interval: 100ms }
status: { listen: 127.0.0.1:0 }
";

fn write_pipeline(folder: &Path) -> usize {
    let fleet = tunnelog::config::types::Simulate { connections: 8, hours: 2, ..forms::small_fleet() };
    let records = forms::records(&fleet);
    let data: Vec<&[u8]> = records.iter().map(|record| &*record.data).collect();
    std::fs::write(folder.join("records.b64"), forms::base64_lines(&data)).unwrap();
    std::fs::write(folder.join("pipeline.yaml"), PIPELINE).unwrap();
    records.iter().map(|record| record.events as usize).sum()
}

/// A file that may not grow is a full disk to whoever writes to it, the superuser included: half of a unit is
/// written, the rest is not.
#[test]
fn a_full_disk_stops_the_sink_until_there_is_room_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let events = write_pipeline(folder.path());
    let program = tunnelog(folder.path(), &["run", "pipeline.yaml"]).get_program().to_owned();
    let log = std::fs::File::create(folder.path().join("stderr")).unwrap();
    // 200 KiB are enough for the checkpoint, and not for the events.
    let script = "trap '' XFSZ; ulimit -S -f 200; exec \"$0\" run pipeline.yaml";
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", script]).arg(program).current_dir(folder.path()).stderr(log).stdout(std::process::Stdio::null());
    let mut running = Running::of(&mut shell);
    let stderr = folder.path().join("stderr");
    let page = status_address(&stderr);
    let output = folder.path().join("out/events.ndjson");
    wait_until("the sink is down", || {
        get(&page, "/readyz").contains("sink events: `out/events.ndjson` cannot be written")
    });
    let answer = get(&page, "/readyz");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("raise the limit of a file's size"), "{answer}");
    let metrics = get(&page, "/metrics");
    assert!(metrics.contains("tunnelog_sink_up{sink=\"events\"} 0"), "{metrics}");

    let raised =
        std::process::Command::new("prlimit").args(["--pid", &running.id().to_string(), "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    wait_until("the sink is up", || get(&page, "/readyz").starts_with("HTTP/1.1 200"));
    wait_until("all of the file is written", || size(&output) > 0 && lines_in(&output) >= events);
    assert_eq!(running.terminate().code(), Some(0));
    let all = events_in(&output);
    let own: Vec<_> = all.iter().filter(|event| event["origin"]["source"] == "files").collect();
    assert_eq!(own.len(), events, "everything, and nothing twice");
}

fn lines_in(path: &Path) -> usize {
    std::fs::read(path).unwrap().iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn a_second_process_on_one_file_is_refused_and_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    write_pipeline(folder.path());
    let path = folder.path().join("out/events.ndjson");
    let held = file(&FileSink { path: path.clone(), compression: Compression::None, rotate: Size::mib(1) }).unwrap();
    run(folder.path(), &["run", "pipeline.yaml"])
        .expect(1)
        .says(&["sink `events`: `out/events.ndjson` is being written by another process: stop it, or choose another"]);
    drop(held);
    assert_eq!(size(&path), 0, "nothing was written");
}
