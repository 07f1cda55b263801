//! Erasures under a clock that is ahead and distrusted.
//!
//! It is not known then whether an erasure was made at the store's time or at the system's. Its tombstone reaches to the store's time at
//! once. The system's time is noted beside it and decides nothing until the clock is trusted again:
//!
//! - until then, events of the customer between the two times are in doubt, and their senders send them again;
//! - if the store's time has come up to what the system said, the tombstone reaches so far;
//! - if not, the system's time was wrong, and the note is dropped: a clock that was years ahead refuses nobody for years.
//!
//! Where a doubt lasted longer than the clock was ahead, both look the same: the events are then refused.

use super::super::rows::{Audit, Hash, audit_row, decode, encode, time};
use super::super::storage::{Order, Storage, StorageError, Table};
use super::DOUBT;
use super::page::Page;

/// The time of an erasure by the store, and by the system.
type Doubt = (i64, i64);

/// One for each time of the system: a customer may be erased again before it is known which of them was right.
fn row(subject: &Hash, wall: i64) -> Vec<u8> {
    [DOUBT, subject, &wall.to_be_bytes()].concat()
}

/// Where all rows stand that begin so.
fn rows(start: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let from = [DOUBT, start].concat();
    let to = [&from, [0xFF; size_of::<Hash>() + size_of::<i64>() + 1].as_slice()].concat();
    (from, to)
}

impl<S: Storage> Page<'_, S> {
    /// Notes the system's time with an erasure, if it is ahead and distrusted.
    pub(super) fn note_doubt(&mut self, subject: &Hash) {
        if let Some(wall) = self.doubtful {
            let doubt: Doubt = (self.now.as_millisecond(), wall.as_millisecond());
            self.put(Table::Meta, row(subject, doubt.1), Some(encode(&doubt)));
        }
    }

    /// Whether an event of a customer may have happened before their erasure, which nobody can tell yet.
    pub(super) fn is_erased_in_doubt(&self, subject: &Hash, millis: i64) -> Result<bool, StorageError> {
        let (from, to) = rows(subject);
        let latest = self.scan(Table::Meta, &from, &to, Order::Descending, 1)?.pop();
        let doubt = latest.map(|(_, value)| decode::<Doubt>(Table::Meta, &value)).transpose()?;
        Ok(doubt.is_some_and(|(_, wall)| millis <= wall))
    }

    /// Decides how far such erasures reach, once the clock is trusted.
    pub(super) fn settle_doubts(&mut self) -> Result<(), StorageError> {
        if !self.is_trusted {
            return Ok(());
        }
        let (from, to) = rows(&[]);
        for (row, value) in self.scan(Table::Meta, &from, &to, Order::Ascending, usize::MAX)? {
            let subject = row.get(DOUBT.len()..).and_then(|rest| rest.first_chunk::<{ size_of::<Hash>() }>());
            let subject: Hash = *subject.ok_or(StorageError::Row { table: Table::Meta })?;
            let (at, wall) = decode::<Doubt>(Table::Meta, &value)?;
            if time(wall) <= self.now {
                self.reach(&subject, at, wall)?;
            }
            self.put(Table::Meta, row, None);
        }
        Ok(())
    }

    /// Has an erasure reach up to a time, in the tombstone and in the report.
    fn reach(&mut self, subject: &Hash, at: i64, through: i64) -> Result<(), StorageError> {
        let before = self.refused_through(subject)?.unwrap_or(i64::MIN);
        self.put(Table::Erased, subject.to_vec(), Some(encode(&before.max(through))));
        let row = audit_row(subject, at);
        if let Some(bytes) = self.get(Table::Audit, &row)? {
            let mut audit = Audit::decode(&bytes, at)?;
            audit.through = audit.through.max(through);
            self.put(Table::Audit, row, Some(encode(&audit)));
        }
        Ok(())
    }
}
