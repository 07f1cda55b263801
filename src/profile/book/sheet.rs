//! Rows that are to be written. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::OnceLock;

use indexmap::IndexMap;

use super::super::storage::{Table, Write};

/// Rows of tables, those without a value to remove.
#[derive(Debug, Default)]
pub(super) struct Sheet(BTreeMap<Table, Rows>);

impl Sheet {
    pub(super) fn put(&mut self, table: Table, row: Vec<u8>, value: Option<Vec<u8>>) {
        self.0.entry(table).or_default().put(row, value);
    }

    /// Whether nothing is written.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rows of a table, if there are any.
    pub(super) fn of(&self, table: Table) -> Option<&Rows> {
        self.0.get(&table)
    }

    /// All of them, table by table in their order.
    pub(super) fn writes(&self) -> Vec<Write<'_>> {
        let rows =
            self.0.iter().flat_map(|(table, rows)| rows.sorted().map(|(row, value)| (*table, row, value)));
        rows.collect()
    }
}

/// Rows of a table.
///
/// Most are put and found by their names: they are in order only once somebody asks for that, and stay so.
#[derive(Debug, Default)]
pub(super) struct Rows {
    values: IndexMap<Vec<u8>, Option<Vec<u8>>>,
    /// The place of each row among the values. A commit may put and scan by turns: to sort all of it each time takes the square.
    order: OnceLock<BTreeMap<Vec<u8>, usize>>,
}

impl Rows {
    fn put(&mut self, row: Vec<u8>, value: Option<Vec<u8>>) {
        let name = self.order.get().map(|_| row.clone());
        let (at, before) = self.values.insert_full(row, value);
        if let (None, Some(order), Some(name)) = (before, self.order.get_mut(), name) {
            order.insert(name, at);
        }
    }

    /// What is written of a row, if anything is: nothing in it removes it.
    pub(super) fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.values.get(row).map(Option::as_deref)
    }

    /// Those from the first to before the second.
    pub(super) fn range(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        // A range that ends before it begins is an error there.
        let bounds = (from < to).then_some((Bound::Included(from), Bound::Excluded(to)));
        let range = bounds.map(|bounds| self.order().range::<[u8], _>(bounds));
        range.into_iter().flatten().filter_map(|(_, at)| self.row(*at))
    }

    fn sorted(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rows: Vec<_> = (0..self.values.len()).filter_map(|at| self.row(at)).collect();
        rows.sort_unstable_by_key(|(row, _)| *row);
        rows.into_iter()
    }

    fn order(&self) -> &BTreeMap<Vec<u8>, usize> {
        self.order.get_or_init(|| (0..).zip(self.values.keys()).map(|(at, row)| (row.clone(), at)).collect())
    }

    fn row(&self, at: usize) -> Option<(&[u8], Option<&[u8]>)> {
        self.values.get_index(at).map(|(row, value)| (row.as_slice(), value.as_deref()))
    }
}
