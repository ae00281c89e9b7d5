//! The published list of columns: the Parquet schema, Athena's table and the column reference are made from it.
//!
//! **Columns are only ever added, at the end.** None is renamed, removed or given another type: files of years lie in
//! lakes. Every column is optional, so a file that lacks one reads as null, and an older table ignores what it does not
//! know. `tests/lake` holds the list to a kept one, and reads a kept old file.
//!
//! Numbers are 64 bits, times microseconds in UTC. An address is its text, and for range queries `…_num` (IPv4, a
//! number) or `…_hex` (IPv6, 32 hex digits, which sort as the addresses do); a prefix has its first and last address in
//! the same forms.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::address;
use super::row::{Problem, Row};
use crate::event::Severity;

/// One column.
pub struct Column {
    /// Its name in the file and in Athena.
    pub name: &'static str,
    /// The event's field that it comes from, as a path in the event's schema.
    pub from: &'static str,
    /// What it means.
    pub about: &'static str,
    pub(super) read: Read,
}

/// How a column's value is read from a row, which also says what type it has.
pub(super) enum Read {
    Text(for<'r> fn(&'r Row<'_>) -> Option<&'r str>),
    Derived(fn(&Row<'_>) -> Option<String>),
    Number(fn(&Row<'_>) -> Option<u64>),
    Time(for<'r> fn(&'r Row<'_>) -> Option<&'r str>),
    Flag(fn(&Row<'_>) -> Option<bool>),
    Numbers(for<'r> fn(&'r Row<'_>) -> Option<&'r [u64]>),
    Map(for<'r, 'a> fn(&'r Row<'a>) -> Option<&'r Tags<'a>>),
    Problems(for<'r, 'a> fn(&'r Row<'a>) -> &'r [Problem<'a>]),
}

/// Tags by name.
pub(super) type Tags<'a> = BTreeMap<Cow<'a, str>, Cow<'a, str>>;

impl Column {
    /// Its type in Athena and Hive.
    pub fn athena_type(&self) -> &'static str {
        match self.read {
            Read::Text(_) | Read::Derived(_) => "string",
            Read::Number(_) => "bigint",
            Read::Time(_) => "timestamp",
            Read::Flag(_) => "boolean",
            Read::Numbers(_) => "array<bigint>",
            Read::Map(_) => "map<string,string>",
            Read::Problems(_) => "array<struct<field:string,value:string>>",
        }
    }
}

/// All columns, in the order in which files and tables have them.
#[rustfmt::skip] // One a line: a list to be read and appended to.
pub const COLUMNS: &[Column] = &[
    text("schema", "schema", "Name and version of the event's schema", |row| row.schema.get()),
    text("id", "id", "Same log event, same id: what the view removes upstream's duplicates by", |row| row.id.get()),
    time("time", "time", "When it happened, UTC", |row| row.time.get()),
    time("observed", "observed", "When the record arrived in the stream, UTC", |row| row.observed.get()),
    text("kind", "kind", "What the event is about: `bgp.session`, `bgp.route`, `ike`, …", |row| row.kind.get()),
    text("action", "action", "What happened: `established`, `down`, `withdrawn`, …", |row| row.action.get()),
    text("transition", "transition", "The edge that the line itself states: `up` or `down`", |row| row.transition.get()),
    text("session_state", "session_state", "AWS's snapshot: `up` or `down`", |row| row.session_state.get()),
    text("severity", "severity", "`debug`, `info`, `notice`, `warning`, `error` or `critical`", |row| row.severity.get()),
    number("severity_number", "severity", "`severity` as 0 (debug) to 5 (critical), to compare", |row| severity_number(row.severity.get())),
    text("summary", "summary", "One sentence for a person", |row| row.summary.get()),
    text("account_id", "cloud.account_id", "The account of the VPN, 12 digits", |row| row.cloud.account_id.get()),
    text("account_name", "cloud.account_name", "Its name, from the inventory", |row| row.cloud.account_name.get()),
    text("account_ou", "cloud.account_ou", "The path of its organizational unit, from the inventory", |row| row.cloud.account_ou.get()),
    text("region", "cloud.region", "The Region of the VPN", |row| row.cloud.region.get()),
    text("connection_id", "vpn.connection_id", "`vpn-…`; rows are sorted by it, then by `time`", |row| row.vpn.connection_id.get()),
    text("connection_name", "vpn.name", "Its `Name` tag", |row| row.vpn.name.get()),
    text("connection_state", "vpn.connection_state", "EC2's state of the connection", |row| row.vpn.connection_state.get()),
    text("routing", "vpn.routing", "`bgp` or `static`", |row| row.vpn.routing.get()),
    text("transport", "vpn.transport", "`internet` or `direct_connect`", |row| row.vpn.transport.get()),
    text("transport_attachment_id", "vpn.transport_attachment_id", "The Direct Connect transport attachment", |row| row.vpn.transport_attachment_id.get()),
    number("tunnel_index", "vpn.tunnel.index", "1 or 2: the order of EC2's `TunnelOptions`", |row| row.vpn.tunnel.index),
    text("tunnel_outside_ip", "vpn.tunnel.outside_ip", "AWS's outside address of the tunnel", |row| row.vpn.tunnel.outside_ip.get()),
    number("tunnel_outside_ip_num", "vpn.tunnel.outside_ip", "`tunnel_outside_ip` as a number, IPv4 only", |row| address::number(row.vpn.tunnel.outside_ip.get())),
    derived("tunnel_outside_ip_hex", "vpn.tunnel.outside_ip", "`tunnel_outside_ip` as 32 hex digits, IPv6 only", |row| address::hex(row.vpn.tunnel.outside_ip.get())),
    text("tunnel_inside_cidr", "vpn.tunnel.inside_cidr", "The inside IPv4 /30", |row| row.vpn.tunnel.inside_cidr.get()),
    number("tunnel_inside_first_num", "vpn.tunnel.inside_cidr", "First address of `tunnel_inside_cidr` as a number", |row| address::first_number(row.vpn.tunnel.inside_cidr.get())),
    number("tunnel_inside_last_num", "vpn.tunnel.inside_cidr", "Last address of `tunnel_inside_cidr` as a number", |row| address::last_number(row.vpn.tunnel.inside_cidr.get())),
    text("tunnel_inside_ipv6_cidr", "vpn.tunnel.inside_ipv6_cidr", "The inside IPv6 /126", |row| row.vpn.tunnel.inside_ipv6_cidr.get()),
    derived("tunnel_inside_ipv6_first_hex", "vpn.tunnel.inside_ipv6_cidr", "First address of `tunnel_inside_ipv6_cidr` as 32 hex digits", |row| address::first_hex(row.vpn.tunnel.inside_ipv6_cidr.get())),
    derived("tunnel_inside_ipv6_last_hex", "vpn.tunnel.inside_ipv6_cidr", "Last address of `tunnel_inside_ipv6_cidr` as 32 hex digits", |row| address::last_hex(row.vpn.tunnel.inside_ipv6_cidr.get())),
    text("customer_gateway_id", "vpn.customer_gateway.id", "`cgw-…`", |row| row.vpn.customer_gateway.id.get()),
    text("customer_gateway_name", "vpn.customer_gateway.name", "Its `Name` tag", |row| row.vpn.customer_gateway.name.get()),
    text("customer_gateway_ip", "vpn.customer_gateway.ip", "Its outside address", |row| row.vpn.customer_gateway.ip.get()),
    number("customer_gateway_ip_num", "vpn.customer_gateway.ip", "`customer_gateway_ip` as a number, IPv4 only", |row| address::number(row.vpn.customer_gateway.ip.get())),
    derived("customer_gateway_ip_hex", "vpn.customer_gateway.ip", "`customer_gateway_ip` as 32 hex digits, IPv6 only", |row| address::hex(row.vpn.customer_gateway.ip.get())),
    number("customer_gateway_asn", "vpn.customer_gateway.asn", "Its BGP ASN", |row| row.vpn.customer_gateway.asn),
    text("customer_gateway_device", "vpn.customer_gateway.device", "Its device name", |row| row.vpn.customer_gateway.device.get()),
    text("gateway_kind", "vpn.gateway.kind", "`transit_gateway`, `virtual_private_gateway`, `cloud_wan` or `vpn_concentrator`", |row| row.vpn.gateway.kind.get()),
    text("gateway_id", "vpn.gateway.id", "The AWS gateway's id", |row| row.vpn.gateway.id.get()),
    text("gateway_name", "vpn.gateway.name", "Its `Name` tag", |row| row.vpn.gateway.name.get()),
    text("gateway_owner_account_id", "vpn.gateway.owner_account_id", "The account that owns it", |row| row.vpn.gateway.owner_account_id.get()),
    number("gateway_asn", "vpn.gateway.asn", "Its BGP ASN", |row| row.vpn.gateway.asn),
    text("gateway_vpc_id", "vpn.gateway.vpc_id", "The VPC that a virtual private gateway is attached to", |row| row.vpn.gateway.vpc_id.get()),
    text("gateway_arn", "vpn.gateway.arn", "The core network's ARN", |row| row.vpn.gateway.arn.get()),
    column("tags", "vpn.tags", "Tags of the connection (the allow-list) and the columns of the overlay", Read::Map(|row| row.vpn.tags.as_ref())),
    text("inventory_state", "vpn.inventory.state", "How much the metadata can be trusted: `fresh`, `stale` or `missing`", |row| row.vpn.inventory.state.get()),
    time("inventory_as_of", "vpn.inventory.as_of", "When EC2 said so, UTC", |row| row.vpn.inventory.as_of.get()),
    text("inventory_tunnel_status", "vpn.inventory.tunnel_status", "EC2's telemetry of the tunnel at that time: `UP` or `DOWN`", |row| row.vpn.inventory.tunnel_status.get()),
    number("inventory_accepted_routes", "vpn.inventory.accepted_routes", "How many routes the tunnel had accepted at that time", |row| row.vpn.inventory.accepted_routes),
    text("route_server_peer_id", "route_server.peer_id", "`rsp-…`", |row| row.route_server.peer_id.get()),
    text("route_server_peer_arn", "route_server.arn", "The route server peer's ARN", |row| row.route_server.arn.get()),
    text("neighbor", "bgp.neighbor", "The BGP peer's address", |row| row.bgp.neighbor.get()),
    number("neighbor_num", "bgp.neighbor", "`neighbor` as a number, IPv4 only", |row| address::number(row.bgp.neighbor.get())),
    derived("neighbor_hex", "bgp.neighbor", "`neighbor` as 32 hex digits, IPv6 only", |row| address::hex(row.bgp.neighbor.get())),
    text("from_state", "bgp.from_state", "State before, of the BGP state machine", |row| row.bgp.from_state.get()),
    text("to_state", "bgp.to_state", "State after", |row| row.bgp.to_state.get()),
    text("notification_direction", "bgp.notification.direction", "Who sent a BGP NOTIFICATION: `sent` (by AWS) or `received`", |row| row.bgp.notification.direction.get()),
    number("notification_code", "bgp.notification.code", "Its error code (RFC 4271)", |row| row.bgp.notification.code),
    number("notification_subcode", "bgp.notification.subcode", "Its error subcode (RFC 4486 for Cease)", |row| row.bgp.notification.subcode),
    text("notification_name", "bgp.notification.name", "Its name as logged", |row| row.bgp.notification.name.get()),
    text("prefix", "bgp.prefix", "The route's prefix, canonical", |row| row.bgp.prefix.get()),
    number("prefix_length", "bgp.prefix", "Its length in bits", |row| address::length(row.bgp.prefix.get())),
    number("prefix_first_num", "bgp.prefix", "First address of `prefix` as a number, IPv4 only", |row| address::first_number(row.bgp.prefix.get())),
    number("prefix_last_num", "bgp.prefix", "Last address of `prefix` as a number, IPv4 only", |row| address::last_number(row.bgp.prefix.get())),
    derived("prefix_first_hex", "bgp.prefix", "First address of `prefix` as 32 hex digits, IPv6 only", |row| address::first_hex(row.bgp.prefix.get())),
    derived("prefix_last_hex", "bgp.prefix", "Last address of `prefix` as 32 hex digits, IPv6 only", |row| address::last_hex(row.bgp.prefix.get())),
    text("as_path", "bgp.as_path", "The AS path as logged, AS sets included", |row| row.bgp.as_path.get()),
    column("as_path_asns", "bgp.as_path_asns", "The AS numbers of the path, in order", Read::Numbers(|row| row.bgp.as_path_asns.as_deref())),
    number("origin_asn", "bgp.origin_asn", "The last AS number of the path", |row| row.bgp.origin_asn),
    number("local_pref", "bgp.local_pref", "LOCAL_PREF", |row| row.bgp.local_pref),
    number("med", "bgp.med", "MULTI_EXIT_DISC", |row| row.bgp.med),
    text("next_hop", "bgp.next_hop", "NEXT_HOP", |row| row.bgp.next_hop.get()),
    number("next_hop_num", "bgp.next_hop", "`next_hop` as a number, IPv4 only", |row| address::number(row.bgp.next_hop.get())),
    derived("next_hop_hex", "bgp.next_hop", "`next_hop` as 32 hex digits, IPv6 only", |row| address::hex(row.bgp.next_hop.get())),
    number("weight", "bgp.weight", "Weight, local to AWS's router", |row| row.bgp.weight),
    text("rejected_because", "bgp.rejected_because", "Why AWS denied the route", |row| row.bgp.rejected_because.get()),
    number("prefix_count", "bgp.prefix_count", "Prefixes received", |row| row.bgp.prefix_count),
    number("prefix_limit", "bgp.prefix_limit", "The limit that the message names", |row| row.bgp.prefix_limit),
    number("peer_asn", "bgp.peer_asn", "The AS in the peer's OPEN message", |row| row.bgp.peer_asn),
    number("local_asn", "bgp.local_asn", "The AS in AWS's own OPEN message", |row| row.bgp.local_asn),
    number("expected_asn", "bgp.expected_asn", "The AS that AWS expected", |row| row.bgp.expected_asn),
    number("hold_time_s", "bgp.hold_time_s", "Hold time in an OPEN message, in seconds", |row| row.bgp.hold_time_s),
    text("router_id", "bgp.router_id", "Router id in an OPEN message", |row| row.bgp.router_id.get()),
    number("router_id_num", "bgp.router_id", "`router_id` as a number, IPv4 only", |row| address::number(row.bgp.router_id.get())),
    text("ike_phase1", "ike.phase1", "Phase 1 (IKE SA)", |row| row.ike.phase1.get()),
    text("ike_phase2", "ike.phase2", "Phase 2 (IPsec SA, CHILD_SA)", |row| row.ike.phase2.get()),
    flag("ike_dpd_enabled", "ike.dpd_enabled", "Whether dead peer detection is on", |row| row.ike.dpd_enabled),
    flag("ike_nat_t", "ike.nat_t", "Whether NAT traversal was detected", |row| row.ike.nat_t),
    text("ike_peer", "ike.peer", "The customer gateway's address, where the message names it", |row| row.ike.peer.get()),
    number("ike_peer_num", "ike.peer", "`ike_peer` as a number, IPv4 only", |row| address::number(row.ike.peer.get())),
    derived("ike_peer_hex", "ike.peer", "`ike_peer` as 32 hex digits, IPv6 only", |row| address::hex(row.ike.peer.get())),
    text("ike_spi", "ike.spi", "Security parameter index, as logged", |row| row.ike.spi.get()),
    number("ike_request_id", "ike.request_id", "The id of a CREATE_CHILD_SA exchange", |row| row.ike.request_id),
    column("problems", "problems", "Values that were malformed and are therefore not in their columns", Read::Problems(|row| &row.problems)),
    text("log_group_name", "log.group_name", "CloudWatch's log group", |row| row.log.group_name.get()),
    text("log_stream_name", "log.stream_name", "Its log stream", |row| row.log.stream_name.get()),
    text("log_event_id", "log.event_id", "CloudWatch's id of the log event, decimal", |row| row.log.event_id.get()),
    text("log_owner_account_id", "log.owner_account_id", "The account that sent it", |row| row.log.owner_account_id.get()),
    text("origin_source", "origin.source", "The pipeline's source (option `origin`)", |row| row.origin.source.get()),
    text("origin_stream", "origin.stream", "The Kinesis stream (option `origin`)", |row| row.origin.stream.get()),
    text("origin_shard", "origin.shard", "Its shard (option `origin`)", |row| row.origin.shard.get()),
    text("origin_sequence", "origin.sequence", "The record's sequence number, decimal: more digits than a number has (option `origin`)", |row| row.origin.sequence.get()),
    number("origin_index", "origin.index", "The line's place in the record, from 0 (option `origin`)", |row| row.origin.index),
    text("raw", "raw", "The log line as CloudWatch delivered it (option `raw`)", |row| row.raw.get()),
];

const fn column(name: &'static str, from: &'static str, about: &'static str, read: Read) -> Column {
    Column { name, from, about, read }
}

const fn text(
    name: &'static str,
    from: &'static str,
    about: &'static str,
    read: for<'r> fn(&'r Row<'_>) -> Option<&'r str>,
) -> Column {
    column(name, from, about, Read::Text(read))
}

const fn derived(
    name: &'static str,
    from: &'static str,
    about: &'static str,
    read: fn(&Row<'_>) -> Option<String>,
) -> Column {
    column(name, from, about, Read::Derived(read))
}

const fn number(
    name: &'static str,
    from: &'static str,
    about: &'static str,
    read: fn(&Row<'_>) -> Option<u64>,
) -> Column {
    column(name, from, about, Read::Number(read))
}

const fn time(
    name: &'static str,
    from: &'static str,
    about: &'static str,
    read: for<'r> fn(&'r Row<'_>) -> Option<&'r str>,
) -> Column {
    column(name, from, about, Read::Time(read))
}

const fn flag(
    name: &'static str,
    from: &'static str,
    about: &'static str,
    read: fn(&Row<'_>) -> Option<bool>,
) -> Column {
    column(name, from, about, Read::Flag(read))
}

fn severity_number(word: Option<&str>) -> Option<u64> {
    // Lossless: there are six.
    Severity::ALL.iter().position(|severity| Some(severity.as_str()) == word).map(|place| place as u64)
}
