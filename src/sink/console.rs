//! Standard output: every batch is written and flushed at once.

use std::io::Write;

use super::appender::{Appender, Medium, WriteError};
use crate::delivery::LaneBatch;

/// A console sink on standard output.
pub fn console() -> Appender<Stdout> {
    Appender::new(Stdout)
}

/// See the module.
#[derive(Debug)]
pub struct Stdout;

impl Medium for Stdout {
    const UNIT_BYTES: usize = 0;

    fn write_unit(&mut self, parts: &[LaneBatch]) -> Result<(), WriteError> {
        let mut out = std::io::stdout().lock();
        let written = parts.iter().flat_map(LaneBatch::items).try_for_each(|(_, _, bytes)| out.write_all(bytes));
        written.and_then(|()| out.flush()).map_err(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => WriteError::Fatal(
                "standard output was closed by its reader: run again to go on where it stopped".into(),
            ),
            // A terminal cannot take back what it has shown, so a retry repeats lines; losing them is worse.
            _ => WriteError::Retry(format!("standard output cannot be written: {error}")),
        })
    }

    fn close(&mut self) -> Result<(), String> {
        Ok(())
    }
}
