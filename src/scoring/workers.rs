//! The threads that own the model's sessions and empty the queue.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{Caller, Queue, Taken, Waiting};
use super::scorer::ScoreError;
use crate::model::{Logits, Session, TokenId};

/// What a worker answers for one window.
#[derive(Debug)]
pub(super) struct Inferred {
    pub(super) logits: Logits,
    pub(super) queue: Duration,
    pub(super) infer: Duration,
}

pub(super) type Reply = oneshot::Receiver<Result<Inferred, ScoreError>>;
type Answer = oneshot::Sender<Result<Inferred, ScoreError>>;

/// Most tokens in one run, padding included. Larger runs are hardly faster and keep the next caller waiting.
const BATCH_TOKENS: usize = 512;

/// One window that waits for a worker.
#[derive(Debug)]
struct Job {
    row: Vec<TokenId>,
    deadline: Option<Instant>,
    queued: Instant,
    reply: Answer,
}

impl Waiting for Job {
    fn tokens(&self) -> usize {
        self.row.len()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue<Job>,
    closed: bool,
    /// Smoothed time that a worker spends on a token; sets the retry delay.
    per_token: Duration,
}

impl Shared {
    /// A worker that panicked leaves the queue whole, so its poison is no reason to stop the others.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The worker threads. Dropping this finishes what was accepted and joins them.
#[derive(Debug)]
pub(super) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts one thread for each session.
    pub(super) fn start(sessions: Vec<Session>, inbox_tokens: usize, padding: TokenId) -> Self {
        let queue = Queue::new(inbox_tokens);
        let per_token = Duration::from_micros(200);
        let state = Mutex::new(State { queue, closed: false, per_token });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let share = sessions.len();
        let spawn = |(number, session): (usize, Session)| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("arom-worker-{number}"))
                .spawn(move || work(&shared, session, padding, share))
                .expect("the system has a thread left at start")
        };
        let threads = sessions.into_iter().enumerate().map(spawn).collect();
        Self { shared, threads }
    }

    /// Queues the windows of one text, all or none, and gives where their answers will come.
    pub(super) fn submit(
        &self,
        caller: Caller,
        rows: Vec<Vec<TokenId>>,
        deadline: Option<Instant>,
    ) -> Result<Vec<Reply>, ScoreError> {
        let queued = Instant::now();
        let (jobs, replies) = rows
            .into_iter()
            .map(|row| {
                let (reply, receiver) = oneshot::channel();
                (Job { row, deadline, queued, reply }, receiver)
            })
            .unzip();
        let mut state = self.shared.lock();
        let (per_token, workers) = (state.per_token, self.threads.len());
        state
            .queue
            .push(caller, jobs)
            .map_err(|full| ScoreError::QueueFull { retry_after: full.retry_after(per_token, workers) })?;
        drop(state);
        self.shared.changed.notify_all();
        Ok(replies)
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

/// Answers jobs until the queue is closed and empty.
fn work(shared: &Shared, mut session: Session, padding: TokenId, workers: usize) {
    loop {
        let mut state = shared.lock();
        while state.queue.is_empty() && !state.closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.queue.is_empty() {
            return;
        }
        // A worker takes no more than its share, or the others would stand idle beside it.
        let budget = (state.queue.tokens() / workers).clamp(1, BATCH_TOKENS);
        let Taken { batch, expired } = state.queue.take(Instant::now(), budget);
        drop(state);
        for job in expired {
            tell(job.reply, Err(ScoreError::DeadlineExceeded));
        }
        if !batch.is_empty() {
            run(shared, &mut session, padding, batch);
        }
    }
}

/// Runs jobs of like length together. Neither company nor padding moves a score (`scoring/tests.rs`), so how they
/// are grouped is a matter of speed alone.
fn run(shared: &Shared, session: &mut Session, padding: TokenId, batch: Vec<Job>) {
    let (mut rows, mut callers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
    for Job { row, queued, reply, .. } in batch {
        rows.push(row);
        callers.push((queued, reply));
    }
    let started = Instant::now();
    let result = session.run(&rows, padding);
    let infer = started.elapsed();
    note_pace(&mut shared.lock().per_token, infer, rows.iter().map(Vec::len).sum());
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

fn note_pace(per_token: &mut Duration, infer: Duration, tokens: usize) {
    let latest = infer / u32::try_from(tokens.max(1)).unwrap_or(u32::MAX);
    *per_token = (*per_token * 7 + latest) / 8;
}

fn tell(reply: Answer, result: Result<Inferred, ScoreError>) {
    if reply.send(result).is_err() {
        tracing::trace!("a caller left before its answer");
    }
}
