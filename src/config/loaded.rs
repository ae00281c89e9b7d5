//! Loads a pipeline file, and resolves its defaults and paths.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::expand::expand_tree;
use super::problem::{Problem, Problems, Report, nearest};
use super::tree::{Data, Node, Path as FieldPath};
use super::types::{Compression, DeadLetters, FileSink, Pipeline, Replay};
use super::units::Size;
use super::validate::validate;
use super::walk::Walk;
use super::{config_schema, yaml};

/// Largest pipeline file in bytes; a thousand sinks need a tenth of it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// A pipeline file that is valid.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the file says.
    pub pipeline: Pipeline,
    /// The pipeline's name: `name:`, else the file's name without its ending.
    pub name: String,
    /// The file as the caller named it.
    pub path: PathBuf,
    /// The file's folder: inputs are relative to it.
    pub directory: PathBuf,
    /// What is allowed but hardly meant.
    pub warnings: Vec<Problem>,
    /// Paths of the fields whose value came from a variable.
    pub(super) expanded: BTreeSet<String>,
}

impl Loaded {
    /// The embedded checkpoint database, relative to the working directory.
    pub fn checkpoint_file(&self) -> PathBuf {
        let default = || Path::new("state").join(format!("{}.redb", self.name));
        self.pipeline.checkpoint.file.clone().unwrap_or_else(default)
    }

    /// The dead letter file, relative to the working directory; default: beside the checkpoint.
    pub fn dead_letters_file(&self) -> FileSink {
        if let Some(file) = self.pipeline.dead_letters.as_ref().and_then(|letters| letters.file.clone()) {
            return file;
        }
        let path = self.checkpoint_file().with_file_name(format!("{}.dead-letters.ndjson", self.name));
        FileSink { path, compression: Compression::None, rotate: Size::mib(256) }
    }

    /// The file of what sinks refused, beside the dead letter file: that one belongs to the lane of what could not
    /// be read, which alone writes it.
    pub fn rejected_file(&self) -> FileSink {
        let letters = self.dead_letters_file();
        let (stem, _) = stem_and_endings(&letters.path);
        let path = letters.path.with_file_name(format!("{stem}.rejected.ndjson"));
        FileSink { path, compression: Compression::None, rotate: letters.rotate }
    }

    /// The pipeline as a replay of these files runs it: dead letters of its own go to a file of their own, which is
    /// none of those that it reads.
    #[must_use]
    pub fn for_replay(mut self, inputs: &[PathBuf]) -> Loaded {
        if self.pipeline.dead_letters.as_ref().is_some_and(|letters| letters.file.is_none()) {
            return self;
        }
        let own = self.dead_letters_file();
        let (stem, endings) = stem_and_endings(&own.path);
        let read: BTreeSet<PathBuf> = inputs.iter().filter_map(|input| input.canonicalize().ok()).collect();
        let is_read = |file: &FileSink| {
            let files = crate::sink::file::files_of(&file.path);
            files.iter().any(|file| file.canonicalize().is_ok_and(|file| read.contains(&file)))
        };
        // One more than there are inputs: one of the names is free.
        for number in 0..=inputs.len() {
            let number = if number == 0 { String::new() } else { format!("-{}", number + 1) };
            let path = own.path.with_file_name(format!("{stem}.replay{number}{endings}"));
            let file = FileSink { path, ..own.clone() };
            self.pipeline.dead_letters = Some(DeadLetters { file: Some(file.clone()), ..DeadLetters::default() });
            if !is_read(&file) && !is_read(&self.rejected_file()) {
                break;
            }
        }
        self
    }

    /// The inputs of a replay source, relative to the working directory.
    pub fn replay_inputs(&self, replay: &Replay) -> Vec<PathBuf> {
        replay.inputs.iter().map(|input| self.directory.join(input)).collect()
    }

    /// The saved inventory, relative to the working directory.
    pub fn enrich_file(&self) -> Option<PathBuf> {
        self.pipeline.enrich.file.as_ref().map(|file| self.directory.join(file))
    }

    /// The folder where the inventory of `enrich.ec2` is kept, relative to the working directory: beside the checkpoint.
    pub fn inventory_folder(&self) -> PathBuf {
        self.checkpoint_file().with_file_name(format!("{}.inventory", self.name))
    }

    /// The overlay CSV, relative to the working directory.
    pub fn overlay(&self) -> Option<PathBuf> {
        self.pipeline.enrich.overlay.as_ref().map(|file| self.directory.join(file))
    }
}

/// A file's name without the endings of lines and compression, and these.
fn stem_and_endings(path: &Path) -> (String, String) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let endings = [".gz", ".zst", ".ndjson", ".jsonl", ".json"];
    let stem = endings.iter().fold(name.as_str(), |name, ending| name.strip_suffix(ending).unwrap_or(name));
    (stem.to_owned(), name.get(stem.len()..).unwrap_or_default().to_owned())
}

/// Loads and checks a pipeline file; `env` answers for environment variables.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    let file_name = path.display().to_string();
    let text = read(path, &file_name)?;
    load_str(&file_name, &text, env)
}

/// Loads and checks the text of a pipeline file of the given name.
pub fn load_str(file_name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Problems> {
    if text.len() as u64 > LARGEST_FILE {
        return Err(too_large(file_name));
    }
    if crate::decode::recognize::is_ec2(text) {
        // Problems quote the file's lines, and an answer has pre-shared keys in it.
        let message = "an answer of `aws ec2 describe-*`, not a pipeline file";
        let note = "name it as `enrich.file` in a pipeline file, or give it to `tunnelog decode --inventory`";
        return Err(Problems::of_file(file_name, message.into(), note.into()));
    }
    // Editors on Windows leave a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::new(file_name, text);
    let loaded = check(file_name, text, env, &mut report);
    let failed = report.has_errors();
    let list = report.finish();
    match loaded {
        Some(loaded) if !failed => Ok(Loaded { warnings: list, ..loaded }),
        _ => Err(Problems { file: file_name.to_string(), list }),
    }
}

fn check(file_name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>, report: &mut Report<'_>) -> Option<Loaded> {
    let mut tree = yaml::read(text, report)?;
    expand_tree(&mut tree, &FieldPath::default(), env, report);
    let schema = config_schema();
    let document = Walk::new(&schema, report).document(&tree)?;
    let pipeline: Pipeline = match serde_json::from_value(document) {
        Ok(pipeline) => pipeline,
        Err(error) => {
            // The schema comes from the same types, so only a part that was left out gets here, and that is
            // reported; else the walk has a gap. serde's text could hold a value and is not shown.
            if !report.has_errors() {
                let message = format!("the file fits the schema but not the program ({:?})", error.classify());
                report.error_of_file(message).note("this is a bug in tunnelog: please report it with the file");
            }
            return None;
        }
    };
    let path = PathBuf::from(file_name);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut expanded = BTreeSet::new();
    collect_expanded(&tree, &FieldPath::default(), &mut expanded);
    let loaded = Loaded {
        name: pipeline.name.clone().unwrap_or(stem),
        directory: path.parent().map(Path::to_path_buf).unwrap_or_default(),
        pipeline,
        path,
        warnings: Vec::new(),
        expanded,
    };
    validate(&loaded, &tree, report);
    Some(loaded)
}

fn collect_expanded(node: &Node, path: &FieldPath, into: &mut BTreeSet<String>) {
    match &node.data {
        Data::Scalar(scalar) if scalar.before.is_some() => drop(into.insert(path.to_string())),
        Data::Scalar(_) | Data::Broken => {}
        Data::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_expanded(item, &path.index(index), into);
            }
        }
        Data::Map(pairs) => {
            for (key, value) in pairs {
                collect_expanded(value, &path.key(&key.name), into);
            }
        }
    }
}

fn read(path: &Path, file_name: &str) -> Result<String, Problems> {
    let fail = |message: String, note: String| Problems::of_file(file_name, message, note);
    if path.is_dir() {
        let note = sibling(&path.join("x.yaml")).unwrap_or_else(|| "name a file in it".into());
        return Err(fail("this is a folder, not a pipeline file".into(), note));
    }
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let note = sibling(path).unwrap_or_else(|| "check the path and the working directory".into());
            fail("there is no such file".into(), note)
        }
        _ => fail(format!("cannot open the file: {error}"), "check that this user may read it".into()),
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("cannot read the file: {error}"), "try again".into()))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(too_large(file_name));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        fail(format!("the file is not UTF-8 text (line {line})"), "save it as UTF-8".into())
    })
}

fn too_large(file_name: &str) -> Problems {
    let message = format!("the file is larger than {} KiB", LARGEST_FILE / 1024);
    Problems::of_file(file_name, message, "a pipeline file holds settings, not data: is it the right file?".into())
}

/// ``did you mean `pipelines/quickstart.yaml`?``: the nearest pipeline file in the same folder, or the list.
fn sibling(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let is_yaml = |name: &String| name.ends_with(".yaml") || name.ends_with(".yml");
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(is_yaml).collect();
    names.sort();
    let wanted = path.file_name()?.to_string_lossy();
    match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => Some(format!("did you mean `{}`?", folder.join(near).display())),
        None if names.is_empty() => None,
        None => {
            Some(format!("pipeline files there: {}", names.iter().take(10).cloned().collect::<Vec<_>>().join(", ")))
        }
    }
}
