//! What an operator sees of the running process: log lines, metrics, health and the status page.
//!
//! Everything here only observes. Nothing waits for it, nothing fails because of it, and without a recorder
//! or a listener the calls do nothing. It never sees the text of a log line or a secret: labels and
//! conditions carry the names from the pipeline file and reasons from closed lists.
//!
//! - [`log`]: where log lines go and in which form; [`rate_limit`] keeps bad input from filling them.
//! - [`name`]: every metric with its labels and help; [`metrics`] counts and renders them, [`process`] adds
//!   what the kernel knows of the process.
//! - [`health`]: alive and ready, with reasons.
//! - `server`: all of it over HTTP (feature `status`).

pub mod health;
pub mod log;
pub mod metrics;
pub mod name;
pub mod process;
pub mod rate_limit;
#[cfg(feature = "status")]
pub mod server;
