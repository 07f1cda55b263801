//! Work that is too long for the threads that serve sockets.
//!
//! A thread of the async runtime that works for long answers nobody meanwhile, health included. tokio's blocking threads are many,
//! and short work needs them, too: so each kind of long work runs on a few at a time. Calls wait for a turn, which peers share fairly,
//! and only so many calls wait: each keeps its request in memory.

use std::net::IpAddr;

use super::places::{Places, Taking};
use super::shares::UsedUp;
use super::status::Failure;
use super::{ServerConfig, Shared};
use crate::net::network;
use crate::turns::Turns;

/// Calls with a whole conversation that may wait at once.
const CONVERSATIONS: usize = 256;

/// Calls that read single profiles or a page by name that may wait at once. Each takes a millisecond or so.
const READS: usize = 1024;

/// Calls that look through a whole store or a whole customer that may wait at once.
const SCANS: usize = 64;

/// One kind of long work.
#[derive(Clone, Debug)]
pub(super) struct Heavy {
    turns: Turns<IpAddr>,
    places: Places,
}

/// A call that may wait for turns. It gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    heavy: Heavy,
    taking: Taking,
}

impl Heavy {
    fn new(turns: usize, places: Places) -> Self {
        Self { turns: Turns::new(turns), places }
    }

    /// What is made of conversations.
    pub(super) fn conversations(config: &ServerConfig) -> Self {
        Self::new(cpus(), Places::new(CONVERSATIONS, config.tells_peers_apart(), UsedUp::Work))
    }

    /// Short reads of the profile store.
    pub(super) fn reads(config: &ServerConfig) -> Self {
        Self::new(cpus(), Places::new(READS, config.tells_peers_apart(), UsedUp::Reads))
    }

    /// Long reads of the profile store, which leave half of the CPUs to others.
    pub(super) fn scans(config: &ServerConfig) -> Self {
        Self::new((cpus() / 2).max(1), Places::new(SCANS, config.tells_peers_apart(), UsedUp::Scans))
    }

    /// A place among those who wait, unless too many do, in all or of the caller's peer.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Result<Place, UsedUp> {
        Ok(Place { taking: self.places.take(address)?, heavy: self.clone() })
    }

    /// Does the work on another thread once it has a turn, and waits for it. The turn lasts until the work is done, even if nobody
    /// waits any more.
    ///
    /// Takes no place: for work that another limit bounds, such as one step of a stream, or the end of work that began.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        address: Option<IpAddr>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = self.turns.take(address.map(network)).await;
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
        self.heavy.run(self.taking.peer, work).await
    }
}

impl Shared {
    /// A place for a call among those who wait for one kind of work; refused with a delay if there is none.
    pub(super) fn place(&self, heavy: &Heavy, address: Option<IpAddr>) -> Result<Place, Failure> {
        heavy.enter(address).map_err(|used_up| self.refused(used_up))
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_panic_gives_its_turn_back() {
        let heavy = Heavy::new(1, Places::new(2, true, UsedUp::Work));
        for _ in 0..3 {
            assert!(matches!(heavy.run(None, || panic!("careless")).await, Err::<(), _>(Failure::Died)));
        }
        assert!(matches!(heavy.run(None, || 7).await, Ok(7)));
    }

    #[tokio::test]
    async fn work_waits_for_its_turn_and_holds_no_thread_of_the_runtime() {
        let heavy = Heavy::new(1, Places::new(2, true, UsedUp::Work));
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        let holding = tokio::spawn({
            let heavy = heavy.clone();
            async move { heavy.run(None, move || held.recv()).await }
        });
        let waiting = tokio::spawn(async move { heavy.run(None, || 7).await });
        // This test has one thread: that it gets here shows that nothing holds it.
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        release.send(()).expect("the work waits for it");
        assert!(matches!(holding.await.expect("no panic"), Ok(Ok(()))));
        assert!(matches!(waiting.await.expect("no panic"), Ok(7)));
    }

    #[tokio::test]
    async fn so_many_wait_and_no_more() {
        let heavy = Heavy::new(1, Places::new(2, true, UsedUp::Work));
        let (first, second) = (heavy.enter(None).expect("a place"), heavy.enter(None).expect("a place"));
        assert_eq!(heavy.enter(None).err(), Some(UsedUp::Work));
        assert!(matches!(second.run(|| 7).await, Ok(7)));
        drop(first);
        drop(heavy.enter(None).expect("a place was given back"));
    }

    #[tokio::test]
    async fn work_of_one_peer_goes_before_most_of_anothers() {
        let heavy = Heavy::new(1, Places::new(64, true, UsedUp::Scans));
        let (peer, other) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let order = Arc::<Mutex<Vec<Option<IpAddr>>>>::default();
        let asked = [vec![peer; 20], vec![other]].concat().into_iter().map(|of| {
            let (heavy, order) = (heavy.clone(), Arc::clone(&order));
            async move { heavy.run(of, move || order.lock().expect("no panic").push(of)).await }
        });
        for done in futures_util::future::join_all(asked).await {
            done.expect("no panic");
        }
        let at = order.lock().expect("no panic").iter().position(|of| *of == other);
        assert!(at.is_some_and(|at| at <= 2), "{at:?}");
    }
}
