//! Files as a source: each file is a shard that is read once from its beginning to its end.
//!
//! A record's position is its ordinal in the file, from 1. A reader that begins in the middle reads the file
//! from its start and skips, since a compressed file has no other way; so the same file always gives the same
//! records at the same positions. A file that has changed at its beginning, or its length, is another shard. A file ends where
//! it ended when the source was made: a pipeline whose dead letters go to the file that it reads would never
//! come to an end else.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Take};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::{Feed, Position, Reader, Record, Reopen, ShardEvent, ShardId, Source, SourceError, StartAt};
use crate::config::types::Identity;
use crate::decode::recognize::{Item, Recognizer, Unreadable};
use crate::normalize::stream::StreamIdentity;
use crate::telemetry::rate_limit::RateLimit;

/// What is read in one go at most: a batch of records and of bytes. Records of one to five events have some hundred
/// bytes, and a batch should be some pieces even so.
const BATCH_RECORDS: usize = 4000;
/// See [`BATCH_RECORDS`].
const BATCH_BYTES: usize = 1024 * 1024;

/// How many files a lane reads at a time: each is the parent of the one so many places further on. Enough for
/// the cores of a large machine; ten thousand files must not be open at once.
const OPEN_FILES: usize = 8;

/// How much of a file's beginning tells it from another file of the same name.
const FINGERPRINT_BYTES: u64 = 64 * 1024;

/// One log line for each reason in this time: a file of noise must not flood the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What an export task of CloudWatch Logs leaves in its folder: a test whether it may write there.
const EXPORT_TEST_FILE: &str = "aws-logs-write-test";

/// Is told of every byte that is read from a file.
pub type OnRead = Arc<dyn Fn(u64) + Send + Sync>;

/// See the module.
pub struct ReplaySource {
    shards: Vec<ShardId>,
    announced: usize,
    files: Files,
}

#[derive(Clone)]
struct Files {
    identity: Identity,
    /// Bytes of each file when the source was made.
    lengths: Arc<HashMap<Arc<str>, u64>>,
    on_read: Option<OnRead>,
    log: Arc<Mutex<RateLimit>>,
}

impl ReplaySource {
    /// A source named `name` of these files, and of all files in these folders.
    ///
    /// # Errors
    /// An input that does not exist or cannot be read, and what to do.
    pub fn new(name: &str, inputs: &[PathBuf], identity: &Identity) -> Result<ReplaySource, SourceError> {
        let (mut shards, mut lengths) = (Vec::new(), HashMap::new());
        for path in files_in(inputs)? {
            let path = path.canonicalize().map_err(|error| unreadable(&path, &error))?;
            let stream: Arc<str> = path.to_string_lossy().into();
            let metadata = path.metadata().map_err(|error| unreadable(&path, &error))?;
            if !metadata.is_file() {
                return Err(SourceError::Fatal(format!(
                    "input `{}` is no regular file, and a pipeline may have to read it twice: save it to a file first, \
                     or use `tunnelog decode`",
                    path.display()
                )));
            }
            lengths.insert(Arc::clone(&stream), metadata.len());
            shards.push(ShardId {
                source: name.into(),
                // The length too: what a file has gained since must be read. That costs repeats, never a loss.
                stream_created: format!(
                    "{}-{}",
                    fingerprint(&path).map_err(|error| unreadable(&path, &error))?,
                    metadata.len()
                )
                .into(),
                stream,
                shard: "0".into(),
            });
        }
        shards.dedup();
        let log = Arc::new(Mutex::new(RateLimit::new(LOG_INTERVAL)));
        let files = Files { identity: identity.clone(), lengths: Arc::new(lengths), on_read: None, log };
        Ok(ReplaySource { shards, announced: 0, files })
    }

    /// Tells `on_read` of progress.
    #[must_use]
    pub fn with_progress(mut self, on_read: OnRead) -> ReplaySource {
        self.files.on_read = Some(on_read);
        self
    }
}

/// All files of these inputs: a folder's in the order of their names, those of its folders included, without
/// what an export task wrote there to test its rights.
///
/// # Errors
/// An input that does not exist or cannot be read, and what to do.
pub fn files_in(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
    let mut files = Vec::new();
    for input in inputs {
        if input.as_os_str() == "-" {
            return Err(SourceError::Fatal(
                "standard input cannot be read twice, and a pipeline may have to: save it to a file first, or use \
                 `tunnelog decode`"
                    .into(),
            ));
        }
        add(input, &mut files).map_err(|error| unreadable(input, &error))?;
    }
    Ok(files)
}

fn add(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.metadata()?.is_dir() {
        files.push(path.into());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> =
        path.read_dir()?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| {
        if entry.file_name().is_some_and(|name| name == EXPORT_TEST_FILE) {
            tracing::info!(file = %entry.display(), "skipped: an export task's test whether it may write");
            return Ok(());
        }
        add(entry, files)
    })
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "make it readable for this user",
        _ => "check the file",
    };
    SourceError::Fatal(format!("input `{}` cannot be read: {error}; {remedy}", path.display()))
}

fn fingerprint(path: &Path) -> io::Result<String> {
    let mut head = Vec::new();
    File::open(path)?.take(FINGERPRINT_BYTES).read_to_end(&mut head)?;
    Ok(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&head)))
}

/// The identity of a file's bare lines: what was given, else the folder that an export task names after the
/// log stream.
pub fn identity_of(path: &Path, given: &Identity) -> Identity {
    let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let exported = folder.filter(|name| StreamIdentity::parse(name).connection_id.is_some());
    Identity { log_stream: given.log_stream.clone().or(exported), ..given.clone() }
}

#[async_trait]
impl Source for ReplaySource {
    async fn next(&mut self) -> Result<Option<ShardEvent>, SourceError> {
        let Some(shard) = self.shards.get(self.announced).cloned() else { return Ok(None) };
        let before = self.announced.checked_sub(OPEN_FILES).and_then(|before| self.shards.get(before));
        self.announced += 1;
        let parents = before.cloned().into_iter().collect();
        Ok(Some(ShardEvent::Opened { shard, parents, start: StartAt::TrimHorizon }))
    }

    fn reopen(&self) -> Arc<dyn Reopen> {
        Arc::new(self.files.clone())
    }
}

#[async_trait]
impl Reopen for Files {
    async fn open(&self, shard: &ShardId, from: StartAt) -> Result<Box<dyn Reader>, SourceError> {
        let path = PathBuf::from(&*shard.stream);
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let length = self.lengths.get(&shard.stream).copied().unwrap_or(u64::MAX);
        let counted = Counted { file: file.take(length), on_read: self.on_read.clone() };
        let recognizer = Recognizer::new(BufReader::new(counted), identity_of(&path, &self.identity));
        let (log, state) = (Arc::clone(&self.log), State::Ready(Box::new(recognizer)));
        Ok(Box::new(FileReader { path, after: from, log, state }))
    }
}

struct Counted {
    file: Take<File>,
    on_read: Option<OnRead>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(on_read) = &self.on_read {
            on_read(count as u64);
        }
        Ok(count)
    }
}

type Input = Recognizer<BufReader<Counted>>;
type Batch = (Box<Input>, io::Result<Option<Vec<Record>>>);

enum State {
    Ready(Box<Input>),
    Reading(tokio::task::JoinHandle<Batch>),
    Ended,
}

struct FileReader {
    path: PathBuf,
    after: StartAt,
    log: Arc<Mutex<RateLimit>>,
    state: State,
}

impl FileReader {
    /// Reads a batch on a thread that may wait for the disk.
    fn reading(&self, mut input: Box<Input>) -> State {
        let (path, after, log) = (self.path.clone(), self.after, Arc::clone(&self.log));
        State::Reading(tokio::task::spawn_blocking(move || {
            let batch = batch(&mut input, after, &mut |found| say(&log, &path, found));
            (input, batch)
        }))
    }
}

#[async_trait]
impl Reader for FileReader {
    async fn next(&mut self) -> Result<Feed, SourceError> {
        // The work is kept in `state`, so that a call that is dropped loses nothing.
        if let State::Ready(_) = &self.state
            && let State::Ready(input) = std::mem::replace(&mut self.state, State::Ended)
        {
            self.state = self.reading(input);
        }
        let State::Reading(job) = &mut self.state else { return Ok(Feed::ShardEnd) };
        let (input, batch) =
            job.await.map_err(|error| SourceError::Fatal(format!("reading ended abnormally: {error}")))?;
        match batch.map_err(|error| unreadable(&self.path, &error))? {
            Some(records) => {
                // The next batch is read while this one is processed.
                self.state = self.reading(input);
                Ok(Feed::Records(records))
            }
            None => {
                self.state = State::Ended;
                Ok(Feed::ShardEnd)
            }
        }
    }
}

/// The next records; `None` at the end of the file. `say` is told of what is no record.
fn batch(input: &mut Input, after: StartAt, say: &mut dyn FnMut(&Unreadable)) -> io::Result<Option<Vec<Record>>> {
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
        let Some(item) = input.next()? else { break };
        let record = record_of(&item);
        let wanted = match after {
            StartAt::TrimHorizon => true,
            StartAt::After(position) => record.position > position,
            StartAt::AtTimestamp(time) => record.arrival.is_none_or(|arrival| arrival.0 >= time),
        };
        if wanted {
            if let Item::Unreadable(found) = &item {
                say(found);
            }
            bytes += record.data.len();
            records.push(record);
        }
    }
    Ok((!records.is_empty()).then_some(records))
}

/// What is no record goes on all the same: the core cannot read it either and makes a dead letter of it.
fn record_of(item: &Item) -> Record {
    match item {
        Item::Record(found) => {
            let record = Record::new(Position::from(found.number + 1), found.arrival, found.data.clone());
            Record { rejected: found.rejected.clone(), ..record }
        }
        Item::Unreadable(Unreadable { number, bytes, .. }) => {
            // Bytes that are withheld are secret, or too many to hold: they stay in the file.
            let data = bytes.clone().unwrap_or_else(|| Bytes::from_static(WITHHELD));
            Record::new(Position::from(number + 1), None, data)
        }
    }
}

fn say(log: &Mutex<RateLimit>, path: &Path, found: &Unreadable) {
    let reason = found.reason.as_str();
    let line = log.lock().unwrap_or_else(PoisonError::into_inner).note(reason, Instant::now().into_std());
    if let Some(line) = line {
        let (place, hint) = (found.place, found.reason.hint());
        tracing::warn!(file = %path.display(), %place, reason, hint, suppressed = line.suppressed, "not a record");
    }
}

/// Stands in a dead letter for bytes that must not, or cannot, be copied into it.
const WITHHELD: &[u8] = b"(withheld: see the log and the input file)";
