//! Patterns of words: which row of a table a message belongs to.
//!
//! A pattern is a list of words, `*` among them for any number of words. Patterns are taken apart once, a message
//! once for all patterns, and one bit for each word rules most patterns out before a word is compared.

use super::words::words;

/// Documented messages have at most 20 words; in a megabyte of text nobody looks for one to its end.
const MAX_WORDS: usize = 32;

/// A message's first words.
pub(crate) struct Words<'t> {
    list: [&'t str; MAX_WORDS],
    count: usize,
    /// Those of all words.
    bits: u64,
}

impl<'t> Words<'t> {
    pub(crate) fn of(text: &'t str) -> Words<'t> {
        let mut found = Words { list: [""; MAX_WORDS], count: 0, bits: 0 };
        if text.is_ascii() {
            found.fill(ascii_words(text));
        } else {
            found.fill(words(text));
        }
        found
    }

    fn fill(&mut self, words: impl Iterator<Item = &'t str>) {
        for (slot, word) in self.list.iter_mut().zip(words) {
            *slot = word;
            self.bits |= bit(word);
            self.count += 1;
        }
    }

    /// Without the first `count`; the bits may then be more than the words'.
    pub(crate) fn skip(&self, count: usize) -> &[&'t str] {
        self.list.get(count..self.count).unwrap_or_default()
    }

    /// How many words `start` has, if the message begins with them.
    pub(crate) fn after(&self, start: &[&str]) -> usize {
        if begins(self.skip(0), start) { start.len() } else { 0 }
    }
}

/// A pattern that is taken apart.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The words between the `*`.
    segments: Vec<Vec<&'static str>>,
    bits: u64,
}

impl Pattern {
    pub(crate) fn of(pattern: &'static str) -> Pattern {
        let segments: Vec<Vec<&str>> =
            pattern.split('*').map(|segment| segment.split_ascii_whitespace().collect()).collect();
        let bits = segments.iter().flatten().fold(0, |bits, word| bits | bit(word));
        Pattern { segments, bits }
    }

    /// Whether the message, from its `from`th word on, begins as the pattern says.
    pub(crate) fn fits(&self, message: &Words<'_>, from: usize) -> bool {
        self.bits & !message.bits == 0 && self.begins(message.skip(from))
    }

    fn begins(&self, mut words: &[&str]) -> bool {
        for (number, segment) in self.segments.iter().enumerate() {
            while !begins(words, segment) {
                // What stands before the first `*` has to be at the start.
                match words.split_first() {
                    Some((_, rest)) if number > 0 => words = rest,
                    _ => return false,
                }
            }
            words = words.get(segment.len()..).unwrap_or_default();
        }
        true
    }
}

fn begins(words: &[&str], start: &[&str]) -> bool {
    words.len() >= start.len() && start.iter().zip(words).all(|(word, it)| is_same(word, it))
}

/// Letter case ignored. Most words that are compared differ in length already.
fn is_same(word: &str, other: &str) -> bool {
    word.len() == other.len() && (word == other || word.eq_ignore_ascii_case(other))
}

/// One bit of 64 for a word, letter case ignored: a text that lacks the bit lacks the word.
fn bit(word: &str) -> u64 {
    let (Some(first), Some(last)) = (word.as_bytes().first(), word.as_bytes().last()) else { return 0 };
    let [first, last] = [first, last].map(|byte| usize::from(byte.to_ascii_lowercase()));
    1 << ((first * 7 + last * 3 + word.len()) % 64)
}

/// Which bytes belong to words.
const OF_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

/// As [`words`], for ASCII, of which nearly all texts are.
fn ascii_words(text: &str) -> impl Iterator<Item = &str> {
    let is_of_word = |byte: u8| OF_WORD[usize::from(byte)];
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
            ("a received notification", "received * notification", false),
            ("un-established", "un established", true),
            ("", "a", false),
            ("", "*", true),
            ("", "", true),
            ("a b c", "* c", true),
            ("a b c", "a * c *", true),
            ("c b a", "* c * b * c", false),
        ] {
            assert_eq!(Pattern::of(pattern).fits(&Words::of(text), 0), matches, "{text} / {pattern}");
        }
    }

    #[test]
    fn words_are_the_same_with_and_without_other_alphabets() {
        for text in ["", "a", "-", "a-b_c  d9.", "--a", "a--", "un-established Phase 1 (id=4)"] {
            assert_eq!(ascii_words(text).collect::<Vec<_>>(), words(text).collect::<Vec<_>>(), "{text}");
            let text = format!("{text} é–x");
            assert_eq!(Words::of(&text).skip(0), words(&text).collect::<Vec<_>>(), "{text}");
        }
        assert_eq!(Words::of(&"a ".repeat(100)).skip(0).len(), MAX_WORDS);
    }
}
