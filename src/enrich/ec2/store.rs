//! What is known, place by place, and the snapshot that is made of it. Pure.
//!
//! A place is one account in one Region: it is asked, fails, and grows old on its own. A snapshot shares the
//! connections with the store, so that a new one costs an index, not a copy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::enrich::answers::Answers;
use crate::enrich::join::{join, owned_transit_gateways};
use crate::enrich::overlay::Overlay;
use crate::enrich::{Account, Connection, Snapshot, Stamp};
use crate::event::{Gateway, GatewayKind, Millis};

/// One account in one Region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// 12 digits.
    pub account: Arc<str>,
    /// For example `ap-northeast-2`.
    pub region: Arc<str>,
}

/// What one answer says.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) connections: Vec<Arc<Connection>>,
    /// Those that the account owns, with the names and tags that others do not see.
    pub(super) transit_gateways: Vec<Gateway>,
    pub(super) as_of: Option<Millis>,
}

impl Fetched {
    /// From answers in the AWS CLI's form. Takes time in proportion to their size.
    pub(super) fn read(place: &Place, as_of: Option<Millis>, json: &[u8], tags: &[String]) -> Result<Fetched, String> {
        let mut answers = Answers::default();
        let added = answers.add_slice(Some(&place.account), Some(&place.region), as_of, json);
        added.map_err(|error| error.to_string())?;
        if !answers.has_connections() {
            return Err("no list of VPN connections in it".into());
        }
        let snapshot = join(&answers, tags, Overlay::default());
        let transit_gateways = owned_transit_gateways(&answers);
        Ok(Fetched { connections: snapshot.connections.into_values().collect(), transit_gateways, as_of })
    }
}

/// What is known of one place, and how it went.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) fetched: Fetched,
    /// Whether this process has asked and the latest try was answered.
    pub(super) is_fresh: bool,
    /// Why the latest try failed.
    pub(super) failure: Option<String>,
    /// When it was last tried.
    pub(super) tried: Option<Millis>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) places: BTreeMap<Place, Known>,
    /// What Organizations says, by account.
    pub(super) accounts: BTreeMap<String, Account>,
    pub(super) overlay: HashMap<String, BTreeMap<String, String>>,
}

impl Store {
    /// A place was asked and has answered.
    pub(super) fn answered(&mut self, place: &Place, fetched: Fetched) {
        let tried = fetched.as_of;
        self.places.insert(place.clone(), Known { fetched, is_fresh: true, failure: None, tried });
    }

    /// A place could not be asked: what was known of it stays.
    pub(super) fn failed(&mut self, place: &Place, why: String, tried: Option<Millis>) {
        let known = self.places.entry(place.clone()).or_default();
        (known.is_fresh, known.failure, known.tried) = (false, Some(why), tried);
    }

    /// The snapshot of now.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.name_shared_gateways();
        let count = self.places.values().map(|known| known.fetched.connections.len()).sum();
        let mut connections: HashMap<Arc<str>, Arc<Connection>> = HashMap::with_capacity(count);
        let mut overlay = self.overlay.clone();
        for known in self.places.values() {
            for connection in &known.fetched.connections {
                let connection = match overlay.remove(connection.id.as_ref()) {
                    Some(columns) => Arc::new(with_tags(connection, columns)),
                    None => Arc::clone(connection),
                };
                connections.insert(Arc::clone(&connection.id), connection);
            }
        }
        let accounts = self.accounts.iter().map(|(id, account)| (id.clone(), account.clone())).collect();
        let stale_places = self.stale_places();
        Snapshot {
            connections,
            accounts,
            overlay,
            configured: true,
            stale: false,
            stale_places,
            stamp: Stamp::default(),
        }
    }

    fn stale_places(&self) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
        let mut stale: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (place, _) in self.places.iter().filter(|(_, known)| !known.is_fresh) {
            stale.entry(Arc::clone(&place.account)).or_default().insert(Arc::clone(&place.region));
        }
        stale
    }

    /// A transit gateway that another account shares has its name in that account's answer only.
    fn name_shared_gateways(&mut self) {
        let owned = self.places.values().flat_map(|known| &known.fetched.transit_gateways);
        let owned: HashMap<String, Arc<Gateway>> =
            owned.filter_map(|gateway| Some((gateway.id.clone()?, Arc::new(gateway.clone())))).collect();
        for (place, known) in &mut self.places {
            for connection in &mut known.fetched.connections {
                let Some(gateway) = connection.gateway.as_deref() else { continue };
                let foreign = gateway.kind == GatewayKind::TransitGateway
                    && gateway.owner_account_id.as_deref() != Some(place.account.as_ref());
                let owners = gateway.id.as_ref().filter(|_| foreign).and_then(|id| owned.get(id));
                if let Some(owners) = owners.filter(|owners| ***owners != *gateway) {
                    Arc::make_mut(connection).gateway = Some(Arc::clone(owners));
                }
            }
        }
    }
}

fn with_tags(connection: &Connection, columns: BTreeMap<String, String>) -> Connection {
    let mut tags = connection.tags.as_ref().clone();
    tags.extend(columns);
    Connection { tags: Arc::new(tags), ..connection.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    fn place(account: &str) -> Place {
        Place { account: account.into(), region: "eu-west-1".into() }
    }

    fn fetched(account: &str, json: &str) -> Fetched {
        Fetched::read(&place(account), Some(Millis(1)), json.as_bytes(), &["site".into()]).unwrap()
    }

    const MEMBER: &str = r#"{"VpnConnections":[{"VpnConnectionId":"vpn-1","TransitGatewayId":"tgw-1",
        "Tags":[{"Key":"site","Value":"seoul"}]}],
        "TransitGateways":[{"TransitGatewayId":"tgw-1","OwnerId":"222222222222"}]}"#;

    fn owner(name: &str) -> String {
        format!(
            r#"{{"VpnConnections":[],"TransitGateways":[{{"TransitGatewayId":"tgw-1","OwnerId":"222222222222",
                "Options":{{"AmazonSideAsn":"64999"}},"Tags":[{{"Key":"Name","Value":"{name}"}}]}}]}}"#
        )
    }

    #[test]
    fn a_shared_transit_gateway_is_named_by_its_owner_whoever_answers_first() {
        let mut store = Store::default();
        store.answered(&place("111111111111"), fetched("111111111111", MEMBER));
        let name = |store: &mut Store| {
            let snapshot = store.snapshot();
            let gateway = snapshot.connections["vpn-1"].gateway.clone().unwrap();
            (gateway.name.clone(), gateway.asn, gateway.owner_account_id.clone().unwrap())
        };
        assert_eq!(name(&mut store), (None, None, "222222222222".into()));
        store.answered(&place("222222222222"), fetched("222222222222", &owner("core")));
        assert_eq!(name(&mut store), (Some("core".into()), Some(64999), "222222222222".into()));
        store.answered(&place("222222222222"), fetched("222222222222", &owner("renamed")));
        assert_eq!(name(&mut store).0.as_deref(), Some("renamed"));
        store.failed(&place("222222222222"), "denied".into(), None);
        assert_eq!(name(&mut store).0.as_deref(), Some("renamed"), "the last good answer");
    }

    #[test]
    fn a_place_that_fails_is_stale_and_no_other() {
        let mut store = Store::default();
        store.answered(&place("111111111111"), fetched("111111111111", MEMBER));
        store.answered(&place("222222222222"), fetched("222222222222", &MEMBER.replace("vpn-1", "vpn-2")));
        assert!(store.snapshot().stale_places.is_empty());
        store.failed(&place("222222222222"), "denied".into(), None);
        let snapshot = store.snapshot();
        assert!(
            !snapshot.is_stale(&snapshot.connections["vpn-1"]) && snapshot.is_stale(&snapshot.connections["vpn-2"])
        );
    }

    #[test]
    fn overlay_columns_win_and_go_when_they_are_removed() {
        let mut store = Store::default();
        store.answered(&place("111111111111"), fetched("111111111111", MEMBER));
        let columns = BTreeMap::from([("site".to_owned(), "busan".to_owned())]);
        store.overlay = HashMap::from([("vpn-1".into(), columns.clone()), ("vpn-9".into(), columns)]);
        let snapshot = store.snapshot();
        assert_eq!(snapshot.connections["vpn-1"].tags["site"], "busan");
        assert_eq!(snapshot.overlay.keys().collect::<Vec<_>>(), ["vpn-9"]);
        store.overlay.clear();
        assert_eq!(store.snapshot().connections["vpn-1"].tags["site"], "seoul");
    }
}
