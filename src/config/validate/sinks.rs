//! The sinks of a pipeline and its dead letters: exactly one kind each, formats, conditions, and that no two of them
//! write the same file.

use std::collections::BTreeMap;
use std::path::{Component, Path as FilePath, PathBuf};

use super::sources::is_stream_name;
use super::{Check, Feature};
use crate::config::Level;
use crate::config::conditions::{kinds_of, words};
use crate::config::tree::Path;
use crate::config::types::{
    Compression, Condition, FileSink, FirehoseSink, Format, FormatName, JsonOptions, Pack, Sink,
};
use crate::config::units::Size;
use crate::encode::{JsonFormat, SplunkFormat};

/// Below this a file sink would make a file for every few events.
const SMALLEST_ROTATE: Size = Size(4 * 1024);
/// `limits.outage_after` has this default: a sink that gathers for longer would look like one that is out.
const LONGEST_LINGER: std::time::Duration = std::time::Duration::from_secs(30);
/// Names of Firehose streams.
const FIREHOSE_NAME: usize = 64;

impl Check<'_, '_, '_> {
    pub(super) fn sink(&mut self, path: &Path, sink: &Sink) {
        let options = [
            ("kafka", sink.kafka.is_some()),
            ("firehose", sink.firehose.is_some()),
            ("s3", sink.s3.is_some()),
            ("splunk_hec", sink.splunk_hec.is_some()),
            ("file", sink.file.is_some()),
            ("console", sink.console.is_some()),
        ];
        self.exactly_one(path, "the sink", &options);
        let aws = sink.aws.as_ref();
        if let Some(kafka) = &sink.kafka {
            self.kafka(path, kafka, aws);
        }
        if let Some(firehose) = &sink.firehose {
            self.firehose(&path.key("firehose"), firehose);
            self.aws(path, aws, None);
        }
        if let Some(s3) = &sink.s3 {
            self.s3(path, s3, aws);
        }
        if let Some(splunk) = &sink.splunk_hec {
            self.splunk_hec(&path.key("splunk_hec"), splunk);
        }
        if let Some(file) = &sink.file {
            self.file(&path.key("file"), file);
        }
        if sink.kafka.is_none() && sink.firehose.is_none() && sink.s3.is_none() {
            self.aws_unused(path, aws, "`firehose`, `s3` or `kafka` with `sasl.mechanism: aws_msk_iam`");
        }
        self.format(path, sink);
        for (field, condition) in [("only", &sink.only), ("except", &sink.except)] {
            if let Some(condition) = condition {
                self.condition(&path.key(field), condition);
            }
        }
    }

    fn format(&mut self, path: &Path, sink: &Sink) {
        match &sink.format {
            Some(Format::Name(FormatName::Timeline)) if sink.console.is_none() => {
                let notes = ["it is for people: use `json` here, or a sink with `console: {}`"];
                self.error(&path.key("format"), "`timeline` is a format for the console only", &notes);
            }
            Some(Format::Options(options)) => {
                let format = path.key("format");
                let named = [
                    ("json", &options.json),
                    ("ocsf", &options.ocsf),
                    ("ecs", &options.ecs),
                    ("splunk", &options.splunk),
                ];
                let all = named.iter().map(|(name, options)| (*name, options.is_some()));
                let all: Vec<_> = all.chain([("parquet", options.parquet.is_some())]).collect();
                self.exactly_one(&format, "the format", &all);
                for (name, options) in named {
                    if let Some(options) = options {
                        self.constants(&format.key(name).key("constants"), name, options);
                    }
                }
            }
            _ => {}
        }
        if sink.format.as_ref().is_some_and(Format::is_parquet) {
            self.parquet(path, sink.s3.as_ref());
        }
    }

    fn firehose(&mut self, path: &Path, firehose: &FirehoseSink) {
        self.built(path, Feature::Aws, "sink `firehose`");
        self.compression(&path.key("compression"), firehose.compression);
        if firehose.compression != Compression::None && firehose.pack == Pack::Never {
            let notes = ["leave `pack` out, or `compression`"];
            self.error(
                &path.key("compression"),
                "only records of many events are compressed, and `pack` is `never`",
                &notes,
            );
        }
        if firehose.linger.0 > LONGEST_LINGER {
            let notes = ["30s at most: a destination that says nothing for longer is taken for down"];
            self.error(&path.key("linger"), "too long", &notes);
        }
        let path = path.key("stream");
        if firehose.stream.starts_with("arn:") {
            let notes = ["give the name alone: what stands after `deliverystream/`"];
            self.error(&path, "an ARN, not the name of a Firehose stream", &notes);
        } else if !is_stream_name(&firehose.stream, FIREHOSE_NAME) {
            let notes = ["1 to 64 letters, digits, `_`, `.` and `-`"];
            self.error(&path, "not the name of a Firehose stream", &notes);
        }
    }

    pub(super) fn dead_letters(&mut self) {
        let Some(letters) = &self.loaded.pipeline.dead_letters else { return };
        let path = Path::of(&["dead_letters"]);
        self.exactly_one(&path, "dead_letters", &[("file", letters.file.is_some()), ("s3", letters.s3.is_some())]);
        if let Some(file) = &letters.file {
            self.file(&path.key("file"), file);
        }
        match &letters.s3 {
            Some(s3) => self.s3(&path, s3, letters.aws.as_ref()),
            None => self.aws_unused(&path, letters.aws.as_ref(), "`s3`"),
        }
    }

    /// Zstandard is a feature of its own.
    pub(super) fn compression(&mut self, path: &Path, compression: Compression) {
        if compression == Compression::Zstd && !cfg!(feature = "zstd") {
            let notes = ["use `gzip`, or build with `cargo build --features zstd`"];
            self.error(path, "this build has no zstd", &notes);
        }
    }

    fn constants(&mut self, path: &Path, format: &str, options: &JsonOptions) {
        for name in options.constants.keys() {
            let is_taken = match format {
                "json" => JsonFormat::RESERVED.contains(&name.as_str()),
                "splunk" => SplunkFormat::is_reserved(name),
                _ => false,
            };
            let path = path.key(name);
            if is_taken {
                let message = format!("the event has a field `{name}` of its own");
                self.report.error(self.tree.find_key(&path), &path, message).note("choose another name");
            } else if name.is_empty() {
                self.error(&path, "a field without a name", &["give it a name"]);
            } else if format == "ecs" && name.contains('.') {
                // Elasticsearch reads a point as a level: `a` and `a.b` cannot both be fields of one index.
                let message = format!("`{name}` has a point, which a label cannot have");
                let remedy = format!("write `{}`", name.replace('.', "_"));
                self.report.error(self.tree.find_key(&path), &path, message).note(remedy);
            }
        }
    }

    fn file(&mut self, path: &Path, file: &FileSink) {
        self.compression(&path.key("compression"), file.compression);
        if file.rotate < SMALLEST_ROTATE {
            let notes = [&*format!("at least {SMALLEST_ROTATE}")];
            self.error(&path.key("rotate"), "a file for every few events", &notes);
        }
        if file.path.file_name().is_none() {
            self.error(&path.key("path"), "this is a folder, not a file", &["add a name, for example events.ndjson"]);
        }
    }

    fn condition(&mut self, path: &Path, condition: &Condition) {
        let place = self.tree.find(path);
        if condition.is_empty() && !self.report.touches(&path.to_string()) {
            let problem = self.report.error(place, path, "a condition without keys");
            problem.note("remove it, or name at least one of kind, action, min_severity, ...");
        }
        for (index, action) in condition.action.iter().enumerate() {
            let kinds = kinds_of(*action);
            if !condition.kind.is_empty() && !condition.kind.iter().any(|kind| kinds.contains(kind)) {
                let message = format!("`{action}` never occurs with kind {}", words(&condition.kind));
                let notes = [&*format!("`{action}` is an action of {}", words(kinds))];
                self.error(&path.key("action").index(index), message, &notes);
            }
        }
        for (index, account) in condition.account.iter().enumerate() {
            self.account(&path.key("account").index(index), account);
        }
        for (index, connection) in condition.connection.iter().enumerate() {
            if !connection.starts_with("vpn-") {
                let path = path.key("connection").index(index);
                self.error(&path, "not a VPN connection id", &["it begins with vpn-"]);
            }
        }
        self.tags(&path.key("tag"), condition);
    }

    fn tags(&mut self, path: &Path, condition: &Condition) {
        for (tag, values) in &condition.tag {
            if values.is_empty() {
                self.error(&path.key(tag), "no value is allowed, so no event could meet it", &["list the values"]);
            }
        }
        let enrich = &self.loaded.pipeline.enrich;
        let inventory =
            enrich.ec2.is_some() || enrich.file.is_some() || enrich.simulated.is_some() || enrich.overlay.is_some();
        if !condition.tag.is_empty() && !inventory {
            let notes = [
                "every event passes such a condition and is counted",
                "add `enrich` with ec2, file, simulated or overlay",
            ];
            self.add(Level::Warning, path, "no inventory says what tags a connection has".into(), &notes);
        }
        // The columns of an overlay are tags too, and are known only when it is read.
        if inventory && enrich.overlay.is_none() {
            condition.tag.keys().for_each(|tag| self.carried(&path.key(tag), tag));
        }
    }

    /// A tag that events do not carry: the condition is never met where the inventory knows the connection.
    fn carried(&mut self, path: &Path, tag: &str) {
        let carried = &self.loaded.pipeline.enrich.tags;
        if tag == "Name" || carried.iter().any(|other| other == tag) || self.report.touches(&path.to_string()) {
            return;
        }
        let message = format!("events do not carry the tag `{tag}`: it is not in `enrich.tags`");
        let problem = self.report.warning(self.tree.find_key(path), path, message);
        problem.note("no event of a connection that the inventory knows meets this condition");
        problem.note(format!("add `{tag}` to `enrich.tags`, or an `enrich.overlay` with that column"));
    }

    /// Two writers of one file would destroy each other's lines.
    pub(super) fn files_differ(&mut self) {
        let pipeline = &self.loaded.pipeline;
        let mut files: Vec<(Path, PathBuf)> = Vec::new();
        for (name, sink) in &pipeline.sinks {
            files.extend(sink.file.iter().map(|file| (Path::of(&["sinks", name, "file", "path"]), file.path.clone())));
        }
        if pipeline.dead_letters.as_ref().is_none_or(|letters| letters.s3.is_none()) {
            let path = Path::of(&["dead_letters", "file", "path"]);
            files.push((path.clone(), self.loaded.dead_letters_file().path));
            files.push((path, self.loaded.rejected_file().path));
        }
        if pipeline.checkpoint.dynamodb.is_none() {
            files.push((Path::of(&["checkpoint", "file"]), self.loaded.checkpoint_file()));
        }
        let files = files.into_iter().map(|(path, file)| (path, plain(&file))).collect();
        self.differ(files, Level::Error, "the same file as", &["give each a file of its own"]);
    }

    /// What two sinks send to the same place: allowed, since each may have its own events, but rarely meant.
    pub(super) fn destinations_differ(&mut self) {
        let sinks = &self.loaded.pipeline.sinks;
        let notes = ["events that both sinks take are there twice", "give each its own, or make one sink of them"];
        let topics = sinks.iter().filter_map(|(name, sink)| {
            let kafka = sink.kafka.as_ref()?;
            let brokers: Vec<String> = crate::config::kafka::brokers(kafka).into_iter().map(str::to_owned).collect();
            Some((Path::of(&["sinks", name, "kafka", "topic"]), (brokers, kafka.topic.clone())))
        });
        self.differ(topics.collect(), Level::Warning, "the same topic as", &notes);
        let streams = sinks.iter().filter_map(|(name, sink)| {
            let (firehose, aws) = (sink.firehose.as_ref()?, sink.aws.clone().unwrap_or_default());
            let path = Path::of(&["sinks", name, "firehose", "stream"]);
            Some((path, (firehose.stream.clone(), aws.region, aws.endpoint)))
        });
        self.differ(streams.collect(), Level::Warning, "the same stream as", &notes);
    }

    /// Reports each of these that an earlier one equals.
    pub(super) fn differ<T: Ord>(&mut self, those: Vec<(Path, T)>, level: Level, message: &str, notes: &[&str]) {
        let mut first: BTreeMap<T, Path> = BTreeMap::new();
        for (path, what) in those {
            match first.get(&what) {
                Some(other) => self.add(level, &path, format!("{message} `{other}`"), notes),
                None => drop(first.insert(what, path)),
            }
        }
    }
}

/// The path without `.` and `a/..`, so that two spellings of one file compare equal.
fn plain(path: &FilePath) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
