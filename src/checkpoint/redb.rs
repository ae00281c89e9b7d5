//! The embedded checkpoint file: redb, one process at a time, synced at every commit.
//!
//! One table: the lane's key as a JSON array of its six names, its state as JSON. Text, so that a later
//! version, or a person with a dump, can read it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use redb::{Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableDefinition};

use super::{CheckpointStore, StoreError};
use crate::delivery::{LaneKey, LaneState};
use crate::source::ShardId;

/// The store's own name, under the key `id`.
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about/1");

const LANES: TableDefinition<&str, &str> = TableDefinition::new("lanes/1");

/// Memory that redb may use as a cache: lane states are small (1,000 shards × 5 sinks × 1 KiB = 5 MiB).
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// Why a checkpoint file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "checkpoint file `{path}` is in use by another process: stop the other tunnelog that runs this pipeline, or \
         give this one its own `checkpoint.file`"
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no checkpoint file, or a damaged one.
    #[error(
        "checkpoint file `{path}` cannot be read ({reason}): move it away to start over from the sources' `start`, \
         which repeats events but loses none that the sources still have"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The file system refused.
    #[error(
        "checkpoint file `{path}` cannot be opened: {source}; free disk space or make its folder writable for this user, or set `checkpoint.file`"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a look at a checkpoint file shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peek {
    /// It has a name, and nobody has it open.
    Id(String),
    /// There is none: it is made at the first start.
    Absent,
    /// Another process has it.
    InUse,
    /// The process that had it was killed; the next start repairs it.
    Unclosed,
}

/// See the module.
#[derive(Debug)]
pub struct RedbStore {
    /// `None` after a failure: redb refuses all work after an I/O error until the file is opened anew.
    database: Option<Database>,
    path: PathBuf,
    id: String,
}

impl RedbStore {
    /// Opens the file, made with its folders if missing, and takes the right to write.
    pub fn open(path: &Path) -> Result<RedbStore, OpenError> {
        let database = open(path)?;
        let damaged = |error: redb::Error| OpenError::Damaged { path: path.into(), reason: error.to_string() };
        let id = read_or_write_id(&database).map_err(damaged)?;
        Ok(RedbStore { database: Some(database), path: path.into(), id })
    }

    /// Names the store, for good: a new one has a new name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Looks at the file without writing, making or repairing anything.
    ///
    /// # Errors
    /// Why [`open`](Self::open) would fail.
    pub fn peek(path: &Path) -> Result<Peek, OpenError> {
        let io = |source| OpenError::Io { path: path.into(), source };
        match std::fs::OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => drop(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Peek::Absent),
            Err(error) => return Err(io(error)),
        }
        let database = match ReadOnlyDatabase::open(path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => return Ok(Peek::InUse),
            Err(DatabaseError::RepairAborted) => return Ok(Peek::Unclosed),
            Err(error) => return Err(refused(path, error)),
        };
        let damaged = |error: redb::Error| OpenError::Damaged { path: path.into(), reason: error.to_string() };
        read_id(&database).map(|id| id.map_or(Peek::Absent, Peek::Id)).map_err(damaged)
    }

    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (database, path) = (self.database.take(), self.path.clone());
        let outcome = tokio::task::spawn_blocking(move || {
            let database = database.map_or_else(|| open(&path), Ok).map_err(reopen_failed)?;
            let outcome = work(&database).map_err(|error| failed(&path, &error.to_string()));
            // After an error it is dropped here, and so closed.
            outcome.map(|value| (database, value))
        });
        let (database, value) =
            outcome.await.map_err(|panicked| failed(&self.path, &panicked.to_string())).flatten()?;
        self.database = Some(database);
        Ok(value)
    }
}

fn failed(path: &Path, reason: &str) -> StoreError {
    StoreError::Retry(format!(
        "checkpoint file `{}` cannot be used: {reason}; free disk space or repair the disk, nothing is acknowledged \
         until then",
        path.display()
    ))
}

/// Another process may have taken the file meanwhile; anything else is worth another try.
fn reopen_failed(error: OpenError) -> StoreError {
    match error {
        OpenError::Io { .. } => StoreError::Retry(error.to_string()),
        OpenError::InUse { .. } | OpenError::Damaged { .. } => StoreError::Fenced(error.to_string()),
    }
}

/// Opens or makes the database, and its folders.
fn open(path: &Path) -> Result<Database, OpenError> {
    let io = |source| OpenError::Io { path: path.into(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    Database::builder().set_cache_size(CACHE_BYTES).create(path).map_err(|error| refused(path, error))
}

fn refused(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.into() },
        DatabaseError::Storage(redb::StorageError::Io(source)) if source.kind() != std::io::ErrorKind::InvalidData => {
            OpenError::Io { path: path.into(), source }
        }
        other => OpenError::Damaged { path: path.into(), reason: other.to_string() },
    }
}

#[async_trait]
impl CheckpointStore for RedbStore {
    async fn load(&mut self) -> Result<Vec<(LaneKey, LaneState)>, StoreError> {
        let rows = self.blocking(read_rows).await?;
        let parsed = rows.iter().map(|(key, state)| parse_row(key, state));
        parsed.collect::<Result<_, _>>().map_err(|reason| {
            StoreError::Fenced(format!(
                "checkpoint file `{}` holds a state that this version does not understand ({reason}): use the version that wrote it, or move the file away to start over",
                self.path.display()
            ))
        })
    }

    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError> {
        self.blocking(move |database| write_rows(database, &states)).await
    }
}

/// The name is random: it has to differ from that of any store before it, on any machine.
fn read_or_write_id(database: &Database) -> Result<String, redb::Error> {
    let transaction = database.begin_write()?;
    let mut table = transaction.open_table(ABOUT)?;
    let known = table.get("id")?.map(|id| id.value().to_owned());
    if let Some(id) = known {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| redb::Error::Io(error.into()))?;
    let id = format!("{:032x}", u128::from_be_bytes(bytes));
    table.insert("id", id.as_str())?;
    drop(table);
    transaction.commit()?;
    Ok(id)
}

fn read_id(database: &ReadOnlyDatabase) -> Result<Option<String>, redb::Error> {
    match database.begin_read()?.open_table(ABOUT) {
        Ok(table) => Ok(table.get("id")?.map(|id| id.value().to_owned())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_rows(database: &Database) -> Result<Vec<(String, String)>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(LANES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, state) = row?;
        rows.push((key.value().to_owned(), state.value().to_owned()));
    }
    Ok(rows)
}

fn write_rows(database: &Database, states: &[(LaneKey, LaneState)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(LANES)?;
        for (key, state) in states {
            let state = serde_json::to_string(state).map_err(|error| redb::Error::Io(error.into()))?;
            table.insert(key_text(key).as_str(), state.as_str())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn key_text(key: &LaneKey) -> String {
    let ShardId { source, stream, stream_created, shard } = &key.shard;
    serde_json::json!([*key.pipeline, **source, **stream, **stream_created, **shard, *key.sink]).to_string()
}

fn parse_row(key: &str, state: &str) -> Result<(LaneKey, LaneState), serde_json::Error> {
    let [pipeline, source, stream, stream_created, shard, sink]: [String; 6] = serde_json::from_str(key)?;
    let shard = ShardId {
        source: source.into(),
        stream: stream.into(),
        stream_created: stream_created.into(),
        shard: shard.into(),
    };
    let key = LaneKey { pipeline: pipeline.into(), shard, sink: sink.into() };
    Ok((key, serde_json::from_str(state)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fail(store: &mut RedbStore) -> Result<(), StoreError> {
        store.blocking(|_| Err(redb::Error::Io(std::io::ErrorKind::StorageFull.into()))).await
    }

    #[tokio::test]
    async fn after_a_failure_the_file_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = RedbStore::open(&folder.path().join("c.redb")).unwrap();
        assert!(matches!(fail(&mut store).await, Err(StoreError::Retry(_))));
        assert!(store.database.is_none());
        assert!(store.load().await.unwrap().is_empty());
        store.commit(Vec::new()).await.unwrap();
    }

    #[tokio::test]
    async fn a_process_that_took_the_file_meanwhile_is_respected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.redb");
        let mut store = RedbStore::open(&path).unwrap();
        let _ = fail(&mut store).await;
        let _other = RedbStore::open(&path).unwrap();
        assert!(matches!(store.commit(Vec::new()).await, Err(StoreError::Fenced(_))));
    }
}
