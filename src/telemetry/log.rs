//! Log lines on standard error: for a person on a terminal, JSON otherwise.
//!
//! Standard output belongs to events, so nothing is ever logged there. Which lines appear is decided by a
//! filter as `tracing` writes it: `info`, `debug`, `tunnelog::sink=debug,info`.

use std::io::{self, IsTerminal};

use anstream::{AutoStream, ColorChoice};
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that sets the filter where `--log` is absent.
pub const ENVIRONMENT_VARIABLE: &str = "TUNNELOG_LOG";

/// The filter where neither is given.
pub const DEFAULT_FILTER: &str = "info";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("`{filter}` is no log filter ({reason}); write a level such as `info`, or `tunnelog::sink=debug,info`")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The process has a subscriber already; that one stays.
    #[error("logging is already set up in this process")]
    AlreadySet,
}

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A line for a person.
    Human {
        /// With ANSI colours.
        colour: bool,
    },
    /// One JSON object a line.
    Json,
}

impl Form {
    /// Human on a terminal, JSON otherwise; colours unless `NO_COLOR` and its kin say no.
    pub fn of_stderr() -> Form {
        let stderr = io::stderr();
        if !stderr.is_terminal() {
            return Form::Json;
        }
        Form::Human { colour: AutoStream::choice(&stderr) != ColorChoice::Never }
    }
}

/// Sends the log of this process to standard error.
///
/// `filter` is the value of `--log`; without one `TUNNELOG_LOG` decides, else `info`. To be called once, by
/// the binary; a second call changes nothing and says so.
pub fn init(filter: Option<&str>) -> Result<(), LogError> {
    let from_environment = std::env::var(ENVIRONMENT_VARIABLE).ok().filter(|value| !value.trim().is_empty());
    let filter = filter.or(from_environment.as_deref()).unwrap_or(DEFAULT_FILTER);
    subscriber(filter, Form::of_stderr(), io::stderr)?.try_init().map_err(|_| LogError::AlreadySet)
}

/// What [`init`] installs, for any writer; tests use it with `tracing::subscriber::with_default`.
pub fn subscriber<W>(filter: &str, form: Form, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = EnvFilter::builder()
        // A filter may name values of fields; as plain text, so that it cannot be an expensive pattern.
        .with_regex(false)
        .parse(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), reason: error.to_string() })?;
    let lines = tracing_subscriber::fmt()
        // A log that cannot be written must not end the process.
        .log_internal_errors(false)
        .with_env_filter(parsed)
        .with_writer(writer);
    Ok(match form {
        Form::Human { colour } => Box::new(lines.with_ansi(colour).with_target(false).finish()),
        Form::Json => Box::new(lines.json().flatten_event(true).with_span_list(false).finish()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]

    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, form: Form) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber(filter, form, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(sink = "siem", "sink is down");
            tracing::debug!("a detail");
        });
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_carry_fields_at_the_top_level() {
        let text = logged("info", Form::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "sink is down");
        assert_eq!(line["sink"], "siem");
    }

    #[test]
    fn a_line_for_a_person_has_colours_only_when_asked() {
        assert!(!logged("info", Form::Human { colour: false }).contains('\x1b'));
        assert!(logged("info", Form::Human { colour: true }).contains('\x1b'));
    }

    #[test]
    fn the_filter_decides_which_lines_appear() {
        assert_eq!(logged("info", Form::Json).lines().count(), 1);
        assert_eq!(logged("debug", Form::Json).lines().count(), 2);
        assert_eq!(logged("off", Form::Json), "");
    }

    #[test]
    fn a_wrong_filter_names_itself_and_a_right_one() {
        let error = subscriber("tunnelog=loud", Form::Json, io::sink).err().unwrap().to_string();
        assert!(error.starts_with("`tunnelog=loud` is no log filter"), "{error}");
        assert!(error.contains("`info`"), "{error}");
    }
}
