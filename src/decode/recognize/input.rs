//! Bytes in, with a look ahead and a way back; and the unpacked view of a gzip file.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::super::inflate::GZIP_MAGIC;
use super::member::{self, Member};

/// How a Zstandard frame begins (RFC 8878 section 3.1.1).
pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The largest window that a Zstandard frame may ask for, as a power of two: 128 MiB, the format's own limit for
/// decoders that are not told otherwise.
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG: u32 = 27;

/// A reader that can look ahead and take bytes back.
pub(super) trait Peek: BufRead {
    /// Up to `count` bytes that come next; fewer only at the end.
    fn peek(&mut self, count: usize) -> io::Result<Vec<u8>>;
    /// Gives back bytes that were read last.
    fn push_back(&mut self, bytes: &[u8]);
    /// How many bytes have been read.
    fn offset(&self) -> u64;
}

/// A reader with bytes that were read too far.
pub(super) struct Input<R> {
    inner: R,
    pushed: Vec<u8>,
    at: usize,
    offset: u64,
}

impl<R: BufRead> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Input { inner, pushed: Vec::new(), at: 0, offset: 0 }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }

    fn pending(&self) -> &[u8] {
        self.pushed.get(self.at..).unwrap_or_default()
    }
}

impl<R: BufRead> Peek for Input<R> {
    fn peek(&mut self, count: usize) -> io::Result<Vec<u8>> {
        // What has been read is dropped first, so that looking ahead again and again holds nothing.
        self.pushed.drain(..self.at);
        self.at = 0;
        if self.pushed.is_empty()
            && let Some(bytes) = self.inner.fill_buf()?.get(..count)
        {
            return Ok(bytes.to_vec());
        }
        while self.pending().len() < count {
            let more = self.inner.fill_buf()?;
            if more.is_empty() {
                break;
            }
            let taken = more.len().min(count);
            self.pushed.extend_from_slice(more.get(..taken).unwrap_or_default());
            self.inner.consume(taken);
        }
        Ok(self.pending().iter().take(count).copied().collect())
    }

    fn push_back(&mut self, bytes: &[u8]) {
        self.pushed = [bytes, self.pending()].concat();
        self.at = 0;
        self.offset = self.offset.saturating_sub(bytes.len() as u64);
    }

    fn offset(&self) -> u64 {
        self.offset
    }
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.pushed.len() {
            return Ok(self.pushed.get(self.at..).unwrap_or_default());
        }
        self.pushed.clear();
        self.at = 0;
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.offset += count as u64;
        if self.at < self.pushed.len() { self.at += count } else { self.inner.consume(count) }
    }
}

/// Remembers what passes through it.
pub(super) struct Tee<'i> {
    pub(super) inner: &'i mut dyn Peek,
    pub(super) taken: Vec<u8>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Tee<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // What is consumed has been seen, so this reads nothing new and cannot fail.
        if let Ok(seen) = self.inner.fill_buf() {
            self.taken.extend(seen.iter().take(count));
        }
        self.inner.consume(count);
    }
}

/// Unpacks one gzip member, and those behind it as long as one ends in the middle of a line and the next
/// is no record of its own; or Zstandard frames as long as there are any.
pub(super) struct Unzip<R: BufRead> {
    decoder: Option<Decoder<R>>,
    last: u8,
    max_bytes: usize,
}

impl<R: BufRead> Unzip<R> {
    /// The packed input, behind the member.
    fn into_inner(self) -> Option<Input<R>> {
        self.decoder.map(Decoder::into_inner)
    }
}

impl<R: BufRead> Read for Unzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.decoder else { return Ok(0) };
            let read = decoder.read(buffer)?;
            if let Some(last) = buffer.get(..read).and_then(<[u8]>::last) {
                self.last = *last;
                return Ok(read);
            }
            if buffer.is_empty() {
                return Ok(0);
            }
            match decoder {
                Decoder::Gzip(decoder) => {
                    if self.last == b'\n' || decoder.get_mut().peek(2)? != GZIP_MAGIC {
                        return Ok(0);
                    }
                    let member = member::sniff(decoder.get_mut(), self.max_bytes)?;
                    if let Member::Record(data) | Member::Damaged(data) = member {
                        decoder.get_mut().push_back(&data);
                        self.last = b'\n';
                        return Ok(0);
                    }
                }
                #[cfg(feature = "zstd")]
                Decoder::Zstd(decoder) => {
                    if decoder.get_mut().peek(4)? != ZSTD_MAGIC {
                        return Ok(0);
                    }
                }
            }
            self.decoder = self.decoder.take().map(Decoder::next).transpose()?;
        }
    }
}

/// What unpacks one member or frame.
enum Decoder<R: BufRead> {
    Gzip(Box<GzDecoder<Input<R>>>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: BufRead> Decoder<R> {
    #[cfg(feature = "zstd")]
    fn zstd(input: Input<R>) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Ok(Decoder::Zstd(decoder))
    }

    fn into_inner(self) -> Input<R> {
        match self {
            Decoder::Gzip(decoder) => decoder.into_inner(),
            #[cfg(feature = "zstd")]
            Decoder::Zstd(decoder) => decoder.finish(),
        }
    }

    /// One for the next member or frame.
    fn next(self) -> io::Result<Self> {
        match self {
            Decoder::Gzip(decoder) => Ok(Decoder::Gzip(Box::new(GzDecoder::new(decoder.into_inner())))),
            #[cfg(feature = "zstd")]
            Decoder::Zstd(decoder) => Decoder::zstd(decoder.finish()),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Gzip(decoder) => decoder.read(buffer),
            #[cfg(feature = "zstd")]
            // The library has no kind of its own for damaged data; what the system refuses keeps its number.
            Decoder::Zstd(decoder) => decoder.read(buffer).map_err(|error| match error.raw_os_error() {
                None if error.kind() == ErrorKind::Other => io::Error::new(ErrorKind::InvalidData, error),
                _ => error,
            }),
        }
    }
}

/// Where lines come from: the file itself, or a packed file in it.
pub(super) enum Stream<R: BufRead> {
    Plain(Input<R>),
    Unpacked(Box<Input<BufReader<Unzip<R>>>>),
}

impl<R: BufRead> Stream<R> {
    pub(super) fn reader(&mut self) -> &mut dyn Peek {
        match self {
            Stream::Plain(input) => input,
            Stream::Unpacked(input) => &mut **input,
        }
    }

    /// Looks into the gzip file that begins here.
    pub(super) fn enter(self, max_bytes: usize) -> Stream<R> {
        match self {
            Stream::Plain(input) => {
                // `\n`: an empty member must not go on into the next one.
                let decoder = Some(Decoder::Gzip(Box::new(GzDecoder::new(input))));
                let unzip = Unzip { decoder, last: b'\n', max_bytes };
                Stream::Unpacked(Box::new(Input::new(BufReader::new(unzip))))
            }
            unpacked @ Stream::Unpacked(_) => unpacked,
        }
    }

    /// Looks into the Zstandard file that begins here.
    #[cfg(feature = "zstd")]
    pub(super) fn enter_zstd(self, max_bytes: usize) -> io::Result<Stream<R>> {
        match self {
            Stream::Plain(input) => {
                let unzip = Unzip { decoder: Some(Decoder::zstd(input)?), last: b'\n', max_bytes };
                Ok(Stream::Unpacked(Box::new(Input::new(BufReader::new(unzip)))))
            }
            unpacked @ Stream::Unpacked(_) => Ok(unpacked),
        }
    }

    /// Goes back to the file itself.
    pub(super) fn leave(self) -> Option<Stream<R>> {
        match self {
            Stream::Unpacked(input) => input.into_inner().into_inner().into_inner().map(Stream::Plain),
            plain @ Stream::Plain(_) => Some(plain),
        }
    }
}

/// How reading a line ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineEnd {
    /// At a line's end or the end of the input.
    Whole,
    /// The line is longer than the cap: it was read to its end, but not kept.
    TooLong,
    /// There was nothing left.
    EndOfInput,
}

/// Reads one line without its end into `line`, which is cleared first.
pub(super) fn read_line(reader: &mut dyn Peek, line: &mut Vec<u8>, max_bytes: usize) -> io::Result<LineEnd> {
    line.clear();
    let (mut too_long, mut any) = (false, false);
    loop {
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        any |= !buffer.is_empty();
        too_long |= line.len() + part.len() > max_bytes;
        if too_long {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let (used, at_end) = (part.len() + usize::from(end.is_some()), end.is_some() || buffer.is_empty());
        reader.consume(used);
        if at_end {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(match (any, too_long) {
                (false, _) => LineEnd::EndOfInput,
                (true, true) => LineEnd::TooLong,
                (true, false) => LineEnd::Whole,
            });
        }
    }
}
