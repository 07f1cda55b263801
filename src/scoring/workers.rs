//! The threads that own the model's sessions and empty the queue.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{Queue, Taken, Waiting};
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

/// One window that waits for a worker.
#[derive(Debug)]
struct Job {
    row: Vec<TokenId>,
    deadline: Option<Instant>,
    queued: Instant,
    reply: oneshot::Sender<Result<Inferred, ScoreError>>,
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
    pub(super) fn start(sessions: Vec<Session>, inbox_tokens: usize) -> Self {
        let queue = Queue::new(inbox_tokens);
        let per_token = Duration::from_micros(200);
        let state = Mutex::new(State { queue, closed: false, per_token });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let spawn = |(number, session): (usize, Session)| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("arom-worker-{number}"))
                .spawn(move || work(&shared, session))
                .expect("the system has a thread left at start")
        };
        let threads = sessions.into_iter().enumerate().map(spawn).collect();
        Self { shared, threads }
    }

    /// Queues the windows of one text, all or none, and gives where their answers will come.
    pub(super) fn submit(
        &self,
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
        if state.closed {
            return Err(ScoreError::ShuttingDown);
        }
        let (per_token, workers) = (state.per_token, self.threads.len());
        state
            .queue
            .push(jobs)
            .map_err(|full| ScoreError::QueueFull { retry_after: full.retry_after(per_token, workers) })?;
        drop(state);
        self.shared.changed.notify_all();
        Ok(replies)
    }

    /// Accepts nothing more; what was accepted is still answered.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// Answers jobs until the queue is closed and empty.
fn work(shared: &Shared, mut session: Session) {
    loop {
        let mut state = shared.lock();
        while state.queue.is_empty() && !state.closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.queue.is_empty() {
            return;
        }
        let Taken { next, expired } = state.queue.take(Instant::now());
        drop(state);
        for job in expired {
            answer(job, Err(ScoreError::DeadlineExceeded));
        }
        let Some(job) = next else { continue };
        let (started, tokens) = (Instant::now(), job.tokens());
        // One window a run: the simplest batch there is. Rows of a run do not influence one another
        // (`model/tests.rs`), so taking several is a matter of speed alone.
        let result = session.run(std::slice::from_ref(&job.row), 0);
        let infer = started.elapsed();
        note_pace(&mut shared.lock().per_token, infer, tokens);
        let queue = started.saturating_duration_since(job.queued);
        let result = match result.as_deref() {
            Ok([logits]) => Ok(Inferred { logits: *logits, queue, infer }),
            Ok(_) => Err(ScoreError::WorkerLost),
            Err(_) => Err(result.err().map_or(ScoreError::WorkerLost, ScoreError::Inference)),
        };
        answer(job, result);
    }
}

fn note_pace(per_token: &mut Duration, infer: Duration, tokens: usize) {
    let latest = infer / u32::try_from(tokens.max(1)).unwrap_or(u32::MAX);
    *per_token = (*per_token * 7 + latest) / 8;
}

fn answer(job: Job, result: Result<Inferred, ScoreError>) {
    if job.reply.send(result).is_err() {
        tracing::trace!("a caller left before its answer");
    }
}
