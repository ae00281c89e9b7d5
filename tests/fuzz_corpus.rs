//! The fuzz targets over the inputs that are kept and over a fixed number of mutations of them, the same in every run.
//! `make fuzz TARGET=…` looks further, with coverage.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "fuzz/targets.rs"]
mod targets;

use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

/// Mutations of each target.
const MUTATIONS: u64 = 1_500;
/// What a mutation may put in: what the formats are made of.
const WORDS: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ":",
    ",",
    "null",
    "-1",
    "1e999",
    "\\u0000",
    "\\ud800",
    "\n",
    "\u{7f}",
    "é",
    "<",
    ">",
    "&",
    "</item>",
    "<item>",
    "0.0.0.0/0",
    "::",
    "18446744073709551616",
];

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// Runs a target on an input; a finding is told with the bytes that make it again.
fn run(target: &str, check: Target, input: &[u8], name: &str) {
    if catch_unwind(|| check(input)).is_err() {
        let escaped = input.escape_ascii();
        panic!("target `{target}` fails on {name}; keep it in tests/fuzz/corpus/{target}/:\n{escaped}");
    }
}

#[test]
fn every_kept_input_passes_its_target() {
    for (target, check) in TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 5, "{target} has {} inputs", corpus.len());
        for (file, input) in corpus {
            assert!(input.len() <= 8 << 10, "{} is too large to be kept", file.display());
            run(target, check, &input, &file.display().to_string());
        }
    }
}

/// A target's name may be in no other place than these: a new one is kept, run and built everywhere.
#[test]
fn every_target_has_a_program_and_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut programs: Vec<String> = folder
        .join("fuzz_targets")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort();
    let mut names = TARGETS.map(|(name, _)| name.to_owned());
    names.sort();
    assert_eq!(programs, names);
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

/// A generator whose every number follows from its seed (SplitMix64, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`; 0 where that is 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }
}

/// An input of the corpus with up to four changes.
fn mutated(corpus: &[(PathBuf, Vec<u8>)], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut input = corpus[random.below(corpus.len())].1.clone();
    for _ in 0..=random.below(4) {
        let (from, length) = (random.below(input.len()), random.below(32));
        let to = (from + length).min(input.len());
        match random.below(6) {
            0 if !input.is_empty() => input[from] = random.next().to_le_bytes()[0],
            1 => drop(input.drain(from..to)),
            2 => input.truncate(from),
            3 => {
                let piece = input[from..to].to_vec();
                drop(input.splice(from..from, piece));
            }
            4 => {
                let other = &corpus[random.below(corpus.len())].1;
                let start = random.below(other.len());
                let end = (start + 4 * length).min(other.len());
                drop(input.splice(from..to, other[start..end].to_vec()));
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                drop(input.splice(from..from, word.bytes()));
            }
        }
    }
    input
}

#[test]
fn mutations_of_kept_inputs_pass_their_target() {
    for (number, (target, check)) in TARGETS.into_iter().enumerate() {
        let corpus = corpus(target);
        for mutation in 0..MUTATIONS {
            let seed = (number as u64) << 32 | mutation;
            let mut name = String::new();
            write!(name, "mutation {mutation} (seed {seed:#x})").unwrap();
            run(target, check, &mutated(&corpus, seed), &name);
        }
    }
}
