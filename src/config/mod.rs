//! The pipeline file: parse, validate, resolve. A `Pipeline` that exists is valid.

pub mod types;
pub mod units;
