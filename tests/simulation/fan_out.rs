//! The model Kinesis's enhanced fan-out: the consumer, and the subscriptions to shards.
//!
//! A consumer has one subscription a shard: another one within five seconds is refused, a later one takes its place. It
//! ends after five minutes, or as its fate has it: with an error among its events, in silence, in the middle of a frame,
//! early. How a shard's end is told is the seed's choice ([`Ends`]): AWS's way, or those of emulators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::frames::{self, Sender};
use super::plan::Ends;
use super::service::{ARN, IN_USE, INVALID, LIMIT, MISSING, Refusal, Service, begin, children, page};
use super::stream::sequence;
use super::world::{Process, Shared, World};

/// The consumer's name in the pipeline file.
pub(super) const CONSUMER: &str = "tunnelog";

/// A second subscription within this time is refused.
pub(super) const TOO_SOON_MS: i64 = 5_000;

/// How long a subscription lives.
const LIFE_MS: i64 = 300_000;

/// The consumer, and who is subscribed.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Of the stream that was created then: when it was registered, and from when on it is active.
    consumer: Option<(i64, i64, i64)>,
    /// By shard: the number of its subscription, and when that began.
    seats: BTreeMap<usize, (u64, i64)>,
}

/// What becomes of a subscription after a while.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Error(&'static str),
    Silence,
    Break,
    End,
}

/// What the service may say in the middle of a stream.
const ERRORS: [&str; 4] =
    ["InternalFailureException", "ResourceInUseException", "KMSThrottlingException", "ResourceNotFoundException"];

pub(super) fn describe_consumer(world: &World, now: i64) -> Result<Value, Refusal> {
    let (made, active_at) = consumer(world).ok_or(MISSING)?;
    Ok(json!({"ConsumerDescription": {
        "ConsumerName": CONSUMER, "ConsumerARN": arn(made), "StreamARN": ARN,
        "ConsumerStatus": if now < active_at { "CREATING" } else { "ACTIVE" },
        "ConsumerCreationTimestamp": made as f64 / 1_000.0,
    }}))
}

pub(super) fn register_consumer(world: &mut World, now: i64) -> Result<Value, Refusal> {
    if consumer(world).is_some() {
        return Err(IN_USE);
    }
    let active_at = now + world.dice.below(3_000) as i64;
    world.fan_out.consumer = Some((world.stream.created, now, active_at));
    Ok(json!({"Consumer": {"ConsumerName": CONSUMER, "ConsumerARN": arn(now), "ConsumerStatus": "CREATING",
        "ConsumerCreationTimestamp": now as f64 / 1_000.0}}))
}

/// A consumer goes with its stream.
fn consumer(world: &World) -> Option<(i64, i64)> {
    let (created, made, active_at) = world.fan_out.consumer?;
    (created == world.stream.created).then_some((made, active_at))
}

fn arn(made: i64) -> String {
    format!("{ARN}/consumer/{CONSUMER}:{made}")
}

/// Accepts a subscription, or refuses it.
pub(super) fn subscribe(service: &Service, world: &mut World, body: &Value, now: i64) -> Result<SdkBody, Refusal> {
    let (made, active_at) = consumer(world).ok_or(MISSING)?;
    if body["ConsumerARN"] != arn(made) {
        return Err(MISSING);
    }
    let bad = world.plan.service;
    if now < active_at || world.fault("subscription refused", 40 * bad / 1_000) {
        return Err(if world.dice.per_mille(500) { IN_USE } else { LIMIT });
    }
    let created = world.stream.created.to_string();
    let shard = world.stream.shard_named(&created, body["ShardId"].as_str().unwrap_or_default()).ok_or(MISSING)?;
    let position = &body["StartingPosition"];
    let kind = position["Type"].as_str().ok_or(INVALID)?;
    let from = begin(world, shard, kind, &position["SequenceNumber"], &position["Timestamp"], now)?;
    let seat = world.fan_out.seats.entry(shard).or_insert((0, i64::MIN / 2));
    if now - seat.1 < TOO_SOON_MS {
        world.count("subscriptions too soon");
        return Err(IN_USE);
    }
    *seat = (seat.0 + 1, now);
    let number = seat.0;
    world.count("subscriptions");
    let fate = fate(world);
    let process = Arc::clone(&service.process);
    world.note(format_args!("p{} subscribes to shard {shard} from {from}, fate {fate:?}", process.number));
    let (sender, body) = frames::stream();
    let subscription = Subscription { world: service.world.clone(), process, shard, number, from, begun_ms: now, fate };
    service.spawn(async move { subscription.serve(sender).await });
    Ok(body)
}

/// What, and after how many milliseconds: a reader that may not subscribe again yet polls, a later one subscribes.
fn fate(world: &mut World) -> Option<(i64, Fate)> {
    let bad = world.plan.service;
    if !world.fault("subscription fails", 600 * bad / 1_000) {
        return None;
    }
    let after = world.dice.below(14_000) as i64;
    let fate = match world.dice.below(4) {
        0 => Fate::Error(ERRORS[world.dice.index(ERRORS.len())]),
        1 => Fate::Silence,
        2 => Fate::Break,
        _ => Fate::End,
    };
    Some((after, fate))
}

/// One subscription as the service has it.
struct Subscription {
    world: Shared,
    process: Arc<Process>,
    shard: usize,
    number: u64,
    from: u64,
    begun_ms: i64,
    fate: Option<(i64, Fate)>,
}

impl Subscription {
    /// Ends with the stream: the sender goes.
    async fn serve(mut self, sender: Sender) -> Option<()> {
        sender.send(Ok(frames::initial())).await.ok()?;
        loop {
            // What is sent to a process that is dead or asleep stays on its way.
            self.process.gate().await;
            let lasting = self.world.lock().now_ms() - self.begun_ms;
            match self.fate.filter(|(after, _)| *after <= lasting) {
                Some((_, Fate::Error(code))) => return sender.send(Ok(frames::exception(code))).await.ok(),
                Some((_, Fate::Break)) => return frames::break_off(&sender).await,
                Some((_, Fate::End)) => return None,
                Some((_, Fate::Silence)) => {
                    sender.closed().await;
                    return None;
                }
                None => {}
            }
            let (event, is_last, pause) = self.event()?;
            sender.send(Ok(frames::event(&event))).await.ok()?;
            if is_last {
                return None;
            }
            sleep(pause).await;
        }
    }

    /// The next event, whether it is the last, and the time to the one after it. `None`: it is over.
    fn event(&mut self) -> Option<(Value, bool, Duration)> {
        let mut world = self.world.lock();
        let now = world.now_ms();
        let seat = world.fan_out.seats.get(&self.shard).map(|seat| seat.0);
        let is_there = world.stream.is_there(now) && world.stream.shard_is_there(self.shard, now);
        if seat != Some(self.number) || !is_there || now - self.begun_ms >= LIFE_MS {
            return None;
        }
        let (bad, ends, most) = (world.plan.service, world.plan.ends, world.plan.answer_records);
        // Where children are named early, an event without records is the end.
        let hidden = ends != Ends::Early && world.fault("empty event", 80 * bad / 1_000);
        // Few at a time, so that some are often left when it ends or the shard is closed.
        let wanted = if hidden { 0 } else { 1 + world.dice.index(most.min(2)) };
        let page = page(&world.stream, self.shard, self.from, wanted, usize::MAX, now);
        let shard = &world.stream.shards[self.shard];
        let (is_closed, first) = (shard.closed.is_some(), shard.first_sequence);
        self.from = page.next;
        let is_last = page.ended && ends == Ends::Told;
        let mut event = json!({"Records": page.records, "MillisBehindLatest": page.behind_ms});
        if is_last || (is_closed && ends == Ends::Early) {
            event["ChildShards"] = children(&world.stream, self.shard);
        }
        if !is_last {
            // As far as it has looked: the last record of the event, or the first number that the next one may have.
            let next = match page.upcoming {
                Some(next) => next,
                None if is_closed => page.next,
                None => page.next.max(world.stream.next_sequence() + 1),
            };
            let next = next.max(first);
            let back = !page.records.is_empty() && world.dice.per_mille(500);
            event["ContinuationSequenceNumber"] = sequence(if back { page.next - 1 } else { next }).into();
        }
        if !page.records.is_empty() || is_last {
            let (records, end) = (page.records.len(), if is_last { " and the end" } else { "" });
            let number = self.process.number;
            world.note(format_args!("p{number} event of shard {}: {records} records{end}", self.shard));
            world.count("events of subscriptions");
        }
        let pause = if page.upcoming.is_some() { world.dice.millis(20, 300) } else { world.dice.millis(300, 4_000) };
        Some((event, is_last, pause))
    }
}
