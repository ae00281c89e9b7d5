//! The inventory as files: loading, secrets, damage, reloading, size.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tunnelog::enrich::file::Look;
use tunnelog::enrich::{AnswerError, Answers, FileInventory, Inventory, Overlay, Snapshot, join};
use tunnelog::event::Millis;

/// What stands in the samples where AWS puts secrets.
const SECRET: &str = "NEVER-SHOW-THIS-PRE-SHARED-KEY";
const CONNECTION: &str = "vpn-0a1b2c3d4e5f60718";

fn sample() -> String {
    fs::read_to_string("tests/data/describe-vpn-connections.json").unwrap()
}

/// A folder `{account}/{region}/` with the sample answers.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("123456789012/ap-northeast-2");
    fs::create_dir_all(&place).unwrap();
    for name in ["customer-gateways", "transit-gateways", "vpn-connections", "vpn-gateways"] {
        let name = format!("describe-{name}.json");
        fs::copy(Path::new("tests/data").join(&name), place.join(&name)).unwrap();
    }
    (root, place)
}

fn inventory(path: &Path) -> FileInventory {
    FileInventory::new(Some(path.to_owned()), None, vec!["site".into()])
}

#[test]
fn a_folder_tells_account_region_and_age() {
    let (root, place) = folder();
    let when = SystemTime::UNIX_EPOCH + Duration::from_millis(1_762_580_280_000);
    let file = fs::File::options().append(true).open(place.join("describe-vpn-connections.json")).unwrap();
    file.set_modified(when).unwrap();
    fs::write(root.path().join("accounts.json"), r#"{"Accounts":[{"Id":"123456789012","Name":"net-prod"}]}"#).unwrap();
    // None of these is an answer, and none is in the way.
    fs::write(root.path().join("manifest.json"), r#"{"seed":1}"#).unwrap();
    fs::write(root.path().join("README.md"), "no JSON").unwrap();
    fs::write(place.join(".describe-vpn-connections.json.swp"), "x").unwrap();
    fs::write(place.join(".hidden.json"), "{").unwrap();

    let snapshot = inventory(root.path()).load().unwrap();
    let connection = &snapshot.connections[CONNECTION];
    assert_eq!(connection.account_id.as_deref(), Some("123456789012"));
    assert_eq!(snapshot.accounts["123456789012"].name.as_deref(), Some("net-prod"));
    assert_eq!(connection.region.as_deref(), Some("ap-northeast-2"));
    assert_eq!(connection.as_of, Millis::parse("2025-11-08T05:38:00Z"));
    assert_eq!(connection.customer_gateway.as_ref().unwrap().asn, Some(65010));
    assert!(snapshot.configured && !snapshot.stale);
}

#[test]
fn one_file_is_an_inventory_too_and_the_transit_gateways_owner_is_no_account() {
    let snapshot = inventory(Path::new("tests/data/describe-vpn-connections.json")).load().unwrap();
    assert_eq!(snapshot.connections[CONNECTION].account_id, None);
    let snapshot = inventory(Path::new("tests/data")).load().unwrap();
    assert_eq!(snapshot.connections[CONNECTION].account_id, None);
    assert_eq!(snapshot.connections[CONNECTION].region.as_deref(), Some("ap-northeast-2"));
}

#[test]
fn an_overlay_alone_is_no_inventory() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("connections.csv");
    fs::write(&path, "connection_id,site\nvpn-1,seoul\n").unwrap();
    let snapshot = FileInventory::new(None, Some(path.clone()), Vec::new()).load().unwrap();
    assert!(!snapshot.configured && snapshot.overlay["vpn-1"]["site"] == "seoul");
    fs::write(&path, "connection_id,site\nvpn-1,seoul\nvpn-1,busan\n").unwrap();
    let error = FileInventory::new(None, Some(path.clone()), Vec::new()).load().unwrap_err().to_string();
    let place = format!("inventory `{}`: line 3: the connection of line 2 again", path.display());
    assert!(error.starts_with(&place), "{error}");
}

#[test]
fn what_is_no_inventory_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let check = |name: &str, content: Option<&[u8]>, expect: &str| {
        let path = root.path().join(name);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = inventory(&path).load().unwrap_err();
        let start = format!("inventory `{}`: ", path.display());
        assert_eq!(error.to_string().strip_prefix(&start).unwrap(), expect);
    };
    check("nowhere", None, "No such file or directory (os error 2); check the path");
    check(
        "",
        None,
        "no answer of `aws ec2 describe-vpn-connections` in it; save one as `{account}/{region}/describe-vpn-connections.json`",
    );
    check(
        "half.json",
        Some(b"{\"VpnConnections\":[{"),
        "the JSON ends early at line 1, column 20: the file may be half-written; save the answer again",
    );
    check(
        "text.json",
        Some(b"An error occurred"),
        "not valid JSON at line 1, column 1; save the answer again with `--output json`",
    );
    check(
        "query.json",
        Some(b"{\"VpnConnections\":\"x\"}"),
        "`VpnConnections` is not a list; save the answer again without `--query`",
    );
    check(
        "utf16.json",
        Some(b"\xff\xfe{\0"),
        "encoded as UTF-16; save the answer as UTF-8 (PowerShell: `| Out-File -Encoding utf8`)",
    );
    assert!(inventory(&root.path().join("utf16.json")).load().unwrap_err().path.ends_with("utf16.json"));
}

#[test]
fn no_secret_is_in_a_snapshot_or_in_an_error_about_a_damaged_answer() {
    let text = sample();
    assert!(text.contains(SECRET));
    let mut damaged: Vec<String> = (0..text.len()).map(|end| text[..end].to_owned()).collect();
    // Every text and every number of the file in turn becomes the secret, or something that is not allowed there.
    for (from, to) in [
        ("\"NEVER", "NEVER"),
        ("KEY-1\",", "KEY-1\","),
        ("KEY-1\"", "KEY-1\\q\""),
        ("KEY-1\"", "KEY-1\n\""),
        ("\"PreSharedKey\": ", "\"OutsideIpAddress\": "),
        ("\"PreSharedKey\": ", "\"PreSharedKey\": \"x\", \"TunnelInsideCidr\": "),
        ("\"CustomerGatewayConfiguration\"", "\"State\""),
        ("\"PreSharedKey\"", "\"VpnConnections\""),
    ] {
        damaged.push(text.replace(from, to));
    }
    for top in ["\"VpnConnections\": \"SECRET\"", "\"VpnConnections\": {\"x\": \"SECRET\"}", "\"SECRET\": 1"] {
        damaged.push(format!("{{{}}}", top.replace("SECRET", SECRET)));
    }
    damaged.push(format!("\"{SECRET}\""));
    damaged.push(format!("[\"{SECRET}\"]"));
    let mut refused = 0;
    for text in &damaged {
        let mut answers = Answers::default();
        let error = answers.add_slice(None, None, None, text.as_bytes());
        let seen = format!("{error:?} {}", error.err().map(|error: AnswerError| error.to_string()).unwrap_or_default());
        assert!(!seen.contains("NEVER") && !seen.contains("SHARED"), "{seen}");
        refused += u32::from(error.is_err());
    }
    assert!(refused as usize > sample().len() - 10);

    let mut answers = Answers::default();
    answers.add_slice(None, None, None, text.as_bytes()).unwrap();
    assert!(!format!("{answers:?}").contains("NEVER"));
    let snapshot = join(&answers, &["site".into()], Overlay::default());
    assert!(format!("{snapshot:?}").contains(CONNECTION) && !format!("{snapshot:?}").contains("NEVER"));
}

#[test]
fn a_look_finds_changes_and_says_the_same_failure_once() {
    let (root, place) = folder();
    let files = inventory(root.path());
    files.load().unwrap();
    assert!(matches!(files.look(), Look::Unchanged));

    let path = place.join("describe-vpn-connections.json");
    fs::write(&path, &sample()[..1000]).unwrap();
    assert!(matches!(files.look(), Look::Failed { news: true, .. }));
    assert!(matches!(files.look(), Look::Failed { news: false, .. }), "tried again, but nothing new to say");
    fs::write(&path, &sample()[..1001]).unwrap();
    assert!(matches!(files.look(), Look::Failed { news: true, .. }));

    fs::write(&path, sample().replace("seoul-dc-primary", "seoul-dc-renamed")).unwrap();
    let Look::Loaded(snapshot) = files.look() else { panic!("a good file is loaded") };
    assert_eq!(snapshot.connections[CONNECTION].name.as_deref(), Some("seoul-dc-renamed"));
    assert!(matches!(files.look(), Look::Unchanged));
    fs::remove_dir_all(root.path()).unwrap();
    assert!(matches!(files.look(), Look::Failed { news: true, .. }));
}

/// Log lines, as bytes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Waits until the watcher has brought the inventory to what is asked for. Time is paused: it jumps from
/// look to look, and stands still while a file is read.
async fn until(inventory: &Inventory, what: impl Fn(&Snapshot) -> bool) {
    for _ in 0..1000 {
        if what(&inventory.snapshot()) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("the inventory never came to be as expected: stale {}", inventory.snapshot().stale);
}

#[tokio::test(start_paused = true)]
async fn the_watcher_keeps_the_last_good_answer_and_marks_it_stale() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _log = tracing::subscriber::set_default(subscriber);

    let (root, place) = folder();
    let files = inventory(root.path());
    let shared = Arc::new(Inventory::new(files.load().unwrap()));
    let shutdown = CancellationToken::new();
    let mut watcher = tokio::task::JoinSet::new();
    watcher.spawn(files.watch(Arc::clone(&shared), Duration::from_secs(30), shutdown.clone()));

    let path = place.join("describe-vpn-connections.json");
    let half = sample().find("KEY-1").unwrap();
    fs::write(&path, &sample()[..half]).unwrap();
    until(&shared, |snapshot| snapshot.stale).await;
    assert!(shared.snapshot().connections.contains_key(CONNECTION), "the last good answer");
    tokio::time::sleep(Duration::from_secs(300)).await;

    fs::write(&path, sample().replace("seoul-dc-primary", "renamed")).unwrap();
    until(&shared, |snapshot| !snapshot.stale).await;
    assert_eq!(shared.snapshot().connections[CONNECTION].name.as_deref(), Some("renamed"));

    shutdown.cancel();
    watcher.join_next().await.unwrap().unwrap();
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("describe-vpn-connections.json") && log.contains("save the answer again"), "{log}");
    assert!(!log.contains("NEVER"), "{log}");
}

#[test]
fn fifty_thousand_connections_load_in_seconds() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("describe-vpn-connections.json");
    let one: serde_json::Value = serde_json::from_str(&sample()).unwrap();
    let one = serde_json::to_string(&one["VpnConnections"][0]).unwrap();
    let mut file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
    file.write_all(b"{\"VpnConnections\":[").unwrap();
    for number in 0..50_000 {
        let comma = if number == 0 { "" } else { "," };
        write!(file, "{comma}{}", one.replace(CONNECTION, &format!("vpn-{number:017x}"))).unwrap();
    }
    file.write_all(b"]}").unwrap();
    file.flush().unwrap();
    let snapshot = inventory(&path).load().unwrap();
    assert_eq!(snapshot.connections.len(), 50_000);
    // Seconds unoptimized; the bound only notices something quadratic.
}
