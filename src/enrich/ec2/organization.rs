//! What Organizations tells: the accounts with their names, and the path of organizational units (OUs) to each.
//!
//! The accounts come first and stand alone: nobody waits for OUs, and what fails there spoils nothing else. An
//! account of the list has the ids of its OUs (`Paths`), which costs one call more an OU, for its name. Where it has
//! none, `ListParents` is asked, account by account and OU by OU.
//!
//! Invariants: a turn makes at most [`MAX_CALLS`] calls beside the list, one a second; what was asked is good for
//! [`GOOD_FOR`]; nothing is remembered of what no account needs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Call, Caller};
use super::describe::{Failure, MAX_PAGES};
use super::endpoint::{Service, resolve};
use super::error::{Fault, Subject};
use super::limit::RateLimit;
use super::roles::Roles;
use crate::aws::Class;

/// What the credentials that ask Organizations must allow.
pub const ORGANIZATION_ACTIONS: [&str; 3] = [LIST_ACCOUNTS, LIST_PARENTS, DESCRIBE_OU];

const LIST_ACCOUNTS: &str = "organizations:ListAccounts";
const LIST_PARENTS: &str = "organizations:ListParents";
const DESCRIBE_OU: &str = "organizations:DescribeOrganizationalUnit";

/// Calls of one turn beside the list: at one a second more than a refresh of five minutes has room for. The accounts
/// that are left over have theirs in the next turn.
pub(super) const MAX_CALLS: usize = 500;
/// OUs are seldom renamed and accounts seldom moved.
const GOOD_FOR: Duration = Duration::from_secs(3600);
/// OUs above an account; AWS allows five.
const MAX_DEPTH: usize = 16;
/// AWS calls it so, and nobody can rename it.
const ROOT: &str = "Root";

/// Asks Organizations.
#[derive(Debug)]
pub(super) struct Organization {
    caller: Caller,
    roles: Arc<Roles>,
    sdk: SdkConfig,
    role: Option<String>,
    /// 20 accounts a call, and AWS allows few calls.
    limit: RateLimit,
    home: String,
    units: Mutex<Units>,
}

/// An account of the organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) name: String,
    /// `Root/Workloads/Prod`.
    pub(super) ou: Option<String>,
    /// The ids of its OUs from the top, where the list tells them.
    pub(super) parents: Option<Vec<String>>,
}

/// What a turn found out.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// By account.
    pub(super) known: BTreeMap<String, String>,
    /// Why it ended early.
    pub(super) failure: Option<Failure>,
}

/// What was asked, with the time at which it is asked again.
#[derive(Debug, Default)]
struct Units {
    /// By account or OU.
    parents: HashMap<String, (Parent, Instant)>,
    /// By OU.
    names: HashMap<String, (String, Instant)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parent {
    Root,
    Unit(String),
}

/// Why there is no path.
enum Stop {
    /// The turn's calls are used up.
    Enough,
    /// The account or OU is gone since it was listed.
    Gone,
    Failed(Failure),
}

impl Organization {
    pub(super) fn new(roles: Arc<Roles>, home: &str, role: Option<String>, sdk: &SdkConfig) -> Organization {
        let (caller, limit) = (Caller::new(sdk), RateLimit::new(1));
        Organization { caller, roles, sdk: sdk.clone(), role, limit, home: home.to_owned(), units: Mutex::default() }
    }

    /// The active accounts.
    pub(super) async fn members(&self) -> Result<Vec<Member>, Failure> {
        Ok(self.first_members(MAX_PAGES).await?.0)
    }

    /// The active accounts of the first pages, and whether these are all; [`MAX_PAGES`] and more is a loop.
    pub(super) async fn first_members(&self, pages: usize) -> Result<(Vec<Member>, bool), Failure> {
        let (mut members, mut left, mut is_all) = (Vec::new(), pages, true);
        let listed = self.pages(LIST_ACCOUNTS, json!({}), |page: AccountsPage| {
            members.extend(page.accounts.into_iter().filter_map(active));
            left = left.saturating_sub(1);
            is_all = page.next_token.as_ref().is_none_or(String::is_empty);
            page.next_token.filter(|_| left > 0 || pages == MAX_PAGES)
        });
        listed.await?;
        Ok((members, is_all))
    }

    /// The paths of OUs to these accounts, as many as `calls` calls tell.
    pub(super) async fn paths(&self, members: &[Member], calls: usize) -> Paths {
        let (mut units, mut left, now) = (self.units.lock().await, calls, Instant::now());
        units.parents.retain(|_, (_, until)| *until > now);
        units.names.retain(|_, (_, until)| *until > now);
        let mut paths = Paths::default();
        for member in members {
            match self.path(&mut units, member, &mut left).await {
                Ok(path) => drop(paths.known.insert(member.id.clone(), path)),
                Err(Stop::Enough | Stop::Gone) => {}
                Err(Stop::Failed(failure)) => {
                    paths.failure = Some(failure);
                    break;
                }
            }
        }
        paths
    }

    async fn path(&self, units: &mut Units, member: &Member, left: &mut usize) -> Result<String, Stop> {
        let parents = match &member.parents {
            Some(parents) => parents.clone(),
            None => self.parents(units, &member.id, left).await?,
        };
        let mut path = ROOT.to_owned();
        for unit in &parents {
            path.push('/');
            path.push_str(&self.name(units, unit, left).await?);
        }
        Ok(path)
    }

    /// The OUs above an account, from the top.
    async fn parents(&self, units: &mut Units, account: &str, left: &mut usize) -> Result<Vec<String>, Stop> {
        let (mut above, mut child) = (Vec::new(), account.to_owned());
        while above.len() <= MAX_DEPTH {
            let parent = match units.parents.get(&child) {
                Some((parent, _)) => parent.clone(),
                None => {
                    let parent = self.ask_parent(&child, left).await?;
                    units.parents.insert(child, (parent.clone(), Instant::now() + GOOD_FOR));
                    parent
                }
            };
            match parent {
                Parent::Root => {
                    above.reverse();
                    return Ok(above);
                }
                Parent::Unit(unit) => {
                    above.push(unit.clone());
                    child = unit;
                }
            }
        }
        let fault = Fault::new(Class::Unavailable, "the parents of an account do not end");
        Err(Stop::Failed(self.failure(LIST_PARENTS, &fault)))
    }

    async fn ask_parent(&self, child: &str, left: &mut usize) -> Result<Parent, Stop> {
        take(left)?;
        let mut parent = None;
        let asked = self.pages(LIST_PARENTS, json!({ "ChildId": child }), |page: ParentsPage| {
            parent = parent.take().or(page.parents.into_iter().next());
            page.next_token
        });
        asked.await.map_err(stopped)?;
        match parent {
            Some(parent) if parent.kind == "ROOT" => Ok(Parent::Root),
            Some(parent) => Ok(Parent::Unit(parent.id)),
            None => Err(Stop::Gone),
        }
    }

    async fn name(&self, units: &mut Units, unit: &str, left: &mut usize) -> Result<String, Stop> {
        if let Some((name, _)) = units.names.get(unit) {
            return Ok(name.clone());
        }
        take(left)?;
        let request = json!({ "OrganizationalUnitId": unit });
        let answer: UnitAnswer = self.ask(DESCRIBE_OU, &request).await.map_err(stopped)?;
        let name = answer.organizational_unit.name;
        units.names.insert(unit.to_owned(), (name.clone(), Instant::now() + GOOD_FOR));
        Ok(name)
    }

    /// All pages of a list; `take` takes one in and returns the token of the next.
    async fn pages<P: DeserializeOwned>(
        &self,
        action: &'static str,
        mut request: serde_json::Value,
        mut take: impl FnMut(P) -> Option<String>,
    ) -> Result<(), Failure> {
        for _ in 0..MAX_PAGES {
            let next = take(self.ask(action, &request).await?).filter(|token| !token.is_empty());
            match next {
                None => return Ok(()),
                Some(token) if request["NextToken"] == token => break,
                Some(token) => request["NextToken"] = token.into(),
            }
        }
        Err(self.failure(action, &Fault::new(Class::Unavailable, "the pages of the answer do not end")))
    }

    async fn ask<A: DeserializeOwned>(&self, action: &'static str, request: &serde_json::Value) -> Result<A, Failure> {
        let role = self.role.as_deref();
        // Held by `roles`: a turn may take longer than one session lasts.
        let credentials = self.roles.credentials(role).await.map_err(|(fault, text)| Failure::new(&fault, text))?;
        let call = Call {
            service: Service::Organizations,
            endpoint: &resolve(Service::Organizations, &self.home, &self.sdk),
            credentials: &credentials,
            limit: &self.limit,
            operation: action.trim_start_matches("organizations:"),
            body: request.to_string(),
        };
        let answer = self.caller.call(&call, read).await;
        if answer.as_ref().is_err_and(|fault| fault.class == Class::Credentials) {
            self.roles.forget(role).await;
        }
        answer.map_err(|fault| self.failure(action, &fault))
    }

    fn failure(&self, action: &'static str, fault: &Fault) -> Failure {
        let what = "the organization".to_owned();
        let subject = Subject { action, what, region: &self.home, role: self.role.as_deref() };
        Failure::new(fault, subject.explain(fault))
    }
}

fn take(left: &mut usize) -> Result<(), Stop> {
    *left = left.checked_sub(1).ok_or(Stop::Enough)?;
    Ok(())
}

fn stopped(failure: Failure) -> Stop {
    match failure.kind.as_str() {
        "ChildNotFoundException" | "OrganizationalUnitNotFoundException" => Stop::Gone,
        _ => Stop::Failed(failure),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountsPage {
    accounts: Vec<AccountAnswer>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountAnswer {
    id: String,
    #[serde(default)]
    name: Option<String>,
    /// Takes the place of `Status`, which AWS retires in September 2026.
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParentsPage {
    parents: Vec<ParentAnswer>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ParentAnswer {
    id: String,
    #[serde(rename = "Type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UnitAnswer {
    organizational_unit: UnitName,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UnitName {
    name: String,
}

/// An answer. The parser's own words may quote it, so only the place of a damage is told.
fn read<A: DeserializeOwned>(bytes: &[u8]) -> Result<A, String> {
    let place = |error: serde_json::Error| format!("the answer is damaged at column {}", error.column());
    serde_json::from_slice(bytes).map_err(place)
}

/// An account that can be asked; a suspended or closed one refuses everything.
fn active(account: AccountAnswer) -> Option<Member> {
    let state = account.state.or(account.status);
    let is_active = state.as_deref().is_none_or(|state| state == "ACTIVE");
    let parents = account.paths.first().and_then(|path| units_of(path));
    let name = account.name.unwrap_or_default();
    (is_active && crate::enrich::is_account_id(&account.id)).then_some(Member {
        id: account.id,
        name,
        ou: None,
        parents,
    })
}

/// The OUs in `o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/ou-ab12-22222222/111122223333/`.
fn units_of(path: &str) -> Option<Vec<String>> {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && !crate::enrich::is_account_id(part));
    let begins = parts.next()?.starts_with("o-") && parts.next()?.starts_with("r-");
    let units: Vec<String> = parts.map(str::to_owned).collect();
    (begins && units.len() <= MAX_DEPTH && units.iter().all(|unit| unit.starts_with("ou-"))).then_some(units)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn only_active_accounts_with_an_id_are_members() {
        let page = br#"{"Accounts":[{"Id":"111122223333","Name":"net","Status":"ACTIVE","Paths":["x"]},
            {"Id":"222233334444","State":"SUSPENDED","Status":"ACTIVE"},{"Id":"not-an-id","Status":"ACTIVE"},
            {"Id":"333344445555","State":"ACTIVE"}],"NextToken":null}"#;
        let members: Vec<_> = read::<AccountsPage>(page).unwrap().accounts.into_iter().filter_map(active).collect();
        let ids: Vec<_> = members.iter().map(|member| (member.id.as_str(), member.name.as_str())).collect();
        assert_eq!(ids, [("111122223333", "net"), ("333344445555", "")]);
        let damaged = read::<AccountsPage>(br#"{"Accounts":[{"Id":"SECRET"#).unwrap_err();
        assert!(damaged.contains("damaged") && !damaged.contains("SECRET"), "{damaged}");
    }

    #[test]
    fn a_path_of_ids_names_the_units_above_an_account_or_counts_as_none() {
        let units = |path: &str| units_of(path).map(|units| units.join(" "));
        assert_eq!(units("o-a1b2c3d4e5/r-ab12/111122223333/").as_deref(), Some(""));
        assert_eq!(
            units("o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/ou-ab12-22222222/111122223333/").as_deref(),
            Some("ou-ab12-11111111 ou-ab12-22222222")
        );
        assert_eq!(units("o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/").as_deref(), Some("ou-ab12-11111111"));
        for other in ["", "x", "/", "r-ab12/ou-ab12-11111111/", "o-a/r-b/else/111122223333/"] {
            assert_eq!(units(other), None, "{other}");
        }
        assert_eq!(units(&format!("o-a/r-b/{}", "ou-c/".repeat(17))), None);
    }
}
