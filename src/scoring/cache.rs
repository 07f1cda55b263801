//! What the model said of texts it has seen: bounded in bytes, asked before a text is tokenised.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use moka::future::Cache as Entries;
use siphasher::sip128::{Hasher128, SipHasher13};

use super::flights::{Answer, Flights, Next};
use super::scorer::ScoreError;
use super::sentiment::Analysis;
use crate::text::Normalized;

/// What an entry costs beside its value: key, links and counters of the cache itself, by its documentation's layout
/// rounded up.
const ENTRY_BYTES: usize = 256;

/// The cache. Cheap to clone; clones share their entries.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    entries: Entries<u128, Arc<Analysis>>,
    flights: Flights,
    /// Keyed at random, so that nobody can make two texts collide, and an entry does not betray its text.
    hasher: SipHasher13,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        let random = || RandomState::new().build_hasher().finish();
        let weigh = |_: &u128, analysis: &Arc<Analysis>| {
            u32::try_from(ENTRY_BYTES + analysis.bytes()).unwrap_or(u32::MAX)
        };
        Self {
            entries: Entries::builder().max_capacity(bytes).weigher(weigh).build(),
            flights: Flights::default(),
            hasher: SipHasher13::new_with_keys(random(), random()),
        }
    }

    /// The key of a text under a model: texts that are equal once normalised share it, other models do not.
    pub(super) fn key(&self, fingerprint: &str, text: &Normalized) -> u128 {
        let mut hasher = self.hasher;
        hasher.write(fingerprint.as_bytes());
        // No fingerprint and no text holds this byte, so that the two cannot run into one another.
        hasher.write_u8(0xFF);
        hasher.write(text.as_str().as_bytes());
        hasher.finish128().as_u128()
    }

    /// The entry, and whether it was there or on its way; else what `ask` gives, asked for once however many callers wait. It notes
    /// when a worker has begun.
    ///
    /// A caller who leaves while it asks, or is refused, leaves that to the next who waits. If no worker has begun within `most_wait`,
    /// the next who waits asks, too.
    pub(super) async fn get_or<F: Future<Output = Answer>>(
        &self,
        key: u128,
        most_wait: Duration,
        ask: impl FnOnce(Arc<AtomicBool>) -> F,
    ) -> Result<(Arc<Analysis>, bool), ScoreError> {
        if let Some(found) = self.entries.get(&key).await {
            return Ok((found, true));
        }
        let seat = self.flights.board(key);
        let takeoff = match seat.next(most_wait).await {
            Next::Landed(answer) => return Ok((answer?, true)),
            Next::Fly(takeoff) => takeoff,
        };
        // Another flight may have landed since.
        if let Some(found) = self.entries.get(&key).await {
            return Ok((found, true));
        }
        let answer = tokio::select! {
            biased;
            answer = takeoff.landed() => return Ok((answer?, true)),
            answer = ask(takeoff.begun()) => answer,
        };
        if let Ok(analysis) = &answer {
            self.entries.insert(key, Arc::clone(analysis)).await;
        }
        takeoff.land(&answer);
        Ok((answer?, false))
    }

    /// Entries and what they weigh in bytes.
    pub(super) async fn level(&self) -> (u64, u64) {
        self.entries.run_pending_tasks().await;
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}
