//! Who is in the fleet: accounts, Regions, sites, connections, addresses. Immutable, made once from the seed.
//!
//! Two connections make a site (`seoul-dc-primary`, `seoul-dc-backup`), each with its own customer gateway
//! and two tunnels. Nothing here happens; that is `day`.
//!
//! Invariants: connection ids and outside addresses are unique in a fleet; connection number `i` is the same
//! in every fleet of this seed, however large.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::random::{Purpose, Random};

/// An AWS account of the simulated company.
pub(super) struct Account {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) team: &'static str,
    /// Subscribed by an account-level policy with emitted system fields, not by a filter on the log group.
    pub(super) account_level_policy: bool,
}

/// Fictitious ids, as AWS's own documentation uses them.
pub(super) const ACCOUNTS: [Account; 4] = [
    Account { id: "123456789012", name: "network-prod", team: "netops", account_level_policy: false },
    Account { id: "111122223333", name: "retail-prod", team: "retail-it", account_level_policy: false },
    Account { id: "444455556666", name: "factory-ot", team: "ot-team", account_level_policy: true },
    Account { id: "777788889999", name: "lab", team: "cloud-platform", account_level_policy: false },
];

/// Regions of the fleet.
pub(super) const REGIONS: [&str; 3] = ["ap-northeast-2", "us-east-1", "eu-central-1"];

/// The log group of the VPN logs, in every account and Region.
pub(super) const LOG_GROUP: &str = "/aws/vendedlogs/vpn";

/// Cities and the number of their Region.
const CITIES: [(&str, u8); 18] = [
    ("seoul", 0),
    ("busan", 0),
    ("ashburn", 1),
    ("frankfurt", 2),
    ("incheon", 0),
    ("daejeon", 0),
    ("boston", 1),
    ("berlin", 2),
    ("gwangju", 0),
    ("ulsan", 0),
    ("atlanta", 1),
    ("munich", 2),
    ("daegu", 0),
    ("tokyo", 0),
    ("chicago", 1),
    ("vienna", 2),
    ("jeju", 0),
    ("dallas", 1),
];

const FACILITIES: [&str; 6] = ["dc", "plant", "office", "warehouse", "store", "lab"];

/// Octets of link-local /30s that AWS reserves: 169.254.0.0/30 to 169.254.5.0/30 and 169.254.169.252/30.
const RESERVED_INSIDE: u32 = 169;

/// The customer's end of a connection.
pub(super) struct CustomerGateway {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) device: String,
    pub(super) ip: Ipv4Addr,
    pub(super) asn: u32,
}

/// One tunnel's addresses.
#[derive(Clone, Copy)]
pub(super) struct TunnelPlan {
    pub(super) outside: Ipv4Addr,
    /// The first address of the inside /30: AWS is the next, the customer gateway the one after.
    pub(super) inside: Ipv4Addr,
}

/// One VPN connection.
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) site: String,
    pub(super) site_number: u32,
    pub(super) backup: bool,
    pub(super) account: usize,
    pub(super) region: usize,
    pub(super) env: &'static str,
    pub(super) ike_v1: bool,
    /// Inside addresses and prefixes are IPv6.
    pub(super) ipv6: bool,
    pub(super) virtual_private_gateway: bool,
    pub(super) aws_asn: u32,
    pub(super) nat_t: bool,
    /// Logs IKE the older way: no `timestamp`, states in lower case, booleans as words.
    pub(super) older_ike_log: bool,
    /// How many prefixes its site advertises, at most 64.
    pub(super) prefixes: u32,
    /// Mean time between two route changes.
    pub(super) churn_ms: i64,
    pub(super) customer_gateway: CustomerGateway,
    pub(super) tunnels: [TunnelPlan; 2],
}

impl Connection {
    /// Connection number `index` of the fleet.
    pub(super) fn new(seed: u64, index: u32) -> Connection {
        let mut random = Random::new(seed, Purpose::Fleet, u64::from(index));
        let site_number = index / 2;
        let (city, region) = CITIES[site_number as usize % CITIES.len()];
        let round = site_number as usize / CITIES.len();
        let facility = FACILITIES[round % FACILITIES.len()];
        let site = match round / FACILITIES.len() {
            0 => format!("{city}-{facility}"),
            number => format!("{city}-{facility}{}", number + 1),
        };
        let account = account_of(site_number);
        let virtual_private_gateway = index % 5 == 4;
        let region = usize::from(region);
        Connection {
            id: random.resource_id("vpn"),
            site_number,
            backup: index % 2 == 1,
            account,
            region,
            env: if account == 3 { "test" } else { "prod" },
            ike_v1: index % 5 == 3,
            ipv6: index % 8 == 6 && !virtual_private_gateway,
            virtual_private_gateway,
            aws_asn: aws_asn(region, virtual_private_gateway),
            nat_t: random.one_in(3),
            older_ike_log: index % 12 == 7,
            prefixes: 3 + random.below(18),
            churn_ms: random.pick([3, 6, 6, 10, 15]) * 60_000,
            customer_gateway: customer_gateway(&mut random, index, &site),
            tunnels: [tunnel(&mut random, index * 2), tunnel(&mut random, index * 2 + 1)],
            site,
        }
    }

    /// The `Name` tag.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.site, if self.backup { "backup" } else { "primary" })
    }

    /// The other end of the tunnel's BGP session: the customer gateway's inside address.
    pub(super) fn neighbor(&self, tunnel: usize) -> IpAddr {
        if self.ipv6 {
            return IpAddr::V6(Ipv6Addr::from_bits(self.inside_ipv6(tunnel).to_bits() + 2));
        }
        IpAddr::V4(Ipv4Addr::from_bits(self.tunnels[tunnel].inside.to_bits() + 2))
    }

    /// The first address of the tunnel's inside /126, in AWS's range fd00::/8.
    pub(super) fn inside_ipv6(&self, tunnel: usize) -> Ipv6Addr {
        let [_, _, third, fourth] = self.tunnels[tunnel].inside.octets();
        Ipv6Addr::new(0xfdca, 0x0ec2, u16::from_be_bytes([third, fourth]), 0, 0, 0, 0, 0)
    }

    /// The limit of routes that AWS accepts from the customer gateway.
    pub(super) fn prefix_limit(&self) -> u32 {
        if self.virtual_private_gateway { 100 } else { 1000 }
    }

    /// Prefix number `number` of the site; both connections of a site advertise the same ones.
    pub(super) fn prefix(&self, number: u32) -> String {
        let site = self.site_number;
        match (self.ipv6, number) {
            (true, 0) => format!("2001:db8:{site:x}::/48"),
            (true, _) => format!("2001:db8:{site:x}:{number:x}::/64"),
            (false, 0) => format!("10.{}.0.0/16", site % 256),
            (false, 1) if site.is_multiple_of(4) => "0.0.0.0/0".into(),
            (false, _) => format!("10.{}.{}.0/24", site % 256, number % 256),
        }
    }
}

/// Everything that does not change during a day.
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) shards: u32,
    pub(super) damaged: u32,
    pub(super) connections: Vec<Connection>,
}

/// Most sites belong to the network account.
fn account_of(site: u32) -> usize {
    [0, 1, 0, 2, 0, 1, 2, 0, 3][site as usize % 9]
}

fn aws_asn(region: usize, virtual_private_gateway: bool) -> u32 {
    64512 + region as u32 + if virtual_private_gateway { 10 } else { 0 }
}

fn customer_gateway(random: &mut Random, index: u32, site: &str) -> CustomerGateway {
    let site_number = index / 2;
    // Every fifth site has a 32-bit ASN (RFC 6996's private range).
    let asn = if site_number % 5 == 2 { 4_200_000_000 + site_number } else { 65000 + site_number % 500 };
    let unit = index % 2 + 1;
    CustomerGateway {
        id: random.resource_id("cgw"),
        name: format!("{site}-fw{unit}"),
        device: format!("{site}-fw-{unit:02}"),
        ip: customer_address(index),
        asn,
    }
}

fn tunnel(random: &mut Random, number: u32) -> TunnelPlan {
    let third = 6 + random.below(248);
    let third = if third == RESERVED_INSIDE { 170 } else { third };
    let inside = Ipv4Addr::new(169, 254, third as u8, (random.below(64) * 4) as u8);
    TunnelPlan { outside: tunnel_address(number), inside }
}

/// AWS's outside addresses: the documentation ranges 203.0.113.0/24 and 198.51.100.0/24 (RFC 5737), then
/// 100.64.0.0/10 (RFC 6598), which no public host has.
fn tunnel_address(number: u32) -> Ipv4Addr {
    const DOCUMENTED: u32 = 2 * 254;
    if number < DOCUMENTED {
        // 167 has no common factor with 508, so that neighbours in the list are not neighbours in the range.
        let mixed = (number * 167 + 16) % DOCUMENTED;
        let host = (mixed % 254 + 1) as u8;
        return if mixed < 254 { Ipv4Addr::new(203, 0, 113, host) } else { Ipv4Addr::new(198, 51, 100, host) };
    }
    Ipv4Addr::from_bits(Ipv4Addr::new(100, 64, 0, 1).to_bits() + (number - DOCUMENTED))
}

/// Addresses of customer gateways: 192.0.2.0/24 (RFC 5737), then 198.18.0.0/15 (RFC 2544).
fn customer_address(index: u32) -> Ipv4Addr {
    match index {
        0..254 => Ipv4Addr::new(192, 0, 2, ((index * 37 + 6) % 254 + 1) as u8),
        _ => Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + (index - 254)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_addresses_are_unique_also_when_documentation_ranges_run_out() {
        let (mut ids, mut outside, mut customer) = (HashSet::new(), HashSet::new(), HashSet::new());
        for index in 0..2000 {
            let connection = Connection::new(1, index);
            assert!(ids.insert(connection.id.clone()));
            assert!(customer.insert(connection.customer_gateway.ip));
            for tunnel in connection.tunnels {
                assert!(outside.insert(tunnel.outside), "{}", tunnel.outside);
                assert!(tunnel.inside.is_link_local());
            }
        }
    }

    #[test]
    fn a_fleet_has_every_sort_of_connection() {
        let fleet: Vec<Connection> = (0..25).map(|index| Connection::new(1, index)).collect();
        assert_eq!(fleet[0].name(), "seoul-dc-primary");
        assert!(
            fleet.iter().any(|c| c.ipv6) && fleet.iter().any(|c| c.ike_v1) && fleet.iter().any(|c| c.older_ike_log)
        );
        assert!(fleet.iter().any(|c| c.customer_gateway.asn > 65535));
        let private = fleet.iter().filter(|c| c.virtual_private_gateway).count();
        assert!(private > 0 && private * 2 < fleet.len(), "most are on transit gateways");
    }
}
