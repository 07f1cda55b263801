//! How far the server is on its way to its end, and when a stream must end with it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::status::Failure;

/// A stream without a word for so long is told at once that the server stops. One that is in use may end by itself.
const QUIET: Duration = Duration::from_secs(1);

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its model is being loaded.
    Starting,
    /// It serves.
    Serving,
    /// It serves, and says that it will stop.
    Leaving,
    /// Its port is closed; open calls finish.
    Draining {
        /// When streams that are still in use are told.
        streams_until: Instant,
    },
}

impl Phase {
    /// The phase after the port is closed. The second half of the grace is for what streams have sent.
    pub(super) fn draining(now: Instant, grace: Duration) -> Self {
        Self::Draining { streams_until: now + grace / 2 }
    }
}

/// Completes when open calls are to finish.
pub(super) async fn draining(mut phases: watch::Receiver<Phase>) {
    // An error means that the sender is gone, and with it the server.
    if phases.wait_for(|phase| matches!(phase, Phase::Draining { .. })).await.is_err() {
        tracing::debug!("the sender of phases is gone");
    }
}

/// When a stream is to be read no more although its caller has more.
#[derive(Debug)]
pub(super) struct Halt {
    phase: watch::Receiver<Phase>,
    deadline: Option<Instant>,
    heard: Option<Instant>,
}

impl Halt {
    pub(super) fn new(shared: &Shared, deadline: Option<std::time::Instant>) -> Self {
        Self { phase: shared.phase.clone(), deadline: deadline.map(Into::into), heard: None }
    }

    /// The caller has sent something.
    pub(super) fn heard(&mut self) {
        self.heard = Some(Instant::now());
    }

    /// Completes when the server stops, or the deadline passes. Nothing is lost if it is dropped and called again.
    pub(super) async fn reached(&mut self) -> Failure {
        let Self { phase, deadline, heard } = self;
        let stopping = async {
            let draining = phase.wait_for(|phase| matches!(phase, Phase::Draining { .. })).await;
            // An error means that the sender is gone, and with it the server.
            let draining = draining.map(|phase| *phase);
            if let Ok(Phase::Draining { streams_until }) = draining
                && let Some(heard) = *heard
            {
                tokio::time::sleep_until((heard + QUIET).min(streams_until)).await;
            }
        };
        tokio::select! {
            () = stopping => Failure::Stopping,
            () = late(*deadline) => Failure::DeadlineExceeded,
        }
    }
}

/// Completes when the deadline passes, if there is one.
pub(super) async fn late(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
