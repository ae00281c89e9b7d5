//! VPC Route Server peers: logs of the same shape, named by an ARN.
//!
//! Their session lines may have no message at all; then the status is all there is: a snapshot, no edge.

use std::borrow::Cow;

use super::bgp::part;
use crate::event::{Action, Kind, RouteServer, SessionState};

/// What an ARN says: `arn:aws:ec2:us-east-1:111122223333:route-server-peer/rsp-1234567890abcdef0`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Peer<'a> {
    pub(crate) arn: Cow<'a, str>,
    pub(crate) peer_id: Option<Cow<'a, str>>,
    pub(crate) region: Option<Cow<'a, str>>,
    pub(crate) account_id: Option<Cow<'a, str>>,
}

impl<'a> Peer<'a> {
    /// Reads an ARN; the parts that it lacks stay empty.
    pub(crate) fn parse(arn: Cow<'a, str>) -> Peer<'a> {
        let mut parts = arn.splitn(6, ':').skip(3);
        let region = parts.next().filter(|region| !region.is_empty()).map(|region| part(&arn, region));
        let account = parts.next().filter(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit()));
        let account_id = account.map(|account| part(&arn, account));
        let peer_id = arn.rsplit('/').next().filter(|id| id.starts_with("rsp-")).map(|id| part(&arn, id));
        Peer { peer_id, region, account_id, arn }
    }

    pub(crate) fn into_event(self) -> RouteServer<'a> {
        RouteServer { peer_id: self.peer_id, arn: self.arn }
    }
}

/// The action of a session of which only the status is told.
pub(crate) fn snapshot(kind: Kind, state: Option<SessionState>) -> Action {
    match (kind, state) {
        (Kind::BfdSession, Some(SessionState::Up)) => Action::Up,
        (_, Some(SessionState::Up)) => Action::Established,
        (_, Some(SessionState::Down)) => Action::Down,
        (_, None) => Action::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_region_account_and_peer_as_far_as_it_goes() {
        for (arn, region, account, peer) in [
            (
                "arn:aws:ec2:us-east-1:111122223333:route-server-peer/rsp-1",
                Some("us-east-1"),
                Some("111122223333"),
                Some("rsp-1"),
            ),
            ("arn:aws-cn:ec2:cn-north-1::route-server-peer/x", Some("cn-north-1"), None, None),
            ("rsp-1", None, None, Some("rsp-1")),
            ("", None, None, None),
        ] {
            let got = Peer::parse(arn.into());
            assert_eq!(
                (got.region.as_deref(), got.account_id.as_deref(), got.peer_id.as_deref()),
                (region, account, peer)
            );
        }
    }
}
