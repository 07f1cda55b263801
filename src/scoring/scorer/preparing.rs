//! Work on long texts away from the threads that serve sockets: in turns that addresses and their callers share fairly.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::{Caller, Client, Engine, ScoreError};
use crate::net::network;
use crate::turns::{Turn, Turns};

/// So many texts may wait for a turn before anybody is refused, as in the queue: they are a burst, which is over in a moment.
const BURST: usize = 64;

/// No caller is refused sooner than this: a step on a long text takes a few milliseconds.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// The turns of all callers.
#[derive(Debug)]
pub(super) struct Preparing {
    turns: Turns<IpAddr>,
    /// Texts that are the first of their callers and wait for a turn.
    waiting: AtomicUsize,
}

/// What preparing knows of one caller.
#[derive(Debug)]
pub(super) struct Entrant {
    peer: Option<IpAddr>,
    deadline: Option<Instant>,
    /// Whether it waits while there is no room.
    patient: bool,
    /// A permit for each of its texts that stands in the line of its address, or has a turn. The others wait here, so that many
    /// texts of one caller do not stand before the one text of another.
    first: Arc<Semaphore>,
    /// Whether one of its texts has had a turn: the rest goes with that.
    let_in: AtomicBool,
}

/// A turn to work on one text.
type Step = (Turn<IpAddr>, OwnedSemaphorePermit);

/// Counts a text that waits, until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Preparing {
    /// So many texts are worked on at once.
    pub(super) fn new(turns: usize) -> Self {
        Self { turns: Turns::new(turns), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn entrant(&self, client: Client, patient: bool) -> Arc<Entrant> {
        Arc::new(Entrant {
            peer: client.address.map(network),
            deadline: client.deadline,
            patient,
            first: Arc::new(Semaphore::new(self.turns.most())),
            let_in: AtomicBool::new(false),
        })
    }

    async fn step(&self, entrant: &Entrant) -> Step {
        let first = Arc::clone(&entrant.first).acquire_owned().await.expect("this semaphore is never closed");
        let _waiting = Counted::new(&self.waiting);
        let turn = self.turns.take(entrant.peer).await;
        entrant.let_in.store(true, Ordering::Relaxed);
        (turn, first)
    }
}

impl Caller {
    /// Does work on a text of so many bytes once it has a turn. The turn lasts until the work is done, even if nobody waits any more.
    ///
    /// A task of its own waits for the turn, until the future is dropped: a stream that nobody reads polls its texts no more, and one
    /// that had got a turn would hold it.
    pub(super) async fn prepare<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ScoreError> {
        let (engine, entrant) = (Arc::clone(&self.engine), Arc::clone(&self.entrant));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let step = engine.step(&entrant, bytes).await?;
            let done = tokio::task::spawn_blocking(move || {
                let result = work();
                drop(step);
                result
            });
            done.await.map_err(|_| ScoreError::WorkerLost)
        });
        task.join_next().await.and_then(Result::ok).unwrap_or(Err(ScoreError::WorkerLost))
    }
}

impl Engine {
    /// Waits for a turn. A caller that comes while a burst waits, and is not patient, is refused if it has not had one within the time
    /// that the queue grants. One that came before may wait: whoever comes later does not push it out.
    async fn step(&self, entrant: &Entrant, bytes: usize) -> Result<Step, ScoreError> {
        let preparing = &self.preparing;
        let is_crowded = preparing.waiting.load(Ordering::Relaxed) >= BURST;
        let step = preparing.step(entrant);
        if entrant.patient || !is_crowded {
            return Ok(step.await);
        }
        let mut step = pin!(step);
        let most = self.config.max_wait.max(SHORTEST_WAIT);
        loop {
            if let Ok(step) = tokio::time::timeout(most, &mut step).await {
                return Ok(step);
            }
            if !entrant.let_in.load(Ordering::Relaxed) {
                let retry_after = self.workers.line_up_unread(entrant.deadline, bytes);
                self.metrics.text_refused(retry_after);
                return Err(ScoreError::QueueFull { retry_after });
            }
        }
    }
}
