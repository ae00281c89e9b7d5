//! One log line to one [`Event`]. Cannot fail: what cannot be read becomes an `unparsed` event that keeps
//! the line.
//!
//! Invariants: no earlier event is consulted, so any line may be read again alone; a malformed value is in
//! no field but in `problems`; a line's meaning comes from the [`table`], which the documentation prints.
//!
//! Not here: account, names and tags of the connection (`enrich`), and whether `raw` is written (`encode`).

mod bgp;
pub mod escaped;
mod exact;
pub mod id;
mod ike;
pub mod line;
mod pattern;
mod route_server;
pub mod stream;
mod summary;
pub mod table;
mod text;
mod time;
mod words;

use std::borrow::Cow;

use crate::decode::{LogEvent, LogStream};
use crate::event::{
    Action, Bgp, Cloud, Event, EventId, Kind, Log, Millis, Problem, SCHEMA, SessionState, Severity, Tunnel, Vpn,
};
use exact::Found;
use line::Line;
use stream::{LogType, StreamIdentity};
use table::Row;

/// Turns one log line into its event.
///
/// `identity` is what `stream`'s name says, parsed once a record. `observed` is the record's arrival. `id`
/// comes from [`id`]. The summary is written into `text`, whose former content does not matter, so that an
/// event allocates nothing for it. `raw` is always set; `origin` is the caller's to set.
pub fn normalize<'a>(
    log: &'a LogEvent<'a>,
    stream: &'a LogStream<'a>,
    identity: &StreamIdentity<'a>,
    observed: Option<Millis>,
    id: EventId,
    text: &'a mut String,
) -> Event<'a> {
    let raw: &'a str = &log.message;
    let mut problems = Vec::new();
    let line = Line::from_json(raw).unwrap_or_else(|| {
        problems.extend(broken_json(raw));
        text::read(raw)
    });
    Event { raw: Some(raw), ..of_line(&line, problems, log, stream, identity, observed, id, text) }
}

/// As [`normalize`], of a line that has been read already; without `raw`.
#[expect(clippy::too_many_arguments, reason = "`normalize`'s, and what it has read")]
pub fn of_line<'a>(
    line: &Line<'a>,
    mut problems: Vec<Problem<'a>>,
    log: &'a LogEvent<'a>,
    stream: &'a LogStream<'a>,
    identity: &StreamIdentity<'a>,
    observed: Option<Millis>,
    id: EventId,
    text: &'a mut String,
) -> Event<'a> {
    let time = time::event_time(line, log.timestamp, observed, &mut problems);
    let peer = line.resource_arn.text().map(route_server::Peer::parse);
    let vpn = vpn(line, &stream.stream, identity, peer.is_some(), &mut problems);
    let region = peer.as_ref().and_then(|peer| peer.region.clone());
    let account = peer.as_ref().and_then(|peer| peer.account_id.clone());
    // An event is large: what its line means is filled in where it stays.
    let mut event = Event {
        schema: SCHEMA,
        id,
        time,
        observed,
        kind: Kind::Unparsed,
        action: Action::Unparsed,
        transition: None,
        session_state: None,
        severity: Severity::Warning,
        summary: "",
        cloud: Cloud {
            provider: "aws",
            account_id: log.account.as_deref().map(Cow::Borrowed).or(account),
            account_name: None,
            account_ou: None,
            region: log.region.as_deref().map(Cow::Borrowed).or(region),
        },
        vpn,
        route_server: peer.map(route_server::Peer::into_event),
        bgp: None,
        ike: None,
        problems,
        log: Log {
            group_name: &stream.group,
            stream_name: &stream.stream,
            event_id: &log.id,
            owner_account_id: &stream.owner,
        },
        origin: None,
        raw: None,
    };
    let details = line.details.text();
    let row = meaning(line, details.as_ref(), identity, &mut event);
    (event.kind, event.action, event.transition, event.severity) = (row.kind, row.action, row.transition, row.severity);
    summary::write(text, &event, row, details.as_deref(), &log.message);
    event.summary = text;
    event
}

/// The problem of a line that begins as JSON and is none, so that formats which keep only the lines with
/// problems keep this one.
fn broken_json(raw: &str) -> Option<Problem<'_>> {
    const EXCERPT_CHARS: usize = 160;
    let end = raw.char_indices().nth(EXCERPT_CHARS).map_or(raw.len(), |(end, _)| end);
    let value = Cow::Borrowed(raw.get(..end)?);
    raw.trim_start().starts_with('{').then_some(Problem { field: "not_json", value })
}

/// Which of the known logs a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Session,
    Bfd,
    Route,
    Ike,
    Unknown,
}

/// Both log types may share a log group, so each line is classified by itself; the stream's name only
/// settles what the line leaves open.
fn form(line: &Line<'_>, details: Option<&str>, identity: &StreamIdentity<'_>) -> Form {
    if let Some(log_type) = line.log_type.str() {
        let known = [("BGPStatus", Form::Session), ("RouteStatus", Form::Route), ("BFDStatus", Form::Bfd)];
        let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(log_type));
        return found.map_or(Form::Unknown, |(_, form)| *form);
    }
    if line.has_ike_key() {
        return Form::Ike;
    }
    let status = line.status.str().unwrap_or_default();
    if ["ADVERTISED", "UPDATED", "WITHDRAWN"].iter().any(|known| known.eq_ignore_ascii_case(status)) {
        return Form::Route;
    }
    let Some(details) = details else { return Form::Unknown };
    if words::after(details, "aws-side peer").is_some() {
        Form::Session
    } else if table::ike_row(details).is_some() {
        Form::Ike
    } else if line.prefix.is_present() && words::after(details, "denied").is_some() {
        Form::Route
    } else if identity.log_type == Some(LogType::Ike) {
        Form::Ike
    } else {
        Form::Unknown
    }
}

/// Fills in what the line means; its row.
fn meaning<'a>(
    line: &Line<'a>,
    details: Option<&Cow<'a, str>>,
    identity: &StreamIdentity<'a>,
    event: &mut Event<'a>,
) -> &'static Row {
    let Event { session_state, bgp, ike, problems, .. } = event;
    match form(line, details.map(|details| &**details), identity) {
        Form::Session => {
            *session_state = bgp::session_state(&line.status);
            let Some(details) = details else { return snapshot_row(Kind::BgpSession, *session_state) };
            let found = table::find_session(details).unwrap_or(Found::from(&table::SESSION_OTHER));
            bgp::session(bgp.insert(Bgp::default()), details, &found, problems);
            found.row
        }
        Form::Bfd => {
            *session_state = bgp::session_state(&line.status);
            snapshot_row(Kind::BfdSession, *session_state)
        }
        Form::Route => {
            let action = bgp::route(bgp.insert(Bgp::default()), line, problems);
            table::row_of(table::ROUTE, Kind::BgpRoute, action)
        }
        Form::Ike => {
            let row = details.and_then(|details| table::ike_row(details)).unwrap_or(&table::IKE_OTHER);
            let read = ike.insert(ike::read(line, details, problems));
            *session_state = ike::session_state(read.phase2);
            let is_replaced = row.action == Action::Phase1Deleted && *session_state == Some(SessionState::Up);
            if is_replaced { &table::PHASE1_REPLACED } else { row }
        }
        Form::Unknown => &table::UNPARSED,
    }
}

fn snapshot_row(kind: Kind, state: Option<SessionState>) -> &'static Row {
    let action: Action = route_server::snapshot(kind, state);
    table::row_of(table::SNAPSHOT, kind, action)
}

/// Connection and tunnel: the line's own `resource_id`, else what the stream's name says.
fn vpn<'a>(
    line: &Line<'a>,
    stream_name: &str,
    identity: &StreamIdentity<'a>,
    is_route_server: bool,
    problems: &mut Vec<Problem<'a>>,
) -> Option<Vpn<'a>> {
    let Some(resource) = line.resource_id.text() else {
        return if is_route_server { None } else { known_vpn(identity.connection_id?, identity) };
    };
    // The usual case: the stream's name begins with the resource id, so it has been read already.
    if let Some(rest) = stream_name.strip_prefix(&*resource)
        && (rest.is_empty() || rest.starts_with("-BGP") || rest.starts_with("-IKE"))
        && identity.outside_ip.is_some()
    {
        return known_vpn(identity.connection_id?, identity);
    }
    let own = StreamIdentity::parse(&resource);
    let Some(connection_id) = own.connection_id else {
        problems.push(Problem { field: "vpn.connection_id", value: resource });
        return known_vpn(identity.connection_id?, identity);
    };
    let same = identity.connection_id == Some(connection_id);
    let outside_ip = own.outside_ip.or(identity.outside_ip.filter(|_| same));
    let connection_id = bgp::part(&resource, connection_id);
    if own.outside_ip.is_none() && resource.len() > connection_id.len() {
        problems.push(Problem { field: "vpn.tunnel.outside_ip", value: resource });
    }
    Some(bare_vpn(connection_id, outside_ip))
}

fn known_vpn<'a>(connection_id: &'a str, identity: &StreamIdentity<'a>) -> Option<Vpn<'a>> {
    Some(bare_vpn(Cow::Borrowed(connection_id), identity.outside_ip))
}

/// A connection of which nothing but its name and address is known; `enrich` adds the rest.
pub(crate) fn bare_vpn(connection_id: Cow<'_, str>, outside_ip: Option<std::net::IpAddr>) -> Vpn<'_> {
    let tunnel =
        outside_ip.map(|ip| Tunnel { index: None, outside_ip: Some(ip), inside_cidr: None, inside_ipv6_cidr: None });
    Vpn {
        connection_id,
        name: None,
        connection_state: None,
        routing: None,
        transport: None,
        transport_attachment_id: None,
        tunnel,
        customer_gateway: None,
        gateway: None,
        tags: None,
        inventory: None,
    }
}

#[cfg(test)]
mod tests;
