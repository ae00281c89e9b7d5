//! No bytes make the core panic: arbitrary bytes, and samples with bytes changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

mod damage;

use damage::{gzip, mutated};
use proptest::prelude::*;
use tunnelog::decode::envelope::{Cursor, Envelope};
use tunnelog::decode::inflate::inflate;
use tunnelog::decode::recognize::{Identity, Item, Recognizer};
use tunnelog::decode::{LogEvent, LogStream};
use tunnelog::normalize::stream::StreamIdentity;
use tunnelog::normalize::{id, normalize};

/// Small, so that the cap is reached now and then.
const MAX_BYTES: usize = 4096;

/// The whole core on one log line; the event must be writable and keep the line.
fn normalize_one(log: &LogEvent<'_>, stream: &LogStream<'_>) {
    let mut summary = String::new();
    let identity = StreamIdentity::parse(&stream.stream);
    let id = id::of_log(stream, log);
    let event = normalize(log, stream, &identity, None, id, &mut summary);
    assert_eq!(event.raw, Some(&*log.message));
    assert!(!event.summary.chars().any(char::is_control), "{}", event.summary);
    serde_json::to_string(&event).unwrap();
}

fn decode(data: &[u8]) {
    let mut buffer = Vec::new();
    let plain = inflate(data, MAX_BYTES, &mut buffer);
    match plain.and_then(Envelope::parse) {
        Ok(envelope) => {
            for log in envelope.events(Cursor::default()) {
                normalize_one(&log, &envelope.stream);
            }
        }
        Err(error) => assert!(!error.reason().is_empty() && !error.to_string().is_empty()),
    }
    assert!(buffer.capacity() <= MAX_BYTES + 1);
}

fn recognize(data: &[u8]) {
    let mut recognizer = Recognizer::with_cap(data, Identity::default(), MAX_BYTES);
    let mut number = 0;
    while let Some(item) = recognizer.next().unwrap() {
        let found = match &item {
            Item::Record(record) => {
                decode(&record.data);
                record.number
            }
            Item::Unreadable(unreadable) => unreadable.number,
        };
        assert_eq!(found, number);
        number += 1;
        assert!(number < 10_000, "it must come to an end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        decode(&data);
        decode(&gzip(&data));
        recognize(&data);
        recognize(&[&[0x1f, 0x8b, 8, 0][..], &data].concat());
    }

    #[test]
    fn arbitrary_lines_and_names_never_panic(message in any::<String>(), name in any::<String>(), rest in "[-_./a-f0-9:IKEBGP]{0,60}") {
        for stream in [name, format!("vpn-0a1b2c3d{rest}")] {
            let log = LogEvent { message: message.as_str().into(), ..LogEvent::default() };
            normalize_one(&log, &LogStream { stream: stream.into(), ..LogStream::default() });
        }
    }

    #[test]
    fn changed_samples_never_panic(data in mutated(), more in mutated(), cut in any::<prop::sample::Index>()) {
        decode(&data);
        recognize(&data);
        let packed = gzip(&data);
        let cut = &packed[..cut.index(packed.len())];
        decode(cut);
        recognize(&[cut, &gzip(&more), b"\n", &more].concat());
        if let Ok(message) = String::from_utf8(data) {
            normalize_one(&LogEvent { message: message.into(), ..LogEvent::default() }, &LogStream::default());
        }
    }
}
