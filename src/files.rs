//! Files and folders that hold texts, scores of people or secrets: only the user who runs Arom may read them.
//!
//! The program's umask covers what libraries create, such as the files of the store. What Arom creates itself also has
//! its mode from the first moment, so a program that embeds Arom is as safe.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Read and write, for the owner alone.
const PRIVATE_FILE: u32 = 0o600;
/// The same of a folder, which is also entered.
const PRIVATE_FOLDER: u32 = 0o700;
/// What the group and others may do.
const FOREIGN: u32 = 0o077;

/// Has everything that this process creates from now on belong to its user alone, whatever the umask was.
pub fn keep_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// Options to open a file that is private if it is created.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(PRIVATE_FILE);
    options
}

/// Creates a private file in a folder that only Arom writes to, in place of one that is there.
///
/// It never writes through a link. Where users have files of their own, [`create_new`] is right.
///
/// # Errors
///
/// If the old file cannot be removed or the new one not be created.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    options().write(true).create_new(true).open(path)
}

/// Creates a private file where there is nothing yet, not even a link.
///
/// # Errors
///
/// If something is there, or the file cannot be created.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    options().write(true).create_new(true).open(path).map_err(|error| {
        let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
        if is_taken { io::Error::new(io::ErrorKind::AlreadyExists, IN_THE_WAY) } else { error }
    })
}

/// What is said of a file that is where Arom makes one of its own.
pub(crate) const IN_THE_WAY: &str =
    "it is there already, and Arom makes a file of that name; move it away, or name another output";

/// Whether a file of Arom's own may be made at a path: there is nothing, or what an earlier run of Arom left.
///
/// Left are plain files with one name that are empty or that `is_left` knows by their first bytes. A link never is.
///
/// # Errors
///
/// If something else is there, or cannot be looked at.
pub(crate) fn is_left_or_free(path: &Path, is_left: impl FnOnce(&[u8]) -> bool) -> io::Result<()> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    let mut head = Vec::new();
    if is_own(&meta) {
        File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
        if head.is_empty() || is_left(&head) {
            return Ok(());
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, IN_THE_WAY))
}

/// So many bytes tell what a file is.
const HEAD_BYTES: u64 = 64;

/// Whether it is a plain file that has one name.
fn is_own(meta: &Metadata) -> bool {
    meta.is_file() && meta.nlink() == 1
}

/// Opens a file that Arom made, to write to it, or creates it. A link is not followed, and a file with two names is refused.
///
/// # Errors
///
/// If it is such, or cannot be opened or created.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let no_follow = i32::try_from(OFlags::NOFOLLOW.bits()).map_err(io::Error::other)?;
    let way = |_| io::Error::new(io::ErrorKind::AlreadyExists, IN_THE_WAY);
    let is_link = path.is_symlink();
    let file = options().write(true).custom_flags(no_follow).open(path);
    let file = if is_link { file.map_err(way)? } else { file? };
    if is_own(&file.metadata()?) { Ok(file) } else { Err(way(io::Error::other(""))) }
}

/// Opens a file that is there, or creates it; nothing in it changes yet, but others may no longer read it.
///
/// A symbolic link to a file is followed, one that leads nowhere is refused.
///
/// # Errors
///
/// If it cannot be opened or created.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let created = options.clone().create_new(true).open(path);
            created.map_err(|error| if leads_nowhere(path) { dangling() } else { error })?
        }
        opened => opened?,
    };
    let meta = file.metadata()?;
    if meta.is_file() && is_loose(&meta) && owned(&meta) {
        file.set_permissions(tight(&meta))?;
    }
    Ok(file)
}

/// Whether a path is a symbolic link to nothing.
pub(crate) fn leads_nowhere(path: &Path) -> bool {
    path.is_symlink() && !path.exists()
}

/// What is said of an output that is a symbolic link to nothing.
pub(crate) const DANGLING: &str =
    "is a symbolic link to a file that does not exist; remove the link, or name another file";

fn dangling() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("it {DANGLING}"))
}

/// Creates a private folder and those above it that are missing. Their names last a power cut.
///
/// # Errors
///
/// If one cannot be created or synced.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path)?;
    missing.into_iter().try_for_each(sync_folder_of)
}

/// Makes the name of a new, renamed or removed file last a power cut: syncs the folder that it is in.
///
/// # Errors
///
/// If the folder cannot be opened or synced.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    #[cfg(test)]
    tests::SYNCED.with_borrow_mut(|synced| synced.push(folder.to_owned()));
    Ok(())
}

/// Takes the rights of the group and of others from a file, or from a folder and all that is in it; gives how many had any.
///
/// Links are not followed. What is removed meanwhile needs no care.
///
/// # Errors
///
/// If something cannot be looked at, or its rights not be changed: only its owner may.
pub(crate) fn tighten(path: &Path) -> io::Result<usize> {
    let mut tightened = usize::from(tighten_alone(path)?);
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path)? {
            tightened += tighten(&entry?.path())?;
        }
    }
    Ok(tightened)
}

/// As [`tighten`], of a file, or of a folder without what is in it.
///
/// # Errors
///
/// The same.
pub(crate) fn tighten_alone(path: &Path) -> io::Result<bool> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        meta => meta?,
    };
    if meta.is_symlink() || !is_loose(&meta) {
        return Ok(false);
    }
    fs::set_permissions(path, tight(&meta)).map(|()| true)
}

/// Gives what an operator made as root in a folder to the folder's owner, whose service could not use it otherwise: a file, or a folder
/// with all that is in it.
///
/// # Errors
///
/// If it cannot be given.
pub(crate) fn give_to_owner_of(folder: &Path, path: &Path) -> io::Result<()> {
    let owner = fs::metadata(folder)?;
    if !rustix::process::geteuid().is_root() || owned(&owner) {
        return Ok(());
    }
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to_owner_of(folder, &entry?.path())?;
        }
    }
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))
}

fn is_loose(meta: &Metadata) -> bool {
    meta.mode() & FOREIGN != 0
}

fn owned(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

fn tight(meta: &Metadata) -> Permissions {
    Permissions::from_mode(meta.mode() & !FOREIGN)
}

/// What a file is, whatever path leads to it: a hard link, a symbolic link and a bind mount give the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of what is at a path, if anything is.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|meta| Self::of(&meta))
    }

    /// Of what was looked at.
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }
}

/// What a standard stream is, if the system says so.
pub(crate) fn standard(stream: impl AsFd) -> Option<Metadata> {
    File::from(stream.as_fd().try_clone_to_owned().ok()?).metadata().ok()
}

/// The standard streams that are files, by their names.
pub(crate) fn standard_files() -> impl Iterator<Item = (&'static str, Metadata)> {
    let streams = [
        ("stdin", standard(io::stdin())),
        ("stdout", standard(io::stdout())),
        ("stderr", standard(io::stderr())),
    ];
    streams.into_iter().filter_map(|(name, meta)| Some((name, meta.filter(Metadata::is_file)?)))
}

/// Whether what is read is the file that stdout goes to: it would be read for ever, or is empty already.
pub(crate) fn is_stdout(read: &Metadata) -> bool {
    let out = standard(io::stdout()).filter(Metadata::is_file);
    out.is_some_and(|out| read.is_file() && Identity::of(&out) == Identity::of(read))
}

/// Reads a file of at most so many bytes. Devices and pipes that never end are cut off there, too.
///
/// # Errors
///
/// If it cannot be read, or is larger.
pub(crate) fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    // A sparse file needs no room on the disk, and as much memory as others.
    if meta.is_file() && meta.len() > most {
        return Err(too_large(most));
    }
    take_at_most(file, most)
}

/// As [`read_at_most`], of text in UTF-8.
///
/// # Errors
///
/// The same; or if it is not UTF-8.
pub(crate) fn read_text_at_most(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read_at_most(path, most)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// As [`read_at_most`], of something that is open.
///
/// # Errors
///
/// The same.
pub(crate) fn take_at_most(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large(most));
    }
    Ok(bytes)
}

fn too_large(most: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than the {most} bytes that are taken"))
}

/// As [`read_at_most`], of a plain file: a device or a pipe is refused.
///
/// # Errors
///
/// The same; or if it is none.
pub(crate) fn read_plain(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    read_at_most(path, most)
}

#[cfg(test)]
pub(crate) mod tests;
