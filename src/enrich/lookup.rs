//! The lookup: fills an event from a snapshot. Pure; borrows, allocates nothing, cannot fail.
//!
//! What the log itself says always stays: the inventory only fills what is absent. A tunnel is found by its
//! outside address within its connection only, since private outside addresses repeat.

use std::borrow::Cow;

use super::{Account, Connection, Snapshot};
use crate::event::{Cloud, Event, InventoryInfo, InventoryState, Tunnel, Vpn};

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The inventory has the connection.
    Hit,
    /// The inventory does not have the connection: a reason to refresh it.
    Miss,
    /// Nothing to look up: the line names no connection, or there is no inventory.
    NoConnection,
}

/// Fills `event` from `snapshot`. `owner` is the account that sent the envelope; it counts as the account
/// where nothing better is known, if it has 12 digits. `default_region` is the configured one.
pub fn enrich<'a>(
    event: &mut Event<'a>,
    snapshot: &'a Snapshot,
    default_region: Option<&'a str>,
    owner: &'a str,
) -> Lookup {
    Finder::new(snapshot).enrich(event, default_region, owner)
}

/// Looks up one event after the other, and remembers what it found last: a record's events are of one connection,
/// nearly always.
#[derive(Clone, Debug)]
pub struct Finder<'a> {
    snapshot: &'a Snapshot,
    connection: Option<(&'a str, &'a Connection)>,
    account: Option<(&'a str, &'a Account)>,
}

impl<'a> Finder<'a> {
    /// Looks up in this snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Finder<'a> {
        Finder { snapshot, connection: None, account: None }
    }

    /// As [`enrich()`].
    pub fn enrich<'e>(&mut self, event: &mut Event<'e>, default_region: Option<&'e str>, owner: &'e str) -> Lookup
    where
        'a: 'e,
    {
        let snapshot = self.snapshot;
        let mut lookup = Lookup::NoConnection;
        let mut known = None;
        if let Some(vpn) = &mut event.vpn {
            known = self.connection(&vpn.connection_id);
            match known {
                Some(connection) => {
                    lookup = Lookup::Hit;
                    fill_vpn(vpn, connection, snapshot);
                }
                None => {
                    vpn.tags = snapshot.overlay.get(vpn.connection_id.as_ref()).filter(|tags| !tags.is_empty());
                    if snapshot.configured {
                        lookup = Lookup::Miss;
                        vpn.inventory = Some(info(InventoryState::Missing));
                    }
                }
            }
        }
        self.fill_cloud(&mut event.cloud, known, default_region, owner);
        lookup
    }

    fn connection(&mut self, id: &str) -> Option<&'a Connection> {
        if self.connection.is_none_or(|(known, _)| known != id) {
            self.connection = self.snapshot.connections.get_key_value(id).map(|(id, found)| (&**id, &**found));
        }
        self.connection.map(|(_, connection)| connection)
    }

    fn account(&mut self, id: &str) -> Option<&'a Account> {
        if self.account.is_none_or(|(known, _)| known != id) {
            self.account = self.snapshot.accounts.get_key_value(id).map(|(id, account)| (id.as_str(), account));
        }
        self.account.map(|(_, account)| account)
    }

    fn fill_cloud<'e>(
        &mut self,
        cloud: &mut Cloud<'e>,
        connection: Option<&'a Connection>,
        default_region: Option<&'e str>,
        owner: &'e str,
    ) where
        'a: 'e,
    {
        if cloud.account_id.is_none() {
            let inventory = connection.and_then(|connection| connection.account_id.as_deref());
            let account = inventory.or_else(|| Some(owner).filter(|owner| is_account_id(owner)));
            cloud.account_id = account.map(Cow::Borrowed);
        }
        if let Some(account_id) = cloud.account_id.as_deref() {
            let account = self.account(account_id);
            cloud.account_name = account.and_then(|account| account.name.as_deref());
            cloud.account_ou = account.and_then(|account| account.ou.as_deref());
        }
        if cloud.region.is_none() {
            let inventory = connection.and_then(|connection| connection.region.as_deref());
            cloud.region = inventory.or(default_region).map(Cow::Borrowed);
        }
    }
}

fn info<'a>(state: InventoryState) -> InventoryInfo<'a> {
    InventoryInfo { state, as_of: None, tunnel_status: None, accepted_routes: None }
}

fn fill_vpn<'a>(vpn: &mut Vpn<'a>, connection: &'a Connection, snapshot: &Snapshot) {
    vpn.name = connection.name.as_deref();
    vpn.connection_state = connection.state.as_deref();
    vpn.routing = connection.routing;
    vpn.transport = connection.transport;
    vpn.transport_attachment_id = connection.transport_attachment_id.as_deref();
    vpn.customer_gateway = connection.customer_gateway.as_deref();
    vpn.gateway = connection.gateway.as_deref();
    vpn.tags = Some(&*connection.tags).filter(|tags| !tags.is_empty());
    let state = if snapshot.is_stale(connection) { InventoryState::Stale } else { InventoryState::Fresh };
    let mut inventory = InventoryInfo { as_of: connection.as_of, ..info(state) };
    if let Some(tunnel) = &mut vpn.tunnel {
        fill_tunnel(tunnel, &mut inventory, connection);
    }
    if snapshot.configured {
        vpn.inventory = Some(inventory);
    }
}

fn fill_tunnel<'a>(tunnel: &mut Tunnel, inventory: &mut InventoryInfo<'a>, connection: &'a Connection) {
    let Some(outside_ip) = tunnel.outside_ip else { return };
    let Some(known) = connection.tunnels.iter().find(|known| known.outside_ip == outside_ip) else { return };
    tunnel.index = known.index;
    tunnel.inside_cidr = known.inside_cidr;
    tunnel.inside_ipv6_cidr = known.inside_ipv6_cidr;
    inventory.tunnel_status = known.status.as_deref();
    inventory.accepted_routes = known.accepted_routes;
}

/// AWS account ids have 12 digits; `owner` may also be `CloudwatchLogs`, or what a person typed.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}
