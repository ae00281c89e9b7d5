//! Events for unit tests of the stages behind `normalize`, made by hand. Compiled in tests only.

use std::borrow::Cow;

use crate::event::*;

/// What DESIGN shows: a BGP session that was established, before enrichment.
pub(crate) fn established<'a>() -> Event<'a> {
    Event {
        schema: SCHEMA,
        id: EventId(0x01a2),
        time: Millis::parse("2025-11-08T05:40:29.641Z").unwrap_or_default(),
        observed: Millis::parse("2025-11-08T05:40:31.102Z"),
        kind: Kind::BgpSession,
        action: Action::Established,
        transition: Some(Transition::Up),
        session_state: Some(SessionState::Up),
        severity: Severity::Info,
        summary: "BGP session with 169.254.50.86 established (OpenConfirm → Established)",
        cloud: Cloud { provider: "aws", account_id: None, account_name: None, account_ou: None, region: None },
        vpn: Some(vpn("vpn-0a1b2c3d4e5f60718", "203.0.113.17")),
        route_server: None,
        bgp: Some(Bgp {
            neighbor: "169.254.50.86".parse().ok(),
            from_state: Some("OpenConfirm".into()),
            to_state: Some("Established".into()),
            ..Bgp::default()
        }),
        ike: None,
        problems: Vec::new(),
        log: Log {
            group_name: "/aws/vendedlogs/vpn",
            stream_name: "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log",
            event_id: "3991",
            owner_account_id: "123456789012",
        },
        origin: Some(Origin {
            source: "main",
            stream: "vpn-logs",
            shard: "shardId-000000000000",
            sequence: 4967_u64.into(),
            index: 3,
        }),
        raw: Some("{\"resource_id\":\"vpn-0a1b2c3d4e5f60718_203.0.113.17\"}"),
    }
}

/// A connection and the address of a tunnel, as the log tells them.
pub(crate) fn vpn<'a>(connection_id: &'a str, outside_ip: &str) -> Vpn<'a> {
    let outside_ip = outside_ip.parse().ok();
    Vpn {
        connection_id: Cow::Borrowed(connection_id),
        name: None,
        connection_state: None,
        routing: None,
        transport: None,
        transport_attachment_id: None,
        tunnel: Some(Tunnel { index: None, outside_ip, inside_cidr: None, inside_ipv6_cidr: None }),
        customer_gateway: None,
        gateway: None,
        tags: None,
        inventory: None,
    }
}
