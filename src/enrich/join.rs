//! Joins a set of AWS CLI answers to a [`Snapshot`]: one [`Connection`] with all that its events need.
//!
//! Pure: same answers, same snapshot. It claims nothing that no answer says. In particular a transit
//! gateway's owner is not taken for the connection's account (gateways are shared across accounts): only
//! the answer's place, `{account}/{region}/`, tells the account.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::answers::{self, Answers, Part, Tag, Text};
use super::overlay::Overlay;
use super::{Account, Connection, Snapshot, TunnelInfo};
use crate::event::{CustomerGateway, Gateway, GatewayKind, Routing, Transport};

/// Joins `answers`. `tags` is the allow-list of EC2 tag keys; the columns of `overlay` are not subject to
/// it and win over an EC2 tag of the same name. `Name` is `vpn.name` and never one of the tags.
///
/// Where a connection or a gateway is in two answers, the newer one counts (of equal age: the later one).
pub fn join(answers: &Answers, tags: &[String], overlay: Overlay) -> Snapshot {
    let index = Index::of(answers);
    let mut shared = Shared::default();
    let mut overlay = overlay.connections;
    let mut connections = HashMap::with_capacity(index.connections.len());
    for (&id, &(part, answer)) in &index.connections {
        let mut connection = index.connection(id, part, answer, &mut shared);
        let mut tags = allowed(answer.tags.items(), tags);
        tags.extend(overlay.remove(id).unwrap_or_default());
        connection.tags = shared.tags.of(tags);
        connections.insert(Arc::clone(&connection.id), Arc::new(connection));
    }
    let accounts = index.accounts.iter().map(|(&id, &(_, account))| (id.to_owned(), named(account))).collect();
    Snapshot { connections, accounts, overlay, configured: true, ..Snapshot::default() }
}

fn named(account: &answers::Account) -> Account {
    Account { name: account.name.owned(), ou: account.ou_path.owned() }
}

/// The transit gateways of answers whose place says that the account owns them: there they have names and tags.
#[cfg(feature = "aws")]
pub(super) fn owned_transit_gateways(answers: &Answers) -> Vec<Gateway> {
    let index = Index::of(answers);
    let owned = index
        .transit_gateways
        .iter()
        .filter(|(_, (part, gateway))| part.account.is_some() && part.account.as_deref() == gateway.owner_id.text());
    owned.map(|(id, (_, found))| transit_gateway(id, Some(found))).collect()
}

/// What several connections have in common is one value.
#[derive(Default)]
struct Shared {
    texts: One<str>,
    tags: One<BTreeMap<String, String>>,
    customer_gateways: HashMap<String, Arc<CustomerGateway>>,
    gateways: Vec<Arc<Gateway>>,
}

/// One value for all that are equal.
struct One<T: ?Sized>(HashSet<Arc<T>>);

impl<T: ?Sized> Default for One<T> {
    fn default() -> Self {
        One(HashSet::new())
    }
}

impl<T: ?Sized + Eq + Hash> One<T> {
    fn of(&mut self, value: impl Into<Arc<T>>) -> Arc<T> {
        let value = value.into();
        if let Some(known) = self.0.get(&value) {
            return Arc::clone(known);
        }
        self.0.insert(Arc::clone(&value));
        value
    }
}

impl Shared {
    fn text(&mut self, text: &Text) -> Option<Arc<str>> {
        text.text().map(|text| self.texts.of(text))
    }

    /// An account and Region have a few gateways, so a look through them all is the quickest.
    fn gateway(&mut self, gateway: Gateway) -> Arc<Gateway> {
        if let Some(known) = self.gateways.iter().rev().take(MANY_GATEWAYS).find(|known| ***known == gateway) {
            return Arc::clone(known);
        }
        let gateway = Arc::new(gateway);
        self.gateways.push(Arc::clone(&gateway));
        gateway
    }
}

/// Gateways that are compared; of more, some connections have a copy of their own.
const MANY_GATEWAYS: usize = 64;

/// The things of all answers by their ids, which are unique across accounts and Regions.
struct Index<'a> {
    connections: ById<'a, answers::VpnConnection>,
    /// The same connections, but preferring an answer whose place names the account: a connection never
    /// moves, so an older answer's place is as true as a newer one's.
    places: ById<'a, answers::VpnConnection>,
    customer_gateways: ById<'a, answers::CustomerGateway>,
    vpn_gateways: ById<'a, answers::VpnGateway>,
    transit_gateways: ById<'a, answers::TransitGateway>,
    accounts: ById<'a, answers::Account>,
}

type ById<'a, T> = HashMap<&'a str, (&'a Part, &'a T)>;

/// Every item by its id; of several the one of the highest rank, then the newest, then the last.
fn by_id<'a, T>(
    parts: &'a [Part],
    list: impl Fn(&'a Part) -> Option<&'a answers::List<T>>,
    id: impl Fn(&'a T) -> &'a Text,
    rank: impl Fn(&Part, &T) -> u8,
) -> ById<'a, T> {
    let mut found: ById<'a, T> = HashMap::new();
    for part in parts {
        for item in list(part).map(answers::List::items).unwrap_or_default() {
            let Some(id) = id(item).text() else { continue };
            let better = |&(old_part, old): &(&Part, &T)| {
                (rank(part, item), part.as_of) >= (rank(old_part, old), old_part.as_of)
            };
            if found.get(id).is_none_or(better) {
                found.insert(id, (part, item));
            }
        }
    }
    found
}

impl<'a> Index<'a> {
    fn of(answers: &'a Answers) -> Self {
        let parts = &answers.parts;
        Index {
            connections: by_id(
                parts,
                |part| part.answer.vpn_connections.as_ref(),
                |connection| &connection.vpn_connection_id,
                |_, _| 0,
            ),
            places: by_id(
                parts,
                |part| part.answer.vpn_connections.as_ref(),
                |connection| &connection.vpn_connection_id,
                |part, _| u8::from(part.account.is_some()) + u8::from(part.region.is_some()),
            ),
            customer_gateways: by_id(
                parts,
                |part| part.answer.customer_gateways.as_ref(),
                |gateway| &gateway.customer_gateway_id,
                |_, _| 0,
            ),
            vpn_gateways: by_id(
                parts,
                |part| part.answer.vpn_gateways.as_ref(),
                |gateway| &gateway.vpn_gateway_id,
                |_, _| 0,
            ),
            transit_gateways: by_id(
                parts,
                |part| part.answer.transit_gateways.as_ref(),
                |gateway| &gateway.transit_gateway_id,
                transit_gateway_rank,
            ),
            accounts: by_id(parts, |part| part.answer.accounts.as_ref(), |account| &account.id, |_, _| 0),
        }
    }

    fn connection(&self, id: &str, part: &Part, answer: &answers::VpnConnection, shared: &mut Shared) -> Connection {
        let place = self.places.get(id).map_or(part, |(part, _)| part);
        let account_id = part.account.as_deref().or(place.account.as_deref());
        let region = part.region.as_deref().or(place.region.as_deref());
        let options = answer.options.get();
        Connection {
            id: id.into(),
            name: name(answer.tags.items()).map(Into::into),
            state: shared.text(&answer.state),
            account_id: account_id.map(|account| shared.texts.of(account)),
            region: region.or_else(|| self.transit_gateway_region(answer)).map(|region| shared.texts.of(region)),
            routing: options.and_then(|options| options.static_routes_only.parse()).map(routing),
            transport: options.map(transport),
            transport_attachment_id: options
                .and_then(|options| options.transport_transit_gateway_attachment_id.text())
                .map(Into::into),
            tunnels: tunnels(answer, shared),
            customer_gateway: answer.customer_gateway_id.text().map(|id| self.shared_customer_gateway(id, shared)),
            gateway: self.gateway(answer).map(|gateway| shared.gateway(gateway)),
            tags: Arc::default(),
            as_of: part.as_of,
        }
    }

    fn shared_customer_gateway(&self, id: &str, shared: &mut Shared) -> Arc<CustomerGateway> {
        if let Some(known) = shared.customer_gateways.get(id) {
            return Arc::clone(known);
        }
        let gateway = Arc::new(self.customer_gateway(id));
        shared.customer_gateways.insert(id.to_owned(), Arc::clone(&gateway));
        gateway
    }

    fn customer_gateway(&self, id: &str) -> CustomerGateway {
        let answer = self.customer_gateways.get(id).map(|(_, gateway)| *gateway);
        CustomerGateway {
            id: id.to_owned(),
            name: answer.and_then(|gateway| name(gateway.tags.items())),
            ip: answer.and_then(|gateway| gateway.ip_address.parse()),
            asn: answer.and_then(|gateway| gateway.bgp_asn_extended.parse().or_else(|| gateway.bgp_asn.parse())),
            device: answer.and_then(|gateway| gateway.device_name.owned()),
        }
    }

    fn gateway(&self, answer: &answers::VpnConnection) -> Option<Gateway> {
        if let Some(id) = answer.transit_gateway_id.text() {
            let found = self.transit_gateways.get(id).map(|(_, gateway)| *gateway);
            return Some(transit_gateway(id, found));
        }
        if let Some(id) = answer.vpn_gateway_id.text() {
            let found = self.vpn_gateways.get(id).map(|(_, gateway)| *gateway);
            return Some(Gateway {
                name: found.and_then(|gateway| name(gateway.tags.items())),
                asn: found.and_then(|gateway| gateway.amazon_side_asn.parse()),
                vpc_id: found.and_then(attached_vpc),
                ..bare_gateway(GatewayKind::VirtualPrivateGateway, Some(id))
            });
        }
        if let Some(arn) = answer.core_network_arn.text() {
            let id = arn.rsplit_once('/').map(|(_, id)| id);
            return Some(Gateway {
                owner_account_id: arn_part(arn, 4).map(str::to_owned),
                arn: Some(arn.to_owned()),
                ..bare_gateway(GatewayKind::CloudWan, id)
            });
        }
        answer.vpn_concentrator_id.text().map(|id| bare_gateway(GatewayKind::VpnConcentrator, Some(id)))
    }

    /// A connection is in the Region of its transit gateway. A core network's ARN names no Region.
    fn transit_gateway_region(&self, answer: &answers::VpnConnection) -> Option<&'a str> {
        let (_, gateway) = self.transit_gateways.get(answer.transit_gateway_id.text()?)?;
        arn_part(gateway.transit_gateway_arn.text()?, 3)
    }
}

/// A shared transit gateway hides its tags from everybody but its owner, so the owner's answer counts most;
/// where the place of an answer does not tell whose it is, the one with tags is more likely the owner's.
fn transit_gateway_rank(part: &Part, gateway: &answers::TransitGateway) -> u8 {
    match (part.account.as_deref(), gateway.owner_id.text()) {
        (Some(account), Some(owner)) if account == owner => 2,
        _ => u8::from(!gateway.tags.items().is_empty()),
    }
}

fn transit_gateway(id: &str, found: Option<&answers::TransitGateway>) -> Gateway {
    Gateway {
        name: found.and_then(|gateway| name(gateway.tags.items())),
        owner_account_id: found.and_then(|gateway| gateway.owner_id.owned()),
        asn: found.and_then(|gateway| gateway.options.get()?.amazon_side_asn.parse()),
        ..bare_gateway(GatewayKind::TransitGateway, Some(id))
    }
}

fn bare_gateway(kind: GatewayKind, id: Option<&str>) -> Gateway {
    let id = id.map(str::to_owned);
    Gateway { kind, id, name: None, owner_account_id: None, asn: None, vpc_id: None, arn: None }
}

fn attached_vpc(gateway: &answers::VpnGateway) -> Option<String> {
    let attached = gateway.vpc_attachments.items().iter().find(|vpc| vpc.state.text() == Some("attached"))?;
    attached.vpc_id.owned()
}

/// Part `number` of `arn:partition:service:region:account:resource`, counted from 0.
fn arn_part(arn: &str, number: usize) -> Option<&str> {
    arn.starts_with("arn:").then(|| arn.split(':').nth(number)).flatten().filter(|part| !part.is_empty())
}

fn routing(static_routes_only: bool) -> Routing {
    if static_routes_only { Routing::Static } else { Routing::Bgp }
}

fn transport(options: &answers::Options) -> Transport {
    match options.outside_ip_address_type.text() {
        Some("PrivateIpv4") => Transport::DirectConnect,
        _ => Transport::Internet,
    }
}

/// The tunnels in the order of `TunnelOptions`, which numbers them. An answer without it (an old CLI, a
/// trimmed file) still has telemetry: those tunnels are listed, but their order proves no number.
fn tunnels(answer: &answers::VpnConnection, shared: &mut Shared) -> Box<[TunnelInfo]> {
    let telemetry = answer.vgw_telemetry.items();
    let status_of = |ip: IpAddr| telemetry.iter().find(|item| item.outside_ip_address.parse() == Some(ip));
    let options = answer.options.get().map(|options| options.tunnel_options.items()).unwrap_or_default();
    if options.is_empty() {
        let mut bare =
            |item: &answers::Telemetry| Some(tunnel(None, item.outside_ip_address.parse()?, Some(item), shared));
        return telemetry.iter().filter_map(&mut bare).collect();
    }
    let numbered = options.iter().zip(1_u8..).filter_map(|(option, number)| {
        // A tunnel that is still being made has no address yet, but it keeps its number.
        let ip = option.outside_ip_address.parse()?;
        Some(TunnelInfo {
            inside_cidr: option.tunnel_inside_cidr.parse(),
            inside_ipv6_cidr: option.tunnel_inside_ipv6_cidr.parse(),
            ..tunnel(Some(number), ip, status_of(ip), shared)
        })
    });
    numbered.collect()
}

fn tunnel(
    index: Option<u8>,
    outside_ip: IpAddr,
    telemetry: Option<&answers::Telemetry>,
    shared: &mut Shared,
) -> TunnelInfo {
    TunnelInfo {
        index,
        outside_ip,
        inside_cidr: None,
        inside_ipv6_cidr: None,
        status: telemetry.and_then(|item| shared.text(&item.status)),
        accepted_routes: telemetry.and_then(|item| item.accepted_route_count.parse()),
    }
}

fn name(tags: &[Tag]) -> Option<String> {
    tags.iter().find(|tag| tag.key.text() == Some("Name"))?.value.owned()
}

fn allowed(tags: &[Tag], allow: &[String]) -> BTreeMap<String, String> {
    let pairs = tags.iter().filter_map(|tag| Some((tag.key.text()?, tag.value.text()?)));
    pairs
        .filter(|(key, _)| *key != "Name" && allow.iter().any(|allowed| allowed == key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}
