//! Loose reading of message texts: words, and what stands after a word.
//!
//! AWS's documentation writes the dash between two halves of a message in four ways, so a word ends at
//! anything but a letter, a digit or `_`, and letter case does not matter.

use std::net::IpAddr;

use crate::event::Dotted;

/// The words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || (!c.is_ascii() && c.is_alphanumeric())
}

/// The text after the first occurrence of `key`, letter case ignored, at a word's start; trimmed.
pub(crate) fn after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let (bytes, key) = (text.as_bytes(), key.as_bytes());
    let first = key.first()?;
    let starts = memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), bytes);
    let at = starts.into_iter().find(|at| {
        let at_start =
            at.checked_sub(1).and_then(|before| bytes.get(before)).is_none_or(|it| !it.is_ascii_alphanumeric());
        at_start && bytes.get(*at..*at + key.len()).is_some_and(|it| it.eq_ignore_ascii_case(key))
    })?;
    // A key is ASCII, so this cannot split a character; `get` makes sure of it.
    text.get(at + key.len()..).map(str::trim_start)
}

/// The word after `key`, up to white space or one of `,;(){}"` or a dash.
pub(crate) fn token_after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let rest = after(text, key)?.trim_start_matches([':', '=', ' ']);
    let end = rest.find(ends_token).unwrap_or(rest.len());
    let token = rest.get(..end)?.trim_end_matches('.');
    (!token.is_empty()).then_some(token)
}

fn ends_token(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '{' | '}' | '[' | ']' | '"' | '\'' | '–' | '—' | '•' | '-')
}

/// An IP address, also with a single colon or full stop behind it.
pub(crate) fn ip(token: &str) -> Option<IpAddr> {
    if let Some(usual) = Dotted::parse(token) {
        return Some(usual.into());
    }
    token.parse().or_else(|_| token.trim_end_matches([':', '.']).parse()).ok()
}

/// At most `max_chars` characters for a summary: one line, no control characters, cut with an ellipsis.
pub(crate) fn push_excerpt(summary: &mut String, text: &str, max_chars: usize) {
    if text.len() <= max_chars && text.bytes().fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte)) {
        return summary.push_str(text);
    }
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    summary.extend(chars.by_ref().take(max_chars));
    if chars.next().is_some() {
        summary.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_before_dashes_and_punctuation() {
        for (text, key, token) in [
            ("from neighbor 169.254.50.86- remote AS is 65001, expected 65010", "neighbor", Some("169.254.50.86")),
            ("from neighbor fd00::1–x", "neighbor", Some("fd00::1")),
            ("remote AS is 65001, expected", "remote as is", Some("65001")),
            ("router-id 10.0.0.1}", "router-id", Some("10.0.0.1")),
            ("(id=412)", "id", Some("412")),
            ("SPI: 0xc8", "spi", Some("0xc8")),
            ("limit is", "limit is", None),
            ("unlimited 5", "limited", None),
            ("neighbor é", "neighbor", Some("é")),
        ] {
            assert_eq!(token_after(text, key), token, "{text}");
        }
    }
}
