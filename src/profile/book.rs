//! The book of profiles: events come in once, are taken back exactly, and are forgotten for good. Pure but for the storage
//! it is given.
//!
//! What is asked together is written together: [`Book::apply`] is one commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::event::{Contribution, Event, Key};
use super::features::{Features, LONGEST_RUN, State};
use super::rows::{
    Entry, Erasure, Felt, Hash, VERSION, decode, encode, event_row, event_time, hash, ordered, prefix, span,
    tile_of, tile_row, time,
};
use super::storage::{self, Row, Storage, StorageError, Table, Write};
use super::tiles::{Day, Resolution, Sign, Sums};

/// Rows that are read at once.
const CHUNK: usize = 64;

/// What is taken and for how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Events are taken up to this age, and their ids remembered for as long.
    pub retention: SignedDuration,
    /// Events may be ahead of the clock by this.
    pub skew: SignedDuration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { retention: SignedDuration::from_hours(90 * 24), skew: SignedDuration::from_mins(10) }
    }
}

/// What is asked of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take an event.
    Record {
        /// The event.
        event: Event,
        /// All that the caller said of it, by which the same is told from another of that id.
        content: Vec<u8>,
        /// The id of an event that is taken back as this one is taken.
        replaces: Option<String>,
    },
    /// Take an event back, by its id.
    Retract(String),
    /// Forget a customer.
    Erase {
        /// Who.
        customer: String,
        /// Whether what they felt is taken back from brands, too.
        from_brands: bool,
    },
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The event is in the book.
    Recorded,
    /// It was already; nothing is changed.
    Duplicate,
    /// Another event of that id is in the book.
    Conflict,
    /// It is older than events are kept.
    TooOld,
    /// It is ahead of the clock by more than is let pass.
    TooNew,
    /// Its customer was erased after it happened.
    Erased,
    /// The event is taken back.
    Retracted,
    /// It had been already; nothing is changed.
    AlreadyRetracted,
    /// No event of that id is in the book.
    NotFound,
    /// The customer is forgotten, and so many events with them.
    Forgotten(usize),
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// One for each command.
    pub outcomes: Vec<Outcome>,
    /// The keys whose features are not what they were.
    pub changed: BTreeSet<Key>,
}

/// An event as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The event.
    pub event: Event,
    /// Whether it was taken back.
    pub retracted: bool,
}

/// The book, over a storage.
#[derive(Debug)]
pub struct Book<S> {
    storage: S,
    salt: [u8; 32],
    terms: Terms,
    /// The latest moment that was seen, in milliseconds: a clock that is set back must not bring back tiles.
    latest: AtomicI64,
}

impl<S: Storage> Book<S> {
    /// Opens the book that a storage holds, or begins one there with this salt.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is of another version.
    pub fn open(storage: S, terms: Terms, salt: [u8; 32]) -> Result<Self, StorageError> {
        let damaged = || StorageError::Row { table: Table::Meta };
        let salt = match storage.get(Table::Meta, b"version")? {
            Some(version) => {
                let found = u32::from_be_bytes(version.try_into().map_err(|_| damaged())?);
                if found != VERSION {
                    return Err(StorageError::Version { found, wanted: VERSION });
                }
                let salt = storage.get(Table::Meta, b"salt")?.ok_or_else(damaged)?;
                salt.try_into().map_err(|_| damaged())?
            }
            None => {
                let version = (Table::Meta, b"version".to_vec(), Some(VERSION.to_be_bytes().to_vec()));
                storage.commit(vec![version, (Table::Meta, b"salt".to_vec(), Some(salt.to_vec()))])?;
                salt
            }
        };
        Ok(Self { storage, salt, terms, latest: AtomicI64::new(i64::MIN) })
    }

    /// Where it is kept.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Does what is asked, in its order, and all of it or nothing. When it returns, it is on the disk.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written; nothing is then done.
    pub fn apply(&self, commands: &[Command], now: Timestamp) -> Result<Applied, StorageError> {
        let given = now.as_millisecond();
        let now = time(given.max(self.latest.fetch_max(given, Ordering::Relaxed)));
        let mut page = Page { book: self, now, writes: BTreeMap::new(), changed: BTreeSet::new() };
        let outcomes = commands.iter().map(|command| page.apply(command)).collect::<Result<Vec<_>, _>>()?;
        let Page { writes, changed, .. } = page;
        if !writes.is_empty() {
            let writes = writes.into_iter().map(|((table, key), value)| (table, key, value));
            self.storage.commit(writes.collect::<Vec<Write>>())?;
        }
        Ok(Applied { outcomes, changed })
    }

    /// What is known of a key; nothing if there is no such key.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn features(&self, key: &Key, now: Timestamp) -> Result<Option<Features>, StorageError> {
        let state = self.state(key, now)?;
        if state.lifetime == Sums::default() {
            return Ok(None);
        }
        Ok(Some(Features::of(&state, self.newest(key)?, now)))
    }

    /// The tiles of a key that are kept at a moment.
    fn state(&self, key: &Key, now: Timestamp) -> Result<State, StorageError> {
        let lifetime = self.storage.get(Table::Tiles, &tile_row(key, None, 0))?;
        Ok(State {
            minutes: self.tiles(key, Resolution::Minute, now)?,
            hours: self.tiles(key, Resolution::Hour, now)?,
            days: self.tiles(key, Resolution::Day, now)?,
            lifetime: lifetime.map(|bytes| decode(Table::Tiles, &bytes)).transpose()?.unwrap_or_default(),
        })
    }

    fn tiles<T: for<'a> serde::Deserialize<'a>>(
        &self,
        key: &Key,
        resolution: Resolution,
        now: Timestamp,
    ) -> Result<BTreeMap<i64, T>, StorageError> {
        let row = |tile| tile_row(key, Some(resolution), tile);
        let rows = self.all(Table::Tiles, &(row(resolution.first_kept(now)), row(i64::MAX)))?;
        let tile = |(row, value): Row| {
            let (_, tile) = tile_of(&row).ok_or(StorageError::Row { table: Table::Tiles })?;
            Ok((tile, decode(Table::Tiles, &value)?))
        };
        rows.into_iter().map(tile).collect()
    }

    /// The events of a key, the newest first, up to the last of the run of negatives that they begin with.
    fn newest(&self, key: &Key) -> Result<Vec<Contribution>, StorageError> {
        let damaged = || StorageError::Row { table: Table::Events };
        let (from, mut to) = span(key);
        let mut events = Vec::new();
        loop {
            let rows = self.storage.scan(Table::Events, &from, &to, storage::Order::Descending, CHUNK)?;
            for (row, value) in &rows {
                let felt: Felt = decode(Table::Events, value)?;
                if felt.retracted {
                    continue;
                }
                let time = event_time(row).ok_or_else(damaged)?;
                events.push(Contribution {
                    time,
                    label: felt.label,
                    score: felt.score,
                    channel: felt.channel,
                });
                if felt.label != crate::model::Label::Negative || events.len() == LONGEST_RUN {
                    return Ok(events);
                }
            }
            match rows.into_iter().last() {
                Some((row, _)) => to = row,
                None => return Ok(events),
            }
        }
    }

    /// All that is held of a customer, the oldest first.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn held(&self, customer: &str) -> Result<Vec<Held>, StorageError> {
        let key = Key::Customer(customer.to_owned());
        let mut held = Vec::new();
        for (_, value) in self.all(Table::Events, &span(&key))? {
            let felt: Felt = decode(Table::Events, &value)?;
            let Some(id) = felt.id else { continue };
            let Some(entry) = self.storage.get(Table::Ledger, id.as_bytes())? else { continue };
            let entry: Entry = decode(Table::Ledger, &entry)?;
            let (contribution, retracted) = (entry.contribution(), entry.retracted);
            let event = Event { id, customer: entry.customer, brands: entry.brands, contribution };
            held.push(Held { event, retracted });
        }
        Ok(held)
    }

    /// What was erased, when, the oldest first.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn erasures(&self) -> Result<Vec<(Timestamp, Erasure)>, StorageError> {
        let rows = self.all(Table::Audit, &(vec![0], vec![0xFF; 9]))?;
        let erasure = |(row, value): (Vec<u8>, Vec<u8>)| {
            let time = event_time(&row).ok_or(StorageError::Row { table: Table::Audit })?;
            Ok((time, decode(Table::Audit, &value)?))
        };
        rows.into_iter().map(erasure).collect()
    }

    fn all(&self, table: Table, (from, to): &(Vec<u8>, Vec<u8>)) -> Result<Vec<Row>, StorageError> {
        self.storage.scan(table, from, to, storage::Order::Ascending, usize::MAX)
    }

    fn hash(&self, text: &str) -> Hash {
        hash(&self.salt, &[text.as_bytes()])
    }
}

/// What is being written, over what is.
struct Page<'a, S> {
    book: &'a Book<S>,
    now: Timestamp,
    writes: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    changed: BTreeSet<Key>,
}

impl<S: Storage> Page<'_, S> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        match self.writes.get(&(table, key.to_vec())) {
            Some(written) => Ok(written.clone()),
            None => self.book.storage.get(table, key),
        }
    }

    fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.insert((table, key), value);
    }

    /// Rows as they will be.
    fn all(
        &self,
        table: Table,
        span: &(Vec<u8>, Vec<u8>),
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StorageError> {
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = self.book.all(table, span)?.into_iter().collect();
        for ((_, key), value) in self.writes.range((table, span.0.clone())..(table, span.1.clone())) {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(rows)
    }

    fn apply(&mut self, command: &Command) -> Result<Outcome, StorageError> {
        match command {
            Command::Record { event, content, replaces } => self.record(event, content, replaces.as_deref()),
            Command::Retract(id) => self.retract(id),
            Command::Erase { customer, from_brands } => self.erase(customer, *from_brands),
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
        self.fold(Sign::Plus, &event.id, &entry, &event.keys())?;
        self.put(Table::Ledger, event.id.clone().into_bytes(), Some(encode(&entry)));
        Ok(Outcome::Recorded)
    }

    fn retract(&mut self, id: &str) -> Result<Outcome, StorageError> {
        let Some(entry) = self.entry(id)? else { return Ok(Outcome::NotFound) };
        if entry.retracted {
            return Ok(Outcome::AlreadyRetracted);
        }
        let keys = keys(id, &entry);
        self.fold(Sign::Minus, id, &entry, &keys)?;
        self.put(Table::Ledger, id.as_bytes().to_vec(), Some(encode(&Entry { retracted: true, ..entry })));
        Ok(Outcome::Retracted)
    }

    fn erase(&mut self, customer: &str, from_brands: bool) -> Result<Outcome, StorageError> {
        let key = Key::Customer(customer.to_owned());
        let mut count = 0;
        for value in self.all(Table::Events, &span(&key))?.values() {
            let felt: Felt = decode(Table::Events, value)?;
            let Some(id) = felt.id else { continue };
            let Some(entry) = self.entry(&id)? else { continue };
            if from_brands && !entry.retracted {
                let brands: Vec<Key> = entry.brands.iter().cloned().map(Key::Brand).collect();
                self.fold(Sign::Minus, &id, &entry, &brands)?;
            }
            self.put(Table::Ledger, id.into_bytes(), None);
            count += 1;
        }
        // Of the customer, and of each pair with a brand.
        for rows in [span(&key), prefix(&format!("{key}/brand/"))] {
            for table in [Table::Events, Table::Tiles] {
                for row in self.all(table, &rows)?.into_keys() {
                    self.put(table, row, None);
                }
            }
        }
        let (hash, now) = (self.book.hash(customer), self.now.as_millisecond());
        self.put(Table::Erased, hash.to_vec(), Some(encode(&now)));
        let erasure = Erasure { events: u64::try_from(count).unwrap_or(u64::MAX), from_brands };
        self.put(Table::Audit, [ordered(now).as_slice(), &hash].concat(), Some(encode(&erasure)));
        self.changed.insert(key);
        Ok(Outcome::Forgotten(count))
    }

    /// Adds an event to keys or takes it back from them.
    fn fold(&mut self, sign: Sign, id: &str, entry: &Entry, keys: &[Key]) -> Result<(), StorageError> {
        let event = entry.contribution();
        for key in keys {
            for resolution in Resolution::ALL {
                let tile = resolution.tile(event.time);
                if tile < resolution.first_kept(self.now) {
                    continue;
                }
                let row = tile_row(key, Some(resolution), tile);
                match resolution {
                    Resolution::Minute | Resolution::Hour => {
                        self.fold_into(row, |sums: &mut Sums| sums.fold(sign, &event))?
                    }
                    Resolution::Day => self.fold_into(row, |day: &mut Day| day.fold(sign, &event))?,
                }
            }
            self.fold_into(tile_row(key, None, 0), |sums: &mut Sums| sums.fold(sign, &event))?;
            self.note(sign, id, entry, key);
            self.changed.insert(key.clone());
        }
        Ok(())
    }

    /// Changes a tile; one that holds nothing is none.
    fn fold_into<T>(&mut self, row: Vec<u8>, change: impl FnOnce(&mut T)) -> Result<(), StorageError>
    where
        T: Default + PartialEq + serde::Serialize + for<'a> serde::Deserialize<'a>,
    {
        let found = self.get(Table::Tiles, &row)?;
        let mut tile: T = found.map(|bytes| decode(Table::Tiles, &bytes)).transpose()?.unwrap_or_default();
        change(&mut tile);
        let value = (tile != T::default()).then(|| encode(&tile));
        self.put(Table::Tiles, row, value);
        Ok(())
    }

    /// Notes an event among those of a key. Of a customer one that was taken back stays, so that erasing finds it.
    fn note(&mut self, sign: Sign, id: &str, entry: &Entry, key: &Key) {
        let row = event_row(key, entry.millis, &self.book.hash(id));
        let own = matches!(key, Key::Customer(_));
        let retracted = sign == Sign::Minus;
        let felt = Felt {
            label: entry.label,
            score: entry.score,
            channel: entry.channel,
            id: own.then(|| id.to_owned()),
            retracted,
        };
        self.put(Table::Events, row, (own || !retracted).then(|| encode(&felt)));
    }
}

/// The keys of an event in the ledger.
fn keys(id: &str, entry: &Entry) -> Vec<Key> {
    let (customer, brands) = (entry.customer.clone(), entry.brands.clone());
    Event { id: id.to_owned(), customer, brands, contribution: entry.contribution() }.keys()
}
