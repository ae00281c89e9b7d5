//! The pipeline file: parse, validate, resolve. A [`Loaded`] pipeline is valid.
//!
//! ```text
//! text ─► yaml ─► tree ─► expand (${VAR}) ─► walk (schema) ─► types ─► validate (meaning) ─► Loaded
//!                   └────────── every stage adds to one report of located problems ────────────┘
//! ```
//!
//! `types` is the single source of truth: the schema, the walk and the reference are generated from it.
//! Nothing here opens what the pipeline names, except to see that an input exists. No value of an
//! environment variable is ever shown.

mod aws_types;
mod conditions;
mod expand;
mod hide;
mod inventory_types;
pub mod kafka;
mod kafka_types;
mod loaded;
mod problem;
mod schema;
pub mod splunk;
mod splunk_types;
mod tree;
mod validate;
mod walk;
mod yaml;

pub mod types;
pub mod units;

pub use conditions::kinds_of;
pub use loaded::{Loaded, load, load_str};
pub use problem::{Level, Place, Problem, Problems, count_line};
pub use schema::config_schema;
