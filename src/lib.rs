//! tunnelog: a stream processor for the logs of AWS Site-to-Site VPN.
//!
//! ```text
//! source ─► [ decode ─► normalize ─► enrich ─► route ─► encode ] ─► lanes ─► sinks ─► receipts ─► frontiers ─► checkpoints
//! (async)   └─ core: pure, synchronous, no I/O, no clock, cannot fail ─┘    (async)
//! ```
//!
//! The modules stand in the order in which data meets them.

pub mod source;

//C pub mod core;
pub mod decode;
pub mod event;
//C pub mod normalize;
pub mod enrich;
pub mod route;
pub mod encode;

pub mod delivery;
pub mod sink;
pub mod checkpoint;

//C pub mod pipeline;

pub mod config;
pub mod telemetry;
pub mod schema;
