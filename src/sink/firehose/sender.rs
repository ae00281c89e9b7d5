//! The sink itself: gathers, sends, sends again, settles.
//!
//! Invariants: an item is in exactly one of these places: gathering, waiting to be sent again, under way, suspected,
//! on its way to the dead letters. It settles when a record with it is accepted or its dead letter is durable.
//!
//! Memory: what is held (see [`Held`]: 16 MiB and one batch), and for each of four requests under way its records,
//! their base64 and the serializer's spare room: 4 × (3 + 4 + 4) MiB.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

use super::compress::compressed;
use super::pack::{Packer, Parcel, record_bytes};
use super::shipment::{HELD, Shipment, bytes_of};
use super::stream::{Failure, Stream, Verdict};
use crate::aws::Class;
use crate::config::types::Compression;
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::sink::custody::Custody;
use crate::sink::held::{Flight, Run, Ticket, first_landed};
use crate::sink::trouble::{Failed, Trouble};
use crate::sink::{Context, FromSink, Sink, Tell};

/// How long items gather where each has a record of its own: only requests are saved, which have no price.
const SHORT_LINGER: Duration = Duration::from_secs(1);

/// How items become records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packing {
    /// Many items a record, or one.
    pub packed: bool,
    /// Of packed records.
    pub compression: Compression,
    /// How long items gather before a request is sent that is not full.
    pub linger: Duration,
}

/// How often an item is tried alone while nothing else is accepted that would prove the stream good: some seconds of
/// pauses. Then it is taken for what is wrong.
const SUSPECT_TRIES: u32 = 6;

/// Requests that are sent at once while all is well. Each weighs up to 4 MiB and waits for its answer for some 50 ms to
/// 1 s, so four keep a stream's default limit (1 to 5 MiB/s) busy.
const IN_FLIGHT: usize = 4;

/// What has come back.
enum Landed {
    Answer(Shipment, Result<Vec<Verdict>, Failure>),
    /// Dead letters are durable.
    Kept(Vec<Run>),
}

/// See the module.
pub(super) struct Sender {
    stream: Stream,
    custody: Custody,
    packer: Packer,
    packing: Packing,
    /// When what gathers is sent, full or not.
    due: Option<Instant>,
    again: VecDeque<Shipment>,
    /// Single items that were refused while nothing else was accepted.
    suspects: Vec<Shipment>,
    flights: Vec<Flight<Landed>>,
    /// Requests among the flights.
    sent: usize,
    /// Records accepted so far.
    accepted: u64,
    trouble: Trouble<(Class, Option<String>)>,
}

impl Sender {
    pub(super) fn new(stream: Stream, context: Context, packing: Packing) -> Sender {
        let linger = if packing.packed { packing.linger } else { packing.linger.min(SHORT_LINGER) };
        let packing = Packing { linger, ..packing };
        let seed = xxh3_64(context.name.as_bytes());
        Sender {
            stream,
            custody: Custody::new(context, HELD),
            packer: Packer::new(packing.packed, record_bytes(packing.compression)),
            packing,
            due: None,
            again: VecDeque::new(),
            suspects: Vec::new(),
            flights: Vec::new(),
            sent: 0,
            accepted: 0,
            trouble: Trouble::new(seed, IN_FLIGHT),
        }
    }

    /// Sends what is to be sent now.
    fn depart(&mut self) {
        let now = Instant::now();
        if self.trouble.pause().is_none_or(|time| time <= now) {
            self.trouble.resume();
            while self.sent < self.trouble.in_flight()
                && let Some(shipment) = self.next_shipment(now)
            {
                self.send(shipment);
            }
        }
        if let Some(keeping) = self.custody.keep() {
            self.flights.push(Box::pin(async move { Landed::Kept(keeping.await) }));
        }
        self.custody.offer_room();
    }

    fn next_shipment(&mut self, now: Instant) -> Option<Shipment> {
        loop {
            let mut shipment = match self.again.pop_front() {
                Some(shipment) => shipment,
                None => match self.gathered(now) {
                    Some(parcels) => Shipment::of(parcels),
                    None if self.try_suspects() => continue,
                    None => return None,
                },
            };
            shipment.prune(&self.custody.held);
            if !shipment.parcels.is_empty() {
                return Some(shipment);
            }
        }
    }

    fn send_now(&mut self) {
        self.due = self.due.map(|due| due.min(Instant::now()));
    }

    fn gathered(&mut self, now: Instant) -> Option<Vec<Parcel>> {
        let request = self.packer.request(self.due.is_some_and(|due| due <= now));
        if self.packer.is_empty() {
            self.due = None;
        }
        request
    }

    /// Where there is nothing else that could show whether the stream or the items are to blame.
    fn try_suspects(&mut self) -> bool {
        if self.sent > 0 || !self.packer.is_empty() {
            return false;
        }
        for shipment in std::mem::take(&mut self.suspects) {
            if shipment.refusals < SUSPECT_TRIES {
                self.again.push_back(shipment);
            } else {
                self.reject(shipment);
            }
        }
        !self.again.is_empty()
    }

    fn send(&mut self, shipment: Shipment) {
        let records = shipment.parcels.iter().map(|parcel| bytes_of(parcel, &self.custody.held)).collect();
        let (stream, compression) = (self.stream.clone(), self.packing.compression);
        self.sent += 1;
        self.flights.push(Box::pin(async move {
            let outcome = match compressed(compression, records).await {
                Ok(records) => stream.put(records).await,
                Err(error) => Err(stream.not_sent(&error)),
            };
            Landed::Answer(shipment, outcome)
        }));
    }

    fn land(&mut self, landed: Landed) {
        match landed {
            Landed::Answer(shipment, outcome) => {
                self.sent -= 1;
                match outcome {
                    Ok(verdicts) => self.judge(shipment, verdicts),
                    Err(failure) => {
                        let why = failure.text.clone();
                        let passes = failure.passes;
                        self.custody.say(self.trouble.failed(Instant::now(), failure.failed()));
                        if passes {
                            self.again.push_front(shipment);
                        } else {
                            self.refuse(shipment, self.accepted, why);
                        }
                    }
                }
            }
            Landed::Kept(runs) => self.custody.kept(&runs),
        }
    }

    /// An answer record by record.
    fn judge(&mut self, shipment: Shipment, verdicts: Vec<Verdict>) {
        let before = self.accepted;
        let (mut taken, mut again, mut refused, mut why) = (Vec::new(), Vec::new(), Vec::new(), None);
        for (parcel, verdict) in shipment.parcels.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Accepted => taken.push(parcel),
                Verdict::Again(text) => {
                    why = Some(text);
                    again.push(parcel);
                }
                Verdict::Refused(text) => refused.push((parcel, text)),
            }
        }
        let now = Instant::now();
        self.accepted += taken.len() as u64;
        if self.accepted > before {
            self.custody.say(self.trouble.accepted(now, !again.is_empty()));
            // Now a refusal says something about the item.
            self.again.extend(self.suspects.drain(..));
        } else {
            let said = why.as_deref().or(refused.first().map(|(_, text)| text.as_str())).unwrap_or_default();
            let text = format!("{} takes none of the records sent: {said}", self.stream.place);
            let what = (Class::Throttled, None);
            let failed = Failed { what, text, passes: why.is_some(), needs_a_person: false };
            self.custody.say(self.trouble.failed(now, failed));
        }
        for parcel in taken {
            self.custody.settle(&parcel.runs);
        }
        if !again.is_empty() {
            self.again.push_front(Shipment { parcels: again, refused_at: shipment.refused_at, ..Shipment::default() });
        }
        for (parcel, text) in refused {
            // How often it was refused alone goes along, or a stream that accepts nothing else would never let it go.
            let (refused_at, refusals) = (shipment.refused_at, shipment.refusals);
            self.refuse(Shipment { refused_at, refusals, ..Shipment::of(vec![parcel]) }, before, text);
        }
    }

    /// Something in it is refused. A single item is the culprit if the stream has accepted others since; until then it is
    /// only suspected, since a stream may refuse everything.
    fn refuse(&mut self, mut shipment: Shipment, accepted_before: u64, why: String) {
        let since = *shipment.refused_at.get_or_insert(accepted_before);
        match shipment.halves(&self.custody.held) {
            // To the end of the queue: what else waits there may show that the stream is good.
            Ok(halves) => self.again.extend(halves),
            Err(mut item) => {
                item.refusals += 1;
                item.why = why;
                if self.accepted > since { self.reject(item) } else { self.suspects.push(item) }
            }
        }
    }

    fn reject(&mut self, item: Shipment) {
        for run in item.parcels.into_iter().flat_map(|parcel| parcel.runs) {
            self.custody.reject(run, "refused", item.why.clone());
        }
    }

    /// When something is to be done if nothing lands before.
    fn alarm(&self) -> Option<Instant> {
        if let Some(pause) = self.trouble.pause() {
            return Some(pause);
        }
        self.due.filter(|_| self.sent < self.trouble.in_flight())
    }

    fn gather(&mut self, ticket: Ticket) {
        let Some(batch) = self.custody.held.get(ticket) else { return };
        let mut too_large = Vec::new();
        for (index, _, bytes) in batch.items() {
            if bytes.len() <= self.packer.record_bytes() {
                self.packer.add(ticket, index, bytes.len());
                continue;
            }
            self.packer.leave_out();
            let detail = format!("{} bytes; a Firehose record takes {}", bytes.len(), self.packer.record_bytes());
            too_large.push((Run { ticket, items: index..index + 1 }, detail));
        }
        for (run, detail) in too_large {
            self.custody.reject(run, "too_large", detail);
        }
        if !self.packer.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + self.packing.linger);
        }
    }
}

#[async_trait]
impl Sink for Sender {
    fn open(&mut self, lane: LaneId, key: &LaneKey, _: Epoch, _: Option<Seal>) {
        self.custody.open(lane, key);
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        match self.custody.take(batch) {
            Ok(ticket) => {
                ticket.into_iter().for_each(|ticket| self.gather(ticket));
                Ok(())
            }
            Err(batch) => {
                // Nothing more comes that could fill a record.
                self.send_now();
                Err(batch)
            }
        }
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        match what {
            Tell::Hasten | Tell::Flush | Tell::Finish => self.send_now(),
            // A checkpoint comes each second, and a record is billed as 5 KiB: what gathers goes when `linger` is over.
            Tell::Barrier => {}
            Tell::Discard => {
                self.custody.discard(lane, epoch);
                let held = &self.custody.held;
                self.packer.retain(|ticket| held.has(ticket));
                if self.packer.is_empty() {
                    self.due = None;
                }
            }
            // Nothing is sealed here.
            Tell::SealCommitted => {}
        }
    }

    async fn next(&mut self) -> FromSink {
        loop {
            if let Some(word) = self.custody.word() {
                return word;
            }
            self.depart();
            if let Some(word) = self.custody.word() {
                return word;
            }
            let alarm = self.alarm();
            tokio::select! {
                landed = first_landed(&mut self.flights), if !self.flights.is_empty() => self.land(landed),
                () = sleep_until(alarm.unwrap_or_else(Instant::now)), if alarm.is_some() => {}
                else => std::future::pending().await,
            }
        }
    }

    async fn close(&mut self) -> Result<(), String> {
        // What is under way is not settled: the next run sends it again.
        self.flights.clear();
        Ok(())
    }
}
