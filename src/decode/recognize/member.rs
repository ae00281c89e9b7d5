//! Tells a gzip member that is a record from one that is a file of lines.

use std::io::{self, ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::input::{Peek, Tee};
use super::scan::{Progress, Scanner};

/// What begins with a gzip magic.
pub(super) enum Member {
    /// One envelope: these packed bytes, which have been read.
    Record(Vec<u8>),
    /// Anything else; nothing has been read.
    File,
    /// Damaged gzip data of a record; read up to where the next member seems to begin.
    Damaged(Vec<u8>),
}

/// How a gzip member begins whose header has no options, as CloudWatch Logs writes it.
const NEXT_MEMBER: [u8; 4] = [0x1f, 0x8b, 8, 0];
/// How much of the start is searched for the key that makes an envelope.
const HEAD_BYTES: usize = 64 * 1024;
/// The key that makes an envelope.
const MARK: &str = "\"messageType\"";

/// Whether damaged gzip data, and not the file system, is to blame.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput)
}

/// Looks into the member that begins here, as far as it takes to tell what it is: to the end of the first
/// JSON value and a little further, at most `max_bytes` of unpacked data.
pub(super) fn sniff(reader: &mut dyn Peek, max_bytes: usize) -> io::Result<Member> {
    let mut judge = Judge { max_bytes, ..Judge::default() };
    let mut decoder = GzDecoder::new(Tee { inner: reader, taken: Vec::new() });
    let mut chunk = vec![0; 16 * 1024];
    let verdict = loop {
        match decoder.read(&mut chunk) {
            Ok(0) => break judge.at_end(),
            Ok(read) => {
                if let Some(verdict) = judge.read(chunk.get(..read).unwrap_or_default()) {
                    break verdict;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_damage(&error) && judge.is_envelope() => break Verdict::Damaged,
            Err(error) if is_damage(&error) && judge.head.is_empty() => break Verdict::Damaged,
            Err(error) if is_damage(&error) => break Verdict::File,
            Err(error) => return Err(error),
        }
    };
    let Tee { inner, taken } = decoder.into_inner();
    Ok(match verdict {
        Verdict::Record => Member::Record(taken),
        Verdict::File => {
            inner.push_back(&taken);
            Member::File
        }
        Verdict::Damaged => Member::Damaged(resync(inner, taken, max_bytes)?),
    })
}

/// Reads on until the next member seems to begin, or the end; keeps at most `max_bytes`.
pub(super) fn resync(reader: &mut dyn Peek, mut taken: Vec<u8>, max_bytes: usize) -> io::Result<Vec<u8>> {
    // The decoder may have read on into the next member, so search what it has taken first.
    let found = taken.windows(4).skip(1).position(|window| window == NEXT_MEMBER).map(|at| at + 1);
    if let Some(at) = found {
        reader.push_back(taken.get(at..).unwrap_or_default());
        taken.truncate(at);
        return Ok(taken);
    }
    // A magic may lie across the border; three bytes of the past are enough to see it.
    let border = taken.len().saturating_sub(3).max(1).min(taken.len());
    reader.push_back(taken.get(border..).unwrap_or_default());
    taken.truncate(border);
    loop {
        let buffer = reader.fill_buf()?;
        let Some(first) = buffer.first() else { return Ok(taken) };
        let skipped = if *first == NEXT_MEMBER[0] {
            if reader.peek(4)? == NEXT_MEMBER {
                return Ok(taken);
            }
            1
        } else {
            buffer.iter().position(|byte| *byte == NEXT_MEMBER[0]).unwrap_or(buffer.len())
        };
        let room = max_bytes.saturating_sub(taken.len()).min(skipped);
        taken.extend(reader.fill_buf()?.iter().take(room));
        reader.consume(skipped);
    }
}

#[derive(Clone, Copy)]
enum Verdict {
    Record,
    File,
    Damaged,
}

/// Watches the unpacked bytes go by.
#[derive(Default)]
struct Judge {
    max_bytes: usize,
    head: Vec<u8>,
    scanner: Scanner,
    unpacked_bytes: usize,
    complete: bool,
}

impl Judge {
    fn read(&mut self, piece: &[u8]) -> Option<Verdict> {
        let mut piece = piece;
        self.unpacked_bytes = self.unpacked_bytes.saturating_add(piece.len());
        if self.head.is_empty() {
            piece = piece.trim_ascii_start();
            if piece.first().is_some_and(|first| *first != b'{') {
                return Some(Verdict::File);
            }
        }
        let room = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(piece.iter().take(room));
        if !self.complete {
            match self.scanner.feed(piece) {
                Progress::Open => piece = &[],
                Progress::Complete(end) => {
                    self.complete = true;
                    piece = piece.get(end..).unwrap_or_default();
                }
                Progress::Broken => return Some(Verdict::File),
            }
        }
        if !piece.trim_ascii().is_empty() {
            return Some(Verdict::File);
        }
        if self.unpacked_bytes <= self.max_bytes {
            return None;
        }
        // A bomb, or a file in one line: not worth unpacking to its end.
        Some(if self.is_envelope() { Verdict::Damaged } else { Verdict::File })
    }

    fn is_envelope(&self) -> bool {
        self.head.windows(MARK.len()).any(|window| window == MARK.as_bytes())
    }

    fn at_end(&self) -> Verdict {
        if self.is_envelope() { Verdict::Record } else { Verdict::File }
    }
}
