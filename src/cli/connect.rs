//! `tunnelog check --connect`: reaches what a pipeline names, and says of each part what is there or what to do.
//!
//! Starts nothing and writes nothing. All parts are asked, [`AT_ONCE`] of them at a time and each for [`PATIENCE`] at
//! most, whatever becomes of the others.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Outcome;
use crate::checkpoint::{Location, Presence, StoreName};
use crate::config::Loaded;
#[cfg(feature = "aws")]
use crate::config::types::Aws;
use crate::config::types::{FileSink, Sink, Source};
use crate::enrich::file::FileInventory;
use crate::pipeline::DEAD_LETTERS;
#[cfg(any(feature = "aws", feature = "splunk"))]
use crate::sink::ConnectError;
use crate::sink::Context;
use crate::sink::rejects::MemoryRejects;

/// How long a part may take: the tries of the AWS SDK (three, 5 s to connect) and of the Kafka client (10 s) end sooner
/// and say more.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is left of it for a part that keeps the time itself, since it says more of what it has found by then.
#[cfg(feature = "aws")]
const SPARE: Duration = Duration::from_secs(3);
/// Parts that are asked at a time: a connection or two each.
const AT_ONCE: usize = 16;
/// The store's name where there is no store: a prefix that is taken belongs to another one.
const NO_STORE: &str = "none yet";

/// The probe of the dead letters.
const LETTERS: &str = "dead letters";

/// The probe of `enrich.ec2`.
const EC2: &str = "inventory ec2";

/// What is said of a part.
enum Word {
    Ok(String),
    /// Not as it might be; no reason to fail.
    Note(String),
    /// A sink's destination is away, which may pass.
    Away(String),
    Fail(String),
}

type Probe = Pin<Box<dyn Future<Output = Word> + Send>>;

/// Asks all parts and prints a line for each, in the order of the pipeline.
pub(super) fn run(loaded: &Loaded) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        // The other parts' markers are compared with the store's name.
        let checkpoint = tokio::time::timeout(PATIENCE, checkpoint(loaded)).await;
        let checkpoint = checkpoint.unwrap_or_else(|_| (Word::Fail(late()), None));
        let probes = probes(loaded, checkpoint);
        let width = probes.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        ask(probes, |name, word| say(name, width, word)).await
    });
    // A call that blocks must not keep a finished process.
    runtime.shutdown_background();
    Ok(outcome)
}

/// What is wrong with the parts of a pipeline that is to take over from `running`, whose store has this name. Those
/// that have not changed are asked too: the files that they name may have.
pub(super) async fn failures(loaded: &Loaded, running: &Loaded, store: &StoreName) -> Vec<String> {
    let mut probes = parts(loaded, Some(store));
    if loaded.pipeline.enrich.ec2 == running.pipeline.enrich.ec2 {
        // An inventory that cannot be had holds up no event, so nor a reload that has not to do with it.
        probes.retain(|(name, _)| name != EC2);
    }
    let (mut failures, mut away) = (Vec::new(), 0);
    let outcome = ask(probes, |name, word| match word {
        Word::Away(reason) if is_sink(name) => {
            away += 1;
            tracing::warn!(
                part = name,
                reason,
                "the sink's destination is away; the reload goes on, it is tried again"
            );
        }
        Word::Fail(reason) | Word::Away(reason) => failures.push(format!("{name}: {reason}")),
        Word::Ok(_) | Word::Note(_) => {}
    });
    if outcome.await == Outcome::Failed && failures.is_empty() && away == 0 {
        failures.push("a part could not be asked; please report this".into());
    }
    failures
}

/// Whether a probe is of a part that the others can begin without.
fn is_sink(name: &str) -> bool {
    name.starts_with("sink ") || name == LETTERS
}

fn late() -> String {
    format!("no answer within {PATIENCE:?}: check the address, the network and its firewalls")
}

/// The word is told for each probe, in their order.
async fn ask(probes: Vec<(String, Probe)>, mut tell: impl FnMut(&str, &Word)) -> Outcome {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let (mut names, mut running) = (Vec::new(), JoinSet::new());
    for (index, (name, probe)) in probes.into_iter().enumerate() {
        names.push(name);
        let permits = Arc::clone(&permits);
        running.spawn(async move {
            let _permit = permits.acquire().await;
            (index, tokio::time::timeout(PATIENCE, probe).await.unwrap_or_else(|_| Word::Away(late())))
        });
    }
    let (mut answers, mut outcome) = (BTreeMap::new(), Outcome::Finished);
    let mut next = 0;
    while let Some(answered) = running.join_next().await {
        // A probe that panicked has no line, and that is a failure.
        let Ok((index, word)) = answered else {
            outcome = Outcome::Failed;
            continue;
        };
        answers.insert(index, word);
        while let Some(word) = answers.remove(&next) {
            tell(&names[next], &word);
            next += 1;
            if matches!(word, Word::Fail(_) | Word::Away(_)) {
                outcome = Outcome::Failed;
            }
        }
    }
    // What waited for a line that never came.
    for (index, word) in answers {
        tell(&names[index], &word);
    }
    outcome
}

fn say(name: &str, width: usize, word: &Word) {
    let (label, colour, text) = match word {
        Word::Ok(text) => ("ok  ", anstyle::AnsiColor::Green, text),
        Word::Note(text) => ("note", anstyle::AnsiColor::Yellow, text),
        Word::Fail(text) | Word::Away(text) => ("fail", anstyle::AnsiColor::Red, text),
    };
    let style = colour.on_default().bold();
    anstream::println!("  {style}{label}{style:#}  {name:<width$}  {text}");
}

fn probes(loaded: &Loaded, (word, store): (Word, Option<StoreName>)) -> Vec<(String, Probe)> {
    let mut probes: Vec<(String, Probe)> = vec![("checkpoint".into(), now(word))];
    probes.extend(identities(loaded));
    probes.extend(parts(loaded, store.as_ref()));
    probes
}

/// The parts of a pipeline, whose store has this name.
fn parts(loaded: &Loaded, store: Option<&StoreName>) -> Vec<(String, Probe)> {
    let mut probes: Vec<(String, Probe)> = Vec::new();
    let pipeline = &loaded.pipeline;
    for (name, source) in &pipeline.sources {
        probes.push((format!("source {name}"), of_source(loaded, source)));
    }
    if pipeline.enrich.file.is_some() || pipeline.enrich.overlay.is_some() {
        probes.push(("inventory".into(), inventory(loaded)));
    }
    #[cfg(feature = "aws")]
    if let Some(ec2) = pipeline.enrich.ec2.clone() {
        probes.push((EC2.into(), later(async move { crate::enrich::ec2::probe(&ec2, PATIENCE - SPARE).await })));
    }
    for (name, sink) in &pipeline.sinks {
        probes.push((format!("sink {name}"), of_sink(context(loaded, name, of(store, name)), sink)));
    }
    let letters =
        match pipeline.dead_letters.as_ref().and_then(|letters| Some((letters.s3.clone()?, letters.aws.clone()))) {
            // The name that it has in a run, which its marker has too.
            Some((s3, aws)) => {
                let sink = Sink { s3: Some(s3), aws, ..Sink::default() };
                of_sink(context(loaded, "dead-letters", of(store, DEAD_LETTERS)), &sink)
            }
            None => now(file(&loaded.dead_letters_file())),
        };
    probes.push((LETTERS.into(), letters));
    probes
}

/// The store's name to a sink: empty where it is not to be had.
fn of(store: Option<&StoreName>, sink: &str) -> Arc<str> {
    store.map(|store| store.of(sink)).unwrap_or_default()
}

fn context(loaded: &Loaded, name: &str, store: Arc<str>) -> Context {
    Context {
        pipeline: loaded.name.as_str().into(),
        name: name.into(),
        folder: loaded.directory.clone(),
        store,
        rejects: Arc::new(MemoryRejects::default()),
        own_bytes: crate::sink::OWN_BYTES,
    }
}

fn now(word: Word) -> Probe {
    Box::pin(std::future::ready(word))
}

#[cfg(feature = "aws")]
fn later(probe: impl Future<Output = Result<String, String>> + Send + 'static) -> Probe {
    Box::pin(async { probe.await.map_or_else(Word::Fail, Word::Ok) })
}

fn of_source(loaded: &Loaded, source: &Source) -> Probe {
    if let Some(replay) = &source.replay {
        let inputs = loaded.replay_inputs(replay);
        let found = crate::source::replay::files_in(&inputs);
        return now(found
            .map_or_else(|error| Word::Fail(error.to_string()), |files| Word::Ok(format!("{} files", files.len()))));
    }
    #[cfg(feature = "aws")]
    if let Some(kinesis) = source.kinesis.clone() {
        let aws = source.aws.clone();
        return later(async move { crate::source::kinesis::probe(&kinesis, aws.as_ref()).await });
    }
    now(Word::Ok("simulated".into()))
}

#[cfg(any(feature = "aws", feature = "splunk"))]
fn far(probe: impl Future<Output = Result<String, ConnectError>> + Send + 'static) -> Probe {
    Box::pin(async {
        match probe.await {
            Ok(text) => Word::Ok(text),
            Err(ConnectError::Passing(reason)) => Word::Away(reason),
            Err(ConnectError::Standing(reason)) => Word::Fail(reason),
        }
    })
}

#[cfg_attr(not(feature = "aws"), expect(unused_variables, reason = "the same shape as with it"))]
fn of_sink(context: Context, sink: &Sink) -> Probe {
    let aws = sink.aws.clone();
    if let Some(to) = &sink.file {
        return now(file(to));
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = sink.kafka.clone() {
        return far(async move { crate::sink::kafka::probe(&context, &kafka, aws.as_ref()).await });
    }
    #[cfg(feature = "aws")]
    if let Some(firehose) = sink.firehose.clone() {
        return far(async move { crate::sink::firehose::probe(&context, &firehose, aws.as_ref()).await });
    }
    #[cfg(feature = "aws")]
    if let Some(s3) = sink.s3.clone() {
        return far(async move { crate::sink::s3::probe(&context, &s3, aws.as_ref()).await });
    }
    #[cfg(feature = "splunk")]
    if let Some(splunk) = sink.splunk_hec.clone() {
        return far(async move { crate::sink::splunk_hec::probe(&context, &splunk).await });
    }
    now(Word::Ok("standard output".into()))
}

fn inventory(loaded: &Loaded) -> Probe {
    let files = FileInventory::new(loaded.enrich_file(), loaded.overlay(), loaded.pipeline.enrich.tags.clone());
    Box::pin(async {
        let loading = tokio::task::spawn_blocking(move || files.load()).await;
        match loading {
            Ok(Ok(snapshot)) => Word::Ok(format!("{} connections", snapshot.connections.len())),
            Ok(Err(error)) => Word::Fail(error.to_string()),
            Err(error) => Word::Fail(error.to_string()),
        }
    })
}

/// The checkpoint, and the name of its store where it is to be had.
async fn checkpoint(loaded: &Loaded) -> (Word, Option<StoreName>) {
    let shown = Location::of(loaded, false);
    let none = || Some(StoreName { id: NO_STORE.into(), ..StoreName::default() });
    match shown.presence().await {
        Ok(Presence::Free(name)) => (Word::Ok(format!("{shown} goes on where it stopped")), Some(name)),
        Ok(Presence::Held { name, holder: None }) => {
            (Word::Note(format!("{shown} is in use: another process runs this pipeline")), name)
        }
        Ok(Presence::Held { name, holder: Some(holder) }) => {
            (Word::Note(format!("{shown} is held by {holder}: it runs this pipeline, or was killed")), name)
        }
        Ok(Presence::Unclosed) => (Word::Ok(format!("{shown} was not closed; the next start repairs it")), None),
        Ok(Presence::Absent) => match &shown {
            Location::File(path) if let Err(reason) = folder_of(path) => (Word::Fail(reason), none()),
            _ => (Word::Ok(format!("{shown} is made at the first start")), none()),
        },
        Err(reason) => (Word::Fail(reason), None),
    }
}

/// A file that is written to, or made.
fn file(sink: &FileSink) -> Word {
    let shown = sink.path.display();
    match std::fs::OpenOptions::new().append(true).open(&sink.path) {
        Ok(_) => Word::Ok(format!("{shown} is there")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            match folder_of(&sink.path) {
                Ok(()) => Word::Ok(format!("{shown} is made at the start")),
                Err(reason) => Word::Fail(reason),
            }
        }
        Err(error) => Word::Fail(format!("{shown} cannot be written: {error}; make it writable for this user")),
    }
}

/// Whether the folder of a file that is not there is, or can be made: nothing is tried that would leave a trace.
fn folder_of(path: &Path) -> Result<(), String> {
    let parent = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut folders =
        parent.ancestors().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    let Some((folder, metadata)) = folders.find_map(|folder| Some((folder, folder.metadata().ok()?))) else {
        return Ok(());
    };
    let shown = path.display();
    if !metadata.is_dir() {
        return Err(format!(
            "{shown} cannot be made: {} is a file, not a folder; choose another path",
            folder.display()
        ));
    }
    if metadata.permissions().readonly() {
        return Err(format!("{shown} cannot be made: nobody may write in {}; make it writable", folder.display()));
    }
    Ok(())
}

#[cfg(not(feature = "aws"))]
fn identities(_: &Loaded) -> Vec<(String, Probe)> {
    Vec::new()
}

/// Parts that reach AWS in the same way.
#[cfg(feature = "aws")]
struct Users {
    aws: Aws,
    /// The Region that a part's name tells.
    hint: Option<String>,
    names: Vec<String>,
}

/// Whose credentials the parts have: one line for all parts of equal settings.
#[cfg(feature = "aws")]
fn identities(loaded: &Loaded) -> Vec<(String, Probe)> {
    let mut all: Vec<Users> = Vec::new();
    for (name, aws, hint) in users_of_aws(loaded) {
        // Who it is does not depend on the address of the part's own service.
        let aws = Aws { endpoint: None, ..aws.cloned().unwrap_or_default() };
        match all.iter_mut().find(|users| users.aws == aws && users.hint == hint) {
            Some(users) => users.names.push(name),
            None => all.push(Users { aws, hint, names: vec![name] }),
        }
    }
    all.into_iter().map(|users| ("aws".to_owned(), identity(users))).collect()
}

#[cfg(feature = "aws")]
fn identity(users: Users) -> Probe {
    Box::pin(async move {
        let names = users.names.join(", ");
        match crate::aws::identity(Some(&users.aws), users.hint.as_deref()).await {
            Ok(arn) => Word::Ok(format!("{names} as {arn}")),
            // The parts may work all the same, for example where STS has no address in a private network.
            Err(reason) => Word::Note(format!("{names}: who this is cannot be asked: {reason}")),
        }
    })
}

/// The parts that have credentials of AWS: name, settings, and the Region that the part's name tells.
#[cfg(feature = "aws")]
fn users_of_aws(loaded: &Loaded) -> Vec<(String, Option<&Aws>, Option<String>)> {
    use crate::config::kafka::region_of;
    use crate::config::types::Mechanism;
    let pipeline = &loaded.pipeline;
    let mut users = Vec::new();
    for (name, source) in &pipeline.sources {
        if let Some(kinesis) = &source.kinesis {
            let region = crate::source::kinesis::region_of(&kinesis.stream).map(str::to_owned);
            users.push((format!("source {name}"), source.aws.as_ref(), region));
        }
    }
    for (name, sink) in &pipeline.sinks {
        let iam = sink
            .kafka
            .as_ref()
            .filter(|kafka| kafka.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == Mechanism::AwsMskIam));
        if sink.firehose.is_some() || sink.s3.is_some() || iam.is_some() {
            users.push((format!("sink {name}"), sink.aws.as_ref(), iam.and_then(region_of).map(str::to_owned)));
        }
    }
    if let Some(letters) = pipeline.dead_letters.as_ref().filter(|letters| letters.s3.is_some()) {
        users.push(("dead letters".into(), letters.aws.as_ref(), None));
    }
    if pipeline.checkpoint.dynamodb.is_some() {
        users.push(("checkpoint".into(), pipeline.checkpoint.aws.as_ref(), None));
    }
    users
}
