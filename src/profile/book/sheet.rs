//! Rows that are to be written. Pure.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use indexmap::IndexMap;

use super::super::storage::{Table, Write};

/// Rows of tables, those without a value to remove.
#[derive(Debug, Default)]
pub(super) struct Sheet(BTreeMap<Table, Rows>);

impl Sheet {
    pub(super) fn put(&mut self, table: Table, row: Vec<u8>, value: Option<Vec<u8>>) {
        let rows = self.0.entry(table).or_default();
        rows.order.take();
        rows.values.insert(row, value);
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
/// Most are put and found by their names: they are in order only once somebody asks for that.
#[derive(Debug, Default)]
pub(super) struct Rows {
    values: IndexMap<Vec<u8>, Option<Vec<u8>>>,
    order: OnceLock<Vec<usize>>,
}

impl Rows {
    /// What is written of a row, if anything is: nothing in it removes it.
    pub(super) fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.values.get(row).map(Option::as_deref)
    }

    /// Those from the first to before the second.
    pub(super) fn range(&self, from: &[u8], to: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let place =
            |edge: &[u8]| self.order().partition_point(|at| self.row(*at).is_some_and(|(row, _)| row < edge));
        let range = self.order().get(place(from)..place(to)).unwrap_or_default();
        range.iter().filter_map(|at| self.row(*at))
    }

    fn sorted(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.order().iter().filter_map(|at| self.row(*at))
    }

    fn row(&self, at: usize) -> Option<(&[u8], Option<&[u8]>)> {
        self.values.get_index(at).map(|(row, value)| (row.as_slice(), value.as_deref()))
    }

    fn order(&self) -> &[usize] {
        self.order.get_or_init(|| {
            let mut order: Vec<usize> = (0..self.values.len()).collect();
            order.sort_unstable_by_key(|at| self.row(*at));
            order
        })
    }
}
