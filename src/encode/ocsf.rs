//! `ocsf`: the Open Cybersecurity Schema Framework 1.8, one object a line, with the profile `cloud`.
//!
//! | kind | class |
//! |---|---|
//! | `ike` | Tunnel Activity (4014) |
//! | `bgp.session`, `bfd.session`, `bgp.route` | Network Activity (4001) |
//! | `alert` | Detection Finding (2004) |
//! | `unparsed` | Application Error (6008) |
//!
//! What OCSF has no field for, all of BGP above all, is in `unmapped`, in the form of our own schema. Every class is
//! closed: a field that it does not have makes the event invalid, so constants go to `metadata.tags`.
//! Source: <https://schema.ocsf.io/1.8.0/>. The mapping of actions is printed in `schemas/formats.md`.

mod endpoints;

use std::fmt;

use serde::Serialize;

use super::carry::Carry;
use super::ends::{Ends, product};
use super::object::{Object, line};
use super::outcome::{self, Outcome, Step};
use crate::config::types::JsonOptions;
use crate::event::{Action, Event, Kind, Severity};

/// OCSF's version.
pub const VERSION: &str = "1.8.0";
/// Name and version of the form.
pub const SCHEMA: &str = "ocsf/1.8.0";

/// "Other": the event's own word stands in the name.
const OTHER: u32 = 99;

/// A class of OCSF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// `class_uid`.
    pub uid: u32,
    /// `class_name`.
    pub name: &'static str,
    category_uid: u32,
    category_name: &'static str,
}

const NETWORK: Class =
    Class { uid: 4001, name: "Network Activity", category_uid: 4, category_name: "Network Activity" };
const TUNNEL: Class = Class { uid: 4014, name: "Tunnel Activity", ..NETWORK };
const FINDING: Class = Class { uid: 2004, name: "Detection Finding", category_uid: 2, category_name: "Findings" };
const ERROR: Class =
    Class { uid: 6008, name: "Application Error", category_uid: 6, category_name: "Application Activity" };

/// The class of a kind.
pub fn class(kind: Kind) -> Class {
    match kind {
        Kind::Ike => TUNNEL,
        Kind::BgpSession | Kind::BgpRoute | Kind::BfdSession => NETWORK,
        Kind::Alert => FINDING,
        Kind::Unparsed => ERROR,
    }
}

/// `activity_id` and its caption; `None`: the step has none in this class (99, Other).
pub fn activity(kind: Kind, step: Step) -> Option<(u32, &'static str)> {
    match (kind, step) {
        (Kind::Unparsed, _) => Some((2, "Translation Error")),
        (Kind::Alert, Step::Create) => Some((1, "Create")),
        (Kind::Alert, Step::Update) => Some((2, "Update")),
        (Kind::Alert, Step::Delete) => Some((3, "Close")),
        (Kind::Ike, Step::Renew) => Some((3, "Renew")),
        (_, Step::Open) => Some((1, "Open")),
        (_, Step::Close) => Some((2, "Close")),
        (Kind::BgpSession | Kind::BfdSession, Step::Reset) => Some((3, "Reset")),
        (Kind::BgpSession | Kind::BfdSession, Step::Fail) => Some((4, "Fail")),
        (Kind::BgpSession | Kind::BfdSession, Step::Refuse) => Some((5, "Refuse")),
        _ => None,
    }
}

/// `severity_id` and its caption.
pub fn severity(severity: Severity) -> (u32, &'static str) {
    match severity {
        Severity::Debug | Severity::Info => (1, "Informational"),
        Severity::Notice => (2, "Low"),
        Severity::Warning => (3, "Medium"),
        Severity::Error => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

/// `status_id` and its caption; a finding's status is its life, not its outcome.
pub fn status(kind: Kind, action: Action, outcome: Outcome) -> (u32, &'static str) {
    match (kind, action, outcome) {
        (Kind::Alert, Action::Opened, _) => (1, "New"),
        (Kind::Alert, Action::Closed, _) => (4, "Resolved"),
        (Kind::Alert, ..) => (2, "In Progress"),
        (.., Outcome::Success) => (1, "Success"),
        (.., Outcome::Failure) => (2, "Failure"),
        (.., Outcome::Unknown) => (0, "Unknown"),
    }
}

/// The resolved format `ocsf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OcsfFormat(Carry);

impl OcsfFormat {
    /// Settles the options.
    pub fn new(options: &JsonOptions) -> OcsfFormat {
        OcsfFormat(Carry::new(options, |_| false))
    }

    /// Whether the log line goes along with every event.
    pub(super) fn keeps_raw(&self) -> bool {
        self.0.keeps_raw()
    }

    /// Appends the event as one line.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let ends = Ends::of(event);
        line(out, |o| {
            classification(o, event);
            o.put("time", event.time.0);
            o.text("message", event.summary);
            o.object("metadata", |o| self.metadata(o, event));
            o.object("cloud", |o| cloud(o, event));
            match event.kind {
                Kind::Ike => endpoints::tunnel(o, event, &ends),
                Kind::BgpSession | Kind::BgpRoute | Kind::BfdSession => endpoints::network(o, event, &ends),
                Kind::Alert => finding(o, event),
                Kind::Unparsed => {}
            }
            observables(o, event, &ends);
            o.object("unmapped", |o| self.unmapped(o, event));
            o.some("raw_data", self.0.raw(event));
        });
    }

    fn metadata(&self, o: &mut Object<'_>, event: &Event<'_>) {
        o.put("version", VERSION);
        o.object("product", |o| {
            o.put("name", product(event));
            o.put("vendor_name", "AWS");
        });
        o.list("profiles", |list| list.put("cloud"));
        o.put("uid", event.id);
        o.some("correlation_uid", subject(event));
        o.put("event_code", format_args!("{}.{}", event.kind, event.action));
        o.put("log_level", event.severity);
        o.put("original_time", event.time);
        o.some("logged_time", event.observed.map(|observed| observed.0));
        o.put("log_provider", "Amazon CloudWatch Logs");
        o.text("log_name", event.log.group_name);
        o.text("log_source", event.log.stream_name);
        o.text("original_event_uid", event.log.event_id);
        o.list("tags", |list| {
            for (name, value) in self.0.constants() {
                list.object(|o| {
                    o.put("name", name);
                    o.put("value", value);
                });
            }
        });
    }

    fn unmapped(&self, o: &mut Object<'_>, event: &Event<'_>) {
        o.put("kind", event.kind);
        o.put("action", event.action);
        o.some("transition", event.transition);
        o.some("session_state", event.session_state);
        o.some("account_ou", event.cloud.account_ou);
        o.text("log_owner_account_id", event.log.owner_account_id);
        o.some("vpn", event.vpn.as_ref());
        o.some("route_server", event.route_server.as_ref());
        o.some("bgp", event.bgp.as_ref());
        o.some("ike", event.ike.as_ref());
        o.some("problems", Some(&event.problems).filter(|problems| !problems.is_empty()));
        o.some("origin", self.0.origin(event));
    }
}

fn classification(o: &mut Object<'_>, event: &Event<'_>) {
    let (step, outcome) = outcome::of(event);
    let class = class(event.kind);
    let activity = activity(event.kind, step);
    // The name of "Other" is the event's own word.
    let (activity_id, activity_name) = activity.unwrap_or((OTHER, event.action.as_str()));
    let (severity_id, severity) = severity(event.severity);
    let (status_id, status) = status(event.kind, event.action, outcome);
    o.put("activity_id", activity_id);
    o.put("activity_name", activity_name);
    o.put("category_uid", class.category_uid);
    o.put("category_name", class.category_name);
    o.put("class_uid", class.uid);
    o.put("class_name", class.name);
    o.put("type_uid", class.uid * 100 + activity_id);
    o.put("type_name", format_args!("{}: {}", class.name, activity.map_or("Other", |(_, caption)| caption)));
    o.put("severity_id", severity_id);
    o.put("severity", severity);
    o.put("status_id", status_id);
    o.put("status", status);
    let Some(bgp) = &event.bgp else { return };
    if let Some(notification) = &bgp.notification {
        if let (Some(code), Some(subcode)) = (notification.code, notification.subcode) {
            o.put("status_code", format_args!("{code}/{subcode}"));
        } else {
            o.some("status_code", notification.code.map(Text));
        }
    }
    let named = bgp.notification.as_ref().and_then(|notification| notification.name.as_deref());
    o.some("status_detail", bgp.rejected_because.as_deref().or(named));
}

/// A number as text.
struct Text(u8);

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The connection, else the route server peer: what events belong together by.
fn subject<'e>(event: &'e Event<'_>) -> Option<&'e str> {
    let peer = event.route_server.as_ref().map(|peer| peer.peer_id.as_deref().unwrap_or(&peer.arn));
    event.vpn.as_ref().map(|vpn| &*vpn.connection_id).or(peer)
}

fn cloud(o: &mut Object<'_>, event: &Event<'_>) {
    o.put("provider", "AWS");
    let (uid, name) = (event.cloud.account_id.as_deref(), event.cloud.account_name);
    if uid.or(name).is_some() {
        o.object("account", |o| {
            o.some("uid", uid);
            o.some("name", name);
            o.put("type_id", 10);
            o.put("type", "AWS Account");
        });
    }
    o.some("region", event.cloud.region.as_deref());
}

fn finding(o: &mut Object<'_>, event: &Event<'_>) {
    o.object("finding_info", |o| {
        o.put("uid", event.id);
        o.text("title", event.summary);
    });
    o.put("is_alert", true);
    if let Some(uid) = subject(event) {
        o.list("resources", |list| list.object(|o| o.put("uid", uid)));
    }
}

/// What analysts search by, with the path at which it stands in the event.
fn observables(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    const ADDRESS: (u32, &str) = (2, "IP Address");
    o.list("observables", |list| {
        let mut put = |name: &'static str, (type_id, kind): (u32, &'static str), value: &dyn fmt::Display| {
            list.object(|o| {
                o.put("name", name);
                o.put("type_id", type_id);
                o.put("type", kind);
                o.put("value", format_args!("{value}"));
            });
        };
        let has_endpoints = !matches!(event.kind, Kind::Alert | Kind::Unparsed);
        if let Some(ip) = ends.source_ip.filter(|_| has_endpoints) {
            put("src_endpoint.ip", ADDRESS, &ip);
        }
        if let Some(ip) = ends.destination_ip.filter(|_| has_endpoints) {
            put("dst_endpoint.ip", ADDRESS, &ip);
        } else if let Some(ip) = ends.outside_ip {
            put("unmapped.vpn.tunnel.outside_ip", ADDRESS, &ip);
        }
        if let Some(prefix) = event.bgp.as_ref().and_then(|bgp| bgp.prefix) {
            put("unmapped.bgp.prefix", (12, "Subnet"), &prefix);
        }
        if let Some(uid) = subject(event) {
            put("metadata.correlation_uid", (10, "Resource UID"), &uid);
        }
        if let Some(uid) = event.cloud.account_id.as_deref() {
            put("cloud.account.uid", (35, "Account Object: uid"), &uid);
        }
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use serde_json::{Value, json};

    use super::*;
    use crate::config::types::RawOption;
    use crate::sample;

    fn encoded(event: &Event<'_>) -> Value {
        let constants = [("env".to_owned(), "prod".to_owned())].into();
        let options = JsonOptions { raw: RawOption::Always, origin: true, constants };
        let mut out = Vec::new();
        OcsfFormat::new(&options).encode(event, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_event_is_of_the_class_of_its_kind() {
        for (kind, class_uid, type_uid) in [
            (Kind::Ike, 4014, 401_499),
            (Kind::BgpSession, 4001, 400_199),
            (Kind::BgpRoute, 4001, 400_199),
            (Kind::BfdSession, 4001, 400_199),
            (Kind::Alert, 2004, 200_402),
            (Kind::Unparsed, 6008, 600_802),
        ] {
            let value = encoded(&Event { kind, action: Action::Other, ..sample::full() });
            assert_eq!((&value["class_uid"], &value["type_uid"]), (&json!(class_uid), &json!(type_uid)), "{kind}");
        }
    }

    #[test]
    fn a_session_runs_from_the_neighbor_to_the_gateway() {
        let value = encoded(&sample::full());
        assert_eq!(value["src_endpoint"]["ip"], "169.254.50.86");
        assert_eq!(value["src_endpoint"]["autonomous_system"]["number"], 65010);
        assert_eq!(value["dst_endpoint"]["uid"], "vgw-0123456789abcdef0");
        assert_eq!(value["dst_endpoint"].get("ip"), None, "AWS's inside address is not told");
        assert_eq!(value["connection_info"]["boundary_id"], 6);
    }

    #[test]
    fn a_tunnel_runs_from_the_customer_gateway_to_the_outside_address() {
        let value = encoded(&Event { kind: Kind::Ike, action: Action::DpdTimeout, ..sample::full() });
        assert_eq!(value["src_endpoint"]["ip"], "198.51.100.7");
        assert_eq!(value["dst_endpoint"]["ip"], "203.0.113.17");
        assert_eq!(value["tunnel_interface"]["uid"], "vpn-0a1b2c3d4e5f60718_203.0.113.17");
    }

    #[test]
    fn a_constant_is_a_tag_of_the_metadata() {
        assert_eq!(encoded(&sample::established())["metadata"]["tags"], json!([{"name": "env", "value": "prod"}]));
    }
}
