//! What the schema cannot say about `enrich.ec2`.

use super::super::inventory_types::{Accounts, AccountsOf, Ec2};
use super::super::units::Duration;

/// More often says nothing new: EC2's telemetry changes every few minutes.
const SHORTEST_REFRESH: Duration = Duration::from_secs(10);
/// Less often would leave changes unseen for longer than a shift; an unknown connection is asked for at once anyway.
const LONGEST_REFRESH: Duration = Duration::from_secs(24 * 3600);

/// Adds a problem: the field below `enrich.ec2` (with an index, where it is an item of it), what, and remedies.
pub(super) type Add<'a> = dyn FnMut(&[&str], Option<usize>, &str, &[&str]) + 'a;

/// Checks the meaning of `enrich.ec2`.
pub(super) fn ec2(ec2: &Ec2, add: &mut Add<'_>) {
    if !cfg!(feature = "aws") {
        add(
            &[],
            None,
            "this build has no AWS parts",
            &["build with `cargo build --features aws`, or use `enrich.file`"],
        );
    }
    accounts(ec2, add);
    roles(ec2, add);
    regions(ec2, add);
    if ec2.refresh < SHORTEST_REFRESH {
        add(&["refresh"], None, "EC2 would be asked without a pause", &["at least 10s"]);
    }
    if ec2.refresh > LONGEST_REFRESH {
        add(&["refresh"], None, "changes would stay unseen for days", &["at most 1d"]);
    }
}

fn accounts(ec2: &Ec2, add: &mut Add<'_>) {
    const DIGITS: &str = "12 digits, leading zeros included, for example \"012345678901\"";
    let ids = match &ec2.accounts {
        Some(Accounts::Ids(ids)) => ids.as_slice(),
        _ => &[],
    };
    for (field, ids) in [("accounts", ids), ("allow", &ec2.allow)] {
        for (index, id) in ids.iter().enumerate() {
            if !crate::enrich::is_account_id(id) {
                add(&[field], Some(index), "not an account id", &[DIGITS]);
            } else if ids.iter().take(index).any(|other| other == id) {
                add(&[field], Some(index), "this account is in the list already", &["remove it"]);
            }
        }
    }
    match &ec2.accounts {
        Some(Accounts::Ids(ids)) if ids.is_empty() => {
            add(&["accounts"], None, "no account", &["list account ids, or remove the field for the credentials' own"]);
        }
        Some(Accounts::Listed(AccountsOf::Seen)) if ec2.allow.is_empty() => {
            let notes = ["add `allow:` with the account ids that may be asked: no log line may choose a role"];
            add(&["accounts"], None, "`seen` without `allow`", &notes);
        }
        None | Some(Accounts::Ids(_)) if !ec2.allow.is_empty() => {
            let notes = ["it belongs to `accounts: seen` and `accounts: organization`; remove it"];
            add(&["allow"], None, "`allow` allows nothing here", &notes);
        }
        _ => {}
    }
}

fn roles(ec2: &Ec2, add: &mut Add<'_>) {
    const EXAMPLE: &str = "for example arn:{partition}:iam::{account}:role/tunnelog-inventory";
    let many = match &ec2.accounts {
        None => false,
        Some(Accounts::Ids(ids)) => ids.len() > 1,
        Some(Accounts::Listed(_)) => true,
    };
    match &ec2.assume_role {
        None if many => {
            add(&["accounts"], None, "several accounts, and no role to ask them with", &["add `assume_role`", EXAMPLE]);
        }
        None if ec2.external_id.is_some() => {
            add(
                &["external_id"],
                None,
                "no role is taken on that could demand it",
                &["add `assume_role`, or remove it"],
            );
        }
        Some(role) if !is_role(role) => add(&["assume_role"], None, "not the ARN of a role", &[EXAMPLE]),
        Some(role) if many && !role.contains("{account}") => {
            add(&["assume_role"], None, "one role cannot be in several accounts", &["write `{account}`", EXAMPLE]);
        }
        Some(role) if ec2.accounts.is_none() && role.contains("{account}") => {
            let notes = ["add `accounts` with the account's id, or write the id into the ARN"];
            add(&["accounts"], None, "`assume_role` has `{account}`, and no account is named", &notes);
        }
        _ => {}
    }
    if ec2.organization_role.as_deref().is_some_and(|role| !is_role(role) || role.contains('{')) {
        let notes = ["it is one role: arn:aws:iam::111122223333:role/tunnelog-organization"];
        add(&["organization_role"], None, "not the ARN of a role", &notes);
    }
    let name = ec2.session_name.as_deref().unwrap_or("tunnelog");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=,.@-".contains(&byte);
    if !(2..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        add(&["session_name"], None, "not a name for a session", &["2 to 64 of letters, digits and _=,.@-"]);
    }
}

/// `arn:…:iam::…:role/…`, with no placeholders but ours.
fn is_role(role: &str) -> bool {
    let plain = role.replace("{partition}", "aws").replace("{account}", "123456789012");
    let parts: Vec<&str> = plain.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts.as_slice() else { return false };
    let named = |resource: &str| resource.strip_prefix("role/").is_some_and(|name| !name.is_empty());
    let plain_text = !plain.contains(['{', '}']) && !plain.bytes().any(|byte| byte.is_ascii_whitespace());
    (*arn, *service, *region) == ("arn", "iam", "")
        && !partition.is_empty()
        && crate::enrich::is_account_id(account)
        && named(resource)
        && plain_text
}

fn regions(ec2: &Ec2, add: &mut Add<'_>) {
    for (index, region) in ec2.regions.iter().enumerate() {
        if !crate::enrich::is_region(region) {
            add(&["regions"], Some(index), "not a Region", &["for example ap-northeast-2"]);
        } else if ec2.regions.iter().take(index).any(|other| other == region) {
            add(&["regions"], Some(index), "this Region is in the list already", &["remove it"]);
        }
    }
}
