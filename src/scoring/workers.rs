//! The threads that own the model's sessions and empty the queue.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queue::{Ahead, CallerId, Place, Queue, Waiting};
use super::retry_line::{Arrival, Refused, RequestKey, RetryLine};
use super::scorer::ScoreError;
use crate::model::{Inference, Logits, TokenId};
use crate::telemetry::{self, Metrics, WindowTrace};

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

/// While refused callers are to come back, others get this part of the room: enough that no worker is idle.
const ROOM_BESIDE_LINE: usize = 4;

/// No refused caller is told to stay away for longer.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The pace is that of about so many tokens before: a second of work.
const PACE_TOKENS: u32 = 8192;

/// One window that waits for a worker.
#[derive(Debug)]
struct Job {
    row: Vec<TokenId>,
    queued: Instant,
    reply: oneshot::Sender<Answer>,
    trace: WindowTrace,
    /// Set when a worker has taken a window of the text.
    begun: Arc<AtomicBool>,
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
    /// The moment from which the line of refused callers counts.
    begun: Instant,
    /// Keyed at random, so that nobody can make two texts collide; the source of chance, too.
    hasher: RandomState,
    /// Whether callers of one text share one flight, so that a second one is not alone in asking for it.
    shares_flights: bool,
}

#[derive(Debug)]
struct State {
    queue: Queue<Job>,
    /// The callers who were refused and are to come back.
    line: RetryLine,
    refusals: u64,
    closed: bool,
    /// Workers that have not died.
    alive: usize,
    /// How fast the workers are when more waits than they have: tells how long the queue is in time.
    per_token: Duration,
}

impl State {
    fn pace(&self) -> Pace {
        Pace { per_token: self.per_token, workers: self.alive }
    }
}

impl Shared {
    /// A worker that panicked leaves the queue whole, so its poison is no reason to stop the others.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a caller asks for, so that it is known when it asks again.
    fn key(&self, asker: &Asker, rows: &[Vec<TokenId>]) -> RequestKey {
        match asker.patient {
            true => self.hasher.hash_one((asker.id, rows)),
            false => self.hasher.hash_one((asker.address, rows)),
        }
    }

    /// How much may wait before the text of a caller that arrives. Those who come back at their time go first, and
    /// those who come before it are refused.
    fn room(&self, state: &mut State, asker: &Asker, arrival: Arrival) -> Result<Ahead, NotQueued> {
        let is_known = self.shares_flights && asker.address.is_some() && !asker.patient;
        if matches!(arrival, Arrival::Early(_)) && is_known && !asker.admitted {
            return Err(NotQueued::Full(NoRoom { ahead: state.queue.tokens() }));
        }
        let first = asker.admitted || arrival == Arrival::OnTime || state.line.is_empty(self.begun.elapsed());
        let part = if first { 1 } else { ROOM_BESIDE_LINE };
        let tokens = state.pace().tokens_within(self.max_wait);
        Ok(Ahead { callers: BURST / part, tokens: tokens / part })
    }

    fn show_level(&self, queue: &Queue<Job>) {
        self.metrics.queue_level(queue.tokens(), queue.len());
    }
}

/// Who asks for a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) id: CallerId,
    /// The address of the client, if it is one.
    pub(super) address: Option<IpAddr>,
    /// Whether it waits within this process while there is no room.
    pub(super) patient: bool,
    /// Until when it waits for its answer.
    pub(super) deadline: Option<Instant>,
    /// Whether another of its texts was let in: the rest goes with that.
    pub(super) admitted: bool,
    /// When it comes back, if another of its texts was refused.
    pub(super) comes_back: Option<Instant>,
}

/// There is no room for a text now.
#[derive(Debug)]
pub(super) struct NoRoom {
    /// Tokens that wait.
    ahead: usize,
}

/// Why a text was not queued.
#[derive(Debug)]
pub(super) enum NotQueued {
    /// There is no room now.
    Full(NoRoom),
    /// No worker is left.
    Lost,
}

/// Settings of the workers.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkersConfig {
    /// Most tokens that wait.
    pub(super) inbox_tokens: usize,
    /// Longest that a new caller's text is let wait.
    pub(super) max_wait: Duration,
    pub(super) padding: TokenId,
    /// Whether callers of one text share one flight.
    pub(super) shares_flights: bool,
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
        config: WorkersConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        let WorkersConfig { inbox_tokens, max_wait, padding, shares_flights } = config;
        let workers = sessions.len();
        let state = State {
            queue: Queue::new(inbox_tokens),
            line: RetryLine::new(LONGEST_RETRY),
            refusals: 0,
            closed: false,
            alive: workers,
            per_token: Duration::from_micros(150),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            metrics,
            max_wait,
            padding,
            workers,
            begun: Instant::now(),
            hasher: RandomState::new(),
            shares_flights,
        });
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

    /// Queues the windows of one text, all or none. If it is traced, the spans of each window belong to the current one. `begun` is set
    /// when a worker takes the first of them.
    pub(super) fn submit(
        &self,
        asker: &Asker,
        rows: &[Vec<TokenId>],
        traced: bool,
        begun: &Arc<AtomicBool>,
    ) -> Result<Vec<Ticket>, NotQueued> {
        let queued = Instant::now();
        let (jobs, replies): (Vec<_>, Vec<_>) = rows
            .iter()
            .map(|row| {
                let (reply, receiver) = oneshot::channel();
                let trace = if traced { WindowTrace::queued(row.len()) } else { WindowTrace::none() };
                (Job { row: row.clone(), queued, reply, trace, begun: Arc::clone(begun) }, receiver)
            })
            .unzip();
        let key = self.shared.key(asker, rows);
        let mut state = self.shared.lock();
        if state.alive == 0 {
            return Err(NotQueued::Lost);
        }
        let arrival = state.line.arrive(key, self.shared.begun.elapsed());
        let room = self.shared.room(&mut state, asker, arrival)?;
        let places = state
            .queue
            .push(asker.id, jobs, room)
            .map_err(|full| NotQueued::Full(NoRoom { ahead: full.tokens }))?;
        state.line.redeem(key);
        self.shared.show_level(&state.queue);
        drop(state);
        self.shared.changed.notify_all();
        let ticket =
            |(place, reply)| Ticket { shared: Arc::clone(&self.shared), place, reply, answered: false };
        Ok(places.into_iter().zip(replies).map(ticket).collect())
    }

    /// Takes a place in the line of refused callers for a text that was not queued, and says when to come back.
    pub(super) fn line_up(&self, asker: &Asker, no_room: &NoRoom, rows: &[Vec<TokenId>]) -> Duration {
        let shared = &self.shared;
        let key = shared.key(asker, rows);
        let (now, began) = (shared.begun.elapsed(), shared.begun);
        let mut state = shared.lock();
        state.refusals += 1;
        let pace = state.pace();
        let early = matches!(state.line.arrive(key, now), Arrival::Early(_));
        let refused = Refused {
            // Without shared flights, several callers may ask for one text at once, and each needs a slot.
            key: (shared.shares_flights || !early).then_some(key),
            ahead: pace.time_for(no_room.ahead),
            work: pace.time_for(rows.iter().map(Vec::len).sum()),
            patience: asker.deadline.map(|deadline| deadline.saturating_duration_since(began + now)),
            comes_back: asker.comes_back.map(|due| due.saturating_duration_since(began)),
            chance: chance(&shared.hasher, state.refusals),
        };
        state.line.refuse(refused, now)
    }

    /// Takes a place in the line of refused callers for a text whose tokens are not known yet, and says when to come back.
    pub(super) fn line_up_unread(&self, deadline: Option<Instant>, bytes: usize) -> Duration {
        /// Bytes of Thai text for one token, about.
        const TOKEN_BYTES: usize = 10;
        let shared = &self.shared;
        let (now, began) = (shared.begun.elapsed(), shared.begun);
        let mut state = shared.lock();
        state.refusals += 1;
        let pace = state.pace();
        let refused = Refused {
            key: None,
            ahead: pace.time_for(state.queue.tokens()).max(shared.max_wait),
            work: pace.time_for(bytes / TOKEN_BYTES),
            patience: deadline.map(|deadline| deadline.saturating_duration_since(began + now)),
            comes_back: None,
            chance: chance(&shared.hasher, state.refusals),
        };
        state.line.refuse(refused, now)
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
    let (count, tokens) = (batch.len(), batch.iter().map(Waiting::tokens).sum());
    for Job { row, queued, reply, trace, begun } in batch {
        begun.store(true, Ordering::Relaxed);
        rows.push(row);
        callers.push((queued, reply, trace.infer(count, tokens)));
    }
    let started = Instant::now();
    let result = session.run(&rows, shared.padding);
    let infer = started.elapsed();
    shared.metrics.batch_done(&rows, tokens);
    let mut found = result.map(Vec::into_iter).map_err(Arc::new);
    for (queued, reply, span) in callers {
        if found.is_err() {
            telemetry::inference_failed(&span);
        }
        // The span ends before the answer goes out, so that it is not later than the call's.
        drop(span);
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

    /// The time that so many tokens take.
    pub(super) fn time_for(self, tokens: usize) -> Duration {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let workers = u32::try_from(self.workers.max(1)).unwrap_or(u32::MAX);
        self.per_token.saturating_mul(tokens) / workers
    }
}

/// A number of 0 to 1 that is different for each refusal.
pub(crate) fn chance(hasher: &RandomState, refusal: u64) -> f64 {
    // 32 bits fit into a float without loss.
    f64::from((hasher.hash_one(refusal) >> 32) as u32) / f64::from(u32::MAX)
}

fn tell(reply: oneshot::Sender<Answer>, answer: Answer) {
    if reply.send(answer).is_err() {
        tracing::trace!("a caller left before its answer");
    }
}
