//! Gunzips a record with a cap on the output.
//!
//! Invariants: never more than `max_bytes` + 1 bytes of output are produced or held, whatever the record
//! claims; the buffer only grows and is reused, so a steady stream of records allocates nothing for it.

use std::io::{ErrorKind, Read};

use flate2::bufread::GzDecoder;

use super::DecodeError;

/// First two bytes of a gzip member (RFC 1952).
pub const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// First four bytes of a record that the Kinesis Producer Library has aggregated.
pub const KPL_MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// The first growth of the buffer, in bytes, where the record's own claim is smaller.
const FIRST_BYTES: usize = 16 * 1024;

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
        // Deflate cannot shrink by more than 1032:1; a larger claim is a lie.
        Some(trailer) => (u32::from_le_bytes(*trailer) as usize).min(data.len().saturating_mul(1032)),
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

    #[test]
    fn members_are_joined_and_padding_is_ignored() {
        let data = [gzip(b"{\"a\":"), gzip(b""), gzip(b"1}"), vec![0, 0, 0]].concat();
        assert_eq!(inflate(&data, 100, &mut Vec::new()), Ok(&b"{\"a\":1}"[..]));
    }

    #[test]
    fn plain_json_is_returned_as_it_is() {
        assert_eq!(inflate(b" \n{}", 100, &mut Vec::new()), Ok(&b" \n{}"[..]));
    }

    #[test]
    fn a_bomb_stops_at_the_cap_and_takes_no_more_memory_than_it() {
        let bomb = gzip(&vec![b'x'; 10 << 20]);
        let mut buffer = Vec::new();
        assert_eq!(inflate(&bomb, 100_000, &mut buffer), Err(DecodeError::TooLarge { max_bytes: 100_000 }));
        assert!(buffer.capacity() <= 100_001, "{}", buffer.capacity());
    }

    #[test]
    fn a_record_of_exactly_the_cap_passes_and_one_byte_more_does_not() {
        let data = gzip(&[b'x'; 40_000]);
        assert_eq!(inflate(&data, 40_000, &mut Vec::new()).unwrap().len(), 40_000);
        assert_eq!(inflate(&data, 39_999, &mut Vec::new()), Err(DecodeError::TooLarge { max_bytes: 39_999 }));
    }

    #[test]
    fn the_buffer_is_reused_and_shows_nothing_of_the_record_before() {
        let mut buffer = Vec::new();
        inflate(&gzip(&[b'x'; 100_000]), 1 << 20, &mut buffer).unwrap();
        let capacity = buffer.capacity();
        assert_eq!(inflate(&gzip(b"{}"), 1 << 20, &mut buffer), Ok(&b"{}"[..]));
        assert_eq!(buffer.capacity(), capacity);
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
            assert_eq!(inflate(data, 1000, &mut Vec::new()).unwrap_err().reason(), reason, "{data:?}");
        }
    }
}
