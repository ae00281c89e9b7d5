//! The source `kinesis`: an Amazon Kinesis data stream, polled with GetRecords.

use crate::config::types::{Aws, Kinesis};
use crate::source::{Source, SourceError};

/// Opens a stream: fails with what is wrong and what to do if it cannot be reached, described or listed.
pub async fn connect(name: &str, config: &Kinesis, aws: Option<&Aws>) -> Result<Box<dyn Source>, SourceError> {
    let _ = (name, config, aws);
    Err(SourceError::Fatal("not built yet".into()))
}

/// What `check --connect` says: what was reached, or what is wrong and what to do.
pub async fn probe(config: &Kinesis, aws: Option<&Aws>) -> Result<String, String> {
    let _ = (config, aws);
    Err("not built yet".into())
}
