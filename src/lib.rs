//! tunnelog: a stream processor for the logs of AWS Site-to-Site VPN.
//!
//! ```text
//! source ─► [ decode ─► normalize ─► enrich ─► route ─► encode ] ─► lanes ─► sinks ─► receipts ─► frontiers ─► checkpoints
//! (async)   └─ core: pure, synchronous, no I/O, no clock, cannot fail ─┘    (async)
//! ```
//!
//! The modules stand in the order in which data meets them.

#[macro_use]
mod hooks;

pub mod source;

pub mod core;

pub mod decode;

pub mod normalize;

pub mod enrich;

pub mod route;

pub mod encode;

pub mod event;

pub mod delivery;

pub mod sink;

pub mod checkpoint;

#[cfg(feature = "aws")]
pub mod aws;

pub mod memory;

pub mod pipeline;

pub mod config;
pub mod cost;
pub mod schema;
pub mod telemetry;

pub mod cli;

mod backoff;

#[cfg(test)]
mod sample;

#[cfg(all(test, feature = "aws"))]
#[path = "../tests/simulation/mod.rs"]
mod simulation;
