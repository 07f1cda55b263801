//! Rows on disk, in fjall: the only file that names it.
//!
//! fjall opens a journal whose middle is damaged as if it ended there. So the number of the last commit is also kept in a file
//! of its own, `high-water`, written after each commit: a store that ends before it is refused. The file may lag behind
//! after a power cut, never run ahead.
//!
//! Reads see whole commits that were acknowledged, nothing of one that is being written or was refused.
//!
//! A write that fails halts the store: it takes no writes, and reads go on. [`Storage::recover`] tries to end that:
//!
//! | what failed | what becomes of the commit | what recovering does |
//! | --- | --- | --- |
//! | the write or the sync of the journal | refused | the database is opened again, and the commit is taken back if it is there: see [`Undo`]; after a sync that failed, in a new journal |
//! | the mark, after the journal was synced | done: it is on the disk | the mark is written |
//! | the folder is gone or another one | refused | nothing, until the folder is back |

mod mark;
mod open;
mod place;
mod private;
mod recovery;
mod undo;

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use fjall::{Guard, KeyspaceCreateOptions, Readable as _, Snapshot};
use jiff::Timestamp;

use super::{DiskSpace, Order, Row, See, Storage, StorageError, Table, Write};
use crate::files;
use mark::Mark;
use open::{COMMITS, Open, PADDING, Unread, failure, find_absent};
use place::Place;
use undo::{Undo, UndoFile};

/// A journal that has more is closed.
const JOURNAL_BYTES: usize = 64_000_000;

/// Bytes that a journal is filled with, at a time.
const PADDING_BYTES: usize = 1 << 20;

/// A row of [`Table::Meta`] that is written to have something to write.
const SCRUBBED: &[u8] = b"scrubbed";

/// How often it is looked at whether something in the background is done.
const GLANCE: Duration = Duration::from_millis(10);

/// How many times before it is left for later.
const GLANCES: u32 = 100;

const MARK: &str = "high-water";

const ROWS: &str = "rows";

/// The folder in that of a store in which a backup becomes one.
const RESTORING: &str = "restoring";

/// A store in a folder of its own. One process has it open.
pub struct Disk {
    folder: PathBuf,
    /// Nothing after a recovery that failed half-way.
    open: RwLock<Option<Open>>,
    /// What reads see while a commit is not acknowledged, or was refused: the rows before it. Nothing otherwise. Whoever takes
    /// this lock holds `open` already.
    before: RwLock<Option<Snapshot>>,
    written: Mutex<Written>,
    halted: AtomicBool,
    reads: Reads,
    /// Snapshots end, so that the database can be opened again.
    closing: AtomicBool,
    /// When the newest file was written, as of when it was opened.
    newest: Option<Timestamp>,
    #[cfg(test)]
    pub(crate) fails_at: Mutex<Vec<Step>>,
}

/// What can fail. Tests make it fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Before the journal has anything of a commit.
    Write,
    /// After the journal has all of it.
    Sync,
    /// After it is on the disk.
    Mark,
    /// The same, by a panic.
    #[cfg(test)]
    Panic,
    /// When the rows as they were before a refused commit are read.
    Read,
    /// When these are kept.
    Keep,
    /// When it is tried whether the disk takes writes.
    Probe,
    /// After the database was closed and before it is open again.
    Reopen,
    /// Before what was refused is taken back.
    TakeBack,
    /// After that, before it is forgotten.
    Forget,
}

/// How far it was written.
struct Written {
    mark: Mark,
    /// The last commit that was acknowledged: the mark may be one behind.
    commits: u64,
    place: Place,
    /// Whether the database must be opened again.
    is_broken: bool,
    /// The commit that was refused last, if it may be in the journal.
    refused: Option<Refused>,
    /// Where it is kept how that is taken back; nothing in a store that is only looked at.
    undo: Option<UndoFile>,
}

/// A commit that was refused and may be in the journal.
enum Refused {
    /// The rows as they were before it are yet to be read.
    Unread(Unread),
    /// They are known.
    Read(Undo),
}

impl Refused {
    fn undo(&self) -> Option<&Undo> {
        match self {
            Self::Unread(_) => None,
            Self::Read(undo) => Some(undo),
        }
    }
}

/// The reads that go on. What one sees stays on the disk until it ends.
#[derive(Default)]
struct Reads {
    /// Each read holds what was here when it began.
    latest: Mutex<Arc<()>>,
}

impl Reads {
    /// A read goes on for as long as this lives.
    fn begin(&self) -> Arc<()> {
        Arc::clone(&self.latest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits a second at most for the reads that go on now; whether they have ended. Those that begin later do not count.
    fn have_ended(&self) -> bool {
        let earlier = std::mem::take(&mut *self.latest.lock().unwrap_or_else(PoisonError::into_inner));
        for _ in 0..GLANCES {
            if Arc::strong_count(&earlier) == 1 {
                return true;
            }
            thread::sleep(GLANCE);
        }
        false
    }
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
        files::create_folder(folder).map_err(|cause| refused(folder, cause))?;
        Self::open_for_work(folder)
    }

    /// Opens the store in a folder, and never makes one there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and if no store is there.
    pub fn open_existing(folder: &Path) -> Result<Self, StorageError> {
        find_absent(folder)?;
        Self::open_for_work(folder)
    }

    /// Opens the store in a folder to read it: neither its rows nor the rights and times of its files change. The database may
    /// take away what it does not need any more. It takes no writes.
    ///
    /// # Errors
    ///
    /// As [`open_existing`](Self::open_existing).
    pub fn look(folder: &Path) -> Result<Self, StorageError> {
        find_absent(folder)?;
        let newest = newest_file(folder);
        let times =
            journals(folder).into_iter().map(|path| (path.metadata().and_then(|meta| meta.modified()), path));
        let times: Vec<_> = times.collect();
        let open = Open::to_look(folder)?;
        for (time, path) in times {
            // The database cuts off what it had reserved. The store's clock is judged by these times.
            let restored = time.and_then(|time| File::options().write(true).open(&path)?.set_modified(time));
            restored.map_err(|cause| refused(&path, cause))?;
        }
        let (mark, commits) = Self::marked(&open, folder)?;
        Self::assemble(folder, open, mark, None, commits, newest)
    }

    fn open_for_work(folder: &Path) -> Result<Self, StorageError> {
        let unfinished = folder.join(RESTORING);
        if Self::rows(&unfinished).exists() {
            return Err(StorageError::Unfinished { path: unfinished });
        }
        let newest = newest_file(folder);
        private::close_to_others(folder);
        let failed = |cause| refused(&UndoFile::path(folder), cause);
        let mut file = UndoFile::open(folder).map_err(failed)?;
        let undo = file.kept().map_err(failed)?;
        if undo.as_ref().is_some_and(|undo| undo.is_unsynced) {
            open::begin_journal(folder)?;
        }
        let open = Open::at(folder)?;
        let (mark, _) = Self::marked(&open, folder)?;
        if let Some(undo) = undo.filter(|undo| undo.commits > mark.commits()) {
            open.take_back(undo, folder)?;
        }
        file.forget().map_err(failed)?;
        // Before anything is acknowledged: else a power cut could take a file of the store by its name.
        files::sync_folder_of(&folder.join(MARK)).map_err(|cause| refused(folder, cause))?;
        let commits = open.commits(folder)?;
        Self::assemble(folder, open, mark, Some(file), commits, newest)
    }

    /// The high-water mark, and the number of the last commit, which is not before it.
    fn marked(open: &Open, folder: &Path) -> Result<(Mark, u64), StorageError> {
        let found = open.commits(folder)?;
        let path = folder.join(MARK);
        if found > 0 && !path.exists() {
            return Err(StorageError::Missing { path });
        }
        let mark = Mark::open(&path, found).map_err(|cause| {
            if cause.kind() == io::ErrorKind::InvalidData {
                StorageError::Damaged { folder: path.clone(), cause: Box::new(cause) }
            } else {
                refused(&path, cause)
            }
        })?;
        let wanted = mark.commits();
        if wanted > found {
            return Err(StorageError::Behind { folder: folder.to_owned(), found, wanted });
        }
        Ok((mark, found))
    }

    fn assemble(
        folder: &Path,
        open: Open,
        mark: Mark,
        undo: Option<UndoFile>,
        commits: u64,
        newest: Option<Timestamp>,
    ) -> Result<Self, StorageError> {
        let place = Self::place(folder)?;
        let halted = undo.is_none();
        let written = Written { mark, undo, commits, place, is_broken: false, refused: None };
        Ok(Self {
            folder: folder.to_owned(),
            open: RwLock::new(Some(open)),
            before: RwLock::default(),
            written: Mutex::new(written),
            halted: AtomicBool::new(halted),
            reads: Reads::default(),
            closing: AtomicBool::new(false),
            newest,
            #[cfg(test)]
            fails_at: Mutex::default(),
        })
    }

    /// Refuses a store that a process has open.
    ///
    /// # Errors
    ///
    /// If one has, or if that cannot be told.
    pub fn is_free(folder: &Path) -> Result<(), StorageError> {
        let lock = Self::rows(folder).join("lock");
        let file = match File::open(&lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|cause| refused(&lock, cause))?,
        };
        match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(StorageError::Locked { folder: folder.to_owned() }),
            Err(TryLockError::Error(cause)) => Err(refused(&lock, cause)),
        }
    }

    /// Whether a folder looks like that of a store.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(MARK).is_file() && Self::rows(folder).is_dir()
    }

    /// Where a backup becomes a store, before it is moved into the folder.
    pub fn restoring(folder: &Path) -> PathBuf {
        folder.join(RESTORING)
    }

    /// The folder of a store's database.
    pub fn rows(folder: &Path) -> PathBuf {
        folder.join(ROWS)
    }

    /// Whether a store has a file or folder of this name.
    pub fn has_file(name: &std::ffi::OsStr) -> bool {
        [MARK, ROWS, "refused", "refused.partial"].iter().any(|known| name == *known)
    }

    fn place(folder: &Path) -> Result<Place, StorageError> {
        let rows = folder.join(ROWS);
        let files = [rows.join("lock"), rows.join("version"), rows.join("keyspaces"), folder.join(MARK)];
        Place::of(folder, &rows, &files).map_err(|path| StorageError::Missing { path })
    }

    /// Moves a store that nobody has open into a folder where there is none. Cut off in the middle, that folder is refused as
    /// damaged.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn install(from: &Path, to: &Path) -> Result<(), StorageError> {
        let moved = || -> io::Result<()> {
            File::open(from)?.sync_all()?;
            fs::rename(from.join(MARK), to.join(MARK))?;
            File::open(to)?.sync_all()?;
            fs::rename(from.join(ROWS), to.join(ROWS))?;
            File::open(to)?.sync_all()
        };
        moved().map_err(|cause| refused(to, cause))
    }

    /// How many commits it has taken.
    pub fn commits(&self) -> u64 {
        self.written().commits
    }

    fn written(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halted(&self) -> StorageError {
        StorageError::Halted { folder: self.folder.clone() }
    }

    fn halt(&self, error: StorageError) -> StorageError {
        self.halted.store(true, Ordering::Release);
        error
    }

    /// The database, for reading; waits while it is being opened again.
    fn reading(&self) -> RwLockReadGuard<'_, Option<Open>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows as of the last commit that was acknowledged. The database would also show a part of the commit that is being
    /// written, and one whose journal or folder failed after it was written.
    fn acknowledged(&self, open: &Open) -> Snapshot {
        // Locked until the snapshot is taken: or a whole commit could come in between.
        let before = self.before.read().unwrap_or_else(PoisonError::into_inner);
        before.clone().unwrap_or_else(|| open.database.snapshot())
    }

    fn read_before(&self, before: Option<Snapshot>) {
        *self.before.write().unwrap_or_else(PoisonError::into_inner) = before;
    }

    #[cfg(test)]
    fn step(&self, step: Step) -> io::Result<()> {
        let fails_at = self.fails_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(step != Step::Write || !fails_at.contains(&Step::Panic), "the database panics");
        if !fails_at.contains(&step) {
            return Ok(());
        }
        let is_sync = step == Step::Sync;
        Err(if is_sync {
            io::Error::other("the device is broken")
        } else {
            io::ErrorKind::StorageFull.into()
        })
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests have it fail")]
    fn step(&self, _: Step) -> io::Result<()> {
        Ok(())
    }

    fn check_place(&self, written: &mut Written) -> Result<(), StorageError> {
        written.place.check().map_err(|path| StorageError::Gone { path })
    }

    /// Writes a commit to the journal, or notes what must be taken back.
    fn write(
        &self,
        open: &Open,
        written: &mut Written,
        writes: &[Write<'_>],
        commits: u64,
    ) -> Result<(), StorageError> {
        let before = open.database.snapshot();
        self.read_before(Some(before.clone()));
        let write = || {
            self.step(Step::Write).map_err(|cause| refused(&self.folder, cause))?;
            open.write(writes, commits, &self.folder)
        };
        // One that panics halts the store, and is taken back as any that fails.
        let done = catch_unwind(AssertUnwindSafe(write))
            .unwrap_or(Err(StorageError::Panicked))
            .and_then(|()| self.step(Step::Sync).map_err(|cause| refused(&self.folder, cause)))
            // Nothing is acknowledged that went into a folder that is gone.
            .and_then(|()| self.check_place(written));
        let Err(error) = done else {
            self.read_before(None);
            return Ok(());
        };
        written.is_broken = true;
        // One that was broken before has nothing of this commit. Reads see the rows before it until it is taken back.
        if !matches!(error, StorageError::Halted { .. }) {
            written.refused = Some(Refused::Unread(Unread::new(before, commits, writes, &error)));
            // At once: what was not synced may be there after a restart, and the process may be killed before it recovers.
            if let Err(error) = self.note(Some(open), written) {
                tracing::warn!(
                    error = crate::telemetry::chain(&error),
                    "how to take back the refused commit could not be written; it is tried again"
                );
            }
        }
        Err(error)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut written = self.written();
        if written.refused.is_none() {
            return;
        }
        if let Err(error) = self.note(self.reading().as_ref(), &mut written) {
            let error = crate::telemetry::chain(&error);
            tracing::error!(error, "a refused commit may be in the profile store after the restart");
        }
        // Closing it would write what was refused; the process ends without.
        std::mem::forget(self.open.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn refused(path: &Path, cause: io::Error) -> StorageError {
    StorageError::Io { folder: path.to_owned(), cause: Box::new(cause) }
}

/// The files beside the tables; most are journals.
fn journals(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(ROWS)).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_file()).collect()
}

/// When the newest of a store's own files was written: its journals and its high-water mark.
fn newest_file(folder: &Path) -> Option<Timestamp> {
    let files = journals(folder).into_iter().chain([folder.join(MARK)]);
    let written = files.filter_map(|path| Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok());
    written.max()
}

impl Storage for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        StorageError::check_key(table, key)?;
        let _reading = self.reads.begin();
        let open = self.reading();
        let open = open.as_ref().ok_or_else(|| self.halted())?;
        let found = self
            .acknowledged(open)
            .get(open.table(table)?, key)
            .map_err(|cause| failure(&self.folder, cause))?;
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
        let _reading = self.reads.begin();
        let open = self.reading();
        let open = open.as_ref().ok_or_else(|| self.halted())?;
        let rows = self.acknowledged(open).range(open.table(table)?, from..to);
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
        let mut written = self.written();
        if self.is_halted() {
            return Err(self.halted());
        }
        // Before anything is written: a panic in the middle would leave the lock poisoned and the store halted.
        for (table, key, _) in writes {
            StorageError::check_key(*table, key)?;
            if key.is_empty() {
                return Err(StorageError::Key { table: *table, bytes: 0 });
            }
        }
        self.check_place(&mut written).map_err(|error| self.halt(error))?;
        let open = self.reading();
        let open = open.as_ref().ok_or_else(|| self.halted())?;
        let commits = written.commits + 1;
        self.write(open, &mut written, writes, commits).map_err(|error| self.halt(error))?;
        written.commits = commits;
        let marked = self.step(Step::Mark).and_then(|()| written.mark.set(commits));
        if let Err(error) = marked {
            // The commit is on the disk, and stays. But no other comes before its number is beside it.
            let path = self.folder.join(MARK);
            tracing::error!(%error, path = %path.display(), "the number of the last commit could not be written");
            self.halted.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    fn check(&self) -> Result<(), StorageError> {
        if self.is_halted() {
            return Err(self.halted());
        }
        let mut written = self.written();
        self.check_place(&mut written).map_err(|error| self.halt(error))?;
        let open = self.reading();
        let open = open.as_ref().ok_or_else(|| self.halted())?;
        open.check(&self.folder).map_err(|error| {
            written.is_broken = true;
            self.halt(error)
        })
    }

    fn recover(&self) -> Result<(), StorageError> {
        let mut written = self.written();
        if !self.is_halted() {
            return Ok(());
        }
        self.check_place(&mut written)?;
        if written.undo.is_none() {
            // It is only looked at.
            return Err(self.halted());
        }
        if written.is_broken {
            self.reopen(&mut written)?;
            self.closing.store(false, Ordering::SeqCst);
        }
        let commits = written.commits;
        let marked = self.step(Step::Mark).and_then(|()| written.mark.set(commits));
        marked.map_err(|cause| refused(&self.folder.join(MARK), cause))?;
        self.halted.store(false, Ordering::Release);
        Ok(())
    }

    fn newest_file(&self) -> Option<Timestamp> {
        self.newest
    }

    fn space(&self) -> Option<DiskSpace> {
        let found = rustix::fs::statvfs(&self.folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(DiskSpace { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    fn snapshot(&self, see: &mut See<'_>) -> Result<(), StorageError> {
        let _reading = self.reads.begin();
        let open = self.reading();
        let open = open.as_ref().ok_or_else(|| self.halted())?;
        let snapshot = self.acknowledged(open);
        for (kind, table) in &open.tables {
            for guard in snapshot.iter(table) {
                if self.closing.load(Ordering::SeqCst) {
                    return Err(self.halted());
                }
                let (key, value) = guard.into_inner().map_err(|cause| failure(&self.folder, cause))?;
                let own = *kind == Table::Meta && [COMMITS, SCRUBBED].contains(&key.as_ref());
                if !own && see(*kind, &key, &value).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Has every table written anew without what is gone. The journal still has it, and fjall begins another only when one
    /// is full: so it is filled.
    fn scrub(&self) -> Result<bool, StorageError> {
        if self.is_halted() {
            return Ok(false);
        }
        let open = self.reading();
        let open = open.as_ref().ok_or_else(|| self.halted())?;
        let failed = |cause| failure(&self.folder, cause);
        let meta = open.table(Table::Meta)?;
        // The database keeps what the oldest read may see, and the write before. So reads that begin from here on are behind this
        // write, and the others are waited for. A backup may take long: then it is tried again later.
        meta.insert(SCRUBBED, []).map_err(failed)?;
        if !self.reads.have_ended() {
            return Ok(false);
        }
        let tables = open.database.disk_space().map_err(failed)?;
        let needed = tables.saturating_add(2 * JOURNAL_BYTES as u64);
        if self.space().is_some_and(|space| space.free < needed) {
            // Filling the disk would halt the store.
            tracing::warn!(
                needed,
                "what was forgotten cannot be wiped off the disk: there is too little space"
            );
            return Ok(false);
        }
        let rows = Self::rows(&self.folder);
        let unread = |cause| refused(&rows, cause);
        let last_journal = place::journal(&rows).map_err(unread)?.0;
        let padding = open.database.keyspace(PADDING, KeyspaceCreateOptions::default).map_err(failed)?;
        // Of zeros nothing would be left: the journal is compressed.
        let mut noise = vec![0; PADDING_BYTES];
        getrandom::fill(&mut noise).map_err(|cause| refused(&self.folder, io::Error::other(cause)))?;
        for number in 0..JOURNAL_BYTES / PADDING_BYTES + 1 {
            padding.insert(number.to_be_bytes(), noise.as_slice()).map_err(failed)?;
        }
        open.flush(&padding).map_err(failed)?;
        for table in open.tables.values() {
            open.flush(table).map_err(failed)?;
        }
        for table in open.tables.values() {
            table.major_compact().map_err(failed)?;
        }
        open.database.delete_keyspace(padding).map_err(failed)?;
        // Files that nobody reads any more go with a later rotation, and reads begin all the time.
        for _ in 0..GLANCES {
            meta.insert(SCRUBBED, []).map_err(failed)?;
            open.flush(meta).map_err(failed)?;
            let journals = place::journals(&rows).map_err(unread)?;
            if journals.keys().all(|number| *number > last_journal)
                && !open.has_old_files().map_err(unread)?
            {
                return Ok(true);
            }
            thread::sleep(GLANCE);
        }
        tracing::warn!("what was forgotten is still read; it is wiped off the disk later");
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
