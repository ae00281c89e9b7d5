//! One part as a process: a free port, a folder, a keeper that ends it, and waiting until it answers.
//!
//! Knows no part's business. Invariants: the part lives no longer than this process, however that ends (`keeper.sh`
//! reads a pipe whose other end only this process holds); its folder goes with it; no wait is without an end.

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a part may take until it answers: many times what it takes alone, since tests share the machine.
const START: Duration = Duration::from_secs(120);
/// Between two questions whether it answers.
const PAUSE: Duration = Duration::from_millis(50);
/// Starts with other ports before giving up: another process can take a port between its choice and its use.
const ATTEMPTS: u32 = 3;
/// What of a part's log belongs into a message.
const TAIL_LINES: usize = 30;

/// Ports that no outgoing connection gets by itself (Linux gives those 32768 and more), so that a part that was
/// stopped finds its port free again. Above what other programs use by convention.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port that nothing listens on now.
pub(crate) fn free_port() -> u16 {
    for _ in 0..1_000 {
        let random = RandomState::new().build_hasher().finish();
        let port = PORTS.start + (random % u64::from(PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {PORTS:?} is free on 127.0.0.1");
}

/// A file that `make stack` installs.
pub(crate) fn installed(path: &str) -> PathBuf {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/stack").join(path);
    assert!(full.exists(), "a part of the test stack is not installed (no {}): run `make stack`", full.display());
    full
}

/// A file of this folder.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stack").join(name)
}

/// The URL in a variable that names somebody's own endpoint.
pub(crate) fn given(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Starts a part, with other ports if need be, or fails the test with the reason.
pub(crate) fn start<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let mut reasons = Vec::new();
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(part) => return part,
            Err(reason) => reasons.push(reason),
        }
    }
    panic!("a part of the test stack did not start, {ATTEMPTS} times:\n{}", reasons.join("\n"));
}

/// An empty folder for a part; its keeper removes it.
pub(crate) fn folder(part: &str) -> PathBuf {
    tempfile::Builder::new().prefix(&format!("tunnelog-{part}-")).tempdir().unwrap().keep()
}

/// A part that runs, or is stopped for a while.
pub(crate) struct Part {
    name: &'static str,
    folder: PathBuf,
    keeper: Child,
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Part {
    /// Starts a keeper, and the part by it.
    pub(crate) fn start(name: &'static str, folder: &Path, command: impl IntoIterator<Item = OsString>) -> Part {
        let mut keeper = Command::new("bash")
            .arg(file("keeper.sh"))
            .arg(folder)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C in a terminal reaches the tests, and the keeper only by the closed pipe.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("bash, which keeps the parts of the test stack, does not run: {error}"));
        let words = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut part = Part { name, folder: folder.to_owned(), keeper, words, answers };
        part.restart();
        part
    }

    /// Starts a stopped part again: same command, same folder.
    pub(crate) fn restart(&mut self) {
        self.tell("start");
    }

    /// Asks it to end and waits until it did.
    pub(crate) fn stop(&mut self) {
        self.tell("stop");
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(&mut self) {
        self.tell("kill");
    }

    /// Whether it runs.
    pub(crate) fn alive(&mut self) -> bool {
        self.tell("alive") == "done"
    }

    fn tell(&mut self, word: &str) -> String {
        let mut answer = String::new();
        let words = self.words.as_mut().unwrap();
        writeln!(words, "{word}").and_then(|()| self.answers.read_line(&mut answer)).unwrap();
        assert!(!answer.is_empty(), "the keeper of {} is gone", self.name);
        answer.trim_end().to_owned()
    }

    /// Waits until `probe` succeeds; the reason if the part ends before or takes too long.
    #[expect(clippy::disallowed_methods, reason = "a process is waited for in real time, also where a test pauses it")]
    pub(crate) fn wait<T>(&mut self, mut probe: impl FnMut() -> Result<T, String>) -> Result<T, String> {
        let begun = Instant::now();
        loop {
            let alive = self.alive();
            let reason = match probe() {
                Ok(found) if alive => return Ok(found),
                Ok(_) => "something else answers on its port".to_owned(),
                Err(reason) => reason,
            };
            if !alive {
                return Err(format!("{} ended: {reason}\n{}", self.name, self.tail()));
            }
            if begun.elapsed() > START {
                return Err(format!("{} did not answer within {START:?}: {reason}\n{}", self.name, self.tail()));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What it wrote on standard output and standard error.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.join("log")).unwrap_or_default()).into_owned()
    }

    /// The end of its log.
    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Part {
    /// The process and its folder are gone when this returns.
    fn drop(&mut self) {
        drop(self.words.take());
        let _ = self.keeper.wait();
    }
}
