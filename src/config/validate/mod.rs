//! What a schema cannot say: choices of exactly one, references between parts, files that must exist,
//! features of this build.
//!
//! Every check looks at the typed pipeline and finds the place in the tree by the field's path. Where a
//! problem is already reported at, above or below a path, nothing is added: it would be its consequence.

mod aws;
mod checkpoint;
mod ec2;
mod kafka;
mod s3;
mod sinks;
mod sources;
mod splunk;

use std::path::Path as FilePath;

use super::Loaded;
use super::conditions::words;
use super::problem::{Level, Problem, Report, nearest};
use super::tree::{Node, Path};
use super::units::{Duration, Size};
use crate::memory::Plan;

/// Below this every slow answer would count as an outage.
const SHORTEST_OUTAGE: Duration = Duration::from_secs(1);
/// A record may hold this much after decompression (FACTS: a subscription batch of 1 MiB).
const SMALLEST_RECORD: Size = Size::mib(1);
/// Offsets into encoded items have 32 bits: 256 MiB, each byte at most 6 in JSON (`\u0000`), stay below 4 GiB.
const LARGEST_RECORD: Size = Size::mib(256);
const _: () = assert!(LARGEST_RECORD.0 * 6 < u32::MAX as u64);

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
    check.checkpoint();
    check.limits();
    check.memory();
    check.status();
    check.files_differ();
    check.prefixes_differ();
    check.destinations_differ();
    check.streams_differ();
    // Last: a wrong name makes nothing else about its source or sink wrong.
    check.names();
}

/// What a build may leave out.
#[derive(Clone, Copy)]
enum Feature {
    Aws,
    Kafka,
    Parquet,
    Splunk,
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

    /// Reports a part that this build has left out.
    fn built(&mut self, path: &Path, feature: Feature, part: &str) {
        let (name, built) = match feature {
            Feature::Aws => ("aws", cfg!(feature = "aws")),
            Feature::Kafka => ("kafka", cfg!(feature = "kafka")),
            Feature::Parquet => ("parquet", cfg!(feature = "parquet")),
            Feature::Splunk => ("splunk", cfg!(feature = "splunk")),
        };
        if !built {
            let remedy = format!("build it with `cargo build --features {name}`");
            self.error(path, format!("this build has no {part}"), &[&remedy]);
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

    /// A secret that stands in the file, as itself or as a variable's default.
    fn in_a_variable(&mut self, path: &Path, example: &str, other: Option<&str>) {
        let before = self.tree.written(path).unwrap_or_default();
        let name = before.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        if name.is_empty() || name.contains(['}', ':', '$']) {
            let example = format!("put it into a variable: `{example}`");
            let notes: Vec<&str> = [example.as_str()].into_iter().chain(other).collect();
            self.error(path, "a secret does not belong into this file, nor into a variable's default", &notes);
        }
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
        if let Some(endpoint) = &ec2.endpoint {
            self.endpoint(&path.key("endpoint"), endpoint);
        }
        ec2::ec2(ec2, &mut |fields, index, message, notes| {
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

    fn account(&mut self, path: &Path, account: &str) {
        if !aws::is_account(account) {
            let notes = ["12 digits, leading zeros included, for example \"012345678901\""];
            self.error(path, "not an account id", &notes);
        }
    }

    fn limits(&mut self) {
        let pipeline = &self.loaded.pipeline;
        if pipeline.limits.outage_after < SHORTEST_OUTAGE {
            let notes = [&*format!("at least {SHORTEST_OUTAGE}: below it every slow answer would count as an outage")];
            self.error(&Path::of(&["limits", "outage_after"]), "sinks would be taken for down for nothing", &notes);
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

    /// The parts of the pipeline, each with the least that it works with, must fit `limits.memory`.
    fn memory(&mut self) {
        let limits = &self.loaded.pipeline.limits;
        // What is wrong with that is said already.
        if !(SMALLEST_RECORD..=LARGEST_RECORD).contains(&limits.record) {
            return;
        }
        let Err(shortfall) = Plan::here(&self.loaded.pipeline) else { return };
        let remedy = format!(
            "raise it, leave a sink out, or lower `limits.record` (now {}), which inflating grows with, and what S3 \
             sinks need at once",
            limits.record
        );
        let message = format!("{} are too little for this pipeline", limits.memory);
        self.error(&Path::of(&["limits", "memory"]), message, &[&format!("{shortfall}, in MiB"), &remedy]);
    }

    fn status(&mut self) {
        if self.loaded.pipeline.status.is_some() && !cfg!(feature = "status") {
            let notes = ["remove it, or build with `cargo build --features status`"];
            self.error(&Path::of(&["status"]), "this build has no HTTP listener", &notes);
        }
    }
}

/// Names of pipelines, sources and sinks.
fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}
