//! Runs the HTTP/2 streams of a connection, and ends the one whose client takes nothing of its answer.
//!
//! hyper gives each HTTP/2 stream a task of its own. A task that is dropped resets its stream and no other: a proxy carries the
//! calls of several clients on one connection.

use std::sync::{Arc, OnceLock};

use hyper::rt::Executor;
use tokio::time::{Duration, Instant, sleep_until};

use super::calls::Waits;
use crate::telemetry::Metrics;

tokio::task_local! {
    /// The answer of the stream that this task serves, once it has begun.
    static ANSWER: OnceLock<Arc<Waits>>;
}

/// Tells the task of this stream how long its answer waits. Over HTTP/1 a call has no task of its own.
pub(super) fn answers(waits: &Arc<Waits>) {
    let told = ANSWER.try_with(|answer| drop(answer.set(Arc::clone(waits))));
    if told.is_err() {
        tracing::trace!("a call over HTTP/1 ends with its connection");
    }
}

/// Spawns the tasks of streams.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    /// How long a client may take nothing of an answer.
    pub(super) limit: Duration,
    /// The name of the port in metrics.
    pub(super) port: &'static str,
    pub(super) metrics: Arc<Metrics>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (limit, port, metrics) = (self.limit, self.port, Arc::clone(&self.metrics));
        tokio::spawn(ANSWER.scope(OnceLock::new(), async move {
            tokio::select! {
                biased;
                ended = stream => drop(ended),
                () = stalled(limit) => {
                    metrics.connections().stream_reset(port, "stalled");
                    tracing::info!("a client takes nothing of an answer; its stream is reset");
                }
            }
        }));
    }
}

/// Completes when the answer of this task has waited for its client for too long.
async fn stalled(limit: Duration) {
    loop {
        let waits = ANSWER.with(|answer| answer.get().cloned());
        let now = Instant::now();
        // An answer that waits for nobody now is looked at again when it could be stuck for too long at the earliest.
        let end = waits.as_ref().and_then(|waits| waits.since()).unwrap_or(now) + limit;
        if end <= now {
            if let Some(waits) = waits {
                waits.give_up();
            }
            return;
        }
        sleep_until(end).await;
    }
}
