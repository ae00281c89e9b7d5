//! `timeline`: one line an event for a person at a terminal, and the heading of a tunnel's timeline.
//!
//! Log text is written by whoever sits at the other end of a tunnel. Nothing of it reaches the terminal
//! unchecked: control characters, escape sequences and characters that turn the direction of text are shown
//! as `\u{1b}`, and texts are cut. The only escape sequences in a line are the colours written here.

use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;

use anstyle::{AnsiColor, Style};

use crate::event::{Event, Kind, Millis, Severity, Transition, Vpn};

/// Longest summary, in characters.
const MAX_SUMMARY_CHARS: usize = 500;
/// Longest other text, in characters.
const MAX_TEXT_CHARS: usize = 200;
/// Names of connections are padded to this width, so that summaries mostly stand in one column.
const SUBJECT_COLUMNS: usize = 18;
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The resolved format `timeline`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TimelineFormat {
    /// Colours by severity, for terminals.
    pub colour: bool,
    /// The date before the time.
    pub date: bool,
    /// The lines stand under a [heading](TimelineFormat::heading), so that they need not name the tunnel.
    pub grouped: bool,
}

/// What one timeline is about. Ordered as a person looks for it: by name, then tunnel 1 before tunnel 2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupKey {
    /// A tunnel of a connection.
    Tunnel {
        /// The connection's name, else its id.
        name: String,
        /// `vpn-…`
        connection_id: String,
        /// 1 or 2, if the inventory tells.
        index: Option<u8>,
        /// AWS's outside address.
        outside_ip: Option<IpAddr>,
    },
    /// A route server peer.
    RouteServer {
        /// Its ARN.
        arn: String,
    },
    /// A log stream whose name tells neither.
    LogStream {
        /// Log group.
        group_name: String,
        /// Log stream.
        stream_name: String,
    },
}

/// The timeline that the event belongs to.
pub fn group_key(event: &Event<'_>) -> GroupKey {
    if let Some(vpn) = &event.vpn {
        return GroupKey::Tunnel {
            name: vpn.name.unwrap_or(&vpn.connection_id).to_owned(),
            connection_id: vpn.connection_id.to_string(),
            index: vpn.tunnel.as_ref().and_then(|tunnel| tunnel.index),
            outside_ip: vpn.tunnel.as_ref().and_then(|tunnel| tunnel.outside_ip),
        };
    }
    match &event.route_server {
        Some(peer) => GroupKey::RouteServer { arn: peer.arn.to_string() },
        None => GroupKey::LogStream {
            group_name: event.log.group_name.to_owned(),
            stream_name: event.log.stream_name.to_owned(),
        },
    }
}

impl TimelineFormat {
    /// Appends the event as one line.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        let style = self.style(event);
        self.time(event.time, out);
        styled(out, style, |out| push(out, symbol(event)));
        out.extend_from_slice(b" ");
        if !self.grouped {
            let before = out.len();
            subject(event, out);
            let columns = String::from_utf8_lossy(out.get(before..).unwrap_or_default()).chars().count();
            out.extend(std::iter::repeat_n(b' ', SUBJECT_COLUMNS.saturating_sub(columns) + 2));
        }
        styled(out, style, |out| clean(out, event.summary, MAX_SUMMARY_CHARS));
        styled(out, self.dim(), |out| extras(event, out));
        out.push(b'\n');
    }

    /// Appends the heading of the timeline that `event` belongs to, as one line: who it is and where.
    pub fn heading(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        styled(out, self.paint(Style::new().bold()), |out| title(event, out));
        styled(out, self.dim(), |out| {
            if let Some(vpn) = &event.vpn {
                place_of_tunnel(vpn, out);
            }
            for text in [event.cloud.account_name, event.cloud.account_id.as_deref(), event.cloud.region.as_deref()] {
                part(out, "", text);
            }
        });
        out.push(b'\n');
    }

    fn time(&self, time: Millis, out: &mut Vec<u8>) {
        if self.date {
            let text = time.to_string();
            push(out, text.get(..10).unwrap_or(&text));
            push(out, " ");
        }
        let ms = time.0.rem_euclid(DAY_MS);
        let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        styled(out, self.dim(), |out| {
            push(out, format_args!("{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", ms % 1000))
        });
        push(out, "  ");
    }

    fn style(&self, event: &Event<'_>) -> Option<Style> {
        let style = match (event.severity, event.transition) {
            (Severity::Critical, _) => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
            (Severity::Error, _) => AnsiColor::Red.on_default(),
            (_, Some(Transition::Up)) => AnsiColor::Green.on_default(),
            (Severity::Warning, _) => AnsiColor::Yellow.on_default(),
            (Severity::Notice, _) => AnsiColor::Cyan.on_default(),
            (Severity::Info, _) => return None,
            (Severity::Debug, _) => Style::new().dimmed(),
        };
        self.paint(style)
    }

    fn dim(&self) -> Option<Style> {
        self.paint(Style::new().dimmed())
    }

    fn paint(&self, style: Style) -> Option<Style> {
        Some(style).filter(|_| self.colour)
    }
}

fn symbol(event: &Event<'_>) -> &'static str {
    match (event.transition, event.severity) {
        (Some(Transition::Up), _) => "▲",
        (Some(Transition::Down), _) => "▼",
        _ if event.kind == Kind::Unparsed => "?",
        (None, Severity::Critical | Severity::Error) => "✖",
        (None, Severity::Warning) => "!",
        (None, Severity::Notice) => "•",
        (None, Severity::Info | Severity::Debug) => "·",
    }
}

/// Connection and tunnel in short: `seoul-dc-primary/1`.
fn subject(event: &Event<'_>, out: &mut Vec<u8>) {
    let Some(vpn) = &event.vpn else {
        let peer = event.route_server.as_ref().map(|peer| peer.peer_id.as_deref().unwrap_or(&peer.arn));
        let name = peer.or(Some(event.log.stream_name).filter(|name| !name.is_empty()));
        return clean(out, name.unwrap_or("-"), MAX_TEXT_CHARS);
    };
    clean(out, vpn.name.unwrap_or(&vpn.connection_id), MAX_TEXT_CHARS);
    match &vpn.tunnel {
        Some(tunnel) if tunnel.index.is_some() => push(out, format_args!("/{}", tunnel.index.unwrap_or_default())),
        Some(tunnel) => {
            if let Some(ip) = tunnel.outside_ip {
                push(out, format_args!("/{ip}"));
            }
        }
        None => {}
    }
}

fn title(event: &Event<'_>, out: &mut Vec<u8>) {
    match &event.vpn {
        Some(vpn) => {
            if let Some(name) = vpn.name {
                clean(out, name, MAX_TEXT_CHARS);
                push(out, " ");
            }
            clean(out, &vpn.connection_id, MAX_TEXT_CHARS);
        }
        // IKE lines carry no identity of their own: only the log stream's name tells.
        None if event.route_server.is_none() && event.log.stream_name.is_empty() => {
            push(out, "unknown tunnel (the lines name none; give their log stream's name)");
        }
        None => subject(event, out),
    }
}

fn place_of_tunnel(vpn: &Vpn<'_>, out: &mut Vec<u8>) {
    if let Some(tunnel) = &vpn.tunnel {
        part(out, "tunnel ", tunnel.index.map(|index| index.to_string()).as_deref());
        part(out, "", tunnel.outside_ip.map(|ip| ip.to_string()).as_deref());
    }
    if let Some(gateway) = vpn.customer_gateway {
        part(out, "", gateway.name.as_deref().or(Some(&gateway.id)));
        part(out, "", gateway.ip.map(|ip| ip.to_string()).as_deref());
        part(out, "AS ", gateway.asn.map(|asn| asn.to_string()).as_deref());
    }
    part(out, "site ", vpn.tags.and_then(|tags| tags.get("site")).map(String::as_str));
}

/// What the summary leaves out and a reader wants at hand.
fn extras(event: &Event<'_>, out: &mut Vec<u8>) {
    let path = event.bgp.as_ref().filter(|_| event.kind == Kind::BgpRoute).and_then(|bgp| bgp.as_path.as_deref());
    part(out, "AS path ", path.filter(|path| !event.summary.contains(path)));
    if let Some(ike) = &event.ike {
        part(out, "phase 1 ", ike.phase1.map(|state| state.as_str()));
        part(out, "phase 2 ", ike.phase2.map(|state| state.as_str()));
    }
    for problem in &event.problems {
        part(out, "problem ", Some(problem.field));
    }
    let raw = event.raw.filter(|raw| event.kind == Kind::Unparsed && !event.summary.contains(raw));
    part(out, "", raw);
}

/// ` · label text`, or nothing.
fn part(out: &mut Vec<u8>, label: &str, text: Option<&str>) {
    if let Some(text) = text {
        push(out, format_args!(" · {label}"));
        clean(out, text, MAX_TEXT_CHARS);
    }
}

/// Writes our own text. Writing to a `Vec` cannot fail.
fn push(out: &mut Vec<u8>, text: impl Display) {
    let _ = write!(out, "{text}");
}

/// Puts a style around what `body` writes; around nothing it writes nothing.
fn styled(out: &mut Vec<u8>, style: Option<Style>, body: impl FnOnce(&mut Vec<u8>)) {
    let Some(style) = style else { return body(out) };
    let start = out.len();
    push(out, style);
    let inner = out.len();
    body(out);
    if out.len() == inner {
        out.truncate(start);
    } else {
        push(out, format_args!("{style:#}"));
    }
}

/// Foreign text for a terminal, cut to `limit` characters.
pub fn cleaned(text: &str, limit: usize) -> String {
    let mut out = Vec::new();
    clean(&mut out, text, limit);
    String::from_utf8(out).unwrap_or_default()
}

/// Writes foreign text: at most `limit` characters, and none that a terminal would obey.
fn clean(out: &mut Vec<u8>, text: &str, limit: usize) {
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            return push(out, "…");
        }
        if is_unsafe(character) {
            push(out, character.escape_unicode());
        } else {
            push_char(out, character);
        }
    }
}

fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// C0, DEL and C1 controls (C1 holds the 8-bit CSI), line and paragraph separators, invisible characters
/// and those that turn the direction of text (Unicode TR 36).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;
    use crate::event::{Bgp, CustomerGateway, Ike, PhaseState, Tunnel};
    use crate::sample;

    const PLAIN: TimelineFormat = TimelineFormat { colour: false, date: false, grouped: false };

    fn named<'a>() -> Event<'a> {
        let mut event = sample::established();
        let vpn = event.vpn.as_mut().unwrap();
        vpn.name = Some("seoul-dc-primary");
        vpn.tunnel.as_mut().unwrap().index = Some(1);
        event
    }

    #[track_caller]
    fn check(format: TimelineFormat, event: &Event<'_>, expect: &str) {
        let mut out = Vec::new();
        format.encode(event, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expect}\n"));
    }

    #[test]
    fn a_line_says_when_what_who() {
        let mut event = named();
        let summary = event.summary;
        check(PLAIN, &event, &format!("05:40:29.641Z  ▲ seoul-dc-primary/1  {summary}"));
        check(
            TimelineFormat { date: true, grouped: true, ..PLAIN },
            &event,
            &format!("2025-11-08 05:40:29.641Z  ▲ {summary}"),
        );
        event.vpn.as_mut().unwrap().name = Some("x");
        check(PLAIN, &event, &format!("05:40:29.641Z  ▲ x/1                 {summary}"));
        event.vpn = Some(sample::vpn("vpn-1", "203.0.113.17"));
        check(PLAIN, &event, &format!("05:40:29.641Z  ▲ vpn-1/203.0.113.17  {summary}"));
        (event.vpn, event.transition, event.severity) = (None, None, Severity::Error);
        let stream = event.log.stream_name;
        check(PLAIN, &event, &format!("05:40:29.641Z  ✖ {stream}  {summary}"));
    }

    #[test]
    fn extras_follow_the_summary() {
        let mut event = named();
        (event.kind, event.transition, event.summary) = (Kind::BgpRoute, None, "10.0.0.0/8 advertised");
        event.bgp = Some(Bgp { as_path: Some("65010 65020".into()), ..Bgp::default() });
        check(PLAIN, &event, "05:40:29.641Z  · seoul-dc-primary/1  10.0.0.0/8 advertised · AS path 65010 65020");
        (event.kind, event.severity, event.summary) = (Kind::Ike, Severity::Warning, "DPD timed out");
        event.ike =
            Some(Ike { phase1: Some(PhaseState::Established), phase2: Some(PhaseState::Down), ..Ike::default() });
        let line = "05:40:29.641Z  ! seoul-dc-primary/1  DPD timed out · phase 1 Established · phase 2 Down";
        check(PLAIN, &event, line);
    }

    #[test]
    fn colours_only_where_asked_for_and_always_closed() {
        let mut event = named();
        (event.severity, event.transition, event.summary) = (Severity::Critical, Some(Transition::Down), "down");
        let colour = TimelineFormat { colour: true, ..PLAIN };
        check(
            colour,
            &event,
            "\u{1b}[2m05:40:29.641Z\u{1b}[0m  \u{1b}[1m\u{1b}[31m▼\u{1b}[0m seoul-dc-primary/1  \
             \u{1b}[1m\u{1b}[31mdown\u{1b}[0m",
        );
    }

    #[test]
    fn log_text_cannot_command_the_terminal() {
        let mut event = named();
        (event.kind, event.transition) = (Kind::Unparsed, None);
        event.summary = "a\u{1b}]0;title\u{7}\u{9b}2J\r\nb\u{202e}c";
        event.vpn.as_mut().unwrap().name = Some("n\u{1b}[31m");
        event.raw = Some("\u{1b}[2Jraw");
        let line = "05:40:29.641Z  ? n\\u{1b}[31m/1       a\\u{1b}]0;title\\u{7}\\u{9b}2J\\u{d}\\u{a}b\\u{202e}c \
                    · \\u{1b}[2Jraw";
        check(PLAIN, &event, line);
    }

    #[test]
    fn long_texts_are_cut() {
        let mut event = named();
        let long = "é".repeat(100_000);
        event.summary = &long;
        check(PLAIN, &event, &format!("05:40:29.641Z  ▲ seoul-dc-primary/1  {}…", "é".repeat(500)));
    }

    #[test]
    fn a_heading_says_who_and_where() {
        let gateway = CustomerGateway {
            id: "cgw-1".into(),
            name: Some("seoul-fw".into()),
            ip: "198.51.100.7".parse().ok(),
            asn: Some(65010),
            device: None,
        };
        let tags = std::collections::BTreeMap::from([("site".to_owned(), "seoul".to_owned())]);
        let mut event = named();
        let vpn = event.vpn.as_mut().unwrap();
        (vpn.customer_gateway, vpn.tags) = (Some(&gateway), Some(&tags));
        (event.cloud.account_name, event.cloud.region) = (Some("net-prod"), Some("ap-northeast-2".into()));
        event.cloud.account_id = Some("123456789012".into());
        let mut out = Vec::new();
        PLAIN.heading(&event, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "seoul-dc-primary vpn-0a1b2c3d4e5f60718 · tunnel 1 · 203.0.113.17 · seoul-fw · 198.51.100.7 · AS 65010 \
             · site seoul · net-prod · 123456789012 · ap-northeast-2\n"
        );
    }

    #[test]
    fn the_two_tunnels_and_equal_addresses_of_two_connections_are_apart() {
        let key = |id, ip| group_key(&Event { vpn: Some(sample::vpn(id, ip)), ..sample::established() });
        assert_ne!(key("vpn-1", "10.0.0.1"), key("vpn-1", "10.0.0.2"));
        assert_ne!(key("vpn-1", "10.0.0.1"), key("vpn-2", "10.0.0.1"));
        assert_eq!(key("vpn-1", "10.0.0.1"), key("vpn-1", "10.0.0.1"));
        let mut event = sample::established();
        event.vpn = Some(Vpn { tunnel: None::<Tunnel>, ..sample::vpn("vpn-1", "10.0.0.1") });
        assert!(group_key(&event) < key("vpn-1", "10.0.0.1"));
    }
}
