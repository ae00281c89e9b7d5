//! Parquet files in themselves: what is in them, that they are the same every time, what they cost, and that they
//! prune. What others read in them is `tests/lake.rs`.
#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array as _, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use serde_json::Value;
use support::{forms, parts};
use tunnelog::config::types::Simulate;
use tunnelog::encode::parquet::{COLUMNS, ParquetFile};
use tunnelog::schema::event_schema;
use tunnelog::source::{Record, ShardId};

/// A simulated day's events, as the sink gets them.
fn lines(config: &Simulate) -> Vec<Vec<u8>> {
    let shard = ShardId { source: "main".into(), stream: "s".into(), stream_created: "".into(), shard: "0".into() };
    let records: Vec<Record> = forms::records(config)
        .into_iter()
        .map(|record| Record::new(record.position, None, record.data.clone()))
        .collect();
    parts::encode(parts::with_origin(), &shard, &records)
}

fn small() -> Simulate {
    Simulate { connections: 6, hours: 4, ..Simulate::default() }
}

fn file(lines: &[impl AsRef<[u8]>], taking: bool) -> Vec<u8> {
    let (mut file, mut out) = (ParquetFile::new(), Vec::new());
    for line in lines {
        file.write(line.as_ref()).unwrap();
        if taking {
            out.extend(file.take());
        }
    }
    out.extend(file.finish().unwrap());
    out
}

fn batches(file: &[u8]) -> Vec<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(file)).unwrap();
    builder.build().unwrap().map(Result::unwrap).collect()
}

fn metadata(file: &[u8]) -> ParquetMetaData {
    let mut reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.try_parse(&Bytes::copy_from_slice(file)).unwrap();
    reader.finish().unwrap()
}

/// A text column, row by row.
fn texts(file: &[u8], name: &str) -> Vec<Option<String>> {
    let of = |batch: &RecordBatch| -> Vec<Option<String>> {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.iter().map(|text| text.map(str::to_owned)).collect()
    };
    batches(file).iter().flat_map(of).collect()
}

fn times(file: &[u8]) -> Vec<i64> {
    let of = |batch: &RecordBatch| {
        let column = batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
        column.iter().map(Option::unwrap).collect::<Vec<i64>>()
    };
    batches(file).iter().flat_map(of).collect()
}

#[test]
fn the_same_lines_make_the_same_file_byte_by_byte() {
    let lines = lines(&small());
    let whole = file(&lines, false);
    assert!(whole == file(&lines, true), "taking its bytes on the way changes nothing");
    assert_eq!(metadata(&whole).file_metadata().created_by().unwrap(), "tunnelog version 0.1.0");
}

#[test]
fn rows_are_sorted_by_connection_and_time_and_none_is_lost() {
    let lines = lines(&small());
    let file = file(&lines, false);
    let connections = texts(&file, "connection_id");
    let keys: Vec<_> = connections.into_iter().zip(times(&file)).collect();
    assert_eq!(keys.len(), lines.len());
    assert!(keys.is_sorted() && keys.first() < keys.last());
    let ids = |lines: Vec<Option<String>>| lines.into_iter().map(Option::unwrap).collect::<BTreeSet<_>>();
    let id = |line: &Vec<u8>| serde_json::from_slice::<Value>(line).unwrap()["id"].as_str().map(str::to_owned);
    assert_eq!(ids(texts(&file, "id")), ids(lines.iter().map(id).collect()));
}

/// How many pages of `connection_id` a reader has to look at for one connection, and how many there are.
fn pages_with(metadata: &ParquetMetaData, connection: &[u8]) -> (usize, usize) {
    let column = COLUMNS.iter().position(|column| column.name == "connection_id").unwrap();
    let (mut wanted, mut all) = (0, 0);
    for row_group in 0..metadata.num_row_groups() {
        let index = metadata.page_index_for_row_group(row_group);
        let Some(ColumnIndexMetaData::BYTE_ARRAY(index)) = index.column_index(column) else { panic!("no index") };
        for (least, greatest) in index.min_values_iter().zip(index.max_values_iter()) {
            all += 1;
            wanted += usize::from(least.is_some_and(|least| least <= connection) && greatest >= Some(connection));
        }
    }
    (wanted, all)
}

#[test]
fn a_reader_that_looks_for_one_connection_skips_most_pages() {
    let lines = lines(&Simulate { connections: 12, hours: 12, ..Simulate::default() });
    let file = file(&lines, false);
    let metadata = metadata(&file);
    let connection = texts(&file, "connection_id").into_iter().flatten().next().unwrap();
    let (wanted, all) = pages_with(&metadata, connection.as_bytes());
    assert!(wanted > 0 && all >= 5 * wanted, "{wanted} of {all} pages");
    // Compressed, and repeated texts are stored once: a fraction of the lines.
    let plain: usize = lines.iter().map(Vec::len).sum();
    assert!(file.len() * 5 < plain, "{} of {plain} bytes", file.len());
}

/// What a file says that it holds is what bounds the sink, so it must not say less.
#[test]
fn an_open_file_holds_no_more_than_it_says_and_a_fraction_of_its_lines() {
    let day = lines(&Simulate { connections: 4, hours: 12, ..Simulate::default() });
    let bytes: usize = day.iter().map(Vec::len).sum();
    // Two row groups and a half.
    let times = (40 << 20) / bytes;
    let (mut said, mut taken) = (0, 0);
    // Lines that wait for their row group, and what they are held as, before the first is written.
    let (mut waiting, mut waiting_said) = (0, 0);
    let mut open = None;
    let measured = allocation_counter::measure(|| {
        let mut file = ParquetFile::new();
        for _ in 0..times {
            for line in &day {
                file.write(line).unwrap();
                if waiting < 12 << 20 {
                    waiting += line.len();
                    waiting_said = file.held();
                }
                if file.ready() > 0 {
                    taken += file.take().len();
                }
            }
        }
        said = file.held();
        open = Some(file);
    });
    assert!(taken > 0, "row groups were written");
    let held = usize::try_from(measured.bytes_current).unwrap();
    assert!(held <= said + said / 4, "{held} bytes are held, {said} are said");
    assert!(waiting_said * 8 < waiting, "{waiting_said} of {waiting} bytes");
    assert!(said * 8 < times * bytes, "{said} of {} bytes in all", times * bytes);
    // While a row group is written: its lines, what they are sorted by, and its columns.
    assert!(measured.bytes_max < 64 << 20, "{} bytes at most", measured.bytes_max);
    drop(open);
}

#[test]
fn a_line_that_is_no_event_is_a_row_that_keeps_it() {
    let lines = ["{\"id\":\"a\",\"time\":5}\n", "not json\n", "{\"id\":\"b\",\"constants\":\"are left out\"}\n"];
    let file = file(&lines.map(str::as_bytes), false);
    let mut rows: Vec<_> = texts(&file, "id").into_iter().zip(texts(&file, "raw")).collect();
    rows.sort();
    let kept = |line: &str| (None, Some(line.to_owned()));
    assert_eq!(rows, [kept("not json"), kept("{\"id\":\"a\",\"time\":5}"), (Some("b".into()), None)]);
}

#[test]
fn numbers_are_64_bits_and_what_is_beyond_is_no_number() {
    let lines = [
        "{\"id\":\"a\",\"bgp\":{\"med\":9223372036854775807,\"as_path_asns\":[4294967295,1]}}\n",
        "{\"id\":\"b\",\"bgp\":{\"med\":9223372036854775808}}\n",
    ];
    let batches = batches(&file(&lines.map(str::as_bytes), false));
    let batch = &batches[0];
    let med = batch.column_by_name("med").unwrap().as_primitive::<Int64Type>();
    assert_eq!((med.value(0), med.is_null(1)), (i64::MAX, true));
    let path = batch.column_by_name("as_path_asns").unwrap().as_list::<i32>();
    assert_eq!(path.value(0).as_primitive::<Int64Type>().values(), &[4_294_967_295, 1]);
    assert!(path.is_null(1));
}

#[test]
fn a_file_without_a_row_is_a_file() {
    assert_eq!(batches(&ParquetFile::new().finish().unwrap()).len(), 0);
}

/// The paths of the schema's fields that are values; a list counts as one.
fn fields(root: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(pointer) => root.pointer(pointer.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    };
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => {
            for (name, field) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(root, field, &path, into);
            }
        }
        None => drop(into.insert(path.to_owned())),
    }
}

#[test]
fn every_field_of_an_event_has_a_column_and_no_column_another_source() {
    let (schema, mut wanted) = (event_schema(), BTreeSet::new());
    fields(&schema, &schema, "", &mut wanted);
    // The same in every row.
    assert!(wanted.remove("cloud.provider"));
    let found: BTreeSet<String> = COLUMNS.iter().map(|column| column.from.to_owned()).collect();
    let missing: Vec<_> = wanted.difference(&found).collect();
    assert!(missing.is_empty(), "add columns for {missing:?} at the end of src/encode/parquet/columns.rs");
    assert_eq!(found.difference(&wanted).collect::<Vec<_>>(), Vec::<&String>::new());
    let names: BTreeSet<&str> = COLUMNS.iter().map(|column| column.name).collect();
    assert_eq!(names.len(), COLUMNS.len());
}

/// Lakes hold files of years: a table that reads them all needs every column to stay what it was.
#[test]
fn columns_are_only_ever_added_at_the_end() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake/columns.txt");
    let now: String = COLUMNS.iter().map(|column| format!("{} {}\n", column.name, column.athena_type())).collect();
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(now.starts_with(&before), "a column was changed, moved or removed: tests/lake/columns.txt has what was");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == now, "a new column: run UPDATE_GOLDEN=1 cargo test --test parquet");
}
