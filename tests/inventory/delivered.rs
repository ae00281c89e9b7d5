//! The running program, from a Kinesis stream into a file: what EC2 says later is in the events that come later.

use std::path::Path;
use std::process::Stdio;

use aws_sdk_kinesis::primitives::Blob;
use serde_json::Value;
use tokio::time::Instant;

use super::aws::{Account, Proxy, Request};
use super::support::program::{Running, wait_until};
use super::support::{gzip, json_lines, text};
use super::{PATIENCE, command, envelope, stack, state};

/// A stream and the folder of the program that reads it.
struct World {
    stream: String,
    folder: tempfile::TempDir,
    account: Account,
    lines: u64,
}

impl World {
    fn new() -> World {
        let stream = stack::kinesis().stream(1);
        World { stream, folder: tempfile::tempdir().unwrap(), account: Account::new(), lines: 0 }
    }

    fn start(&self, proxy: &Proxy, refresh: &str) -> Running {
        let pipeline = format!(
            "sources: {{ vpn: {{ kinesis: {{ stream: {} }}, aws: {{ endpoint: \"{}\", region: us-east-1 }} }} }}\n\
             enrich:\n  tags: [env]\n  overlay: sites.csv\n  ec2: {{ accounts: [\"{}\"], regions: [us-east-1, eu-west-1], \
             refresh: {refresh}, calls_per_second: 100, \
             assume_role: \"arn:{{partition}}:iam::{{account}}:role/r\" }}\n\
             sinks: {{ events: {{ file: {{ path: events.ndjson }} }} }}\ncheckpoint: {{ interval: 100ms }}\n",
            self.stream,
            stack::kinesis().endpoint,
            self.account.id,
        );
        std::fs::write(self.folder.path().join("p.yaml"), pipeline).unwrap();
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut command = command(self.folder.path(), &proxy.endpoint, &["run", "p.yaml"]);
        Running::of(command.stdout(Stdio::null()).stderr(log))
    }

    /// The event of a new line of this connection, once it is delivered.
    fn event(&mut self, connection: &str) -> Value {
        self.lines += 1;
        let id = format!("3991405872899142945039532718991129546174049552046791{:04}", self.lines);
        let line = envelope(&self.account.id, "eu-west-1", connection, "203.0.113.1");
        let line = line.replace("39914058728991429450395327189911295461740495520467910656", &id);
        let client = stack::kinesis().client();
        let put = client.put_record().stream_name(&self.stream).partition_key("k").data(Blob::new(gzip(&line)));
        stack::block_on(put.send()).unwrap();
        let mut found = None;
        wait_until("the event is delivered", || {
            found = delivered(self.folder.path()).into_iter().find(|event| text(event, "/log/event_id") == id);
            found.is_some()
        });
        found.unwrap()
    }

    /// New lines of a connection until the event of one is as expected.
    fn until(&mut self, connection: &str, what: &str, expected: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let event = self.event(connection);
            if expected(&event) {
                return event;
            }
            assert!(Instant::now() < end, "never {what}: {event:#}\n{}", self.log());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// What is in the file so far, without a line that is being written.
fn delivered(folder: &Path) -> Vec<Value> {
    let bytes = std::fs::read(folder.join("events.ndjson")).unwrap_or_default();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    json_lines(&bytes[..whole])
}

#[test]
fn a_changed_tag_a_changed_overlay_and_a_new_connection_show_in_delivered_events_without_a_restart() {
    let (proxy, mut world) = (Proxy::start(), World::new());
    let overlay = |world: &World, text: &str| std::fs::write(world.folder.path().join("sites.csv"), text).unwrap();
    let first = world.account.connection("eu-west-1", "first");
    overlay(&world, &format!("connection_id,site\n{first},seoul\n"));
    let mut running = world.start(&proxy, "10s");
    let event = world.until(&first, "fresh", |event| state(event) == "fresh");
    assert_eq!((text(&event, "/vpn/name"), text(&event, "/vpn/gateway/name")), ("first", "first-tgw"));
    assert_eq!((text(&event, "/vpn/tags/env"), text(&event, "/vpn/tags/site")), ("prod", "seoul"));

    world.account.tag("eu-west-1", &first, "env", "staging");
    let event = world.until(&first, "staging", |event| text(event, "/vpn/tags/env") == "staging");
    assert_eq!((state(&event), text(&event, "/vpn/tags/site")), ("fresh", "seoul"));

    overlay(&world, &format!("connection_id,site\n{first},busan\n"));
    let event = world.until(&first, "busan", |event| text(event, "/vpn/tags/site") == "busan");
    assert_eq!((state(&event), text(&event, "/vpn/tags/env")), ("fresh", "staging"));
    // A broken one changes nothing and is said once.
    overlay(&world, "no header of an overlay\n");
    wait_until("a broken overlay is said", || world.log().contains("overlay not loaded; the last good one is used"));
    assert_eq!(text(&world.event(&first), "/vpn/tags/site"), "busan");
    overlay(&world, &format!("connection_id,site\n{first},daegu\n"));
    world.until(&first, "daegu", |event| text(event, "/vpn/tags/site") == "daegu");
    assert!(running.terminate().success(), "{}", world.log());

    // Hours until the next refresh: only the miss itself can bring it.
    let _running = world.start(&proxy, "6h");
    world.until(&first, "fresh", |event| state(event) == "fresh");
    let second = world.account.connection("eu-west-1", "second");
    let asked = |region: &str| {
        let of_us = |request: &Request| request.action == "DescribeVpnConnections" && request.region == region;
        proxy.seen().iter().filter(|request| of_us(request)).count()
    };
    let elsewhere = asked("us-east-1");
    assert_eq!(state(&world.event(&second)), "missing");
    let event = world.until(&second, "known", |event| state(event) != "missing");
    assert_eq!((state(&event), text(&event, "/vpn/name")), ("fresh", "second"));
    assert_eq!(asked("us-east-1"), elsewhere, "only its own Region is asked");
}
