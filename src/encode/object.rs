//! Writes a JSON object field by field into a buffer, so that a mapping to somebody else's schema reads like the
//! table that it is and allocates nothing.
//!
//! What is absent is left out, and so is an object or a list that stays empty: schemas ask for at least one field
//! where there is an object. Values are written by serde_json.

use serde::Serialize;

/// An object that is open.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// Where its first field begins.
    start: usize,
}

/// A list that is open.
pub(super) struct List<'o> {
    out: &'o mut Vec<u8>,
    start: usize,
}

/// Appends an object as one line.
pub(super) fn line(out: &mut Vec<u8>, body: impl FnOnce(&mut Object<'_>)) {
    braced(out, body);
    out.push(b'\n');
}

fn braced(out: &mut Vec<u8>, body: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    let start = out.len();
    body(&mut Object { out, start });
    out.push(b'}');
}

impl Object<'_> {
    /// A field. `key` needs no escape.
    pub(super) fn put(&mut self, key: &'static str, value: impl Serialize) {
        let before = self.key(key);
        self.value(before, value);
    }

    /// A field, if there is a value.
    pub(super) fn some(&mut self, key: &'static str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// A text, if it is not empty.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        if !value.is_empty() {
            self.put(key, value);
        }
    }

    /// A field whose name is somebody else's, with `prefix` before it.
    pub(super) fn pair(&mut self, prefix: &'static str, key: &str, value: impl Serialize) {
        let before = self.out.len();
        self.comma();
        let is_written = serde_json::to_writer(&mut *self.out, &format_args!("{prefix}{key}")).is_ok();
        self.out.push(b':');
        if is_written { self.value(before, value) } else { self.out.truncate(before) }
    }

    /// An object in it; nothing if the body writes nothing.
    pub(super) fn object(&mut self, key: &'static str, body: impl FnOnce(&mut Object<'_>)) {
        let before = self.key(key);
        let opened = self.out.len() + 1;
        braced(self.out, body);
        if self.out.len() == opened + 1 {
            self.out.truncate(before);
        }
    }

    /// A list in it; nothing if the body writes nothing.
    pub(super) fn list(&mut self, key: &'static str, body: impl FnOnce(&mut List<'_>)) {
        let before = self.key(key);
        self.out.push(b'[');
        let start = self.out.len();
        body(&mut List { out: self.out, start });
        if self.out.len() == start { self.out.truncate(before) } else { self.out.push(b']') }
    }

    fn comma(&mut self) {
        if self.out.len() > self.start {
            self.out.push(b',');
        }
    }

    /// Writes the key; says where the field begins.
    fn key(&mut self, key: &'static str) -> usize {
        let before = self.out.len();
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        before
    }

    /// No value of an event refuses to be written; one that did would be left out.
    fn value(&mut self, before: usize, value: impl Serialize) {
        if serde_json::to_writer(&mut *self.out, &value).is_err() {
            self.out.truncate(before);
        }
    }
}

impl List<'_> {
    /// A value.
    pub(super) fn put(&mut self, value: impl Serialize) {
        let before = self.comma();
        if serde_json::to_writer(&mut *self.out, &value).is_err() {
            self.out.truncate(before);
        }
    }

    /// An object.
    pub(super) fn object(&mut self, body: impl FnOnce(&mut Object<'_>)) {
        self.comma();
        braced(self.out, body);
    }

    fn comma(&mut self) -> usize {
        let before = self.out.len();
        if before > self.start {
            self.out.push(b',');
        }
        before
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    #[test]
    fn what_is_absent_or_stays_empty_is_left_out() {
        let mut out = b"kept".to_vec();
        line(&mut out, |o| {
            o.object("empty", |o| o.some("absent", None::<u8>));
            o.put("a", 1);
            o.list("none", |_| ());
            o.text("text", "");
            o.object("nested", |o| {
                o.pair("tag_", "a\"\n", "b\"");
                o.list("list", |list| {
                    list.put("x");
                    list.object(|o| o.put("y", format_args!("{}.{}", 1, 2)));
                });
            });
        });
        let expect = r#"kept{"a":1,"nested":{"tag_a\"\n":"b\"","list":["x",{"y":"1.2"}]}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expect}\n"));
    }

    #[test]
    fn an_object_without_fields_is_an_object() {
        let mut out = Vec::new();
        line(&mut out, |_| ());
        assert_eq!(out, b"{}\n");
    }
}
