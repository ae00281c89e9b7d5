//! `parquet`: events as the rows of a Parquet file, for a lake.
//!
//! The core encodes such a lane's items as `json`, since many files are open at a time and an item must stand by
//! itself; [`ParquetFile`] reads the lines back, when there are enough of them for a row group, and makes columns of
//! them. `columns` is the published list that everything else is made from: the files, Athena's table ([`athena_table`]) and the
//! column reference ([`column_reference`]).
//!
//! Not here: where files begin and end, and what they are called (`sink::s3`).

mod address;
mod athena;
mod batch;
mod columns;
mod file;
mod row;

pub use athena::{athena_table, column_reference};
pub use columns::{COLUMNS, Column};
pub use file::ParquetFile;
