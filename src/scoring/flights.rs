//! Texts that are on their way to the model: many who ask for one text at once wait for one inference.
//!
//! The first who asks flies: it asks the model, and the others wait. A caller can be slow to fly, for its texts wait for one another, and
//! in the queue its place may be far behind. So those who wait do not depend on it: if no worker has begun within the time that the
//! queue grants, the next of them flies as well, with its own place in the queue, and all take the first answer.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::scorer::ScoreError;
use super::sentiment::Analysis;

/// What comes of a flight.
pub(super) type Answer = Result<Arc<Analysis>, ScoreError>;

/// No flight is late sooner than this.
const SOONEST_LATE: Duration = Duration::from_millis(10);

/// The flights of all texts. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Flights(Arc<Mutex<HashMap<u128, Boarded>>>);

#[derive(Debug)]
struct Boarded {
    flight: Arc<Flight>,
    /// Those who fly or wait.
    users: usize,
}

/// One text.
#[derive(Debug)]
struct Flight {
    answer: watch::Sender<Option<Answer>>,
    /// Who has a permit flies. There is one, and one more each time that the flight is late.
    permits: Semaphore,
    /// Whether a worker has begun.
    begun: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    flying: usize,
    /// When the last one began to fly.
    last: Instant,
}

/// One who flies or waits. The last to go takes the flight away.
#[derive(Debug)]
pub(super) struct Seat {
    flights: Flights,
    key: u128,
    flight: Arc<Flight>,
}

/// What one who waited gets.
#[derive(Debug)]
pub(super) enum Next<'a> {
    /// The answer of another.
    Landed(Answer),
    /// It has to fly itself.
    Fly(Takeoff<'a>),
}

/// One who flies, until it is dropped. If it goes without an answer and nobody else flies, the next who waits does.
#[derive(Debug)]
pub(super) struct Takeoff<'a> {
    flight: &'a Flight,
    permit: Option<SemaphorePermit<'a>>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Boarded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the flight of a text, or begins one.
    pub(super) fn board(&self, key: u128) -> Seat {
        let mut flights = self.lock();
        let new = || Boarded { flight: Arc::new(Flight::new()), users: 0 };
        let boarded = flights.entry(key).or_insert_with(new);
        boarded.users += 1;
        Seat { flights: self.clone(), key, flight: Arc::clone(&boarded.flight) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if let Some(boarded) = flights.get_mut(&self.key) {
            boarded.users -= 1;
            if boarded.users == 0 {
                flights.remove(&self.key);
            }
        }
    }
}

impl Seat {
    /// Waits for the answer of another, or for the need to fly. A flight is late after `most_wait`.
    pub(super) async fn next(&self, most_wait: Duration) -> Next<'_> {
        let flight = &*self.flight;
        let mut landed = pin!(flight.landed());
        let mut permit = pin!(flight.permits.acquire());
        loop {
            let look = tokio::time::sleep_until(flight.late(most_wait));
            tokio::select! {
                biased;
                answer = &mut landed => return Next::Landed(answer),
                permit = &mut permit => return Next::Fly(flight.take_off(permit.ok())),
                () = look => flight.let_another_fly(most_wait),
            }
        }
    }
}

impl Flight {
    fn new() -> Self {
        Self {
            answer: watch::Sender::new(None),
            permits: Semaphore::new(1),
            begun: Arc::default(),
            state: Mutex::new(State { flying: 0, last: Instant::now() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn landed(&self) -> Answer {
        let mut answer = self.answer.subscribe();
        let landed = answer.wait_for(Option::is_some).await;
        landed.ok().and_then(|answer| answer.clone()).unwrap_or(Err(ScoreError::WorkerLost))
    }

    fn take_off<'a>(&'a self, permit: Option<SemaphorePermit<'a>>) -> Takeoff<'a> {
        let mut state = self.state();
        state.flying += 1;
        state.last = Instant::now();
        Takeoff { flight: self, permit }
    }

    /// When to look again whether the flight is late.
    fn late(&self, most_wait: Duration) -> Instant {
        let (most_wait, now) = (most_wait.max(SOONEST_LATE), Instant::now());
        let late = self.state().last + most_wait;
        if late > now { late } else { now + most_wait }
    }

    /// If the flight is late, one more may fly. Many who wait look at the same time, and one of them finds it so.
    fn let_another_fly(&self, most_wait: Duration) {
        let (mut state, now) = (self.state(), Instant::now());
        let is_late = now >= state.last + most_wait.max(SOONEST_LATE);
        if is_late && !self.begun.load(Ordering::Relaxed) {
            state.last = now;
            self.permits.add_permits(1);
        }
    }
}

impl Takeoff<'_> {
    /// To be set when a worker begins.
    pub(super) fn begun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flight.begun)
    }

    /// Waits for the answer of another who flies.
    pub(super) async fn landed(&self) -> Answer {
        self.flight.landed().await
    }

    /// Gives all who wait the answer. A refusal for want of room is the caller's own: the others may have room.
    pub(super) fn land(self, answer: &Answer) {
        if !matches!(answer, Err(ScoreError::QueueFull { .. })) {
            self.flight.answer.send_replace(Some(answer.clone()));
        }
    }
}

impl Drop for Takeoff<'_> {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        state.flying -= 1;
        match self.permit.take() {
            // While another flies, the rest need not.
            Some(permit) if state.flying > 0 => permit.forget(),
            permit => {
                self.flight.begun.store(false, Ordering::Relaxed);
                drop(permit);
            }
        }
    }
}

#[cfg(test)]
mod tests;
