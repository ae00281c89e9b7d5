//! The real binary: run to its end, or beside the test.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long something that must happen may take: far more than it ever does.
const PATIENCE: Duration = Duration::from_secs(120);

/// The binary, in a folder, with an environment of its own.
pub(crate) fn tunnelog(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelog"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    for name in ["TUNNELOG_LOG", "NO_COLOR", "CLICOLOR_FORCE", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

/// What a finished program left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Done {
    pub(crate) fn out(&self) -> String {
        super::lossy(&self.stdout)
    }

    pub(crate) fn err(&self) -> String {
        super::lossy(&self.stderr)
    }

    /// The events on standard output.
    pub(crate) fn events(&self) -> Vec<Value> {
        super::json_lines(&self.stdout)
    }

    /// Fails unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Done {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out(), self.err());
        self
    }

    /// Fails unless standard error has all of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Done {
        let err = self.err();
        for part in parts {
            assert!(err.contains(part), "`{part}` is missing in: {err}");
        }
        self
    }
}

pub(crate) fn finish(mut command: Command) -> Done {
    let output = command.output().unwrap();
    Done { code: output.status.code(), stdout: output.stdout, stderr: output.stderr }
}

/// Runs to the end.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Done {
    finish(tunnelog(folder, arguments))
}

/// Runs to the end with these bytes on standard input.
pub(crate) fn run_on(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Done {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), stdin).unwrap();
    let mut command = tunnelog(folder, arguments);
    command.stdin(File::open(file.path()).unwrap());
    finish(command)
}

/// A program that runs beside the test; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts it; standard error goes to `stderr` in the folder.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Running {
        let log = File::create(folder.join("stderr")).unwrap();
        Running::of(tunnelog(folder, arguments).stdout(Stdio::null()).stderr(log))
    }

    pub(crate) fn of(command: &mut Command) -> Running {
        Running { child: command.spawn().unwrap() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, where that was piped.
    pub(crate) fn stdout(&mut self) -> impl std::io::BufRead {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// `kill -9`: no chance to do anything. Fails if it had ended before.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it ended before it could be killed");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    /// Fails if it had ended before.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(kill.success(), "it ended before it could be told");
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that another process does.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "another process's doing can only be polled; nothing rests on the pause")]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// The whole answer to a GET, head and body.
pub(crate) fn get(address: &str, path: &str) -> String {
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Where the status page of a running program listens, from its log.
pub(crate) fn status_address(log: &Path) -> String {
    let mut address = String::new();
    wait_until("the status page is logged", || {
        let file = BufReader::new(File::open(log).unwrap());
        for line in file.lines().map_while(Result::ok) {
            let found = serde_json::from_str::<Value>(&line).unwrap_or_default();
            if found["message"] == "status page" {
                address = found["address"].as_str().unwrap_or_default().to_owned();
            }
        }
        !address.is_empty()
    });
    address
}
