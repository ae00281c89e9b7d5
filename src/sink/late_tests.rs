#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::delivery::{Abandoned, BatchId, Encoded, Receipt, Selection};
use crate::source::{Position, ShardId};

/// What the real sink was told, in order.
type Heard = Arc<Mutex<Vec<String>>>;

struct Real(Heard);

#[async_trait]
impl Sink for Real {
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, seal: Option<Seal>) {
        let keys = seal.map(|seal| seal.keys.join(" ")).unwrap_or_default();
        self.hear(format!("open {} {} {} [{keys}]", lane.0, key.shard.shard, epoch.0));
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        self.hear(format!("batch {} {}", batch.lane.0, batch.batch.0));
        let _ = batch.receipt.settle_all();
        Ok(())
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        self.hear(format!("{what:?} {} {}", lane.0, epoch.0));
    }

    async fn next(&mut self) -> FromSink {
        FromSink::Failed("of the real one".into())
    }

    async fn close(&mut self) -> Result<(), String> {
        self.hear("close".into());
        Ok(())
    }
}

impl Real {
    fn hear(&self, word: String) {
        self.0.lock().unwrap().push(word);
    }
}

/// A destination whose tries end like this, each after `lasting`; when none is left, it is there.
struct Destination {
    heard: Heard,
    tries: Arc<AtomicU32>,
    lasting: Duration,
    failures: Vec<ConnectError>,
}

fn away(reason: &str) -> ConnectError {
    ConnectError::Passing(reason.into())
}

impl Destination {
    fn new(failures: Vec<ConnectError>) -> Destination {
        Destination { heard: Heard::default(), tries: Arc::default(), lasting: Duration::ZERO, failures }
    }

    fn connect(&self) -> Connect {
        let mut failures = self.failures.clone().into_iter();
        let (heard, tries, lasting) = (Arc::clone(&self.heard), Arc::clone(&self.tries), self.lasting);
        Box::new(move || {
            let (outcome, heard) = (failures.next(), Arc::clone(&heard));
            tries.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(lasting).await;
                match outcome {
                    Some(error) => Err(error),
                    None => Ok(Box::new(Real(heard)) as Box<dyn Sink>),
                }
            })
        })
    }

    async fn open(&self) -> Box<dyn Sink> {
        open("sink", self.connect()).await.unwrap()
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    fn tries(&self) -> u32 {
        self.tries.load(Ordering::Relaxed)
    }
}

fn key(lane: u32) -> LaneKey {
    let [source, stream, stream_created] = ["main", "vpn", "0"].map(Arc::from);
    let shard = ShardId { source, stream, stream_created, shard: format!("shard-{lane}").into() };
    LaneKey { pipeline: "p".into(), shard, sink: "sink".into() }
}

fn seal(name: &str) -> Seal {
    let (start, end) = (Position::default(), Position::default());
    Seal { start, end, keys: vec![name.into()], upload_ids: vec!["u".into()] }
}

fn batch(lane: u32, number: u64) -> LaneBatch {
    let (lane, epoch, batch, own) = (LaneId(lane), Epoch::default(), BatchId(number), Selection::All);
    let receipt = Receipt::new(lane, epoch, batch, 1, &own, &Arc::new(Abandoned::default()));
    LaneBatch { lane, epoch, batch, encoded: Arc::new(Encoded::default()).into(), own, receipt }
}

fn say(word: &FromSink) -> String {
    match word {
        FromSink::Down(reason) => format!("down {reason}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// What is said until it hands on the real one's words.
async fn said(sink: &mut dyn Sink) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        match sink.next().await {
            FromSink::Failed(reason) => {
                assert_eq!(reason, "of the real one");
                return words;
            }
            word => words.push(say(&word)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_there_at_once_needs_no_stand_in_and_what_stands_ends_the_start() {
    let there = Destination::new(Vec::new());
    assert_eq!(said(there.open().await.as_mut()).await, Vec::<String>::new());
    let denied = Destination::new(vec![ConnectError::Standing("denied".into())]);
    assert_eq!(open("sink", denied.connect()).await.err().unwrap(), "denied");
}

#[tokio::test(start_paused = true)]
async fn lanes_are_opened_in_their_newest_epoch_with_their_seal() {
    let destination = Destination::new(vec![away("refused"); 5]);
    let mut sink = destination.open().await;
    assert_eq!(say(&sink.next().await), "down refused");
    sink.open(LaneId(0), &key(0), Epoch(0), Some(seal("old")));
    sink.open(LaneId(1), &key(1), Epoch(0), Some(seal("one")));
    sink.open(LaneId(2), &key(2), Epoch(0), None);
    sink.open(LaneId(3), &key(3), Epoch(0), None);
    // Rewound: void, and opened anew.
    sink.tell(LaneId(0), Epoch(2), Tell::Discard);
    sink.open(LaneId(0), &key(0), Epoch(2), Some(seal("new")));
    // Words of an epoch that is over.
    sink.tell(LaneId(0), Epoch(1), Tell::Finish);
    sink.tell(LaneId(0), Epoch(1), Tell::Discard);
    // Parked: it is opened again when it comes back.
    sink.tell(LaneId(2), Epoch(1), Tell::Discard);
    sink.tell(LaneId(3), Epoch(0), Tell::Barrier);
    sink.tell(LaneId(3), Epoch(0), Tell::Flush);
    sink.tell(LaneId(3), Epoch(0), Tell::Finish);
    assert_eq!(said(sink.as_mut()).await, ["up", "room"], "the same reason is said once");
    assert_eq!(
        destination.heard(),
        ["open 0 shard-0 2 [new]", "open 1 shard-1 0 [one]", "open 3 shard-3 0 []", "Finish 3 0"]
    );
    sink.open(LaneId(2), &key(2), Epoch(1), None);
    sink.tell(LaneId(2), Epoch(1), Tell::Barrier);
    sink.close().await.unwrap();
    assert_eq!(destination.heard()[4..], ["open 2 shard-2 1 []", "Barrier 2 1", "close"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_refused_until_there_is_room() {
    let destination = Destination::new(vec![away("refused"); 3]);
    let mut sink = destination.open().await;
    sink.open(LaneId(0), &key(0), Epoch(0), None);
    let refused = sink.submit(batch(0, 7)).expect_err("nothing is held");
    assert_eq!(refused.batch, BatchId(7));
    assert_eq!(said(sink.as_mut()).await, ["down refused", "up", "room"]);
    sink.submit(refused).map_err(|_| "refused").unwrap();
    assert_eq!(destination.heard(), ["open 0 shard-0 0 []", "batch 0 7"]);
}

#[tokio::test(start_paused = true)]
async fn a_try_goes_on_whoever_stops_listening() {
    let mut destination = Destination::new(vec![away("refused")]);
    destination.lasting = Duration::from_secs(5);
    let mut sink = destination.open().await;
    assert_eq!(say(&sink.next().await), "down refused");
    let begun = Instant::now();
    let mut interrupted = 0;
    let word = loop {
        match timeout(Duration::from_millis(30), sink.next()).await {
            Ok(word) => break word,
            Err(_) => interrupted += 1,
        }
    };
    assert_eq!(say(&word), "up");
    assert!(interrupted > 100, "{interrupted}");
    assert_eq!(destination.tries(), 2, "no try began anew");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_trying_with_growing_pauses_and_says_what_is_new() {
    let mut failures = vec![away("refused after 3 ms"), away("refused after 12 ms"), away("busy")];
    failures.push(ConnectError::Standing("denied".into()));
    failures.extend(vec![ConnectError::Standing("denied".into()); 20]);
    let destination = Destination::new(failures);
    let begun = Instant::now();
    let mut sink = destination.open().await;
    assert_eq!(said(sink.as_mut()).await, ["down refused after 3 ms", "down busy", "down denied", "up", "room"]);
    let lasted = begun.elapsed();
    assert!(lasted > Duration::from_secs(240) && lasted < Duration::from_secs(540), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_try_that_hangs_ends() {
    let mut destination = Destination::new(Vec::new());
    destination.lasting = TRY * 2;
    let begun = Instant::now();
    let mut sink = destination.open().await;
    assert_eq!(begun.elapsed(), FIRST_TRY, "the others wait no longer");
    let reason = say(&sink.next().await);
    assert!(reason.starts_with("down no answer within 20s: check the address"), "{reason}");
    let again = timeout(TRY * 3, sink.next()).await;
    assert!(again.is_err(), "120s in place of 20s is no news");
    assert!(destination.tries() >= 3, "{}", destination.tries());
    sink.close().await.unwrap();
}
