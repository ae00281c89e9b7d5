//! A sink whose destination is away when the pipeline starts: the others start without it.
//!
//! What fails *in passing* at the first try ([`ConnectError::Passing`]) does not hold up the start: a stand-in takes its
//! place. It says that it is down, refuses every batch, and tries to connect again with pauses. Once it has
//! connected, it opens the lanes that are open by then, in their newest epoch and with their seal, says that it is up
//! and that there is room, and hands everything on from then on. What is *standing* at the first try ends the start: a
//! person is there and has just changed something.
//!
//! What is found standing later does not end a pipeline that runs: it stays down, says what to do and goes on trying,
//! as every sink does whose topic or permission is taken away while it runs. One sink's trouble is its own.
//!
//! Invariants: no batch is held, so nothing has to be settled, sealed or discarded here; one open lane costs one entry.
//! One try is under way at a time and ends within two minutes.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until, timeout};
use xxhash_rust::xxh3::xxh3_64;

use super::{ConnectError, FromSink, Sink, Tell};
use crate::backoff::Backoff;
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal};

/// A try that is under way.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Sink>, ConnectError>> + Send>>;

/// Begins a try.
pub type Connect = Box<dyn FnMut() -> Connecting + Send>;

/// How long the first try may take, since the start of the others waits for it. The tries of the AWS SDK (three, about
/// 3 s to connect) and of the Kafka client (10 s) end sooner and say more.
const FIRST_TRY: Duration = Duration::from_secs(20);

/// How long a later one may take: nobody waits for it, and a long list of old uploads has to fit.
const TRY: Duration = Duration::from_secs(120);

/// Opens a sink, or a stand-in that opens it later.
///
/// # Errors
/// What is wrong and what to do, where waiting would not help.
pub async fn open(name: &str, mut connect: Connect) -> Result<Box<dyn Sink>, String> {
    match within(FIRST_TRY, connect()).await {
        Ok(sink) => Ok(sink),
        Err(ConnectError::Standing(reason)) => Err(reason),
        Err(ConnectError::Passing(reason)) => {
            tracing::warn!(
                sink = name,
                reason,
                "the sink's destination is away; the pipeline starts without it and tries it again, nothing is lost"
            );
            Ok(Box::new(Late::new(name, connect, reason)))
        }
    }
}

async fn within(limit: Duration, connecting: Connecting) -> Result<Box<dyn Sink>, ConnectError> {
    let late = || ConnectError::Passing(format!("no answer within {limit:?}: check the address and the network"));
    timeout(limit, connecting).await.unwrap_or_else(|_| Err(late()))
}

/// A lane that was opened meanwhile.
struct Opened {
    key: LaneKey,
    epoch: Epoch,
    seal: Option<Seal>,
    /// Nothing more will come for it.
    finished: bool,
}

enum Step {
    Pause(Instant),
    Try(Connecting),
}

/// A destination that is not connected.
struct Away {
    connect: Connect,
    backoff: Backoff,
    /// Kept here, so that whoever drops [`Sink::next`] interrupts neither a pause nor a try.
    step: Step,
    lanes: BTreeMap<LaneId, Opened>,
    /// What was said last.
    reason: String,
}

enum State {
    Away(Box<Away>),
    Here(Box<dyn Sink>),
}

/// See the module.
struct Late {
    state: State,
    words: VecDeque<FromSink>,
}

impl Late {
    fn new(name: &str, connect: Connect, reason: String) -> Late {
        let mut backoff = Backoff::new(xxh3_64(name.as_bytes()));
        let step = Step::Pause(Instant::now() + backoff.next());
        let words = VecDeque::from([FromSink::Down(reason.clone())]);
        let away = Away { connect, backoff, step, lanes: BTreeMap::new(), reason };
        Late { state: State::Away(Box::new(away)), words }
    }

    fn arrived(&mut self, mut sink: Box<dyn Sink>, lanes: BTreeMap<LaneId, Opened>) {
        for (lane, Opened { key, epoch, seal, finished }) in lanes {
            sink.open(lane, &key, epoch, seal);
            if finished {
                sink.tell(lane, epoch, Tell::Finish);
            }
        }
        self.state = State::Here(sink);
        self.words.extend([FromSink::Up, FromSink::Room]);
    }
}

/// What a step has come to.
enum News {
    Nothing,
    Reason(String),
    Here(Box<dyn Sink>),
}

impl Away {
    async fn step(&mut self) -> News {
        let connecting = match &mut self.step {
            Step::Pause(until) => {
                sleep_until(*until).await;
                self.step = Step::Try(Box::pin(within(TRY, (self.connect)())));
                return News::Nothing;
            }
            Step::Try(connecting) => connecting,
        };
        let error = match connecting.await {
            Ok(sink) => return News::Here(sink),
            Err(error) => error.to_string(),
        };
        self.step = Step::Pause(Instant::now() + self.backoff.next());
        tracing::debug!(error, "the sink's destination is still away");
        if is_same(&error, &self.reason) {
            return News::Nothing;
        }
        self.reason.clone_from(&error);
        News::Reason(error)
    }

    fn open(&mut self, lane: LaneId, opened: Opened) {
        if self.lanes.get(&lane).is_none_or(|known| known.epoch <= opened.epoch) {
            self.lanes.insert(lane, opened);
        }
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        match what {
            // A lane that comes back is opened again.
            Tell::Discard => {
                if self.lanes.get(&lane).is_some_and(|opened| opened.epoch < epoch) {
                    self.lanes.remove(&lane);
                }
            }
            Tell::Finish => {
                if let Some(opened) = self.lanes.get_mut(&lane).filter(|opened| opened.epoch == epoch) {
                    opened.finished = true;
                }
            }
            // Nothing is held that could be settled, and no seal was asked for.
            Tell::Barrier | Tell::Hasten | Tell::Flush | Tell::SealCommitted => {}
        }
    }
}

/// Whether two reasons differ at most in numbers: some say how many milliseconds a try took.
fn is_same(one: &str, other: &str) -> bool {
    let letters = |text: &'_ str| text.chars().filter(|letter| !letter.is_ascii_digit()).collect::<String>();
    letters(one) == letters(other)
}

#[async_trait]
impl Sink for Late {
    fn open(&mut self, lane: LaneId, key: &LaneKey, epoch: Epoch, seal: Option<Seal>) {
        match &mut self.state {
            State::Away(away) => away.open(lane, Opened { key: key.clone(), epoch, seal, finished: false }),
            State::Here(sink) => sink.open(lane, key, epoch, seal),
        }
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        match &mut self.state {
            State::Away(_) => Err(batch),
            State::Here(sink) => sink.submit(batch),
        }
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        match &mut self.state {
            State::Away(away) => away.tell(lane, epoch, what),
            State::Here(sink) => sink.tell(lane, epoch, what),
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if let Some(word) = self.words.pop_front() {
                return word;
            }
            let (news, lanes) = match &mut self.state {
                State::Here(sink) => return sink.next().await,
                State::Away(away) => (away.step().await, &mut away.lanes),
            };
            match news {
                News::Nothing => {}
                News::Reason(reason) => return FromSink::Down(reason),
                News::Here(sink) => {
                    let lanes = std::mem::take(lanes);
                    self.arrived(sink, lanes);
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        match &mut self.state {
            State::Away(_) => Ok(()),
            State::Here(sink) => sink.close().await,
        }
    }
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;
