//! The calls: what is known of one account in one Region, and the accounts of an organization.

use aws_config::SdkConfig;
use aws_sdk_sts::config::Credentials;
use serde::Deserialize;

use super::client::{Call, Caller};
use super::endpoint::{Service, resolve};
use super::error::{Fault, Subject};
use super::limit::RateLimit;
use super::roles::Roles;
use super::xml::{self, Form};
use crate::aws::Class;

/// What the role in each account must allow: every call that is made with it. `deploy/iam/` is held against it.
pub const MEMBER_ACTIONS: [&str; 4] = [
    "ec2:DescribeVpnConnections",
    "ec2:DescribeCustomerGateways",
    "ec2:DescribeVpnGateways",
    "ec2:DescribeTransitGateways",
];
/// What the credentials that ask Organizations must allow.
pub const ORGANIZATION_ACTIONS: [&str; 1] = ["organizations:ListAccounts"];
/// What the process's own credentials must allow on the roles.
pub const HUB_ACTIONS: [&str; 1] = ["sts:AssumeRole"];

/// In the order of [`MEMBER_ACTIONS`].
const FORMS: [&Form; 4] = [&xml::VPN_CONNECTIONS, &xml::CUSTOMER_GATEWAYS, &xml::VPN_GATEWAYS, &xml::TRANSIT_GATEWAYS];

/// Pages of one answer: 1,000 transit gateways, or 20,000 accounts of 20 a page. More is a loop.
const MAX_PAGES: usize = 1000;

/// The API's version, which fixes the names in the answers.
const VERSION: &str = "2016-11-15";

/// Makes the calls.
#[derive(Debug)]
pub(super) struct Client {
    caller: Caller,
    roles: Roles,
    sdk: SdkConfig,
    organization_role: Option<String>,
    /// For Organizations: 20 accounts a call, and AWS allows few calls.
    organization_limit: RateLimit,
    home: String,
}

/// Why an account and Region could not be asked: a line for a person.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    /// What tells one failure of an account from another: a code, or a class.
    pub(super) kind: String,
    /// Whether it is likely to pass by itself soon.
    pub(super) passes: bool,
}

impl Failure {
    fn new(fault: &Fault, text: String) -> Failure {
        let kind = fault.code.clone().unwrap_or_else(|| format!("{:?}", fault.class));
        Failure { text, kind, passes: fault.is_passing() }
    }
}

/// An account of the organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) name: String,
}

impl Client {
    pub(super) fn new(roles: Roles, home: &str, organization_role: Option<String>, sdk: &SdkConfig) -> Client {
        Client {
            caller: Caller::new(sdk),
            roles,
            sdk: sdk.clone(),
            organization_role,
            organization_limit: RateLimit::new(1),
            home: home.to_owned(),
        }
    }

    pub(super) async fn own_account(&self) -> Result<String, String> {
        self.roles.own_account().await
    }

    /// The answers of one account in one Region, in the AWS CLI's form: one object with four lists.
    pub(super) async fn place(&self, account: &str, region: &str, limit: &RateLimit) -> Result<String, Failure> {
        let role = self.roles.arn(account);
        let credentials = self.credentials(role.as_deref()).await?;
        let mut json = String::from("{");
        for (action, form) in MEMBER_ACTIONS.iter().zip(FORMS) {
            json.push_str(&format!("\"{}\":[", form.list));
            if let Err(fault) = self.pages(action, form, region, &credentials, limit, &mut json).await {
                if fault.class == Class::Credentials {
                    self.roles.forget(role.as_deref()).await;
                }
                let subject = Subject { action, what: format!("account {account}"), region, role: role.as_deref() };
                return Err(Failure::new(&fault, subject.explain(&fault)));
            }
            xml::close(&mut json, ']');
            json.push(',');
        }
        xml::close(&mut json, '}');
        Ok(json)
    }

    async fn credentials(&self, role: Option<&str>) -> Result<Credentials, Failure> {
        self.roles.credentials(role).await.map_err(|(fault, text)| Failure::new(&fault, text))
    }

    /// All pages of one answer, appended as JSON.
    async fn pages(
        &self,
        action: &str,
        form: &Form,
        region: &str,
        credentials: &Credentials,
        limit: &RateLimit,
        json: &mut String,
    ) -> Result<(), Fault> {
        let endpoint = resolve(Service::Ec2, region, &self.sdk);
        let operation = action.trim_start_matches("ec2:");
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut body = format!("Action={operation}&Version={VERSION}");
            if let Some(token) = &token {
                body.push_str(&format!("&NextToken={}", percent_encoded(token)));
            }
            let call = Call { service: Service::Ec2, endpoint: &endpoint, credentials, limit, operation, body };
            let (page, next) = self
                .caller
                .call(&call, |bytes| {
                    let mut page = String::new();
                    let next = xml::read(form, bytes, &mut page).map_err(|error| error.to_string())?;
                    Ok((page, next))
                })
                .await?;
            json.push_str(&page);
            match next {
                None => return Ok(()),
                next if next == token => break,
                next => token = next,
            }
        }
        Err(Fault::new(Class::Unavailable, "the pages of the answer do not end"))
    }

    /// The active accounts of the organization.
    pub(super) async fn members(&self) -> Result<Vec<Member>, Failure> {
        let role = self.organization_role.as_deref();
        let credentials = self.credentials(role).await?;
        match self.all_members(&credentials).await {
            Ok(members) => Ok(members),
            Err(fault) => {
                if fault.class == Class::Credentials {
                    self.roles.forget(role).await;
                }
                let what = "the organization".to_owned();
                let subject = Subject { action: ORGANIZATION_ACTIONS[0], what, region: &self.home, role };
                Err(Failure::new(&fault, subject.explain(&fault)))
            }
        }
    }

    async fn all_members(&self, credentials: &Credentials) -> Result<Vec<Member>, Fault> {
        let endpoint = resolve(Service::Organizations, &self.home, &self.sdk);
        let (limit, operation) = (&self.organization_limit, "ListAccounts");
        let mut members = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let body = match &token {
                Some(token) => serde_json::json!({ "NextToken": token }).to_string(),
                None => "{}".to_owned(),
            };
            let call =
                Call { service: Service::Organizations, endpoint: &endpoint, credentials, limit, operation, body };
            let page = self.caller.call(&call, read_accounts).await?;
            members.extend(page.accounts.into_iter().filter_map(active));
            match page.next_token.filter(|token| !token.is_empty()) {
                None => return Ok(members),
                next if next == token => break,
                next => token = next,
            }
        }
        Err(Fault::new(Class::Unavailable, "the pages of the answer do not end"))
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
}

/// A page of accounts. The parser's own words may quote the answer, so only its place is told.
fn read_accounts(bytes: &[u8]) -> Result<AccountsPage, String> {
    let place = |error: serde_json::Error| format!("the answer is damaged at column {}", error.column());
    serde_json::from_slice(bytes).map_err(place)
}

/// An account that can be asked; a suspended or closed one refuses everything.
fn active(account: AccountAnswer) -> Option<Member> {
    let state = account.state.or(account.status);
    let is_active = state.as_deref().is_none_or(|state| state == "ACTIVE");
    (is_active && crate::enrich::is_account_id(&account.id))
        .then(|| Member { name: account.name.unwrap_or_default(), id: account.id })
}

/// As a form field: everything but letters, digits and `-._~` as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn actions_stand_in_the_order_of_their_answers() {
        for (action, form) in MEMBER_ACTIONS.iter().zip(FORMS) {
            assert_eq!(*action, format!("ec2:Describe{}", form.list));
        }
    }

    #[test]
    fn only_active_accounts_with_an_id_are_members() {
        let page = br#"{"Accounts":[{"Id":"111122223333","Name":"net","Status":"ACTIVE","Paths":["x"]},
            {"Id":"222233334444","State":"SUSPENDED","Status":"ACTIVE"},{"Id":"not-an-id","Status":"ACTIVE"},
            {"Id":"333344445555","State":"ACTIVE"}],"NextToken":null}"#;
        let members: Vec<_> = read_accounts(page).unwrap().accounts.into_iter().filter_map(active).collect();
        let ids: Vec<_> = members.iter().map(|member| (member.id.as_str(), member.name.as_str())).collect();
        assert_eq!(ids, [("111122223333", "net"), ("333344445555", "")]);
        assert!(read_accounts(br#"{"Accounts":[{"Id":"SECRET"#).unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_token_is_encoded_as_a_form_field() {
        assert_eq!(percent_encoded("aZ0-._~/+= é&"), "aZ0-._~%2F%2B%3D%20%C3%A9%26");
    }
}
