//! What an event did to the session, route or finding that it is about, in words that OCSF, ECS and Splunk's CIM
//! share. The one place where `action` is interpreted for them: their mappings all begin here, and the table in
//! `schemas/formats.md` is printed from here.

use crate::event::{Action, Event, Kind, SessionState};

/// What the event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A session or tunnel was opened, or its opening was tried.
    Open,
    /// It was closed or lost.
    Close,
    /// It was ended by one side on purpose or by an error.
    Reset,
    /// It was refused.
    Refuse,
    /// The path of it failed.
    Fail,
    /// Keys were renewed.
    Renew,
    /// A route or a finding is new.
    Create,
    /// A route or a finding changed.
    Update,
    /// A route was withdrawn, a finding ended.
    Delete,
    /// None of these.
    Other,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Success,
    /// Not as it should.
    Failure,
    /// The line does not tell.
    Unknown,
}

/// Step and outcome of an event.
pub fn of(event: &Event<'_>) -> (Step, Outcome) {
    interpret(event.kind, event.action, event.session_state)
}

/// Step and outcome by what they depend on.
pub fn interpret(kind: Kind, action: Action, state: Option<SessionState>) -> (Step, Outcome) {
    use Outcome::{Failure, Success, Unknown};
    match kind {
        Kind::BgpSession => match action {
            Action::Established => (Step::Open, Success),
            Action::Down => (Step::Close, Failure),
            Action::HoldTimerExpired
            | Action::NotificationSent
            | Action::NotificationReceived
            | Action::PrefixLimitExceeded => (Step::Reset, Failure),
            Action::BadOpen => (Step::Refuse, Failure),
            Action::EndOfRib | Action::AttributesReceived => (Step::Other, Success),
            _ => (Step::Other, Unknown),
        },
        Kind::BfdSession => match action {
            Action::Up => (Step::Open, Success),
            Action::Down => (Step::Fail, Failure),
            _ => (Step::Other, Unknown),
        },
        Kind::BgpRoute => match action {
            Action::Advertised => (Step::Create, Success),
            Action::Updated => (Step::Update, Success),
            Action::Withdrawn => (Step::Delete, Success),
            Action::Rejected => (Step::Create, Failure),
            _ => (Step::Other, Unknown),
        },
        Kind::Ike => ike(action, state),
        Kind::Alert => match action {
            Action::Opened => (Step::Create, Success),
            Action::Closed => (Step::Delete, Success),
            _ => (Step::Update, Success),
        },
        Kind::Unparsed => (Step::Other, Failure),
    }
}

fn ike(action: Action, state: Option<SessionState>) -> (Step, Outcome) {
    use Outcome::{Failure, Success, Unknown};
    match action {
        Action::DpdTimeout | Action::PeerUnresponsive => (Step::Close, Failure),
        // Whoever began a rekey deletes the old SA (RFC 7296 section 2.8): the tunnel goes on.
        Action::Phase1Deleted | Action::Phase2Deleted if state == Some(SessionState::Up) => (Step::Renew, Success),
        Action::Phase1Deleted | Action::Phase2Deleted => (Step::Close, Success),
        Action::PskMismatch
        | Action::PskInvalid
        | Action::NoProposal
        | Action::AuthFailed
        | Action::TsUnacceptable
        | Action::Phase2Failed
        | Action::Phase1Timeout => (Step::Open, Failure),
        Action::Rekey | Action::RekeyCollision | Action::RedundantSa => (Step::Renew, Success),
        _ => (Step::Other, Unknown),
    }
}

/// The protocol that an event is about.
pub(super) struct Protocol {
    /// As ECS and Splunk write it.
    pub(super) name: &'static str,
    /// IANA's service name, as OCSF asks for it.
    pub(super) service: &'static str,
    /// What carries it.
    pub(super) transport: &'static str,
    /// IANA's number of that.
    pub(super) transport_number: u8,
}

/// The protocol of a kind. BGP: RFC 4271; BFD: RFC 5881; IKE: RFC 7296 (UDP 500, 4500 through NAT).
pub(super) fn protocol(kind: Kind) -> Option<Protocol> {
    let udp = |name, service| Protocol { name, service, transport: "udp", transport_number: 17 };
    match kind {
        Kind::BgpSession | Kind::BgpRoute => {
            Some(Protocol { name: "bgp", service: "bgp", transport: "tcp", transport_number: 6 })
        }
        Kind::BfdSession => Some(udp("bfd", "bfd-control")),
        Kind::Ike => Some(udp("ike", "isakmp")),
        Kind::Alert | Kind::Unparsed => None,
    }
}

/// Which way the message went, seen from AWS; `None` where there is none or it goes both ways.
pub(super) fn is_inbound(event: &Event<'_>) -> Option<bool> {
    match event.action {
        Action::NotificationReceived | Action::OpenReceived | Action::BadOpen | Action::AttributesReceived => {
            Some(true)
        }
        Action::NotificationSent
        | Action::HoldTimerExpired
        | Action::OpenSent
        | Action::Connecting
        | Action::EndOfRib => Some(false),
        _ if event.kind == Kind::BgpRoute => Some(true),
        _ => None,
    }
}
