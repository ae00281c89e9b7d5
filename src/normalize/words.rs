//! Loose reading of message texts: words, and what stands after a word.
//!
//! AWS's documentation writes the dash between two halves of a message in four ways, so a word ends at
//! anything but a letter, a digit or `_`, and letter case does not matter.

use std::fmt;
use std::net::IpAddr;

/// As [`words`], for ASCII, of which nearly all texts are.
fn ascii_words(text: &str) -> impl Iterator<Item = &str> {
    let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let run = |from: usize, of_word: bool| {
            let rest = bytes.get(from..).unwrap_or_default();
            from + rest.iter().position(|byte| is_of_word(*byte) != of_word).unwrap_or(rest.len())
        };
        let start = run(at, false);
        at = run(start, true);
        text.get(start..at).filter(|word| !word.is_empty())
    })
}

/// Fills `buffer` with a text's first words; these, and their bits.
pub(crate) fn first_words<'b, 't>(text: &'t str, buffer: &'b mut [&'t str]) -> (&'b [&'t str], u64) {
    let (mut count, mut bits) = (0, 0);
    let mut fill = |(slot, word): (&mut &'t str, &'t str)| {
        *slot = word;
        bits |= bit(word.as_bytes());
        count += 1;
    };
    if text.is_ascii() {
        buffer.iter_mut().zip(ascii_words(text)).for_each(&mut fill);
    } else {
        buffer.iter_mut().zip(words(text)).for_each(&mut fill);
    }
    (buffer.get(..count).unwrap_or_default(), bits)
}

/// The words of a text.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> + Clone {
    text.split(|c: char| !is_of_word(c)).filter(|word| !word.is_empty())
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || (!c.is_ascii() && c.is_alphanumeric())
}

/// One bit of 64 for a word, letter case ignored: a text that lacks the bit lacks the word.
pub(crate) const fn bit(word: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (word.first(), word.last()) else { return 0 };
    let (first, last) = (first.to_ascii_lowercase() as usize, last.to_ascii_lowercase() as usize);
    1 << ((first * 7 + last * 3 + word.len()) % 64)
}

/// The bits of all words of a pattern.
pub(crate) const fn bits(pattern: &str) -> u64 {
    let mut rest = pattern.as_bytes();
    let mut bits = 0;
    while !rest.is_empty() {
        let mut end = 0;
        while end < rest.len() && rest[end] != b' ' && rest[end] != b'*' {
            end += 1;
        }
        let (word, after) = rest.split_at(end);
        if !word.is_empty() {
            bits |= bit(word);
        }
        rest = match after.split_first() {
            Some((_, after)) => after,
            None => after,
        };
    }
    bits
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
    let first = key.first()?;
    let starts = memchr::memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), bytes);
    let at = starts.into_iter().find(|at| {
        let at_start = at.checked_sub(1).and_then(|before| bytes.get(before)).is_none_or(|it| !it.is_ascii_alphanumeric());
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
    token.parse().or_else(|_| token.trim_end_matches([':', '.']).parse()).ok()
}

/// At most `max_chars` characters for a summary: one line, no control characters, cut with an ellipsis.
pub(crate) fn push_excerpt(summary: &mut impl fmt::Write, text: &str, max_chars: usize) -> fmt::Result {
    if text.len() <= max_chars && text.bytes().fold(true, |plain, byte| plain & (b' '..=b'~').contains(&byte)) {
        return summary.write_str(text);
    }
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    chars.by_ref().take(max_chars).try_for_each(|c| summary.write_char(c))?;
    if chars.next().is_some() { summary.write_char('…') } else { Ok(()) }
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
    fn a_text_has_the_bits_of_every_pattern_that_it_begins_with() {
        for (text, pattern) in [("Peer is not responsive", "peer is * responsive"), ("a B_c", "* b_c"), ("x", "")] {
            let of_text = words(text).fold(0, |bits, word| bits | bit(word.as_bytes()));
            assert!(begins_with(words(text), pattern));
            assert_eq!(bits(pattern) & !of_text, 0, "{text} / {pattern}");
        }
        assert_ne!(bits("peer is dead"), 0);
    }

    #[test]
    fn words_are_the_same_with_and_without_other_alphabets() {
        for text in ["", "a", "-", "a-b_c  d9.", "--a", "a--", "un-established Phase 1 (id=4)"] {
            assert_eq!(ascii_words(text).collect::<Vec<_>>(), words(text).collect::<Vec<_>>(), "{text}");
            let text = format!("{text} é–x");
            let mut buffer = [""; 32];
            assert_eq!(first_words(&text, &mut buffer).0, words(&text).collect::<Vec<_>>(), "{text}");
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
