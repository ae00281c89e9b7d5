//! Enrichment: what the inventory knows about a VPN connection is added to its events.
//!
//! A lookup never does I/O: it reads an immutable [`Snapshot`]; loaders swap snapshots behind an
//! [`Inventory`]. Secrets (pre-shared keys, the customer gateway configuration) are not even deserialized.
//!
//! The way of the data: [`answers`] reads what the AWS CLI printed, [`overlay`] a CSV beside it, [`join()`]
//! makes a [`Snapshot`] of both, [`mod@file`] does so again when files change, and [`enrich`] borrows from it.

pub mod answers;
#[cfg(feature = "aws")]
pub mod ec2;
pub mod file;
mod join;
mod lookup;
mod misses;
pub mod overlay;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::time::Instant;

pub use answers::{AnswerError, Answers};
pub(crate) use file::is_region;
pub use file::{FileInventory, InventoryError};
pub use join::join;
pub(crate) use lookup::is_account_id;
pub use lookup::{Finder, Lookup, enrich};
pub use misses::{Miss, Misses};
pub use overlay::{Overlay, OverlayError};

use crate::event::{CustomerGateway, Gateway, Millis, Routing, Transport};

/// One VPN connection as the inventory knows it, ready to be borrowed by events.
///
/// What many connections have in common (a gateway, an account, a set of tags) is one value that they share: 50,000
/// of them stay under 64 MiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `vpn-…`
    pub id: Arc<str>,
    /// The `Name` tag.
    pub name: Option<Box<str>>,
    /// EC2's state, for example `available`.
    pub state: Option<Arc<str>>,
    /// The account that owns it.
    pub account_id: Option<Arc<str>>,
    /// Its Region.
    pub region: Option<Arc<str>>,
    /// How routes are learned.
    pub routing: Option<Routing>,
    /// What carries the tunnels.
    pub transport: Option<Transport>,
    /// The Direct Connect transport attachment.
    pub transport_attachment_id: Option<Box<str>>,
    /// In the order of EC2's `TunnelOptions`: tunnel 1, tunnel 2.
    pub tunnels: Box<[TunnelInfo]>,
    /// The customer's end.
    pub customer_gateway: Option<Arc<CustomerGateway>>,
    /// The AWS end.
    pub gateway: Option<Arc<Gateway>>,
    /// Allowed tags and overlay columns.
    pub tags: Arc<BTreeMap<String, String>>,
    /// When EC2 said so.
    pub as_of: Option<Millis>,
}

/// One tunnel as the inventory knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelInfo {
    /// 1 or 2; unknown where EC2's answer lacks `TunnelOptions`, whose order numbers the tunnels.
    pub index: Option<u8>,
    /// AWS's outside address.
    pub outside_ip: IpAddr,
    /// The inside IPv4 /30.
    pub inside_cidr: Option<IpNet>,
    /// The inside IPv6 /126.
    pub inside_ipv6_cidr: Option<IpNet>,
    /// EC2's telemetry: `UP` or `DOWN`.
    pub status: Option<Arc<str>>,
    /// How many routes it had accepted.
    pub accepted_routes: Option<u64>,
}

/// What is known of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its name in Organizations.
    pub name: Option<String>,
    /// The path of its organizational unit: `Root/Workloads/Prod`.
    pub ou: Option<String>,
}

/// Everything known at one moment. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By connection id; ids are unique across accounts and Regions, addresses are not.
    pub connections: HashMap<Arc<str>, Arc<Connection>>,
    /// Accounts by id.
    pub accounts: HashMap<String, Account>,
    /// Overlay tags of connections that `connections` does not have (those that it has carry theirs).
    pub overlay: HashMap<String, BTreeMap<String, String>>,
    /// Whether the pipeline has an inventory at all.
    pub configured: bool,
    /// Whether the latest load failed, so that this is an older answer.
    pub stale: bool,
    /// Accounts and Regions whose latest refresh failed, where each has its own.
    pub stale_places: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// Which of all snapshots this is.
    pub stamp: Stamp,
}

/// Tells a snapshot from all others of this process, so that what was made with one is not taken for another's. A clone,
/// which may be changed before it is used, has its own.
#[derive(Debug)]
pub struct Stamp(u64);

impl Stamp {
    /// The number that no other has.
    pub fn number(&self) -> u64 {
        self.0
    }
}

impl Default for Stamp {
    fn default() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Stamp(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Clone for Stamp {
    fn clone(&self) -> Self {
        Stamp::default()
    }
}

impl Snapshot {
    /// Whether what is known of a connection is an older answer.
    pub fn is_stale(&self, connection: &Connection) -> bool {
        self.stale || (!self.stale_places.is_empty() && self.is_of_stale_place(connection))
    }

    fn is_of_stale_place(&self, connection: &Connection) -> bool {
        let regions = connection.account_id.as_deref().and_then(|account| self.stale_places.get(account));
        regions.zip(connection.region.as_deref()).is_some_and(|(regions, region)| regions.contains(region))
    }
}

/// The current snapshot, swapped by a loader.
#[derive(Debug)]
pub struct Inventory {
    current: ArcSwap<Snapshot>,
    confirmed: Mutex<Instant>,
    /// Connections that were looked up and not found.
    pub misses: Misses,
}

impl Default for Inventory {
    fn default() -> Self {
        Inventory::new(Snapshot::default())
    }
}

impl Inventory {
    /// An inventory that begins with `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        Inventory {
            current: ArcSwap::from_pointee(snapshot),
            confirmed: Mutex::new(Instant::now()),
            misses: Misses::default(),
        }
    }

    /// The snapshot of now; hold it for one piece of work, not longer.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces the snapshot.
    pub fn swap(&self, snapshot: Snapshot) {
        if !snapshot.stale && snapshot.stale_places.is_empty() {
            self.confirm();
        }
        self.current.store(Arc::new(snapshot));
    }

    /// The loader has found the snapshot to be still true.
    pub fn confirm(&self) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago the snapshot was last known to be true.
    pub fn age(&self) -> Duration {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

#[cfg(test)]
mod tests;
