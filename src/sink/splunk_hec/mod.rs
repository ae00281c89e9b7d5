//! The sink `splunk_hec`: the HTTP Event Collector of Splunk.
//!
//! **Accepted** is what the indexers have acknowledged. HTTP 200 says *received*: a Splunk that crashes then loses the
//! events. So each request is sent on a channel and gets a number there (`ackId`); only when Splunk says that this number
//! is indexed do its items settle (`channel` has the rules, and what a restart of Splunk does to the numbers). What is not
//! acknowledged within `ack_timeout` is sent again, with the same `id` in its indexed fields. With
//! `acknowledgement: false` items settle when they are received.
//!
//! At least once, in no order. These repeat events with equal ids: a lost answer, a restart of Splunk, an acknowledgement
//! that is lost on its way (Splunk says `true` once), a batch that was refused for one event, a rewind.
//!
//! **Refused for good**: a 400 names the event (`invalid-event-number`), or the request is halved until it is found. It is
//! a dead letter once Splunk has taken other events since; until then it is only suspected, since a collector may
//! refuse everything. A wrong index is the event's own fault where `index` has placeholders, else the pipeline file's.
//!
//! **Not taken for now**: 503, 429, connections that break. Each endpoint has its own pauses; the sink is down when all
//! of them are. Channels belong to endpoints: acknowledgements are asked for where the events went, load balancers'
//! cookies included.

mod answer;
mod channel;
mod client;
mod envelope;
mod sender;
mod settings;
mod shipment;

use std::sync::Arc;

use self::answer::Class;
use self::client::{Client, Failure, Route};
use self::sender::Sender;
use self::settings::Settings;
use super::held::{Flight, first_landed};
use super::{ConnectError, Context};
use crate::config::types::SplunkHecSink;
use crate::sink::Sink;

/// Opens the sink: fails with what is wrong and what to do if no endpoint can be reached, or if one of them refuses.
pub async fn connect(context: Context, config: &SplunkHecSink) -> Result<Box<dyn Sink>, ConnectError> {
    let settings = Settings::new(&context.folder, config)?;
    let client = Client::new(&settings)?;
    let away = reach(&client, &settings).await?;
    for failure in away {
        tracing::warn!(sink = %context.name, reason = failure, "an endpoint is away; the others take its part");
    }
    if settings.ack_timeout.is_none() {
        tracing::info!(sink = %context.name, "without acknowledgement: events count as delivered when Splunk has received them");
    }
    Ok(Box::new(Sender::new(context, client, settings)?))
}

/// What `check --connect` says: what was reached, or what is wrong and what to do. Sends no event.
pub async fn probe(context: &Context, config: &SplunkHecSink) -> Result<String, ConnectError> {
    let settings = Settings::new(&context.folder, config)?;
    let away = reach(&Client::new(&settings)?, &settings).await?;
    if let Some(reason) = away.first() {
        return Err(ConnectError::Passing(reason.clone()));
    }
    let acknowledgement = match settings.ack_timeout {
        Some(_) => "with indexer acknowledgement",
        None => "without acknowledgement (delivered means received, not indexed)",
    };
    let index = match &config.index {
        Some(index) => format!("index `{index}`, which is tried with the first event"),
        None => "the token's own index".to_owned(),
    };
    Ok(format!("Splunk at {}: well, takes the token, {acknowledgement}; {index}", settings.endpoints.join(", ")))
}

/// Asks all endpoints. Those that are away, if others are not; an error is of the first that needs a person, or
/// says that all are away.
async fn reach(client: &Client, settings: &Settings) -> Result<Vec<String>, ConnectError> {
    let mut asked: Vec<Flight<(usize, Result<(), Failure>)>> = Vec::new();
    for (index, endpoint) in settings.endpoints.iter().enumerate() {
        let (client, endpoint) = (client.clone(), Arc::clone(endpoint));
        let channel = settings.ack_timeout.map(|_| guid()).transpose()?;
        asked.push(Box::pin(
            async move { (index, client.knock(&Route { endpoint, channel, cookies: "".into() }).await) },
        ));
    }
    let mut answers = Vec::new();
    while !asked.is_empty() {
        answers.push(first_landed(&mut asked).await);
    }
    answers.sort_by_key(|(index, _)| *index);
    let failures: Vec<Failure> = answers.into_iter().filter_map(|(_, answer)| answer.err()).collect();
    if let Some(standing) = failures.iter().find(|failure| !is_passing(failure)) {
        return Err(ConnectError::Standing(standing.text.clone()));
    }
    match failures.first() {
        Some(first) if failures.len() == settings.endpoints.len() => Err(ConnectError::Passing(first.text.clone())),
        _ => Ok(failures.into_iter().map(|failure| failure.text).collect()),
    }
}

/// At the start a person is there and has just changed something.
fn is_passing(failure: &Failure) -> bool {
    match failure.class {
        Class::Unreachable | Class::Busy => true,
        Class::Tls
        | Class::Login
        | Class::Channel
        | Class::AckDisabled
        | Class::Unacknowledged
        | Class::Index
        | Class::Event
        | Class::TooLarge
        | Class::Foreign => false,
    }
}

/// A random GUID (version 4), which names a channel: two processes must not count on one.
fn guid() -> Result<Arc<str>, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random numbers ({error})"))?;
    let number = u128::from_be_bytes(bytes);
    let number = number & !(0xf << 76) | 4 << 76;
    let number = number & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| hex.get(range).unwrap_or_default());
    Ok(parts.join("-").into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn a_channel_is_named_by_a_guid() {
        let (one, other) = (guid().unwrap(), guid().unwrap());
        assert_ne!(one, other);
        let parts: Vec<&str> = one.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{one}");
    }
}
