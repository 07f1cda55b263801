//! How far a run is, on the disk: what a run that is begun again goes on from.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::files::{self as private, read_at_most};

use super::files::{beside, remove_if_there};

/// What a run is of: another run goes on from its checkpoint only if all of it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The program, whose next version may write other bytes.
    pub(super) version: String,
    /// The model.
    pub(super) model: String,
    /// Each dump: name, bytes when not compressed, SHA-256 of these, dialect.
    pub(super) inputs: Vec<Input>,
    /// Everything else that decides what is written, by the names of the flags.
    pub(super) settings: Vec<(String, String)>,
}

/// A dump by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) dialect: String,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// Rows of the dumps that are done, the bad ones with them: the offset in the input.
    pub(super) read: u64,
    /// Bytes of the output that are good.
    pub(super) output_bytes: u64,
    /// Bytes of the file of rejects that are good.
    pub(super) rejects_bytes: u64,
    /// What was counted so far.
    pub(super) counts: Counts,
}

/// What is told at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) recorded: u64,
    pub(super) known: u64,
    pub(super) unrecorded: u64,
    /// Texts with letters that could not be read.
    pub(super) damaged: u64,
}

/// A checkpoint that is larger is none: it has a line for each dump.
const MOST_BYTES: u64 = 64 << 20;

/// Whether a file that begins so is a checkpoint, of this version or of another.
pub(super) fn is_checkpoint(head: &[u8]) -> bool {
    head.starts_with(br#"{"identity":{"#)
}

/// A file beside the output that holds both.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
struct Written {
    identity: Identity,
    reached: Reached,
}

impl Checkpoint {
    /// The checkpoint of an output, and how far an earlier run of the same came.
    pub(super) fn open(path: PathBuf, identity: Identity) -> Result<(Self, Option<Reached>)> {
        let reached = match read_at_most(&path, MOST_BYTES) {
            Ok(bytes) => {
                let written: Written = serde_json::from_slice(&bytes).with_context(|| {
                    format!("{} is no checkpoint; to begin anew, add --overwrite", path.display())
                })?;
                if let Some(changed) = written.identity.changed(&identity) {
                    let problem = format!(
                        "{} is of a run that was stopped, and {changed}; take what has changed back to go on, or begin anew with --overwrite",
                        path.display()
                    );
                    return Err(ConfigError::invalid(problem).into());
                }
                Some(written.reached)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        Ok((Self { path, identity }, reached))
    }

    /// Notes how far the run is; what it says is on the disk already.
    pub(super) fn note(&self, reached: Reached) -> io::Result<()> {
        let written = Written { identity: self.identity.clone(), reached };
        let next = beside(&self.path, ".next");
        let mut file = private::create_new(&next)?;
        let written = serde_json::to_vec(&written).map_err(io::Error::from);
        let placed = written
            .and_then(|bytes| file.write_all(&bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&next, &self.path));
        // What is left of it is of no use; that it could not be written is what is told.
        placed.inspect_err(|_| fs::remove_file(&next).unwrap_or_default())?;
        private::sync_folder_of(&self.path)
    }

    /// The run is whole.
    pub(super) fn remove(self) -> Result<()> {
        remove_if_there(&self.path)
    }
}

impl Identity {
    /// What is not as it was, if anything is.
    fn changed(&self, now: &Self) -> Option<String> {
        if self.version != now.version {
            return Some(format!("it was Arom {}, this is {}", self.version, now.version));
        }
        if self.model != now.model {
            return Some(format!("its model was {}, now it is {}", self.model, now.model));
        }
        if self.inputs.len() != now.inputs.len() {
            return Some(format!("it had {} inputs, now there are {}", self.inputs.len(), now.inputs.len()));
        }
        for (was, is) in self.inputs.iter().zip(&now.inputs) {
            if was.name != is.name {
                return Some(format!("its input was {}, now it is {}", was.name, is.name));
            }
            if was.sha256 != is.sha256 {
                return Some(format!("the input {} has changed since", is.name));
            }
            if was.dialect != is.dialect {
                return Some(format!("{} was read as {}, now as {}", is.name, was.dialect, is.dialect));
            }
        }
        let differs = self.settings.iter().zip(&now.settings).find(|(was, is)| was != is);
        let ((_, was), (name, is)) = differs?;
        Some(format!("{name} was {was}, now it is {is}"))
    }
}
