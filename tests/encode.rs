//! From the sample inventory and a hand-made event to the bytes that DESIGN 5 shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::fs;

use tunnelog::config::types::{self, FormatName, FormatOptions, JsonOptions};
use tunnelog::encode::{Format, timeline};
use tunnelog::enrich::{Answers, Lookup, Overlay, Snapshot, enrich, join};
use tunnelog::event::*;

fn inventory() -> Snapshot {
    let mut answers = Answers::default();
    let as_of = Millis::parse("2025-11-08T05:38:00Z");
    for name in ["customer-gateways", "transit-gateways", "vpn-connections", "vpn-gateways"] {
        let bytes = fs::read(format!("tests/data/describe-{name}.json")).unwrap();
        answers.add_slice(Some("123456789012"), Some("ap-northeast-2"), as_of, &bytes).unwrap();
    }
    let accounts = br#"{"Accounts":[{"Id":"123456789012","Name":"net-prod","Email":"x@example.com"}]}"#;
    answers.add_slice(None, None, None, accounts).unwrap();
    join(&answers, &["Name".into(), "site".into(), "env".into()], Overlay::default())
}

fn event<'a>() -> Event<'a> {
    Event {
        schema: SCHEMA,
        id: EventId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        time: Millis::parse("2025-11-08T05:40:29.641Z").unwrap(),
        observed: Millis::parse("2025-11-08T05:40:31.102Z"),
        kind: Kind::BgpSession,
        action: Action::Established,
        transition: Some(Transition::Up),
        session_state: Some(SessionState::Up),
        severity: Severity::Info,
        summary: "BGP session with 169.254.50.86 established (OpenConfirm → Established)",
        cloud: Cloud { provider: "aws", account_id: None, account_name: None, account_ou: None, region: None },
        vpn: Some(Vpn {
            connection_id: "vpn-0a1b2c3d4e5f60718".into(),
            name: None,
            connection_state: None,
            routing: None,
            transport: None,
            transport_attachment_id: None,
            tunnel: Some(Tunnel {
                index: None,
                outside_ip: "203.0.113.17".parse().ok(),
                inside_cidr: None,
                inside_ipv6_cidr: None,
            }),
            customer_gateway: None,
            gateway: None,
            tags: None,
            inventory: None,
        }),
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
        raw: Some("the line"),
    }
}

#[track_caller]
fn check(format: &Format, expect: &str) {
    let snapshot = inventory();
    let mut event = event();
    assert_eq!(enrich(&mut event, &snapshot, None, "123456789012"), Lookup::Hit);
    let mut out = Vec::new();
    format.encode(&event, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expect);
}

#[test]
fn json_is_the_event_that_the_design_shows() {
    let json = JsonOptions { raw: types::RawOption::Always, origin: true, ..JsonOptions::default() };
    let format = types::Format::Options(FormatOptions { json: Some(json), ..FormatOptions::default() });
    let expect = concat!(
        r#"{"schema":"tunnelog.event/1","id":"0123456789abcdef0123456789abcdef","time":"2025-11-08T05:40:29.641Z","#,
        r#""observed":"2025-11-08T05:40:31.102Z","#,
        r#""kind":"bgp.session","action":"established","transition":"up","session_state":"up","severity":"info","#,
        r#""summary":"BGP session with 169.254.50.86 established (OpenConfirm → Established)","#,
        r#""cloud":{"provider":"aws","account_id":"123456789012","account_name":"net-prod","region":"ap-northeast-2"},"#,
        r#""vpn":{"connection_id":"vpn-0a1b2c3d4e5f60718","name":"seoul-dc-primary","connection_state":"available","#,
        r#""routing":"bgp","transport":"internet","#,
        r#""tunnel":{"index":1,"outside_ip":"203.0.113.17","inside_cidr":"169.254.50.84/30"},"#,
        r#""customer_gateway":{"id":"cgw-0aa11bb22cc33dd44","name":"seoul-fw","ip":"198.51.100.7","asn":65010,"#,
        r#""device":"seoul-fw-01"},"#,
        r#""gateway":{"kind":"transit_gateway","id":"tgw-0123456789abcdef0","name":"core-tgw","#,
        r#""owner_account_id":"123456789012","asn":64512},"#,
        r#""tags":{"env":"prod","site":"seoul"},"#,
        r#""inventory":{"state":"fresh","as_of":"2025-11-08T05:38:00.000Z","tunnel_status":"UP","accepted_routes":7}},"#,
        r#""bgp":{"neighbor":"169.254.50.86","from_state":"OpenConfirm","to_state":"Established"},"#,
        r#""log":{"group_name":"/aws/vendedlogs/vpn","stream_name":"vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log","#,
        r#""event_id":"3991","owner_account_id":"123456789012"},"#,
        r#""origin":{"source":"main","stream":"vpn-logs","shard":"shardId-000000000000","sequence":"4967","index":3},"#,
        r#""raw":"the line"}"#,
        "\n"
    );
    check(&Format::resolve(Some(&format), FormatName::Json, false), expect);
}

#[test]
fn timeline_is_the_line_that_a_person_reads() {
    check(
        &Format::resolve(None, FormatName::Timeline, false),
        "05:40:29.641Z  ▲ seoul-dc-primary/1  BGP session with 169.254.50.86 established (OpenConfirm → Established)\n",
    );
}

#[test]
fn a_timeline_is_headed_by_its_tunnel() {
    let snapshot = inventory();
    let mut event = event();
    enrich(&mut event, &snapshot, None, "");
    let mut out = Vec::new();
    timeline::TimelineFormat::default().heading(&event, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "seoul-dc-primary vpn-0a1b2c3d4e5f60718 · tunnel 1 · 203.0.113.17 · seoul-fw · 198.51.100.7 · AS 65010 \
         · site seoul · net-prod · 123456789012 · ap-northeast-2\n"
    );
}

#[test]
fn no_format_for_others_allocates_for_an_event() {
    let snapshot = inventory();
    let mut event = event();
    enrich(&mut event, &snapshot, None, "123456789012");
    for name in [FormatName::Ocsf, FormatName::Ecs, FormatName::Splunk] {
        let format = Format::resolve(None, name, false);
        let mut out = Vec::with_capacity(64 << 10);
        let measured = allocation_counter::measure(|| format.encode(&event, &mut out));
        assert_eq!(measured.count_total, 0, "{name:?}");
        assert!(out.len() > 500, "{name:?} wrote the event");
    }
}
