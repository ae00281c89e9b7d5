//! What EC2 and Organizations would answer about the fleet, in the shapes that the AWS CLI prints.
//!
//! `PreSharedKey` and `CustomerGatewayConfiguration` are not here: the simulation has no secrets to leak.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{ACCOUNTS, Connection, LOG_GROUP, Plan, REGIONS};
use super::random::{Purpose, Random};
use crate::event::Millis;

/// The answers of all accounts and Regions.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedInventory {
    /// `aws organizations list-accounts`.
    pub accounts: Value,
    /// One entry per account and Region with VPN connections, ordered by both.
    pub regions: Vec<RegionAnswers>,
}

/// The answers of one account in one Region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionAnswers {
    /// 12 digits.
    pub account: String,
    /// For example `ap-northeast-2`.
    pub region: String,
    /// `aws ec2 describe-vpn-connections`.
    pub vpn_connections: Value,
    /// `aws ec2 describe-customer-gateways`.
    pub customer_gateways: Value,
    /// `aws ec2 describe-vpn-gateways`.
    pub vpn_gateways: Value,
    /// `aws ec2 describe-transit-gateways`.
    pub transit_gateways: Value,
}

impl RegionAnswers {
    /// The answers with the names of the files that `tunnelog` reads them from.
    pub fn files(&self) -> [(&'static str, &Value); 4] {
        [
            ("describe-vpn-connections.json", &self.vpn_connections),
            ("describe-customer-gateways.json", &self.customer_gateways),
            ("describe-vpn-gateways.json", &self.vpn_gateways),
            ("describe-transit-gateways.json", &self.transit_gateways),
        ]
    }
}

pub(super) fn of(plan: &Plan) -> SimulatedInventory {
    let mut places: BTreeMap<(usize, usize), Vec<&Connection>> = BTreeMap::new();
    for connection in &plan.connections {
        places.entry((connection.account, connection.region)).or_default().push(connection);
    }
    let mut regions: Vec<RegionAnswers> = places.iter().map(|(place, fleet)| answers(plan, *place, fleet)).collect();
    regions.sort_by(|a, b| (&a.account, &a.region).cmp(&(&b.account, &b.region)));
    let accounts: Vec<Value> = ACCOUNTS
        .iter()
        .map(|account| {
            json!({ "Id": account.id, "Arn": format!("arn:aws:organizations::{}:account/o-a1b2c3d4e5/{}", ACCOUNTS[0].id, account.id),
                "Name": account.name, "Status": "ACTIVE" })
        })
        .collect();
    SimulatedInventory { accounts: json!({ "Accounts": accounts }), regions }
}

/// The gateways of one account in one Region.
struct Gateways {
    transit: String,
    private: String,
    vpc: String,
}

fn answers(plan: &Plan, place: (usize, usize), fleet: &[&Connection]) -> RegionAnswers {
    let (account, region) = (&ACCOUNTS[place.0], REGIONS[place.1]);
    let mut random = Random::new(plan.seed, Purpose::Gateways, (place.0 * REGIONS.len() + place.1) as u64);
    let gateways = Gateways {
        transit: random.resource_id("tgw"),
        private: random.resource_id("vgw"),
        vpc: random.resource_id("vpc"),
    };
    let connections: Vec<Value> = fleet.iter().map(|one| vpn_connection(plan, one, &gateways)).collect();
    let customers: Vec<Value> = fleet.iter().map(|one| customer_gateway(one)).collect();
    let private = fleet.iter().find(|one| one.virtual_private_gateway).map(|one| {
        json!({ "VpnGatewayId": gateways.private, "State": "available", "Type": "ipsec.1",
            "AmazonSideAsn": one.aws_asn, "VpcAttachments": [{ "State": "attached", "VpcId": gateways.vpc }],
            "Tags": tags(&[("Name", format!("{}-vgw", account.name))]) })
    });
    let transit = fleet.iter().find(|one| !one.virtual_private_gateway).map(|one| {
        json!({ "TransitGatewayId": gateways.transit,
            "TransitGatewayArn": format!("arn:aws:ec2:{region}:{}:transit-gateway/{}", account.id, gateways.transit),
            "OwnerId": account.id, "State": "available", "Description": "core",
            "Options": { "AmazonSideAsn": one.aws_asn, "VpnEcmpSupport": "enable" },
            "Tags": tags(&[("Name", format!("{}-core-tgw", account.name))]) })
    });
    RegionAnswers {
        account: account.id.into(),
        region: region.into(),
        vpn_connections: json!({ "VpnConnections": connections }),
        customer_gateways: json!({ "CustomerGateways": customers }),
        vpn_gateways: json!({ "VpnGateways": private.into_iter().collect::<Vec<_>>() }),
        transit_gateways: json!({ "TransitGateways": transit.into_iter().collect::<Vec<_>>() }),
    }
}

fn vpn_connection(plan: &Plan, connection: &Connection, gateways: &Gateways) -> Value {
    let (any, version) = if connection.ipv6 { ("::/0", "ipv6") } else { ("0.0.0.0/0", "ipv4") };
    let (local, remote) = if connection.ipv6 {
        ("LocalIpv6NetworkCidr", "RemoteIpv6NetworkCidr")
    } else {
        ("LocalIpv4NetworkCidr", "RemoteIpv4NetworkCidr")
    };
    let mut answer = json!({
        "VpnConnectionId": connection.id, "State": "available", "Type": "ipsec.1", "Category": "VPN",
        "CustomerGatewayId": connection.customer_gateway.id, "GatewayAssociationState": "associated",
        "Options": {
            "EnableAcceleration": false, "StaticRoutesOnly": false, local: any, remote: any,
            "OutsideIpAddressType": "PublicIpv4", "TunnelInsideIpVersion": version,
            "TunnelOptions": [tunnel_options(connection, 0), tunnel_options(connection, 1)],
        },
        "Routes": [],
        "Tags": tags(&[("Name", connection.name()), ("site", connection.site.clone()),
            ("env", connection.env.into()), ("owner", ACCOUNTS[connection.account].team.into())]),
        "VgwTelemetry": [telemetry(plan, connection, 0), telemetry(plan, connection, 1)],
    });
    let (key, id) = match connection.virtual_private_gateway {
        true => ("VpnGatewayId", &gateways.private),
        false => ("TransitGatewayId", &gateways.transit),
    };
    answer[key] = json!(id);
    answer
}

fn tunnel_options(connection: &Connection, tunnel: usize) -> Value {
    let group = format!(
        "arn:aws:logs:{}:{}:log-group:{LOG_GROUP}",
        REGIONS[connection.region], ACCOUNTS[connection.account].id
    );
    let plan = &connection.tunnels[tunnel];
    let mut options = json!({
        "OutsideIpAddress": plan.outside, "TunnelInsideCidr": format!("{}/30", plan.inside),
        "IkeVersions": [{ "Value": if connection.ike_v1 { "ikev1" } else { "ikev2" } }],
        "LogOptions": { "CloudWatchLogOptions": {
            "LogEnabled": true, "LogGroupArn": group, "LogOutputFormat": "json",
            "BgpLogEnabled": true, "BgpLogGroupArn": group, "BgpLogOutputFormat": "json",
        } },
    });
    if connection.ipv6 {
        options["TunnelInsideIpv6Cidr"] = json!(format!("{}/126", connection.inside_ipv6(tunnel)));
    }
    options
}

fn telemetry(plan: &Plan, connection: &Connection, tunnel: usize) -> Value {
    // Every session is established since the day before.
    let since = Millis(plan.start - 20 * 3_600_000).to_string();
    json!({
        "OutsideIpAddress": connection.tunnels[tunnel].outside, "Status": "UP",
        "StatusMessage": format!("{} BGP ROUTES", connection.prefixes),
        "LastStatusChange": since.replace(".000Z", "+00:00"), "AcceptedRouteCount": connection.prefixes,
    })
}

fn customer_gateway(connection: &Connection) -> Value {
    let gateway = &connection.customer_gateway;
    // EC2 answers a 32-bit ASN in the second field.
    let asn = if gateway.asn > 65_535 { "BgpAsnExtended" } else { "BgpAsn" };
    json!({
        "CustomerGatewayId": gateway.id, asn: gateway.asn.to_string(), "IpAddress": gateway.ip,
        "DeviceName": gateway.device, "State": "available", "Type": "ipsec.1",
        "Tags": tags(&[("Name", gateway.name.clone())]),
    })
}

fn tags(pairs: &[(&str, String)]) -> Value {
    pairs.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
}
