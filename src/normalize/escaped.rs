//! A log line's keys, read while the line is still a string in its envelope: the quick twin of [`Line::from_json`].
//!
//! Within the envelope a line's quotes are `\"`, and what AWS logs has no other escape. So its values can be borrowed
//! where they stand, and the line need not be unescaped first. Whatever is not as expected makes [`Lines::read`] give
//! up: the line is then unescaped and read by [`Line::from_json`]. A test compares the two.

use std::borrow::Cow;

use super::line::{Key, Line, Scalar};
use crate::decode::reader::Reader;

/// Reads one line after the other. Their keys come in few orders, so what followed a key the last time is tried first.
/// A wrong guess costs time only.
#[derive(Clone, Debug)]
pub struct Lines {
    followers: [Option<Key>; OBJECTS + Key::COUNT],
}

/// The places before the first key, in the line itself and in the object of its `message`; behind them one for each key.
const TOP: usize = 0;
const NESTED: usize = 1;
const OBJECTS: usize = 2;

impl Default for Lines {
    fn default() -> Lines {
        Lines { followers: [None; OBJECTS + Key::COUNT] }
    }
}

impl Lines {
    /// Reads an object whose quotes are escaped, and nothing behind it, into `line`.
    pub fn read<'a>(&mut self, reader: &mut Reader<'a>, line: &mut Line<'a>) -> Option<()> {
        reader.expect(b"{")?;
        let mut place = TOP;
        loop {
            match self.key(reader, &mut place)? {
                Some(Key::Message) => self.message(reader, line)?,
                key => value(reader, key.and_then(|key| line.slot(key)))?,
            }
            if is_last(reader)? {
                return Some(());
            }
        }
    }

    /// The value of `message`: an object whose keys go into the line, or the details themselves.
    fn message<'a>(&mut self, reader: &mut Reader<'a>, line: &mut Line<'a>) -> Option<()> {
        if !reader.eat(b"{") {
            let value = scalar(reader)?;
            if matches!(value, Scalar::Text(_)) {
                line.details = value;
            }
            return Some(());
        }
        let mut place = NESTED;
        loop {
            let key = self.key(reader, &mut place)?.filter(|key| !key.is_of_top_level());
            value(reader, key.and_then(|key| line.slot(key)))?;
            if is_last(reader)? {
                return Some(());
            }
        }
    }

    /// The next key, which may be an unknown one, up to its value. `place` is that behind the key before.
    fn key(&mut self, reader: &mut Reader<'_>, place: &mut usize) -> Option<Option<Key>> {
        let follower = self.followers.get_mut(*place)?;
        let key = match *follower {
            Some(key) if key.is_next(reader) => Some(key),
            _ => {
                let key = Key::named(string(reader)?);
                reader.expect(b":")?;
                *follower = key;
                key
            }
        };
        reader.spaces();
        if let Some(key) = key {
            *place = OBJECTS + key as usize;
        }
        Some(key)
    }
}

/// Reads a value, into `slot` if there is one.
#[inline]
fn value<'a>(reader: &mut Reader<'a>, slot: Option<&mut Scalar<'a>>) -> Option<()> {
    let value = scalar(reader)?;
    if let Some(slot) = slot {
        *slot = value;
    }
    Some(())
}

/// Takes what is behind a value: whether it is the end of its object.
#[inline]
fn is_last(reader: &mut Reader<'_>) -> Option<bool> {
    if reader.eat(b"}") {
        return Some(true);
    }
    reader.expect(b",")?;
    reader.spaces();
    Some(false)
}

/// A string that has no escape within.
#[inline]
fn string<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    reader.expect(br#"\""#)?;
    reader.until_escaped_quote()
}

#[inline]
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
