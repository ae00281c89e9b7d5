//! A seeded fleet of VPN connections living a day: records for people without an account, and for tests.
//!
//! One seed, one output, byte for byte: no clock, no hash map's order, numbers of our own making. Texts and
//! formats are the documented ones only; `normalize` and its tests must not be fed from here alone, since
//! both could share an error.
//!
//! The data takes this way:
//!
//! ```text
//! plan (who there is) ─► day (what happens when: session, ike, trouble) ─► lines (texts)
//!                        ─► cloudwatch (batches, envelopes, duplicates) ─► record (gzip, sequence number)
//! ```
//!
//! Memory is bounded by the number of connections, never by that of hours. Readers of several shards each run
//! the whole fleet and keep their shard's part: lines of other shards are not even written, their records are
//! not compressed.

mod cloudwatch;
mod damage;
mod day;
mod identity;
mod ike;
mod inventory;
mod lines;
mod plan;
mod random;
mod reader;
mod record;
mod session;
mod trouble;

use std::sync::Arc;

pub use day::Counts;
pub use inventory::{RegionAnswers, SimulatedInventory};
pub use reader::SimulateSource;
pub use record::SimulatedRecord;

use crate::config::types::Simulate;
use crate::event::Millis;
use crate::source::SourceError;
use cloudwatch::{Draft, Sort};
use day::{Day, HOUR};
use plan::{Connection, Plan};

/// A fleet: cheap to clone, immutable. [`Fleet::records`] lets it live its day.
#[derive(Clone)]
pub struct Fleet {
    plan: Arc<Plan>,
    /// XXH3 of all that shapes the records.
    fingerprint: u64,
}

impl Fleet {
    /// The fleet of this configuration.
    ///
    /// # Errors
    /// Values out of range and a `start` that is no time between 2000 and 2100, with what to write instead.
    pub fn new(config: &Simulate) -> Result<Fleet, SourceError> {
        let start = Millis::parse(&config.start).filter(|start| start.is_plausible()).ok_or_else(|| {
            SourceError::Fatal(format!(
                "`start` is `{}`; write a time between 2000 and 2100 as RFC 3339, for example `2026-01-15T00:00:00Z`",
                config.start
            ))
        })?;
        within("connections", config.connections, 1, 100_000)?;
        within("hours", config.hours, 1, 8760)?;
        within("shards", config.shards, 1, 1000)?;
        within("damaged", config.damaged, 0, 1000)?;
        let connections = (0..config.connections).map(|index| Connection::new(config.seed, index)).collect();
        let plan = Plan {
            seed: config.seed,
            start: start.0,
            end: start.0 + i64::from(config.hours) * HOUR,
            shards: config.shards,
            damaged: config.damaged,
            connections,
        };
        Ok(Fleet { fingerprint: fingerprint(&plan), plan: Arc::new(plan) })
    }

    /// The day from its beginning, in the order of arrival.
    pub fn records(&self) -> Records {
        self.drafts(None)
    }

    /// The day, of which only one shard's records have a body.
    fn drafts(&self, only: Option<u32>) -> Records {
        Records { day: Day::new(Arc::clone(&self.plan), only), stream: self.fingerprint, number: 0 }
    }

    /// The inventory as the core reads it, for unit tests.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> crate::enrich::Snapshot {
        let (inventory, mut answers) = (self.inventory(), crate::enrich::Answers::default());
        for region in &inventory.regions {
            for (_, answer) in region.files() {
                let (account, region) = (Some(region.account.as_str()), Some(region.region.as_str()));
                answers.add_slice(account, region, None, answer.to_string().as_bytes()).unwrap();
            }
        }
        answers.add_slice(None, None, None, inventory.accounts.to_string().as_bytes()).unwrap();
        crate::enrich::join(&answers, &["site".into(), "env".into()], crate::enrich::Overlay::default())
    }

    /// What AWS would answer about this fleet at the beginning of its day. Holds no secret: the simulation has none.
    pub fn inventory(&self) -> SimulatedInventory {
        inventory::of(&self.plan)
    }

    /// How many shards the stream has.
    pub fn shards(&self) -> u32 {
        self.plan.shards
    }

    /// Stands for the stream's creation time: another configuration is another stream. 16 hex digits.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", self.fingerprint)
    }
}

/// The generation of the simulation: raised when the same seed gives other records, so that checkpoints of an
/// older version are not continued in another day.
const GENERATION: u64 = 2;

fn fingerprint(plan: &Plan) -> u64 {
    let numbers = [
        GENERATION,
        plan.seed,
        plan.connections.len() as u64,
        plan.start.unsigned_abs(),
        plan.end.unsigned_abs(),
        u64::from(plan.shards),
        u64::from(plan.damaged),
    ];
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

fn within(name: &str, value: u32, low: u32, high: u32) -> Result<(), SourceError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(SourceError::Fatal(format!("`{name}` is {value}; it may be {low} to {high}")))
}

/// The records of a fleet's day, in the order of arrival.
pub struct Records {
    day: Day,
    stream: u64,
    /// The last record's number in the whole stream.
    number: u64,
}

impl Records {
    /// What was written and delivered so far; after the last record, the day's whole truth.
    pub fn counts(&self) -> Counts {
        self.day.counts
    }

    /// The next record, not yet compressed, and its number in the whole stream.
    fn next_draft(&mut self) -> Option<(u64, Draft)> {
        let draft = self.day.next_draft()?;
        self.number += 1;
        let counts = &mut self.day.counts;
        counts.records += 1;
        match draft.sort {
            Sort::Data => {}
            Sort::Duplicate => {
                counts.duplicates += 1;
                counts.duplicate_events += u64::from(draft.events);
            }
            Sort::Control => counts.control_messages += 1,
            Sort::Damaged => counts.damaged += 1,
        }
        Some((self.number, draft))
    }

    fn seal(&self, number: u64, draft: Draft) -> SimulatedRecord {
        record::seal(draft, record::position(self.stream, number))
    }
}

impl Iterator for Records {
    type Item = SimulatedRecord;

    fn next(&mut self) -> Option<SimulatedRecord> {
        let (number, draft) = self.next_draft()?;
        Some(self.seal(number, draft))
    }
}
