//! From a pipeline file to the parts of a running pipeline: opens what it names, starts nothing.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Background, NamedSink, NamedSource, Parts};
use crate::checkpoint::RedbStore;
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
use crate::route::Filter;
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
    pub fn checkpoint_file(&self, loaded: &Loaded) -> PathBuf {
        let live = loaded.checkpoint_file();
        match self {
            Inputs::Configured => live,
            Inputs::Files { .. } => live.with_extension("replay.redb"),
        }
    }
}

/// Opens everything that the pipeline file names, the checkpoint first: it says whether another process runs.
pub async fn assemble(loaded: &Loaded, inputs: &Inputs, health: Health) -> Result<Parts, AssembleError> {
    let store = RedbStore::open(&inputs.checkpoint_file(loaded)).map_err(fail)?;
    let pipeline = &loaded.pipeline;
    let (snapshot, background) = inventory(loaded).await?;
    let inventory = Arc::new(Inventory::new(snapshot));
    let rejects = rejects(loaded).await?;
    let store_id: Arc<str> = store.id().into();
    let (plans, sinks) = sinks(loaded, inputs, &store_id, &rejects).await?;
    let max_record_bytes = usize::try_from(pipeline.limits.record.0).unwrap_or(usize::MAX);
    let names = sinks.iter().map(|sink| Arc::clone(&sink.name)).collect();
    Ok(Parts {
        name: loaded.name.as_str().into(),
        sources: sources(loaded, inputs).await?,
        core: Arc::new(Core::new(max_record_bytes, plans).with_names(names)),
        inventory,
        sinks,
        store: Box::new(store),
        checkpoint_interval: pipeline.checkpoint.interval.0,
        open_records: pipeline.limits.open_records as usize,
        outage_after: pipeline.limits.outage_after.0,
        shutdown_grace: pipeline.limits.shutdown_grace.0,
        health,
        background: background.into_iter().collect(),
    })
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

/// Where the sinks' rejects go: beside the dead letters of what could not be read.
#[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "the same shape as with it"))]
async fn rejects(loaded: &Loaded) -> Result<SharedRejects, AssembleError> {
    #[cfg(feature = "aws")]
    if let Some(letters) = &loaded.pipeline.dead_letters
        && let Some(s3) = &letters.s3
    {
        let rejects = S3Rejects::connect(s3, letters.aws.as_ref()).await;
        return Ok(Arc::new(rejects.map_err(|error| AssembleError(format!("dead letters: {error}")))?));
    }
    Ok(Arc::new(FileRejects::new(loaded.rejected_file())))
}

async fn sinks(
    loaded: &Loaded,
    inputs: &Inputs,
    store: &Arc<str>,
    rejects: &SharedRejects,
) -> Result<(Vec<SinkPlan>, Vec<NamedSink>), AssembleError> {
    let mut plans = Vec::new();
    let mut sinks = Vec::new();
    for (name, config) in &loaded.pipeline.sinks {
        let terminal = config.console.is_some() && std::io::stdout().is_terminal();
        let default = if terminal { FormatName::Timeline } else { FormatName::Json };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let format = Format::resolve(config.format.as_ref(), default, colour);
        let schema = format.schema();
        plans.push(SinkPlan { format, filter: Filter::compile(config.only.as_ref(), config.except.as_ref()) });
        let context = context(loaded, inputs, name, store, rejects);
        let sink = sink(context, config, schema).await;
        let sink = sink.map_err(|error| AssembleError(format!("sink `{name}`: {error}")))?;
        // A person who pages through a console would find repeats there.
        let default = if config.console.is_some() { OnOutage::Block } else { OnOutage::Park };
        let on_outage = config.on_outage.unwrap_or(default);
        sinks.push(NamedSink { on_outage, ..NamedSink::new(name.as_str(), sink) });
    }
    plans.push(SinkPlan { format: Format::DeadLetter, filter: Filter::default() });
    let sink = dead_letters(loaded, inputs, store, rejects).await;
    let sink = sink.map_err(|error| AssembleError(format!("dead letters: {error}")))?;
    sinks.push(NamedSink::new(DEAD_LETTERS, sink));
    Ok((plans, sinks))
}

/// What a part knows of its pipeline. A replay has a checkpoint of its own, so to a sink that marks its destination
/// with the checkpoint it is another pipeline.
fn context(loaded: &Loaded, inputs: &Inputs, name: &str, store: &Arc<str>, rejects: &SharedRejects) -> Context {
    let pipeline = match inputs {
        Inputs::Configured => loaded.name.clone(),
        Inputs::Files { .. } => format!("{}.replay", loaded.name),
    };
    Context {
        pipeline: pipeline.into(),
        name: name.into(),
        folder: loaded.directory.clone(),
        store: Arc::clone(store),
        rejects: Arc::clone(rejects),
    }
}

#[cfg_attr(not(feature = "aws"), expect(unused_variables, clippy::unused_async, reason = "the same shape as with it"))]
async fn sink(context: Context, config: &types::Sink, schema: Option<&'static str>) -> Result<Box<dyn Sink>, String> {
    let aws = config.aws.as_ref();
    if let Some(file) = &config.file {
        return Ok(Box::new(file::file(file)?));
    }
    if config.console.is_some() {
        return Ok(Box::new(console::console()));
    }
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
        return crate::sink::s3::connect(context, s3, aws).await;
    }
    Err("it is of no kind that this build has".into())
}

/// Where records go that cannot be read: a lane like any other.
#[cfg_attr(not(feature = "aws"), expect(unused_variables, clippy::unused_async, reason = "the same shape as with it"))]
async fn dead_letters(
    loaded: &Loaded,
    inputs: &Inputs,
    store: &Arc<str>,
    rejects: &SharedRejects,
) -> Result<Box<dyn Sink>, String> {
    #[cfg(feature = "aws")]
    if let Some(letters) = &loaded.pipeline.dead_letters
        && let Some(s3) = &letters.s3
    {
        let context = context(loaded, inputs, "dead-letters", store, rejects);
        return crate::sink::s3::connect(context, s3, letters.aws.as_ref()).await;
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
