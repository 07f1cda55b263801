//! What comes through pipes, kept in files while it is used: a dump is looked through before it is read, and a run that
//! goes on compares it.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::files::{Files, SPOOLS, remove_if_there};
use super::writer::Output;

/// The files, each of them locked: another run of the same output takes nothing from under this one.
#[derive(Clone, Debug, Default)]
pub(super) struct Spools(Arc<Mutex<Vec<Arc<Output>>>>);

impl Spools {
    /// Keeps what comes through a pipe; gives where.
    pub(super) fn keep(&self, files: &Files, name: &str, mut source: impl Read) -> Result<PathBuf> {
        let file = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == SPOOLS {
                bail!("at most {SPOOLS} inputs may be pipes");
            }
            let file = Arc::new(Output::lock(&files.spool(kept.len()))?);
            kept.push(Arc::clone(&file));
            file
        };
        file.go_on_at(0)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(file.path.clone()),
                Ok(count) => file.append(buffer.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
            }
        }
    }
}

/// Nothing of them is left behind when the run ends.
#[derive(Debug, Default)]
pub(super) struct Removed(pub(super) Spools);

impl Drop for Removed {
    fn drop(&mut self) {
        for file in self.0.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Err(error) = remove_if_there(&file.path) {
                tracing::warn!(
                    error = crate::telemetry::chain(&*error),
                    "what came through a pipe is still there"
                );
            }
        }
    }
}
