//! A tunnel's BGP session: bring-up, loss, and the routes of the peer.
//!
//! `status` of every line is AWS's snapshot: the steps of a bring-up say DOWN, what an established session
//! reports says UP. A lost session withdraws its routes without a line for each.

use std::ops::Range;

use super::day::{Day, MINUTE, SECOND, Step};
use super::lines::{AsPath, BgpMessage, Denied, Route, RouteStatus};
use super::trouble::Affliction;

/// The number of the first leaked prefix, beyond those that a site has or that AWS denies. 101 of them, which pass
/// the limit of a virtual private gateway, stay below 256 and so differ.
const FIRST_LEAKED: u32 = 100;

/// A step of a bring-up or of a loss.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum SessionStep {
    /// Try the TCP connection.
    Connect,
    /// The TCP connection stands.
    Open,
    /// The TCP connection did not come about.
    NoAnswer,
    /// Nothing was heard for the hold time.
    HoldExpired,
}

impl Day {
    fn plan_session(&mut self, tunnel: u32, at: i64, step: SessionStep) {
        let generation = self.tunnel(tunnel).generation;
        self.plan_at(at, Step::Session(tunnel, generation, step));
    }

    pub(super) fn session_step(&mut self, tunnel: u32, now: i64, step: SessionStep) {
        match step {
            SessionStep::Connect => self.connect(tunnel, now),
            SessionStep::Open => self.open(tunnel, now),
            SessionStep::NoAnswer => {
                self.bgp(tunnel, now, BgpMessage::State("Connect", "Active"));
                let next = now + self.random.between(90 * SECOND, 150 * SECOND);
                self.plan_session(tunnel, next, SessionStep::Connect);
            }
            SessionStep::HoldExpired => {
                if self.tunnel(tunnel).established {
                    self.lose_session(tunnel, now, BgpMessage::HoldTimerExpired, 15 * SECOND);
                }
            }
        }
    }

    fn connect(&mut self, tunnel: u32, now: i64) {
        self.bgp(tunnel, now, BgpMessage::State("Idle", "Connect"));
        self.bgp(tunnel, now + 1, BgpMessage::Connecting);
        if self.tunnel(tunnel).path {
            let at = now + self.random.between(40, 900);
            self.plan_session(tunnel, at, SessionStep::Open);
        } else {
            let at = now + self.random.between(20 * SECOND, 30 * SECOND);
            self.plan_session(tunnel, at, SessionStep::NoAnswer);
        }
    }

    /// OPEN messages both ways; a wrong one ends the attempt.
    fn open(&mut self, tunnel: u32, now: i64) {
        if !self.tunnel(tunnel).path {
            return self.session_step(tunnel, now, SessionStep::NoAnswer);
        }
        let connection = self.connection(tunnel);
        let (ours, expected) = (connection.aws_asn, connection.customer_gateway.asn);
        let inside = connection.tunnels[tunnel as usize % 2].inside;
        let aws_router = inside.to_bits() + 1;
        let site = connection.site_number;
        let router_id = [10, (site % 256) as u8, 0, 1].into();
        let affliction = self.tunnel(tunnel).affliction;
        let asn = if matches!(affliction, Affliction::WrongAs(_)) { expected - 1 } else { expected };
        self.bgp(tunnel, now, BgpMessage::OpenSent { asn: ours, router_id: aws_router.into() });
        self.bgp(tunnel, now + 2, BgpMessage::State("Connect", "OpenSent"));
        self.bgp(tunnel, now + 31, BgpMessage::OpenReceived { asn, router_id });
        if let Affliction::WrongAs(left) = affliction {
            self.bgp(tunnel, now + 32, BgpMessage::BadOpen { remote: asn, expected });
            self.tunnel(tunnel).affliction = if left > 1 { Affliction::WrongAs(left - 1) } else { Affliction::None };
            let at = now + self.random.between(30 * SECOND, MINUTE);
            return self.plan_session(tunnel, at, SessionStep::Connect);
        }
        self.bgp(tunnel, now + 33, BgpMessage::State("OpenSent", "OpenConfirm"));
        self.bgp(tunnel, now + 68, BgpMessage::State("OpenConfirm", "Established"));
        self.establish(tunnel, now + 70);
    }

    fn establish(&mut self, tunnel: u32, now: i64) {
        let state = self.tunnel(tunnel);
        (state.established, state.withdrawn) = (true, 0);
        let (path, med, prefixes) = (self.usual_path(tunnel), Day::med(tunnel), self.connection(tunnel).prefixes);
        self.bgp(tunnel, now, BgpMessage::EndOfRib);
        self.bgp(tunnel, now + 25, BgpMessage::Attributes(path));
        for prefix in 0..prefixes {
            let status = RouteStatus::Advertised;
            let at = now + 26 + i64::from(prefix / 4);
            self.route(tunnel, at, Route { status, prefix, path, med, denied: None, bare: false });
        }
    }

    /// Ends the session for the reason that the message gives; the next attempt comes after `pause_ms`.
    pub(super) fn lose_session(&mut self, tunnel: u32, now: i64, why: BgpMessage, pause_ms: i64) {
        self.bgp(tunnel, now, why);
        self.bgp(tunnel, now + 3, BgpMessage::State("Established", "Idle"));
        let state = self.tunnel(tunnel);
        (state.established, state.leaked) = (false, 0);
        self.retry_session(tunnel, now + pause_ms);
    }

    /// Plans a fresh attempt in place of whatever was planned.
    pub(super) fn retry_session(&mut self, tunnel: u32, at: i64) {
        self.tunnel(tunnel).generation += 1;
        self.plan_session(tunnel, at, SessionStep::Connect);
    }

    /// Plans the expiry of the hold timer, 30 s after the last packet.
    pub(super) fn expect_hold_timer(&mut self, tunnel: u32, now: i64) {
        if self.tunnel(tunnel).established {
            self.plan_session(tunnel, now + 30 * SECOND, SessionStep::HoldExpired);
        }
    }

    fn usual_path(&self, tunnel: u32) -> AsPath {
        AsPath { first: self.connection(tunnel).customer_gateway.asn, times: 1, transit: 0 }
    }

    /// A routine change: other attributes of a few routes, or a withdrawal that lasts some minutes.
    pub(super) fn churn(&mut self, tunnel: u32, now: i64) {
        let (mean, prefixes) = (self.connection(tunnel).churn_ms, self.connection(tunnel).prefixes);
        let next = now + self.random.between(mean / 4, mean * 7 / 4);
        self.plan_at(next, Step::Churn(tunnel));
        let prefix = self.random.below(prefixes);
        let withdraw = self.random.one_in(4);
        if !self.healthy(tunnel) {
            return;
        }
        let state = self.tunnel(tunnel);
        let bit = 1_u64 << prefix.min(63);
        if state.withdrawn & bit != 0 {
            return;
        }
        if withdraw {
            state.withdrawn |= bit;
            self.withdraw(tunnel, now, prefix);
        } else {
            self.update(tunnel, now, prefix);
        }
    }

    fn withdraw(&mut self, tunnel: u32, now: i64, prefix: u32) {
        let (path, med) = (self.usual_path(tunnel), Day::med(tunnel));
        let bare = self.random.one_in(3);
        self.route(tunnel, now, Route { status: RouteStatus::Withdrawn, prefix, path, med, denied: None, bare });
        let back = now + self.random.between(20 * SECOND, 6 * MINUTE);
        self.plan_at(back, Step::Restore(tunnel, prefix));
    }

    /// A withdrawn route comes back, unless a new session has advertised it already.
    pub(super) fn restore(&mut self, tunnel: u32, now: i64, prefix: u32) {
        let bit = 1_u64 << prefix.min(63);
        let state = self.tunnel(tunnel);
        if !state.established || state.withdrawn & bit == 0 {
            return;
        }
        state.withdrawn &= !bit;
        let (path, med) = (self.usual_path(tunnel), Day::med(tunnel));
        self.bgp(tunnel, now, BgpMessage::Attributes(path));
        let status = RouteStatus::Advertised;
        self.route(tunnel, now + 1, Route { status, prefix, path, med, denied: None, bare: false });
    }

    fn update(&mut self, tunnel: u32, now: i64, prefix: u32) {
        let path = AsPath {
            times: self.random.pick([1, 1, 1, 2, 3]),
            transit: self.random.below(3) as u8,
            ..self.usual_path(tunnel)
        };
        let med = Day::med(tunnel);
        self.bgp(tunnel, now, BgpMessage::Attributes(path));
        let prefixes = self.connection(tunnel).prefixes;
        let count = 1 + self.random.below(3);
        for prefix in (prefix..prefixes).take(count as usize) {
            let status = RouteStatus::Updated;
            if self.tunnel(tunnel).withdrawn & (1 << prefix.min(63)) == 0 {
                self.route(tunnel, now + 1, Route { status, prefix, path, med, denied: None, bare: false });
            }
        }
    }

    /// How many prefixes the peer advertises now. Denied ones were never accepted and do not count.
    pub(super) fn received(&self, tunnel: u32) -> u32 {
        let state = &self.tunnels[tunnel as usize];
        self.connection(tunnel).prefixes - state.withdrawn.count_ones() + state.leaked
    }

    /// The peer advertises /24s of elsewhere until AWS has received so many prefixes. Answers when it is done.
    pub(super) fn leak(&mut self, tunnel: u32, now: i64, received: u32) -> i64 {
        let first = self.tunnel(tunnel).leaked;
        let count = received.saturating_sub(self.received(tunnel));
        if count == 0 {
            return now;
        }
        self.tunnel(tunnel).leaked += count;
        let path = AsPath { transit: 1, ..self.usual_path(tunnel) };
        self.bgp(tunnel, now, BgpMessage::Attributes(path));
        self.leaked_routes(tunnel, now + 1, first..first + count, RouteStatus::Advertised)
    }

    /// The peer withdraws all that it leaked.
    pub(super) fn end_leak(&mut self, tunnel: u32, now: i64) {
        let count = std::mem::take(&mut self.tunnel(tunnel).leaked);
        self.leaked_routes(tunnel, now, 0..count, RouteStatus::Withdrawn);
    }

    fn leaked_routes(&mut self, tunnel: u32, now: i64, numbers: Range<u32>, status: RouteStatus) -> i64 {
        let path = AsPath { transit: 1, ..self.usual_path(tunnel) };
        let (med, mut at) = (Day::med(tunnel), now);
        for number in numbers {
            at += i64::from(number % 4 == 0);
            let prefix = FIRST_LEAKED + number;
            self.route(tunnel, at, Route { status, prefix, path, med, denied: None, bare: false });
        }
        at + 1
    }

    /// Routes that AWS denies: they were never accepted.
    pub(super) fn deny(&mut self, tunnel: u32, now: i64, why: Denied) {
        let (own, med) = (self.connection(tunnel).aws_asn, Day::med(tunnel));
        let prefixes = self.connection(tunnel).prefixes;
        let (status, path) = match why {
            Denied::OwnAs => (RouteStatus::Updated, AsPath { first: own, times: 1, transit: 0 }),
            Denied::NextHop => (RouteStatus::Advertised, self.usual_path(tunnel)),
        };
        for number in 0..2 {
            // Prefixes beyond those that the site really has.
            let prefix = prefixes + number;
            self.route(tunnel, now, Route { status, prefix, path, med, denied: Some(why), bare: false });
        }
    }

    /// Whether packets flow and the session is established.
    pub(super) fn healthy(&self, tunnel: u32) -> bool {
        let state = &self.tunnels[tunnel as usize];
        state.path && state.established
    }

    /// The MED of the peer's routes: the customer gateway prefers tunnel 1, all day.
    fn med(tunnel: u32) -> u32 {
        100 + tunnel % 2 * 100
    }
}
