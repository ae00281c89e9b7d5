//! Where a pipeline's sinks, dead letters and rejects go, in words.

use crate::config::Loaded;
use crate::config::types::{FileSink, S3Sink};

/// Where something goes.
pub(super) enum Place {
    /// A file and those that follow it.
    Files(FileSink),
    /// Anything else, in words.
    Elsewhere(String),
}

impl Place {
    /// In words.
    pub(super) fn text(&self) -> String {
        match self {
            Place::Files(file) => file.path.display().to_string(),
            Place::Elsewhere(text) => text.clone(),
        }
    }
}

/// Where a sink's items go.
pub(super) fn of_sink(loaded: &Loaded, name: &str) -> Place {
    let Some(sink) = loaded.pipeline.sinks.get(name) else { return Place::Elsewhere(String::new()) };
    if let Some(file) = &sink.file {
        return Place::Files(file.clone());
    }
    let text = if let Some(kafka) = &sink.kafka {
        format!("topic {} at {}", kafka.topic, kafka.brokers.join(", "))
    } else if let Some(firehose) = &sink.firehose {
        format!("delivery stream {}", firehose.stream)
    } else if let Some(s3) = &sink.s3 {
        url(s3, &s3.prefix)
    } else if let Some(splunk) = &sink.splunk_hec {
        format!("Splunk at {}", splunk.endpoints.join(", "))
    } else {
        "standard output".into()
    };
    Place::Elsewhere(text)
}

/// Where records go that cannot be read.
pub(super) fn of_dead_letters(loaded: &Loaded) -> Place {
    match s3(loaded) {
        Some(s3) => Place::Elsewhere(url(s3, &s3.prefix)),
        None => Place::Files(loaded.dead_letters_file()),
    }
}

/// Where events go that a sink's destination refuses.
pub(super) fn of_rejects(loaded: &Loaded) -> Place {
    match s3(loaded) {
        Some(s3) => Place::Elsewhere(url(s3, &s3.rejected_folder())),
        None => Place::Files(loaded.rejected_file()),
    }
}

fn s3(loaded: &Loaded) -> Option<&S3Sink> {
    loaded.pipeline.dead_letters.as_ref().and_then(|letters| letters.s3.as_ref())
}

fn url(s3: &S3Sink, key: &str) -> String {
    format!("s3://{}/{key}", s3.bucket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use serde_json::{Value, json};

    use super::*;

    /// A pipeline with these parts; they need not be valid in this build.
    fn loaded(sinks: Value, dead_letters: Value) -> Loaded {
        let text = "sources: { fleet: { simulate: {} } }\nsinks: { tty: { console: {} } }\n";
        let Ok(mut loaded) = crate::config::load_str("p.yaml", text, &|_| None) else { panic!("a pipeline file") };
        loaded.pipeline.sinks = serde_json::from_value(sinks).unwrap();
        loaded.pipeline.dead_letters = serde_json::from_value(dead_letters).unwrap();
        loaded
    }

    #[test]
    fn every_sink_says_where_its_events_are() {
        let check = |sink: Value, expected: &str| {
            let loaded = loaded(json!({ "x": sink }), Value::Null);
            assert_eq!(of_sink(&loaded, "x").text(), expected);
        };
        let kafka = json!({ "kafka": { "brokers": ["b-1:9092", "b-2:9092"], "topic": "vpn-events" } });
        check(kafka, "topic vpn-events at b-1:9092, b-2:9092");
        check(json!({ "s3": { "bucket": "logs", "prefix": "vpn/dt={yyyy}/" } }), "s3://logs/vpn/dt={yyyy}/");
        check(json!({ "firehose": { "stream": "to-lake" } }), "delivery stream to-lake");
        let splunk = json!({ "splunk_hec": { "endpoints": ["https://a:8088", "https://b:8088"] } });
        check(splunk, "Splunk at https://a:8088, https://b:8088");
        check(json!({ "console": {} }), "standard output");
        check(json!({ "file": { "path": "out/x.ndjson" } }), "out/x.ndjson");
    }

    #[test]
    fn dead_letters_and_rejects_say_where_they_are() {
        let check = |letters: Value, dead: &str, rejected: &str| {
            let loaded = loaded(json!({}), letters);
            assert_eq!(of_dead_letters(&loaded).text(), dead);
            assert_eq!(of_rejects(&loaded).text(), rejected);
        };
        check(Value::Null, "state/p.dead-letters.ndjson", "state/p.dead-letters.rejected.ndjson");
        let file = json!({ "file": { "path": "bad/letters.ndjson.gz", "compression": "gzip" } });
        check(file, "bad/letters.ndjson.gz", "bad/letters.rejected.ndjson");
        let s3 = json!({ "s3": { "bucket": "logs", "prefix": "dead/dt={yyyy}/" } });
        check(s3, "s3://logs/dead/dt={yyyy}/", "s3://logs/dead/rejected/");
    }
}
