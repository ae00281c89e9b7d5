//! Gunzips a record with a cap on the output.
//!
//! [`inflate()`] is the meaning: any number of members, a cap, a reason for each kind of damage. [`Inflater`] comes to
//! the same faster: the usual record is one plain member, which libdeflate (feature `libdeflate`) unpacks in one call.
//! What it does not take at once goes through [`inflate()`].
//!
//! Invariants: never more than `max_bytes` + 1 bytes of output are produced or held, whatever the record
//! claims; the buffer only grows and is reused, so a steady stream of records allocates nothing for it.

use std::io::{ErrorKind, Read};
#[cfg(feature = "libdeflate")]
use std::sync::LazyLock;

use flate2::bufread::GzDecoder;
#[cfg(feature = "libdeflate")]
use memchr::memmem;

use super::DecodeError;

/// First two bytes of a gzip member (RFC 1952).
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// First four bytes of a record that the Kinesis Producer Library has aggregated.
pub const KPL_MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// The first growth of the buffer, in bytes, where the record's own claim is smaller.
const FIRST_BYTES: usize = 16 * 1024;

/// Unpacks records one after the other into a buffer of its own.
#[derive(Default)]
pub struct Inflater {
    buffer: Vec<u8>,
    #[cfg(feature = "libdeflate")]
    whole: libdeflater::Decompressor,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("buffer_bytes", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Inflater {
    /// As [`inflate()`], into the buffer that is held.
    pub fn inflate<'b>(&'b mut self, data: &'b [u8], max_bytes: usize) -> Result<&'b [u8], DecodeError> {
        #[cfg(feature = "libdeflate")]
        if let Some(length) = self.whole_member(data, max_bytes) {
            return Ok(self.buffer.get(..length).unwrap_or_default());
        }
        inflate(data, max_bytes, &mut self.buffer)
    }

    /// The first `length` bytes of what was unpacked last, if there were so many.
    pub fn held(&self, length: usize) -> Option<&[u8]> {
        self.buffer.get(..length)
    }

    /// The size of the buffer, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Unpacks a record that is one member with a bare header and nothing behind it; its length. Nothing where the
    /// record is anything else, or where anything about it is wrong.
    ///
    /// libdeflate does not tell where the compressed data ended. So checksum and length at the record's end must be
    /// those of the output, and no further member may begin in it. What passes unseen is a record in which other
    /// bytes, and then its own trailer once more, follow the member: the content is whole, and nothing is lost.
    #[cfg(feature = "libdeflate")]
    fn whole_member(&mut self, data: &[u8], max_bytes: usize) -> Option<usize> {
        /// How any member begins: magic and method. Prepared once: that takes longer than to look through a small record.
        static NEXT_MEMBER: LazyLock<memmem::Finder<'static>> =
            LazyLock::new(|| memmem::Finder::new(&BARE_HEADER[..3]));
        /// Magic, method deflate, no flag: what `java.util.zip` writes, and so CloudWatch Logs.
        const BARE_HEADER: [u8; 4] = [0x1f, 0x8b, 8, 0];
        const HEADER_BYTES: usize = 10;
        let (rest, length) = data.split_last_chunk::<4>()?;
        let (rest, checksum) = rest.split_last_chunk::<4>()?;
        let deflated = rest.get(HEADER_BYTES..).filter(|_| rest.starts_with(&BARE_HEADER))?;
        let length = u32::from_le_bytes(*length) as usize;
        // The length is a hint: within the cap, and within what deflate can do.
        if length == 0 || length > max_bytes || length > data.len().saturating_mul(MAX_RATIO) {
            return None;
        }
        if NEXT_MEMBER.find(deflated).is_some() {
            return None;
        }
        if self.buffer.len() < length {
            grow(&mut self.buffer, 0, data, max_bytes);
        }
        let out = self.buffer.get_mut(..length)?;
        let written = self.whole.deflate_decompress(deflated, out).ok()?;
        (written == length && libdeflater::crc32(out) == u32::from_le_bytes(*checksum)).then_some(length)
    }
}

/// Deflate cannot shrink by more than 1032:1; a larger claim is a lie.
const MAX_RATIO: usize = 1032;

/// The plain bytes of a record: `data` itself if it is JSON already, else its gzip members inflated into
/// `buffer`, at most `max_bytes` of them. What `buffer` held before does not matter.
pub fn inflate<'b>(data: &'b [u8], max_bytes: usize, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], DecodeError> {
    if data.starts_with(&GZIP_MAGIC) {
        return members(data, max_bytes, buffer);
    }
    if data.starts_with(&KPL_MAGIC) {
        return Err(DecodeError::Aggregated { bytes: data.len() });
    }
    match data.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(DecodeError::Empty),
        Some(b'{') if data.len() > max_bytes => Err(DecodeError::TooLarge { max_bytes }),
        Some(b'{') => Ok(data),
        Some(_) => Err(DecodeError::NotGzip { bytes: data.len() }),
    }
}

/// Inflates one member after the other. Zero bytes after the last one are padding.
fn members<'b>(data: &[u8], max_bytes: usize, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], DecodeError> {
    let mut filled = 0;
    let mut rest = data;
    while rest.starts_with(&GZIP_MAGIC) {
        let mut decoder = GzDecoder::new(rest);
        loop {
            if filled == buffer.len() {
                grow(buffer, filled, data, max_bytes);
            }
            let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) else {
                return Err(DecodeError::TooLarge { max_bytes });
            };
            match decoder.read(free) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(DecodeError::TruncatedGzip { bytes: data.len() });
                }
                Err(_) => return Err(DecodeError::CorruptGzip { bytes: data.len() }),
            }
            if filled > max_bytes {
                return Err(DecodeError::TooLarge { max_bytes });
            }
        }
        rest = decoder.into_inner();
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::CorruptGzip { bytes: data.len() });
    }
    match buffer.get(..filled) {
        None | Some([]) => Err(DecodeError::Empty),
        Some(plain) => Ok(plain),
    }
}

/// Doubles the buffer, at first to what the gzip trailer claims, never beyond `max_bytes` + 1: that one
/// byte more tells a record of exactly `max_bytes` from a larger one.
fn grow(buffer: &mut Vec<u8>, filled: usize, data: &[u8], max_bytes: usize) {
    let claimed = match data.last_chunk::<4>() {
        Some(trailer) => (u32::from_le_bytes(*trailer) as usize).min(data.len().saturating_mul(MAX_RATIO)),
        None => 0,
    };
    // One byte more than claimed, so that the end of the member is seen without growing again.
    let wanted = (claimed + 1).max(filled.saturating_mul(2)).max(FIRST_BYTES).min(max_bytes.saturating_add(1));
    if wanted > buffer.len() {
        buffer.reserve_exact(wanted - buffer.len());
        buffer.resize(wanted, 0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacks both ways, with fresh and with used buffers: they must agree.
    fn both(data: &[u8], max_bytes: usize) -> Result<Vec<u8>, DecodeError> {
        let plain = inflate(data, max_bytes, &mut Vec::new()).map(<[u8]>::to_vec);
        let mut inflater = Inflater::default();
        for _ in 0..2 {
            assert_eq!(inflater.inflate(data, max_bytes).map(<[u8]>::to_vec), plain, "{data:?}");
        }
        assert!(inflater.capacity() <= (max_bytes + 1).max(FIRST_BYTES), "{}", inflater.capacity());
        plain
    }

    #[test]
    fn members_are_joined_and_padding_is_ignored() {
        let data = [gzip(b"{\"a\":"), gzip(b""), gzip(b"1}"), vec![0, 0, 0]].concat();
        assert_eq!(both(&data, 100), Ok(b"{\"a\":1}".to_vec()));
    }

    #[test]
    fn two_members_of_one_content_are_both_read() {
        assert_eq!(both(&[gzip(b"{}"), gzip(b"{}")].concat(), 100), Ok(b"{}{}".to_vec()));
    }

    #[test]
    fn headers_with_a_name_and_a_comment_are_read() {
        let mut encoder =
            flate2::GzBuilder::new().filename("a").comment("b").write(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"{}").unwrap();
        assert_eq!(both(&encoder.finish().unwrap(), 100), Ok(b"{}".to_vec()));
    }

    #[test]
    fn a_record_changed_in_any_byte_or_cut_anywhere_is_judged_alike_both_ways() {
        let whole = gzip(br#"{"messageType":"DATA_MESSAGE","owner":"123456789012","logEvents":[]}"#);
        for at in 0..whole.len() {
            let _ = both(&whole[..at], 1000);
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let _ = both(&changed, 1000);
            }
        }
        for max_bytes in 0..100 {
            let _ = both(&whole, max_bytes);
        }
    }

    #[test]
    fn plain_json_is_returned_as_it_is() {
        assert_eq!(inflate(b" \n{}", 100, &mut Vec::new()), Ok(&b" \n{}"[..]));
    }

    #[test]
    fn a_bomb_stops_at_the_cap_and_takes_no_more_memory_than_it() {
        let bomb = gzip(&vec![b'x'; 10 << 20]);
        let mut buffer = Vec::new();
        assert_eq!(both(&bomb, 100_000), Err(DecodeError::TooLarge { max_bytes: 100_000 }));
        assert_eq!(inflate(&bomb, 100_000, &mut buffer), Err(DecodeError::TooLarge { max_bytes: 100_000 }));
        assert!(buffer.capacity() <= 100_001, "{}", buffer.capacity());
    }

    #[test]
    fn a_record_of_exactly_the_cap_passes_and_one_byte_more_does_not() {
        let data = gzip(&[b'x'; 40_000]);
        assert_eq!(both(&data, 40_000).unwrap().len(), 40_000);
        assert_eq!(both(&data, 39_999), Err(DecodeError::TooLarge { max_bytes: 39_999 }));
    }

    #[test]
    fn the_buffer_is_reused_and_shows_nothing_of_the_record_before() {
        let mut inflater = Inflater::default();
        inflater.inflate(&gzip(&[b'x'; 100_000]), 1 << 20).unwrap();
        let capacity = inflater.capacity();
        assert_eq!(inflater.inflate(&gzip(b"{}"), 1 << 20), Ok(&b"{}"[..]));
        assert_eq!(inflater.capacity(), capacity);
    }

    #[test]
    fn each_kind_of_damage_has_its_own_reason() {
        let whole = gzip(b"{\"messageType\":\"DATA_MESSAGE\"}");
        let mut wrong_checksum = whole.clone();
        let at = wrong_checksum.len() - 6;
        wrong_checksum[at] ^= 1;
        let trailing = [&whole[..], b"junk"].concat();
        for (data, reason) in [
            (&b""[..], "empty"),
            (b" \r\n\t", "empty"),
            (&gzip(b""), "empty"),
            (b"hello", "not_gzip"),
            (&[0xf3, 0x89, 0x9a, 0xc2, 1, 2], "kpl_aggregated"),
            (&whole[..whole.len() - 9], "gzip_truncated"),
            (&whole[..2], "gzip_truncated"),
            (&wrong_checksum, "gzip_corrupt"),
            (&trailing, "gzip_corrupt"),
        ] {
            assert_eq!(both(data, 1000).unwrap_err().reason(), reason, "{data:?}");
        }
    }
}
