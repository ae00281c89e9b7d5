//! `${VAR}` and `${VAR:-default}` inside a scalar, and `$$` for a literal `$`.
//!
//! Filled in after the YAML is parsed, so that a value can never change the structure. As in a shell, `:-`
//! also replaces an empty value. Values of variables may be secret: messages name the variable only.

use super::problem::Report;
use super::tree::{Data, Node, Path, Scalar};

/// What became of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// The text with its variables filled in.
    pub(crate) text: String,
    /// Whether a variable stood in it.
    pub(crate) had_variables: bool,
    /// What could not be filled in: message and remedy.
    pub(crate) problems: Vec<(String, String)>,
}

/// Longest value in bytes: a megabyte of `${VAR}` must not become gigabytes.
const LONGEST: usize = 64 * 1024;

/// Fills in the variables of one text.
pub(crate) fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Expanded {
    let mut expanded = Expanded { text: String::new(), had_variables: false, problems: Vec::new() };
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.text.push('$');
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let Some(end) = inside.find('}') else {
                let remedy = "close it, or write `$$` for a literal `$`".to_string();
                expanded.problems.push(("`${` is never closed by `}`".into(), remedy));
                return expanded;
            };
            expanded.had_variables = true;
            fill(&inside[..end], env, &mut expanded);
            if expanded.text.len() > LONGEST {
                let message =
                    format!("the value is longer than {} KiB once its variables are filled in", LONGEST / 1024);
                expanded.problems.push((message, "shorten the variables' values".into()));
                return expanded;
            }
            rest = &inside[end + 1..];
        } else {
            expanded.text.push('$');
        }
    }
    expanded.text.push_str(rest);
    expanded
}

/// One `NAME` or `NAME:-default`.
fn fill(inside: &str, env: &dyn Fn(&str) -> Option<String>, expanded: &mut Expanded) {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let remedy = "write `${NAME}` or `${NAME:-default}`, and `$$` for a literal `$`".to_string();
        expanded.problems.push((format!("`{name}` is not the name of an environment variable"), remedy));
        return;
    }
    match (env(name), default) {
        (Some(value), None) => expanded.text.push_str(&value),
        (Some(value), Some(_)) if !value.is_empty() => expanded.text.push_str(&value),
        (_, Some(default)) => expanded.text.push_str(default),
        (None, None) => {
            let remedy = format!("set it, or give a default: `${{{name}:-value}}`");
            expanded.problems.push((format!("environment variable `{name}` is not set"), remedy));
        }
    }
}

/// Fills in the variables of every value below `node`; keys stay as they are.
pub(crate) fn expand_tree(node: &mut Node, path: &Path, env: &dyn Fn(&str) -> Option<String>, report: &mut Report<'_>) {
    match &mut node.data {
        Data::Broken => {}
        Data::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                expand_tree(item, &path.index(index), env, report);
            }
        }
        Data::Map(pairs) => {
            for (key, value) in pairs {
                expand_tree(value, &path.key(&key.name), env, report);
            }
        }
        Data::Scalar(scalar) => {
            let expanded = expand(&scalar.text, env);
            for (message, remedy) in &expanded.problems {
                report.error(node.span, path, message.clone()).note(remedy.clone());
            }
            node.data = filled(scalar, expanded);
        }
    }
}

fn filled(scalar: &Scalar, expanded: Expanded) -> Data {
    if !expanded.problems.is_empty() {
        return Data::Broken;
    }
    let before = expanded.had_variables.then(|| scalar.text.clone());
    Data::Scalar(Scalar { text: expanded.text, plain: scalar.plain, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("broker".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}: [".into()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_filled_in_once() {
        let check = |text: &str, expect: &str| {
            let expanded = expand(text, &env);
            assert_eq!((expanded.text.as_str(), expanded.problems.len()), (expect, 0), "{text}");
        };
        check("plain", "plain");
        check("${HOST}", "broker");
        check("${HOST}:9092,${HOST}", "broker:9092,broker");
        check("${NONE:-a b}", "a b");
        check("${NONE:-}", "");
        check("${EMPTY:-x}", "x");
        check("${EMPTY}", "");
        check("${HOST:-x}", "broker");
        check("$$ and $${HOST}", "$ and ${HOST}");
        check("$HOST costs 5$", "$HOST costs 5$");
        check("${TRICK}", "${HOST}: [");
        check("${NONE:-a:-b}", "a:-b");
        check("é${HOST}é", "ébrokeré");
    }

    #[test]
    fn what_cannot_be_filled_in_names_the_variable() {
        let check = |text: &str, expect: &[&str]| {
            let messages: Vec<String> = expand(text, &env).problems.into_iter().map(|(message, _)| message).collect();
            assert_eq!(messages, expect, "{text}");
        };
        check("${NONE}", &["environment variable `NONE` is not set"]);
        check("${A} ${B}", &["environment variable `A` is not set", "environment variable `B` is not set"]);
        check("${HOST", &["`${` is never closed by `}`"]);
        check("${}", &["`` is not the name of an environment variable"]);
        check("${1A}", &["`1A` is not the name of an environment variable"]);
        check("${HOST?}", &["`HOST?` is not the name of an environment variable"]);
    }
}
