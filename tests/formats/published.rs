//! The published schemas: scripts that read them with the packages of the test stack. Each answers with its problems.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::installed;

fn file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What OCSF's class schemas say.
pub(crate) fn ocsf(events: &[Value]) -> Vec<String> {
    let python = installed("schemas/bin/python");
    // -B: no __pycache__ beside the script.
    run(&python, &["-B".as_ref(), file("tests/formats/ocsf.py").as_os_str()], events)
}

/// What ECS's field list says, and both index templates.
pub(crate) fn ecs(events: &[Value]) -> Vec<String> {
    let package = installed("schemas/node_modules/@elastic/ecs");
    let templates = ["elastic", "opensearch"].map(|product| file(&format!("deploy/{product}/index-template.json")));
    let script = file("tests/formats/ecs.mjs");
    let arguments = [script.as_os_str(), package.as_os_str(), templates[0].as_os_str(), templates[1].as_os_str()];
    run(Path::new("node"), &arguments, events)
}

fn run(program: &Path, arguments: &[&OsStr], events: &[Value]) -> Vec<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not run ({error}): see `make stack`", program.display()));
    let mut input = child.stdin.take().unwrap();
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    let done = std::thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(lines.as_bytes()));
        let done = child.wait_with_output().unwrap();
        // Of a script that ended early the standard error says more than the broken pipe.
        if done.status.success() {
            writer.join().unwrap().unwrap();
        }
        done
    });
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr).into_owned());
    assert!(done.status.success(), "{err}");
    let mut problems: Vec<String> = out.lines().map(str::to_owned).collect();
    assert_eq!(problems.pop(), Some(format!("checked {}", events.len())), "{err}");
    problems
}

/// Nothing was found in so many events.
pub(crate) fn accepts(problems: &[String], events: usize) {
    assert!(events > 0, "nothing was checked");
    assert!(
        problems.is_empty(),
        "{} problems in {events} events: {:#?}",
        problems.len(),
        &problems[..problems.len().min(20)]
    );
}
