//! The texts of log lines, exactly as AWS writes them (FACTS 1 and 2): documented messages only.
//!
//! The JSON is spaced as Python's `json.dumps` does, with the keys in the documented order. A line carries no
//! state: which line comes when is `session` and `ike`.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use super::plan::Connection;
use crate::event::Millis;

/// One line of a `…-BGP.log` stream with `type` `BGPStatus`.
#[derive(Clone, Copy, Debug)]
pub(super) enum BgpMessage {
    State(&'static str, &'static str),
    PrefixWarning { received: u32, limit: u32 },
    PrefixExceeded { received: u32, limit: u32 },
    CeaseSent(u8),
    CeaseReceived(u8),
    HoldTimerExpired,
    BadOpen { remote: u32, expected: u32 },
    OpenReceived { asn: u32, router_id: Ipv4Addr },
    OpenSent { asn: u32, router_id: Ipv4Addr },
    Connecting,
    EndOfRib,
    Attributes(AsPath),
}

/// RFC 4486's subcodes of Cease, as AWS spells them. Index 0 is subcode 1.
const CEASE: [&str; 7] = [
    "Maximum Number of Prefixes Reached",
    "Administrative Shutdown",
    "Peer Unconfigured",
    "Administrative Reset",
    "Connection Rejected",
    "Other Configuration Change",
    "Connection Collision Resolution",
];

impl BgpMessage {
    /// AWS's snapshot of the session when it writes the line.
    fn status(self) -> &'static str {
        match self {
            BgpMessage::State(_, "Established")
            | BgpMessage::PrefixWarning { .. }
            | BgpMessage::EndOfRib
            | BgpMessage::Attributes(_) => "UP",
            _ => "DOWN",
        }
    }

    fn write(self, out: &mut String, peer: IpAddr) -> fmt::Result {
        out.push_str("AWS-side peer ");
        let cease = |code: u8| CEASE.get(usize::from(code).wrapping_sub(1)).copied().unwrap_or("Unspecific");
        match self {
            BgpMessage::State(from, to) => {
                write!(out, "BGP session state has changed from {from} to {to} with neighbor {peer}")
            }
            BgpMessage::PrefixWarning { received, limit } => write!(
                out,
                "is reporting a maximum prefix limit warning - received {received} prefixes from neighbor {peer}, limit is {limit}"
            ),
            BgpMessage::PrefixExceeded { received, limit } => write!(
                out,
                "detected the maximum prefix limit was exceeded - received {received} prefixes from neighbor {peer}, limit is {limit}"
            ),
            BgpMessage::CeaseSent(code) => {
                write!(out, "sent a notification 6/{code} (Cease/{}) to neighbor {peer}", cease(code))
            }
            BgpMessage::CeaseReceived(code) => {
                write!(out, "received notification 6/{code} (Cease/{}) from neighbor {peer}", cease(code))
            }
            BgpMessage::HoldTimerExpired => write!(out, "sent a Hold Timer Expired notification to neighbor {peer}"),
            BgpMessage::BadOpen { remote, expected } => {
                write!(
                    out,
                    "detected a bad OPEN message from neighbor {peer}- remote AS is {remote}, expected {expected}"
                )
            }
            // The stray brace is in AWS's documentation.
            BgpMessage::OpenReceived { asn, router_id } => write!(
                out,
                "received an OPEN message from neighbor {peer}- version 4, AS {asn}, holdtime 30, router-id {router_id}}}"
            ),
            BgpMessage::OpenSent { asn, router_id } => write!(
                out,
                "sent an OPEN message to neighbor {peer}- version 4, AS {asn}, holdtime 30, router-id {router_id}"
            ),
            BgpMessage::Connecting => write!(out, "is initiating a connection (via Connect) to neighbor {peer}"),
            BgpMessage::EndOfRib => write!(out, "sent an End-of-RIB message to neighbor {peer}"),
            BgpMessage::Attributes(path) => {
                write!(out, "received update with attributes from neighbor {peer}- AS path: {path}")
            }
        }
    }
}

/// An AS path: the first AS `times` times, then `transit` further ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct AsPath {
    pub(super) first: u32,
    pub(super) times: u8,
    pub(super) transit: u8,
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        for _ in 1..self.times {
            write!(f, " {}", self.first)?;
        }
        for hop in 0..u32::from(self.transit) {
            write!(f, " {}", 64900 + hop * 10)?;
        }
        Ok(())
    }
}

/// What the peer did with a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RouteStatus {
    Advertised,
    Updated,
    Withdrawn,
}

/// Why AWS denied a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    OwnAs,
    NextHop,
}

/// One line of type `RouteStatus`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) status: RouteStatus,
    /// The number of the site's prefix.
    pub(super) prefix: u32,
    pub(super) path: AsPath,
    pub(super) med: u32,
    pub(super) denied: Option<Denied>,
    /// Only the prefix: one of the two forms in which a withdrawal may come.
    pub(super) bare: bool,
}

/// The states of phase 1 and 2 in an IKE line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phases(pub(super) &'static str, pub(super) &'static str);

/// Both phases established.
pub(super) const UP: Phases = Phases("Established", "Established");
/// Phase 1 holds, phase 2 does not.
pub(super) const HALF: Phases = Phases("Established", "Down");
/// Phase 1 is being negotiated.
pub(super) const TRYING: Phases = Phases("Negotiating", "Down");
/// Neither.
pub(super) const DEAD: Phases = Phases("Down", "Down");

/// `details` of a line of an `…-IKE.log` stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum IkeMessage {
    PeerDead,
    PskInvalid,
    NoProposalPhase1,
    NoProposalPhase2,
    DeletePhase2(u32),
    DeleteIke,
    DpdTimeout,
    RekeyCollision,
    RedundantSa,
    Phase2Failed,
    TsUnacceptable,
    AuthFailed,
    PskMismatch,
    Phase1Timeout,
    ProcessedRequest(u32),
    SendingResponse(u32),
    SendingRequest(u32),
    ProcessedResponse(u32),
}

impl IkeMessage {
    /// The text, escaped for JSON.
    fn write(self, out: &mut String, peer: Ipv4Addr) -> fmt::Result {
        let fixed = match self {
            IkeMessage::PeerDead => "Peer is not responsive - Declaring peer dead",
            IkeMessage::PskInvalid => "AWS tunnel payload decryption was unsuccessful due to invalid Pre-shared Key",
            IkeMessage::NoProposalPhase1 => "No Proposal Match Found by AWS",
            IkeMessage::NoProposalPhase2 => r#"No Proposal Match Found. Notifying with \"No proposal chosen\""#,
            IkeMessage::DeleteIke => "AWS tunnel received DELETE for IKE_SA from CGW",
            IkeMessage::DpdTimeout => "AWS tunnel DPD timed out after 3 retransmits",
            IkeMessage::RekeyCollision => "AWS tunnel detected a (CHILD_REKEY) collision as CHILD_DELETE",
            IkeMessage::RedundantSa => "AWS tunnel (CHILD_SA) redundant SA is being deleted due to detected collision",
            IkeMessage::Phase2Failed => "AWS tunnel Phase 2 was unable to establish while keeping Phase 1",
            IkeMessage::TsUnacceptable => "AWS: Traffic Selector: TS_UNACCEPTABLE: received from responder",
            IkeMessage::AuthFailed => "AWS tunnel is sending AUTHENTICATION_FAILED as the response",
            IkeMessage::DeletePhase2(spi) => {
                return write!(out, "AWS tunnel received DELETE for Phase 2 SA with SPI: 0x{spi:08x}");
            }
            IkeMessage::PskMismatch => {
                return write!(out, "AWS tunnel detected a pre-shared key mismatch with cgw: {peer}");
            }
            IkeMessage::Phase1Timeout => {
                return write!(out, "AWS tunnel Timeout: deleting un-established Phase 1 IKE_SA with cgw: {peer}");
            }
            IkeMessage::ProcessedRequest(id) => {
                return write!(out, "AWS tunnel processed request (id={id}) for CREATE_CHILD_SA");
            }
            IkeMessage::SendingResponse(id) => {
                return write!(out, "AWS tunnel is sending response (id={id}) for CREATE_CHILD_SA");
            }
            IkeMessage::SendingRequest(id) => {
                return write!(out, "AWS tunnel is sending request (id={id}) for CREATE_CHILD_SA");
            }
            IkeMessage::ProcessedResponse(id) => {
                return write!(out, "AWS tunnel processed response (id={id}) for CREATE_CHILD_SA");
            }
        };
        out.write_str(fixed)
    }
}

/// One line of a VPC Route Server peer.
#[derive(Clone, Copy, Debug)]
pub(super) enum RouteServerLine {
    Bgp(&'static str),
    Bfd(&'static str),
    Route(RouteStatus, u32),
}

/// A log line before it is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line {
    Bgp(BgpMessage),
    Route(Route),
    Ike(IkeMessage, Phases),
}

/// Writes one line of a tunnel's log. Writing to a `String` cannot fail.
pub(super) fn write(out: &mut String, connection: &Connection, tunnel: usize, at: i64, line: Line) {
    let _ = match line {
        Line::Bgp(message) => bgp(out, connection, tunnel, at, message),
        Line::Route(line) => route(out, connection, tunnel, at, line),
        Line::Ike(message, phases) => ike(out, connection, at, message, phases),
    };
}

/// `2025-11-08 05:40:29.641Z`: the BGP logs write a space for the `T`.
fn spaced(at: i64) -> String {
    Millis(at).to_string().replace('T', " ")
}

fn head(out: &mut String, connection: &Connection, tunnel: usize, at: i64) -> fmt::Result {
    let outside = connection.tunnels[tunnel].outside;
    let time = spaced(at);
    write!(out, r#"{{"resource_id": "{}_{outside}", "event_timestamp": {at}, "timestamp": "{time}", "#, connection.id)
}

fn bgp(out: &mut String, connection: &Connection, tunnel: usize, at: i64, message: BgpMessage) -> fmt::Result {
    head(out, connection, tunnel, at)?;
    write!(out, r#""type": "BGPStatus", "status": "{}", "message": {{"details": ""#, message.status())?;
    message.write(out, connection.neighbor(tunnel))?;
    out.write_str("\"}}")
}

fn route(out: &mut String, connection: &Connection, tunnel: usize, at: i64, route: Route) -> fmt::Result {
    head(out, connection, tunnel, at)?;
    let status = word(route.status);
    write!(out, r#""type": "RouteStatus", "status": "{status}", "message": {{"#)?;
    write!(out, r#""prefix": "{}""#, connection.prefix(route.prefix))?;
    if !route.bare {
        let weight = if route.denied == Some(Denied::NextHop) { 0 } else { 32768 };
        write!(out, r#", "asPath": "{}", "localPref": 100, "med": {}, "#, route.path, route.med)?;
        match (route.denied, connection.ipv6) {
            (Some(Denied::NextHop), true) => write!(out, r#""nextHopIp": "2001:db8:ffff::9""#)?,
            (Some(Denied::NextHop), false) => write!(out, r#""nextHopIp": "192.0.2.9""#)?,
            _ => write!(out, r#""nextHopIp": "{}""#, connection.neighbor(tunnel))?,
        }
        write!(out, r#", "weight": {weight}"#)?;
    }
    match route.denied {
        Some(Denied::OwnAs) => out.write_str(r#", "details": "DENIED due to: as-path contains our own AS""#)?,
        Some(Denied::NextHop) => out.write_str(r#", "details": "DENIED due to: non-connected next-hop""#)?,
        None => {}
    }
    out.write_str("}}")
}

fn ike(out: &mut String, connection: &Connection, at: i64, message: IkeMessage, phases: Phases) -> fmt::Result {
    let seconds = at.div_euclid(1000);
    let nat_t = connection.nat_t;
    if connection.older_ike_log {
        let nat_t = if nat_t { "True" } else { "False" };
        let Phases(phase1, phase2) = Phases(lower(phases.0), lower(phases.1));
        write!(out, r#"{{"event_timestamp": {seconds}, "dpd_enabled": "True", "nat_t_detected": "{nat_t}", "#)?;
        write!(out, r#""ike_phase1_state": "{phase1}", "ike_phase2_state": "{phase2}", "details": ""#)?;
    } else {
        let time = spaced(at);
        write!(out, r#"{{"event_timestamp": {seconds}, "timestamp": "{time}", "dpd_enabled": true, "#)?;
        write!(out, r#""nat_t_detected": {nat_t}, "ike_phase1_state": "{}", "#, phases.0)?;
        write!(out, r#""ike_phase2_state": "{}", "details": ""#, phases.1)?;
    }
    message.write(out, connection.customer_gateway.ip)?;
    out.write_str("\"}")
}

fn lower(state: &'static str) -> &'static str {
    match state {
        "Established" => "established",
        "Rekeying" => "rekeying",
        "Negotiating" => "negotiating",
        _ => "down",
    }
}

fn word(status: RouteStatus) -> &'static str {
    match status {
        RouteStatus::Advertised => "ADVERTISED",
        RouteStatus::Updated => "UPDATED",
        RouteStatus::Withdrawn => "WITHDRAWN",
    }
}

/// Writes one line of a route server peer: no `timestamp`, and `message` may be null.
pub(super) fn write_route_server(out: &mut String, arn: &str, at: i64, line: RouteServerLine) {
    let _ = write!(out, r#"{{"resource_arn": "{arn}", "event_timestamp": {at}, "#);
    let _ = match line {
        RouteServerLine::Bgp(status) => {
            write!(out, r#""type": "BGPStatus", "status": "{status}", "message": null}}"#)
        }
        RouteServerLine::Bfd(status) => {
            write!(out, r#""type": "BFDStatus", "status": "{status}", "message": null}}"#)
        }
        RouteServerLine::Route(status, number) => write!(
            out,
            r#""type": "RouteStatus", "status": "{}", "message": {{"prefix": "10.24.{number}.0/24", "asPath": "65000", "med": 100, "nextHopIp": "10.24.34.1"}}}}"#,
            word(status)
        ),
    };
}
