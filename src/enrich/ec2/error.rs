//! What a failed call means, in words that say what to do.

use std::fmt;

use crate::aws::Class;

/// Longest text of a service that is repeated: EC2 adds pages of encoded authorization context.
const LONGEST_TEXT: usize = 300;

/// Why a call, or the way to it, failed. No text of an answer's data is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: Class,
    /// The service's own code, for example `UnauthorizedOperation`.
    pub(super) code: Option<String>,
    /// What the service or the way to it said.
    pub(super) said: String,
}

impl Fault {
    pub(super) fn new(class: Class, said: impl Into<String>) -> Fault {
        Fault { class, code: None, said: said.into() }
    }

    /// A service's error answer.
    pub(super) fn of_answer(status: u16, code: String, message: &str) -> Fault {
        let class = class_of(&code, status);
        // What follows is of use to `sts:DecodeAuthorizationMessage` only.
        let said = message.split(" Encoded authorization failure message").next().unwrap_or_default().to_owned();
        Fault { class, code: Some(code), said }
    }

    /// Whether the same call may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.class, Class::Throttled | Class::Unavailable)
    }
}

/// EC2's and Organizations' codes first, then what all services share.
fn class_of(code: &str, status: u16) -> Class {
    match code {
        // A Region that is not enabled refuses good credentials as if they were wrong.
        "OptInRequired" | "AuthFailure" | "Blocked" | "PendingVerification" => Class::Credentials,
        "RequestExpired" => Class::Credentials,
        "AWSOrganizationsNotInUseException" => Class::Missing,
        "EC2ThrottledException" | "TooManyRequestsException" => Class::Throttled,
        "Unavailable" | "ServiceException" => Class::Unavailable,
        "UnauthorizedOperation" | "UnauthorizedAccess" => Class::Denied,
        _ => crate::aws::class_of(code, status),
    }
}

/// What was asked for: for a message.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    /// As in an IAM policy: `ec2:DescribeVpnConnections`.
    pub(super) action: &'a str,
    /// The account that was asked about, or the role.
    pub(super) what: String,
    pub(super) region: &'a str,
    pub(super) role: Option<&'a str>,
}

impl Subject<'_> {
    /// The whole story in one line.
    pub(super) fn explain(&self, fault: &Fault) -> String {
        let said: String = fault.said.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
        let code = fault.code.as_deref().unwrap_or_default();
        let why = [code, said.trim()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        format!("{} on {} in {} failed: {why}; {}", self.action, self.what, self.region, Remedy(self, fault))
    }
}

struct Remedy<'a>(&'a Subject<'a>, &'a Fault);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remedy(subject, fault) = self;
        match (fault.code.as_deref(), fault.class) {
            (Some("OptInRequired"), _) => {
                f.write_str("enable this Region in the account, or take it out of `enrich.ec2.regions`")
            }
            (Some("AuthFailure"), _) => f.write_str(
                "check that this Region is enabled in the account (else take it out of `enrich.ec2.regions`), and this \
                 machine's clock",
            ),
            (Some("AWSOrganizationsNotInUseException"), _) => {
                f.write_str("these credentials belong to no organization: list the accounts in `enrich.ec2.accounts`")
            }
            (_, Class::Throttled) => f.write_str(
                "others use up the account's limit too; it is tried again (see `enrich.ec2.calls_per_second`)",
            ),
            (_, Class::Unavailable) => {
                f.write_str("it is tried again; if it stays, check the network, the proxy and the endpoint")
            }
            (_, Class::Denied) if subject.action == "sts:AssumeRole" => f.write_str(
                "let the role's trust policy name these credentials (and `enrich.ec2.external_id`, if it demands one), \
                 and allow them `sts:AssumeRole` on it; deploy/iam/ has both",
            ),
            (_, Class::Denied) => match subject.role {
                Some(role) => {
                    write!(f, "allow `{}` in a policy of the role {role}; deploy/iam/ has it", subject.action)
                }
                None => write!(f, "allow `{}` for these credentials; deploy/iam/ has the policy", subject.action),
            },
            (_, Class::Credentials) => f.write_str(
                "check the credentials: environment variables, profile, the container's or the instance's role",
            ),
            (_, Class::Missing | Class::Kms | Class::Invalid) => {
                f.write_str("correct `enrich.ec2` in the pipeline file")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, code: &str, class: Class, remedy: &str) {
        let fault = Fault::of_answer(status, code.into(), "said. Encoded authorization failure message: AAAA");
        assert_eq!(fault.class, class, "{code}");
        let role = Some("arn:aws:iam::111122223333:role/r");
        let subject = Subject {
            action: "ec2:DescribeVpnConnections",
            what: "account 111122223333".into(),
            region: "eu-west-1",
            role,
        };
        let text = subject.explain(&fault);
        let start = format!("ec2:DescribeVpnConnections on account 111122223333 in eu-west-1 failed: {code}: said.; ");
        assert!(text.starts_with(&start) && text.contains(remedy) && !text.contains("AAAA"), "{text}");
    }

    #[test]
    fn every_code_of_ec2_says_what_to_do() {
        check(503, "RequestLimitExceeded", Class::Throttled, "calls_per_second");
        check(
            403,
            "UnauthorizedOperation",
            Class::Denied,
            "allow `ec2:DescribeVpnConnections` in a policy of the role",
        );
        check(401, "AuthFailure", Class::Credentials, "Region is enabled");
        check(401, "OptInRequired", Class::Credentials, "take it out of `enrich.ec2.regions`");
        check(400, "RequestExpired", Class::Credentials, "check the credentials");
        check(500, "InternalError", Class::Unavailable, "tried again");
        check(503, "Unavailable", Class::Unavailable, "tried again");
        check(400, "InvalidParameterValue", Class::Invalid, "correct `enrich.ec2`");
        check(400, "AWSOrganizationsNotInUseException", Class::Missing, "list the accounts");
        check(400, "AccessDeniedException", Class::Denied, "allow `");
    }

    #[test]
    fn a_role_that_cannot_be_taken_on_is_a_matter_of_its_trust_policy() {
        let subject = Subject { action: "sts:AssumeRole", what: "role r".into(), region: "eu-west-1", role: None };
        let text = subject.explain(&Fault::new(Class::Denied, "AccessDenied\nforged"));
        assert!(text.contains("trust policy") && !text.contains('\n'), "{text}");
    }
}
