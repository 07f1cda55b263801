//! What is to be cleared away. Pure but for the storage.

use jiff::{SignedDuration, Timestamp};

use super::super::event::Key;
use super::super::rows::{Audit, Entry, Felt, Kept, decode, erasure_time, event_time, everything, sequence};
use super::super::signals::Case;
use super::super::storage::{Order, Storage, StorageError, Table};
use super::{Book, Overdue, UNSCRUBBED, weigh};

impl<S: Storage> Book<S> {
    /// The mark at which something was last forgotten whose bytes may still be on the medium; nothing if they are not.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn unscrubbed(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.storage.get(Table::Meta, UNSCRUBBED)?.as_deref().and_then(sequence))
    }

    /// Up to which sequence changes need not be known any more: older than so long or further back than so many, and said by
    /// every sink.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn spent(
        &self,
        age: SignedDuration,
        count: u64,
        most: usize,
        now: Timestamp,
    ) -> Result<u64, StorageError> {
        let (trimmed, last) = (self.trimmed(), self.sequence());
        let mut said = last;
        for (_, bytes) in self.all(Table::Cursors, &everything())? {
            said = said.min(sequence(&bytes).unwrap_or(0));
        }
        let far = last.saturating_sub(count);
        // Each customer whom a change names is a row more.
        let mut names = 0;
        let old = self.changes(trimmed, most)?.into_iter().take_while(|change| {
            let is_first = names == 0;
            names += change.keys.len();
            (is_first || names <= most) && (change.sequence <= far || now.duration_since(change.time()) > age)
        });
        Ok(old.last().map_or(trimmed, |change| change.sequence).min(said))
    }

    /// The keys after a row whose raised signals are over because time passed, of so many that have some; and the row to go on
    /// from, if there are more.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn over(
        &self,
        after: &[u8],
        most: usize,
        now: Timestamp,
    ) -> Result<(Vec<Key>, Option<Vec<u8>>), StorageError> {
        let (_, to) = everything();
        let from = [after, &[0]].concat();
        let rows = self.storage.scan(Table::Raised, &from, &to, Order::Ascending, most)?;
        let next = (rows.len() == most).then(|| rows.last().map(|(row, _)| row.clone())).flatten();
        let mut over = Vec::new();
        for (row, _) in rows {
            let name = String::from_utf8(row).ok();
            let key =
                name.as_deref().and_then(Key::parse).ok_or(StorageError::Row { table: Table::Raised })?;
            let kept = self.kept(&key)?;
            let tail = self.tail(&key, &kept, now)?;
            let case =
                Case { key: &key, state: &kept.state, negative: false, silent: true, tail: &tail, now };
            if !self.terms.rules.judge(&case, &mut kept.alarms.clone()).is_empty() {
                over.push(key);
            }
        }
        Ok((over, next))
    }

    /// What is older than is kept among some rows of a table after a row, and the last of these rows, if there are more.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn overdue(
        &self,
        table: Table,
        after: &[u8],
        most: usize,
        now: Timestamp,
    ) -> Result<(Vec<Overdue>, Option<Vec<u8>>), StorageError> {
        let (_, to) = everything();
        let rows = self.storage.scan(table, &[after, &[0]].concat(), &to, Order::Ascending, most)?;
        let next = (rows.len() == most).then(|| rows.last().map(|(row, _)| row.clone())).flatten();
        let mut found = Vec::new();
        for (row, value) in rows {
            found.extend(self.is_overdue(table, row, &value, now)?);
        }
        Ok((found, next))
    }

    fn is_overdue(
        &self,
        table: Table,
        row: Vec<u8>,
        value: &[u8],
        now: Timestamp,
    ) -> Result<Option<Overdue>, StorageError> {
        let horizon = self.horizon(now);
        let old = |millis: i64| millis < horizon;
        let name = |row| String::from_utf8(row).map_err(|_| StorageError::Row { table });
        Ok(match table {
            Table::Ledger => {
                let entry: Entry = decode(table, value)?;
                if old(entry.millis) { Some(Overdue::Event(name(row)?)) } else { None }
            }
            Table::Profiles => {
                let key = Key::parse(&name(row)?).ok_or(StorageError::Row { table })?;
                let mut kept = Kept::clone(&*self.kept(&key)?);
                let before = weigh(&kept.state);
                kept.state.prune(now);
                (weigh(&kept.state) != before).then_some(Overdue::Tiles(key))
            }
            Table::Audit => {
                let millis = erasure_time(&row).ok_or(StorageError::Row { table })?.as_millisecond();
                let Audit { through, was_known, .. } = Audit::decode(value, millis)?;
                (!was_known && old(through)).then_some(Overdue::Audit(row))
            }
            Table::Erased => old(decode(table, value)?).then_some(Overdue::Tombstone(row)),
            Table::Events => {
                let time = event_time(&row).ok_or(StorageError::Row { table })?;
                let of_brand = || Ok(decode::<Felt>(table, value)?.own.is_none());
                (old(time.as_millisecond()) && of_brand()?).then_some(Overdue::Nobodys(row))
            }
            Table::Meta
            | Table::Tiles
            | Table::Changes
            | Table::Cursors
            | Table::Notices
            | Table::Raised
            | Table::Mentions
            | Table::Subjects => None,
        })
    }
}
