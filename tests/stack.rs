//! The test stack itself: each part answers a real client, two do not disturb each other, and none outlives its owner.
#![cfg(feature = "kafka")]

#[path = "stack/mod.rs"]
mod stack;

#[test]
fn each_part_starts() {
    let begun = tokio::time::Instant::now();
    stack::moto();
    eprintln!("moto {:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    stack::kinesis().stream(2);
    eprintln!("kinesis {:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    stack::s3().bucket();
    eprintln!("s3 {:?}", begun.elapsed());
    let begun = tokio::time::Instant::now();
    let topic = stack::kafka().topic(2);
    eprintln!("kafka {:?} {topic}", begun.elapsed());
}
