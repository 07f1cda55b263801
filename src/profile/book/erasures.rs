//! That customers were erased: noted without their names, and done again in a store that came out of a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::super::event::Key;
use super::super::rows::{Audit, Hash, decode, encode, erasure_time, everything, ordered, owner, time};
use super::super::storage::{Order, OwnWrite, Row, Storage, StorageError, Table, borrowed};
use super::{Book, Command};

/// That a customer was erased, without saying who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// When.
    pub time: Timestamp,
    /// The customer's name as a salted hash: the salt is in the store, so that only it can say whose.
    pub subject: Hash,
    /// How many events went.
    pub events: u64,
    /// Whether brands lost them as well.
    pub from_brands: bool,
    /// Events of the customer up to this moment are refused: that of the erasure, or of the latest event that went.
    pub through: Timestamp,
}

impl Erasure {
    fn row(&self) -> Vec<u8> {
        [ordered(self.time.as_millisecond()).as_slice(), &self.subject].concat()
    }
}

impl<S: Storage> Book<S> {
    /// At most so many of the erasures that are noted, after one of them, the oldest first; of one customer, if one is named.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn erasures(
        &self,
        after: Option<&Erasure>,
        customer: Option<&str>,
        most: usize,
    ) -> Result<Vec<Erasure>, StorageError> {
        let (mut from, to) = everything();
        if let Some(after) = after {
            from = [after.row().as_slice(), &[0]].concat();
        }
        let erasure = |(row, value): Row| {
            let damaged = || StorageError::Row { table: Table::Audit };
            let when = erasure_time(&row).ok_or_else(damaged)?;
            let subject = *row.last_chunk().ok_or_else(damaged)?;
            let Audit { events, from_brands, through } = Audit::decode(&value, when.as_millisecond())?;
            Ok(Erasure { time: when, subject, events, from_brands, through: time(through) })
        };
        let wanted = customer.map(|customer| self.hash(customer));
        let read = if wanted.is_some() { usize::MAX } else { most };
        let rows = self.storage.scan(Table::Audit, &from, &to, Order::Ascending, read)?;
        let of = |found: &Result<Erasure, _>| match found {
            Ok(found) => wanted.is_none_or(|wanted| wanted == found.subject),
            Err(_) => true,
        };
        rows.into_iter().map(erasure).filter(of).take(most).collect()
    }

    /// Up to when events of a customer are refused, in milliseconds; nothing if they were not erased.
    fn refused_through(&self, subject: &Hash) -> Result<Option<i64>, StorageError> {
        let found = self.storage.get(Table::Erased, subject)?;
        found.map(|bytes| decode(Table::Erased, &bytes)).transpose()
    }

    /// Erases again whom this store does not know to be erased, since it came out of a backup that is older. How many of
    /// them it had. Those who came back meanwhile are not in it; nothing may change it at the same time.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written.
    pub fn erase_again(&self, erasures: &[Erasure]) -> Result<usize, StorageError> {
        let mut missing: BTreeMap<Hash, &Erasure> = BTreeMap::new();
        let mut reach: BTreeMap<Hash, Timestamp> = BTreeMap::new();
        for erasure in erasures {
            let through = reach.entry(erasure.subject).or_insert(erasure.through);
            *through = erasure.through.max(*through);
            if self.storage.get(Table::Audit, &erasure.row())?.is_none() {
                // The last of several stands for all.
                let last = missing.entry(erasure.subject).or_insert(erasure);
                *last = if last.time < erasure.time { erasure } else { *last };
            }
        }
        let mut found: BTreeSet<(Timestamp, String, bool)> = BTreeSet::new();
        let mut last = None;
        self.storage.snapshot(&mut |table, row, _| {
            // Of whom no event is kept any more there is still a profile.
            if matches!(table, Table::Events | Table::Profiles)
                && let Some(Key::Customer(customer)) = owner(row).filter(|owner| last.as_ref() != Some(owner))
            {
                if let Some(erasure) = missing.get(&self.hash(&customer)) {
                    found.insert((erasure.time, customer.clone(), erasure.from_brands));
                }
                last = Some(Key::Customer(customer));
            }
            ControlFlow::Continue(())
        })?;
        for (time, customer, from_brands) in &found {
            let erase = Command::Erase { customer: customer.clone(), from_brands: *from_brands };
            self.apply(&[erase], *time)?;
        }
        // What is noted is what was noted then.
        let mut writes: Vec<OwnWrite> = Vec::new();
        for erasure in erasures {
            let Erasure { events, from_brands, through, .. } = *erasure;
            let audit = Audit { events, from_brands, through: through.as_millisecond() };
            writes.push((Table::Audit, erasure.row(), Some(encode(&audit))));
        }
        for (subject, through) in reach {
            let through = through.as_millisecond().max(self.refused_through(&subject)?.unwrap_or(i64::MIN));
            writes.push((Table::Erased, subject.to_vec(), Some(encode(&through))));
        }
        self.storage.commit(&borrowed(&writes))?;
        Ok(found.len())
    }
}
