//! Reads one shard, by asking or by subscription; one call in flight.
//!
//! The call under way, the subscription and every pause are kept in the reader, so that a `next` that is dropped loses
//! nothing and asks nothing twice. While there is nothing to hand out, `next` answers with no records every
//! [`QUIET`]: whoever waits for this reader sees that it lives.
//!
//! What an answer of GetRecords means is `polled`, what an event of a subscription means is `subscribed`, and what is
//! gone is `lost`. Polling is always possible, so whatever is wrong with a subscription, the reader polls until it
//! may subscribe again. Both go through the same `cursor`: nothing is missed or repeated when it changes from one to the
//! other.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::types::SubscribeToShardEvent;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::api::Begin;
use super::cursor::Cursor;
use super::lines::{Events, Line, Over};
use super::lost::{Fault, RECREATED, Standing};
use super::meter::Behind;
use super::pace::{CALL_GAP, Turn};
use super::{ShardPace, Stream, lock, lost};
use crate::aws::AwsError;
use crate::backoff::Backoff;
use crate::memory::{Call as Allowance, Hurry};
use crate::source::{Feed, Reader, ShardId, SourceError, StartAt};

/// `next` answers at least this often while it waits for its turn or for an event.
const QUIET: Duration = Duration::from_secs(1);

/// What the reader does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Get an iterator.
    Iterator,
    /// Get records with this iterator.
    Records(String),
    /// Subscribe with this consumer.
    Subscribe(Arc<str>),
    /// Take events.
    Events,
    /// Find out why the service does not know the shard or the position.
    Examine(Fault),
    /// Nothing.
    End,
}

pub(super) enum Answer {
    Iterator(Result<String, AwsError>),
    /// There is memory for an answer.
    Lent(Arc<Allowance>),
    Records(Box<Result<GetRecordsOutput, AwsError>>, Option<Arc<Allowance>>),
    Subscribed(Result<(Events, Arc<Client>), AwsError>),
    Event(Result<SubscribeToShardEvent, Over>),
    Examined(Fault, Result<Standing, String>),
}

type Call = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// See the module.
pub(super) struct ShardReader {
    pub stream: Arc<Stream>,
    pub shard: ShardId,
    pub number: u64,
    pub pace: Arc<ShardPace>,
    pub cursor: Cursor,
    pub step: Step,
    /// The service does not know the last position: the oldest record is next.
    pub astray: bool,
    call: Option<Call>,
    /// Whether its calls go before those of others.
    hurry: Hurry,
    /// The call under way is to wait for memory for an answer: nobody knows for how long.
    waits_for_memory: bool,
    /// Memory for the next answer, if it had to be waited for.
    lent: Option<Arc<Allowance>>,
    /// The subscription, while `step` is to take events.
    pub line: Option<Line>,
    /// The pause before the next call.
    pub not_before: Option<Instant>,
    /// What is to be handed out: an answer's records and what follows them, at most.
    pub feeds: VecDeque<Feed>,
    pub idle: Duration,
    pub throttle: Backoff,
    pub throttled: u32,
    pub renewed: u32,
    pub behind: Behind,
    /// About how large the shard's records are, as the last answer had them.
    pub record_bytes: Option<usize>,
    /// How many records the next call asks for.
    pub limit: i32,
    /// How often that number is halved, since answers do not arrive.
    pub halved: u32,
    /// Answers that have arrived since.
    pub arrived: u32,
    /// The pauses after subscriptions that failed, and when the next one may be tried.
    pub resubscribe: Backoff,
    pub subscribe_from: Instant,
    pub refused: u32,
}

impl ShardReader {
    pub(super) fn new(stream: Arc<Stream>, shard: &ShardId, from: StartAt) -> ShardReader {
        let number = stream.readers.fetch_add(1, Ordering::Relaxed);
        stream.open.fetch_add(1, Ordering::Relaxed);
        let pace = stream.pace(&shard.shard);
        let cursor = Cursor::new(from);
        lock(&pace).join(number, cursor.last());
        let mut reader = ShardReader {
            pace,
            cursor,
            step: Step::Iterator,
            astray: false,
            call: None,
            hurry: Hurry::default(),
            waits_for_memory: false,
            lent: None,
            line: None,
            not_before: None,
            feeds: VecDeque::new(),
            idle: CALL_GAP,
            throttle: Backoff::new(number),
            throttled: 0,
            renewed: 0,
            behind: Behind::default(),
            record_bytes: None,
            limit: 0,
            halved: 0,
            arrived: 0,
            resubscribe: Backoff::new(number),
            subscribe_from: Instant::now(),
            refused: 0,
            shard: shard.clone(),
            number,
            stream,
        };
        if reader.stream.seen().created != shard.stream_created {
            reader.give_up(RECREATED.into());
        }
        reader
    }

    /// A reader that polls, or is about to, subscribes as soon as it may.
    fn choose_way(&mut self, now: Instant) {
        let Some(fan_out) = &self.stream.fan_out else { return };
        if !matches!(self.step, Step::Iterator | Step::Records(_)) || self.astray || now < self.subscribe_from {
            return;
        }
        let Some(consumer) = fan_out.consumer() else { return };
        if !lock(&self.pace).sit(self.number, now) {
            return;
        }
        self.step = Step::Subscribe(consumer);
    }

    /// Waits for the pause to end, and for the reader's turn. `false`: not before `patience` ended.
    async fn rest(&mut self, patience: Instant) -> bool {
        loop {
            let now = Instant::now();
            let until = match self.not_before.filter(|at| *at > now) {
                Some(at) => at,
                None => match self.turn(now) {
                    Turn::Now(bytes) => {
                        self.not_before = None;
                        self.limit = self.limit_for(bytes);
                        return true;
                    }
                    Turn::At(at) => at,
                },
            };
            if now >= patience {
                return false;
            }
            sleep_until(until.min(patience)).await;
        }
    }

    fn turn(&mut self, now: Instant) -> Turn {
        self.choose_way(now);
        let mut pace = lock(&self.pace);
        match &self.step {
            Step::Iterator => pace.ask_iterator(now),
            Step::Records(_) => pace.ask(self.number, now),
            Step::Subscribe(_) => {
                pace.subscribes(now);
                Turn::Now(None)
            }
            Step::Events | Step::Examine(_) | Step::End => Turn::Now(None),
        }
    }

    fn make_call(&mut self) -> Option<Call> {
        let (stream, shard, lent) = (Arc::clone(&self.stream), self.shard.clone(), self.lent.take());
        match self.step.clone() {
            Step::Iterator => {
                let begin = self.cursor.begin(self.astray);
                Some(Box::pin(async move { Answer::Iterator(stream.api.iterator(&shard.shard, begin).await) }))
            }
            Step::Records(iterator) => {
                let fetch = stream.fetch.get().cloned();
                let lent = lent.or_else(|| fetch.as_ref()?.try_call(&self.hurry).map(Arc::new));
                match (fetch, lent) {
                    // What had to wait for memory has lost its turn: the calls of a second are counted when they are made.
                    (Some(fetch), None) => {
                        let hurry = Arc::clone(&self.hurry);
                        self.waits_for_memory = true;
                        Some(Box::pin(async move { Answer::Lent(Arc::new(fetch.call(&hurry).await)) }))
                    }
                    (_, lent) => {
                        let limit = self.limit;
                        Some(Box::pin(async move { get_records(&stream, &iterator, limit, lent).await }))
                    }
                }
            }
            Step::Subscribe(consumer) => {
                let begin = self.cursor.resume();
                Some(Box::pin(async move { subscribe(&stream, &consumer, &shard, begin).await }))
            }
            Step::Examine(fault) => {
                Some(Box::pin(async move { Answer::Examined(fault, lost::examine(&stream, &shard).await) }))
            }
            Step::Events | Step::End => None,
        }
    }

    fn heard(&mut self, answer: Answer) -> Result<(), SourceError> {
        match answer {
            Answer::Iterator(Ok(iterator)) => self.step = Step::Records(iterator),
            Answer::Iterator(Err(error)) => return self.no_iterator(error),
            Answer::Lent(lent) => self.lent = Some(lent),
            Answer::Records(answer, lent) => match *answer {
                Ok(answer) => return self.took_records(answer, lent.as_deref()),
                Err(error) => return self.no_records(error),
            },
            Answer::Subscribed(Ok((events, client))) => self.subscribed(events, client),
            Answer::Subscribed(Err(error)) => self.no_subscription(error),
            Answer::Event(Ok(event)) => return self.took_event(event),
            Answer::Event(Err(over)) => self.line_is_over(over),
            Answer::Examined(fault, standing) => return self.examined(fault, standing),
        }
        Ok(())
    }
}

/// The one place where GetRecords is called.
async fn get_records(stream: &Stream, iterator: &str, limit: i32, lent: Option<Arc<Allowance>>) -> Answer {
    let answer = stream.api.records(iterator, limit, lent.as_ref()).await;
    Answer::Records(Box::new(answer), lent)
}

/// The one place where an event is taken from a subscription. `None`: none has come yet.
async fn take_event(line: &mut Line, patience: Instant) -> Option<Answer> {
    timeout_at(patience, line.next()).await.ok().map(Answer::Event)
}

async fn subscribe(stream: &Stream, consumer: &str, shard: &ShardId, begin: Begin) -> Answer {
    let client = match &stream.fan_out {
        Some(fan_out) => fan_out.lines.client(&stream.api),
        None => Arc::new(stream.api.client()),
    };
    let events = stream.api.subscribe(&client, consumer, &shard.shard, begin).await;
    Answer::Subscribed(events.map(|events| (events, client)))
}

#[async_trait]
impl Reader for ShardReader {
    async fn next(&mut self) -> Result<Feed, SourceError> {
        let patience = Instant::now() + QUIET;
        loop {
            if let Some(feed) = self.feeds.pop_front() {
                return Ok(feed);
            }
            if let Some(line) = &mut self.line {
                // Events without records come several times a second.
                if let Some(event) = take_event(line, patience).await {
                    self.heard(event)?;
                }
                if self.feeds.is_empty() && Instant::now() >= patience {
                    return Ok(Feed::Records(Vec::new()));
                }
                continue;
            }
            if self.call.is_none() {
                if !self.rest(patience).await {
                    return Ok(Feed::Records(Vec::new()));
                }
                self.call = self.make_call();
            }
            let Some(call) = &mut self.call else { return Ok(Feed::ShardEnd) };
            let answer = if self.waits_for_memory {
                match timeout_at(patience, call).await {
                    Ok(answer) => answer,
                    Err(_) => return Ok(Feed::Records(Vec::new())),
                }
            } else {
                call.await
            };
            self.waits_for_memory = false;
            self.call = None;
            self.heard(answer)?;
        }
    }

    fn set_hurry(&mut self, on: bool) {
        if let Some(fetch) = self.stream.fetch.get() {
            fetch.set_hurry(&self.hurry, on);
        }
    }
}

impl Drop for ShardReader {
    fn drop(&mut self) {
        lock(&self.pace).leave(self.number);
        self.stream.meter.subscribed(self.number, false);
        self.stream.open.fetch_sub(1, Ordering::Relaxed);
        self.stream.meter.behind(&self.shard.shard, self.number, None);
    }
}
