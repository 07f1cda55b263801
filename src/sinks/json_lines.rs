//! A folder of JSON Lines: one event in a line, each batch on the disk before it counts as delivered.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::{JsonLinesConfig, SinkError};
use crate::files;

/// The file that is written.
const CURRENT: &str = "profiles.jsonl";

/// The file that is written, and where it is rotated.
#[derive(Debug)]
pub(super) struct JsonLines {
    folder: PathBuf,
    rotate_bytes: u64,
    file: File,
    /// Bytes of whole batches.
    length: u64,
}

impl JsonLines {
    pub(super) fn open(config: &JsonLinesConfig) -> Result<Self, SinkError> {
        let path = config.folder.join(CURRENT);
        files::create_folder(&config.folder).map_err(SinkError::io(&config.folder))?;
        let (file, length) = open(&path).map_err(SinkError::io(&path))?;
        close_to_others(&config.folder);
        Ok(Self { folder: config.folder.clone(), rotate_bytes: config.rotate_bytes, file, length })
    }

    /// Writes a batch: all of it is on the disk, or nothing of it is in the file.
    pub(super) fn write(&mut self, events: &[Value]) -> io::Result<()> {
        if self.length >= self.rotate_bytes {
            self.rotate()?;
        }
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        self.file
            .write_all_at(lines.as_bytes(), self.length)
            .and_then(|()| self.file.sync_data())
            .inspect_err(
                // What a full disk took of it is overwritten by the next attempt; until then it is better not there.
                |_| self.file.set_len(self.length).unwrap_or_default(),
            )?;
        self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        let current = self.folder.join(CURRENT);
        match fs::rename(&current, self.folder.join(format!("profiles-{stamp}.jsonl"))) {
            Ok(()) => {}
            // An earlier attempt came no further than this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        (self.file, self.length) = open(&current)?;
        File::open(&self.folder)?.sync_all()
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

/// Opens a file, without the line that a crash cut off; with how long it is.
fn open(path: &Path) -> io::Result<(File, u64)> {
    const CHUNK: usize = 4096;
    let file = files::open(path, files::options().read(true).write(true))?;
    let mut end = file.metadata()?.len();
    let mut chunk = [0; CHUNK];
    // Back to after the last end of a line.
    while end > 0 {
        let part =
            chunk.get_mut(..usize::try_from(end).map_or(CHUNK, |end| end.min(CHUNK))).unwrap_or_default();
        let start = end - u64::try_from(part.len()).unwrap_or(0);
        file.read_exact_at(part, start)?;
        match part.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => {
                end = start + u64::try_from(at).unwrap_or(0) + 1;
                break;
            }
            None => end = start,
        }
    }
    file.set_len(end)?;
    Ok((file, end))
}
