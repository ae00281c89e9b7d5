//! The program with letters of refused events: decode, replay, and what it says.

use serde_json::{Value, json};

use super::support::program::{run, tunnelog};
use super::support::{events_in, gzip, json_lines};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const PIPELINE: &str = "\
sources:
  fleet: { simulate: { connections: 1, hours: 1 } }
sinks:
  siem: { file: { path: out/siem.ndjson }, only: { kind: [ike] } }
  lake: { file: { path: out/lake.ndjson } }
";

fn event(number: u64) -> Value {
    json!({"schema": "tunnelog.event/1", "id": format!("{number:032x}"), "summary": format!("event {number} \u{1b}[31m")})
}

fn letter(number: u64, sink: &str, data: &str) -> String {
    let letter = json!({"schema": "tunnelog.dead-letter/1", "id": format!("{:032x}", 99 + number),
        "reason": "too_large", "detail": "above \u{1b}[1m 1 MiB", "sink": sink, "event_id": format!("{number:032x}"),
        "event": {"time": "2025-11-08T05:40:31.102Z", "kind": "bgp.session", "action": "down", "severity": "warning",
            "connection": "vpn-0a1b2c3d4e5f60718", "tunnel": "203.0.113.17"},
        "size": data.len(), "data": STANDARD.encode(data)});
    format!("{letter}\n")
}

/// Letters as people copy them from S3: folders by day, packed or not.
fn world() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    let of = |number: u64, sink: &str| letter(number, sink, &format!("{}\n", event(number)));
    let mut files = vec![
        ("rejected/siem/aa.ndjson", (of(1, "siem") + &of(2, "siem")).into_bytes()),
        ("dt=2025-11-08/x.ndjson.gz", gzip(of(3, "lake") + &of(4, "nobody"))),
        ("dt=2025-11-09/y.ndjson.gz", gzip(of(5, "siem"))),
    ];
    if cfg!(feature = "zstd") {
        let frames = [zstd::encode_all(of(6, "siem").as_bytes(), 3), zstd::encode_all(of(7, "lake").as_bytes(), 3)];
        files.push(("dt=2025-11-09/z.ndjson.zst", frames.map(Result::unwrap).concat()));
    }
    for (name, bytes) in files {
        let path = folder.path().join("letters").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn numbers(events: &[Value]) -> Vec<u64> {
    let number = |event: &Value| u64::from_str_radix(event["id"].as_str().unwrap(), 16).unwrap();
    let mut numbers: Vec<u64> = events.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn replay_reads_letters_as_they_lie_in_s3_and_gives_each_to_its_sink() {
    let folder = world();
    let done = run(folder.path(), &["replay", "p.yaml", "letters"]).expect(0);
    let zstd = cfg!(feature = "zstd");
    let (siem, lake) = if zstd { (vec![1, 2, 5, 6], vec![3, 7]) } else { (vec![1, 2, 5], vec![3]) };
    let events = |name: &str| events_in(&folder.path().join("out").join(name));
    assert_eq!(numbers(&events("siem.ndjson")), siem, "the filter had its say before");
    assert_eq!(numbers(&events("lake.ndjson")), lake);
    assert!(events("siem.ndjson").contains(&event(1)), "as it was");
    let dead = events_in(&folder.path().join("state/p.dead-letters.replay.ndjson"));
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0]["reason"], &dead[0]["sink"]), (&json!("unknown_sink"), &json!("nobody")));
    done.says(&["unknown_sink", "no sink `nobody`"]);
}

#[test]
fn decode_shows_what_was_refused_and_by_whom() {
    let folder = world();
    let done = run(folder.path(), &["decode", "letters/dt=2025-11-08", "letters/rejected"]).expect(0);
    assert_eq!(numbers(&done.events()), [1, 2, 3, 4]);
    assert!(!done.err().contains('\u{1b}'), "{}", done.err());
    done.says(&["aa.ndjson, line 2: by sink `siem` as too_large: above \\u{1b}[1m 1 MiB", "by sink `nobody`"]);

    let done = run(folder.path(), &["decode", "--pretty", "letters/rejected"]).expect(0);
    let out = done.out();
    for part in
        ["vpn-0a1b2c3d4e5f60718", "203.0.113.17", "05:40:31.102Z", "event 1", "[refused by sink `siem` as too_large"]
    {
        assert!(out.contains(part), "`{part}` is missing in {out}");
    }
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[test]
fn decode_shows_what_is_no_json_as_text() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("l"), letter(1, "tty", "05:40 ▼ a line for a person\n")).unwrap();
    let done = run(folder.path(), &["decode", "l"]).expect(0);
    let shown = &json_lines(&done.stdout)[0];
    assert_eq!((&shown["text"], &shown["sink"]), (&json!("05:40 ▼ a line for a person"), &json!("tty")));
    let done = run(folder.path(), &["decode", "--pretty", "l"]).expect(0);
    assert!(done.out().contains("a line for a person"), "{}", done.out());
}

/// A letter is data: neither its bytes nor what the destination said of them is for the log.
#[test]
fn no_part_of_a_letter_shows_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    let letters: String =
        ["siem", "nobody"].map(|sink| letter(1, sink, "{\"k\":\"HIDDEN\"}\n").replace("above", "HIDDEN")).concat();
    std::fs::write(folder.path().join("l"), &letters).unwrap();
    for arguments in [&["replay", "--log", "trace", "p.yaml", "l"][..], &["check", "--log", "trace", "p.yaml"]] {
        let done = super::support::program::finish(tunnelog(folder.path(), arguments)).expect(0);
        let encoded = STANDARD.encode("{\"k\":\"HIDDEN\"}");
        assert!(!done.err().contains("HIDDEN") && !done.err().contains(&encoded[..16]), "{}", done.err());
    }
    assert!(std::fs::read_to_string(folder.path().join("out/siem.ndjson")).unwrap().contains("HIDDEN"));
}
