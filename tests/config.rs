//! What a wrong pipeline file gets: golden text for one file a topic in `tests/config/`
//! (`UPDATE_GOLDEN=1` rewrites), places in every way of writing YAML, and files that cannot be read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::path::Path;

use proptest::prelude::*;
use tunnelog::config::{Level, Loaded, Problems, count_line, load, load_str};

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2".into()),
        "SEED" => Some("7".into()),
        "EMPTY" => Some(String::new()),
        "ACCOUNT" => Some("012345678901".into()),
        "BREAKOUT" => Some("x\", console: {} } # [".into()),
        _ => None,
    }
}

fn loaded(text: &str) -> Loaded {
    load_str("pipelines/test.yaml", text, &env).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Problems {
    load_str("pipelines/test.yaml", text, &env).expect_err(text)
}

/// Text that a person reads for a file, errors or warnings.
fn rendered(file: &str, text: &str) -> String {
    match load_str(file, text, &env) {
        Err(problems) => format!("{problems}\n"),
        Ok(loaded) => {
            let warnings: Vec<String> = loaded.warnings.iter().map(|warning| format!("{warning}\n")).collect();
            format!("{}\nvalid, {}\n", warnings.join("\n"), count_line(&loaded.warnings))
        }
    }
}

#[test]
fn every_wrong_file_gets_its_golden_text() {
    check_folder("tests/config");
}

/// In a build without these parts, that they are missing is all that is said.
#[test]
#[cfg(all(feature = "aws", feature = "kafka", feature = "parquet", feature = "splunk", feature = "zstd"))]
fn every_wrong_file_about_aws_kafka_and_splunk_gets_its_golden_text() {
    check_folder("tests/config/aws");
}

fn check_folder(folder: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 5, "the folder has the cases");
    let mut stale = Vec::new();
    for file in files {
        let name = format!("{folder}/{}", file.file_name().unwrap().to_string_lossy());
        let text = rendered(&name, &std::fs::read_to_string(&file).unwrap());
        assert!(!text.contains("hunter2"), "{name} shows a secret");
        let golden = file.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            stale.push(format!("{name}:\n{text}"));
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}

/// One problem: its place and path.
fn check_place(text: &str, line: usize, column: usize, length: usize, path: &str) {
    let problems = problems(text);
    let problem = &problems.list[0];
    let place = problem.place.as_ref().unwrap_or_else(|| panic!("{problems}"));
    assert_eq!((place.line, place.column, place.length), (line, column, length), "{problems}");
    assert_eq!(problem.path, path, "{problems}");
}

const SOURCES: &str = "sources: {a: {simulate: {}}}\n";

#[test]
fn a_problem_is_found_where_it_stands() {
    let check = |sinks: &str, line, column, length, path| {
        check_place(&format!("{SOURCES}{sinks}"), line, column, length, path);
    };
    check("sinks:\n  out:\n    console: {}\n    onyl: {}\n", 5, 5, 4, "sinks.out.onyl");
    check("sinks: {out: {console: {}, only: {knid: [ike]}}}\n", 2, 35, 4, "sinks.out.only.knid");
    check("sinks: {\"out\": {console: {}, \"only\": {kind: [ike, 'bgp']}}}\n", 2, 51, 5, "sinks.out.only.kind[1]");
    check("sinks: {out: {console: {}, only: {tag: {Straße: x}}}}\n", 2, 49, 1, "sinks.out.only.tag.Straße");
    check("sinks:\r\n  out:\r\n    console: {}\r\n    format: yaml\r\n", 5, 13, 4, "sinks.out.format");
    check(
        "sinks:\n  out:\n    file:\n      path: x\n      rotate: >-\n        lots\n",
        7,
        9,
        4,
        "sinks.out.file.rotate",
    );
    check(
        "sinks:\n  out:\n    file:\n      path: x\n      rotate: \"a\n        b\"\n",
        6,
        15,
        2,
        "sinks.out.file.rotate",
    );
    check("sinks:\n  out:\n    file: {rotate: 1MiB}\n", 4, 5, 4, "sinks.out.file");
    check(
        "sinks:\n  out:\n    console: {}\n    only:\n      kind:\n        - ike\n        - ikee\n",
        8,
        11,
        4,
        "sinks.out.only.kind[1]",
    );
}

#[test]
fn a_byte_order_mark_moves_no_column() {
    check_place("\u{feff}nmae: x\nsources: {a: {simulate: {}}}\nsinks: {b: {console: {}}}\n", 1, 1, 4, "nmae");
}

#[test]
fn a_small_file_is_valid_and_has_its_defaults() {
    let loaded = loaded("sources: {a: {simulate: }}\nsinks: {b: {console: }}\n");
    assert_eq!(loaded.name, "test");
    assert_eq!(loaded.directory, Path::new("pipelines"));
    assert_eq!(loaded.checkpoint_file(), Path::new("state/test.redb"));
    assert_eq!(loaded.dead_letters_file().path, Path::new("state/test.dead-letters.ndjson"));
    assert_eq!(loaded.pipeline.sources["a"].simulate.as_ref().unwrap().connections, 25);
    assert!(loaded.warnings.is_empty());
}

#[test]
fn dead_letters_lie_beside_a_checkpoint_that_was_moved() {
    let loaded = loaded(&format!(
        "{SOURCES}sinks: {{b: {{console: }}}}\nname: fleet\ncheckpoint: {{file: /var/lib/t/c.redb}}\n"
    ));
    assert_eq!(loaded.dead_letters_file().path, Path::new("/var/lib/t/fleet.dead-letters.ndjson"));
}

#[test]
fn a_plain_variable_is_typed_and_a_quoted_one_is_text() {
    let with = |seed: &str| format!("sources: {{a: {{simulate: {{}}}}}}\nsinks: {{b: {{console: }}}}\n{seed}");
    let text = "sources:\n  a:\n    simulate:\n      seed: ${SEED}\nsinks: {b: {console: }}\n";
    assert_eq!(loaded(text).pipeline.sources["a"].simulate.as_ref().unwrap().seed, 7);
    let found = problems(&text.replace("${SEED}", "\"${SEED}\""));
    assert!(found.to_string().contains("expected a whole number"), "{found}");
    assert_eq!(loaded(&with("name: n${SEED}")).name, "n7");
    assert_eq!(loaded(&with("name: '${NONE:-quiet}'")).name, "quiet");
}

#[test]
fn an_account_id_keeps_its_leading_zero_however_it_is_written() {
    for account in ["012345678901", "\"012345678901\"", "\"${ACCOUNT}\"", "${NONE:-012345678901}"] {
        let text = format!("{SOURCES}sinks:\n  b:\n    console:\n    only:\n      account:\n        - {account}\n");
        let loaded = loaded(&text);
        assert_eq!(loaded.pipeline.sinks["b"].only.as_ref().unwrap().account, ["012345678901"], "{account}");
    }
}

#[test]
fn a_variable_cannot_change_the_structure() {
    let loaded = loaded(&format!("{SOURCES}sinks: {{b: {{file: {{path: \"${{BREAKOUT}}\"}}}}}}\n"));
    let path = &loaded.pipeline.sinks["b"].file.as_ref().unwrap().path;
    assert_eq!(path, Path::new("x\", console: {} } # ["));
}

#[test]
fn no_value_of_a_variable_is_shown() {
    let text = "name: \"${SECRET} \"\nsources:\n  a: {replay: {inputs: [\"${SECRET}\"]}}\n  c: {simulate: {start: \"${SECRET}\"}}\n\
                enrich: {simulated: \"${SECRET}\", refresh: \"${SECRET}\"}\n\
                sinks:\n  b:\n    console: \"${SECRET}\"\n    format: \"${SECRET}\"\n    \
                only: {account: [\"${SECRET}\"], kind: [\"${SECRET}\"], connection: [\"${SECRET}\"]}\n\
                status: {listen: \"${SECRET}\"}\nlimits: {record: \"${SECRET}\", open_records: \"${SECRET}\"}\n";
    let found = problems(text);
    assert!(found.count(Level::Error) >= 9, "{found}");
    assert!(!format!("{found} {found:?}").contains("hunter2"), "{found}");
}

/// Problems of a text that is no pipeline at all: the first message.
fn check_message(text: &str, expect: &str) {
    let found = problems(text);
    assert!(found.to_string().contains(expect), "{text:?} should say {expect:?}:\n{found}");
    assert!(!found.list[0].notes.is_empty(), "says what to do next:\n{found}");
}

#[test]
fn what_is_no_yaml_or_too_much_of_it_is_said_clearly() {
    check_message("", "the file is empty");
    check_message("# nothing\n", "the file is empty");
    check_message("sources:\n\ta: b\n", "indent with spaces");
    check_message("sources: [a\nsinks: b\n", "broken YAML");
    check_message("a: \"b\n", "close the quote");
    check_message("a: 1\n---\nb: 2\n", "second document");
    check_message("a: &x [1]\nb: *x\n", "aliases are not supported");
    check_message("a: *x\n", "aliases are not supported");
    check_message("a: {b: c}\n<<: {d: e}\n", "merge keys");
    check_message("name: !secret x\n", "tags are not supported");
    check_message("- a\n", "found a list");
    check_message("just text\n", "found `just text`");
    check_message("? [a]\n: b\n", "a key must be a name");
    check_message("a: &x b\n", "anchors are not supported");
    check_message(&format!("a: {}\n", "b".repeat(1 << 20)), "larger than 1024 KiB");
    check_message("sinks: {a: {file: {path: ${X}}}}\n", "a variable needs quotes");
}

#[test]
fn twenty_thousand_levels_are_refused_without_a_crash() {
    // An eighth of what a thread of ours has, and less than the levels would take if anything recursed.
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let job = small.spawn(|| {
        for level in ["- ", "? ", "[", "{a: ", "[\n", "{a:\n", "{? ", "- ? "] {
            check_message(&level.repeat(20_000), "nested too deeply");
        }
        // Indentation makes these larger than a pipeline file may be: as deep as one can be.
        for level in ["a:\n", "-\n", "?\n"] {
            let text: String = (0..1400).map(|depth| format!("{}{level}", " ".repeat(depth))).collect();
            check_message(&text, "nested too deeply");
        }
    });
    job.unwrap().join().unwrap();
}

#[test]
fn an_alias_bomb_is_refused_and_costs_nothing() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let found = problems(&text);
    for (message, count) in [("anchors are not supported", 12), ("aliases are not supported", 110)] {
        assert_eq!(found.list.iter().filter(|problem| problem.message == message).count(), count, "{found}");
    }
}

#[test]
fn of_very_many_problems_on_one_long_line_the_first_are_shown() {
    let aliases = format!("a: &a [x]\nb: [{}]\n", "*a,".repeat(100_000));
    let keys: String = (0..20_000).map(|key| format!("k{key}: 1, ")).collect();
    for text in [aliases, format!("{{{keys}}}\n")] {
        let found = problems(&text).to_string();
        assert!(found.contains("more problems are not shown") && found.len() < 100_000, "{}", found.len());
    }
}

#[test]
fn every_duplicate_key_is_reported_and_none_wins_silently() {
    let found =
        problems(&format!("{SOURCES}name: a\nname: b\nsinks: {{x: {{console: }}}}\n\"name\": c\nsinks: {{}}\n"));
    let text = found.to_string();
    assert_eq!(text.matches("is set twice").count(), 3, "{text}");
    assert!(text.contains("`sinks` is set twice") && text.contains("first set in line 2, column 1"), "{text}");
}

#[test]
fn a_file_that_cannot_be_read_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, expect: &[&str]| {
        let found = load(&folder.path().join(name), &env).expect_err(name).to_string();
        assert!(expect.iter().all(|text| found.contains(text)), "{name} should say {expect:?}:\n{found}");
    };
    std::fs::write(folder.path().join("quickstart.yaml"), "a: 1\n").unwrap();
    std::fs::write(folder.path().join("binary.yaml"), b"name: a\nsinks: \xff\xfe\n").unwrap();
    std::fs::write(folder.path().join("large.yaml"), vec![b'#'; 2 << 20]).unwrap();
    check("quickstrat.yaml", &["no such file", "did you mean", "quickstart.yaml"]);
    check("", &["is a folder", "pipeline files there: binary.yaml, large.yaml, quickstart.yaml"]);
    check("binary.yaml", &["not UTF-8 text (line 2)", "save it as UTF-8"]);
    check("large.yaml", &["larger than 1024 KiB"]);
}

#[test]
fn inputs_are_looked_for_beside_the_pipeline_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "sources: {a: {replay: {inputs: [in.jsonl]}}}\nsinks: {b: {console: }}\n").unwrap();
    let found = load(&file, &env).expect_err("no input yet").to_string();
    assert!(found.contains("in.jsonl` does not exist"), "{found}");
    std::fs::write(folder.path().join("in.jsonl"), "").unwrap();
    let loaded = load(&file, &env).unwrap();
    let replay = loaded.pipeline.sources["a"].replay.as_ref().unwrap();
    assert_eq!(loaded.replay_inputs(replay), [folder.path().join("in.jsonl")]);
}

#[test]
fn what_this_build_left_out_says_how_to_build_it() {
    let check = |text: &str, feature: &str, built: bool| match load_str("p.yaml", text, &env) {
        Ok(_) => assert!(built, "{feature} is not built"),
        Err(found) => assert!(!built && found.to_string().contains(&format!("--features {feature}")), "{found}"),
    };
    let zstd = format!("{SOURCES}sinks: {{b: {{file: {{path: x, compression: zstd}}}}}}\n");
    check(&zstd, "zstd", cfg!(feature = "zstd"));
    check(&format!("{SOURCES}sinks: {{b: {{console: }}}}\nstatus:\n"), "status", cfg!(feature = "status"));
    let sinks = "sinks: {b: {console: }}\n";
    check(&format!("sources: {{a: {{kinesis: {{stream: x}}}}}}\n{sinks}"), "aws", cfg!(feature = "aws"));
    check(&format!("{SOURCES}enrich: {{ec2: {{}}}}\n{sinks}"), "aws", cfg!(feature = "aws"));
    check(&format!("{SOURCES}sinks: {{b: {{firehose: {{stream: x}}}}}}\n"), "aws", cfg!(feature = "aws"));
    check(&format!("{SOURCES}sinks: {{b: {{s3: {{bucket: abc}}}}}}\n"), "aws", cfg!(feature = "aws"));
    check(&format!("{SOURCES}{sinks}dead_letters: {{s3: {{bucket: abc}}}}\n"), "aws", cfg!(feature = "aws"));
    let kafka = format!("{SOURCES}sinks: {{b: {{kafka: {{brokers: ['b:1'], topic: t}}}}}}\n");
    check(&kafka, "kafka", cfg!(feature = "kafka"));
    let splunk = "sinks: {b: {splunk_hec: {endpoints: ['https://hec:8088'], token: '${SECRET}'}}}\n";
    check(&format!("{SOURCES}{splunk}"), "splunk", cfg!(feature = "splunk"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = load_str("p.yaml", &text, &env).map_err(|problems| problems.to_string());
    }

    #[test]
    fn nothing_that_looks_like_yaml_panics(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "sources", "sinks", "name", ": ", ":", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ", ", "\"", "'",
                "|\n", ">-\n", "${", "}", "$$", "&a ", "*a", "!t ", "? ", "#", " ", "\t", "\r\n", "é", "1", "~", "true",
                "console", "file", "path", "only", "kind", "---\n", "...\n", "<<", "%", "a", "a: 1\n", "a: 2\n",
            ]),
            0..60,
        )
    ) {
        let _ = load_str("p.yaml", &parts.concat(), &env).map_err(|problems| problems.to_string());
    }

    #[test]
    fn a_damaged_pipeline_never_panics(at in 0usize..400, cut in 0usize..40, with in "\\PC{0,5}") {
        let good: Vec<char> = GOOD.chars().collect();
        let at = at.min(good.len());
        let end = (at + cut).min(good.len());
        let text: String = good[..at].iter().chain(&with.chars().collect::<Vec<_>>()).chain(&good[end..]).collect();
        let _ = load_str("p.yaml", &text, &env).map_err(|problems| problems.to_string());
    }
}

const GOOD: &str = "name: siem\nsources:\n  main:\n    simulate: { seed: ${SEED}, connections: 25 }\nenrich: { simulated: main, tags: [Name, site] }\nsinks:\n  siem:\n    file: { path: out/events.ndjson, compression: gzip, rotate: 64MiB }\n    only: { kind: [bgp.session, ike], min_severity: notice, account: [\"012345678901\"] }\n    format:\n      json: { raw: always }\nlimits: { record: 64MiB }\n";
