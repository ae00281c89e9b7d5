//! What goes wrong in a fleet, to whom and when: incidents, maintenance, an outage of a site.
//!
//! Incidents take turns over the connections, so that a day of 25 connections shows every documented message
//! whatever the seed. An incident waits until its connection has a healthy tunnel.

use super::day::{Day, HOUR, MINUTE, SECOND, Step};
use super::lines::{BgpMessage, DEAD, Denied, HALF, IkeMessage, UP};

/// What makes the next OPEN messages of a peer wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Affliction {
    /// Nothing.
    None,
    /// Another AS than configured, so many more times.
    WrongAs(u8),
}

/// Which of a connection's two series of incidents.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Family {
    Bgp,
    Ike,
}

/// Trouble that comes in several steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum TunnelTrouble {
    /// IKE: no answer at all.
    Silent,
    /// IKE: other pre-shared keys.
    Psk,
    /// IKE: no common proposal in phase 1.
    Proposal1,
    /// IKE: no common proposal in phase 2.
    Proposal2,
    /// IKE: the peer refuses the traffic selectors.
    Selectors,
    /// BGP: the number of prefixes nears the limit.
    NearLimit,
    /// BGP: the number of prefixes passes the limit.
    OverLimit,
    /// BGP: the session flaps.
    Flapping,
}

impl TunnelTrouble {
    pub(super) fn is_of_session(self) -> bool {
        matches!(self, TunnelTrouble::NearLimit | TunnelTrouble::OverLimit | TunnelTrouble::Flapping)
    }
}

#[derive(Clone, Copy)]
enum BgpIncident {
    Received(u8),
    Sent(u8),
    HoldTimer,
    BadOpen,
    Denied(Denied),
    Goes(TunnelTrouble, u32),
}

/// The incidents of BGP sessions, in turn.
const BGP: [BgpIncident; 18] = [
    BgpIncident::HoldTimer,
    BgpIncident::Received(2),
    BgpIncident::Denied(Denied::OwnAs),
    BgpIncident::Goes(TunnelTrouble::Flapping, 8),
    BgpIncident::Sent(4),
    BgpIncident::BadOpen,
    BgpIncident::Received(6),
    BgpIncident::Received(4),
    BgpIncident::Denied(Denied::NextHop),
    BgpIncident::Sent(7),
    BgpIncident::Received(3),
    BgpIncident::Sent(6),
    BgpIncident::Received(1),
    BgpIncident::Sent(3),
    BgpIncident::Received(5),
    BgpIncident::Sent(2),
    BgpIncident::Received(7),
    BgpIncident::Sent(5),
];

/// What only virtual private gateways see, in turn: a leak of some ninety prefixes is far from a transit gateway's
/// limit of 1,000. `Sent(1)` comes with `OverLimit`.
const PREFIX_LIMIT: [BgpIncident; 2] =
    [BgpIncident::Goes(TunnelTrouble::NearLimit, 4), BgpIncident::Goes(TunnelTrouble::OverLimit, 2)];

#[derive(Clone, Copy)]
enum IkeIncident {
    Silence,
    Goes(TunnelTrouble),
    Collision,
    DeletePhase2,
    DeleteIke,
}

const IKE_V1: [IkeIncident; 6] = [
    IkeIncident::Silence,
    IkeIncident::Goes(TunnelTrouble::Psk),
    IkeIncident::DeleteIke,
    IkeIncident::Goes(TunnelTrouble::Proposal1),
    IkeIncident::DeletePhase2,
    IkeIncident::Goes(TunnelTrouble::Proposal2),
];

const IKE_V2: [IkeIncident; 8] = [
    IkeIncident::Collision,
    IkeIncident::Silence,
    IkeIncident::Goes(TunnelTrouble::Psk),
    IkeIncident::DeletePhase2,
    IkeIncident::Goes(TunnelTrouble::Selectors),
    IkeIncident::Goes(TunnelTrouble::Proposal1),
    IkeIncident::DeleteIke,
    IkeIncident::Goes(TunnelTrouble::Proposal2),
];

/// Every second incident of a connection on a virtual private gateway is about the prefix limit.
fn nth_bgp_incident(connection: u32, number: u32, limited: bool) -> BgpIncident {
    // Each fifth connection is on a virtual private gateway: the others are counted without them, so that the
    // first incidents of 25 connections are all that there are.
    let (fives, others) = (connection / 5, connection - connection / 5);
    match (limited, number % 2) {
        (true, 0) => PREFIX_LIMIT[(fives + number / 2) as usize % PREFIX_LIMIT.len()],
        (true, _) => BGP[(others + number / 2 * 7) as usize % BGP.len()],
        (false, _) => BGP[(others + number * 7) as usize % BGP.len()],
    }
}

impl Day {
    /// Plans the first troubles, all within the first 60 % of a day (or of what there is of it).
    pub(super) fn begin_trouble(&mut self) {
        let start = self.plan.start;
        let day = self.length().min(24 * HOUR);
        for connection in 0..self.plan.connections.len() as u32 {
            for family in [Family::Bgp, Family::Ike] {
                let at = start + self.random.between(day / 50, day * 3 / 5);
                self.plan_at(at, Step::Incident(connection, family, 0));
            }
            if connection.is_multiple_of(3) {
                let at = start + self.random.between(day / 20, day * 19 / 20);
                self.plan_at(at, Step::Maintenance(connection * 2 + connection / 3 % 2));
            }
        }
        // One site in forty loses its uplink during the first day, one at least.
        let sites = (self.plan.connections.len() as u32).div_ceil(2);
        for number in 0..sites.div_ceil(40) {
            let at = start + self.random.between(day * 31 / 50, day * 7 / 10);
            self.plan_at(at, Step::SiteOutage(number));
        }
    }

    pub(super) fn incident(&mut self, connection: u32, now: i64, family: Family, number: u32) {
        let first = connection * 2 + self.random.below(2);
        let Some(tunnel) = [first, first ^ 1].into_iter().find(|tunnel| self.healthy(*tunnel)) else {
            return self.plan_at(now + 5 * MINUTE, Step::Incident(connection, family, number));
        };
        match family {
            Family::Bgp => {
                let limited = self.connection(tunnel).virtual_private_gateway;
                self.bgp_incident(tunnel, now, nth_bgp_incident(connection, number, limited));
            }
            Family::Ike => {
                let v1 = self.connection(tunnel).ike_v1;
                let turn = (if v1 { connection / 5 } else { connection } + number) as usize;
                let incident = if v1 { IKE_V1[turn % IKE_V1.len()] } else { IKE_V2[turn % IKE_V2.len()] };
                self.ike_incident(tunnel, now, incident);
            }
        }
        let next = now + self.random.between(6 * HOUR, 14 * HOUR);
        self.plan_at(next, Step::Incident(connection, family, number + 1));
    }

    fn bgp_incident(&mut self, tunnel: u32, now: i64, incident: BgpIncident) {
        match incident {
            BgpIncident::Received(code) => {
                // Who shuts a peer down on purpose comes back later than who resets it.
                let pause = if matches!(code, 2 | 3) { (3, 10) } else { (1, 2) };
                let pause = self.random.between(pause.0 * MINUTE, pause.1 * MINUTE);
                self.lose_session(tunnel, now, BgpMessage::CeaseReceived(code), pause);
            }
            BgpIncident::Sent(code) => {
                let pause = self.random.between(5 * SECOND, 40 * SECOND);
                self.lose_session(tunnel, now, BgpMessage::CeaseSent(code), pause);
            }
            BgpIncident::HoldTimer => self.lose_session(tunnel, now, BgpMessage::HoldTimerExpired, 20 * SECOND),
            BgpIncident::BadOpen => {
                self.tunnel(tunnel).affliction = Affliction::WrongAs(4);
                self.lose_session(tunnel, now, BgpMessage::CeaseReceived(6), 20 * SECOND);
            }
            BgpIncident::Denied(why) => self.deny(tunnel, now, why),
            BgpIncident::Goes(trouble, times) => self.session_trouble(tunnel, now, trouble, times),
        }
    }

    /// One step of a session's trouble; `left` more follow.
    pub(super) fn session_trouble(&mut self, tunnel: u32, now: i64, trouble: TunnelTrouble, left: u32) {
        let limit = self.connection(tunnel).prefix_limit();
        let pause = match trouble {
            TunnelTrouble::NearLimit => MINUTE,
            TunnelTrouble::OverLimit => self.random.between(90 * SECOND, 150 * SECOND),
            _ => self.random.between(50 * SECOND, 110 * SECOND),
        };
        if self.healthy(tunnel) {
            match trouble {
                TunnelTrouble::NearLimit if left == 0 => self.end_leak(tunnel, now),
                TunnelTrouble::NearLimit => {
                    // The warnings begin at 75 % of the limit; the leak grows from one to the next.
                    let wanted = limit * (75 + self.random.below(24)) / 100;
                    let at = self.leak(tunnel, now, wanted);
                    let received = self.received(tunnel);
                    self.bgp(tunnel, at, BgpMessage::PrefixWarning { received, limit });
                }
                TunnelTrouble::OverLimit => {
                    let at = self.leak(tunnel, now, limit);
                    self.bgp(tunnel, at, BgpMessage::PrefixWarning { received: limit, limit });
                    let at = self.leak(tunnel, at + 1, limit + 1);
                    self.bgp(tunnel, at, BgpMessage::PrefixExceeded { received: limit + 1, limit });
                    self.lose_session(tunnel, at + 1, BgpMessage::CeaseSent(1), MINUTE);
                }
                _ => {
                    let why = if left.is_multiple_of(3) {
                        BgpMessage::CeaseReceived(4)
                    } else {
                        BgpMessage::HoldTimerExpired
                    };
                    self.lose_session(tunnel, now, why, 15 * SECOND);
                }
            }
        }
        // What is leaked while packets stop is withdrawn when they flow again, or goes with the session.
        if left > 0 || self.tunnel(tunnel).leaked > 0 {
            self.plan_at(now + pause, Step::Trouble(tunnel, trouble, left.saturating_sub(1)));
        }
    }

    fn ike_incident(&mut self, tunnel: u32, now: i64, incident: IkeIncident) {
        let spi = self.random.bits() as u32;
        match incident {
            IkeIncident::Silence => {
                let until = now + self.random.between(2 * MINUTE, 12 * MINUTE);
                self.silence(tunnel, now, until);
            }
            IkeIncident::Goes(trouble) => {
                let until = now + self.random.between(6 * MINUTE, 20 * MINUTE);
                self.ike(tunnel, now, IkeMessage::DeleteIke, DEAD);
                self.stop_path(tunnel, now, until);
                self.plan_at(now + 5 * SECOND, Step::Trouble(tunnel, trouble, 20));
            }
            IkeIncident::Collision if self.connection(tunnel).ike_v1 => {
                self.ike(tunnel, now, IkeMessage::DeletePhase2(spi), UP);
            }
            IkeIncident::Collision => self.rekey_collision(tunnel, now),
            IkeIncident::DeletePhase2 => {
                let until = now + self.random.between(5 * SECOND, 20 * SECOND);
                self.ike(tunnel, now, IkeMessage::DeletePhase2(spi), HALF);
                self.stop_path(tunnel, now, until);
            }
            IkeIncident::DeleteIke => {
                let until = now + self.random.between(15 * SECOND, 70 * SECOND);
                self.ike(tunnel, now, IkeMessage::DeleteIke, DEAD);
                self.stop_path(tunnel, now, until);
            }
        }
    }

    /// AWS replaces a tunnel's endpoint while the other tunnel carries the traffic.
    ///
    /// The lower MED of the other tunnel is what AWS sends to the customer gateway. The log holds what the peer
    /// advertises, so no line shows it.
    pub(super) fn maintenance(&mut self, tunnel: u32, now: i64) {
        let other = tunnel ^ 1;
        if !(self.healthy(tunnel) && self.healthy(other)) {
            return self.plan_at(now + 15 * MINUTE, Step::Maintenance(tunnel));
        }
        let until = now + self.random.between(2 * MINUTE, 9 * MINUTE);
        self.lose_session(tunnel, now + 30 * SECOND, BgpMessage::CeaseSent(2), 45 * SECOND);
        self.stop_path(tunnel, now + 30 * SECOND, until);
        let next = now + self.random.between(30 * HOUR, 90 * HOUR);
        self.plan_at(next, Step::Maintenance(other));
    }

    /// All tunnels of a site fall silent for hours; a day later it hits another site.
    pub(super) fn site_outage(&mut self, number: u32, now: i64) {
        let connections = self.plan.connections.len() as u32;
        let site = self.random.below(connections.div_ceil(2));
        let day = self.length().min(24 * HOUR);
        let until = now + self.random.between(day / 12, day / 8);
        for tunnel in (site * 4..site * 4 + 4).filter(|tunnel| *tunnel < connections * 2) {
            let at = now + self.random.between(0, 4 * SECOND);
            let back = until + self.random.between(0, 40 * SECOND);
            self.silence(tunnel, at, back);
        }
        self.plan_at(now + 24 * HOUR, Step::SiteOutage(number));
    }
}
