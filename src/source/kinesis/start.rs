//! Where a lane without a checkpoint begins.

use std::time::SystemTime;

use crate::config::types::{Kinesis, Start};
use crate::event::Millis;
use crate::source::StartAt;

/// Where all lanes begin that are new; taken once, when the source is opened.
///
/// `latest` is a point in time and not the tip of each shard: the lane remembers it before it reads, and so a
/// restart before the first record skips nothing. It is a full second, since some services keep no finer arrival
/// times.
pub(super) fn start_at(config: &Kinesis) -> Result<StartAt, String> {
    resolve(config, now())
}

fn resolve(config: &Kinesis, now: Millis) -> Result<StartAt, String> {
    match (config.start, &config.timestamp) {
        (Start::AtTimestamp, None) => {
            Err("`start: at_timestamp` needs `timestamp`: the time from which on records are read, RFC 3339".into())
        }
        (Start::AtTimestamp, Some(text)) => {
            let Some(time) = Millis::parse(text) else {
                return Err(format!("`timestamp` is `{text}`; write RFC 3339, for example 2026-01-15T00:00:00Z"));
            };
            if time > now {
                return Err(format!(
                    "`timestamp` is {time}, which is yet to come (it is {now}): give a time in the past"
                ));
            }
            Ok(StartAt::AtTimestamp(time.0))
        }
        (Start::TrimHorizon, _) => Ok(StartAt::TrimHorizon),
        (Start::Latest, _) => Ok(StartAt::AtTimestamp(now.0 - now.0.rem_euclid(1_000))),
    }
}

/// Where a lane begins on a shard that was found after the first listing: its records all came after its parents',
/// and after the first start, so every one of them is wanted whatever `start` says.
pub(super) const FOUND_LATER: StartAt = StartAt::TrimHorizon;

#[expect(clippy::disallowed_methods, reason = "`latest` means from now on, and retention counts back from now")]
pub(super) fn now() -> Millis {
    #[cfg(test)]
    if let Some(now) = crate::hooks::now() {
        return now;
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: Start, timestamp: Option<&str>, expect: Result<StartAt, &str>) {
        let config = Kinesis { stream: "logs".into(), start, timestamp: timestamp.map(str::to_owned), consumer: None };
        let now = Millis::parse("2026-01-15T12:00:00.750Z").unwrap();
        match (resolve(&config, now), expect) {
            (Err(said), Err(part)) => assert!(said.contains(part), "{said}"),
            (found, expect) => assert_eq!(found, expect.map_err(str::to_owned)),
        }
    }

    #[test]
    fn latest_is_the_time_of_the_first_start() {
        let noon = Millis::parse("2026-01-15T12:00:00Z").unwrap().0;
        check(Start::TrimHorizon, None, Ok(StartAt::TrimHorizon));
        check(Start::Latest, None, Ok(StartAt::AtTimestamp(noon)));
        check(Start::AtTimestamp, Some("2026-01-15T12:00:00Z"), Ok(StartAt::AtTimestamp(noon)));
        check(Start::AtTimestamp, None, Err("needs `timestamp`"));
        check(Start::AtTimestamp, Some("yesterday"), Err("write RFC 3339"));
        check(Start::AtTimestamp, Some("2026-01-16T00:00:00Z"), Err("yet to come"));
    }
}
