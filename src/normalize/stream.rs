//! What a log stream's name tells: connection, tunnel and kind of log.
//!
//! An IKE line carries no identity of its own, so this is all there is. The name's exact form is not
//! documented; reported is `<vpn-id>_<tunnel-outside-ip>-IKE.log`. Separators are read loosely, a suffix
//! (log centralization adds one) is ignored, and an IPv6 address may have `-`, `_` or `.` for its colons,
//! which a stream's name cannot contain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::event::Dotted;

/// The two logs of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogType {
    /// Tunnel activity.
    Ike,
    /// BGP.
    Bgp,
}

/// What a stream's name, or a `resource_id`, says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StreamIdentity<'a> {
    /// `vpn-` and 8 to 32 hex digits.
    pub connection_id: Option<&'a str>,
    /// AWS's outside address of the tunnel.
    pub outside_ip: Option<IpAddr>,
    /// A hint only: the event itself decides.
    pub log_type: Option<LogType>,
}

/// Whether a character may stand between the parts of a name. All of them are ASCII.
fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.' | ':' | '/' | '~' | ' ' | '[' | ']')
}

impl<'a> StreamIdentity<'a> {
    /// Reads a name; what is not there stays empty.
    pub fn parse(name: &'a str) -> StreamIdentity<'a> {
        let Some((connection_id, rest)) = connection_id(name) else {
            return StreamIdentity { log_type: log_type(name), ..StreamIdentity::default() };
        };
        let (outside_ip, log_type) = (address(rest), log_type(rest));
        StreamIdentity { connection_id: Some(connection_id), outside_ip, log_type }
    }
}

/// The first connection id in the text, and what follows it.
fn connection_id(name: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    // Nearly always it begins the name, and then there is nothing to look for.
    let find = |rest: &str| if rest.starts_with("vpn-") { Some(0) } else { rest.find("vpn-") };
    while let Some(found) = find(name.get(from..)?) {
        let start = from + found;
        from = start + 4;
        let hex = name.get(from..)?;
        let digits = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let ends = hex.get(digits..)?.chars().next().is_none_or(|next| !next.is_alphanumeric());
        // Ids have 8 or 17 digits; up to 32 leaves room for a longer form. A `vpn-` in `myvpn-` is no start.
        let begins = name.get(..start)?.chars().next_back().is_none_or(|before| !before.is_alphanumeric());
        if begins && ends && (8..=32).contains(&digits) {
            return Some((name.get(start..from + digits)?, hex.get(digits..)?));
        }
    }
    None
}

/// The kind of log that the text names.
fn log_type(text: &str) -> Option<LogType> {
    // Separators are ASCII, so bytes do.
    text.as_bytes().split(|byte| is_separator(char::from(*byte))).find_map(|part| match part {
        part if part.eq_ignore_ascii_case(b"IKE") => Some(LogType::Ike),
        part if part.eq_ignore_ascii_case(b"BGP") => Some(LogType::Bgp),
        _ => None,
    })
}

/// The address at the start of the text, separators aside.
fn address(rest: &str) -> Option<IpAddr> {
    // `_::1` would lose its colons, but no outside address begins with them.
    let text = rest.trim_start_matches(is_separator);
    if let Some(address) = plain_ipv4(text) {
        return Some(address.into());
    }
    let groups: Vec<(usize, &str)> = text
        .split(is_separator)
        .scan(0, |at, part| {
            let start = *at;
            *at += part.len() + 1;
            Some((start, part))
        })
        // An IPv6 address has at most eight groups and one gap; a dotted IPv4 tail makes it ten.
        .take(10)
        .take_while(|(_, part)| part.len() <= 4 && part.chars().all(|c| c.is_ascii_hexdigit()))
        .collect();
    let used = groups.iter().rposition(|(_, part)| !part.is_empty())? + 1;
    if let Some(address) = ipv4(text, groups.get(..used)?) {
        return Some(IpAddr::V4(address));
    }
    // The longest run of groups that makes an address: a suffix may look like one more group.
    (2..=groups.len()).rev().find_map(|count| {
        let (start, last) = groups.get(count - 1)?;
        let candidate = text.get(..start + last.len())?.replace(is_separator, ":");
        candidate.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    })
}

/// The usual case: four decimal groups with dots between them, and then an end or a separator.
fn plain_ipv4(text: &str) -> Option<Ipv4Addr> {
    let end = text.bytes().position(|byte| !(byte.is_ascii_digit() || byte == b'.')).unwrap_or(text.len());
    let ends = text.get(end..)?.chars().next().is_none_or(is_separator);
    if ends { Dotted::parse(text.get(..end)?) } else { None }
}

/// Four decimal groups: certain if dots separate them, else only if no further group follows.
fn ipv4(text: &str, groups: &[(usize, &str)]) -> Option<Ipv4Addr> {
    let (start, last) = groups.get(3)?;
    let span = text.get(..start + last.len())?;
    let dotted = span.bytes().filter(|byte| *byte == b'.').count() == 3;
    if !dotted && groups.len() > 4 {
        return None;
    }
    span.replace(is_separator, ".").parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn check(name: &str, connection: Option<&str>, ip: Option<&str>, log_type: Option<LogType>) {
        let expect =
            StreamIdentity { connection_id: connection, outside_ip: ip.map(|ip| ip.parse().unwrap()), log_type };
        assert_eq!(StreamIdentity::parse(name), expect, "{name}");
    }

    #[test]
    fn names_are_read_loosely() {
        let id = Some("vpn-0a1b2c3d4e5f60718");
        let (v4, v6) = (Some("203.0.113.17"), Some("2001:db8::1"));
        for (name, ip, log_type) in [
            ("vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log", v4, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log", v4, Some(LogType::Bgp)),
            ("vpn-0a1b2c3d4e5f60718_203.0.113.17", v4, None),
            ("vpn-0a1b2c3d4e5f60718-203.0.113.17-bgp.log", v4, Some(LogType::Bgp)),
            ("vpn-0a1b2c3d4e5f60718-203-0-113-17-IKE.log", v4, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718_203_0_113_17_IKE", v4, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718/203.0.113.17/IKE", v4, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log_123456789012_us-east-1", v4, Some(LogType::Ike)),
            ("prefix/vpn-0a1b2c3d4e5f60718_203.0.113.17--IKE", v4, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718_2001-db8--1-BGP.log", v6, Some(LogType::Bgp)),
            ("vpn-0a1b2c3d4e5f60718_2001_db8_0_0_0_0_0_1-BGP.log", v6, Some(LogType::Bgp)),
            ("vpn-0a1b2c3d4e5f60718_2001.db8..1-IKE.log", v6, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718_2001:db8::1", v6, None),
            ("vpn-0a1b2c3d4e5f60718_999.0.0.1-IKE.log", None, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718-IKE.log", None, Some(LogType::Ike)),
            ("vpn-0a1b2c3d4e5f60718", None, None),
        ] {
            check(name, id, ip, log_type);
        }
        check("vpn-1234abcd_1.2.3.4", Some("vpn-1234abcd"), Some("1.2.3.4"), None);
    }

    #[test]
    fn a_name_without_an_id_gives_no_identity() {
        for name in ["", "vpn-", "vpn-xyz", "vpn-123", "vpn-1234abcdz_1.2.3.4", "rsp-1234567890abcdef0", "é", "vpn-é"]
        {
            check(name, None, None, None);
        }
        check("my-tunnel-IKE.log", None, None, Some(LogType::Ike));
    }
}
