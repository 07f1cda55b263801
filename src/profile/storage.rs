//! Where profiles are kept: ordered rows of bytes in tables, written all or nothing.
//!
//! The one seam of the store. [`Disk`] keeps them on disk; tests keep them in memory, and have a disk fail.

mod disk;
#[cfg(test)]
pub(crate) mod memory;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use disk::Disk;

/// What rows are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The store itself: its version, salt and sequences.
    Meta,
    /// Events by their ids.
    Ledger,
    /// Events by their keys and times.
    Events,
    /// What is kept of each key.
    Profiles,
    /// Sums of brands by their tiles.
    Tiles,
    /// What changed, by the sequence of the commit.
    Changes,
    /// How far each sink has come.
    Cursors,
    /// Who was erased, for as long as a sink has yet to say so.
    Notices,
    /// Keys with a raised signal.
    Raised,
    /// Who was erased, as salted hashes.
    Erased,
    /// What was erased, when and by which request.
    Audit,
    /// Which of the changes that are kept name a customer.
    Mentions,
    /// Which erasures are noted of a customer.
    Subjects,
}

impl Table {
    /// All.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Ledger,
        Self::Events,
        Self::Profiles,
        Self::Tiles,
        Self::Changes,
        Self::Cursors,
        Self::Notices,
        Self::Raised,
        Self::Erased,
        Self::Audit,
        Self::Mentions,
        Self::Subjects,
    ];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Ledger => "ledger",
            Self::Events => "events",
            Self::Profiles => "profiles",
            Self::Tiles => "tiles",
            Self::Changes => "changes",
            Self::Cursors => "cursors",
            Self::Notices => "notices",
            Self::Raised => "raised",
            Self::Erased => "erased",
            Self::Audit => "audit",
            Self::Mentions => "mentions",
            Self::Subjects => "subjects",
        }
    }
}

/// A row that is written, or removed if it has no value.
pub type Write<'a> = (Table, &'a [u8], Option<&'a [u8]>);

/// The same, of its own.
pub(super) type OwnWrite = (Table, Vec<u8>, Option<Vec<u8>>);

pub(super) fn borrowed(writes: &[OwnWrite]) -> Vec<Write<'_>> {
    writes.iter().map(|(table, row, value)| (*table, row.as_slice(), value.as_deref())).collect()
}

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Whoever is shown rows.
pub type See<'a> = dyn FnMut(Table, &[u8], &[u8]) -> ControlFlow<()> + 'a;

/// In which order rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The least key first.
    Ascending,
    /// The greatest key first.
    Descending,
}

/// Room on the disk of a store, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// What the store can still write.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
}

/// Ordered rows of bytes in tables.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The value of a row.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError>;

    /// At most so many rows whose keys are at least `from` and less than `to`.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        most: usize,
    ) -> Result<Vec<Row>, StorageError>;

    /// Writes all of it or nothing, and so that it is there after a crash.
    ///
    /// # Errors
    ///
    /// If it cannot be written. It then takes no more writes until it has [recovered](Self::recover), and has nothing of this one.
    fn commit(&self, writes: &[Write<'_>]) -> Result<(), StorageError>;

    /// Shows every row as of one moment, table by table, until whoever sees them has enough. Not those that the storage keeps
    /// for itself. Writing goes on meanwhile.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn snapshot(&self, see: &mut See<'_>) -> Result<(), StorageError>;

    /// Whether it takes no writes now, because one failed.
    fn is_halted(&self) -> bool {
        false
    }

    /// Whether it is where it was and takes writes.
    ///
    /// # Errors
    ///
    /// If it does not, or its files were deleted, moved or replaced: it then takes no writes.
    fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Tries to take writes again after one failed; nothing of what was refused is there then.
    ///
    /// # Errors
    ///
    /// If it cannot yet.
    fn recover(&self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Room on its disk, where that is known.
    fn space(&self) -> Option<DiskSpace> {
        None
    }

    /// When the newest of its files was written, as of when it was opened.
    fn newest_file(&self) -> Option<Timestamp> {
        None
    }

    /// Has what was removed leave the medium, too; false, and nothing is done, while a [snapshot](Self::snapshot) still
    /// shows it.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    fn scrub(&self) -> Result<bool, StorageError>;
}

/// Why the store does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The system refused.
    #[error("the profile store cannot read or write {}", folder.display())]
    Io {
        /// The folder or file.
        folder: PathBuf,
        /// What the system, or the database, said.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An earlier write failed. No write is taken until the store has recovered.
    #[error("the profile store in {} takes no writes since one failed; it goes on by itself once the disk takes them", folder.display())]
    Halted {
        /// Where it is.
        folder: PathBuf,
    },
    /// A file is not there any more, or another is in its place.
    #[error(
        "{} was deleted, moved or replaced while the profile store was open; move the same one back, and the store goes on; do not \
         restart the server without it, since it would begin a new, empty store; if it is lost, restore a backup",
        path.display()
    )]
    Gone {
        /// The file or folder.
        path: PathBuf,
    },
    /// A file of a store that is there is missing.
    #[error("the profile store lacks {}; {}", path.display(), Self::advice(path))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is no store where one was looked for.
    #[error("there is no profile store in {}; name the folder that the server has as profile.store", folder.display())]
    Absent {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A restore into this folder did not end.
    #[error(
        "a restore did not end: {} has a part of a backup. Run `arom profile restore` again; or delete that folder, with the erased customers who may be in it",
        path.display()
    )]
    Unfinished {
        /// What it left.
        path: PathBuf,
    },
    /// No server has begun the store: it has no rows yet.
    #[error("the profile store is empty, because no server has begun it; start the server on it first")]
    Empty,
    /// Another process has it open.
    #[error("the profile store in {} is open in another process", folder.display())]
    Locked {
        /// Where it is.
        folder: PathBuf,
    },
    /// It lacks what was once acknowledged.
    #[error(
        "the profile store in {} is damaged: it ends at commit {found}, but {wanted} were acknowledged; restore a backup",
        folder.display()
    )]
    Behind {
        /// Where it is.
        folder: PathBuf,
        /// Its last commit.
        found: u64,
        /// The last that was acknowledged.
        wanted: u64,
    },
    /// A file of it holds what nobody wrote.
    #[error("the profile store in {} is damaged; restore a backup", folder.display())]
    Damaged {
        /// Where it is.
        folder: PathBuf,
        /// What the database said, with the file if it says one.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds what nobody wrote.
    #[error("the profile store is damaged: a row of table {} cannot be understood; restore a backup", table.name())]
    Row {
        /// Which table.
        table: Table,
    },
    /// No row can have such a key.
    #[error("a key of {bytes} bytes was given for table {}, rows have keys of 1 to {} bytes", table.name(), Self::MAX_KEY_BYTES)]
    Key {
        /// Of which table.
        table: Table,
        /// How long it is.
        bytes: usize,
    },
    /// The thread that worked out what is written panicked; nothing of it was done.
    #[error("what was asked of the profile store made it panic; nothing of it was done")]
    Panicked,
    /// A commit panicked.
    #[error(
        "the profile store panicked while it wrote, and it is not known whether that was written; it takes no writes, restart the server"
    )]
    Broken,
    /// A brand changed each time it was read.
    #[error("the profile changes faster than it can be read; try again")]
    Busy,
    /// Its customers go by other names.
    #[error(
        "the profile store was begun {}, and the server {}; give it the key file that it was begun with, or name another store",
        if *begun { "with pseudonyms" } else { "without pseudonyms" },
        match (begun, given) {
            (true, true) => "has another key",
            (true, false) => "has no profile.pseudonym_key_file",
            (false, _) => "has a profile.pseudonym_key_file",
        }
    )]
    Names {
        /// Whether it has pseudonyms.
        begun: bool,
        /// Whether pseudonyms were asked for.
        given: bool,
    },
    /// It was made by another version.
    #[error("the profile store has version {found}, this program reads {wanted}")]
    Version {
        /// Its version.
        found: u32,
        /// The version of this program.
        wanted: u32,
    },
}

impl StorageError {
    /// What to do about a missing file.
    fn advice(path: &Path) -> &'static str {
        if path.ends_with("lock") {
            "once no process has the store open, make it anew as an empty file"
        } else {
            "put it back, or restore a backup"
        }
    }

    /// Most bytes of the key of a row.
    pub const MAX_KEY_BYTES: usize = u16::MAX as usize;

    /// Refuses a key that no row can have: the database panics at it.
    fn check_key(table: Table, key: &[u8]) -> Result<(), Self> {
        let bytes = key.len();
        if bytes <= Self::MAX_KEY_BYTES { Ok(()) } else { Err(Self::Key { table, bytes }) }
    }
}
