//! When an event happened: its own time if that is plausible, else CloudWatch's, else the arrival.

use std::borrow::Cow;

use super::line::{Line, Scalar};
use crate::event::{Millis, Problem};

/// A time below this is in seconds: 10^11 ms is in 1973, 10^11 s is in the year 5138.
const SECONDS_BELOW: f64 = 1e11;

/// The event's time. Implausible times of the line or the envelope are kept in `problems`, and that nothing
/// tells a time, so that formats which keep only the lines with problems keep this one.
pub(crate) fn event_time<'a>(
    line: &Line<'a>,
    envelope: Option<Millis>,
    observed: Option<Millis>,
    problems: &mut Vec<Problem<'a>>,
) -> Millis {
    let own = match own_time(&line.event_timestamp, problems) {
        Some(own) if own.0 % 1000 != 0 => Some(own),
        // The number may be in whole seconds where the text has milliseconds of the same second.
        Some(own) => match own_time(&line.timestamp, problems) {
            Some(exact) if own.0.div_euclid(1000) == exact.0.div_euclid(1000) => Some(exact),
            _ => Some(own),
        },
        None => own_time(&line.timestamp, problems),
    };
    let envelope = envelope.filter(|time| plausible("log.timestamp", *time, problems));
    let time = own.or(envelope).or(observed.filter(|time| time.is_plausible()));
    if time.is_none() {
        problems.push(Problem { field: "time", value: Cow::Borrowed("none") });
    }
    time.unwrap_or_default()
}

/// One of the line's two times, if it is one and plausible.
fn own_time<'a>(value: &Scalar<'a>, problems: &mut Vec<Problem<'a>>) -> Option<Millis> {
    let time = parse(value).filter(|time| time.is_plausible());
    if time.is_none()
        && let Some(text) = value.text()
    {
        problems.push(Problem { field: "time", value: text });
    }
    time
}

fn plausible<'a>(field: &'static str, time: Millis, problems: &mut Vec<Problem<'a>>) -> bool {
    if !time.is_plausible() {
        problems.push(Problem { field, value: Cow::Owned(time.0.to_string()) });
    }
    time.is_plausible()
}

/// Epoch seconds or milliseconds by magnitude, or RFC 3339 with `T` or a space, `Z` or nothing.
fn parse(value: &Scalar<'_>) -> Option<Millis> {
    match value {
        Scalar::Int(number) if (number.unsigned_abs() as f64) < SECONDS_BELOW => Some(Millis(number * 1000)),
        Scalar::Int(number) => Some(Millis(*number)),
        Scalar::Float(number) => Some(epoch(*number)),
        Scalar::Text(text) => {
            if let Some(time) = Millis::parse_usual(text) {
                return Some(time);
            }
            let text = text.trim();
            let number = text.parse().ok().map(epoch);
            number.or_else(|| Millis::parse(text)).or_else(|| Millis::parse(&format!("{text}Z")))
        }
        _ => None,
    }
}

/// `as` saturates; what it saturates to is not plausible.
fn epoch(number: f64) -> Millis {
    let millis = if number.abs() < SECONDS_BELOW { (number * 1000.0).round() } else { number };
    Millis(millis as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn check(json: &str, time: i64, problems: &[&str]) {
        let line = Line::from_json(json).unwrap();
        let mut found = Vec::new();
        let got = event_time(&line, Some(Millis(1_700_000_000_000)), Some(Millis(1_600_000_000_000)), &mut found);
        assert_eq!(got, Millis(time), "{json}");
        assert_eq!(found.iter().map(|problem| &*problem.value).collect::<Vec<_>>(), problems, "{json}");
    }

    #[test]
    fn the_unit_is_told_by_the_magnitude_and_the_more_precise_time_wins() {
        check(r#"{"event_timestamp":1762580429641}"#, 1_762_580_429_641, &[]);
        check(r#"{"event_timestamp":1762580429}"#, 1_762_580_429_000, &[]);
        check(r#"{"event_timestamp":1762580429.5}"#, 1_762_580_429_500, &[]);
        check(r#"{"event_timestamp":"1762580429641"}"#, 1_762_580_429_641, &[]);
        check(r#"{"event_timestamp":"2025-11-08T05:40:29.641Z"}"#, 1_762_580_429_641, &[]);
        check(r#"{"event_timestamp":"2025-11-08 05:40:29.641"}"#, 1_762_580_429_641, &[]);
        check(r#"{"event_timestamp":1762580429,"timestamp":"2025-11-08 05:40:29.641Z"}"#, 1_762_580_429_641, &[]);
        check(r#"{"event_timestamp":1762580429,"timestamp":"2025-11-08 05:40:31.641Z"}"#, 1_762_580_429_000, &[]);
        check(r#"{"event_timestamp":1762580429001,"timestamp":"2025-11-08 05:40:29.641Z"}"#, 1_762_580_429_001, &[]);
        check(r#"{"timestamp":"2025-11-08 05:40:29.641Z"}"#, 1_762_580_429_641, &[]);
    }

    #[test]
    fn absurd_times_are_kept_as_problems_and_the_next_best_is_taken() {
        check("{}", 1_700_000_000_000, &[]);
        check(r#"{"event_timestamp":-1}"#, 1_700_000_000_000, &["-1"]);
        check(r#"{"event_timestamp":9223372036854775807}"#, 1_700_000_000_000, &["9223372036854775807"]);
        check(
            r#"{"event_timestamp":1e300}"#,
            1_700_000_000_000,
            &[
                "1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
            ],
        );
        check(r#"{"event_timestamp":"soon","timestamp":"2025-11-08 05:40:29.641Z"}"#, 1_762_580_429_641, &["soon"]);
        check(r#"{"event_timestamp":[]}"#, 1_700_000_000_000, &[]);
        let mut problems = Vec::new();
        assert_eq!(event_time(&Line::default(), Some(Millis(i64::MIN)), None, &mut problems), Millis(0));
        let values: Vec<_> = problems.iter().map(|problem| (problem.field, &*problem.value)).collect();
        assert_eq!(values, [("log.timestamp", "-9223372036854775808"), ("time", "none")]);
        let mut problems = Vec::new();
        assert_eq!(event_time(&Line::default(), None, Some(Millis(-1)), &mut problems), Millis(0));
        assert_eq!(problems, [Problem { field: "time", value: "none".into() }]);
        problems.clear();
        assert_eq!(
            event_time(&Line::default(), None, Some(Millis(1_600_000_000_000)), &mut problems).0,
            1_600_000_000_000
        );
        assert!(problems.is_empty());
    }
}
