//! Which action can occur with which kind: a condition that asks for another pair can never be met.
//!
//! The one list of these pairs; tests hold `normalize::table` and the documentation of [`Action`] against it.

use crate::event::{Action, Kind};

/// The kinds of event that can have this action.
pub fn kinds_of(action: Action) -> &'static [Kind] {
    use Kind::{Alert, BfdSession, BgpRoute, BgpSession, Ike, Unparsed};
    match action {
        Action::Established
        | Action::StateChanged
        | Action::HoldTimerExpired
        | Action::NotificationSent
        | Action::NotificationReceived
        | Action::PrefixLimitWarning
        | Action::PrefixLimitExceeded
        | Action::OpenSent
        | Action::OpenReceived
        | Action::BadOpen
        | Action::Connecting
        | Action::EndOfRib
        | Action::AttributesReceived => &[BgpSession],
        Action::Down => &[BgpSession, BfdSession],
        Action::Up => &[BfdSession],
        Action::Advertised | Action::Withdrawn | Action::Rejected => &[BgpRoute],
        Action::Updated => &[BgpRoute, Alert],
        Action::DpdTimeout
        | Action::PeerUnresponsive
        | Action::PskMismatch
        | Action::PskInvalid
        | Action::NoProposal
        | Action::AuthFailed
        | Action::TsUnacceptable
        | Action::Phase1Deleted
        | Action::Phase2Deleted
        | Action::Phase2Failed
        | Action::Phase1Timeout
        | Action::Rekey
        | Action::RekeyCollision
        | Action::RedundantSa => &[Ike],
        Action::Unparsed => &[Unparsed],
        Action::Opened | Action::Closed => &[Alert],
        Action::Other => &[BgpSession, BgpRoute, BfdSession, Ike],
    }
}

/// The words of a list, for a message.
pub(crate) fn words<T: std::fmt::Display>(list: impl IntoIterator<Item = T>) -> String {
    list.into_iter().map(|word| word.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_action() {
        for kind in Kind::ALL {
            assert!(Action::ALL.iter().any(|action| kinds_of(*action).contains(kind)), "{kind}");
        }
    }
}
