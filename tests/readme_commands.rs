//! The commands of the README's set-up are run as they stand there, with the AWS CLI against moto; a log line that is
//! then put into the log group comes out of the stream as an event. And the policies in `deploy/iam/` allow what the
//! program calls.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "stack/mod.rs"]
mod stack;
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::program::{Done, finish, run_on};

/// What moto cannot do: block, command, and its answer. The CLI has checked the command against the service's model by
/// then, and a moto that has learnt it fails the test.
const NOT_IN_MOTO: [(&str, &str, &str); 2] = [
    // It takes the destination of a filter for a log group.
    ("organization", "logs put-subscription-filter", "ResourceNotFoundException"),
    // It knows no account-level policies.
    ("account-policy", "logs put-account-policy", "calling the PutAccountPolicy operation"),
];

/// The AWS CLI: its own start script names the folder that it was installed in before that was moved.
const CLI: &str = "cli() { \"$PYTHON\" -m awscli \"$@\"; }";

const BLOCKS: [&str; 5] = ["collector", "tunnel", "same-account", "organization", "account-policy"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

/// The commands after `<!-- commands: NAME -->`.
fn commands(readme: &str, name: &str) -> String {
    let (_, rest) = readme.split_once(&format!("<!-- commands: {name} -->\n```sh\n")).expect(name);
    rest.split_once("```").unwrap().0.to_owned()
}

/// Runs a script as a person would who copies it, in the repository's folder.
fn bash(script: &str) -> Done {
    let python = root().join(".tools/stack/python/bin/python");
    assert!(python.exists(), "the AWS CLI is not installed: run `make stack`");
    let script = format!("{CLI}\naws() {{ cli \"$@\"; }}\n{script}");
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).current_dir(root()).env("PYTHON", python);
    command.envs([
        ("AWS_ENDPOINT_URL", stack::moto().endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "any"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ("AWS_PAGER", ""),
        ("AWS_MAX_ATTEMPTS", "1"),
    ]);
    finish(command)
}

/// A VPN connection: its id and the address of its first tunnel.
fn connection() -> (String, String) {
    let script = "\
        cgw=$(aws ec2 create-customer-gateway --type ipsec.1 --public-ip 198.51.100.7 --bgp-asn 65010 \
            --query CustomerGateway.CustomerGatewayId --output text)\n\
        vgw=$(aws ec2 create-vpn-gateway --type ipsec.1 --query VpnGateway.VpnGatewayId --output text)\n\
        vpn=$(aws ec2 create-vpn-connection --type ipsec.1 --customer-gateway-id $cgw --vpn-gateway-id $vgw \
            --query VpnConnection.VpnConnectionId --output text)\n\
        echo $vpn\n\
        aws ec2 describe-vpn-connections --vpn-connection-ids $vpn --output text \
            --query 'VpnConnections[0].Options.TunnelOptions[0].OutsideIpAddress'\n";
    let out = bash(script).expect(0).out();
    let mut lines = out.lines().map(str::to_owned);
    (lines.next().unwrap(), lines.next().unwrap())
}

/// The script of all blocks; what moto cannot do is only checked by the CLI.
fn script(vpn: &str, tunnel: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut script = String::new();
    for name in BLOCKS {
        let commands = commands(&readme, name);
        let mut aws = "aws() { cli \"$@\"; }\n".to_owned();
        for (block, call, answer) in NOT_IN_MOTO.iter().filter(|(block, ..)| *block == name) {
            assert!(commands.contains(call), "{block} has no `{call}` any more");
            aws = format!(
                "aws() {{ if [ \"$1 $2\" != \"{call}\" ]; then cli \"$@\"; return; fi\n\
                 if said=$(cli \"$@\" 2>&1); then echo \"moto knows {call} now\" >&2; return 1; fi\n\
                 [[ \"$said\" == *\"{answer}\"* ]] || {{ echo \"$said\" >&2; return 1; }}; }}\n"
            );
        }
        script.push_str(&aws);
        script.push_str(&commands);
    }
    script.replace("vpn-0a1b2c3d4e5f60718", vpn).replace("203.0.113.17", tunnel)
}

#[test]
fn the_commands_of_the_readme_bring_a_log_line_into_the_stream() {
    let (vpn, tunnel) = connection();
    bash(&script(&vpn, &tunnel)).expect(0);

    let options = format!(
        "aws ec2 describe-vpn-connections --vpn-connection-ids {vpn} --output json \
         --query 'VpnConnections[0].Options.TunnelOptions[].LogOptions'"
    );
    let options = bash(&options).expect(0).out();
    assert!(options.contains("BgpLogGroupArn") && options.contains("/aws/vendedlogs/vpn"), "{options}");
    let policy =
        bash("aws logs describe-destinations --query 'destinations[0].accessPolicy' --output text").expect(0).out();
    let policy: Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(policy["Statement"][0]["Condition"]["StringEquals"]["aws:PrincipalOrgID"], "o-a1b2c3d4e5");
    assert_eq!(policy["Statement"][0]["Resource"], "arn:aws:logs:eu-central-1:123456789012:destination:vpn-logs");

    let stream = format!("{vpn}_{tunnel}-BGP.log");
    let line = format!(
        r#"{{"resource_id":"{vpn}_{tunnel}","event_timestamp":1762580429641,"timestamp":"2025-11-08 05:40:29.641Z","type":"BGPStatus","status":"UP","message":{{"details":"AWS-side peer BGP session state has changed from OpenConfirm to Established with neighbor 169.254.50.86"}}}}"#
    );
    // moto leaves out what is older than 14 days, as AWS does.
    let events = serde_json::json!([{"timestamp": "NOW", "message": line}]);
    let events = events.to_string().replace("\"NOW\"", "'$(date +%s000)'");
    let put = format!(
        "aws logs create-log-stream --log-group-name /aws/vendedlogs/vpn --log-stream-name {stream}\n\
         aws logs put-log-events --log-group-name /aws/vendedlogs/vpn --log-stream-name {stream} \
             --log-events '{events}'\n\
         for shard in $(aws kinesis list-shards --stream-name vpn-logs --query 'Shards[].ShardId' --output text); do\n\
         iterator=$(aws kinesis get-shard-iterator --stream-name vpn-logs --shard-id $shard \
             --shard-iterator-type TRIM_HORIZON --query ShardIterator --output text)\n\
         aws kinesis get-records --shard-iterator $iterator >&3\ndone"
    );
    // Only the records: what the commands before print is nobody's input.
    let records = bash(&format!("exec 3>&1 >/dev/null\n{put}")).expect(0).stdout;
    let folder = tempfile::tempdir().unwrap();
    let events = run_on(folder.path(), &["decode"], &records).expect(0).events();
    let [event] = events.as_slice() else { panic!("one event: {events:?}") };
    assert_eq!((event["action"].as_str(), event["transition"].as_str()), (Some("established"), Some("up")));
    assert_eq!(event["vpn"]["connection_id"], vpn.as_str());
    assert_eq!(event["log"]["stream_name"], stream.as_str());
}

#[test]
fn every_command_of_the_setup_is_run() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split_once("## How logs get into Kinesis").unwrap().1.split_once("\n## ").unwrap().0;
    assert_eq!(section.matches("```sh").count(), BLOCKS.len(), "each block is marked and run");
    assert_eq!(section.matches("<!-- commands: ").count(), BLOCKS.len());
}

/// Texts in the sources of the form `service:Operation`.
fn calls(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            calls(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for piece in text.split('"') {
                let Some((service, operation)) = piece.split_once(':') else { continue };
                let known = ["kinesis", "firehose", "s3", "kafka-cluster", "dynamodb"].contains(&service);
                if known && operation.len() > 3 && operation.chars().all(|letter| letter.is_ascii_alphabetic()) {
                    found.insert(piece.to_owned());
                }
            }
        }
    }
}

#[test]
fn the_policies_allow_what_the_program_calls() {
    let folder = root().join("deploy/iam");
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut allowed = BTreeSet::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(name), "the README does not name {name}");
        if !name.ends_with(".json") {
            // The template of the inventory's role: `tests/inventory.rs` compares it with the calls.
            continue;
        }
        let policy: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for statement in policy["Statement"].as_array().unwrap() {
            let actions = statement["Action"].as_array().cloned().unwrap_or_else(|| vec![statement["Action"].clone()]);
            allowed.extend(actions.iter().map(|action| action.as_str().unwrap().to_owned()));
        }
    }
    let mut called = BTreeSet::new();
    calls(&root().join("src"), &mut called);
    assert!(called.len() > 8, "{called:?}");
    let missing: Vec<_> = called.difference(&allowed).collect();
    assert!(missing.is_empty(), "no policy allows {missing:?}");
}
