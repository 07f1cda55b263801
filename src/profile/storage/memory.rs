//! Rows in memory, for tests; a disk that fails when it is told to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use super::{Order, Row, See, Storage, StorageError, Table, Write};

type Tables = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) rows: Mutex<Tables>,
    /// Whether the disk is full.
    pub(crate) full: AtomicBool,
    /// Rows that were found by scans.
    pub(crate) scanned: AtomicUsize,
    /// Whether a commit panics.
    pub(crate) panics: AtomicBool,
    /// Whether looking whether it takes writes panics.
    pub(crate) check_panics: AtomicBool,
    /// How often that was looked at.
    pub(crate) checks: AtomicUsize,
    /// Every so many commits one is refused.
    pub(crate) refuses_each: Mutex<Option<usize>>,
    /// Commits that were asked for.
    pub(crate) commits: AtomicUsize,
    /// The next commit of a change meets it twice once its rows are there: before and after what a test does then.
    pub(crate) meets: Mutex<Option<Arc<Barrier>>>,
    /// After so many commits the disk is full.
    pub(crate) commits_left: Mutex<Option<usize>>,
}

impl Storage for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.rows.lock().expect("whole").get(&(table, key.to_vec())).cloned())
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        most: usize,
    ) -> Result<Vec<Row>, StorageError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.lock().expect("whole");
        let range = rows.range((table, from.to_vec())..(table, to.to_vec()));
        let row = |((_, key), value): (&(Table, Vec<u8>), &Vec<u8>)| (key.clone(), value.clone());
        let found: Vec<Row> = match order {
            Order::Ascending => range.take(most).map(row).collect(),
            Order::Descending => range.rev().take(most).map(row).collect(),
        };
        self.scanned.fetch_add(found.len(), Ordering::Relaxed);
        Ok(found)
    }

    fn commit(&self, writes: &[Write<'_>]) -> Result<(), StorageError> {
        assert!(!self.panics.load(Ordering::Relaxed), "the storage panics");
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let each = *self.refuses_each.lock().expect("whole");
        let is_refused = each.is_some_and(|each| number.is_multiple_of(each));
        let mut left = self.commits_left.lock().expect("whole");
        if is_refused || self.full.load(Ordering::Relaxed) || *left == Some(0) {
            let cause = Box::from("no space is left");
            return Err(StorageError::Io { folder: PathBuf::from("memory"), cause });
        }
        *left = left.map(|left| left - 1);
        let mut rows = self.rows.lock().expect("whole");
        for (table, key, value) in writes {
            match value {
                Some(value) => rows.insert((*table, key.to_vec()), value.to_vec()),
                None => rows.remove(&(*table, key.to_vec())),
            };
        }
        drop(rows);
        if writes.iter().any(|(table, ..)| *table == Table::Changes)
            && let Some(meets) = self.meets.lock().expect("whole").take()
        {
            meets.wait();
            meets.wait();
        }
        Ok(())
    }

    fn snapshot(&self, see: &mut See<'_>) -> Result<(), StorageError> {
        let rows = self.rows.lock().expect("whole").clone();
        rows.iter().any(|((table, row), value)| see(*table, row, value).is_break());
        Ok(())
    }

    fn check(&self) -> Result<(), StorageError> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        assert!(!self.check_panics.load(Ordering::Relaxed), "the storage panics");
        Ok(())
    }

    fn scrub(&self) -> Result<bool, StorageError> {
        Ok(true)
    }
}
