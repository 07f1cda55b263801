//! Profiles that were read lately, for all who watch: one reads, many send. Pure.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};

use super::book::Profile;
use super::event::Key;

/// For how long a profile that was read is sent: its windows and means are of the moment when it was read.
const FRESH: SignedDuration = SignedDuration::from_secs(1);

/// Profiles that are kept at most in each of two generations.
const MOST: usize = 8192;

/// A profile as it was read.
#[derive(Debug)]
pub struct Seen {
    /// What is known.
    pub profile: Profile,
    /// When it was read: its features are of this moment.
    pub time: Timestamp,
    /// The sequence of the last change that was surely written before.
    pub(super) through: u64,
    bytes: OnceLock<Vec<u8>>,
}

impl Seen {
    pub(super) fn new(profile: Profile, time: Timestamp, through: u64) -> Self {
        Self { profile, time, through, bytes: OnceLock::new() }
    }

    /// The profile as a message, which is made once for all who send it.
    pub fn bytes(&self, make: impl FnOnce(&Self) -> Vec<u8>) -> &[u8] {
        self.bytes.get_or_init(|| make(self))
    }
}

/// What was read lately. What is not asked for any more goes with its generation.
#[derive(Debug, Default)]
pub(super) struct Lately {
    begun: Option<Timestamp>,
    young: HashMap<Key, Arc<Seen>>,
    old: HashMap<Key, Arc<Seen>>,
}

impl Lately {
    /// What was read of a key, if it is fresh and fits.
    pub(super) fn find(&self, key: &Key, now: Timestamp, fits: impl Fn(&Seen) -> bool) -> Option<Arc<Seen>> {
        let fresh = |seen: &&Arc<Seen>| now.duration_since(seen.time).abs() <= FRESH && fits(seen);
        let found = self.young.get(key).filter(fresh).or_else(|| self.old.get(key).filter(fresh));
        found.cloned()
    }

    pub(super) fn put(&mut self, key: Key, seen: Arc<Seen>, now: Timestamp) {
        let is_over = |begun: Timestamp| now.duration_since(begun).abs() > FRESH;
        if self.young.len() >= MOST || self.begun.is_some_and(is_over) {
            self.old = std::mem::take(&mut self.young);
            self.begun = None;
        }
        self.begun.get_or_insert(now);
        self.young.insert(key, seen);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
