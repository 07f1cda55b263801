//! A folder of JSON Lines: one event in a line, each batch on the disk before it counts as delivered.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::{JsonLinesConfig, SinkError};

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
        fs::create_dir_all(&config.folder).map_err(SinkError::io(&config.folder))?;
        let (file, length) = open(&path).map_err(SinkError::io(&path))?;
        Ok(Self { folder: config.folder.clone(), rotate_bytes: config.rotate_bytes, file, length })
    }

    /// Writes a batch: all of it is on the disk, or nothing of it is in the file.
    pub(super) fn write(&mut self, events: &[Value]) -> io::Result<()> {
        if self.length >= self.rotate_bytes {
            self.rotate()?;
        }
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.length += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                Ok(())
            }
            Err(error) => {
                // What a full disk took of it is taken back; it is tried again.
                self.file.set_len(self.length)?;
                self.file.seek(SeekFrom::Start(self.length))?;
                Err(error)
            }
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        fs::rename(self.folder.join(CURRENT), self.folder.join(format!("profiles-{stamp}.jsonl")))?;
        (self.file, self.length) = open(&self.folder.join(CURRENT))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// Opens a file at its end, without the line that a crash cut off.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut chunk = [0; 4096];
    // Back to after the last end of a line.
    while end > 0 {
        let size = end.min(4096);
        file.seek(SeekFrom::Start(end - size))?;
        let part = chunk.get_mut(..usize::try_from(size).unwrap_or(4096)).unwrap_or_default();
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = end - size + u64::try_from(at).unwrap_or(0) + 1;
            break;
        }
        end -= size;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    Ok((file, end))
}
