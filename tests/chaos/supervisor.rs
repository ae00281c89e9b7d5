//! The program under trial, and who starts it again: as systemd or an orchestrator would, at once and forever; and, where
//! the checkpoint is not on the machine's disk, on another machine while the process of before is frozen.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::store::{Lanes, Store};
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
    /// Processes that were frozen, replaced, woken, and found that out.
    pub(crate) replaced: usize,
}

/// See the module.
pub(crate) struct Supervisor {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    store: Store,
    /// Their disks; the program runs on the last one.
    machines: Vec<PathBuf>,
    child: Option<Child>,
    begun: bool,
    pub(crate) counts: Counts,
}

impl Supervisor {
    pub(crate) fn new(folder: &Path, environment: Vec<(&'static str, String)>, store: Store) -> Supervisor {
        let (folder, machines, counts) = (folder.to_owned(), Vec::new(), Counts::default());
        let mut supervisor = Supervisor { folder, environment, store, machines, child: None, begun: false, counts };
        supervisor.new_machine();
        supervisor
    }

    /// From now on it runs on a machine with an empty disk.
    pub(crate) fn new_machine(&mut self) {
        let machine = self.folder.join(format!("machine-{}", self.machines.len() + 1));
        std::fs::create_dir(&machine).unwrap();
        self.machines.push(machine);
    }

    /// All of them, in the order in which the program ran there.
    pub(crate) fn machines(&self) -> &[PathBuf] {
        &self.machines
    }

    /// The disk of the machine that the program runs on.
    pub(crate) fn machine(&self) -> &Path {
        self.machines.last().unwrap()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn start(&mut self) {
        self.counts.starts += 1;
        self.begun = false;
        let log = File::create(self.log(self.counts.starts)).unwrap();
        let mut command = tunnelog(self.machine(), &["run", "pipeline.yaml"]);
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

    /// Whether it reads: it has all that a start needs, the right to its checkpoint among that.
    pub(crate) fn has_begun(&mut self) -> bool {
        self.begun |= self.child.is_some() && has_begun(&self.own_log());
        self.begun && self.child.is_some()
    }

    /// Freezes it, as a machine that is paused: whoever is started next does not know of it.
    pub(crate) fn freeze(&mut self) -> Option<Frozen> {
        if self.has_ended() {
            return None;
        }
        let frozen = Frozen { child: self.child.take()?, log: self.log(self.counts.starts) };
        frozen.signal("-STOP");
        Some(frozen)
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

    /// What is remembered now.
    pub(crate) fn remembered(&self) -> Lanes {
        self.store.remembered(self.machine(), &self.environment)
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

/// A process that does nothing until it is woken; killed when dropped.
pub(crate) struct Frozen {
    child: Child,
    log: PathBuf,
}

impl Frozen {
    fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success(), "it ended before it could be told {signal}");
    }

    pub(crate) fn wake(&self) {
        self.signal("-CONT");
    }

    /// Whether it has ended; it must say that somebody else has taken its place.
    pub(crate) fn has_ended(&mut self) -> bool {
        let Some(status) = self.child.try_wait().unwrap() else { return false };
        let log = std::fs::read_to_string(&self.log).unwrap();
        let knows = status.code() == Some(1) && log.contains("was taken over by process");
        assert!(knows && !log.contains("panicked"), "woken, it ended otherwise: {status}\n{log}");
        true
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
