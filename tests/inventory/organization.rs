//! The organizational unit of an account, from Organizations into events, `inventory show` and exports; and that
//! nothing else suffers where it cannot be had.

use serde_json::{Value, json};
use tunnelog::config::types::{Accounts, AccountsOf, Ec2};
use tunnelog::enrich::ec2::probe_with;

use super::aws::{Proxy, Request, THROTTLED, Verdict, organizations};
use super::support::text;
use super::{Fresh, PATIENCE, config, envelope, opened, program, stack};

/// An account `net-prod` in `Root/Workloads/Prod`, and the ids on the way to it.
struct Placed {
    account: String,
    root: String,
    workloads: String,
    prod: String,
}

impl Placed {
    fn new() -> Placed {
        organizations("CreateOrganization", "{\"FeatureSet\":\"ALL\"}");
        let asked = |operation: &str, body: Value| -> Value {
            serde_json::from_str(&organizations(operation, &body.to_string())).unwrap_or_default()
        };
        let root = text(&asked("ListRoots", json!({})), "/Roots/0/Id").to_owned();
        let unit = |parent: &str, name: &str| {
            let made = asked("CreateOrganizationalUnit", json!({"ParentId": parent, "Name": name}));
            text(&made, "/OrganizationalUnit/Id").to_owned()
        };
        let workloads = unit(&root, "Workloads");
        let prod = unit(&workloads, "Prod");
        let made = asked("CreateAccount", json!({"AccountName": "net-prod", "Email": "a@b.example"}));
        let account = text(&made, "/CreateAccountStatus/AccountId").to_owned();
        asked("MoveAccount", json!({"AccountId": account, "SourceParentId": root, "DestinationParentId": prod}));
        Placed { account, root, workloads, prod }
    }

    fn config(&self) -> Ec2 {
        let accounts = Some(Accounts::Listed(AccountsOf::Organization));
        Ec2 { accounts, allow: vec![self.account.clone()], ..config(&[]) }
    }

    fn line(&self) -> String {
        envelope(&self.account, "us-east-1", "vpn-0a1b2c3d4e5f60718", "203.0.113.1")
    }
}

fn asked(proxy: &Proxy, action: &str) -> Vec<Request> {
    proxy.seen().into_iter().filter(|request| request.action == action).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_the_path_of_its_organizational_units_also_after_a_restart() {
    let (proxy, folder, placed) = (Proxy::start(), tempfile::tempdir().unwrap(), Placed::new());
    let fresh = Fresh::start(opened(&placed.config(), folder.path(), &proxy.endpoint).await);
    let event = fresh.until(&placed.line(), "placed", |event| !text(event, "/cloud/account_ou").is_empty()).await;
    assert_eq!(text(&event, "/cloud/account_ou"), "Root/Workloads/Prod");
    assert_eq!(text(&event, "/cloud/account_name"), "net-prod");
    let parents = asked(&proxy, "ListParents");
    assert!(parents.iter().any(|request| request.body.contains(&placed.account)));
    let of_unit = |request: &&Request| request.body.contains(&placed.prod) || request.body.contains(&placed.workloads);
    assert_eq!(parents.iter().filter(of_unit).count(), 2, "each OU once: {parents:?}");
    drop(fresh);
    proxy.rule(|_| THROTTLED);
    let mut again = opened(&placed.config(), folder.path(), &proxy.endpoint).await;
    assert_eq!(again.snapshot().accounts[&placed.account].ou.as_deref(), Some("Root/Workloads/Prod"));
}

/// AWS has the ids of the way in its list, which moto lacks.
#[tokio::test(flavor = "multi_thread")]
async fn where_the_list_tells_the_way_only_names_are_asked_for() {
    let (proxy, folder, placed) = (Proxy::start(), tempfile::tempdir().unwrap(), Placed::new());
    let way = format!("o-a1b2c3d4e5/{}/{}", placed.root, placed.workloads);
    let account = |id: &str, units: &str| json!({"Id": id, "Name": id, "State": "ACTIVE", "Paths": [format!("{way}{units}/{id}/")]});
    let list =
        json!({"Accounts": [account(&placed.account, &format!("/{}", placed.prod)), account("222233334444", "")]});
    let list: &'static str = Box::leak(list.to_string().into_boxed_str());
    proxy.rule(move |request| match request.action.as_str() {
        "ListAccounts" => Verdict::Answer(200, list),
        _ => Verdict::Pass,
    });
    let mut ec2 = opened(&placed.config(), folder.path(), &proxy.endpoint).await;
    ec2.refresh_once().await;
    let accounts = ec2.snapshot().accounts;
    assert_eq!(accounts[&placed.account].ou.as_deref(), Some("Root/Workloads/Prod"));
    assert_eq!(accounts["222233334444"].ou.as_deref(), Some("Root/Workloads"));
    assert_eq!((asked(&proxy, "ListParents").len(), asked(&proxy, "DescribeOrganizationalUnit").len()), (0, 2));
}

/// 1,000 pages would take a quarter of an hour at the pace that Organizations allows.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_large_organization_looks_at_its_first_accounts() {
    let (proxy, mut page) = (Proxy::start(), 0);
    proxy.rule(move |request| {
        if request.action != "ListAccounts" {
            return Verdict::Pass;
        }
        page += 1;
        let account = |number: usize| json!({"Id": format!("{:012}", 990_000_000_000_u64 + (page * 20 + number) as u64), "Paths": ["o-a/r-b/"]});
        let accounts: Vec<Value> = (0..20).map(account).collect();
        let list = json!({"Accounts": accounts, "NextToken": format!("page {page}")});
        Verdict::Answer(200, Box::leak(list.to_string().into_boxed_str()))
    });
    let accounts = Some(Accounts::Listed(AccountsOf::Organization));
    let config = Ec2 { accounts, ..config(&[]) };
    let found = probe_with(&config, &stack::aws(&proxy.endpoint, "any", "key"), PATIENCE).await.unwrap();
    assert_eq!(
        found,
        "0 VPN connections, the organization's first 80 accounts, 2 Regions; 64 of more than 160 accounts and Regions were \
         asked; `tunnelog inventory show --refresh` asks all"
    );
    assert_eq!(asked(&proxy, "ListAccounts").len(), 4);
}

fn pipeline(placed: &Placed) -> String {
    format!(
        "sources: {{ files: {{ replay: {{ inputs: [input.json] }} }} }}\n\
         enrich: {{ ec2: {{ accounts: organization, allow: [\"{}\"], regions: [us-east-1], \
         assume_role: \"arn:{{partition}}:iam::{{account}}:role/r\" }} }}\n\
         sinks: {{ events: {{ file: {{ path: events.ndjson }} }} }}\n",
        placed.account
    )
}

#[test]
fn show_and_export_tell_the_organizational_unit_and_a_file_inventory_reads_it() {
    let (proxy, folder, placed) = (Proxy::start(), tempfile::tempdir().unwrap(), Placed::new());
    std::fs::write(folder.path().join("p.yaml"), pipeline(&placed)).unwrap();
    std::fs::write(folder.path().join("input.json"), placed.line()).unwrap();
    let run = |arguments: &[&str]| program(folder.path(), &proxy.endpoint, arguments).expect(0);
    let table = run(&["inventory", "show", "p.yaml", "--refresh"]).out();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().contains("  organizational unit  Region"), "{table}");
    let row = format!("{} net-prod  Root/Workloads/Prod  us-east-1", placed.account);
    assert!(lines.any(|line| line.starts_with(&row)), "{row} is missing in\n{table}");
    let shown: Value = serde_json::from_str(&run(&["inventory", "show", "p.yaml", "--json"]).out()).unwrap();
    assert_eq!(text(&shown, "/places/0/account_ou"), "Root/Workloads/Prod");

    run(&["inventory", "export", "p.yaml", "exported"]);
    let decoded = run(&["decode", "--inventory", "exported", "input.json"]).events();
    assert_eq!(text(&decoded[0], "/cloud/account_ou"), "Root/Workloads/Prod");
    assert_eq!(text(&decoded[0], "/cloud/account_name"), "net-prod");
}

#[test]
fn without_the_permission_names_stay_and_one_line_says_what_to_allow() {
    const REFUSED: Verdict =
        Verdict::Answer(400, "{\"__type\":\"AccessDeniedException\",\"Message\":\"You don't have permissions\"}");
    for action in ["ListParents", "DescribeOrganizationalUnit"] {
        let (proxy, folder, placed) = (Proxy::start(), tempfile::tempdir().unwrap(), Placed::new());
        std::fs::write(folder.path().join("p.yaml"), pipeline(&placed)).unwrap();
        std::fs::write(folder.path().join("input.json"), placed.line()).unwrap();
        proxy.rule(move |request| if request.action == action { REFUSED } else { Verdict::Pass });
        let done = program(folder.path(), &proxy.endpoint, &["inventory", "show", "p.yaml", "--refresh"]).expect(0);
        let row = format!("{} net-prod  ", placed.account);
        assert!(done.out().lines().any(|line| line.starts_with(&row) && line.ends_with("fresh")), "{}", done.out());
        let allow = format!("allow `organizations:{action}` for these credentials");
        assert!(done.out().contains("organizational units may be missing or old:\n") && done.out().contains(&allow));
        let log = done.err();
        let said: Vec<&str> = log.lines().filter(|line| line.contains("organizational units")).collect();
        assert!(said.len() == 1 && said[0].contains(&allow), "{said:?}");
        assert!(program(folder.path(), &proxy.endpoint, &["check", "--connect", "p.yaml"]).out().contains(&allow));
    }
}
