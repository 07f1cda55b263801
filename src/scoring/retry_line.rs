//! When refused callers are told to come back: one after the other, at the pace of the service, so that they do not
//! all come at once. Pure: no clock and no random numbers.
//!
//! It works like a machine that gives out numbered tickets. Each refusal takes the next free slot of a line, and
//! the line moves on by itself as time passes. A caller that comes back at its time goes before callers without a ticket, which
//! get what the ticket holders leave unused. One that comes before its time is told the rest of it. So nobody gains by
//! asking again and again, and nobody loses by waiting.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// No delay is shorter: a caller that comes back sooner only asks twice.
const SHORTEST: Duration = Duration::from_millis(10);

/// A caller that is early by this much is on time: clients round to milliseconds and clocks differ in pace.
const EARLY: Duration = Duration::from_millis(10);

/// A ticket is good for this long after its time.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// Most tickets that are remembered. Callers beyond them get a delay without a ticket.
const MOST_TICKETS: usize = 65_536;

/// The share of tickets that are used is that of about so many tickets.
const USE_OF: f64 = 64.0;

/// No slot is narrower than this share of the work it stands for.
const LEAST_USE: f64 = 1.0 / 16.0;

/// Slots are this much wider than the work they stand for, so that a queue beside the line can empty.
const SLACK: f64 = 1.125;

/// The latest part of a delay that is left to chance: servers that refuse at the same time do not fall into step.
const CHANCE: f64 = 0.125;

/// What a refused caller asked for. A caller that asks for the same again has the same key.
pub(crate) type RequestKey = u64;

/// How a caller stands when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has no ticket.
    New,
    /// It comes back before its time, which is so far off.
    Early(Duration),
    /// It comes back when it was told to.
    OnTime,
}

/// One who is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// What it asked for; none if that is not known. Without it there is a delay, but no ticket.
    pub(crate) key: Option<RequestKey>,
    /// How long it takes to do what waits already.
    pub(crate) ahead: Duration,
    /// How long it takes to do what the caller asked for.
    pub(crate) work: Duration,
    /// How long the caller waits at most, if it has said so.
    pub(crate) patience: Option<Duration>,
    /// When the caller comes back anyway, since another of its texts was refused: it is then told that time.
    pub(crate) comes_back: Option<Duration>,
    /// A random number of 0 to 1.
    pub(crate) chance: f64,
}

/// The line of refused callers. All times are since one moment that its owner chose.
#[derive(Debug)]
pub(crate) struct RetryLine {
    /// Where the last slot ends.
    end: Duration,
    longest: Duration,
    /// When each ticket holder comes back.
    tickets: HashMap<RequestKey, Duration>,
    by_time: BTreeSet<(Duration, RequestKey)>,
    /// Share of the tickets that are used.
    used: f64,
}

impl RetryLine {
    /// An empty line in which nobody is told to stay away for longer than `longest`.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { end: Duration::ZERO, longest, tickets: HashMap::new(), by_time: BTreeSet::new(), used: 1.0 }
    }

    /// Whether nobody holds a ticket.
    pub(super) fn is_empty(&mut self, now: Duration) -> bool {
        self.expire(now);
        self.tickets.is_empty()
    }

    /// How a caller stands. A ticket that is on time is used up by this.
    pub(super) fn arrive(&mut self, key: RequestKey, now: Duration) -> Arrival {
        self.expire(now);
        match self.tickets.get(&key) {
            None => Arrival::New,
            Some(due) if *due > now + EARLY => Arrival::Early(*due - now),
            Some(_) => {
                self.note_use(1.0);
                self.forget(key);
                Arrival::OnTime
            }
        }
    }

    /// Uses up the ticket of a caller that came before its time and was let in.
    pub(super) fn redeem(&mut self, key: RequestKey) {
        if self.tickets.contains_key(&key) {
            self.note_use(1.0);
            self.forget(key);
        }
    }

    fn forget(&mut self, key: RequestKey) {
        if let Some(due) = self.tickets.remove(&key) {
            self.by_time.remove(&(due, key));
        }
    }

    /// Gives a caller the next slot, and says in how long that is.
    ///
    /// A caller that holds a ticket is told the rest of its time, however often it asks. One that would have to wait for longer than
    /// the line may be, or than it has patience for, takes no slot.
    pub(crate) fn refuse(&mut self, refused: Refused, now: Duration) -> Duration {
        let Refused { key, ahead, work, patience, comes_back, chance } = refused;
        self.expire(now);
        if let Some(due) = key.and_then(|key| self.tickets.get(&key)) {
            return due.saturating_sub(now).max(SHORTEST);
        }
        let start = self.end.max(now + ahead);
        let away = start - now;
        if away >= self.longest {
            return self.longest.mul_f64(0.5 + 0.5 * chance);
        }
        let slot = work.mul_f64(SLACK * self.used.max(LEAST_USE));
        let delay = away + (slot + away.mul_f64(CHANCE)).mul_f64(chance);
        let delay = comes_back.map_or(delay, |due| due.saturating_sub(now)).clamp(SHORTEST, self.longest);
        if patience.is_some_and(|patience| patience < delay) {
            return delay;
        }
        self.end = start + slot;
        if let Some(key) = key
            && self.tickets.len() < MOST_TICKETS
        {
            self.tickets.insert(key, now + delay);
            self.by_time.insert((now + delay, key));
        }
        delay
    }

    /// Drops tickets whose time is over.
    fn expire(&mut self, now: Duration) {
        while let Some(&(due, key)) = self.by_time.first()
            && due + GOOD_FOR < now
        {
            self.note_use(0.0);
            self.forget(key);
        }
    }

    /// Slots of callers that do not come back are narrower: else those who do would wait for them.
    fn note_use(&mut self, used: f64) {
        self.used += (used - self.used) / USE_OF;
    }
}
