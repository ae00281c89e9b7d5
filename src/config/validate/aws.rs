//! How a part reaches AWS, and the names of AWS that a pipeline file spells: Regions, ARNs, endpoints.
//!
//! Only the spelling: whether a thing exists and may be used is for `check --connect`.

use super::Check;
use crate::config::tree::Path;
use crate::config::types::Aws;

/// Session names, as STS takes them.
const SESSION_NAME: std::ops::RangeInclusive<usize> = 2..=64;
/// External ids, as STS takes them.
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1224;

impl Check<'_, '_, '_> {
    /// An `aws` block that nothing reads: the role in it is not taken on, where its author thinks that it is.
    pub(super) fn aws_unused(&mut self, path: &Path, aws: Option<&Aws>, used_by: &str) {
        if aws.is_some() {
            let remedy = format!("remove it: only {used_by} reads it");
            self.error(&path.key("aws"), "nothing here reaches AWS by these settings", &[&remedy]);
        }
    }

    /// The settings of a part. `named` is the Region that the part's own name tells, and what tells it.
    pub(super) fn aws(&mut self, path: &Path, aws: Option<&Aws>, named: Option<(&str, &str)>) {
        let Some(aws) = aws else { return };
        let path = path.key("aws");
        if let Some(region) = &aws.region {
            let path = path.key("region");
            self.region(&path, region);
            if let Some((named, what)) = named
                && named != region
            {
                let message = format!("another Region than that of {what}");
                self.error(&path, message, &["remove it: the name says it already"]);
            }
        }
        if let Some(role) = &aws.assume_role {
            self.role(&path.key("assume_role"), role);
        }
        self.session(&path, aws);
        if let Some(endpoint) = &aws.endpoint {
            self.endpoint(&path.key("endpoint"), endpoint);
        }
    }

    /// A Region's name.
    pub(super) fn region(&mut self, path: &Path, region: &str) {
        if !is_region(region) {
            let mut notes = vec!["for example ap-northeast-2"];
            if region.strip_suffix(|last: char| last.is_ascii_lowercase()).is_some_and(is_region) {
                notes.push("this is an Availability Zone: leave its letter out");
            }
            self.error(path, "not spelled like a Region", &notes);
        }
    }

    fn role(&mut self, path: &Path, role: &str) {
        const FORM: &str = "the form is arn:aws:iam::111122223333:role/NAME";
        let Some(arn) = Arn::parse(role) else {
            return self.error(path, "not the ARN of a role", &[FORM]);
        };
        if arn.service == "sts" && arn.resource.starts_with("assumed-role/") {
            let notes = [FORM, "the path of the role, if it has one, belongs to the name"];
            return self.error(path, "the ARN of a session, not of the role that it has", &notes);
        }
        let name = arn.resource.strip_prefix("role/").unwrap_or_default();
        if arn.service != "iam" || !arn.region.is_empty() || !is_account(arn.account) || name.is_empty() {
            self.error(path, "not the ARN of a role", &[FORM]);
        }
    }

    fn session(&mut self, path: &Path, aws: &Aws) {
        let texts = [
            ("external_id", &aws.external_id, EXTERNAL_ID, "=,.@:/-_+"),
            ("session_name", &aws.session_name, SESSION_NAME, "=,.@-_+"),
        ];
        for (field, text, lengths, signs) in texts {
            let Some(text) = text else { continue };
            let path = path.key(field);
            if aws.assume_role.is_none() {
                let message = format!("`{field}` says nothing without a role");
                self.error(&path, message, &["add `assume_role`, or remove it"]);
            }
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || signs.contains(letter);
            if !lengths.contains(&text.len()) || !text.chars().all(allowed) {
                let rule = format!("{} to {} letters, digits and {signs}", lengths.start(), lengths.end());
                self.error(&path, "AWS does not take this text", &[&rule]);
            }
        }
    }

    pub(super) fn endpoint(&mut self, path: &Path, endpoint: &str) {
        let wrong = wrong_endpoint(endpoint);
        if let Some(wrong) = wrong {
            let note = "the form is https://HOST or https://HOST:PORT, for example https://vpce-0a1b.kinesis.eu-central-1.vpce.amazonaws.com";
            self.error(path, wrong, &[note]);
        }
    }
}

/// What is wrong with an address of the form `http(s)://host[:port][/path]`.
fn wrong_endpoint(endpoint: &str) -> Option<&'static str> {
    let Some(rest) = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")) else {
        return Some("not an http or https address");
    };
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Some("credentials do not belong into an address");
    }
    if rest.contains(['?', '#']) || rest.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Some("an address with more than host, port and path");
    }
    (!is_host_and_port(authority, false)).then_some("an address without a host, or with a port that is none")
}

/// `host` or `host:port`; an IPv6 address stands in brackets.
pub(super) fn is_host_and_port(text: &str, port_needed: bool) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-_".contains(letter);
            !host.is_empty() && host.chars().all(allowed)
        }
    };
    let is_port = port.map_or(!port_needed, |port| port.parse::<u16>().is_ok_and(|port| port > 0));
    is_host && is_port
}

/// The parts of `arn:partition:service:region:account:resource`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arn<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// `None`: no ARN.
    pub(super) fn parse(text: &'a str) -> Option<Arn<'a>> {
        let mut parts = text.splitn(6, ':');
        if parts.next() != Some("arn") || !parts.next()?.starts_with("aws") {
            return None;
        }
        let (service, region, account) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Arn { service, region, account, resource: parts.next()? })
    }
}

/// Spelled as all Regions are: `ap-northeast-2`, `us-gov-west-1`, `eusc-de-east-1`.
pub(super) fn is_region(text: &str) -> bool {
    let mut words: Vec<&str> = text.split('-').collect();
    let number = words.pop().unwrap_or_default();
    let is_word = |word: &&str| (2..=12).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_number = (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (2..=4).contains(&words.len()) && words.iter().all(is_word) && is_number
}

/// 12 digits.
pub(super) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_of_every_partition_are_spelled_alike() {
        let check = |text: &str, expect: bool| assert_eq!(is_region(text), expect, "{text}");
        for region in
            ["us-east-1", "ap-southeast-13", "us-gov-west-1", "us-isob-east-1", "eusc-de-east-1", "cn-north-1"]
        {
            check(region, true);
        }
        for text in ["", "us-east", "us-east-1a", "US-EAST-1", "useast1", "eu--1", "eu-central-one", "a-b-1"] {
            check(text, false);
        }
    }

    #[test]
    fn an_address_has_a_host_and_nothing_secret() {
        let check = |text: &str, good: bool| assert_eq!(wrong_endpoint(text).is_none(), good, "{text}");
        for text in
            ["http://127.0.0.1:4566", "https://[::1]:4566/", "https://vpce-0a.kinesis.eu-central-1.vpce.amazonaws.com"]
        {
            check(text, true);
        }
        for text in [
            "localhost:4566",
            "ftp://x",
            "https://",
            "https://user:pw@x",
            "http://x:0",
            "http://x:99999",
            "http://a b",
            "http://x?y",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn brokers_have_a_port() {
        let check = |text: &str, expect: bool| assert_eq!(is_host_and_port(text, true), expect, "{text}");
        check("broker-1.example:9092", true);
        check("10.0.0.1:9092", true);
        check("[fd00::1]:9092", true);
        check("broker", false);
        check("[fd00::1]", false);
        check("fd00::1:9092", false);
        check("kafka://broker:9092", false);
        check(":9092", false);
    }
}
