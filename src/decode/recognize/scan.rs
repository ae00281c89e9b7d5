//! Finds the end of a JSON value that spans lines, in one pass and without parsing it.
//!
//! It knows strings and brackets, and just enough grammar to notice that a cut-off line is followed by a
//! new one, so that one broken line does not swallow the rest of a file.

/// JSON that is nested deeper is taken for damage; `serde_json` refuses it as well.
const MAX_DEPTH: usize = 128;

/// How far a value has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// More must follow.
    Open,
    /// The value ended; this many bytes of the last piece belong to it.
    Complete(usize),
    /// This cannot become JSON any more.
    Broken,
}

/// The state between two pieces of one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    open: Vec<u8>,
    in_string: bool,
    escaped: bool,
    /// The last byte outside strings that is no white space.
    last: u8,
}

impl Scanner {
    /// Reads on. After `Complete` and `Broken` it is not called again.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Progress {
        for (at, byte) in piece.iter().copied().enumerate() {
            if self.in_string {
                match byte {
                    b'\n' => return Progress::Broken,
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'{' | b'[' if !self.may_open() => return Progress::Broken,
                b'{' | b'[' => self.open.push(byte),
                b'}' | b']' => {
                    // `}` is `{` + 2 in ASCII, and `]` is `[` + 2.
                    if self.open.pop() != Some(byte - 2) {
                        return Progress::Broken;
                    }
                    if self.open.is_empty() {
                        return Progress::Complete(at + 1);
                    }
                }
                b'"' => self.in_string = true,
                _ => {}
            }
            if !byte.is_ascii_whitespace() {
                self.last = byte;
            }
        }
        Progress::Open
    }

    /// Whether an object or array may begin here.
    fn may_open(&self) -> bool {
        match self.open.last() {
            None => true,
            Some(_) if self.open.len() >= MAX_DEPTH => false,
            Some(b'[') => matches!(self.last, b'[' | b','),
            Some(_) => self.last == b':',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_brackets_close() {
        for (text, progress) in [
            (r#"{"a":[1,{"b":"}"}]} rest"#, Progress::Complete(19)),
            (r#"{"a":"\"}"}"#, Progress::Complete(11)),
            ("{\"a\":\n{\"b\":1}\n}", Progress::Complete(15)),
            ("[\n {},\n {}\n]", Progress::Complete(12)),
            (r#"{"a":"#, Progress::Open),
            (r#"{"a":[}"#, Progress::Broken),
            ("{\"a\n", Progress::Broken),
            ("{\"a\":1,\n{\"b\":1}", Progress::Broken),
            ("{\"a\":{\n{\"b\":1}", Progress::Broken),
        ] {
            assert_eq!(Scanner::default().feed(text.as_bytes()), progress, "{text}");
            let mut in_pieces = Scanner::default();
            let last = text.bytes().map(|byte| in_pieces.feed(&[byte])).find(|progress| *progress != Progress::Open);
            let whole = !matches!(progress, Progress::Open);
            assert_eq!(last.is_some(), whole, "{text}");
        }
        assert_eq!(Scanner::default().feed("[".repeat(200).as_bytes()), Progress::Broken);
    }
}
