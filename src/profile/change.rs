//! What a commit changed: which keys, which signals, who was forgotten. Pure.

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
    /// The keys whose features are not what they were. Of those who were erased since there are none.
    pub keys: Vec<Key>,
    /// What was raised or cleared.
    pub signals: Vec<Signal>,
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

    /// Takes a customer's name out; whether it was there.
    pub(super) fn forget(&mut self, customer: &str) -> bool {
        let (keys, signals) = (self.keys.len(), self.signals.len());
        self.keys.retain(|key| key.customer() != Some(customer));
        self.signals.retain(|signal| signal.key.customer() != Some(customer));
        (keys, signals) != (self.keys.len(), self.signals.len())
    }
}
