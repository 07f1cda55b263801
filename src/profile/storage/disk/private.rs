//! A store is for its own user alone.

use std::fs;
use std::path::Path;

use super::recovery::PROBE;
use super::undo::UNDO;
use super::{MARK, RESTORING, ROWS};
use crate::files;

/// What a store has in its folder. Somebody else's files may lie beside it.
const OWN: [&str; 7] =
    [ROWS, MARK, UNDO, PROBE, RESTORING, "webhook-dead-letters.jsonl", "webhook-dead-letters.jsonl.lock"];

/// Takes the rights of others from a store that an older version made, or somebody loosened. The store opens also where
/// only another user could do that, as with a volume that belongs to root: then the log says so.
pub(super) fn close_to_others(folder: &Path) {
    match tighten(folder) {
        Ok(0) => {}
        Ok(files) => {
            tracing::warn!(folder = %folder.display(), files, "others could read the profile store; now they cannot");
        }
        Err(error) => {
            tracing::warn!(
                folder = %folder.display(), %error,
                "others may be able to read the profile store; make the folder the server's own, with mode 0700"
            );
        }
    }
}

/// The files of a store, and its folder where nothing else is in it: it may be one of the system's, named by mistake.
fn tighten(folder: &Path) -> std::io::Result<usize> {
    let (mut tightened, mut shared) = (0, false);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_own = OWN.iter().any(|own| name == *own);
        tightened += if is_own { files::tighten(&entry.path())? } else { 0 };
        shared |= !is_own && name != "lost+found";
    }
    if !shared {
        tightened += usize::from(files::tighten_alone(folder)?);
    }
    Ok(tightened)
}
