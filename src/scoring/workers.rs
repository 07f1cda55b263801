//! The threads that own the model's sessions and empty the queue.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{CallerId, Place, Queue, Waiting};
use super::scorer::ScoreError;
use crate::model::{Inference, Logits, TokenId};
use crate::telemetry::Metrics;

/// What a worker answers for one window.
#[derive(Debug)]
pub(super) struct Inferred {
    pub(super) logits: Logits,
    pub(super) queue: Duration,
    pub(super) infer: Duration,
}

type Answer = Result<Inferred, ScoreError>;

/// Most tokens in one run, padding included. Larger runs are hardly faster and keep the next caller waiting.
const BATCH_TOKENS: usize = 512;

/// So many waiting callers are a burst, which is over in a moment, and not yet an overload.
const BURST: usize = 64;

/// The pace is that of about so many tokens before: a second of work.
const PACE_TOKENS: u32 = 8192;

/// One window that waits for a worker.
#[derive(Debug)]
struct Job {
    row: Vec<TokenId>,
    queued: Instant,
    reply: oneshot::Sender<Answer>,
}

impl Waiting for Job {
    fn tokens(&self) -> usize {
        self.row.len()
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    metrics: Arc<Metrics>,
    /// Longest that a new caller's text is let wait.
    max_wait: Duration,
    padding: TokenId,
    workers: usize,
}

#[derive(Debug)]
struct State {
    queue: Queue<Job>,
    closed: bool,
    /// Workers that have not died.
    alive: usize,
    /// How fast the workers are when more waits than they have: tells how long the queue is in time.
    per_token: Duration,
}

impl Shared {
    /// A worker that panicked leaves the queue whole, so its poison is no reason to stop the others.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show_level(&self, queue: &Queue<Job>) {
        self.metrics.queue_level(queue.tokens(), queue.len());
    }
}

/// The worker threads. Dropping this finishes what was accepted and joins them.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The claim of a caller on the answer for one window. Dropping it unanswered frees the work.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    place: Place,
    reply: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Ticket {
    pub(super) async fn answer(mut self) -> Answer {
        let answer = (&mut self.reply).await;
        self.answered = true;
        answer.unwrap_or(Err(ScoreError::WorkerLost))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut state = self.shared.lock();
        if state.queue.cancel(self.place) {
            self.shared.metrics.window_cancelled();
            self.shared.show_level(&state.queue);
        }
    }
}

impl Workers {
    /// Starts one thread for each session.
    pub(super) fn start(
        sessions: Vec<Box<dyn Inference>>,
        inbox_tokens: usize,
        max_wait: Duration,
        padding: TokenId,
        metrics: Arc<Metrics>,
    ) -> Self {
        let workers = sessions.len();
        let per_token = Duration::from_micros(150);
        let state =
            State { queue: Queue::new(inbox_tokens, BURST), closed: false, alive: workers, per_token };
        let shared =
            Shared { state: Mutex::new(state), changed: Condvar::new(), metrics, max_wait, padding, workers };
        let shared = Arc::new(shared);
        let spawn = |(number, mut session): (usize, Box<dyn Inference>)| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("arom-worker-{number}"))
                .spawn(move || work(&shared, &mut *session))
                .expect("the system has a thread left at start")
        };
        let threads = sessions.into_iter().enumerate().map(spawn).collect();
        Self { shared, threads }
    }

    /// Queues the windows of one text, all or none.
    pub(super) fn submit(&self, caller: CallerId, rows: &[Vec<TokenId>]) -> Result<Vec<Ticket>, ScoreError> {
        let queued = Instant::now();
        let (jobs, replies): (Vec<_>, Vec<_>) = rows
            .iter()
            .map(|row| {
                let (reply, receiver) = oneshot::channel();
                (Job { row: row.clone(), queued, reply }, receiver)
            })
            .unzip();
        let mut state = self.shared.lock();
        if state.alive == 0 {
            return Err(ScoreError::WorkerLost);
        }
        let pace = Pace { per_token: state.per_token, workers: state.alive };
        let places = state
            .queue
            .push(caller, jobs, pace.tokens_within(self.shared.max_wait))
            .map_err(|full| ScoreError::QueueFull { retry_after: pace.retry_after(full.tokens) })?;
        self.shared.show_level(&state.queue);
        drop(state);
        self.shared.changed.notify_all();
        let ticket =
            |(place, reply)| Ticket { shared: Arc::clone(&self.shared), place, reply, answered: false };
        Ok(places.into_iter().zip(replies).map(ticket).collect())
    }

    /// Whether every worker still works.
    pub(super) fn are_whole(&self) -> bool {
        self.shared.lock().alive == self.threads.len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// Notes the end of a worker that panics, so that the others can be told apart from none.
struct Presence<'a>(&'a Shared);

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.alive -= 1;
        if state.alive == 0 {
            state.queue.clear();
            self.0.show_level(&state.queue);
        }
    }
}

/// Answers jobs until the queue is closed and empty.
fn work(shared: &Shared, session: &mut dyn Inference) {
    let _presence = Presence(shared);
    yield_to_sockets();
    let mut free = Instant::now();
    loop {
        let mut state = shared.lock();
        while state.queue.len() == 0 && !state.closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            free = Instant::now();
        }
        if state.queue.len() == 0 {
            return;
        }
        // A worker takes no more than its share, or the others would stand idle beside it.
        let budget = (state.queue.tokens() / shared.workers).clamp(1, BATCH_TOKENS);
        let batch = state.queue.take(budget);
        let tokens = batch.iter().map(Waiting::tokens).sum();
        let others_wait = state.queue.len() > 0;
        shared.show_level(&state.queue);
        drop(state);
        run(shared, session, batch);
        let took = free.elapsed();
        free += took;
        if others_wait {
            note_pace(&mut shared.lock().per_token, took, tokens);
        }
    }
}

/// Arithmetic runs for milliseconds on every core. A little less priority for it lets the threads that serve
/// sockets answer, refuse and accept at once, and costs nothing while they sleep.
fn yield_to_sockets() {
    const NICE: i32 = 5;
    // On Linux the calling thread alone; elsewhere it would be the process.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::setpriority_process(None, NICE)
    {
        tracing::debug!(%error, "the worker keeps its priority");
    }
}

/// Runs jobs of like length together. Neither company nor padding moves a score (`scoring/tests.rs`), so how they
/// are grouped is a matter of speed alone.
fn run(shared: &Shared, session: &mut dyn Inference, batch: Vec<Job>) {
    let (mut rows, mut callers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for Job { row, queued, reply } in batch {
        rows.push(row);
        callers.push((queued, reply));
    }
    let started = Instant::now();
    let result = session.run(&rows, shared.padding);
    let infer = started.elapsed();
    shared.metrics.batch_done(&rows, rows.iter().map(Vec::len).sum());
    let mut found = result.map(Vec::into_iter).map_err(Arc::new);
    for (queued, reply) in callers {
        let queue = started.saturating_duration_since(queued);
        tell(
            reply,
            match &mut found {
                Ok(logits) => logits
                    .next()
                    .map(|logits| Inferred { logits, queue, infer })
                    .ok_or(ScoreError::WorkerLost),
                Err(error) => Err(ScoreError::Inference(Arc::clone(error))),
            },
        );
    }
}

/// Learns from a run that left others waiting: without a queue there is nothing to foretell, and a short text alone is
/// slow for its size. A run counts by its tokens, so that the pace is that of the whole and not of the many small ones;
/// and by the time until the worker is free again, for on a busy machine that is more than inference.
fn note_pace(per_token: &mut Duration, took: Duration, tokens: usize) {
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    *per_token = (*per_token * PACE_TOKENS + took) / PACE_TOKENS.saturating_add(tokens);
}

/// How fast the workers are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) per_token: Duration,
    pub(super) workers: usize,
}

impl Pace {
    /// Tokens that are done in a time.
    pub(super) fn tokens_within(self, time: Duration) -> usize {
        let done = time.as_nanos() / self.per_token.as_nanos().max(1);
        usize::try_from(done).unwrap_or(usize::MAX).saturating_mul(self.workers)
    }

    /// When room is likely: the time that the waiting tokens take.
    pub(super) fn retry_after(self, tokens: usize) -> Duration {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let workers = u32::try_from(self.workers.max(1)).unwrap_or(u32::MAX);
        (self.per_token * tokens / workers).max(Duration::from_millis(10))
    }
}

fn tell(reply: oneshot::Sender<Answer>, answer: Answer) {
    if reply.send(answer).is_err() {
        tracing::trace!("a caller left before its answer");
    }
}
