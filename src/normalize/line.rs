//! All keys that a log line may have, with their values read leniently.
//!
//! A wrongly typed value never fails the line: it is kept as it is and becomes a problem where it is used.
//! `null` is the same as absent. Keys of `message` are also accepted at the top level, where a flattened
//! text line has them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::decode::reader::Reader;

/// A JSON value of any type, as far as a log line's values go.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Scalar<'a> {
    /// No such key, or `null`.
    #[default]
    Absent,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer beyond `i64`.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string; an array of scalars is joined by spaces.
    Text(Cow<'a, str>),
    /// An object, where none belongs.
    Object,
}

impl<'a> Scalar<'a> {
    /// Whether there is a value.
    pub fn is_present(&self) -> bool {
        *self != Scalar::Absent
    }

    /// The value as text: a string's content, trimmed; nothing if absent or empty.
    #[inline]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let text = match self {
            Scalar::Absent => return None,
            Scalar::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Scalar::Int(value) => Cow::Owned(value.to_string()),
            Scalar::Uint(value) => Cow::Owned(value.to_string()),
            Scalar::Float(value) => Cow::Owned(value.to_string()),
            Scalar::Text(Cow::Borrowed(text)) => Cow::Borrowed(trimmed(text)),
            Scalar::Text(Cow::Owned(text)) => Cow::Owned(trimmed(text).to_owned()),
            Scalar::Object => Cow::Borrowed("{…}"),
        };
        (!text.is_empty()).then_some(text)
    }

    /// The content of a string, trimmed; nothing for any other type.
    pub fn str(&self) -> Option<&str> {
        match self {
            Scalar::Text(text) => Some(trimmed(text)).filter(|text| !text.is_empty()),
            _ => None,
        }
    }

    /// A number that is not negative, also from a string or a float without a fraction.
    pub fn u64(&self) -> Option<u64> {
        match self {
            Scalar::Int(value) => u64::try_from(*value).ok(),
            Scalar::Uint(value) => Some(*value),
            // 2^53: up to here a float holds every integer exactly.
            Scalar::Float(value) if (0.0..=9_007_199_254_740_992.0).contains(value) && value.fract() == 0.0 => {
                Some(*value as u64)
            }
            Scalar::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A boolean, also as `"True"`, `"false"`, `1` or `0`.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Scalar::Bool(value) => Some(*value),
            Scalar::Int(1) => Some(true),
            Scalar::Int(0) => Some(false),
            Scalar::Text(text) => match text.trim() {
                text if ["true", "yes", "1"].iter().any(|word| text.eq_ignore_ascii_case(word)) => Some(true),
                text if ["false", "no", "0"].iter().any(|word| text.eq_ignore_ascii_case(word)) => Some(false),
                _ => None,
            },
            _ => None,
        }
    }
}

/// As [`str::trim`], which looks at whole characters, for what nearly never needs it.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~'] | [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

macro_rules! line {
    ($($(#[$doc:meta])* $field:ident, $key:ident = $name:literal $(| $other:literal)*;)+) => {
        /// One log line's keys.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Line<'a> {
            $($(#[$doc])* pub $field: Scalar<'a>,)+
        }

        /// A key that a line may have.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum Key {
            $($(#[$doc])* $key,)+
            /// Other keys, or the details.
            Message,
        }

        impl Key {
            /// How many there are.
            pub(super) const COUNT: usize = Key::Message as usize + 1;

            /// The key of this name, if there is one.
            pub(super) fn named(name: &str) -> Option<Key> {
                match name {
                    $($name $(| $other)* => Some(Key::$key),)+
                    "message" => Some(Key::Message),
                    _ => None,
                }
            }

            /// Takes the key if it is next: within escaped quotes, by its first name, with its colon.
            pub(super) fn is_next(self, reader: &mut Reader<'_>) -> bool {
                match self {
                    $(Key::$key => reader.eat_slice(concat!("\\\"", $name, "\\\":").as_bytes()),)+
                    Key::Message => reader.eat_slice(br#"\"message\":"#),
                }
            }
        }

        impl<'a> Line<'a> {
            /// The names of all keys, for the reader of text lines.
            pub const KEYS: &'static [&'static str] = &[$($name $(, $other)*),+];

            /// The place of a key's value; nothing for `message`, which has none.
            pub(super) fn slot(&mut self, key: Key) -> Option<&mut Scalar<'a>> {
                match key { $(Key::$key => Some(&mut self.$field),)+ Key::Message => None }
            }
        }
    };
}

line! {
    /// `<vpn-connection-id>_<tunnel-outside-ip>`
    resource_id, ResourceId = "resource_id";
    /// The route server peer's ARN.
    resource_arn, ResourceArn = "resource_arn";
    /// Epoch, seconds or milliseconds.
    event_timestamp, EventTimestamp = "event_timestamp";
    /// The same instant as text.
    timestamp, Timestamp = "timestamp";
    /// `BGPStatus`, `RouteStatus` or `BFDStatus`.
    log_type, LogType = "type";
    /// UP, DOWN, ADVERTISED, UPDATED, WITHDRAWN.
    status, Status = "status";
    /// The message of a session, or why a route was denied.
    details, Details = "details";
    /// A route's prefix.
    prefix, Prefix = "prefix";
    /// Space-separated AS numbers.
    as_path, AsPath = "asPath" | "as_path";
    /// LOCAL_PREF.
    local_pref, LocalPref = "localPref" | "local_pref";
    /// MULTI_EXIT_DISC.
    med, Med = "med";
    /// NEXT_HOP.
    next_hop, NextHop = "nextHopIp" | "next_hop_ip" | "nextHop";
    /// Weight.
    weight, Weight = "weight";
    /// IKE: whether dead peer detection is on.
    dpd_enabled, DpdEnabled = "dpd_enabled";
    /// IKE: whether NAT traversal was detected.
    nat_t_detected, NatTDetected = "nat_t_detected";
    /// IKE: state of phase 1.
    phase1, Phase1 = "ike_phase1_state";
    /// IKE: state of phase 2.
    phase2, Phase2 = "ike_phase2_state";
}

impl Key {
    /// Whether only the top level has it: a nested `type` is no type of the line.
    pub(super) fn is_of_top_level(self) -> bool {
        use Key::{EventTimestamp, LogType, ResourceArn, ResourceId, Status, Timestamp};
        matches!(self, ResourceId | ResourceArn | EventTimestamp | Timestamp | LogType | Status)
    }
}

impl<'a> Line<'a> {
    /// Reads a JSON object; nothing if the text is none.
    pub fn from_json(text: &'a str) -> Option<Line<'a>> {
        serde_json::from_str(text).ok()
    }

    /// Whether the line has any key that a tunnel activity log has.
    pub fn has_ike_key(&self) -> bool {
        [&self.phase1, &self.phase2, &self.dpd_enabled, &self.nat_t_detected].iter().any(|value| value.is_present())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Line<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LineVisitor)
    }
}

struct LineVisitor;

impl<'de> Visitor<'de> for LineVisitor {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a log line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
        let mut line = Line::default();
        while let Some(Name(name)) = map.next_key()? {
            let key = Key::named(&name);
            match key.and_then(|key| line.slot(key)) {
                Some(slot) => *slot = map.next_value()?,
                None if key == Some(Key::Message) => map.next_value_seed(Message(&mut line))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(line)
    }
}

/// The name of an object's key; borrowed unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Text(text) => Ok(Name(text)),
            _ => Ok(Name(Cow::Borrowed(""))),
        }
    }
}

/// The value of `message`: an object whose keys go into the line, or the details themselves.
struct Message<'l, 'a>(&'l mut Line<'a>);

impl<'de> serde::de::DeserializeSeed<'de> for Message<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Message<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            match Key::named(&name).filter(|key| !key.is_of_top_level()).and_then(|key| self.0.slot(key)) {
                Some(slot) => *slot = map.next_value()?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.details = ScalarVisitor.visit_seq(seq)?;
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.0.details = Scalar::Text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.details = Scalar::Text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        let mut joined = String::new();
        while let Some(element) = seq.next_element::<Scalar<'de>>()? {
            if let Some(text) = element.text() {
                if !joined.is_empty() {
                    joined.push(' ');
                }
                joined.push_str(&text);
            }
        }
        Ok(Scalar::Text(Cow::Owned(joined)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Object)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_wrongly_typed_value_never_fails_the_line() {
        let line = Line::from_json(
            r#"{"type":7,"status":["UP"],"message":{"prefix":{"a":1},"med":"100","asPath":[65010,65020],"type":"x"},"dpd_enabled":"True","nat_t_detected":null}"#,
        )
        .unwrap();
        assert_eq!(line.log_type, Scalar::Int(7));
        assert_eq!(line.status.str(), Some("UP"));
        assert_eq!(line.prefix, Scalar::Object);
        assert_eq!(line.med.u64(), Some(100));
        assert_eq!(line.as_path.str(), Some("65010 65020"));
        assert_eq!(line.dpd_enabled.bool(), Some(true));
        assert!(!line.nat_t_detected.is_present());
    }

    #[test]
    fn a_message_may_be_text_null_or_anything() {
        for (message, details) in [(r#""words""#, Some("words")), ("null", None), ("7", None), ("[]", None)] {
            let text = format!(r#"{{"message":{message}}}"#);
            assert_eq!(Line::from_json(&text).unwrap().details.str(), details, "{message}");
        }
    }

    #[test]
    fn numbers_are_read_from_strings_and_whole_floats_and_never_wrap() {
        for (value, number) in [
            (Scalar::Int(-1), None),
            (Scalar::Uint(u64::MAX), Some(u64::MAX)),
            (Scalar::Float(100.0), Some(100)),
            (Scalar::Float(0.5), None),
            (Scalar::Float(1e300), None),
            (Scalar::Float(f64::NAN), None),
            (Scalar::Text(" 42 ".into()), Some(42)),
            (Scalar::Text("99999999999999999999".into()), None),
        ] {
            assert_eq!(value.u64(), number, "{value:?}");
        }
    }
}
