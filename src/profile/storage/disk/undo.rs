//! What a commit that was refused would have changed, so that it can be taken back.
//!
//! A write that fails may be in the journal nevertheless, whole, once the database is opened again: its buffer is written when it is
//! closed, and bytes whose sync failed may still be there. Who asked was told that nothing was done. So the rows as they were before
//! are put in a file before the database is closed, and put back after it is open; a crash at any point between leaves the file
//! for the next start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::super::rows::{decode, encode};
use super::super::{OwnWrite, Table};
use crate::files;

const FILE: &str = "refused";

/// Rows as they were before a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// The number of the commit that was refused.
    pub(super) commits: u64,
    rows: Vec<(String, Vec<u8>, Option<Vec<u8>>)>,
}

impl Undo {
    pub(super) fn new(commits: u64, rows: Vec<OwnWrite>) -> Self {
        let rows = rows.into_iter().map(|(table, row, value)| (table.name().to_owned(), row, value));
        Self { commits, rows: rows.collect() }
    }

    /// The rows to put back.
    pub(super) fn writes(self) -> Vec<OwnWrite> {
        let table = |name: &str| Table::ALL.into_iter().find(|table| table.name() == name);
        let rows = self.rows.into_iter();
        rows.filter_map(|(name, row, value)| Some((table(&name)?, row, value))).collect()
    }

    /// Where it is kept in a store's folder.
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Keeps it, whole or not at all.
    pub(super) fn keep(&self, folder: &Path) -> io::Result<()> {
        let partial = folder.join("refused.partial");
        let mut file = files::create(&partial)?;
        file.write_all(&encode(self))?;
        file.sync_all()?;
        fs::rename(&partial, Self::path(folder))?;
        File::open(folder)?.sync_all()
    }

    /// What is kept, if anything is.
    pub(super) fn kept(folder: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(Self::path(folder)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        decode(Table::Meta, &bytes).map(Some).map_err(io::Error::other)
    }

    /// Forgets what is kept, for good: else it would take back a later commit of the same number.
    pub(super) fn forget(folder: &Path) -> io::Result<()> {
        match fs::remove_file(Self::path(folder)) {
            Ok(()) => File::open(folder)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}
