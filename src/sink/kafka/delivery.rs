//! The sink itself: gives items to librdkafka in order, hears what became of them, settles.
//!
//! Everything waits in the struct, nothing across an await: `next` may be dropped at any point. Nothing is given to
//! librdkafka before `next` is called, so what is discarded before that was never sent.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::{Instant, sleep, sleep_until};

use super::client::{Producer, Report, Ticket, code_of};
use super::ledger::Ledger;
use super::message::{Parts, topic_of};
use super::reach::{drop_aside, reach};
use super::refusal::{Class, classify, detail, explain};
use super::settings::Settings;
use crate::backoff::Backoff;
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::encode::DeadLetter;
use crate::event::EventId;
use crate::sink::{Context, FromSink, Sink, Tell};

/// With no broker in reach and nothing delivered for this long the sink is down: longer than a broker that restarts
/// in good order is missed by its clients.
const DOWN_AFTER: Duration = Duration::from_secs(5);

/// Brokers in reach that take nothing for this long are down as well.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// How often batches that are not complete settle what they have, after somebody asked.
const PARTLY_EVERY: Duration = Duration::from_millis(10);

/// When a full librdkafka is asked again if no report comes before.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Dead letters that are kept at once, and their bytes: the bytes are copies.
const LETTERS: usize = 64;
const LETTER_BYTES: usize = 4 * 1024 * 1024;

/// Items that are sent alone until it is known which of them a broker refuses: no more than can be on the way.
const SUSPECTS: usize = super::settings::QUEUE_MESSAGES as usize;

/// Seeds the jitter of pauses; which seed does not matter.
const SEED: u64 = 8;

type Opening = Pin<Box<dyn Future<Output = Result<Producer, String>> + Send>>;
type Keeping = Pin<Box<dyn Future<Output = Vec<Ticket>> + Send>>;

enum Line {
    Up {
        producer: Producer,
        /// Messages that it was given.
        sent: u64,
        /// When something was delivered last, or when waiting for it began.
        since: Instant,
    },
    /// The old producer ends, and after a pause a new one begins.
    Opening(Opening),
    Closed,
}

impl Line {
    /// Messages that were given to librdkafka and not reported on.
    fn outstanding(&self) -> u64 {
        match self {
            Line::Up { producer, sent, .. } => sent.saturating_sub(producer.context().reported()),
            Line::Opening(_) | Line::Closed => 0,
        }
    }
}

/// See the module.
pub(super) struct Kafka {
    context: Context,
    settings: Arc<Settings>,
    line: Line,
    ledger: Ledger,
    lanes: HashMap<LaneId, LaneKey>,
    /// No batch before this number has unsent items.
    cursor: u64,
    parts: Parts,
    /// Refused together with others: sent alone, to find out which of them is meant.
    suspects: HashSet<EventId>,
    /// The suspect that is on the way, with nothing beside it.
    alone: Option<(Ticket, EventId)>,
    refused_items: VecDeque<(Ticket, Code)>,
    keeping: Option<Keeping>,
    outbox: VecDeque<FromSink>,
    refused_batch: bool,
    /// Somebody waits for settlements.
    eager: bool,
    partly_at: Option<Instant>,
    full_until: Option<Instant>,
    down: bool,
    /// A topic that failed: the next producer must reach it before anything is sent.
    wanted_topic: Option<String>,
    /// New producers since the last delivery.
    barren: u32,
    backoff: Backoff,
}

impl Kafka {
    pub(super) fn new(context: Context, settings: Arc<Settings>, producer: Producer) -> Kafka {
        Kafka {
            context,
            settings,
            line: Line::Up { producer, sent: 0, since: Instant::now() },
            ledger: Ledger::default(),
            lanes: HashMap::new(),
            cursor: 0,
            parts: Parts::default(),
            suspects: HashSet::new(),
            alone: None,
            refused_items: VecDeque::new(),
            keeping: None,
            outbox: VecDeque::new(),
            refused_batch: false,
            eager: false,
            partly_at: None,
            full_until: None,
            down: false,
            wanted_topic: None,
            barren: 0,
            backoff: Backoff::new(SEED),
        }
    }

    /// Hears what became of messages.
    fn collect(&mut self) {
        let Line::Up { producer, .. } = &self.line else { return };
        let ears = Arc::clone(producer.context());
        let mut failures = Vec::new();
        let mut delivered = false;
        for report in ears.take() {
            match report {
                Report::Delivered { batch, items } => {
                    delivered = true;
                    if let Some((ticket, id)) = self.alone
                        && ticket.batch == batch
                        && items.contains(&ticket.item)
                    {
                        self.alone = None;
                        self.suspects.remove(&id);
                    }
                    self.ledger.delivered(batch, items);
                }
                Report::Failed { ticket, code } => failures.push((ticket, code)),
            }
        }
        if delivered {
            ears.forget_trouble();
            self.has_delivered();
        }
        if !failures.is_empty() {
            self.failed(&failures);
        } else if ears.trouble().fatal {
            self.ended(ears.trouble().explain());
        }
    }

    fn has_delivered(&mut self) {
        let now = Instant::now();
        if let Line::Up { since, .. } = &mut self.line {
            *since = now;
        }
        self.barren = 0;
        self.backoff = Backoff::new(SEED);
        if self.eager {
            self.partly_at.get_or_insert(now + PARTLY_EVERY);
        }
        if std::mem::take(&mut self.down) {
            self.outbox.push_back(FromSink::Up);
        }
    }

    /// Messages failed. The producer has come to its end with them: none that follows them overtakes them.
    fn failed(&mut self, failures: &[(Ticket, Code)]) {
        let alone = self.alone.take();
        let (mut understood, mut too_large, mut trouble) = (false, false, None);
        for (ticket, code) in failures {
            match classify(*code) {
                Class::Reject(_) if alone.is_some_and(|(alone, _)| alone == *ticket) => {
                    understood = true;
                    if let Some((_, id)) = alone {
                        self.suspects.remove(&id);
                    }
                    // The broker answers as it should: no reason to wait before the next.
                    self.barren = 0;
                    self.backoff = Backoff::new(SEED);
                    self.refuse(*ticket, *code);
                }
                Class::Reject(reason) => {
                    too_large |= reason == "too_large";
                    understood |= self.suspect(*ticket);
                }
                Class::Retry if *code == Code::InvalidDifferentRecord => understood |= self.suspect(*ticket),
                Class::Retry => {
                    trouble.get_or_insert((*ticket, *code));
                }
                Class::Fatal => {}
            }
        }
        if too_large {
            Arc::make_mut(&mut self.settings).shrink_batches();
        }
        if let Some((ticket, code)) = trouble {
            let topic = self.topic_of(ticket);
            let text = explain(code, topic.as_deref().unwrap_or("?"), &self.settings.brokers);
            self.goes_down(text);
            self.renew(topic);
        } else if understood {
            self.renew(None);
        } else {
            let why = match &self.line {
                Line::Up { producer, .. } => {
                    producer.client().fatal_error().map(|(code, text)| format!("{code}: {text}"))
                }
                Line::Opening(_) | Line::Closed => None,
            };
            self.ended(why);
        }
    }

    /// The producer has come to its end. Once may happen; again without a delivery in between is worth a word.
    fn ended(&mut self, why: Option<String>) {
        let why = why.unwrap_or_else(|| "no reason given".into());
        let text = format!("librdkafka's producer came to its end ({why}); a new one sends again what is not settled");
        if self.barren > 0 {
            self.goes_down(text);
        } else {
            tracing::warn!(sink = %self.context.name, "{text}");
        }
        self.renew(None);
    }

    fn suspect(&mut self, ticket: Ticket) -> bool {
        let id = self.item_id(ticket);
        if let Some(id) = id
            && self.suspects.len() < SUSPECTS
        {
            self.suspects.insert(id);
        }
        id.is_some()
    }

    fn item_id(&self, ticket: Ticket) -> Option<EventId> {
        let held = self.ledger.get(ticket.batch)?;
        held.batch.encoded.items.get(ticket.item as usize).map(|item| item.id)
    }

    fn topic_of(&self, ticket: Ticket) -> Option<String> {
        let encoded = &self.ledger.get(ticket.batch)?.batch.encoded;
        let item = encoded.items.get(ticket.item as usize)?;
        Some(topic_of(&self.settings, item, encoded.records.get(item.record as usize)))
    }

    fn goes_down(&mut self, reason: String) {
        if !std::mem::replace(&mut self.down, true) {
            self.outbox.push_back(FromSink::Down(reason));
        }
    }

    /// Ends the producer and rewinds the lanes of which it has something; a new one begins after a pause, once `topic`
    /// can be reached.
    fn renew(&mut self, topic: Option<String>) {
        self.ledger.settle_delivered();
        for lane in self.ledger.lanes_on_the_way() {
            self.ledger.abandon(lane);
        }
        self.alone = None;
        self.cursor = 0;
        let pause = if self.barren == 0 { Duration::ZERO } else { self.backoff.next() };
        self.barren = self.barren.saturating_add(1);
        let old = match std::mem::replace(&mut self.line, Line::Closed) {
            Line::Up { producer, .. } => Some(producer),
            Line::Opening(_) | Line::Closed => None,
        };
        let settings = Arc::clone(&self.settings);
        self.wanted_topic = topic.or(self.wanted_topic.take());
        let topic = self.wanted_topic.clone().or_else(|| settings.topic.fixed().map(str::to_owned));
        self.line = Line::Opening(Box::pin(async move {
            if let Some(old) = old {
                drop_aside(old).await;
            }
            sleep(pause).await;
            reach(settings, topic).await.map(|(producer, _)| producer).map_err(|error| error.to_string())
        }));
    }

    fn opened(&mut self, outcome: Result<Producer, String>) {
        match outcome {
            Ok(producer) => {
                self.wanted_topic = None;
                self.line = Line::Up { producer, sent: 0, since: Instant::now() };
            }
            Err(reason) => {
                self.goes_down(reason);
                self.renew(None);
            }
        }
    }

    /// Gives librdkafka what it takes.
    fn produce(&mut self) {
        if self.full_until.is_some_and(|until| until <= Instant::now()) {
            self.full_until = None;
        }
        while self.alone.is_none() && self.full_until.is_none() {
            if !self.produce_one() {
                return;
            }
        }
    }

    /// The next item; false if there is none, or it has to wait.
    fn produce_one(&mut self) -> bool {
        let outstanding = self.line.outstanding();
        let Line::Up { producer, sent, since } = &mut self.line else { return false };
        let Some((number, held)) = self.ledger.unsent(self.cursor) else { return false };
        self.cursor = number;
        let index = held.next;
        let encoded = &held.batch.encoded;
        let Some(item) = encoded.items.get(index as usize).filter(|_| held.owns(index)) else {
            held.next += 1;
            return true;
        };
        let is_suspect = self.suspects.contains(&item.id);
        if is_suspect && outstanding > 0 {
            return false;
        }
        if outstanding == 0 {
            *since = Instant::now();
        }
        let ticket = Ticket { batch: number, item: index };
        self.parts.render(&self.settings, item, encoded.records.get(item.record as usize));
        let message = self.parts.message(&self.settings, item, encoded.bytes_of(index as usize), ticket);
        match producer.send(message) {
            Ok(()) => {
                *sent += 1;
                self.alone = is_suspect.then_some((ticket, item.id));
                held.next += 1;
                true
            }
            Err((error, _)) => {
                self.not_sent(ticket, code_of(&error));
                true
            }
        }
    }

    /// librdkafka does not take an item; nothing was sent of it.
    fn not_sent(&mut self, ticket: Ticket, code: Code) {
        if code == Code::QueueFull {
            self.full_until = Some(Instant::now() + FULL_PAUSE);
        } else if let Class::Reject(_) = classify(code) {
            if let Some((_, held)) = self.ledger.unsent(ticket.batch) {
                held.next += 1;
            }
            self.refuse(ticket, code);
        } else {
            self.failed(&[(ticket, code)]);
        }
    }

    fn refuse(&mut self, ticket: Ticket, code: Code) {
        if self.ledger.refuse(ticket.batch, ticket.item) {
            self.refused_items.push_back((ticket, code));
        }
    }

    /// Begins to keep dead letters.
    fn keep(&mut self) {
        if self.keeping.is_some() || self.refused_items.is_empty() {
            return;
        }
        let (mut letters, mut tickets, mut bytes) = (Vec::new(), Vec::new(), 0);
        while letters.len() < LETTERS
            && bytes < LETTER_BYTES
            && let Some((ticket, code)) = self.refused_items.pop_front()
        {
            if let Some(letter) = self.letter(ticket, code) {
                bytes += letter.data.len();
                letters.push(letter);
                tickets.push(ticket);
            }
        }
        let rejects = Arc::clone(&self.context.rejects);
        self.keeping = Some(Box::pin(async move {
            rejects.keep(&letters).await;
            tickets
        }));
    }

    fn letter(&self, ticket: Ticket, code: Code) -> Option<DeadLetter> {
        let batch = &self.ledger.get(ticket.batch)?.batch;
        let item = batch.encoded.items.get(ticket.item as usize)?;
        let record = batch.encoded.records.get(item.record as usize)?;
        let reason = match classify(code) {
            Class::Reject(reason) => reason,
            Class::Retry | Class::Fatal => "refused",
        };
        let detail = detail(code, &topic_of(&self.settings, item, Some(record)));
        let bytes = batch.encoded.bytes_of(ticket.item as usize);
        Some(DeadLetter::of_item(&self.context.name, self.lanes.get(&batch.lane)?, record, item, bytes, reason, detail))
    }

    /// Settles what is due, says what has changed.
    fn settle(&mut self) {
        if self.partly_at.is_some_and(|at| at <= Instant::now()) {
            self.partly_at = None;
            self.ledger.settle_delivered();
        }
        if self.ledger.is_empty() {
            self.eager = false;
        }
        self.outbox.extend(self.ledger.words.drain(..).map(FromSink::Settled));
        if self.refused_batch && self.ledger.has_room() {
            self.refused_batch = false;
            self.outbox.push_back(FromSink::Room);
        }
    }

    /// When waiting for a delivery has lasted too long.
    fn patience_ends(&self) -> Option<Instant> {
        let Line::Up { producer, since, .. } = &self.line else { return None };
        if self.down || self.line.outstanding() == 0 {
            return None;
        }
        let patience = if producer.context().trouble().all_down { DOWN_AFTER } else { STALLED_AFTER };
        Some(*since + patience)
    }

    fn watch(&mut self) {
        if self.patience_ends().is_none_or(|end| end > Instant::now()) {
            return;
        }
        let Line::Up { producer, .. } = &self.line else { return };
        let why = producer.context().trouble().explain();
        let why = why.unwrap_or_else(|| "they answer no error; see their logs and the in-sync replicas".into());
        self.goes_down(format!("brokers at {} take nothing: {why}", self.settings.brokers));
    }

    async fn wait(&mut self) {
        let times = [self.patience_ends(), self.partly_at, self.full_until];
        let deadline = times.into_iter().flatten().min();
        tokio::select! {
            opened = line_moves(&mut self.line) => {
                if let Some(outcome) = opened {
                    self.opened(outcome);
                }
            }
            tickets = kept(&mut self.keeping) => {
                self.keeping = None;
                for ticket in tickets {
                    self.ledger.rejected(ticket.batch, ticket.item);
                }
            }
            () = until(deadline) => {}
        }
    }
}

/// A report came, or a new producer is there.
async fn line_moves(line: &mut Line) -> Option<Result<Producer, String>> {
    match line {
        Line::Up { producer, .. } => {
            producer.context().heard.notified().await;
            None
        }
        Line::Opening(opening) => Some(opening.await),
        Line::Closed => pending().await,
    }
}

async fn kept(keeping: &mut Option<Keeping>) -> Vec<Ticket> {
    match keeping {
        Some(keeping) => keeping.await,
        None => pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

#[async_trait]
impl Sink for Kafka {
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, _: Option<Seal>) {
        self.lanes.insert(lane, key.clone());
        self.ledger.begin(lane, epoch);
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        if !self.ledger.has_room() {
            self.refused_batch = true;
            return Err(batch);
        }
        self.ledger.admit(batch);
        Ok(())
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        match what {
            Tell::Barrier | Tell::Hasten | Tell::Flush | Tell::Finish => {
                self.eager = true;
                self.partly_at = Some(Instant::now());
            }
            Tell::Discard => self.ledger.begin(lane, epoch),
            // Kafka asks for no seal.
            Tell::SealCommitted => {}
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            self.collect();
            self.watch();
            self.produce();
            self.keep();
            self.settle();
            if let Some(word) = self.outbox.pop_front() {
                return word;
            }
            self.wait().await;
        }
    }

    /// What is not settled by now comes again in the next run: there is nothing to wait for.
    async fn close(&mut self) -> Result<(), String> {
        if let Line::Up { producer, .. } = std::mem::replace(&mut self.line, Line::Closed) {
            drop_aside(producer).await;
        }
        Ok(())
    }
}
