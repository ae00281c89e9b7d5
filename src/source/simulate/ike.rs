//! A tunnel's IKE and IPsec: rekeys, and packets that stop and flow again.
//!
//! AWS documents no line for a tunnel that comes up: the next exchange with both phases Established shows it.

use super::day::{Day, HOUR, MINUTE, SECOND, Step};
use super::lines::{DEAD, HALF, IkeMessage, Phases, TRYING, UP};
use super::trouble::TunnelTrouble;

impl Day {
    /// Phase 2 lives for 3,600 s at most and is rekeyed somewhat earlier.
    pub(super) fn rekey(&mut self, tunnel: u32, now: i64) {
        let next = now + self.random.between(51 * MINUTE, 59 * MINUTE);
        self.plan_at(next, Step::Rekey(tunnel));
        self.exchange(tunnel, now, Phases("Established", "Rekeying"));
    }

    /// Phase 1 lives for 28,800 s at most.
    pub(super) fn rekey_phase1(&mut self, tunnel: u32, now: i64) {
        let next = now + self.random.between(7 * HOUR, 8 * HOUR - 5 * MINUTE);
        self.plan_at(next, Step::RekeyPhase1(tunnel));
        self.exchange(tunnel, now, Phases("Rekeying", "Established"));
    }

    /// A CREATE_CHILD_SA exchange that either side begins; IKEv1 only deletes what was replaced.
    fn exchange(&mut self, tunnel: u32, now: i64, during: Phases) {
        let ours = self.random.one_in(2);
        let spi = self.random.bits() as u32;
        if !self.tunnel(tunnel).path {
            return;
        }
        if self.connection(tunnel).ike_v1 {
            self.ike(tunnel, now, IkeMessage::DeletePhase2(spi), UP);
            return;
        }
        let id = self.tunnel(tunnel).exchange;
        self.tunnel(tunnel).exchange += 1;
        let (first, second) = if ours {
            (IkeMessage::SendingRequest(id), IkeMessage::ProcessedResponse(id))
        } else {
            (IkeMessage::ProcessedRequest(id), IkeMessage::SendingResponse(id))
        };
        self.ike(tunnel, now, first, during);
        self.ike(tunnel, now + 120, second, UP);
    }

    /// Both sides rekey at once.
    pub(super) fn rekey_collision(&mut self, tunnel: u32, now: i64) {
        let id = self.tunnel(tunnel).exchange;
        self.tunnel(tunnel).exchange += 1;
        let during = Phases("Established", "Rekeying");
        self.ike(tunnel, now, IkeMessage::SendingRequest(id), during);
        self.ike(tunnel, now, IkeMessage::RekeyCollision, during);
        self.ike(tunnel, now + SECOND, IkeMessage::RedundantSa, UP);
        self.ike(tunnel, now + SECOND, IkeMessage::ProcessedResponse(id), UP);
    }

    /// Packets stop until then at least.
    pub(super) fn stop_path(&mut self, tunnel: u32, now: i64, until: i64) {
        let state = self.tunnel(tunnel);
        state.path = false;
        state.path_back = state.path_back.max(until);
        self.plan_at(until, Step::PathBack(tunnel));
        self.expect_hold_timer(tunnel, now);
    }

    /// The customer gateway falls silent: dead peer detection gives up after 40 s.
    pub(super) fn silence(&mut self, tunnel: u32, now: i64, until: i64) {
        self.stop_path(tunnel, now, until);
        self.plan_at(now + 40 * SECOND, Step::Trouble(tunnel, TunnelTrouble::Silent, u32::MAX));
    }

    /// Packets flow again: a new exchange, and soon BGP.
    pub(super) fn path_back(&mut self, tunnel: u32, now: i64) {
        let state = self.tunnel(tunnel);
        if now < state.path_back || state.path {
            return;
        }
        state.path = true;
        let established = state.established;
        state.exchange = 1;
        self.exchange(tunnel, now, UP);
        if !established {
            let at = now + self.random.between(2 * SECOND, 7 * SECOND);
            self.retry_session(tunnel, at);
        } else {
            // Back within the hold time: the session never noticed.
            self.tunnel(tunnel).generation += 1;
        }
    }

    /// One failing attempt of a negotiation; `left` more follow while packets do not flow.
    pub(super) fn trouble(&mut self, tunnel: u32, now: i64, trouble: TunnelTrouble, left: u32) {
        if trouble.is_of_session() {
            return self.session_trouble(tunnel, now, trouble, left);
        }
        if self.tunnel(tunnel).path {
            return;
        }
        let v2 = !self.connection(tunnel).ike_v1;
        match trouble {
            TunnelTrouble::Silent if left == u32::MAX => {
                self.ike(tunnel, now, if v2 { IkeMessage::DpdTimeout } else { IkeMessage::PeerDead }, DEAD);
            }
            TunnelTrouble::Psk if v2 => {
                self.ike(tunnel, now, IkeMessage::PskMismatch, TRYING);
                self.ike(tunnel, now, IkeMessage::AuthFailed, TRYING);
            }
            TunnelTrouble::Psk => self.ike(tunnel, now, IkeMessage::PskInvalid, TRYING),
            TunnelTrouble::Proposal1 => self.ike(tunnel, now, IkeMessage::NoProposalPhase1, TRYING),
            TunnelTrouble::Proposal2 => {
                self.ike(tunnel, now, IkeMessage::NoProposalPhase2, Phases("Established", "Negotiating"));
            }
            TunnelTrouble::Selectors => {
                self.ike(tunnel, now, IkeMessage::TsUnacceptable, Phases("Established", "Negotiating"));
            }
            _ => {}
        }
        if v2 {
            self.trouble_ends_attempt(tunnel, now, trouble, left);
        }
        if left > 0 {
            let (low, high) = if trouble == TunnelTrouble::Silent { (5, 9) } else { (1, 2) };
            let next = now + self.random.between(low * MINUTE, high * MINUTE);
            self.plan_at(next, Step::Trouble(tunnel, trouble, left - 1));
        }
    }

    /// What IKEv2 logs when the attempt is given up, unless packets flow again before that.
    fn trouble_ends_attempt(&mut self, tunnel: u32, now: i64, trouble: TunnelTrouble, left: u32) {
        let (at, message, phases) = match trouble {
            TunnelTrouble::Proposal2 | TunnelTrouble::Selectors => (now + SECOND, IkeMessage::Phase2Failed, HALF),
            TunnelTrouble::Silent if left == u32::MAX => return,
            _ => (now + 30 * SECOND, IkeMessage::Phase1Timeout, TRYING),
        };
        if at < self.tunnel(tunnel).path_back {
            self.ike(tunnel, at, message, phases);
        }
    }
}
