//! A bench for one sink: the real dispatcher makes its batches, the test decides when what happens. One thread,
//! no clock of its own; run it under paused time, so that a sink's pauses cost nothing.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use tunnelog::delivery::{
    At, Command, Dispatcher, Encoded, Epoch, Item, LaneBatch, LaneId, LaneItems, LaneKey, LaneState, Options, Piece,
    PieceEnd, ReadResult, ReaderId, RecordInfo,
};
use tunnelog::event::{Action, EventId, Kind, Millis, Severity};
use tunnelog::sink::{FromSink, Sink, Tell};
use tunnelog::source::{Position, ShardEvent, ShardId, StartAt};

use super::contract::Destination;

/// What there is to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) shards: usize,
    pub(crate) records: usize,
    /// Bytes that are added to every item.
    pub(crate) padding: usize,
    /// Records that may be open in a lane.
    pub(crate) open_records: usize,
    /// Records in a piece.
    pub(crate) together: usize,
    /// From one record's arrival to the next one's.
    pub(crate) apart_ms: i64,
    /// Items of a record are of this many days, one after another.
    pub(crate) days: usize,
    /// Which items (record, item) a filter lets through.
    pub(crate) filter: fn(usize, usize) -> bool,
    /// Records before this number, from 1, have expired.
    pub(crate) expired: usize,
    /// One item (shard, record, item) is odd.
    pub(crate) odd: Option<((usize, usize, usize), Odd)>,
}

/// What is odd about an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Odd {
    /// Bytes that are added to it.
    pub(crate) padding: usize,
    pub(crate) time: Millis,
}

impl Default for Load {
    fn default() -> Load {
        let all = |_, _| true;
        Load {
            shards: 3,
            records: 40,
            padding: 20,
            open_records: 10_000,
            together: 1,
            apart_ms: 1,
            days: 1,
            filter: all,
            expired: 0,
            odd: None,
        }
    }
}

/// How often a life is looked at.
const LOOK: std::time::Duration = std::time::Duration::from_millis(20);

const DAY_MS: i64 = 24 * 3600 * 1000;

/// What becomes of the process when it commits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Lives,
    /// The store never gets it.
    DiesBefore,
    /// The store has it, and nobody hears of it.
    DiesAfter,
}

/// The items of a record: 0 to 4, known by their numbers.
fn items_of(shard: usize, record: usize) -> usize {
    (shard + 3 * record) % 5
}

fn line_of(shard: usize, record: usize, item: usize, padding: usize) -> Vec<u8> {
    format!("{{\"id\":\"{}\",\"pad\":\"{}\"}}\n", id_of(shard, record, item), " ".repeat(padding)).into_bytes()
}

fn id_of(shard: usize, record: usize, item: usize) -> String {
    format!("{shard}/{record}/{item}")
}

/// What has to reach the destination, by shard, in order.
pub(crate) fn expected(load: Load) -> Vec<Vec<String>> {
    let shard = |shard| {
        let items = move |record| (0..items_of(shard, record)).map(move |item| (record, item));
        let all = (0..load.records).flat_map(items).filter(|(record, item)| (load.filter)(*record, *item));
        all.map(|(record, item)| id_of(shard, record, item)).collect()
    };
    (0..load.shards).map(shard).collect()
}

/// Ids by shard, in the order in which they stand.
pub(crate) fn by_shard(load: Load, ids: &[String]) -> Vec<Vec<String>> {
    let own = |shard: usize| ids.iter().filter(|id| id.starts_with(&format!("{shard}/"))).cloned().collect();
    (0..load.shards).map(own).collect()
}

struct Reader {
    shard: usize,
    next: usize,
}

/// See the module.
pub(crate) struct Bench<'d> {
    load: Load,
    destination: &'d dyn Destination,
    dispatcher: Dispatcher,
    sink: Box<dyn Sink>,
    readers: BTreeMap<ReaderId, Reader>,
    grants: Vec<(ReaderId, Option<Position>)>,
    /// Refused, to be submitted again after `Room`.
    waiting: BTreeMap<LaneId, LaneBatch>,
    epochs: BTreeMap<LaneId, Epoch>,
    /// What is remembered; survives the bench.
    pub(crate) store: BTreeMap<LaneKey, LaneState>,
    /// Commits stay on their way while this is set.
    pub(crate) hold_commits: bool,
    /// Records that may still be read.
    pub(crate) may_read: usize,
    pub(crate) refusals: usize,
    pub(crate) settled: u64,
    pub(crate) downs: usize,
    /// Why it was down last.
    pub(crate) last_down: String,
    pub(crate) ups: usize,
    /// Items on the way when the run began are the destination's old ones.
    found: usize,
}

impl<'d> Bench<'d> {
    /// A run on what an earlier one remembered.
    pub(crate) fn new(load: Load, destination: &'d dyn Destination, store: BTreeMap<LaneKey, LaneState>) -> Bench<'d> {
        let options = Options {
            pipeline: "bench".into(),
            sinks: vec!["sink".into()],
            open_records: load.open_records,
            outage_after: std::time::Duration::from_secs(30),
        };
        let remembered = store.iter().map(|(key, state)| (key.clone(), state.clone())).collect();
        let mut bench = Bench {
            load,
            destination,
            dispatcher: Dispatcher::new(options, 1, remembered),
            sink: destination.open().unwrap(),
            readers: BTreeMap::new(),
            grants: Vec::new(),
            waiting: BTreeMap::new(),
            epochs: BTreeMap::new(),
            store,
            hold_commits: false,
            may_read: usize::MAX,
            refusals: 0,
            settled: 0,
            downs: 0,
            last_down: String::new(),
            ups: 0,
            // What a sealed chunk publishes may take the place of what an earlier run had published.
            found: if destination.seals() { 0 } else { destination.delivered().len() },
        };
        for shard in 0..load.shards {
            let shard = ShardId {
                source: "bench".into(),
                stream: "stream".into(),
                stream_created: "".into(),
                shard: shard.to_string().into(),
            };
            let opened = ShardEvent::Opened { shard, parents: Vec::new(), start: StartAt::TrimHorizon };
            bench.dispatcher.shard(opened);
        }
        bench.dispatcher.source_done();
        bench
    }

    /// Reads and submits until nothing more can be: the sink is not asked for anything.
    pub(crate) fn fill(&mut self) {
        loop {
            self.execute();
            let Some(index) = self.grants.iter().position(|_| self.may_read > 0) else { return };
            let (reader, until) = self.grants.swap_remove(index);
            self.read(reader, until);
        }
    }

    /// Hears one word of the sink, and does what follows from it.
    pub(crate) async fn hear(&mut self) {
        self.fill();
        let silence = tokio::time::sleep(self.destination.silence());
        let abandonments = self.dispatcher.abandonments();
        tokio::select! {
            word = self.sink.next() => self.heard(word),
            // A sink that drops receipts need not say a word.
            () = abandonments.notified() => {}
            () = silence => panic!("the sink is silent: {:?}", self.dispatcher.load()),
        }
        self.fill();
    }

    /// Whether the sink says nothing for a while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        self.fill();
        match tokio::time::timeout(self.destination.silence(), self.sink.next()).await {
            Ok(word) => {
                self.heard(word);
                false
            }
            Err(_) => true,
        }
    }

    /// A checkpoint is due: everything that is on the way must settle.
    pub(crate) async fn barrier(&mut self) {
        self.fill();
        while self.open_records() > 0 {
            self.dispatcher.checkpoint();
            self.hear().await;
        }
        self.dispatcher.checkpoint();
        self.fill();
    }

    /// A checkpoint, and one turn of the sink: what it would do at once it does, and nobody waits for the rest.
    pub(crate) async fn checkpoint(&mut self) {
        self.fill();
        self.dispatcher.checkpoint();
        self.fill();
        if let Ok(word) = tokio::time::timeout(std::time::Duration::ZERO, self.sink.next()).await {
            self.heard(word);
        }
    }

    /// To the end of all shards, without a single checkpoint on the way: flushes and finishes must do.
    pub(crate) async fn finish(&mut self) {
        self.may_read = usize::MAX;
        self.fill();
        while !self.dispatcher.is_finished() {
            self.hear().await;
        }
        self.close().await;
    }

    /// To the end of all shards, or until `is_dead`. Whether it got to the end.
    pub(crate) async fn live(&mut self, is_dead: impl Fn() -> bool) -> bool {
        self.fill();
        let patience = tokio::time::Instant::now() + self.destination.silence();
        while !self.dispatcher.is_finished() {
            if is_dead() {
                return false;
            }
            assert!(tokio::time::Instant::now() < patience, "it does not end: {:?}", self.dispatcher.load());
            if let Ok(word) = tokio::time::timeout(LOOK, self.sink.next()).await {
                self.heard(word);
            }
            // Receipts may have been dropped without a word.
            self.fill();
        }
        self.close().await;
        true
    }

    /// As a SIGTERM does it.
    pub(crate) async fn shut_down(&mut self) {
        self.dispatcher.drain();
        // What was granted is still read.
        self.may_read = usize::MAX;
        self.fill();
        while !self.dispatcher.is_drained() {
            self.hear().await;
            self.dispatcher.checkpoint();
            self.fill();
        }
        self.close().await;
    }

    async fn close(&mut self) {
        self.sink.close().await.unwrap();
        let account = self.dispatcher.accounts()[0];
        assert_eq!(account.submitted, account.settled + account.rejected + account.abandoned, "{account:?}");
    }

    /// Every lane loses its receipts, as if the sink had forgotten them.
    pub(crate) fn rewind(&mut self) {
        for (lane, epoch) in self.epochs.clone() {
            self.dispatcher.abandoned(lane, epoch);
        }
        self.fill();
    }

    pub(crate) fn open_records(&self) -> usize {
        self.dispatcher.load().open_records[0]
    }

    fn heard(&mut self, word: FromSink) {
        match word {
            FromSink::Settled(settlement) => {
                self.settled += settlement.count();
                if self.load.padding < 1000 {
                    let there = self.destination.delivered().len() - self.found + self.destination.rejected();
                    assert!(self.settled as usize <= there, "{} items settled, {there} are there", self.settled);
                }
                self.dispatcher.settled(&settlement);
            }
            FromSink::SealWanted { lane, epoch, seal } => self.dispatcher.seal_wanted(lane, epoch, seal),
            FromSink::Published { lane, epoch } => self.dispatcher.published(lane, epoch),
            FromSink::Room => {
                for (_, batch) in std::mem::take(&mut self.waiting) {
                    self.submit(batch);
                }
            }
            FromSink::Down(reason) => {
                assert!(!reason.is_empty());
                self.downs += 1;
                self.last_down = reason;
            }
            FromSink::Up => self.ups += 1,
            FromSink::Failed(reason) => panic!("the sink has failed: {reason}"),
        }
    }

    fn execute(&mut self) {
        for (lane, epoch) in self.dispatcher.abandonments().take() {
            self.dispatcher.abandoned(lane, epoch);
        }
        while let Some(command) = self.dispatcher.next_command() {
            match command {
                Command::OpenReader { reader, shard, from, .. } => self.open_reader(reader, &shard, from),
                Command::Read { reader, until, .. } => self.grants.push((reader, until)),
                // Room without end.
                Command::Forgo { .. } => {}
                Command::CloseReader(reader) => {
                    self.readers.remove(&reader);
                    self.grants.retain(|(granted, _)| *granted != reader);
                }
                Command::OpenLane { lane, key, epoch, seal, .. } => {
                    self.epochs.insert(lane, epoch);
                    self.sink.open(lane, &key, epoch, seal);
                }
                Command::Submit { batch, .. } => self.submit(batch),
                Command::Tell { lane, epoch, what, .. } => {
                    if what == Tell::Discard {
                        self.waiting.remove(&lane);
                    }
                    self.sink.tell(lane, epoch, what);
                }
                Command::Commit(_) if self.hold_commits => {}
                Command::Commit(states) => {
                    let fate = self.destination.commit();
                    if fate == Fate::DiesBefore {
                        continue;
                    }
                    self.destination.remember(&states);
                    self.store.extend(states);
                    if fate == Fate::Lives {
                        self.dispatcher.committed();
                    }
                }
            }
        }
    }

    fn submit(&mut self, batch: LaneBatch) {
        let (lane, id) = (batch.lane, batch.batch);
        match self.sink.submit(batch) {
            Ok(()) => self.dispatcher.admitted(lane, id),
            Err(batch) => {
                self.refusals += 1;
                self.waiting.insert(lane, batch);
            }
        }
    }

    fn open_reader(&mut self, reader: ReaderId, shard: &ShardId, from: StartAt) {
        let next: usize = match from {
            StartAt::After(position) => position.to_string().parse().unwrap(),
            StartAt::TrimHorizon | StartAt::AtTimestamp(_) => 0,
        };
        let next = next.max(self.load.expired);
        self.readers.insert(reader, Reader { shard: shard.shard.parse().unwrap(), next });
    }

    /// A record's position is its number from 1.
    fn read(&mut self, id: ReaderId, _: Option<Position>) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let mut records = Vec::new();
        let mut encoded = Encoded::default();
        let mut own = FixedBitSet::new();
        while reader.next < self.load.records && records.len() < self.load.together && self.may_read > 0 {
            self.may_read -= 1;
            records.push(record_info(reader.shard, reader.next as u64 + 1, self.load.apart_ms));
            for item in 0..items_of(reader.shard, reader.next) {
                let odd = self.load.odd.filter(|(place, _)| *place == (reader.shard, reader.next, item));
                let time = Millis((item % self.load.days) as i64 * DAY_MS);
                let odd = odd.map_or(Odd { padding: self.load.padding, time }, |(_, odd)| odd);
                encoded.bytes.extend(line_of(reader.shard, reader.next, item, odd.padding));
                let id = EventId((reader.shard * 1_000_000 + reader.next * 10 + item) as u128);
                let record = records.len() as u32 - 1;
                encoded.items.push(Item { id, record, time: odd.time, ..make_item(encoded.bytes.len()) });
                own.grow(encoded.items.len());
                own.set(encoded.items.len() - 1, (self.load.filter)(reader.next, item));
            }
            reader.next += 1;
        }
        let end = if reader.next == self.load.records { PieceEnd::ShardEnd } else { PieceEnd::More };
        let buffered_to = records.last().map(|record: &RecordInfo| record.position);
        let records = Arc::new(records);
        encoded.records = Arc::clone(&records);
        let lanes = vec![Some(LaneItems::new(&Arc::new(encoded), own, 0))];
        self.dispatcher.read(ReadResult { reader: id, piece: Piece { records, lanes }, end, buffered_to });
    }

    /// Whether everything is remembered as delivered.
    pub(crate) fn is_all_remembered(&self) -> bool {
        self.store.len() == self.load.shards && self.store.values().all(|state| state.at == At::ShardEnd)
    }
}

/// Each has a hundred bytes.
fn record_info(shard: usize, position: u64, apart_ms: i64) -> RecordInfo {
    RecordInfo {
        position: Position::from(position),
        arrival: Some(Millis(position as i64 * apart_ms)),
        bytes: 100,
        done: true,
        log_stream: Some(format!("stream-{shard}").into()),
        ..RecordInfo::default()
    }
}

fn make_item(end: usize) -> Item {
    Item {
        end: end as u32,
        record: 0,
        id: EventId(end as u128),
        time: Millis(0),
        kind: Kind::Ike,
        action: Action::Rekey,
        severity: Severity::Info,
    }
}
