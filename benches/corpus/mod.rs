//! Records to measure with: the simulated fleet's real lines, packed anew into envelopes of a wanted size.
//!
//! CloudWatch Logs packs a stream's lines by its own timing, so a day of the fleet has records of every size.
//! Here the sizes are chosen, and for some corpora which lines; the lines are not. Deterministic: same crate, same
//! corpus.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write as _;
use std::sync::Arc;

use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::value::RawValue;
use tunnelog::config::types::Simulate;
use tunnelog::decode::inflate::inflate;
use tunnelog::enrich::{Answers, Connection, Overlay, Snapshot, join};
use tunnelog::event::Millis;
use tunnelog::source::simulate::Fleet;
use tunnelog::source::{Position, Record};

/// The default of `limits.record`.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

/// Records of similar size.
pub(crate) struct Corpus {
    pub name: &'static str,
    pub records: Vec<Record>,
    /// Log events in all records.
    pub events: u64,
    /// Bytes of the inflated envelopes.
    pub json_bytes: u64,
}

/// What the inventory knows of the corpora's connections.
pub(crate) struct Inventories {
    /// All of them, with eight tags each.
    pub hit: Snapshot,
    /// None of them.
    pub miss: Snapshot,
    /// All of them, among 50,000.
    pub large: Snapshot,
}

/// Records of each size and content, and the inventories to enrich them with.
pub(crate) fn all() -> (Vec<Corpus>, Inventories) {
    // More JSON than the processor's caches hold: a record is inflated once in its life, not again and again.
    let config = Simulate { connections: 60, hours: 24, ..Simulate::default() };
    let fleet = Fleet::new(&config).unwrap();
    let streams = lines_by_stream(&fleet);
    let is_route = |line: &str| line.contains("RouteStatus");
    let is_ike = |line: &str| line.contains("ike_phase1_state");
    let corpora = vec![
        pack("small", &streams, |_| true, (1, 5), 40_000),
        pack("mid", &streams, |_| true, (20, 200), 80_000),
        pack("routes", &streams, is_route, (20, 200), 80_000),
        pack("ike", &streams, is_ike, (20, 200), 80_000),
    ];
    (corpora, inventories(&fleet))
}

/// The head of a stream's envelopes, up to its events, and the JSON of all its log events in order.
type Streams = BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    log_events: Vec<&'a RawValue>,
}

fn lines_by_stream(fleet: &Fleet) -> Streams {
    const EVENTS: &str = r#""logEvents":["#;
    let mut streams = Streams::new();
    let mut buffer = Vec::new();
    for record in fleet.records().filter(|record| !record.control && !record.damaged && !record.duplicate) {
        let text = str::from_utf8(inflate(&record.data, MAX_RECORD_BYTES, &mut buffer).unwrap()).unwrap();
        let head = &text[..text.find(EVENTS).unwrap() + EVENTS.len()];
        let envelope: Envelope<'_> = serde_json::from_str(text).unwrap();
        let lines = match streams.entry(head.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Vec::new()),
        };
        lines.extend(envelope.log_events.iter().map(|event| event.get().to_owned()));
    }
    streams
}

/// One record of each stream in turn, of the lines that `wanted` takes, until `events` are packed or the lines are
/// used up.
fn pack(
    name: &'static str,
    streams: &Streams,
    wanted: impl Fn(&str) -> bool,
    (low, high): (usize, usize),
    events: u64,
) -> Corpus {
    let mut corpus = Corpus { name, records: Vec::new(), events: 0, json_bytes: 0 };
    let lines = |lines: &'_ [String]| lines.iter().filter(|line| wanted(line)).cloned().collect();
    let chosen: Vec<(&str, Vec<String>)> = streams.iter().map(|(head, all)| (&**head, lines(all))).collect();
    let mut left: Vec<(&str, &[String])> = chosen.iter().map(|(head, lines)| (*head, &**lines)).collect();
    let mut random = 1_u64;
    while corpus.events < events && !left.is_empty() {
        left.retain(|(_, lines)| lines.len() >= low);
        for (head, lines) in &mut left {
            // Knuth's MMIX generator; its upper bits are good enough to vary a size.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = (low + (random >> 33) as usize % (high - low + 1)).min(lines.len());
            let (now, later) = lines.split_at(size);
            *lines = later;
            corpus.push(format!("{head}{}]}}", now.join(",")).as_bytes(), size as u64);
        }
    }
    assert!(corpus.events >= 2_000, "corpus `{name}` has only {} events: lengthen the simulated day", corpus.events);
    corpus
}

impl Corpus {
    fn push(&mut self, envelope: &[u8], events: u64) {
        // CloudWatch's records look like zlib's default level.
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
        encoder.write_all(envelope).unwrap();
        let position = Position::from(self.records.len() as u64 + 1);
        let arrival = Some(Millis(1_768_500_000_000));
        self.records.push(Record::new(position, arrival, encoder.finish().unwrap().into()));
        self.events += events;
        self.json_bytes += envelope.len() as u64;
    }
}

fn inventories(fleet: &Fleet) -> Inventories {
    let hit = known(fleet);
    let miss = Snapshot { configured: true, ..Snapshot::default() };
    let mut large = hit.clone();
    let models: Vec<Arc<Connection>> = hit.connections.values().cloned().collect();
    for (number, model) in models.iter().cycle().enumerate().take(50_000 - models.len()) {
        let id: Arc<str> = format!("vpn-{number:017x}").into();
        let connection = Connection { id: Arc::clone(&id), ..Connection::clone(model) };
        large.connections.insert(id, Arc::new(connection));
    }
    Inventories { hit, miss, large }
}

/// What EC2 answers about the fleet, and enough of an overlay to make eight tags.
fn known(fleet: &Fleet) -> Snapshot {
    let inventory = fleet.inventory();
    let mut answers = Answers::default();
    let as_of = Some(Millis(1_768_435_200_000));
    for region in &inventory.regions {
        for (_, answer) in region.files() {
            let (account, region) = (Some(region.account.as_str()), Some(region.region.as_str()));
            answers.add_slice(account, region, as_of, answer.to_string().as_bytes()).unwrap();
        }
    }
    answers.add_slice(None, None, as_of, inventory.accounts.to_string().as_bytes()).unwrap();
    let mut snapshot = join(&answers, &["site".into(), "env".into()], Overlay::default());
    for connection in snapshot.connections.values_mut() {
        let connection = Arc::make_mut(connection);
        let tags = Arc::make_mut(&mut connection.tags);
        for number in tags.len()..8 {
            tags.insert(format!("column_{number}"), format!("what the CMDB says {number}"));
        }
    }
    snapshot
}
