//! What a format carries beside the event: the log line, the record that it came in, constants.

use crate::config::types::{JsonOptions, RawOption};
use crate::event::{Event, Origin};

/// The options of `ocsf`, `ecs` and `splunk`, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Carry {
    raw: RawOption,
    origin: bool,
    constants: Vec<(String, String)>,
}

impl Carry {
    /// Settles the options; without the constants that `is_taken` says the event has itself (the check of the
    /// pipeline file refuses them).
    pub(super) fn new(options: &JsonOptions, is_taken: impl Fn(&str) -> bool) -> Carry {
        let constants = options.constants.iter().filter(|(name, _)| !is_taken(name));
        let constants = constants.map(|(name, value)| (name.clone(), value.clone())).collect();
        Carry { raw: options.raw, origin: options.origin, constants }
    }

    /// The log line, if it goes along.
    pub(super) fn raw<'a>(&self, event: &Event<'a>) -> Option<&'a str> {
        event.raw.filter(|_| carries_raw(self.raw, event))
    }

    /// Whether the log line goes along with every event.
    pub(super) fn keeps_raw(&self) -> bool {
        self.raw == RawOption::Always
    }

    /// The record that it came in, if that goes along.
    pub(super) fn origin<'e, 'a>(&self, event: &'e Event<'a>) -> Option<&'e Origin<'a>> {
        event.origin.as_ref().filter(|_| self.origin)
    }

    /// Names and values that are the same in every event.
    pub(super) fn constants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.constants.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Whether the log line goes along.
pub(super) fn carries_raw(raw: RawOption, event: &Event<'_>) -> bool {
    match raw {
        RawOption::Always => true,
        RawOption::Never => false,
        RawOption::Problems => !event.is_understood(),
    }
}
