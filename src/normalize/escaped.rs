//! A log line's keys, read while the line is still a string in its envelope: the quick twin of [`Line::from_json`].
//!
//! Within the envelope a line's quotes are `\"`, and what AWS logs has no other escape. So its values can be borrowed
//! where they stand, and the line need not be unescaped first. Whatever is not as expected makes [`line()`] give up:
//! the line is then unescaped and read by [`Line::from_json`]. A test compares the two.

use std::borrow::Cow;

use super::line::{Line, Scalar, TOP_LEVEL_ONLY};
use crate::decode::reader::Reader;

/// Reads an object whose quotes are escaped, and nothing behind it, into `line`.
pub fn line<'a>(reader: &mut Reader<'a>, line: &mut Line<'a>) -> Option<()> {
    object(reader, |key, reader| {
        if key == "message" {
            return message(reader, line);
        }
        let value = scalar(reader)?;
        if let Some(slot) = line.slot(key) {
            *slot = value;
        }
        Some(())
    })
}

/// The value of `message`: an object whose keys go into the line, or the details themselves.
fn message<'a>(reader: &mut Reader<'a>, line: &mut Line<'a>) -> Option<()> {
    if reader.peek() != Some(b'{') {
        let value = scalar(reader)?;
        if matches!(value, Scalar::Text(_)) {
            line.details = value;
        }
        return Some(());
    }
    object(reader, |key, reader| {
        let value = scalar(reader)?;
        match line.slot(key) {
            Some(slot) if !TOP_LEVEL_ONLY.contains(&key) => *slot = value,
            _ => {}
        }
        Some(())
    })
}

/// An object; `member` reads the value of each key.
fn object<'a>(reader: &mut Reader<'a>, mut member: impl FnMut(&'a str, &mut Reader<'a>) -> Option<()>) -> Option<()> {
    reader.expect(b"{")?;
    loop {
        let key = string(reader)?;
        reader.expect(b":")?;
        reader.spaces();
        member(key, reader)?;
        if reader.eat(b"}") {
            return Some(());
        }
        reader.expect(b",")?;
        reader.spaces();
    }
}

/// A string that has no escape within.
fn string<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    reader.expect(br#"\""#)?;
    let text = reader.until_quote_or_backslash();
    reader.expect(br#"\""#)?;
    Some(text)
}

fn scalar<'a>(reader: &mut Reader<'a>) -> Option<Scalar<'a>> {
    Some(match reader.peek()? {
        b'\\' => Scalar::Text(Cow::Borrowed(string(reader)?)),
        b'0'..=b'9' => Scalar::Int(reader.integer()?),
        b't' => reader.expect(b"true").map(|()| Scalar::Bool(true))?,
        b'f' => reader.expect(b"false").map(|()| Scalar::Bool(false))?,
        b'n' => reader.expect(b"null").map(|()| Scalar::Absent)?,
        _ => return None,
    })
}
