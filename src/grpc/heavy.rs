//! Work that is too long for the threads that serve sockets.
//!
//! A thread of the async runtime that works for long answers nobody meanwhile, health included. tokio's blocking threads are many,
//! and short work needs them, too: so each kind of long work runs on a few at a time. Calls wait for a turn, and only so many of them:
//! each keeps its request in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Shared;
use super::shares::UsedUp;
use super::status::Failure;

/// Calls with a whole conversation that may wait at once.
const CONVERSATIONS: usize = 256;

/// Calls that read single profiles or a page by name that may wait at once. Each takes a millisecond or so.
const READS: usize = 1024;

/// Calls that look through a whole store or a whole customer that may wait at once.
const SCANS: usize = 64;

/// One kind of long work.
#[derive(Clone, Debug)]
pub(super) struct Heavy {
    turns: Arc<Semaphore>,
    places: Arc<Semaphore>,
    used_up: UsedUp,
}

/// A call that may wait for turns. It gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    heavy: Heavy,
    _permit: OwnedSemaphorePermit,
}

impl Heavy {
    fn new(turns: usize, places: usize, used_up: UsedUp) -> Self {
        let (turns, places) = (Semaphore::new(turns), Semaphore::new(places));
        Self { turns: Arc::new(turns), places: Arc::new(places), used_up }
    }

    /// What is made of conversations.
    pub(super) fn conversations() -> Self {
        Self::new(cpus(), CONVERSATIONS, UsedUp::Work)
    }

    /// Short reads of the profile store.
    pub(super) fn reads() -> Self {
        Self::new(cpus(), READS, UsedUp::Reads)
    }

    /// Long reads of the profile store, which leave half of the CPUs to others.
    pub(super) fn scans() -> Self {
        Self::new((cpus() / 2).max(1), SCANS, UsedUp::Scans)
    }

    /// A place among those who wait, unless too many do.
    pub(super) fn enter(&self) -> Result<Place, UsedUp> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| self.used_up)?;
        Ok(Place { heavy: self.clone(), _permit: permit })
    }

    /// Does the work on another thread once it has a turn, and waits for it. The turn lasts until the work is done, even if nobody
    /// waits any more.
    ///
    /// Takes no place: for work that another limit bounds, such as one step of a stream, or the end of work that began.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Failure::Died)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| Failure::Died)
    }
}

impl Place {
    /// As [`Heavy::run`]. Long work goes in several steps, so that others have turns in between.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.heavy.run(work).await
    }
}

impl Shared {
    /// A place for a call among those who wait for one kind of work; refused with a delay if there is none.
    pub(super) fn place(&self, heavy: &Heavy) -> Result<Place, Failure> {
        heavy.enter().map_err(|used_up| self.refused(used_up))
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_gives_its_turn_back() {
        let heavy = Heavy::new(1, 2, UsedUp::Work);
        for _ in 0..3 {
            assert!(matches!(heavy.run(|| panic!("careless")).await, Err::<(), _>(Failure::Died)));
        }
        assert!(matches!(heavy.run(|| 7).await, Ok(7)));
    }

    #[tokio::test]
    async fn work_waits_for_its_turn_and_holds_no_thread_of_the_runtime() {
        let heavy = Heavy::new(1, 2, UsedUp::Work);
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let holding = tokio::spawn({
            let heavy = heavy.clone();
            async move { heavy.run(move || held.recv()).await }
        });
        let waiting = tokio::spawn(async move { heavy.run(|| 7).await });
        // This test has one thread: that it gets here shows that nothing holds it.
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        release.send(()).expect("the work waits for it");
        assert!(matches!(holding.await.expect("no panic"), Ok(Ok(()))));
        assert!(matches!(waiting.await.expect("no panic"), Ok(7)));
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let heavy = Heavy::new(1, 2, UsedUp::Work);
        let (first, second) = (heavy.enter().expect("a place"), heavy.enter().expect("a place"));
        assert_eq!(heavy.enter().err(), Some(UsedUp::Work));
        assert!(matches!(second.run(|| 7).await, Ok(7)));
        drop(first);
        drop(heavy.enter().expect("a place was given back"));
    }
}
