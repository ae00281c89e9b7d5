//! Every sample line to its event. `UPDATE_GOLDEN=1 cargo test --test golden_events` writes the files anew;
//! then read the difference as a network operator would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tunnelog::decode::envelope::{Cursor, Envelope, MessageKind};
use tunnelog::decode::{LogEvent, LogStream};
use tunnelog::event::Millis;
use tunnelog::normalize::stream::StreamIdentity;
use tunnelog::normalize::{id, normalize};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn event_line(log: &LogEvent<'_>, stream: &LogStream<'_>, observed: Option<Millis>) -> String {
    let identity = StreamIdentity::parse(&stream.stream);
    let id = id::of_log(stream, log);
    let mut summary = String::new();
    let event = normalize(log, stream, &identity, observed, id, &mut summary);
    serde_json::to_string(&event).unwrap() + "\n"
}

/// The events of bare lines, as if they had come from the stream of this name.
fn events_of_lines(lines: &str, stream_name: &str) -> String {
    let stream =
        LogStream { owner: "123456789012".into(), group: "/aws/vendedlogs/vpn".into(), stream: stream_name.into() };
    let logs = lines.lines().map(|line| LogEvent { message: line.into(), ..LogEvent::default() });
    logs.map(|log| event_line(&log, &stream, Some(Millis(1_762_580_700_000)))).collect()
}

fn events_of_envelopes(lines: &str) -> String {
    let mut text = String::new();
    for line in lines.lines() {
        let envelope = Envelope::parse(line.as_bytes()).unwrap();
        if envelope.kind == MessageKind::Control {
            continue;
        }
        for log in envelope.events(Cursor::default()) {
            text.push_str(&event_line(&log, &envelope.stream, None));
        }
    }
    text
}

fn check(name: &str, got: &str) {
    let path = folder("golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder("golden")).unwrap();
        std::fs::write(&path, got).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let mut difference = String::new();
    let (mut old, mut new) = (expected.lines(), got.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                let (old, new) = (old.unwrap_or("(no line)"), new.unwrap_or("(no line)"));
                writeln!(difference, "line {number}\n  - {old}\n  + {new}").unwrap();
            }
        }
    }
    assert!(difference.is_empty(), "{name} differs (UPDATE_GOLDEN=1 accepts):\n{difference}");
}

fn check_lines(name: &str, stream_name: &str) {
    let lines = std::fs::read_to_string(folder("data").join(name)).unwrap();
    let got = events_of_lines(&lines, stream_name);
    assert_eq!(got.lines().count(), lines.lines().count(), "one event for each line");
    check(name, &got);
}

#[test]
fn bgp_status_lines() {
    check_lines("bgp-status.jsonl", "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log");
}

#[test]
fn bgp_route_lines() {
    check_lines("bgp-route.jsonl", "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log");
}

#[test]
fn ike_lines() {
    check_lines("ike.jsonl", "vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log");
}

#[test]
fn route_server_lines() {
    check_lines("route-server.jsonl", "rsp-1234567890abcdef0");
}

#[test]
fn envelopes() {
    let lines = std::fs::read_to_string(folder("data").join("envelopes.jsonl")).unwrap();
    check("envelopes.jsonl", &events_of_envelopes(&lines));
}
