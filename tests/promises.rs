//! What README.md and ARCHITECTURE.md promise names the test that holds it: each such name is one of the code's, and each
//! line of the README's tables of guarantees has one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Names of tests are sentences: of at least so many words.
const WORDS: usize = 4;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        // What `make fuzz` builds is not ours.
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Words that a function, or an entry of a macro that makes functions, is called by.
fn names() -> BTreeSet<String> {
    let mut files = Vec::new();
    ["src", "tests"].into_iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().map(str::trim_start) {
            let line = line.strip_prefix("async ").unwrap_or(line);
            let (line, ends) = line.strip_prefix("fn ").map_or((line, ':'), |name| (name, '('));
            let end = line.find(|letter: char| !is_of_name(letter)).unwrap_or(line.len());
            if line[end..].starts_with(ends) {
                names.insert(line[..end].to_owned());
            }
        }
    }
    names
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether it looks like a test's name, perhaps cut short with `…`.
fn is_sentence(name: &str) -> bool {
    let bare = name.trim_matches('…');
    let is_cut = bare.len() < name.len();
    let words = bare.split('_').filter(|word| !word.is_empty()).count();
    // Metrics have names of many words too.
    bare.chars().all(is_of_name) && !bare.starts_with("tunnelog_") && words >= if is_cut { 2 } else { WORDS }
}

fn is_there(name: &str, names: &BTreeSet<String>) -> bool {
    match (name.strip_prefix('…'), name.strip_suffix('…')) {
        (Some(end), _) => names.iter().any(|name| name.ends_with(end)),
        (None, Some(start)) => names.iter().any(|name| name.starts_with(start)),
        (None, None) => names.contains(name),
    }
}

#[test]
fn every_test_that_a_page_names_is_in_the_code() {
    let names = names();
    let mut found = 0;
    for page_name in ["README.md", "ARCHITECTURE.md"] {
        // Blocks of code are no prose.
        let page = page(page_name);
        let prose: String = page.split("```").step_by(2).collect();
        for quoted in quoted(&prose) {
            if quoted.starts_with("tests/") {
                assert!(root().join(quoted).exists(), "{page_name} names `{quoted}`, which is not there");
                found += 1;
            } else if is_sentence(quoted) {
                assert!(is_there(quoted, &names), "{page_name} names `{quoted}`: no function is called so");
                found += 1;
            }
        }
    }
    assert!(found > 100, "only {found} names were found: is this test blind?");
}

/// The rows of the table below a heading, without its head.
fn rows<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let below = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section `{heading}`")).1;
    let table = below.lines().skip_while(|line| !line.starts_with('|'));
    table.take_while(|line| line.starts_with('|')).skip(2).collect()
}

#[test]
fn every_guarantee_in_the_readme_names_its_test() {
    let page = page("README.md");
    for heading in ["Delivery, sink by sink", "What is promised"] {
        let rows = rows(&page, heading);
        assert!(rows.len() >= 7, "{heading}: {} rows", rows.len());
        for row in rows {
            assert!(row.contains("`tests/"), "no test is named in: {row}");
        }
    }
}

#[test]
fn a_name_that_is_not_there_is_found_missing() {
    let names = BTreeSet::from(["a_lane_that_waits".to_owned()]);
    assert!(is_sentence("a_lane_that_sleeps") && !is_there("a_lane_that_sleeps", &names));
    assert!(is_there("a_lane_…", &names) && is_there("…_that_waits", &names) && !is_there("b_lane_…", &names));
    assert!(!is_sentence("open_records") && !is_sentence("tunnelog_last_reload_timestamp_seconds"));
    assert_eq!(quoted("`one` and `two`").collect::<Vec<_>>(), ["one", "two"]);
}
