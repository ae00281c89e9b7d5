//! What is wrong with a pipeline file, and how that is shown to a person.
//!
//! A [`Problem`] is complete in itself: file, place, path, the line of the file, and what to do. Only the
//! file's own text is ever shown, never the value of an environment variable, which may be a secret; and of that
//! text no password.
//! Lines and columns count from 1, columns in characters. No colour: that is the caller's.

use std::borrow::Cow;
use std::fmt;

use super::hide::hide;
use super::tree::{Path, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The pipeline does not start.
    Error,
    /// The pipeline runs, but hardly as it was meant.
    Warning,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warning => "warning",
        })
    }
}

/// One problem of a pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub level: Level,
    /// What was found, without the place.
    pub message: String,
    /// The file as the caller named it.
    pub file: String,
    /// Line and column, if the problem has a place in the file.
    pub place: Option<Place>,
    /// The field, for example `sinks.siem.only.kind[0]`; empty for the file as a whole.
    pub path: String,
    /// What is allowed, and what to do next.
    pub notes: Vec<String>,
}

/// A place in the file, and the line that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters are meant; at least 1, and only on this line.
    pub length: usize,
    /// The line's text, or a part of a very long one, with control characters as spaces.
    pub excerpt: String,
    /// Where in `excerpt` the marked characters begin, from 0.
    pub offset: usize,
}

impl Problem {
    /// Adds what is allowed or what to do next.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.level, self.message)?;
        let path = if self.path.is_empty() { String::new() } else { format!("  {}", self.path) };
        let Some(place) = &self.place else {
            write!(f, "  --> {}{path}", self.file)?;
            return self.notes.iter().try_for_each(|note| write!(f, "\n   = {note}"));
        };
        let margin = " ".repeat(place.line.to_string().len());
        writeln!(f, "{margin} --> {}:{}:{}{path}", self.file, place.line, place.column)?;
        writeln!(f, "{margin}  |")?;
        writeln!(f, "{} | {}", format_args!(" {}", place.line), place.excerpt)?;
        write!(f, "{margin}  | {}{}", " ".repeat(place.offset), "^".repeat(place.length))?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{margin}  = {note}"))
    }
}

/// Everything that is wrong with one pipeline file; at least one error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file as the caller named it.
    pub file: String,
    /// In the order of the file.
    pub list: Vec<Problem>,
}

impl Problems {
    /// How many problems have this level.
    pub fn count(&self, level: Level) -> usize {
        self.list.iter().filter(|problem| problem.level == level).count()
    }

    /// The one problem of a file that could not be read at all.
    pub(crate) fn of_file(file: &str, message: String, note: String) -> Problems {
        let problem = Problem {
            level: Level::Error,
            message,
            file: file.to_string(),
            place: None,
            path: String::new(),
            notes: vec![note],
        };
        Problems { file: file.to_string(), list: vec![problem] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            write!(f, "{problem}\n\n")?;
        }
        write!(f, "{} in {}", count_line(&self.list), self.file)
    }
}

/// `3 errors, 1 warning`; kinds that did not occur are left out.
pub fn count_line(problems: &[Problem]) -> String {
    let mut parts = Vec::new();
    for level in [Level::Error, Level::Warning] {
        match problems.iter().filter(|problem| problem.level == level).count() {
            0 => {}
            1 => parts.push(format!("1 {level}")),
            count => parts.push(format!("{count} {level}s")),
        }
    }
    if parts.is_empty() { "no problems".into() } else { parts.join(", ") }
}

/// Problems of one file that are kept: nobody reads more, and a megabyte of aliases must not become a
/// gigabyte of complaints.
const MOST: usize = 200;

/// Collects problems and gives them their lines.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    file: &'a str,
    lines: Vec<&'a str>,
    /// The same lines as they may be shown.
    shown: Vec<Cow<'a, str>>,
    /// At most [`MOST`], and then one more that each further one replaces.
    problems: Vec<Problem>,
    /// How many problems there are beyond [`MOST`], and the worst level among them.
    surplus: Option<(usize, Level)>,
}

impl<'a> Report<'a> {
    /// For the file of this name and text.
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let lines = split_lines(text);
        let shown = hide(&lines);
        Report { file, lines, shown, problems: Vec::new(), surplus: None }
    }

    /// Adds an error; notes are added to what is returned.
    pub(crate) fn error(&mut self, span: Span, path: &Path, message: impl Into<String>) -> &mut Problem {
        self.add(Level::Error, Some(span), path, message.into())
    }

    /// Adds a warning.
    pub(crate) fn warning(&mut self, span: Span, path: &Path, message: impl Into<String>) -> &mut Problem {
        self.add(Level::Warning, Some(span), path, message.into())
    }

    /// Adds an error of the file as a whole.
    pub(crate) fn error_of_file(&mut self, message: impl Into<String>) -> &mut Problem {
        self.add(Level::Error, None, &Path::default(), message.into())
    }

    /// The text of a line, from 1.
    pub(crate) fn line(&self, number: usize) -> &'a str {
        number.checked_sub(1).and_then(|index| self.lines.get(index)).copied().unwrap_or("")
    }

    /// The line without secrets.
    fn shown(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|index| self.shown.get(index)).map_or("", |line| line)
    }

    /// Whether a problem was already found at this path, above it or below it: a second one there would
    /// only be its consequence.
    pub(crate) fn touches(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| {
            let (short, long) =
                if problem.path.len() < path.len() { (&*problem.path, path) } else { (path, &*problem.path) };
            let rest = long.strip_prefix(short);
            // A problem of the file as a whole touches no field.
            !short.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Whether anything was found that keeps the pipeline from starting.
    pub(crate) fn has_errors(&self) -> bool {
        let surplus = self.surplus.map(|(_, worst)| worst);
        self.problems.iter().map(|problem| problem.level).chain(surplus).any(|level| level == Level::Error)
    }

    /// Everything that was found, in the order of the file.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.problems.truncate(MOST);
        self.problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        if let Some((count, worst)) = self.surplus {
            let mut rest = self.problem(worst, format!("{count} more problems are not shown"));
            rest.note("correct these first");
            self.problems.push(rest);
        }
        self.problems
    }

    fn problem(&self, level: Level, message: String) -> Problem {
        let file = self.file.to_string();
        Problem { level, message, file, place: None, path: String::new(), notes: Vec::new() }
    }

    fn add(&mut self, level: Level, span: Option<Span>, path: &Path, message: String) -> &mut Problem {
        let mut problem = self.problem(level, message);
        let index = self.problems.len().min(MOST);
        if index < MOST {
            problem.place = span.map(|span| place_of(span, self.shown(span.start.line)));
            problem.path = path.to_string();
        } else {
            self.surplus = Some(self.surplus.map_or((1, level), |(count, worst)| (count + 1, worst.min(level))));
            self.problems.truncate(MOST);
        }
        self.problems.push(problem);
        &mut self.problems[index]
    }
}

/// Lines as YAML counts them: ended by `\n`, `\r\n` or `\r`.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        lines.extend(line.strip_suffix('\r').unwrap_or(line).split('\r'));
    }
    lines
}

/// Longest excerpt in characters; of a longer line the part around the place is shown.
const EXCERPT: usize = 120;

fn place_of(span: Span, line: &str) -> Place {
    let total = line.chars().count();
    let column = span.start.column.max(1);
    let end = if span.end.line == span.start.line { span.end.column } else { total + 1 };
    let first = if total <= EXCERPT { 0 } else { (column - 1).saturating_sub(EXCERPT / 2).min(total - EXCERPT) };
    let shown = line.chars().skip(first).take(EXCERPT).map(|c| if c.is_control() { ' ' } else { c });
    let offset = (column - 1).saturating_sub(first);
    let length = end.min(total + 1).saturating_sub(column).clamp(1, EXCERPT.saturating_sub(offset).max(1));
    Place { line: span.start.line, column, length, excerpt: shown.collect::<String>().trim_end().into(), offset }
}

/// The nearest of the allowed names, if the name is likely a slip of one of them.
pub(crate) fn nearest<'n>(name: &str, allowed: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = name.to_lowercase();
    // Jaro-Winkler favours a common beginning, as typos have it; 0.8 keeps `kinesis` away from `kind`.
    let scored = allowed.into_iter().map(|other| (strsim::jaro_winkler(&name, &other.to_lowercase()), other));
    let best = scored.filter(|(score, _)| *score >= 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, other)| other)
}

/// ``did you mean `kind`? allowed: …``
pub(crate) fn suggestion(name: &str, allowed: &[&str]) -> String {
    let list = if allowed.is_empty() { "nothing".to_string() } else { allowed.join(", ") };
    match nearest(name, allowed.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? allowed: {list}"),
        None => format!("allowed: {list}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_foreign_word_finds_none() {
        let check = |name: &str, expect: Option<&str>| {
            let allowed = ["kind", "action", "transition", "min_severity", "account", "region"];
            assert_eq!(nearest(name, allowed), expect, "{name}");
        };
        check("knid", Some("kind"));
        check("Kind", Some("kind"));
        check("kinds", Some("kind"));
        check("actoin", Some("action"));
        check("severity_min", None);
        check("min_sev", Some("min_severity"));
        check("zzz", None);
        check("", None);
    }

    #[test]
    fn lines_end_as_yaml_ends_them() {
        assert_eq!(split_lines("a\r\nb\rc\nd"), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_very_long_line_is_shown_around_its_place() {
        let line = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let span = Span::of_columns(1, 501, 502);
        let place = place_of(span, &line);
        assert_eq!(place.excerpt.chars().count(), EXCERPT);
        assert_eq!(place.excerpt.chars().nth(place.offset), Some('X'));
    }

    #[test]
    fn of_very_many_problems_the_first_are_kept_and_the_others_counted() {
        let mut report = Report::new("f", "a: 1");
        for _ in 0..MOST + 2 {
            report.warning(Span::of_columns(1, 1, 2), &Path::default(), "x").note("y");
        }
        assert!(!report.has_errors());
        report.error(Span::of_columns(1, 1, 2), &Path::default(), "x").note("y");
        assert!(report.has_errors(), "an error that is not shown counts");
        let problems = report.finish();
        assert_eq!(problems.len(), MOST + 1);
        let last = problems.last().map(|problem| (problem.level, problem.message.as_str()));
        assert_eq!(last, Some((Level::Error, "3 more problems are not shown")));
    }

    #[test]
    fn counts_leave_out_what_did_not_occur() {
        assert_eq!(count_line(&[]), "no problems");
        let mut report = Report::new("f", "a: 1");
        report.error(Span::of_columns(1, 1, 2), &Path::default(), "x");
        report.error(Span::of_columns(1, 1, 2), &Path::default(), "x");
        report.warning(Span::of_columns(1, 1, 2), &Path::default(), "x");
        assert_eq!(count_line(&report.finish()), "2 errors, 1 warning");
    }
}
