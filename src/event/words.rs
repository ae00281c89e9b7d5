//! The closed lists of words that an event uses: variant, word on the wire and meaning in one place.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A closed list of words: one place for the variant, its name on the wire and its parsing.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in the order of the schema.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word as it stands in events and pipeline files.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// What an event is about. The list is closed.
    Kind {
        /// A BGP session of a tunnel or of a route server peer.
        BgpSession = "bgp.session",
        /// A route that the peer advertised, changed or withdrew, or that AWS rejected.
        BgpRoute = "bgp.route",
        /// A BFD session of a route server peer.
        BfdSession = "bfd.session",
        /// A tunnel's IKE/IPsec activity.
        Ike = "ike",
        /// A finding of a detection rule.
        Alert = "alert",
        /// A log line that could not be read; the line is in `raw`.
        Unparsed = "unparsed",
    }
}

words! {
    /// What happened. Before the colon stand the kinds that it occurs with; the event reference has the table of
    /// messages and their actions.
    Action {
        /// bgp.session: the session reached Established.
        Established = "established",
        /// bgp.session, bfd.session: the session left Established, or is reported down.
        Down = "down",
        /// bgp.session: a step of the BGP state machine that is neither of the two.
        StateChanged = "state_changed",
        /// bgp.session: AWS sent a Hold Timer Expired notification.
        HoldTimerExpired = "hold_timer_expired",
        /// bgp.session: AWS sent a notification.
        NotificationSent = "notification_sent",
        /// bgp.session: AWS received a notification.
        NotificationReceived = "notification_received",
        /// bgp.session: the number of prefixes nears the limit.
        PrefixLimitWarning = "prefix_limit_warning",
        /// bgp.session: the number of prefixes passed the limit; AWS closes the session.
        PrefixLimitExceeded = "prefix_limit_exceeded",
        /// bgp.session: AWS sent an OPEN message.
        OpenSent = "open_sent",
        /// bgp.session: AWS received an OPEN message.
        OpenReceived = "open_received",
        /// bgp.session: the peer's OPEN message was unacceptable, for example another AS than configured.
        BadOpen = "bad_open",
        /// bgp.session: AWS is initiating the TCP connection.
        Connecting = "connecting",
        /// bgp.session: AWS sent the End-of-RIB marker.
        EndOfRib = "end_of_rib",
        /// bgp.session: an UPDATE's attributes were logged.
        AttributesReceived = "attributes_received",
        /// bgp.route: the peer advertised a prefix.
        Advertised = "advertised",
        /// bgp.route, alert: the peer changed a prefix's attributes; a finding changed while it lasts.
        Updated = "updated",
        /// bgp.route: the peer withdrew a prefix.
        Withdrawn = "withdrawn",
        /// bgp.route: AWS denied the route; it was never accepted.
        Rejected = "rejected",
        /// bfd.session: the session is reported up.
        Up = "up",
        /// ike: dead peer detection gave up.
        DpdTimeout = "dpd_timeout",
        /// ike: the peer does not answer and is declared dead.
        PeerUnresponsive = "peer_unresponsive",
        /// ike: the pre-shared keys differ.
        PskMismatch = "psk_mismatch",
        /// ike: a payload could not be decrypted with the pre-shared key.
        PskInvalid = "psk_invalid",
        /// ike: no common proposal (algorithms, groups).
        NoProposal = "no_proposal",
        /// ike: authentication failed.
        AuthFailed = "auth_failed",
        /// ike: the traffic selectors were refused.
        TsUnacceptable = "ts_unacceptable",
        /// ike: the phase 1 security association was deleted.
        Phase1Deleted = "phase1_deleted",
        /// ike: a phase 2 security association was deleted.
        Phase2Deleted = "phase2_deleted",
        /// ike: phase 2 could not be established.
        Phase2Failed = "phase2_failed",
        /// ike: phase 1 was not established in time.
        Phase1Timeout = "phase1_timeout",
        /// ike: a routine rekey step.
        Rekey = "rekey",
        /// ike: both sides rekeyed at once.
        RekeyCollision = "rekey_collision",
        /// ike: a redundant security association is deleted after a collision.
        RedundantSa = "redundant_sa",
        /// unparsed: the line could not be read.
        Unparsed = "unparsed",
        /// alert: a finding began.
        Opened = "opened",
        /// alert: a finding ended.
        Closed = "closed",
        /// bgp.session, bgp.route, bfd.session, ike: a message that AWS documents nowhere; its text is in `summary`
        /// and `raw`.
        Other = "other",
    }
}

words! {
    /// How much an operator should care, in rising order.
    Severity {
        /// Routine detail, such as a rekey.
        Debug = "debug",
        /// Normal operation.
        Info = "info",
        /// Worth reading in hindsight.
        Notice = "notice",
        /// Something is degraded or about to be.
        Warning = "warning",
        /// Something is broken.
        Error = "error",
        /// Traffic is lost until somebody acts.
        Critical = "critical",
    }
}

words! {
    /// An edge that the line itself states; absent where the line only reports a state.
    Transition {
        /// OpenConfirm → Established.
        Up = "up",
        /// Established → any other state.
        Down = "down",
    }
}

words! {
    /// AWS's snapshot of the session or tunnel at that moment: a state, not an edge.
    SessionState {
        /// The session is up.
        Up = "up",
        /// The session is down, or still being brought up.
        Down = "down",
    }
}

words! {
    /// How the connection learns routes.
    Routing {
        /// Dynamic.
        Bgp = "bgp",
        /// Static routes only.
        Static = "static",
    }
}

words! {
    /// What carries the tunnels.
    Transport {
        /// Public outside addresses.
        Internet = "internet",
        /// Private outside addresses over a Direct Connect transport attachment. They may repeat.
        DirectConnect = "direct_connect",
    }
}

words! {
    /// What the connection ends on in AWS.
    GatewayKind {
        /// `tgw-…`
        TransitGateway = "transit_gateway",
        /// `vgw-…`
        VirtualPrivateGateway = "virtual_private_gateway",
        /// A Cloud WAN core network.
        CloudWan = "cloud_wan",
        /// A VPN concentrator.
        VpnConcentrator = "vpn_concentrator",
    }
}

words! {
    /// How much of the inventory's word to believe.
    InventoryState {
        /// The latest load succeeded and knows the connection.
        Fresh = "fresh",
        /// The latest load failed; this is the last good answer.
        Stale = "stale",
        /// The inventory does not know the connection.
        Missing = "missing",
    }
}

words! {
    /// Who sent a notification.
    Direction {
        /// AWS sent it.
        Sent = "sent",
        /// AWS received it.
        Received = "received",
    }
}

words! {
    /// State of an IKE phase, in AWS's words.
    PhaseState {
        /// Up.
        Established = "Established",
        /// Up, and being rekeyed.
        Rekeying = "Rekeying",
        /// Being brought up.
        Negotiating = "Negotiating",
        /// Down.
        Down = "Down",
    }
}
