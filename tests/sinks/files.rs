//! What the sink `file` promises beyond the contract: names, other writers, foreign files, torn tails.

use std::collections::BTreeMap;

use tunnelog::config::types::Compression;
use tunnelog::sink::file::file;

use super::bench::{Bench, Load};
use super::contract::check_once;
use super::destination::Files;
use super::support::program::size;
use super::support::{events_in, unpacked};

/// Those that this build has.
#[cfg(feature = "zstd")]
pub(crate) const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];
#[cfg(not(feature = "zstd"))]
pub(crate) const COMPRESSIONS: [Compression; 2] = [Compression::None, Compression::Gzip];

#[tokio::test(start_paused = true)]
async fn files_are_rotated_by_size_and_numbered() {
    for compression in COMPRESSIONS {
        let destination = Files::new(compression).rotated_at(600);
        let load = Load::default();
        let mut store = BTreeMap::new();
        // Several runs: each goes on with the last file.
        for run in 1..=3 {
            let mut bench = Bench::new(load, &destination, std::mem::take(&mut store));
            for _ in 0..10 {
                bench.may_read = 2;
                bench.barrier().await;
            }
            if run == 3 {
                bench.finish().await
            } else {
                bench.shut_down().await
            }
            store = std::mem::take(&mut bench.store);
        }
        check_once(&destination, load);
        let files = destination.files();
        assert!(files.len() > 3, "{compression:?}: {files:?}");
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert!(names[0].starts_with("events.ndjson") && names[2].starts_with("events.2.ndjson"), "{names:?}");
        for file in &files[..files.len() - 1] {
            assert!(size(file) <= 600 || events_in(file).len() <= 8, "{} is too large", file.display());
        }
    }
}

#[test]
fn two_sinks_cannot_have_one_file() {
    let destination = Files::new(Compression::None);
    let first = file(&destination.config).unwrap();
    let error = file(&destination.config).err().expect("an error");
    let path = destination.config.path.display().to_string();
    assert!(error.contains(&path) && error.contains("is being written by another process: stop it"), "{error}");
    drop(first);
    assert!(file(&destination.config).is_ok(), "free again");
}

#[test]
fn a_file_of_somebody_else_is_refused_and_untouched() {
    for compression in COMPRESSIONS {
        for foreign in [&b"# notes of mine\n"[..], b"PK\x03\x04", b"\0\0\0\0"] {
            let destination = Files::new(compression);
            let path = &destination.config.path;
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, foreign).unwrap();
            let error = file(&destination.config).err().expect("an error");
            assert!(error.contains("does not look like a file of this sink: move it away"), "{error}");
            assert_eq!(std::fs::read(path).unwrap(), foreign);
        }
    }
}

/// Every byte of the last unit is a place where a crash may have cut it.
#[tokio::test(start_paused = true)]
async fn a_unit_cut_anywhere_is_cut_off_whole() {
    for compression in COMPRESSIONS {
        let destination = Files::new(compression);
        let load = Load { shards: 1, records: 6, ..Load::default() };
        let mut bench = Bench::new(load, &destination, BTreeMap::new());
        bench.may_read = 3;
        bench.barrier().await;
        let path = &destination.config.path;
        let whole = unpacked(path);
        let first = size(path) as usize;
        bench.finish().await;
        drop(bench);
        let bytes = std::fs::read(path).unwrap();
        let whole_at_the_end = unpacked(path);
        for cut in first..bytes.len() {
            std::fs::write(path, &bytes[..cut]).unwrap();
            drop(file(&destination.config).unwrap());
            let kept = unpacked(path);
            assert!(kept.starts_with(&whole) && whole_at_the_end.starts_with(&kept), "{compression:?} cut at {cut}");
            assert!(kept.ends_with(b"\n"), "{compression:?} cut at {cut}");
        }
    }
}
