//! One Parquet file as it grows: events in as JSON lines, the file's bytes out.
//!
//! Rows wait compressed, by slabs of [`SLAB_BYTES`], until they are a **row group**: [`ROW_GROUP_BYTES`] of lines or
//! [`ROW_GROUP_ROWS`]. Then they are sorted by connection and time, and become columns, [`BATCH_ROWS`] at a time. So
//! an open file costs a fraction of its events (see [`ParquetFile::held`]), and only the one that writes a row group
//! has its lines in memory, for as long as that takes.
//!
//! Invariants:
//! - Same lines, same bytes: no clock, no random number, nothing of how lines were handed over.
//! - Each line is a row. One that cannot be read is a row with the line as `raw`.

use std::io;

use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::batch::{self, Batch};
use super::columns::COLUMNS;
use super::row::{Key, Row};
use crate::event::Millis;

/// Lines that are compressed together while they wait.
const SLAB_BYTES: usize = 128 * 1024;

/// Lines of a row group: some 20,000 events, a MiB or less as columns. Readers skip by row group and, within it, by
/// page; a larger one would be in memory whole when it is written.
const ROW_GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Rows of a row group, however short.
const ROW_GROUP_ROWS: usize = 64 * 1024;

/// Rows that are columns of Arrow at a time.
const BATCH_ROWS: usize = 1024;

/// Rows of a page: what a reader that looks for one connection has to read at least.
const PAGE_ROWS: usize = 2048;

/// zstd's level for lines that wait: they are read back soon.
const WAITING_LEVEL: i32 = 1;

/// zstd's level for pages, its default.
const PAGE_LEVEL: i32 = 3;

/// Memory of a file that has begun: its schema, about 1 KiB a column.
const BEGUN_BYTES: usize = COLUMNS.len() * 1024;

/// What a written row group leaves in memory until the file's end: places and statistics of its columns and pages,
/// at most 4 KiB a column for a full row group (`tests/parquet.rs` holds what is said against what is held).
const ROW_GROUP_HELD_BYTES: usize = COLUMNS.len() * 4 * 1024;

/// Columns of which each row has another value, or whose least and greatest value tell nobody anything.
const UNSORTED: [&str; 4] = ["summary", "raw", "log_event_id", "origin_sequence"];

/// See the module.
pub struct ParquetFile {
    /// Lines that are not compressed yet.
    slab: Vec<u8>,
    /// Slabs of the open row group, compressed.
    waiting: Vec<Vec<u8>>,
    /// Of the open row group, in lines.
    bytes: usize,
    rows: usize,
    /// Begun with the first row group.
    writer: Option<ArrowWriter<Vec<u8>>>,
    row_groups: usize,
    /// Bytes of the file that nobody has taken.
    out: Vec<u8>,
}

impl ParquetFile {
    /// A file without a row.
    #[expect(clippy::new_without_default, reason = "an empty file is begun on purpose")]
    pub fn new() -> ParquetFile {
        ParquetFile {
            slab: Vec::new(),
            waiting: Vec::new(),
            bytes: 0,
            rows: 0,
            writer: None,
            row_groups: 0,
            out: Vec::new(),
        }
    }

    /// Appends an event: its line in the format `json`, newline included.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.rows >= ROW_GROUP_ROWS || (self.rows > 0 && self.bytes + line.len() > ROW_GROUP_BYTES) {
            self.end_row_group()?;
        }
        if !self.slab.is_empty() && self.slab.len() + line.len() > SLAB_BYTES {
            let mut waiting = zstd::bulk::compress(&self.slab, WAITING_LEVEL)?;
            // It comes with room for what cannot be compressed, eight times of what it holds.
            waiting.shrink_to_fit();
            self.waiting.push(waiting);
            self.slab.clear();
        }
        self.slab.extend_from_slice(line);
        self.bytes += line.len();
        self.rows += 1;
        Ok(())
    }

    /// Bytes of the file that wait to be taken.
    pub fn ready(&self) -> usize {
        self.out.len()
    }

    /// Takes what is written so far.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Ends the file: the rest of its bytes.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        self.end_row_group()?;
        let writer = match self.writer {
            Some(writer) => writer,
            None => writer()?,
        };
        let mut rest = writer.into_inner().map_err(io::Error::other)?;
        if self.out.is_empty() {
            return Ok(rest);
        }
        self.out.append(&mut rest);
        Ok(self.out)
    }

    /// Memory that it holds, but for a row group that is just written.
    pub fn held(&self) -> usize {
        let waiting: usize = self.waiting.iter().map(Vec::capacity).sum();
        let begun = if self.writer.is_some() { BEGUN_BYTES + self.row_groups * ROW_GROUP_HELD_BYTES } else { 0 };
        self.slab.capacity() + waiting + self.out.capacity() + begun
    }

    fn end_row_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut lines = Vec::with_capacity(self.bytes);
        for slab in self.waiting.drain(..) {
            zstd::stream::copy_decode(slab.as_slice(), &mut lines)?;
        }
        lines.append(&mut self.slab);
        self.slab = Vec::new();
        (self.bytes, self.rows) = (0, 0);
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(writer()?),
        };
        write_row_group(writer, &lines).map_err(io::Error::other)?;
        self.row_groups += 1;
        // What the writer has buffered goes to its output, so that all of it can be taken.
        writer.sync()?;
        self.out.append(writer.inner_mut());
        Ok(())
    }
}

fn write_row_group(writer: &mut ArrowWriter<Vec<u8>>, lines: &[u8]) -> parquet::errors::Result<()> {
    let mut batch = Batch::new(batch::schema());
    for line in sorted(lines) {
        batch.push(&Row::of(line))?;
        if batch.rows() == BATCH_ROWS {
            writer.write(&batch.take()?)?;
        }
    }
    if batch.rows() > 0 {
        writer.write(&batch.take()?)?;
    }
    writer.flush()
}

/// The lines by connection and time; where both are equal, as they came. What has none comes first.
fn sorted(lines: &[u8]) -> Vec<&[u8]> {
    let mut keyed: Vec<(Key<'_>, Option<Millis>, &[u8])> = lines
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            // What cannot be read has no key, and its row has neither.
            let key: Key<'_> = serde_json::from_slice(line).unwrap_or_default();
            let time = key.time.get().and_then(Millis::parse);
            (key, time, line)
        })
        .collect();
    keyed.sort_by(|(one, time, _), (other, later, _)| {
        (one.vpn.connection_id.get(), time).cmp(&(other.vpn.connection_id.get(), later))
    });
    keyed.into_iter().map(|(_, _, line)| line).collect()
}

fn writer() -> io::Result<ArrowWriter<Vec<u8>>> {
    let schema = batch::schema();
    let properties = properties(&schema).map_err(io::Error::other)?;
    // Arrow's own schema is left out: what Athena reads is all that there is.
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema, options).map_err(io::Error::other)
}

fn properties(schema: &SchemaRef) -> parquet::errors::Result<WriterProperties> {
    let sorting = |name: &str| {
        // Lossless: columns are some hundred. Nested ones stand behind these two, so leaves count as fields do.
        let column_idx = schema.index_of(name).unwrap_or_default() as i32;
        SortingColumn { column_idx, descending: false, nulls_first: true }
    };
    let mut properties = WriterProperties::builder()
        // The form that Parquet's readers parse: some trust no statistics of a writer whose name they cannot read.
        .set_created_by(concat!("tunnelog version ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(PAGE_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(BATCH_ROWS)
        // Row groups are cut here, never within one.
        .set_max_row_group_row_count(None)
        .set_sorting_columns(Some(vec![sorting("connection_id"), sorting("time")]));
    for name in UNSORTED {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None);
    }
    for name in ["id", "raw", "log_event_id"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    Ok(properties.build())
}
