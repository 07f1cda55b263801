//! Whether a store that is open is still where it was: its folder may be deleted, moved or replaced meanwhile, and what is written
//! then goes nowhere.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file on its device.
type FileId = (u64, u64);

/// The files of a store by which it is known.
#[derive(Debug)]
pub(super) struct Place {
    rows: PathBuf,
    fixed: Vec<(PathBuf, FileId)>,
    /// The journal that is written: its number and file.
    journal: (u64, FileId),
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The journals by their numbers.
pub(super) fn journals(rows: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(rows)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        if let Some(number) = number {
            found.insert(number, path);
        }
    }
    Ok(found)
}

/// The journal with the greatest number: the one that is written.
pub(super) fn journal(rows: &Path) -> io::Result<(u64, PathBuf)> {
    journals(rows)?.pop_last().ok_or_else(|| io::ErrorKind::NotFound.into())
}

impl Place {
    /// Where a store is now, whose folder, database and other files these are.
    pub(super) fn of(folder: &Path, rows: &Path, files: &[PathBuf]) -> Result<Self, PathBuf> {
        let known = [folder, rows].into_iter().chain(files.iter().map(PathBuf::as_path));
        // The store's folder may be a link; what it leads to counts.
        let fixed = known.map(|path| {
            let id = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
            Ok((path.to_owned(), id.map_err(|_| path.to_owned())?))
        });
        let fixed = fixed.collect::<Result<_, PathBuf>>()?;
        let (number, path) = journal(rows).map_err(|_| rows.join("*.jnl"))?;
        let id = file_id(&path).map_err(|_| path)?;
        Ok(Self { rows: rows.to_owned(), fixed, journal: (number, id) })
    }

    /// Whether it is there still; if not, the file that is gone or another one. A file that cannot be looked at, as where the
    /// process may open no more, is not gone.
    pub(super) fn check(&mut self) -> Result<(), PathBuf> {
        for (path, known) in &self.fixed {
            let found = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
            if is_other(&found, known) {
                return Err(path.clone());
            }
        }
        let (number, id) = self.journal;
        let gone = || self.rows.join(format!("{number}.jnl"));
        let found = match journal(&self.rows) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
            Err(_) => return Ok(()),
            Ok(found) => found,
        };
        let (found, found_id) = (found.0, file_id(&found.1));
        match (found.cmp(&number), found_id) {
            (Ordering::Less, _) => Err(gone()),
            (Ordering::Equal, found) if is_other(&found, &id) => Err(gone()),
            // The database began another.
            (Ordering::Greater, Ok(found_id)) => {
                self.journal = (found, found_id);
                Ok(())
            }
            (Ordering::Equal | Ordering::Greater, _) => Ok(()),
        }
    }
}

fn is_other(found: &io::Result<FileId>, known: &FileId) -> bool {
    match found {
        Ok(found) => found != known,
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}
