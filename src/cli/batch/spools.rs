//! What comes through pipes, kept in files while it is used: a dump is looked through before it is read, and a run that
//! goes on compares it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::files::{Files, SPOOLS, remove_if_there};
use super::usage;
use crate::dumps::DumpError;
use crate::files as private;

/// After so many bytes the room on the disk is looked at again.
const LOOK_BYTES: u64 = 16 << 20;

/// A disk is left so much room, or a twentieth of itself if that is less: other programs need it, too.
const SPARE_BYTES: u64 = 1 << 30;

/// The files.
#[derive(Clone, Debug, Default)]
pub(super) struct Spools(Arc<Mutex<Vec<Spool>>>);

/// A file. On Linux it has no name once it is made, so that nothing of it is left, however the run ends.
#[derive(Debug)]
struct Spool {
    name: Option<PathBuf>,
    _open: File,
}

impl Spools {
    /// Keeps what comes through a pipe, at most so many bytes; gives where it can be read while these are kept.
    pub(super) fn keep(&self, files: &Files, name: &str, most: u64, source: impl Read) -> Result<PathBuf> {
        let (path, file) = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == SPOOLS {
                bail!("at most {SPOOLS} inputs may be pipes");
            }
            let path = files.spool(kept.len());
            let cannot = || format!("cannot write {}", path.display());
            // A run that was killed while it made the file left it empty.
            private::is_left_or_free(&path, |_| false)
                .and_then(|()| remove_if_there(&path).map_err(io::Error::other))
                .with_context(cannot)?;
            let file = private::create_new(&path).with_context(cannot)?;
            let open = file.try_clone().with_context(cannot)?;
            let (path, name) = unnamed(path, &open)?;
            kept.push(Spool { name, _open: open });
            (path, file)
        };
        copy(source, file, name, files, most)?;
        Ok(path)
    }
}

/// Takes its name from a file, where the system can open it without; gives where it is opened, and the name that is left.
fn unnamed(path: PathBuf, file: &File) -> Result<(PathBuf, Option<PathBuf>)> {
    let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    if !cfg!(target_os = "linux") || !open.exists() {
        return Ok((path.clone(), Some(path)));
    }
    remove_if_there(&path)?;
    Ok((open, None))
}

fn copy(mut source: impl Read, mut file: File, name: &str, files: &Files, most: u64) -> Result<()> {
    let cannot = || format!("cannot write {}, in which {name} is kept", files.spool(0).display());
    let limit = |problem: String| usage(DumpError::Limit { name: name.to_owned(), problem });
    let (mut buffer, mut bytes, mut looked) = (vec![0; 1 << 16], 0_u64, None);
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        bytes += count as u64;
        if bytes > most {
            return Err(limit(format!(
                "has more than {most} bytes; --max-piped-bytes takes more, and a file needs no copy"
            )));
        }
        if looked.is_none_or(|looked| bytes - looked > LOOK_BYTES) {
            looked = Some(bytes);
            let room = room(&file).with_context(cannot)?;
            if !room.is_enough() {
                return Err(limit(format!(
                    "is copied to the folder of {}, whose disk has {} MiB left; make room, name an output on another disk, or give \
                     a file, which needs no copy",
                    files.out.display(),
                    room.free >> 20
                )));
            }
        }
        file.write_all(buffer.get(..count).unwrap_or_default()).with_context(cannot)?;
    }
}

/// The bytes of a disk.
#[derive(Clone, Copy, Debug)]
struct Room {
    free: u64,
    all: u64,
}

impl Room {
    fn is_enough(self) -> bool {
        self.free > SPARE_BYTES.min(self.all / 20)
    }
}

fn room(file: &File) -> io::Result<Room> {
    let disk = rustix::fs::fstatvfs(file)?;
    Ok(Room {
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
        all: disk.f_blocks.saturating_mul(disk.f_frsize),
    })
}

/// Nothing of them is left behind when the run ends.
#[derive(Debug, Default)]
pub(super) struct Removed(pub(super) Spools);

impl Drop for Removed {
    fn drop(&mut self) {
        let kept = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        for path in kept.iter().filter_map(|spool| spool.name.as_deref()) {
            if let Err(error) = remove_if_there(path) {
                tracing::warn!(
                    error = crate::telemetry::chain(&*error),
                    "what came through a pipe is still there"
                );
            }
        }
    }
}

/// Refuses a device: it is no dump, and may have no end.
pub(super) fn refuse_device(path: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = fs::metadata(path).map(|meta| meta.file_type());
    if kind.is_ok_and(|kind| kind.is_block_device() || kind.is_char_device() && !is_terminal(path)) {
        let problem = format!("{} is a device; name a file, or send it through a pipe", path.display());
        return Err(usage(DumpError::NoInput(problem)));
    }
    Ok(())
}

fn is_terminal(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| io::IsTerminal::is_terminal(&file))
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[test]
    fn a_disk_keeps_a_twentieth_or_a_gibibyte() {
        for (free, all, is_enough) in [
            (2, 40, false),
            (3, 40, true),
            (1 << 30, 1 << 40, false),
            ((1 << 30) + 1, 1 << 40, true),
            (1, 0, true),
        ] {
            assert_eq!(Room { free, all }.is_enough(), is_enough, "{free} of {all}");
        }
    }
}
