//! What a schema cannot say: choices of exactly one, references between parts, files that must exist,
//! features of this build.
//!
//! Every check looks at the typed pipeline and finds the place in the tree by the field's path. Where a
//! problem is already reported at, above or below a path, nothing is added: it would be its consequence.

use std::collections::BTreeMap;
use std::path::{Component, Path as FilePath, PathBuf};

use super::Loaded;
use super::conditions::{kinds_of, words};
use super::problem::{Level, Problem, Report, nearest};
use super::tree::{Node, Path};
use super::types::{Condition, FileSink, Format, FormatName, JsonOptions, Sink, Source};
use super::units::{Duration, Size};
use crate::encode::JsonFormat;

/// Shortest time between two commits: each is a sync of the disk.
const SHORTEST_INTERVAL: Duration = Duration(std::time::Duration::from_millis(100));
/// Longest time between two commits: half of what `/healthz` allows the engine to be silent.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);
/// A record may hold this much after decompression (FACTS: a subscription batch of 1 MiB).
const SMALLEST_RECORD: Size = Size::mib(1);
/// Offsets into encoded items have 32 bits: 256 MiB, each byte at most 6 in JSON (`\u0000`), stay below 4 GiB.
const LARGEST_RECORD: Size = Size::mib(256);
const _: () = assert!(LARGEST_RECORD.0 * 6 < u32::MAX as u64);
/// Below this a file sink would make a file for every few events.
const SMALLEST_ROTATE: Size = Size(4 * 1024);

/// Checks the meaning of a pipeline.
pub(crate) fn validate(loaded: &Loaded, tree: &Node, report: &mut Report<'_>) {
    let mut check = Check { loaded, tree, report };
    for (name, source) in &loaded.pipeline.sources {
        check.source(&Path::of(&["sources", name]), source);
    }
    check.enrich();
    for (name, sink) in &loaded.pipeline.sinks {
        check.sink(&Path::of(&["sinks", name]), sink);
    }
    check.dead_letters();
    check.limits();
    check.status();
    check.outputs_differ();
    // Last: a wrong name makes nothing else about its source or sink wrong.
    check.names();
}

struct Check<'a, 'r, 't> {
    loaded: &'a Loaded,
    tree: &'a Node,
    report: &'r mut Report<'t>,
}

impl Check<'_, '_, '_> {
    /// Adds a problem unless it is a consequence of another.
    fn add(&mut self, level: Level, path: &Path, message: String, notes: &[&str]) {
        if self.report.touches(&path.to_string()) {
            return;
        }
        let place = self.tree.find(path);
        let problem: &mut Problem = match level {
            Level::Error => self.report.error(place, path, message),
            Level::Warning => self.report.warning(place, path, message),
        };
        for note in notes {
            problem.note(*note);
        }
    }

    fn error(&mut self, path: &Path, message: impl Into<String>, notes: &[&str]) {
        self.add(Level::Error, path, message.into(), notes);
    }

    fn names(&mut self) {
        const RULE: &str = "1 to 64 of a-z, 0-9, _ and -, since it names metrics and checkpoints";
        let pipeline = &self.loaded.pipeline;
        match &pipeline.name {
            Some(name) if !is_name(name) => {
                self.error(&Path::of(&["name"]), "not a name for a pipeline", &[RULE]);
            }
            None if !is_name(&self.loaded.name) => {
                let message = format!("the file's name `{}` cannot name the pipeline", self.loaded.name);
                self.report.error_of_file(message).note(format!("add `name:` with {RULE}"));
            }
            _ => {}
        }
        let sources = pipeline.sources.keys().map(|name| ("sources", name));
        for (part, name) in sources.chain(pipeline.sinks.keys().map(|name| ("sinks", name))) {
            if !is_name(name) {
                let path = Path::of(&[part, name]);
                let place = self.tree.find_key(&path);
                let what = part.trim_end_matches('s');
                self.report.error(place, &path, format!("`{name}` is not a name for a {what}")).note(RULE);
            }
        }
    }

    /// Reports unless exactly one of the options is set.
    fn exactly_one(&mut self, path: &Path, what: &str, options: &[(&str, bool)]) {
        let set: Vec<&str> = options.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
        let all = options.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        match set.as_slice() {
            [_] => {}
            [] => self.error(path, format!("{what} says nothing"), &[&format!("set exactly one: {all}")]),
            [first, ..] => {
                let both = words(set.iter().map(|name| format!("`{name}`")));
                let remedy = format!("keep exactly one, for example `{first}`");
                self.error(path, format!("{what} sets several: {both}"), &[&remedy]);
            }
        }
    }

    fn source(&mut self, path: &Path, source: &Source) {
        let options = [("simulate", source.simulate.is_some()), ("replay", source.replay.is_some())];
        self.exactly_one(path, "the source", &options);
        let Some(replay) = &source.replay else { return };
        let inputs = path.key("replay").key("inputs");
        for (index, resolved) in self.loaded.replay_inputs(replay).iter().enumerate() {
            self.must_exist(&inputs.index(index), resolved);
        }
        if let Some(owner) = &replay.identity.owner {
            self.account(&path.key("replay").key("identity").key("owner"), owner);
        }
    }

    /// The file is looked for now, so that a start does not fail where `check` was content.
    fn must_exist(&mut self, path: &Path, resolved: &FilePath) {
        if resolved.exists() {
            return;
        }
        // A resolved path may hold a variable's value; the file's own text is on the line above.
        let is_expanded = self.loaded.expanded.contains(&path.to_string());
        let shown = if is_expanded { "what this names".to_string() } else { format!("`{}`", resolved.display()) };
        let remedy = "paths here are relative to the pipeline file's folder";
        self.error(path, format!("{shown} does not exist"), &["create it or correct the path", remedy]);
    }

    fn enrich(&mut self) {
        let enrich = &self.loaded.pipeline.enrich;
        let path = Path::of(&["enrich"]);
        if enrich.file.is_some() && enrich.simulated.is_some() {
            let message = "`file` and `simulated` are two inventories";
            self.error(&path.key("simulated"), message, &["keep one of the two"]);
        }
        self.ec2(&path.key("ec2"));
        let files = [("file", self.loaded.enrich_file()), ("overlay", self.loaded.overlay())];
        for (field, resolved) in files {
            if let Some(resolved) = resolved {
                self.must_exist(&path.key(field), &resolved);
            }
        }
        if let Some(name) = &enrich.simulated {
            self.simulated(&path.key("simulated"), name);
        }
        if enrich.refresh < Duration::from_secs(1) {
            self.error(&path.key("refresh"), "files would be looked at without a pause", &["at least 1s"]);
        }
    }

    fn ec2(&mut self, path: &Path) {
        let enrich = &self.loaded.pipeline.enrich;
        let Some(ec2) = &enrich.ec2 else { return };
        if let Some(other) = [("file", enrich.file.is_some()), ("simulated", enrich.simulated.is_some())]
            .into_iter()
            .find_map(|(name, set)| set.then_some(name))
        {
            let message = format!("`ec2` and `{other}` are two inventories");
            self.error(&Path::of(&["enrich", other]), message, &["keep one of the two"]);
        }
        super::validate_ec2::ec2(ec2, &mut |fields, index, message, notes| {
            let path = fields.iter().fold(path.clone(), |path, field| path.key(field));
            let path = index.map_or(path.clone(), |index| path.index(index));
            self.error(&path, message, notes);
        });
    }

    fn simulated(&mut self, path: &Path, name: &str) {
        let sources = &self.loaded.pipeline.sources;
        if sources.get(name).is_some_and(|source| source.simulate.is_some()) {
            return;
        }
        // The source may be there and broken; that has its own problem.
        if self.report.touches(&Path::of(&["sources", name]).to_string()) {
            return;
        }
        let simulating: Vec<&str> =
            sources.iter().filter(|(_, source)| source.simulate.is_some()).map(|(name, _)| name.as_str()).collect();
        let list = match simulating.as_slice() {
            [] => "there is none: add a source with `simulate`, or use `enrich.file`".to_string(),
            names => format!("sources that simulate: {}", names.join(", ")),
        };
        let message = "no source of this name simulates a fleet";
        match nearest(name, simulating) {
            Some(near) => self.error(path, message, &[&format!("did you mean `{near}`?"), &list]),
            None => self.error(path, message, &[&list]),
        }
    }

    fn sink(&mut self, path: &Path, sink: &Sink) {
        let options = [("file", sink.file.is_some()), ("console", sink.console.is_some())];
        self.exactly_one(path, "the sink", &options);
        if let Some(file) = &sink.file {
            self.file(&path.key("file"), file);
        }
        match &sink.format {
            Some(Format::Name(FormatName::Timeline)) if sink.console.is_none() => {
                let notes = ["use `json` here, or `console: {}` in place of the file"];
                self.error(&path.key("format"), "`timeline` is a format for the console only", &notes);
            }
            Some(Format::Options(options)) => {
                let format = path.key("format");
                self.exactly_one(&format, "the format", &[("json", options.json.is_some())]);
                if let Some(json) = &options.json {
                    self.constants(&format.key("json").key("constants"), json);
                }
            }
            _ => {}
        }
        for (field, condition) in [("only", &sink.only), ("except", &sink.except)] {
            if let Some(condition) = condition {
                self.condition(&path.key(field), condition);
            }
        }
    }

    fn constants(&mut self, path: &Path, json: &JsonOptions) {
        for name in json.constants.keys() {
            if JsonFormat::RESERVED.contains(&name.as_str()) {
                let path = path.key(name);
                let message = format!("the event has a field `{name}` of its own");
                self.report.error(self.tree.find_key(&path), &path, message).note("choose another name");
            } else if name.is_empty() {
                self.error(&path.key(name), "a field without a name", &["give it a name"]);
            }
        }
    }

    fn file(&mut self, path: &Path, file: &FileSink) {
        if file.compression == super::types::Compression::Zstd && !cfg!(feature = "zstd") {
            let notes = ["use `gzip`, or build with `cargo build --features zstd`"];
            self.error(&path.key("compression"), "this build has no zstd", &notes);
        }
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

    fn account(&mut self, path: &Path, account: &str) {
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            let notes = ["12 digits, leading zeros included, for example \"012345678901\""];
            self.error(path, "not an account id", &notes);
        }
    }

    fn dead_letters(&mut self) {
        let Some(dead_letters) = &self.loaded.pipeline.dead_letters else { return };
        let path = Path::of(&["dead_letters"]);
        self.exactly_one(&path, "dead_letters", &[("file", dead_letters.file.is_some())]);
        if let Some(file) = &dead_letters.file {
            self.file(&path.key("file"), file);
        }
    }

    fn limits(&mut self) {
        let pipeline = &self.loaded.pipeline;
        if pipeline.checkpoint.interval > LONGEST_INTERVAL {
            let notes = ["at most 30s: `/healthz` and a shutdown depend on it"];
            self.error(&Path::of(&["checkpoint", "interval"]), "commits would be too far apart", &notes);
        }
        if pipeline.checkpoint.interval < SHORTEST_INTERVAL {
            let notes = [&*format!("at least {SHORTEST_INTERVAL}: each commit is a sync of the disk")];
            self.error(&Path::of(&["checkpoint", "interval"]), "commits would follow without a pause", &notes);
        }
        if pipeline.limits.record < SMALLEST_RECORD {
            let notes = [&*format!("at least {SMALLEST_RECORD}: CloudWatch's own batches reach that")];
            self.error(&Path::of(&["limits", "record"]), "ordinary records would become dead letters", &notes);
        }
        if pipeline.limits.record > LARGEST_RECORD {
            let notes = [&*format!("at most {LARGEST_RECORD}: its events must stay below 4 GiB once they are encoded")];
            self.error(&Path::of(&["limits", "record"]), "a larger record than the program can hold", &notes);
        }
    }

    fn status(&mut self) {
        if self.loaded.pipeline.status.is_some() && !cfg!(feature = "status") {
            let notes = ["remove it, or build with `cargo build --features status`"];
            self.error(&Path::of(&["status"]), "this build has no HTTP listener", &notes);
        }
    }

    /// Two writers of one file would destroy each other's lines.
    fn outputs_differ(&mut self) {
        let mut writers: BTreeMap<PathBuf, Path> = BTreeMap::new();
        let pipeline = &self.loaded.pipeline;
        let mut outputs: Vec<(Path, PathBuf)> = Vec::new();
        for (name, sink) in &pipeline.sinks {
            outputs
                .extend(sink.file.iter().map(|file| (Path::of(&["sinks", name, "file", "path"]), file.path.clone())));
        }
        outputs.push((Path::of(&["dead_letters", "file", "path"]), self.loaded.dead_letters_file().path));
        outputs.push((Path::of(&["checkpoint", "file"]), self.loaded.checkpoint_file()));
        for (path, file) in outputs {
            match writers.entry(plain(&file)) {
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(path)),
                std::collections::btree_map::Entry::Occupied(other) => {
                    let message = format!("the same file as `{}`", other.get());
                    self.error(&path, message, &["give each a file of its own"]);
                }
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

/// Names of pipelines, sources and sinks.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}
