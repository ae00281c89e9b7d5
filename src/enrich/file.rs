//! The inventory from files: one saved AWS CLI answer or a folder of them, with an overlay beside it.
//!
//! A folder is read recursively in the order of its paths; hidden entries and files that do not end in
//! `.json` are left alone, JSON that is no answer is skipped with a warning. An answer is as old as its file.
//! A load that fails changes nothing but the snapshot's `stale` mark: the last good answer goes on serving.
//!
//! Bounds: [`MAX_FILES`], [`MAX_FILE_BYTES`], [`MAX_DEPTH`].

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use super::answers::{AnswerError, Answers};
use super::lookup::is_account_id;
use super::overlay::Overlay;
use super::{Inventory, Snapshot, join};
use crate::event::Millis;

/// Files in a folder, and folders: 5 answers of 1,000 accounts in 20 Regions.
pub const MAX_FILES: usize = 100_000;
/// Size of one file: an answer has about 3 KiB a connection, so some 80,000 connections.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Depth of folders.
pub const MAX_DEPTH: usize = 16;
/// The shortest pause between two looks at the files, so that a typo cannot make a busy loop.
pub const MIN_REFRESH: Duration = Duration::from_millis(100);

/// Why the inventory could not be loaded: where, what, and what to do. Never text of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("inventory `{}`: {problem}", path.display())]
pub struct InventoryError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong and the remedy.
    pub problem: String,
}

impl InventoryError {
    fn new(path: &Path, problem: impl Into<String>) -> Self {
        InventoryError { path: path.to_owned(), problem: problem.into() }
    }

    fn io(path: &Path, error: &std::io::Error) -> Self {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "let this process's user read it",
            _ => "make it readable",
        };
        Self::new(path, format!("{error}; {remedy}"))
    }
}

/// What tells one state of the files from another.
type Fingerprint = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// Loads snapshots from files and notices when they change.
#[derive(Debug)]
pub struct FileInventory {
    answers: Option<PathBuf>,
    overlay: Option<PathBuf>,
    tags: Vec<String>,
    /// The state of the files at the latest try, and whether it failed.
    seen: Mutex<Option<(Fingerprint, bool)>>,
}

/// What a look at the files brought.
#[derive(Debug)]
pub enum Look {
    /// Nothing has changed since the last good load.
    Unchanged,
    /// Something changed.
    Loaded(Box<Snapshot>),
    /// The files cannot be used; `news` unless the same state has already failed.
    Failed {
        /// Why.
        error: InventoryError,
        /// Whether this is worth a log line.
        news: bool,
    },
}

impl FileInventory {
    /// `answers`: a file or a folder; `overlay`: a CSV file; `tags`: the EC2 tags that events may carry.
    /// Without `answers` snapshots are not `configured` and carry the overlay only.
    pub fn new(answers: Option<PathBuf>, overlay: Option<PathBuf>, tags: Vec<String>) -> Self {
        FileInventory { answers, overlay, tags, seen: Mutex::new(None) }
    }

    /// Reads everything. Blocks on files.
    ///
    /// # Errors
    /// The first file that cannot be read or used.
    pub fn load(&self) -> Result<Snapshot, InventoryError> {
        // The state is noted before the reading: what changes meanwhile is a change at the next look.
        let state = self.files();
        let loaded = state.clone().and_then(|files| self.read(&files));
        self.note(state.unwrap_or_default(), loaded.is_err());
        loaded
    }

    /// Reads everything again if something changed, or if the last try failed. Blocks on files.
    pub fn look(&self) -> Look {
        let state = self.files();
        let now = state.clone().unwrap_or_default();
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let same = before.as_ref().is_some_and(|(files, _)| *files == now);
        let failed_before = before.is_none_or(|(_, failed)| failed);
        if same && !failed_before {
            return Look::Unchanged;
        }
        let loaded = state.and_then(|files| self.read(&files));
        self.note(now, loaded.is_err());
        match loaded {
            Ok(snapshot) => Look::Loaded(Box::new(snapshot)),
            Err(error) => Look::Failed { error, news: !(same && failed_before) },
        }
    }

    /// Looks every `refresh` until `shutdown` and swaps what it finds into `inventory`. A failure marks the
    /// snapshot stale, is logged once a change of the files, and is tried again at the next look.
    pub async fn watch(self, inventory: Arc<Inventory>, refresh: Duration, shutdown: CancellationToken) {
        let this = Arc::new(self);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(refresh.max(MIN_REFRESH)) => {}
            }
            let files = Arc::clone(&this);
            match tokio::task::spawn_blocking(move || files.look()).await {
                Ok(look) => apply(look, &inventory),
                Err(error) => tracing::warn!(%error, "the inventory's reading task ended early; it is tried again"),
            }
        }
    }

    fn note(&self, files: Fingerprint, failed: bool) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((files, failed));
    }

    /// All files with their state, the overlay (if any) last.
    fn files(&self) -> Result<Fingerprint, InventoryError> {
        let mut files = Vec::new();
        if let Some(path) = &self.answers {
            let metadata = fs::metadata(path).map_err(|error| InventoryError::io(path, &error))?;
            if metadata.is_dir() {
                walk(path, path, 0, &mut HashSet::new(), &mut files)?;
                files.sort();
            } else {
                files.push((path.clone(), metadata.modified().ok(), metadata.len()));
            }
        }
        if let Some(path) = &self.overlay {
            let metadata = fs::metadata(path).map_err(|error| InventoryError::io(path, &error))?;
            files.push((path.clone(), metadata.modified().ok(), metadata.len()));
        }
        Ok(files)
    }

    fn read(&self, files: &Fingerprint) -> Result<Snapshot, InventoryError> {
        let mut files = files.as_slice();
        let mut overlay = Overlay::default();
        if let (Some(_), Some(((path, ..), others))) = (&self.overlay, files.split_last()) {
            let bytes = read_bounded(path)?;
            overlay = Overlay::parse(&bytes).map_err(|error| InventoryError::new(path, error.to_string()))?;
            files = others;
        }
        let mut answers = Answers::default();
        for (path, modified, _) in files {
            self.add(&mut answers, path, modified.and_then(millis))?;
        }
        if let Some(path) = self.answers.as_deref().filter(|_| !answers.has_connections()) {
            let problem = "no answer of `aws ec2 describe-vpn-connections` in it; save one as \
                           `{account}/{region}/describe-vpn-connections.json`";
            return Err(InventoryError::new(path, problem));
        }
        let snapshot = join(&answers, &self.tags, overlay);
        Ok(Snapshot { configured: self.answers.is_some(), ..snapshot })
    }

    fn add(&self, answers: &mut Answers, path: &Path, as_of: Option<Millis>) -> Result<(), InventoryError> {
        let (account, region) = place(path);
        let bytes = read_bounded(path)?;
        match answers.add_slice(account, region, as_of, &bytes) {
            Ok(()) => Ok(()),
            // A folder may hold other JSON; a file that was named must be an answer.
            Err(AnswerError::Unrecognised) if self.answers.as_deref() != Some(path) => {
                tracing::warn!(path = %path.display(), "skipped: {}", AnswerError::Unrecognised);
                Ok(())
            }
            Err(error) => Err(InventoryError::new(path, error.to_string())),
        }
    }
}

fn apply(look: Look, inventory: &Inventory) {
    match look {
        Look::Unchanged => inventory.confirm(),
        Look::Loaded(snapshot) => {
            tracing::info!(connections = snapshot.connections.len(), "inventory loaded");
            inventory.swap(*snapshot);
        }
        Look::Failed { error, news } => {
            let current = inventory.snapshot();
            if !current.stale {
                inventory.swap(Snapshot { stale: true, ..Snapshot::clone(&current) });
            }
            if news {
                let (path, problem) = (error.path.display(), &error.problem);
                tracing::warn!(%path, %problem, "inventory not loaded; the last good one is used, marked stale");
            }
        }
    }
}

fn walk(
    root: &Path,
    folder: &Path,
    depth: usize,
    visited: &mut HashSet<PathBuf>,
    files: &mut Fingerprint,
) -> Result<(), InventoryError> {
    if depth > MAX_DEPTH {
        return Err(InventoryError::new(folder, format!("folders more than {MAX_DEPTH} deep; flatten them")));
    }
    let failed = |error: std::io::Error| InventoryError::io(folder, &error);
    // Symbolic links may lead in circles.
    if !visited.insert(fs::canonicalize(folder).map_err(failed)?) {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Hidden entries: editors' swap files, and the data folders of Kubernetes' volumes, whose links beside
        // them lead to the same files.
        if path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Removed since the folder was listed, or a dangling link.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(InventoryError::io(&path, &error)),
        };
        if metadata.is_dir() {
            walk(root, &path, depth + 1, visited, files)?;
        } else if metadata.is_file() && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            files.push((path, metadata.modified().ok(), metadata.len()));
        }
        if files.len().max(visited.len()) > MAX_FILES {
            let problem = format!("more than {MAX_FILES} files or folders; name a smaller folder");
            return Err(InventoryError::new(root, problem));
        }
    }
    Ok(())
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, InventoryError> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| InventoryError::io(path, &error);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES >> 20;
        return Err(InventoryError::new(path, format!("larger than {limit} MiB; save one file an account and Region")));
    }
    Ok(bytes)
}

/// The account and the Region that the folders of `…/{account}/{region}/describe-*.json` name.
fn place(path: &Path) -> (Option<&str>, Option<&str>) {
    let folders = || path.parent().into_iter().flat_map(Path::iter).filter_map(std::ffi::OsStr::to_str).rev();
    (folders().find(|name| is_account_id(name)), folders().find(|name| is_region(name)))
}

/// `ap-northeast-2`, `us-gov-west-1`: words of letters, then a number.
pub(crate) fn is_region(name: &str) -> bool {
    let mut parts = name.split('-').rev();
    let number =
        parts.next().is_some_and(|part| matches!(part.len(), 1 | 2) && part.bytes().all(|b| b.is_ascii_digit()));
    let words: Vec<&str> = parts.collect();
    let is_word = |word: &&str| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    number && (2..=4).contains(&words.len()) && words.iter().all(is_word)
}

fn millis(time: SystemTime) -> Option<Millis> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Millis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    #[track_caller]
    fn check(path: &str, expect: (Option<&str>, Option<&str>)) {
        assert_eq!(place(Path::new(path)), expect, "{path}");
    }

    #[test]
    fn folders_tell_account_and_region_and_nothing_else_does() {
        check("inv/123456789012/ap-northeast-2/d.json", (Some("123456789012"), Some("ap-northeast-2")));
        check("/x/123456789012/us-gov-west-1/sub/d.json", (Some("123456789012"), Some("us-gov-west-1")));
        check("123456789012/d.json", (Some("123456789012"), None));
        check("us-east-1/d.json", (None, Some("us-east-1")));
        check("inv/12345678901/prod-1/123456789012.json", (None, None));
        check("123456789012.json", (None, None));
    }
}
