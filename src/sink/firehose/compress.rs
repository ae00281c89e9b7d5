//! Compresses records: each becomes one gzip member or one Zstandard frame, so that the objects which Firehose makes of
//! records one after another are whole files of that form.

use std::io::{self, Write};

use crate::config::types::Compression;

/// Zstandard's default level: its speed suits a stream.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 3;

/// The records as they are sent. A request's worth takes tens of milliseconds, hence not on a thread that others wait for.
pub(super) async fn compressed(compression: Compression, records: Vec<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
    if compression == Compression::None {
        return Ok(records);
    }
    let job = move || records.iter().map(|record| compress(compression, record)).collect();
    tokio::task::spawn_blocking(job).await.map_err(io::Error::other)?
}

/// One record.
pub(super) fn compress(compression: Compression, record: &[u8]) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(record.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(record)?;
            encoder.finish()
        }
        #[cfg(feature = "zstd")]
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            encoder.write_all(record)?;
            encoder.finish()
        }
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd => Err(io::Error::new(io::ErrorKind::Unsupported, "built without the feature `zstd`")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::super::pack::{RECORD_BYTES, record_bytes};
    use super::*;

    /// What no compressor makes smaller.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..bytes).map(|_| next()).collect()
    }

    #[test]
    fn a_full_record_that_cannot_be_compressed_still_fits() {
        let all = [Compression::Gzip, Compression::Zstd];
        for compression in all.into_iter().filter(|one| *one != Compression::Zstd || cfg!(feature = "zstd")) {
            let full = noise(record_bytes(compression));
            let sent = compress(compression, &full).unwrap();
            assert!(sent.len() > full.len() && sent.len() <= RECORD_BYTES, "{compression:?}: {}", sent.len());
        }
    }

    #[test]
    fn records_one_after_another_are_a_file() {
        let records = [&b"one\n"[..], b"two\n"].map(|record| compress(Compression::Gzip, record).unwrap());
        let mut read = String::new();
        io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&records.concat()[..]), &mut read).unwrap();
        assert_eq!(read, "one\ntwo\n");
    }
}
