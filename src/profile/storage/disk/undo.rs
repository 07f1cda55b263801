//! What a commit that was refused would have changed, so that it can be taken back.
//!
//! A write that fails may be in the journal nevertheless, whole, once the database is opened again: its buffer is written when it is
//! closed, and bytes whose sync failed may still be there. Who asked was told that nothing was done. So the rows as they were before
//! are put in a file at once, and put back when the database is open again; a crash at any point between leaves the file for the
//! next start. The room of the file is taken when the store is opened: a full disk must not refuse it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use zstd::zstd_safe::CParameter;

use super::super::super::rows::{decode, encode};
use super::super::{OwnWrite, Table};
use crate::files;

pub(super) const UNDO: &str = "refused";

/// Room for the rows of a commit as they were, compressed.
const ROOM_BYTES: u64 = 4 << 20;

/// The length of what is kept and its complement: nothing is kept if they do not fit together.
const HEAD_BYTES: u64 = 16;

/// Rows of one commit are no longer; a file that says so is damaged.
const MOST_BYTES: usize = 1 << 30;

/// Rows as they were before a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// The number of the commit that was refused.
    pub(super) commits: u64,
    /// Whether a sync failed: the journal may lack on the disk what reading it shows.
    pub(super) is_unsynced: bool,
    rows: Vec<(String, Vec<u8>, Option<Vec<u8>>)>,
}

impl Undo {
    pub(super) fn new(commits: u64, is_unsynced: bool, rows: Vec<OwnWrite>) -> Self {
        let rows = rows.into_iter().map(|(table, row, value)| (table.name().to_owned(), row, value));
        Self { commits, is_unsynced, rows: rows.collect() }
    }

    /// The rows to put back.
    pub(super) fn writes(self) -> Vec<OwnWrite> {
        let table = |name: &str| Table::ALL.into_iter().find(|table| table.name() == name);
        let rows = self.rows.into_iter();
        rows.filter_map(|(name, row, value)| Some((table(&name)?, row, value))).collect()
    }
}

/// The file in which an [`Undo`] is kept.
#[derive(Debug)]
pub(super) struct UndoFile {
    file: File,
    /// Where the bytes end that are not known to be zero.
    used: u64,
}

impl UndoFile {
    /// Where it is in a store's folder.
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(UNDO)
    }

    /// Opens the file, or makes it, and takes its room.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let file = files::open(&Self::path(folder), files::options().read(true).write(true))?;
        let length = file.metadata()?.len();
        if length < ROOM_BYTES
            && let Err(error) = take_room(&file, length)
        {
            tracing::warn!(%error, folder = %folder.display(), "the room for taking back a refused commit could not be taken");
        }
        let used = last_used(&file)?;
        Ok(Self { file, used })
    }

    /// What is kept, if anything is.
    pub(super) fn kept(&self) -> io::Result<Option<Undo>> {
        let mut head = [[0; 8]; 2];
        match self.file.read_exact_at(head.as_flattened_mut(), 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let [length, check] = head.map(u64::from_be_bytes);
        if length == 0 || length != !check {
            return Ok(None);
        }
        let mut bytes = vec![0; usize::try_from(length.min(MOST_BYTES as u64)).unwrap_or(MOST_BYTES)];
        let read = self.file.read_exact_at(&mut bytes, HEAD_BYTES);
        let rows = read.and_then(|()| zstd::bulk::decompress(&bytes, MOST_BYTES));
        let undo = rows.and_then(|rows| decode(Table::Meta, &rows).map_err(io::Error::other));
        if let Err(error) = &undo {
            // As after a power cut while it was written: its sender was not told anything yet.
            tracing::error!(%error, "a refused commit cannot be taken back: the file that says how is damaged");
        }
        Ok(undo.ok())
    }

    /// Keeps it. Even where the sync fails, it outlives the process.
    pub(super) fn keep(&mut self, undo: &Undo) -> io::Result<()> {
        let mut compressor = zstd::bulk::Compressor::new(1)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let bytes = compressor.compress(&encode(undo))?;
        let length = bytes.len() as u64;
        self.used = self.used.max(HEAD_BYTES + length);
        self.file.write_all_at(&bytes, HEAD_BYTES)?;
        let synced = self.file.sync_data();
        self.write_head(length)?;
        synced.and_then(|()| self.file.sync_data())
    }

    /// Forgets what is kept, for good: else it would take back a later commit of the same number. The rows are overwritten, since
    /// their customers may be erased later. The room stays taken.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        if self.used == 0 {
            return Ok(());
        }
        // First: without its rows it would count as damaged.
        self.write_head(0)?;
        self.file.sync_data()?;
        let mut at = HEAD_BYTES;
        while at < self.used {
            let zeros = ZEROS.get(..piece(self.used - at)).unwrap_or_default();
            self.file.write_all_at(zeros, at)?;
            at += zeros.len() as u64;
        }
        self.file.sync_data()?;
        self.used = 0;
        Ok(())
    }

    fn write_head(&self, length: u64) -> io::Result<()> {
        let head = u128::from(length) << 64 | u128::from(!length);
        self.file.write_all_at(&head.to_be_bytes(), 0)
    }
}

/// A piece of nothing.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// How many of so many bytes are read or written in one go.
fn piece(bytes: u64) -> usize {
    usize::try_from(bytes).map_or(ZEROS.len(), |bytes| bytes.min(ZEROS.len()))
}

/// Where the bytes of a file end that are not zero, to a piece. An earlier version left rows behind a head that keeps nothing.
fn last_used(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let (mut at, mut used, mut bytes) = (0, 0, ZEROS.to_vec());
    while at < length {
        let read = bytes.get_mut(..piece(length - at)).unwrap_or_default();
        file.read_exact_at(read, at)?;
        at += read.len() as u64;
        if read.iter().any(|byte| *byte != 0) {
            used = at;
        }
    }
    Ok(used)
}

fn take_room(file: &File, length: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, ROOM_BYTES) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            let zeros = vec![0; usize::try_from(ROOM_BYTES - length).unwrap_or(0)];
            file.write_all_at(&zeros, length)
        }
        taken => Ok(taken?),
    }
}
