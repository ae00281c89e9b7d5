//! The checkpoint in a table of Amazon DynamoDB: for machines whose disks do not last.
//!
//! What lies where is in [`items`], who may write in [`lease`]. A commit is one transaction, or several in its order
//! where it has more shards than a transaction takes (99); each of them holds only if this process still has the lease.
//! A state that is too large for its shard's item is written first, in parts under a new version; the transaction makes
//! that version current, and only then the parts of the one before are removed. A process that dies between leaves
//! parts that no item names: the next one to load finds and removes them.
//!
//! Invariants: after another process has taken the lease, nothing that this one writes is ever read. What is remembered
//! of a failed commit is a beginning of it.

mod items;
mod lease;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Delete, Put, TransactWriteItem};
use tokio::time::Instant;

use self::items::{Address, Batch, Lane, Lanes, ShardKey, Text, Version};
use self::lease::{Found, Lease};
use self::table::{State, Table, failed};
use super::{CheckpointStore, ManagedStore, Patience, Remembered, StoreError, StoreName, wall_clock};
use crate::config::types::{Aws, DynamoDb};
use crate::delivery::{LaneKey, LaneState};
use crate::event::EventId;

/// Tries of a transaction whose base has moved: by a request of our own that arrived late.
const MOVED: u32 = 3;
/// Looks at a table that another process is writing.
const LOOKS: u32 = 5;

/// Parts that are written and not current yet.
#[derive(Debug)]
struct Prepared {
    hash: EventId,
    version: Version,
}

/// See the module.
#[derive(Debug)]
pub struct DynamoStore {
    table: Table,
    lease: Lease,
    /// What the table has; `None` before the first load.
    image: Option<BTreeMap<ShardKey, Lanes>>,
    /// By lane: so that a commit that is repeated for hours writes its parts once.
    prepared: HashMap<(ShardKey, Arc<str>), Prepared>,
    /// Numbers versions and tokens.
    count: u64,
}

/// What the table tells without taking anything.
#[derive(Clone, Debug)]
pub(super) struct Glance {
    /// Whether the table is there.
    pub(super) table: bool,
    /// The store's name, if the pipeline has one there.
    pub(super) name: Option<StoreName>,
    /// Who holds the pipeline, and when he was last heard of.
    pub(super) holder: Option<String>,
}

/// Looks at the table and the pipeline's lease without writing, making or taking anything.
pub(super) async fn glance(config: &DynamoDb, aws: Option<&Aws>, name: &str) -> Result<Glance, String> {
    let table = Table::connect(config, aws).await?;
    Ok(glance_at(&table, config, name).await?.0)
}

async fn glance_at(table: &Table, config: &DynamoDb, name: &str) -> Result<(Glance, bool), String> {
    if table.state().await? != State::Ready {
        if !config.create {
            return Err(table.absent());
        }
        return Ok((Glance { table: false, name: None, holder: None }, false));
    }
    let found = lease::look(table, name).await.map_err(|error| error.to_string())?;
    let holder = |found: &Found| format!("{}, last heard of at {}", found.holder, found.renewed);
    let holder = found.as_ref().filter(|found| found.held).map(holder);
    Ok((Glance { table: true, name: found.map(|found| found.name), holder }, true))
}

/// What is remembered, read beside a process that may be writing.
pub(super) async fn look(
    config: &DynamoDb,
    aws: Option<&Aws>,
    name: &str,
) -> Result<(Glance, Vec<Remembered>), String> {
    let table = Table::connect(config, aws).await?;
    let (glance, there) = glance_at(&table, config, name).await?;
    if !there {
        return Ok((glance, Vec::new()));
    }
    for look in 1.. {
        let items = table.query(name).await.map_err(|error| error.to_string())?;
        match items::read(name, items) {
            Ok(read) => return Ok((glance, read.lanes)),
            // It was replaced between two pages.
            Err(items::Unreadable::PartMissing(_)) if look < LOOKS => {}
            Err(reason) => return Err(lease::not_ours(&table, &reason).to_string()),
        }
    }
    Ok((glance, Vec::new()))
}

impl DynamoStore {
    /// Makes the table if that is wanted, and takes the pipeline's lease: waits for it, or refuses while another process
    /// is alive. `name` is the pipeline's in the table.
    ///
    /// # Errors
    /// What is missing or not allowed, and what to do.
    pub async fn open(
        config: &DynamoDb,
        aws: Option<&Aws>,
        name: &str,
        patience: Patience,
    ) -> Result<DynamoStore, StoreError> {
        let table = Table::connect(config, aws).await.map_err(StoreError::Fenced)?;
        DynamoStore::open_table(table, config, name, patience).await
    }

    /// The same with the SDK's settings at hand.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        config: &DynamoDb,
        sdk: &aws_config::SdkConfig,
        name: &str,
        patience: Patience,
    ) -> Result<DynamoStore, StoreError> {
        DynamoStore::open_table(Table::new(config, sdk), config, name, patience).await
    }

    async fn open_table(
        table: Table,
        config: &DynamoDb,
        name: &str,
        patience: Patience,
    ) -> Result<DynamoStore, StoreError> {
        table.ready(config.create).await.map_err(StoreError::Fenced)?;
        let lease = Lease::take(&table, name, config.lease.0, patience).await?;
        Ok(DynamoStore { table, lease, image: None, prepared: HashMap::new(), count: 0 })
    }

    /// A number that no other commit or version has.
    fn next_token(&mut self) -> String {
        self.count += 1;
        format!("{}.{}", self.lease.epoch, self.count)
    }

    async fn read(&mut self) -> Result<Vec<Remembered>, StoreError> {
        let items = self.table.query(&self.lease.name).await?;
        let read = items::read(&self.lease.name, items).map_err(|reason| lease::not_ours(&self.table, &reason))?;
        if !read.garbage.is_empty() {
            tracing::info!(parts = read.garbage.len(), "removing what a process that died has left in the checkpoint");
        }
        self.table.discard(read.garbage).await;
        self.prepared.clear();
        self.image = Some(read.image);
        Ok(read.lanes)
    }

    async fn image(&mut self) -> Result<&BTreeMap<ShardKey, Lanes>, StoreError> {
        if self.image.is_none() {
            self.read().await?;
        }
        Ok(self.image.get_or_insert_default())
    }

    /// The shards of a batch as they are to be; large states are written apart on the way.
    async fn prepare(&mut self, batch: Batch) -> Result<Vec<(ShardKey, Lanes)>, StoreError> {
        let updated = wall_clock().0;
        let mut shards = Vec::new();
        for (key, mut states) in batch {
            let mut lanes = self.image().await?.get(&key).cloned().unwrap_or_default();
            lanes.retain(|sink, _| !states.iter().any(|(changed, _)| changed == sink));
            // The small ones first: the large ones go apart where not all have room.
            states.sort_by_key(|(_, state)| state.len());
            for (sink, state) in states {
                let text = if items::goes_apart(&state, items::bytes_of(&lanes)) {
                    Text::Apart(self.write_apart(&key, &sink, &state).await?)
                } else {
                    Text::Inline(state)
                };
                lanes.insert(sink, Lane { text, updated });
            }
            shards.push((key, lanes));
        }
        Ok(shards)
    }

    async fn write_apart(&mut self, key: &ShardKey, sink: &Arc<str>, state: &str) -> Result<Version, StoreError> {
        let place = (key.clone(), Arc::clone(sink));
        let hash = EventId::of_parts(&[state.as_bytes()]);
        if let Some(prepared) = self.prepared.get(&place).filter(|prepared| prepared.hash == hash) {
            return Ok(prepared.version.clone());
        }
        let address = Address::of(&self.lease.name, key);
        let (version, parts) = (self.next_token(), items::split(state));
        for (index, part) in parts.iter().enumerate() {
            self.table.put_part(address.key(address.part(&version, index)), part).await?;
        }
        let version = Version { version, parts: parts.len() };
        self.prepared.insert(place, Prepared { hash, version: version.clone() });
        Ok(version)
    }

    /// Writes shards, those without lanes away, all or none; and removes what they do not name any more.
    async fn write(&mut self, shards: Vec<(ShardKey, Lanes)>, resets: Option<&StoreName>) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        for (key, lanes) in &shards {
            let address = Address::of(&self.lease.name, key);
            let write = TransactWriteItem::builder();
            let built = if lanes.is_empty() {
                let delete = Delete::builder().table_name(&self.table.name).set_key(Some(address.key(address.shard())));
                delete.build().map(|delete| write.delete(delete))
            } else {
                let put = Put::builder().table_name(&self.table.name);
                put.set_item(Some(items::write(&address, key, lanes))).build().map(|put| write.put(put))
            };
            writes.push(built.map_err(|error| StoreError::Fenced(error.to_string()))?.build());
        }
        self.transact(writes, resets).await?;
        let mut old = Vec::new();
        let image = self.image.get_or_insert_default();
        for (key, lanes) in shards {
            let before = if lanes.is_empty() { image.remove(&key) } else { image.insert(key.clone(), lanes.clone()) };
            let address = Address::of(&self.lease.name, &key);
            let mut versions: Vec<Version> =
                before.into_iter().flatten().filter_map(|(_, lane)| lane.apart()).collect();
            let sinks: Vec<_> = self.prepared.keys().filter(|(shard, _)| *shard == key).cloned().collect();
            versions.extend(sinks.iter().filter_map(|place| Some(self.prepared.remove(place)?.version)));
            let current: Vec<Version> = lanes.into_values().filter_map(Lane::apart).collect();
            for Version { version, parts } in versions.into_iter().filter(|version| !current.contains(version)) {
                old.extend((0..parts).map(|index| address.key(address.part(&version, index))));
            }
        }
        self.table.discard(old).await;
        Ok(())
    }

    /// Makes these writes current if this process still has the lease.
    async fn transact(&mut self, writes: Vec<TransactWriteItem>, resets: Option<&StoreName>) -> Result<(), StoreError> {
        let mut last = String::new();
        for _ in 0..MOVED {
            let base = match self.lease.base.take() {
                Some(base) => base,
                None => self.found().await?.commit,
            };
            let token = self.next_token();
            let asked = Instant::now();
            let mut all = Vec::with_capacity(writes.len() + 1);
            let Some(fence) = self.lease.committing(&self.table, &base, &token, resets) else { break };
            all.push(TransactWriteItem::builder().update(fence).build());
            all.extend(writes.iter().cloned());
            let call = self.table.client.transact_write_items().set_transact_items(Some(all));
            let Err(error) = call.send().await else {
                self.lease.base = Some(token);
                self.lease.renewed(asked);
                return Ok(());
            };
            let refused = error.as_service_error().and_then(refusal);
            let explained = self.table.explained(&error, "dynamodb:UpdateItem");
            // Nothing says whether it happened but the table itself.
            let found = match self.found().await {
                Err(StoreError::Retry(_)) => return Err(StoreError::Retry(explained.to_string())),
                found => found?.commit,
            };
            let (happened, moved) = (found == token, found != base);
            self.lease.base = Some(found);
            last = explained.to_string();
            if happened {
                self.lease.renewed(asked);
                return Ok(());
            }
            if !moved {
                return Err(refused.map_or_else(|| failed(&explained), |refused| refused.error(&self.table, last)));
            }
        }
        Err(StoreError::Retry(last))
    }

    /// The lease, which must still be ours.
    async fn found(&self) -> Result<Found, StoreError> {
        let found = lease::look(&self.table, &self.lease.name).await?;
        match found {
            Some(found) if self.lease.is_own(&found) => Ok(found),
            other => Err(self.lease.lost(&self.table, other.as_ref())),
        }
    }
}

impl Lane {
    fn apart(self) -> Option<Version> {
        match self.text {
            Text::Apart(version) => Some(version),
            Text::Inline(_) => None,
        }
    }
}

/// Why a transaction was cancelled, where its own code says nothing.
enum Refusal {
    /// Too large, or otherwise wrong: no other try helps.
    Wrong(String),
    /// Others were faster, or the table is busy.
    Busy(String),
}

impl Refusal {
    fn error(self, table: &Table, text: String) -> StoreError {
        match self {
            Refusal::Wrong(why) => StoreError::Fenced(format!(
                "{} refuses a shard's lanes ({why}): remove sinks that are not needed any more with `tunnelog \
                 checkpoint reset --sink`; {text}",
                table.place
            )),
            Refusal::Busy(why) => StoreError::Retry(format!(
                "the transaction on {} was cancelled ({why}): it is tried again more slowly; commit less often \
                 (`checkpoint.interval`) if this lasts",
                table.place
            )),
        }
    }
}

fn refusal(error: &TransactWriteItemsError) -> Option<Refusal> {
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
        let busy = matches!(error.code(), Some("TransactionInProgressException" | "TransactionConflictException"));
        return busy.then(|| Refusal::Busy(error.code().unwrap_or_default().to_owned()));
    };
    let reasons = cancelled.cancellation_reasons().iter();
    let mut codes: Vec<&str> = reasons.filter_map(|reason| reason.code()).filter(|code| *code != "None").collect();
    codes.dedup();
    let wrong = codes.iter().any(|code| matches!(*code, "ValidationError" | "ItemCollectionSizeLimitExceeded"));
    let why = codes.join(", ");
    Some(if wrong { Refusal::Wrong(why) } else { Refusal::Busy(why) })
}

#[async_trait]
impl CheckpointStore for DynamoStore {
    async fn load(&mut self) -> Result<Vec<(LaneKey, LaneState)>, StoreError> {
        Ok(self.read().await?.into_iter().map(|lane| (lane.key, lane.state)).collect())
    }

    async fn commit(&mut self, states: Vec<(LaneKey, LaneState)>) -> Result<(), StoreError> {
        let mut texts = Vec::with_capacity(states.len());
        for (key, state) in states {
            let text = serde_json::to_string(&state).map_err(|error| StoreError::Fenced(error.to_string()))?;
            texts.push((ShardKey::of(&key), key.sink, text));
        }
        for batch in items::batches(self.image().await?, texts) {
            let shards = self.prepare(batch).await?;
            self.write(shards, None).await?;
        }
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        tokio::time::sleep_until(self.lease.due()).await;
        self.lease.renew(&self.table).await
    }

    async fn close(&mut self) {
        self.lease.release(&self.table).await;
    }
}

#[async_trait]
impl ManagedStore for DynamoStore {
    fn name(&self) -> &StoreName {
        &self.lease.store
    }

    async fn list(&mut self) -> Result<Vec<Remembered>, StoreError> {
        self.read().await
    }

    async fn forget(&mut self, lanes: &[Remembered]) -> Result<(), StoreError> {
        let mut name = self.lease.store.clone();
        name.count_resets(lanes);
        let places = lanes.iter().map(|lane| (ShardKey::of(&lane.key), Arc::clone(&lane.key.sink), String::new()));
        for batch in items::batches(self.image().await?, places.collect()) {
            let mut shards = Vec::new();
            for (key, gone) in batch {
                let mut left = self.image().await?.get(&key).cloned().unwrap_or_default();
                left.retain(|sink, _| !gone.iter().any(|(other, _)| other == sink));
                shards.push((key, left));
            }
            // The first one counts: a sink whose lanes are half forgotten is another one already.
            self.write(shards, Some(&name)).await?;
            self.lease.store = name.clone();
        }
        Ok(())
    }
}
