//! A pipeline file as a tree in which every key and value knows its place.
//!
//! The tree is what `yaml` reads, `expand` fills in, and `walk` and `validate` complain about. It keeps how
//! a scalar was written, since a plain one is typed and a quoted one is text.

use std::fmt;

/// A point in the file: line and column from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A stretch of the file; `end` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: Mark,
    pub(crate) end: Mark,
}

impl Span {
    /// Columns `start..end` of one line.
    pub(crate) fn of_columns(line: usize, start: usize, end: usize) -> Span {
        Span { start: Mark { line, column: start }, end: Mark { line, column: end } }
    }
}

/// A value of the file. `yaml` bounds how deep these nest, so that walking and freeing them may recurse.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) data: Data,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
    /// Already reported; nothing more is said about it.
    Broken,
}

/// A key of a mapping; the same name stands once in a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// A scalar with the way it was written.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    /// The text, after `${VAR}` was filled in.
    pub(crate) text: String,
    /// Neither quoted nor a block: its type follows from its text.
    pub(crate) plain: bool,
    /// The text as the file has it, if variables were filled in; then `text` may be secret.
    pub(crate) before: Option<String>,
}

/// What a scalar's text says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Typed<'a> {
    Null,
    Bool(bool),
    /// Fits every whole number that a pipeline file may have.
    Whole(i128),
    Float(f64),
    Text(&'a str),
}

impl Scalar {
    /// The type of a plain scalar by YAML's core schema (YAML 1.2: `yes` and `on` are text).
    pub(crate) fn typed(&self) -> Typed<'_> {
        if !self.plain {
            return Typed::Text(&self.text);
        }
        let text = self.text.trim();
        if let Ok(number) = text.strip_prefix('+').unwrap_or(text).parse::<i128>() {
            return Typed::Whole(number);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Typed::Null,
            "true" | "True" | "TRUE" => return Typed::Bool(true),
            "false" | "False" | "FALSE" => return Typed::Bool(false),
            _ => {}
        }
        let radix = |prefix, radix| i128::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
        if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
            return Typed::Whole(number);
        }
        // Rust also takes `inf` and `nan`, which YAML writes `.inf` and `.nan`; no field wants either.
        let like_a_float = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        match text.parse() {
            Ok(number) if text.chars().all(like_a_float) => Typed::Float(number),
            _ => Typed::Text(&self.text),
        }
    }

    /// The text for a message: as the file has it, shortened, in backticks. Never a variable's value.
    pub(crate) fn shown(&self) -> String {
        let text = self.before.as_deref().unwrap_or(&self.text);
        let mut short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if text.chars().count() > 60 {
            short.push_str("...");
        }
        format!("`{short}`")
    }
}

impl Node {
    /// The pairs of a mapping; none of anything else.
    #[cfg(test)]
    pub(crate) fn pairs(&self) -> &[(Key, Node)] {
        match &self.data {
            Data::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// The place that a person looks at for this value: a scalar itself, else the key that it stands under.
    pub(crate) fn place(&self, under: Span) -> Span {
        match &self.data {
            Data::Scalar(_) if self.span.start != self.span.end => self.span,
            _ => under,
        }
    }

    /// The place of the value at `path`, or of the nearest one above it that exists.
    pub(crate) fn find(&self, path: &Path) -> Span {
        let (under, node) = self.descend(path);
        node.map_or(under, |node| node.place(under))
    }

    /// The place of the last key of `path`, or of the nearest one above it that exists.
    pub(crate) fn find_key(&self, path: &Path) -> Span {
        self.descend(path).0
    }

    /// The scalar at `path` as the file has it, with its variables; `None` if there is none.
    pub(crate) fn written(&self, path: &Path) -> Option<&str> {
        match &self.descend(path).1?.data {
            Data::Scalar(scalar) => Some(scalar.before.as_deref().unwrap_or(&scalar.text)),
            _ => None,
        }
    }

    /// The last key or list item on the way, and the value if the way leads to its end.
    fn descend(&self, path: &Path) -> (Span, Option<&Node>) {
        let mut node = self;
        let mut under = Span::of_columns(self.span.start.line, self.span.start.column, self.span.start.column + 1);
        for segment in &path.0 {
            let next = match (segment, &node.data) {
                (Segment::Key(name), Data::Map(pairs)) => {
                    pairs.iter().find(|(key, _)| key.name == *name).map(|(key, value)| (key.span, value))
                }
                (Segment::Index(index), Data::List(items)) => items.get(*index).map(|item| (item.span, item)),
                _ => None,
            };
            let Some((span, value)) = next else { return (under, None) };
            (under, node) = (span, value);
        }
        (under, Some(node))
    }
}

/// The path of a field from the root of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// The path of these keys.
    pub(crate) fn of(keys: &[&str]) -> Path {
        Path(keys.iter().map(|key| Segment::Key((*key).to_string())).collect())
    }

    /// The path of a key below this one.
    pub(crate) fn key(&self, name: &str) -> Path {
        let mut path = self.clone();
        path.0.push(Segment::Key(name.to_string()));
        path
    }

    /// The path of a list's item, from 0.
    pub(crate) fn index(&self, index: usize) -> Path {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(name) if name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) => {
                    write!(f, "{}{name}", if position == 0 { "" } else { "." })?;
                }
                Segment::Key(name) => write!(f, "[{name:?}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_scalar_is_typed_by_its_text_and_a_quoted_one_is_text() {
        let check = |text: &str, plain: bool, expect: Typed<'_>| {
            let scalar = Scalar { text: text.into(), plain, before: None };
            assert_eq!(scalar.typed(), expect, "{text} {plain}");
        };
        check("5", true, Typed::Whole(5));
        check("5", false, Typed::Text("5"));
        check("18446744073709551615", true, Typed::Whole(u64::MAX.into()));
        check("0x1f", true, Typed::Whole(31));
        check("-3", true, Typed::Whole(-3));
        check("0o17", true, Typed::Whole(15));
        check("0x", true, Typed::Text("0x"));
        check("1.5", true, Typed::Float(1.5));
        check("-1e3", true, Typed::Float(-1000.0));
        check("1.5.0", true, Typed::Text("1.5.0"));
        check("e", true, Typed::Text("e"));
        check("inf", true, Typed::Text("inf"));
        check("true", true, Typed::Bool(true));
        check("yes", true, Typed::Text("yes"));
        check("", true, Typed::Null);
        check("", false, Typed::Text(""));
        check("~", true, Typed::Null);
        check("null", true, Typed::Null);
        check("64MiB", true, Typed::Text("64MiB"));
    }

    #[test]
    fn paths_read_as_a_person_writes_them() {
        let path = Path::of(&["sinks", "siem", "only"]);
        assert_eq!(path.key("kind").index(0).to_string(), "sinks.siem.only.kind[0]");
        assert_eq!(path.key("tag").key("cost center").to_string(), "sinks.siem.only.tag[\"cost center\"]");
    }

    #[test]
    fn what_a_variable_held_is_never_shown() {
        let scalar = Scalar { text: "hunter2".into(), plain: true, before: Some("${TOKEN}".into()) };
        assert_eq!(scalar.shown(), "`${TOKEN}`");
    }
}
