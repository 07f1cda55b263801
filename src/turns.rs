//! A limited number of turns, shared fairly among those who ask.
//!
//! Whoever asks under a key stands in the line of that key first. Only as many of a key as there are turns leave it for the line of
//! all, where the first to come is the first to have a turn. So one key alone uses all turns, and a newcomer of another key waits for
//! about one turn of each key, however many wait under them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns. Cheap to clone; clones share them.
#[derive(Debug)]
pub(crate) struct Turns<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    most: usize,
    all: Arc<Semaphore>,
    /// The line of each key under which somebody has a turn or waits for one.
    lines: Mutex<HashMap<K, Line>>,
}

/// The line of one key. Who holds a permit stands in the line of all, or has a turn.
#[derive(Debug)]
struct Line {
    permits: Arc<Semaphore>,
    /// Those who wait or have a turn.
    users: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<K: Eq + Hash> {
    _all: OwnedSemaphorePermit,
    _standing: Option<Standing<K>>,
}

/// One user of the line of a key. The last one takes the line away.
#[derive(Debug)]
struct Standing<K: Eq + Hash> {
    shared: Arc<Shared<K>>,
    key: K,
    permit: Option<OwnedSemaphorePermit>,
}

impl<K> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// So many turns at once.
    pub(crate) fn new(most: usize) -> Self {
        let all = Arc::new(Semaphore::new(most));
        Self(Arc::new(Shared { most, all, lines: Mutex::default() }))
    }

    /// How many turns there are.
    pub(crate) fn most(&self) -> usize {
        self.0.most
    }

    /// Waits for a turn. Dropping the future leaves the lines. Without a key there is only the line of all.
    pub(crate) async fn take(&self, key: Option<K>) -> Turn<K> {
        let standing = match key {
            Some(key) => Some(self.0.stand(key).await),
            None => None,
        };
        Turn { _all: permit(&self.0.all).await, _standing: standing }
    }
}

impl<K: Eq + Hash + Clone> Shared<K> {
    fn lines(&self) -> MutexGuard<'_, HashMap<K, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one is among the first of a key.
    async fn stand(self: &Arc<Self>, key: K) -> Standing<K> {
        let permits = {
            let mut lines = self.lines();
            let new = || Line { permits: Arc::new(Semaphore::new(self.most)), users: 0 };
            let line = lines.entry(key.clone()).or_insert_with(new);
            line.users += 1;
            Arc::clone(&line.permits)
        };
        // Made before the wait: a future that is dropped while it waits leaves the line, too.
        let mut standing = Standing { shared: Arc::clone(self), key, permit: None };
        standing.permit = Some(permit(&permits).await);
        standing
    }
}

impl<K: Eq + Hash> Drop for Standing<K> {
    fn drop(&mut self) {
        // The permit first: the next of the line gets it.
        self.permit = None;
        let mut lines = self.shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = lines.get_mut(&self.key) {
            line.users -= 1;
            if line.users == 0 {
                lines.remove(&self.key);
            }
        }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(semaphore).acquire_owned().await.expect("no semaphore is closed here")
}

#[cfg(test)]
mod tests;
