//! The lake as others read it: Parquet in S3, by the real program, read back by DuckDB and pyarrow; Athena's table,
//! view and queries from `deploy/athena/`, turned into DuckDB's dialect by sqlglot.
//!
//! What is not tried here: Athena itself, and its partition projection.
#![cfg(all(feature = "aws", feature = "parquet"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "end_to_end/day.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod day;
#[path = "stack/mod.rs"]
mod stack;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow_array::cast::AsArray as _;
use day::{Day, Stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use support::events_in;
use support::program::{Running, finish, tunnelog, wait_until};
use tempfile::TempDir;
use tunnelog::config::types::{JsonOptions, RawOption, Simulate};

/// A simulated day, into a file and into a lake, in several objects.
const PIPELINE: &str = "
sources: { fleet: { simulate: { connections: 12, hours: 24 } } }
enrich: { simulated: fleet, tags: [site, env] }
sinks:
  events:
    file: { path: events.ndjson }
    format: { json: { raw: always, origin: true } }
  lake:
    s3: { bucket: '${BUCKET}', prefix: 'vpn/dt={yyyy}-{mm}-{dd}/', chunk: 512KiB, window: 4h }
    format: { parquet: { raw: always, origin: true } }
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of `tests/lake/*.py`; what it says if it fails.
#[track_caller]
fn python(script: &str, arguments: &[&Path]) -> String {
    let mut command = Command::new(stack::installed("lake/bin/python"));
    command.arg(root().join("tests/lake").join(script)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
    let done = command.stdin(Stdio::null()).output().unwrap();
    let (out, err) = (support::lossy(&done.stdout), support::lossy(&done.stderr));
    assert!(done.status.success(), "{script}: {out}{err}");
    out
}

fn environment(command: &mut Command, bucket: &str) {
    let s3 = stack::s3();
    command.envs([
        ("BUCKET", bucket),
        ("S3_BUCKET", bucket),
        ("AWS_ENDPOINT_URL_S3", &s3.endpoint),
        ("AWS_ACCESS_KEY_ID", &s3.access_key),
        ("AWS_SECRET_ACCESS_KEY", &s3.secret_key),
        ("AWS_REGION", stack::REGION),
    ]);
}

/// The lake's files in a bucket: key and bytes.
fn files(bucket: &str) -> Vec<(String, Vec<u8>)> {
    let client = stack::s3().client();
    stack::block_on(async {
        let listed = client.list_objects_v2().bucket(bucket).prefix("vpn/").send().await.unwrap();
        let keys = listed.contents().iter().map(|object| object.key().unwrap().to_owned());
        let mut files = Vec::new();
        for key in keys.filter(|key| !key.contains("_tunnelog/")) {
            let got = client.get_object().bucket(bucket).key(&key).send().await.unwrap();
            files.push((key, got.body.collect().await.unwrap().to_vec()));
        }
        files
    })
}

/// A copy of the lake's files, as `aws s3 sync` makes it.
fn copy(bucket: &str, folder: &Path) -> PathBuf {
    let files = files(bucket);
    assert!(files.len() > 1, "{} files", files.len());
    for (key, bytes) in files {
        let path = folder.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder.join("vpn")
}

#[test]
fn every_row_is_its_event_and_every_shipped_query_has_the_right_answer() {
    let (folder, bucket) = (tempfile::tempdir().unwrap(), stack::s3().bucket());
    std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).unwrap();
    let mut command = tunnelog(folder.path(), &["run", "pipeline.yaml"]);
    environment(&mut command, &bucket);
    finish(command).expect(0);
    let (lake, events) = (copy(&bucket, folder.path()), folder.path().join("events.ndjson"));
    assert!(events_in(&events).len() > 3000, "a day of some size");
    python("rows.py", &[&lake, &events]);
    python("queries.py", &[&lake, &events]);
}

#[test]
fn athenas_table_view_and_queries_parse_and_the_table_is_divided_by_day() {
    python("table.py", &[]);
}

/// `tests/lake/old.parquet` is the first file that was ever written, and stays as it is.
#[test]
fn a_new_optional_column_breaks_neither_old_files_nor_old_tables() {
    let folder = tempfile::tempdir().unwrap();
    python("old.py", &[&root().join("tests/lake/old.parquet"), folder.path()]);
}

/// What a row and an event must agree in, whenever and wherever the event was read.
type Words = Vec<Option<String>>;

fn rows(bucket: &str) -> Vec<Words> {
    let mut rows = Vec::new();
    for (key, bytes) in files(bucket) {
        assert!(key.starts_with("vpn/dt=") && key.ends_with(".parquet"), "{key}");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
        for batch in reader.map(Result::unwrap) {
            let columns = ["id", "kind", "action", "summary", "connection_id", "raw"];
            let columns = columns.map(|name| batch.column_by_name(name).unwrap().as_string::<i32>());
            let word = |column: &arrow_array::StringArray, row| column.iter().nth(row).unwrap().map(str::to_owned);
            rows.extend((0..batch.num_rows()).map(|row| columns.map(|column| word(column, row)).to_vec()));
        }
    }
    rows.sort();
    rows
}

fn words(event: &Value) -> Words {
    let fields = ["/id", "/kind", "/action", "/summary", "/vpn/connection_id", "/raw"];
    fields.map(|field| event.pointer(field).and_then(Value::as_str).map(str::to_owned)).to_vec()
}

fn start(folder: &TempDir, stream: &Stream, bucket: &str) -> Running {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join("stderr")).unwrap();
    let pipeline = root().join("pipelines/datalake-parquet.yaml");
    let mut command = tunnelog(folder.path(), &["run", pipeline.to_str().unwrap()]);
    environment(&mut command, bucket);
    command.envs([
        ("KINESIS_STREAM", stream.name.as_str()),
        ("AWS_ENDPOINT_URL_KINESIS", &stack::kinesis().endpoint),
        ("S3_WINDOW", "10s"),
        ("STATUS_LISTEN", "127.0.0.1:0"),
    ]);
    Running::of(command.stdout(Stdio::null()).stderr(log))
}

#[test]
fn the_pipeline_for_a_lake_of_parquet_delivers_each_event_once_through_kill_9() {
    let day = Day::new(Simulate { seed: 5, connections: 8, hours: 6, damaged: 2, ..Simulate::default() });
    let (folder, stream, bucket) = (tempfile::tempdir().unwrap(), Stream::new(2), stack::s3().bucket());
    let log = || std::fs::read_to_string(folder.path().join("stderr")).unwrap();
    let (first, rest) = day.records.split_at(day.records.len() / 2);
    stream.put(first);
    let mut running = start(&folder, &stream, &bucket);
    wait_until("a file is there", || {
        assert!(!running.has_ended(), "it ended: {}", log());
        !files(&bucket).is_empty()
    });
    running.kill();
    stream.put(rest);
    let mut wanted: Vec<Words> = day
        .expected_as(&JsonOptions { raw: RawOption::Always, ..JsonOptions::default() })
        .values()
        .flatten()
        .map(words)
        .collect();
    wanted.sort();
    let mut running = start(&folder, &stream, &bucket);
    wait_until("everything is there", || {
        assert!(!running.has_ended(), "it ended: {}", log());
        rows(&bucket).len() >= wanted.len()
    });
    assert_eq!(running.terminate().code(), Some(0), "{}", log());
    let found = rows(&bucket);
    assert!(found == wanted, "{} rows, {} events", found.len(), wanted.len());
    assert!(found.iter().all(|row| row[5].is_some()), "a lake keeps the log line too");
}
