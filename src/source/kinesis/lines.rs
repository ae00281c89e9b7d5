//! Subscriptions to shards: the events of each, taken one at a time, and the connections that carry them.
//!
//! Nothing is read ahead: an event is taken when the reader asks for it, and what the service sends meanwhile waits in
//! HTTP/2's window (2 MB a subscription, 5 MB a connection). Subscriptions that share a connection share that window, so
//! one that nobody takes from could stop the others: it is given up after [`STALLED`], and its reader subscribes again
//! where it stands. [`PER_CONNECTION`] keeps what waits small, and below what a connection may carry at a time.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{SubscribeToShardEvent, SubscribeToShardEventStream};
use tokio::time::Instant;

use super::api::{Api, SUBSCRIBE};
use super::lock;
use crate::aws::{AwsError, Place, causes};

/// A subscription's events, as the SDK has them.
pub(super) type Events = EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>;

/// Subscriptions on one connection: 640 KB each of what may wait there.
const PER_CONNECTION: usize = 8;

/// A subscription that nobody has taken from for this long is given up.
pub(super) const STALLED: Duration = Duration::from_secs(10);

/// Nothing came for this long: the connection is half open. Kinesis sends an event every few seconds, also of a quiet
/// shard.
const SILENCE: Duration = Duration::from_secs(35);

/// A subscription is renewed when it is this old: the service ends it after five minutes.
const RENEWAL: Duration = Duration::from_secs(4 * 60 + 45);

/// Why there are no more events.
#[derive(Debug)]
pub(super) enum Over {
    /// It is time to renew it, or the service has ended it.
    Old,
    /// Nothing came for too long.
    Silent,
    /// Nobody took events for too long.
    Stalled,
    /// The service or the way to it failed.
    Failed(AwsError),
}

type Received = Result<Option<SubscribeToShardEvent>, AwsError>;
type Receiving = Pin<Box<dyn Future<Output = (Events, Received)> + Send>>;

/// One subscription. Dropping it closes the stream.
pub(super) struct Line {
    held: Arc<Mutex<Held>>,
    since: Instant,
    heard: Instant,
    place: Place,
    /// Counts as one of its connection's.
    _client: Arc<Client>,
}

struct Held {
    /// The event that is being received; `None`: the subscription was given up.
    receiving: Option<Receiving>,
    touched: Instant,
}

fn receive(mut events: Events, place: Place) -> Receiving {
    Box::pin(async move {
        let received = loop {
            match events.recv().await {
                Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => break Ok(Some(event)),
                // What a later version of the service adds.
                Ok(Some(_)) => {}
                Ok(None) => break Ok(None),
                Err(error) => break Err(explain(&error, &place)),
            }
        };
        (events, received)
    })
}

fn explain<R>(error: &SdkError<SubscribeToShardEventStreamError, R>, place: &Place) -> AwsError
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let (code, said) = (service.err().code(), service.err().message());
            AwsError::in_stream(SUBSCRIBE, place, Some(code.unwrap_or("an unknown error")), said.unwrap_or_default())
        }
        other => AwsError::in_stream(SUBSCRIBE, place, None, &causes(other)),
    }
}

impl Line {
    /// When it must be looked at again whether or not an event comes.
    pub(super) fn due(&self) -> Instant {
        (self.heard + SILENCE).min(self.since + RENEWAL)
    }

    /// The next event. Cancel-safe: what was received is kept until it is taken.
    pub(super) async fn next(&mut self) -> Result<SubscribeToShardEvent, Over> {
        let now = Instant::now();
        if now >= self.since + RENEWAL {
            return Err(Over::Old);
        }
        let received = match tokio::time::timeout_at(self.due(), poll_fn(|context| self.poll(context))).await {
            Ok(received) => received.ok_or(Over::Stalled)?,
            Err(_) if Instant::now() >= self.since + RENEWAL => return Err(Over::Old),
            Err(_) => return Err(Over::Silent),
        };
        self.heard = Instant::now();
        received.map_err(Over::Failed)?.ok_or(Over::Old)
    }

    /// `None`: it was given up.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Received>> {
        let mut held = lock(&self.held);
        held.touched = Instant::now();
        let Some(receiving) = &mut held.receiving else { return Poll::Ready(None) };
        let Poll::Ready((events, received)) = receiving.as_mut().poll(context) else { return Poll::Pending };
        held.receiving = Some(receive(events, self.place.clone()));
        Poll::Ready(Some(received))
    }
}

/// The connections, and what they carry.
#[derive(Default)]
pub(super) struct Lines {
    /// One client a connection; a line holds its client, which counts it.
    clients: Mutex<Vec<Arc<Client>>>,
    open: Mutex<Vec<Weak<Mutex<Held>>>>,
}

impl Lines {
    /// A client whose connection has room.
    pub(super) fn client(&self, api: &Api) -> Arc<Client> {
        let mut clients = lock(&self.clients);
        // One more is the list's own.
        if let Some(client) = clients.iter().find(|client| Arc::strong_count(client) <= PER_CONNECTION) {
            return Arc::clone(client);
        }
        let client = Arc::new(api.client());
        clients.push(Arc::clone(&client));
        client
    }

    /// A subscription that was accepted.
    pub(super) fn line(&self, events: Events, client: Arc<Client>, place: &Place) -> Line {
        let now = Instant::now();
        let held = Held { receiving: Some(receive(events, place.clone())), touched: now };
        let held = Arc::new(Mutex::new(held));
        lock(&self.open).push(Arc::downgrade(&held));
        Line { held, since: now, heard: now, place: place.clone(), _client: client }
    }

    /// Gives up what nobody takes from, and forgets what is closed. How many are left.
    pub(super) fn sweep(&self, now: Instant) -> usize {
        let mut open = lock(&self.open);
        open.retain(|held| {
            let Some(held) = held.upgrade() else { return false };
            let mut held = lock(&held);
            if now >= held.touched + STALLED {
                held.receiving = None;
            }
            held.receiving.is_some()
        });
        let mut kept = false;
        // An unused connection is closed; one is kept for the next subscription.
        lock(&self.clients).retain(|client| Arc::strong_count(client) > 1 || !std::mem::replace(&mut kept, true));
        open.len()
    }
}
