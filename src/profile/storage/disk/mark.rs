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
    /// The mark in a file, and the number that it holds. A new one is made only where `may_create`.
    pub(super) fn open(path: &Path, may_create: bool) -> io::Result<Self> {
        let mut options = files::options();
        options.read(true).write(true);
        let mut file = if may_create { files::open(path, &options) } else { options.open(path) }?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let commits = marked(&bytes);
        if bytes.len() < 2 * SLOT_BYTES {
            // Its room is taken now, so that a full disk does not refuse it later.
            bytes.resize(2 * SLOT_BYTES, 0);
            file.write_all_at(&bytes, 0)?;
        }
        Ok(Self { file, commits })
    }

    /// The last commit that is marked.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    /// Marks a commit.
    pub(super) fn set(&mut self, commits: u64) -> io::Result<()> {
        let mut slot = [0; SLOT_BYTES];
        let bytes = commits.to_be_bytes().into_iter().chain((!commits).to_be_bytes());
        slot.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        self.file.write_all_at(&slot, commits % 2 * 16)?;
        self.commits = commits;
        Ok(())
    }
}

/// The larger of the two numbers that a mark holds.
fn marked(bytes: &[u8]) -> u64 {
    let slot = |slot: &[u8]| {
        let (number, check) = slot.split_at_checked(8)?;
        let number = u64::from_be_bytes(number.try_into().ok()?);
        (u64::from_be_bytes(check.try_into().ok()?) == !number).then_some(number)
    };
    bytes.chunks(SLOT_BYTES).filter_map(slot).max().unwrap_or(0)
}
