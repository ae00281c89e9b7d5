//! Text to [`tree`](super::tree): the only file that knows the YAML library.
//!
//! What the library leaves out is done here: how a scalar was written (read off the source at its place),
//! all duplicate keys instead of the first, and a bound on nesting (the library recurses over its tree
//! when it frees it). Anchors, aliases, merge keys and tags are refused: a pipeline file says what it means
//! where it means it, and an alias could make a small file large.

use saphyr::{LoadableYamlNode, MarkedYaml, Marker, ScanError, YamlData};

use super::problem::Report;
use super::tree::{Data, Key, Mark, Node, Path, Scalar, Span};

/// Deepest indentation in columns, and most `- ` or `? ` on one line. A block collection nests by one of the
/// two, and the library bounds `[` and `{` at 255; so a tree has at most 128 + 64 + 255 levels.
const DEEPEST_INDENT: usize = 128;
const MOST_INLINE: usize = 64;

/// How many duplicate keys are looked for; each costs a parse.
const MOST_DUPLICATES: usize = 20;

/// First of the characters that stand in for the first letter of a duplicate key (a private use area).
const STAND_IN: u32 = 0xE000;

/// Reads one document; `None` when the text is no YAML, which is then in the report.
pub(crate) fn read(text: &str, report: &mut Report<'_>) -> Option<Node> {
    if let Some(line) = too_deep(text) {
        let message = "nested or indented too deeply to be a pipeline file";
        report
            .error(Span::of_columns(line, 1, 2), &Path::default(), message)
            .note(format!("at most {DEEPEST_INDENT} columns of indentation and {MOST_INLINE} list items on one line"));
        return None;
    }
    let mut source = Source { original: text.chars().collect(), duplicates: Vec::new() };
    let documents = match source.parse() {
        Ok(documents) => documents,
        Err(error) => {
            broken(&error, report);
            return None;
        }
    };
    let mut documents = documents.iter();
    let Some(first) = documents.next() else {
        report
            .error_of_file("the file is empty")
            .note("a pipeline needs `sources` and `sinks`; `pipelines/quickstart.yaml` is a good beginning");
        return None;
    };
    if let Some(second) = documents.next() {
        let line = second.span.start.line().max(1);
        report
            .error(Span::of_columns(line, 1, 2), &Path::default(), "a second document begins before this line")
            .note("a file holds one pipeline: remove the `---`, or put the second pipeline into a file of its own");
    }
    Some(source.node(first, &Path::default(), report))
}

/// The first line that could nest deeper than the bound.
fn too_deep(text: &str) -> Option<usize> {
    let deep = |line: &str| {
        let indent = line.chars().take_while(|c| matches!(c, ' ' | '\t')).count();
        let inline = line.matches("- ").count().max(line.matches("? ").count());
        let blank_or_comment = line.trim_start().is_empty() || line.trim_start().starts_with('#');
        !blank_or_comment && (indent > DEEPEST_INDENT || inline > MOST_INLINE)
    };
    text.split('\n').position(|line| line.split('\r').any(deep)).map(|index| index + 1)
}

/// A scan error as a problem, with the remedy for the usual reasons.
fn broken(error: &ScanError, report: &mut Report<'_>) {
    let start = mark(error.marker());
    let line = report.line(start.line);
    let info = error.info();
    let remedy = if info.contains("tab") || line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces: YAML allows no tabs there"
    } else if info.contains("flow") && line.contains("${") {
        "inside `[...]` and `{...}` a variable needs quotes: \"${VAR}\""
    } else if info.contains("mapping values are not allowed") {
        "quote a value that contains `: `, and check that the line is indented like its neighbours"
    } else if info.contains("quoted scalar") {
        "close the quote; inside \"...\" write \\\" for a quote and \\\\ for a backslash"
    } else if info.contains("unexpected character") {
        "quote a value that begins with a special character such as @, ` or %"
    } else if info.contains("unknown anchor") {
        "quote a value that begins with `*`; aliases are not supported"
    } else {
        "check the indentation, the quotes and the brackets here and on the line above"
    };
    let span = Span { start, end: Mark { line: start.line, column: start.column + 1 } };
    report.error(span, &Path::default(), format!("broken YAML: {info}")).note(remedy);
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col() + 1 }
}

/// The text by characters, as the library counts them.
struct Source {
    original: Vec<char>,
    /// Where the first letters of duplicate keys are; the n-th is parsed as `STAND_IN + n`.
    duplicates: Vec<usize>,
}

impl Source {
    /// Parses, setting a stand-in for each duplicate key: the library stops at the first.
    fn parse(&mut self) -> Result<Vec<MarkedYaml<'static>>, ScanError> {
        let mut text = self.original.clone();
        loop {
            let error = match MarkedYaml::load_from_iter(text.iter().copied()) {
                Ok(documents) => return Ok(documents),
                Err(error) => error,
            };
            // The library has no kind of error to match on; its version is pinned by Cargo.lock and a test.
            if !error.info().contains("duplicated key") || self.duplicates.len() == MOST_DUPLICATES {
                return Err(error);
            }
            let at = error.marker().index();
            let at = if matches!(text.get(at), Some('"' | '\'')) { at + 1 } else { at };
            let stand_in = u32::try_from(self.duplicates.len()).ok().and_then(|n| char::from_u32(STAND_IN + n));
            match (text.get_mut(at), stand_in) {
                (Some(letter), Some(stand_in)) if letter.is_alphanumeric() => *letter = stand_in,
                _ => return Err(error),
            }
            self.duplicates.push(at);
        }
    }

    fn node(&self, yaml: &MarkedYaml<'_>, path: &Path, report: &mut Report<'_>) -> Node {
        let span = Span { start: mark(&yaml.span.start), end: mark(&yaml.span.end) };
        let begin = yaml.span.start.index();
        if let Some((what, instead)) = self.unsupported(yaml, begin) {
            report.error(span, path, format!("{what} are not supported")).note(instead);
            return Node { span, data: Data::Broken };
        }
        let data = match &yaml.data {
            YamlData::Sequence(items) => Data::List(
                items.iter().enumerate().map(|(index, item)| self.node(item, &path.index(index), report)).collect(),
            ),
            YamlData::Mapping(pairs) => {
                let mut map = Vec::new();
                for (key, value) in pairs {
                    self.pair(key, value, path, &mut map, report);
                }
                Data::Map(map)
            }
            YamlData::Value(value) => Data::Scalar(self.scalar(value, yaml)),
            _ => Data::Broken,
        };
        Node { span, data }
    }

    /// What the place of a node shows that a pipeline file may not have.
    fn unsupported(&self, yaml: &MarkedYaml<'_>, begin: usize) -> Option<(&'static str, &'static str)> {
        let tag = ("tags", "leave the `!...` out: types are known from the field");
        match &yaml.data {
            YamlData::Tagged(..) | YamlData::BadValue => return Some(tag),
            YamlData::Value(saphyr::Scalar::String(_)) if self.is_block(begin) => return None,
            _ => {}
        }
        if yaml.span.start == yaml.span.end {
            return None;
        }
        match (self.original.get(begin), &yaml.data) {
            (Some('*'), _) => Some(("aliases", "write the value out, or quote it if it is meant to begin with `*`")),
            (Some('!'), YamlData::Value(_)) => Some(tag),
            (Some('&'), YamlData::Value(_)) => Some(("anchors", "quote the value if it is meant to begin with `&`")),
            _ => None,
        }
    }

    fn pair(
        &self,
        key: &MarkedYaml<'_>,
        value: &MarkedYaml<'_>,
        path: &Path,
        map: &mut Vec<(Key, Node)>,
        report: &mut Report<'_>,
    ) {
        let span = Span { start: mark(&key.span.start), end: mark(&key.span.end) };
        let (begin, end) = (key.span.start.index(), key.span.end.index());
        let YamlData::Value(scalar) = &key.data else {
            report.error(span, path, "a key must be a name").note("write `name: value`");
            return;
        };
        let mut name = self.scalar(scalar, key).text;
        let duplicate = self.duplicates.iter().find(|at| (begin..end).contains(at));
        if let Some(letter) = duplicate.and_then(|at| self.original.get(*at)) {
            name = std::iter::once(*letter).chain(name.chars().skip(1)).collect();
        }
        if name == "<<" {
            let problem = report.error(span, path, "merge keys (`<<`) are not supported");
            problem.note("write the fields out");
        } else if let Some((first, _)) = map.iter().find(|(other, _)| other.name == name) {
            let message = format!("`{name}` is set twice");
            let problem = report.error(span, &path.key(&name), message);
            problem.note(format!("first set in line {}: keep one of the two", first.span.start.line));
        } else {
            let value = self.node(value, &path.key(&name), report);
            map.push((Key { name, span }, value));
        }
    }

    /// Text and style. The library types a plain scalar and forgets its text, which matters: an account id may
    /// begin with 0.
    fn scalar(&self, value: &saphyr::Scalar<'_>, yaml: &MarkedYaml<'_>) -> Scalar {
        let (begin, end) = (yaml.span.start.index(), yaml.span.end.index());
        let plain = |text| Scalar { text, plain: true, before: None };
        let saphyr::Scalar::String(text) = value else {
            // An empty value in a flow mapping spans the bracket after it: its text is not the source's.
            let is_null = matches!(value, saphyr::Scalar::Null);
            let text: String = self.original.get(begin..end).unwrap_or_default().iter().collect();
            return plain(if is_null { String::new() } else { text.trim().to_string() });
        };
        let quoted = begin < end && matches!(self.original.get(begin), Some('"' | '\''));
        Scalar { text: text.to_string(), plain: !quoted && !self.is_block(begin), before: None }
    }

    /// Whether a block scalar (`|`, `>`) begins at this place: the library spans its content, so the line
    /// before the content (blank ones apart) ends with the block's header.
    fn is_block(&self, begin: usize) -> bool {
        let before = self.original.get(..begin).unwrap_or_default();
        let line_break = |c: &char| matches!(c, '\n' | '\r');
        let Some(line_end) = before.iter().rposition(|c| !c.is_whitespace()) else { return false };
        if !before[line_end..].iter().any(line_break) {
            return false;
        }
        let line_begin = before[..line_end].iter().rposition(line_break).map_or(0, |at| at + 1);
        let line: String = before[line_begin..=line_end].iter().collect();
        let line = line.split(" #").next().unwrap_or_default().trim_end();
        let header = line.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-'));
        let before_header = header.strip_suffix(['|', '>']);
        before_header.is_some_and(|before| before.is_empty() || before.ends_with([' ', '\t', ':', '-']))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

    use super::*;

    /// Reads `v: ...` and gives the text and whether it is plain.
    fn check(text: &str, expect: Option<(&str, bool)>) {
        let mut report = Report::new("f", text);
        let node = read(text, &mut report);
        let found = node.as_ref().and_then(|node| match &node.pairs().last()?.1.data {
            Data::Scalar(scalar) => Some((scalar.text.as_str(), scalar.plain)),
            _ => None,
        });
        assert_eq!(found, expect, "{text:?} {:?}", report.finish());
    }

    #[test]
    fn how_a_scalar_was_written_is_known() {
        check("v: 007", Some(("007", true)));
        check("v: 1.50", Some(("1.50", true)));
        check("v: '007'", Some(("007", false)));
        check("v: \"a\\tb\"", Some(("a\tb", false)));
        check("v: plain\n  and more", Some(("plain and more", true)));
        check("v: |\n  7\n", Some(("7\n", false)));
        check("v: |-\n  'q'\n", Some(("'q'", false)));
        check("v: >- # why\n\n  *a\n", Some(("\n*a", false)));
        check("v:\r\n  7\r\n", Some(("7", true)));
        check("# |\nv: 7", Some(("7", true)));
        check("# a |\n7: 8\nv:\n  9", Some(("9", true)));
        check("v:", Some(("", true)));
        check("{v: }", Some(("", true)));
        check("v: ~", Some(("", true)));
        check("é: \"ü\"\nv: ${X}", Some(("${X}", true)));
        check("w: 1\n\"v\": '*a'", Some(("*a", false)));
    }

    #[test]
    fn what_a_pipeline_file_may_not_have_is_refused() {
        check("w: &a 5\nv: *a", None);
        check("v: !!int 5", None);
        check("v: !x 5", None);
        check("v: !!int x", None);
        check("v: &a 5", None);
    }

    #[test]
    fn every_duplicate_is_found_in_one_reading() {
        let text = "a: 1\nb: {x: 1, 'x': 2}\n\"a\": 2\na: 3\n";
        let mut report = Report::new("f", text);
        let node = read(text, &mut report).unwrap();
        assert_eq!(node.pairs().len(), 2);
        let messages: Vec<String> = report.finish().into_iter().map(|problem| problem.message).collect();
        assert_eq!(messages, ["`x` is set twice", "`a` is set twice", "`a` is set twice"]);
    }

    #[test]
    fn nesting_is_bounded_before_the_library_sees_it() {
        for text in ["- ".repeat(200), "? ".repeat(200), format!("a:\n{}b: 1", " ".repeat(200))] {
            assert_eq!(too_deep(&text), Some(1 + text.matches('\n').count()));
        }
        let staircase: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert_eq!(too_deep(&staircase), Some(130));
        assert_eq!(too_deep("# - - -\na: [1, 2]\n"), None);
    }
}
