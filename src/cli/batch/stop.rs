//! Ctrl-C and SIGTERM, heard in every part of a run.

use std::io;

use anyhow::{Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for whoever ends the run.
#[derive(Debug)]
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

/// Somebody has ended the run.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(super) struct Stopped;

impl Stop {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Comes back when it is said.
    pub(super) async fn said(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// What work gives, unless the run is ended first.
    pub(super) async fn unless<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.said() => Err(Stopped.into()),
        }
    }

    /// The same of work in a thread, which then ends with the process.
    pub(super) async fn or<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let work = tokio::task::spawn_blocking(work);
        self.unless(async {
            work.await.map_err(|_| anyhow!("a thread of this run died; what it said is above"))?
        })
        .await
    }
}
