//! A place in a text that is read from left to right: the small steps of [`scan`](mod@super::scan) and of what reads
//! log lines within it.

/// See the module. All steps are cheap and none fails other than by an answer.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start of a text.
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { text, at: 0 }
    }

    /// Bytes from the start of the text.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Bytes to the end of the text.
    pub fn left(&self) -> usize {
        self.text.len() - self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte, which is not taken.
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next byte.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Takes `token` if it is next; whether it was.
    #[inline]
    pub fn eat<const N: usize>(&mut self, token: &[u8; N]) -> bool {
        let found = self.rest().first_chunk::<N>() == Some(token);
        if found {
            self.at += N;
        }
        found
    }

    /// Takes `token`, or answers nothing.
    #[inline]
    pub fn expect<const N: usize>(&mut self, token: &[u8; N]) -> Option<()> {
        self.eat(token).then_some(())
    }

    /// The text from an earlier place of the same reader on, without the last `last` bytes.
    pub fn since(&self, from: &Reader<'a>, last: usize) -> Option<&'a str> {
        self.text.get(from.at..self.at.checked_sub(last)?)
    }

    /// Takes spaces.
    #[inline]
    pub fn spaces(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    /// Takes all text before the next `"` or `\`.
    #[inline]
    pub fn until_quote_or_backslash(&mut self) -> &'a str {
        let from = self.at;
        self.at = quote_or_backslash(self.text.as_bytes(), from);
        // Both are ASCII, so this is a whole number of characters.
        self.text.get(from..self.at).unwrap_or_default()
    }

    /// Takes a run of digits, at least one.
    #[inline]
    pub fn digits(&mut self) -> Option<&'a str> {
        let from = self.at;
        let length = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        self.text.get(from..self.at).filter(|digits| !digits.is_empty())
    }

    /// Takes a JSON number that is an integer of at most 18 digits and not negative; what follows it must not
    /// belong to a number.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let mut value = 0_i64;
        let mut count = 0;
        let rest = self.rest();
        while let Some(digit) = rest.get(count).filter(|byte| byte.is_ascii_digit()) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            count += 1;
        }
        let canonical = (1..=18).contains(&count) && (count == 1 || rest.first() != Some(&b'0'));
        let ends = !matches!(rest.get(count), Some(b'.' | b'e' | b'E'));
        self.at += count;
        (canonical && ends).then_some(value)
    }
}

/// Eight bytes at a time: the runs between quotes are short, so what counts is to begin quickly.
#[inline]
fn quote_or_backslash(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    // The lowest high bit that is set is that of the first byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(tail.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_first_quote_or_backslash_is_found_at_every_distance() {
        for special in ['"', '\\'] {
            for before in 0..40 {
                let text = format!("{}{special}\u{22a}\"\\é", "é!".repeat(before));
                let mut reader = Reader::new(&text);
                assert_eq!(reader.until_quote_or_backslash(), "é!".repeat(before));
                assert_eq!(reader.peek(), Some(special as u8));
            }
        }
        let mut reader = Reader::new("no end");
        assert_eq!((reader.until_quote_or_backslash(), reader.left()), ("no end", 0));
    }

    #[test]
    fn integers_are_those_of_json_within_eighteen_digits() {
        for (text, value) in [
            ("0,", Some(0)),
            ("17}", Some(17)),
            ("999999999999999999", Some(999_999_999_999_999_999)),
            ("1000000000000000000", None),
            ("01", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(Reader::new(text).integer(), value, "{text}");
        }
    }
}
