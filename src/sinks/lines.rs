//! Files of whole lines: a write that a crash or a full disk cut off leaves half a line, which was never acknowledged.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::files::{self, Identity};

/// Opens a file for writing, without the half line at its end; with its length. A new file is on the disk with its name.
pub(super) fn open(path: &Path) -> io::Result<(File, u64)> {
    const CHUNK: usize = 4096;
    is_ours_or_free(path)?;
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

/// How a line of a sink begins: an event, a dead letter or a note.
const BEGINNINGS: [&[u8]; 2] = [b"{\"specversion\":", b"{\"time\":"];

/// Refuses a path where something else is than lines of a sink: nothing of it may be cut off or be added to.
///
/// # Errors
///
/// If it is no plain file, has another name as well, or does not begin as a sink's line.
pub(super) fn is_ours_or_free(path: &Path) -> io::Result<()> {
    const HEAD: usize = 16;
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    let foreign = |problem| Err(io::Error::new(io::ErrorKind::AlreadyExists, problem));
    if !meta.is_file() {
        return foreign("it is no plain file; name another");
    }
    if meta.nlink() > 1 {
        return foreign("it has another name too (a hard link), so it may be somebody's file; name another");
    }
    let mut head = [0; HEAD];
    let length = File::open(path)?.read_at(&mut head, 0)?;
    let head = head.get(..length).unwrap_or_default();
    // A power cut may leave zeros in place of what was written last.
    let is_zeros = head.iter().all(|byte| *byte == 0);
    if is_zeros || BEGINNINGS.iter().any(|ours| begins_as(head, ours)) {
        return Ok(());
    }
    foreign("what is in it was not written by a sink; move it away, or name another file")
}

/// Whether one begins as the other, as far as both go.
fn begins_as(head: &[u8], ours: &[u8]) -> bool {
    head.iter().zip(ours).all(|(one, other)| one == other)
}

/// Whether a path leads to this open file still: it may have been deleted, moved or replaced.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(Identity::at(path) == Some(Identity::of(&file.metadata()?)))
}
