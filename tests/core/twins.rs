//! The quick ways of the core against the plain ones: on samples, damaged samples and a simulated day.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tunnelog::config::types::Simulate;
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan};
use tunnelog::decode::inflate::inflate;
use tunnelog::delivery::SinkId;
use tunnelog::enrich::{Connection, Snapshot, TunnelInfo};
use tunnelog::event::Millis;
use tunnelog::route::Filter;
use tunnelog::source::simulate::Fleet;

use super::damage::mutated;
use super::{MAX_RECORD_BYTES, fuzz_twins as twins, json, record, shard};

pub(crate) const SAMPLES: [&str; 4] = [
    include_str!("../data/bgp-status.jsonl"),
    include_str!("../data/bgp-route.jsonl"),
    include_str!("../data/ike.jsonl"),
    include_str!("../data/route-server.jsonl"),
];

/// The envelope that CloudWatch Logs would wrap around these lines.
pub(crate) fn envelope<'l>(stream: &str, lines: impl Iterator<Item = &'l str>) -> String {
    let event = |(index, line)| {
        let id = format!("39914058728991429450395327189911295461740495520467{index:06}");
        let line = serde_json::to_string(line).unwrap();
        format!(r#"{{"id":"{id}","timestamp":1762580400000,"message":{line}}}"#)
    };
    let events: Vec<String> = lines.enumerate().map(event).collect();
    format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"123456789012","logGroup":"/aws/vendedlogs/vpn","logStream":"{stream}","subscriptionFilters":["f","g"],"logEvents":[{}]}}"#,
        events.join(",")
    )
}

/// Knows the samples' connection with its two tunnels.
pub(crate) fn snapshot() -> Snapshot {
    let tunnel = |index, ip: &str| TunnelInfo {
        index: Some(index),
        outside_ip: ip.parse().unwrap(),
        inside_cidr: "169.254.50.84/30".parse().ok(),
        inside_ipv6_cidr: None,
        status: Some("UP".into()),
        accepted_routes: Some(7),
    };
    let id: Arc<str> = "vpn-0a1b2c3d4e5f60718".into();
    let connection = Connection {
        id: Arc::clone(&id),
        name: Some("a \"name\"\n".into()),
        account_id: Some("123456789012".into()),
        tunnels: [tunnel(1, "203.0.113.17"), tunnel(2, "203.0.113.18")].into(),
        tags: Arc::new(BTreeMap::from([("site".to_owned(), "Seoul".to_owned())])),
        as_of: Some(Millis(1_762_580_280_000)),
        ..Connection::default()
    };
    Snapshot { connections: [(id, Arc::new(connection))].into(), configured: true, ..Snapshot::default() }
}

#[test]
fn quick_and_plain_ways_agree_on_samples() {
    let (mut usual, snapshot) = (0, snapshot());
    for sample in SAMPLES {
        let lines = || sample.lines();
        let bgp = envelope("vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log", lines());
        usual += usize::from(twins::record(bgp.as_bytes(), &snapshot));
        let ike = envelope("vpn-0a1b2c3d4e5f60718_203.0.113.18-IKE.log", lines());
        usual += usize::from(twins::record(ike.as_bytes(), &snapshot));
        lines().for_each(twins::line);
    }
    assert_eq!(usual, 2 * SAMPLES.len(), "each of them is usual");
    for line in include_str!("../data/envelopes.jsonl").lines() {
        twins::record(line.as_bytes(), &snapshot);
    }
}

/// One record speaks of several connections and tunnels in turn: what is repeated must be of the right one.
#[test]
fn quick_and_plain_ways_agree_where_connections_take_turns() {
    let lines: Vec<String> = ["203.0.113.17", "203.0.113.18", "203.0.113.18", "203.0.113.1", "203.0.113.17"]
        .into_iter()
        .flat_map(|ip| ["vpn-0a1b2c3d4e5f60718", "vpn-0a1b2c3d4e5f6071", "vpn-0a1b2c3d"].map(|id| format!("{id}_{ip}")))
        .flat_map(|resource| {
            let line = format!(
                r#"{{"resource_id": "{resource}", "event_timestamp": 1762580400000, "type": "RouteStatus", "status": "UPDATED", "message": {{"prefix": "10.0.0.0/8"}}}}"#
            );
            [line.clone(), line]
        })
        .collect();
    let record = envelope("a-BGP.log", lines.iter().map(String::as_str));
    assert!(twins::record(record.as_bytes(), &snapshot()));
}

/// The same for accounts and Regions, of which some need an escape: `""` as it is written ends in what `\"` is.
#[test]
fn quick_and_plain_ways_agree_where_accounts_and_regions_take_turns() {
    let texts = ["123456789012", r#"\"\""#, r#"\\\""#, r"\n", "n", ""];
    let line = r#"{"resource_id": "vpn-0a1b2c3d4e5f60718_203.0.113.17", "type": "RouteStatus", "status": "UPDATED"}"#;
    let line = serde_json::to_string(line).unwrap();
    let pairs = texts.iter().flat_map(|account| texts.iter().map(move |region| (account, region)));
    let events: Vec<String> = pairs
        .flat_map(|pair| [pair, pair])
        .enumerate()
        .map(|(id, (account, region))| {
            format!(
                r#"{{"id":"1{id:06}","timestamp":1762580400000,"message":{line},"extractedFields":{{"@aws.account":"{account}","@aws.region":"{region}"}}}}"#
            )
        })
        .collect();
    let before = envelope("a-BGP.log", std::iter::empty());
    let record = before.replace("\"logEvents\":[", &format!("\"logEvents\":[{}", events.join(",")));
    twins::record(record.as_bytes(), &snapshot());
}

/// One scratch for records of many tunnels, twice each, whose inventory changes in between: the same as with a new one
/// for each.
#[test]
fn what_is_kept_of_a_place_is_of_its_snapshot() {
    let core = Core::new(MAX_RECORD_BYTES, vec![SinkPlan { format: json(), filter: Filter::default() }]);
    let line = r#"{"type": "RouteStatus", "status": "UPDATED", "message": {"prefix": "10.0.0.0/8"}}"#;
    let connections =
        ["vpn-0a1b2c3d4e5f60718".to_owned()].into_iter().chain((0..600).map(|it| format!("vpn-{it:017x}")));
    let streams: Vec<String> =
        connections.flat_map(|id| [17, 18].map(|ip| format!("{id}_203.0.113.{ip}-BGP.log"))).collect();
    let renamed = |name: &str| {
        let mut snapshot = snapshot();
        let known = snapshot.connections.values().next().unwrap();
        let connection = Connection { name: Some(name.into()), ..Connection::clone(known) };
        snapshot.connections.insert(Arc::clone(&connection.id), Arc::new(connection));
        snapshot
    };
    let (first, second) = (snapshot(), renamed("Busan"));
    let stale = Snapshot { stale: true, ..second.clone() };
    let shard = shard();
    let items = |stream: &String, snapshot: &Snapshot, scratch: &mut Scratch| {
        let (record, mut out) = (record(1, envelope(stream, [line, line].into_iter())), core.output(&[SinkId(0)]));
        core.process(From { shard: &shard, region: None }, &record, Resume::default(), snapshot, scratch, &mut out);
        let piece = core.piece(out);
        String::from_utf8(piece.lanes[0].as_ref().unwrap().encoded.bytes.clone()).unwrap()
    };
    let mut scratch = Scratch::default();
    for snapshot in [&first, &second, &stale, &first] {
        for stream in streams.iter().chain(&streams).chain(streams.iter().rev()) {
            assert_eq!(items(stream, snapshot, &mut scratch), items(stream, snapshot, &mut Scratch::default()));
        }
    }
    let [old, new] = [&first, &second].map(|snapshot| items(&streams[0], snapshot, &mut scratch));
    assert!(new.contains("Busan") && !old.contains("Busan"));
}

#[test]
fn quick_and_plain_ways_agree_on_a_simulated_day_nearly_all_of_which_is_usual() {
    let fleet = Fleet::new(&Simulate { connections: 3, hours: 24, ..Simulate::default() }).unwrap();
    let (mut buffer, mut usual, mut all) = (Vec::new(), 0, 0);
    for record in fleet.records().filter(|record| !record.control && !record.damaged) {
        let plain = inflate(&record.data, 64 << 20, &mut buffer).unwrap();
        usual += usize::from(twins::record(plain, &Snapshot::default()));
        all += 1;
    }
    assert!(all > 100 && usual * 100 >= all * 95, "{usual} of {all} records are usual");
}

proptest! {
    #[test]
    fn quick_and_plain_ways_agree_on_damaged_samples(data in mutated()) {
        let snapshot = snapshot();
        twins::record(&data, &snapshot);
        let text = String::from_utf8_lossy(&data);
        twins::line(&text);
        let stream = "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log";
        twins::record(envelope(stream, [&*text, "{}", &*text].into_iter()).as_bytes(), &snapshot);
    }
}
