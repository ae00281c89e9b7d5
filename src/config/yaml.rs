//! Text to [`tree`](super::tree): the only file that knows the YAML library.
//!
//! The library gives events, one after the other; the tree is built from them on a stack of our own. That
//! bounds nesting before anything recursive (the walk, the tree's own drop) can meet it, and finds every
//! duplicate key. Anchors, aliases, merge keys and tags are refused: a pipeline file says what it means
//! where it means it, and an alias could make a small file large.

use std::collections::HashMap;
use std::mem;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::problem::Report;
use super::tree::{Data, Key, Mark, Node, Path, Scalar, Span};

/// Deepest nesting of mappings and lists; the deepest field of a pipeline file is in the sixth.
const DEEPEST: usize = 64;

/// Reads one document; `None` when the text is no YAML, which is then in the report.
pub(crate) fn read(text: &str, report: &mut Report<'_>) -> Option<Node> {
    let mut builder = Builder { report, open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok((event, span)) => (event, Span { start: mark(&span.start), end: mark(&span.end) }),
            Err(error) => {
                broken(&error, builder.report);
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(_)) && builder.root.is_some() {
            let problem = builder.report.error(span, &Path::default(), "a second document begins here");
            problem
                .note("a file holds one pipeline: remove the `---`, or put the second pipeline into a file of its own");
            break;
        }
        builder.event(event, span).ok()?;
    }
    if builder.root.is_none() {
        let problem = builder.report.error_of_file("the file is empty");
        problem.note("a pipeline needs `sources` and `sinks`; `pipelines/quickstart.yaml` is a good beginning");
    }
    builder.root
}

/// A scan error as a problem, with the remedy for the usual reasons. The library has no kinds of error: its
/// words choose the remedy, never what happens.
fn broken(error: &ScanError, report: &mut Report<'_>) {
    let start = mark(error.marker());
    let line = report.line(start.line);
    let info = error.info();
    let span = Span { start, end: Mark { line: start.line, column: start.column + 1 } };
    if info.contains("recursion limit") {
        // Brackets within a line are read ahead: the library's own bound comes first.
        too_deep(span, report);
        return;
    }
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
    report.error(span, &Path::default(), format!("broken YAML: {info}")).note(remedy);
}

fn too_deep(span: Span, report: &mut Report<'_>) {
    let message = "nested too deeply to be a pipeline file";
    let problem = report.error(span, &Path::default(), message);
    problem.note(format!("mappings and lists may nest {DEEPEST} levels deep: check the indentation and the brackets"));
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col() + 1 }
}

/// Builds the tree. A collection goes into its parent when it ends.
struct Builder<'r, 't> {
    report: &'r mut Report<'t>,
    /// The collections that have begun and not ended, outermost first; at most [`DEEPEST`].
    open: Vec<Open>,
    root: Option<Node>,
}

/// A collection that has not ended.
struct Open {
    start: Mark,
    /// It has an anchor or a tag: reported, and nothing more is said about it.
    is_refused: bool,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map {
        pairs: Vec<(Key, Node)>,
        /// Where each name was first set.
        first: HashMap<String, Mark>,
        next: Next,
    },
}

/// What the next node of a mapping is.
enum Next {
    Key,
    Value(Key),
    /// The value of a key that was refused.
    Unwanted,
}

/// The file is nested too deeply; reported.
struct TooDeep;

impl Builder<'_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), TooDeep> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_refused = self.refuses(anchor, tag.is_some(), span);
                let plain = style == ScalarStyle::Plain;
                // What is left empty has the place of the `:` or the bracket beside it, which is no value's.
                let end = if plain && text.is_empty() { span.start } else { span.end };
                let scalar = Data::Scalar(Scalar { text: text.into_owned(), plain, before: None });
                let data = if is_refused { Data::Broken } else { scalar };
                self.put(Node { span: Span { end, ..span }, data });
            }
            Event::Alias(_) => {
                self.unsupported("aliases", "write the value out, or quote it if it is meant to begin with `*`", span);
                self.put(Node { span, data: Data::Broken });
            }
            Event::SequenceStart(anchor, tag) => {
                let is_refused = self.refuses(anchor, tag.is_some(), span);
                self.begin(Open { start: span.start, is_refused, items: Items::List(Vec::new()) }, span)?;
            }
            Event::MappingStart(anchor, tag) => {
                let is_refused = self.refuses(anchor, tag.is_some(), span);
                let items = Items::Map { pairs: Vec::new(), first: HashMap::new(), next: Next::Key };
                self.begin(Open { start: span.start, is_refused, items }, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Whether the node has what a pipeline file may not have, which is then reported.
    fn refuses(&mut self, anchor: usize, has_tag: bool, span: Span) -> bool {
        if has_tag {
            self.unsupported("tags", "leave the `!...` out: types are known from the field", span);
        }
        // The library numbers anchors from 1.
        if anchor > 0 {
            self.unsupported("anchors", "quote the value if it is meant to begin with `&`", span);
        }
        has_tag || anchor > 0
    }

    fn unsupported(&mut self, what: &str, instead: &str, span: Span) {
        self.report.error(span, &self.path(), format!("{what} are not supported")).note(instead);
    }

    fn begin(&mut self, open: Open, span: Span) -> Result<(), TooDeep> {
        if self.open.len() == DEEPEST {
            too_deep(span, self.report);
            return Err(TooDeep);
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, span: Span) {
        let Some(open) = self.open.pop() else { return };
        let data = match open.items {
            _ if open.is_refused => Data::Broken,
            Items::List(items) => Data::List(items),
            Items::Map { pairs, .. } => Data::Map(pairs),
        };
        self.put(Node { span: Span { start: open.start, end: span.end }, data });
    }

    /// A node that is complete goes into the innermost open collection.
    fn put(&mut self, node: Node) {
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { pairs, next, .. }) => match mem::replace(next, Next::Key) {
                Next::Key => self.key(node),
                Next::Value(key) => pairs.push((key, node)),
                Next::Unwanted => {}
            },
        }
    }

    /// A key of the innermost mapping: what comes next is its value.
    fn key(&mut self, node: Node) {
        let (span, path) = (node.span, self.path());
        let Some(Open { items: Items::Map { first, next, .. }, .. }) = self.open.last_mut() else { return };
        *next = Next::Unwanted;
        let name = match node.data {
            Data::Broken => return,
            Data::Scalar(scalar) => scalar.text,
            Data::List(_) | Data::Map(_) => {
                self.report.error(span, &path, "a key must be a name").note("write `name: value`");
                return;
            }
        };
        if name == "<<" {
            self.report.error(span, &path, "merge keys (`<<`) are not supported").note("write the fields out");
        } else if let Some(Mark { line, column }) = first.get(&name) {
            let problem = self.report.error(span, &path.key(&name), format!("`{name}` is set twice"));
            problem.note(format!("first set in line {line}, column {column}: keep one of the two"));
        } else {
            first.insert(name.clone(), span.start);
            *next = Next::Value(Key { name, span });
        }
    }

    /// The path of the node that comes next; of the mapping, if that is a key.
    fn path(&self) -> Path {
        self.open.iter().fold(Path::default(), |path, open| match &open.items {
            Items::List(items) => path.index(items.len()),
            Items::Map { next: Next::Value(key), .. } => path.key(&key.name),
            Items::Map { .. } => path,
        })
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
        check("v: ~", Some(("~", true)));
        check("v: |\n  a\n\n  b # no comment\n", Some(("a\n\nb # no comment\n", false)));
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
        check("v: &a [5]", None);
        check("v: !x {a: b}", None);
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
    fn nesting_is_bounded_however_it_is_written() {
        let check = |level: &dyn Fn(usize) -> String, deepest: usize| {
            let text = |levels: usize| (0..levels).map(level).collect::<String>();
            let messages = |text: &str| {
                let mut report = Report::new("f", text);
                let node = read(text, &mut report);
                (node.is_some(), report.finish().into_iter().map(|problem| problem.message).collect::<Vec<_>>())
            };
            assert_eq!(messages(&text(deepest)), (true, Vec::new()));
            for levels in [deepest + 1, 20_000.min(deepest + 1300)] {
                let (is_read, messages) = messages(&text(levels));
                assert!(!is_read && messages == ["nested too deeply to be a pipeline file"], "{messages:?}");
            }
        };
        check(&|_| "- ".into(), DEEPEST);
        check(&|level| format!("{}a:\n", " ".repeat(level)), DEEPEST);
        check(&|level| format!("{}-\n", " ".repeat(level)), DEEPEST);
    }
}
