//! The typed event: what one log line means, in the shape of `schemas/event.schema.json`.
//!
//! These types *are* the schema: `tunnelog schema event` is generated from them, and the `json` format
//! serializes them as they stand. They borrow from the decompressed record and from the inventory
//! snapshot; building one allocates nothing but what a malformed line needs.
//!
//! Not here: how a line becomes an event (`normalize`), where the metadata comes from (`enrich`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// The name and version of the schema; a change that breaks readers raises the number.
pub const SCHEMA: &str = "tunnelog.event/1";

/// Milliseconds since 1970-01-01T00:00:00Z; written as RFC 3339 with three decimals and `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub i64);

impl Millis {
    /// 2000-01-01T00:00:00Z. Times outside 2000..2100 are taken for damage.
    pub const MIN_PLAUSIBLE: Millis = Millis(946_684_800_000);
    /// 2100-01-01T00:00:00Z, exclusive.
    pub const MAX_PLAUSIBLE: Millis = Millis(4_102_444_800_000);

    /// Whether the time lies in 2000..2100, the range in which an event's own time is believed.
    pub fn is_plausible(self) -> bool {
        (Self::MIN_PLAUSIBLE..Self::MAX_PLAUSIBLE).contains(&self)
    }

    /// Parses RFC 3339, also with a space in place of the `T`, as the BGP logs write it.
    pub fn parse(text: &str) -> Option<Millis> {
        let timestamp: jiff::Timestamp = text.trim().parse().ok()?;
        Some(Millis(timestamp.as_millisecond()))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            // Outside jiff's range of years (-9999..9999) there is no RFC 3339 form.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Millis::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

impl JsonSchema for Millis {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// 128-bit identity of an event, written as 32 lower-case hex digits.
///
/// XXH3-128 (seed 0) over length-prefixed parts; see [`EventId::of_parts`]. Stable across versions: a
/// change of it is a change of the schema. It identifies, it does not authenticate: nothing is ever
/// dropped because two ids are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventId(pub u128);

impl EventId {
    /// The id of the given parts: each is preceded by its length in bytes (u32, little-endian), so that
    /// no two lists of parts share an encoding. `buffer` is scratch space and is cleared first.
    pub fn of_parts(buffer: &mut Vec<u8>, parts: &[&[u8]]) -> EventId {
        buffer.clear();
        for part in parts {
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            buffer.extend_from_slice(&length.to_le_bytes());
            buffer.extend_from_slice(part);
        }
        EventId(xxhash_rust::xxh3::xxh3_128(buffer))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        // `from_str_radix` alone would take a sign and any length.
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let id = u128::from_str_radix(&text, 16).ok().filter(|_| digits);
        id.map(EventId).ok_or_else(|| serde::de::Error::custom("not an id of 32 lower-case hex digits"))
    }
}

impl JsonSchema for EventId {
    fn schema_name() -> Cow<'static, str> {
        "EventId".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
    }
}

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
        /// Established → Idle.
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

/// One event. Borrowed from the record (`'a`) and the inventory snapshot.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Event<'a> {
    /// Name and version of this schema.
    pub schema: &'static str,
    /// Same log event, same id: through any filter, shard or replay.
    pub id: EventId,
    /// When it happened: the event's own time if it lies in 2000..2100, else CloudWatch's, else the arrival.
    pub time: Millis,
    /// When the record arrived in the stream; absent where there is no arrival time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Millis>,
    /// What the event is about.
    pub kind: Kind,
    /// What happened.
    pub action: Action,
    /// The edge that the line itself states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// AWS's snapshot; for IKE up when phase 2 is Established or Rekeying; absent on routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_state: Option<SessionState>,
    /// How much an operator should care.
    pub severity: Severity,
    /// One sentence for a person.
    pub summary: &'a str,
    /// Where it happened.
    pub cloud: Cloud<'a>,
    /// The VPN connection; absent for route servers and where the line names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpn: Option<Vpn<'a>>,
    /// The route server peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_server: Option<RouteServer<'a>>,
    /// What BGP said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp: Option<Bgp<'a>>,
    /// What IKE said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike: Option<Ike<'a>>,
    /// Values that were malformed and are therefore not in their fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem<'a>>,
    /// The log that it came from.
    pub log: Log<'a>,
    /// The record that it came from (option `origin`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin<'a>>,
    /// The log line as CloudWatch delivered it (option `raw`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<&'a str>,
}

/// The account and Region of the VPN, as far as they are known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Cloud<'a> {
    /// Always `aws`.
    pub provider: &'static str,
    /// 12 digits: `@aws.account`, else the inventory, else the envelope's owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<Cow<'a, str>>,
    /// From the inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_name: Option<&'a str>,
    /// `@aws.region`, else the inventory, else the configured default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Cow<'a, str>>,
}

/// The Site-to-Site VPN connection.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Vpn<'a> {
    /// `vpn-…`
    pub connection_id: Cow<'a, str>,
    /// The `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// EC2's state of the connection, for example `available`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<&'a str>,
    /// How routes are learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// What carries the tunnels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// The Direct Connect transport attachment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport_attachment_id: Option<&'a str>,
    /// The tunnel that the line is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Tunnel>,
    /// The customer's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer_gateway: Option<&'a CustomerGateway>,
    /// The AWS end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<&'a Gateway>,
    /// Tags of the connection (allow-list) and the columns of the overlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// How much the metadata can be trusted; absent where the pipeline has no inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<InventoryInfo<'a>>,
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

/// One of a connection's two tunnels.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Tunnel {
    /// 1 or 2: the order of EC2's `TunnelOptions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u8>,
    /// AWS's outside address of the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub outside_ip: Option<IpAddr>,
    /// The inside IPv4 /30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PrefixText>")]
    pub inside_cidr: Option<IpNet>,
    /// The inside IPv6 /126.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PrefixText>")]
    pub inside_ipv6_cidr: Option<IpNet>,
}

/// The customer gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomerGateway {
    /// `cgw-…`
    pub id: String,
    /// The `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its outside address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub ip: Option<IpAddr>,
    /// Its BGP ASN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Its device name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// The AWS gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gateway {
    /// Its kind.
    pub kind: GatewayKind,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The `Name` tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who owns it, if another account shares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_account_id: Option<String>,
    /// Its BGP ASN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The VPC that a virtual private gateway is attached to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// The core network's ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
}

/// What the inventory knew, and when.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InventoryInfo<'a> {
    /// How much to believe.
    pub state: InventoryState,
    /// When EC2 said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Millis>,
    /// EC2's telemetry of this tunnel at that time: `UP` or `DOWN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_status: Option<&'a str>,
    /// How many routes the tunnel had accepted at that time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_routes: Option<u64>,
}

/// A VPC Route Server peer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RouteServer<'a> {
    /// `rsp-…`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<Cow<'a, str>>,
    /// The peer's ARN.
    pub arn: Cow<'a, str>,
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

/// A BGP NOTIFICATION (RFC 4271 section 4.5; Cease subcodes RFC 4486).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Notification<'a> {
    /// Who sent it.
    pub direction: Direction,
    /// Error code, for example 6 (Cease).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Error subcode, for example 2 (Administrative Shutdown).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subcode: Option<u8>,
    /// As logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Cow<'a, str>>,
}

/// What BGP said; every field as it applies.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Bgp<'a> {
    /// The peer's address. It may be either host of the tunnel's /30.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub neighbor: Option<IpAddr>,
    /// State before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_state: Option<Cow<'a, str>>,
    /// State after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_state: Option<Cow<'a, str>>,
    /// A NOTIFICATION.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification: Option<Notification<'a>>,
    /// The prefix, canonical: host bits cleared, IPv6 compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<PrefixText>")]
    pub prefix: Option<IpNet>,
    /// The AS path as logged, AS sets included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path: Option<Cow<'a, str>>,
    /// The AS numbers of the path, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path_asns: Option<AsNumbers<'a>>,
    /// The last AS number of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_asn: Option<u32>,
    /// LOCAL_PREF.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u64>,
    /// MULTI_EXIT_DISC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u64>,
    /// NEXT_HOP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub next_hop: Option<IpAddr>,
    /// Weight, local to AWS's router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
    /// Why AWS denied the route; the list of reasons is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_because: Option<Cow<'a, str>>,
    /// Prefixes received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_count: Option<u64>,
    /// The limit that the message names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_limit: Option<u64>,
    /// The AS in the peer's OPEN message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<u32>,
    /// The AS in AWS's own OPEN message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_asn: Option<u32>,
    /// The AS that AWS expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_asn: Option<u32>,
    /// Hold time in an OPEN message, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_time_s: Option<u32>,
    /// Router id in an OPEN message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub router_id: Option<IpAddr>,
}

/// The numbers of an AS path, read from its text when written, so that nothing is stored twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsNumbers<'a>(pub Cow<'a, str>);

impl AsNumbers<'_> {
    /// The AS numbers in order; members of AS sets as they stand.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.0.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok())
    }
}

impl Serialize for AsNumbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl JsonSchema for AsNumbers<'_> {
    fn schema_name() -> Cow<'static, str> {
        "AsNumbers".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 } })
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

/// What IKE said; every field as it applies.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Ike<'a> {
    /// Phase 1 (IKE SA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase1: Option<PhaseState>,
    /// Phase 2 (IPsec SA, CHILD_SA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase2: Option<PhaseState>,
    /// Whether dead peer detection is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpd_enabled: Option<bool>,
    /// Whether NAT traversal was detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_t: Option<bool>,
    /// The customer gateway's address, where the message names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<IpAddrText>")]
    pub peer: Option<IpAddr>,
    /// Security parameter index, as logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spi: Option<Cow<'a, str>>,
    /// The id of a CREATE_CHILD_SA exchange.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// A value that was malformed, kept as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem<'a> {
    /// The field that it was meant for, as a path in this schema, or the reason's name.
    pub field: &'static str,
    /// The value as logged.
    pub value: Cow<'a, str>,
}

/// The CloudWatch log that the line came from.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Log<'a> {
    /// Log group.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub group_name: &'a str,
    /// Log stream.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub stream_name: &'a str,
    /// CloudWatch's id of the log event: decimal, up to 56 digits.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub event_id: &'a str,
    /// The account that sent it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub owner_account_id: &'a str,
}

/// The record that the line came in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Origin<'a> {
    /// Name of the source in the pipeline file.
    pub source: &'a str,
    /// The stream (its name or ARN), or the file.
    pub stream: &'a str,
    /// The shard.
    pub shard: &'a str,
    /// The record's sequence number in the shard, decimal.
    pub sequence: crate::source::Position,
    /// The line's place in the record, from 0.
    pub index: u32,
}

/// IP address in text, canonical
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct IpAddrText(#[schemars(description = "IPv4 or IPv6 address, canonical")] String);

/// Prefix in CIDR notation, canonical
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct PrefixText(#[schemars(description = "IPv4 or IPv6 prefix in CIDR notation, canonical")] String);
