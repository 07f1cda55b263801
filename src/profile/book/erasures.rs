//! That customers were erased: noted without their names, and done again in a store that came out of a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::super::clock::Moment;
use super::super::event::Key;
use super::super::rows::{
    Audit, Hash, audit_row, decode, encode, erasure_time, everything, owner, subject_millis, subject_row,
    subject_span, time,
};
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
        audit_row(&self.subject, self.time.as_millisecond())
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
        let erasure = |(row, value): Row| {
            let damaged = || StorageError::Row { table: Table::Audit };
            let when = erasure_time(&row).ok_or_else(damaged)?;
            let subject = *row.last_chunk().ok_or_else(damaged)?;
            let Audit { events, from_brands, through, .. } = Audit::decode(&value, when.as_millisecond())?;
            Ok(Erasure { time: when, subject, events, from_brands, through: time(through) })
        };
        let Some(customer) = customer else {
            let (mut from, to) = everything();
            if let Some(after) = after {
                from = [after.row().as_slice(), &[0]].concat();
            }
            let rows = self.storage.scan(Table::Audit, &from, &to, Order::Ascending, most)?;
            return rows.into_iter().map(erasure).collect();
        };
        let subject = self.hash(customer);
        let (mut from, to) = subject_span(&subject);
        if let Some(after) = after {
            from = [subject_row(&subject, after.time.as_millisecond()).as_slice(), &[0]].concat();
        }
        let mut found = Vec::new();
        for (row, _) in self.storage.scan(Table::Subjects, &from, &to, Order::Ascending, most)? {
            let millis = subject_millis(&row).ok_or(StorageError::Row { table: Table::Subjects })?;
            let row = audit_row(&subject, millis);
            // It may have been cleared away meanwhile.
            if let Some(value) = self.storage.get(Table::Audit, &row)? {
                found.push(erasure((row, value))?);
            }
        }
        Ok(found)
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
        // Brands lose what was there at any erasure that took it from them.
        let mut from_brands: BTreeSet<Hash> = BTreeSet::new();
        for erasure in erasures {
            let through = reach.entry(erasure.subject).or_insert(erasure.through);
            *through = erasure.through.max(*through);
            if self.storage.get(Table::Audit, &erasure.row())?.is_none() {
                if erasure.from_brands {
                    from_brands.insert(erasure.subject);
                }
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
                let subject = self.hash(&customer);
                if let Some(erasure) = missing.get(&subject) {
                    found.insert((erasure.time, customer.clone(), from_brands.contains(&subject)));
                }
                last = Some(Key::Customer(customer));
            }
            ControlFlow::Continue(())
        })?;
        for (time, customer, from_brands) in &found {
            let erase = Command::Erase { customer: customer.clone(), from_brands: *from_brands };
            self.apply(&[erase], Moment::of_report(*time))?;
        }
        // What is noted is what was noted then.
        let mut writes: Vec<OwnWrite> = Vec::new();
        for erasure in erasures {
            let Erasure { events, from_brands, through, .. } = *erasure;
            // The report does not say whether anything was known of them. It stays, as proof.
            let audit = Audit { events, from_brands, through: through.as_millisecond(), was_known: true };
            let subject = subject_row(&erasure.subject, erasure.time.as_millisecond());
            writes.push((Table::Audit, erasure.row(), Some(encode(&audit))));
            writes.push((Table::Subjects, subject, Some(Vec::new())));
        }
        for (subject, through) in reach {
            let through = through.as_millisecond().max(self.refused_through(&subject)?.unwrap_or(i64::MIN));
            writes.push((Table::Erased, subject.to_vec(), Some(encode(&through))));
        }
        self.storage.commit(&borrowed(&writes))?;
        Ok(found.len())
    }
}
