//! The inventory from EC2, against moto: accounts behind roles, faults on the way, restarts, and no secret anywhere.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "inventory/aws.rs"]
mod aws;
#[path = "inventory/delivered.rs"]
mod delivered;
#[path = "inventory/endpoints.rs"]
mod endpoints;
#[path = "inventory/organization.rs"]
mod organization;
#[path = "stack/mod.rs"]
mod stack;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws::{Account, DENIED, Proxy, Request, SECRET, THROTTLED, Verdict, organizations};
use serde_json::{Value, json};
use support::program::{Done, Running, finish, tunnelog};
use support::{events_in, text};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tunnelog::config::types::{Accounts, AccountsOf, Condition, Ec2, FormatName};
use tunnelog::core::{Core, From, Resume, Scratch, SinkPlan, Step};
use tunnelog::delivery::SinkId;
use tunnelog::encode::Format;
use tunnelog::enrich::Inventory;
use tunnelog::enrich::ec2::{Context, Ec2Inventory, HUB_ACTIONS, MEMBER_ACTIONS, ORGANIZATION_ACTIONS, probe_with};
use tunnelog::route::Filter;
use tunnelog::source::{Position, Record, ShardId};

const REGIONS: [&str; 2] = ["us-east-1", "eu-west-1"];
/// For something that must happen: far more than it ever takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn config(accounts: &[&Account]) -> Ec2 {
    Ec2 {
        accounts: Some(Accounts::Ids(accounts.iter().map(|account| account.id.clone()).collect())),
        regions: REGIONS.map(str::to_owned).to_vec(),
        assume_role: Some("arn:{partition}:iam::{account}:role/tunnelog-inventory".into()),
        external_id: Some("external".into()),
        refresh: tunnelog::config::units::Duration::from_secs(3),
        calls_per_second: 100,
        ..Ec2::default()
    }
}

fn context(folder: &Path) -> Context {
    Context { folder: folder.join("p.inventory"), tags: vec!["env".into()], overlay: None }
}

async fn opened(config: &Ec2, folder: &Path, endpoint: &str) -> Ec2Inventory {
    Ec2Inventory::open(config, context(folder), &stack::aws(endpoint, "any", "key")).await.unwrap()
}

/// A CloudWatch record with one BGP line of a tunnel.
fn envelope(account: &str, region: &str, connection: &str, outside: &str) -> String {
    let line = json!({"resource_id": format!("{connection}_{outside}"), "event_timestamp": 1_762_580_429_641_u64,
        "timestamp": "2025-11-08 05:40:29.641Z", "type": "BGPStatus", "status": "UP", "message": {"details":
        "AWS-side peer BGP session state has changed from OpenConfirm to Established with neighbor 169.254.50.86"}});
    json!({"messageType": "DATA_MESSAGE", "owner": account, "logGroup": "/aws/vendedlogs/vpn",
        "logStream": format!("{connection}_{outside}-BGP.log"), "subscriptionFilters": ["all"], "logEvents": [{
        "id": "39914058728991429450395327189911295461740495520467910656", "timestamp": 1_762_580_429_641_u64,
        "message": line.to_string(), "extractedFields": {"@aws.account": account, "@aws.region": region}}]})
    .to_string()
}

/// One tunnel's line through the core, as a reader does it: what came out, and how many passed undecided.
fn process(inventory: &Inventory, condition: Condition, envelope: &str) -> (Vec<Value>, u64) {
    let [source, stream, stream_created, shard] = ["main", "s", "0", "shard"].map(Arc::from);
    let shard = ShardId { source, stream, stream_created, shard };
    let format = Format::resolve(None, FormatName::Json, false);
    let core = Core::new(1 << 20, vec![SinkPlan { format, filter: Filter::compile(Some(&condition), None) }]);
    let record = Record::new(Position::from(1), None, support::gzip(envelope).into());
    let mut out = core.output(&[SinkId(0)]);
    let (from, snapshot) = (From { shard: &shard, region: None }, inventory.snapshot());
    let step = core.process(from, &record, Resume::default(), &snapshot, &mut Scratch::default(), &mut out);
    assert_eq!(step, Step::Done);
    inventory.misses.note(std::mem::take(&mut out.misses));
    let undecided = out.counts.passed_unknown[0];
    let piece = core.piece(out);
    (support::json_lines(&piece.lanes[0].as_ref().unwrap().encoded.bytes), undecided)
}

/// An inventory that is kept fresh beside the test.
struct Fresh {
    inventory: Arc<Inventory>,
    _task: JoinSet<()>,
}

impl Fresh {
    fn start(mut ec2: Ec2Inventory) -> Fresh {
        let inventory = Arc::new(Inventory::new(ec2.snapshot()));
        let mut task = JoinSet::new();
        task.spawn(ec2.keep_fresh(Arc::clone(&inventory), CancellationToken::new()));
        Fresh { inventory, _task: task }
    }

    /// Waits until the event of a tunnel's line is as expected.
    async fn until(&self, line: &str, what: &str, expected: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (mut events, _) = process(&self.inventory, Condition::default(), line);
            let event = events.remove(0);
            if expected(&event) {
                return event;
            }
            assert!(Instant::now() < end, "never {what}: {event:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn state(event: &Value) -> &str {
    text(event, "/vpn/inventory/state")
}

#[tokio::test(flavor = "multi_thread")]
async fn three_accounts_in_two_regions_are_known_and_a_changed_tag_shows_without_a_restart() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    let accounts = [Account::new(), Account::new(), Account::new()];
    let mut lines = Vec::new();
    for (number, account) in accounts.iter().enumerate() {
        for region in REGIONS {
            let name = format!("site-{number}-{region}");
            let connection = account.connection(region, &name);
            account.tag(region, &connection, "sim:tunnel2", "DOWN");
            let outside = account.outside(region, &connection);
            lines.push((name, account, region, connection, outside));
        }
    }
    let fresh = Fresh::start(opened(&config(&accounts.each_ref()), folder.path(), &proxy.endpoint).await);
    for (name, account, region, connection, outside) in &lines {
        for (index, status) in [(0, "UP"), (1, "DOWN")] {
            let line = envelope(&account.id, region, connection, &outside[index]);
            let event = fresh.until(&line, "fresh", |event| state(event) == "fresh").await;
            assert_eq!(text(&event, "/vpn/name"), name);
            assert_eq!(text(&event, "/vpn/connection_state"), "available");
            assert_eq!(event.pointer("/vpn/tunnel/index"), Some(&json!(index + 1)));
            assert!(text(&event, "/vpn/tunnel/inside_cidr").starts_with("169.254."), "{event:#}");
            assert_eq!(text(&event, "/vpn/inventory/tunnel_status"), status);
            assert_eq!(event.pointer("/vpn/inventory/accepted_routes"), Some(&json!(2)));
            assert_eq!(text(&event, "/vpn/customer_gateway/name"), format!("{name}-fw"));
            assert_eq!(event.pointer("/vpn/customer_gateway/asn"), Some(&json!(65010)));
            assert_eq!(text(&event, "/vpn/gateway/kind"), "transit_gateway");
            assert_eq!(text(&event, "/vpn/gateway/name"), format!("{name}-tgw"));
            assert_eq!(text(&event, "/vpn/gateway/owner_account_id"), account.id);
            assert_eq!(event.pointer("/vpn/tags"), Some(&json!({"env": "prod"})));
            assert_eq!(
                (text(&event, "/cloud/account_id"), text(&event, "/cloud/region")),
                (account.id.as_str(), *region)
            );
        }
    }
    let roles: Vec<Request> = proxy.seen().into_iter().filter(|request| request.action == "AssumeRole").collect();
    assert_eq!(roles.len(), 3, "one session an account, whatever its Regions");
    assert!(roles.iter().all(|role| role.body.contains("ExternalId=external")));
    for request in proxy.seen() {
        let action = format!("{}:{}", if request.action == "AssumeRole" { "sts" } else { "ec2" }, request.action);
        assert!(MEMBER_ACTIONS.contains(&action.as_str()) || HUB_ACTIONS.contains(&action.as_str()), "{action}");
    }

    let (_, account, region, connection, outside) = &lines[3];
    account.tag(region, connection, "env", "staging");
    let line = envelope(&account.id, region, connection, &outside[0]);
    fresh.until(&line, "staging", |event| text(event, "/vpn/tags/env") == "staging").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_appears_between_refreshes_is_asked_for_once_and_in_its_region() {
    let (proxy, folder, account) = (Proxy::start(), tempfile::tempdir().unwrap(), Account::new());
    let config = Ec2 { refresh: tunnelog::config::units::Duration::from_secs(3600), ..config(&[&account]) };
    let first = account.connection("eu-west-1", "first");
    let mut ec2 = opened(&config, folder.path(), &proxy.endpoint).await;
    ec2.refresh_once().await;
    let fresh = Fresh::start(ec2);
    let line = |connection: &str| envelope(&account.id, "eu-west-1", connection, "203.0.113.1");
    let asked = |region: &str| {
        let is_it = |request: &Request| request.action == "DescribeVpnConnections" && request.region == region;
        proxy.seen().iter().filter(|request| is_it(request)).count()
    };
    fresh.until(&line(&first), "known", |event| text(event, "/vpn/name") == "first").await;
    let before = (asked("eu-west-1"), asked("us-east-1"));
    let second = account.connection("eu-west-1", "second");
    fresh.until(&line(&second), "known", |event| text(event, "/vpn/name") == "second").await;
    assert_eq!((asked("eu-west-1"), asked("us-east-1")), (before.0 + 1, before.1), "one refresh, of its Region");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_account_spoils_no_other_and_says_what_to_do() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    let accounts = [Account::new(), Account::new()];
    let good = accounts[0].connection("us-east-1", "good");
    let denied = accounts[1].id.clone();
    proxy.rule(move |request| if request.account == denied { DENIED } else { Verdict::Pass });
    let config = config(&accounts.each_ref());
    let mut ec2 = opened(&config, folder.path(), &proxy.endpoint).await;
    ec2.refresh_once().await;
    let inventory = Inventory::new(ec2.snapshot());
    let (events, _) =
        process(&inventory, Condition::default(), &envelope(&accounts[0].id, "us-east-1", &good, "203.0.113.1"));
    assert_eq!((state(&events[0]), text(&events[0], "/vpn/name")), ("fresh", "good"));
    let status = ec2.status();
    let failures: Vec<&str> = status.places.iter().filter_map(|place| place.failure.as_deref()).collect();
    assert_eq!(failures.len(), 2, "both of its Regions, and nobody else's");
    for failure in failures {
        let start = format!(
            "sts:AssumeRole on arn:aws:iam::{}:role/tunnelog-inventory in us-east-1 failed: AccessDenied",
            accounts[1].id
        );
        assert!(failure.starts_with(&start) && failure.contains("trust policy"), "{failure}");
    }
    let probed = probe_with(&config, &stack::aws(&proxy.endpoint, "any", "key"), PATIENCE).await.unwrap_err();
    assert_eq!(probed.lines().count(), 2, "{probed}");
    proxy.rule(|_| Verdict::Pass);
    let probed = probe_with(&config, &stack::aws(&proxy.endpoint, "any", "key"), PATIENCE).await.unwrap();
    assert_eq!(probed, "1 VPN connection, 2 accounts, 2 Regions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_many_accounts_asks_some_and_ends_in_time_when_nobody_answers() {
    let proxy = Proxy::start();
    let first = u64::from_str_radix(stack::unique("a").rsplit('-').next().unwrap(), 16).unwrap() % 800_000_000_000;
    let ids = (0..200).map(|number| format!("{:012}", 100_000_000_000 + first + number)).collect();
    let config = Ec2 { accounts: Some(Accounts::Ids(ids)), ..config(&[]) };
    let sdk = stack::aws(&proxy.endpoint, "any", "key");
    let some = probe_with(&config, &sdk, PATIENCE).await.unwrap();
    assert_eq!(
        some,
        "0 VPN connections, 200 accounts, 2 Regions; 64 of 400 accounts and Regions were asked; \
         `tunnelog inventory show --refresh` asks all"
    );
    let roles = |request: &Request| request.action == "AssumeRole";
    assert_eq!(proxy.seen().iter().filter(|request| roles(request)).count(), 64, "as many accounts as may be");

    proxy.rule(|request| if request.action == "AssumeRole" { Verdict::Pass } else { Verdict::Never });
    let began = Instant::now();
    let none = probe_with(&config, &sdk, Duration::from_secs(2)).await.unwrap_err();
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    let unanswered = none.lines().filter(|line| line.contains("no answer within 2 s")).count();
    assert!(
        none.ends_with(&format!(
            "\n{unanswered} of 400 accounts and Regions were asked; `tunnelog inventory show --refresh` asks all"
        )),
        "{none}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_half_and_broken_answers_are_asked_for_again_and_leave_the_last_good_one() {
    let (proxy, folder, account) = (Proxy::start(), tempfile::tempdir().unwrap(), Account::new());
    let connection = account.connection("us-east-1", "kept");
    let faults = [THROTTLED, Verdict::Half, Verdict::BreaksOff];
    for fault in &faults {
        let (fault, mut left) = (fault.clone(), 2);
        proxy.rule(move |request| {
            let hit = request.action == "DescribeVpnConnections" && request.region == "us-east-1" && left > 0;
            left -= i32::from(hit);
            if hit { fault.clone() } else { Verdict::Pass }
        });
        let mut ec2 = opened(&config(&[&account]), tempfile::tempdir().unwrap().path(), &proxy.endpoint).await;
        ec2.refresh_once().await;
        let failures: Vec<_> = ec2.status().places.into_iter().filter_map(|place| place.failure).collect();
        assert_eq!(failures, Vec::<String>::new(), "a third try helps");
    }

    proxy.rule(|_| Verdict::Pass);
    let ec2 = opened(&config(&[&account]), folder.path(), &proxy.endpoint).await;
    let fresh = Fresh::start(ec2);
    let line = envelope(&account.id, "us-east-1", &connection, "203.0.113.1");
    let before = fresh.until(&line, "fresh", |event| state(event) == "fresh").await;
    for fault in faults {
        let fault = fault.clone();
        proxy.rule(move |request| if request.action == "AssumeRole" { Verdict::Pass } else { fault.clone() });
        let stale = fresh.until(&line, "stale", |event| state(event) == "stale").await;
        assert_eq!(text(&stale, "/vpn/name"), "kept");
        assert!(text(&stale, "/vpn/inventory/as_of") >= text(&before, "/vpn/inventory/as_of"), "its age is told");
        proxy.rule(|_| Verdict::Pass);
        fresh.until(&line, "fresh again", |event| state(event) == "fresh").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_accounts_are_asked_however_loud_a_log_is() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    let (allowed, other) = (Account::new(), Account::new());
    let connection = allowed.connection("us-east-1", "seen");
    let foreign = other.connection("us-east-1", "foreign");
    let allow = vec![allowed.id.clone()];
    let config = Ec2 { accounts: Some(Accounts::Listed(AccountsOf::Seen)), allow, ..config(&[]) };
    let fresh = Fresh::start(opened(&config, folder.path(), &proxy.endpoint).await);
    for region in ["us-east-1", "role/evil", "eu-west-1"] {
        process(&fresh.inventory, Condition::default(), &envelope(&other.id, region, &foreign, "203.0.113.1"));
    }
    assert!(proxy.seen().is_empty(), "nobody is asked before a log names an account");
    let line = envelope(&allowed.id, "us-east-1", &connection, "203.0.113.1");
    fresh.until(&line, "known", |event| text(event, "/vpn/name") == "seen").await;
    assert!(proxy.seen().iter().all(|request| request.account == allowed.id), "{:?}", proxy.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_organization_lists_its_accounts_with_their_names() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    organizations("CreateOrganization", "{\"FeatureSet\":\"ALL\"}");
    let created = organizations("CreateAccount", "{\"AccountName\":\"net-prod\",\"Email\":\"a@b.example\"}");
    let created: Value = serde_json::from_str(&created).unwrap();
    let id = text(&created, "/CreateAccountStatus/AccountId").to_owned();
    let accounts = Some(Accounts::Listed(AccountsOf::Organization));
    let config = Ec2 { accounts, allow: vec![id.clone()], ..config(&[]) };
    let fresh = Fresh::start(opened(&config, folder.path(), &proxy.endpoint).await);
    let line = envelope(&id, "us-east-1", "vpn-0a1b2c3d4e5f60718", "203.0.113.1");
    fresh.until(&line, "named", |event| text(event, "/cloud/account_name") == "net-prod").await;
    assert!(proxy.seen().iter().any(|request| request.action == "ListAccounts" && request.region == "us-east-1"));
    drop(fresh);
    proxy.rule(|_| THROTTLED);
    let mut again = opened(&config, folder.path(), &proxy.endpoint).await;
    assert_eq!(
        again.snapshot().accounts[&id].name.as_deref(),
        Some("net-prod"),
        "a restart knows the accounts before it has asked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_empty_inventory_a_tag_filter_loses_nothing_and_counts_all() {
    let (proxy, folder, account) = (Proxy::start(), tempfile::tempdir().unwrap(), Account::new());
    let connection = account.connection("us-east-1", "dev");
    let mut ec2 = opened(&config(&[&account]), folder.path(), &proxy.endpoint).await;
    let inventory = Inventory::new(ec2.snapshot());
    let only =
        |value: &str| Condition { tag: [("env".to_owned(), vec![value.to_owned()])].into(), ..Condition::default() };
    let line = envelope(&account.id, "us-east-1", &connection, "203.0.113.1");
    for _ in 0..3 {
        let (events, undecided) = process(&inventory, only("staging"), &line);
        assert_eq!((events.len(), undecided, state(&events[0])), (1, 1, "missing"));
    }
    ec2.refresh_once().await;
    inventory.swap(ec2.snapshot());
    assert_eq!(process(&inventory, only("staging"), &line).0.len(), 0, "now it is known not to be staging");
    assert_eq!(process(&inventory, only("prod"), &line), (process(&inventory, only("prod"), &line).0, 0));
}

/// The binary, which finds credentials and the endpoint in its environment.
fn command(folder: &Path, endpoint: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = tunnelog(folder, arguments);
    for (name, value) in
        [("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "key"), ("AWS_EC2_METADATA_DISABLED", "true")]
    {
        command.env(name, value);
    }
    for service in ["EC2", "ORGANIZATIONS", "STS"] {
        command.env(format!("AWS_ENDPOINT_URL_{service}"), endpoint);
    }
    command.env("AWS_CONFIG_FILE", "/nowhere").env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
    command
}

fn program(folder: &Path, endpoint: &str, arguments: &[&str]) -> Done {
    finish(command(folder, endpoint, arguments))
}

/// Fails if a secret of the wire is in anything that is left in this folder, or was printed.
fn no_secret(folder: &Path, done: &Done) {
    let clean = |what: &str, bytes: &[u8]| {
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found && !support::lossy(bytes).contains("pre_shared_key"), "a secret is in {what}");
    };
    clean("standard output", &done.stdout);
    clean("standard error", &done.stderr);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path)
            } else {
                clean(&path.display().to_string(), &std::fs::read(&path).unwrap())
            }
        }
    }
}

#[test]
fn a_restart_enriches_at_once_and_no_secret_is_in_state_exports_events_logs_or_errors() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    let (account, denied) = (Account::new(), Account::new());
    let connection = account.connection("eu-west-1", "seoul");
    let outside = account.outside("eu-west-1", &connection);
    let out = denied.id.clone();
    proxy.rule(move |request| if request.account == out { DENIED } else { Verdict::Pass });
    let pipeline = format!(
        "sources: {{ files: {{ replay: {{ inputs: [input.json] }} }} }}\n\
         enrich:\n  tags: [env]\n  ec2:\n    accounts: [\"{}\", \"{}\"]\n    regions: [us-east-1, eu-west-1]\n    \
         assume_role: \"arn:{{partition}}:iam::{{account}}:role/tunnelog-inventory\"\n\
         sinks: {{ events: {{ file: {{ path: events.ndjson }}, format: {{ json: {{ raw: always }} }} }} }}\n",
        account.id, denied.id
    );
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    std::fs::write(folder.path().join("input.json"), envelope(&account.id, "eu-west-1", &connection, &outside[1]))
        .unwrap();
    let run = |arguments: &[&str]| {
        let done = program(folder.path(), &proxy.endpoint, arguments);
        no_secret(folder.path(), &done);
        done
    };
    run(&["check", "p.yaml"]).expect(0);
    let connected = run(&["check", "--connect", "p.yaml"]).out();
    assert!(connected.contains("sts:AssumeRole on arn:aws:iam::") && connected.contains("trust policy"), "{connected}");
    run(&["inventory", "show", "p.yaml"]).expect(1).says(&["nothing is known yet", "--refresh"]);
    let failed = format!("not refreshed: {0} in eu-west-1, {0} in us-east-1", denied.id);
    let shown = run(&["inventory", "--log", "trace", "show", "p.yaml", "--refresh"]).expect(1).says(&[&failed]).out();
    let row = |account: &str, region: &str, rest: &str| {
        let found = |line: &str| line.contains(account) && line.contains(region) && line.trim_end().ends_with(rest);
        assert!(shown.lines().any(found), "{account} {region} {rest} is missing in\n{shown}");
    };
    row(&account.id, "eu-west-1", "fresh");
    row(&denied.id, "us-east-1", "missing");
    assert!(shown.contains("what failed:\n  sts:AssumeRole on arn:aws:iam::"), "{shown}");

    run(&["inventory", "show", "p.yaml", "--refresh", "--account", &account.id]).expect(0);
    run(&["inventory", "show", "p.yaml", "--refresh", "--json"]).expect(1).says(&[&failed]);
    run(&["inventory", "export", "p.yaml", "partly", "--refresh"])
        .expect(1)
        .says(&[&failed, "accounts and Regions written"]);

    // From now on EC2 does not answer at all: what is kept is enough.
    proxy.rule(|_| THROTTLED);
    run(&["run", "--log", "trace", "p.yaml"]).expect(0);
    let events = events_in(&folder.path().join("events.ndjson"));
    assert_eq!((events.len(), text(&events[0], "/vpn/name"), state(&events[0])), (1, "seoul", "stale"));
    assert_eq!(events[0].pointer("/vpn/tunnel/index"), Some(&json!(2)));
    assert_eq!(text(&events[0], "/vpn/customer_gateway/name"), "seoul-fw");

    run(&["inventory", "show", "p.yaml"]).expect(0);
    run(&["inventory", "export", "p.yaml", "exported"]).expect(0);
    let of_account = run(&["inventory", "show", "p.yaml", "--json", "--account", &account.id]).expect(0).out();
    let of_account: Value = serde_json::from_str(&of_account).unwrap();
    assert_eq!(of_account["places"].as_array().unwrap().len(), 2);
    assert_eq!(of_account["places"][0]["region"], "eu-west-1");
    let decoded = run(&["decode", "--inventory", "exported", "--tags", "env", "input.json"]).expect(0).events();
    assert_eq!(decoded[0]["vpn"]["tags"], json!({"env": "prod"}));
    assert_eq!(decoded[0]["vpn"]["name"], "seoul");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_accounts_it_is_the_credentials_own_also_after_a_restart_without_sts() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    let config = Ec2 { accounts: None, assume_role: None, external_id: None, ..config(&[]) };
    let accounts = |ec2: &Ec2Inventory| ec2.status().places.into_iter().map(|place| place.account).collect::<Vec<_>>();
    let mut ec2 = opened(&config, folder.path(), &proxy.endpoint).await;
    ec2.refresh_once().await;
    assert_eq!(accounts(&ec2), ["123456789012", "123456789012"]);
    proxy.rule(|_| DENIED);
    assert_eq!(accounts(&opened(&config, folder.path(), &proxy.endpoint).await), ["123456789012", "123456789012"]);
    let nothing_kept = tempfile::tempdir().unwrap();
    let sdk = stack::aws(&proxy.endpoint, "any", "key");
    let error = Ec2Inventory::open(&config, context(nothing_kept.path()), &sdk).await.unwrap_err();
    assert!(error.starts_with("sts:GetCallerIdentity on this process in us-east-1 failed: AccessDenied"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_transit_gateways_are_followed() {
    let (proxy, folder, account) = (Proxy::start(), tempfile::tempdir().unwrap(), Account::new());
    let connection = account.connection("us-east-1", "paged");
    proxy.rule(|request| match request.action.as_str() {
        "DescribeTransitGateways" if !request.body.contains("NextToken") => {
            Verdict::Answer(200, include_str!("inventory/transit-gateways.xml"))
        }
        _ => Verdict::Pass,
    });
    let mut ec2 = opened(&config(&[&account]), folder.path(), &proxy.endpoint).await;
    ec2.refresh_once().await;
    let gateway = ec2.snapshot().connections[connection.as_str()].gateway.clone().unwrap();
    assert_eq!(gateway.name.as_deref(), Some("paged-tgw"), "it is on the second page");
    let second = |request: &Request| request.body.ends_with("&NextToken=page%2B2%2F%3D");
    assert_eq!(proxy.seen().iter().filter(|request| second(request)).count(), 2, "one in each Region");
}

/// The whole program: its readers name the accounts, its refresher asks for them, its metrics count it.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_pipeline_asks_for_the_accounts_whose_logs_it_reads() {
    let (proxy, folder) = (Proxy::start(), tempfile::tempdir().unwrap());
    let fleet = tunnelog::config::types::Simulate { connections: 8, ..Default::default() };
    let places = tunnelog::source::simulate::Fleet::new(&fleet).unwrap().inventory().regions;
    let account = places[0].account.clone();
    let port = stack::free_port();
    let pipeline = format!(
        "sources: {{ fleet: {{ simulate: {{ connections: 8, rate: 200 }} }} }}\n\
         enrich: {{ ec2: {{ accounts: seen, allow: [\"{account}\"], regions: [{}], \
         assume_role: \"arn:{{partition}}:iam::{{account}}:role/r\" }} }}\n\
         sinks: {{ events: {{ file: {{ path: events.ndjson }} }} }}\nstatus: {{ listen: \"127.0.0.1:{port}\" }}\n",
        places[0].region
    );
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    let mut command = command(folder.path(), &proxy.endpoint, &["run", "p.yaml"]);
    let _program = Running::of(command.stderr(std::process::Stdio::null()));
    let counted = format!("tunnelog_inventory_refreshes_total{{account=\"{account}\"}} 1");
    let end = Instant::now() + PATIENCE;
    let page = loop {
        let page = metrics(port).unwrap_or_default();
        if page.contains(&counted) {
            break page;
        }
        assert!(Instant::now() < end, "never `{counted}`: {page}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(page.contains(&format!("tunnelog_inventory_account_connections{{account=\"{account}\"}} 0")), "{page}");
    assert!(proxy.seen().iter().all(|request| request.account == account));
}

fn metrics(port: u16) -> std::io::Result<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

/// Least privilege: the policies allow what the code calls, and nothing else.
#[test]
fn the_policies_in_deploy_allow_the_calls_that_are_made_and_no_other() {
    let file = |name: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/iam").join(name)).unwrap()
    };
    let actions = |name: &str| {
        let policy: Value = serde_json::from_str(&file(name)).unwrap();
        let statements = policy["Statement"].as_array().unwrap().clone();
        let mut all = Vec::new();
        for statement in statements {
            assert_eq!(statement["Effect"], "Allow");
            match &statement["Action"] {
                Value::String(action) => all.push(action.clone()),
                list => all.extend(list.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned())),
            }
        }
        all
    };
    assert_eq!(actions("member-policy.json"), MEMBER_ACTIONS);
    assert_eq!(actions("hub-policy.json"), [&HUB_ACTIONS[..], &ORGANIZATION_ACTIONS[..]].concat());
    assert_eq!(actions("member-trust.json"), HUB_ACTIONS);
    let template = file("member-role.yaml");
    let lines = template.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::trim);
    let named: Vec<&str> =
        lines.filter_map(|line| line.strip_prefix("- ")).filter(|line| line.starts_with("ec2:")).collect();
    assert_eq!(named, MEMBER_ACTIONS);
    assert_eq!(template.matches("Action: sts:AssumeRole").count(), 1);
    assert!(!template.contains("Action: \"*\"") && !template.contains("ec2:*"));
}
