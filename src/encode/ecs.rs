//! `ecs`: the Elastic Common Schema 9, one object a line.
//!
//! What ECS has no field for is under `aws.vpn`, in the form of our own schema, so that an Elastic user finds names of
//! `schemas/event.md` there. Constants are `labels`. The index templates in `deploy/elastic/` and
//! `deploy/opensearch/` have a type for each field; an address that could not be read is absent, since an `ip` field
//! refuses the whole document for it.
//! Source: <https://www.elastic.co/docs/reference/ecs>. The mapping of actions is printed in `schemas/formats.md`.

use super::carry::Carry;
use super::ends::{Ends, product};
use super::object::{Object, line};
use super::outcome::{self, Outcome, Step};
use crate::config::types::JsonOptions;
use crate::event::{Event, Kind, Severity, Vpn};

/// ECS's version.
pub const VERSION: &str = "9.4.0";
/// Name and version of the form.
pub const SCHEMA: &str = "ecs/9.4.0";

/// The resolved format `ecs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EcsFormat(Carry);

/// `event.kind`.
pub fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Alert => "alert",
        Kind::Unparsed => "pipeline_error",
        Kind::BgpSession | Kind::BgpRoute | Kind::BfdSession | Kind::Ike => "event",
    }
}

/// `event.category`.
pub fn category(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::BgpSession | Kind::BfdSession | Kind::Ike => &["network", "session"],
        Kind::BgpRoute | Kind::Alert | Kind::Unparsed => &["network"],
    }
}

/// `event.type`: of those that ECS expects with the categories.
pub fn types(kind: Kind, step: Step, outcome: Outcome) -> &'static [&'static str] {
    match (kind, step) {
        (Kind::Alert | Kind::Unparsed, _) => &["info"],
        (Kind::BgpRoute, _) if outcome == Outcome::Failure => &["protocol", "denied"],
        (Kind::BgpRoute, _) => &["protocol", "info"],
        (_, Step::Open) if outcome == Outcome::Success => &["connection", "start"],
        (_, Step::Open | Step::Refuse) => &["connection", "denied", "info"],
        (_, Step::Close | Step::Reset | Step::Fail) => &["connection", "end"],
        _ => &["protocol", "info"],
    }
}

/// `event.outcome`.
pub fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unknown => "unknown",
    }
}

/// `event.severity`: syslog's numbers (RFC 5424), which rise as care falls.
pub fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Debug => 7,
        Severity::Info => 6,
        Severity::Notice => 5,
        Severity::Warning => 4,
        Severity::Error => 3,
        Severity::Critical => 2,
    }
}

impl EcsFormat {
    /// Settles the options. A label cannot have a point in its name (the check of the pipeline file refuses it).
    pub fn new(options: &JsonOptions) -> EcsFormat {
        EcsFormat(Carry::new(options, |name| name.contains('.')))
    }

    /// Whether the log line goes along with every event.
    pub(super) fn keeps_raw(&self) -> bool {
        self.0.keeps_raw()
    }

    /// Appends the event as one line.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let ends = Ends::of(event);
        line(out, |o| {
            o.put("@timestamp", event.time);
            o.object("ecs", |o| o.put("version", VERSION));
            o.text("message", event.summary);
            o.object("event", |o| self.event(o, event));
            o.object("log", |o| o.put("level", event.severity));
            o.object("cloud", |o| cloud(o, event));
            o.object("network", |o| network(o, event, &ends));
            o.object("source", |o| {
                o.some("ip", ends.source_ip);
                o.some("address", ends.source_ip);
                o.object("as", |o| o.some("number", ends.source_asn));
            });
            o.object("destination", |o| {
                o.some("ip", ends.destination_ip);
                o.some("address", ends.destination_ip);
                o.object("as", |o| o.some("number", ends.destination_asn));
            });
            o.object("observer", |o| observer(o, event, &ends));
            o.object("related", |o| related(o, event, &ends));
            o.object("labels", |o| {
                for (name, value) in self.0.constants() {
                    o.pair("", name, value);
                }
            });
            o.object("aws", |o| o.object("vpn", |o| self.aws_vpn(o, event)));
        });
    }

    fn event(&self, o: &mut Object<'_>, event: &Event<'_>) {
        let (step, outcome) = outcome::of(event);
        o.put("id", event.id);
        o.put("kind", kind(event.kind));
        o.put("category", category(event.kind));
        o.put("type", types(event.kind, step, outcome));
        o.put("action", event.action);
        o.put("outcome", outcome_word(outcome));
        o.put("severity", severity(event.severity));
        o.put("code", format_args!("{}.{}", event.kind, event.action));
        o.put("module", "aws");
        o.put("dataset", "aws.vpn");
        o.put("provider", product(event));
        o.some("created", event.observed);
        let bgp = event.bgp.as_ref();
        let named = bgp.and_then(|bgp| bgp.notification.as_ref()).and_then(|notification| notification.name.as_deref());
        o.some("reason", bgp.and_then(|bgp| bgp.rejected_because.as_deref()).or(named));
        o.some("original", self.0.raw(event));
    }

    fn aws_vpn(&self, o: &mut Object<'_>, event: &Event<'_>) {
        o.put("kind", event.kind);
        o.some("transition", event.transition);
        o.some("session_state", event.session_state);
        o.some("account_ou", event.cloud.account_ou);
        if let Some(vpn) = &event.vpn {
            connection(o, vpn);
        }
        o.some("route_server", event.route_server.as_ref());
        o.some("bgp", event.bgp.as_ref());
        o.some("ike", event.ike.as_ref());
        o.some("problems", Some(&event.problems).filter(|problems| !problems.is_empty()));
        o.put("log", &event.log);
        o.some("origin", self.0.origin(event));
    }
}

fn cloud(o: &mut Object<'_>, event: &Event<'_>) {
    o.put("provider", event.cloud.provider);
    o.object("account", |o| {
        o.some("id", event.cloud.account_id.as_deref());
        o.some("name", event.cloud.account_name);
    });
    o.some("region", event.cloud.region.as_deref());
    o.object("service", |o| o.put("name", "vpn"));
}

fn network(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    let Some(protocol) = outcome::protocol(event.kind) else { return };
    o.put("protocol", protocol.name);
    o.put("transport", protocol.transport);
    o.put("iana_number", format_args!("{}", protocol.transport_number));
    if let Some(ip) = ends.source_ip.or(ends.destination_ip) {
        o.put("type", if ip.is_ipv4() { "ipv4" } else { "ipv6" });
    }
    let inbound = outcome::is_inbound(event);
    o.some("direction", inbound.map(|inbound| if inbound { "inbound" } else { "outbound" }));
}

/// The tunnel's end in AWS saw it.
fn observer(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    o.put("vendor", "AWS");
    o.put("product", product(event));
    o.put("type", if event.route_server.is_some() { "router" } else { "vpn" });
    o.some("name", event.vpn.as_ref().and_then(|vpn| vpn.name));
    o.list("ip", |list| {
        if let Some(ip) = ends.outside_ip {
            list.put(ip);
        }
    });
}

fn related(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    let bgp = event.bgp.as_ref();
    let candidates = [
        ends.source_ip,
        ends.outside_ip,
        ends.customer_gateway.and_then(|gateway| gateway.ip),
        bgp.and_then(|bgp| bgp.neighbor),
        bgp.and_then(|bgp| bgp.next_hop),
        bgp.and_then(|bgp| bgp.router_id),
        event.ike.as_ref().and_then(|ike| ike.peer),
    ];
    o.list("ip", |list| {
        for (index, ip) in candidates.iter().enumerate() {
            if let Some(ip) = ip.filter(|_| !candidates.iter().take(index).any(|other| other == ip)) {
                list.put(ip);
            }
        }
    });
    o.list("hosts", |list| {
        if let Some(device) = ends.customer_gateway.and_then(|gateway| gateway.device.as_deref()) {
            list.put(device);
        }
    });
}

/// The fields of `vpn` in our own schema.
fn connection(o: &mut Object<'_>, vpn: &Vpn<'_>) {
    o.put("connection_id", &vpn.connection_id);
    o.some("name", vpn.name);
    o.some("connection_state", vpn.connection_state);
    o.some("routing", vpn.routing);
    o.some("transport", vpn.transport);
    o.some("transport_attachment_id", vpn.transport_attachment_id);
    o.some("tunnel", vpn.tunnel.as_ref());
    o.some("customer_gateway", vpn.customer_gateway);
    o.some("gateway", vpn.gateway);
    o.some("tags", vpn.tags);
    o.some("inventory", vpn.inventory.as_ref());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Action;
    use crate::sample;

    fn encoded(format: &EcsFormat, event: &Event<'_>) -> Value {
        let mut out = Vec::new();
        format.encode(event, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn what_ecs_lacks_is_under_aws_vpn_under_our_own_names() {
        let event = sample::full();
        let value = encoded(&EcsFormat::default(), &event);
        let own = serde_json::to_value(&event).unwrap();
        for name in own["vpn"].as_object().unwrap().keys() {
            assert_eq!(value["aws"]["vpn"][name], own["vpn"][name], "{name}");
        }
        for name in ["bgp", "ike", "route_server", "problems", "log"] {
            assert_eq!(value["aws"]["vpn"][name], own[name], "{name}");
        }
    }

    #[test]
    fn an_address_is_related_once() {
        let value = encoded(&EcsFormat::default(), &sample::full());
        assert_eq!(value["related"]["ip"], json!(["169.254.50.86", "203.0.113.17", "198.51.100.7"]));
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let mut event = Event { kind: Kind::Unparsed, action: Action::Unparsed, ..sample::established() };
        (event.vpn, event.bgp) = (None, None);
        let value = encoded(&EcsFormat::default(), &event);
        for name in ["source", "destination", "related", "network", "labels"] {
            assert_eq!(value.get(name), None, "{name}");
        }
    }

    #[test]
    fn constants_are_labels_without_points() {
        let constants = [("env", "prod"), ("a.b", "x")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let format = EcsFormat::new(&JsonOptions { constants: constants.into(), ..JsonOptions::default() });
        assert_eq!(encoded(&format, &sample::established())["labels"], json!({"env": "prod"}));
    }
}
