//! One sentence for a person. Not for parsing: every value in it has a field of its own.
//!
//! A summary is one line without control characters, whatever the log line holds.

use std::fmt::{self, Display, Write as _};
use std::net::IpAddr;

use ipnet::IpNet;

use super::Meaning;
use super::words::push_excerpt;
use crate::event::{Action, Bgp, Dotted, Kind, RouteServer, SessionState, Vpn};

/// What the sentence is about, besides the meaning.
pub(super) struct Subject<'s, 'a> {
    pub(super) vpn: Option<&'s Vpn<'a>>,
    pub(super) route_server: Option<&'s RouteServer<'a>>,
    pub(super) raw: &'s str,
}

/// No summary quotes more of a line than this.
const EXCERPT_CHARS: usize = 160;

/// Writes the sentence into `text`. Writing to a string cannot fail, hence the ignored result.
pub(super) fn write(text: &mut String, meaning: &Meaning<'_>, subject: &Subject<'_, '_>) {
    text.clear();
    let _ = match meaning.row.kind {
        Kind::BgpSession => session(text, meaning, subject),
        Kind::BfdSession => bfd(text, meaning, subject),
        Kind::BgpRoute => route(text, meaning),
        Kind::Ike => ike(text, meaning, subject),
        Kind::Unparsed | Kind::Alert => {
            text.push_str("Log line that could not be read: ");
            push_excerpt(text, subject.raw.trim(), EXCERPT_CHARS)
        }
    };
}

fn session(text: &mut String, meaning: &Meaning<'_>, subject: &Subject<'_, '_>) -> fmt::Result {
    let nothing = Bgp::default();
    let bgp = meaning.bgp.as_ref().unwrap_or(&nothing);
    let neighbor = Neighbor { bgp, subject };
    match meaning.row.action {
        Action::Established if bgp.to_state.is_none() => write!(text, "BGP session with {neighbor} reported up"),
        Action::Down if bgp.to_state.is_none() => write!(text, "BGP session with {neighbor} reported down"),
        Action::Established => write!(text, "BGP session with {neighbor} established{}", Steps(bgp)),
        Action::Down => write!(text, "BGP session with {neighbor} went down{}", Steps(bgp)),
        Action::StateChanged => write!(text, "BGP session with {neighbor} changed state{}", Steps(bgp)),
        Action::HoldTimerExpired => write!(text, "BGP session with {neighbor} closed by AWS: hold timer expired"),
        Action::NotificationSent => write!(text, "AWS sent BGP notification{} to {neighbor}", Named(bgp)),
        Action::NotificationReceived => write!(text, "AWS received BGP notification{} from {neighbor}", Named(bgp)),
        Action::PrefixLimitWarning => {
            write!(text, "BGP neighbor {neighbor} nears its prefix limit{}", Prefixes(bgp))
        }
        Action::PrefixLimitExceeded => {
            write!(text, "BGP neighbor {neighbor} exceeded its prefix limit{}", Prefixes(bgp))
        }
        Action::OpenSent => write!(text, "AWS sent BGP OPEN to {neighbor}{}", Open(bgp.local_asn, bgp)),
        Action::OpenReceived => write!(text, "AWS received BGP OPEN from {neighbor}{}", Open(bgp.peer_asn, bgp)),
        Action::BadOpen => bad_open(text, bgp, &neighbor),
        Action::Connecting => write!(text, "AWS is connecting to BGP neighbor {neighbor}"),
        Action::EndOfRib => write!(text, "AWS sent End-of-RIB to {neighbor}"),
        Action::AttributesReceived => {
            let path = bgp.as_path.as_deref().unwrap_or("unknown");
            write!(text, "BGP update received from {neighbor} (AS path {path})")
        }
        _ => {
            write!(text, "BGP session with {neighbor}: ")?;
            push_excerpt(text, meaning.details.as_deref().unwrap_or("nothing told"), EXCERPT_CHARS)
        }
    }
}

fn bad_open(text: &mut String, bgp: &Bgp<'_>, neighbor: &Neighbor<'_, '_>) -> fmt::Result {
    write!(text, "Bad BGP OPEN from {neighbor}")?;
    match (bgp.peer_asn, bgp.expected_asn) {
        (Some(remote), Some(expected)) => write!(text, ": AS {remote}, expected AS {expected}"),
        _ => Ok(()),
    }
}

fn bfd(text: &mut String, meaning: &Meaning<'_>, subject: &Subject<'_, '_>) -> fmt::Result {
    let nothing = Bgp::default();
    let neighbor = Neighbor { bgp: &nothing, subject };
    let state = match meaning.session_state {
        Some(SessionState::Up) => "reported up",
        Some(SessionState::Down) => "reported down",
        None => "reported in an unknown state",
    };
    write!(text, "BFD session with {neighbor} {state}")
}

fn route(text: &mut String, meaning: &Meaning<'_>) -> fmt::Result {
    let nothing = Bgp::default();
    let bgp = meaning.bgp.as_ref().unwrap_or(&nothing);
    match bgp.prefix {
        Some(IpNet::V4(prefix)) => write!(text, "Route {}/{}", Dotted::of(prefix.addr()), prefix.prefix_len())?,
        Some(prefix) => write!(text, "Route {prefix}")?,
        None => text.push_str("Route of unknown prefix"),
    }
    text.push_str(match meaning.row.action {
        Action::Advertised => " advertised by the peer",
        Action::Updated => " updated by the peer",
        Action::Withdrawn => " withdrawn by the peer",
        Action::Rejected => " rejected by AWS",
        _ => ": a status that AWS does not document",
    });
    if let Some(because) = &bgp.rejected_because {
        text.push_str(": ");
        push_excerpt(text, because, EXCERPT_CHARS)?;
    }
    if let (Action::Advertised | Action::Updated, Some(path)) = (meaning.row.action, &bgp.as_path) {
        text.push_str(" (AS path ");
        push_excerpt(text, path, EXCERPT_CHARS)?;
        text.push(')');
    }
    Ok(())
}

fn ike(text: &mut String, meaning: &Meaning<'_>, subject: &Subject<'_, '_>) -> fmt::Result {
    match tunnel_ip(subject) {
        Some(IpAddr::V4(ip)) => write!(text, "Tunnel {}: ", Dotted::of(ip))?,
        Some(ip) => write!(text, "Tunnel {ip}: ")?,
        None => text.push_str("Tunnel: "),
    }
    if meaning.row.action == Action::Other {
        push_excerpt(text, meaning.details.as_deref().unwrap_or("activity without a message"), EXCERPT_CHARS)
    } else {
        text.write_str(meaning.row.meaning)
    }
}

fn tunnel_ip(subject: &Subject<'_, '_>) -> Option<IpAddr> {
    subject.vpn?.tunnel.as_ref()?.outside_ip
}

/// The peer as a sentence names it.
struct Neighbor<'n, 'a> {
    bgp: &'n Bgp<'a>,
    subject: &'n Subject<'n, 'a>,
}

impl Display for Neighbor<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bgp.neighbor, self.subject.route_server.and_then(|peer| peer.peer_id.as_deref())) {
            (Some(IpAddr::V4(neighbor)), _) => Dotted::of(neighbor).fmt(f),
            (Some(neighbor), _) => neighbor.fmt(f),
            (None, Some(peer)) => push_excerpt(f, peer, EXCERPT_CHARS),
            (None, None) => f.write_str("the peer"),
        }
    }
}

/// ` (OpenConfirm → Established)`
struct Steps<'b, 'a>(&'b Bgp<'a>);

impl Display for Steps<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.from_state, &self.0.to_state) {
            (Some(from), Some(to)) => {
                f.write_str(" (")?;
                push_excerpt(f, from, 40)?;
                f.write_str(" → ")?;
                push_excerpt(f, to, 40)?;
                f.write_str(")")
            }
            _ => Ok(()),
        }
    }
}

/// ` 6/2 (Cease/Administrative Shutdown)`
struct Named<'b, 'a>(&'b Bgp<'a>);

impl Display for Named<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(notification) = &self.0.notification else { return Ok(()) };
        match (notification.code, notification.subcode) {
            (Some(code), Some(subcode)) => write!(f, " {code}/{subcode}")?,
            (Some(code), None) => write!(f, " {code}")?,
            (None, _) => {}
        }
        let Some(name) = &notification.name else { return Ok(()) };
        f.write_str(" (")?;
        push_excerpt(f, name, 80)?;
        f.write_str(")")
    }
}

/// ` (95 received, limit 100)`
struct Prefixes<'b, 'a>(&'b Bgp<'a>);

impl Display for Prefixes<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.prefix_count, self.0.prefix_limit) {
            (Some(count), Some(limit)) => write!(f, ": {count} received, limit {limit}"),
            _ => Ok(()),
        }
    }
}

/// ` (AS 65010, hold time 30 s)`
struct Open<'b, 'a>(Option<u32>, &'b Bgp<'a>);

impl Display for Open<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1.hold_time_s) {
            (Some(asn), Some(hold)) => write!(f, " (AS {asn}, hold time {hold} s)"),
            (Some(asn), None) => write!(f, " (AS {asn})"),
            _ => Ok(()),
        }
    }
}
