//! BGP: session messages and routes.
//!
//! `status` is a snapshot, not an edge; edges come from the table's rows alone.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

use super::exact::Found;
use super::line::{Line, Scalar};
use super::words::{after, ip, token_after};
use crate::event::{Action, AsNumbers, Bgp, Direction, Dotted, Notification, Problem, SessionState, as_number};

/// AWS's word for a session's state.
pub(crate) fn session_state(status: &Scalar<'_>) -> Option<SessionState> {
    match status.str()? {
        status if status.eq_ignore_ascii_case("UP") => Some(SessionState::Up),
        status if status.eq_ignore_ascii_case("DOWN") => Some(SessionState::Down),
        _ => None,
    }
}

/// Fills in what a session's message says, given what was found of it.
#[expect(clippy::ptr_arg, reason = "a piece of a borrowed message is borrowed")]
pub(super) fn session<'a>(
    bgp: &mut Bgp<'a>,
    details: &Cow<'a, str>,
    found: &Found<'_>,
    problems: &mut Vec<Problem<'a>>,
) {
    let mut read = Reader { details, problems };
    let usual = found.neighbor.and_then(Dotted::parse).map(IpAddr::V4);
    bgp.neighbor = usual.or_else(|| read.value("bgp.neighbor", token_after(details, "neighbor"), ip));
    match found.row.action {
        Action::Established | Action::Down | Action::StateChanged => {
            if let Some(states) = found.states {
                [bgp.from_state, bgp.to_state] = states.map(|state| Some(Cow::Borrowed(state)));
                return;
            }
            let states = after(details, "changed from").unwrap_or_default();
            bgp.from_state = token_after(details, "changed from").map(|state| read.state(state));
            bgp.to_state = token_after(states, "to").map(|state| read.state(state));
        }
        Action::HoldTimerExpired | Action::NotificationSent => {
            bgp.notification = Some(read.notification(Direction::Sent));
        }
        Action::NotificationReceived => bgp.notification = Some(read.notification(Direction::Received)),
        Action::PrefixLimitWarning | Action::PrefixLimitExceeded => {
            bgp.prefix_count = read.number("bgp.prefix_count", token_after(details, "received"));
            bgp.prefix_limit = read.number("bgp.prefix_limit", token_after(details, "limit is"));
        }
        Action::BadOpen => {
            bgp.peer_asn = read.number("bgp.peer_asn", token_after(details, "remote AS is"));
            bgp.expected_asn = read.number("bgp.expected_asn", token_after(details, "expected"));
        }
        Action::OpenReceived => {
            bgp.peer_asn = read.number("bgp.peer_asn", token_after(details, "AS "));
            read.open(bgp);
        }
        Action::OpenSent => {
            bgp.local_asn = read.number("bgp.local_asn", token_after(details, "AS "));
            read.open(bgp);
        }
        Action::AttributesReceived => {
            if let Some(path) = after(details, "AS path").map(|path| path.trim_start_matches([':', ' ']).trim_end()) {
                let path = part(details, path);
                as_path(bgp, path, read.problems);
            }
        }
        _ => {}
    }
}

/// Reads values out of a message; what is malformed goes to the problems.
struct Reader<'r, 'a> {
    details: &'r Cow<'a, str>,
    problems: &'r mut Vec<Problem<'a>>,
}

impl<'a> Reader<'_, 'a> {
    fn value<T>(&mut self, field: &'static str, token: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let token = token?;
        let value = parse(token);
        if value.is_none() {
            self.problems.push(Problem { field, value: part(self.details, token) });
        }
        value
    }

    fn number<T: FromStr>(&mut self, field: &'static str, token: Option<&str>) -> Option<T> {
        self.value(field, token, |token| token.parse().ok())
    }

    /// One of RFC 4271's states in its usual spelling; any other word as logged.
    fn state(&self, state: &str) -> Cow<'a, str> {
        const STATES: [&str; 6] = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];
        match STATES.iter().find(|known| known.eq_ignore_ascii_case(state)) {
            Some(known) => Cow::Borrowed(known),
            None => part(self.details, state),
        }
    }

    /// `6/2 (Cease/Administrative Shutdown)`, or the hold timer's, which has no numbers.
    fn notification(&mut self, direction: Direction) -> Notification<'a> {
        if after(self.details, "hold timer expired").is_some() {
            // RFC 4271 section 6.5: Hold Timer Expired is error code 4, without subcodes.
            let name = Some(Cow::Borrowed("Hold Timer Expired"));
            return Notification { direction, code: Some(4), subcode: None, name };
        }
        let details = self.details;
        let rest = after(details, "notification").unwrap_or_default();
        let numbers = rest.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
        let (code, subcode) = match numbers.split_once('/') {
            Some((code, subcode)) => (code, Some(subcode)),
            None => (numbers, None),
        };
        let code = Some(code).filter(|code| code.starts_with(|c: char| c.is_ascii_digit()));
        let name = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(name, _)| name.trim());
        Notification {
            direction,
            code: self.number("bgp.notification.code", code),
            subcode: self.number("bgp.notification.subcode", subcode),
            name: name.filter(|name| !name.is_empty()).map(|name| part(details, name)),
        }
    }

    /// Hold time and router id of an OPEN message.
    fn open(&mut self, bgp: &mut Bgp<'a>) {
        bgp.hold_time_s = self.number("bgp.hold_time_s", token_after(self.details, "holdtime"));
        bgp.router_id = self.value("bgp.router_id", token_after(self.details, "router-id"), ip);
    }
}

/// Fills in what the line says about a route; the action.
pub(crate) fn route<'a>(bgp: &mut Bgp<'a>, line: &Line<'a>, problems: &mut Vec<Problem<'a>>) -> Action {
    bgp.prefix = prefix(&line.prefix, problems);
    if let Some(path) = line.as_path.text() {
        as_path(bgp, path, problems);
    }
    bgp.local_pref = number("bgp.local_pref", &line.local_pref, problems);
    bgp.med = number("bgp.med", &line.med, problems);
    bgp.weight = number("bgp.weight", &line.weight, problems);
    bgp.next_hop = line.next_hop.text().and_then(|text| {
        let address = ip(&text);
        if address.is_none() {
            problems.push(Problem { field: "bgp.next_hop", value: text });
        }
        address
    });
    let denied = line.details.text().and_then(|details| denied(&details));
    let status = line.status.str();
    let is = |word: &str| status.is_some_and(|status| status.eq_ignore_ascii_case(word));
    let action = match denied.is_some() {
        _ if is("WITHDRAWN") => Action::Withdrawn,
        true if is("ADVERTISED") || is("UPDATED") || status.is_none() => Action::Rejected,
        _ if is("ADVERTISED") => Action::Advertised,
        _ if is("UPDATED") => Action::Updated,
        _ => Action::Other,
    };
    if action == Action::Rejected {
        bgp.rejected_because = denied;
    }
    action
}

/// Why a route was denied; nothing if it was not.
fn denied<'a>(details: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    let rest = after(details, "denied")?;
    let because = after(rest, "due to").unwrap_or(rest).trim_start_matches(':').trim();
    // FRR's own texts end in `;`, some of AWS's in `}`.
    let because = because.trim_end_matches(['}', ' ', ';', '.']);
    Some(part(details, if because.is_empty() { details } else { because }))
}

/// A prefix with its host bits cleared; that they were set is a problem of its own.
fn prefix<'a>(value: &Scalar<'a>, problems: &mut Vec<Problem<'a>>) -> Option<IpNet> {
    let text = value.text()?;
    let prefix = usual_prefix(&text).or_else(|| text.parse().ok());
    if prefix.is_none_or(|prefix| prefix != prefix.trunc()) {
        problems.push(Problem { field: "bgp.prefix", value: text });
    }
    prefix.map(|prefix| prefix.trunc())
}

/// An IPv4 prefix as it is written usually.
fn usual_prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    let length = match length.as_bytes() {
        [ones @ b'0'..=b'9'] => ones - b'0',
        [tens @ b'1'..=b'3', ones @ b'0'..=b'9'] => 10 * (tens - b'0') + ones - b'0',
        _ => return None,
    };
    Ipv4Net::new(Dotted::parse(address)?, length).ok().map(IpNet::V4)
}

fn number<'a>(field: &'static str, value: &Scalar<'a>, problems: &mut Vec<Problem<'a>>) -> Option<u64> {
    let number = value.u64();
    if number.is_none()
        && let Some(text) = value.text()
    {
        problems.push(Problem { field, value: text });
    }
    number
}

/// Sets the path, its numbers and its origin. A path of anything but numbers and sets is a problem.
fn as_path<'a>(bgp: &mut Bgp<'a>, path: Cow<'a, str>, problems: &mut Vec<Problem<'a>>) {
    if path.is_empty() {
        return;
    }
    let numbers = AsNumbers::of(path.clone());
    if numbers.plain().is_none() && !is_path(path.as_bytes()) {
        problems.push(Problem { field: "bgp.as_path", value: path });
        return;
    }
    // A route that ends in an AS set was aggregated: its origin is not one AS (RFC 6472).
    if path.ends_with(|c: char| c.is_ascii_digit()) {
        bgp.origin_asn = numbers.last();
    }
    bgp.as_path_asns = Some(numbers);
    bgp.as_path = Some(path);
}

/// Whether a path is nothing but AS numbers and sets.
fn is_path(path: &[u8]) -> bool {
    let is_allowed =
        |byte: &u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'{' | b'}' | b'(' | b')' | b'[' | b']' | b',');
    let fits = |asn: &[u8]| asn.len() < 10 || as_number(asn).is_some();
    path.iter().all(is_allowed) && path.split(|byte| !byte.is_ascii_digit()).all(fits)
}

/// `piece` of `whole`: borrowed if `whole` is.
pub(crate) fn part<'a>(whole: &Cow<'a, str>, piece: &str) -> Cow<'a, str> {
    let borrowed = match whole {
        Cow::Borrowed(whole) => {
            // A piece is nearly always the very place that it was found at; else an equal text does.
            let at = (piece.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
            let here = whole.get(at..at.wrapping_add(piece.len())).filter(|here| *here == piece);
            here.or_else(|| whole.find(piece).and_then(|at| whole.get(at..at + piece.len())))
        }
        Cow::Owned(_) => None,
    };
    borrowed.map_or_else(|| Cow::Owned(piece.to_owned()), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_prefix_is_the_one_that_parses() {
        let lengths =
            (0..45).map(|length| length.to_string()).chain(["", "00", "08", "3a", "+8", "8 "].map(String::from));
        for length in lengths {
            for address in ["10.1.0.0", "255.255.255.255", "01.2.3.4", "10.1", "::", ""] {
                let text = format!("{address}/{length}");
                let (usual, parsed) = (usual_prefix(&text), text.parse().ok());
                assert!(usual.is_none() || usual == parsed, "{text}: {usual:?}, {parsed:?}");
            }
        }
        assert!(usual_prefix("10.1.0.0/0").is_some() && usual_prefix("10.1.0.0/32").is_some());
    }
}
