//! A file that is whole under its name, or not there.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::{Config, ConfigError};
use crate::files::{self, Identity};

/// Refuses a file of the settings, the model, the program or a profile store.
///
/// # Errors
///
/// Names the file and what it is.
pub(super) fn may_write(file: &Path, config: &Config) -> Result<()> {
    let protected = config.protected();
    let refused = [file, &partial(file)].into_iter().try_for_each(|file| protected.refuse(file));
    refused.map_err(|problem| ConfigError::invalid(problem).into())
}

/// Where it is while it is written.
fn partial(file: &Path) -> PathBuf {
    file.with_added_extension("partial")
}

/// Opens a file that this run alone writes, and empties it.
fn locked(partial: &Path) -> Result<File> {
    let name = partial.display();
    let cannot = || format!("cannot write {name}");
    let file = files::open_own(partial).with_context(cannot)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => bail!("another run is writing {name}; wait until it has ended"),
        Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        Ok(()) => {}
    }
    // Another run may have put it in its place between the two.
    if Identity::at(partial) != Some(Identity::of(&file.metadata().with_context(cannot)?)) {
        bail!("another run has just written what {name} was; run this again");
    }
    file.set_len(0).with_context(cannot)?;
    Ok(file)
}

/// Writes a file beside its place, and puts it there when it is on the disk. `is_own` tells what a run that was killed left. A link to
/// a file is followed.
///
/// # Errors
///
/// If it cannot be written, or if another run is writing it. What is in its place is then as it was.
pub(super) async fn write<T>(
    path: &Path,
    is_own: impl FnOnce(&[u8]) -> bool,
    write: impl AsyncFnOnce(&mut File, &str) -> Result<T>,
) -> Result<T> {
    let name = path.display();
    if files::leads_nowhere(path) {
        bail!("{name} {}", files::DANGLING);
    }
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        bail!("{name} is no plain file; name another");
    }
    let identity = Identity::at(path);
    if let Some((stream, _)) = files::standard_files().find(|(_, meta)| Some(Identity::of(meta)) == identity)
    {
        bail!("{name} is the file that {stream} is; name another");
    }
    if path.file_name().is_none() {
        bail!("{name} is no name of a file");
    }
    let followed = if path.is_symlink() { fs::canonicalize(path) } else { Ok(path.to_owned()) };
    let path = &followed.with_context(|| format!("cannot write {name}"))?;
    let partial = partial(path);
    let cannot = || format!("cannot write {}", partial.display());
    files::is_left_or_free(&partial, is_own).with_context(cannot)?;
    let mut file = locked(&partial)?;
    let written = write(&mut file, &partial.display().to_string()).await;
    let written = written.and_then(|done| file.sync_all().map(|()| done).with_context(cannot));
    let done = written.inspect_err(|_| drop(fs::remove_file(&partial)))?;
    fs::rename(&partial, path)
        .and_then(|()| files::sync_folder_of(path))
        .with_context(|| format!("cannot write {name}"))?;
    Ok(done)
}
