//! The pipeline: the only place that spawns tasks and makes channels.
//!
//! Built from the end: store, sinks, dispatcher, readers, sources. Every task gets its input channel and its
//! output channel as arguments and ends when its input does. The dispatcher's loop is the only one that
//! decides; it never waits for a sink or a reader, so nothing can wait in a circle.
//!
//! Bounds: what tasks send *to* the dispatcher goes through one bounded channel. What it sends to them is
//! bounded by its own rules (one grant a reader, one batch that is not admitted a lane, one commit), so
//! those channels need no second bound.

mod assemble;
mod outages;
mod parts;
mod reader;
mod sink;
mod spread;
mod tally;
mod tasks;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::assemble::{AssembleError, DEAD_LETTERS, Inputs, OpenStore, Progress, Unassembled, assemble, open_store};
use self::outages::Outages;
pub use self::parts::{Background, Ended, NamedSink, NamedSource, Parts, Report, RunError, StoreTask};
use self::reader::{Grant, ReaderTask};
use self::sink::{SinkTask, ToSink};
use self::spread::Helpers;
use self::tally::SourceTally;
pub use self::tally::Totals;
use self::tasks::{announce, beside, keep, load, store_ended, until, unused};
use crate::core::Core;
use crate::delivery::{
    Account, BatchId, Command, Dispatcher, Epoch, LaneId, LaneKey, LaneState, Options, ReadResult, ReaderId, Seal,
    Settlement, SinkId, SinkOptions,
};
use crate::enrich::Inventory;
use crate::memory::Memory;
use crate::source::{Reopen, ShardEvent, ShardId, Source};
use crate::telemetry::health::{self, Health};
use crate::telemetry::metrics::{CoreMetrics, SinkMetrics, lanes};

/// What is on its way to the dispatcher at most: some words a sink, a piece a reader.
const EVENTS: usize = 1024;

/// How often the dispatcher is told the time.
const TICK: Duration = Duration::from_millis(250);

/// What reaches the dispatcher.
#[derive(Debug)]
enum Happened {
    Shard(ShardEvent, Arc<str>),
    SourceDone,
    Read(ReadResult),
    /// Of a record that a reader has begun the rest is not there any more.
    RecordLost(ReaderId),
    Admitted {
        lane: LaneId,
        batch: BatchId,
    },
    Settled(Settlement),
    SealWanted {
        lane: LaneId,
        epoch: Epoch,
        seal: Seal,
    },
    Published {
        lane: LaneId,
        epoch: Epoch,
    },
    SinkDown {
        sink: SinkId,
        reason: String,
    },
    SinkUp(SinkId),
    SinkFailed {
        sink: SinkId,
        reason: String,
    },
    Committed,
    /// It answers, with nothing to commit.
    StoreUp,
    StoreDown(String),
    Failed(String),
}

/// Runs a pipeline until its sources end, or until `shutdown`, and closes its store.
pub async fn run(parts: Parts, shutdown: CancellationToken) -> Result<Report, RunError> {
    let grace = parts.shutdown_grace;
    let ended = run_and_keep(parts, shutdown).await?;
    match tokio::time::timeout(grace, ended.store).await {
        Ok(Ok(mut store)) => store.close().await,
        Ok(Err(error)) => return Err(store_ended(Some(error))),
        Err(_) => tracing::warn!("the last commit did not end in time; what is not remembered is read again"),
    }
    Ok(ended.report)
}

/// Runs a pipeline until its sources end, or until `shutdown`; its store is for who runs on.
pub async fn run_and_keep(mut parts: Parts, shutdown: CancellationToken) -> Result<Ended, RunError> {
    let Some(remembered) = load(&mut parts.store, &parts.health, &shutdown).await? else {
        // Nothing was read, so nothing is on its way.
        return Ok(Ended { report: Report::default(), store: unused(parts.store) });
    };
    let mut engine = Engine::start(parts, remembered);
    let outcome = engine.turn(shutdown).await;
    engine.stop(outcome).await
}

/// The running pipeline.
struct Engine {
    dispatcher: Dispatcher,
    inbox: mpsc::Receiver<Happened>,
    events: mpsc::Sender<Happened>,
    tasks: JoinSet<Result<(), String>>,
    readers: BTreeMap<ReaderId, mpsc::UnboundedSender<Grant>>,
    sinks: Vec<mpsc::UnboundedSender<ToSink>>,
    store: mpsc::Sender<Vec<(LaneKey, LaneState)>>,
    /// Never aborted: a commit that was cut off would leave in the dark what is remembered.
    store_task: StoreTask,
    sources: BTreeMap<Arc<str>, SourceParts>,
    core: Arc<Core>,
    inventory: Arc<Inventory>,
    memory: Memory,
    helpers: Arc<Helpers>,
    names: Vec<Arc<str>>,
    sink_metrics: Arc<[SinkMetrics]>,
    /// What the counters have of the accounts.
    counted: Vec<Account>,
    core_metrics: CoreMetrics,
    totals: Arc<Mutex<Totals>>,
    health: Health,
    interval: Duration,
    grace: Duration,
    last_commit: Instant,
    outages: Outages,
    /// Ends what runs beside it.
    ending: CancellationToken,
}

/// What a reader of a source needs.
struct SourceParts {
    reopen: Arc<dyn Reopen>,
    region: Option<Arc<str>>,
    tally: Arc<SourceTally>,
}

/// A channel whose bound is the dispatcher's own rules; see the module.
#[expect(clippy::disallowed_methods, reason = "bounded by the dispatcher's rules, and it must never wait")]
fn from_dispatcher<T>() -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
    mpsc::unbounded_channel()
}

impl Engine {
    fn start(parts: Parts, remembered: Vec<(LaneKey, LaneState)>) -> Engine {
        let (events, inbox) = mpsc::channel(EVENTS);
        let mut tasks = JoinSet::new();
        let (store, store_task) = keep(parts.store, events.clone());
        let names: Vec<Arc<str>> = parts.sinks.iter().map(|sink| Arc::clone(&sink.name)).collect();
        let sink_metrics: Arc<[SinkMetrics]> = names.iter().map(SinkMetrics::new).collect();
        let (mut sinks, mut sink_options) = (Vec::new(), Vec::new());
        for (index, NamedSink { name, sink, on_outage }) in parts.sinks.into_iter().enumerate() {
            sink_options.push(SinkOptions { name, on_outage });
            let (to_sink, from_dispatcher) = from_dispatcher();
            let (id, events) = (SinkId(index as u32), events.clone());
            tasks.spawn(SinkTask { id, sink, events, waiting: VecDeque::new() }.run(from_dispatcher));
            sinks.push(to_sink);
        }
        let options = Options {
            pipeline: parts.name,
            sinks: sink_options,
            open_records: parts.open_records,
            outage_after: parts.outage_after,
        };
        let dispatcher = Dispatcher::new(options, parts.sources.len(), remembered);
        let totals = Arc::new(Mutex::new(Totals::default()));
        let mut sources = BTreeMap::new();
        for NamedSource { name, source, region } in parts.sources {
            let tally = Arc::new(SourceTally::new(&name, Arc::clone(&sink_metrics), Arc::clone(&totals)));
            let reopen = reopen_of(source.as_ref(), &parts.memory);
            tasks.spawn(announce(Arc::clone(&name), source, Arc::clone(&tally), events.clone()));
            sources.insert(name, SourceParts { reopen, region, tally });
        }
        let ending = CancellationToken::new();
        let background = parts.background.into_iter();
        background.for_each(|part| drop(tasks.spawn(beside(part, Arc::clone(&parts.inventory), ending.clone()))));
        parts.health.set(health::STARTING, None);
        Engine {
            dispatcher,
            inbox,
            events,
            tasks,
            readers: BTreeMap::new(),
            sinks,
            store,
            store_task,
            sources,
            core: parts.core,
            inventory: parts.inventory,
            helpers: Helpers::of_runtime(&parts.memory.slots),
            memory: parts.memory,
            counted: vec![Account::default(); names.len()],
            names,
            sink_metrics,
            core_metrics: CoreMetrics::new(),
            totals,
            health: parts.health,
            interval: parts.checkpoint_interval,
            grace: parts.shutdown_grace,
            last_commit: Instant::now(),
            outages: Outages::new(),
            ending,
        }
    }

    /// Turns until everything is delivered, or drained after a shutdown. Whether it is everything.
    async fn turn(&mut self, shutdown: CancellationToken) -> Result<bool, RunError> {
        let abandonments = self.dispatcher.abandonments();
        let mut checkpoint = tokio::time::interval(self.interval);
        checkpoint.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let started = Instant::now();
        let mut deadline = None;
        loop {
            tokio::select! {
                // In order, so that a run can be repeated. What comes seldom stands before what may never pause: the
                // inbox comes last and starves nobody, and all others together leave it nearly every turn.
                biased;
                () = until(deadline) => return Ok(false),
                () = shutdown.cancelled(), if deadline.is_none() => {
                    self.dispatcher.drain();
                    deadline = Some(Instant::now() + self.grace);
                }
                _ = tick.tick() => self.tick(started.elapsed()),
                _ = checkpoint.tick() => {
                    self.dispatcher.checkpoint();
                    self.show();
                }
                () = abandonments.notified() => {
                    for (lane, epoch) in abandonments.take() {
                        self.dispatcher.abandoned(lane, epoch);
                    }
                }
                Some(ended) = self.tasks.join_next() => task_ended(ended)?,
                ended = &mut self.store_task => return Err(store_ended(ended.err())),
                Some(happened) = self.inbox.recv() => self.happened(happened)?,
            }
            self.execute();
            if self.dispatcher.is_finished() {
                return Ok(true);
            }
            if self.dispatcher.is_drained() {
                return Ok(false);
            }
        }
    }

    fn tick(&mut self, now: Duration) {
        self.dispatcher.wait_for_room(&self.memory.gate.waiting());
        self.dispatcher.tick(now);
        self.memory.gate.set_first(&self.dispatcher.first_readers());
    }

    fn happened(&mut self, happened: Happened) -> Result<(), RunError> {
        match happened {
            Happened::Shard(event, source) => {
                tracing::debug!(%source, ?event, "shard");
                self.shard(event);
            }
            Happened::SourceDone => self.dispatcher.source_done(),
            Happened::Read(result) => self.dispatcher.read(result),
            Happened::RecordLost(reader) => self.dispatcher.record_lost(reader),
            Happened::Admitted { lane, batch } => self.dispatcher.admitted(lane, batch),
            Happened::Settled(settlement) => self.dispatcher.settled(&settlement),
            Happened::SealWanted { lane, epoch, seal } => self.dispatcher.seal_wanted(lane, epoch, seal),
            Happened::Published { lane, epoch } => self.dispatcher.published(lane, epoch),
            Happened::SinkDown { sink, reason } => self.sink_down(sink, &reason),
            Happened::SinkUp(sink) => self.sink_up(sink),
            Happened::SinkFailed { sink, reason } => {
                return Err(RunError::Failed(format!("sink `{}`: {reason}", self.name_of(sink))));
            }
            Happened::Committed => {
                self.health.set("checkpoint", None);
                self.core_metrics.checkpoint_commits.increment(1);
                self.last_commit = Instant::now();
                self.dispatcher.committed();
            }
            Happened::StoreUp => self.health.set("checkpoint", None),
            Happened::StoreDown(reason) => {
                tracing::error!(reason, "the checkpoint cannot be written; nothing is acknowledged until it can");
                self.health.set("checkpoint", Some(&reason));
            }
            Happened::Failed(reason) => return Err(RunError::Failed(reason)),
        }
        Ok(())
    }

    fn shard(&mut self, event: ShardEvent) {
        let gone = if let ShardEvent::Gone(shard) = &event { Some(shard.clone()) } else { None };
        let unread = self.dispatcher.shard(event);
        if let Some((shard, source)) = gone.and_then(|shard| Some((shard.clone(), self.sources.get(&shard.source)?)))
            && unread > 0
        {
            source.tally.gap(&shard, None, "its retention has passed before it was read");
        }
    }

    fn name_of(&self, sink: SinkId) -> Arc<str> {
        self.names.get(sink.0 as usize).cloned().unwrap_or_default()
    }

    fn sink_down(&mut self, sink: SinkId, reason: &str) {
        let name = self.name_of(sink);
        tracing::error!(sink = %name, reason, "the sink takes nothing; what it misses waits in the source, nothing is lost");
        self.dispatcher.sink_down(sink);
        self.health.set(&format!("sink {name}"), Some(reason));
        if let Some(metrics) = self.sink_metrics.get(sink.0 as usize) {
            metrics.up.set(0.0);
        }
    }

    fn sink_up(&mut self, sink: SinkId) {
        let name = self.name_of(sink);
        tracing::info!(sink = %name, "the sink takes items again");
        self.dispatcher.sink_up(sink);
        self.health.set(&format!("sink {name}"), None);
        if let Some(metrics) = self.sink_metrics.get(sink.0 as usize) {
            metrics.up.set(1.0);
        }
    }

    /// Does what the dispatcher has decided.
    fn execute(&mut self) {
        while let Some(command) = self.dispatcher.next_command() {
            match command {
                Command::OpenReader { reader, shard, from, pause } => {
                    let (grants, inbox) = from_dispatcher();
                    self.readers.insert(reader, grants);
                    self.open_reader(reader, shard, from, pause, inbox);
                }
                Command::Read { reader, sinks, until } => {
                    self.memory.gate.asked(reader);
                    if let Some(grants) = self.readers.get(&reader) {
                        // A reader that has failed has said so: the run is about to end.
                        let _ = grants.send(Grant { sinks, until });
                    }
                }
                Command::Forgo { reader, sink } => self.memory.gate.forgo(reader, sink),
                Command::CloseReader(reader) => {
                    self.readers.remove(&reader);
                    self.memory.gate.asked(reader);
                    self.sources.values().for_each(|source| source.tally.works(Some(reader)));
                }
                Command::OpenLane { sink, lane, key, epoch, seal } => {
                    self.to_sink(sink, ToSink::Open { lane, key, epoch, seal });
                }
                Command::Submit { sink, batch } => self.to_sink(sink, ToSink::Submit(batch)),
                Command::Tell { sink, lane, epoch, what } => self.to_sink(sink, ToSink::Tell { lane, epoch, what }),
                Command::Commit(states) => {
                    // One commit at a time: there is room, unless the store's task has ended and said so.
                    let _ = self.store.try_send(states);
                }
            }
        }
    }

    fn to_sink(&self, sink: SinkId, word: ToSink) {
        if let Some(inbox) = self.sinks.get(sink.0 as usize) {
            // A sink's task that has ended is found by `join_next`, and ends the run.
            let _ = inbox.send(word);
        }
    }

    fn open_reader(
        &mut self,
        id: ReaderId,
        shard: ShardId,
        from: crate::source::StartAt,
        pause: Duration,
        grants: mpsc::UnboundedReceiver<Grant>,
    ) {
        let Some(source) = self.sources.get(&shard.source) else { return };
        let task = ReaderTask {
            id,
            from,
            pause,
            reopen: Arc::clone(&source.reopen),
            region: source.region.clone(),
            core: Arc::clone(&self.core),
            inventory: Arc::clone(&self.inventory),
            memory: self.memory.clone(),
            helpers: Arc::clone(&self.helpers),
            tally: Arc::clone(&source.tally),
            shard,
        };
        let events = self.events.clone();
        self.tasks.spawn(async move {
            task.run(grants, events).await;
            Ok(())
        });
    }

    /// Brings metrics and health up to date.
    fn show(&mut self) {
        self.health.heartbeat();
        let load = self.dispatcher.load();
        let parked: usize = load.parked.iter().sum();
        lanes("open").set((load.lanes - parked) as f64);
        lanes("parked").set(parked as f64);
        let retentions = self.sources.iter().filter_map(|(name, source)| Some((name, source.reopen.retention()?)));
        self.outages.show(&self.dispatcher, &self.names, &retentions.collect(), &self.sink_metrics, &self.health);
        for (name, source) in &self.sources {
            source.tally.overdue(false);
            self.health.set(&format!("source {name}"), source.tally.trouble().as_deref());
        }
        self.core_metrics.checkpoint_age_seconds.set(self.last_commit.elapsed().as_secs_f64());
        self.core_metrics.inventory_connections.set(self.inventory.snapshot().connections.len() as f64);
        self.core_metrics.inventory_age_seconds.set(self.inventory.age().as_secs_f64());
        self.show_memory();
        let accounts = self.sink_metrics.iter().zip(self.dispatcher.accounts()).zip(&mut self.counted);
        for (index, ((metrics, account), counted)) in accounts.enumerate() {
            metrics.open_records.set(load.open_records.get(index).copied().unwrap_or(0) as f64);
            // By difference: the run before this one has counted too.
            metrics.delivered.increment(account.settled.saturating_sub(counted.settled));
            metrics.rejected.increment(account.rejected.saturating_sub(counted.rejected));
            metrics.bytes.increment(account.bytes.saturating_sub(counted.bytes));
            metrics.filtered.increment(account.filtered.saturating_sub(counted.filtered));
            metrics.rewinds.increment(account.rewinds.saturating_sub(counted.rewinds));
            metrics.parks.increment(account.parks.saturating_sub(counted.parks));
            *counted = *account;
        }
    }

    fn show_memory(&self) {
        let Memory { fetch, gate, limit_bytes, .. } = &self.memory;
        if let Some(limit) = limit_bytes {
            self.core_metrics.memory_limit_bytes.set(*limit as f64);
        }
        self.core_metrics.memory_answers_bytes.set(fetch.used_bytes() as f64);
        self.core_metrics.memory_waits.increment(gate.take_waits());
        for ((metrics, room), held) in self.sink_metrics.iter().zip(gate.sizes()).zip(gate.used()) {
            metrics.room_bytes.set(room as f64);
            metrics.held_bytes.set(held as f64);
        }
    }

    /// Closes the sinks and says how it went.
    async fn stop(mut self, outcome: Result<bool, RunError>) -> Result<Ended, RunError> {
        self.show();
        self.sources.values().for_each(|source| source.tally.overdue(true));
        let report = Report {
            finished: outcome.as_ref().copied().unwrap_or(false),
            totals: self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            sinks: self.names.iter().cloned().zip(self.dispatcher.accounts().iter().copied()).collect(),
        };
        self.ending.cancel();
        outcome?;
        // Closing the channels ends readers, sinks and store; a source or a stuck call is aborted below.
        let Engine { readers, sinks, store, store_task, inbox, events, mut tasks, grace, .. } = self;
        drop((readers, sinks, store, inbox, events));
        let closed = tokio::time::timeout(grace, async {
            while let Some(ended) = tasks.join_next().await {
                task_ended(ended)?;
            }
            Ok(())
        });
        match closed.await {
            Ok(result) => result?,
            Err(_) => tracing::warn!("not everything could be closed in time; what is not remembered is read again"),
        }
        Ok(Ended { report, store: store_task })
    }
}

/// How readers of a source are opened, which take their memory from there.
fn reopen_of(source: &dyn Source, memory: &Memory) -> Arc<dyn Reopen> {
    let reopen = source.reopen();
    reopen.draw_on(&memory.fetch);
    reopen
}

fn task_ended(ended: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), RunError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(RunError::Failed(reason)),
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(RunError::Failed(format!("a task ended abnormally ({error}); please report this"))),
    }
}
