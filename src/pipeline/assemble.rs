//! From a pipeline file to the parts of a running pipeline: opens what it names, starts nothing.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Background, NamedSink, NamedSource, Parts};
use crate::checkpoint::{CheckpointStore, Location, ManagedStore, OpenError, Patience, RedbStore, StoreName};
use crate::config::Loaded;
use crate::config::types::{self, FormatName, Identity};
use crate::core::{Core, SinkPlan};
use crate::delivery::OnOutage;
use crate::encode::Format;
#[cfg(feature = "aws")]
use crate::enrich::ec2::{Context as Ec2Context, Ec2Inventory};
use crate::enrich::file::FileInventory;
use crate::enrich::overlay::Overlay;
use crate::enrich::{Answers, Inventory, Snapshot, join};
use crate::memory::{Memory, Plan};
use crate::route::Filter;
#[cfg(any(feature = "aws", feature = "splunk"))]
use crate::sink::ConnectError;
#[cfg(feature = "aws")]
use crate::sink::rejects::S3Rejects;
use crate::sink::rejects::{FileRejects, SharedRejects};
use crate::sink::{Context, Sink, console, file};
use crate::source::replay::{OnRead, ReplaySource};
use crate::source::simulate::{Fleet, SimulateSource};
use crate::source::{Source, SourceError};
use crate::telemetry::health::Health;

/// The name of the sink that dead letters go to: a name that no sink of a pipeline file can have.
pub const DEAD_LETTERS: &str = "dead letters";

/// Why a pipeline cannot start; the text says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AssembleError(pub String);

/// Is told how many bytes of the inputs were read.
pub type Progress = OnRead;

/// Where records come from.
#[derive(Clone)]
pub enum Inputs {
    /// The file's own sources.
    Configured,
    /// These files in place of the sources, with a checkpoint of their own.
    Files {
        /// Files and folders.
        inputs: Vec<PathBuf>,
        /// What bare lines do not carry.
        identity: Identity,
        /// Is told of every byte that is read.
        progress: Option<Progress>,
    },
}

impl Inputs {
    /// The checkpoint: a replay has one of its own and never touches the live one.
    pub fn checkpoint(&self, loaded: &Loaded) -> Location {
        Location::of(loaded, matches!(self, Inputs::Files { .. }))
    }
}

/// A checkpoint store that this process has to itself.
pub struct OpenStore {
    /// The store.
    pub store: Box<dyn CheckpointStore>,
    /// Its name, which destinations may be marked with.
    pub name: StoreName,
}

/// A pipeline that cannot start. The store is as it was.
pub struct Unassembled {
    /// Why.
    pub error: AssembleError,
    /// The store.
    pub store: OpenStore,
}

/// What another process may take beyond its `shutdown_grace` to let go of the checkpoint.
const HANDING_OVER: Duration = Duration::from_secs(5);

/// The pause after a try to keep the store has failed.
const KEEP_PAUSE: Duration = Duration::from_secs(2);

/// The pause between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// Opens the checkpoint, which says whether another process runs. That one may be about to stop (a rolling restart),
/// so it gets the time that it has for it before it is an error.
pub async fn open_store(loaded: &Loaded, inputs: &Inputs) -> Result<OpenStore, AssembleError> {
    let location = inputs.checkpoint(loaded);
    if let Location::File(path) = &location {
        let patience = loaded.pipeline.limits.shutdown_grace.0 + HANDING_OVER;
        let store = wait_for_file(path, patience).await?;
        return Ok(OpenStore { name: store.name().clone(), store: Box::new(store) });
    }
    let store = location.open(Patience::Wait).await.map_err(AssembleError)?;
    Ok(OpenStore { name: store.name().clone(), store })
}

async fn wait_for_file(path: &Path, patience: Duration) -> Result<RedbStore, AssembleError> {
    let start = Instant::now();
    let mut said = false;
    loop {
        match RedbStore::open(path) {
            Ok(store) => return Ok(store),
            Err(OpenError::InUse { .. }) if start.elapsed() < patience => {}
            Err(error) => return Err(fail(error)),
        }
        if !std::mem::replace(&mut said, true) {
            let checkpoint = path.display();
            tracing::info!(%checkpoint, ?patience, "another process has the checkpoint; waiting for it to stop");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Opens everything else that the pipeline file names.
pub async fn assemble(
    loaded: &Loaded,
    inputs: &Inputs,
    health: Health,
    store: OpenStore,
) -> Result<Parts, Box<Unassembled>> {
    let OpenStore { mut store, name } = store;
    let opened = {
        let mut opening = pin!(open(loaded, inputs, &name, &health));
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => break opened,
                // Whoever has lost the store finds out when it is next used.
                kept = store.keep() => if let Err(reason) = kept {
                    tracing::warn!(%reason, "the checkpoint does not answer while the pipeline is opened");
                    tokio::time::sleep(KEEP_PAUSE).await;
                },
            }
        }
    };
    match opened {
        Ok(open) => Ok(open.with(loaded, health, store)),
        Err(error) => Err(Box::new(Unassembled { error, store: OpenStore { store, name } })),
    }
}

/// What a pipeline file names, open.
struct Open {
    sources: Vec<NamedSource>,
    plans: Vec<SinkPlan>,
    sinks: Vec<NamedSink>,
    snapshot: Snapshot,
    background: Option<Background>,
    memory: Plan,
}

async fn open(loaded: &Loaded, inputs: &Inputs, store: &StoreName, health: &Health) -> Result<Open, AssembleError> {
    let memory = Plan::here(&loaded.pipeline).map_err(|error| AssembleError(format!("`limits.memory`: {error}")))?;
    let (snapshot, background) = inventory(loaded).await?;
    let rejects = rejects(loaded, health).await?;
    let (plans, sinks) = sinks(loaded, inputs, store, &rejects, &memory).await?;
    Ok(Open { sources: sources(loaded, inputs).await?, plans, sinks, snapshot, background, memory })
}

impl Open {
    fn with(self, loaded: &Loaded, health: Health, store: Box<dyn CheckpointStore>) -> Parts {
        let limits = &loaded.pipeline.limits;
        let max_record_bytes = usize::try_from(limits.record.0).unwrap_or(usize::MAX);
        let names = self.sinks.iter().map(|sink| Arc::clone(&sink.name)).collect();
        Parts {
            name: loaded.name.as_str().into(),
            sources: self.sources,
            core: Arc::new(Core::new(max_record_bytes, self.plans).with_names(names)),
            inventory: Arc::new(Inventory::new(self.snapshot)),
            sinks: self.sinks,
            store,
            checkpoint_interval: loaded.pipeline.checkpoint.interval.0,
            open_records: limits.open_records as usize,
            outage_after: limits.outage_after.0,
            shutdown_grace: limits.shutdown_grace.0,
            memory: Memory::new(&self.memory),
            health,
            background: self.background.into_iter().collect(),
        }
    }
}

fn fail(error: impl std::fmt::Display) -> AssembleError {
    AssembleError(error.to_string())
}

async fn sources(loaded: &Loaded, inputs: &Inputs) -> Result<Vec<NamedSource>, AssembleError> {
    if let Inputs::Files { inputs, identity, progress } = inputs {
        let mut source = ReplaySource::new("replay", inputs, identity).map_err(fail)?;
        if let Some(progress) = progress {
            source = source.with_progress(Arc::clone(progress));
        }
        let region = loaded.pipeline.sources.values().find_map(|source| source.region.as_deref()).map(Arc::from);
        return Ok(vec![NamedSource { name: "replay".into(), source: Box::new(source), region }]);
    }
    let mut sources = Vec::new();
    for (name, config) in &loaded.pipeline.sources {
        let source = source(loaded, name, config).await;
        let source = source.map_err(|error| AssembleError(format!("source `{name}`: {error}")))?;
        sources.push(NamedSource {
            name: name.as_str().into(),
            source,
            region: config.region.as_deref().map(Arc::from),
        });
    }
    Ok(sources)
}

async fn source(loaded: &Loaded, name: &str, config: &types::Source) -> Result<Box<dyn Source>, SourceError> {
    if let Some(simulate) = &config.simulate {
        return Ok(Box::new(SimulateSource::new(name, simulate)?));
    }
    if let Some(replay) = &config.replay {
        return Ok(Box::new(ReplaySource::new(name, &loaded.replay_inputs(replay), &replay.identity)?));
    }
    #[cfg(feature = "aws")]
    if let Some(kinesis) = &config.kinesis {
        return crate::source::kinesis::connect(name, kinesis, config.aws.as_ref()).await;
    }
    Err(SourceError::Fatal("it is of no kind that this build has".into()))
}

/// Where the sinks' rejects go: beside the dead letters of what could not be read. An S3 that is away holds up no start:
/// nothing is asked of it before the first reject, which is tried until it is durable.
#[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "the same shape as with it"))]
async fn rejects(loaded: &Loaded, health: &Health) -> Result<SharedRejects, AssembleError> {
    #[cfg(feature = "aws")]
    if let Some(letters) = &loaded.pipeline.dead_letters
        && let Some(s3) = &letters.s3
    {
        let rejects = S3Rejects::connect(s3, letters.aws.as_ref()).await;
        let rejects = rejects.map_err(|error| AssembleError(format!("dead letters: {error}")))?;
        return Ok(Arc::new(rejects.shown_by(health.clone())));
    }
    Ok(Arc::new(FileRejects::new(loaded.rejected_file()).shown_by(health.clone())))
}

async fn sinks(
    loaded: &Loaded,
    inputs: &Inputs,
    store: &StoreName,
    rejects: &SharedRejects,
    memory: &Plan,
) -> Result<(Vec<SinkPlan>, Vec<NamedSink>), AssembleError> {
    let own_bytes = |index: usize| memory.sinks.get(index).map_or(0, |share| share.own_bytes);
    let mut plans = Vec::new();
    let mut sinks = Vec::new();
    for (index, (name, config)) in loaded.pipeline.sinks.iter().enumerate() {
        let terminal = config.console.is_some() && std::io::stdout().is_terminal();
        let default = if terminal { FormatName::Timeline } else { FormatName::Json };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let format = Format::resolve(config.format.as_ref(), default, colour);
        let schema = format.schema();
        plans.push(SinkPlan { format, filter: Filter::compile(config.only.as_ref(), config.except.as_ref()) });
        let context = context(loaded, inputs, name, store.of(name), rejects, own_bytes(index));
        let sink = sink(context, config, schema).await;
        let sink = sink.map_err(|error| AssembleError(format!("sink `{name}`: {error}")))?;
        // A person who pages through a console would find repeats there.
        let default = if config.console.is_some() { OnOutage::Block } else { OnOutage::Park };
        let on_outage = config.on_outage.unwrap_or(default);
        sinks.push(NamedSink { on_outage, ..NamedSink::new(name.as_str(), sink) });
    }
    plans.push(SinkPlan { format: Format::DeadLetter, filter: Filter::default() });
    let sink = dead_letters(loaded, inputs, store, rejects, own_bytes(loaded.pipeline.sinks.len())).await;
    let sink = sink.map_err(|error| AssembleError(format!("dead letters: {error}")))?;
    sinks.push(NamedSink::new(DEAD_LETTERS, sink));
    Ok((plans, sinks))
}

/// What a part knows of its pipeline. A replay has a checkpoint of its own, so to a sink that marks its destination
/// with the checkpoint it is another pipeline.
fn context(
    loaded: &Loaded,
    inputs: &Inputs,
    name: &str,
    store: Arc<str>,
    rejects: &SharedRejects,
    own_bytes: u64,
) -> Context {
    let pipeline = match inputs {
        Inputs::Configured => loaded.name.clone(),
        Inputs::Files { .. } => format!("{}.replay", loaded.name),
    };
    Context {
        pipeline: pipeline.into(),
        name: name.into(),
        folder: loaded.directory.clone(),
        store,
        rejects: Arc::clone(rejects),
        own_bytes,
    }
}

#[cfg_attr(
    not(any(feature = "aws", feature = "splunk")),
    expect(unused_variables, clippy::unused_async, reason = "the same shape as with it")
)]
async fn sink(context: Context, config: &types::Sink, schema: Option<&'static str>) -> Result<Box<dyn Sink>, String> {
    if let Some(file) = &config.file {
        return Ok(Box::new(file::file(file)?));
    }
    if config.console.is_some() {
        return Ok(Box::new(console::console()));
    }
    #[cfg(any(feature = "aws", feature = "splunk"))]
    {
        let name = Arc::clone(&context.name);
        if let Some(connect) = far(context, config.clone(), schema) {
            return crate::sink::late::open(&name, connect).await;
        }
    }
    Err("it is of no kind that this build has".into())
}

/// How a sink is connected to whose destination is on the network.
#[cfg(any(feature = "aws", feature = "splunk"))]
fn far(context: Context, config: types::Sink, schema: Option<&'static str>) -> Option<crate::sink::late::Connect> {
    let is_far =
        config.kafka.is_some() || config.firehose.is_some() || config.s3.is_some() || config.splunk_hec.is_some();
    let config = Arc::new(config);
    is_far.then(|| -> crate::sink::late::Connect {
        Box::new(move || Box::pin(connect(context.clone(), Arc::clone(&config), schema)))
    })
}

#[cfg(any(feature = "aws", feature = "splunk"))]
#[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "the same shape as with it"))]
async fn connect(
    context: Context,
    config: Arc<types::Sink>,
    schema: Option<&'static str>,
) -> Result<Box<dyn Sink>, ConnectError> {
    let aws = config.aws.as_ref();
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &config.kafka {
        return crate::sink::kafka::connect(context, kafka, aws, schema).await;
    }
    #[cfg(feature = "aws")]
    if let Some(firehose) = &config.firehose {
        return crate::sink::firehose::connect(context, firehose, aws).await;
    }
    #[cfg(feature = "aws")]
    if let Some(s3) = &config.s3 {
        let objects = crate::sink::s3::Objects::of(config.format.as_ref());
        return crate::sink::s3::connect(context, s3, objects, aws).await;
    }
    #[cfg(feature = "splunk")]
    if let Some(splunk) = &config.splunk_hec {
        return crate::sink::splunk_hec::connect(context, splunk).await;
    }
    Err(ConnectError::Standing("it is of no kind that this build has".into()))
}

/// Where records go that cannot be read: a lane like any other.
#[cfg_attr(not(feature = "aws"), expect(unused_variables, clippy::unused_async, reason = "the same shape as with it"))]
async fn dead_letters(
    loaded: &Loaded,
    inputs: &Inputs,
    store: &StoreName,
    rejects: &SharedRejects,
    own_bytes: u64,
) -> Result<Box<dyn Sink>, String> {
    #[cfg(feature = "aws")]
    if let Some(letters) = &loaded.pipeline.dead_letters
        && let Some(s3) = &letters.s3
    {
        let context = context(loaded, inputs, "dead-letters", store.of(DEAD_LETTERS), rejects, own_bytes);
        let config = types::Sink { s3: Some(s3.clone()), aws: letters.aws.clone(), ..types::Sink::default() };
        return sink(context, &config, None).await;
    }
    Ok(Box::new(file::file(&loaded.dead_letters_file())?))
}

/// The first snapshot, and what keeps it fresh.
#[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "the same shape as with it"))]
async fn inventory(loaded: &Loaded) -> Result<(Snapshot, Option<Background>), AssembleError> {
    let enrich = &loaded.pipeline.enrich;
    #[cfg(feature = "aws")]
    if let Some(config) = &enrich.ec2 {
        let failed = |error| AssembleError(format!("inventory: {error}"));
        let mut ec2 = Ec2Inventory::connect(config, Ec2Context::of(loaded)).await.map_err(failed)?;
        return Ok((ec2.snapshot(), Some(Background::Ec2(Box::new(ec2)))));
    }
    if let Some(name) = &enrich.simulated {
        let overlay = loaded.overlay().map(|path| read_overlay(&path)).transpose()?.unwrap_or_default();
        return Ok((simulated(loaded, name, overlay)?, None));
    }
    if enrich.file.is_none() && enrich.overlay.is_none() {
        return Ok((Snapshot::default(), None));
    }
    let watch = FileInventory::new(loaded.enrich_file(), loaded.overlay(), enrich.tags.clone());
    let snapshot = watch.load().map_err(|error| AssembleError(format!("inventory: {error}")))?;
    Ok((snapshot, Some(Background::Watch(watch, enrich.refresh.0))))
}

fn read_overlay(path: &Path) -> Result<Overlay, AssembleError> {
    let failed = |error: &dyn std::fmt::Display| AssembleError(format!("overlay `{}`: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    Overlay::parse(&bytes).map_err(|error| failed(&error))
}

fn simulated(loaded: &Loaded, source: &str, overlay: Overlay) -> Result<Snapshot, AssembleError> {
    let simulate = loaded.pipeline.sources.get(source).and_then(|source| source.simulate.as_ref());
    let simulate = simulate.ok_or_else(|| AssembleError(format!("`{source}` is no simulated source")))?;
    let fleet = Fleet::new(simulate).map_err(fail)?;
    let inventory = fleet.inventory();
    let as_of = crate::event::Millis::parse(&simulate.start);
    let mut answers = Answers::default();
    for region in inventory.regions {
        let place = (Some(region.account.as_str()), Some(region.region.as_str()));
        for (_, answer) in region.files() {
            answers.add_value(place.0, place.1, as_of, answer.clone()).map_err(fail)?;
        }
    }
    answers.add_value(None, None, as_of, inventory.accounts).map_err(fail)?;
    Ok(join(&answers, &loaded.pipeline.enrich.tags, overlay))
}
