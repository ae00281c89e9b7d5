//! One seed's story: the stream lives, processes come and go, faults end, and everything must come to the tip.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::chunks::Chunks;
use super::fan_out::CONSUMER;
use super::hand::Hand;
use super::loose::Loose;
use super::ordered::Ordered;
use super::plan::{Kind, Only, Plan, SinkPlan};
use super::service::{self, STREAM};
use super::store::ModelStore;
use super::watch::Watched;
use super::world::{BEGINNING_MS, Fate, Life, Process, Shared, World};
use crate::config::types::{Condition, Consumer, JsonOptions, Kinesis, Start};
use crate::core::{self, Core};
use crate::delivery::OnOutage;
use crate::encode::{Format, JsonFormat};
use crate::enrich::Inventory;
use crate::hooks::{Hooks, Mutant};
use crate::memory::{Fetch, Gate, Memory, RoomSize, Slots};
use crate::pipeline::{NamedSink, NamedSource, Parts, Report, RunError};
use crate::route::Filter;
use crate::sink::Sink;
use crate::source::kinesis;
use crate::telemetry::health::Health;

/// How long everything may take to come to the tip when faults have stopped: the longest pauses (30 s) several times,
/// and a shard that is read one record at a call.
const PATIENCE: Duration = Duration::from_secs(1_200);

/// How a seed ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<String>,
    /// Hash and number of the steps.
    pub(crate) trace: (u64, u64),
    /// The last steps.
    pub(crate) last: String,
    pub(crate) counts: std::collections::BTreeMap<&'static str, u64>,
}

/// Runs one seed to its end.
pub(crate) fn simulate(seed: u64, mutant: Option<Mutant>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread");
    runtime.block_on(async {
        let world = World::new(seed);
        let hooks = Hooks::set(mutant, world.plan.piece_bytes);
        hooks.clock(BEGINNING_MS);
        let world = Shared::new(world);
        let plan = format!("{:?}", world.lock().plan);
        world.lock().note(format_args!("seed {seed}: {plan}"));
        tell(&world).await;
        let world = world.lock();
        let failure = world.failure().map(str::to_owned);
        Outcome { failure, trace: world.hash(), last: world.last_steps(), counts: world.counts.clone() }
    })
}

/// Ends when everything is at the tip, or something is broken.
async fn tell(world: &Shared) {
    let failed = world.lock().failed();
    let mut tasks = JoinSet::new();
    tasks.spawn(live(world.clone()));
    tokio::select! {
        biased;
        () = failed.notified() => {}
        () = processes(world) => {}
    }
    tasks.abort_all();
}

// --- the stream ---

/// What is logged, and what happens to the stream, to the sinks' destinations and to the clock.
async fn live(world: Shared) {
    let ends = {
        let world = world.lock();
        Instant::now() + world.plan.faults_for
    };
    while Instant::now() < ends {
        let (pause, jump) = happens(&mut world.lock());
        if let Some(jump) = jump {
            world.lock().note(format_args!("the clock jumps by {} s", jump.as_secs()));
            tokio::time::advance(jump).await;
            return calm(world).await;
        }
        sleep(pause).await;
    }
    calm(world).await;
}

async fn calm(world: Shared) {
    loop {
        world.lock().late_arrivals();
        sleep(Duration::from_millis(500)).await;
    }
}

fn happens(world: &mut World) -> (Duration, Option<Duration>) {
    let now = world.now_ms();
    world.late_arrivals();
    let World { dice, plan, stream, .. } = world;
    for _ in 0..dice.below(4) {
        stream.produce(plan.streams, now, dice);
    }
    let reshard = plan.reshard;
    if dice.per_mille(12 * reshard / 1_000) && stream.open_shards().len() < 4 {
        let late = now + dice.below(4_000) as i64;
        if let Some(what) = stream.split(now, late, dice) {
            world.note(format_args!("{what} is split"));
            world.count("splits");
        }
    } else if dice.per_mille(12 * reshard / 1_000) {
        let late = now + dice.below(4_000) as i64;
        if let Some(what) = stream.merge(now, late) {
            world.note(format_args!("{what} are merged"));
            world.count("merges");
        }
    } else if reshard > 1_000 && dice.per_mille(3) && stream.is_there(now) {
        stream.recreate(plan.shards, now + 1_000 + dice.below(15_000) as i64);
        world.note("the stream is deleted and made again");
        world.count("streams made again");
    }
    if world.dice.per_mille(15 * world.plan.outage / 1_000) {
        let (sink, _) = world.plan.sinks[world.dice.index(world.plan.sinks.len())];
        let lasts =
            if world.dice.per_mille(300) { world.dice.millis(30_000, 90_000) } else { world.dice.millis(500, 12_000) };
        world.outage(sink, lasts);
        world.count("outages");
    }
    let jumps = world.dice.per_mille(4 * world.plan.jump / 1_000);
    let jump = jumps.then(|| Duration::from_secs([40, 400, 4_000, 90_000][world.dice.index(4)]));
    if jump.is_some() {
        world.count("clock jumps");
    }
    (world.dice.millis(30, 900), jump)
}

// --- the processes ---

/// One process after the other, until all lanes of the last one are at the tip.
#[expect(clippy::too_many_lines, reason = "what a process may come to, in one place")]
async fn processes(world: &Shared) {
    let ends = Instant::now() + world.lock().plan.faults_for;
    let mut runs = JoinSet::new();
    let mut sleeping: Vec<Arc<Process>> = Vec::new();
    for number in 0.. {
        let last = Instant::now() >= ends;
        let process = begin(world, number, last);
        if last {
            world.lock().faulty = false;
            world.lock().note("faults stop");
            sleeping.iter().for_each(|process| process.set(Life::Dead));
        }
        let shutdown = CancellationToken::new();
        let run = runs.spawn(run(world.clone(), Arc::clone(&process), shutdown.clone()));
        let (stops_after, wakes_after, forgetful) = {
            let mut world = world.lock();
            let stops = !last && world.plan.life > 0 && world.dice.per_mille(500);
            let after = world.dice.millis(500, 20_000);
            (stops.then_some(after), world.dice.millis(100, 15_000), world.dice.per_mille(300))
        };
        let mut stop = std::pin::pin!(async {
            match stops_after {
                Some(after) => sleep(after).await,
                None if last => at_the_tip(world, number).await,
                None => sleep_until(ends).await,
            }
        });
        let sleeper = loop {
            tokio::select! {
                biased;
                () = process.met.notified() => break !process.is_dead(),
                ended = next_end(&mut runs, number) => {
                    ended_well(world, number, ended, false);
                    break false;
                }
                () = &mut stop, if !shutdown.is_cancelled() => {
                    world.lock().note(format_args!("p{number} is asked to stop"));
                    shutdown.cancel();
                    // A person may not wait for it.
                    if forgetful && !last {
                        break false;
                    }
                }
            }
            if last && shutdown.is_cancelled() {
                let ended = timeout(PATIENCE, next_end(&mut runs, number)).await;
                ended_well(world, number, ended.unwrap_or_else(|_| Err("it does not stop".into())), true);
                return world.lock().check_end(number);
            }
        };
        if sleeper {
            world.lock().note(format_args!("p{number} falls asleep"));
            world.lock().count("sleepers");
            let process = Arc::clone(&process);
            sleeping.push(Arc::clone(&process));
            runs.spawn(async move {
                sleep(wakes_after).await;
                process.set(Life::Runs);
                (usize::MAX, Ok(Report::default()))
            });
        } else {
            world.lock().note(format_args!("p{number} is gone"));
            world.lock().count("processes");
            process.set(Life::Dead);
            run.abort();
        }
        let pause = world.lock().dice.millis(10, 2_000);
        sleep(pause).await;
    }
}

fn begin(world: &Shared, number: usize, last: bool) -> Arc<Process> {
    let mut world = world.lock();
    let World { plan, dice, .. } = &mut *world;
    let fate: Option<(u64, Fate)> = if last { None } else { plan.fate(dice) };
    let file = plan.sinks_of(number, dice);
    let told: Vec<String> =
        file.iter().map(|sink| format!("{} {:?} {}", sink.name, sink.only, sink.template)).collect();
    world.note(format_args!("p{number} starts with {told:?}, fate {fate:?}"));
    world.checker.files.insert(number, file);
    Process::new(number, fate)
}

type Ended = Result<Report, String>;

/// How a process ended; others that end meanwhile were fenced.
async fn next_end(runs: &mut JoinSet<(usize, Ended)>, number: usize) -> Ended {
    loop {
        match runs.join_next().await {
            Some(Ok((ended, outcome))) if ended == number => return outcome,
            Some(Ok(_)) => {}
            Some(Err(error)) if error.is_cancelled() => {}
            Some(Err(error)) => return Err(format!("a panic: {error}")),
            None => std::future::pending().await,
        }
    }
}

fn ended_well(world: &Shared, number: usize, ended: Ended, last: bool) {
    let mut world = world.lock();
    match ended {
        Ok(report) => {
            world.note(format_args!("p{number} ends in order"));
            world.count("orderly ends");
            for (sink, account) in &report.sinks {
                if last && account.submitted != account.settled + account.rejected + account.abandoned {
                    world.fail(format!("the account of `{sink}` does not add up: {account:?}"));
                }
            }
        }
        Err(reason) => {
            world.note(format_args!("p{number} fails: {reason}"));
            // Whoever starts it again does so; only the end must be quiet, and nothing may panic.
            if last || reason.contains("panic") || reason.contains("abnormally") {
                world.fail(format!("p{number} fails: {reason}"));
            }
        }
    }
}

/// Invariant 10: when faults stop, every lane reaches the tip.
async fn at_the_tip(world: &Shared, number: usize) {
    let patience = Instant::now() + PATIENCE;
    while let Some(behind) = { world.lock().behind(number) } {
        if Instant::now() > patience {
            world.lock().fail(format!("faults have stopped long ago, and {behind}"));
        }
        sleep(Duration::from_millis(700)).await;
    }
    world.lock().note("all lanes are at the tip");
}

/// The real thing: the Kinesis source over the SDK, the pipeline's tasks, the dispatcher; with model far ends.
async fn run(world: Shared, process: Arc<Process>, shutdown: CancellationToken) -> (usize, Ended) {
    let number = process.number;
    let parts = match parts(&world, &process).await {
        Ok(parts) => parts,
        Err(reason) => return (number, start_again(&world, reason)),
    };
    (number, crate::pipeline::run(parts, shutdown).await.map_err(|RunError::Failed(reason)| reason))
}

fn start_again(world: &Shared, reason: String) -> Ended {
    world.lock().count("starts that failed");
    Err(reason)
}

async fn parts(world: &Shared, process: &Arc<Process>) -> Result<Parts, String> {
    let (latest, fan_out) = {
        let world = world.lock();
        (world.plan.latest, world.plan.fan_out)
    };
    let start = if latest { Start::Latest } else { Start::TrimHorizon };
    let consumer = fan_out.then(|| Consumer { enhanced_fan_out: CONSUMER.into() });
    let config = Kinesis { stream: STREAM.into(), start, timestamp: None, consumer };
    let sdk = service::sdk(world, process);
    let source = kinesis::open("main", &config, &sdk).await.map_err(|error| error.to_string())?;
    let source = Watched { source: Box::new(source), world: world.clone(), process: Arc::clone(process) };
    let (files, open_records, interval) = {
        let world = world.lock();
        (world.checker.files[&process.number].clone(), world.plan.open_records, world.plan.interval)
    };
    let plans = files.iter().map(plan_of).collect();
    let (blocks, outage_after) = {
        let world = world.lock();
        (world.plan.blocks.clone(), world.plan.outage_after)
    };
    let sinks = files.iter().map(|file| {
        let on_outage = if blocks.contains(&file.name) { OnOutage::Block } else { OnOutage::Park };
        NamedSink { on_outage, ..NamedSink::new(file.name, sink_of(world, process, file)) }
    });
    let memory = memory_of(&files, &world.lock().plan);
    Ok(Parts {
        name: "model".into(),
        sources: vec![NamedSource { name: "main".into(), source: Box::new(source), region: None }],
        core: Arc::new(Core::new(1 << 20, plans)),
        inventory: Arc::new(Inventory::default()),
        sinks: sinks.collect(),
        store: Box::new(ModelStore::open(world, process)),
        checkpoint_interval: interval,
        open_records,
        outage_after,
        shutdown_grace: Duration::from_secs(25),
        memory,
        health: Health::new(),
        background: Vec::new(),
    })
}

fn memory_of(files: &[SinkPlan], plan: &Plan) -> Memory {
    let bytes = plan.room_bytes;
    let room =
        |file: &SinkPlan| RoomSize { bytes, ask_bytes: bytes.div_ceil(2), keeps_records: file.kind == Kind::Chunks };
    let rooms = files.iter().map(room).collect();
    let fetch = plan.fetch.map_or_else(|| Fetch::new(0), |sizes| Fetch::with_sizes(sizes, 0));
    Memory { fetch, gate: Gate::new(rooms), slots: Slots::new(1), limit_bytes: None }
}

fn plan_of(file: &SinkPlan) -> core::SinkPlan {
    use crate::event::Kind::{BgpSession, Ike};
    let format = match file.kind {
        Kind::Letters => Format::DeadLetter,
        _ => Format::Json(JsonFormat::new(&JsonOptions::default())),
    };
    let only = |kind| Filter::compile(Some(&Condition { kind: vec![kind], ..Condition::default() }), None);
    let filter = match file.only {
        Only::All => Filter::default(),
        Only::Ike => only(Ike),
        Only::Bgp => only(BgpSession),
    };
    core::SinkPlan { format, filter }
}

fn sink_of(world: &Shared, process: &Arc<Process>, file: &SinkPlan) -> Box<dyn Sink> {
    let hand = Hand::new(world, process, file.name);
    match file.kind {
        Kind::Any | Kind::Letters => Box::new(Loose::new(hand)),
        Kind::Ordered => Box::new(Ordered::new(hand)),
        Kind::Chunks => Box::new(Chunks::new(hand, file.template)),
    }
}
