//! Events for unit tests of the stages behind `normalize`, made by hand. Compiled in tests only.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

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

/// An event that has every field that events have, in one: no log line says all this at once.
pub(crate) fn full<'a>() -> Event<'a> {
    let mut event = established();
    event.cloud = Cloud {
        provider: "aws",
        account_id: Some("123456789012".into()),
        account_name: Some("net-prod"),
        account_ou: Some("Root/Network"),
        region: Some("ap-northeast-2".into()),
    };
    event.vpn = Some(full_vpn());
    event.route_server = Some(RouteServer { peer_id: Some("rsp-1".into()), arn: "arn:aws:…".into() });
    event.bgp = Some(full_bgp());
    event.ike = Some(Ike {
        phase1: Some(PhaseState::Established),
        phase2: Some(PhaseState::Rekeying),
        dpd_enabled: Some(true),
        nat_t: Some(false),
        peer: "198.51.100.7".parse().ok(),
        spi: Some("0xc0ffee".into()),
        request_id: Some(7),
    });
    event.problems.push(Problem { field: "bgp.prefix", value: "10.0.0.0/99".into() });
    event
}

fn full_vpn<'a>() -> Vpn<'a> {
    static CUSTOMER: LazyLock<CustomerGateway> = LazyLock::new(|| CustomerGateway {
        id: "cgw-0aa11bb22cc33dd44".into(),
        name: Some("seoul-fw".into()),
        ip: "198.51.100.7".parse().ok(),
        asn: Some(65010),
        device: Some("seoul-fw-01".into()),
    });
    static GATEWAY: LazyLock<Gateway> = LazyLock::new(|| Gateway {
        kind: GatewayKind::VirtualPrivateGateway,
        id: Some("vgw-0123456789abcdef0".into()),
        name: Some("core".into()),
        owner_account_id: Some("123456789012".into()),
        asn: Some(64512),
        vpc_id: Some("vpc-1".into()),
        arn: Some("arn:aws:networkmanager::123456789012:core-network/core-network-1".into()),
    });
    static TAGS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        [("site", "seoul"), ("a.b", "\"quoted\"")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    });
    Vpn {
        name: Some("seoul-dc-primary"),
        connection_state: Some("available"),
        routing: Some(Routing::Bgp),
        transport: Some(Transport::Internet),
        transport_attachment_id: Some("tgw-attach-1"),
        tunnel: Some(Tunnel {
            index: Some(1),
            outside_ip: "203.0.113.17".parse().ok(),
            inside_cidr: "169.254.50.84/30".parse().ok(),
            inside_ipv6_cidr: "fd00::/126".parse().ok(),
        }),
        customer_gateway: Some(&CUSTOMER),
        gateway: Some(&GATEWAY),
        tags: Some(&TAGS),
        inventory: Some(InventoryInfo {
            state: InventoryState::Fresh,
            as_of: Millis::parse("2025-11-08T05:38:00Z"),
            tunnel_status: Some("UP"),
            accepted_routes: Some(7),
        }),
        ..vpn("vpn-0a1b2c3d4e5f60718", "203.0.113.17")
    }
}

fn full_bgp<'a>() -> Bgp<'a> {
    Bgp {
        neighbor: "169.254.50.86".parse().ok(),
        from_state: Some("OpenConfirm".into()),
        to_state: Some("Established".into()),
        notification: Some(Notification {
            direction: Direction::Received,
            code: Some(6),
            subcode: Some(2),
            name: Some("Cease/Administrative Shutdown".into()),
        }),
        prefix: "10.0.0.0/8".parse().ok(),
        as_path: Some("65010 65020".into()),
        as_path_asns: Some(AsNumbers::of("65010 65020".into())),
        origin_asn: Some(65020),
        local_pref: Some(100),
        med: Some(200),
        next_hop: "169.254.50.86".parse().ok(),
        weight: Some(32768),
        rejected_because: Some("non-connected next-hop".into()),
        prefix_count: Some(900),
        prefix_limit: Some(1000),
        peer_asn: Some(65010),
        local_asn: Some(64512),
        expected_asn: Some(65011),
        hold_time_s: Some(30),
        router_id: "169.254.50.86".parse().ok(),
    }
}
