//! What objects are called: from record data alone, so that a range that is read again finds the same names.
//!
//! `{partition}/{lane}-{first sequence number}.{ending}`: the partition is the rendered `prefix`, the lane a hash of
//! its name in the checkpoint store. A value in a name holds letters, digits, `-`, `_` and `.` only, so no log line can
//! leave its folder. A key is at most 1,024 bytes, by construction ([`Template::parse`] refuses what could be longer).

use std::fmt::Write as _;

use crate::delivery::{Item, LaneKey, RecordInfo};
use crate::event::{EventId, Millis};
use crate::source::Position;

/// Bytes of a value in a name; longer ones are cut.
const VALUE_BYTES: usize = 64;

/// S3's limit of a key.
const KEY_BYTES: usize = 1024;

/// Hex digits of a lane's hash: 80 bits, so that a million lanes do not meet.
const HASH_DIGITS: usize = 20;

/// The longest file name: hash, `-`, 76 digits, `.ndjson.zst`.
const FILE_BYTES: usize = HASH_DIGITS + 1 + 76 + 11;

/// What a value is called that is not known.
const UNKNOWN: &str = "unknown";

/// What a prefix may say.
const PLACEHOLDERS: [(&str, Field); 8] = [
    ("yyyy", Field::Year),
    ("mm", Field::Month),
    ("dd", Field::Day),
    ("hh", Field::Hour),
    ("account", Field::Account),
    ("region", Field::Region),
    ("connection", Field::Connection),
    ("kind", Field::Kind),
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Field {
    Year,
    Month,
    Day,
    Hour,
    Account,
    Region,
    Connection,
    Kind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Value(Field),
}

/// A `prefix`, ready to be rendered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

impl Template {
    /// Reads a prefix; says what is wrong with it.
    pub(super) fn parse(prefix: &str) -> Result<Template, String> {
        if prefix.starts_with('/') || prefix.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(format!("`prefix` is `{prefix}`: it begins with no `/`, and no folder in it is `.` or `..`"));
        }
        if prefix.chars().any(char::is_control) {
            return Err("`prefix` contains a control character".into());
        }
        let mut parts = Vec::new();
        let closed = if prefix.is_empty() || prefix.ends_with('/') { prefix.into() } else { format!("{prefix}/") };
        let mut rest = closed.as_str();
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(format!("`prefix` is `{prefix}`: a `{{` has no `}}`"))?;
            let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
            let (_, field) = known.ok_or_else(|| {
                let all: Vec<String> = PLACEHOLDERS.iter().map(|(known, _)| format!("`{{{known}}}`")).collect();
                format!("`prefix` has the placeholder `{{{name}}}`: allowed are {}", all.join(", "))
            })?;
            parts.extend([Part::Text(text.to_owned()), Part::Value(*field)]);
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("`prefix` is `{prefix}`: a `}}` has no `{{`"));
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        let template = Template { parts };
        let longest = template.longest() + FILE_BYTES;
        if longest > KEY_BYTES {
            return Err(format!("`prefix` makes keys of up to {longest} bytes: S3 allows {KEY_BYTES}"));
        }
        Ok(template)
    }

    fn longest(&self) -> usize {
        let length = |part: &Part| match part {
            Part::Text(text) => text.len(),
            Part::Value(_) => VALUE_BYTES,
        };
        self.parts.iter().map(length).sum()
    }

    /// What all names begin with: up to the first placeholder, whole folders only.
    pub(super) fn fixed(&self) -> &str {
        match self.parts.as_slice() {
            [Part::Text(text), ..] => text.rfind('/').and_then(|end| text.get(..=end)).unwrap_or_default(),
            _ => "",
        }
    }

    /// The partition of an item: a folder, ending with `/`, or nothing.
    pub(super) fn render(&self, record: &RecordInfo, item: &Item) -> String {
        let mut out = String::new();
        let civil = civil(item.time);
        for part in &self.parts {
            // Writing to a string cannot fail.
            let _ = match part {
                Part::Text(text) => write!(out, "{text}"),
                Part::Value(Field::Year) => write!(out, "{:04}", civil.year()),
                Part::Value(Field::Month) => write!(out, "{:02}", civil.month()),
                Part::Value(Field::Day) => write!(out, "{:02}", civil.day()),
                Part::Value(Field::Hour) => write!(out, "{:02}", civil.hour()),
                Part::Value(Field::Account) => write!(out, "{}", safe(record.account.as_deref())),
                Part::Value(Field::Region) => write!(out, "{}", safe(record.region.as_deref())),
                Part::Value(Field::Connection) => write!(out, "{}", safe(record.connection.as_deref())),
                Part::Value(Field::Kind) => write!(out, "{}", safe(Some(item.kind.as_str()))),
            };
        }
        out
    }
}

/// Items of one record that agree in this are in one partition.
pub(super) fn same_partition(item: &Item, other: &Item) -> bool {
    const HOUR_MS: i64 = 3_600_000;
    item.kind == other.kind && item.time.0.div_euclid(HOUR_MS) == other.time.0.div_euclid(HOUR_MS)
}

fn civil(time: Millis) -> jiff::civil::DateTime {
    let timestamp = jiff::Timestamp::from_millisecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::tz::Offset::UTC.to_datetime(timestamp)
}

/// A value as it may stand in a key.
pub(super) fn safe(value: Option<&str>) -> String {
    let keep = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let text: String = value.unwrap_or_default().chars().take(VALUE_BYTES).collect();
    let text: String = text.chars().map(|character| if keep(character) { character } else { '_' }).collect();
    if text.is_empty() {
        UNKNOWN.into()
    } else if text.bytes().all(|byte| byte == b'.') {
        "_".repeat(text.len())
    } else {
        text
    }
}

/// A lane's name in keys: stable, since names found again are what makes a replay harmless.
pub(super) fn lane_hash(key: &LaneKey) -> String {
    let LaneKey { pipeline, shard, sink } = key;
    let parts = [pipeline, &shard.source, &shard.stream, &shard.stream_created, &shard.shard, sink];
    let parts = parts.map(|part| part.as_bytes());
    let mut hash = EventId::of_parts(&parts).to_string();
    hash.truncate(HASH_DIGITS);
    hash
}

/// An object's file name.
pub(super) fn file_name(lane: &str, start: Position, ending: &str) -> String {
    format!("{lane}-{start}.{ending}")
}

/// The lane hash in a key, if it looks like one of ours.
pub(super) fn lane_of(key: &str) -> Option<&str> {
    let file = key.rsplit('/').next()?;
    let (hash, rest) = file.split_once('-')?;
    let (digits, ending) = rest.split_once('.')?;
    let ours = hash.len() == HASH_DIGITS
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && Position::parse(digits).is_some()
        && (ending.starts_with("ndjson") || ending == "parquet");
    ours.then_some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Action, Kind, Severity};
    use crate::source::ShardId;

    fn item(time: i64) -> Item {
        Item {
            end: 0,
            record: 0,
            id: EventId(1),
            time: Millis(time),
            kind: Kind::BgpRoute,
            action: Action::Advertised,
            severity: Severity::Info,
        }
    }

    fn record(account: Option<&str>, connection: Option<&str>) -> RecordInfo {
        RecordInfo { account: account.map(Into::into), connection: connection.map(Into::into), ..RecordInfo::default() }
    }

    fn lane(shard: &str) -> LaneKey {
        let shard =
            ShardId { source: "main".into(), stream: "vpn".into(), stream_created: "1".into(), shard: shard.into() };
        LaneKey { pipeline: "p".into(), shard, sink: "lake".into() }
    }

    #[test]
    fn a_partition_is_made_of_the_events_time_and_the_records_data() {
        let time = 1_762_580_429_641;
        let check = |prefix: &str, expect: &str| {
            let template = Template::parse(prefix).unwrap();
            let record = record(Some("123456789012"), Some("vpn-1"));
            assert_eq!(template.render(&record, &item(time)), expect, "{prefix}");
        };
        check("", "");
        check("vpn", "vpn/");
        check("vpn/dt={yyyy}-{mm}-{dd}/", "vpn/dt=2025-11-08/");
        check("a={account}/r={region}/{hh}", "a=123456789012/r=unknown/05/");
        check("{connection}/{kind}/", "vpn-1/bgp.route/");
    }

    #[test]
    fn the_fixed_part_ends_with_the_last_whole_folder() {
        for (prefix, expect) in [
            ("", ""),
            ("vpn", "vpn/"),
            ("vpn/", "vpn/"),
            ("vpn/dt={yyyy}/", "vpn/"),
            ("a/b/c-{dd}", "a/b/"),
            ("{yyyy}/x/", ""),
            ("x{yyyy}/", ""),
        ] {
            assert_eq!(Template::parse(prefix).unwrap().fixed(), expect, "{prefix}");
        }
    }

    #[test]
    fn a_bad_prefix_is_refused_with_the_reason() {
        for (prefix, expect) in [
            ("/vpn/", "begins with no `/`"),
            ("a/../b/", "`..`"),
            ("a/{day}/", "`{day}`: allowed are `{yyyy}`"),
            ("a/{dd", "has no `}`"),
            ("a}/", "has no `{`"),
            ("a\n/", "control"),
            (&"x".repeat(950), "1024"),
        ] {
            let error = Template::parse(prefix).unwrap_err();
            assert!(error.contains(expect), "{prefix}: {error}");
        }
    }

    #[test]
    fn names_are_golden() {
        let hash = lane_hash(&lane("shardId-000000000001"));
        // A change of this is a change of what objects are called: replays would not find the old ones.
        assert_eq!(hash, "ccd99279031feb223376");
        let name = file_name(&hash, Position::from(4967), "ndjson.gz");
        assert_eq!(name, format!("{hash}-4967.ndjson.gz"));
        assert_eq!(lane_of(&format!("vpn/dt=2025-11-08/{name}")), Some(hash.as_str()));
        let name = file_name(&hash, Position::from(4967), "parquet");
        assert_eq!(lane_of(&format!("vpn/dt=2025-11-08/{name}")), Some(hash.as_str()));
        assert_ne!(hash, lane_hash(&lane("shardId-000000000002")));
        for foreign in ["a.json", "x-1.ndjson", "vpn/_tunnelog/p.lake.json", &format!("{hash}-x.ndjson")] {
            assert_eq!(lane_of(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_folder(account in ".{0,300}", connection in "[./\\\\\\x00-\\x1f]{0,80}", time: i64) {
            let template = Template::parse("p/{account}/{connection}/{yyyy}/{mm}/{dd}/{hh}/").unwrap();
            let name = template.render(&record(Some(&account), Some(&connection)), &item(time));
            let segments: Vec<&str> = name.split('/').collect();
            prop_assert_eq!(segments.len(), 8, "{}", name);
            prop_assert!(segments[..7].iter().all(|part| !part.is_empty() && *part != "." && *part != ".."));
            prop_assert!(!name.chars().any(char::is_control));
            prop_assert!(name.len() + FILE_BYTES <= KEY_BYTES);
        }
    }
}
