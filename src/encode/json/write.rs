//! Writes an event as serde would write it, quicker: the skeleton is text, texts are looked through for escapes in
//! wide steps, times and addresses are digits put into place.
//!
//! Every struct is taken apart by name, so a new field does not compile until it is written here too; tests compare
//! the two for equal bytes. What is rare in events is left to serde.
//!
//! Each member is written with a comma before its key. The first one's comma becomes the brace of its object. A key whose
//! value is a text of ours is written with the quotes around it.

use serde::Serialize;

use super::repeat::{Repeat, attributes, log, observed, place};
use super::text::{head, ip, number, prefix, string};
use super::{View, text};
use crate::event::{AsNumbers, Bgp, Ike};

/// Appends the event without a newline. `false`: a value refused to be written.
pub(super) fn event(out: &mut Vec<u8>, view: &View<'_, '_>, repeat: &mut Repeat) -> bool {
    let View {
        schema,
        id,
        time: when,
        observed: arrival,
        kind,
        action,
        transition,
        session_state,
        severity,
        summary,
        cloud,
        vpn,
        route_server,
        bgp: of_bgp,
        ike: of_ike,
        problems,
        log: names,
        origin,
        raw,
    } = view;
    let start = out.len();
    head(out, schema, id.0, *when);
    if let Some(arrival) = arrival {
        observed(out, *arrival, repeat);
    }
    open_word(out, r#","kind":""#, kind.as_str());
    open_word(out, r#"","action":""#, action.as_str());
    if let Some(transition) = transition {
        open_word(out, r#"","transition":""#, transition.as_str());
    }
    if let Some(state) = session_state {
        open_word(out, r#"","session_state":""#, state.as_str());
    }
    open_word(out, r#"","severity":""#, severity.as_str());
    member(out, r#"","summary":"#, *summary, string);
    place(out, cloud, *vpn, repeat);
    let mut written = optional_by_serde(out, r#","route_server":"#, *route_server);
    optional(out, r#","bgp":"#, *of_bgp, |out, it| object(out, |out| bgp(out, it, repeat)));
    optional(out, r#","ike":"#, *of_ike, |out, it| object(out, |out| ike(out, it)));
    written &= optional_by_serde(out, r#","problems":"#, Some(problems).filter(|problems| !problems.is_empty()));
    log(out, names, repeat);
    written &= optional_by_serde(out, r#","origin":"#, *origin);
    optional(out, r#","raw":"#, *raw, string);
    close(out, start);
    if !written {
        *repeat = Repeat::default();
    }
    written
}

/// A member whose value `write` appends.
#[inline]
pub(super) fn member<T>(out: &mut Vec<u8>, key: &str, value: T, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.extend_from_slice(key.as_bytes());
    write(out, value);
}

#[inline]
pub(super) fn optional<T>(out: &mut Vec<u8>, key: &str, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    if let Some(value) = value {
        member(out, key, value, write);
    }
}

/// A text of ours behind its key and its opening quote; its closing one is the next key's.
#[inline]
fn open_word(out: &mut Vec<u8>, key: &str, word: &str) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(word.as_bytes());
}

fn optional_by_serde(out: &mut Vec<u8>, key: &str, value: Option<impl Serialize>) -> bool {
    let Some(value) = value else { return true };
    out.extend_from_slice(key.as_bytes());
    serde_json::to_writer(out, &value).is_ok()
}

/// An object whose members `write` appends, each with a comma before it.
#[inline]
pub(super) fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    close(out, start);
}

/// Makes an object of the members from `start` on.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

fn bgp(out: &mut Vec<u8>, bgp: &Bgp<'_>, repeat: &mut Repeat) {
    let Bgp {
        neighbor,
        from_state,
        to_state,
        notification,
        prefix: of_route,
        as_path: _,
        as_path_asns: _,
        origin_asn: _,
        local_pref: _,
        med: _,
        next_hop: _,
        weight: _,
        rejected_because,
        prefix_count,
        prefix_limit,
        peer_asn,
        local_asn,
        expected_asn,
        hold_time_s,
        router_id,
    } = bgp;
    let long = |number: &Option<u32>| number.map(u64::from);
    optional(out, r#","neighbor":"#, *neighbor, ip);
    optional(out, r#","from_state":"#, from_state.as_deref(), string);
    optional(out, r#","to_state":"#, to_state.as_deref(), string);
    // Its values are texts and small numbers, which serde never refuses.
    optional_by_serde(out, r#","notification":"#, notification.as_ref());
    optional(out, r#","prefix":"#, *of_route, prefix);
    attributes(out, bgp, repeat);
    optional(out, r#","rejected_because":"#, rejected_because.as_deref(), string);
    optional(out, r#","prefix_count":"#, *prefix_count, number);
    optional(out, r#","prefix_limit":"#, *prefix_limit, number);
    optional(out, r#","peer_asn":"#, long(peer_asn), number);
    optional(out, r#","local_asn":"#, long(local_asn), number);
    optional(out, r#","expected_asn":"#, long(expected_asn), number);
    optional(out, r#","hold_time_s":"#, long(hold_time_s), number);
    optional(out, r#","router_id":"#, *router_id, ip);
}

pub(super) fn as_numbers(out: &mut Vec<u8>, numbers: &AsNumbers<'_>) {
    out.push(b'[');
    if let Some(path) = numbers.plain() {
        let start = out.len();
        out.extend_from_slice(path.as_bytes());
        let written = out.get_mut(start..).unwrap_or_default();
        written.iter_mut().for_each(|byte| *byte = if *byte == b' ' { b',' } else { *byte });
    } else {
        for (index, asn) in numbers.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            number(out, asn.into());
        }
    }
    out.push(b']');
}

fn ike(out: &mut Vec<u8>, ike: &Ike<'_>) {
    let Ike { phase1, phase2, dpd_enabled, nat_t, peer, spi, request_id } = ike;
    let boolean = |out: &mut Vec<u8>, is: bool| out.extend_from_slice(if is { b"true" } else { b"false" });
    optional(out, r#","phase1":"#, phase1.map(|it| it.as_str()), text::word);
    optional(out, r#","phase2":"#, phase2.map(|it| it.as_str()), text::word);
    optional(out, r#","dpd_enabled":"#, *dpd_enabled, boolean);
    optional(out, r#","nat_t":"#, *nat_t, boolean);
    optional(out, r#","peer":"#, *peer, ip);
    optional(out, r#","spi":"#, spi.as_deref(), string);
    optional(out, r#","request_id":"#, *request_id, number);
}
