//! Joining and looking up, as tables of small answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use serde_json::{Value, json};

use super::*;
use crate::event::{Event, GatewayKind, InventoryState};
use crate::sample;

/// Account, Region, age and content of an answer.
type Given<'a> = (Option<&'a str>, Option<&'a str>, Option<i64>, Value);

fn snapshot(given: Vec<Given<'_>>, tags: &[&str], overlay: &str) -> Snapshot {
    let mut answers = Answers::default();
    for (account, region, as_of, value) in given {
        answers.add_value(account, region, as_of.map(Millis), value).unwrap();
    }
    let overlay = if overlay.is_empty() { Overlay::default() } else { Overlay::parse(overlay.as_bytes()).unwrap() };
    join(&answers, &tags.iter().map(ToString::to_string).collect::<Vec<_>>(), overlay)
}

fn connection(fields: Value) -> Value {
    let mut connection = json!({"VpnConnectionId": "vpn-1"});
    connection.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"VpnConnections": [connection]})
}

/// The connection `vpn-1` of the given answers.
fn joined(given: Vec<Value>) -> Arc<Connection> {
    let given = given.into_iter().map(|value| (None, None, None, value)).collect();
    snapshot(given, &["site"], "").connections.remove("vpn-1").unwrap()
}

#[track_caller]
fn check_gateway(fields: Value, other: Value, expect: Value) {
    let gateway = joined(vec![connection(fields), other]).gateway.clone().unwrap();
    assert_eq!(serde_json::to_value(&*gateway).unwrap(), expect);
}

#[test]
fn a_gateway_is_whatever_the_connection_names() {
    check_gateway(
        json!({"TransitGatewayId": "tgw-1"}),
        json!({"TransitGateways": [{"TransitGatewayId": "tgw-1", "OwnerId": "222222222222",
            "Options": {"AmazonSideAsn": 64512_u32}, "Tags": [{"Key": "Name", "Value": "core"}]}]}),
        json!({"kind": "transit_gateway", "id": "tgw-1", "name": "core", "owner_account_id": "222222222222", "asn": 64512}),
    );
    check_gateway(
        json!({"VpnGatewayId": "vgw-1", "TransitGatewayId": ""}),
        json!({"VpnGateways": [{"VpnGatewayId": "vgw-1", "AmazonSideAsn": 4_200_000_000_u32, "VpcAttachments": [
            {"State": "detached", "VpcId": "vpc-0"}, {"State": "attached", "VpcId": "vpc-1"}]}]}),
        json!({"kind": "virtual_private_gateway", "id": "vgw-1", "asn": 4_200_000_000_u32, "vpc_id": "vpc-1"}),
    );
    let arn = "arn:aws:networkmanager::333333333333:core-network/core-network-1";
    check_gateway(
        json!({"CoreNetworkArn": arn}),
        json!({"VpnGateways": []}),
        json!({"kind": "cloud_wan", "id": "core-network-1", "owner_account_id": "333333333333", "arn": arn}),
    );
    check_gateway(
        json!({"VpnConcentratorId": "vcn-1"}),
        json!({"VpnGateways": []}),
        json!({"kind": "vpn_concentrator", "id": "vcn-1"}),
    );
    check_gateway(
        json!({"TransitGatewayId": "tgw-9"}),
        json!({"TransitGateways": []}),
        json!({"kind": "transit_gateway", "id": "tgw-9"}),
    );
    assert_eq!(joined(vec![connection(json!({}))]).gateway, None);
}

#[track_caller]
fn check_asn(fields: Value, expect: Option<u32>) {
    let mut gateway = json!({"CustomerGatewayId": "cgw-1"});
    gateway.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let connection = connection(json!({"CustomerGatewayId": "cgw-1"}));
    let joined = joined(vec![connection, json!({"CustomerGateways": [gateway]})]);
    assert_eq!(joined.customer_gateway.as_ref().unwrap().asn, expect, "{fields}");
}

#[test]
fn the_customer_gateways_asn_may_be_text_or_number_of_32_bits() {
    check_asn(json!({"BgpAsn": "65010"}), Some(65010));
    check_asn(json!({"BgpAsn": 65010}), Some(65010));
    check_asn(json!({"BgpAsn": "23456", "BgpAsnExtended": "4200000000"}), Some(4_200_000_000));
    check_asn(json!({"BgpAsn": "65010", "BgpAsnExtended": null}), Some(65010));
    check_asn(json!({"BgpAsn": "4294967296"}), None);
    check_asn(json!({"BgpAsn": ["65010"]}), None);
}

#[test]
fn a_shared_transit_gateway_gets_its_name_from_its_owners_answer() {
    let gateway = |tags: Value| {
        json!({"TransitGateways": [{"TransitGatewayId": "tgw-1", "OwnerId": "222222222222", "Tags": tags,
            "TransitGatewayArn": "arn:aws:ec2:eu-west-1:222222222222:transit-gateway/tgw-1"}]})
    };
    let given = vec![
        (Some("111111111111"), None, Some(9), connection(json!({"TransitGatewayId": "tgw-1"}))),
        (Some("222222222222"), None, Some(1), gateway(json!([{"Key": "Name", "Value": "core"}]))),
        (Some("111111111111"), None, Some(9), gateway(json!([]))),
    ];
    let connection = snapshot(given, &[], "").connections.remove("vpn-1").unwrap();
    assert_eq!(connection.gateway.as_ref().unwrap().name.as_deref(), Some("core"));
    assert_eq!(connection.account_id.as_deref(), Some("111111111111"), "not the gateway's owner");
    assert_eq!(connection.region.as_deref(), Some("eu-west-1"), "the gateway's Region is the connection's");
}

#[test]
fn of_two_answers_the_newer_counts_and_the_place_is_kept() {
    let state = |state: &str| connection(json!({"State": state}));
    let given = vec![
        (None, None, Some(2), state("available")),
        (Some("111111111111"), Some("us-east-1"), Some(1), state("pending")),
        (None, None, None, state("deleted")),
        (None, None, Some(1), json!({"Accounts": [{"Id": "111111111111", "Name": "net"}]})),
    ];
    let mut snapshot = snapshot(given, &[], "");
    let found = snapshot.connections.remove("vpn-1").unwrap();
    assert_eq!((found.state.as_deref(), found.as_of), (Some("available"), Some(Millis(2))));
    assert_eq!((found.account_id.as_deref(), found.region.as_deref()), (Some("111111111111"), Some("us-east-1")));
    assert_eq!(snapshot.accounts["111111111111"].name.as_deref(), Some("net"));
}

#[test]
fn tunnels_are_numbered_by_tunnel_options_and_by_nothing_else() {
    let telemetry = json!([{"OutsideIpAddress": "203.0.113.2", "Status": "UP", "AcceptedRouteCount": 7},
                           {"OutsideIpAddress": "203.0.113.1", "Status": "DOWN"}]);
    let options = json!({"TunnelOptions": [{"OutsideIpAddress": "203.0.113.1", "TunnelInsideCidr": "169.254.1.0/30"},
                                           {"OutsideIpAddress": "203.0.113.2", "TunnelInsideCidr": "nonsense"}]});
    let found = joined(vec![connection(json!({"Options": options, "VgwTelemetry": telemetry}))]);
    let facts = |tunnel: &TunnelInfo| {
        (tunnel.index, tunnel.outside_ip.to_string(), tunnel.status.as_deref().map(str::to_owned))
    };
    let facts: Vec<_> = found.tunnels.iter().map(facts).collect();
    assert_eq!(facts[0], (Some(1), "203.0.113.1".into(), Some("DOWN".into())));
    assert_eq!(facts[1], (Some(2), "203.0.113.2".into(), Some("UP".into())));
    assert_eq!((found.tunnels[1].accepted_routes, found.tunnels[1].inside_cidr), (Some(7), None));

    let found = joined(vec![connection(json!({"VgwTelemetry": telemetry}))]);
    let order: Vec<_> = found.tunnels.iter().map(|tunnel| (tunnel.index, tunnel.outside_ip.to_string())).collect();
    assert_eq!(order, [(None, "203.0.113.2".to_owned()), (None, "203.0.113.1".to_owned())]);
}

#[test]
fn private_outside_addresses_mean_direct_connect() {
    let options = json!({"OutsideIpAddressType": "PrivateIpv4", "StaticRoutesOnly": "true",
                         "TransportTransitGatewayAttachmentId": "tgw-attach-1"});
    let found = joined(vec![connection(json!({"Options": options}))]);
    assert_eq!((found.transport, found.routing), (Some(Transport::DirectConnect), Some(Routing::Static)));
    assert_eq!(found.transport_attachment_id.as_deref(), Some("tgw-attach-1"));
    let found = joined(vec![connection(json!({"Options": {"StaticRoutesOnly": false}}))]);
    assert_eq!((found.transport, found.routing), (Some(Transport::Internet), Some(Routing::Bgp)));
}

#[test]
fn tags_pass_the_allow_list_and_the_overlay_wins() {
    let tags = json!([{"Key": "Name", "Value": "n"}, {"Key": "site", "Value": "seoul"},
                      {"Key": "env", "Value": "prod"}, {"Key": "cost", "Value": "secret"}]);
    let given = vec![(None, None, None, connection(json!({"Tags": tags})))];
    let snapshot = snapshot(given, &["Name", "site", "env"], "connection_id,env,circuit\nvpn-1,lab,C-7\nvpn-2,lab,\n");
    let pairs: Vec<_> = snapshot.connections["vpn-1"].tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(pairs, ["circuit=C-7", "env=lab", "site=seoul"]);
    assert_eq!(snapshot.overlay["vpn-2"]["env"], "lab", "a row for a connection that EC2 does not know is kept");
}

#[test]
fn a_field_of_the_wrong_type_costs_that_field_only() {
    let odd = json!([{"a": 1}, [1], 7, true, null, "text", 1.5, -1]);
    for field in ["State", "CustomerGatewayId", "TransitGatewayId", "Options", "Tags", "VgwTelemetry", "CoreNetworkArn"]
    {
        for value in odd.as_array().unwrap().iter().chain([&odd]) {
            let found = joined(vec![connection(json!({field: value})), json!({"TransitGateways": [7, {}]})]);
            assert_eq!(found.id.as_ref(), "vpn-1", "{field} {value}");
        }
    }
    let nested = json!({"TunnelOptions": [{"OutsideIpAddress": {"x": 1}}, 7, {"OutsideIpAddress": "203.0.113.9"}]});
    assert_eq!(joined(vec![connection(json!({"Options": nested}))]).tunnels.len(), 1);
}

fn enriched<'a>(snapshot: &'a Snapshot, region: Option<&'a str>, owner: &'a str) -> (Event<'a>, Lookup) {
    let mut event = Event { vpn: Some(sample::vpn("vpn-1", "203.0.113.1")), ..sample::established() };
    let lookup = enrich(&mut event, snapshot, region, owner);
    (event, lookup)
}

#[test]
fn a_connection_that_is_missing_is_marked_and_falls_back() {
    let snapshot =
        snapshot(vec![(None, None, None, json!({"VpnConnections": []}))], &[], "connection_id,site\nvpn-1,seoul");
    let (event, lookup) = enriched(&snapshot, Some("us-east-1"), "111111111111");
    let vpn = event.vpn.unwrap();
    assert_eq!((lookup, vpn.inventory.unwrap().state), (Lookup::Miss, InventoryState::Missing));
    assert_eq!(vpn.tags.unwrap()["site"], "seoul", "the overlay still knows it");
    assert_eq!(event.cloud.account_id.as_deref(), Some("111111111111"));
    assert_eq!(event.cloud.region.as_deref(), Some("us-east-1"));
    assert_eq!(enriched(&snapshot, None, "CloudwatchLogs").0.cloud.account_id, None, "no account id");
}

#[test]
fn without_an_inventory_there_is_no_word_about_one() {
    let snapshot = Snapshot::default();
    let (event, lookup) = enriched(&snapshot, None, "");
    assert_eq!(lookup, Lookup::NoConnection);
    assert!(event.vpn.unwrap().inventory.is_none());
}

#[test]
fn what_the_log_says_stays_and_a_failed_load_shows() {
    let given = vec![
        (Some("111111111111"), Some("us-east-1"), Some(5), connection(json!({}))),
        (
            None,
            None,
            None,
            json!({"Accounts": [{"Id": "111111111111", "Name": "net"}, {"Id": "222222222222", "Name": "logs"}]}),
        ),
    ];
    let mut snapshot = snapshot(given, &[], "");
    snapshot.stale = true;
    let (event, lookup) = enriched(&snapshot, Some("eu-west-1"), "222222222222");
    assert_eq!(lookup, Lookup::Hit);
    assert_eq!((event.cloud.account_name, event.cloud.region.as_deref()), (Some("net"), Some("us-east-1")));
    assert_eq!(event.vpn.unwrap().inventory.unwrap().state, InventoryState::Stale);

    let mut event = Event { vpn: Some(sample::vpn("vpn-1", "203.0.113.1")), ..sample::established() };
    (event.cloud.account_id, event.cloud.region) = (Some("222222222222".into()), Some("ap-northeast-2".into()));
    enrich(&mut event, &snapshot, None, "333333333333");
    assert_eq!((event.cloud.account_name, event.cloud.region.as_deref()), (Some("logs"), Some("ap-northeast-2")));
}

#[test]
fn equal_private_addresses_are_told_apart_by_their_connection() {
    let one = |id: &str, cidrs: [&str; 2]| {
        let tunnel = |ip: &str, cidr: &str| json!({"OutsideIpAddress": ip, "TunnelInsideCidr": cidr});
        json!({"VpnConnectionId": id, "Options": {"OutsideIpAddressType": "PrivateIpv4", "TunnelOptions": [
            tunnel("10.0.0.1", cidrs[0]), tunnel("10.0.0.2", cidrs[1])]}})
    };
    let both = json!({"VpnConnections": [one("vpn-1", ["169.254.1.0/30", "169.254.2.0/30"]),
                                         one("vpn-2", ["169.254.3.0/30", "169.254.4.0/30"])]});
    let snapshot = snapshot(vec![(None, None, None, both)], &[], "");
    let tunnel = |id, ip| {
        let mut event = Event { vpn: Some(sample::vpn(id, ip)), ..sample::established() };
        enrich(&mut event, &snapshot, None, "");
        let tunnel = event.vpn.unwrap().tunnel.unwrap();
        (tunnel.index, tunnel.inside_cidr.map(|cidr| cidr.to_string()))
    };
    assert_eq!(tunnel("vpn-1", "10.0.0.2"), (Some(2), Some("169.254.2.0/30".into())));
    assert_eq!(tunnel("vpn-2", "10.0.0.1"), (Some(1), Some("169.254.3.0/30".into())));
    assert_eq!(tunnel("vpn-2", "10.0.0.9"), (None, None), "a replaced endpoint is not guessed");
    assert_eq!(GatewayKind::ALL.len(), 4, "a new kind of gateway needs a row in the tables above");
}
