//! The number of the last commit, in a file beside the database.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::files;

/// Two slots by turns, each a number and its complement: the slot that was being written when the power went may be torn.
const SLOT_BYTES: usize = 16;

/// The file with the number of the last commit.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    commits: u64,
}

impl Mark {
    /// The mark in the file of a store that has so many commits. A new file is made only where it has none.
    ///
    /// A file that was emptied, cut off or overwritten is refused: nobody would notice that the end of the store is gone, too.
    pub(super) fn open(path: &Path, found: u64) -> io::Result<Self> {
        let mut options = files::options();
        options.read(true).write(true);
        let mut file = if found == 0 { files::open(path, &options) } else { options.open(path) }?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let commits = marked(&bytes).filter(|_| bytes.len() == 2 * SLOT_BYTES);
        if let Some(commits) = commits {
            return Ok(Self { file, commits });
        }
        // Earlier versions began with zeros, and wrote a number after the first commit.
        if found > 1 {
            let problem = "it does not hold the number of the last commit";
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        // Its room is taken now, so that a full disk does not refuse it later.
        file.set_len(0)?;
        file.write_all_at(&[slot(0), [0; SLOT_BYTES]].concat(), 0)?;
        file.sync_all()?;
        Ok(Self { file, commits: 0 })
    }

    /// The last commit that is marked.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Marks a commit.
    pub(super) fn set(&mut self, commits: u64) -> io::Result<()> {
        self.file.write_all_at(&slot(commits), commits % 2 * 16)?;
        self.commits = commits;
        Ok(())
    }
}

/// A number and its complement.
fn slot(commits: u64) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    let bytes = commits.to_be_bytes().into_iter().chain((!commits).to_be_bytes());
    slot.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    slot
}

/// The larger of the two numbers that a mark holds, if one is whole.
fn marked(bytes: &[u8]) -> Option<u64> {
    let slot = |slot: &[u8]| {
        let (number, check) = slot.split_at_checked(8)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        (u64::from_be_bytes(check.try_into().ok()?) == !number).then_some(number)
    };
    bytes.chunks(SLOT_BYTES).filter_map(slot).max()
}
