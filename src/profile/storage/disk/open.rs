//! The database and its tables: what is written in one commit, and its number.

use std::collections::BTreeMap;
use std::fs;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use fjall::{
    AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _, Snapshot,
};

use super::super::{OwnWrite, StorageError, Table, Write, borrowed};
use super::undo::Undo;
use super::{GLANCE, MARK, ROWS, place, refused};
use crate::descriptors::Shares;
use crate::files;

/// Memory for what was read.
const CACHE_BYTES: u64 = 64 << 20;

/// What a table holds in memory before it is written out: a smaller one is found faster, a larger one is written less often.
const MEMTABLE_BYTES: u64 = 6 << 20;

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
        let database = database(folder, 1)?;
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

    /// Opens it to read: nothing is written out or compacted, and no table is made.
    pub(super) fn to_look(folder: &Path) -> Result<Self, StorageError> {
        let database = database(folder, 0)?;
        let is_there = |table: &Table| database.keyspace_exists(table.name());
        let table = |kind: Table| {
            let table = database.keyspace(kind.name(), KeyspaceCreateOptions::default);
            Ok((kind, table.map_err(|cause| failure(folder, cause))?))
        };
        let tables =
            Table::ALL.into_iter().filter(is_there).map(table).collect::<Result<_, StorageError>>()?;
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

    /// Whether a table has a file on the disk that is no part of it any more.
    pub(super) fn has_old_files(&self) -> io::Result<bool> {
        for table in self.tables.values() {
            if fs::read_dir(table.path().join("tables"))?.count() > table.tree.table_count() {
                return Ok(true);
            }
        }
        Ok(false)
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

fn database(folder: &Path, workers: usize) -> Result<Database, StorageError> {
    let rows = folder.join(ROWS);
    find_missing(folder, &rows)?;
    Database::builder(&rows)
        .cache_size(CACHE_BYTES)
        .worker_threads_unchecked(workers)
        .max_cached_files(Some(Shares::now().store_files))
        .open()
        .map_err(|cause| failure(folder, cause))
}

/// Has the next commits go to a journal of their own; nobody has the store open.
///
/// After a sync that failed, the system may hold for written what never reached the disk. Reading the journal shows it, but
/// after a power cut the database ends where it is missing, and so would lack all that came behind it.
pub(super) fn begin_journal(folder: &Path) -> Result<(), StorageError> {
    let rows = folder.join(ROWS);
    let failed = |cause: io::Error| refused(&rows, cause);
    let lock = File::open(rows.join("lock")).map_err(failed)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StorageError::Locked { folder: folder.to_owned() },
        TryLockError::Error(cause) => failed(cause),
    })?;
    let (number, path) = place::journal(&rows).map_err(failed)?;
    if path.metadata().map_err(failed)?.len() == 0 {
        return Ok(());
    }
    let path = rows.join(format!("{}.jnl", number + 1));
    let begun =
        files::create(&path).and_then(|file| file.sync_all()).and_then(|()| files::sync_folder_of(&path));
    begun.map_err(failed)
}

/// Refuses a folder without a store, or with a part of one: opening it would make one.
pub(super) fn find_absent(folder: &Path) -> Result<(), StorageError> {
    let (version, mark) = (folder.join(ROWS).join("version"), folder.join(MARK));
    match (is_there(&version)?, is_there(&mark)?) {
        (true, true) => Ok(()),
        (false, false) => Err(StorageError::Absent { folder: folder.to_owned() }),
        (false, true) => Err(StorageError::Missing { path: version }),
        (true, false) => Err(StorageError::Missing { path: mark }),
    }
}

/// Whether a file is there. One that may not be looked at is no missing one.
fn is_there(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(|cause| refused(path, cause))
}

/// The rows of a commit that was refused, and the moment before it.
pub(super) struct Unread {
    commits: u64,
    is_unsynced: bool,
    rows: Vec<(Table, Vec<u8>)>,
    before: Snapshot,
}

impl Unread {
    pub(super) fn new(before: Snapshot, commits: u64, writes: &[Write<'_>], error: &StorageError) -> Self {
        let rows = writes.iter().map(|(table, row, _)| (*table, row.to_vec())).collect();
        Self { commits, is_unsynced: is_unsynced(error), rows, before }
    }

    /// Reads the rows as they were.
    pub(super) fn read(&self, open: &Open, folder: &Path) -> Result<Undo, StorageError> {
        let old = |(table, row): &(Table, Vec<u8>)| -> Result<OwnWrite, StorageError> {
            let value = self.before.get(open.table(*table)?, row).map_err(|cause| failure(folder, cause))?;
            Ok((*table, row.clone(), value.map(|value| value.to_vec())))
        };
        let rows = self.rows.iter().map(old).collect::<Result<_, _>>()?;
        Ok(Undo::new(self.commits, self.is_unsynced, rows))
    }
}

/// Whether bytes that the system took may not have reached the disk. A full disk refuses to take them.
fn is_unsynced(error: &StorageError) -> bool {
    let StorageError::Io { cause, .. } = error else { return false };
    let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    !matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Which file is missing of a store that is there, where the system would only say that some file is.
fn find_missing(folder: &Path, rows: &Path) -> Result<(), StorageError> {
    let was_there = is_there(&folder.join(MARK))? && is_there(rows)?;
    if !was_there && !is_there(&rows.join("version"))? {
        return Ok(());
    }
    for name in ["version", "lock", "keyspaces"] {
        let path = rows.join(name);
        if !is_there(&path)? {
            return Err(StorageError::Missing { path });
        }
    }
    Ok(())
}

/// A table without a byte, if there is one: the system only says that its end cannot be read.
fn empty_table(folder: &Path) -> Option<PathBuf> {
    let inside =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let tables =
        inside(folder.join(ROWS).join("keyspaces")).flat_map(|keyspace| inside(keyspace.join("tables")));
    tables.into_iter().find(|path| fs::metadata(path).is_ok_and(|meta| meta.len() == 0))
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
        fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) => {
            match empty_table(&folder).filter(|_| cause.kind() == io::ErrorKind::InvalidInput) {
                Some(path) => {
                    let cause = format!("{} is empty", path.display()).into();
                    StorageError::Damaged { folder, cause }
                }
                None => StorageError::Io { folder, cause: Box::new(cause) },
            }
        }
        other => StorageError::Damaged { folder, cause: Box::new(other) },
    }
}
