//! Tables of lines that the golden files don't have: loose forms, the text format, damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use super::*;
use serde_json::{Value, json};

const STREAM: &str = "vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log";

fn event_in(stream_name: &str, line: &str) -> Value {
    let log = LogEvent { id: "1".into(), message: line.into(), ..LogEvent::default() };
    let stream = LogStream { owner: "1".into(), group: "g".into(), stream: stream_name.into() };
    let identity = StreamIdentity::parse(&stream.stream);
    let mut text = String::from("left over");
    // An arrival, so that a line without a time has no problem with it.
    let observed = Some(Millis(1_762_580_700_000));
    serde_json::to_value(normalize(&log, &stream, &identity, observed, EventId(1), &mut text)).unwrap()
}

/// Checks the parts of the event that `expect` names.
fn check(line: &str, expect: Value) {
    check_in(STREAM, line, expect);
}

fn check_in(stream: &str, line: &str, expect: Value) {
    let event = event_in(stream, line);
    assert_eq!(event["raw"], line);
    for (pointer, value) in expect.as_object().unwrap() {
        let found = event.pointer(&format!("/{pointer}")).unwrap_or(&Value::Null);
        assert_eq!(found, value, "{pointer} of {line}\n{event:#}");
    }
}

fn session(details: &str) -> String {
    json!({"resource_id": "vpn-0a1b2c3d4e5f60718_203.0.113.17", "type": "BGPStatus", "status": "DOWN", "message": {"details": details}})
        .to_string()
}

#[test]
fn dashes_and_stray_braces_are_read_loosely() {
    for dash in [" - ", "- ", " – ", "– ", " • ", "•", " — "] {
        let line = session(&format!(
            "AWS-side peer detected a bad OPEN message from neighbor 169.254.50.86{dash}remote AS is 65001, expected 65010"
        ));
        check(
            &line,
            json!({"action": "bad_open", "bgp/neighbor": "169.254.50.86", "bgp/peer_asn": 65001, "bgp/expected_asn": 65010, "problems": null}),
        );
        let line = session(&format!(
            "AWS-side peer received an OPEN message from neighbor fd00::2{dash}version 4, AS 4200000001, holdtime 30, router-id 10.0.0.1}}"
        ));
        check(
            &line,
            json!({"action": "open_received", "bgp/neighbor": "fd00::2", "bgp/peer_asn": 4_200_000_001_u32, "bgp/hold_time_s": 30, "bgp/router_id": "10.0.0.1", "problems": null}),
        );
        let line = session(&format!(
            "AWS-side peer is reporting a maximum prefix limit warning{dash}received 95 prefixes from neighbor 169.254.50.86, limit is 100"
        ));
        check(
            &line,
            json!({"action": "prefix_limit_warning", "bgp/prefix_count": 95, "bgp/prefix_limit": 100, "bgp/neighbor": "169.254.50.86"}),
        );
        let line = session(&format!(
            "AWS-side peer received update with attributes from neighbor 169.254.50.86{dash}AS path: 65010 {{65020,65030}}"
        ));
        check(
            &line,
            json!({"action": "attributes_received", "bgp/as_path": "65010 {65020,65030}", "bgp/as_path_asns": [65010, 65020, 65030], "bgp/origin_asn": null}),
        );
    }
}

#[test]
fn only_documented_edges_are_transitions() {
    for (from, to, action, transition) in [
        ("OpenConfirm", "Established", "established", json!("up")),
        ("Established", "Idle", "down", json!("down")),
        ("Established", "Clearing", "down", json!("down")),
        ("OpenSent", "Established", "state_changed", Value::Null),
        ("OpenConfirm", "Idle", "state_changed", Value::Null),
        ("openconfirm", "ESTABLISHED", "established", json!("up")),
    ] {
        let line = session(&format!(
            "AWS-side peer BGP session state has changed from {from} to {to} with neighbor 169.254.50.86"
        ));
        check(&line, json!({"action": action, "transition": transition, "session_state": "down"}));
    }
}

#[test]
fn notifications_keep_code_subcode_and_direction() {
    for (details, action, notification) in [
        (
            "AWS-side peer sent a notification 3/5 (UPDATE/Attribute Length) to neighbor 1.2.3.4",
            "notification_sent",
            json!({"direction": "sent", "code": 3, "subcode": 5, "name": "UPDATE/Attribute Length"}),
        ),
        (
            "AWS-side peer received a notification 6/10 from neighbor 1.2.3.4",
            "notification_received",
            json!({"direction": "received", "code": 6, "subcode": 10}),
        ),
        (
            "AWS-side peer received notification from neighbor 1.2.3.4",
            "notification_received",
            json!({"direction": "received"}),
        ),
        (
            "AWS-side peer sent a Hold Timer Expired notification to neighbor 1.2.3.4",
            "hold_timer_expired",
            json!({"direction": "sent", "code": 4, "name": "Hold Timer Expired"}),
        ),
        (
            "AWS-side peer received a Hold Timer Expired notification from neighbor 1.2.3.4",
            "notification_received",
            json!({"direction": "received", "code": 4, "name": "Hold Timer Expired"}),
        ),
    ] {
        check(
            &session(details),
            json!({"action": action, "bgp/notification": notification, "bgp/neighbor": "1.2.3.4", "problems": null}),
        );
    }
}

#[test]
fn malformed_values_are_problems_and_in_no_field() {
    check(
        r#"{"type":"RouteStatus","status":"ADVERTISED","message":{"prefix":"10.0.0.300/8","asPath":"65010 x","localPref":-1,"med":"many","nextHopIp":"here","weight":1.5}}"#,
        json!({"action": "advertised", "bgp": {}, "problems": [
            {"field": "bgp.prefix", "value": "10.0.0.300/8"}, {"field": "bgp.as_path", "value": "65010 x"},
            {"field": "bgp.local_pref", "value": "-1"}, {"field": "bgp.med", "value": "many"},
            {"field": "bgp.weight", "value": "1.5"}, {"field": "bgp.next_hop", "value": "here"}]}),
    );
    check(
        r#"{"type":"RouteStatus","status":"UPDATED","message":{"prefix":"10.1.2.3/16"}}"#,
        json!({"bgp/prefix": "10.1.0.0/16", "problems": [{"field": "bgp.prefix", "value": "10.1.2.3/16"}]}),
    );
    check(
        r#"{"type":"RouteStatus","status":"UPDATED","message":{"prefix":"2001:DB8:0::/48","asPath":"4294967296"}}"#,
        json!({"bgp/prefix": "2001:db8::/48", "problems": [{"field": "bgp.as_path", "value": "4294967296"}]}),
    );
    check(
        &session(
            "AWS-side peer detected a bad OPEN message from neighbor nobody- remote AS is 99999999999, expected x",
        ),
        json!({"action": "bad_open", "bgp": {}, "problems": [
            {"field": "bgp.neighbor", "value": "nobody"}, {"field": "bgp.peer_asn", "value": "99999999999"}, {"field": "bgp.expected_asn", "value": "x"}]}),
    );
    check(
        r#"{"ike_phase1_state":"Sleeping","ike_phase2_state":7,"dpd_enabled":"maybe","details":"AWS tunnel detected a pre-shared key mismatch with cgw: xxxx"}"#,
        json!({"action": "psk_mismatch", "session_state": null, "ike": {}, "problems": [
            {"field": "ike.phase1", "value": "Sleeping"}, {"field": "ike.phase2", "value": "7"},
            {"field": "ike.dpd_enabled", "value": "maybe"}, {"field": "ike.peer", "value": "xxxx"}]}),
    );
}

#[test]
fn a_route_that_was_denied_was_never_accepted_unless_it_is_withdrawn() {
    for (status, details, action, because) in [
        ("ADVERTISED", "DENIED due to: route-map", "rejected", json!("route-map")),
        ("UPDATED", "DENIED  due to non-connected next-hop;", "rejected", json!("non-connected next-hop")),
        ("UPDATED", "DENIED due to: as-path contains our own AS; }.", "rejected", json!("as-path contains our own AS")),
        ("UPDATED", "DENIED", "rejected", json!("DENIED")),
        ("WITHDRAWN", "DENIED due to: x", "withdrawn", Value::Null),
        ("ADVERTISED", "something else", "advertised", Value::Null),
        ("FLAPPED", "", "other", Value::Null),
    ] {
        let line =
            json!({"type": "RouteStatus", "status": status, "message": {"prefix": "10.0.0.0/8", "details": details}});
        check(
            &line.to_string(),
            json!({"kind": "bgp.route", "action": action, "bgp/rejected_because": because, "session_state": null}),
        );
    }
}

#[test]
fn a_missing_type_is_inferred_only_where_it_is_certain() {
    for (line, kind) in [
        (r#"{"status":"withdrawn","message":{"prefix":"10.0.0.0/8"}}"#, "bgp.route"),
        (r#"{"message":{"details":"AWS-side peer sent an End-of-RIB message to neighbor 1.2.3.4"}}"#, "bgp.session"),
        (r#"{"message":"AWS-side peer something new"}"#, "bgp.session"),
        (r#"{"ike_phase1_state":"Down"}"#, "ike"),
        (r#"{"details":"No proposal match found by AWS"}"#, "ike"),
        (r#"{"prefix":"10.0.0.0/8","details":"DENIED due to: x"}"#, "bgp.route"),
        (r#"{"type":"SomethingStatus","status":"UP"}"#, "unparsed"),
        (r#"{"status":"UP"}"#, "unparsed"),
        (r#"{"a":1}"#, "unparsed"),
        ("[1,2]", "unparsed"),
        ("17", "unparsed"),
        ("null", "unparsed"),
        ("", "unparsed"),
    ] {
        check_in("other", line, json!({"kind": kind}));
    }
    check(r#"{"details":"a message from next year"}"#, json!({"kind": "ike", "action": "other"}));
}

#[test]
fn text_lines_are_recognised_in_any_layout() {
    let established = json!({"kind": "bgp.session", "action": "established", "session_state": "up", "bgp/neighbor": "169.254.50.86",
        "time": "2025-11-08T05:40:29.641Z", "vpn/connection_id": "vpn-1234abcd", "vpn/tunnel/outside_ip": "1.2.3.4"});
    let details =
        "AWS-side peer BGP session state has changed from OpenConfirm to Established with neighbor 169.254.50.86";
    for line in [
        format!("2025-11-08 05:40:29.641Z vpn-1234abcd_1.2.3.4 BGPStatus UP {details}"),
        format!("2025-11-08T05:40:29.641Z [vpn-1234abcd_1.2.3.4] BGPStatus UP: {details}"),
        format!(
            "resource_id=vpn-1234abcd_1.2.3.4 event_timestamp=1762580429641 type=BGPStatus status=UP details={details}"
        ),
        format!(
            "resource_id: vpn-1234abcd_1.2.3.4, timestamp: 2025-11-08 05:40:29.641Z, type: BGPStatus, status: UP, message: {{details: {details}}}"
        ),
        format!(
            r#"{{"resource_id": "vpn-1234abcd_1.2.3.4", "timestamp": "2025-11-08 05:40:29.641Z", "type": "BGPStatus", "status": "UP", "message": {{"details": "{details}"#
        ),
        format!(
            "{{\\\"resource_id\\\":\\\"vpn-1234abcd_1.2.3.4\\\",\\\"event_timestamp\\\":1762580429641,\\\"status\\\":\\\"UP\\\",\\\"message\\\":{{\\\"details\\\":\\\"{details}\\\"}}}}"
        ),
    ] {
        check(&line, established.clone());
        let problem = if line.starts_with('{') { json!("not_json") } else { Value::Null };
        check(&line, json!({ "problems/0/field": problem }));
    }
    check(
        "vpn-1234abcd_1.2.3.4 RouteStatus ADVERTISED prefix=10.0.0.0/8 asPath=65010 65020 localPref=100 med=0 nextHopIp=169.254.50.86 weight=1",
        json!({"action": "advertised", "bgp": {"prefix": "10.0.0.0/8", "as_path": "65010 65020", "as_path_asns": [65010, 65020], "origin_asn": 65020, "local_pref": 100, "med": 0, "next_hop": "169.254.50.86", "weight": 1}}),
    );
    check(
        "2025-11-08 05:42:00Z dpd_enabled: True, nat_t_detected: False, ike_phase1_state: established, ike_phase2_state: rekeying, details: AWS tunnel is sending request (id=7) for CREATE_CHILD_SA",
        json!({"kind": "ike", "action": "rekey", "session_state": "up", "vpn/connection_id": "vpn-0a1b2c3d4e5f60718", "time": "2025-11-08T05:42:00.000Z",
            "ike": {"phase1": "Established", "phase2": "Rekeying", "dpd_enabled": true, "nat_t": false, "request_id": 7}}),
    );
    check("Nov 8 peer is not responsive – declaring peer dead", json!({"kind": "ike", "action": "peer_unresponsive"}));
    check(
        "hello world",
        json!({"kind": "unparsed", "action": "unparsed", "summary": "Log line that could not be read: hello world", "vpn/connection_id": "vpn-0a1b2c3d4e5f60718"}),
    );
}

#[test]
fn identity_comes_from_the_line_before_the_stream() {
    let line = |resource: &str| json!({"resource_id": resource, "type": "BGPStatus", "status": "UP"}).to_string();
    check(
        &line("vpn-1234abcd_1.2.3.4"),
        json!({"vpn": {"connection_id": "vpn-1234abcd", "tunnel": {"outside_ip": "1.2.3.4"}}}),
    );
    check(
        &line("vpn-1234abcd_fd00::1"),
        json!({"vpn": {"connection_id": "vpn-1234abcd", "tunnel": {"outside_ip": "fd00::1"}}}),
    );
    check(
        &line("vpn-1234abcd_bad"),
        json!({"vpn": {"connection_id": "vpn-1234abcd"}, "problems/0/field": "vpn.tunnel.outside_ip"}),
    );
    check(&line("vpn-0a1b2c3d4e5f60718_203.0.113.1"), json!({"vpn/tunnel/outside_ip": "203.0.113.1"}));
    check(
        &line("nothing"),
        json!({"vpn/connection_id": "vpn-0a1b2c3d4e5f60718", "vpn/tunnel/outside_ip": "203.0.113.17", "problems/0/value": "nothing"}),
    );
    check_in("odd", &line(""), json!({"vpn": null, "problems": null}));
}

#[test]
fn a_phase_1_sa_that_is_deleted_while_phase_2_is_up_is_no_warning() {
    for (phase2, severity) in
        [("Established", "notice"), ("Rekeying", "notice"), ("Down", "warning"), ("Unknown", "warning")]
    {
        let line = json!({"event_timestamp": 1_762_580_429_641_i64, "ike_phase2_state": phase2,
            "details": "AWS tunnel received DELETE for IKE_SA from CGW"});
        check(&line.to_string(), json!({"kind": "ike", "action": "phase1_deleted", "severity": severity}));
    }
}

#[test]
fn a_status_without_a_message_is_a_snapshot_and_no_edge() {
    for (kind, status, expect) in [
        (
            "BGPStatus",
            "UP",
            json!({"kind": "bgp.session", "action": "established", "transition": null, "session_state": "up"}),
        ),
        (
            "BGPStatus",
            "DOWN",
            json!({"kind": "bgp.session", "action": "down", "transition": null, "session_state": "down", "severity": "warning"}),
        ),
        ("BGPStatus", "ODD", json!({"kind": "bgp.session", "action": "other", "session_state": null})),
        ("BFDStatus", "UP", json!({"kind": "bfd.session", "action": "up", "transition": null, "session_state": "up"})),
        ("BFDStatus", "DOWN", json!({"kind": "bfd.session", "action": "down", "session_state": "down"})),
        ("bfdstatus", "ODD", json!({"kind": "bfd.session", "action": "other"})),
    ] {
        check_in("rsp-1", &json!({"type": kind, "status": status, "message": null}).to_string(), expect);
    }
}

#[test]
fn a_megabyte_without_meaning_has_a_short_summary_on_one_line() {
    let event = event_in(STREAM, &"\u{1b}[31m\n\"status\" ".repeat(100_000));
    let summary = event["summary"].as_str().unwrap();
    assert!(summary.len() < 300 && !summary.chars().any(char::is_control), "{summary}");
}
