//! Where EC2 and Organizations answer: addresses by Region, partition, FIPS and dual-stack. Pure.
//!
//! The rules are those of the services' own endpoint rule sets (the SDKs ship them); the test is a table of
//! their addresses.

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
        // GovCloud's ordinary address is validated already; it has no second one, except for dual-stack.
        (Service::Ec2, true) if partition.name == "aws-us-gov" && !dual_stack => ("ec2", region),
        (Service::Ec2, true) => ("ec2-fips", region),
        (Service::Ec2, false) => ("ec2", region),
        (Service::Organizations, true) if partition.name == "aws-us-gov" && !dual_stack => {
            ("organizations", partition.home)
        }
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
    use super::*;

    #[track_caller]
    fn check(service: Service, region: &str, options: &str, expect: &str, signed_for: &str) {
        let found = own(service, region, options.contains("fips"), options.contains("dual"));
        assert_eq!((found.url.as_str(), found.region.as_str()), (expect, signed_for), "{region} {options}");
    }

    #[test]
    fn ec2_answers_in_each_region() {
        let ec2 = |region: &str, options: &str, expect: &str| check(Service::Ec2, region, options, expect, region);
        ec2("ap-northeast-2", "", "https://ec2.ap-northeast-2.amazonaws.com/");
        ec2("us-east-1", "fips", "https://ec2-fips.us-east-1.amazonaws.com/");
        ec2("us-east-1", "dual", "https://ec2.us-east-1.api.aws/");
        ec2("us-east-1", "fips dual", "https://ec2-fips.us-east-1.api.aws/");
        ec2("ca-central-1", "fips", "https://ec2-fips.ca-central-1.amazonaws.com/");
        ec2("us-gov-west-1", "", "https://ec2.us-gov-west-1.amazonaws.com/");
        ec2("us-gov-west-1", "fips", "https://ec2.us-gov-west-1.amazonaws.com/");
        ec2("us-gov-east-1", "dual", "https://ec2.us-gov-east-1.api.aws/");
        ec2("us-gov-east-1", "fips dual", "https://ec2-fips.us-gov-east-1.api.aws/");
        ec2("cn-north-1", "", "https://ec2.cn-north-1.amazonaws.com.cn/");
        ec2("cn-northwest-1", "dual", "https://ec2.cn-northwest-1.api.amazonwebservices.com.cn/");
        ec2("us-iso-east-1", "", "https://ec2.us-iso-east-1.c2s.ic.gov/");
        ec2("us-isob-east-1", "", "https://ec2.us-isob-east-1.sc2s.sgov.gov/");
        ec2("eu-isoe-west-1", "", "https://ec2.eu-isoe-west-1.cloud.adc-e.uk/");
        ec2("us-isof-south-1", "", "https://ec2.us-isof-south-1.csp.hci.ic.gov/");
        ec2("eusc-de-east-1", "", "https://ec2.eusc-de-east-1.amazonaws.eu/");
        ec2("mx-central-1", "", "https://ec2.mx-central-1.amazonaws.com/");
    }

    #[test]
    fn organizations_answers_once_a_partition() {
        let check = |region: &str, options: &str, expect: &str, signed_for: &str| {
            check(Service::Organizations, region, options, expect, signed_for);
        };
        check("ap-northeast-2", "", "https://organizations.us-east-1.amazonaws.com/", "us-east-1");
        check("eu-west-1", "fips", "https://organizations-fips.us-east-1.amazonaws.com/", "us-east-1");
        check("eu-west-1", "dual", "https://organizations.us-east-1.api.aws/", "us-east-1");
        check("us-gov-east-1", "", "https://organizations.us-gov-west-1.amazonaws.com/", "us-gov-west-1");
        check("us-gov-east-1", "fips", "https://organizations.us-gov-west-1.amazonaws.com/", "us-gov-west-1");
        check("cn-north-1", "", "https://organizations.cn-northwest-1.amazonaws.com.cn/", "cn-northwest-1");
        check("eusc-de-east-1", "", "https://organizations.eusc-de-east-1.amazonaws.eu/", "eusc-de-east-1");
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
