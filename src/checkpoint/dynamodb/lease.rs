//! The lease: one item a pipeline that says who may write, and the fence that makes it true.
//!
//! - `epoch` rises at each takeover. **Every** commit is a transaction that also changes the lease item, on the condition
//!   that owner, epoch and the last commit's token are still this process's: a process that was paused and replaced
//!   fails at its next commit, whatever its clock says.
//! - `beat` changes with each commit and each renewal. Whether the holder is alive is judged by *watching the beat* over
//!   one's own monotonic clock: a lease has lapsed when the beat has not changed for the lease's time. No two machines'
//!   clocks are compared.
//! - `commit` is the token of the last commit. A commit whose answer was lost finds its own token and has succeeded; a
//!   request that arrives late, after the next commit, finds another one and changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use tokio::time::Instant;

use super::items::{Item, Unreadable, field, number, numeric, text};
use super::table::{Table, failed};
use crate::backoff::Backoff;
use crate::checkpoint::{Patience, StoreError, StoreName, random_id, wall_clock};

/// Between two looks at another process's lease.
const LOOK: Duration = Duration::from_secs(1);
/// No holder's word makes the next process wait longer.
const LONGEST: Duration = Duration::from_secs(600);

/// The lease as it stands in the table.
#[derive(Clone, Debug)]
pub(super) struct Found {
    owner: String,
    pub(super) holder: String,
    epoch: u64,
    beat: u64,
    pub(super) held: bool,
    length: Duration,
    pub(super) commit: String,
    pub(super) name: StoreName,
    pub(super) renewed: String,
}

impl Found {
    fn of(item: &Item) -> Result<Found, Unreadable> {
        let mut resets = BTreeMap::new();
        if let Some(AttributeValue::M(counts)) = item.get("resets") {
            for sink in counts.keys() {
                resets.insert(sink.clone(), numeric(counts, sink)?);
            }
        }
        Ok(Found {
            owner: field(item, "owner")?.to_owned(),
            holder: field(item, "holder")?.to_owned(),
            epoch: numeric(item, "epoch")?,
            beat: numeric(item, "beat")?,
            held: matches!(item.get("held"), Some(AttributeValue::Bool(true))),
            length: Duration::from_millis(numeric(item, "lease_ms")?).min(LONGEST),
            commit: field(item, "commit")?.to_owned(),
            name: StoreName { id: field(item, "store")?.to_owned(), resets },
            renewed: field(item, "renewed")?.to_owned(),
        })
    }
}

/// The lease of a pipeline, if it ever had one.
pub(super) async fn look(table: &Table, name: &str) -> Result<Option<Found>, StoreError> {
    let Some(item) = table.get(Table::lease_key(name)).await? else { return Ok(None) };
    Found::of(&item).map(Some).map_err(|reason| not_ours(table, &reason))
}

pub(super) fn not_ours(table: &Table, reason: &Unreadable) -> StoreError {
    match reason {
        Unreadable::PartMissing(part) => StoreError::Retry(format!(
            "{} lacks `{part}`, a part of a lane's state: bring it back from a backup, or make the pipeline forget with \
             `tunnelog checkpoint reset`",
            table.place
        )),
        Unreadable::Strange(reason) => StoreError::Fenced(format!(
            "{} holds a state that this version does not understand ({reason}): use the version that wrote it, or \
             another `table`",
            table.place
        )),
    }
}

/// A conditional change of the lease item.
pub(super) struct Change {
    pub(super) update: String,
    pub(super) condition: String,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Change {
    /// `#name` stands for the attribute `name`: many of them are reserved words.
    pub(super) fn names(&self) -> HashMap<String, String> {
        let text = format!("{} {}", self.update, self.condition);
        let names = text.split('#').skip(1).map(|rest| {
            let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_').unwrap_or(rest.len());
            rest.get(..end).unwrap_or_default().to_owned()
        });
        names.map(|name| (format!("#{name}"), name)).collect()
    }
}

/// The lease as this process holds it.
#[derive(Debug)]
pub(super) struct Lease {
    /// This process, and no other ever.
    owner: String,
    pub(super) epoch: u64,
    length: Duration,
    /// When it was renewed last, before the call.
    renewed: Instant,
    pub(super) store: StoreName,
    /// The last commit's token; `None` after a commit of which it is not known whether it succeeded.
    pub(super) base: Option<String>,
    /// The pipeline's name in the table.
    pub(super) name: String,
}

impl Lease {
    /// Takes the lease, when nobody has it, it is given back, or it lapses.
    pub(super) async fn take(
        table: &Table,
        name: &str,
        length: Duration,
        patience: Patience,
    ) -> Result<Lease, StoreError> {
        let owner = random_id().map_err(|error| StoreError::Retry(error.to_string()))?;
        let mut lease = Lease {
            owner,
            epoch: 0,
            length,
            renewed: Instant::now(),
            store: StoreName::default(),
            base: None,
            name: name.to_owned(),
        };
        let mut watch = Watch::default();
        let mut backoff = Backoff::new(2);
        loop {
            let asked = Instant::now();
            let found = match look(table, name).await {
                // It was reached before: what passes is waited for, and counts for no one's lapse.
                Err(StoreError::Retry(reason)) if watch.seen.is_some() => {
                    tracing::warn!(reason, "the checkpoint's lease cannot be read; it is tried again");
                    tokio::time::sleep(backoff.next_within(LOOK)).await;
                    continue;
                }
                found => found?,
            };
            if let Some(found) = found.as_ref().filter(|found| found.owner == lease.owner) {
                // Its own take, whose answer was lost.
                lease.taken(asked, found.epoch, found.name.clone());
                return Ok(lease);
            }
            match watch.verdict(found.as_ref(), patience) {
                Verdict::Take => {
                    if lease.try_take(table, found.as_ref(), asked).await? {
                        return Ok(lease);
                    }
                }
                Verdict::Refuse(holder) => {
                    return Err(StoreError::Fenced(format!(
                        "{} is held by {holder}, which runs this pipeline: stop it first",
                        table.place
                    )));
                }
                Verdict::Wait(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// One try; `false` if somebody else was faster.
    async fn try_take(&mut self, table: &Table, found: Option<&Found>, asked: Instant) -> Result<bool, StoreError> {
        let fresh =
            StoreName { id: random_id().map_err(|e| StoreError::Retry(e.to_string()))?, ..StoreName::default() };
        let store = found.map_or(fresh, |found| found.name.clone());
        let epoch = found.map_or(1, |found| found.epoch + 1);
        let set = "SET #owner = :owner, #holder = :holder, #epoch = :epoch, #held = :true, #lease_ms = :length, \
                   #commit = :commit, #store = :store, #renewed = :now ADD #beat :one";
        let mut values: HashMap<String, AttributeValue> = [
            (":owner", text(&self.owner)),
            (":holder", text(&who())),
            (":epoch", number(epoch)),
            (":true", AttributeValue::Bool(true)),
            (":length", number(self.length.as_millis())),
            (":commit", text(&format!("{epoch}.0"))),
            (":store", text(&store.id)),
            (":now", text(&wall_clock().to_string())),
            (":one", number(1)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let condition = match found {
            None => "attribute_not_exists(#owner)",
            Some(found) => {
                values.extend([(":seen".into(), number(found.epoch)), (":beat".into(), number(found.beat))]);
                "#epoch = :seen AND #beat = :beat"
            }
        };
        let change = Change { update: set.into(), condition: condition.into(), values };
        let taken = self.apply(table, change).await?;
        if taken {
            self.taken(asked, epoch, store);
        }
        Ok(taken)
    }

    fn taken(&mut self, asked: Instant, epoch: u64, store: StoreName) {
        (self.renewed, self.epoch, self.store) = (asked, epoch, store);
        self.base = Some(format!("{epoch}.0"));
    }

    /// Changes the lease item alone; `false` if the condition does not hold.
    async fn apply(&self, table: &Table, change: Change) -> Result<bool, StoreError> {
        let names = change.names();
        let call = table.client.update_item().table_name(&table.name).set_key(Some(Table::lease_key(&self.name)));
        let call = call.update_expression(change.update).condition_expression(change.condition);
        let call =
            call.set_expression_attribute_names(Some(names)).set_expression_attribute_values(Some(change.values));
        match call.send().await {
            Ok(_) => Ok(true),
            Err(error) => {
                let error = table.explained(&error, "dynamodb:UpdateItem");
                if error.code.as_deref() == Some("ConditionalCheckFailedException") {
                    Ok(false)
                } else {
                    Err(failed(&error))
                }
            }
        }
    }

    fn own(&self) -> HashMap<String, AttributeValue> {
        [
            (":me", text(&self.owner)),
            (":mine", number(self.epoch)),
            (":true", AttributeValue::Bool(true)),
            (":now", text(&wall_clock().to_string())),
            (":one", number(1)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// What each transaction does to the lease: renews it, under the condition that this process has it and no commit
    /// came between.
    pub(super) fn committing(
        &self,
        table: &Table,
        base: &str,
        token: &str,
        resets: Option<&StoreName>,
    ) -> Option<Update> {
        let mut values = self.own();
        values.extend([(":base".to_owned(), text(base)), (":token".to_owned(), text(token))]);
        let mut update = "SET #commit = :token, #renewed = :now".to_owned();
        if let Some(StoreName { resets, .. }) = resets {
            update.push_str(", #resets = :resets");
            let counts = resets.iter().map(|(sink, count)| (sink.clone(), number(count))).collect();
            values.insert(":resets".into(), AttributeValue::M(counts));
        }
        update.push_str(" ADD #beat :one");
        let condition = "#owner = :me AND #epoch = :mine AND #held = :true AND #commit = :base".to_owned();
        let change = Change { update, condition, values };
        let built = Update::builder().table_name(&table.name).set_key(Some(Table::lease_key(&self.name)));
        let built = built.set_expression_attribute_names(Some(change.names()));
        let built = built.update_expression(change.update).condition_expression(change.condition);
        built.set_expression_attribute_values(Some(change.values)).build().ok()
    }

    /// The table has accepted a change of ours that was asked for then.
    pub(super) fn renewed(&mut self, asked: Instant) {
        self.renewed = asked;
    }

    /// When it is to be renewed: thrice in its time.
    pub(super) fn due(&self) -> Instant {
        self.renewed + self.length / 3
    }

    /// Renews it.
    pub(super) async fn renew(&mut self, table: &Table) -> Result<(), StoreError> {
        let asked = Instant::now();
        let change = Change {
            update: "SET #renewed = :now ADD #beat :one".into(),
            condition: "#owner = :me AND #epoch = :mine AND #held = :true".into(),
            values: self.own(),
        };
        if self.apply(table, change).await? {
            self.renewed = asked;
            return Ok(());
        }
        let found = look(table, &self.name).await?;
        Err(self.lost(table, found.as_ref()))
    }

    /// Gives it back; without an answer it lapses.
    pub(super) async fn release(&mut self, table: &Table) {
        let mut values = self.own();
        values.insert(":false".into(), AttributeValue::Bool(false));
        let change = Change {
            update: "SET #held = :false, #renewed = :now ADD #beat :one".into(),
            condition: "#owner = :me AND #epoch = :mine AND #held = :true".into(),
            values,
        };
        match self.apply(table, change).await {
            Ok(_) => tracing::debug!("gave the checkpoint's lease back"),
            Err(error) => tracing::warn!(%error, "the checkpoint's lease could not be given back: it lapses by itself"),
        }
    }

    /// Whether the lease that was found is still this process's.
    pub(super) fn is_own(&self, found: &Found) -> bool {
        found.owner == self.owner && found.epoch == self.epoch && found.held
    }

    /// Why this process must stop.
    pub(super) fn lost(&self, table: &Table, found: Option<&Found>) -> StoreError {
        let by = match found {
            Some(found) => format!("by {} at {}", found.holder, found.renewed),
            None => "since its lease was deleted".into(),
        };
        StoreError::Fenced(format!(
            "the checkpoint in {} was taken over {by}: this process was not heard of for longer than its lease \
             ({:?}), or a second one was started; it stops, and nothing of it counts any more",
            table.place, self.length
        ))
    }
}

/// Watches another process's lease.
#[derive(Default)]
struct Watch {
    seen: Option<(u64, u64, Instant)>,
    said: Option<u64>,
}

enum Verdict {
    Take,
    Wait(Duration),
    Refuse(String),
}

impl Watch {
    fn verdict(&mut self, found: Option<&Found>, patience: Patience) -> Verdict {
        let Some(found) = found.filter(|found| found.held) else { return Verdict::Take };
        let same = self.seen.filter(|(epoch, beat, _)| (*epoch, *beat) == (found.epoch, found.beat));
        match same {
            Some((_, _, since)) if since.elapsed() >= found.length => {
                tracing::warn!(holder = found.holder, "the lease has lapsed: taking the pipeline over");
                Verdict::Take
            }
            Some((_, _, since)) => Verdict::Wait((found.length - since.elapsed()).min(LOOK)),
            None if patience == Patience::Refuse && self.seen.is_some() => Verdict::Refuse(found.holder.clone()),
            None => {
                self.seen = Some((found.epoch, found.beat, Instant::now()));
                if self.said != Some(found.epoch) {
                    self.said = Some(found.epoch);
                    tracing::warn!(
                        holder = found.holder,
                        last_heard = found.renewed,
                        lease = ?found.length,
                        "another process holds this pipeline's checkpoint: waiting until it ends, or until nothing is \
                         heard of it for the time of its lease"
                    );
                }
                Verdict::Wait(LOOK.min(found.length))
            }
        }
    }
}

/// This process, for people.
fn who() -> String {
    let host = std::env::var("HOSTNAME").ok().or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    format!("process {} on {}", std::process::id(), host.as_deref().unwrap_or("an unnamed host"))
}
