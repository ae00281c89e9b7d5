//! Endpoints, connection and tunnel of an OCSF event. An endpoint must say who it is: one that would have nothing but
//! an AS number is left out.

use crate::encode::ends::Ends;
use crate::encode::object::Object;
use crate::encode::outcome;
use crate::event::{Event, GatewayKind};

/// The fields of Tunnel Activity.
pub(super) fn tunnel(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    both(o, event, ends);
    o.put("protocol_name", "IPsec");
    o.put("tunnel_type_id", super::OTHER);
    o.put("tunnel_type", "site-to-site");
    if let (Some(vpn), Some(ip)) = (&event.vpn, ends.outside_ip) {
        o.object("tunnel_interface", |o| {
            // AWS's own name of a tunnel, as `resource_id` of the BGP logs has it.
            o.put("uid", format_args!("{}_{ip}", vpn.connection_id));
            o.put("ip", ip);
            o.put("type_id", 4);
            o.put("type", "Tunnel");
        });
    }
}

/// The fields of Network Activity.
pub(super) fn network(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    both(o, event, ends);
    // Who opened the TCP connection of a BGP session is not told.
    o.put("is_src_dst_assignment_known", false);
}

fn both(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    o.some("app_protocol_name", outcome::protocol(event.kind).map(|protocol| protocol.service));
    o.object("src_endpoint", |o| customer(o, ends));
    o.object("dst_endpoint", |o| aws(o, event, ends));
    o.object("connection_info", |o| connection(o, event, ends));
}

fn customer(o: &mut Object<'_>, ends: &Ends<'_>) {
    if ends.source_ip.is_none() && ends.customer_gateway.is_none() {
        return;
    }
    o.some("ip", ends.source_ip);
    o.some("uid", ends.customer_gateway.map(|gateway| gateway.id.as_str()));
    o.some("name", ends.customer_gateway.and_then(|gateway| gateway.name.as_deref()));
    system(o, ends.source_asn);
}

fn aws(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    o.some("ip", ends.destination_ip);
    o.some("uid", ends.gateway.and_then(|gateway| gateway.id.as_deref()));
    o.some("name", ends.gateway.and_then(|gateway| gateway.name.as_deref()));
    o.some("vpc_uid", ends.gateway.and_then(|gateway| gateway.vpc_id.as_deref()));
    // What the event itself tells; there is always one of these, and so always an endpoint.
    match (super::subject(event), event.vpn.is_some()) {
        (Some(connection), true) => o.put("interface_uid", connection),
        (Some(peer), false) => o.put("instance_uid", peer),
        (None, _) => o.put("svc_name", super::product(event)),
    }
    system(o, ends.destination_asn);
}

fn system(o: &mut Object<'_>, number: Option<u32>) {
    o.object("autonomous_system", |o| o.some("number", number));
}

fn connection(o: &mut Object<'_>, event: &Event<'_>, ends: &Ends<'_>) {
    o.some("uid", super::subject(event));
    let (direction_id, direction) = match outcome::is_inbound(event) {
        Some(true) => (1, "Inbound"),
        Some(false) => (2, "Outbound"),
        None => (0, "Unknown"),
    };
    o.put("direction_id", direction_id);
    o.put("direction", direction);
    if let Some(protocol) = outcome::protocol(event.kind) {
        o.put("protocol_name", protocol.transport);
        o.put("protocol_num", protocol.transport_number);
    }
    if let Some(ip) = ends.source_ip.or(ends.destination_ip) {
        o.put("protocol_ver_id", if ip.is_ipv4() { 4 } else { 6 });
    }
    if let Some(gateway) = ends.gateway {
        let (id, boundary) = match gateway.kind {
            GatewayKind::VirtualPrivateGateway => (6, "Virtual Private Gateway"),
            GatewayKind::TransitGateway => (super::OTHER, "Transit Gateway"),
            GatewayKind::CloudWan => (super::OTHER, "Cloud WAN"),
            GatewayKind::VpnConcentrator => (super::OTHER, "VPN Concentrator"),
        };
        o.put("boundary_id", id);
        o.put("boundary", boundary);
    }
}
