//! The sink itself: gathers, sends, waits for acknowledgements, sends again, settles.
//!
//! Invariants: an item is in exactly one of these places: gathering, waiting to be sent again, under way, awaiting its
//! acknowledgement in a channel, suspected, on its way to the dead letters. It settles when the request with it is
//! acknowledged (without acknowledgement: taken) or its dead letter is durable.
//!
//! Memory: what is held ([`HELD`]: 32 MiB and one batch), and for each request under way its body of 1 MB (or one larger
//! event), and that compressed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_64;

use super::answer::{Class, advice};
use super::channel::{Channel, MOST_AWAITED};
use super::client::{Client, Failure, Route, Taken};
use super::envelope;
use super::guid;
use super::settings::Settings;
use super::shipment::{Apart, Gathering, HELD, Place, Shipment, apart};
use crate::delivery::{Epoch, LaneBatch, LaneId, LaneKey, Seal};
use crate::sink::custody::Custody;
use crate::sink::held::{Flight, Run, Ticket, first_landed};
use crate::sink::trouble::Trouble;
use crate::sink::{Context, FromSink, Sink, Tell};

/// How long items gather before a request is sent that is not full.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Channels, and so requests under way: each waits for its answer for some 10 to 500 ms. With more endpoints one each.
const CHANNELS: usize = 4;

/// How often an item is tried alone while nothing else is taken that would prove the collector good: some seconds of
/// pauses. Then it is taken for what is wrong.
const SUSPECT_TRIES: u32 = 6;

/// What has come back.
enum Landed {
    /// Events were sent on this channel.
    Sent(usize, Shipment, Vec<Place>, Result<Taken, Failure>),
    /// This channel was asked for acknowledgements.
    Asked(usize, Result<Vec<u64>, Failure>),
    /// Dead letters are durable.
    Kept(Vec<Run>),
}

/// One address.
struct Endpoint {
    address: Arc<str>,
    trouble: Trouble<(Class, Option<u16>)>,
    /// Requests with events that are under way.
    sending: usize,
    /// It has said that it is down.
    is_down: bool,
    /// When something was acknowledged last.
    acknowledged_at: Option<Instant>,
}

/// See the module.
pub(super) struct Sender {
    custody: Custody,
    client: Client,
    settings: Settings,
    gathering: Gathering,
    /// When what gathers is sent, full or not.
    due: Option<Instant>,
    again: VecDeque<Shipment>,
    /// Single items that were refused while nothing else was taken.
    suspects: Vec<Shipment>,
    endpoints: Vec<Endpoint>,
    channels: Vec<Channel>,
    flights: Vec<Flight<Landed>>,
    /// Requests taken so far.
    taken: u64,
    /// `Down` was said.
    is_down: bool,
}

impl Sender {
    pub(super) fn new(context: Context, client: Client, settings: Settings) -> Result<Sender, String> {
        let count = settings.endpoints.len();
        let endpoint = |address: &Arc<str>| Endpoint {
            address: Arc::clone(address),
            trouble: Trouble::new(xxh3_64(format!("{} {address}", context.name).as_bytes()), CHANNELS),
            sending: 0,
            is_down: false,
            acknowledged_at: None,
        };
        let channel = |index: usize| Ok::<_, String>(Channel::new(index % count, guid()?));
        Ok(Sender {
            endpoints: settings.endpoints.iter().map(endpoint).collect(),
            channels: (0..CHANNELS.max(count)).map(channel).collect::<Result<_, _>>()?,
            custody: Custody::new(context, HELD),
            client,
            settings,
            gathering: Gathering::default(),
            due: None,
            again: VecDeque::new(),
            suspects: Vec::new(),
            flights: Vec::new(),
            taken: 0,
            is_down: false,
        })
    }

    /// Begins what is to be begun now.
    fn depart(&mut self) {
        let now = Instant::now();
        for endpoint in &mut self.endpoints {
            if endpoint.trouble.pause().is_some_and(|time| time <= now) {
                endpoint.trouble.resume();
            }
        }
        self.send_overdue_again(now);
        self.ask(now);
        self.give_up_doubts();
        while let Some(channel) = self.free_channel()
            && let Some(shipment) = self.next_shipment(now)
        {
            self.send(channel, shipment);
        }
        if let Some(keeping) = self.custody.keep() {
            self.flights.push(Box::pin(async move { Landed::Kept(keeping.await) }));
        }
        self.custody.offer_room();
    }

    /// What has not been acknowledged in time goes again.
    fn send_overdue_again(&mut self, now: Instant) {
        let Some(patience) = self.settings.ack_timeout else { return };
        for index in 0..self.channels.len() {
            let late = self.channels[index].overdue(now, patience);
            let Some(first) = late.iter().map(|(_, sent)| *sent).min() else { continue };
            let (endpoint, requests) = (self.channels[index].endpoint, late.len());
            let address = Arc::clone(&self.endpoints[endpoint].address);
            tracing::warn!(sink = %self.custody.context.name, endpoint = %address, requests, ?patience, "events were not acknowledged in time; they are sent again with the same ids");
            self.again.extend(late.into_iter().map(|(shipment, _)| shipment));
            if self.endpoints[endpoint].acknowledged_at.is_none_or(|time| time < first) {
                let text = format!("Splunk at {address}: {} (for {patience:?})", advice(Class::Unacknowledged));
                self.failed(endpoint, unacknowledged(text), true);
            }
        }
    }

    /// Asks for the acknowledgements that are due.
    fn ask(&mut self, now: Instant) {
        for index in 0..self.channels.len() {
            let channel = &mut self.channels[index];
            if self.endpoints[channel.endpoint].trouble.pause().is_some() {
                continue;
            }
            let Some(numbers) = channel.question(now) else { continue };
            channel.is_busy = true;
            let (client, route) = (self.client.clone(), self.route(index));
            self.flights.push(Box::pin(async move {
                let answer = client.acknowledged(&route, &numbers).await;
                Landed::Asked(index, answer)
            }));
        }
    }

    /// A channel in doubt waits for a request that proves its count; where there is none to send, its requests are.
    fn give_up_doubts(&mut self) {
        let nothing_to_send = self.again.is_empty() && self.gathering.is_empty();
        for channel in &mut self.channels {
            let is_open = self.endpoints[channel.endpoint].trouble.pause().is_none();
            if nothing_to_send && is_open && !channel.is_busy && channel.is_in_doubt() {
                renew(channel, &mut self.again);
            }
        }
    }

    /// A channel that may send: one in doubt first, else the one that awaits least.
    fn free_channel(&self) -> Option<usize> {
        let free = |channel: &Channel| {
            let endpoint = &self.endpoints[channel.endpoint];
            let may_send = endpoint.trouble.pause().is_none() && endpoint.sending < endpoint.trouble.in_flight();
            may_send && !channel.is_busy && channel.awaited() < MOST_AWAITED
        };
        let rank = |(_, channel): &(usize, &Channel)| (!channel.is_in_doubt(), channel.awaited());
        let free = self.channels.iter().enumerate().filter(|(_, channel)| free(channel));
        free.min_by_key(rank).map(|(index, _)| index)
    }

    fn next_shipment(&mut self, now: Instant) -> Option<Shipment> {
        loop {
            let mut shipment = match self.again.pop_front() {
                Some(shipment) => shipment,
                None => match self.gathered(now) {
                    Some(shipment) => shipment,
                    None if self.try_suspects() => continue,
                    None => return None,
                },
            };
            shipment.prune(&self.custody.held);
            if !shipment.runs.is_empty() {
                return Some(shipment);
            }
        }
    }

    fn gathered(&mut self, now: Instant) -> Option<Shipment> {
        let request = self.gathering.next(self.due.is_some_and(|due| due <= now));
        if self.gathering.is_empty() {
            self.due = None;
        }
        request
    }

    /// Where there is nothing else that could show whether the collector or the items are to blame.
    fn try_suspects(&mut self) -> bool {
        if self.endpoints.iter().any(|endpoint| endpoint.sending > 0) || !self.gathering.is_empty() {
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

    fn route(&self, channel: usize) -> Route {
        let channel = &self.channels[channel];
        let endpoint = Arc::clone(&self.endpoints[channel.endpoint].address);
        let id = self.settings.ack_timeout.map(|_| Arc::clone(&channel.id));
        Route { endpoint, channel: id, cookies: Arc::clone(&channel.cookies) }
    }

    fn send(&mut self, index: usize, shipment: Shipment) {
        let (places, mut body) = (shipment.places(&self.custody.held), Vec::new());
        for (ticket, item) in &places {
            if let Some(batch) = self.custody.held.get(*ticket) {
                envelope::append(&self.settings.texts, &batch.encoded, *item, &mut body);
            }
        }
        let (client, route) = (self.client.clone(), self.route(index));
        self.channels[index].is_busy = true;
        self.endpoints[self.channels[index].endpoint].sending += 1;
        self.flights.push(Box::pin(async move {
            let outcome = client.events(&route, body).await;
            Landed::Sent(index, shipment, places, outcome)
        }));
    }

    fn land(&mut self, landed: Landed) {
        match landed {
            Landed::Sent(index, shipment, places, outcome) => {
                let channel = &mut self.channels[index];
                channel.is_busy = false;
                self.endpoints[channel.endpoint].sending -= 1;
                match outcome {
                    Ok(taken) => self.were_taken(index, shipment, taken),
                    Err(failure) => self.were_not_taken(index, shipment, &places, failure),
                }
            }
            Landed::Asked(index, answer) => {
                self.channels[index].is_busy = false;
                self.asked(index, answer);
            }
            Landed::Kept(runs) => self.custody.kept(&runs),
        }
    }

    fn were_taken(&mut self, index: usize, shipment: Shipment, taken: Taken) {
        let channel = &mut self.channels[index];
        let endpoint = channel.endpoint;
        if let Some(cookies) = taken.cookies {
            channel.cookies = cookies;
        }
        if self.settings.ack_timeout.is_none() {
            self.taken += 1;
            self.again.extend(self.suspects.drain(..));
            self.works(endpoint);
            return self.custody.settle(&shipment.runs);
        }
        let Some(number) = taken.ack_id else {
            self.again.push_front(shipment);
            let address = &self.endpoints[endpoint].address;
            let text = format!("Splunk at {address}: {}", advice(Class::AckDisabled));
            let failure = Failure { class: Class::AckDisabled, ..unacknowledged(text) };
            return self.failed(endpoint, failure, true);
        };
        self.taken += 1;
        // Now a refusal says something about the item.
        self.again.extend(self.suspects.drain(..));
        let again = channel.taken(number, shipment, Instant::now());
        if !again.is_empty() {
            let (address, requests) = (&self.endpoints[endpoint].address, again.len());
            tracing::warn!(sink = %self.custody.context.name, endpoint = %address, requests, "Splunk counts its acknowledgements anew (a restart, or a load balancer without sticky sessions); what it had not acknowledged is sent again with the same ids");
            self.again.extend(again);
        }
    }

    fn were_not_taken(&mut self, index: usize, shipment: Shipment, places: &[Place], failure: Failure) {
        let channel = &mut self.channels[index];
        if !failure.is_fate_known {
            channel.answer_lost();
        }
        let endpoint = channel.endpoint;
        if failure.class == Class::Channel {
            renew(channel, &mut self.again);
        }
        let blames_events = failure.blames_events(self.settings.has_one_index());
        if blames_events {
            self.refuse(shipment, places, &failure);
        } else {
            self.again.push_front(shipment);
        }
        self.failed(endpoint, failure, !blames_events);
    }

    fn asked(&mut self, index: usize, answer: Result<Vec<u64>, Failure>) {
        let now = Instant::now();
        let channel = &mut self.channels[index];
        let endpoint = channel.endpoint;
        match answer {
            Ok(numbers) => {
                let done = channel.acknowledged(&numbers, now);
                if !done.is_empty() {
                    self.endpoints[endpoint].acknowledged_at = Some(now);
                    self.works(endpoint);
                }
                for shipment in done {
                    self.custody.settle(&shipment.runs);
                }
            }
            Err(failure) => {
                channel.ask_later(now);
                if matches!(failure.class, Class::Channel | Class::AckDisabled) {
                    renew(channel, &mut self.again);
                }
                self.failed(endpoint, failure, true);
            }
        }
    }

    /// An endpoint does what it should.
    fn works(&mut self, index: usize) {
        let endpoint = &mut self.endpoints[index];
        if endpoint.trouble.accepted(Instant::now(), false).is_some() {
            endpoint.is_down = false;
        }
        if std::mem::take(&mut self.is_down) {
            self.custody.say(FromSink::Up);
        }
    }

    /// An endpoint does not. `passes`: the events are not to blame. The sink is down when all endpoints are.
    fn failed(&mut self, index: usize, failure: Failure, passes: bool) {
        let endpoint = &mut self.endpoints[index];
        let Some(FromSink::Down(reason)) = endpoint.trouble.failed(Instant::now(), failure.failed(passes)) else {
            return;
        };
        endpoint.is_down = true;
        if self.endpoints.iter().all(|endpoint| endpoint.is_down) {
            self.is_down = true;
            self.custody.say(FromSink::Down(reason));
        } else {
            tracing::warn!(sink = %self.custody.context.name, reason, "an endpoint is down; the others take its part");
        }
    }

    /// Something in it is refused.
    fn refuse(&mut self, mut shipment: Shipment, places: &[Place], failure: &Failure) {
        let since = *shipment.refused_at.get_or_insert(self.taken);
        match apart(shipment, places, failure.event) {
            // To the end of the queue: what else waits there may show that the collector is good.
            Apart::Parts(parts) => self.again.extend(parts),
            Apart::Culprit(mut item, others) => {
                self.again.extend(others);
                item.refusals += 1;
                item.why.clone_from(&failure.text);
                if self.taken > since { self.reject(item) } else { self.suspects.push(item) }
            }
        }
    }

    fn reject(&mut self, item: Shipment) {
        for run in item.runs {
            self.custody.reject(run, "refused", item.why.clone());
        }
    }

    /// When something is to be done if nothing lands before.
    fn alarm(&self) -> Option<Instant> {
        let pauses = self.endpoints.iter().filter_map(|endpoint| endpoint.trouble.pause());
        let questions =
            self.channels.iter().filter(|channel| self.endpoints[channel.endpoint].trouble.pause().is_none());
        let questions = questions.filter_map(Channel::ask_at);
        let patience = self.settings.ack_timeout;
        let overdue = self.channels.iter().filter_map(|channel| channel.overdue_at(patience?));
        let due = self.due.filter(|_| self.free_channel().is_some());
        pauses.chain(questions).chain(overdue).chain(due).min()
    }

    fn gather(&mut self, ticket: Ticket) {
        let Some(batch) = self.custody.held.get(ticket) else { return };
        let mut scratch = Vec::new();
        for (index, _, _) in batch.items() {
            scratch.clear();
            envelope::append(&self.settings.texts, &batch.encoded, index, &mut scratch);
            self.gathering.add((ticket, index), scratch.len());
        }
        if !self.gathering.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + LINGER);
        }
    }
}

/// Nothing of a channel will be acknowledged.
fn renew(channel: &mut Channel, again: &mut VecDeque<Shipment>) {
    // A system without random numbers would not have let the sink start; the old name is as good as another then.
    let id = guid().unwrap_or_else(|_| Arc::clone(&channel.id));
    again.extend(channel.renew(id));
}

fn unacknowledged(text: String) -> Failure {
    Failure { class: Class::Unacknowledged, code: None, event: None, is_fate_known: true, text }
}

#[async_trait]
impl Sink for Sender {
    fn open(&mut self, lane: LaneId, key: &LaneKey, _: Epoch, _: Option<Seal>) {
        self.custody.open(lane, key);
    }

    fn submit(&mut self, batch: LaneBatch) -> Result<(), LaneBatch> {
        self.custody.take(batch)?.into_iter().for_each(|ticket| self.gather(ticket));
        Ok(())
    }

    fn tell(&mut self, lane: LaneId, epoch: Epoch, what: Tell) {
        match what {
            Tell::Barrier | Tell::Hasten | Tell::Flush | Tell::Finish => {
                self.due = self.due.map(|due| due.min(Instant::now()));
            }
            Tell::Discard => {
                self.custody.discard(lane, epoch);
                let held = &self.custody.held;
                self.gathering.retain(|ticket| held.has(ticket));
                if self.gathering.is_empty() {
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
        // What is under way or not acknowledged is not settled: the next run sends it again.
        self.flights.clear();
        Ok(())
    }
}
