//! What waits for a worker: bounded in tokens, fair between callers, grouped by length. Pure: no threads, no
//! clock; the workers bring the time.
//!
//! Fairness is start-time fair queuing (Goyal, Vin and Cheng 1996): every job gets a place on a line counted in
//! tokens, a caller's next job one length behind the one before it, and the job that stands first goes first.
//! So a text that comes alone goes before most of a large batch that came earlier.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// Who asked. Jobs of one caller wait for one another, jobs of two callers take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Caller(pub(super) u64);

/// A job's place on the line, in tokens, and its number among all jobs.
type Place = (u64, u64);

/// How a caller stands.
#[derive(Debug, Default)]
struct Standing {
    /// Where the caller's next job goes, at the earliest.
    next: u64,
    waiting: usize,
    tokens: usize,
}

/// Jobs that wait, by their place and by their length.
#[derive(Debug)]
pub(super) struct Queue<J> {
    jobs: BTreeMap<Place, (Caller, J)>,
    lengths: BTreeSet<(usize, Place)>,
    /// The callers who have jobs waiting.
    callers: HashMap<Caller, Standing>,
    /// The place of the job taken last.
    reached: u64,
    pushed: u64,
    tokens: usize,
    capacity: usize,
}

/// What a worker is to do next, and what is over.
#[derive(Debug)]
pub(super) struct Taken<J> {
    /// Jobs of like length, to be run together.
    pub(super) batch: Vec<J>,
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
        Self {
            jobs: BTreeMap::new(),
            lengths: BTreeSet::new(),
            callers: HashMap::new(),
            reached: 0,
            pushed: 0,
            tokens: 0,
            capacity,
        }
    }

    /// Takes all the jobs of one text or none, so that no text is left half scored.
    ///
    /// No caller gets more than half of the queue, so that there is room for the next. A caller with nothing
    /// waiting may go beyond that, or a text larger than half of the queue could never be scored; beyond the whole
    /// queue, only if it is empty.
    pub(super) fn push(&mut self, caller: Caller, jobs: Vec<J>) -> Result<(), Full> {
        let tokens: usize = jobs.iter().map(J::tokens).sum();
        let fits = |queue: &Self| {
            let held = queue.callers.get(&caller).map_or(0, |standing| standing.tokens);
            let within_share = held == 0 || held + tokens <= queue.capacity / 2;
            queue.jobs.is_empty() || (within_share && queue.tokens + tokens <= queue.capacity)
        };
        if !fits(self) {
            self.drop_abandoned();
        }
        if !fits(self) {
            return Err(Full { tokens: self.tokens });
        }
        for job in jobs {
            let standing = self.callers.entry(caller).or_default();
            let place = (self.reached.max(standing.next), self.pushed);
            standing.next = place.0 + job.tokens() as u64;
            standing.waiting += 1;
            standing.tokens += job.tokens();
            self.pushed += 1;
            self.tokens += job.tokens();
            self.lengths.insert((job.tokens(), place));
            self.jobs.insert(place, (caller, job));
        }
        Ok(())
    }

    /// The job that stands first, and with it jobs of the nearest lengths, as long as the batch, short rows
    /// padded to the longest, has at most `budget` tokens and no row is padded by much.
    pub(super) fn take(&mut self, now: Instant, budget: usize) -> Taken<J> {
        let mut taken = Taken { batch: Vec::new(), expired: Vec::new() };
        while taken.batch.is_empty()
            && let Some((&place, _)) = self.jobs.first_key_value()
        {
            self.reached = self.reached.max(place.0);
            self.remove(place, now, &mut taken);
        }
        let Some(first) = taken.batch.first().map(J::tokens) else { return taken };
        let (mut shortest, mut longest) = (first, first);
        while let Some((length, place)) = self.nearest(first) {
            let (low, high) = (shortest.min(length), longest.max(length));
            if (taken.batch.len() + 1) * high > budget || high - low > most_padding(high) {
                break;
            }
            let rows = taken.batch.len();
            self.remove(place, now, &mut taken);
            if taken.batch.len() > rows {
                (shortest, longest) = (low, high);
            }
        }
        taken
    }

    /// The waiting job whose length is nearest; of equally near ones the shorter, of equally long ones the one
    /// that stands first.
    fn nearest(&self, length: usize) -> Option<(usize, Place)> {
        let above = self.lengths.range((length, (0, 0))..).next();
        let below = self
            .lengths
            .range(..(length, (0, 0)))
            .next_back()
            .and_then(|&(shorter, _)| self.lengths.range((shorter, (0, 0))..).next());
        match (below, above) {
            (Some(below), Some(above)) if length - below.0 <= above.0 - length && above.0 != length => {
                Some(*below)
            }
            (_, Some(above)) => Some(*above),
            (below, None) => below.copied(),
        }
    }

    fn remove(&mut self, place: Place, now: Instant, taken: &mut Taken<J>) {
        let Some((caller, job)) = self.jobs.remove(&place) else { return };
        self.forget(caller, &job, place);
        if job.is_abandoned() {
            return;
        }
        if job.deadline().is_some_and(|deadline| deadline <= now) {
            taken.expired.push(job);
        } else {
            taken.batch.push(job);
        }
    }

    fn forget(&mut self, caller: Caller, job: &J, place: Place) {
        self.tokens -= job.tokens();
        self.lengths.remove(&(job.tokens(), place));
        if let Some(standing) = self.callers.get_mut(&caller) {
            standing.waiting -= 1;
            standing.tokens -= job.tokens();
            if standing.waiting == 0 {
                self.callers.remove(&caller);
            }
        }
    }

    fn drop_abandoned(&mut self) {
        let gone: Vec<Place> =
            self.jobs.iter().filter(|(_, (_, job))| job.is_abandoned()).map(|(place, _)| *place).collect();
        for place in gone {
            if let Some((caller, job)) = self.jobs.remove(&place) {
                self.forget(caller, &job, place);
            }
        }
    }

    /// Tokens that wait.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

/// How far the shortest row of a batch may fall behind the longest: an eighth, or the few tokens that make no
/// difference to a matrix product.
fn most_padding(longest: usize) -> usize {
    (longest / 8).max(3)
}

impl Full {
    /// When room is likely: the time the waiting tokens take at the pace of the workers.
    pub(super) fn retry_after(self, per_token: Duration, workers: usize) -> Duration {
        let tokens = u32::try_from(self.tokens).unwrap_or(u32::MAX);
        let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
        (per_token * tokens / workers).max(Duration::from_millis(10))
    }
}
