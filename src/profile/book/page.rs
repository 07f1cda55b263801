//! What is being written, over what is. Pure but for the storage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::super::change::{Change, Erased};
use super::super::event::{Event, Key};
use super::super::features::State;
use super::super::rows::{
    Entry, Erasure, Felt, Kept, Own, decode, encode, event_row, everything, hash, ordered, prefix, sequence,
    span, tile_row, time,
};
use super::super::signals::{Case, Signal};
use super::super::storage::{Order, Row, Storage, StorageError, Table, Write};
use super::super::tiles::{Resolution, Sign};
use super::{Book, Command, Outcome, Overdue, SEQUENCE, TRIMMED, UNSCRUBBED, newest};
use crate::model::Label;

/// A key as it was and as it will be.
#[derive(Debug)]
struct Loaded {
    was: Arc<Kept>,
    is: Kept,
    /// Whether a negative event came.
    negative: bool,
}

#[derive(Debug)]
pub(super) struct Page<'a, S> {
    book: &'a Book<S>,
    now: Timestamp,
    writes: BTreeMap<Table, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    keys: BTreeMap<Key, Loaded>,
    changed: BTreeSet<Key>,
    erased: Vec<String>,
    trimmed: Option<u64>,
}

impl<'a, S: Storage> Page<'a, S> {
    pub(super) fn new(book: &'a Book<S>, now: Timestamp) -> Self {
        let (writes, keys, changed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { book, now, writes, keys, changed, erased: Vec::new(), trimmed: None }
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        match self.writes.get(&table).and_then(|rows| rows.get(key)) {
            Some(written) => Ok(written.clone()),
            None => self.book.storage.get(table, key),
        }
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.entry(table).or_default().insert(key, value);
    }

    /// Rows as they will be, in their order; of those that are, at most so many.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        most: usize,
    ) -> Result<Vec<Row>, StorageError> {
        let mut rows = self.book.storage.scan(table, from, to, order, most)?;
        let Some(writes) = self.writes.get(&table) else { return Ok(rows) };
        // Of what is written, what lies among these rows; all of it if they are the last.
        let edge = rows.last().filter(|_| rows.len() == most).map(|(row, _)| row.clone());
        let written =
            writes.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        let among = |row: &Vec<u8>| match (&edge, order) {
            (None, _) => true,
            (Some(edge), Order::Ascending) => row <= edge,
            (Some(edge), Order::Descending) => row >= edge,
        };
        let written: Vec<_> = written.filter(|(row, _)| among(row)).collect();
        if written.is_empty() {
            return Ok(rows);
        }
        let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.drain(..).collect();
        for (row, value) in written {
            match value {
                Some(value) => merged.insert(row.clone(), value.clone()),
                None => merged.remove(row),
            };
        }
        let merged = merged.into_iter();
        Ok(match order {
            Order::Ascending => merged.collect(),
            Order::Descending => merged.rev().collect(),
        })
    }

    fn all(&self, table: Table, (from, to): &(Vec<u8>, Vec<u8>)) -> Result<Vec<Row>, StorageError> {
        self.scan(table, from, to, Order::Ascending, usize::MAX)
    }

    fn key(&mut self, key: &Key) -> Result<&mut Loaded, StorageError> {
        if !self.keys.contains_key(key) {
            let was = self.book.kept(key)?;
            let is = Kept::clone(&was);
            self.keys.insert(key.clone(), Loaded { was, is, negative: false });
        }
        self.keys.get_mut(key).ok_or(StorageError::Row { table: Table::Profiles })
    }

    pub(super) fn apply(&mut self, command: &Command) -> Result<Outcome, StorageError> {
        match command {
            Command::Record { event, content, replaces } => self.record(event, content, replaces.as_deref()),
            Command::Retract(id) => self.retract(id),
            Command::Erase { customer, from_brands } => self.erase(customer, *from_brands),
            Command::Expire(overdue) => self.expire(overdue),
            Command::Trim(through) => self.trim(*through),
            Command::Scrubbed(sequence) => self.scrubbed(*sequence),
            Command::Sinks(names) => self.sinks(names),
            Command::Delivered { sink, through } => self.delivered(sink, *through),
        }
    }

    fn entry(&self, id: &str) -> Result<Option<Entry>, StorageError> {
        self.get(Table::Ledger, id.as_bytes())?.map(|bytes| decode(Table::Ledger, &bytes)).transpose()
    }

    fn record(
        &mut self,
        event: &Event,
        content: &[u8],
        replaces: Option<&str>,
    ) -> Result<Outcome, StorageError> {
        let content = hash(&self.book.salt, &[content, replaces.unwrap_or_default().as_bytes()]);
        if let Some(entry) = self.entry(&event.id)? {
            return Ok(if entry.content == content { Outcome::Duplicate } else { Outcome::Conflict });
        }
        let millis = event.contribution.time.as_millisecond();
        let age = self.now.duration_since(time(millis));
        if age > self.book.terms.retention {
            return Ok(Outcome::TooOld);
        }
        if -age > self.book.terms.skew {
            return Ok(Outcome::TooNew);
        }
        if let Some(customer) = &event.customer
            && let Some(erased) = self.get(Table::Erased, &self.book.hash(customer))?
            && millis <= decode::<i64>(Table::Erased, &erased)?
        {
            return Ok(Outcome::Erased);
        }
        if let Some(old) = replaces
            && self.retract(old)? == Outcome::NotFound
        {
            return Ok(Outcome::NotFound);
        }
        let entry = Entry {
            millis,
            label: event.contribution.label,
            score: event.contribution.score,
            channel: event.contribution.channel,
            customer: event.customer.clone(),
            brands: event.brands.clone(),
            content,
            retracted: false,
        };
        self.fold(Sign::Plus, &entry, &event.keys())?;
        self.note(&event.id, &entry, false);
        self.put(Table::Ledger, event.id.clone().into_bytes(), Some(encode(&entry)));
        Ok(Outcome::Recorded)
    }

    fn retract(&mut self, id: &str) -> Result<Outcome, StorageError> {
        let Some(entry) = self.entry(id)? else { return Ok(Outcome::NotFound) };
        if entry.retracted {
            return Ok(Outcome::AlreadyRetracted);
        }
        let (customer, brands) = (entry.customer.clone(), entry.brands.clone());
        let event = Event { id: id.to_owned(), customer, brands, contribution: entry.contribution() };
        self.fold(Sign::Minus, &entry, &event.keys())?;
        self.note(id, &entry, true);
        self.put(Table::Ledger, id.as_bytes().to_vec(), Some(encode(&Entry { retracted: true, ..entry })));
        Ok(Outcome::Retracted)
    }

    /// Adds an event to keys or takes it back from them.
    fn fold(&mut self, sign: Sign, entry: &Entry, keys: &[Key]) -> Result<(), StorageError> {
        let (event, now) = (entry.contribution(), self.now);
        for key in keys {
            let loaded = self.key(key)?;
            loaded.is.state.fold(sign, &event, now);
            loaded.negative |= sign == Sign::Plus && event.label == Label::Negative;
            self.changed.insert(key.clone());
        }
        Ok(())
    }

    /// Notes an event among those of its customer and brands. Of a customer one that was taken back stays, so that erasing
    /// finds it.
    fn note(&mut self, id: &str, entry: &Entry, retracted: bool) {
        let hash = self.book.hash(id);
        let felt = Felt { label: entry.label, score: entry.score, channel: entry.channel, own: None };
        for brand in &entry.brands {
            let row = event_row(&Key::Brand(brand.clone()), entry.millis, &hash);
            self.put(Table::Events, row, (!retracted).then(|| encode(&felt)));
        }
        if let Some(customer) = &entry.customer {
            let row = event_row(&Key::Customer(customer.clone()), entry.millis, &hash);
            let own = Own { id: id.to_owned(), brands: entry.brands.clone(), retracted };
            self.put(Table::Events, row, Some(encode(&Felt { own: Some(own), ..felt })));
        }
    }

    fn erase(&mut self, customer: &str, from_brands: bool) -> Result<Outcome, StorageError> {
        let key = Key::Customer(customer.to_owned());
        let mut count = 0;
        for (row, value) in self.all(Table::Events, &span(&key))? {
            let felt: Felt = decode(Table::Events, &value)?;
            let event = super::contribution(&row, &felt)?;
            if let Some(own) = felt.own {
                if from_brands && !own.retracted {
                    for brand in own.brands {
                        let (brand, now) = (Key::Brand(brand), self.now);
                        self.key(&brand)?.is.state.fold(Sign::Minus, &event, now);
                        let row = event_row(&brand, event.time.as_millisecond(), &self.book.hash(&own.id));
                        self.put(Table::Events, row, None);
                        self.changed.insert(brand);
                    }
                }
                self.put(Table::Ledger, own.id.into_bytes(), None);
            }
            self.put(Table::Events, row, None);
            count += 1;
        }
        let mut keys: BTreeSet<Key> =
            self.keys.keys().filter(|key| key.customer() == Some(customer)).cloned().collect();
        let (from, to) = prefix(&format!("{key}/brand/"));
        for (row, _) in self.book.storage.scan(Table::Profiles, &from, &to, Order::Ascending, usize::MAX)? {
            keys.extend(String::from_utf8(row).ok().as_deref().and_then(Key::parse));
        }
        keys.insert(key);
        for key in keys {
            self.changed.remove(&key);
            self.key(&key)?.is = Kept::default();
        }
        for (row, value) in self.all(Table::Changes, &everything())? {
            let mut change: Change = decode(Table::Changes, &value)?;
            if change.forget(customer) {
                self.put(Table::Changes, row, Some(encode(&change)));
            }
        }
        let (hash, now) = (self.book.hash(customer), self.now.as_millisecond());
        self.put(Table::Erased, hash.to_vec(), Some(encode(&now)));
        let erasure = Erasure { events: u64::try_from(count).unwrap_or(u64::MAX), from_brands };
        self.put(Table::Audit, [ordered(now).as_slice(), &hash].concat(), Some(encode(&erasure)));
        self.mark_unscrubbed();
        self.erased.push(customer.to_owned());
        Ok(Outcome::Forgotten(count))
    }

    fn expire(&mut self, overdue: &[Overdue]) -> Result<Outcome, StorageError> {
        let mut count = 0;
        for one in overdue {
            match one {
                Overdue::Event(id) => {
                    let Some(entry) = self.entry(id)? else { continue };
                    let hash = self.book.hash(id);
                    let owners = entry.customer.iter().cloned().map(Key::Customer);
                    for owner in owners.chain(entry.brands.iter().cloned().map(Key::Brand)) {
                        self.put(Table::Events, event_row(&owner, entry.millis, &hash), None);
                    }
                    self.put(Table::Ledger, id.as_bytes().to_vec(), None);
                    count += 1;
                }
                Overdue::Tiles(key) => {
                    let now = self.now;
                    self.key(key)?.is.state.prune(now);
                }
                Overdue::Tombstone(row) => self.put(Table::Erased, row.clone(), None),
            }
        }
        if !overdue.is_empty() {
            self.mark_unscrubbed();
        }
        Ok(Outcome::Forgotten(count))
    }

    fn trim(&mut self, through: u64) -> Result<Outcome, StorageError> {
        let through = through.min(self.book.sequence());
        for sequence in self.book.trimmed() + 1..=through {
            self.put(Table::Changes, sequence.to_be_bytes().to_vec(), None);
        }
        self.trimmed = Some(through);
        self.put(Table::Meta, TRIMMED.to_vec(), Some(through.to_be_bytes().to_vec()));
        Ok(Outcome::Done)
    }

    /// The bytes of what is forgotten now are still there.
    fn mark_unscrubbed(&mut self) {
        let sequence = (self.book.sequence() + 1).to_be_bytes().to_vec();
        self.put(Table::Meta, UNSCRUBBED.to_vec(), Some(sequence));
    }

    fn scrubbed(&mut self, at: u64) -> Result<Outcome, StorageError> {
        // If more was forgotten meanwhile, that is still there.
        if self.get(Table::Meta, UNSCRUBBED)?.as_deref().and_then(sequence) == Some(at) {
            self.put(Table::Meta, UNSCRUBBED.to_vec(), None);
        }
        Ok(Outcome::Done)
    }

    fn sinks(&mut self, names: &[String]) -> Result<Outcome, StorageError> {
        for (row, _) in self.all(Table::Cursors, &everything())? {
            if !names.iter().any(|name| name.as_bytes() == row) {
                self.put(Table::Cursors, row, None);
            }
        }
        for name in names {
            if self.get(Table::Cursors, name.as_bytes())?.is_none() {
                let now = self.book.sequence().to_be_bytes().to_vec();
                self.put(Table::Cursors, name.clone().into_bytes(), Some(now));
            }
        }
        self.forget_notices()
    }

    fn delivered(&mut self, sink: &str, through: u64) -> Result<Outcome, StorageError> {
        let known = self.get(Table::Cursors, sink.as_bytes())?;
        if known.as_deref().and_then(sequence).is_none_or(|known| known >= through) {
            return Ok(Outcome::NotFound);
        }
        self.put(Table::Cursors, sink.as_bytes().to_vec(), Some(through.to_be_bytes().to_vec()));
        self.forget_notices()
    }

    /// Who was erased is said by every sink up to the last of them.
    fn forget_notices(&mut self) -> Result<Outcome, StorageError> {
        let cursors = self.all(Table::Cursors, &everything())?;
        let said = cursors.iter().filter_map(|(_, bytes)| sequence(bytes)).min().unwrap_or(u64::MAX);
        for (row, _) in self.all(Table::Notices, &everything())? {
            if sequence(&row).is_some_and(|sequence| sequence <= said) {
                self.put(Table::Notices, row, None);
                self.mark_unscrubbed();
            }
        }
        Ok(Outcome::Done)
    }

    /// Writes all of it in one commit; what changed, if anything did.
    pub(super) fn write(mut self) -> Result<Option<Arc<Change>>, StorageError> {
        let sequence = self.book.sequence() + 1;
        let changed = std::mem::take(&mut self.changed);
        let mut signals = Vec::new();
        for key in &changed {
            let now = self.now;
            let loaded = self.key(key)?;
            loaded.is.state.prune(now);
            loaded.is.revision = sequence;
            self.judge(key, &mut signals)?;
        }
        let keys = std::mem::take(&mut self.keys);
        for (key, loaded) in &keys {
            self.save(key, loaded);
        }
        let change = (!changed.is_empty() || !self.erased.is_empty()).then(|| Change {
            sequence,
            millis: self.now.as_millisecond(),
            keys: changed.iter().cloned().map(Some).collect(),
            signals: signals.into_iter().map(Some).collect(),
            erased: std::mem::take(&mut self.erased)
                .into_iter()
                .map(|customer| Erased { hash: self.book.hash(&customer), customer: Some(customer) })
                .collect(),
        });
        if let Some(change) = &change {
            let row = sequence.to_be_bytes().to_vec();
            self.put(Table::Changes, row.clone(), Some(encode(change)));
            self.put(Table::Meta, SEQUENCE.to_vec(), Some(row.clone()));
            let names: Vec<&String> =
                change.erased.iter().filter_map(|erased| erased.customer.as_ref()).collect();
            if !names.is_empty() && !self.all(Table::Cursors, &everything())?.is_empty() {
                self.put(Table::Notices, row, Some(encode(&names)));
            }
        }
        if self.writes.is_empty() {
            return Ok(None);
        }
        let writes = self.writes.into_iter().flat_map(|(table, rows)| {
            rows.into_iter().map(move |(key, value)| -> Write { (table, key, value) })
        });
        self.book.storage.commit(writes.collect())?;
        for (key, loaded) in keys {
            if loaded.is.state == State::default() {
                self.book.hot.invalidate(&key);
            } else if *loaded.was != loaded.is {
                self.book.hot.insert(key, Arc::new(loaded.is));
            }
        }
        if change.is_some() {
            self.book.sequence.store(sequence, Ordering::Release);
        }
        if let Some(trimmed) = self.trimmed {
            self.book.trimmed.store(trimmed, Ordering::Release);
        }
        Ok(change.map(Arc::new))
    }

    /// The signals of a key that changed.
    fn judge(&mut self, key: &Key, signals: &mut Vec<Signal>) -> Result<(), StorageError> {
        let (rules, now) = (self.book.terms.rules, self.now);
        let Some(loaded) = self.keys.get(key) else { return Ok(()) };
        let raised = loaded.is.alarms.iter().any(|alarm| alarm.raised);
        let run = match key {
            Key::Customer(_) if loaded.negative || raised => self.run(key)?,
            Key::Customer(_) | Key::Brand(_) | Key::Pair { .. } => 0,
        };
        if let Some(Loaded { is, negative, .. }) = self.keys.get_mut(key) {
            let case = Case { key, state: &is.state, negative: *negative, run, now };
            signals.extend(rules.judge(&case, &mut is.alarms));
        }
        Ok(())
    }

    fn run(&self, key: &Key) -> Result<usize, StorageError> {
        let newest =
            newest(key, |from, to, most| self.scan(Table::Events, from, to, Order::Descending, most))?;
        Ok(newest.iter().take_while(|event| event.label == Label::Negative).count())
    }

    /// Writes what of a key is not as it was.
    fn save(&mut self, key: &Key, Loaded { was, is, .. }: &Loaded) {
        if **was == *is {
            return;
        }
        let name = key.to_string().into_bytes();
        let empty = is.state == State::default();
        if !matches!(key, Key::Brand(_)) {
            return self.put(Table::Profiles, name, (!empty).then(|| encode(is)));
        }
        self.save_tiles(key, Resolution::Minute, &was.state.minutes, &is.state.minutes);
        self.save_tiles(key, Resolution::Hour, &was.state.hours, &is.state.hours);
        self.save_tiles(key, Resolution::Day, &was.state.days, &is.state.days);
        let state = State { lifetime: is.state.lifetime, ..State::default() };
        let kept = Kept { state, alarms: is.alarms.clone(), revision: is.revision };
        self.put(Table::Profiles, name, (!empty).then(|| encode(&kept)));
    }

    fn save_tiles<T: PartialEq + serde::Serialize>(
        &mut self,
        key: &Key,
        resolution: Resolution,
        was: &BTreeMap<i64, T>,
        is: &BTreeMap<i64, T>,
    ) {
        for tile in was.keys().filter(|tile| !is.contains_key(tile)) {
            self.put(Table::Tiles, tile_row(key, resolution, *tile), None);
        }
        for (tile, sums) in is.iter().filter(|(tile, sums)| was.get(tile) != Some(sums)) {
            self.put(Table::Tiles, tile_row(key, resolution, *tile), Some(encode(sums)));
        }
    }
}
