//! How `limits.memory` is divided among the parts of a pipeline, before anything starts. Pure.
//!
//! Each part has a least size, with which it works, and a good one; what the limit leaves above the least is shared out
//! in proportion. A pipeline whose least does not fit is an error of its file, which names what takes how much. Nothing
//! is given away beyond the good sizes: more memory would only make queues longer.
//!
//! `BASE` and a shard are what the program takes at rest; the others are bounds that the code keeps, with their
//! arithmetic.

use std::fmt;

use super::fetch;
use super::rooms::RoomSize;
use crate::config::types::{DeadLetters, Format, Pipeline, Sink};

const MIB: u64 = 1024 * 1024;

/// The program at rest: code, threads, clients and their connections, the checkpoint's cache, metrics.
const BASE_BYTES: u64 = 64 * MIB;

/// A thousand shards of 10 to 34 KB each (ARCHITECTURE.md, *Bounds*).
const SHARDS_BYTES: u64 = 32 * MIB;

/// 50,000 connections take 64 MiB, twice while a snapshot follows the last, and answers that are being read.
const EC2_BYTES: u64 = 160 * MIB;

/// A saved or simulated inventory: some thousand connections, twice.
const FILE_INVENTORY_BYTES: u64 = 16 * MIB;

/// What answers take at best: two of the largest size at a time.
pub(super) const FETCH_BYTES: u64 = 104 * MIB;

/// What is asked for before a piece is made: 4 MiB of one record, an event of 1 MiB, and a fifth for spare room of
/// its buffer and for what is known of each item.
pub(super) const ASK_BYTES: u64 = 6 * MIB;

/// What making a piece takes beside the inflated record, for each format: the buffer while it doubles.
const FORMAT_BYTES: u64 = 10 * MIB;

/// A dead letter of the largest record (10 MiB): base64, and the buffer that it is written to, while it doubles.
const LETTER_BYTES: u64 = 42 * MIB;

/// What such a letter takes in its room, beyond it.
const LETTER_HELD_BYTES: u64 = 17 * MIB;

/// What sinks hand over as dead letters in one call, with base64 and the object or line that it becomes.
const REJECTS_BYTES: u64 = 24 * MIB;

/// The least room of a sink: a piece, and some that wait while the next is made.
const LEAST_ROOM: u64 = 8 * MIB;

/// How much larger encoded events are than the inflated record, with the log line in them.
const EXPANSION: u64 = 3;

/// Slots that a plan has at most.
const MOST_SLOTS: usize = 8;

/// How many slots are worth having: one a core.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_SLOTS)
}

/// A part of the plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// What it is for, as a person reads it.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
}

/// What a sink may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkShare {
    /// Batches.
    pub room: RoomSize,
    /// What it makes of them: librdkafka's queue, open objects, requests.
    pub own_bytes: u64,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// `limits.memory`.
    pub limit_bytes: u64,
    /// What takes how much, for a person.
    pub parts: Vec<Part>,
    /// For answers of sources.
    pub fetch_bytes: u64,
    /// Records that are inflated at a time.
    pub slots: usize,
    /// By sink, in the order of the file; dead letters last.
    pub sinks: Vec<SinkShare>,
}

/// A pipeline that does not fit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortfall {
    /// The least that it takes.
    pub needed_bytes: u64,
    /// What takes how much.
    pub parts: Vec<Part>,
}

/// In MiB, rounded up: what a person compares and writes into the file.
pub(super) fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(MIB)
}

/// The parts, the largest first: `inflating 210, lake 96, …` in MiB.
pub(super) fn in_words(parts: &[Part]) -> String {
    let mut parts: Vec<&Part> = parts.iter().filter(|part| part.bytes > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let words: Vec<String> = parts.iter().map(|part| format!("{} {}", part.name, mib(part.bytes))).collect();
    words.join(", ")
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = mib(self.parts.iter().map(|part| part.bytes).sum());
        write!(f, "{sum} of {} MiB planned: {}", mib(self.limit_bytes), in_words(&self.parts))
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at least {} MiB are needed: {}", mib(self.needed_bytes), in_words(&self.parts))
    }
}

/// The least and the good size of something.
#[derive(Clone, Copy)]
struct Range {
    least: u64,
    good: u64,
}

impl Range {
    const fn fixed(bytes: u64) -> Range {
        Range { least: bytes, good: bytes }
    }

    /// At so many thousandths of the way from the least to the good one.
    fn at(self, per_mille: u64) -> u64 {
        self.least + (self.good - self.least) * per_mille / 1000
    }
}

/// What a sink asks for.
struct Wish {
    name: String,
    room: Range,
    /// It keeps whole records.
    keeps_records: bool,
    own: Range,
    is_letters: bool,
}

impl Wish {
    fn of(name: &str, sink: &Sink) -> Wish {
        let far = Range { least: LEAST_ROOM, good: 32 * MIB };
        let near = Range { least: LEAST_ROOM, good: 16 * MIB };
        let s3 = sink.s3.is_some();
        // One row group at a time is written.
        let rows = if sink.format.as_ref().is_some_and(Format::is_parquet) { 64 * MIB } else { 0 };
        let (room, own) = if sink.kafka.is_some() {
            // librdkafka's queue and its bookkeeping.
            (far, Range { least: 24 * MIB, good: 96 * MIB })
        } else if s3 {
            // Open objects, parts on their way, and their copies in requests.
            (far, Range { least: 40 * MIB + rows, good: 80 * MIB + rows })
        } else if sink.splunk_hec.is_some() {
            // A request on each of four channels, compressed too, and what waits for its acknowledgement.
            (far, Range::fixed(24 * MIB))
        } else if sink.firehose.is_some() {
            // Four requests: records, base64, the serializer's spare room.
            (near, Range::fixed(44 * MIB))
        } else {
            // A unit, compressed.
            (near, Range::fixed(8 * MIB))
        };
        Wish { name: name.to_owned(), room, keeps_records: s3, own, is_letters: false }
    }

    fn of_letters(letters: Option<&DeadLetters>) -> Wish {
        let s3 = letters.is_some_and(|letters| letters.s3.is_some());
        let own = if s3 { Range::fixed(40 * MIB) } else { Range::fixed(8 * MIB) };
        Wish { name: "dead letters".into(), room: Range::fixed(LEAST_ROOM), keeps_records: s3, own, is_letters: true }
    }

    fn share(&self, per_mille: u64) -> SinkShare {
        // What a dead letter holds is seen when it is made: that there is none costs the other sinks no room.
        let ask_bytes = if self.is_letters { MIB } else { ASK_BYTES };
        let room = RoomSize { bytes: self.room.at(per_mille), ask_bytes, keeps_records: self.keeps_records };
        SinkShare { room, own_bytes: self.own.at(per_mille) }
    }
}

/// In how many formats sinks keep whole records: of one format they share the buffers.
fn kept_formats(pipeline: &Pipeline) -> usize {
    let mut formats: Vec<&Option<Format>> = Vec::new();
    for sink in pipeline.sinks.values().filter(|sink| sink.s3.is_some()) {
        if !formats.contains(&&sink.format) {
            formats.push(&sink.format);
        }
    }
    formats.len()
}

/// Everything that a pipeline asks for.
struct Wishes {
    fixed: Vec<Part>,
    fetch: Range,
    slot_bytes: u64,
    sinks: Vec<Wish>,
}

impl Wishes {
    fn of(pipeline: &Pipeline) -> Wishes {
        let record = pipeline.limits.record.0;
        let mut sinks: Vec<Wish> = pipeline.sinks.iter().map(|(name, sink)| Wish::of(name, sink)).collect();
        sinks.push(Wish::of_letters(pipeline.dead_letters.as_ref()));
        let has_stream = pipeline.sources.values().any(|source| source.kinesis.is_some());
        let is_far = |sink: &Sink| sink.file.is_none() && sink.console.is_none();
        let enrich = &pipeline.enrich;
        let inventory = match (&enrich.ec2, &enrich.file, &enrich.simulated, &enrich.overlay) {
            (Some(_), ..) => EC2_BYTES,
            (None, None, None, None) => 0,
            _ => FILE_INVENTORY_BYTES,
        };
        let part = |name: &str, bytes: u64| Part { name: name.into(), bytes };
        let letters = pipeline.dead_letters.as_ref().is_some_and(|letters| letters.s3.is_some());
        let kept = EXPANSION * record * kept_formats(pipeline) as u64 + if letters { LETTER_HELD_BYTES } else { 0 };
        let fixed = vec![
            part("the program", BASE_BYTES),
            part("shards", if has_stream { SHARDS_BYTES } else { 0 }),
            part("the inventory", inventory),
            part("one large record", kept),
            part("rejected events", if pipeline.sinks.values().any(is_far) { REJECTS_BYTES } else { 0 }),
        ];
        let least = if has_stream { fetch::LEAST_BYTES } else { 0 };
        Wishes {
            fixed,
            fetch: Range { least, good: if has_stream { FETCH_BYTES } else { 0 } },
            slot_bytes: record + (FORMAT_BYTES * sinks.len() as u64).max(LETTER_BYTES) + LETTER_HELD_BYTES,
            sinks,
        }
    }

    fn parts(&self, slots: usize, per_mille: u64) -> Vec<Part> {
        let mut parts = self.fixed.clone();
        parts.push(Part { name: "answers".into(), bytes: self.fetch.at(per_mille) });
        parts.push(Part { name: "inflating".into(), bytes: self.slot_bytes * slots as u64 });
        for sink in &self.sinks {
            let bytes = sink.room.at(per_mille) + sink.own.at(per_mille);
            parts.push(Part { name: sink.name.clone(), bytes });
        }
        parts
    }

    fn sum(&self, slots: usize, per_mille: u64) -> u64 {
        self.parts(slots, per_mille).iter().map(|part| part.bytes).sum()
    }
}

impl Plan {
    /// Divides `limits.memory` of a pipeline; `cores` is how many slots are worth having.
    ///
    /// # Errors
    /// The least does not fit.
    pub fn new(pipeline: &Pipeline, cores: usize) -> Result<Plan, Shortfall> {
        let limit_bytes = pipeline.limits.memory.0;
        let wishes = Wishes::of(pipeline);
        let least = wishes.sum(1, 0);
        if least > limit_bytes {
            return Err(Shortfall { needed_bytes: least, parts: wishes.parts(1, 0) });
        }
        let slots = (1..=cores.clamp(1, MOST_SLOTS)).rev().find(|slots| wishes.sum(*slots, 0) <= limit_bytes);
        let slots = slots.unwrap_or(1);
        let per_mille = (0..=1000).rev().find(|share| wishes.sum(slots, *share) <= limit_bytes).unwrap_or(0);
        Ok(Plan {
            limit_bytes,
            parts: wishes.parts(slots, per_mille),
            fetch_bytes: wishes.fetch.at(per_mille),
            slots,
            sinks: wishes.sinks.iter().map(|sink| sink.share(per_mille)).collect(),
        })
    }

    /// For the machine that this runs on.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn here(pipeline: &Pipeline) -> Result<Plan, Shortfall> {
        Plan::new(pipeline, cores())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    fn pipeline(sinks: &str, limits: &str) -> Pipeline {
        let text = format!(
            "{{\"sources\": {{\"main\": {{\"kinesis\": {{\"stream\": \"s\"}}}}}}, \"sinks\": {{{sinks}}}, \"limits\": {limits}}}"
        );
        serde_json::from_str(&text).unwrap()
    }

    const KAFKA: &str = r#""siem": {"kafka": {"brokers": ["b:9092"], "topic": "t"}}"#;
    const LAKE: &str = r#""lake": {"s3": {"bucket": "b", "prefix": "p/"}}"#;

    fn sum(plan: &Plan) -> u64 {
        plan.parts.iter().map(|part| part.bytes).sum()
    }

    #[test]
    fn a_plan_never_exceeds_its_limit_and_grows_with_it() {
        let mut before = 0;
        let mut fits = 0;
        for mebibytes in (200..1400).step_by(20) {
            let pipeline = pipeline(&format!("{KAFKA}, {LAKE}"), &format!(r#"{{"memory": "{mebibytes}MiB"}}"#));
            let Ok(plan) = Plan::new(&pipeline, 2) else { continue };
            fits += 1;
            assert!(sum(&plan) <= plan.limit_bytes, "{plan}");
            assert!(sum(&plan) >= before, "{plan}");
            before = sum(&plan);
        }
        assert!(fits > 20, "{fits}");
    }

    #[test]
    fn what_does_not_fit_says_how_much_is_needed_and_that_much_fits() {
        let small = pipeline(LAKE, r#"{"memory": "100MiB"}"#);
        let short = Plan::new(&small, 4).unwrap_err();
        assert!(short.to_string().contains("lake"), "{short}");
        let needed = mib(short.needed_bytes);
        let plan = Plan::new(&pipeline(LAKE, &format!(r#"{{"memory": "{needed}MiB"}}"#)), 4).unwrap();
        assert_eq!(plan.slots, 1);
        assert!(Plan::new(&pipeline(LAKE, &format!(r#"{{"memory": "{}MiB"}}"#, needed - 1)), 4).is_err());
    }

    #[test]
    fn a_smaller_record_needs_less_memory() {
        let needed = |record: &str| {
            let limits = format!(r#"{{"memory": "1MiB", "record": "{record}"}}"#);
            Plan::new(&pipeline(LAKE, &limits), 2).unwrap_err().needed_bytes
        };
        assert_eq!(needed("64MiB") - needed("16MiB"), 48 * MIB * (1 + EXPANSION));
    }

    #[test]
    fn every_sink_can_always_hold_a_piece() {
        let plan = Plan::new(&pipeline(&format!("{KAFKA}, {LAKE}"), r#"{"memory": "1GiB"}"#), 2).unwrap();
        assert_eq!(plan.sinks.len(), 3, "dead letters too");
        for sink in &plan.sinks {
            assert!(sink.room.bytes >= sink.room.ask_bytes, "{sink:?}");
        }
        assert!(plan.sinks[0].room.keeps_records && !plan.sinks[1].room.keeps_records, "in the order of the file");
    }
}
