//! `limits.memory` holds for the whole process: the program between a model Kinesis with records of 10 MiB, and a real
//! Apache Kafka, a real S3 and a Firehose behind links that can be stalled. Every sink is stalled in turn, and all at
//! once, while the stream has more than the limit many times over; resident memory is the kernel's own peak.
#![cfg(all(feature = "aws", feature = "kafka", feature = "status"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "stack/mod.rs"]
mod stack;
mod support;

#[path = "firehose/server.rs"]
#[allow(dead_code, reason = "its faults are other tests' business")]
mod server;

/// What the server of Firehose needs of that test's.
mod destination {
    /// The lines in what arrived, compressed or not.
    pub(crate) fn plain(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match bytes {
            [0x1f, 0x8b, ..] => {
                std::io::copy(&mut flate2::read::MultiGzDecoder::new(bytes), &mut plain).unwrap();
            }
            _ => plain.extend_from_slice(bytes),
        }
        plain
    }
}

/// Links that can be stalled.
#[allow(dead_code, reason = "weather of other kinds is other tests' business")]
mod chaos {
    #[path = "../chaos/dice.rs"]
    pub(crate) mod dice;
    #[path = "../chaos/http.rs"]
    pub(crate) mod http;
    #[path = "../chaos/limits.rs"]
    pub(crate) mod limits;
    #[path = "../chaos/proxy.rs"]
    pub(crate) mod proxy;
}

mod memory {
    pub(crate) mod far;
    pub(crate) mod stream;
    pub(crate) mod world;
}

use memory::world::World;

/// In four parts they have 170 MB of records that are 710 MB once they are inflated, and every sink gets all or half of
/// that again in its own form: more than the limit, whose answers have room for one record of 10 MiB at a time.
const SHARDS: usize = 4;

#[test]
fn with_every_sink_stalled_in_turn_and_all_at_once_the_process_stays_inside_its_limit_and_delivers_everything() {
    let mut world = World::new(SHARDS);
    for stalled in [&["topic"][..], &["lake"], &["hose"], &["topic", "lake", "hose"]] {
        world.stall(stalled);
        world.next_part();
        world.until_the_others_have_everything_and_these_are_parked(stalled);
        world.clear();
        world.until_all_have_everything();
        let peak = world.peak_mib();
        eprintln!("{stalled:?} stalled: {peak} of {} MiB resident at the peak so far", world.limit_mib);
        assert!(
            peak <= world.limit_mib,
            "{peak} MiB resident with {stalled:?} stalled, and the limit is {} MiB",
            world.limit_mib
        );
    }
    world.ends_in_order();
}

#[test]
fn a_limit_that_is_too_small_is_an_error_that_says_how_much_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), memory::world::pipeline("100MiB")).unwrap();
    let mut check = support::program::tunnelog(folder.path(), &["check", "p.yaml"]);
    check.envs(memory::world::names().map(|name| (name, "127.0.0.1:1")));
    support::program::finish(check).expect(2).says(&["limits.memory", "at least", "MiB are needed", "lake"]);
}
