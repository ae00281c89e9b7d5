//! Recorded answers of EC2, whole and broken, and what is kept of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use serde_json::{Value, json};

use super::kept::{Kept, accounts_json};
use super::store::{Fetched, Place, Store};
use super::xml::{self, Form, XmlError};
use crate::enrich::Connection;
use crate::event::Millis;

const VPN_CONNECTIONS: &str = include_str!("../../../tests/inventory/vpn-connections.xml");
const CUSTOMER_GATEWAYS: &str = include_str!("../../../tests/inventory/customer-gateways.xml");
const VPN_GATEWAYS: &str = include_str!("../../../tests/inventory/vpn-gateways.xml");
const TRANSIT_GATEWAYS: &str = include_str!("../../../tests/inventory/transit-gateways.xml");

/// The list of an answer as JSON, and the token of the next page.
fn read(form: &Form, text: &str) -> Result<(Value, Option<String>), XmlError> {
    let mut json = String::from("[");
    let token = xml::read(form, text.as_bytes(), &mut json)?;
    xml::close(&mut json, ']');
    Ok((serde_json::from_str(&json).unwrap(), token))
}

fn place() -> Place {
    Place { account: "111122223333".into(), region: "ap-northeast-2".into() }
}

/// All four recorded answers in one, as they are kept.
fn answers() -> String {
    let list = |form: &Form, text: &str| read(form, text).unwrap().0;
    json!({
        "VpnConnections": list(&xml::VPN_CONNECTIONS, VPN_CONNECTIONS),
        "CustomerGateways": list(&xml::CUSTOMER_GATEWAYS, CUSTOMER_GATEWAYS),
        "VpnGateways": list(&xml::VPN_GATEWAYS, VPN_GATEWAYS),
        "TransitGateways": list(&xml::TRANSIT_GATEWAYS, TRANSIT_GATEWAYS),
    })
    .to_string()
}

fn connection(id: &str) -> Connection {
    let fetched = Fetched::read(&place(), Some(Millis(5)), answers().as_bytes(), &["site".into(), "empty".into()]);
    let all = fetched.unwrap().connections;
    Connection::clone(all.iter().find(|one| one.id.as_ref() == id).unwrap())
}

#[test]
fn cloud_wan_is_read_with_its_tunnels_tags_and_telemetry() {
    let found = connection("vpn-0c10d000000000001");
    assert_eq!(found.name.as_deref(), Some("Séoul & Busan <1>"));
    assert_eq!(found.tags["site"], "\"a\" & b");
    assert!(!found.tags.contains_key("empty") && !found.tags.contains_key("Name"));
    let gateway = serde_json::to_value(found.gateway.as_deref()).unwrap();
    let arn = "arn:aws:networkmanager::111122223333:core-network/core-network-0fab1000000000001";
    let id = "core-network-0fab1000000000001";
    assert_eq!(gateway, json!({"kind": "cloud_wan", "id": id, "owner_account_id": "111122223333", "arn": arn}));
    let tunnels: Vec<_> = found
        .tunnels
        .iter()
        .map(|t| (t.index, t.outside_ip.to_string(), t.status.as_deref(), t.accepted_routes))
        .collect();
    assert_eq!(tunnels[0], (Some(1), "203.0.113.17".into(), Some("UP"), Some(7)));
    assert_eq!(tunnels[1], (Some(2), "203.0.113.18".into(), Some("DOWN"), Some(0)));
    let customer = serde_json::to_value(found.customer_gateway.as_deref()).unwrap();
    let expect = json!({"id": "cgw-0c10d000000000001", "name": "seoul-fw", "ip": "198.51.100.7", "asn": 4_200_000_001_u32,
        "device": "seoul-fw-01"});
    assert_eq!(customer, expect, "an ASN of 32 bits");
    assert_eq!((found.account_id.as_deref(), found.region.as_deref()), (Some("111122223333"), Some("ap-northeast-2")));
}

#[test]
fn concentrator_direct_connect_and_ipv6_are_read() {
    let found = connection("vpn-0c0c0000000000002");
    let gateway = serde_json::to_value(found.gateway.as_deref()).unwrap();
    assert_eq!(gateway, json!({"kind": "vpn_concentrator", "id": "vcn-0123456789abcdef0"}));
    assert!(found.tunnels.is_empty());

    let found = connection("vpn-0dc00000000000003");
    assert_eq!(serde_json::to_value(found.transport).unwrap(), json!("direct_connect"));
    assert_eq!(found.transport_attachment_id.as_deref(), Some("tgw-attach-0dc00000000000003"));
    assert_eq!(found.tunnels[1].outside_ip.to_string(), "10.0.0.10");
    let gateway = found.gateway.unwrap();
    assert_eq!((gateway.name.as_deref(), gateway.asn), (Some("core-tgw"), Some(4_200_000_064)));

    let found = connection("vpn-0f600000000000004");
    assert_eq!(found.tunnels[0].outside_ip.to_string(), "2001:db8:0:1::17");
    assert_eq!(found.tunnels[1].inside_ipv6_cidr.unwrap().to_string(), "fd12:3456:789a:2::/126");
}

#[test]
fn a_page_names_the_next_one() {
    let (list, token) = read(&xml::TRANSIT_GATEWAYS, TRANSIT_GATEWAYS).unwrap();
    assert_eq!((list.as_array().unwrap().len(), token.as_deref()), (1, Some("page+2/=")));
    let (list, token) = read(&xml::VPN_GATEWAYS, VPN_GATEWAYS).unwrap();
    assert_eq!((list[0]["VpcAttachments"][1]["VpcId"].as_str(), token), (Some("vpc-1"), None));
}

#[test]
fn an_answer_that_stops_anywhere_is_an_error_and_shows_nothing_of_it() {
    let whole = VPN_CONNECTIONS.trim_end();
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let error = read(&xml::VPN_CONNECTIONS, &whole[..end]).expect_err(&format!("cut at byte {end}")).to_string();
        assert!(!error.contains("NEVER") && !error.contains("vpn-0"), "{error}");
    }
    assert!(read(&xml::VPN_CONNECTIONS, whole).is_ok());
}

#[test]
fn no_secret_is_read_wherever_it_stands() {
    let check = |text: &str| {
        let seen = match read(&xml::VPN_CONNECTIONS, text) {
            Ok((json, _)) => json.to_string(),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!seen.contains("NEVER") && !seen.contains("SHARED"), "{seen}");
    };
    check(VPN_CONNECTIONS);
    check(
        &VPN_CONNECTIONS
            .replace("<preSharedKey>", "<preSharedKey><deeper>")
            .replace("</preSharedKey>", "</deeper></preSharedKey>"),
    );
    check(&VPN_CONNECTIONS.replace("<preSharedKey>", "<state2 x='NEVER'>").replace("</preSharedKey>", "</state2>"));
    check(
        &VPN_CONNECTIONS
            .replace("<customerGatewayConfiguration>", "<outsideIpAddress><x>")
            .replace("</customerGatewayConfiguration>", "</x></outsideIpAddress>"),
    );
    assert!(!answers().contains("NEVER"));
}

#[test]
fn what_is_no_such_answer_is_refused() {
    let other = |text: &str| read(&xml::VPN_CONNECTIONS, text).unwrap_err();
    let wanted = XmlError::Other("DescribeVpnConnectionsResponse");
    assert_eq!(other(CUSTOMER_GATEWAYS), wanted);
    assert_eq!(
        other("<DescribeVpnConnectionsResponse><requestId>x</requestId></DescribeVpnConnectionsResponse>"),
        wanted
    );
    assert_eq!(other("<html><body>proxy</body></html>"), wanted);
    assert!(matches!(other("no XML at all"), XmlError::EndsEarly(_)));
    assert!(matches!(other("<a></b>"), XmlError::Other(_) | XmlError::Damaged(_)));
    let empty = "<DescribeVpnConnectionsResponse><vpnConnectionSet/></DescribeVpnConnectionsResponse>";
    assert_eq!(read(&xml::VPN_CONNECTIONS, empty).unwrap().0, json!([]));
}

#[test]
fn error_answers_of_both_forms_are_read() {
    let ec2 = "<?xml version=\"1.0\"?>\n<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are not &amp; authorized</Message></Error></Errors><RequestID>x</RequestID></Response>";
    let sts = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>";
    assert_eq!(xml::error(ec2.as_bytes()), Some(("UnauthorizedOperation".into(), "You are not & authorized".into())));
    assert_eq!(xml::error(sts.as_bytes()), Some(("AccessDenied".into(), "no".into())));
    assert_eq!(xml::error(b"<html>502</html>"), None);
    assert_eq!(xml::error(b""), None);
    assert_eq!(xml::error(b"<Response><Errors><Error><Code>Half"), None);
}

#[test]
fn what_is_kept_comes_back_with_its_age_and_damage_stays_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::new(folder.path().join("p.inventory"));
    let other = Place { account: "444455556666".into(), region: "us-east-1".into() };
    for place in [place(), other.clone()] {
        kept.write(&place, Some(Millis(1_700_000_000_123)), &answers()).unwrap();
    }
    assert_eq!(kept.read(&place(), &[]).unwrap().as_of, Some(Millis(1_700_000_000_123)));
    kept.write(&place(), Some(Millis(1_700_000_300_000)), &answers()).unwrap();
    assert_eq!(kept.read(&place(), &[]).unwrap().as_of, Some(Millis(1_700_000_300_000)), "the same answer, newer");

    let damaged = folder.path().join("p.inventory/444455556666/us-east-1/answers.json");
    for bytes in [&answers().as_bytes()[..700], b"", b"\xff\x00", b"{}", b"{\"VpnConnections\":7}"] {
        std::fs::write(&damaged, bytes).unwrap();
        assert!(kept.read(&other, &[]).is_none());
    }
    assert_eq!(kept.read(&place(), &[]).unwrap().connections.len(), 4);
    assert!(kept.status().is_none());
    std::fs::write(folder.path().join("p.inventory/.status.json"), "{\"version\":99,\"places\":[]}").unwrap();
    assert!(kept.status().is_none());
    assert!(kept.members().is_empty());
    std::fs::write(folder.path().join("p.inventory/accounts.json"), accounts_json(&[])).unwrap();
    assert!(kept.members().is_empty());
}

/// The kept folder is itself an inventory for `enrich.file`.
#[test]
fn what_is_kept_is_what_a_file_inventory_reads() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::new(folder.path().to_owned());
    kept.write(&place(), Some(Millis(1_700_000_000_123)), &answers()).unwrap();
    let read =
        crate::enrich::FileInventory::new(Some(folder.path().to_owned()), None, vec!["site".into()]).load().unwrap();
    let mut store = Store::default();
    store.answered(&place(), kept.read(&place(), &["site".into()]).unwrap());
    assert_eq!(store.snapshot().connections, read.connections);
}

/// 50,000 connections, their names, gateways and tags all different, with the index and the store that share them.
#[test]
fn fifty_thousand_connections_stay_under_64_mib() {
    const EACH: usize = 500;
    let tags: Vec<String> = ["site", "env", "owner"].map(str::to_owned).to_vec();
    let mut made = None;
    let measured = allocation_counter::measure(|| {
        let mut store = Store::default();
        for account in 0..10 {
            for region in 0..10 {
                let place =
                    Place { account: format!("{account:012}").into(), region: format!("eu-west-{region}").into() };
                let first = (account * 10 + region) * EACH;
                let json = fleet(first, EACH);
                store.answered(&place, Fetched::read(&place, Some(Millis(5)), json.as_bytes(), &tags).unwrap());
            }
        }
        let snapshot = store.snapshot();
        made = Some((store, snapshot));
    });
    let (_, snapshot) = made.unwrap();
    assert_eq!(snapshot.connections.len(), 50_000);
    let bytes = measured.bytes_current;
    assert!(bytes < 64 << 20, "{} MiB", bytes >> 20);
}

/// Connections as a fleet has them.
fn fleet(first: usize, count: usize) -> String {
    let connection = |number: usize| {
        let tunnel = |t: u8| {
            json!({"OutsideIpAddress": format!("52.{t}.{}.{}", number % 250, number / 250 % 250),
            "TunnelInsideCidr": format!("169.254.{}.{}/30", number % 250, 4 * t)})
        };
        let telemetry = |t: u8| {
            json!({"OutsideIpAddress": format!("52.{t}.{}.{}", number % 250, number / 250 % 250),
            "Status": "UP", "AcceptedRouteCount": "7"})
        };
        json!({"VpnConnectionId": format!("vpn-{number:017x}"), "State": "available",
            "CustomerGatewayId": format!("cgw-{number:017x}"), "TransitGatewayId": format!("tgw-{:017x}", number / 50),
            "Options": {"StaticRoutesOnly": "false", "TunnelOptions": [tunnel(1), tunnel(2)]},
            "VgwTelemetry": [telemetry(1), telemetry(2)],
            "Tags": [{"Key": "Name", "Value": format!("site-{number}-primary")}, {"Key": "env", "Value": "prod"},
                {"Key": "site", "Value": format!("site-{}", number / 2)}, {"Key": "owner", "Value": format!("team-{}", number % 40)}]})
    };
    let customer = |number: usize| {
        json!({"CustomerGatewayId": format!("cgw-{number:017x}"), "BgpAsn": "65010",
        "IpAddress": "198.51.100.7", "DeviceName": format!("fw-{number}"),
        "Tags": [{"Key": "Name", "Value": format!("site-{number}-fw")}]})
    };
    let numbers = first..first + count;
    json!({"VpnConnections": numbers.clone().map(connection).collect::<Vec<_>>(),
        "CustomerGateways": numbers.map(customer).collect::<Vec<_>>()})
    .to_string()
}
