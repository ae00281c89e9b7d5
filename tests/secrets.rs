//! Pre-shared keys of the test data are in nothing that any command writes, at trace level too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::path::{Path, PathBuf};

use support::gzip;
use support::program::{Done, run, run_on};

const SECRET: &str = "NEVER-SHOW-THIS-PRE-SHARED-KEY";

const PIPELINE: &str = "\
sources: { files: { replay: { inputs: [input] } } }
enrich: { file: \"${INVENTORY:-inventory}\", tags: [Name, site, env] }
sinks:
  events: { file: { path: out/events.ndjson }, format: { json: { raw: always, origin: true } } }
  packed: { file: { path: out/events.ndjson.zst, compression: zstd } }
  console: { console: {}, format: timeline }
";

/// Fails if the secret is in these bytes, plain, in UTF-16 (as it is or escaped in JSON), or in base64 at any of its three offsets, or packed.
#[track_caller]
fn check(what: &str, bytes: &[u8]) {
    use base64::Engine as _;
    let mut needles = vec![SECRET.as_bytes().to_vec()];
    for between in ["\0", "\\u0000", "\\0"] {
        let letters: Vec<_> = SECRET.chars().map(String::from).collect();
        needles.push(letters.join(between).into_bytes());
    }
    for offset in 0..3 {
        let padded = [&b"xx"[..offset], SECRET.as_bytes()].concat();
        let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(padded);
        // The first and the last characters depend on what stands beside the secret.
        needles.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
    }
    for needle in needles {
        assert!(!bytes.windows(needle.len()).any(|window| window == needle), "the secret is in {what}");
    }
}

fn check_done(what: &str, done: &Done) {
    check(&format!("{what}: standard output"), &done.stdout);
    check(&format!("{what}: standard error"), &done.stderr);
}

/// All that was written, below this folder.
fn check_folder(what: &str, folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check_folder(what, &path);
        } else {
            check(&format!("{what}: {}", path.display()), &std::fs::read(&path).unwrap());
            check(&format!("{what}: {}, unpacked", path.display()), &support::unpacked(&path));
        }
    }
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The inventory as somebody may give it: whole, cut, packed, in one line, a part of it alone.
fn variants() -> Vec<(&'static str, Vec<u8>)> {
    let whole = std::fs::read(data().join("describe-vpn-connections.json")).unwrap();
    let secret = whole.windows(SECRET.len()).rposition(|window| window == SECRET.as_bytes()).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&whole).unwrap();
    let connection = value["VpnConnections"][0].to_string();
    let xml = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inventory/vpn-connections.xml");
    vec![
        ("in XML", std::fs::read(xml).unwrap()),
        ("cut after a secret", whole[..secret + SECRET.len()].to_vec()),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("without its beginning", whole[whole.len() / 3..].to_vec()),
        ("in one line", value.to_string().into_bytes()),
        ("one line cut", value.to_string().into_bytes()[..value.to_string().len() - 3].to_vec()),
        ("one connection", connection.clone().into_bytes()),
        ("connections in an array", format!("[{connection}]").into_bytes()),
        ("packed", gzip(&whole)),
        ("packed and cut", {
            let packed = gzip(&whole);
            packed[..packed.len() - 20].to_vec()
        }),
        ("in UTF-16 with a mark", [255, 254].into_iter().chain(whole.iter().flat_map(|byte| [*byte, 0])).collect()),
        ("as text", format!("TUNNELOPTIONS\t203.0.113.17\t{SECRET}\t169.254.50.84/30\n").into_bytes()),
        ("in UTF-16", whole.iter().flat_map(|byte| [*byte, 0]).collect()),
        ("with broken UTF-8", [&whole[..], b"\xff\xfe"].concat()),
        ("with CRLF", String::from_utf8(whole.clone()).unwrap().replace('\n', "\r\n").into_bytes()),
        ("with a wrong type", String::from_utf8(whole.clone()).unwrap().replacen('[', "7, \"x\": [", 1).into_bytes()),
        ("whole", whole),
    ]
}

#[test]
fn decode_shows_no_secret_of_any_input_or_inventory() {
    let folder = tempfile::tempdir().unwrap();
    let all = data();
    let all = all.to_str().unwrap();
    for arguments in [
        &["decode", "--log", "trace", "--raw", "always", all][..],
        &["decode", "--log", "trace", "--pretty", all],
        &["decode", "--log", "trace", "--raw", "always", "--tags", "Name,site", "--inventory", all, all],
    ] {
        check_done(&format!("{arguments:?}"), &run(folder.path(), arguments).expect(1));
    }
    let envelopes = data().join("envelopes.jsonl");
    for (name, bytes) in variants() {
        let input = folder.path().join("input.json");
        std::fs::write(&input, &bytes).unwrap();
        for arguments in [
            &["decode", "--log", "trace", "--raw", "always", "input.json"][..],
            &["decode", "--log", "trace", "--pretty", "input.json"],
            &["decode", "--log", "trace", "--raw", "always", "--inventory", "input.json", envelopes.to_str().unwrap()],
        ] {
            check_done(&format!("{name}: {arguments:?}"), &run(folder.path(), arguments));
        }
        let piped = run_on(folder.path(), &["decode", "--log", "trace", "--raw", "always"], &bytes);
        check_done(&format!("{name}: standard input"), &piped);
    }
}

/// A folder of its own for each run, so that nothing hides behind a checkpoint.
fn run_pipeline(what: &str, input: &Path, inventory: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = PIPELINE
        .replace("[input]", &format!("[\"{}\"]", input.display()))
        .replace("${INVENTORY:-inventory}", &inventory.display().to_string());
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    for arguments in [
        &["check", "--log", "trace", "p.yaml"][..],
        &["run", "--log", "trace", "p.yaml"],
        &["replay", "--log", "trace", "p.yaml", input.to_str().unwrap()],
        &["replay", "--log", "trace", "p.yaml", "state/p.dead-letters.ndjson"],
    ] {
        check_done(&format!("{what}: {arguments:?}"), &run(folder.path(), arguments));
    }
    check_folder(what, folder.path());
}

#[test]
fn pipelines_write_no_secret_of_inputs_given_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    run_pipeline("all of the test data", &data(), &data());
    for (name, bytes) in variants() {
        let input = folder.path().join("input.json");
        std::fs::write(&input, &bytes).unwrap();
        run_pipeline(name, &input, &data());
    }
}

#[test]
fn pipelines_write_no_secret_of_a_broken_inventory() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in variants() {
        let inventory = folder.path().join("inventory.json");
        std::fs::write(&inventory, &bytes).unwrap();
        run_pipeline(name, &data().join("envelopes.jsonl"), &inventory);
    }
}

/// A pipeline file is no place for a secret, but the answer may be given as one.
#[test]
fn check_and_run_quote_no_secret_of_an_inventory_given_as_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in variants() {
        std::fs::write(folder.path().join("p.yaml"), &bytes).unwrap();
        for command in ["check", "run"] {
            let done = run(folder.path(), &[command, "--log", "trace", "p.yaml"]).expect(2);
            check_done(&format!("{name}: {command}"), &done);
        }
    }
}
