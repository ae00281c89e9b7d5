//! The numbering of log streams and their names: who sends a line, from which account, Region and log group.
//!
//! Tunnel `t` of the fleet (connection `t / 2`) writes stream `2t` (BGP) and `2t + 1` (IKE); the streams of the
//! route server peers come after all tunnels. IKE lines carry no VPN id: the stream's name is their identity.

use super::lines::{self, BgpMessage, Line};
use super::plan::{ACCOUNTS, LOG_GROUP, Plan, REGIONS};

/// VPC Route Server peers, all of the first account in `us-east-1`.
pub(super) const ROUTE_SERVER_PEERS: [&str; 2] = ["rsp-0c1d2e3f405162738", "rsp-0d2e3f40516273849"];

const ROUTE_SERVER_REGION: &str = REGIONS[1];

/// What all lines of a log stream share.
pub(super) struct StreamIdentity {
    pub(super) owner: &'static str,
    pub(super) group: String,
    pub(super) name: String,
    pub(super) region: &'static str,
    /// Subscribed by an account-level policy with system fields.
    pub(super) account_level: bool,
}

/// How many tunnels the fleet has.
pub(super) fn tunnel_count(plan: &Plan) -> u32 {
    plan.connections.len() as u32 * 2
}

/// How many log streams the fleet has.
pub(super) fn stream_count(plan: &Plan) -> u32 {
    tunnel_count(plan) * 2 + ROUTE_SERVER_PEERS.len() as u32
}

/// The stream of a tunnel's BGP log.
pub(super) fn bgp_stream(tunnel: u32) -> u32 {
    tunnel * 2
}

/// The stream of a tunnel's IKE log.
pub(super) fn ike_stream(tunnel: u32) -> u32 {
    tunnel * 2 + 1
}

/// The stream of a route server peer.
pub(super) fn route_server_stream(plan: &Plan, peer: u32) -> u32 {
    tunnel_count(plan) * 2 + peer
}

/// The ARN of a route server peer.
pub(super) fn route_server_arn(peer: u32) -> String {
    let id = ROUTE_SERVER_PEERS[peer as usize % ROUTE_SERVER_PEERS.len()];
    format!("arn:aws:ec2:{ROUTE_SERVER_REGION}:{}:route-server-peer/{id}", ACCOUNTS[0].id)
}

/// The identity of stream number `stream`.
pub(super) fn of(plan: &Plan, stream: u32) -> StreamIdentity {
    let Some(connection) = plan.connections.get(stream as usize / 4) else {
        let peer = stream.saturating_sub(tunnel_count(plan) * 2) as usize % ROUTE_SERVER_PEERS.len();
        let name = ROUTE_SERVER_PEERS[peer].to_string();
        let group = format!("/aws/vendedlogs/ec2/route-server-peer/EVENT_LOGS/{name}");
        let region = ROUTE_SERVER_REGION;
        return StreamIdentity { owner: ACCOUNTS[0].id, group, name, region, account_level: false };
    };
    let account = &ACCOUNTS[connection.account];
    let outside = connection.tunnels[stream as usize / 2 % 2].outside;
    let log = if stream.is_multiple_of(2) { "BGP" } else { "IKE" };
    StreamIdentity {
        owner: account.id,
        group: LOG_GROUP.into(),
        name: format!("{}_{outside}-{log}.log", connection.id),
        region: REGIONS[connection.region],
        account_level: account.account_level_policy,
    }
}

/// The line that is lost with a damaged record: no event of the day depends on it.
pub(super) fn lost_line(plan: &Plan, stream: u32, at: i64) -> String {
    let tunnel = stream as usize / 2;
    let mut out = String::new();
    if let Some(connection) = plan.connections.get(tunnel / 2) {
        lines::write(&mut out, connection, tunnel % 2, at, Line::Bgp(BgpMessage::EndOfRib));
    }
    out
}
