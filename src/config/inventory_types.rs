//! The inventory part of a pipeline file: `enrich.ec2`, the accounts and Regions that are asked for their VPN
//! connections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Duration;

/// The inventory as EC2 tells it: every account, every Region.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ec2 {
    /// Whose connections: a list of account ids; `organization`: every active account that Organizations lists;
    /// `seen`: accounts whose logs arrive, out of `allow`. Absent: the account of the credentials themselves.
    pub accounts: Option<Accounts>,
    /// With `seen`, and needed there: the accounts that may be asked, so that no log line chooses a role. With
    /// `organization`: only these of its accounts.
    #[schemars(length(min = 1))]
    pub allow: Vec<String>,
    /// In which Regions. Default: the environment's.
    #[schemars(length(min = 1))]
    pub regions: Vec<String>,
    /// The role to take on in each account, by ARN, with `{account}` and `{partition}`:
    /// `arn:{partition}:iam::{account}:role/tunnelog-inventory`. Needed for more accounts than the credentials' own.
    pub assume_role: Option<String>,
    /// What the roles' trust policies demand as `sts:ExternalId`.
    pub external_id: Option<String>,
    /// Names the sessions in CloudTrail. Default: `tunnelog`.
    pub session_name: Option<String>,
    /// The role that may list the organization's accounts, by ARN. Default: the credentials themselves, which then
    /// belong to the management account or a delegated administrator.
    pub organization_role: Option<String>,
    /// Whether Organizations is asked for the accounts' names and organizational units. Default: with
    /// `accounts: organization`.
    pub account_names: Option<bool>,
    /// Another address for all that the inventory asks (EC2, Organizations, STS), for example an emulator's. For
    /// one service alone: `AWS_ENDPOINT_URL_EC2` and its siblings in the environment.
    #[schemars(extend("format" = "uri"))]
    pub endpoint: Option<String>,
    /// How often each account and Region is asked again, give or take a tenth.
    pub refresh: Duration,
    /// Accounts and Regions that are asked at the same time.
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: u32,
    /// Calls a second in one account and Region; EC2 shares its limit among all who call it there.
    #[schemars(range(min = 1, max = 100))]
    pub calls_per_second: u32,
}

impl Default for Ec2 {
    fn default() -> Self {
        Ec2 {
            accounts: None,
            allow: Vec::new(),
            regions: Vec::new(),
            assume_role: None,
            external_id: None,
            session_name: None,
            organization_role: None,
            account_names: None,
            endpoint: None,
            refresh: Duration::from_secs(300),
            concurrency: 4,
            calls_per_second: 5,
        }
    }
}

/// Whose connections: a word, or a list of account ids.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Accounts {
    /// Accounts that something else lists.
    Listed(AccountsOf),
    /// These account ids.
    Ids(Vec<String>),
}

/// Who lists the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountsOf {
    /// AWS Organizations: every active account.
    Organization,
    /// The logs: accounts whose connections they name, out of `allow`.
    Seen,
}
