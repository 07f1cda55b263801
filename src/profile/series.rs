//! Tiles of one resolution in their order. Pure.

use serde::{Deserialize, Serialize};

/// Tiles by their numbers, the oldest first; one that holds nothing is none.
///
/// A sorted list: there are at most some ninety, mostly one or two, and what comes belongs to the last of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series<T>(Vec<(i64, T)>);

impl<T: Default + PartialEq> Series<T> {
    fn place(&self, tile: i64) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if *last < tile => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&tile, |(number, _)| *number),
        }
    }

    /// Changes a tile.
    pub fn change(&mut self, tile: i64, change: impl FnOnce(&mut T)) {
        let place = self.place(tile).unwrap_or_else(|place| {
            self.0.insert(place, (tile, T::default()));
            place
        });
        if let Some((_, value)) = self.0.get_mut(place) {
            change(value);
            if *value == T::default() {
                self.0.remove(place);
            }
        }
    }

    /// Puts a tile there.
    pub fn put(&mut self, tile: i64, value: T) {
        self.change(tile, |old| *old = value);
    }

    /// A tile.
    pub fn get(&self, tile: i64) -> Option<&T> {
        let (_, value) = self.0.get(self.place(tile).ok()?)?;
        Some(value)
    }

    /// A tile and those after it.
    pub fn since(&self, tile: i64) -> &[(i64, T)] {
        let place = self.place(tile).unwrap_or_else(|place| place);
        self.0.get(place..).unwrap_or_default()
    }

    /// Forgets those before a tile.
    pub fn forget_before(&mut self, tile: i64) {
        if self.0.first().is_some_and(|(first, _)| *first < tile) {
            self.0.retain(|(number, _)| *number >= tile);
        }
    }

    /// What tells these from others: tiles that are not there or not the same, and those that are there alone, as nothing.
    pub fn differences<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = (i64, Option<&'a T>)> {
        let (mut own, mut other) = (self.0.iter().peekable(), others.0.iter().peekable());
        std::iter::from_fn(move || {
            loop {
                match (own.peek(), other.peek()) {
                    (Some((tile, value)), Some((old, before))) if tile == old => {
                        let found = (value != before).then_some((*tile, Some(value)));
                        own.next();
                        other.next();
                        if found.is_some() {
                            return found;
                        }
                    }
                    (Some((tile, _)), Some((old, _))) if old < tile => {
                        return other.next().map(|(old, _)| (*old, None));
                    }
                    (Some(_), _) => return own.next().map(|(tile, value)| (*tile, Some(value))),
                    (None, _) => return other.next().map(|(old, _)| (*old, None)),
                }
            }
        })
    }

    /// All.
    pub fn all(&self) -> &[(i64, T)] {
        &self.0
    }
}
