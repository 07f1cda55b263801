//! What a commit changed: which keys, which signals, who was forgotten. Pure.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::Key;
use super::rows::{self, Hash};
use super::signals::Signal;

/// What one commit changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its place among all commits that changed something, from 1.
    #[serde(skip)]
    pub sequence: u64,
    pub(super) millis: i64,
    /// The keys whose features are not what they were; nothing in the place of one whose customer was erased since.
    pub keys: Vec<Option<Key>>,
    /// What was raised or cleared, likewise.
    pub signals: Vec<Option<Signal>>,
    /// Who was forgotten.
    pub erased: Vec<Erased>,
}

/// That a customer was forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    pub(super) hash: Hash,
    /// Who it was: only while the change is in memory.
    #[serde(skip)]
    pub customer: Option<String>,
}

impl Change {
    /// When.
    pub fn time(&self) -> Timestamp {
        rows::time(self.millis)
    }

    /// Whom it names.
    pub(super) fn customers(&self) -> BTreeSet<&str> {
        self.keys.iter().flatten().filter_map(Key::customer).collect()
    }

    /// How much it says.
    pub(super) fn parts(&self) -> usize {
        self.keys.len() + self.signals.len() + self.erased.len()
    }

    /// Whether it names any of these customers.
    pub(super) fn names_any(&self, customers: &HashSet<&str>) -> bool {
        let keys = self.keys.iter().flatten();
        let keys = keys.chain(self.signals.iter().flatten().map(|signal| &signal.key));
        keys.filter_map(Key::customer).any(|customer| customers.contains(customer))
    }

    /// Takes the names of these customers out.
    pub(super) fn forget(&mut self, customers: &HashSet<&str>) {
        let is_theirs = |key: &Key| key.customer().is_some_and(|customer| customers.contains(customer));
        for key in &mut self.keys {
            key.take_if(|key| is_theirs(key));
        }
        for signal in &mut self.signals {
            signal.take_if(|signal| is_theirs(&signal.key));
        }
    }
}
