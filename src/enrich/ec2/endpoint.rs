//! Where EC2 and Organizations answer: addresses by Region, partition, FIPS and dual-stack. Pure.
//!
//! The rules are those of the services' own endpoint rule sets. `tests/inventory/endpoints.txt` has what they come
//! to in every Region: the test here holds this module against it, `tests/inventory/endpoints.rs` the rule sets of an
//! SDK.

use aws_config::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

/// A service that is called without its SDK crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Service {
    /// Amazon EC2, in each Region.
    Ec2,
    /// AWS Organizations, once a partition.
    Organizations,
}

/// An address and the Region that requests to it are signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) region: String,
}

/// A group of Regions with one set of accounts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// As in an ARN.
    pub(super) name: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
    /// Where Organizations answers.
    home: &'static str,
}

/// The last one holds every Region that no other names.
const PARTITIONS: [Partition; 8] = [
    partition("aws-cn", "cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn", "cn-northwest-1"),
    partition("aws-us-gov", "us-gov-", "amazonaws.com", "api.aws", "us-gov-west-1"),
    partition("aws-iso", "us-iso-", "c2s.ic.gov", "api.aws.ic.gov", "us-iso-east-1"),
    partition("aws-iso-b", "us-isob-", "sc2s.sgov.gov", "api.aws.scloud", "us-isob-east-1"),
    partition("aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", "eu-isoe-west-1"),
    partition("aws-iso-f", "us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov", "us-isof-south-1"),
    partition("aws-eusc", "eusc-", "amazonaws.eu", "api.amazonwebservices.eu", "eusc-de-east-1"),
    partition("aws", "", "amazonaws.com", "api.aws", "us-east-1"),
];

const fn partition(
    name: &'static str,
    prefix: &'static str,
    suffix: &'static str,
    dual_stack_suffix: &'static str,
    home: &'static str,
) -> Partition {
    Partition { name, prefix, suffix, dual_stack_suffix, home }
}

/// The partition of a Region.
pub(super) fn partition_of(region: &str) -> &'static Partition {
    PARTITIONS.iter().find(|partition| region.starts_with(partition.prefix)).unwrap_or(&PARTITIONS[7])
}

/// The service's own address in, or for, a Region.
pub(super) fn own(service: Service, region: &str, fips: bool, dual_stack: bool) -> Endpoint {
    let partition = partition_of(region);
    let suffix = if dual_stack { partition.dual_stack_suffix } else { partition.suffix };
    let (host, region) = match (service, fips) {
        // GovCloud's ordinary addresses are validated already; only EC2's dual-stack one has a second.
        (Service::Ec2, true) if partition.name == "aws-us-gov" && !dual_stack => ("ec2", region),
        (Service::Ec2, true) => ("ec2-fips", region),
        (Service::Ec2, false) => ("ec2", region),
        (Service::Organizations, true) if partition.name == "aws-us-gov" => ("organizations", partition.home),
        (Service::Organizations, true) => ("organizations-fips", partition.home),
        (Service::Organizations, false) => ("organizations", partition.home),
    };
    Endpoint { url: format!("https://{host}.{region}.{suffix}/"), region: region.to_owned() }
}

/// The address to call: what the configuration or the environment names, else the service's own.
pub(super) fn resolve(service: Service, region: &str, sdk: &SdkConfig) -> Endpoint {
    let own = own(service, region, sdk.use_fips().unwrap_or(false), sdk.use_dual_stack().unwrap_or(false));
    match configured(service, sdk) {
        Some(url) => Endpoint { url: if url.ends_with('/') { url } else { url + "/" }, ..own },
        None => own,
    }
}

/// As the SDK's clients decide: set in the program, else for the service (`AWS_ENDPOINT_URL_EC2`, or `ec2` in the
/// profile's `services`), else for all.
fn configured(service: Service, sdk: &SdkConfig) -> Option<String> {
    let for_all = sdk.endpoint_url().map(str::to_owned);
    if sdk.get_origin("endpoint_url").is_client_config() {
        return for_all;
    }
    let id = match service {
        Service::Ec2 => "EC2",
        Service::Organizations => "Organizations",
    };
    let key =
        ServiceConfigKey::builder().service_id(id).profile("endpoint_url").env("AWS_ENDPOINT_URL").build().ok()?;
    sdk.service_config().and_then(|config| config.load_config(key)).or(for_all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    const TABLE: &str = include_str!("../../../tests/inventory/endpoints.txt");

    /// The Region, the wish, the address and the Region it is signed for, of all lines of a service.
    fn lines(service: &str) -> Vec<[&'static str; 5]> {
        let words = |line: &'static str| line.split(' ').collect::<Vec<_>>();
        let lines = TABLE.lines().map(words).filter(|words| words[0] == service);
        let lines: Vec<_> = lines.map(|words| [words[1], words[2], words[3], words[4], words[5]]).collect();
        assert!(lines.len() > 150, "{service} has {} lines", lines.len());
        lines
    }

    #[test]
    fn ec2_and_organizations_are_called_where_the_services_rule_sets_say() {
        for (service, name) in [(Service::Ec2, "ec2"), (Service::Organizations, "organizations")] {
            for [partition, region, wish, url, signed_for] in lines(name) {
                let found = own(service, region, wish.contains("fips"), wish.contains("dual"));
                assert_eq!((found.url.as_str(), found.region.as_str()), (url, signed_for), "{name} {region} {wish}");
                assert_eq!(partition_of(region).name, partition, "{region}");
            }
        }
    }

    /// STS goes through its SDK crate, which has the same rules.
    #[test]
    fn sts_is_called_where_its_rule_set_says() {
        use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint as _};
        let resolver = DefaultResolver::new();
        for [_, region, wish, url, _] in lines("sts") {
            let params = Params::builder().region(region).use_fips(wish.contains("fips"));
            let params = params.use_dual_stack(wish.contains("dual")).build().unwrap();
            let found = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(resolver.resolve_endpoint(&params));
            assert_eq!(format!("{}/", found.unwrap().url()), url, "sts {region} {wish}");
        }
    }

    #[test]
    fn a_region_that_no_table_names_is_of_the_commercial_partition() {
        let found = own(Service::Ec2, "xx-newland-1", false, false);
        assert_eq!(found.url, "https://ec2.xx-newland-1.amazonaws.com/");
    }

    #[test]
    fn a_role_is_named_in_its_partition() {
        let check = |region: &str, expect: &str| assert_eq!(partition_of(region).name, expect, "{region}");
        check("us-east-1", "aws");
        check("us-gov-west-1", "aws-us-gov");
        check("cn-north-1", "aws-cn");
        check("us-iso-west-1", "aws-iso");
        check("us-isob-west-1", "aws-iso-b");
        check("eusc-de-east-1", "aws-eusc");
        check("il-central-1", "aws");
    }
}
