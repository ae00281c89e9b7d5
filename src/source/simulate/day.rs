//! The clock of the simulated day: a heap of what happens next, and who does it.
//!
//! Discrete events: each step writes its lines and says what follows when. What a step does is in `session`
//! (BGP), `ike` (tunnels) and `trouble` (incidents, maintenance, outages); how lines travel is `cloudwatch`.
//!
//! Invariants: time never goes back; ties are decided by the order of planning, so one seed is one day;
//! memory is a few planned steps and a small state per tunnel, whatever the number of hours.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

use super::cloudwatch::{CloudWatch, Draft};
use super::damage::damage;
use super::identity::{
    ROUTE_SERVER_PEERS, bgp_stream, ike_stream, route_server_arn, route_server_stream, tunnel_count,
};
use super::lines::{self, BgpMessage, IkeMessage, Line, Phases, Route, RouteServerLine, RouteStatus};
use super::plan::{Connection, Plan};
use super::random::{Purpose, Random};
use super::session::SessionStep;
use super::trouble::{Affliction, Family, TunnelTrouble};

/// A second in milliseconds.
pub(super) const SECOND: i64 = 1000;
/// A minute in milliseconds.
pub(super) const MINUTE: i64 = 60 * SECOND;
/// An hour in milliseconds.
pub(super) const HOUR: i64 = 60 * MINUTE;

/// What happens at a moment. Tunnels and connections are numbers in the fleet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    /// Close a log stream's batch.
    Flush(u32),
    /// A step of a BGP session, void if the session's generation is another by then.
    Session(u32, u32, SessionStep),
    /// A tunnel's phase 2 is due for a rekey.
    Rekey(u32),
    /// A tunnel's phase 1 is due for a rekey.
    RekeyPhase1(u32),
    /// The peer changes a route.
    Churn(u32),
    /// The peer advertises a withdrawn route again.
    Restore(u32, u32),
    /// Packets flow again, unless a later end was set meanwhile.
    PathBack(u32),
    /// Trouble of a tunnel goes on; so many more times.
    Trouble(u32, TunnelTrouble, u32),
    /// Something happens to a connection, for the so manieth time.
    Incident(u32, Family, u32),
    /// AWS replaces the endpoint of a tunnel.
    Maintenance(u32),
    /// A site loses its uplink.
    SiteOutage(u32),
    /// A subscription checks its stream's health.
    Control(u32),
    /// Damaged record of this number.
    Damage(u32),
    /// A route server peer changes state.
    RouteServer(u32, u32),
}

/// A planned step.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Planned {
    at: i64,
    order: u64,
    step: Step,
}

/// What is left of a tunnel's history: about 64 bytes.
#[derive(Clone)]
pub(super) struct Tunnel {
    /// Whether the BGP session is Established.
    pub(super) established: bool,
    /// Rises when planned steps of the session lose their meaning.
    pub(super) generation: u32,
    /// Whether packets flow.
    pub(super) path: bool,
    /// When packets flow again at the earliest.
    pub(super) path_back: i64,
    /// What makes the peer's next OPEN messages wrong, and how many more times.
    pub(super) affliction: Affliction,
    /// The number of the next IKE exchange.
    pub(super) exchange: u32,
    /// One bit a prefix.
    pub(super) withdrawn: u64,
    /// How many prefixes the peer leaks beyond those of its site.
    pub(super) leaked: u32,
}

/// How many log events of each sort were written, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines of type `BGPStatus` of VPN tunnels.
    pub bgp_status: u64,
    /// Lines of type `RouteStatus` of VPN tunnels, denied ones included.
    pub bgp_route: u64,
    /// Routes that AWS denied.
    pub denied_routes: u64,
    /// IKE lines.
    pub ike: u64,
    /// Lines of VPC Route Server peers.
    pub route_server: u64,
    /// Records that have arrived, of every sort.
    pub records: u64,
    /// Records that repeat an earlier one.
    pub duplicates: u64,
    /// Log events in those.
    pub duplicate_events: u64,
    /// Control messages.
    pub control_messages: u64,
    /// Records that were damaged on purpose.
    pub damaged: u64,
}

impl Counts {
    /// Different log events, without duplicates.
    pub fn events(&self) -> u64 {
        self.bgp_status + self.bgp_route + self.ike + self.route_server
    }
}

/// The running day.
pub(super) struct Day {
    pub(super) plan: Arc<Plan>,
    pub(super) random: Random,
    pub(super) tunnels: Vec<Tunnel>,
    pub(super) counts: Counts,
    cloudwatch: CloudWatch,
    planned: BinaryHeap<Reverse<Planned>>,
    order: u64,
}

impl Day {
    /// The first moment: every session is established since yesterday.
    pub(super) fn new(plan: Arc<Plan>, only: Option<u32>) -> Day {
        let random = Random::new(plan.seed, Purpose::Life, 0);
        let cloudwatch = CloudWatch::new(Arc::clone(&plan), only);
        let tunnels = (0..tunnel_count(&plan)).map(|_| Tunnel::new()).collect();
        let counts = Counts::default();
        let mut day = Day { plan, random, tunnels, counts, cloudwatch, planned: BinaryHeap::new(), order: 0 };
        day.begin();
        day
    }

    fn begin(&mut self) {
        let (start, length) = (self.plan.start, self.length());
        for connection in 0..self.plan.connections.len() as u32 {
            self.begin_connection(connection);
        }
        self.begin_trouble();
        for subscription in 0..self.subscriptions() {
            self.plan_at(start + 50 + i64::from(subscription) * 150, Step::Control(subscription));
        }
        for number in 0..self.plan.damaged {
            let share = i64::from(2 * number + 1) * (length / i64::from(2 * self.plan.damaged));
            self.plan_at(start + share, Step::Damage(number));
        }
        for peer in 0..ROUTE_SERVER_PEERS.len() as u32 {
            let at = start + self.random.between(MINUTE, (length / 4).max(2 * MINUTE));
            self.plan_at(at, Step::RouteServer(peer, 0));
        }
    }

    fn begin_connection(&mut self, connection: u32) {
        let start = self.plan.start;
        let churn = self.connection(connection * 2).churn_ms;
        for tunnel in [connection * 2, connection * 2 + 1] {
            let at = start + self.random.between(0, churn);
            self.plan_at(at, Step::Churn(tunnel));
            let at = start + self.random.between(0, HOUR);
            self.plan_at(at, Step::Rekey(tunnel));
            let at = start + self.random.between(0, 8 * HOUR);
            self.plan_at(at, Step::RekeyPhase1(tunnel));
        }
    }

    /// Simulated time in all.
    pub(super) fn length(&self) -> i64 {
        self.plan.end - self.plan.start
    }

    /// How many subscriptions there are: one per account and Region with VPN connections.
    fn subscriptions(&self) -> u32 {
        let places: BTreeSet<_> = self.plan.connections.iter().map(|one| (one.account, one.region)).collect();
        places.len() as u32
    }

    /// The connection of a tunnel.
    pub(super) fn connection(&self, tunnel: u32) -> &Connection {
        &self.plan.connections[tunnel as usize / 2]
    }

    /// The state of a tunnel.
    pub(super) fn tunnel(&mut self, tunnel: u32) -> &mut Tunnel {
        &mut self.tunnels[tunnel as usize]
    }

    /// Plans a step. After the end of the day nothing happens but the delivery of what was written.
    pub(super) fn plan_at(&mut self, at: i64, step: Step) {
        if at >= self.plan.end && !matches!(step, Step::Flush(_)) {
            return;
        }
        self.order += 1;
        self.planned.push(Reverse(Planned { at, order: self.order, step }));
    }

    /// The next record in the order of arrival.
    pub(super) fn next_draft(&mut self) -> Option<Draft> {
        loop {
            // Whatever is still to be written arrives after the moment at which it is written.
            let next = self.planned.peek().map(|Reverse(planned)| planned.at);
            if let Some(draft) = self.cloudwatch.arrived(next) {
                return Some(draft);
            }
            let Reverse(Planned { at, step, .. }) = self.planned.pop()?;
            self.take(at, step);
        }
    }

    fn take(&mut self, now: i64, step: Step) {
        match step {
            Step::Flush(stream) => self.cloudwatch.close(stream, now),
            Step::Session(tunnel, generation, step) => {
                if self.tunnel(tunnel).generation == generation {
                    self.session_step(tunnel, now, step);
                }
            }
            Step::Rekey(tunnel) => self.rekey(tunnel, now),
            Step::RekeyPhase1(tunnel) => self.rekey_phase1(tunnel, now),
            Step::Churn(tunnel) => self.churn(tunnel, now),
            Step::Restore(tunnel, prefix) => self.restore(tunnel, now, prefix),
            Step::PathBack(tunnel) => self.path_back(tunnel, now),
            Step::Trouble(tunnel, trouble, left) => self.trouble(tunnel, now, trouble, left),
            Step::Incident(connection, family, number) => self.incident(connection, now, family, number),
            Step::Maintenance(tunnel) => self.maintenance(tunnel, now),
            Step::SiteOutage(number) => self.site_outage(number, now),
            Step::Control(subscription) => self.control(subscription, now),
            Step::Damage(number) => self.damage(number, now),
            Step::RouteServer(peer, phase) => self.route_server(peer, now, phase),
        }
    }

    fn control(&mut self, subscription: u32, now: i64) {
        self.cloudwatch.control(now);
        let next = now + self.random.between(6 * HOUR, 12 * HOUR);
        self.plan_at(next, Step::Control(subscription));
    }

    fn damage(&mut self, number: u32, now: i64) {
        let seed = self.plan.seed;
        // Numbers of its own: the day is the same with and without damage.
        let mut random = Random::new(seed, Purpose::Damage, u64::from(number));
        let stream = bgp_stream(random.below(self.tunnels.len() as u32));
        let arrival = now + random.between(SECOND, 5 * SECOND);
        self.cloudwatch.damaged(stream, (now, arrival), |envelope| damage(&mut random, number, &envelope));
    }

    /// A peer of a route server goes down with BFD, comes up again and advertises its routes.
    fn route_server(&mut self, peer: u32, now: i64, phase: u32) {
        let script: &[RouteServerLine] = if phase.is_multiple_of(2) {
            &[
                RouteServerLine::Bfd("DOWN"),
                RouteServerLine::Bgp("DOWN"),
                RouteServerLine::Route(RouteStatus::Withdrawn, 34),
            ]
        } else {
            &[
                RouteServerLine::Bgp("UP"),
                RouteServerLine::Bfd("UP"),
                RouteServerLine::Route(RouteStatus::Advertised, 34),
                RouteServerLine::Route(RouteStatus::Updated, 35),
            ]
        };
        let (stream, arn) = (route_server_stream(&self.plan, peer), route_server_arn(peer));
        for (index, line) in script.iter().enumerate() {
            self.counts.route_server += 1;
            let at = now + index as i64 * 40;
            let flush = self.cloudwatch.push(stream, at, |out, at| lines::write_route_server(out, &arn, at, *line));
            self.plan_flush(stream, flush);
        }
        let pause = if phase.is_multiple_of(2) { (MINUTE, 4 * MINUTE) } else { (2 * HOUR, 5 * HOUR) };
        let next = now + self.random.between(pause.0, pause.1);
        self.plan_at(next, Step::RouteServer(peer, phase + 1));
    }

    /// Writes a line of a tunnel's BGP session.
    pub(super) fn bgp(&mut self, tunnel: u32, at: i64, message: BgpMessage) {
        self.counts.bgp_status += 1;
        self.write(bgp_stream(tunnel), tunnel, at, Line::Bgp(message));
    }

    /// Writes a line about a route.
    pub(super) fn route(&mut self, tunnel: u32, at: i64, route: Route) {
        self.counts.bgp_route += 1;
        self.counts.denied_routes += u64::from(route.denied.is_some());
        self.write(bgp_stream(tunnel), tunnel, at, Line::Route(route));
    }

    /// Writes a line of a tunnel's IKE log, whose times are whole seconds.
    pub(super) fn ike(&mut self, tunnel: u32, at: i64, message: IkeMessage, phases: Phases) {
        self.counts.ike += 1;
        self.write(ike_stream(tunnel), tunnel, at.div_euclid(SECOND) * SECOND, Line::Ike(message, phases));
    }

    fn write(&mut self, stream: u32, tunnel: u32, at: i64, line: Line) {
        let connection = &self.plan.connections[tunnel as usize / 2];
        let flush = self.cloudwatch.push(stream, at, |out, at| {
            lines::write(out, connection, tunnel as usize % 2, at, line);
        });
        self.plan_flush(stream, flush);
    }

    fn plan_flush(&mut self, stream: u32, flush: Option<i64>) {
        if let Some(at) = flush {
            self.plan_at(at, Step::Flush(stream));
        }
    }
}

impl Tunnel {
    fn new() -> Tunnel {
        Tunnel {
            established: true,
            generation: 0,
            path: true,
            path_back: i64::MIN,
            affliction: Affliction::None,
            exchange: 1,
            withdrawn: 0,
            leaked: 0,
        }
    }
}
