//! Opening the database again after a write failed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::super::StorageError;
use super::open::{self, Open};
use super::place::journal;
use super::undo::UndoFile;
use super::{Disk, ROWS, Refused, Step, Written, refused};
use crate::files;

/// The name of a file that is written to see whether the disk takes writes; nobody else has such a one.
pub(super) const PROBE: &str = ".arom-probe";

/// A disk takes writes again when it takes a file of so many bytes.
const PROBE_BYTES: usize = 1 << 20;

/// As many bytes of the end of a journal are written again.
const END_BYTES: usize = 4096;

/// Writes what is at the end of a file again, and syncs it: that changes nothing, but fails where more could not be written.
fn rewrite_end(path: &Path) -> io::Result<()> {
    let file = files::options().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut end = vec![0; END_BYTES.min(usize::try_from(length).unwrap_or(END_BYTES))];
    let at = length - u64::try_from(end.len()).unwrap_or(length);
    file.read_exact_at(&mut end, at)?;
    file.write_all_at(&end, at)?;
    file.sync_all()
}

impl Disk {
    /// Whether the disk takes writes, and the journal, too: once the database is closed there are no reads until it is open again.
    fn probe(&self) -> io::Result<()> {
        self.step(Step::Probe)?;
        rewrite_end(&journal(&self.folder.join(ROWS))?.1)?;
        let path = self.folder.join(PROBE);
        // Of zeros a file system may keep nothing.
        let mut noise = vec![0; PROBE_BYTES];
        getrandom::fill(&mut noise).map_err(io::Error::other)?;
        let tried = files::create(&path).and_then(|mut file| {
            file.write_all(&noise)?;
            file.sync_all()
        });
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        tried
    }

    /// Has snapshots end: what they see keeps the database open.
    fn end_snapshots(&self) -> Result<(), StorageError> {
        // Who takes a backup may be slow to take a piece: then it is tried again later. One that begins now ends at once.
        self.closing.store(true, Ordering::SeqCst);
        if self.reads.have_ended() { Ok(()) } else { Err(self.halted()) }
    }

    /// Puts on the disk how a refused commit is taken back.
    ///
    /// # Errors
    ///
    /// If the rows as they were cannot be read, or not be written: it must be tried again before the database is closed.
    pub(super) fn note(&self, open: Option<&Open>, written: &mut Written) -> Result<(), StorageError> {
        if let (Some(Refused::Unread(unread)), Some(open)) = (&written.refused, open) {
            self.step(Step::Read).map_err(|cause| refused(&self.folder, cause))?;
            written.refused = Some(Refused::Read(unread.read(open, &self.folder)?));
        }
        match (&written.refused, &mut written.undo) {
            (Some(Refused::Read(undo)), Some(file)) => {
                let kept = self.step(Step::Keep).and_then(|()| file.keep(undo));
                kept.map_err(|cause| refused(&UndoFile::path(&self.folder), cause))
            }
            (Some(_), _) => Err(self.halted()),
            (None, _) => Ok(()),
        }
    }

    /// Opens the database again, without what was refused.
    pub(super) fn reopen(&self, written: &mut Written) -> Result<(), StorageError> {
        // While the disk takes nothing else: the process may be killed before it does.
        self.note(self.reading().as_ref(), written)?;
        self.probe().map_err(|cause| refused(&self.folder, cause))?;
        self.end_snapshots()?;
        let mut place = self.open.write().unwrap_or_else(PoisonError::into_inner);
        // It must be closed before it is opened: it has a lock.
        drop(place.take());
        self.read_before(None);
        self.step(Step::Reopen).map_err(|cause| refused(&self.folder, cause))?;
        let undo = written.refused.as_ref().and_then(Refused::undo);
        if undo.is_some_and(|undo| undo.is_unsynced) {
            open::begin_journal(&self.folder)?;
        }
        let open = Open::at(&self.folder)?;
        let (found, wanted) = (open.commits(&self.folder)?, written.commits);
        if found < wanted {
            return Err(StorageError::Behind { folder: self.folder.clone(), found, wanted });
        }
        self.step(Step::TakeBack).map_err(|cause| refused(&self.folder, cause))?;
        if let Some(undo) = undo.cloned() {
            open.take_back(undo, &self.folder)?;
        }
        self.step(Step::Forget).map_err(|cause| refused(&self.folder, cause))?;
        if let Some(file) = &mut written.undo {
            file.forget().map_err(|cause| refused(&UndoFile::path(&self.folder), cause))?;
        }
        written.refused = None;
        written.commits = open.commits(&self.folder)?;
        written.place = Self::place(&self.folder)?;
        written.is_broken = false;
        *place = Some(open);
        Ok(())
    }
}
