//! Sizes and durations as people write them: `64MiB`, `30s`.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, written as a number with `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Size(pub u64);

impl Size {
    /// Mebibytes.
    pub const fn mib(count: u64) -> Size {
        Size(count * 1024 * 1024)
    }

    /// Parses `123`, `123B`, `4KiB`, `64MiB`, `2GiB`.
    pub fn parse(text: &str) -> Result<Size, String> {
        let (number, unit) = split(text);
        let factor: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err("a size is a whole number with B, KiB, MiB or GiB, for example 64MiB".into()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a size begins with a whole number, for example 64MiB".to_string())?;
        number.checked_mul(factor).map(Size).ok_or_else(|| "the size does not fit 64 bits".into())
    }
}

/// A span of time, written as a number with `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Duration(pub std::time::Duration);

impl Duration {
    /// Seconds.
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(std::time::Duration::from_secs(seconds))
    }

    /// Parses `250ms`, `30s`, `5m`, `2h`, `1d`. A unit is needed: a bare number says nothing.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let (number, unit) = split(text);
        let factor_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("a duration is a whole number with ms, s, m, h or d, for example 30s".into()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a duration begins with a whole number, for example 30s".to_string())?;
        let ms = number.checked_mul(factor_ms).ok_or("the duration is too long")?;
        Ok(Duration(std::time::Duration::from_millis(ms)))
    }
}

impl fmt::Display for Size {
    /// With the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_largest(f, self.0, &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")])
    }
}

impl fmt::Display for Duration {
    /// With the largest unit that divides it, in whole milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write_largest(f, ms, &[(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")])
    }
}

fn write_largest(f: &mut fmt::Formatter<'_>, number: u64, units: &[(u64, &str)]) -> fmt::Result {
    let fitting = units.iter().find(|(factor, _)| number != 0 && number.is_multiple_of(*factor));
    match fitting.or(units.last()) {
        Some((factor, unit)) => write!(f, "{}{unit}", number / factor),
        None => write!(f, "{number}"),
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Makes a unit readable from text and known to the schema.
macro_rules! unit {
    ($name:ident, $format:literal, $pattern:literal, $what:literal) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "pattern": $pattern, "description": $what })
            }
        }
    };
}

unit!(Size, "size", "^[0-9]+ *(B|KiB|MiB|GiB)?$", "a size such as 64MiB");
unit!(Duration, "duration", "^[0-9]+ *(ms|s|m|h|d)$", "a duration such as 30s");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_numbers_with_a_binary_unit() {
        let check = |text: &str, expect: Option<(u64, &str)>| {
            let parsed = Size::parse(text).ok();
            assert_eq!(parsed.map(|size| size.0), expect.map(|(bytes, _)| bytes), "{text}");
            assert_eq!(parsed.map(|size| size.to_string()), expect.map(|(_, shown)| shown.to_string()), "{text}");
        };
        check("0", Some((0, "0B")));
        check("123", Some((123, "123B")));
        check("4KiB", Some((4096, "4KiB")));
        check("64 MiB", Some((64 << 20, "64MiB")));
        check("1024MiB", Some((1 << 30, "1GiB")));
        check("64MB", None);
        check("64mib", None);
        check("1.5MiB", None);
        check("-1", None);
        check("MiB", None);
        check("", None);
        check("18446744073709551615GiB", None);
    }

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let check = |text: &str, expect: Option<(u64, &str)>| {
            let parsed = Duration::parse(text).ok();
            assert_eq!(parsed.map(|duration| duration.0.as_millis()), expect.map(|(ms, _)| u128::from(ms)), "{text}");
            assert_eq!(parsed.map(|duration| duration.to_string()), expect.map(|(_, s)| s.to_string()), "{text}");
        };
        check("250ms", Some((250, "250ms")));
        check("30s", Some((30_000, "30s")));
        check("90 s", Some((90_000, "90s")));
        check("60m", Some((3_600_000, "1h")));
        check("1d", Some((86_400_000, "1d")));
        check("0s", Some((0, "0ms")));
        check("30", None);
        check("1h30m", None);
        check("1 hour", None);
        check("", None);
        check("18446744073709551615d", None);
    }
}
