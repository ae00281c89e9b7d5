//! The member `vpn`: what the inventory knows. The longest part of an event, and the same for nearly all events of a
//! record, so it is written once and then copied.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;

use super::text::{ip, number, prefix, string, time, word};
use super::write::{member, object, optional};
use crate::event::{CustomerGateway, Gateway, InventoryInfo, Tunnel, Vpn};

/// What stands in a buffer already and may be copied: an event's `vpn` is the one before's, nearly always.
///
/// To be forgotten (`Repeat::default()`) where the inventory or the buffer may be another than before.
#[derive(Clone, Debug, Default)]
pub struct Repeat {
    /// Where the member `vpn` stands, its comma and key included.
    vpn: Range<usize>,
    /// The tunnel's address in it.
    outside_ip: Option<IpAddr>,
}

/// Appends the member `vpn`, copied if it is the one that `repeat` points at. What a snapshot says of a connection and
/// one of its tunnels is always the same, so their names are enough to tell.
pub(super) fn vpn(out: &mut Vec<u8>, vpn: &Vpn<'_>, repeat: &mut Repeat) {
    const START: &str = r#","vpn":{"connection_id":""#;
    let outside_ip = vpn.tunnel.as_ref().and_then(|tunnel| tunnel.outside_ip);
    let is_same = || {
        let id = out.get(repeat.vpn.clone())?.strip_prefix(START.as_bytes())?;
        let after = id.strip_prefix(vpn.connection_id.as_bytes())?;
        Some(after.starts_with(b"\"") && repeat.outside_ip == outside_ip)
    };
    if is_same() == Some(true) {
        out.extend_from_within(repeat.vpn.clone());
        return;
    }
    let start = out.len();
    member(out, r#","vpn":"#, vpn, |out, vpn| object(out, |out| members(out, vpn)));
    *repeat = Repeat { vpn: start..out.len(), outside_ip };
}

fn members(out: &mut Vec<u8>, vpn: &Vpn<'_>) {
    let Vpn {
        connection_id,
        name,
        connection_state,
        routing,
        transport,
        transport_attachment_id,
        tunnel: of_two,
        customer_gateway: customers,
        gateway: ours,
        tags: pairs,
        inventory: known,
    } = vpn;
    member(out, r#","connection_id":"#, connection_id, |out, id| string(out, id));
    optional(out, r#","name":"#, *name, string);
    optional(out, r#","connection_state":"#, *connection_state, string);
    optional(out, r#","routing":"#, routing.map(|it| it.as_str()), word);
    optional(out, r#","transport":"#, transport.map(|it| it.as_str()), word);
    optional(out, r#","transport_attachment_id":"#, *transport_attachment_id, string);
    optional(out, r#","tunnel":"#, of_two.as_ref(), |out, it| object(out, |out| tunnel(out, it)));
    optional(out, r#","customer_gateway":"#, *customers, |out, it| object(out, |out| customer_gateway(out, it)));
    optional(out, r#","gateway":"#, *ours, |out, it| object(out, |out| gateway(out, it)));
    optional(out, r#","tags":"#, *pairs, |out, it| object(out, |out| tags(out, it)));
    optional(out, r#","inventory":"#, known.as_ref(), |out, it| object(out, |out| inventory(out, it)));
}

fn tunnel(out: &mut Vec<u8>, tunnel: &Tunnel) {
    let Tunnel { index, outside_ip, inside_cidr, inside_ipv6_cidr } = tunnel;
    optional(out, r#","index":"#, index.map(u64::from), number);
    optional(out, r#","outside_ip":"#, *outside_ip, ip);
    optional(out, r#","inside_cidr":"#, *inside_cidr, prefix);
    optional(out, r#","inside_ipv6_cidr":"#, *inside_ipv6_cidr, prefix);
}

fn customer_gateway(out: &mut Vec<u8>, gateway: &CustomerGateway) {
    let CustomerGateway { id, name, ip: address, asn, device } = gateway;
    member(out, r#","id":"#, id, |out, id| string(out, id));
    optional(out, r#","name":"#, name.as_deref(), string);
    optional(out, r#","ip":"#, *address, ip);
    optional(out, r#","asn":"#, asn.map(u64::from), number);
    optional(out, r#","device":"#, device.as_deref(), string);
}

fn gateway(out: &mut Vec<u8>, gateway: &Gateway) {
    let Gateway { kind, id, name, owner_account_id, asn, vpc_id, arn } = gateway;
    member(out, r#","kind":"#, kind.as_str(), word);
    optional(out, r#","id":"#, id.as_deref(), string);
    optional(out, r#","name":"#, name.as_deref(), string);
    optional(out, r#","owner_account_id":"#, owner_account_id.as_deref(), string);
    optional(out, r#","asn":"#, asn.map(u64::from), number);
    optional(out, r#","vpc_id":"#, vpc_id.as_deref(), string);
    optional(out, r#","arn":"#, arn.as_deref(), string);
}

fn tags(out: &mut Vec<u8>, tags: &BTreeMap<String, String>) {
    for (key, value) in tags {
        out.push(b',');
        string(out, key);
        out.push(b':');
        string(out, value);
    }
}

fn inventory(out: &mut Vec<u8>, inventory: &InventoryInfo<'_>) {
    let InventoryInfo { state, as_of, tunnel_status, accepted_routes } = inventory;
    member(out, r#","state":"#, state.as_str(), word);
    optional(out, r#","as_of":"#, *as_of, time);
    optional(out, r#","tunnel_status":"#, *tunnel_status, string);
    optional(out, r#","accepted_routes":"#, *accepted_routes, number);
}
