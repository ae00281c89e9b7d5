//! The calls: what is known of one account in one Region.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_sts::config::Credentials;

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
/// What the process's own credentials must allow on the roles.
pub const HUB_ACTIONS: [&str; 1] = ["sts:AssumeRole"];

/// In the order of [`MEMBER_ACTIONS`].
const FORMS: [&Form; 4] = [&xml::VPN_CONNECTIONS, &xml::CUSTOMER_GATEWAYS, &xml::VPN_GATEWAYS, &xml::TRANSIT_GATEWAYS];

/// Pages of one answer: 1,000 transit gateways, or 20,000 accounts of 20 a page. More is a loop.
pub(super) const MAX_PAGES: usize = 1000;

/// The API's version, which fixes the names in the answers.
const VERSION: &str = "2016-11-15";

/// Makes the calls.
#[derive(Debug)]
pub(super) struct Client {
    caller: Caller,
    roles: Arc<Roles>,
    sdk: SdkConfig,
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
    pub(super) fn new(fault: &Fault, text: String) -> Failure {
        let kind = fault.code.clone().unwrap_or_else(|| format!("{:?}", fault.class));
        Failure { text, kind, passes: fault.is_passing() }
    }
}

impl Client {
    pub(super) fn new(roles: Arc<Roles>, sdk: &SdkConfig) -> Client {
        Client { caller: Caller::new(sdk), roles, sdk: sdk.clone() }
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
    use super::*;

    #[test]
    fn actions_stand_in_the_order_of_their_answers() {
        for (action, form) in MEMBER_ACTIONS.iter().zip(FORMS) {
            assert_eq!(*action, format!("ec2:Describe{}", form.list));
        }
    }

    #[test]
    fn a_token_is_encoded_as_a_form_field() {
        assert_eq!(percent_encoded("aZ0-._~/+= é&"), "aZ0-._~%2F%2B%3D%20%C3%A9%26");
    }
}
