//! One object's bytes as it grows: compressed lines, or a Parquet file.
//!
//! Of lines, one gzip member, or one zstd frame, an object: readers that stop after the first find everything. Bytes go in by
//! slabs of [`SLAB_BYTES`], so what comes out depends on the bytes alone and never on how they were handed over; an
//! object that stays below a slab costs no compressor until it is finished.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::Objects;
use crate::config::types::Compression;
#[cfg(feature = "parquet")]
use crate::encode::parquet::ParquetFile;

/// What is compressed at a time.
const SLAB_BYTES: usize = 64 * 1024;

/// Memory of a gzip compressor: window 64 KiB, chains and hashes 192 KiB, pending output 64 KiB.
const GZIP_BYTES: usize = 320 * 1024;

/// zstd's default level.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 3;

/// Memory of a zstd compressor with the parameters below: window 256 KiB, tables 384 KiB, blocks and sequences
/// 600 KiB. The level's own window (2 MiB) would be too much for many open objects.
#[cfg(feature = "zstd")]
const ZSTD_BYTES: usize = 1280 * 1024;

enum Stream {
    Plain(Vec<u8>),
    Gzip(Box<GzEncoder<Vec<u8>>>),
    #[cfg(feature = "zstd")]
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
}

/// See the module.
pub(super) enum Encoder {
    Lines(Lines),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetFile>),
}

impl Encoder {
    pub(super) fn new(objects: Objects, compression: Compression) -> Encoder {
        match objects {
            Objects::Lines => Encoder::Lines(Lines::new(compression)),
            #[cfg(feature = "parquet")]
            Objects::Parquet => Encoder::Parquet(Box::new(ParquetFile::new())),
            // The check of the pipeline file refuses it in such a build.
            #[cfg(not(feature = "parquet"))]
            Objects::Parquet => Encoder::Lines(Lines::new(compression)),
        }
    }

    /// Appends one item.
    pub(super) fn write(&mut self, item: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Lines(lines) => lines.write(item),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(file) => file.write(item),
        }
    }

    /// Bytes of the object that wait to be taken.
    pub(super) fn ready(&self) -> usize {
        match self {
            Encoder::Lines(lines) => lines.ready(),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(file) => file.ready(),
        }
    }

    /// Takes what is ready so far.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Encoder::Lines(lines) => lines.take(),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(file) => file.take(),
        }
    }

    /// Ends the object: the rest of its bytes.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Lines(lines) => lines.finish(),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(file) => file.finish(),
        }
    }

    /// Memory that it holds.
    pub(super) fn held(&self) -> usize {
        match self {
            Encoder::Lines(lines) => lines.held(),
            #[cfg(feature = "parquet")]
            Encoder::Parquet(file) => file.held(),
        }
    }
}

/// Lines, compressed.
pub(super) struct Lines {
    compression: Compression,
    /// Not compressed yet: less than a slab, but for the last item.
    plain: Vec<u8>,
    stream: Option<Stream>,
}

impl Lines {
    fn new(compression: Compression) -> Lines {
        Lines { compression, plain: Vec::new(), stream: None }
    }

    /// Appends bytes.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while self.plain.len() + bytes.len() >= SLAB_BYTES {
            let (now, later) = bytes.split_at(SLAB_BYTES - self.plain.len());
            self.plain.extend_from_slice(now);
            bytes = later;
            self.compress()?;
        }
        self.plain.extend_from_slice(bytes);
        Ok(())
    }

    fn compress(&mut self) -> io::Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(Stream::new(self.compression)?),
        };
        stream.write(&self.plain)?;
        self.plain.clear();
        Ok(())
    }

    /// Compressed bytes that wait to be taken.
    fn ready(&self) -> usize {
        match &self.stream {
            None => 0,
            Some(Stream::Plain(bytes)) => bytes.len(),
            Some(Stream::Gzip(encoder)) => encoder.get_ref().len(),
            #[cfg(feature = "zstd")]
            Some(Stream::Zstd(encoder)) => encoder.get_ref().len(),
        }
    }

    /// Takes what is compressed so far.
    fn take(&mut self) -> Vec<u8> {
        self.stream.as_mut().map(|stream| std::mem::take(stream.output())).unwrap_or_default()
    }

    /// Ends the object: the rest of its bytes.
    fn finish(mut self) -> io::Result<Vec<u8>> {
        self.compress()?;
        match self.stream {
            None => Ok(Vec::new()),
            Some(Stream::Plain(bytes)) => Ok(bytes),
            Some(Stream::Gzip(encoder)) => encoder.finish(),
            #[cfg(feature = "zstd")]
            Some(Stream::Zstd(encoder)) => encoder.finish(),
        }
    }

    /// Memory that it holds, the compressor included.
    fn held(&self) -> usize {
        let stream = match &self.stream {
            None => 0,
            Some(Stream::Plain(bytes)) => bytes.capacity(),
            Some(Stream::Gzip(encoder)) => encoder.get_ref().capacity() + GZIP_BYTES,
            #[cfg(feature = "zstd")]
            Some(Stream::Zstd(encoder)) => encoder.get_ref().capacity() + ZSTD_BYTES,
        };
        self.plain.capacity() + stream
    }
}

impl Stream {
    fn new(compression: Compression) -> io::Result<Stream> {
        match compression {
            Compression::None => Ok(Stream::Plain(Vec::new())),
            Compression::Gzip => Ok(Stream::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default())))),
            #[cfg(feature = "zstd")]
            Compression::Zstd => {
                use zstd::zstd_safe::CParameter;
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(18))?;
                encoder.set_parameter(CParameter::ChainLog(15))?;
                encoder.set_parameter(CParameter::HashLog(16))?;
                Ok(Stream::Zstd(Box::new(encoder)))
            }
            #[cfg(not(feature = "zstd"))]
            Compression::Zstd => Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `zstd`")),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Plain(output) => output.write_all(bytes),
            Stream::Gzip(encoder) => encoder.write_all(bytes),
            #[cfg(feature = "zstd")]
            Stream::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn output(&mut self) -> &mut Vec<u8> {
        match self {
            Stream::Plain(output) => output,
            Stream::Gzip(encoder) => encoder.get_mut(),
            #[cfg(feature = "zstd")]
            Stream::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(compression: Compression, input: &[u8], step: usize, taking: bool) -> Vec<u8> {
        let mut encoder = Lines::new(compression);
        let mut out = Vec::new();
        for bytes in input.chunks(step) {
            encoder.write(bytes).unwrap();
            if taking {
                out.extend(encoder.take());
            }
        }
        out.extend(encoder.finish().unwrap());
        out
    }

    fn decode(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match compression {
            Compression::None => plain.extend_from_slice(bytes),
            // A decoder of one member only.
            Compression::Gzip => {
                io::copy(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
            }
            Compression::Zstd => zstd::stream::copy_decode(bytes, &mut plain).unwrap(),
        }
        plain
    }

    #[test]
    fn an_object_depends_on_its_bytes_alone_and_is_one_member() {
        let input: Vec<u8> = (0..60_000_u32).flat_map(|n| format!("{{\"n\":{}}}\n", n % 977).into_bytes()).collect();
        let all = [Compression::None, Compression::Gzip, Compression::Zstd];
        for compression in all.into_iter().filter(|one| *one != Compression::Zstd || cfg!(feature = "zstd")) {
            let whole = encode(compression, &input, usize::MAX, false);
            assert!(decode(compression, &whole) == input, "{compression:?}");
            for (step, taking) in [(7, true), (65_536, false), (100_001, true)] {
                assert!(encode(compression, &input, step, taking) == whole, "{compression:?} by {step}");
            }
        }
    }
}
