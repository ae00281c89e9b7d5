//! One sentence for a person. Not for parsing: every value in it has a field of its own.
//!
//! A summary is one line without control characters, whatever the log line holds.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::table::Row;
use super::words::push_excerpt;
use crate::event::{Action, Bgp, Dotted, Event, Kind, SessionState};

/// No summary quotes more of a line than this.
const EXCERPT_CHARS: usize = 160;

/// A piece of a sentence.
#[derive(Clone, Copy)]
enum Part {
    /// These words.
    Words(&'static str),
    /// The peer, by its address or its name.
    Neighbor,
    /// ` (OpenConfirm → Established)`
    Steps,
    /// ` 6/2 (Cease/Administrative Shutdown)`
    Notification,
    /// `: 95 received, limit 100`
    Prefixes,
    /// ` (AS 65010, hold time 30 s)`, with AWS's own AS.
    OurOpen,
    /// The same with the peer's AS.
    TheirOpen,
    /// `: AS 65001, expected AS 65010`
    WrongAs,
    /// The AS path of an update.
    Path,
    /// What the line itself says.
    Details,
}

/// Writes the sentence of an event, whose row is `row`, into `text`. `details` is its message, `raw` the line.
pub(super) fn write(text: &mut String, event: &Event<'_>, row: &Row, details: Option<&str>, raw: &str) {
    text.clear();
    let nothing;
    let bgp = match &event.bgp {
        Some(bgp) => bgp,
        None => {
            nothing = Bgp::default();
            &nothing
        }
    };
    match row.kind {
        Kind::BgpSession => {
            let parts = session(row.action, bgp.to_state.is_some());
            parts.iter().for_each(|part| push(text, *part, bgp, event, details));
        }
        Kind::BfdSession => bfd(text, bgp, event),
        Kind::BgpRoute => route(text, bgp, row.action),
        Kind::Ike => ike(text, event, row, details),
        Kind::Unparsed | Kind::Alert => {
            text.push_str("Log line that could not be read: ");
            push_excerpt(text, raw.trim(), EXCERPT_CHARS);
        }
    }
}

/// The sentence of a session; `has_steps`: the line tells the states before and after.
fn session(action: Action, has_steps: bool) -> &'static [Part] {
    use Part::{Details, Neighbor, Notification, OurOpen, Path, Prefixes, Steps, TheirOpen, Words as W, WrongAs};
    match action {
        Action::Established if !has_steps => &[W("BGP session with "), Neighbor, W(" reported up")],
        Action::Down if !has_steps => &[W("BGP session with "), Neighbor, W(" reported down")],
        Action::Established => &[W("BGP session with "), Neighbor, W(" established"), Steps],
        Action::Down => &[W("BGP session with "), Neighbor, W(" went down"), Steps],
        Action::StateChanged => &[W("BGP session with "), Neighbor, W(" changed state"), Steps],
        Action::HoldTimerExpired => &[W("BGP session with "), Neighbor, W(" closed by AWS: hold timer expired")],
        Action::NotificationSent => &[W("AWS sent BGP notification"), Notification, W(" to "), Neighbor],
        Action::NotificationReceived => &[W("AWS received BGP notification"), Notification, W(" from "), Neighbor],
        Action::PrefixLimitWarning => &[W("BGP neighbor "), Neighbor, W(" nears its prefix limit"), Prefixes],
        Action::PrefixLimitExceeded => &[W("BGP neighbor "), Neighbor, W(" exceeded its prefix limit"), Prefixes],
        Action::OpenSent => &[W("AWS sent BGP OPEN to "), Neighbor, OurOpen],
        Action::OpenReceived => &[W("AWS received BGP OPEN from "), Neighbor, TheirOpen],
        Action::BadOpen => &[W("Bad BGP OPEN from "), Neighbor, WrongAs],
        Action::Connecting => &[W("AWS is connecting to BGP neighbor "), Neighbor],
        Action::EndOfRib => &[W("AWS sent End-of-RIB to "), Neighbor],
        Action::AttributesReceived => &[W("BGP update received from "), Neighbor, W(" (AS path "), Path, W(")")],
        _ => &[W("BGP session with "), Neighbor, W(": "), Details],
    }
}

fn push(text: &mut String, part: Part, bgp: &Bgp<'_>, event: &Event<'_>, details: Option<&str>) {
    match part {
        Part::Words(words) => text.push_str(words),
        Part::Neighbor => neighbor(text, bgp, event),
        Part::Steps => {
            if let (Some(from), Some(to)) = (&bgp.from_state, &bgp.to_state) {
                text.push_str(" (");
                push_excerpt(text, from, 40);
                text.push_str(" → ");
                push_excerpt(text, to, 40);
                text.push(')');
            }
        }
        Part::Notification => notification(text, bgp),
        Part::Prefixes => {
            if let (Some(count), Some(limit)) = (bgp.prefix_count, bgp.prefix_limit) {
                numbered(text, ": ", count, " received");
                numbered(text, ", limit ", limit, "");
            }
        }
        Part::OurOpen => open(text, bgp.local_asn, bgp.hold_time_s),
        Part::TheirOpen => open(text, bgp.peer_asn, bgp.hold_time_s),
        Part::WrongAs => {
            if let (Some(remote), Some(expected)) = (bgp.peer_asn, bgp.expected_asn) {
                numbered(text, ": AS ", remote.into(), "");
                numbered(text, ", expected AS ", expected.into(), "");
            }
        }
        Part::Path => text.push_str(bgp.as_path.as_deref().unwrap_or("unknown")),
        Part::Details => push_excerpt(text, details.unwrap_or("nothing told"), EXCERPT_CHARS),
    }
}

fn bfd(text: &mut String, bgp: &Bgp<'_>, event: &Event<'_>) {
    text.push_str("BFD session with ");
    neighbor(text, bgp, event);
    text.push_str(match event.session_state {
        Some(SessionState::Up) => " reported up",
        Some(SessionState::Down) => " reported down",
        None => " reported in an unknown state",
    });
}

fn route(text: &mut String, bgp: &Bgp<'_>, action: Action) {
    match bgp.prefix {
        Some(IpNet::V4(prefix)) => {
            text.push_str("Route ");
            text.push_str(Dotted::of(prefix.addr()).as_str());
            numbered(text, "/", prefix.prefix_len().into(), "");
        }
        Some(prefix) => drop(write!(text, "Route {prefix}")),
        None => text.push_str("Route of unknown prefix"),
    }
    text.push_str(match action {
        Action::Advertised => " advertised by the peer",
        Action::Updated => " updated by the peer",
        Action::Withdrawn => " withdrawn by the peer",
        Action::Rejected => " rejected by AWS",
        _ => ": a status that AWS does not document",
    });
    if let Some(because) = &bgp.rejected_because {
        text.push_str(": ");
        push_excerpt(text, because, EXCERPT_CHARS);
    }
    if let (Action::Advertised | Action::Updated, Some(path)) = (action, &bgp.as_path) {
        text.push_str(" (AS path ");
        push_excerpt(text, path, EXCERPT_CHARS);
        text.push(')');
    }
}

fn ike(text: &mut String, event: &Event<'_>, row: &Row, details: Option<&str>) {
    text.push_str("Tunnel");
    if let Some(ip) = tunnel_ip(event) {
        text.push(' ');
        address(text, ip);
    }
    text.push_str(": ");
    if row.action == Action::Other {
        push_excerpt(text, details.unwrap_or("activity without a message"), EXCERPT_CHARS);
    } else {
        text.push_str(row.meaning);
    }
}

fn tunnel_ip(event: &Event<'_>) -> Option<IpAddr> {
    event.vpn.as_ref()?.tunnel.as_ref()?.outside_ip
}

/// The peer as a sentence names it.
fn neighbor(text: &mut String, bgp: &Bgp<'_>, event: &Event<'_>) {
    match (bgp.neighbor, event.route_server.as_ref().and_then(|peer| peer.peer_id.as_deref())) {
        (Some(neighbor), _) => address(text, neighbor),
        (None, Some(peer)) => push_excerpt(text, peer, EXCERPT_CHARS),
        (None, None) => text.push_str("the peer"),
    }
}

fn notification(text: &mut String, bgp: &Bgp<'_>) {
    let Some(notification) = &bgp.notification else { return };
    if let Some(code) = notification.code {
        numbered(text, " ", code.into(), "");
        if let Some(subcode) = notification.subcode {
            numbered(text, "/", subcode.into(), "");
        }
    }
    if let Some(name) = &notification.name {
        text.push_str(" (");
        push_excerpt(text, name, 80);
        text.push(')');
    }
}

fn open(text: &mut String, asn: Option<u32>, hold_time_s: Option<u32>) {
    let Some(asn) = asn else { return };
    numbered(text, " (AS ", asn.into(), "");
    if let Some(hold) = hold_time_s {
        numbered(text, ", hold time ", hold.into(), " s");
    }
    text.push(')');
}

fn address(text: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => text.push_str(Dotted::of(ip).as_str()),
        // Writing to a string cannot fail.
        IpAddr::V6(ip) => drop(write!(text, "{ip}")),
    }
}

/// A number between two pieces of text.
fn numbered(text: &mut String, before: &str, number: u64, after: &str) {
    text.push_str(before);
    text.push_str(itoa::Buffer::new().format(number));
    text.push_str(after);
}
