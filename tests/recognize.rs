//! What a file may hold: every form, mixed, packed, cut off; and what must never come out of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tunnelog::decode::envelope::{Cursor, Envelope};
use tunnelog::decode::inflate::inflate;
use tunnelog::decode::recognize::{Identity, Item, Reason, Recognizer};
use tunnelog::event::Millis;

const ENVELOPE: &str = r#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":[],"logEvents":[{"id":"7","timestamp":5,"message":"m"}]}"#;

fn identity() -> Identity {
    Identity { owner: Some("123".into()), log_group: Some("group".into()), log_stream: Some("stream".into()) }
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn gzip(data: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn items_capped(input: &[u8], max_bytes: usize) -> Vec<Item> {
    // A small buffer, so that every look ahead crosses its border somewhere.
    let reader = std::io::BufReader::with_capacity(7, input);
    let mut recognizer = Recognizer::with_cap(reader, identity(), max_bytes);
    let mut items = Vec::new();
    while let Some(item) = recognizer.next().unwrap() {
        items.push(item);
    }
    items
}

fn items(input: impl AsRef<[u8]>) -> Vec<Item> {
    items_capped(input.as_ref(), 1 << 20)
}

/// Each item in one line: `stream/id/timestamp/message/occurrence` of every event, `!reason` of what is
/// unreadable, `?reason` of a record that the core refuses.
fn told(items: &[Item]) -> Vec<String> {
    let mut lines = Vec::new();
    for item in items {
        match item {
            Item::Unreadable(unreadable) => lines.push(format!("!{}", unreadable.reason.as_str())),
            Item::Record(record) => {
                let mut buffer = Vec::new();
                let plain = inflate(&record.data, 1 << 20, &mut buffer);
                match plain.and_then(Envelope::parse) {
                    Err(error) => lines.push(format!("?{}", error.reason())),
                    Ok(envelope) => lines.extend(envelope.events(Cursor::default()).map(|event| {
                        let time = event.timestamp.map_or(String::new(), |time| time.0.to_string());
                        let (stream, id, message) = (&envelope.stream.stream, &event.id, &event.message);
                        format!("{stream}/{id}/{time}/{message}/{}", event.occurrence)
                    })),
                }
            }
        }
    }
    lines
}

fn check(input: impl AsRef<[u8]>, expect: &[&str]) {
    let input = input.as_ref();
    assert_eq!(told(&items(input)), expect, "{}", String::from_utf8_lossy(input));
    let packed = gzip(input);
    // Packing once more must change nothing, unless a record was packed already.
    if !input.windows(2).any(|window| window == [0x1f, 0x8b]) {
        assert_eq!(told(&items(packed)), expect, "packed: {}", String::from_utf8_lossy(input));
    }
}

fn pretty(text: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(text).unwrap()).unwrap()
}

#[test]
fn records_are_found_in_every_form() {
    let event = &["s/7/5/m/0"];
    check(ENVELOPE, event);
    check(format!("\u{feff}{ENVELOPE}\r\n\r\n"), event);
    check(format!("\u{feff}{}", pretty(ENVELOPE)), event);
    check(format!("\u{feff}{}", STANDARD.encode(gzip(ENVELOPE))), event);
    check("\u{feff}bare\n", &["stream///bare/0"]);
    check(pretty(ENVELOPE), event);
    check(gzip(ENVELOPE), event);
    check(gzip(pretty(ENVELOPE)), event);
    check(STANDARD.encode(gzip(ENVELOPE)), event);
    check(STANDARD.encode(gzip(ENVELOPE)).trim_end_matches('='), event);
    check(STANDARD.encode(ENVELOPE), event);
    let records =
        json!({"Records": [{"Data": STANDARD.encode(gzip(ENVELOPE)), "PartitionKey": "p"}], "NextShardIterator": "x"});
    check(records.to_string(), event);
    check(pretty(&records.to_string()), event);
    let dead = json!({"schema": "tunnelog.dead-letter/1", "reason": "not_json", "data": STANDARD.encode(gzip("{"))});
    check(dead.to_string(), &["?not_json"]);
    check(format!("[{ENVELOPE},\n {ENVELOPE}]"), &["s/7/5/m/0", "s/7/5/m/0"]);
    check(format!("{ENVELOPE}{ENVELOPE} {ENVELOPE}"), &["s/7/5/m/0"; 3]);
}

#[test]
fn gzip_members_are_records_one_by_one_and_gzip_files_are_looked_into() {
    check([gzip(ENVELOPE), gzip(ENVELOPE), b"\n".to_vec(), gzip(ENVELOPE)].concat(), &["s/7/5/m/0"; 3]);
    check(gzip(format!("{ENVELOPE}\n{ENVELOPE}\nbare\n")), &["s/7/5/m/0", "s/7/5/m/0", "stream///bare/0"]);
    // A line across two members, as block compressors make them; then a record.
    check(
        [gzip("one\ntw"), gzip("o\nthree"), gzip(ENVELOPE), b"four".to_vec()].concat(),
        &["stream///one/0", "stream///two/0", "stream///three/0", "s/7/5/m/0", "stream///four/0"],
    );
    check(gzip([gzip(ENVELOPE), gzip(ENVELOPE)].concat()), &["s/7/5/m/0"; 2]);
    check(gzip(gzip("bare line\n")), &["!nested_gzip"]);
    check(gzip(""), &[]);
}

#[test]
fn zstandard_files_are_looked_into() {
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 3).unwrap();
    let lines = [zstd(&format!("{ENVELOPE}\none\ntw")), zstd("o\n"), b"three\n".to_vec()].concat();
    if !cfg!(feature = "zstd") {
        return assert_eq!(told(&items(lines)), ["!zstd"]);
    }
    let check = |input: Vec<u8>, expect: &[&str]| assert_eq!(told(&items(input)), expect);
    check(lines, &["s/7/5/m/0", "stream///one/0", "stream///two/0", "stream///three/0"]);
    check([b"one\n".to_vec(), zstd("two\n")].concat(), &["stream///one/0", "stream///two/0"]);
    check(zstd(""), &[]);
    check(gzip(zstd("one\n")), &["!nested_gzip"]);
    let whole = zstd(&"a line that is cut off\n".repeat(9));
    let cut = items(&whole[..whole.len() - 5]);
    assert_eq!(told(&cut).last().unwrap(), "!gzip_damaged");
    let mut broken = whole.clone();
    broken[4] ^= 0xff;
    broken[9] ^= 0xff;
    assert_eq!(told(&items(&broken)).last().unwrap(), "!gzip_damaged");
}

#[test]
fn bare_lines_are_wrapped_and_counted() {
    check("a\nb\n\n a \na\n", &["stream///a/0", "stream///b/0", "stream///a/1", "stream///a/2"]);
    check(
        "2025-11-08T05:40:29.641Z {\"x\": 1}\n2025-11-08T05:40:29.641Z b\n",
        &["stream//1762580429641/{\"x\": 1}/0", "stream//1762580429641/b/0"],
    );
    check(
        "{\"type\":\"BGPStatus\"}\n{\"type\":\"BGPStatus\"} tail\n",
        &["stream///{\"type\":\"BGPStatus\"}/0", "stream///{\"type\":\"BGPStatus\"} tail/0"],
    );
    check(
        "[INFO] x\n[1,2]\n{not json}\n}\n",
        &["stream///[INFO] x/0", "stream///[1,2]/0", "stream///{not json}/0", "stream///}/0"],
    );
    let many: String = (0..1200).map(|number| format!("line {number}\n")).collect();
    let items = items(&many);
    assert_eq!(items.len(), 3);
    assert_eq!(told(&items).len(), 1200);
    let Item::Record(second) = &items[1] else { panic!("a record") };
    assert_eq!((second.number, second.place.line), (1, 501));
    assert_eq!(told(&items), told(&items_capped(many.as_bytes(), 1 << 20)), "the same each time");
}

#[test]
fn filtered_events_keep_their_stream_and_id() {
    let events = json!({"events": [
        {"logStreamName": "one", "timestamp": 5, "message": "m", "ingestionTime": 6, "eventId": "7"},
        {"logStreamName": "one", "timestamp": 5, "message": "m", "ingestionTime": 6, "eventId": "8"},
        {"logStreamName": "two", "timestamp": 6, "message": "m\n\"", "ingestionTime": 6, "eventId": "9"},
        {"timestamp": 7, "message": "get-log-events"},
        {"odd": true}], "searchedLogStreams": []});
    let expect =
        ["one/7/5/m/0", "one/8/5/m/0", "two/9/6/m\n\"/0", "stream//7/get-log-events/0", "stream///{\"odd\":true}/0"];
    check(events.to_string(), &expect);
    check(r#"{"logStreamName":"one","timestamp":5,"message":"m","eventId":"7"}"#, &["one/7/5/m/0"]);
    let pretty = told(&items(pretty(&events.to_string())));
    assert_eq!(pretty[..4], expect[..4]);
    let Item::Record(first) = &items(events.to_string())[0] else { panic!("a record") };
    let plain = String::from_utf8(first.data.to_vec()).unwrap();
    assert!(plain.starts_with(r#"{"messageType":"DATA_MESSAGE","owner":"123","logGroup":"group","logStream":"one","subscriptionFilters":[],"logEvents":[{"id":"7""#), "{plain}");
}

#[test]
fn get_records_tells_arrival_and_sequence() {
    let data = STANDARD.encode(gzip(ENVELOPE));
    for (json, time) in [
        (json!("2025-11-08T05:40:29.641000+00:00"), Some(1_762_580_429_641)),
        (json!("2025-11-08T14:40:29.641+09:00"), Some(1_762_580_429_641)),
        (json!(1_762_580_429.641), Some(1_762_580_429_641)),
        (json!(1_762_580_429_641_i64), Some(1_762_580_429_641)),
        (json!("soon"), None),
        (json!(null), None),
    ] {
        let text = json!({"Records": [{"SequenceNumber": "496", "ApproximateArrivalTimestamp": json, "Data": data}]});
        let items = items(text.to_string());
        let [Item::Record(record)] = &items[..] else { panic!("one record: {items:?}") };
        assert_eq!(record.arrival, time.map(Millis), "{json}");
        assert_eq!(record.sequence.as_deref(), Some("496"));
    }
}

#[test]
fn what_lambda_gets_is_read_as_records() {
    let data = STANDARD.encode(gzip(ENVELOPE));
    let kinesis = json!({"Records": [{"eventID": "shardId-0:496", "eventSource": "aws:kinesis", "kinesis": {
        "kinesisSchemaVersion": "1.0", "partitionKey": "p", "sequenceNumber": "496", "data": data,
        "approximateArrivalTimestamp": 1_762_580_429.641}}]});
    let firehose = json!({"invocationId": "i", "deliveryStreamArn": "arn", "region": "r", "records": [
        {"recordId": "1", "approximateArrivalTimestamp": 1_762_580_429_641_i64, "data": data}]});
    let awslogs = json!({"awslogs": {"data": data}});
    for (event, arrival, sequence) in [
        (kinesis, Some(Millis(1_762_580_429_641)), Some("496")),
        (firehose, Some(Millis(1_762_580_429_641)), None),
        (awslogs, None, None),
    ] {
        check(event.to_string(), &["s/7/5/m/0"]);
        check(pretty(&event.to_string()), &["s/7/5/m/0"]);
        let items = items(event.to_string());
        let [Item::Record(record)] = &items[..] else { panic!("one record: {items:?}") };
        assert_eq!((record.arrival, record.sequence.as_deref()), (arrival, sequence));
    }
    check(r#"{"records":[{"recordId":"1"},{"recordId":"2","data":"?"}]}"#, &["!no_data", "!bad_base64"]);
    check(r#"{"awslogs":{}}"#, &["!no_data"]);
    for line in [r#"{"records":[1]}"#, r#"{"records":[]}"#, r#"{"awslogs":true}"#] {
        check(line, &[&format!("stream///{line}/0")]);
    }
    let secret = STANDARD.encode(sample("describe-vpn-connections.json"));
    check(json!({"Records": [{"Data": secret}]}).to_string(), &["!ec2_inventory"]);
}

#[test]
fn the_rest_is_read_after_what_is_broken() {
    let cut = &gzip(ENVELOPE)[..60];
    check([cut, &gzip(ENVELOPE)].concat(), &["?gzip_truncated", "s/7/5/m/0"]);
    check(cut, &["?gzip_truncated"]);
    let mut damaged = gzip(ENVELOPE);
    let middle = damaged.len() - 5;
    damaged[middle] ^= 0xff;
    check([&damaged[..], &gzip(ENVELOPE)].concat(), &["?gzip_corrupt", "s/7/5/m/0"]);
    check(b"\xff\xff\nafter\n", &["!invalid_utf8", "stream///after/0"]);
    check("H4sIA!!!\nafter\n", &["!bad_base64", "stream///after/0"]);
    check(r#"{"Records":[{"Data":"?"},{"PartitionKey":"x"}]}"#, &["!bad_base64", "!no_data"]);
    check(
        r#"{"Records":[{"s3":{}},{"Data":null},{"kinesis":{}},{"Data":7}]}"#,
        &["!no_data", "!no_data", "!no_data", "!bad_base64"],
    );
    check([&[0xf3, 0x89, 0x9a, 0xc2][..], b"\n\n\x01"].concat(), &["?kpl_aggregated"]);
    // A cut-off line does not swallow the good ones behind it.
    check(format!("{{\"a\": {{\"b\": 1,\n{ENVELOPE}\n"), &["stream///{\"a\": {\"b\": 1,/0", "s/7/5/m/0"]);
    check(format!("{{\"a\": \"b\n{ENVELOPE}\n"), &["stream///{\"a\": \"b/0", "s/7/5/m/0"]);
    check(format!("{{\"a\": {{\n\"b\": 1,\n{ENVELOPE}\n"), &["!broken_json", "s/7/5/m/0"]);
    check(&ENVELOPE[..90], &["?not_json"]);
    check(&ENVELOPE.replace(",\"", ",\n  \"")[..90], &["?not_json"]);
}

#[test]
fn a_damaged_gzip_file_gives_its_good_lines_and_is_reported() {
    let lines: String = (0..5000).map(|number| format!("line {} {number}\n", number * 7919 % 10007)).collect();
    let packed = gzip(&lines);
    let found = told(&items([&packed[..packed.len() / 2], &gzip(ENVELOPE)].concat()));
    assert!(found.len() > 1000 && found[0] == "stream///line 0 0/0", "{}", found.len());
    assert!(found.contains(&"!gzip_damaged".to_owned()));
    assert_eq!(told(&items(&packed[..packed.len() / 2])).last().unwrap(), "!gzip_damaged");
}

#[test]
fn what_is_too_large_is_reported_and_skipped() {
    let long = "x".repeat(2000);
    for input in [
        format!("{long}\nafter\n"),
        format!("{{\"a\":\"{long}\"}}\nafter\n"),
        format!("{{\"a\":[\n{}1]}}\nafter\n", "1,\n".repeat(1000)),
    ] {
        for bytes in [input.clone().into_bytes(), gzip(&input)] {
            assert_eq!(told(&items_capped(&bytes, 1000)), ["!too_large", "stream///after/0"]);
        }
    }
    // A bomb in the shape of a record is handed to the core, which stops at its own cap.
    let bomb = gzip(format!("{{\"messageType\":\"{}\"}}", "x".repeat(3 << 20)));
    check(&bomb, &["?too_large"]);
}

#[test]
fn places_name_lines_and_bytes() {
    let member = gzip("one\n\n\u{0}\n{\"Records\":[{}]}\n");
    let input = [b"a\n".as_slice(), &member, b"H4sI?\n"].concat();
    let places: Vec<String> = items(&input)
        .iter()
        .map(|item| match item {
            Item::Record(record) => record.place.to_string(),
            Item::Unreadable(unreadable) => unreadable.place.to_string(),
        })
        .collect();
    assert_eq!(places[1..], ["line 4 of the gzip file at byte 2", "line 2"], "{places:?}");
}

#[test]
fn an_ec2_answer_is_refused_and_carries_no_byte() {
    let connections = sample("describe-vpn-connections.json");
    let compact = serde_json::from_str::<serde_json::Value>(&connections).unwrap().to_string();
    let mut inputs = vec![connections.clone().into_bytes(), compact.clone().into_bytes()];
    for name in ["describe-customer-gateways.json", "describe-vpn-gateways.json", "describe-transit-gateways.json"] {
        inputs.push(sample(name).into_bytes());
    }
    for input in inputs {
        for input in [input.clone(), gzip(&input), [&input[..], b"\n", &input].concat()] {
            let found = items(&input);
            assert!(!found.is_empty() && told(&found).iter().all(|line| line == "!ec2_inventory"), "{found:?}");
        }
    }
    // Also in pieces, in disguise and cut off anywhere, no secret comes out.
    let query = connections.replacen("{\n \"VpnConnections\": ", "", 1);
    let text = connections.replace('\n', " ").replace('{', "");
    let mut inputs = vec![query.into_bytes(), text.into_bytes(), STANDARD.encode(&compact).into_bytes()];
    inputs.extend((0..connections.len()).step_by(41).map(|end| connections.as_bytes()[..end].to_vec()));
    inputs.extend(connections.match_indices('\n').map(|(start, _)| connections.as_bytes()[start..].to_vec()));
    for input in inputs {
        for item in items(&input).iter().chain(&items(gzip(&input))) {
            let bytes = match item {
                Item::Record(record) => &record.data,
                Item::Unreadable(unreadable) if unreadable.reason == Reason::Ec2Inventory => {
                    assert_eq!(unreadable.bytes, None);
                    continue;
                }
                Item::Unreadable(unreadable) => unreadable.bytes.as_ref().unwrap(),
            };
            let found = String::from_utf8_lossy(bytes);
            assert!(!found.contains("NEVER-SHOW"), "{found}");
        }
    }
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

#[test]
fn utf16_with_a_mark_is_refused_as_a_whole() {
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for text in [sample("describe-vpn-connections.json"), "line\nline\n".into(), String::new()] {
            let input = utf16(&format!("\u{feff}{text}"), to_bytes);
            check(&input, &["!utf16"]);
            let [Item::Unreadable(unreadable)] = &items(&input)[..] else { panic!("one item") };
            assert_eq!((unreadable.bytes.as_ref(), unreadable.place.byte), (None, 0));
            check([&gzip([&input[..], b"\n"].concat())[..], b"after\n"].concat(), &["!utf16", "stream///after/0"]);
        }
    }
}

#[test]
fn no_form_of_an_ec2_answer_lets_a_secret_out() {
    const SECRET: &str = "NEVER-SHOW-THIS-PRE-SHARED-KEY";
    let json = sample("describe-vpn-connections.json");
    let compact = serde_json::from_str::<serde_json::Value>(&json).unwrap().to_string();
    let korean = json.replace("seoul", "\u{c11c}\u{c6b8}\u{0a0a}");
    let text = format!(
        "VPNCONNECTIONS\tVPN\t<pre_shared_key>{SECRET}</pre_shared_key>\t{SECRET}\nOPTIONS\tFalse\n\
         TUNNELOPTIONS\t203.0.113.17\t{SECRET}\t169.254.50.84/30\n"
    );
    let yaml = format!("VpnConnections:\n- Options:\n    TunnelOptions:\n    - PreSharedKey: {SECRET}\n");
    let row = format!("||||  203.0.113.17  |  {SECRET}  ||||\n");
    let rule = "|||+----------------+----------------------------------+|||\n";
    let table = format!(
        "----\n|DescribeVpnConnections|\n||||  OutsideIpAddress  |  PreSharedKey  ||||\n{rule}{row}{row}{rule}"
    );
    for form in [json, compact, korean, text, yaml, table] {
        assert!(form.contains(SECRET));
        for form in [form.clone(), form.replace('\n', "\r\n"), form.trim_end().to_owned()] {
            let (little, big) = (utf16(&form, u16::to_le_bytes), utf16(&form, u16::to_be_bytes));
            let wide: Vec<u8> = form.chars().flat_map(|c| (c as u32).to_le_bytes()).collect();
            for input in [form.into_bytes(), little, big, wide] {
                for found in [items(&input), items(gzip(&input))] {
                    for item in &found {
                        let bytes = match item {
                            Item::Record(record) => record.data.to_vec(),
                            Item::Unreadable(unreadable) => unreadable.bytes.as_deref().unwrap_or_default().to_vec(),
                        };
                        let plain = String::from_utf8_lossy(&bytes).replace("\\u0000", "").replace('\0', "");
                        assert!(!plain.contains("NEVER-SHOW"), "{plain}");
                    }
                    assert!(told(&found).contains(&"!ec2_inventory".into()), "{found:?}");
                }
            }
        }
    }
    // A table of something else is read.
    check(
        "PreSharedKey\n|row|\nafter\n|row|\n",
        &["!ec2_inventory", "!ec2_inventory", "stream///after/0", "stream///|row|/0"],
    );
}

#[test]
fn every_sample_file_is_read_without_a_complaint() {
    for name in ["bgp-status.jsonl", "bgp-route.jsonl", "ike.jsonl", "route-server.jsonl"] {
        let lines = sample(name);
        let expect: Vec<_> = lines.lines().map(|line| format!("stream///{line}/0")).collect();
        assert_eq!(told(&items(&lines)), expect, "{name}");
    }
    assert_eq!(told(&items(sample("envelopes.jsonl"))).len(), 62, "61 events and a control message");
}
