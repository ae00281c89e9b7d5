//! The published table: which message becomes which event.
//!
//! One `const` that the code looks up, the documentation prints ([`markdown`]) and the golden tests cover.
//! A row's pattern is matched word by word, letter case and punctuation ignored; the first row that matches
//! wins, so special rows stand before general ones.
//!
//! Severities are an operator's: `error` means that a tunnel carries nothing or soon won't, `warning` that
//! somebody acted or a limit is near, `notice` that one reads it in hindsight, `info` and `debug` are
//! normal life. A tunnel that comes up writes a dozen lines; none of them should wake anybody.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::exact::{Exact, Found};
use super::pattern::{Pattern, Words};
use crate::event::{Action, Kind, Severity, Transition};

/// Where `session_state` comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateFrom {
    /// From `status`: a snapshot, not an edge.
    Status,
    /// From phase 2: up if Established or Rekeying.
    Phase2,
    /// A route has none.
    Nowhere,
}

/// One kind of message.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The message as AWS documents it, or the status where there is no message.
    pub message: &'static str,
    /// Words to match, `*` for any number of them; empty where the status decides.
    pub(crate) pattern: &'static str,
    /// The event's kind.
    pub kind: Kind,
    /// The event's action.
    pub action: Action,
    /// The edge that the message states.
    pub transition: Option<Transition>,
    /// Where the event's `session_state` comes from.
    pub session_state: StateFrom,
    /// The event's severity.
    pub severity: Severity,
    /// What it means, as the end of a sentence.
    pub meaning: &'static str,
}

const fn session(
    message: &'static str,
    pattern: &'static str,
    action: Action,
    severity: Severity,
    meaning: &'static str,
) -> Row {
    let transition = match action {
        Action::Established => Some(Transition::Up),
        Action::Down => Some(Transition::Down),
        _ => None,
    };
    Row {
        message,
        pattern,
        kind: Kind::BgpSession,
        action,
        transition,
        session_state: StateFrom::Status,
        severity,
        meaning,
    }
}

const fn ike(
    message: &'static str,
    pattern: &'static str,
    action: Action,
    severity: Severity,
    meaning: &'static str,
) -> Row {
    Row {
        message,
        pattern,
        kind: Kind::Ike,
        action,
        transition: None,
        session_state: StateFrom::Phase2,
        severity,
        meaning,
    }
}

/// A row that a status selects, not a message.
const fn status(
    message: &'static str,
    kind: Kind,
    action: Action,
    session_state: StateFrom,
    severity: Severity,
    meaning: &'static str,
) -> Row {
    Row { message, pattern: "", kind, action, transition: None, session_state, severity, meaning }
}

use Action as A;
use Severity::{Critical, Debug, Error, Info, Notice, Warning};

/// BGP session messages, without the `AWS-side peer` that each begins with.
/// Source: AWS Site-to-Site VPN User Guide, "Contents of Site-to-Site VPN BGP logs"; RFC 4271, RFC 4486.
#[rustfmt::skip]
pub const SESSION: &[Row] = &[
    session("BGP session state has changed from OpenConfirm to Established with neighbor IP", "bgp session state has changed from openconfirm to established", A::Established, Info, "the session is up and routes can be exchanged"),
    session("BGP session state has changed from Established to Idle with neighbor IP", "bgp session state has changed from established to", A::Down, Error, "the session was up and is lost: all its routes are withdrawn"),
    session("BGP session state has changed from Idle to Connect with neighbor IP", "bgp session state has changed from idle to connect", A::StateChanged, Debug, "bring-up: waiting for the TCP connection"),
    session("BGP session state has changed from Connect to OpenSent with neighbor IP", "bgp session state has changed from connect to opensent", A::StateChanged, Debug, "bring-up: TCP is connected, OPEN was sent"),
    session("BGP session state has changed from OpenSent to OpenConfirm with neighbor IP", "bgp session state has changed from opensent to openconfirm", A::StateChanged, Debug, "bring-up: the peer's OPEN was accepted"),
    session("BGP session state has changed from Connect to Active with neighbor IP", "bgp session state has changed from connect to active", A::StateChanged, Notice, "bring-up: the TCP connection failed and is tried again"),
    session("BGP session state has changed from A to B with neighbor IP, any other step", "bgp session state has changed from", A::StateChanged, Notice, "a step that AWS does not document; usually a failed bring-up"),
    session("is reporting a maximum prefix limit warning - received N prefixes from neighbor IP, limit is N", "* maximum prefix limit warning", A::PrefixLimitWarning, Warning, "the peer nears the limit; beyond it AWS closes the session"),
    session("detected the maximum prefix limit was exceeded - received N prefixes from neighbor IP, limit is N", "* maximum prefix limit was exceeded", A::PrefixLimitExceeded, Critical, "AWS closes the session until the peer advertises fewer prefixes"),
    session("sent a Hold Timer Expired notification to neighbor IP", "sent * hold timer expired", A::HoldTimerExpired, Error, "nothing was heard from the peer for the hold time: AWS closes the session"),
    session("received a Hold Timer Expired notification from neighbor IP", "received * hold timer expired", A::NotificationReceived, Error, "the peer heard nothing from AWS for the hold time and closes the session"),
    session("sent a notification 6/1 (Cease/Maximum Number of Prefixes Reached) to neighbor IP", "sent * notification 6 1", A::NotificationSent, Error, "AWS closes the session: too many prefixes"),
    session("received notification 6/1 (Cease/Maximum Number of Prefixes Reached) from neighbor IP", "received * notification 6 1", A::NotificationReceived, Error, "the peer closes the session: too many prefixes"),
    session("sent a notification 6/2 (Cease/Administrative Shutdown) to neighbor IP", "sent * notification 6 2", A::NotificationSent, Warning, "AWS closes the session: shut down by an administrator"),
    session("received notification 6/2 (Cease/Administrative Shutdown) from neighbor IP", "received * notification 6 2", A::NotificationReceived, Warning, "the peer closes the session: shut down by an administrator"),
    session("sent a notification 6/3 (Cease/Peer Unconfigured) to neighbor IP", "sent * notification 6 3", A::NotificationSent, Error, "AWS closes the session: the neighbor was removed from its configuration"),
    session("received notification 6/3 (Cease/Peer Unconfigured) from neighbor IP", "received * notification 6 3", A::NotificationReceived, Error, "the peer closes the session: AWS was removed from its configuration"),
    session("sent a notification 6/4 (Cease/Administrative Reset) to neighbor IP", "sent * notification 6 4", A::NotificationSent, Warning, "AWS closes the session: reset by an administrator, it should come back"),
    session("received notification 6/4 (Cease/Administrative Reset) from neighbor IP", "received * notification 6 4", A::NotificationReceived, Warning, "the peer closes the session: reset by an administrator, it should come back"),
    session("sent a notification 6/5 (Cease/Connection Rejected) to neighbor IP", "sent * notification 6 5", A::NotificationSent, Error, "AWS refuses the session"),
    session("received notification 6/5 (Cease/Connection Rejected) from neighbor IP", "received * notification 6 5", A::NotificationReceived, Error, "the peer refuses the session"),
    session("sent a notification 6/6 (Cease/Other Configuration Change) to neighbor IP", "sent * notification 6 6", A::NotificationSent, Warning, "AWS closes the session: its configuration changed"),
    session("received notification 6/6 (Cease/Other Configuration Change) from neighbor IP", "received * notification 6 6", A::NotificationReceived, Warning, "the peer closes the session: its configuration changed"),
    session("sent a notification 6/7 (Cease/Connection Collision Resolution) to neighbor IP", "sent * notification 6 7", A::NotificationSent, Notice, "both ends connected at once; one of the two connections is closed"),
    session("received notification 6/7 (Cease/Connection Collision Resolution) from neighbor IP", "received * notification 6 7", A::NotificationReceived, Notice, "both ends connected at once; one of the two connections is closed"),
    session("sent a notification C to neighbor IP, any other code", "sent * notification", A::NotificationSent, Error, "AWS closes the session"),
    session("received notification C from neighbor IP, any other code", "received * notification", A::NotificationReceived, Error, "the peer closes the session"),
    session("detected a bad OPEN message from neighbor IP- remote AS is N, expected N", "detected a bad open message", A::BadOpen, Error, "the peer's AS number is not the customer gateway's: correct one of them"),
    session("received an OPEN message from neighbor IP- version 4, AS N, holdtime N, router-id IP", "received an open message", A::OpenReceived, Debug, "bring-up: the peer's OPEN"),
    session("sent an OPEN message to neighbor IP- version 4, AS N, holdtime N, router-id IP", "sent an open message", A::OpenSent, Debug, "bring-up: AWS's OPEN"),
    session("is initiating a connection (via Connect) to neighbor IP", "is initiating a connection", A::Connecting, Debug, "bring-up: AWS connects"),
    session("sent an End-of-RIB message to neighbor IP", "sent an end of rib", A::EndOfRib, Info, "AWS has advertised all its routes"),
    session("received update with attributes from neighbor IP- AS path: N N N", "received * update with attributes", A::AttributesReceived, Debug, "the attributes of an UPDATE"),
];

/// A BGP session message that is not in [`SESSION`].
pub const SESSION_OTHER: Row =
    session("any other text of a BGPStatus", "", A::Other, Notice, "a message that AWS does not document");

/// Sessions of which only the status is told: a snapshot, so no edge.
#[rustfmt::skip]
pub const SNAPSHOT: &[Row] = &[
    status("BGPStatus UP without a message", Kind::BgpSession, A::Established, StateFrom::Status, Info, "a route server's session is reported up: a snapshot, which may repeat"),
    status("BGPStatus DOWN without a message", Kind::BgpSession, A::Down, StateFrom::Status, Warning, "a route server's session is reported down: a snapshot, which may repeat"),
    status("BGPStatus with neither", Kind::BgpSession, A::Other, StateFrom::Status, Notice, "nothing is told"),
    status("BFDStatus UP", Kind::BfdSession, A::Up, StateFrom::Status, Info, "the path to the peer works"),
    status("BFDStatus DOWN", Kind::BfdSession, A::Down, StateFrom::Status, Error, "the path to the peer does not work"),
    status("BFDStatus, any other status", Kind::BfdSession, A::Other, StateFrom::Status, Notice, "a status that AWS does not document"),
];

/// Routes.
#[rustfmt::skip]
pub const ROUTE: &[Row] = &[
    status("RouteStatus ADVERTISED", Kind::BgpRoute, A::Advertised, StateFrom::Nowhere, Info, "the peer advertises the prefix"),
    status("RouteStatus UPDATED", Kind::BgpRoute, A::Updated, StateFrom::Nowhere, Info, "the peer changed the prefix's attributes"),
    status("RouteStatus WITHDRAWN", Kind::BgpRoute, A::Withdrawn, StateFrom::Nowhere, Notice, "the peer no longer offers the prefix"),
    status("RouteStatus ADVERTISED or UPDATED with DENIED due to: REASON", Kind::BgpRoute, A::Rejected, StateFrom::Nowhere, Warning, "AWS denied the route; it was never accepted"),
    status("RouteStatus, any other status", Kind::BgpRoute, A::Other, StateFrom::Nowhere, Notice, "a status that AWS does not document"),
];

/// Tunnel activity messages.
/// Source: AWS Site-to-Site VPN User Guide, "Contents of Site-to-Site VPN tunnel activity logs".
#[rustfmt::skip]
pub const IKE: &[Row] = &[
    ike("Peer is not responsive - Declaring peer dead", "peer is not responsive", A::PeerUnresponsive, Error, "the customer gateway does not answer and is declared dead"),
    ike("AWS tunnel payload decryption was unsuccessful due to invalid Pre-shared Key", "* payload decryption was unsuccessful", A::PskInvalid, Error, "AWS cannot decrypt the customer gateway's messages: the pre-shared keys differ"),
    ike("No Proposal Match Found. Notifying with \"No proposal chosen\"", "no proposal match found notifying", A::NoProposal, Error, "phase 2: no common encryption, integrity or DH group"),
    ike("No Proposal Match Found by AWS", "no proposal match found", A::NoProposal, Error, "phase 1: no common encryption, integrity or DH group"),
    ike("AWS tunnel received DELETE for Phase 2 SA with SPI: xxxx", "* received delete for phase 2 sa", A::Phase2Deleted, Notice, "the customer gateway deleted a phase 2 SA"),
    ike("AWS tunnel received DELETE for IKE_SA from CGW", "* received delete for ike_sa", A::Phase1Deleted, Warning, "the customer gateway deleted a phase 1 SA (IKE_SA)"),
    ike("AWS tunnel DPD timed out after {retry_count} retransmits", "* dpd timed out", A::DpdTimeout, Error, "the customer gateway did not answer dead peer detection"),
    ike("AWS tunnel detected a (CHILD_REKEY) collision as CHILD_DELETE", "* child_rekey collision", A::RekeyCollision, Notice, "both ends rekeyed phase 2 at once"),
    ike("AWS tunnel (CHILD_SA) redundant SA is being deleted due to detected collision", "* child_sa redundant sa", A::RedundantSa, Info, "a superfluous phase 2 SA is deleted after a collision"),
    ike("AWS tunnel Phase 2 was unable to establish while keeping Phase 1", "* phase 2 was unable to establish", A::Phase2Failed, Error, "phase 2 could not be established; phase 1 is kept"),
    ike("AWS: Traffic Selector: TS_UNACCEPTABLE: received from responder", "* ts_unacceptable", A::TsUnacceptable, Error, "the customer gateway refuses the traffic selectors: make the CIDRs of both ends agree"),
    ike("AWS tunnel is sending AUTHENTICATION_FAILED as the response", "* authentication_failed", A::AuthFailed, Error, "authentication failed: compare pre-shared key and identity of both ends"),
    ike("AWS tunnel detected a pre-shared key mismatch with cgw: xxxx", "* pre shared key mismatch", A::PskMismatch, Error, "the pre-shared keys of the two ends differ"),
    ike("AWS tunnel Timeout: deleting un-established Phase 1 IKE_SA with cgw: xxxx", "* timeout deleting un established phase 1", A::Phase1Timeout, Error, "the customer gateway did not finish phase 1 in time"),
    ike("AWS tunnel processed request (id=xxx) for CREATE_CHILD_SA", "* processed request * create_child_sa", A::Rekey, Debug, "routine rekey: a request was processed"),
    ike("AWS tunnel is sending response (id=xxx) for CREATE_CHILD_SA", "* sending response * create_child_sa", A::Rekey, Debug, "routine rekey: the response is sent"),
    ike("AWS tunnel is sending request (id=xxx) for CREATE_CHILD_SA", "* sending request * create_child_sa", A::Rekey, Debug, "routine rekey: a request is sent"),
    ike("AWS tunnel processed response (id=xxx) for CREATE_CHILD_SA", "* processed response * create_child_sa", A::Rekey, Debug, "routine rekey: the response was processed"),
];

/// As in [`IKE`], but phase 2 is up: who began a rekey deletes the old IKE_SA (RFC 7296 section 2.8).
pub const PHASE1_REPLACED: Row = ike(
    "AWS tunnel received DELETE for IKE_SA from CGW, while phase 2 is up",
    "",
    A::Phase1Deleted,
    Notice,
    "the customer gateway deleted a phase 1 SA (IKE_SA), as a rekey does",
);

/// A tunnel activity message that is not in [`IKE`].
pub const IKE_OTHER: Row =
    ike("any other text of tunnel activity", "", A::Other, Notice, "a message that AWS does not document");

/// A line that cannot be read.
pub const UNPARSED: Row =
    status("anything else", Kind::Unparsed, A::Unparsed, StateFrom::Nowhere, Warning, "the line is in `raw`");

/// All rows in the order of the documentation.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    const LAST: &[Row] = &[UNPARSED];
    let ike = IKE.iter().chain(&[PHASE1_REPLACED, IKE_OTHER]);
    SESSION.iter().chain(&[SESSION_OTHER]).chain(SNAPSHOT).chain(ROUTE).chain(ike).chain(LAST)
}

/// A table, taken apart once.
struct Prepared {
    exact: Exact,
    patterns: Vec<(Pattern, &'static Row)>,
}

static SESSION_PREPARED: LazyLock<Prepared> = LazyLock::new(|| Prepared::of("AWS-side peer ", SESSION));
static IKE_PREPARED: LazyLock<Prepared> = LazyLock::new(|| Prepared::of("", IKE));

impl Prepared {
    fn of(start: &str, rows: &'static [Row]) -> Prepared {
        let patterns = rows.iter().map(|row| (Pattern::of(row.pattern), row)).collect();
        Prepared { exact: Exact::of(start, rows), patterns }
    }
}

/// The row of a session's message, `AWS-side peer` in front of it or not, and what else was found with it.
pub(super) fn find_session(details: &str) -> Option<Found<'_>> {
    SESSION_PREPARED.exact.find(details).or_else(|| session_row_by_words(details).map(Found::from))
}

fn session_row_by_words(details: &str) -> Option<&'static Row> {
    let words = Words::of(details);
    matching(&SESSION_PREPARED.patterns, &words, words.after(&["aws", "side", "peer"]))
}

/// The tunnel activity row of a message.
pub(crate) fn ike_row(details: &str) -> Option<&'static Row> {
    IKE_PREPARED.exact.find(details).map(|found| found.row).or_else(|| ike_row_by_words(details))
}

fn ike_row_by_words(details: &str) -> Option<&'static Row> {
    matching(&IKE_PREPARED.patterns, &Words::of(details), 0)
}

fn matching(patterns: &[(Pattern, &'static Row)], words: &Words<'_>, from: usize) -> Option<&'static Row> {
    patterns.iter().find(|(pattern, _)| pattern.fits(words, from)).map(|(_, row)| *row)
}

/// The row among `rows` that has this kind and action; [`UNPARSED`] if none has, which the tests exclude.
pub(crate) fn row_of(rows: &'static [Row], kind: Kind, action: Action) -> &'static Row {
    rows.iter().find(|row| row.kind == kind && row.action == action).unwrap_or(const { &UNPARSED })
}

/// The table as Markdown, for the event reference.
pub fn markdown() -> String {
    let mut text = String::from(
        "| message | kind | action | transition | session_state | severity | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows() {
        let state = match row.session_state {
            StateFrom::Status => "`status`",
            StateFrom::Phase2 => "phase 2",
            StateFrom::Nowhere => "",
        };
        let transition = row.transition.map(Transition::as_str).unwrap_or_default();
        let Row { message, kind, action, severity, meaning, .. } = row;
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "| {message} | `{kind}` | `{action}` | {transition} | {state} | {severity} | {meaning} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeSet;

    use super::super::bgp;
    use super::*;
    use crate::config::kinds_of;
    use crate::event::Bgp;

    fn session_row(details: &str) -> Option<&'static Row> {
        find_session(details).map(|found| found.row)
    }

    #[test]
    fn every_documented_message_finds_its_own_row() {
        for row in SESSION {
            let found = session_row(&format!("AWS-side peer {}", row.message)).map(|row| row.message);
            assert_eq!(found, Some(row.message));
            assert_eq!(session_row(&row.message.to_lowercase()).map(|row| row.message), Some(row.message));
        }
        for row in IKE {
            for message in [row.message.to_owned(), row.message.to_uppercase(), row.message.replace('-', "–")] {
                assert_eq!(ike_row(&message).map(|row| row.message), Some(row.message));
            }
        }
    }

    /// Messages of every row with values of every kind, also such as are words of other rows, cut and run on.
    fn messages() -> Vec<String> {
        let values = ["169.254.10.1", "6", "6.1", "1", "2.phase", "fd00::6:1", "0xdead", "412", "a", "", "x", "-"];
        let message = |row: &Row, value: &str| {
            let words = row.message.split_inclusive([' ', '=', ')', '-', ',']);
            let stands_for = |word: &str| ["IP", "N", "C", "xxx", "xxxx", "{retry_count}", "A", "B"].contains(&word);
            let put = |word: &str| {
                let bare = word.trim_end_matches([' ', '=', ')', '-', ',']);
                if stands_for(bare) { word.replacen(bare, value, 1) } else { word.to_owned() }
            };
            words.map(put).collect::<String>()
        };
        let mut texts = Vec::new();
        for row in SESSION.iter().chain(IKE) {
            for value in values {
                let text = message(row, value);
                for start in ["", "AWS-side peer ", "AWS tunnel "] {
                    texts.push(format!("{start}{text}"));
                    texts.push(format!("{start}{text}."));
                    texts.push(format!("{start}{text} received notification 6/1"));
                }
            }
            texts.push(row.message.chars().take(row.message.len() / 2).collect());
        }
        texts
    }

    #[test]
    fn a_message_written_exactly_finds_the_row_that_its_words_find() {
        let (mut found, texts) = (0, messages());
        for text in &texts {
            let row = |row: Option<&'static Row>| row.map(|row| row.message);
            assert_eq!(row(session_row(text)), row(session_row_by_words(text)), "{text}");
            assert_eq!(row(ike_row(text)), row(ike_row_by_words(text)), "{text}");
            let exact = SESSION_PREPARED.exact.find(text).or_else(|| IKE_PREPARED.exact.find(text));
            found += usize::from(exact.is_some());
        }
        assert!(found > texts.len() / 10, "{found} of {}", texts.len());
    }

    #[test]
    fn a_session_written_exactly_says_what_its_words_say() {
        let read = |text: &String, found: &Found<'_>| {
            let (mut bgp, mut problems) = (Bgp::default(), Vec::new());
            bgp::session(&mut bgp, &Cow::Borrowed(text.as_str()), found, &mut problems);
            format!("{bgp:?} {problems:?}")
        };
        let (mut neighbors, mut states) = (0, 0);
        for text in &messages() {
            let Some(found) = find_session(text) else { continue };
            assert_eq!(read(text, &found), read(text, &Found::from(found.row)), "{text}");
            neighbors += usize::from(found.neighbor.is_some());
            states += usize::from(found.states.is_some());
        }
        assert!(neighbors > 200 && states > 50, "{neighbors}, {states}");
    }

    #[test]
    fn only_two_rows_are_edges() {
        let edges: Vec<_> = rows().filter_map(|row| Some((row.message, row.transition?.as_str()))).collect();
        assert_eq!(
            edges,
            [
                ("BGP session state has changed from OpenConfirm to Established with neighbor IP", "up"),
                ("BGP session state has changed from Established to Idle with neighbor IP", "down"),
            ]
        );
    }

    #[test]
    fn the_rows_are_the_pairs_of_kind_and_action_that_a_filter_may_ask_for() {
        let in_rows: BTreeSet<_> = rows().map(|row| (row.action, row.kind)).collect();
        let pairs = |action: &Action| kinds_of(*action).iter().map(|kind| (*action, *kind)).collect::<Vec<_>>();
        let mut allowed: BTreeSet<_> = Action::ALL.iter().flat_map(pairs).collect();
        // Alerts come from the detector, not from a message.
        allowed.retain(|(_, kind)| *kind != Kind::Alert);
        assert_eq!(in_rows, allowed);
    }

    #[test]
    fn the_markdown_has_one_line_for_each_row() {
        assert_eq!(markdown().lines().count(), rows().count() + 2);
        assert!(markdown().lines().all(|line| line.matches('|').count() == 8));
    }
}
