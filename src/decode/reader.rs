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

    /// As [`eat`](Self::eat), for a constant whose length is no parameter.
    #[inline(always)]
    pub fn eat_slice(&mut self, token: &'static [u8]) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
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

    /// Takes all text before the next `\"` and it; nothing if another escape or the end comes first.
    #[inline]
    pub fn until_escaped_quote(&mut self) -> Option<&'a str> {
        let from = self.at;
        let end = quote_or_backslash(self.text.as_bytes(), from);
        self.at = end;
        self.expect(br#"\""#)?;
        self.text.get(from..end)
    }

    /// Takes a run of digits, at least one.
    #[inline]
    pub fn digits(&mut self) -> Option<&'a str> {
        let from = self.at;
        while let Some(word) = self.eight() {
            let count = leading_digits(word);
            self.at += count;
            if count < 8 {
                return self.text.get(from..self.at).filter(|digits| !digits.is_empty());
            }
        }
        self.at += self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.text.get(from..self.at).filter(|digits| !digits.is_empty())
    }

    /// Takes a JSON number that is an integer of at most 18 digits and not negative; what follows it must not
    /// belong to a number.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let from = self.at;
        let mut value = 0_u64;
        // Not a third time: that would be too many digits in any case.
        for _ in 0..2 {
            let Some(word) = self.eight() else { break };
            let count = leading_digits(word);
            value = value * POWERS_OF_TEN[count] + number_of(word, count);
            self.at += count;
            if count < 8 {
                break;
            }
        }
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let count = self.at - from;
        let first = self.text.as_bytes().get(from);
        let canonical = (1..=18).contains(&count) && (count == 1 || first != Some(&b'0'));
        let ends = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        // Lossless: 18 digits are far below the limit.
        (canonical && ends).then_some(value as i64)
    }

    /// The next eight bytes, the first in the lowest; they are not taken.
    #[inline]
    fn eight(&self) -> Option<u64> {
        self.rest().first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }
}

const ONES: u64 = u64::from_le_bytes([1; 8]);

const POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// How many of eight bytes are digits before the first that is none.
#[inline]
fn leading_digits(word: u64) -> usize {
    // A digit is 0x30 to 0x39: with 0x30 taken away it is below 10, so its upper half is 0, also when 6 is added. What
    // a byte carries over into the next one does not matter, since that is behind it.
    let digits = word ^ (ONES * 0x30);
    let others = (digits | digits.wrapping_add(ONES * 6)) & (ONES * 0xf0);
    others.trailing_zeros() as usize / 8
}

/// The number that the first `count` of eight bytes are, which are digits.
#[inline]
fn number_of(word: u64, count: usize) -> u64 {
    // Zeros in front, in place of what is behind.
    let digits = (word ^ (ONES * 0x30)).unbounded_shl(64 - 8 * count as u32);
    // Neighbours are joined: digits to pairs, pairs to fours, fours to the number.
    let pairs = join(digits, 10, 8) & 0x00ff_00ff_00ff_00ff;
    let fours = join(pairs, 100, 16) & 0x0000_ffff_0000_ffff;
    join(fours, 10_000, 32) & 0xffff_ffff
}

/// Adds to each part of `parts`, times `factor`, the part that follows it, `bits` further up.
#[inline]
fn join(parts: u64, factor: u64, bits: u32) -> u64 {
    parts.wrapping_mul(factor).wrapping_add(parts >> bits)
}

/// Eight bytes at a time: the runs between quotes are short, so what counts is to begin quickly.
#[inline]
fn quote_or_backslash(bytes: &[u8], from: usize) -> usize {
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
    fn digits_are_taken_up_to_the_first_other_byte() {
        for other in ['/', ':', '\0', 'é', '@', 'p'] {
            for count in 1..70 {
                let digits: String = (0..count).map(|at| char::from(b'0' + (at * 7 % 10) as u8)).collect();
                let text = format!("{digits}{other}1234567890");
                assert_eq!(Reader::new(&text).digits(), Some(&*digits), "{text}");
                let (value, integer) = (digits.parse().ok(), Reader::new(&text).integer());
                assert_eq!(integer, value.filter(|_| count < 19 && (count == 1 || !digits.starts_with('0'))), "{text}");
                let digits: String = digits.chars().map(|digit| if digit == '0' { '9' } else { digit }).collect();
                assert_eq!(Reader::new(&digits).integer(), digits.parse().ok().filter(|_| count < 19), "{digits}");
            }
        }
        assert_eq!(Reader::new("é").digits(), None);
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
