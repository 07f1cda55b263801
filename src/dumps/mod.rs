//! Review dumps as they come: CSV of any dialect, JSON Lines, a JSON array or Parquet, plain or compressed; and the
//! tables that are written of them.
//!
//! Everything is read as a stream of rows, so that memory does not grow with a dump.

mod columns;
mod compression;
mod dialect;
mod inputs;
mod limits;
mod parquet;
mod parquet_sizes;
mod read;
mod thrift;
mod write;

use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value};

pub use columns::{Columns, Role, customary_rating};
pub use compression::Compression;
pub use dialect::{Dialect, Format, Given};
pub use inputs::{Source, find};
pub use limits::{Limits, ROW_VALUES, json_values};
pub use parquet::{Moment, Moments, from_json_lines};
pub use read::Reading;
pub use write::{Ending, encode_rows, unescape_formula};

/// The cells of a row by the names of their columns, in the order of the dump.
pub type Cells = Map<String, Value>;

/// What a dump holds at a place.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A row.
    Row(Row),
    /// Something that is no row.
    Bad(Bad),
}

/// A row of a dump.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Line in the file; of a JSON array or Parquet, its number. From 1.
    pub line: u64,
    /// Its cells.
    pub cells: Cells,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Bad {
    /// As of a row.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
    /// What stands there, as far as it could be read.
    pub content: Value,
}

/// Why a dump cannot be read, or a table not be written.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// A file cannot be opened, read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// It is broken at a place, and what comes after it cannot be found; or it was changed while it was read.
    #[error("{name}, {place}: {problem}")]
    Broken {
        /// The dump.
        name: String,
        /// The line or row.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// It has no bytes.
    #[error("{0} is empty")]
    Empty(String),
    /// Nothing fits a name, or what does is no dump.
    #[error("{0}")]
    NoInput(String),
    /// A Parquet file is none, or cannot be written.
    #[error("{}: {problem}", path.display())]
    Parquet {
        /// Which.
        path: PathBuf,
        /// What the library said.
        problem: String,
    },
    /// It is larger than is taken.
    #[error("{name} {problem}")]
    Limit {
        /// The dump.
        name: String,
        /// Which limit it passes.
        problem: String,
    },
    /// The columns are not as was said.
    #[error("{0}")]
    Columns(String),
}

#[cfg(test)]
mod tests;
