//! What waits for a worker, bounded in tokens. Pure: no threads, no clock; the workers bring the time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Work that waits in a [`Queue`].
pub(super) trait Waiting {
    /// What it costs a worker.
    fn tokens(&self) -> usize;
    /// When its caller stops waiting.
    fn deadline(&self) -> Option<Instant>;
    /// Whether its caller has gone.
    fn is_abandoned(&self) -> bool;
}

/// A first-in first-out queue that takes no more tokens than it was given room for.
#[derive(Debug)]
pub(super) struct Queue<J> {
    jobs: VecDeque<J>,
    tokens: usize,
    capacity: usize,
}

/// What a worker is to do next, and what nobody waits for any more.
#[derive(Debug)]
pub(super) struct Taken<J> {
    /// The next job, if any is left.
    pub(super) next: Option<J>,
    /// Jobs whose deadline has passed; their callers are still to be told.
    pub(super) expired: Vec<J>,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// Tokens that wait.
    pub(super) tokens: usize,
}

impl<J: Waiting> Queue<J> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { jobs: VecDeque::new(), tokens: 0, capacity }
    }

    /// Takes all the jobs of one text or none, so that no text is left half scored.
    ///
    /// An empty queue takes a text of any size, or one larger than the whole queue could never be scored.
    pub(super) fn push(&mut self, jobs: Vec<J>) -> Result<(), Full> {
        let tokens: usize = jobs.iter().map(J::tokens).sum();
        if !self.jobs.is_empty() && self.tokens + tokens > self.capacity {
            return Err(Full { tokens: self.tokens });
        }
        self.tokens += tokens;
        self.jobs.extend(jobs);
        Ok(())
    }

    /// The oldest job that someone still waits for.
    pub(super) fn take(&mut self, now: Instant) -> Taken<J> {
        let mut expired = Vec::new();
        while let Some(job) = self.jobs.pop_front() {
            self.tokens -= job.tokens();
            if job.is_abandoned() {
                continue;
            }
            if job.deadline().is_some_and(|deadline| deadline <= now) {
                expired.push(job);
                continue;
            }
            return Taken { next: Some(job), expired };
        }
        Taken { next: None, expired }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl Full {
    /// When room is likely: the time the waiting tokens take at the pace of the workers.
    pub(super) fn retry_after(self, per_token: Duration, workers: usize) -> Duration {
        let tokens = u32::try_from(self.tokens).unwrap_or(u32::MAX);
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        (per_token * tokens / workers).max(Duration::from_millis(10))
    }
}
