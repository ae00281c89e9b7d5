//! The sources of a pipeline: exactly one kind each, streams that are spelled like streams.

use super::aws::{Arn, is_account, is_region};
use super::{Check, Feature};
use crate::config::tree::Path;
use crate::config::types::{Kinesis, Source, Start};

/// Names of Kinesis streams.
const STREAM_NAME: usize = 128;

impl Check<'_, '_, '_> {
    pub(super) fn source(&mut self, path: &Path, source: &Source) {
        let options = [
            ("kinesis", source.kinesis.is_some()),
            ("simulate", source.simulate.is_some()),
            ("replay", source.replay.is_some()),
        ];
        self.exactly_one(path, "the source", &options);
        if let Some(region) = &source.region {
            self.region(&path.key("region"), region);
        }
        match &source.kinesis {
            Some(kinesis) => {
                let named = Arn::parse(&kinesis.stream).map(|arn| arn.region).filter(|region| is_region(region));
                self.kinesis(&path.key("kinesis"), kinesis);
                self.aws(path, source.aws.as_ref(), named.map(|region| (region, "the stream's ARN")));
            }
            None => self.aws_unused(path, source.aws.as_ref(), "`kinesis`"),
        }
        let Some(replay) = &source.replay else { return };
        let inputs = path.key("replay").key("inputs");
        for (index, resolved) in self.loaded.replay_inputs(replay).iter().enumerate() {
            self.must_exist(&inputs.index(index), resolved);
        }
        if let Some(owner) = &replay.identity.owner {
            self.account(&path.key("replay").key("identity").key("owner"), owner);
        }
    }

    fn kinesis(&mut self, path: &Path, kinesis: &Kinesis) {
        self.built(path, Feature::Aws, "source `kinesis`");
        self.stream(&path.key("stream"), &kinesis.stream);
        if let Some(consumer) = &kinesis.consumer {
            let path = path.key("consumer").key("enhanced_fan_out");
            let name = &consumer.enhanced_fan_out;
            if name.starts_with("arn:") {
                let note = "give the consumer's name alone: the stream is named already";
                self.error(&path, "an ARN, not the name of a consumer", &[note]);
            } else if !name.is_empty() && !is_stream_name(name, STREAM_NAME) {
                self.error(&path, "not the name of a consumer", &["1 to 128 letters, digits, `_`, `.` and `-`"]);
            }
        }
        match (kinesis.start, &kinesis.timestamp) {
            // One that cannot be read has its own problem.
            (Start::AtTimestamp, None) if !self.report.touches(&path.key("timestamp").to_string()) => {
                let notes = ["add `timestamp`, for example 2026-01-15T00:00:00Z"];
                self.error(&path.key("start"), "`at_timestamp` needs a time", &notes);
            }
            (Start::TrimHorizon | Start::Latest, Some(_)) => {
                let notes = ["add `start: at_timestamp`, or remove it"];
                self.error(&path.key("timestamp"), "nothing begins at this time", &notes);
            }
            _ => {}
        }
    }

    /// A stream's name or ARN.
    fn stream(&mut self, path: &Path, stream: &str) {
        const FORM: &str = "the form is arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";
        const NAME: &str = "1 to 128 letters, digits, `_`, `.` and `-`, or an ARN";
        if !stream.starts_with("arn:") {
            if !is_stream_name(stream, STREAM_NAME) {
                self.error(path, "not the name of a Kinesis stream", &[NAME]);
            }
            return;
        }
        let arn = Arn::parse(stream).filter(|arn| arn.service == "kinesis");
        let Some(arn) = arn else { return self.error(path, "not the ARN of a Kinesis stream", &[FORM]) };
        let name = arn.resource.strip_prefix("stream/").unwrap_or_default();
        if name.contains("/consumer/") {
            return self.error(path, "the ARN of a consumer, not of its stream", &[FORM]);
        }
        if !is_region(arn.region) || !is_account(arn.account) || !is_stream_name(name, STREAM_NAME) {
            self.error(path, "not the ARN of a Kinesis stream", &[FORM]);
        }
    }

    /// One stream that two sources read: each event would come twice.
    pub(super) fn streams_differ(&mut self) {
        let sources = &self.loaded.pipeline.sources;
        let endpoint = |source: &Source| source.aws.as_ref().and_then(|aws| aws.endpoint.clone());
        let region = |source: &Source| source.aws.as_ref().and_then(|aws| aws.region.clone());
        let streams = sources.iter().filter_map(|(name, source)| {
            let path = Path::of(&["sources", name, "kinesis", "stream"]);
            Some((path, (source.kinesis.as_ref()?.stream.clone(), region(source), endpoint(source))))
        });
        self.differ(
            streams.collect(),
            crate::config::Level::Warning,
            "the same stream as",
            &["each event would come twice, with the same id", "remove one of the two sources"],
        );
    }
}

/// Names of streams: Kinesis and Firehose take the same letters.
pub(super) fn is_stream_name(name: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=longest).contains(&name.len()) && name.bytes().all(allowed)
}
