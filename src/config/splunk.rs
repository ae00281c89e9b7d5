//! What the Splunk part of a pipeline file may say: addresses, and texts with placeholders. Builds without the feature
//! `splunk`; opens nothing.

use std::fmt::Write as _;

use super::types::SplunkHecSink;
use super::units::Duration;
use crate::delivery::{Item, RecordInfo};

/// What stands for a value that an event does not have.
pub const UNKNOWN: &str = "unknown";

/// An indexed field that every event has.
pub const ID: &str = "id";

/// Below this a healthy indexer, which acknowledges within some seconds, would get everything twice.
const SHORTEST_ACK: Duration = Duration::from_secs(10);
/// What is not acknowledged is held.
const LONGEST_ACK: Duration = Duration::from_secs(3600);
/// Indexed fields of one event: each costs space in the index.
const MOST_FIELDS: usize = 32;
/// A text's length in the pipeline file.
const LONGEST_TEXT: usize = 512;
/// Splunk's own limit of an index's name.
const LONGEST_INDEX: usize = 80;

/// What a text may have in braces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Placeholder {
    Account,
    Region,
    Connection,
    Tunnel,
    LogStream,
    Kind,
    Action,
    Severity,
}

impl Placeholder {
    const ALL: [(&'static str, Placeholder); 8] = [
        ("account", Placeholder::Account),
        ("region", Placeholder::Region),
        ("connection", Placeholder::Connection),
        ("tunnel", Placeholder::Tunnel),
        ("log_stream", Placeholder::LogStream),
        ("kind", Placeholder::Kind),
        ("action", Placeholder::Action),
        ("severity", Placeholder::Severity),
    ];

    /// Appends the value; false if there is none.
    fn append(self, item: &Item, record: &RecordInfo, out: &mut String) -> bool {
        let text = match self {
            Placeholder::Account => record.account.as_deref(),
            Placeholder::Region => record.region.as_deref(),
            Placeholder::Connection => record.connection.as_deref(),
            Placeholder::LogStream => record.log_stream.as_deref(),
            Placeholder::Kind => Some(item.kind.as_str()),
            Placeholder::Action => Some(item.action.as_str()),
            Placeholder::Severity => Some(item.severity.as_str()),
            Placeholder::Tunnel => {
                // Writing to a string cannot fail.
                return record.tunnel.is_some_and(|address| write!(out, "{address}").is_ok());
            }
        };
        out.push_str(text.unwrap_or_default());
        text.is_some_and(|text| !text.is_empty())
    }
}

/// A text with placeholders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    /// Literal text, and what follows it.
    parts: Vec<(String, Option<Placeholder>)>,
}

impl Template {
    /// Reads a template; the error says what is wrong with it and, after a colon, what to do.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let Some((name, tail)) = tail.split_once('}') else { return Err(BRACES.into()) };
            let Some((_, placeholder)) = Placeholder::ALL.iter().find(|(known, _)| *known == name) else {
                let all: Vec<String> = Placeholder::ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                return Err(format!("a placeholder that events do not have: allowed are {}", all.join(", ")));
            };
            parts.push((literal.to_owned(), Some(*placeholder)));
            rest = tail;
        }
        parts.push((rest.to_owned(), None));
        if parts.iter().any(|(literal, _)| literal.contains('}')) {
            return Err(BRACES.into());
        }
        if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
            return Err(format!(
                "not a text that Splunk could show: 1 to {LONGEST_TEXT} bytes without control characters"
            ));
        }
        Ok(Template { parts })
    }

    /// Whether it is the same for all events.
    pub fn is_fixed(&self) -> bool {
        self.parts.iter().all(|(_, placeholder)| placeholder.is_none())
    }

    /// The text of an event. Whether the event has all that the text asks for; what it does not have is [`UNKNOWN`].
    pub fn render(&self, item: &Item, record: &RecordInfo, out: &mut String) -> bool {
        let mut is_whole = true;
        for (literal, placeholder) in &self.parts {
            out.push_str(literal);
            if placeholder.is_some_and(|placeholder| !placeholder.append(item, record, out)) {
                out.push_str(UNKNOWN);
                is_whole = false;
            }
        }
        is_whole
    }

    /// Likewise, as an index may be named: what no index's name may have becomes `_`.
    pub fn render_index(&self, item: &Item, record: &RecordInfo, out: &mut String) {
        let mut text = String::new();
        self.render(item, record, &mut text);
        let legal = |letter: char| if is_legal_in_index(letter) { letter } else { '_' };
        out.extend(text.chars().map(|letter| legal(letter.to_ascii_lowercase())).take(LONGEST_INDEX));
    }
}

const BRACES: &str = "braces that do not close or open: a placeholder is written `{connection}`";

fn is_legal_in_index(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_' || letter == '-'
}

/// What is wrong with the part: the field, and a text whose remedy stands after a colon.
pub fn problems(config: &SplunkHecSink) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        if let Err(text) = check_endpoint(endpoint) {
            problems.push((format!("endpoints.{index}"), text.to_owned()));
        }
    }
    if config.ack_timeout < SHORTEST_ACK || config.ack_timeout > LONGEST_ACK {
        let text = format!("too short or too long for an acknowledgement: {SHORTEST_ACK} to {LONGEST_ACK}");
        problems.push(("ack_timeout".into(), text));
    }
    for (field, text) in [("host", &config.host), ("source", &config.source), ("sourcetype", &config.sourcetype)] {
        problems.extend(Template::parse(text).err().map(|text| (field.to_owned(), text)));
    }
    if let Some(index) = &config.index {
        problems.extend(check_index(index).err().map(|text| ("index".to_owned(), text)));
    }
    if config.fields.len() > MOST_FIELDS {
        problems
            .push(("fields".into(), format!("more indexed fields than an index should have: at most {MOST_FIELDS}")));
    }
    for (name, text) in &config.fields {
        let field = format!("fields.{name}");
        if let Err(text) = check_field(name) {
            problems.push((field, text.to_owned()));
        } else if let Err(text) = Template::parse(text) {
            problems.push((field, text));
        }
    }
    problems
}

fn check_index(index: &str) -> Result<(), String> {
    let template = Template::parse(index)?;
    let mut literals = template.parts.iter().flat_map(|(literal, _)| literal.chars());
    let first = index.chars().next().unwrap_or_default();
    if !literals.all(is_legal_in_index) || matches!(first, '_' | '-') || index.len() > LONGEST_INDEX {
        return Err(format!(
            "not the name of an index: 1 to {LONGEST_INDEX} of a-z, 0-9, `_` and `-`, a letter or a digit first"
        ));
    }
    Ok(())
}

fn check_field(name: &str) -> Result<(), &'static str> {
    if name == ID {
        return Err("every event has the field `id` of its own: choose another name");
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if name.is_empty() || name.starts_with('_') || !name.bytes().all(legal) {
        return Err("not the name of a field: letters, digits, `_` and `.`, and no `_` first");
    }
    Ok(())
}

/// `https://HOST[:PORT][/PREFIX]`. Plain HTTP stays on this machine: it would show the token to the network.
fn check_endpoint(endpoint: &str) -> Result<(), &'static str> {
    const FORM: &str = "not the address of an event collector: the form is https://HOST:PORT, for example \
        https://hec.example.com:8088";
    let (is_plain, rest) = match (endpoint.strip_prefix("https://"), endpoint.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(FORM),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("a user in the address: leave it out, the token says who you are");
    }
    if rest.contains(['?', '#']) || path.contains("services/collector") {
        return Err("more than an address: leave out `/services/collector` and what follows it, it is added");
    }
    let host = host_of(authority).ok_or(FORM)?;
    if is_plain && !is_this_machine(host) {
        return Err(
            "plain HTTP would show the token to the network: use https://, with `tls.ca` for an authority of your own",
        );
    }
    Ok(())
}

/// The host, if the port behind it is one.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("443"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "443")),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    (!host.is_empty() && host.bytes().all(legal) && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(host)
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;
    use crate::event::{Action, EventId, Kind, Millis, Severity};

    fn item() -> Item {
        Item {
            end: 0,
            record: 0,
            id: EventId(7),
            time: Millis(0),
            kind: Kind::Ike,
            action: Action::Rekey,
            severity: Severity::Info,
        }
    }

    fn record() -> RecordInfo {
        RecordInfo {
            account: Some("111122223333".into()),
            connection: Some("vpn-0A1".into()),
            tunnel: Some(std::net::Ipv4Addr::new(203, 0, 113, 17).into()),
            ..RecordInfo::default()
        }
    }

    #[test]
    fn a_text_is_made_of_the_event() {
        let check = |text: &str, expect: &str, is_whole: bool| {
            let mut out = String::new();
            let whole = Template::parse(text).unwrap().render(&item(), &record(), &mut out);
            assert_eq!((out.as_str(), whole), (expect, is_whole), "{text}");
        };
        check("vpn", "vpn", true);
        check("{connection}/{tunnel}", "vpn-0A1/203.0.113.17", true);
        check("{account}-{kind}:{action}:{severity}", "111122223333-ike:rekey:info", true);
        check("a {region} b", "a unknown b", false);
        check("{log_stream}", "unknown", false);
    }

    #[test]
    fn an_index_is_named_as_splunk_allows() {
        let mut out = String::new();
        Template::parse("net_{connection}_{region}").unwrap().render_index(&item(), &record(), &mut out);
        assert_eq!(out, "net_vpn-0a1_unknown");
        for (index, good) in [("vpn", true), ("vpn_{account}", true), ("_internal", false), ("VPN", false), ("", false)]
        {
            assert_eq!(check_index(index).is_ok(), good, "{index}");
        }
    }

    #[test]
    fn wrong_texts_say_what_is_wrong() {
        for (text, part) in [("{name}", "{connection}"), ("{kind", "close"), ("kind}", "close"), ("", "1 to")] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_alone_and_never_plain_beyond_this_machine() {
        let check = |endpoint: &str, part: &str| match check_endpoint(endpoint) {
            Ok(()) => assert_eq!(part, "", "{endpoint}"),
            Err(text) => assert!(!part.is_empty() && text.contains(part), "{endpoint}: {text}"),
        };
        for good in [
            "https://hec.example.com:8088",
            "https://http-inputs-acme.splunkcloud.com",
            "https://[2001:db8::1]:8088/",
            "https://proxy/splunk",
            "http://127.0.0.1:8088",
            "http://[::1]:8088",
            "http://localhost:8088",
        ] {
            check(good, "");
        }
        check("hec.example.com:8088", "the form is");
        check("https://", "the form is");
        check("https://hec:80880", "the form is");
        check("https://me:secret@hec:8088", "a user");
        check("https://hec:8088/services/collector/event", "leave out");
        check("https://hec:8088?token=1", "leave out");
        check("http://hec.example.com:8088", "plain HTTP");
    }
}
