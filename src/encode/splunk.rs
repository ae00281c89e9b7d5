//! `splunk`: flat JSON, one object a line, in the words of Splunk's Common Information Model (CIM 6).
//!
//! Sessions and tunnels are events of the data model *Network Sessions*, routes of *Change*, alerts of *Alerts*. A
//! licence counts bytes: what search can derive (aliases, constants of the product) is not in the event but in the
//! add-on in `deploy/splunk/`, which also has the event types and tags that the data models look for.
//!
//! Names are the CIM's where it has one, else ours with `_` for a level.

use std::fmt;

use serde::Serialize;

use super::carry::Carry;
use super::ends::Ends;
use super::object::{Object, line};
use super::outcome::{self, Outcome, Step};
use crate::config::types::JsonOptions;
use crate::event::{Bgp, Event, Ike, Kind, Problem, Severity, Vpn};

/// Name and version of the form; a change that breaks readers raises the number.
pub const SCHEMA: &str = "tunnelog.splunk/1";

/// What stands before the name of a tag.
const TAG: &str = "vpn_tag_";

/// Fields that Splunk gives every event itself.
const SPLUNKS_OWN: &[&str] = &[
    "_raw",
    "_time",
    "date_hour",
    "date_mday",
    "date_minute",
    "date_month",
    "date_second",
    "date_wday",
    "date_year",
    "date_zone",
    "eventtype",
    "host",
    "index",
    "linecount",
    "punct",
    "source",
    "sourcetype",
    "splunk_server",
    "tag",
    "timeendpos",
    "timestartpos",
    "timestamp",
];

/// Every field that an event may have, with its meaning; tags and constants aside.
#[rustfmt::skip]
pub const FIELDS: &[(&str, &str)] = &[
    ("time", "when it happened, RFC 3339 in UTC"),
    ("id", "the event's id: same log event, same id"),
    ("kind", "what the event is about, see Kind in event.md"),
    ("vendor_action", "what happened, see Action in event.md"),
    ("action", "CIM. Network Sessions: `started`, `ended`, `blocked`; Change: `created`, `modified`, `deleted`; absent where a line says none of these"),
    ("status", "CIM. `success` or `failure`; absent where the line does not tell"),
    ("severity", "CIM. `informational`, `low`, `medium`, `high`, `critical`"),
    ("vendor_severity", "our severity, see Severity in event.md"),
    ("signature", "CIM. kind and action: `bgp.session.established`"),
    ("app", "CIM. the protocol: `bgp`, `bfd`, `ike`"),
    ("src_ip", "CIM. the customer's end: the BGP neighbor, or the customer gateway"),
    ("dest_ip", "CIM. AWS's end: the tunnel's outside address"),
    ("transition", "`up` or `down`, where the line itself states the edge"),
    ("session_state", "AWS's snapshot, `up` or `down`"),
    ("description", "CIM (Alerts). one sentence for a person"),
    ("observed", "when the record arrived in the stream"),
    ("account_id", "the VPN's account"),
    ("account_name", "its name"),
    ("account_ou", "the path of its organizational unit"),
    ("region", "the VPN's Region"),
    ("connection_id", "`vpn-…`"),
    ("connection_name", "the connection's `Name` tag"),
    ("connection_state", "EC2's state of the connection"),
    ("vpn_routing", "`bgp` or `static`"),
    ("vpn_transport", "`internet` or `direct_connect`"),
    ("transport_attachment_id", "the Direct Connect transport attachment"),
    ("tunnel_index", "1 or 2"),
    ("tunnel_inside_cidr", "the inside IPv4 prefix"),
    ("tunnel_inside_ipv6_cidr", "the inside IPv6 prefix"),
    ("customer_gateway_id", "`cgw-…`"),
    ("customer_gateway_name", "its `Name` tag"),
    ("customer_gateway_ip", "its outside address"),
    ("customer_gateway_asn", "its AS number"),
    ("customer_gateway_device", "its device name"),
    ("gateway_kind", "what the connection ends on in AWS"),
    ("gateway_id", "`tgw-…`, `vgw-…`"),
    ("gateway_name", "its `Name` tag"),
    ("gateway_owner_account_id", "the account that owns it"),
    ("gateway_asn", "its AS number"),
    ("gateway_vpc_id", "the VPC that a virtual private gateway is attached to"),
    ("gateway_arn", "the core network's ARN"),
    ("inventory_state", "`fresh`, `stale` or `missing`"),
    ("inventory_as_of", "when EC2 said so"),
    ("inventory_tunnel_status", "EC2's telemetry of the tunnel at that time"),
    ("inventory_accepted_routes", "routes that the tunnel had accepted at that time"),
    ("route_server_peer_id", "`rsp-…`"),
    ("route_server_arn", "the route server peer's ARN"),
    ("neighbor", "the BGP neighbor, where it is not `src_ip`"),
    ("from_state", "BGP state before"),
    ("to_state", "BGP state after"),
    ("notification_direction", "`sent` or `received`, seen from AWS"),
    ("notification_code", "error code of a BGP NOTIFICATION"),
    ("notification_subcode", "its subcode"),
    ("notification_name", "its name as logged"),
    ("prefix", "the route's prefix"),
    ("as_path", "the AS path as logged"),
    ("origin_asn", "the last AS of the path"),
    ("local_pref", "LOCAL_PREF"),
    ("med", "MULTI_EXIT_DISC"),
    ("next_hop", "NEXT_HOP"),
    ("weight", "weight"),
    ("rejected_because", "why AWS denied the route"),
    ("prefix_count", "prefixes received"),
    ("prefix_limit", "the limit that the message names"),
    ("peer_asn", "the AS in the peer's OPEN"),
    ("local_asn", "the AS in AWS's OPEN"),
    ("expected_asn", "the AS that AWS expected"),
    ("hold_time_s", "hold time in an OPEN, seconds"),
    ("router_id", "router id in an OPEN"),
    ("phase1", "state of IKE phase 1"),
    ("phase2", "state of IKE phase 2"),
    ("dpd_enabled", "whether dead peer detection is on"),
    ("nat_t", "whether NAT traversal was detected"),
    ("spi", "security parameter index, as logged"),
    ("request_id", "the id of a CREATE_CHILD_SA exchange"),
    ("problems", "values that were malformed: `field=value; field=value`"),
    ("log_group", "CloudWatch's log group"),
    ("log_stream", "its log stream"),
    ("log_event_id", "CloudWatch's id of the log event"),
    ("log_owner", "the account that sent it"),
    ("origin_source", "option `origin`: the source in the pipeline file"),
    ("origin_stream", "option `origin`: the stream or file"),
    ("origin_shard", "option `origin`: the shard"),
    ("origin_sequence", "option `origin`: the record's sequence number"),
    ("origin_index", "option `origin`: the line's place in the record"),
    ("raw", "option `raw`: the log line"),
];

/// The resolved format `splunk`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SplunkFormat(Carry);

impl SplunkFormat {
    /// Whether a constant cannot have this name, since the event or Splunk itself has it.
    pub fn is_reserved(name: &str) -> bool {
        FIELDS.iter().any(|(field, _)| *field == name) || SPLUNKS_OWN.contains(&name) || name.starts_with(TAG)
    }

    /// Settles the options.
    pub fn new(options: &JsonOptions) -> SplunkFormat {
        SplunkFormat(Carry::new(options, Self::is_reserved))
    }

    /// Whether the log line goes along with every event.
    pub(super) fn keeps_raw(&self) -> bool {
        self.0.keeps_raw()
    }

    /// Appends the event as one line.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        line(out, |o| {
            what(o, event);
            o.some("observed", event.observed);
            o.some("account_id", event.cloud.account_id.as_deref());
            o.some("account_name", event.cloud.account_name);
            o.some("account_ou", event.cloud.account_ou);
            o.some("region", event.cloud.region.as_deref());
            if let Some(vpn) = &event.vpn {
                connection(o, vpn);
            }
            if let Some(peer) = &event.route_server {
                o.some("route_server_peer_id", peer.peer_id.as_deref());
                o.put("route_server_arn", &peer.arn);
            }
            if let Some(bgp) = &event.bgp {
                self::bgp(o, bgp);
            }
            if let Some(ike) = &event.ike {
                self::ike(o, ike);
            }
            self.rest(o, event);
        });
    }

    fn rest(&self, o: &mut Object<'_>, event: &Event<'_>) {
        if !event.problems.is_empty() {
            o.put("problems", Problems(&event.problems));
        }
        o.text("log_group", event.log.group_name);
        o.text("log_stream", event.log.stream_name);
        o.text("log_event_id", event.log.event_id);
        o.text("log_owner", event.log.owner_account_id);
        if let Some(origin) = self.0.origin(event) {
            o.put("origin_source", origin.source);
            o.put("origin_stream", origin.stream);
            o.put("origin_shard", origin.shard);
            o.put("origin_sequence", origin.sequence);
            o.put("origin_index", origin.index);
        }
        for (name, value) in self.0.constants() {
            o.pair("", name, value);
        }
        o.some("raw", self.0.raw(event));
    }
}

fn what(o: &mut Object<'_>, event: &Event<'_>) {
    let (step, outcome) = outcome::of(event);
    let ends = Ends::of(event);
    o.put("time", event.time);
    o.put("id", event.id);
    o.put("kind", event.kind);
    o.put("vendor_action", event.action);
    o.some("action", action(event.kind, step, outcome));
    o.some("status", status(outcome));
    o.put("severity", severity(event.severity));
    o.put("vendor_severity", event.severity);
    o.put("signature", format_args!("{}.{}", event.kind, event.action));
    o.some("app", outcome::protocol(event.kind).map(|protocol| protocol.name));
    o.some("src_ip", ends.source_ip);
    o.some("dest_ip", ends.outside_ip);
    if let (Some(neighbor), None) = (event.bgp.as_ref().and_then(|bgp| bgp.neighbor), ends.source_ip) {
        o.put("neighbor", neighbor);
    }
    o.some("transition", event.transition);
    o.some("session_state", event.session_state);
    o.put("description", event.summary);
}

/// The CIM's action. Network Sessions names `started`, `ended` and `blocked`; Change among others `created`,
/// `modified` and `deleted`. A step that is none of them has none: a wrong one would count as a session.
pub fn action(kind: Kind, step: Step, outcome: Outcome) -> Option<&'static str> {
    match (kind, step) {
        (Kind::BgpRoute, Step::Create) => Some("created"),
        (Kind::BgpRoute, Step::Update) => Some("modified"),
        (Kind::BgpRoute, Step::Delete) => Some("deleted"),
        (Kind::BgpSession | Kind::BfdSession | Kind::Ike, Step::Open) if outcome == Outcome::Success => Some("started"),
        (Kind::BgpSession | Kind::BfdSession | Kind::Ike, Step::Open | Step::Refuse) => Some("blocked"),
        (Kind::BgpSession | Kind::BfdSession | Kind::Ike, Step::Close | Step::Reset | Step::Fail) => Some("ended"),
        _ => None,
    }
}

/// The CIM's status.
pub fn status(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Success => Some("success"),
        Outcome::Failure => Some("failure"),
        Outcome::Unknown => None,
    }
}

/// The CIM's severity.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug | Severity::Info => "informational",
        Severity::Notice => "low",
        Severity::Warning => "medium",
        Severity::Error => "high",
        Severity::Critical => "critical",
    }
}

fn connection(o: &mut Object<'_>, vpn: &Vpn<'_>) {
    o.put("connection_id", &vpn.connection_id);
    o.some("connection_name", vpn.name);
    o.some("connection_state", vpn.connection_state);
    o.some("vpn_routing", vpn.routing);
    o.some("vpn_transport", vpn.transport);
    o.some("transport_attachment_id", vpn.transport_attachment_id);
    if let Some(tunnel) = &vpn.tunnel {
        o.some("tunnel_index", tunnel.index);
        o.some("tunnel_inside_cidr", tunnel.inside_cidr);
        o.some("tunnel_inside_ipv6_cidr", tunnel.inside_ipv6_cidr);
    }
    if let Some(gateway) = vpn.customer_gateway {
        o.put("customer_gateway_id", &gateway.id);
        o.some("customer_gateway_name", gateway.name.as_deref());
        o.some("customer_gateway_ip", gateway.ip);
        o.some("customer_gateway_asn", gateway.asn);
        o.some("customer_gateway_device", gateway.device.as_deref());
    }
    if let Some(gateway) = vpn.gateway {
        o.put("gateway_kind", gateway.kind);
        o.some("gateway_id", gateway.id.as_deref());
        o.some("gateway_name", gateway.name.as_deref());
        o.some("gateway_owner_account_id", gateway.owner_account_id.as_deref());
        o.some("gateway_asn", gateway.asn);
        o.some("gateway_vpc_id", gateway.vpc_id.as_deref());
        o.some("gateway_arn", gateway.arn.as_deref());
    }
    for (name, value) in vpn.tags.into_iter().flatten() {
        o.pair(TAG, name, value);
    }
    if let Some(inventory) = &vpn.inventory {
        o.put("inventory_state", inventory.state);
        o.some("inventory_as_of", inventory.as_of);
        o.some("inventory_tunnel_status", inventory.tunnel_status);
        o.some("inventory_accepted_routes", inventory.accepted_routes);
    }
}

fn bgp(o: &mut Object<'_>, bgp: &Bgp<'_>) {
    o.some("from_state", bgp.from_state.as_deref());
    o.some("to_state", bgp.to_state.as_deref());
    if let Some(notification) = &bgp.notification {
        o.put("notification_direction", notification.direction);
        o.some("notification_code", notification.code);
        o.some("notification_subcode", notification.subcode);
        o.some("notification_name", notification.name.as_deref());
    }
    o.some("prefix", bgp.prefix);
    o.some("as_path", bgp.as_path.as_deref());
    o.some("origin_asn", bgp.origin_asn);
    o.some("local_pref", bgp.local_pref);
    o.some("med", bgp.med);
    o.some("next_hop", bgp.next_hop);
    o.some("weight", bgp.weight);
    o.some("rejected_because", bgp.rejected_because.as_deref());
    o.some("prefix_count", bgp.prefix_count);
    o.some("prefix_limit", bgp.prefix_limit);
    o.some("peer_asn", bgp.peer_asn);
    o.some("local_asn", bgp.local_asn);
    o.some("expected_asn", bgp.expected_asn);
    o.some("hold_time_s", bgp.hold_time_s);
    o.some("router_id", bgp.router_id);
}

fn ike(o: &mut Object<'_>, ike: &Ike<'_>) {
    o.some("phase1", ike.phase1);
    o.some("phase2", ike.phase2);
    o.some("dpd_enabled", ike.dpd_enabled);
    o.some("nat_t", ike.nat_t);
    o.some("spi", ike.spi.as_deref());
    o.some("request_id", ike.request_id);
}

/// Problems as one text: a list of objects is not flat.
struct Problems<'e, 'a>(&'e [Problem<'a>]);

impl fmt::Display for Problems<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}={}", problem.field, problem.value)?;
        }
        Ok(())
    }
}

impl Serialize for Problems<'_, '_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::config::types::RawOption;
    use crate::sample;

    fn fields(format: &SplunkFormat, event: &Event<'_>) -> BTreeMap<String, Value> {
        let mut out = Vec::new();
        format.encode(event, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn options(constants: &[(&str, &str)]) -> JsonOptions {
        let constants = constants.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        JsonOptions { raw: RawOption::Always, origin: true, constants }
    }

    #[test]
    fn every_field_is_in_the_list_and_none_is_twice_or_nested() {
        let event = sample::full();
        let mut out = Vec::new();
        SplunkFormat::new(&options(&[])).encode(&event, &mut out);
        let text = String::from_utf8(out).unwrap();
        let found: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
        for (name, value) in &found {
            assert!(name.starts_with(TAG) || FIELDS.iter().any(|(field, _)| field == name), "{name}");
            assert!(!value.is_object() && !value.is_array(), "{name} is flat");
            assert_eq!(text.matches(&format!("\"{name}\":")).count(), 1, "{name} once");
        }
        let missing: Vec<_> =
            FIELDS.iter().map(|(field, _)| *field).filter(|field| !found.contains_key(*field)).collect();
        assert_eq!(missing, ["neighbor"], "the event has every field of its kind");
    }

    #[test]
    fn constants_cannot_replace_a_field_of_the_event_or_of_splunk() {
        let taken = [("severity", "x"), ("index", "main"), ("vpn_tag_site", "x"), ("team", "net")];
        let found = fields(&SplunkFormat::new(&options(&taken)), &sample::full());
        assert_eq!((&found["team"], &found["severity"]), (&"net".into(), &"informational".into()));
        assert!(!found.contains_key("index"));
        assert_ne!(found["vpn_tag_site"], "x");
    }

    #[test]
    fn a_neighbor_that_is_not_the_source_is_kept() {
        let event = Event { kind: Kind::Unparsed, ..sample::established() };
        let found = fields(&SplunkFormat::default(), &event);
        assert_eq!((found.get("src_ip"), &found["neighbor"]), (None, &"169.254.50.86".into()));
    }
}
