//! A whole pipeline: a simulated fleet through Firehose into a bucket, compared with what the core makes of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tunnelog::checkpoint::RedbStore;
use tunnelog::config::types::{Compression, FileSink, Pack, Simulate};
use tunnelog::config::units::Size;
use tunnelog::core::Core;
use tunnelog::enrich::{Inventory, Snapshot};
use tunnelog::memory::Memory;
use tunnelog::pipeline::{NamedSink, NamedSource, Parts, Report, run};
use tunnelog::sink::file::file;
use tunnelog::source::simulate::SimulateSource;
use tunnelog::telemetry::health::Health;

use super::contract::Destination as _;
use super::destination::Firehose;
use super::moto::Delivery;
use super::server::{Fault, Server};
use super::stack;
use super::support::json_lines;
use super::support::parts::{dead_letters, expected, with_origin};

fn fleet() -> SimulateSource {
    let config = Simulate { seed: 3, connections: 6, hours: 2, shards: 3, damaged: 2, ..Simulate::default() };
    SimulateSource::new("fleet", &config).unwrap()
}

async fn deliver(destination: &Firehose, folder: &std::path::Path) -> Report {
    let letters = FileSink { path: folder.join("letters"), compression: Compression::None, rotate: Size(1 << 30) };
    let parts = Parts {
        name: "lake".into(),
        sources: vec![NamedSource { name: "fleet".into(), source: Box::new(fleet()), region: None }],
        core: Arc::new(Core::new(64 << 20, vec![with_origin(), dead_letters()])),
        inventory: Arc::new(Inventory::new(Snapshot::default())),
        sinks: vec![
            NamedSink::new("lake", destination.open().unwrap()),
            NamedSink::new("letters", Box::new(file(&letters).unwrap())),
        ],
        store: Box::new(RedbStore::open(&folder.join("checkpoint.redb")).unwrap()),
        checkpoint_interval: Duration::from_secs(1),
        open_records: 10_000,
        outage_after: Duration::from_secs(30),
        shutdown_grace: Duration::from_secs(60),
        memory: Memory::even(2, 32 << 20),
        health: Health::new(),
        background: Vec::new(),
    };
    run(parts, CancellationToken::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_fleet_arrives_in_the_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let delivery = Delivery::new();
    let server = Server::before(Some(&stack::moto().endpoint));
    server.state().next.extend([
        Fault::Answer(503, "ServiceUnavailableException", "Slow down."),
        Fault::Records(|index| index == 0, "ServiceUnavailableException"),
        Fault::LoseAnswer,
    ]);
    let destination = Firehose::before(server, &delivery.stream, Pack::Auto);
    let report = deliver(&destination, folder.path()).await;

    let wanted: BTreeSet<Vec<u8>> = expected(&mut fleet(), &with_origin()).await.into_values().flatten().collect();
    let got = delivery.read_back();
    assert!(report.finished && wanted.len() > 100, "{} events", wanted.len());
    // Byte by byte the same lines, some of them twice since an answer was lost.
    let lines: BTreeSet<Vec<u8>> = got.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert!(lines == wanted, "{} lines of {}", lines.len(), wanted.len());
    let repeated = json_lines(&got).len() - wanted.len();
    assert!(repeated > 0, "the lost answer repeats");
    destination.check_whole();
    let state = destination.server.state();
    assert!(state.next.is_empty(), "every fault was met");
    let records: usize = state.seen.iter().map(|request| request.taken).sum();
    assert!(records * 5 < wanted.len(), "{records} records for {} events", wanted.len());
}
