//! A folder of JSON Lines: one event in a line, each batch on the disk before it counts as delivered.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::{JsonLinesConfig, SinkError, lines};
use crate::files;

/// The file that is written.
const CURRENT: &str = "profiles.jsonl";

/// The file that is locked.
const LOCK: &str = "profiles.lock";

/// A file that this process alone has locked.
fn locked(path: &Path) -> Result<File, SinkError> {
    let file = files::open(path, files::options().append(true)).map_err(SinkError::io(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let problem = "another server writes into this folder; give each server a folder of its own";
            Err(SinkError::io(path)(io::Error::new(io::ErrorKind::ResourceBusy, problem)))
        }
        Err(TryLockError::Error(cause)) => Err(SinkError::io(path)(cause)),
    }
}

/// The file that is written in a folder.
pub(crate) fn current(folder: &Path) -> PathBuf {
    folder.join(CURRENT)
}

/// The file that is written, and where it is rotated.
#[derive(Debug)]
pub(super) struct JsonLines {
    folder: PathBuf,
    rotate_bytes: u64,
    file: File,
    /// Bytes of whole batches.
    length: u64,
    /// Locked as long as this lives: two servers in one folder would write over each other.
    _lock: File,
}

impl JsonLines {
    pub(super) fn open(config: &JsonLinesConfig) -> Result<Self, SinkError> {
        let path = current(&config.folder);
        files::create_folder(&config.folder).map_err(SinkError::io(&config.folder))?;
        let lock = locked(&config.folder.join(LOCK))?;
        let (file, length) = lines::open(&path).map_err(SinkError::io(&path))?;
        close_to_others(&config.folder);
        Ok(Self {
            folder: config.folder.clone(),
            rotate_bytes: config.rotate_bytes,
            file,
            length,
            _lock: lock,
        })
    }

    /// Writes a batch: all of it is on the disk, or nothing of it is in the file.
    ///
    /// If somebody moved or deleted the file, a new one is begun. If the folder is gone, nothing is written: it may have been a disk
    /// that is no longer mounted.
    pub(super) fn write(&mut self, events: &[Value]) -> Result<(), SinkError> {
        let path = current(&self.folder);
        self.write_to(&path, events).map_err(SinkError::io(&path))
    }

    fn write_to(&mut self, path: &Path, events: &[Value]) -> io::Result<()> {
        if self.length >= self.rotate_bytes {
            self.rotate(path)?;
        }
        // Shorter than it was: somebody emptied it, as `logrotate` does with `copytruncate`.
        if !lines::is_at(&self.file, path)? || self.file.metadata()?.len() < self.length {
            (self.file, self.length) = lines::open(path)?;
            tracing::warn!(file = %path.display(), "the sink's file was moved, deleted or emptied; it is begun anew");
        }
        let text: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.file
            .write_all_at(text.as_bytes(), self.length)
            .and_then(|()| self.file.sync_data())
            .inspect_err(
                // What a full disk took of it is overwritten by the next attempt; until then it is better not there.
                |_| self.file.set_len(self.length).unwrap_or_default(),
            )?;
        self.length += u64::try_from(text.len()).unwrap_or(u64::MAX);
        // What was written into a file that nobody can find any more is not delivered.
        if lines::is_at(&self.file, path)? {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "it was moved or deleted while it was written"))
        }
    }

    fn rotate(&mut self, path: &Path) -> io::Result<()> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        match fs::rename(path, self.folder.join(format!("profiles-{stamp}.jsonl"))) {
            Ok(()) => {}
            // An earlier attempt came no further than this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        (self.file, self.length) = lines::open(path)?;
        Ok(())
    }
}

/// Takes the rights of others from what an older version wrote.
fn close_to_others(folder: &Path) {
    let tighten = || -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(b"profiles") {
                files::tighten_alone(&entry.path())?;
            }
        }
        Ok(())
    };
    if let Err(error) = tighten() {
        tracing::warn!(folder = %folder.display(), %error, "others may be able to read what the sink wrote before");
    }
}
