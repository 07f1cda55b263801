//! The last changes, in memory for those who watch. Pure.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::change::Change;

/// Most changes.
const CHANGES: usize = 4096;

/// Most keys, signals and erasures in all of them: one change may have thousands.
const PARTS: usize = 1 << 17;

/// The last changes without a gap, the oldest first. The newest is there whatever its size.
#[derive(Debug, Default)]
pub(super) struct Recent {
    changes: VecDeque<Arc<Change>>,
    parts: usize,
}

impl Recent {
    /// Adds the next change. Whom it forgot is not named by earlier ones any more.
    pub(super) fn push(&mut self, change: Arc<Change>) {
        let erased: HashSet<&str> = change.erased.iter().filter_map(|one| one.customer.as_deref()).collect();
        if !erased.is_empty() {
            for earlier in self.changes.iter_mut().filter(|earlier| earlier.names_any(&erased)) {
                Arc::make_mut(earlier).forget(&erased);
            }
        }
        self.parts += change.parts();
        self.changes.push_back(change);
        while self.changes.len() > 1 && (self.changes.len() > CHANGES || self.parts > PARTS) {
            self.parts -= self.changes.pop_front().map_or(0, |first| first.parts());
        }
    }

    /// The sequence of the oldest.
    pub(super) fn first(&self) -> Option<u64> {
        self.changes.front().map(|change| change.sequence)
    }

    /// At most so many changes after a sequence; nothing if some of them are not here any more.
    pub(super) fn after(&self, sequence: u64, most: usize) -> Option<Vec<Arc<Change>>> {
        self.first().filter(|first| *first <= sequence + 1)?;
        let behind = self.changes.iter().rev().take_while(|change| change.sequence > sequence).count();
        Some(self.changes.iter().skip(self.changes.len() - behind).take(most).cloned().collect())
    }
}

#[cfg(test)]
mod tests;
