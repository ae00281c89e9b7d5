//! From a pipeline file to the parts of a running pipeline: opens what it names, starts nothing.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Background, NamedSource, Parts};
use crate::checkpoint::RedbStore;
use crate::config::Loaded;
use crate::config::types::{self, FormatName, Identity};
use crate::core::{Core, SinkPlan};
use crate::encode::Format;
use crate::enrich::file::FileInventory;
use crate::enrich::overlay::Overlay;
use crate::enrich::{Answers, Inventory, Snapshot, join};
use crate::route::Filter;
use crate::sink::{Sink, console, file};
use crate::source::SourceError;
use crate::source::replay::{OnRead, ReplaySource};
use crate::source::simulate::{Fleet, SimulateSource};
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
pub fn assemble(loaded: &Loaded, inputs: &Inputs, health: Health) -> Result<Parts, AssembleError> {
    let store = RedbStore::open(&inputs.checkpoint_file(loaded)).map_err(fail)?;
    let pipeline = &loaded.pipeline;
    let (snapshot, watch) = inventory(loaded)?;
    let inventory = Arc::new(Inventory::new(snapshot));
    let background = watch.map(|watch| Background::Watch(watch, pipeline.enrich.refresh.0)).into_iter().collect();
    let (plans, sinks) = sinks(loaded)?;
    Ok(Parts {
        name: loaded.name.as_str().into(),
        sources: sources(loaded, inputs)?,
        core: Arc::new(Core::new(usize::try_from(pipeline.limits.record.0).unwrap_or(usize::MAX), plans)),
        inventory,
        sinks,
        store: Box::new(store),
        checkpoint_interval: pipeline.checkpoint.interval.0,
        open_records: pipeline.limits.open_records as usize,
        shutdown_grace: pipeline.limits.shutdown_grace.0,
        health,
        background,
    })
}

fn fail(error: impl std::fmt::Display) -> AssembleError {
    AssembleError(error.to_string())
}

fn sources(loaded: &Loaded, inputs: &Inputs) -> Result<Vec<NamedSource>, AssembleError> {
    if let Inputs::Files { inputs, identity, progress } = inputs {
        let mut source = ReplaySource::new("replay", inputs, identity).map_err(fail)?;
        if let Some(progress) = progress {
            source = source.with_progress(Arc::clone(progress));
        }
        let region = loaded.pipeline.sources.values().find_map(|source| source.region.as_deref()).map(Arc::from);
        return Ok(vec![NamedSource { name: "replay".into(), source: Box::new(source), region }]);
    }
    let open = |(name, config): (&String, &types::Source)| {
        let failed = |error: SourceError| AssembleError(format!("source `{name}`: {error}"));
        let source: Box<dyn crate::source::Source> = match (&config.simulate, &config.replay) {
            (Some(simulate), _) => Box::new(SimulateSource::new(name, simulate).map_err(failed)?),
            (None, Some(replay)) => {
                let inputs = loaded.replay_inputs(replay);
                Box::new(ReplaySource::new(name, &inputs, &replay.identity).map_err(failed)?)
            }
            (None, None) => return Err(AssembleError(format!("source `{name}` is of no kind"))),
        };
        Ok(NamedSource { name: name.as_str().into(), source, region: config.region.as_deref().map(Arc::from) })
    };
    loaded.pipeline.sources.iter().map(open).collect()
}

type NamedSinks = Vec<(Arc<str>, Box<dyn Sink>)>;

fn sinks(loaded: &Loaded) -> Result<(Vec<SinkPlan>, NamedSinks), AssembleError> {
    let mut plans = Vec::new();
    let mut sinks: NamedSinks = Vec::new();
    for (name, config) in &loaded.pipeline.sinks {
        let failed = |error: String| AssembleError(format!("sink `{name}`: {error}"));
        let terminal = config.console.is_some() && std::io::stdout().is_terminal();
        let default = if terminal { FormatName::Timeline } else { FormatName::Json };
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        plans.push(SinkPlan {
            format: Format::resolve(config.format.as_ref(), default, colour),
            filter: Filter::compile(config.only.as_ref(), config.except.as_ref()),
        });
        let sink: Box<dyn Sink> = match &config.file {
            Some(config) => Box::new(file::file(config).map_err(failed)?),
            None => Box::new(console::console()),
        };
        sinks.push((name.as_str().into(), sink));
    }
    let letters = loaded.dead_letters_file();
    plans.push(SinkPlan { format: Format::DeadLetter, filter: Filter::default() });
    let sink = file::file(&letters).map_err(|error| AssembleError(format!("dead letters: {error}")))?;
    sinks.push((DEAD_LETTERS.into(), Box::new(sink)));
    Ok((plans, sinks))
}

/// The first snapshot, and what keeps it fresh.
fn inventory(loaded: &Loaded) -> Result<(Snapshot, Option<FileInventory>), AssembleError> {
    let enrich = &loaded.pipeline.enrich;
    if let Some(name) = &enrich.simulated {
        let overlay = loaded.overlay().map(|path| read_overlay(&path)).transpose()?.unwrap_or_default();
        return Ok((simulated(loaded, name, overlay)?, None));
    }
    if enrich.file.is_none() && enrich.overlay.is_none() {
        return Ok((Snapshot::default(), None));
    }
    let watch = FileInventory::new(loaded.enrich_file(), loaded.overlay(), enrich.tags.clone());
    let snapshot = watch.load().map_err(|error| AssembleError(format!("inventory: {error}")))?;
    Ok((snapshot, Some(watch)))
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
