//! Files of whole lines: a write that a crash or a full disk cut off leaves half a line, which was never acknowledged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::files::{self, Identity};

/// Opens a file for writing, without the half line at its end; with its length. A new file is on the disk with its name.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    const CHUNK: usize = 4096;
    let is_new = !path.exists();
    let file = files::open(path, files::options().read(true).write(true))?;
    if is_new {
        files::sync_folder_of(path)?;
    }
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

/// Whether a path leads to this open file still: it may have been deleted, moved or replaced.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(Identity::at(path) == Some(Identity::of(&file.metadata()?)))
}
