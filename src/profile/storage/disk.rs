//! Rows on disk, in fjall: the only file that names it.
//!
//! fjall opens a journal whose middle is damaged as if it ended there. So the number of the last commit is also kept in a file
//! of its own, `high-water`, written after each commit: a store that ends before it is refused. The file may lag behind
//! after a power cut, never run ahead.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _};
use jiff::Timestamp;

use crate::descriptors::Shares;

use super::{Order, Row, See, Storage, StorageError, Table, Write};
use crate::files;

/// Memory for what was read.
const CACHE_BYTES: u64 = 64 << 20;

/// What a table holds in memory before it is written out: a smaller one is found faster, a larger one is written less often.
const MEMTABLE_BYTES: u64 = 16 << 20;

/// The row of [`Table::Meta`] that holds the number of the last commit.
const COMMITS: &[u8] = b"commits";

/// A journal that has more is closed.
const JOURNAL_BYTES: usize = 64_000_000;

/// Bytes that a journal is filled with, at a time.
const PADDING_BYTES: usize = 1 << 20;

/// A row of [`Table::Meta`] that is written to have something to write.
const SCRUBBED: &[u8] = b"scrubbed";

const MARK: &str = "high-water";

const ROWS: &str = "rows";

/// How the names of what lies in the folder of a store begin.
const OWN: [&str; 4] = [ROWS, MARK, "restoring", "webhook-dead-letters"];

/// A store in a folder of its own. One process has it open.
pub struct Disk {
    folder: PathBuf,
    database: Database,
    tables: BTreeMap<Table, Keyspace>,
    mark: Mutex<Mark>,
    halted: AtomicBool,
    /// How many snapshots are being shown: what they see stays on the disk.
    shown: AtomicUsize,
    /// When the newest file was written, as of when it was opened.
    newest: Option<Timestamp>,
}

/// That a snapshot is being shown, for as long as it lives.
struct Shown<'a>(&'a AtomicUsize);

impl<'a> Shown<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The number of the last commit, beside the database.
#[derive(Debug)]
struct Mark {
    file: File,
    commits: u64,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the store in a folder, or makes one there.
    ///
    /// # Errors
    ///
    /// If it is open elsewhere, damaged, or the system refuses.
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let failed = |cause: fjall::Error| failure(folder, cause);
        let refused =
            |cause: std::io::Error| StorageError::Io { folder: folder.to_owned(), cause: Box::new(cause) };
        files::create_folder(folder).map_err(refused)?;
        let newest = newest_file(folder);
        close_to_others(folder);
        let database = Database::builder(folder.join(ROWS))
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_cached_files(Some(Shares::now().store_files))
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let table = |table: Table| database.keyspace(table.name(), options).map_err(failed);
        let tables = Table::ALL.into_iter().map(|kind| Ok((kind, table(kind)?)));
        let tables: BTreeMap<Table, Keyspace> = tables.collect::<Result<_, StorageError>>()?;
        let meta = tables.get(&Table::Meta).map(|meta| meta.get(COMMITS));
        let found = meta.transpose().map_err(failed)?.flatten();
        let found =
            found.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or(0);
        let path = folder.join(MARK);
        let mut file = files::open(&path, files::options().read(true).write(true)).map_err(refused)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(refused)?;
        let wanted = marked(&bytes);
        if wanted > found {
            return Err(StorageError::Behind { folder: folder.to_owned(), found, wanted });
        }
        let mark = Mutex::new(Mark { file, commits: found });
        Ok(Self {
            folder: folder.to_owned(),
            database,
            tables,
            mark,
            halted: AtomicBool::new(false),
            shown: AtomicUsize::new(0),
            newest,
        })
    }

    /// Moves a store that nobody has open into a folder where there is none. Cut off in the middle, that folder is refused as
    /// damaged.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn install(from: &Path, to: &Path) -> Result<(), StorageError> {
        let moved = || -> std::io::Result<()> {
            File::open(from)?.sync_all()?;
            fs::rename(from.join(MARK), to.join(MARK))?;
            File::open(to)?.sync_all()?;
            fs::rename(from.join(ROWS), to.join(ROWS))?;
            File::open(to)?.sync_all()
        };
        moved().map_err(|cause| StorageError::Io { folder: to.to_owned(), cause: Box::new(cause) })
    }

    /// How many commits it has taken.
    pub fn commits(&self) -> u64 {
        self.mark.lock().map_or(0, |mark| mark.commits)
    }

    fn table(&self, wanted: Table) -> Result<&Keyspace, StorageError> {
        self.tables.get(&wanted).ok_or(StorageError::Row { table: wanted })
    }

    fn halt(&self, error: StorageError) -> StorageError {
        self.halted.store(true, Ordering::Release);
        error
    }
}

/// When the newest of a store's own files was written: its journals and its high-water mark.
fn newest_file(folder: &Path) -> Option<Timestamp> {
    let journals = fs::read_dir(folder.join(ROWS)).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = journals.chain([folder.join(MARK)]);
    let written = files.filter_map(|path| Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok());
    written.max()
}

/// The larger of the two numbers that a mark holds: the slot that was being written when the power went may be torn.
fn marked(bytes: &[u8]) -> u64 {
    let slot = |slot: &[u8]| {
        let (number, check) = slot.split_at_checked(8)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        (u64::from_be_bytes(check.try_into().ok()?) == !number).then_some(number)
    };
    bytes.chunks(16).filter_map(slot).max().unwrap_or(0)
}

impl Mark {
    /// Two slots by turns, each a number and its complement.
    fn set(&mut self, commits: u64) -> std::io::Result<()> {
        let mut slot = [0; 16];
        for (to, from) in
            slot.iter_mut().zip(commits.to_be_bytes().into_iter().chain((!commits).to_be_bytes()))
        {
            *to = from;
        }
        self.file.write_all_at(&slot, commits % 2 * 16)?;
        self.commits = commits;
        Ok(())
    }
}

/// Takes the rights of others from a store that an older version made, or somebody loosened. The store opens also where
/// only another user could do that, as with a volume that belongs to root: then the log says so.
fn close_to_others(folder: &Path) {
    match tighten(folder) {
        Ok(0) => {}
        Ok(files) => {
            tracing::warn!(folder = %folder.display(), files, "others could read the profile store; now they cannot");
        }
        Err(error) => {
            tracing::warn!(
                folder = %folder.display(), %error,
                "others may be able to read the profile store; make the folder the server's own, with mode 0700"
            );
        }
    }
}

/// The files of a store, and its folder where nothing else is in it: it may be one of the system's, named by mistake.
fn tighten(folder: &Path) -> std::io::Result<usize> {
    let (mut tightened, mut shared) = (0, false);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_own = OWN.iter().any(|own| name.as_encoded_bytes().starts_with(own.as_bytes()));
        tightened += if is_own { files::tighten(&entry.path())? } else { 0 };
        shared |= !is_own && name != "lost+found";
    }
    if !shared {
        tightened += usize::from(files::tighten_alone(folder)?);
    }
    Ok(tightened)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what else may be wrong with a database is told by itself"
)]
fn failure(folder: &Path, cause: fjall::Error) -> StorageError {
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

impl Storage for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        StorageError::check_key(table, key)?;
        let found = self.table(table)?.get(key).map_err(|cause| failure(&self.folder, cause))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        most: usize,
    ) -> Result<Vec<Row>, StorageError> {
        StorageError::check_key(table, from)?;
        StorageError::check_key(table, to)?;
        // The database panics at a range that ends before it begins.
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.table(table)?.range(from..to);
        let row = |guard: Guard| {
            let (key, value) = guard.into_inner().map_err(|cause| failure(&self.folder, cause))?;
            Ok((key.to_vec(), value.to_vec()))
        };
        match order {
            Order::Ascending => rows.take(most).map(row).collect(),
            Order::Descending => rows.rev().take(most).map(row).collect(),
        }
    }

    fn commit(&self, writes: &[Write<'_>]) -> Result<(), StorageError> {
        let halted = || StorageError::Halted { folder: self.folder.clone() };
        let mut mark = self.mark.lock().map_err(|_| halted())?;
        if self.halted.load(Ordering::Acquire) {
            return Err(halted());
        }
        // Before anything is written: a panic in the middle would leave the lock poisoned and the store halted.
        for (table, key, _) in writes {
            StorageError::check_key(*table, key)?;
            if key.is_empty() {
                return Err(StorageError::Key { table: *table, bytes: 0 });
            }
        }
        let commits = mark.commits + 1;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (table, key, value) in writes {
            let table = self.table(*table)?;
            match value {
                Some(value) => batch.insert(table, *key, *value),
                None => batch.remove(table, *key),
            }
        }
        batch.insert(self.table(Table::Meta)?, COMMITS, commits.to_be_bytes());
        batch.commit().map_err(|cause| self.halt(failure(&self.folder, cause)))?;
        mark.set(commits).map_err(|cause| {
            self.halt(StorageError::Io { folder: self.folder.clone(), cause: Box::new(cause) })
        })
    }

    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    fn newest_file(&self) -> Option<Timestamp> {
        self.newest
    }

    fn snapshot(&self, see: &mut See<'_>) -> Result<(), StorageError> {
        let shown = Shown::begin(&self.shown);
        let snapshot = self.database.snapshot();
        for (kind, table) in &self.tables {
            for guard in snapshot.iter(table) {
                let (key, value) = guard.into_inner().map_err(|cause| failure(&self.folder, cause))?;
                let own = *kind == Table::Meta && [COMMITS, SCRUBBED].contains(&key.as_ref());
                if !own && see(*kind, &key, &value).is_break() {
                    return Ok(());
                }
            }
        }
        drop((snapshot, shown));
        Ok(())
    }

    /// Has every table written anew without what is gone. The journal still has it, and fjall begins another only when one
    /// is full: so it is filled.
    fn scrub(&self) -> Result<bool, StorageError> {
        // One that begins later does not see what was removed before.
        if self.shown.load(Ordering::SeqCst) > 0 {
            return Ok(false);
        }
        let failed = |cause| failure(&self.folder, cause);
        let padding = self.database.keyspace("padding", KeyspaceCreateOptions::default).map_err(failed)?;
        // Of zeros nothing would be left: the journal is compressed.
        let mut noise = vec![0; PADDING_BYTES];
        getrandom::fill(&mut noise)
            .map_err(|cause| StorageError::Io { folder: self.folder.clone(), cause: Box::new(cause) })?;
        for number in 0..JOURNAL_BYTES / PADDING_BYTES + 1 {
            padding.insert(number.to_be_bytes(), noise.as_slice()).map_err(failed)?;
        }
        padding.rotate_memtable_and_wait().map_err(failed)?;
        for table in self.tables.values() {
            table.rotate_memtable_and_wait().map_err(failed)?;
        }
        for table in self.tables.values() {
            table.major_compact().map_err(failed)?;
        }
        self.database.delete_keyspace(padding).map_err(failed)?;
        // Files that nobody reads any more go with the next rotation.
        let meta = self.table(Table::Meta)?;
        for _ in 0..2 {
            meta.insert(SCRUBBED, []).map_err(failed)?;
            meta.rotate_memtable_and_wait().map_err(failed)?;
        }
        Ok(true)
    }
}
