//! Every file in `pipelines/` passes `check` without a warning and runs to its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::path::{Path, PathBuf};

use support::events_in;
use support::program::run;
use support::program::{finish, tunnelog};

fn pipelines() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "yaml"));
    if !cfg!(all(feature = "aws", feature = "kafka", feature = "parquet", feature = "splunk")) {
        // The others need parts that this build has left out.
        files.retain(|file| file.ends_with("quickstart.yaml"));
    }
    files.sort();
    assert!(!files.is_empty());
    files
}

/// What the pipelines ask for: all else has a default.
const NEEDED: [(&str, &str); 7] = [
    ("KINESIS_STREAM", "vpn-logs"),
    ("KAFKA_BROKERS", "b-1.example.com:9092,b-2.example.com:9092"),
    ("FIREHOSE_STREAM", "vpn-lake"),
    ("S3_BUCKET", "example-lake"),
    ("SPLUNK_HEC_URL", "https://hec.example.com:8088"),
    ("SPLUNK_HEC_TOKEN", "11111111-2222-3333-4444-555555555555"),
    ("EXTERNAL_ID", "an-id-of-32-hex-digits"),
];

/// The names of the pipelines' environment variables, without those that have a default.
fn required_by(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let uses =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(|line| line.split("${").skip(1));
    let mut names: Vec<String> = uses.map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
    names.retain(|name| !name.contains(":-"));
    names.sort();
    names.dedup();
    names
}

#[test]
fn a_variable_that_is_not_set_is_named_and_none_is_asked_for_without_need() {
    let folder = tempfile::tempdir().unwrap();
    for file in pipelines() {
        let names = required_by(&file);
        assert!(names.iter().all(|name| NEEDED.iter().any(|(needed, _)| needed == name)), "{names:?}");
        for name in &names {
            let mut command = tunnelog(folder.path(), &["check", file.to_str().unwrap()]);
            command.envs(NEEDED).env_remove(name);
            finish(command).expect(2).says(&[&format!("environment variable `{name}` is not set")]);
        }
    }
}

#[test]
fn every_pipeline_passes_check_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for file in pipelines() {
        let mut command = tunnelog(folder.path(), &["check", file.to_str().unwrap()]);
        command.envs(NEEDED);
        let done = finish(command).expect(0);
        assert_eq!(done.err(), "", "{}", file.display());
        assert!(done.out().contains(": ok\n"), "{}", done.out());
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "`check` makes nothing");
}

/// The number in the closing table's row of a sink.
fn delivered(table: &str, sink: &str) -> usize {
    let row = table.lines().rev().find(|line| line.trim_start().starts_with(sink)).unwrap();
    let rest = row.trim_start().strip_prefix(sink).unwrap();
    rest.split_whitespace().next().unwrap().replace(',', "").parse().unwrap()
}

/// The README's excerpt is this run; sizes of compressed files are left out.
fn readme_shows(table: &str) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows = ["  read ", "  events ", "  attention ", "  rejected-routes ", "  dead letters "];
    for line in table.lines().filter(|line| rows.iter().any(|row| line.starts_with(row))) {
        let numbers = line.split(" (").next().unwrap();
        assert!(readme.contains(numbers), "README.md shows another run than this: {line}");
    }
}

#[test]
fn the_quickstart_ends_by_itself_and_has_nothing_left_to_do_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.yaml");
    let first = run(folder.path(), &["run", file.to_str().unwrap()]).expect(0);
    let table = first.err();
    let lines = |name: &str| events_in(&folder.path().join("out/quickstart").join(name)).len();
    assert_eq!(first.stdout.iter().filter(|byte| **byte == b'\n').count(), delivered(&table, "attention"));
    assert_eq!(lines("events.ndjson"), delivered(&table, "events  "));
    assert_eq!(lines("rejected-routes.ndjson.gz"), delivered(&table, "rejected-routes"));
    assert_eq!((lines("dead-letters.ndjson"), delivered(&table, "dead letters")), (1, 1));
    assert!(lines("events.ndjson") > 10_000 && lines("rejected-routes.ndjson.gz") > 0);
    assert!(delivered(&table, "attention") > 0);
    assert!(table.contains("unreadable     1 gzip_truncated"), "{table}");
    readme_shows(&table);

    let second = run(folder.path(), &["run", file.to_str().unwrap()]).expect(0);
    assert!(second.stdout.is_empty());
    second.says(&["quickstart: nothing left to do", "to start over  rm state/quickstart.redb"]);
}

/// The example of `tunnelog replay --help`. Letters of a replay are apart, also where those of an earlier replay are read.
#[test]
fn replaying_the_pipelines_own_dead_letters_writes_to_no_file_that_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = "\
        sources: { fleet: { simulate: { connections: 2, hours: 1, damaged: 5 } } }\n\
        sinks: { events: { file: { path: events.ndjson } } }\n";
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    run(folder.path(), &["run", "p.yaml"]).expect(0);
    let letters = |name: &str| events_in(&folder.path().join("state").join(name));
    let before = letters("p.dead-letters.ndjson");
    assert_eq!(before.len(), 5);
    let check = |input: &str, expect: &str| {
        let done = run(folder.path(), &["replay", "p.yaml", input]).expect(0);
        let after = letters(expect);
        assert_eq!(after.len(), 5, "still unreadable, each once");
        for (old, new) in before.iter().zip(&after) {
            assert_eq!((&old["data"], &old["reason"]), (&new["data"], &new["reason"]));
        }
        done.says(&[expect]);
    };
    check("state/p.dead-letters.ndjson", "p.dead-letters.replay.ndjson");
    check("state/p.dead-letters.replay.ndjson", "p.dead-letters.replay-2.ndjson");
    assert_eq!(letters("p.dead-letters.ndjson"), before, "nothing was added");
    assert_eq!(letters("p.dead-letters.replay.ndjson").len(), 5);
}

#[test]
fn every_pipeline_says_how_its_memory_is_shared_out_and_fits_a_small_machine_with_smaller_records() {
    let folder = tempfile::tempdir().unwrap();
    for file in pipelines() {
        const SMALL: &str = "limits: { memory: 512MiB, record: 16MiB";
        let text = std::fs::read_to_string(&file).unwrap();
        let text = match text.contains("\nlimits: {") {
            true => text.replace("\nlimits: {", &format!("\n{SMALL},")),
            false => format!("{text}\n{SMALL} }}\n"),
        };
        let small = folder.path().join(file.file_name().unwrap());
        std::fs::write(&small, text).unwrap();
        for (file, limit) in [(&file, 1024), (&small, 512)] {
            let mut command = tunnelog(folder.path(), &["check", file.to_str().unwrap()]);
            command.envs(NEEDED);
            let said = finish(command).expect(0).out();
            assert!(said.contains(&format!(" of {limit} MiB planned: ")), "{said}");
        }
    }
}
