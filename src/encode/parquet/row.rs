//! A row as it is read back from an event's JSON line: borrowed, lenient, every field optional.
//!
//! The line is our own format `json`, so a row is read by the names that the event's schema publishes. What is missing
//! stays empty; what a later version adds is ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A text, borrowed where it needs no unescaping. `Option<Cow<str>>` would always be copied.
#[derive(Default)]
pub(super) struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;

        impl<'de> Visitor<'de> for Words {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
        }

        deserializer.deserialize_str(Words)
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub(super) schema: Text<'a>,
    pub(super) id: Text<'a>,
    pub(super) time: Text<'a>,
    pub(super) observed: Text<'a>,
    pub(super) kind: Text<'a>,
    pub(super) action: Text<'a>,
    pub(super) transition: Text<'a>,
    pub(super) session_state: Text<'a>,
    pub(super) severity: Text<'a>,
    pub(super) summary: Text<'a>,
    pub(super) cloud: Cloud<'a>,
    pub(super) vpn: Vpn<'a>,
    pub(super) route_server: RouteServer<'a>,
    pub(super) bgp: Bgp<'a>,
    pub(super) ike: Ike<'a>,
    pub(super) problems: Vec<Problem<'a>>,
    pub(super) log: Log<'a>,
    pub(super) origin: Origin<'a>,
    pub(super) raw: Text<'a>,
}

impl<'a> Row<'a> {
    /// Reads a line. One that is no event keeps all it has, as `raw`: nothing is dropped for being odd.
    pub(super) fn of(line: &'a [u8]) -> Row<'a> {
        serde_json::from_slice(line)
            .unwrap_or_else(|_| Row { raw: Text(Some(String::from_utf8_lossy(line))), ..Row::default() })
    }
}

/// What rows are sorted by; read by itself, since a row group's rows would take more than their bytes.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Key<'a> {
    #[serde(borrow)]
    pub(super) time: Text<'a>,
    pub(super) vpn: KeyVpn<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct KeyVpn<'a> {
    #[serde(borrow)]
    pub(super) connection_id: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Cloud<'a> {
    #[serde(borrow)]
    pub(super) account_id: Text<'a>,
    pub(super) account_name: Text<'a>,
    pub(super) account_ou: Text<'a>,
    pub(super) region: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Vpn<'a> {
    #[serde(borrow)]
    pub(super) connection_id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) connection_state: Text<'a>,
    pub(super) routing: Text<'a>,
    pub(super) transport: Text<'a>,
    pub(super) transport_attachment_id: Text<'a>,
    pub(super) tunnel: Tunnel<'a>,
    pub(super) customer_gateway: CustomerGateway<'a>,
    pub(super) gateway: Gateway<'a>,
    pub(super) tags: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    pub(super) inventory: Inventory<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Tunnel<'a> {
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    pub(super) outside_ip: Text<'a>,
    pub(super) inside_cidr: Text<'a>,
    pub(super) inside_ipv6_cidr: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct CustomerGateway<'a> {
    #[serde(borrow)]
    pub(super) id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) ip: Text<'a>,
    pub(super) asn: Option<u64>,
    pub(super) device: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Gateway<'a> {
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
    pub(super) id: Text<'a>,
    pub(super) name: Text<'a>,
    pub(super) owner_account_id: Text<'a>,
    pub(super) asn: Option<u64>,
    pub(super) vpc_id: Text<'a>,
    pub(super) arn: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Inventory<'a> {
    #[serde(borrow)]
    pub(super) state: Text<'a>,
    pub(super) as_of: Text<'a>,
    pub(super) tunnel_status: Text<'a>,
    pub(super) accepted_routes: Option<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct RouteServer<'a> {
    #[serde(borrow)]
    pub(super) peer_id: Text<'a>,
    pub(super) arn: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Notification<'a> {
    #[serde(borrow)]
    pub(super) direction: Text<'a>,
    pub(super) code: Option<u64>,
    pub(super) subcode: Option<u64>,
    pub(super) name: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Bgp<'a> {
    #[serde(borrow)]
    pub(super) neighbor: Text<'a>,
    pub(super) from_state: Text<'a>,
    pub(super) to_state: Text<'a>,
    pub(super) notification: Notification<'a>,
    pub(super) prefix: Text<'a>,
    pub(super) as_path: Text<'a>,
    pub(super) as_path_asns: Option<Vec<u64>>,
    pub(super) origin_asn: Option<u64>,
    pub(super) local_pref: Option<u64>,
    pub(super) med: Option<u64>,
    pub(super) next_hop: Text<'a>,
    pub(super) weight: Option<u64>,
    pub(super) rejected_because: Text<'a>,
    pub(super) prefix_count: Option<u64>,
    pub(super) prefix_limit: Option<u64>,
    pub(super) peer_asn: Option<u64>,
    pub(super) local_asn: Option<u64>,
    pub(super) expected_asn: Option<u64>,
    pub(super) hold_time_s: Option<u64>,
    pub(super) router_id: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Ike<'a> {
    #[serde(borrow)]
    pub(super) phase1: Text<'a>,
    pub(super) phase2: Text<'a>,
    pub(super) dpd_enabled: Option<bool>,
    pub(super) nat_t: Option<bool>,
    pub(super) peer: Text<'a>,
    pub(super) spi: Text<'a>,
    pub(super) request_id: Option<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Problem<'a> {
    #[serde(borrow)]
    pub(super) field: Text<'a>,
    pub(super) value: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Log<'a> {
    #[serde(borrow)]
    pub(super) group_name: Text<'a>,
    pub(super) stream_name: Text<'a>,
    pub(super) event_id: Text<'a>,
    pub(super) owner_account_id: Text<'a>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Origin<'a> {
    #[serde(borrow)]
    pub(super) source: Text<'a>,
    pub(super) stream: Text<'a>,
    pub(super) shard: Text<'a>,
    pub(super) sequence: Text<'a>,
    pub(super) index: Option<u64>,
}
