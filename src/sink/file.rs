//! Files on this machine, one item a line, optionally compressed, rotated by size.
//!
//! Every unit ends in a sync; of a compressed file every unit is a gzip member or a Zstandard frame of its own,
//! so the file is whole at every checkpoint and any tool reads it. After a crash the torn tail, which was never
//! acknowledged, is cut off before the file goes on: its records are read again.
//!
//! Promise: lines of one log stream stand in the order of records, except that a rewind repeats a whole suffix.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::appender::{Appender, Medium, WriteError};
use crate::config::types::{Compression, FileSink};
use crate::delivery::LaneBatch;

/// Zstandard's default level: its speed suits a stream.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 3;

/// Items that are written one by one are gathered in so much.
const SCRAPS_BYTES: usize = 64 * 1024;

/// Opens a file sink: makes folders, takes the file for this process alone, cuts a torn tail off.
pub fn file(config: &FileSink) -> Result<Appender<LineFile>, String> {
    LineFile::open(config).map(Appender::new)
}

/// See the module.
#[derive(Debug)]
pub struct LineFile {
    config: FileSink,
    path: PathBuf,
    file: File,
    number: u32,
    /// Bytes of whole units.
    length: u64,
    /// The last unit failed: cut back to `length` before the next.
    torn: bool,
}

impl LineFile {
    /// Opens it for this process alone, without a torn tail.
    pub(super) fn open(config: &FileSink) -> Result<LineFile, String> {
        if let Some(folder) = config.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| advice("made", folder, &error))?;
        }
        let mut number = 0;
        while numbered(&config.path, number + 1).exists() {
            number += 1;
        }
        let path = numbered(&config.path, number);
        let (file, length) = open_at_end(&path, config.compression)?;
        Ok(LineFile { config: config.clone(), path, file, number, length, torn: false })
    }

    /// Appends a unit that is compressed already, in a new file if the current one is full, and syncs it. On an
    /// error nothing of it remains once the next unit is written.
    pub(super) fn write(&mut self, unit: &[u8]) -> Result<(), String> {
        self.write_by(unit.len(), |file| file.write_all(unit))
    }

    /// The same with a unit of so many bytes that `write` writes.
    fn write_by(&mut self, bytes: usize, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), String> {
        if self.length > 0 && self.length + bytes as u64 > self.config.rotate.0 {
            self.rotate()?;
        }
        self.append(write).map_err(|error| advice("written", &self.path, &error))
    }

    /// Whether the file still has its name: a person may have moved it away, to replay it.
    pub(super) fn is_in_place(&self) -> bool {
        is_same(&self.file, &self.path)
    }

    fn rotate(&mut self) -> Result<(), String> {
        // What was rewound after a failed try must not stay behind in a file that nobody opens again.
        self.cut_torn_tail().map_err(|error| advice("cut back", &self.path, &error))?;
        let path = numbered(&self.config.path, self.number + 1);
        let (file, length) = open_at_end(&path, self.config.compression)?;
        (self.file, self.length, self.path) = (file, length, path);
        self.number += 1;
        Ok(())
    }

    fn cut_torn_tail(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }

    fn append(&mut self, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        self.cut_torn_tail()?;
        self.torn = true;
        self.file.seek(SeekFrom::Start(self.length))?;
        write(&mut self.file)?;
        self.file.sync_data()?;
        self.length = self.file.stream_position()?;
        self.torn = false;
        Ok(())
    }
}

impl Medium for LineFile {
    /// 4 MiB: a sync costs milliseconds, writing 4 MiB about as much.
    const UNIT_BYTES: usize = 4 * 1024 * 1024;

    fn write_unit(&mut self, parts: &[LaneBatch]) -> Result<(), WriteError> {
        if self.config.compression == Compression::None {
            return self.write_by(bytes_of(parts), |file| write_plain(file, parts)).map_err(WriteError::Retry);
        }
        let unit = compress(self.config.compression, parts).map_err(|error| self.retry("compressed", &error))?;
        self.write(&unit).map_err(WriteError::Retry)
    }

    fn close(&mut self) -> Result<(), String> {
        self.file.sync_all().map_err(|error| advice("synced", &self.path, &error))
    }
}

impl LineFile {
    fn retry(&self, what: &str, error: &io::Error) -> WriteError {
        WriteError::Retry(advice(what, &self.path, error))
    }
}

/// What failed, and what to do.
fn advice(what: &str, path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free disk space; it goes on by itself then",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make it writable for this user, or choose another `path`"
        }
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists => "choose another `path`",
        io::ErrorKind::FileTooLarge => "raise the limit of a file's size (`ulimit -f`), or lower `rotate`",
        _ => "check the disk",
    };
    format!("`{}` cannot be {what}: {error}; {remedy}", path.display())
}

/// `events.ndjson.gz` and 2: `events.2.ndjson.gz`. 0 is the plain name.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.into();
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = match name.split_once('.').filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, rest)) => format!("{stem}.{number}.{rest}"),
        None => format!("{name}.{number}"),
    };
    path.with_file_name(name)
}

/// Opens a file to append to, alone, without a torn tail.
fn open_at_end(path: &Path, compression: Compression) -> Result<(File, u64), String> {
    let failed = |error: io::Error| advice("opened", path, &error);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(format!(
                "`{}` is being written by another process: stop it, or choose another `path`",
                path.display()
            ));
        }
        Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
    }
    let length = file.metadata().map_err(failed)?.len();
    let whole = whole_length(&file, compression).map_err(failed)?.ok_or_else(|| {
        format!(
            "`{}` exists and does not look like a file of this sink: move it away, or choose another `path`",
            path.display()
        )
    })?;
    if whole < length {
        tracing::warn!(path = %path.display(), bytes = length - whole, "cutting off a torn tail that was never acknowledged; its records are read again");
        file.set_len(whole).map_err(failed)?;
    }
    sync_folder(path).map_err(failed)?;
    Ok((file, whole))
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), path.metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Where a file that is open cannot be renamed.
#[cfg(not(unix))]
fn is_same(_: &File, path: &Path) -> bool {
    path.exists()
}

/// A new name in a folder survives a crash only when the folder is synced.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// How many bytes of the file are whole units; `None` if it is not ours.
fn whole_length(file: &File, compression: Compression) -> io::Result<Option<u64>> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let Some(&first) = reader.fill_buf()?.first() else { return Ok(Some(0)) };
    match compression {
        Compression::None if first == b'{' => whole_lines(&mut reader).map(Some),
        Compression::Gzip if first == 0x1f => {
            whole_members(reader, |reader| io::copy(&mut flate2::bufread::GzDecoder::new(reader), &mut io::sink()))
                .map(Some)
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd if first == 0x28 => whole_members(reader, |reader| {
            io::copy(&mut zstd::stream::read::Decoder::with_buffer(reader)?.single_frame(), &mut io::sink())
        })
        .map(Some),
        _ => Ok(None),
    }
}

fn whole_lines(reader: &mut impl BufRead) -> io::Result<u64> {
    let (mut read, mut whole) = (0_u64, 0_u64);
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(whole);
        }
        if let Some(last) = chunk.iter().rposition(|byte| *byte == b'\n') {
            whole = read + last as u64 + 1;
        }
        let length = chunk.len();
        read += length as u64;
        reader.consume(length);
    }
}

/// Reads members one by one until the end, or until one is torn.
fn whole_members(
    mut reader: BufReader<&File>,
    mut read_member: impl FnMut(&mut BufReader<&File>) -> io::Result<u64>,
) -> io::Result<u64> {
    loop {
        let whole = reader.stream_position()?;
        if reader.fill_buf()?.is_empty() {
            return Ok(whole);
        }
        match read_member(&mut reader) {
            Ok(_) => {}
            Err(error) if error.raw_os_error().is_some() => return Err(error),
            Err(_) => return Ok(whole),
        }
    }
}

fn compress(compression: Compression, parts: &[LaneBatch]) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => {
            let mut unit = Vec::with_capacity(bytes_of(parts));
            write_parts(&mut unit, parts)?;
            Ok(unit)
        }
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            write_parts(&mut encoder, parts)?;
            encoder.finish()
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            write_parts(&mut encoder, parts)?;
            encoder.finish()
        }
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `zstd`")),
    }
}

/// Parts that are whole go out as they lie: a copy of a unit costs as much as writing it does.
fn write_plain(file: &mut File, parts: &[LaneBatch]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(SCRAPS_BYTES, file);
    write_parts(&mut out, parts)?;
    out.flush()
}

fn bytes_of(parts: &[LaneBatch]) -> usize {
    let part = |part: &LaneBatch| match part.whole() {
        Some(bytes) => bytes.len(),
        None => part.items().map(|(_, _, bytes)| bytes.len()).sum(),
    };
    parts.iter().map(part).sum()
}

fn write_parts(out: &mut impl Write, parts: &[LaneBatch]) -> io::Result<()> {
    for part in parts {
        match part.whole() {
            Some(bytes) => out.write_all(bytes)?,
            None => part.items().try_for_each(|(_, _, bytes)| out.write_all(bytes))?,
        }
    }
    Ok(())
}

/// The files that a sink with this path has written, oldest first.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    (0..).map(|number| numbered(path, number)).take_while(|path| path.exists()).collect()
}
