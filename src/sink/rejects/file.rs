//! Rejects in a file on this machine, one dead letter a line.
//!
//! The file is opened at the first reject, for this process alone; what an earlier one left torn by a crash was
//! never acknowledged and is cut off. Each call appends its letters whole and syncs them; calls of several sinks
//! take turns. A file that is full is followed by the next one, and nothing is ever deleted: the space is the
//! disk's. A file that somebody moves away, to replay it, is begun anew.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::{Patience, Rejects, seed_of, sink_of};
use crate::config::types::FileSink;
use crate::encode::DeadLetter;
use crate::sink::file::LineFile;
use crate::telemetry::health::Health;

/// See the module.
#[derive(Debug)]
pub struct FileRejects {
    config: FileSink,
    /// A turn is held until a write has ended, even one whose caller has given up.
    file: Arc<Mutex<Option<LineFile>>>,
    patience: Patience,
}

impl FileRejects {
    /// Rejects in this file; nothing is touched yet. Its lines are never compressed.
    pub fn new(config: FileSink) -> FileRejects {
        let patience = Patience::new(config.path.display().to_string());
        FileRejects { config, file: Arc::default(), patience }
    }

    /// Shows on `/readyz` what cannot be kept.
    #[must_use]
    pub fn shown_by(mut self, health: Health) -> FileRejects {
        self.patience.health = Some(health);
        self
    }

    async fn write(&self, lines: Bytes) -> Result<(), String> {
        let mut turn = Arc::clone(&self.file).lock_owned().await;
        let config = self.config.clone();
        let written = tokio::task::spawn_blocking(move || append(&mut turn, &config, &lines)).await;
        written.unwrap_or_else(|error| Err(format!("writing ended abnormally ({error}); please report this")))
    }
}

fn append(open: &mut Option<LineFile>, config: &FileSink, lines: &[u8]) -> Result<(), String> {
    if open.as_ref().is_some_and(|file| !file.is_in_place()) {
        *open = None;
    }
    let file = match open {
        Some(file) => file,
        None => open.insert(LineFile::open(config)?),
    };
    file.write(lines)
}

#[async_trait]
impl Rejects for FileRejects {
    async fn keep(&self, letters: &[DeadLetter]) {
        if letters.is_empty() {
            return;
        }
        let mut lines = Vec::new();
        letters.iter().for_each(|letter| letter.encode(&mut lines));
        let lines = Bytes::from(lines);
        self.patience.persist(sink_of(letters), seed_of(letters), || self.write(lines.clone())).await;
        self.patience.kept(letters);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use std::path::Path;

    use super::*;
    use crate::config::types::Compression;
    use crate::config::units::Size;
    use crate::event::EventId;
    use crate::sink::file::files_of;

    fn rejects(path: &Path) -> FileRejects {
        FileRejects::new(FileSink { path: path.into(), compression: Compression::None, rotate: Size(4096) })
    }

    fn letter(number: u64) -> DeadLetter {
        let text = format!(
            r#"{{"schema":"tunnelog.dead-letter/1","id":"{:032x}","reason":"too_large","sink":"siem","size":2,"data":"e30="}}"#,
            number
        );
        serde_json::from_str(&text).unwrap()
    }

    /// The numbers of the letters in the file and those that follow it.
    fn kept(path: &Path) -> Vec<u128> {
        let files = files_of(path);
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str::<DeadLetter>(line).unwrap().id).map(|EventId(id)| id).collect()
    }

    #[tokio::test]
    async fn nothing_is_touched_before_the_first_reject() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/x.rejected.ndjson");
        let rejects = rejects(&path);
        rejects.keep(&[]).await;
        assert!(!path.parent().unwrap().exists());
        rejects.keep(&[letter(1)]).await;
        assert_eq!(kept(&path), [1], "written when `keep` returns");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn sinks_that_reject_at_the_same_time_lose_nothing_and_a_full_file_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rejected.ndjson");
        let rejects = Arc::new(rejects(&path));
        let mut sinks = tokio::task::JoinSet::new();
        for sink in 0..8_u64 {
            let rejects = Arc::clone(&rejects);
            sinks.spawn(async move {
                for number in 0..20 {
                    rejects.keep(&[letter(sink * 100 + 2 * number), letter(sink * 100 + 2 * number + 1)]).await;
                }
            });
        }
        sinks.join_all().await;
        let numbers = kept(&path);
        for sink in 0..8_u128 {
            let own: Vec<u128> = numbers.iter().copied().filter(|number| number / 100 == sink).collect();
            let expected: Vec<u128> = (sink * 100..sink * 100 + 40).collect();
            assert_eq!(own, expected, "each once, each sink's in order");
        }
        assert!(files_of(&path).len() > 1);
    }

    #[tokio::test]
    async fn what_a_crash_tore_is_cut_off_and_whole_letters_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rejected.ndjson");
        rejects(&path).keep(&[letter(1), letter(2)]).await;
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(br#"{"schema":"tunnelog.dead-le"#);
        std::fs::write(&path, torn).unwrap();
        rejects(&path).keep(&[letter(3)]).await;
        assert_eq!(kept(&path), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_file_that_is_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, away) = (folder.path().join("x.rejected.ndjson"), folder.path().join("away"));
        let rejects = rejects(&path);
        rejects.keep(&[letter(1)]).await;
        std::fs::rename(&path, &away).unwrap();
        rejects.keep(&[letter(2)]).await;
        assert_eq!((kept(&away), kept(&path)), (vec![1], vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn it_tries_until_the_disk_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rejected.ndjson");
        std::fs::create_dir(&path).unwrap();
        let health = Health::new();
        health.set(crate::telemetry::health::STARTING, None);
        let rejects = rejects(&path).shown_by(health.clone());
        let letters = [letter(1)];
        let patience = std::time::Duration::from_secs(100);
        let mut keeping = std::pin::pin!(rejects.keep(&letters));
        assert!(tokio::time::timeout(patience, &mut keeping).await.is_err(), "a folder is in the way");
        let (ready, why) = health.readiness();
        assert!(!ready && why.contains("refused events: sink siem waits"), "{why}");
        assert!(why.contains("x.rejected.ndjson: ") && why.contains("s a directory"), "{why}");
        std::fs::remove_dir(&path).unwrap();
        tokio::time::timeout(patience, &mut keeping).await.expect("it goes on by itself");
        assert_eq!(kept(&path), [1]);
        assert!(health.not_ready().is_empty(), "{health:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_gives_up_is_not_shown_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rejected.ndjson");
        std::fs::create_dir(&path).unwrap();
        let health = Health::new();
        health.set(crate::telemetry::health::STARTING, None);
        let rejects = rejects(&path).shown_by(health.clone());
        let patience = std::time::Duration::from_secs(100);
        assert!(tokio::time::timeout(patience, rejects.keep(&[letter(1)])).await.is_err());
        assert!(health.not_ready().is_empty(), "its lane was rewound: {health:?}");
    }

    #[tokio::test]
    async fn another_process_does_not_write_between() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.rejected.ndjson");
        let (first, second) = (rejects(&path), rejects(&path));
        first.keep(&[letter(1)]).await;
        let error = second.write(Bytes::from_static(b"{}\n")).await.unwrap_err();
        assert!(error.contains("is being written by another process"), "{error}");
        drop(first);
        second.keep(&[letter(2)]).await;
        assert_eq!(kept(&path), [1, 2]);
    }
}
