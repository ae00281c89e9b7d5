//! Enhanced fan-out: the consumer, whether it can be used, and what is said when it cannot.
//!
//! The consumer is registered once, or reused, and never deregistered: another process may use it, and it may be named in
//! policies. Whatever keeps fan-out from working, the stream is polled meanwhile and fan-out is tried again later:
//! it is a faster way to the same records, never the only one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::types::ConsumerStatus;
use tokio::time::Instant;

use super::api::Api;
use super::lines::Lines;
use super::lock;
use crate::aws::{AwsError, Class};

/// How long a consumer may take to become active, or to be gone. AWS takes seconds.
const BECOMES_ACTIVE: Duration = Duration::from_secs(60);

/// Between two looks at a consumer that is not active yet.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// After this long it is tried again where it could not be used.
pub(super) const OFF: Duration = Duration::from_secs(5 * 60);

/// It works again when nothing was said against it for this long.
const SETTLED: Duration = Duration::from_secs(30);

/// Why a consumer cannot be used.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It may be possible later: the stream is polled until then.
    Later(String),
    /// A person has to choose another consumer.
    Never(String),
}

/// What there is to subscribe with.
#[derive(Debug)]
enum Consumer {
    /// Its ARN.
    Ready(Arc<str>),
    /// Not before this moment.
    Off(Instant),
}

#[derive(Debug)]
struct Said {
    warned: Instant,
    last: Instant,
}

/// See the module.
pub(super) struct FanOut {
    name: Arc<str>,
    consumer: Mutex<Consumer>,
    /// When it was said that something keeps it from working.
    said: Mutex<Option<Said>>,
    pub lines: Lines,
}

impl FanOut {
    pub(super) fn new(name: &str) -> FanOut {
        FanOut {
            name: name.into(),
            consumer: Mutex::new(Consumer::Off(Instant::now())),
            said: Mutex::default(),
            lines: Lines::default(),
        }
    }

    /// The consumer to subscribe with; `None`: poll.
    pub(super) fn consumer(&self) -> Option<Arc<str>> {
        match &*lock(&self.consumer) {
            Consumer::Ready(arn) => Some(Arc::clone(arn)),
            Consumer::Off(_) => None,
        }
    }

    /// Whether the consumer is to be looked for.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        matches!(&*lock(&self.consumer), Consumer::Off(until) if *until <= now)
    }

    /// Finds the consumer of `stream`, or registers it; says so if that cannot be.
    pub(super) async fn enrol(&self, api: &Api, stream: &str) -> Result<(), Refusal> {
        match enrol(api, stream, &self.name).await {
            Ok(arn) => {
                tracing::info!(stream, consumer = %arn, "enhanced fan-out");
                *lock(&self.consumer) = Consumer::Ready(arn);
                Ok(())
            }
            Err(refusal) => {
                self.off(&refusal.to_string());
                Err(refusal)
            }
        }
    }

    /// The consumer is gone, or belongs to a stream that is: it is looked for again.
    pub(super) fn forget(&self) {
        *lock(&self.consumer) = Consumer::Off(Instant::now());
    }

    /// It cannot be used for now.
    pub(super) fn off(&self, reason: &str) {
        *lock(&self.consumer) = Consumer::Off(Instant::now() + OFF);
        self.say(reason);
    }

    /// Says why the stream is polled, once in a while: every shard has the same reason, and it may come and go.
    pub(super) fn say(&self, reason: &str) {
        let (mut said, now) = (lock(&self.said), Instant::now());
        let warned = said.as_ref().map(|said| said.warned).filter(|warned| now < *warned + OFF);
        if warned.is_none() {
            tracing::warn!(
                consumer = %self.name,
                reason,
                "enhanced fan-out cannot be used: the stream is polled, which costs some hundred milliseconds and loses \
                 nothing"
            );
        }
        *said = Some(Said { warned: warned.unwrap_or(now), last: now });
    }

    /// It works. Two processes that take a consumer from each other believe that again and again.
    pub(super) fn works(&self) {
        let mut said = lock(&self.said);
        if said.take_if(|said| Instant::now() >= said.last + SETTLED).is_some() {
            tracing::info!(consumer = %self.name, "enhanced fan-out is used again");
        }
    }
}

/// Whether an endpoint knows what fan-out is: emulators need not.
pub(super) fn is_unknown(error: &AwsError) -> bool {
    let unknown = ["UnknownOperationException", "InvalidAction", "NotImplemented", "NotImplementedException"];
    error.class == Class::Invalid && error.code.as_deref().is_none_or(|code| unknown.contains(&code))
}

fn refusal(error: &AwsError) -> Refusal {
    if is_unknown(error) {
        Refusal::Later(format!("this endpoint does not offer it: {error}"))
    } else {
        Refusal::Later(error.to_string())
    }
}

/// The ARN of an active consumer.
async fn enrol(api: &Api, stream: &str, name: &str) -> Result<Arc<str>, Refusal> {
    let until = Instant::now() + BECOMES_ACTIVE;
    loop {
        let mut registered = false;
        match api.consumer(stream, name).await.map_err(|error| refusal(&error))? {
            Some(consumer) if consumer.consumer_status == ConsumerStatus::Active => {
                return own(api, stream, &consumer.consumer_arn);
            }
            Some(consumer) => registered = consumer.consumer_status != ConsumerStatus::Deleting,
            None => match api.register(stream, name).await {
                Ok(()) => {}
                Err(error) => match error.code.as_deref() {
                    // Somebody was faster.
                    Some("ResourceInUseException") => {}
                    Some("LimitExceededException") => return Err(Refusal::Never(no_room(api, &error))),
                    _ => return Err(refusal(&error)),
                },
            },
        }
        if Instant::now() >= until {
            let state = if registered { "not active yet" } else { "being deleted" };
            return Err(Refusal::Later(format!(
                "consumer `{name}` of {} is {state} after {BECOMES_ACTIVE:?}",
                api.place()
            )));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A consumer's ARN is its stream's, with the consumer's name and creation time.
fn own(api: &Api, stream: &str, consumer: &str) -> Result<Arc<str>, Refusal> {
    if consumer.strip_prefix(stream).is_some_and(|rest| rest.starts_with("/consumer/")) {
        return Ok(consumer.into());
    }
    Err(Refusal::Never(format!(
        "{} answers with the consumer of another stream, {consumer}: choose another `enhanced_fan_out` name, and check that \
         its endpoint is the service",
        api.place()
    )))
}

fn no_room(api: &Api, error: &AwsError) -> String {
    format!(
        "{} has as many consumers as AWS allows (20; list them with `aws kinesis list-stream-consumers`): deregister one, \
         name one that is there as `enhanced_fan_out`, or remove `consumer` to poll; {error}",
        api.place()
    )
}

/// What `check --connect` says: nothing is registered and nobody's subscription is touched.
pub(super) async fn probe(api: &Api, stream: &str, name: &str) -> Result<String, String> {
    Ok(match api.consumer(stream, name).await {
        Ok(Some(consumer)) => {
            own(api, stream, &consumer.consumer_arn).map_err(|refusal| refusal.to_string())?;
            match consumer.consumer_status {
                ConsumerStatus::Active => format!("enhanced fan-out by its consumer `{name}`"),
                status => format!("enhanced fan-out by its consumer `{name}`, which is {status}"),
            }
        }
        Ok(None) => format!("enhanced fan-out: consumer `{name}` is registered at the first start"),
        Err(error) => format!("no enhanced fan-out, it will be polled: {}", refusal(&error)),
    })
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Later(reason) | Refusal::Never(reason) => f.write_str(reason),
        }
    }
}
