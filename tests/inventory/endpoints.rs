//! Where the calls go: the table that `src/enrich/ec2/endpoint.rs` is held against is what an SDK's own rule sets say,
//! and the environment's wishes reach the address.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use super::stack;
use super::support::program::{finish, tunnelog};

#[test]
fn the_table_of_addresses_is_what_the_services_rule_sets_come_to() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inventory");
    let mut script = Command::new(stack::installed("python/bin/python"));
    let done = finish({
        script.arg("-B").arg(folder.join("endpoints.py"));
        script
    })
    .expect(0);
    let table = std::fs::read_to_string(folder.join("endpoints.txt")).unwrap();
    let (found, table): (Vec<_>, Vec<_>) = (done.out().lines().map(str::to_owned).collect(), table.lines().collect());
    assert_eq!(found, table, "the table is old: `python tests/inventory/endpoints.py > tests/inventory/endpoints.txt`");
}

/// A proxy that writes down where the program wants to go, and lets it go nowhere.
struct Gate {
    address: String,
    wanted: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    fn start() -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let wanted = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&wanted);
        let serve = move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 1024];
                let length = stream.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                shared.lock().unwrap().push(head.split(' ').nth(1).unwrap_or_default().to_owned());
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        };
        std::thread::Builder::new().spawn(serve).unwrap();
        Gate { address, wanted }
    }
}

/// The hosts that `inventory show --refresh` calls.
fn called(region: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let (gate, folder) = (Gate::start(), tempfile::tempdir().unwrap());
    let pipeline = format!(
        "sources: {{ files: {{ replay: {{ inputs: [p.yaml] }} }} }}\n\
         enrich: {{ ec2: {{ accounts: [\"111122223333\"], regions: [{region}], account_names: true }} }}\n\
         sinks: {{ out: {{ console: {{}} }} }}\n"
    );
    std::fs::write(folder.path().join("p.yaml"), pipeline).unwrap();
    let mut command = tunnelog(folder.path(), &["inventory", "show", "p.yaml", "--refresh"]);
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    command.envs(names.map(|name| (name, "any"))).envs([("HTTPS_PROXY", gate.address.as_str())]);
    command.env("AWS_CONFIG_FILE", "/nowhere").env("AWS_SHARED_CREDENTIALS_FILE", "/nowhere");
    command.env("AWS_MAX_ATTEMPTS", "1").env("NO_PROXY", "").envs(environment.iter().copied());
    let done = finish(command).expect(1).says(&["not refreshed: the organization's accounts, 111122223333 in "]);
    assert!(done.out().contains("cannot be reached"), "{}", done.out());
    let mut hosts: Vec<String> = gate.wanted.lock().unwrap().clone();
    hosts.sort();
    hosts
}

#[test]
fn wishes_for_fips_and_dual_stack_in_the_environment_reach_the_address() {
    let (fips, dual) = (("AWS_USE_FIPS_ENDPOINT", "true"), ("AWS_USE_DUALSTACK_ENDPOINT", "true"));
    let check = |region: &str, environment: &[(&str, &str)], expect: [&str; 2]| {
        assert_eq!(called(region, environment), expect.map(|host| format!("{host}:443")), "{region} {environment:?}");
    };
    check("eu-west-1", &[], ["ec2.eu-west-1.amazonaws.com", "organizations.us-east-1.amazonaws.com"]);
    check("eu-west-1", &[fips], ["ec2-fips.eu-west-1.amazonaws.com", "organizations-fips.us-east-1.amazonaws.com"]);
    check("eu-west-1", &[dual], ["ec2.eu-west-1.api.aws", "organizations.us-east-1.api.aws"]);
    check("eu-west-1", &[fips, dual], ["ec2-fips.eu-west-1.api.aws", "organizations-fips.us-east-1.api.aws"]);
    check("us-gov-east-1", &[fips], ["ec2.us-gov-east-1.amazonaws.com", "organizations.us-gov-west-1.amazonaws.com"]);
    check(
        "cn-north-1",
        &[dual],
        ["ec2.cn-north-1.api.amazonwebservices.com.cn", "organizations.cn-northwest-1.api.amazonwebservices.com.cn"],
    );
}
