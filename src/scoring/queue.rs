//! What waits for a worker: bounded in tokens and in waiting time, fair between callers, grouped by length. Pure: no
//! threads, no clock.
//!
//! Fairness is start-time fair queuing (Goyal, Vin and Cheng 1996): every job gets a place on a line counted in
//! tokens, a caller's next job one length behind the one before it, and the job that stands first goes first.
//! So a text that comes alone goes before most of a large batch that came earlier. Newcomers stand where the line has
//! got to, and it moves on by the work done for each caller: or a constant flow of newcomers would keep everybody's
//! second job waiting for ever. The jobs of one text stand together, since none is of use without the others; only
//! those of a very long one stand apart, so that others get in between.

use std::collections::{BTreeMap, HashMap};

/// Tokens of one text that stand together: about the work of two full runs.
const TOGETHER: usize = 1024;

/// Tokens of other callers that a job may overtake to join a batch of its length.
const OVERTAKEN: usize = 1024;

/// Work that waits in a [`Queue`].
pub(super) trait Waiting {
    /// What it costs a worker.
    fn tokens(&self) -> usize;
}

/// Who asked. Jobs of one caller wait for one another, jobs of two callers take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallerId(pub(super) u64);

/// A job's place on the line, in tokens, and its number among all jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64, u64);

/// How a caller stands.
#[derive(Debug, Default)]
struct Standing {
    /// Where the caller's next job goes, at the earliest.
    next: u64,
    waiting: usize,
    tokens: usize,
}

/// Jobs that wait, by their place.
#[derive(Debug)]
pub(super) struct Queue<J> {
    jobs: BTreeMap<Place, (CallerId, J)>,
    /// The callers who have jobs waiting.
    callers: HashMap<CallerId, Standing>,
    /// Where the line has got to.
    reached: u64,
    /// Tokens taken since it last moved.
    served: u64,
    pushed: u64,
    tokens: usize,
    capacity: usize,
}

/// How much may wait before the job of a new caller. It is refused if there is more of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    /// Callers that wait. So many are a burst, which is over in a moment, and not yet an overload.
    pub(super) callers: usize,
    /// Tokens that go before it.
    pub(super) tokens: usize,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// Tokens that wait before the ones refused.
    pub(super) tokens: usize,
}

impl<J: Waiting> Queue<J> {
    /// A queue for so many tokens.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            jobs: BTreeMap::new(),
            callers: HashMap::new(),
            reached: 0,
            served: 0,
            pushed: 0,
            tokens: 0,
            capacity,
        }
    }

    /// Takes all the jobs of one text or none, so that no text is left half scored.
    ///
    /// A caller with nothing waiting is refused if more than `most_ahead` goes before: better a refusal now
    /// than an answer too late. One with jobs waiting chose to wait for them, but gets no more than half of the
    /// queue, so that there is room for the next. Nobody gets beyond the whole queue, unless it is empty: or a text
    /// larger than that could never be scored.
    pub(super) fn push(
        &mut self,
        caller: CallerId,
        jobs: Vec<J>,
        most_ahead: Ahead,
    ) -> Result<Vec<Place>, Full> {
        let tokens: usize = jobs.iter().map(J::tokens).sum();
        if !self.jobs.is_empty() {
            let refused = match self.callers.get(&caller) {
                Some(standing) => standing.tokens + tokens > self.capacity / 2,
                None => {
                    let Ahead { callers, tokens } = most_ahead;
                    self.callers.len() >= callers && self.tokens_ahead(tokens) > tokens
                }
            };
            if refused || self.tokens + tokens > self.capacity {
                return Err(Full { tokens: self.tokens_ahead(usize::MAX) });
            }
        }
        let standing = self.callers.entry(caller).or_default();
        let mut places = Vec::with_capacity(jobs.len());
        let start = self.reached.max(standing.next);
        standing.next = start + tokens as u64;
        let mut before = 0_usize;
        for job in jobs {
            let place = Place(start + before.saturating_sub(TOGETHER) as u64, self.pushed);
            before += job.tokens();
            standing.waiting += 1;
            standing.tokens += job.tokens();
            self.pushed += 1;
            self.tokens += job.tokens();
            self.jobs.insert(place, (caller, job));
            places.push(place);
        }
        Ok(places)
    }

    /// Tokens that go before the job of a new caller; counted until they are more than `enough`.
    fn tokens_ahead(&self, enough: usize) -> usize {
        let mut tokens = 0;
        for (_, (_, job)) in self.jobs.range(..Place(self.reached, self.pushed)) {
            tokens += job.tokens();
            if tokens > enough {
                break;
            }
        }
        tokens
    }

    /// Gives up a job that nobody waits for any more; false if a worker has it already.
    pub(super) fn cancel(&mut self, place: Place) -> bool {
        self.remove(place).is_some()
    }

    /// The job that stands first, and with it others of like length in the order in which they stand, as long as
    /// the batch, short rows padded to the longest, has at most `budget` tokens and no row is padded by much.
    ///
    /// Not those of the nearest length, and of other callers not those who stand far back: whoever stood early with
    /// a length that few others have would be overtaken until it stood first, and wait twice as long as the rest.
    pub(super) fn take(&mut self, budget: usize) -> Vec<J> {
        let Some((&place, &(lead, _))) = self.jobs.first_key_value() else { return Vec::new() };
        let callers = self.callers.len().max(1) as u64;
        self.reached = (self.reached + self.served / callers).max(place.0);
        self.served %= callers;
        let mut chosen = Vec::new();
        let (mut shortest, mut longest, mut overtaken) = (usize::MAX, 0, 0);
        for (&place, (caller, job)) in &self.jobs {
            let length = job.tokens();
            let (low, high) = (shortest.min(length), longest.max(length));
            let fits = (chosen.len() + 1) * high <= budget && high - low <= most_padding(high);
            if chosen.is_empty() || fits && (overtaken <= OVERTAKEN || *caller == lead) {
                (shortest, longest) = (low, high);
                chosen.push(place);
            } else if (chosen.len() + 1) * shortest > budget {
                break;
            } else if *caller != lead {
                overtaken += length;
            }
        }
        let batch: Vec<J> = chosen.into_iter().filter_map(|place| self.remove(place)).collect();
        self.served += batch.iter().map(J::tokens).sum::<usize>() as u64;
        batch
    }

    fn remove(&mut self, place: Place) -> Option<J> {
        let (caller, job) = self.jobs.remove(&place)?;
        self.tokens -= job.tokens();
        if let Some(standing) = self.callers.get_mut(&caller) {
            standing.waiting -= 1;
            standing.tokens -= job.tokens();
            if standing.waiting == 0 {
                self.callers.remove(&caller);
            }
        }
        Some(job)
    }

    /// Tokens that wait.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Drops every job.
    pub(super) fn clear(&mut self) {
        while let Some((&place, _)) = self.jobs.first_key_value() {
            self.remove(place);
        }
    }
}

/// How far the shortest row of a batch may fall behind the longest: an eighth, or the few tokens that make no
/// difference to a matrix product.
fn most_padding(longest: usize) -> usize {
    (longest / 8).max(3)
}
