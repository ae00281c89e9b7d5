//! What the integration tests share: the real binary in a folder of its own, inputs of every form, and outputs
//! read back as any tool would.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod forms;
pub(crate) mod parts;
pub(crate) mod program;
pub(crate) mod test_sink;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file of tests/data.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn gzip(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// A file's bytes without their compression; a torn file is an error here, as it would be to any tool.
pub(crate) fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let mut plain = Vec::new();
    if bytes.is_empty() {
        // A sink that got nothing: no member, no frame.
        return plain;
    }
    let read = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).map(drop),
        Some("zst") => zstd::stream::copy_decode(&bytes[..], &mut plain),
        _ => plain.write_all(&bytes),
    };
    read.unwrap_or_else(|error| panic!("{} is torn: {error}", path.display()));
    plain
}

/// The lines of text or of a file's content, as JSON.
pub(crate) fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parse = |line| serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", lossy(line)));
    lines.map(parse).collect()
}

/// The events in a file.
pub(crate) fn events_in(path: &Path) -> Vec<Value> {
    json_lines(&unpacked(path))
}

/// A field as text; empty if there is none.
pub(crate) fn text<'v>(event: &'v Value, pointer: &str) -> &'v str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| text(event, "/id")).collect()
}

pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
