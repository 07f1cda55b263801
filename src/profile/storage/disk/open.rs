//! The database and its tables: what is written in one commit, and its number.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;

use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::super::{StorageError, Table, Write, borrowed};
use super::undo::Undo;
use super::{GLANCE, MARK, ROWS};
use crate::descriptors::Shares;

/// Memory for what was read.
const CACHE_BYTES: u64 = 64 << 20;

/// What a table holds in memory before it is written out: a smaller one is found faster, a larger one is written less often.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// The row of [`Table::Meta`] that holds the number of the last commit.
pub(super) const COMMITS: &[u8] = b"commits";

/// The table that scrubbing fills the journal with.
pub(super) const PADDING: &str = "padding";

/// The database and its tables.
pub(super) struct Open {
    pub(super) database: Database,
    pub(super) tables: BTreeMap<Table, Keyspace>,
}

impl Open {
    pub(super) fn at(folder: &Path) -> Result<Self, StorageError> {
        let failed = |cause: fjall::Error| failure(folder, cause);
        let rows = folder.join(ROWS);
        find_missing(folder, &rows)?;
        let database = Database::builder(&rows)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_cached_files(Some(Shares::now().store_files))
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let table = |table: Table| database.keyspace(table.name(), options).map_err(failed);
        let tables = Table::ALL.into_iter().map(|kind| Ok((kind, table(kind)?)));
        let tables: BTreeMap<Table, Keyspace> = tables.collect::<Result<_, StorageError>>()?;
        if database.keyspace_exists(PADDING) {
            // Scrubbing was cut off.
            let padding = database.keyspace(PADDING, KeyspaceCreateOptions::default).map_err(failed)?;
            database.delete_keyspace(padding).map_err(failed)?;
        }
        Ok(Self { database, tables })
    }

    pub(super) fn table(&self, wanted: Table) -> Result<&Keyspace, StorageError> {
        self.tables.get(&wanted).ok_or(StorageError::Row { table: wanted })
    }

    /// The number of its last commit.
    pub(super) fn commits(&self, folder: &Path) -> Result<u64, StorageError> {
        let found = self.table(Table::Meta)?.get(COMMITS).map_err(|cause| failure(folder, cause))?;
        let number = found.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
        Ok(number.unwrap_or(0))
    }

    /// Writes rows and the number of the commit, all or nothing, so that they are there after a crash.
    pub(super) fn write(
        &self,
        writes: &[Write<'_>],
        commits: u64,
        folder: &Path,
    ) -> Result<(), StorageError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (table, key, value) in writes {
            let table = self.table(*table)?;
            match value {
                Some(value) => batch.insert(table, *key, *value),
                None => batch.remove(table, *key),
            }
        }
        batch.insert(self.table(Table::Meta)?, COMMITS, commits.to_be_bytes());
        batch.commit().map_err(|cause| failure(folder, cause))
    }

    /// Takes back a commit that was refused, if it is there.
    pub(super) fn take_back(&self, undo: Undo, folder: &Path) -> Result<(), StorageError> {
        if self.commits(folder)? != undo.commits {
            return Ok(());
        }
        let before = undo.commits.saturating_sub(1);
        self.write(&borrowed(&undo.writes()), before, folder)?;
        tracing::warn!(
            "a commit that was refused was in the journal of the profile store; it was taken back"
        );
        Ok(())
    }

    /// Whether it takes writes: what writes tables out in the background may have failed.
    pub(super) fn check(&self, folder: &Path) -> Result<(), StorageError> {
        self.database.persist(PersistMode::Buffer).map_err(|cause| failure(folder, cause))
    }

    /// Has what a table holds in memory written out. fjall's own waiting never ends once its worker has died.
    pub(super) fn flush(&self, table: &Keyspace) -> Result<(), fjall::Error> {
        table.rotate_memtable()?;
        while self.database.outstanding_flushes() > 0 || table.tree.sealed_memtable_count() > 0 {
            self.database.persist(PersistMode::Buffer)?;
            thread::sleep(GLANCE);
        }
        Ok(())
    }
}

/// Which file is missing of a store that is there, where the system would only say that some file is.
fn find_missing(folder: &Path, rows: &Path) -> Result<(), StorageError> {
    let is_there = rows.join("version").exists();
    let was_there = folder.join(MARK).exists() && rows.exists();
    if !is_there && !was_there {
        return Ok(());
    }
    let needed = ["version", "lock", "keyspaces"].map(|name| rows.join(name));
    match needed.into_iter().find(|path| !path.exists()) {
        Some(path) => Err(StorageError::Missing { path }),
        None => Ok(()),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what else may be wrong with a database is told by itself"
)]
pub(super) fn failure(folder: &Path, cause: fjall::Error) -> StorageError {
    let folder = folder.to_owned();
    match cause {
        fjall::Error::Locked => StorageError::Locked { folder },
        fjall::Error::Poisoned => StorageError::Halted { folder },
        fjall::Error::Io(cause) => StorageError::Io { folder, cause: Box::new(cause) },
        fjall::Error::Storage(fjall::LsmError::Io(cause)) => {
            StorageError::Io { folder, cause: Box::new(cause) }
        }
        other => StorageError::Damaged { folder, cause: Box::new(other) },
    }
}
