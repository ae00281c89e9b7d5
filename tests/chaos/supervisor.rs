//! The program under trial, and who starts it again: as systemd or an orchestrator would, at once and forever.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tunnelog::checkpoint::{CheckpointStore as _, RedbStore};
use tunnelog::delivery::{LaneKey, LaneState};

use crate::stack;
use crate::support::program::tunnelog;

/// Lines of the program's log that a failure shows.
const LAST_LINES: usize = 60;

/// How runs ended, and how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) starts: usize,
    pub(crate) kills: usize,
    pub(crate) orderly: usize,
    /// Orderly stops within whose grace not everything could be delivered.
    pub(crate) unfinished: usize,
    /// A far end that a start needs was away.
    pub(crate) failed_starts: usize,
}

/// See the module.
pub(crate) struct Supervisor {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    child: Option<Child>,
    pub(crate) counts: Counts,
}

impl Supervisor {
    pub(crate) fn new(folder: &Path, environment: Vec<(&'static str, String)>) -> Supervisor {
        Supervisor { folder: folder.to_owned(), environment, child: None, counts: Counts::default() }
    }

    pub(crate) fn start(&mut self) {
        self.counts.starts += 1;
        let log = File::create(self.log(self.counts.starts)).unwrap();
        let mut command = tunnelog(&self.folder, &["run", "pipeline.yaml"]);
        command.envs(self.environment.iter().cloned()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Each run has a log of its own.
    fn log(&self, run: usize) -> PathBuf {
        self.folder.join(format!("run-{run:03}.log"))
    }

    /// What the present run has logged, or the last one.
    fn own_log(&self) -> String {
        std::fs::read_to_string(self.log(self.counts.starts)).unwrap_or_default()
    }

    /// Whether it has ended by itself. A start may fail, since what it needs may be away; a run that has begun must not
    /// end, whatever the weather.
    pub(crate) fn has_ended(&mut self) -> bool {
        let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) else { return false };
        self.child = None;
        let log = self.own_log();
        let may_fail = status.code() == Some(1) && !has_begun(&log);
        assert!(may_fail && !log.contains("panicked"), "it ended by itself: {status}\n{}", self.tail());
        self.counts.failed_starts += 1;
        true
    }

    pub(crate) fn kill(&mut self) {
        if self.has_ended() {
            return;
        }
        let Some(mut child) = self.child.take() else { return };
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended before it could be killed: {}", self.tail());
        self.counts.kills += 1;
    }

    /// SIGTERM; whether everything was delivered within the grace.
    pub(crate) fn terminate(&mut self) -> bool {
        if self.has_ended() {
            return false;
        }
        let Some(mut child) = self.child.take() else { return false };
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        let log = self.own_log();
        assert!(told.success() && !log.contains("panicked"), "{status}\n{}", self.tail());
        let whole = status.code() == Some(0);
        match (whole, has_begun(&log)) {
            (true, _) => self.counts.orderly += 1,
            (false, true) => self.counts.unfinished += 1,
            (false, false) => self.counts.failed_starts += 1,
        }
        whole
    }

    /// What it remembered when it ended.
    pub(crate) fn remembered(&self) -> BTreeMap<LaneKey, LaneState> {
        let file = self.folder.join("state/chaos.redb");
        if !file.exists() {
            return BTreeMap::new();
        }
        let load = async { RedbStore::open(&file).unwrap().load().await.unwrap() };
        stack::block_on(load).into_iter().collect()
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let runs = self.counts.starts.saturating_sub(2)..=self.counts.starts;
        let logs = runs.map(|run| std::fs::read_to_string(self.log(run)).unwrap_or_default());
        let log: String = logs.collect::<Vec<_>>().join("--- another run ---\n");
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

fn has_begun(log: &str) -> bool {
    log.contains("\"message\":\"running\"")
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
