//! The values that an event is made of: times, ids, AS numbers; each knows its form on the wire.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

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
        let text = text.trim();
        if let Some(time) = Self::parse_usual(text) {
            return Some(time);
        }
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(Millis(timestamp.as_millisecond()))
    }

    /// The form that AWS writes, `2025-11-08 05:40:29.641Z`, also with a `T`; nothing for what needs a second look,
    /// such as a leap day or a leap second.
    pub(crate) fn parse_usual(text: &str) -> Option<Millis> {
        const FORM: &[u8; 24] = b"0000-00-00T00:00:00.000Z";
        let mut text: [u8; 24] = text.as_bytes().try_into().ok()?;
        if text[10] == b' ' {
            text[10] = b'T';
        }
        let fits = |byte: u8, form: u8| if form == b'0' { byte.is_ascii_digit() } else { byte == form };
        // Without a way out of the loop it is compiled to wide instructions.
        if !text.iter().zip(FORM).fold(true, |fit, (byte, form)| fit & fits(*byte, *form)) {
            return None;
        }
        let digit = |at: usize| i64::from(text[at] - b'0');
        let pair = |at: usize| 10 * digit(at) + digit(at + 1);
        let (year, month, day) = (100 * pair(0) + pair(2), pair(5), pair(8));
        let (hour, minute, second) = (pair(11), pair(14), pair(17));
        let days = match month {
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let is_usual = (1970..2100).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        let seconds = || ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        is_usual.then(|| Millis(seconds() * 1000 + 10 * pair(20) + digit(22)))
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, from 1970 on. From "chrono-Compatible Low-Level Date
/// Algorithms", Howard Hinnant: years begin with March, so that the leap day is the last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
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
/// XXH3-128 (seed 0) over length-prefixed parts; see [`EventId::push_part`]. Stable across versions: a
/// change of it is a change of the schema. It identifies, it does not authenticate: nothing is ever
/// dropped because two ids are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EventId(pub u128);

impl EventId {
    /// Adds a part to those that an id is made of: preceded by its length in bytes (u32, little-endian), so that no
    /// two lists of parts share an encoding.
    pub fn push_part(parts: &mut Vec<u8>, part: &[u8]) {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        parts.extend_from_slice(&length.to_le_bytes());
        parts.extend_from_slice(part);
    }

    /// The id of the parts that have been [pushed](Self::push_part).
    pub fn of_pushed(parts: &[u8]) -> EventId {
        EventId(xxhash_rust::xxh3::xxh3_128(parts))
    }

    /// The id of the given parts.
    pub fn of_parts(parts: &[&[u8]]) -> EventId {
        let mut pushed = Vec::new();
        parts.iter().for_each(|part| Self::push_part(&mut pushed, part));
        Self::of_pushed(&pushed)
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
pub struct AsNumbers<'a> {
    path: Cow<'a, str>,
    /// The last one, if the path is [plain](Self::plain).
    last_of_plain: Option<u32>,
}

impl<'a> AsNumbers<'a> {
    /// Those of a path, in which AS sets may stand.
    pub fn of(path: Cow<'a, str>) -> AsNumbers<'a> {
        let last_of_plain = last_of_plain_path(path.as_bytes());
        AsNumbers { path, last_of_plain }
    }

    /// The text that they are read from.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The path, if it is no more than its numbers as they are written, each with one space before the next.
    pub(crate) fn plain(&self) -> Option<&str> {
        Some(&*self.path).filter(|_| self.last_of_plain.is_some())
    }

    /// The last of them.
    pub(crate) fn last(&self) -> Option<u32> {
        self.last_of_plain.or_else(|| self.iter().next_back())
    }

    /// The AS numbers in order; members of AS sets as they stand.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> {
        self.path.as_bytes().split(|byte| !byte.is_ascii_digit()).filter_map(as_number)
    }
}

/// The last number of a path that is numbers without leading zeros, one space between them; nothing of any other.
fn last_of_plain_path(path: &[u8]) -> Option<u32> {
    let (mut number, mut has_digits) = (0_u64, false);
    for byte in path {
        match byte {
            b'0'..=b'9' if number > 0 || !has_digits => {
                (number, has_digits) = (number * 10 + u64::from(byte - b'0'), true);
                if number > u64::from(u32::MAX) {
                    return None;
                }
            }
            b' ' if has_digits => (number, has_digits) = (0, false),
            _ => return None,
        }
    }
    // Lossless: see above.
    has_digits.then_some(number as u32)
}

/// What `parse` reads from digits; nothing from none, or from more than fit.
pub(crate) fn as_number(digits: &[u8]) -> Option<u32> {
    let number =
        digits.iter().try_fold(0_u32, |number, digit| number.checked_mul(10)?.checked_add(u32::from(digit - b'0')))?;
    (!digits.is_empty()).then_some(number)
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

/// An IPv4 address as text, without a formatter's work: every event has some.
#[derive(Clone, Copy)]
pub(crate) struct Dotted {
    text: [u8; 16],
    length: usize,
}

/// The last decimal digit of a number.
const fn digit(number: usize) -> u8 {
    b'0' + (number % 10) as u8
}

/// The digits of every octet with the dot behind them, and how many bytes these are.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut number = 0;
    while number < octets.len() {
        let [hundreds, tens, ones] = [digit(number / 100), digit(number / 10), digit(number)];
        octets[number] = match number {
            0..10 => ([ones, b'.', b'.', b'.'], 2),
            10..100 => ([tens, ones, b'.', b'.'], 3),
            _ => ([hundreds, tens, ones, b'.'], 4),
        };
        number += 1;
    }
    octets
};

/// Takes the octet at the start, which has no zeros in front.
#[inline]
fn octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, mut rest) = text.split_first().filter(|(first, _)| first.is_ascii_digit())?;
    let mut octet = u16::from(first - b'0');
    while let Some((digit, behind)) = rest.split_first().filter(|(digit, _)| digit.is_ascii_digit()) {
        if octet == 0 {
            return None;
        }
        octet = octet * 10 + u16::from(digit - b'0');
        if octet > 255 {
            return None;
        }
        rest = behind;
    }
    // Lossless: see above.
    Some((octet as u8, rest))
}

impl Dotted {
    /// As `text.parse()`, which looks at one byte at a time for each thing that it might be.
    pub(crate) fn parse(text: &str) -> Option<Ipv4Addr> {
        let (a, rest) = octet(text.as_bytes())?;
        let (b, rest) = octet(rest.strip_prefix(b".")?)?;
        let (c, rest) = octet(rest.strip_prefix(b".")?)?;
        let (d, rest) = octet(rest.strip_prefix(b".")?)?;
        rest.is_empty().then(|| Ipv4Addr::new(a, b, c, d))
    }

    pub(crate) fn of(ip: Ipv4Addr) -> Dotted {
        let mut text = [0; 16];
        let mut at = 0;
        for octet in ip.octets() {
            let (digits, length) = OCTETS[usize::from(octet)];
            if let Some(slot) = text.get_mut(at..at + 4) {
                slot.copy_from_slice(&digits);
            }
            at += length;
        }
        Dotted { text, length: at - 1 }
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Display for Dotted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_addresses_are_those_that_parse() {
        let mut texts: Vec<String> = (0..=300)
            .flat_map(|it| {
                [0, 1, 2, 3].map(|at| {
                    let mut octets = [7, 10, 255, 0];
                    octets[at] = it;
                    octets.map(|octet| octet.to_string()).join(".")
                })
            })
            .collect();
        for text in [
            "",
            ".",
            "1",
            "1.2.3",
            "1.2.3.",
            "1.2.3.4.",
            "1.2.3.4.5",
            ".1.2.3",
            "1..2.3",
            "01.2.3.4",
            "1.2.3.04",
            "00.0.0.0",
            "1.2.3.4 ",
            "1.2.3.+4",
            "1.2.3.a",
            "::1",
            "1.2.3.1000",
            "1.2.3.4294967297",
            "1.2.3.65536",
            "é",
        ] {
            texts.push(text.to_owned());
        }
        for text in texts {
            assert_eq!(Dotted::parse(&text), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn a_plain_path_is_its_numbers_with_spaces_between() {
        for path in [
            "65010",
            "65010 65020 1",
            "0",
            "0 1",
            "999999999",
            "01",
            "1  2",
            " 1",
            "1 ",
            "",
            "{1}",
            "1 {2,3}",
            "4294967295",
            "4294967296",
            "4200000001 1",
            "0999999999",
            "42000000a1",
            "42949672950",
            "1 00",
            "a",
            "1é",
        ] {
            let numbers = AsNumbers::of(path.into());
            let joined: Vec<String> = numbers.iter().map(|number| number.to_string()).collect();
            let is_joined = joined.join(" ") == path && !path.is_empty();
            assert!(numbers.plain().is_none() || is_joined, "{path}");
            assert!(numbers.plain().is_some() || !is_joined, "{path}");
        }
    }

    #[test]
    fn the_usual_form_of_a_time_is_read_as_any_other_is() {
        let by_jiff = |text: &str| text.parse::<jiff::Timestamp>().ok().map(|time| Millis(time.as_millisecond()));
        let day = 86_400_000;
        for days in 0..50_000_i64 {
            let time = Millis(days * day + days * 7919 % day);
            for text in [time.to_string(), time.to_string().replace('T', " ")] {
                assert_eq!(Millis::parse(&text), Some(time), "{text}");
            }
        }
        for text in [
            "2025-02-29 00:00:00.000Z",
            "2024-02-29 00:00:00.000Z",
            "2025-04-31 00:00:00.000Z",
            "2025-13-01 00:00:00.000Z",
            "2025-00-01 00:00:00.000Z",
            "2025-01-00 00:00:00.000Z",
            "2025-01-01 24:00:00.000Z",
            "2025-01-01 00:60:00.000Z",
            "2025-06-30 23:59:60.000Z",
            "1969-12-31 23:59:59.999Z",
            "2025-01-01_00:00:00.000Z",
            "2025-01-01 00:00:00.0000",
            "0000-01-01 00:00:00.000Z",
            "9999-12-31 00:00:00.000Z",
        ] {
            assert_eq!(Millis::parse(text), by_jiff(text), "{text}");
        }
    }
}
