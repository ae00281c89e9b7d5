//! The source `kinesis` and `simulate --to kinesis:`, against ferrokinesis in this process, with a proxy of ours that
//! fails on demand between them, and against kinesis-local.
#![cfg(feature = "aws")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

#[path = "kinesis/bench.rs"]
mod bench;
#[path = "kinesis/fan_out.rs"]
mod fan_out;
#[path = "kinesis/faults.rs"]
mod faults;
#[path = "kinesis/frames.rs"]
mod frames;
#[path = "kinesis/model.rs"]
mod model;
#[path = "kinesis/pipeline.rs"]
mod pipeline;
#[path = "kinesis/proxy.rs"]
mod proxy;
#[path = "kinesis/served.rs"]
mod served;
#[path = "kinesis/shards.rs"]
mod shards;
#[path = "kinesis/simulate.rs"]
mod simulate;
#[path = "stack/mod.rs"]
mod stack;
mod support;
#[path = "kinesis/words.rs"]
mod words;
