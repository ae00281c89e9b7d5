//! The two ends of what an event is about, as `ocsf`, `ecs` and `splunk` name them: the customer's end is the source,
//! AWS's end the destination.
//!
//! The customer's end is the source because it is the one that begins: AWS answers IKE unless a tunnel is configured
//! to start it, and routes are the peer's. Of a BGP or BFD session the log names the neighbor only, an address inside
//! the tunnel; AWS's own inside address is not told and not guessed.

use std::net::IpAddr;

use crate::event::{CustomerGateway, Event, Gateway, Kind};

/// See the module. What is not known is absent.
pub(super) struct Ends<'e> {
    pub(super) source_ip: Option<IpAddr>,
    pub(super) source_asn: Option<u32>,
    /// AWS's address of the tunnel that the packets of the event go to; inside the tunnel it is not known.
    pub(super) destination_ip: Option<IpAddr>,
    pub(super) destination_asn: Option<u32>,
    pub(super) customer_gateway: Option<&'e CustomerGateway>,
    pub(super) gateway: Option<&'e Gateway>,
    /// AWS's outside address of the tunnel, whatever the event is about.
    pub(super) outside_ip: Option<IpAddr>,
}

impl<'e> Ends<'e> {
    pub(super) fn of(event: &'e Event<'_>) -> Ends<'e> {
        let (vpn, bgp) = (event.vpn.as_ref(), event.bgp.as_ref());
        let customer_gateway = vpn.and_then(|vpn| vpn.customer_gateway);
        let gateway = vpn.and_then(|vpn| vpn.gateway);
        let outside_ip = vpn.and_then(|vpn| vpn.tunnel.as_ref()).and_then(|tunnel| tunnel.outside_ip);
        let is_inside = matches!(event.kind, Kind::BgpSession | Kind::BgpRoute | Kind::BfdSession);
        let source_ip = if is_inside {
            bgp.and_then(|bgp| bgp.neighbor)
        } else {
            let named = event.ike.as_ref().and_then(|ike| ike.peer);
            named.or_else(|| customer_gateway.and_then(|gateway| gateway.ip))
        };
        Ends {
            source_ip,
            source_asn: bgp.and_then(|bgp| bgp.peer_asn).or_else(|| customer_gateway.and_then(|gateway| gateway.asn)),
            destination_ip: outside_ip.filter(|_| !is_inside),
            destination_asn: bgp.and_then(|bgp| bgp.local_asn).or_else(|| gateway.and_then(|gateway| gateway.asn)),
            customer_gateway,
            gateway,
            outside_ip,
        }
    }
}

/// The account's product that wrote the log.
pub(super) fn product(event: &Event<'_>) -> &'static str {
    if event.route_server.is_some() { "VPC Route Server" } else { "Site-to-Site VPN" }
}
