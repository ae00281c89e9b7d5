//! The samples as events, enriched from the sample inventory, and one alert made by hand: no detector makes any yet.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tunnelog::config::types::{Format as Configured, FormatName, FormatOptions, JsonOptions};
use tunnelog::decode::envelope::{Cursor, Envelope, MessageKind};
use tunnelog::decode::{LogEvent, LogStream};
use tunnelog::encode::Format;
use tunnelog::enrich::{Answers, Overlay, Snapshot, enrich, join};
use tunnelog::event::{Action, Event, Kind, Millis, Severity};
use tunnelog::normalize::stream::StreamIdentity;
use tunnelog::normalize::{id, normalize};

/// Bare lines of a sample, and the stream that they would have come from.
const LINES: [(&str, &str); 4] = [
    ("bgp-status", "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log"),
    ("bgp-route", "vpn-0a1b2c3d4e5f60718_203.0.113.17-BGP.log"),
    ("ike", "vpn-0a1b2c3d4e5f60718_203.0.113.17-IKE.log"),
    ("route-server", "rsp-1234567890abcdef0"),
];

fn data(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn inventory() -> Snapshot {
    let mut answers = Answers::default();
    let as_of = Millis::parse("2025-11-08T05:38:00Z");
    for name in ["customer-gateways", "transit-gateways", "vpn-connections", "vpn-gateways"] {
        let bytes = data(&format!("describe-{name}.json"));
        answers.add_slice(Some("123456789012"), Some("ap-northeast-2"), as_of, bytes.as_bytes()).unwrap();
    }
    join(&answers, &["Name".into(), "site".into(), "env".into()], Overlay::default())
}

/// The format with what its options can add.
fn format(name: FormatName) -> Format {
    let options = JsonOptions { constants: [("team".into(), "net".into())].into(), ..JsonOptions::default() };
    let mut all = FormatOptions::default();
    match name {
        FormatName::Ocsf => all.ocsf = Some(options),
        FormatName::Ecs => all.ecs = Some(options),
        FormatName::Splunk => all.splunk = Some(options),
        other => panic!("{other:?} is not under test"),
    }
    Format::resolve(Some(&Configured::Options(all)), name, false)
}

/// Encodes log events.
struct Encoder {
    format: Format,
    inventory: Snapshot,
    bytes: Vec<u8>,
}

impl Encoder {
    fn line(&mut self, log: &LogEvent<'_>, stream: &LogStream<'_>, change: impl FnOnce(&mut Event<'_>)) {
        let identity = StreamIdentity::parse(&stream.stream);
        let id = id::of_log(stream, log);
        let mut summary = String::new();
        let observed = Some(Millis(1_762_580_700_000));
        let mut event = normalize(log, stream, &identity, observed, id, &mut summary);
        enrich(&mut event, &self.inventory, None, &stream.owner);
        change(&mut event);
        self.format.encode(&event, &mut self.bytes);
    }
}

/// The lines of each sample, by its name.
pub(crate) fn encoded(name: FormatName) -> Vec<(&'static str, String)> {
    let mut encoder = Encoder { format: format(name), inventory: inventory(), bytes: Vec::new() };
    let mut all = Vec::new();
    for (sample, stream_name) in LINES {
        let text = data(&format!("{sample}.jsonl"));
        let stream =
            LogStream { owner: "123456789012".into(), group: "/aws/vendedlogs/vpn".into(), stream: stream_name.into() };
        for line in text.lines() {
            encoder.line(&LogEvent { message: line.into(), ..LogEvent::default() }, &stream, |_| ());
        }
        if sample == "bgp-status" {
            for action in [Action::Opened, Action::Updated, Action::Closed] {
                let line = text.lines().next().unwrap();
                encoder.line(&LogEvent { message: line.into(), ..LogEvent::default() }, &stream, |event| {
                    (event.kind, event.action, event.severity) = (Kind::Alert, action, Severity::Critical);
                });
            }
        }
        all.push((sample, take(&mut encoder)));
    }
    for line in data("envelopes.jsonl").lines() {
        let envelope = Envelope::parse(line.as_bytes()).unwrap();
        if envelope.kind != MessageKind::Control {
            envelope.events(Cursor::default()).for_each(|log| encoder.line(&log, &envelope.stream, |_| ()));
        }
    }
    all.push(("envelopes", take(&mut encoder)));
    all
}

fn take(encoder: &mut Encoder) -> String {
    String::from_utf8(std::mem::take(&mut encoder.bytes)).unwrap()
}

/// The events of all samples.
pub(crate) fn all(name: FormatName) -> Vec<Value> {
    let lines = encoded(name).into_iter().map(|(_, lines)| lines).collect::<String>();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn check_golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, got).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let mut difference = String::new();
    for (number, (old, new)) in expected.lines().zip(got.lines()).enumerate().filter(|(_, (old, new))| old != new) {
        writeln!(difference, "line {}\n  - {old}\n  + {new}", number + 1).unwrap();
    }
    assert!(difference.is_empty(), "{name} differs (UPDATE_GOLDEN=1 accepts):\n{difference}");
    assert_eq!(expected.lines().count(), got.lines().count(), "{name} (UPDATE_GOLDEN=1 accepts)");
}
