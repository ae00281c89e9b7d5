//! The producer's ears: delivery reports, errors and log lines from librdkafka's threads.
//!
//! Reports wait in a list that is bounded by what librdkafka may hold ([`super::settings::QUEUE_MESSAGES`]); runs of
//! neighbours that were delivered are one report. No callback blocks, but for a new token.

use std::error::Error;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::refusal::connection_remedy;
use super::settings::Settings;
use super::token::Tokens;
use crate::telemetry::rate_limit::RateLimit;

/// A producer with its poll thread.
pub(super) type Producer = ThreadedProducer<Ears>;

/// One line of librdkafka's log per facility and interval.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// Longest text of librdkafka that is repeated.
const LONGEST_TEXT: usize = 400;

/// Which item a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket {
    /// The batch's number in the sink.
    pub(super) batch: u64,
    /// The item's index in the batch.
    pub(super) item: u32,
}

/// What became of some messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// The broker has these items of a batch.
    Delivered { batch: u64, items: Range<u32> },
    /// It does not have this one.
    Failed { ticket: Ticket, code: Code },
}

/// What is wrong with the connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// The latest error that says more than that all brokers are down.
    pub(super) last: Option<(Code, String)>,
    /// No broker can be reached.
    pub(super) all_down: bool,
    /// The producer has come to its end.
    pub(super) fatal: bool,
}

impl Trouble {
    /// In words, with what to do.
    pub(super) fn explain(&self) -> Option<String> {
        let (code, reason) = self.last.as_ref()?;
        Some(format!("{reason}; {}", connection_remedy(*code)))
    }
}

/// See the module.
pub(super) struct Ears {
    reports: Mutex<Vec<Report>>,
    reported: AtomicU64,
    trouble: Mutex<Trouble>,
    /// Something was heard.
    pub(super) heard: Notify,
    log_limit: Mutex<RateLimit>,
    tokens: Option<Arc<Tokens>>,
}

impl Ears {
    fn new(tokens: Option<Arc<Tokens>>) -> Ears {
        Ears {
            reports: Mutex::default(),
            reported: AtomicU64::new(0),
            trouble: Mutex::default(),
            heard: Notify::new(),
            log_limit: Mutex::new(RateLimit::new(LOG_INTERVAL)),
            tokens,
        }
    }

    /// The reports so far.
    pub(super) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *lock(&self.reports))
    }

    /// Messages that were reported on since the producer began.
    pub(super) fn reported(&self) -> u64 {
        self.reported.load(Ordering::Acquire)
    }

    pub(super) fn trouble(&self) -> Trouble {
        lock(&self.trouble).clone()
    }

    /// Something was delivered: what was wrong is over.
    pub(super) fn forget_trouble(&self) {
        let mut trouble = lock(&self.trouble);
        trouble.all_down = false;
        trouble.last = None;
    }

    fn report(&self, ticket: Ticket, failure: Option<Code>) {
        let mut reports = lock(&self.reports);
        let wakes = reports.is_empty();
        match (failure, reports.last_mut()) {
            (Some(code), _) => reports.push(Report::Failed { ticket, code }),
            (None, Some(Report::Delivered { batch, items })) if *batch == ticket.batch && items.end == ticket.item => {
                items.end += 1;
            }
            (None, _) => {
                reports.push(Report::Delivered { batch: ticket.batch, items: ticket.item..ticket.item + 1 });
            }
        }
        // Under the lock: whoever takes a report sees it counted.
        self.reported.fetch_add(1, Ordering::Release);
        drop(reports);
        if wakes {
            self.heard.notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST_TEXT).collect()
}

/// The code in an error; what has none is unknown.
pub(super) fn code_of(error: &KafkaError) -> Code {
    error.rdkafka_error_code().unwrap_or(Code::Unknown)
}

impl ClientContext for Ears {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = shown(message);
        // It warns of our own settings at every start (`enable.gapless.guarantee` is experimental): meant.
        if matches!(level, RDKafkaLogLevel::Debug) || facility == "CONFWARN" {
            tracing::debug!(target: "librdkafka", facility, "{message}");
            return;
        }
        let line = lock(&self.log_limit).note(facility, Instant::now().into_std());
        let Some(line) = line else { return };
        let suppressed = line.suppressed;
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, suppressed, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::info!(target: "librdkafka", facility, suppressed, "{message}");
            }
        }
    }

    /// Statistics go nowhere yet.
    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code_of(&error);
        let reason = shown(reason);
        if let Some(line) = lock(&self.log_limit).note(&format!("{code:?}"), Instant::now().into_std()) {
            tracing::warn!(target: "librdkafka", code = ?code, suppressed = line.suppressed, "{reason}");
        }
        let mut trouble = lock(&self.trouble);
        match code {
            Code::AllBrokersDown => trouble.all_down = true,
            Code::Fatal => trouble.fatal = true,
            _ => {}
        }
        // That all are down says nothing about why; the error before it does.
        if code != Code::AllBrokersDown || trouble.last.is_none() {
            trouble.last = Some((code, reason));
        }
        drop(trouble);
        self.heard.notify_one();
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = self.tokens.as_ref().ok_or("no token is to be had for this mechanism")?;
        // librdkafka passes the text on through C: no NUL inside.
        Ok(tokens.make_blocking().map_err(|error| error.replace('\0', ""))?)
    }
}

impl ProducerContext for Ears {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        self.report(*ticket, result.as_ref().err().map(|(error, _)| code_of(error)));
    }
}

/// A producer; nothing is asked of the brokers yet.
pub(super) fn producer(settings: &Settings) -> Result<Producer, String> {
    settings.client().create_with_context(Ears::new(settings.tokens.clone())).map_err(|error| match error {
        // The value stays unsaid: it may be a secret.
        KafkaError::ClientConfig(_, what, name, _) => {
            format!("librdkafka refuses its setting `{name}`: {}", shown(&what))
        }
        other => format!("librdkafka refuses its settings: {}", shown(&other.to_string())),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
    use super::*;

    fn ears() -> Ears {
        Ears::new(None)
    }

    #[test]
    fn neighbours_that_were_delivered_are_one_report() {
        let ears = ears();
        for (batch, item) in [(1, 0), (1, 1), (1, 2), (1, 4), (2, 5)] {
            ears.report(Ticket { batch, item }, None);
        }
        let failed = Ticket { batch: 2, item: 6 };
        ears.report(failed, Some(Code::InvalidRecord));
        ears.report(Ticket { batch: 2, item: 7 }, None);
        assert_eq!(
            ears.take(),
            [
                Report::Delivered { batch: 1, items: 0..3 },
                Report::Delivered { batch: 1, items: 4..5 },
                Report::Delivered { batch: 2, items: 5..6 },
                Report::Failed { ticket: failed, code: Code::InvalidRecord },
                Report::Delivered { batch: 2, items: 7..8 },
            ]
        );
        assert_eq!(ears.reported(), 7);
    }

    #[test]
    fn the_reason_outlives_the_word_that_all_brokers_are_down() {
        let ears = ears();
        ears.error(KafkaError::Global(Code::SSL), "handshake failed");
        ears.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        let trouble = ears.trouble();
        assert!(trouble.all_down && !trouble.fatal);
        assert!(trouble.explain().unwrap().starts_with("handshake failed; check that the port speaks TLS"));
        ears.forget_trouble();
        assert_eq!(ears.trouble().explain(), None);
    }
}
