//! Sizes and durations as people write them: `64MiB`, `30s`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

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
