//! What a commit changed: which keys, which signals, who was forgotten. Pure.

use std::collections::BTreeSet;

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

    /// Takes a customer's name out; whether it was there.
    pub(super) fn forget(&mut self, customer: &str) -> bool {
        let mut found = false;
        for key in &mut self.keys {
            if key.as_ref().and_then(Key::customer) == Some(customer) {
                (*key, found) = (None, true);
            }
        }
        for signal in &mut self.signals {
            if signal.as_ref().and_then(|signal| signal.key.customer()) == Some(customer) {
                (*signal, found) = (None, true);
            }
        }
        found
    }
}
