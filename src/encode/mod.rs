//! From an event to bytes: one newline-terminated item an event, in the format that a sink asked for.
//!
//! Formats are resolved once from the pipeline file; equal resolved formats are equal values, so that sinks
//! share one buffer. Not here: who gets which event (`route`). Encoding cannot fail and, in the steady
//! state, allocates nothing but growth of the caller's buffer.

pub mod dead_letter;
pub mod json;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod timeline;

pub use dead_letter::DeadLetter;
pub use json::JsonFormat;
pub use timeline::TimelineFormat;

use crate::config::types;
use crate::event::Event;

/// A format with all its options settled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Our own schema.
    Json(JsonFormat),
    /// A line for a person.
    Timeline(TimelineFormat),
    /// What a dead-letter lane carries: [`DeadLetter::encode`] writes its items. An event is none.
    DeadLetter,
}

impl Format {
    /// The format that the pipeline file asks for, else `default`: `json`, but `timeline` for a console on a
    /// terminal. `colour`: whether the sink is a terminal that shows colours.
    pub fn resolve(configured: Option<&types::Format>, default: types::FormatName, colour: bool) -> Format {
        let name = match configured {
            Some(types::Format::Options(types::FormatOptions { parquet: Some(parquet), .. })) => {
                // Rows are read back from our own lines (see `parquet`).
                let types::ParquetOptions { raw, origin } = *parquet;
                return Format::Json(JsonFormat::new(&types::JsonOptions { raw, origin, ..Default::default() }));
            }
            Some(types::Format::Options(options)) => {
                return Format::Json(JsonFormat::new(options.json.as_ref().unwrap_or(&types::JsonOptions::default())));
            }
            Some(types::Format::Name(name)) => *name,
            None => default,
        };
        match name {
            types::FormatName::Json | types::FormatName::Parquet => Format::Json(JsonFormat::default()),
            types::FormatName::Timeline => Format::Timeline(TimelineFormat { colour, ..TimelineFormat::default() }),
        }
    }

    /// The schema of the items, name and version, where they have one.
    pub fn schema(&self) -> Option<&'static str> {
        match self {
            Format::Json(_) => Some(crate::event::SCHEMA),
            Format::Timeline(_) => None,
            Format::DeadLetter => Some(dead_letter::SCHEMA),
        }
    }

    /// Appends exactly one item with its newline; nothing before it contains a newline.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Format::Json(format) => format.encode(event, out),
            Format::Timeline(format) => format.encode(event, out),
            // Dead letters are made of records, not of events; an event that is sent here all the same
            // keeps its own form rather than being lost.
            Format::DeadLetter => JsonFormat::default().encode(event, out),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use std::collections::HashSet;

    use super::*;
    use crate::config::types::{FormatName, FormatOptions, JsonOptions, RawOption};
    use crate::sample;

    #[test]
    fn formats_that_resolve_alike_are_shared() {
        let default =
            types::Format::Options(FormatOptions { json: Some(JsonOptions::default()), ..FormatOptions::default() });
        let raw = JsonOptions { raw: RawOption::Always, ..JsonOptions::default() };
        let raw = types::Format::Options(FormatOptions { json: Some(raw), ..FormatOptions::default() });
        let name = types::Format::Name(FormatName::Json);
        let formats: HashSet<Format> = [None, Some(&default), Some(&name), Some(&raw)]
            .map(|format| Format::resolve(format, FormatName::Json, false))
            .into();
        assert_eq!(formats.len(), 2, "{formats:?}");
    }

    #[test]
    fn the_default_yields_to_what_the_pipeline_file_says() {
        let timeline = Format::resolve(None, FormatName::Timeline, true);
        assert!(matches!(timeline, Format::Timeline(TimelineFormat { colour: true, .. })));
        let json = Format::resolve(Some(&types::Format::Name(FormatName::Json)), FormatName::Timeline, true);
        assert_eq!(json, Format::Json(JsonFormat::default()));
    }

    #[test]
    fn every_format_appends_one_item_with_one_newline_at_its_end() {
        let mut event = sample::established();
        event.summary = "two\nlines";
        for format in
            [Format::Json(JsonFormat::default()), Format::Timeline(TimelineFormat::default()), Format::DeadLetter]
        {
            let mut out = b"kept".to_vec();
            format.encode(&event, &mut out);
            assert!(out.starts_with(b"kept") && out.ends_with(b"\n"), "{format:?}");
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "{format:?}");
        }
    }
}
