//! The simulated day: the same for ever, complete, and in the wire formats of FACTS 1 to 5.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::LazyLock;

use md5::{Digest, Md5};
use serde_json::Value;
use tunnelog::config::types::Simulate;
use tunnelog::source::simulate::{Counts, Fleet, SimulateSource, SimulatedRecord};
use tunnelog::source::{Feed, Record, ShardEvent, ShardId, Source, StartAt};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

fn day(seed: u64, connections: u32, hours: u32) -> Simulate {
    Simulate { seed, connections, hours, shards: 3, damaged: 3, ..Simulate::default() }
}

fn live(config: &Simulate) -> (Vec<SimulatedRecord>, Counts) {
    let mut records = Fleet::new(config).unwrap().records();
    let all = records.by_ref().collect();
    (all, records.counts())
}

/// The default day with some damage, made once: debug builds of zlib are slow.
static SEED_1: LazyLock<(Vec<SimulatedRecord>, Counts)> =
    LazyLock::new(|| live(&Simulate { damaged: 5, ..Simulate::default() }));

fn inflate(record: &SimulatedRecord) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&record.data[..]).read_to_string(&mut text).unwrap();
    text
}

fn envelope(record: &SimulatedRecord) -> Value {
    serde_json::from_str(&inflate(record)).unwrap()
}

/// The envelopes that hold log events, first deliveries and duplicates.
fn data(records: &[SimulatedRecord]) -> impl Iterator<Item = (&SimulatedRecord, Value)> {
    records.iter().filter(|record| !record.damaged && !record.control).map(|record| (record, envelope(record)))
}

fn messages(envelope: &Value) -> Vec<Value> {
    let events = envelope["logEvents"].as_array().unwrap();
    events.iter().map(|event| serde_json::from_str(event["message"].as_str().unwrap()).unwrap()).collect()
}

/// Bytes and order of all records.
fn hashes(config: &Simulate) -> (u64, u64) {
    let (mut compressed, mut content) = (Xxh3::new(), Xxh3::new());
    for record in Fleet::new(config).unwrap().records() {
        let head = format!("{} {} {} {}", record.arrival.0, record.shard, record.position, record.partition_key);
        compressed.update(head.as_bytes());
        compressed.update(&record.data);
        content.update(head.as_bytes());
        content.update(if record.damaged { "".into() } else { inflate(&record) }.as_bytes());
    }
    (content.digest(), compressed.digest())
}

#[test]
fn a_seed_gives_the_same_bytes_for_ever() {
    let config = Simulate { damaged: 6, ..day(1, 6, 2) };
    let (content, compressed) = hashes(&config);
    assert_eq!((content, compressed), hashes(&config), "two runs differ");
    assert_ne!(content, hashes(&Simulate { seed: 2, ..config }).0, "another seed is another day");
    // Whoever changes these changes every user's simulated day: raise `GENERATION` in source/simulate/mod.rs too.
    assert_eq!(format!("{content:016x}"), "f8c55f34dcfea59d", "what the records say");
    assert_eq!(format!("{compressed:016x}"), "1307425bf9227b0e", "how zlib-rs compresses it");
}

#[test]
fn maintenance_does_not_change_the_med_that_the_customer_gateway_advertises() {
    let mut meds: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut maintained = 0;
    for (_, envelope) in data(&SEED_1.0) {
        for message in messages(&envelope) {
            let text = message["message"]["details"].as_str().unwrap_or("");
            maintained += u32::from(text.contains("sent a notification 6/2"));
            if let (Some(tunnel), Some(med)) = (message["resource_id"].as_str(), message["message"]["med"].as_u64()) {
                meds.entry(tunnel.to_string()).or_default().insert(med);
            }
        }
    }
    assert!(maintained >= 3, "{maintained} maintenances");
    assert_eq!(meds.len(), 50);
    assert!(meds.values().all(|meds| meds.len() == 1), "AWS's lower MED goes out to the peer: {meds:?}");
}

/// What a tunnel's two log streams say, with the time of each line: IKE's phase 2, and BGP's way to Established.
#[derive(Default)]
struct Told {
    phase2: Vec<(i64, String)>,
    established: Vec<i64>,
}

fn told(records: &[SimulatedRecord]) -> BTreeMap<String, Told> {
    let mut tunnels: BTreeMap<String, Told> = BTreeMap::new();
    for (_, envelope) in data(records).filter(|(record, _)| !record.duplicate) {
        let stream = envelope["logStream"].as_str().unwrap();
        let Some(name) = stream.strip_suffix("-IKE.log").or(stream.strip_suffix("-BGP.log")) else { continue };
        let told = tunnels.entry(name.to_string()).or_default();
        for message in messages(&envelope) {
            let at = message["event_timestamp"].as_i64().unwrap();
            if let Some(phase2) = message["ike_phase2_state"].as_str() {
                told.phase2.push((at * 1000, phase2.to_lowercase()));
            } else if message["message"]["details"].as_str().is_some_and(|text| text.contains(" to Established ")) {
                told.established.push(at);
            }
        }
    }
    tunnels
}

#[test]
fn bgp_is_never_established_while_ike_says_that_the_tunnel_is_down() {
    for seed in 1..=5 {
        let (records, _) = live(&Simulate { seed, ..Simulate::default() });
        let mut outages = 0;
        for (tunnel, Told { phase2, established }) in told(&records) {
            let mut lines = phase2.iter();
            while let Some((down, _)) = lines.find(|(_, state)| state == "down") {
                let up = lines.find(|(_, state)| state == "established").map_or(i64::MAX, |(up, _)| *up);
                // IKE's times are cut to whole seconds: a session of the same second was up before the tunnel fell.
                let early = established.iter().find(|at| (down + 1000..up).contains(*at));
                assert!(early.is_none(), "seed {seed}, {tunnel}: {early:?} lies between {down} and {up}");
                outages += 1;
            }
        }
        assert!(outages > 20, "seed {seed} has {outages} outages");
    }
}

/// The prefix limit's warnings of one tunnel against what its peer advertised.
#[derive(Default)]
struct Peer {
    /// Whether the log holds the session's beginning. What yesterday's sessions have advertised is unknown.
    known: bool,
    prefixes: BTreeSet<String>,
    checked: u32,
}

impl Peer {
    fn hear(&mut self, message: &Value) {
        let details = message["message"]["details"].as_str();
        match (message["status"].as_str().unwrap(), message["message"]["prefix"].as_str()) {
            (_, Some(_)) if details.is_some() => {}
            ("WITHDRAWN", Some(prefix)) => _ = self.prefixes.remove(prefix),
            (_, Some(prefix)) => _ = self.prefixes.insert(prefix.to_string()),
            (_, None) => self.hear_status(details.unwrap()),
        }
    }

    fn hear_status(&mut self, details: &str) {
        if details.contains(" to Established ") {
            (self.known, self.prefixes) = (true, BTreeSet::new());
        }
        let Some((_, rest)) = details.split_once(" - received ") else { return };
        let received: usize = rest.split(' ').next().unwrap().parse().unwrap();
        assert!(details.ends_with("limit is 100"), "a transit gateway's limit is far away: {details}");
        // A site has 20 prefixes at most.
        let unheard = if self.known { 0..=0 } else { 0..=20 };
        let advertised = self.prefixes.len();
        assert!(unheard.contains(&received.wrapping_sub(advertised)), "{advertised} were advertised: {details}");
        self.checked += u32::from(self.known);
    }
}

#[test]
fn warnings_of_the_prefix_limit_count_what_the_peer_has_advertised() {
    for seed in [1, 7] {
        let mut peers: BTreeMap<String, Peer> = BTreeMap::new();
        for (_, envelope) in data(&live(&Simulate { seed, ..Simulate::default() }).0).filter(|(one, _)| !one.duplicate)
        {
            for message in messages(&envelope) {
                if let Some(tunnel) = message["resource_id"].as_str() {
                    peers.entry(tunnel.to_string()).or_default().hear(&message);
                }
            }
        }
        let checked: u32 = peers.values().map(|peer| peer.checked).sum();
        assert!(checked >= 4, "seed {seed}: {checked} warnings of sessions whose beginning was seen");
    }
}

/// Text with every number, address and hex number replaced: what two lines of one message share.
fn shape(text: &str) -> String {
    let known = text
        .split_inclusive([' ', ',', ')', '}', '='])
        .map(|word| {
            let end = word.trim_end_matches([' ', ',', ')', '}', '=', '-', ':']);
            let numeric = end.chars().any(|c| c.is_ascii_digit())
                && end.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | 'x'));
            if numeric { word.replacen(end, "N", 1) } else { word.to_string() }
        })
        .collect::<String>();
    // AS paths have any length.
    let mut shape = known;
    while shape.contains("N N") {
        shape = shape.replace("N N", "N");
    }
    shape
}

fn details_of(message: &Value) -> Option<String> {
    let text = message["details"].as_str().or_else(|| message["message"]["details"].as_str())?;
    let status = message["type"].as_str().map_or("", |_| message["status"].as_str().unwrap());
    let status = if text.starts_with("DENIED") { "" } else { status };
    Some(format!("{status} {}", shape(text)))
}

#[test]
fn a_day_of_25_connections_shows_every_documented_message_whatever_the_seed() {
    let samples = ["bgp-status", "bgp-route", "ike"].map(|name| {
        std::fs::read_to_string(format!("{}/tests/data/{name}.jsonl", env!("CARGO_MANIFEST_DIR"))).unwrap()
    });
    let documented: BTreeSet<String> = samples
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| details_of(&serde_json::from_str(line).unwrap()))
        .collect();
    assert!(documented.len() > 40, "{documented:#?}");
    // The quickstart's pipeline lives the day of seed 7.
    let [quickstart, other] = [7, 99].map(|seed| live(&Simulate { seed, ..Simulate::default() }).0);
    for (seed, records) in [(1, &SEED_1.0), (7, &quickstart), (99, &other)] {
        let mut seen = BTreeSet::new();
        let mut routes = BTreeSet::new();
        let mut server = BTreeSet::new();
        for (_, envelope) in data(records) {
            for message in messages(&envelope) {
                seen.extend(details_of(&message));
                if message["resource_arn"].is_string() {
                    server.insert(format!("{} {}", message["type"], message["status"]));
                } else if message["type"] == "RouteStatus" {
                    let denied = message["message"]["details"].is_string();
                    let bare = message["message"].as_object().unwrap().len() == 1;
                    routes.insert((message["status"].as_str().unwrap().to_string(), denied, bare));
                }
            }
        }
        let missing: Vec<_> = documented.difference(&seen).collect();
        assert!(missing.is_empty(), "seed {seed} lacks {missing:#?}");
        let undocumented: Vec<_> = seen.difference(&documented).collect();
        assert!(undocumented.is_empty(), "seed {seed} invents {undocumented:#?}");
        for (status, denied, bare) in [
            ("ADVERTISED", false, false),
            ("ADVERTISED", true, false),
            ("UPDATED", false, false),
            ("UPDATED", true, false),
            ("WITHDRAWN", false, false),
            ("WITHDRAWN", false, true),
        ] {
            assert!(routes.contains(&(status.to_string(), denied, bare)), "seed {seed} lacks {status} {denied} {bare}");
        }
        assert!(server.len() >= 6, "{server:?}");
    }
}

#[test]
fn a_day_has_the_promised_volume_and_its_counts_are_the_truth() {
    let (records, counts) = (&SEED_1.0, SEED_1.1);
    assert!((15_000..60_000).contains(&counts.events()), "{counts:?}");
    let mut seen = Counts { records: records.len() as u64, ..Counts::default() };
    for record in records {
        seen.damaged += u64::from(record.damaged);
        seen.control_messages += u64::from(record.control);
        assert!(record.events > 0 || record.control || record.damaged);
    }
    for (record, envelope) in data(records) {
        let messages = messages(&envelope);
        assert_eq!(messages.len(), record.events as usize);
        if record.duplicate {
            seen.duplicates += 1;
            seen.duplicate_events += messages.len() as u64;
            continue;
        }
        for message in messages {
            match message["type"].as_str() {
                _ if message["resource_arn"].is_string() => seen.route_server += 1,
                None => seen.ike += 1,
                Some("BGPStatus") => seen.bgp_status += 1,
                Some(_) => {
                    seen.bgp_route += 1;
                    seen.denied_routes += u64::from(message["message"]["details"].is_string());
                }
            }
        }
    }
    assert_eq!(seen, counts);
    let share = counts.duplicates * 1000 / counts.records;
    assert!((5..20).contains(&share), "about one record in a hundred comes twice: {share} in 1000");
    assert!(counts.control_messages >= 8);
}

#[test]
fn records_lie_where_kinesis_would_put_them_in_the_order_of_arrival() {
    let (records, _) = live(&day(3, 20, 4));
    let mut last = None;
    let mut shards = BTreeSet::new();
    for record in &records {
        let key = if record.control || record.damaged {
            record.partition_key.clone()
        } else {
            let envelope = envelope(record);
            let text = |key: &str| envelope[key].as_str().unwrap().to_string();
            hex(&format!("{}:{}:{}", text("owner"), text("logGroup"), text("logStream")))
        };
        assert_eq!(record.partition_key, key);
        // ceil(2^128 / 3) is the width of a range, up to rounding at its ends.
        let placed = u128::from_str_radix(&hex(&record.partition_key), 16).unwrap();
        assert_eq!(u128::from(record.shard), (placed / (u128::MAX / 3)).min(2));
        shards.insert(record.shard);
        let this = (record.arrival, record.position);
        assert!(last.is_none_or(|(arrival, position)| arrival <= this.0 && position < this.1));
        assert_eq!(record.position.to_string().len(), 56);
        last = Some(this);
    }
    assert_eq!(shards.len(), 3, "every shard has records");
}

fn hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn ids_ascend_within_a_log_stream_and_only_duplicates_repeat_them() {
    let (records, _) = live(&day(4, 20, 6));
    let mut last: HashMap<String, (String, i64)> = HashMap::new();
    let mut bodies: HashMap<String, &SimulatedRecord> = HashMap::new();
    let mut ids = BTreeSet::new();
    for (record, envelope) in data(&records) {
        let stream = envelope["logStream"].as_str().unwrap();
        let first = envelope["logEvents"][0]["id"].as_str().unwrap().to_string();
        if record.duplicate {
            let original = bodies[&first];
            assert_eq!((&original.data, original.shard), (&record.data, record.shard));
            assert!(original.arrival < record.arrival);
            continue;
        }
        bodies.insert(first, record);
        for event in envelope["logEvents"].as_array().unwrap() {
            let (id, at) = (event["id"].as_str().unwrap(), event["timestamp"].as_i64().unwrap());
            assert!(id.len() == 56 && id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
            assert!(ids.insert(id.to_string()), "{id} is used twice");
            if let Some((before, time)) = last.insert(stream.to_string(), (id.to_string(), at)) {
                assert!(before.as_str() < id && time <= at, "{stream}: order of records is order of lines");
            }
            assert!(at < record.arrival.0 && record.arrival.0 - at < 20 * 60_000, "arrives soon after it happened");
        }
    }
}

#[test]
fn envelopes_have_the_keys_of_real_ones_in_their_order() {
    let (records, _) = live(&day(1, 25, 3));
    let mut account_level = 0;
    for (_, text) in records.iter().filter(|record| !record.damaged).map(|record| (record, inflate(record))) {
        let keys = ["messageType", "owner", "logGroup", "logStream", "subscriptionFilters"];
        let mut at = 0;
        for key in keys {
            let found = text.find(&format!("\"{key}\":")).unwrap();
            assert!(found >= at, "{key} in {text}");
            at = found;
        }
        let envelope: Value = serde_json::from_str(&text).unwrap();
        if envelope["messageType"] == "CONTROL_MESSAGE" {
            assert_eq!(envelope["owner"], "CloudwatchLogs");
            continue;
        }
        assert_eq!(envelope["subscriptionFilters"], serde_json::json!(["vpn-to-kinesis"]));
        assert!(envelope["logEvents"].as_array().unwrap().len() <= 200);
        let fields = &envelope["logEvents"][0]["extractedFields"];
        if envelope["policyLevel"] == "ACCOUNT_LEVEL_POLICY" {
            account_level += 1;
            assert_eq!(fields["@aws.account"], envelope["owner"]);
            assert_eq!(fields["@source.log"], envelope["logGroup"]);
        } else {
            assert!(fields.is_null());
        }
    }
    assert!(account_level > 0);
}

#[test]
fn ike_lines_carry_no_vpn_id_and_bgp_lines_carry_their_streams() {
    let (records, _) = live(&day(5, 25, 2));
    let mut seen = BTreeMap::new();
    for (_, envelope) in data(&records) {
        let stream = envelope["logStream"].as_str().unwrap().to_string();
        for message in messages(&envelope) {
            if stream.ends_with("-IKE.log") {
                assert!(!message.to_string().contains("vpn-"));
                *seen.entry("ike").or_insert(0) += 1;
            } else if let Some(id) = message["resource_id"].as_str() {
                assert_eq!(format!("{id}-BGP.log"), stream);
                let at = tunnelog::event::Millis(message["event_timestamp"].as_i64().unwrap());
                assert_eq!(message["timestamp"].as_str().unwrap(), at.to_string().replace('T', " "));
                *seen.entry("bgp").or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn damaged_records_are_spread_and_the_first_is_a_truncated_gzip_member() {
    let (records, counts) = live(&Simulate { damaged: 6, ..day(1, 10, 4) });
    assert_eq!(counts.damaged, 6);
    let damaged: Vec<_> = records.iter().filter(|record| record.damaged).collect();
    assert!(damaged[5].arrival.0 - damaged[0].arrival.0 > 3 * 3_600_000);
    let read = |record: &SimulatedRecord| {
        let mut out = String::new();
        flate2::read::GzDecoder::new(&record.data[..]).read_to_string(&mut out).map(|_| out)
    };
    assert!(damaged[0].data.starts_with(&[0x1f, 0x8b]));
    assert_eq!(read(damaged[0]).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(!damaged[1].data.starts_with(&[0x1f, 0x8b]));
    assert!(damaged[2].data.starts_with(&[0xf3, 0x89, 0x9a, 0xc2]));
    assert!(serde_json::from_str::<Value>(&read(damaged[3]).unwrap()).is_err());
    assert!(serde_json::from_str::<Value>(&read(damaged[4]).unwrap()).unwrap()["logEvents"].is_null());
    assert!(read(damaged[5]).is_err(), "a wrong checksum");

    let (without, _) = live(&Simulate { damaged: 0, ..day(1, 10, 4) });
    let rest = records.iter().filter(|record| !record.damaged).map(|record| (record.arrival, &record.data));
    assert!(rest.eq(without.iter().map(|record| (record.arrival, &record.data))), "damage changes nothing else");
}

#[test]
fn the_inventory_knows_every_log_stream_and_holds_no_secret() {
    let config = day(6, 60, 2);
    let inventory = Fleet::new(&config).unwrap().inventory();
    let text = format!("{inventory:?}");
    for secret in ["PreSharedKey", "CustomerGatewayConfiguration", "pre_shared_key"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let mut tunnels = BTreeMap::new();
    for answers in &inventory.regions {
        let ids = |list: &Value, key: &str| -> BTreeSet<String> {
            list.as_array().unwrap().iter().map(|one| one[key].as_str().unwrap().to_string()).collect()
        };
        let customers = ids(&answers.customer_gateways["CustomerGateways"], "CustomerGatewayId");
        let mut gateways = ids(&answers.transit_gateways["TransitGateways"], "TransitGatewayId");
        gateways.extend(ids(&answers.vpn_gateways["VpnGateways"], "VpnGatewayId"));
        for connection in answers.vpn_connections["VpnConnections"].as_array().unwrap() {
            assert!(customers.contains(connection["CustomerGatewayId"].as_str().unwrap()));
            let gateway = connection["TransitGatewayId"].as_str().or(connection["VpnGatewayId"].as_str());
            assert!(gateways.contains(gateway.unwrap()));
            for tunnel in connection["Options"]["TunnelOptions"].as_array().unwrap() {
                let id = connection["VpnConnectionId"].as_str().unwrap();
                let name = format!("{id}_{}", tunnel["OutsideIpAddress"].as_str().unwrap());
                tunnels.insert(name, answers.account.clone());
            }
        }
    }
    assert_eq!(tunnels.len(), 120);
    let mut streams = BTreeSet::new();
    for (_, envelope) in data(&live(&config).0) {
        let name = envelope["logStream"].as_str().unwrap();
        let Some(tunnel) = name.strip_suffix("-BGP.log").or_else(|| name.strip_suffix("-IKE.log")) else { continue };
        assert_eq!(envelope["owner"], tunnels[tunnel].as_str(), "{name}");
        streams.insert(name.to_string());
    }
    assert!(streams.len() > 200, "almost every stream has lines in two hours: {}", streams.len());
    assert_eq!(inventory.accounts["Accounts"].as_array().unwrap().len(), 4);
}

async fn shards(source: &mut SimulateSource) -> Vec<ShardId> {
    let mut shards = Vec::new();
    while let Some(event) = source.next().await.unwrap() {
        let ShardEvent::Opened { shard, parents, .. } = event else { panic!("{event:?}") };
        assert!(parents.is_empty());
        shards.push(shard);
    }
    shards
}

async fn read(source: &SimulateSource, shard: &ShardId, from: StartAt) -> Vec<Record> {
    let mut reader = source.reopen().open(shard, from).await.unwrap();
    let mut all = Vec::new();
    loop {
        match reader.next().await.unwrap() {
            Feed::Records(records) => {
                assert!(records.len() <= 100);
                all.extend(records);
            }
            Feed::ShardEnd => return all,
            Feed::Gap { .. } => panic!("a simulation has no gaps"),
        }
    }
}

fn same(a: &[Record], b: &[Record]) -> bool {
    let key = |record: &Record| (record.position, record.arrival, xxh3_64(&record.data));
    a.iter().map(key).eq(b.iter().map(key))
}

#[tokio::test]
async fn readers_of_all_shards_read_the_whole_day_and_resume_anywhere() {
    let config = day(8, 12, 3);
    let mut source = SimulateSource::new("main", &config).unwrap();
    let shards = shards(&mut source).await;
    assert_eq!(shards.len(), 3);
    assert_eq!(&*shards[1].shard, "shardId-000000000001");
    let whole = live(&config).0;
    for (number, shard) in shards.iter().enumerate() {
        let all = read(&source, shard, StartAt::TrimHorizon).await;
        let expected: Vec<Record> = whole
            .iter()
            .filter(|record| record.shard as usize == number)
            .map(|one| Record::new(one.position, Some(one.arrival), one.data.clone()))
            .collect();
        assert!(same(&all, &expected), "a reader gives its shard of the whole");
        for cut in [0, 1, all.len() / 2, all.len() - 1] {
            let tail = read(&source, shard, StartAt::After(all[cut].position)).await;
            assert!(same(&tail, &all[cut + 1..]), "after record {cut}");
            let arrival = all[cut].arrival.unwrap();
            let tail = read(&source, shard, StartAt::AtTimestamp(arrival.0)).await;
            let first = all.iter().position(|record| record.arrival >= Some(arrival)).unwrap();
            assert!(same(&tail, &all[first..]), "at the time of record {cut}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_holds_over_all_shards_together() {
    let config = Simulate { rate: Some(10), ..day(8, 12, 1) };
    let mut source = SimulateSource::new("main", &config).unwrap();
    let shards = shards(&mut source).await;
    let begun = tokio::time::Instant::now();
    let (a, b, c) = tokio::join!(
        read(&source, &shards[0], StartAt::TrimHorizon),
        read(&source, &shards[1], StartAt::TrimHorizon),
        read(&source, &shards[2], StartAt::TrimHorizon),
    );
    let count = a.len() + b.len() + c.len();
    let expected = count as f64 / 10.0;
    let took = begun.elapsed().as_secs_f64();
    assert!((took - expected).abs() < 2.0, "{count} records took {took} s");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_read_loses_nothing() {
    let config = Simulate { rate: Some(50), shards: 1, ..day(9, 6, 1) };
    let mut source = SimulateSource::new("main", &config).unwrap();
    let shard = shards(&mut source).await.remove(0);
    let expected = read(&source, &shard, StartAt::TrimHorizon).await;
    let mut reader = source.reopen().open(&shard, StartAt::TrimHorizon).await.unwrap();
    let mut all = Vec::new();
    loop {
        match tokio::time::timeout(std::time::Duration::from_millis(7), reader.next()).await {
            Err(_) => {}
            Ok(Ok(Feed::Records(records))) => all.extend(records),
            Ok(_) => break,
        }
    }
    assert!(same(&all, &expected));
}

#[tokio::test]
async fn another_configuration_is_another_stream() {
    let mut one = SimulateSource::new("main", &day(1, 5, 1)).unwrap();
    let mut other = SimulateSource::new("main", &day(2, 5, 1)).unwrap();
    let (first, second) = (shards(&mut one).await, shards(&mut other).await);
    assert_eq!(first[0].stream, second[0].stream);
    assert_ne!(first[0].stream_created, second[0].stream_created);
    let Err(error) = one.reopen().open(&second[0], StartAt::TrimHorizon).await else { panic!("opened") };
    assert!(error.to_string().contains("is not one of this simulation"), "{error}");
}

#[test]
fn what_is_out_of_range_is_refused_with_what_to_write_instead() {
    for (config, expected) in [
        (Simulate { connections: 0, ..Simulate::default() }, "`connections` is 0; it may be 1 to 100000"),
        (Simulate { shards: 1001, ..Simulate::default() }, "`shards` is 1001; it may be 1 to 1000"),
        (Simulate { start: "tomorrow".into(), ..Simulate::default() }, "`start` is `tomorrow`; write a time"),
    ] {
        let error = Fleet::new(&config).err().unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
