//! The commands as a person meets them: exit codes, inputs of every form, messages that say what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod support;

use std::io::BufRead as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use support::forms::{self, GROUP, IKE_STREAM, OWNER};
use support::program::{Running, get, run, run_on, size, status_address, tunnelog, wait_until};
use support::{data, events_in, ids, json_lines, text};

/// A pipeline over a few lines, with outputs where the test wants them.
const PIPELINE: &str = "\
sources: { files: { replay: { inputs: [lines.log] } } }
sinks: { events: { file: { path: \"${OUT:-out}/events.ndjson\" } } }
checkpoint: { file: \"${STATE:-state}/checkpoint.redb\" }
dead_letters: { file: { path: \"${LETTERS:-letters}/letters.ndjson\" } }
";

fn pipeline() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    std::fs::write(folder.path().join("lines.log"), "one\ntwo\n").unwrap();
    folder
}

#[test]
fn exit_codes_are_0_finished_1_failed_2_misused() {
    let folder = pipeline();
    let check = |code: i32, arguments: &[&str]| drop(run(folder.path(), arguments).expect(code));
    check(0, &["--help"]);
    check(0, &["--version"]);
    check(0, &["check", "p.yaml"]);
    check(0, &["run", "p.yaml"]);
    check(0, &["replay", "p.yaml", "lines.log"]);
    check(0, &["decode", "lines.log"]);
    check(0, &["simulate", "--hours", "1", "--connections", "1"]);
    check(0, &["simulate", "--hours", "1", "--connections", "1", "--to", "day"]);
    check(1, &["simulate", "--hours", "1", "--connections", "1", "--to", "day"]);
    check(1, &["decode", "missing.log"]);
    check(2, &["decode", "--inventory", "missing", "lines.log"]);
    check(1, &["replay", "p.yaml", "missing.log"]);
    check(1, &["replay", "p.yaml", "-"]);
    for misused in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["replay", "p.yaml"],
        &["check"],
        &["check", "missing.yaml"],
        &["run", "missing.yaml"],
        &["run", "lines.log"],
        &["decode", "--raw", "sometimes", "lines.log"],
        &["simulate", "--hours", "0"],
        &["schema", "nonsense"],
        &["completions", "nonsense"],
        &["decode", "--log", "tunnelog=loud", "lines.log"],
    ] {
        check(2, misused);
    }
}

#[test]
fn help_of_every_command_shows_an_example() {
    let folder = tempfile::tempdir().unwrap();
    let top = run(folder.path(), &["--help"]).expect(0).out();
    assert!(top.contains("Exit codes: 0 finished, 1 failed"), "{top}");
    for command in ["run", "replay", "decode", "check", "simulate", "schema", "completions"] {
        assert!(top.contains(command), "{command} is missing in {top}");
        let help = run(folder.path(), &[command, "--help"]).expect(0).out();
        let example = help.match_indices("tunnelog ").any(|(at, _)| {
            let rest = &help[at + "tunnelog ".len()..];
            rest.starts_with(command) && !help[..at].ends_with("Usage: ")
        });
        assert!(example, "no example in {help}");
    }
}

#[test]
fn every_form_is_decoded_from_a_file_and_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let files = forms::write_forms(folder.path());
    let mut all = 0;
    for file in &files {
        let named = run(folder.path(), &["decode", file.to_str().unwrap()]);
        // The dead letters of the test data hold one that is as bad as it was.
        let code = i32::from(file.ends_with("dead-letters.ndjson"));
        let events = named.expect(code).events();
        assert!(!events.is_empty(), "{}", file.display());
        all += events.len();
        // A folder named after the log stream tells standard input nothing.
        let stream = if file.to_str().unwrap().contains(IKE_STREAM) { IKE_STREAM } else { "" };
        let bytes = std::fs::read(file).unwrap();
        for arguments in [&["decode"][..], &["decode", "-"]] {
            let stream: &[&str] = if stream.is_empty() { &[] } else { &["--log-stream", stream] };
            let piped = run_on(folder.path(), &[arguments, stream].concat(), &bytes).expect(code);
            assert_eq!(ids(&piped.events()), ids(&events), "{}", file.display());
        }
    }
    let together = run(folder.path(), &["decode", "."]).expect(1).events();
    assert_eq!(together.len(), all, "a folder is all of its files");
}

#[test]
fn unreadable_parts_are_named_with_place_and_reason_after_all_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let good = forms::base64_lines(&[&forms::records(&forms::small_fleet())[0].data]);
    let damaged = format!("{}\n", &good.trim_end()[..good.len() / 2]);
    std::fs::write(folder.path().join("mixed"), format!("{good}{damaged}a bare line\n")).unwrap();
    std::fs::write(folder.path().join("noise"), b"\xff\xff\n").unwrap();
    let alone = run_on(folder.path(), &["decode"], good.as_bytes()).expect(0).events().len();
    let done = run(folder.path(), &["decode", "mixed", "missing", "noise", "mixed"]).expect(1);
    assert_eq!(done.events().len(), 2 * (alone + 1));
    let err = done.err();
    assert_eq!(err.matches("cannot read mixed, line 2: ").count(), 2, "{err}");
    done.says(&["input `missing` cannot be read", "check the path", "cannot read noise, line 1: invalid_utf8"]);
}

#[test]
fn filtered_events_get_the_ids_of_the_live_ones_when_all_three_names_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let envelope = forms::sample_envelopes().remove(1);
    let live = run_on(folder.path(), &["decode"], envelope.to_string().as_bytes()).expect(0).events();
    let filtered = forms::filtered(&envelope);
    let names = ["--log-group", GROUP, "--owner", OWNER];
    let told = run_on(folder.path(), &[&["decode"][..], &names].concat(), filtered.as_bytes()).expect(0).events();
    assert!(!live.is_empty());
    assert_eq!(ids(&told), ids(&live));
    let untold = run_on(folder.path(), &["decode"], filtered.as_bytes()).expect(0).events();
    assert_ne!(ids(&untold), ids(&live));
}

/// A bare line has no event id: it is named by its text, time, occurrence and what is said about its origin.
#[test]
fn bare_lines_are_named_by_what_is_said_about_them() {
    let folder = tempfile::tempdir().unwrap();
    let lines = std::fs::read(data("ike.jsonl")).unwrap();
    let decode = |names: &[&str]| -> Vec<Value> {
        run_on(folder.path(), &[&["decode"][..], names].concat(), &lines).expect(0).events()
    };
    let all = ["--log-group", GROUP, "--owner", OWNER, "--log-stream", IKE_STREAM];
    let (first, again) = (decode(&all), decode(&all));
    assert_eq!(ids(&first), ids(&again), "the same each time");
    assert!(first.iter().all(|event| text(event, "/vpn/connection_id") == "vpn-0a1b2c3d4e5f60718"));
    assert!(first.iter().all(|event| text(event, "/cloud/account_id") == OWNER));
    for fewer in [&all[..2], &all[..4], &[]] {
        assert_ne!(ids(&first), ids(&decode(fewer)));
    }
    let unique: std::collections::BTreeSet<&str> = ids(&first).into_iter().collect();
    assert_eq!(unique.len(), first.len());
}

#[test]
fn an_inventory_of_saved_answers_enriches_events_and_shows_tags_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (envelopes, inventory) = (data("envelopes.jsonl"), data("describe-vpn-connections.json"));
    let (envelopes, inventory) = (envelopes.to_str().unwrap(), inventory.to_str().unwrap());
    let bare = run(folder.path(), &["decode", envelopes]).expect(0).events();
    let known = ["decode", "--inventory", inventory, "--tags", "site,env", envelopes];
    let known = run(folder.path(), &known).expect(0).events();
    assert_eq!(ids(&bare), ids(&known), "enrichment names nothing anew");
    let fresh: Vec<&Value> = known
        .iter()
        .filter(|event| text(event, "/vpn/inventory/state") != "missing" && event["vpn"].is_object())
        .collect();
    assert!(!fresh.is_empty());
    assert!(fresh.iter().all(|event| !text(event, "/vpn/customer_gateway/id").is_empty()), "{fresh:#?}");
    assert!(fresh.iter().any(|event| event.pointer("/vpn/tags").is_some()), "{fresh:#?}");
    // The wrong file is named, with what to do.
    let wrong = run(folder.path(), &["decode", "--inventory", envelopes, envelopes]).expect(2);
    wrong.says(&["inventory", "envelopes.jsonl"]);
}

/// `UPDATE_GOLDEN=1` writes it anew.
#[test]
fn the_timeline_without_colours_is_the_golden_one() {
    let folder = tempfile::tempdir().unwrap();
    let inventory = data("describe-vpn-connections.json");
    let arguments = ["decode", "--pretty", "--inventory", inventory.to_str().unwrap(), "--log-stream", IKE_STREAM];
    let inputs = [data("envelopes.jsonl"), data("ike.jsonl")];
    let inputs: Vec<&str> = inputs.iter().map(|path| path.to_str().unwrap()).collect();
    let shown = run(folder.path(), &[&arguments[..], &inputs].concat()).expect(0).out();
    assert!(!shown.contains('\u{1b}'), "no colours in a pipe");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/timeline.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &shown).unwrap();
    }
    assert!(shown == std::fs::read_to_string(&golden).unwrap(), "differs from {}:\n{shown}", golden.display());
}

#[test]
fn check_prints_every_problem_of_a_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let broken = "\
        sources: { main: { simulat: { seed: x } } }\n\
        sinks: { out: { file: { path: a, rotate: 3 parsecs } }, other: {} }\n\
        enrich: { tag: [site] }\n";
    std::fs::write(folder.path().join("broken.yaml"), broken).unwrap();
    let done = run(folder.path(), &["check", "broken.yaml"]).expect(2);
    assert!(done.stdout.is_empty());
    let done = done.says(&["broken.yaml:1", "simulate", "broken.yaml:2", "sinks.other", "broken.yaml:3", "`tags`"]);
    assert!(done.err().matches("error:").count() >= 4, "{}", done.err());
    // `run` refuses it the same way, and a good file beside a broken one is still checked.
    run(folder.path(), &["run", "broken.yaml"]).expect(2).says(&["broken.yaml:1"]);
    std::fs::write(folder.path().join("p.yaml"), PIPELINE).unwrap();
    std::fs::write(folder.path().join("lines.log"), "").unwrap();
    let both = run(folder.path(), &["check", "broken.yaml", "p.yaml"]).expect(2);
    assert!(both.out().contains("p.yaml: ok"), "{}", both.out());
}

#[test]
fn schemas_are_json_and_completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for what in ["config", "event"] {
        let schema: Value = serde_json::from_slice(&run(folder.path(), &["schema", what]).expect(0).stdout).unwrap();
        assert!(schema["$schema"].is_string() && schema["properties"].is_object(), "{what}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(folder.path(), &["completions", shell]).expect(0).out();
        assert!(["decode", "replay", "simulate"].iter().all(|command| script.contains(command)), "{shell}");
    }
}

/// Reads one line and goes away; how the program ended, and what it said.
fn head(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let log = folder.join("stderr");
    let mut command = tunnelog(folder, arguments);
    command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
    let mut program = Running::of(&mut command);
    let mut line = String::new();
    program.stdout().read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "{arguments:?}");
    (program.wait().code(), std::fs::read_to_string(log).unwrap())
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lines.log"), "a line of some length\n".repeat(20_000)).unwrap();
    for arguments in [
        &["decode", "lines.log"][..],
        &["decode", "--pretty", "lines.log"],
        &["simulate", "--hours", "12"],
        &["schema", "config"],
        &["completions", "bash"],
    ] {
        let (code, err) = head(folder.path(), arguments);
        assert_eq!((code, err.contains("panicked")), (Some(0), false), "{arguments:?}: {err}");
    }
}

#[test]
fn a_console_that_goes_away_stops_a_pipeline_that_then_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lines.log"), "a line of some length\n".repeat(20_000)).unwrap();
    std::fs::write(
        folder.path().join("p.yaml"),
        PIPELINE.replace("file: { path: \"${OUT:-out}/events.ndjson\" }", "console: {}"),
    )
    .unwrap();
    let (code, err) = head(folder.path(), &["run", "p.yaml"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("standard output was closed by its reader: run again"), "{err}");
    let rest = run(folder.path(), &["run", "p.yaml"]).expect(0);
    assert!(!rest.events().is_empty());
}

/// A file where a folder must be bars the superuser too.
#[test]
fn outputs_that_cannot_be_written_are_named_with_a_remedy_and_nothing_is_acknowledged() {
    for (variable, what) in [("OUT", "sink `events`"), ("STATE", "checkpoint file"), ("LETTERS", "dead letters")] {
        let folder = pipeline();
        std::fs::write(folder.path().join("barred"), "").unwrap();
        let mut command = tunnelog(folder.path(), &["run", "p.yaml"]);
        command.env(variable, "barred/below");
        let done = support::program::finish(command).expect(1);
        let err = done.err();
        assert!(err.contains(what) && err.contains("barred/below"), "{variable}: {err}");
        assert!(
            ["choose another", "writable", "set `checkpoint.file`"].iter().any(|remedy| err.contains(remedy)),
            "{err}"
        );
        assert!(!err.contains("panicked"), "{err}");
        // Once the way is free, everything is delivered.
        run(folder.path(), &["run", "p.yaml"]).expect(0);
        assert_eq!(events_in(&folder.path().join("out/events.ndjson")).len(), 2, "{variable}");
    }
}

#[test]
fn a_file_that_is_no_checkpoint_is_refused_and_untouched() {
    let folder = pipeline();
    let path = folder.path().join("state/checkpoint.redb");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "notes of mine, of some length".repeat(1000)).unwrap();
    let done = run(folder.path(), &["run", "p.yaml"]).expect(1);
    done.says(&["checkpoint file `state/checkpoint.redb` cannot be read", "move it away to start over"]);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("notes of mine"));
}

#[test]
fn the_status_page_answers_while_the_pipeline_runs() {
    let folder = tempfile::tempdir().unwrap();
    let slow = "\
        sources: { fleet: { simulate: { connections: 5, hours: 24, rate: 100 } } }\n\
        sinks: { events: { file: { path: events.ndjson } } }\n\
        checkpoint: { interval: 100ms }\n\
        status: { listen: 127.0.0.1:0 }\n";
    std::fs::write(folder.path().join("slow.yaml"), slow).unwrap();
    let mut program = Running::start(folder.path(), &["run", "slow.yaml"]);
    let page = status_address(&folder.path().join("stderr"));
    assert!(page.starts_with("127.0.0.1:"), "{page}");
    wait_until("events are written", || size(&folder.path().join("events.ndjson")) > 0);
    assert!(get(&page, "/healthz").starts_with("HTTP/1.1 200"));
    wait_until("it is ready", || get(&page, "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get(&page, "/metrics");
    for name in [
        "tunnelog_records_read_total{source=\"fleet\"}",
        "tunnelog_checkpoint_commits_total",
        "tunnelog_sink_up{sink=\"events\"} 1",
    ] {
        assert!(metrics.contains(name), "`{name}` is missing in {metrics}");
    }
    // The port is taken: a second one says so.
    std::fs::write(
        folder.path().join("other.yaml"),
        slow.replace("127.0.0.1:0", &page).replace("events.n", "others.n"),
    )
    .unwrap();
    run(folder.path(), &["run", "other.yaml"])
        .expect(1)
        .says(&["cannot listen on", "choose another port in `status.listen`"]);
    assert_eq!(program.terminate().code(), Some(0));
    assert!(!json_lines(&std::fs::read(folder.path().join("events.ndjson")).unwrap()).is_empty());
}
