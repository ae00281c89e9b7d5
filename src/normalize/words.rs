//! Loose reading of message texts: words, and what stands after a word.
//!
//! AWS's documentation writes the dash between two halves of a message in four ways, so a word ends at
//! anything but a letter, a digit or `_`, and letter case does not matter.

use std::net::IpAddr;

/// The words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Whether `pattern` (words separated by spaces, `*` for any number of words) is at the start of `text`.
pub(crate) fn begins_with<'t>(text: impl Iterator<Item = &'t str> + Clone, pattern: &str) -> bool {
    let mut text = text;
    for (number, segment) in pattern.split('*').enumerate() {
        loop {
            let mut rest = text.clone();
            if segment.split_ascii_whitespace().all(|word| rest.next().is_some_and(|it| it.eq_ignore_ascii_case(word)))
            {
                text = rest;
                break;
            }
            if number == 0 || text.next().is_none() {
                return false;
            }
        }
    }
    true
}

/// The text after the first occurrence of `key`, letter case ignored, at a word's start; trimmed.
pub(crate) fn after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let (bytes, key) = (text.as_bytes(), key.as_bytes());
    let at = bytes.windows(key.len()).enumerate().position(|(at, window)| {
        let at_start = at == 0 || bytes.get(at - 1).is_none_or(|before| !before.is_ascii_alphanumeric());
        at_start && window.eq_ignore_ascii_case(key)
    })?;
    // A key is ASCII, so this cannot split a character; `get` makes sure of it.
    text.get(at + key.len()..).map(str::trim_start)
}

/// The word after `key`, up to white space or one of `,;(){}"` or a dash.
pub(crate) fn token_after<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let rest = after(text, key)?.trim_start_matches([':', '=', ' ']);
    let end = rest.find(|c: char| c.is_whitespace() || ",;(){}[]\"'–—•-".contains(c)).unwrap_or(rest.len());
    let token = rest.get(..end)?.trim_end_matches('.');
    (!token.is_empty()).then_some(token)
}

/// An IP address, also with a single colon or full stop behind it.
pub(crate) fn ip(token: &str) -> Option<IpAddr> {
    token.parse().or_else(|_| token.trim_end_matches([':', '.']).parse()).ok()
}

/// At most `max_chars` characters for a summary: one line, no control characters, cut with an ellipsis.
pub(crate) fn push_excerpt(summary: &mut String, text: &str, max_chars: usize) {
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
    fn patterns_match_loosely_in_dashes_case_and_gaps() {
        for (text, pattern, matches) in [
            ("Peer is not responsive - Declaring peer dead", "peer is not responsive", true),
            ("PEER IS NOT RESPONSIVE–declaring", "peer is not responsive declaring", true),
            ("Peer is responsive", "peer is not responsive", false),
            ("received a notification 6/1 (Cease)", "received * notification 6 1", true),
            ("received notification 6/10", "received * notification 6 1", false),
            ("un-established", "un established", true),
            ("", "a", false),
            ("", "*", true),
            ("a b c", "* c", true),
        ] {
            assert_eq!(begins_with(words(text), pattern), matches, "{text} / {pattern}");
        }
    }

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
