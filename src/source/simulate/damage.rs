//! Records damaged on purpose: each must end as a dead letter and stop nothing.

use bytes::Bytes;

use super::random::Random;
use super::record::gzip;

/// The bytes of damaged record number `number`; the sorts take turns, the first is a truncated gzip member.
pub(super) fn damage(random: &mut Random, number: u32, envelope: &Bytes) -> Bytes {
    match number % 6 {
        0 => {
            let whole = gzip(envelope);
            whole.slice(..whole.len() * 2 / 3)
        }
        1 => noise(random, &[0x00]),
        // The magic of a record that the Kinesis Producer Library aggregated.
        2 => noise(random, &[0xf3, 0x89, 0x9a, 0xc2]),
        3 => gzip(&envelope[..envelope.len() / 2]),
        4 => gzip(br#"{"greeting":"this is JSON, but no subscription envelope"}"#),
        _ => {
            let mut bytes = gzip(envelope).to_vec();
            // The checksum is the first half of the last eight bytes (RFC 1952).
            let checksum = bytes.len().saturating_sub(8);
            bytes[checksum] ^= 0xff;
            bytes.into()
        }
    }
}

fn noise(random: &mut Random, magic: &[u8]) -> Bytes {
    let mut bytes = magic.to_vec();
    for _ in 0..24 {
        bytes.extend_from_slice(&random.bits().to_le_bytes());
    }
    bytes.into()
}
