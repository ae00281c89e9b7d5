//! The sink `splunk_hec` with its far end, for the contract.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tunnelog::config::types::SplunkHecSink;
use tunnelog::delivery::{LaneKey, LaneState};
use tunnelog::sink::rejects::MemoryRejects;
use tunnelog::sink::{ConnectError, Context, Sink, splunk_hec};

use super::collector::{Collector, Fault, TOKEN};
use super::contract::Destination;
use super::support::{json_lines, text};

/// The sink before collectors of ours.
pub(crate) struct Splunk {
    pub(crate) collector: Collector,
    pub(crate) rejects: Arc<MemoryRejects>,
    pub(crate) config: SplunkHecSink,
    folder: TempDir,
}

impl Splunk {
    pub(crate) fn new() -> Splunk {
        Splunk::with(json!({}))
    }

    /// With these fields of the pipeline file.
    pub(crate) fn with(fields: Value) -> Splunk {
        let collector = Collector::start();
        collector.state().no_acknowledgement = fields["acknowledgement"] == false;
        let mut config = json!({"endpoints": [collector.address], "token": TOKEN, "ack_timeout": "10s"});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let config = serde_json::from_value(config).unwrap();
        Splunk { collector, rejects: Arc::default(), config, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            pipeline: "bench".into(),
            name: "sink".into(),
            folder: self.folder.path().to_owned(),
            store: "store".into(),
            rejects: Arc::clone(&self.rejects) as _,
            own_bytes: tunnelog::sink::OWN_BYTES,
        }
    }

    pub(crate) async fn connect(&self) -> Result<Box<dyn Sink>, ConnectError> {
        splunk_hec::connect(self.context(), &self.config).await
    }

    pub(crate) async fn probe(&self) -> Result<String, ConnectError> {
        splunk_hec::probe(&self.context(), &self.config).await
    }

    /// The ids of what went to the dead letters, sorted.
    pub(crate) fn dead_letters(&self) -> Vec<String> {
        let ids = |bytes: &[u8]| text(&json_lines(bytes)[0], "/id").to_owned();
        let mut all: Vec<String> = self.rejects.letters().iter().map(|letter| ids(&letter.data)).collect();
        all.sort();
        all
    }
}

impl Destination for Splunk {
    fn name(&self) -> String {
        format!("splunk_hec, acknowledgement {}", self.config.acknowledgement)
    }

    fn open(&self) -> Result<Box<dyn Sink>, String> {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.connect()))
            .map_err(|error| error.to_string())
    }

    fn delivered(&self) -> Vec<String> {
        let state = self.collector.state();
        state.indexed.iter().map(|envelope| text(envelope, "/event/id").to_owned()).collect()
    }

    fn rejected(&self) -> usize {
        self.rejects.letters().len()
    }

    fn keeps_order(&self) -> bool {
        false
    }

    fn seals(&self) -> bool {
        false
    }

    fn break_down(&self) {
        self.collector.state().standing = Some(Fault::Answer(503, 9, "Server is busy"));
    }

    fn mend(&self) {
        self.collector.state().standing = None;
    }

    /// What Splunk has indexed, a crash here cannot cut.
    fn tear(&self) {}

    fn check_whole(&self) {
        assert_eq!(self.collector.state().violations, Vec::<String>::new());
    }

    fn remember(&self, _: &[(LaneKey, LaneState)]) {}

    /// More than the longest pause between tries, where a person is waited for (30 s).
    fn silence(&self) -> Duration {
        Duration::from_secs(45)
    }
}
