//! The embedded checkpoint file: redb, one process at a time, synced at every commit.
//!
//! The lane's key as a JSON array of its six names, its state as JSON, and beside it when that was remembered. Text, so
//! that a later version, or a person with a dump, can read it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use redb::{Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableDefinition};

use super::{CheckpointStore, ManagedStore, Remembered, StoreError, StoreName, random_id, wall_clock};
use crate::delivery::{LaneKey, LaneState};
use crate::event::Millis;
use crate::source::ShardId;

/// The store's own name, under the key `id`, and how often sinks were reset, under `resets`.
const ABOUT: TableDefinition<&str, &str> = TableDefinition::new("about/1");

const LANES: TableDefinition<&str, &str> = TableDefinition::new("lanes/1");

/// When a lane was remembered last, milliseconds since 1970.
const UPDATED: TableDefinition<&str, i64> = TableDefinition::new("updated/1");

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
    Name(StoreName),
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
    name: StoreName,
}

impl RedbStore {
    /// Opens the file, made with its folders if missing, and takes the right to write.
    pub fn open(path: &Path) -> Result<RedbStore, OpenError> {
        let database = open(path)?;
        let damaged = |error: redb::Error| OpenError::Damaged { path: path.into(), reason: error.to_string() };
        let name = read_or_write_name(&database).map_err(damaged)?;
        Ok(RedbStore { database: Some(database), path: path.into(), name })
    }

    /// Names the store, for good: a new one has a new name.
    pub fn id(&self) -> &str {
        &self.name.id
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
        read_name(&database).map(|name| name.map_or(Peek::Absent, Peek::Name)).map_err(damaged)
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
        Ok(self.list().await?.into_iter().map(|lane| (lane.key, lane.state)).collect())
    }

    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError> {
        let now = wall_clock();
        self.blocking(move |database| write_rows(database, &states, now)).await
    }
}

#[async_trait]
impl ManagedStore for RedbStore {
    fn name(&self) -> &StoreName {
        &self.name
    }

    async fn list(&mut self) -> Result<Vec<Remembered>, StoreError> {
        let rows = self.blocking(read_rows).await?;
        let parsed = rows.iter().map(|(key, state, updated)| parse_row(key, state, *updated));
        parsed.collect::<Result<_, _>>().map_err(|reason| {
            StoreError::Fenced(format!(
                "checkpoint file `{}` holds a state that this version does not understand ({reason}): use the version that wrote it, or move the file away to start over",
                self.path.display()
            ))
        })
    }

    async fn forget(&mut self, lanes: &[Remembered]) -> Result<(), StoreError> {
        let mut name = self.name.clone();
        name.count_resets(lanes);
        let keys: Vec<String> = lanes.iter().map(|lane| key_text(&lane.key)).collect();
        let written = name.clone();
        self.blocking(move |database| remove_rows(database, &keys, &written)).await?;
        self.name = name;
        Ok(())
    }
}

fn read_or_write_name(database: &Database) -> Result<StoreName, redb::Error> {
    if let Some(name) = read_name(database)? {
        return Ok(name);
    }
    let transaction = database.begin_write()?;
    let name = StoreName { id: random_id().map_err(redb::Error::Io)?, ..StoreName::default() };
    transaction.open_table(ABOUT)?.insert("id", name.id.as_str())?;
    transaction.commit()?;
    Ok(name)
}

fn read_name(database: &impl ReadableDatabase) -> Result<Option<StoreName>, redb::Error> {
    let table = match database.begin_read()?.open_table(ABOUT) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(id) = table.get("id")?.map(|id| id.value().to_owned()) else { return Ok(None) };
    let resets = match table.get("resets")? {
        Some(text) => serde_json::from_str(text.value()).map_err(|error| redb::Error::Io(error.into()))?,
        None => BTreeMap::new(),
    };
    Ok(Some(StoreName { id, resets }))
}

/// Key, state, and when it was remembered.
type Row = (String, String, Option<i64>);

fn read_rows(database: &Database) -> Result<Vec<Row>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(LANES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    // Earlier versions kept no times.
    let times = match transaction.open_table(UPDATED) {
        Ok(times) => Some(times),
        Err(redb::TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, state) = row?;
        let updated = match &times {
            Some(times) => times.get(key.value())?.map(|time| time.value()),
            None => None,
        };
        rows.push((key.value().to_owned(), state.value().to_owned(), updated));
    }
    Ok(rows)
}

fn write_rows(database: &Database, states: &[(LaneKey, LaneState)], now: Millis) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let (mut table, mut times) = (transaction.open_table(LANES)?, transaction.open_table(UPDATED)?);
        for (key, state) in states {
            let state = serde_json::to_string(state).map_err(|error| redb::Error::Io(error.into()))?;
            let key = key_text(key);
            table.insert(key.as_str(), state.as_str())?;
            times.insert(key.as_str(), now.0)?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn remove_rows(database: &Database, keys: &[String], name: &StoreName) -> Result<(), redb::Error> {
    let resets = serde_json::to_string(&name.resets).map_err(|error| redb::Error::Io(error.into()))?;
    let transaction = database.begin_write()?;
    {
        let (mut table, mut times) = (transaction.open_table(LANES)?, transaction.open_table(UPDATED)?);
        for key in keys {
            table.remove(key.as_str())?;
            times.remove(key.as_str())?;
        }
        transaction.open_table(ABOUT)?.insert("resets", resets.as_str())?;
    }
    transaction.commit()?;
    Ok(())
}

fn key_text(key: &LaneKey) -> String {
    let ShardId { source, stream, stream_created, shard } = &key.shard;
    serde_json::json!([*key.pipeline, **source, **stream, **stream_created, **shard, *key.sink]).to_string()
}

fn parse_row(key: &str, state: &str, updated: Option<i64>) -> Result<Remembered, serde_json::Error> {
    let [pipeline, source, stream, stream_created, shard, sink]: [String; 6] = serde_json::from_str(key)?;
    let shard = ShardId {
        source: source.into(),
        stream: stream.into(),
        stream_created: stream_created.into(),
        shard: shard.into(),
    };
    let key = LaneKey { pipeline: pipeline.into(), shard, sink: sink.into() };
    Ok(Remembered { key, state: serde_json::from_str(state)?, updated: updated.map(Millis) })
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
