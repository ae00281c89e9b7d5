//! Records damaged on purpose: samples with bytes changed, for property tests.

use std::io::Write as _;

use proptest::prelude::*;

const SAMPLES: [&str; 5] = [
    include_str!("../data/bgp-status.jsonl"),
    include_str!("../data/bgp-route.jsonl"),
    include_str!("../data/ike.jsonl"),
    include_str!("../data/route-server.jsonl"),
    include_str!("../data/envelopes.jsonl"),
];

/// One gzip member.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A sample line with some bytes replaced, inserted or cut.
pub(crate) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (
        any::<prop::sample::Index>(),
        0..4_u8,
        prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\ \n-0".to_vec())],
    );
    (0..SAMPLES.len(), any::<prop::sample::Index>(), prop::collection::vec(change, 0..8)).prop_map(
        |(file, line, changes)| {
            let lines: Vec<&str> = SAMPLES[file].lines().collect();
            let mut bytes = line.get(&lines).as_bytes().to_vec();
            bytes.truncate(6000);
            for (at, kind, byte) in changes {
                let at = at.index(bytes.len().max(1));
                match kind {
                    0 if at < bytes.len() => bytes[at] = byte,
                    1 if at < bytes.len() => drop(bytes.remove(at)),
                    2 => bytes.truncate(at),
                    _ => bytes.insert(at.min(bytes.len()), byte),
                }
            }
            bytes
        },
    )
}
