//! `json`: the event in our own schema, one object a line, with its options `raw`, `origin` and `constants`.
//!
//! What the options leave out is left out by a view that borrows the event; nothing is cloned. Constants are
//! rendered once, when the format is made. serde's form of the view is the meaning ([`JsonFormat::encode_by_serde`]);
//! `write` comes to the same bytes quicker.

mod repeat;
mod text;
mod write;

use serde::Serialize;

pub use repeat::{Places, Repeat};

use super::carry::carries_raw;
use crate::config::types::{JsonOptions, RawOption};
use crate::event::{
    Action, Bgp, Cloud, Event, EventId, Ike, Kind, Log, Millis, Origin, Problem, RouteServer, SessionState, Severity,
    Transition, Vpn,
};

/// The resolved format `json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JsonFormat {
    raw: RawOption,
    origin: bool,
    /// `,"key":"value"` for each constant: what stands before the closing brace.
    constants: String,
}

impl JsonFormat {
    /// The top-level names of the schema, which constants cannot have.
    pub const RESERVED: &'static [&'static str] = &[
        "schema",
        "id",
        "time",
        "observed",
        "kind",
        "action",
        "transition",
        "session_state",
        "severity",
        "summary",
        "cloud",
        "vpn",
        "route_server",
        "bgp",
        "ike",
        "problems",
        "log",
        "origin",
        "raw",
    ];

    /// Settles the options. A constant with a [reserved](Self::RESERVED) name is left out: a key twice in
    /// one object means something else to every reader (the check of the pipeline file refuses it).
    pub fn new(options: &JsonOptions) -> JsonFormat {
        let mut constants = String::new();
        for (key, value) in &options.constants {
            if !Self::RESERVED.contains(&key.as_str()) {
                let pair = [serde_json::Value::from(key.as_str()), serde_json::Value::from(value.as_str())];
                constants.push_str(&format!(",{}:{}", pair[0], pair[1]));
            }
        }
        JsonFormat { raw: options.raw, origin: options.origin, constants }
    }

    /// Appends the event as one line.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        self.encode_next(event, out, &mut Repeat::default());
    }

    /// As [`encode`](Self::encode), for one event after the other into one buffer: `repeat` is the same for all
    /// events that the same inventory has enriched.
    pub fn encode_next(&self, event: &Event<'_>, out: &mut Vec<u8>, repeat: &mut Repeat) {
        self.line(event, out, |out, view| write::event(out, view, repeat));
    }

    /// As [`encode`](Self::encode), by serde: what it is compared with.
    pub fn encode_by_serde(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        self.line(event, out, |out, view| serde_json::to_writer(out, view).is_ok());
    }

    fn line(&self, event: &Event<'_>, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>, &View<'_, '_>) -> bool) {
        let start = out.len();
        let view = View::of(event, carries_raw(self.raw, event), self.origin);
        if !write(out, &view) {
            // No value of these types refuses to be written and a Vec takes all bytes. Should that change,
            // the id is what still leads back to the log.
            out.truncate(start);
            out.extend_from_slice(format!(r#"{{"schema":"{}","id":"{}"}}"#, event.schema, event.id).as_bytes());
        }
        if !self.constants.is_empty() {
            out.pop(); // the closing brace
            out.extend_from_slice(self.constants.as_bytes());
            out.push(b'}');
        }
        out.push(b'\n');
    }

    pub(super) fn keeps_raw(&self) -> bool {
        self.raw == RawOption::Always
    }
}

/// An event as it is written: the fields of [`Event`] in their order, by reference. A test holds the two
/// together, and [`View::of`] does not compile if a field is missing.
#[derive(Serialize)]
struct View<'e, 'a> {
    schema: &'static str,
    id: EventId,
    time: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<Millis>,
    kind: Kind,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    transition: Option<Transition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_state: Option<SessionState>,
    severity: Severity,
    summary: &'e str,
    cloud: &'e Cloud<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpn: Option<&'e Vpn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route_server: Option<&'e RouteServer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bgp: Option<&'e Bgp<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ike: Option<&'e Ike<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'e [Problem<'a>],
    log: &'e Log<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'e Origin<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<&'e str>,
}

impl<'e, 'a> View<'e, 'a> {
    fn of(event: &'e Event<'a>, with_raw: bool, with_origin: bool) -> Self {
        let Event {
            schema,
            id,
            time,
            observed,
            kind,
            action,
            transition,
            session_state,
            severity,
            summary,
            cloud,
            vpn,
            route_server,
            bgp,
            ike,
            problems,
            log,
            origin,
            raw,
        } = event;
        View {
            schema,
            id: *id,
            time: *time,
            observed: *observed,
            kind: *kind,
            action: *action,
            transition: *transition,
            session_state: *session_state,
            severity: *severity,
            summary,
            cloud,
            vpn: vpn.as_ref(),
            route_server: route_server.as_ref(),
            bgp: bgp.as_ref(),
            ike: ike.as_ref(),
            problems,
            log,
            origin: origin.as_ref().filter(|_| with_origin),
            raw: raw.filter(|_| with_raw),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::RouteServer;
    use crate::sample;

    fn options(raw: RawOption, origin: bool, constants: &[(&str, &str)]) -> JsonFormat {
        let constants = constants.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        JsonFormat::new(&JsonOptions { raw, origin, constants })
    }

    fn line(format: &JsonFormat, event: &Event<'_>) -> String {
        let mut out = b"before\n".to_vec();
        format.encode(event, &mut out);
        let text = String::from_utf8(out).unwrap();
        let line = text.strip_prefix("before\n").unwrap().strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "one line: {line}");
        line.to_owned()
    }

    /// An event that has every field.
    fn full<'a>() -> Event<'a> {
        let mut event = sample::established();
        event.problems.push(Problem { field: "bgp.prefix", value: "10.0.0.0/99".into() });
        event.ike = Some(Ike::default());
        event.route_server = Some(RouteServer { peer_id: None, arn: "arn:aws:…".into() });
        event
    }

    #[test]
    fn the_view_writes_what_the_event_itself_would() {
        let (event, format) = (full(), options(RawOption::Always, true, &[]));
        assert_eq!(line(&format, &event), serde_json::to_string(&event).unwrap());
        let mut by_serde = Vec::new();
        format.encode_by_serde(&event, &mut by_serde);
        assert_eq!(String::from_utf8(by_serde).unwrap(), line(&format, &event) + "\n");
    }

    #[test]
    fn reserved_names_are_the_names_of_the_schema() {
        let schema = schemars::schema_for!(Event<'static>);
        let mut names: Vec<_> = schema.get("properties").unwrap().as_object().unwrap().keys().collect();
        let mut reserved = JsonFormat::RESERVED.to_vec();
        names.sort();
        reserved.sort_unstable();
        assert_eq!(names, reserved);
    }

    #[test]
    fn raw_goes_along_as_the_option_says() {
        type Change = fn(&mut Event<'_>);
        let changes: [(Change, bool); 4] = [
            (|_| {}, false),
            (|event| event.kind = Kind::Unparsed, true),
            (|event| event.action = Action::Other, true),
            (|event| event.problems.push(Problem { field: "time", value: "x".into() }), true),
        ];
        for (change, problematic) in changes {
            let mut event = sample::established();
            change(&mut event);
            for (raw, expect) in
                [(RawOption::Problems, problematic), (RawOption::Always, true), (RawOption::Never, false)]
            {
                let has_raw = line(&options(raw, false, &[]), &event).contains("\"raw\":");
                assert_eq!(has_raw, expect, "{raw:?} {:?} {:?}", event.kind, event.action);
            }
        }
    }

    #[test]
    fn constants_stand_at_the_top_level_and_cannot_replace_a_field() {
        let format = options(RawOption::Never, false, &[("team", "net \"ops\"\n"), ("severity", "debug")]);
        let value: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&line(&format, &sample::established())).unwrap();
        assert_eq!(value["team"], "net \"ops\"\n");
        assert_eq!(value["severity"], "info");
    }

    #[test]
    fn a_log_line_with_newlines_stays_one_line() {
        let mut event = sample::established();
        (event.raw, event.summary) = (Some("a\r\nb"), "c\nd\u{2028}\u{0}");
        assert!(line(&options(RawOption::Always, false, &[]), &event).ends_with(r#""raw":"a\r\nb"}"#));
    }
}
