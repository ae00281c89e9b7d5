//! The values that an event is made of: times, ids, AS numbers; each knows its form on the wire.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

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

/// IP address in text, canonical
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct IpAddrText(#[schemars(description = "IPv4 or IPv6 address, canonical")] String);

/// Prefix in CIDR notation, canonical
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct PrefixText(#[schemars(description = "IPv4 or IPv6 prefix in CIDR notation, canonical")] String);
