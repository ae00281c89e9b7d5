//! Tunnel activity (IKE/IPsec): phase states and the message.

use std::borrow::Cow;

use super::bgp::part;
use super::line::{Line, Scalar};
use super::words::{ip, token_after};
use crate::event::{Ike, PhaseState, Problem, SessionState};

/// What the line says; `details` is its message.
pub(crate) fn read<'a>(line: &Line<'a>, details: Option<&Cow<'a, str>>, problems: &mut Vec<Problem<'a>>) -> Ike<'a> {
    let mut ike = Ike {
        phase1: phase("ike.phase1", &line.phase1, problems),
        phase2: phase("ike.phase2", &line.phase2, problems),
        dpd_enabled: boolean("ike.dpd_enabled", &line.dpd_enabled, problems),
        nat_t: boolean("ike.nat_t", &line.nat_t_detected, problems),
        ..Ike::default()
    };
    let Some(details) = details else { return ike };
    if let Some(token) = token_after(details, "with cgw") {
        ike.peer = ip(token);
        if ike.peer.is_none() {
            problems.push(Problem { field: "ike.peer", value: part(details, token) });
        }
    }
    ike.spi = token_after(details, "SPI").map(|spi| part(details, spi));
    if let Some(token) = token_after(details, "id=") {
        ike.request_id = token.parse().ok();
        if ike.request_id.is_none() {
            problems.push(Problem { field: "ike.request_id", value: part(details, token) });
        }
    }
    ike
}

/// The tunnel carries traffic while phase 2 stands; a rekey does not interrupt it.
pub(crate) fn session_state(phase2: Option<PhaseState>) -> Option<SessionState> {
    phase2.map(|phase| match phase {
        PhaseState::Established | PhaseState::Rekeying => SessionState::Up,
        PhaseState::Negotiating | PhaseState::Down => SessionState::Down,
    })
}

fn phase<'a>(field: &'static str, value: &Scalar<'a>, problems: &mut Vec<Problem<'a>>) -> Option<PhaseState> {
    let text = value.text()?;
    let phase = PhaseState::ALL.iter().find(|phase| phase.as_str().eq_ignore_ascii_case(&text)).copied();
    if phase.is_none() {
        problems.push(Problem { field, value: text });
    }
    phase
}

fn boolean<'a>(field: &'static str, value: &Scalar<'a>, problems: &mut Vec<Problem<'a>>) -> Option<bool> {
    let boolean = value.bool();
    if boolean.is_none()
        && let Some(text) = value.text()
    {
        problems.push(Problem { field, value: text });
    }
    boolean
}
