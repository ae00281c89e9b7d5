//! From an event to bytes: one newline-terminated item an event, in the format that a sink asked for.
//!
//! Formats are resolved once from the pipeline file; equal resolved formats are equal values, so that sinks
//! share one buffer. Not here: who gets which event (`route`). Encoding cannot fail and, in the steady
//! state, allocates nothing but growth of the caller's buffer.

mod carry;
pub mod dead_letter;
pub mod ecs;
mod ends;
pub mod json;
mod object;
pub mod ocsf;
pub mod outcome;
#[cfg(feature = "parquet")]
pub mod parquet;
pub mod splunk;
pub mod timeline;

pub use dead_letter::DeadLetter;
pub use ecs::EcsFormat;
pub use json::{JsonFormat, Places, Repeat};
pub use ocsf::OcsfFormat;
pub use splunk::SplunkFormat;
pub use timeline::TimelineFormat;

use crate::config::types;
use crate::event::Event;

/// A format with all its options settled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Our own schema.
    Json(JsonFormat),
    /// OCSF.
    Ocsf(OcsfFormat),
    /// ECS.
    Ecs(EcsFormat),
    /// Splunk's CIM.
    Splunk(SplunkFormat),
    /// A line for a person.
    Timeline(TimelineFormat),
    /// What a dead-letter lane carries: [`DeadLetter::encode`] writes its items. An event is none.
    DeadLetter,
}

impl Format {
    /// The format that the pipeline file asks for, else `default`: `json`, but `timeline` for a console on a
    /// terminal. `colour`: whether the sink is a terminal that shows colours.
    pub fn resolve(configured: Option<&types::Format>, default: types::FormatName, colour: bool) -> Format {
        let defaults = types::JsonOptions::default();
        match configured {
            Some(types::Format::Options(options)) => Format::with_options(options),
            Some(types::Format::Name(name)) => Format::named(*name, &defaults, colour),
            None => Format::named(default, &defaults, colour),
        }
    }

    /// The one format that has options; `json` where none has, which the check of the pipeline file refuses.
    fn with_options(options: &types::FormatOptions) -> Format {
        let types::FormatOptions { json, ocsf, ecs, splunk, parquet } = options;
        if let Some(types::ParquetOptions { raw, origin }) = *parquet {
            // Rows are read back from our own lines (see `parquet`).
            return Format::Json(JsonFormat::new(&types::JsonOptions { raw, origin, ..Default::default() }));
        }
        match (json, ocsf, ecs, splunk) {
            (None, Some(options), _, _) => Format::Ocsf(OcsfFormat::new(options)),
            (None, None, Some(options), _) => Format::Ecs(EcsFormat::new(options)),
            (None, None, None, Some(options)) => Format::Splunk(SplunkFormat::new(options)),
            (json, ..) => Format::Json(JsonFormat::new(json.as_ref().unwrap_or(&types::JsonOptions::default()))),
        }
    }

    fn named(name: types::FormatName, options: &types::JsonOptions, colour: bool) -> Format {
        match name {
            types::FormatName::Json | types::FormatName::Parquet => Format::Json(JsonFormat::new(options)),
            types::FormatName::Ocsf => Format::Ocsf(OcsfFormat::new(options)),
            types::FormatName::Ecs => Format::Ecs(EcsFormat::new(options)),
            types::FormatName::Splunk => Format::Splunk(SplunkFormat::new(options)),
            types::FormatName::Timeline => Format::Timeline(TimelineFormat { colour, ..TimelineFormat::default() }),
        }
    }

    /// The schema of the items, name and version, where they have one.
    pub fn schema(&self) -> Option<&'static str> {
        match self {
            Format::Json(_) => Some(crate::event::SCHEMA),
            Format::Ocsf(_) => Some(ocsf::SCHEMA),
            Format::Ecs(_) => Some(ecs::SCHEMA),
            Format::Splunk(_) => Some(splunk::SCHEMA),
            Format::Timeline(_) => None,
            Format::DeadLetter => Some(dead_letter::SCHEMA),
        }
    }

    /// Whether it may write [`Event::raw`] of an event that has been understood, so that lines have to be kept.
    pub fn keeps_raw(&self) -> bool {
        match self {
            Format::Json(format) => format.keeps_raw(),
            Format::Ocsf(format) => format.keeps_raw(),
            Format::Ecs(format) => format.keeps_raw(),
            Format::Splunk(format) => format.keeps_raw(),
            Format::Timeline(_) | Format::DeadLetter => false,
        }
    }

    /// As [`encode`](Self::encode), for one event after the other into one buffer; see [`JsonFormat::encode_next`].
    pub fn encode_next(&self, event: &Event<'_>, out: &mut Vec<u8>, repeat: &mut Repeat) {
        match self {
            Format::Json(format) => format.encode_next(event, out, repeat),
            other => other.encode(event, out),
        }
    }

    /// Appends exactly one item with its newline; nothing before it contains a newline.
    pub fn encode(&self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Format::Json(format) => format.encode(event, out),
            Format::Ocsf(format) => format.encode(event, out),
            Format::Ecs(format) => format.encode(event, out),
            Format::Splunk(format) => format.encode(event, out),
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
        let default = JsonOptions::default();
        let raw = JsonOptions { raw: RawOption::Always, ..JsonOptions::default() };
        type Put = fn(JsonOptions) -> FormatOptions;
        let put: [(FormatName, Put); 4] = [
            (FormatName::Json, |json| FormatOptions { json: Some(json), ..FormatOptions::default() }),
            (FormatName::Ocsf, |ocsf| FormatOptions { ocsf: Some(ocsf), ..FormatOptions::default() }),
            (FormatName::Ecs, |ecs| FormatOptions { ecs: Some(ecs), ..FormatOptions::default() }),
            (FormatName::Splunk, |splunk| FormatOptions { splunk: Some(splunk), ..FormatOptions::default() }),
        ];
        for (name, put) in put {
            let named = types::Format::Name(name);
            let [default, raw] = [&default, &raw].map(|options| types::Format::Options(put(options.clone())));
            let formats: HashSet<Format> = [None, Some(&default), Some(&named), Some(&raw)]
                .map(|format| Format::resolve(format, name, false))
                .into();
            assert_eq!(formats.len(), 2, "{formats:?}");
        }
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
        let named = [FormatName::Json, FormatName::Ocsf, FormatName::Ecs, FormatName::Splunk, FormatName::Timeline];
        let formats = named.map(|name| Format::resolve(None, name, false));
        for format in formats.into_iter().chain([Format::DeadLetter]) {
            let mut out = b"kept".to_vec();
            format.encode(&event, &mut out);
            assert!(out.starts_with(b"kept") && out.ends_with(b"\n"), "{format:?}");
            assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "{format:?}");
        }
    }
}
