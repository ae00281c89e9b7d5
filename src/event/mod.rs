//! The typed event: what one log line means, in the shape of `schemas/event.schema.json`.
//!
//! These types *are* the schema: `tunnelog schema event` is generated from them, and the `json` format
//! serializes them as they stand. They borrow from the decompressed record and from the inventory
//! snapshot; building one allocates nothing but what a malformed line needs.
//!
//! Not here: how a line becomes an event (`normalize`), where the metadata comes from (`enrich`).

mod values;
mod words;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use values::{AsNumbers, EventId, Millis};
pub(crate) use values::{Dotted, as_number};
use values::{IpAddrText, PrefixText};
pub use words::{
    Action, Direction, GatewayKind, InventoryState, Kind, PhaseState, Routing, SessionState, Severity, Transition,
    Transport,
};

/// The name and version of the schema; a change that breaks readers raises the number.
pub const SCHEMA: &str = "tunnelog.event/1";

/// One event. Borrowed from the record (`'a`) and the inventory snapshot.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event<'a> {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// Same log event, same id: through any filter, shard or replay.
    pub id: EventId,
    /// When it happened: the event's own time if it lies in 2000..2100, else CloudWatch's, else the arrival. The
    /// epoch (1970-01-01) stands where none of them tells a time; `problems` then says so.
    pub time: Millis,
    /// When the record arrived in the stream; absent where there is no arrival time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Millis>,
    /// What the event is about.
    pub kind: Kind,
    /// What happened.
    pub action: Action,
    /// The edge that the line itself states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// AWS's snapshot; for IKE up when phase 2 is Established or Rekeying; absent on routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_state: Option<SessionState>,
    /// How much an operator should care.
    pub severity: Severity,
    /// One sentence for a person.
    pub summary: &'a str,
    /// Where it happened.
    pub cloud: Cloud<'a>,
    /// The VPN connection; absent for route servers and where the line names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpn: Option<Vpn<'a>>,
    /// The route server peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_server: Option<RouteServer<'a>>,
    /// What BGP said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp: Option<Bgp<'a>>,
    /// What IKE said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike: Option<Ike<'a>>,
    /// Values that were malformed and are therefore not in their fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem<'a>>,
    /// The log that it came from.
    pub log: Log<'a>,
    /// The record that it came from (option `origin`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin<'a>>,
    /// The log line as CloudWatch delivered it (option `raw`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<&'a str>,
}

impl Event<'_> {
    /// Whether everything that the line says is in the event's fields. Of any other line the text is kept.
    pub fn is_understood(&self) -> bool {
        self.kind != Kind::Unparsed && self.action != Action::Other && self.problems.is_empty()
    }
}

/// The account and Region of the VPN, as far as they are known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Cloud<'a> {
    /// Always `aws`.
    pub provider: &'static str,
    /// 12 digits: `@aws.account`, else the inventory, else the envelope's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<Cow<'a, str>>,
    /// From the inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<&'a str>,
    /// The path of the account's organizational unit, from the inventory: `Root/Workloads/Prod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_ou: Option<&'a str>,
    /// `@aws.region`, else the inventory, else the configured default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Cow<'a, str>>,
}

/// The Site-to-Site VPN connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Vpn<'a> {
    /// `vpn-…`
    pub connection_id: Cow<'a, str>,
    /// The `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// EC2's state of the connection, for example `available`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<&'a str>,
    /// How routes are learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// What carries the tunnels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// The Direct Connect transport attachment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_attachment_id: Option<&'a str>,
    /// The tunnel that the line is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// The customer's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_gateway: Option<&'a CustomerGateway>,
    /// The AWS end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<&'a Gateway>,
    /// Tags of the connection (allow-list) and the columns of the overlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// How much the metadata can be trusted; absent where the pipeline has no inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventoryInfo<'a>>,
}

/// One of a connection's two tunnels.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tunnel {
    /// 1 or 2: the order of EC2's `TunnelOptions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u8>,
    /// AWS's outside address of the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub outside_ip: Option<IpAddr>,
    /// The inside IPv4 /30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PrefixText>")]
    pub inside_cidr: Option<IpNet>,
    /// The inside IPv6 /126.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PrefixText>")]
    pub inside_ipv6_cidr: Option<IpNet>,
}

/// The customer gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerGateway {
    /// `cgw-…`
    pub id: String,
    /// The `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its outside address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub ip: Option<IpAddr>,
    /// Its BGP ASN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Its device name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// The AWS gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gateway {
    /// Its kind.
    pub kind: GatewayKind,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The account that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_account_id: Option<String>,
    /// Its BGP ASN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The VPC that a virtual private gateway is attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// The core network's ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
}

/// What the inventory knew, and when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InventoryInfo<'a> {
    /// How much to believe.
    pub state: InventoryState,
    /// When EC2 said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Millis>,
    /// EC2's telemetry of this tunnel at that time: `UP` or `DOWN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_status: Option<&'a str>,
    /// How many routes the tunnel had accepted at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_routes: Option<u64>,
}

/// A VPC Route Server peer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RouteServer<'a> {
    /// `rsp-…`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Cow<'a, str>>,
    /// The peer's ARN.
    pub arn: Cow<'a, str>,
}

/// A BGP NOTIFICATION (RFC 4271 section 4.5; Cease subcodes RFC 4486).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Notification<'a> {
    /// Who sent it.
    pub direction: Direction,
    /// Error code, for example 6 (Cease).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Error subcode, for example 2 (Administrative Shutdown).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subcode: Option<u8>,
    /// As logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
}

/// What BGP said; every field as it applies.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Bgp<'a> {
    /// The peer's address. It may be either host of the tunnel's /30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub neighbor: Option<IpAddr>,
    /// State before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_state: Option<Cow<'a, str>>,
    /// State after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_state: Option<Cow<'a, str>>,
    /// A NOTIFICATION.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification: Option<Notification<'a>>,
    /// The prefix, canonical: host bits cleared, IPv6 compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PrefixText>")]
    pub prefix: Option<IpNet>,
    /// The AS path as logged, AS sets included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path: Option<Cow<'a, str>>,
    /// The AS numbers of the path, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path_asns: Option<AsNumbers<'a>>,
    /// The last AS number of the path; absent where the path ends in an AS set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_asn: Option<u32>,
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u64>,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u64>,
    /// NEXT_HOP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub next_hop: Option<IpAddr>,
    /// Weight, local to AWS's router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// Why AWS denied the route; the list of reasons is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_because: Option<Cow<'a, str>>,
    /// Prefixes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_count: Option<u64>,
    /// The limit that the message names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_limit: Option<u64>,
    /// The AS in the peer's OPEN message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<u32>,
    /// The AS in AWS's own OPEN message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_asn: Option<u32>,
    /// The AS that AWS expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_asn: Option<u32>,
    /// Hold time in an OPEN message, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time_s: Option<u32>,
    /// Router id in an OPEN message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub router_id: Option<IpAddr>,
}

/// What IKE said; every field as it applies.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Ike<'a> {
    /// Phase 1 (IKE SA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase1: Option<PhaseState>,
    /// Phase 2 (IPsec SA, CHILD_SA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase2: Option<PhaseState>,
    /// Whether dead peer detection is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd_enabled: Option<bool>,
    /// Whether NAT traversal was detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_t: Option<bool>,
    /// The customer gateway's address, where the message names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub peer: Option<IpAddr>,
    /// Security parameter index, as logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spi: Option<Cow<'a, str>>,
    /// The id of a CREATE_CHILD_SA exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// A value that was malformed, kept as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem<'a> {
    /// The field that it was meant for, as a path in this schema, or the reason's name.
    pub field: &'static str,
    /// The value as logged.
    pub value: Cow<'a, str>,
}

/// The CloudWatch log that the line came from.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Log<'a> {
    /// Log group.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub group_name: &'a str,
    /// Log stream.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub stream_name: &'a str,
    /// CloudWatch's id of the log event: decimal, up to 56 digits.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub event_id: &'a str,
    /// The account that sent it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub owner_account_id: &'a str,
}

/// The record that the line came in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Origin<'a> {
    /// Name of the source in the pipeline file.
    pub source: &'a str,
    /// The stream (its name or ARN), or the file.
    pub stream: &'a str,
    /// The shard.
    pub shard: &'a str,
    /// The record's sequence number in the shard, decimal.
    pub sequence: crate::source::Position,
    /// The line's place in the record, from 0.
    pub index: u32,
}
