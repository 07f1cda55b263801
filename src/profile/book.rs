//! The book of profiles: events come in once, are taken back exactly, and are forgotten for good. Pure but for the storage
//! it is given.
//!
//! What is asked together is written together: [`Book::apply`] is one commit. One thread at a time
//! [works out](Book::prepare), one [commits](Book::commit); any may read.

mod doubts;
mod erasures;
mod last;
mod migrate;
mod page;
#[cfg(test)]
mod reference;
mod sheet;
mod terms;
#[cfg(test)]
mod tests;
mod upkeep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use moka::sync::Cache;

use super::change::Change;
use super::clock::{ClockRow, ClockState, Moment, Past, Reading, StoreClock};
use super::event::{Contribution, Event, Key};
use super::features::{Features, State, Tail};
use super::rows::{
    Felt, Hash, Kept, NO_WORDS, VERSION, decode, derive, event_spans, event_time, everything, hash, prefix,
    sequence, span, tile_of,
};
use super::signals::{Alarm, Rules};
use super::storage::{Order, Row, Storage, StorageError, Table};
use super::tiles::Resolution;
pub use erasures::Erasure;
use page::{Loaded, Page};
use sheet::Sheet;

/// Memory for what is kept of the brands that changed last.
const BRAND_BYTES: u64 = 64 << 20;

const SEQUENCE: &[u8] = b"sequence";
const TRIMMED: &[u8] = b"trimmed";
const UNSCRUBBED: &[u8] = b"unscrubbed";
/// The clock: see [`ClockRow`].
const CLOCK: &[u8] = b"clock";
/// Events before this time may have been forgotten, in milliseconds: none is taken any more, whatever the clock says.
const SWEPT: &[u8] = b"swept";
/// Before the salted hash of a customer who was erased while the system's time was ahead and distrusted: see [`doubts`].
const DOUBT: &[u8] = b"doubt";
/// By which names customers go: the mark of the pseudonyms' key, or nothing if they have their own.
const NAMES: &[u8] = b"names";
/// In a store that came out of a backup: a mark of its own.
pub(super) const RESTORED: &[u8] = b"restored";
/// Before the sequence of the first change of a run of sinks.
const RUN: &[u8] = b"run";

/// Where all runs of sinks stand.
fn run_rows() -> (Vec<u8>, Vec<u8>) {
    (RUN.to_vec(), [RUN, &[0xFF; 9]].concat())
}

fn first_of_run(row: &[u8]) -> Result<u64, StorageError> {
    let first = row.strip_prefix(RUN).and_then(sequence);
    first.ok_or(StorageError::Row { table: Table::Meta })
}

/// What is taken and for how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Events are taken up to this age, and their ids remembered for as long.
    pub retention: SignedDuration,
    /// Events may be ahead of the clock by this.
    pub skew: SignedDuration,
    /// When signals are raised and cleared.
    pub rules: Rules,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            retention: SignedDuration::from_hours(90 * 24),
            skew: SignedDuration::from_mins(10),
            rules: Rules::default(),
        }
    }
}

/// What is asked of the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Take an event.
    Record {
        /// The event.
        event: Event,
        /// The words that were scored; empty if it came with its score.
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
    /// Forget what is older than is kept, of these rows: see [`Book::overdue`].
    Expire(Vec<Overdue>),
    /// Clear the signals of these keys that are over: see [`Book::over`].
    Judge(Vec<Key>),
    /// Forget changes up to this sequence.
    Trim(u64),
    /// All that is older than is kept was forgotten, and there was some of it.
    Swept,
    /// What had been forgotten at this mark has left the medium: see [`Book::unscrubbed`].
    Scrubbed(u64),
    /// Keep the clock, though nothing else is written.
    Tick,
    /// Keep the clock, whose time a person accepted.
    AcceptClock,
    /// These sinks there are, and no other. A run of them begins, by a number that no other run has.
    Sinks {
        /// Their names.
        names: Vec<String>,
        /// The number.
        run: u32,
    },
    /// A run of the sinks that the store has begins, by a number that no other run has; nothing if it has none.
    BeginRun(u32),
    /// A sink has delivered every change up to this sequence.
    Delivered {
        /// Its name.
        sink: String,
        /// The sequence.
        through: u64,
    },
}

/// A row with something in it that is older than is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// An event, by its id.
    Event(String),
    /// An event of a brand that is nobody's, since its customer was erased, by the row.
    Nobodys(Vec<u8>),
    /// That somebody was erased of whom nothing was known, by the row.
    Audit(Vec<u8>),
    /// Tiles of a key.
    Tiles(Key),
    /// That a customer was erased, by the row.
    Tombstone(Vec<u8>),
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
    /// The event that it corrects was corrected or taken back already.
    Superseded,
    /// It is older than events are kept.
    TooOld,
    /// It is ahead of the clock by more than is let pass.
    TooNew,
    /// It is of now by the system's clock, which is distrusted.
    InDoubt,
    /// Its customer was erased after it happened.
    Erased,
    /// The event is taken back.
    Retracted,
    /// It had been already; nothing is changed.
    AlreadyRetracted,
    /// No event of that id is in the book.
    NotFound,
    /// So many events are forgotten, of a customer or of old age.
    Forgotten(usize),
    /// It is done.
    Done,
}

/// What a commit did.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// One for each command.
    pub outcomes: Vec<Outcome>,
    /// What changed, if anything did.
    pub change: Option<Arc<Change>>,
}

/// What was worked out and is not on the disk yet.
#[derive(Debug)]
pub struct Prepared {
    /// One for each command.
    pub outcomes: Vec<Outcome>,
    /// What changes, if anything does.
    pub change: Option<Arc<Change>>,
    writes: Sheet,
    /// The keys that were looked at.
    keys: IndexMap<Key, Loaded>,
    sequence: u64,
    trimmed: u64,
    swept: i64,
}

/// An event as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The event.
    pub event: Event,
    /// Whether it was taken back.
    pub retracted: bool,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Of what.
    pub key: Key,
    /// The sequence of its last change.
    pub revision: u64,
    /// What is known.
    pub features: Features,
    /// The signals that are raised.
    pub raised: Vec<Alarm>,
}

/// The book, over a storage.
#[derive(Debug)]
pub struct Book<S> {
    storage: S,
    salt: [u8; 32],
    identity: u64,
    terms: Terms,
    /// What is kept of the brands that changed last: they lie in many rows. Only who writes puts into it, so that it is never
    /// behind the storage.
    brands: Cache<Key, Arc<Kept>>,
    /// The sequence of the last change.
    sequence: AtomicU64,
    /// The sequence of the last change that is forgotten.
    trimmed: AtomicU64,
    /// The last mark at which something was forgotten: see [`Book::unscrubbed`].
    marks: AtomicU64,
    /// Events before this time may have been forgotten, in milliseconds.
    swept: AtomicI64,
}

impl<S: Storage> Book<S> {
    /// Opens the book that a storage holds, or begins one there with this salt. One of an older version is brought up to
    /// this one in one commit.
    ///
    /// # Errors
    ///
    /// If it cannot be read or is of a newer version.
    pub fn open(storage: S, terms: Terms, salt: [u8; 32]) -> Result<Self, StorageError> {
        if let Some((found, salt)) = begun(&storage)? {
            migrate::up(&storage, found, &salt)?;
            return Self::read(storage, terms, salt);
        }
        let version = VERSION.to_be_bytes();
        let version = (Table::Meta, b"version".as_slice(), Some(version.as_slice()));
        storage.commit(&[version, (Table::Meta, b"salt", Some(&salt))])?;
        Self::read(storage, terms, salt)
    }

    /// As [`open`](Self::open), but never begins a book: it goes by the salt that the storage holds.
    ///
    /// # Errors
    ///
    /// As there, and if the storage holds no book.
    pub fn open_existing(storage: S, terms: Terms) -> Result<Self, StorageError> {
        let (found, salt) = begun(&storage)?.ok_or(StorageError::Empty)?;
        migrate::up(&storage, found, &salt)?;
        Self::read(storage, terms, salt)
    }

    /// Opens the book that a storage holds only to read it: nothing is written.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is of another version.
    pub fn look(storage: S, terms: Terms) -> Result<Self, StorageError> {
        match begun(&storage)?.ok_or(StorageError::Empty)? {
            (VERSION, salt) => Self::read(storage, terms, salt),
            (found, _) => Err(StorageError::Version { found, wanted: VERSION }),
        }
    }

    /// The book that a storage of this version holds.
    fn read(storage: S, terms: Terms, salt: [u8; 32]) -> Result<Self, StorageError> {
        let damaged = || StorageError::Row { table: Table::Meta };
        let number = |row: &[u8]| match storage.get(Table::Meta, row)? {
            Some(bytes) => sequence(&bytes).ok_or_else(damaged),
            None => Ok(0),
        };
        let (last, trimmed, marked) = (number(SEQUENCE)?, number(TRIMMED)?, number(UNSCRUBBED)?);
        let swept = match storage.get(Table::Meta, SWEPT)? {
            Some(bytes) => decode(Table::Meta, &bytes)?,
            None => i64::MIN,
        };
        let name = match storage.get(Table::Meta, RESTORED)? {
            Some(mark) => hash(&salt, &[b"book", &mark]),
            None => hash(&salt, &[b"book"]),
        };
        let [a, b, c, d, e, f, g, h, ..] = name;
        let identity = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let brands =
            Cache::builder().max_capacity(BRAND_BYTES).weigher(|_, kept: &Arc<Kept>| weigh(&kept.state));
        Ok(Self {
            storage,
            salt,
            identity,
            terms,
            brands: brands.build(),
            sequence: AtomicU64::new(last),
            trimmed: AtomicU64::new(trimmed),
            marks: AtomicU64::new(marked),
            swept: AtomicI64::new(swept),
        })
    }

    /// Has customers go by these names from now on: pseudonyms under the key of this mark, or their own. Whoever was recorded by other
    /// names would not be found any more, and erasing them would do nothing.
    ///
    /// # Errors
    ///
    /// If they go by others, or it cannot be read or written.
    pub fn go_by(&self, mark: Option<[u8; 16]>) -> Result<(), StorageError> {
        let names: &[u8] = mark.as_ref().map_or(&[], <[u8; 16]>::as_slice);
        match self.storage.get(Table::Meta, NAMES)? {
            None => self.storage.commit(&[(Table::Meta, NAMES, Some(names))]),
            Some(begun) if begun == names => Ok(()),
            Some(begun) => Err(StorageError::Names { begun: !begun.is_empty(), given: mark.is_some() }),
        }
    }

    /// Where it is kept.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// A number that no other book has: what was said of one means nothing to another.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The sequence of the last change.
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    /// The sequence of the last change that is forgotten: those after it are known.
    pub fn trimmed(&self) -> u64 {
        self.trimmed.load(Ordering::Acquire)
    }

    /// What is known of time before the system's clock is looked at.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn past(&self) -> Result<Past, StorageError> {
        let row = self.storage.get(Table::Meta, CLOCK)?;
        let row = row.map(|bytes| decode::<ClockRow>(Table::Meta, &bytes)).transpose()?;
        let last = self.sequence();
        let newest = self.changes(last.saturating_sub(1), 1)?.first().map(Change::time);
        Ok(Past { row, is_used: last > 0, newest, files: self.storage.newest_file() })
    }

    /// How the clock would stand if the store were opened for work now; nothing is written.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn clock(&self, reading: Reading) -> Result<ClockState, StorageError> {
        Ok(StoreClock::start(self.past()?, reading).state())
    }

    /// Takes the system's time for right because a person says so, and writes that. For a store that is open for nothing else.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written.
    pub fn accept_clock(&self, reading: Reading) -> Result<ClockState, StorageError> {
        let mut clock = StoreClock::start(self.past()?, reading);
        clock.accept();
        self.apply(&[Command::AcceptClock], clock.moment())?;
        Ok(clock.state())
    }

    /// Does what is asked, in its order, and all of it or nothing. When it returns, it is on the disk. One thread at a
    /// time may.
    ///
    /// # Errors
    ///
    /// If it cannot be read or written; nothing is then done.
    pub fn apply(&self, commands: &[Command], moment: impl Into<Moment>) -> Result<Applied, StorageError> {
        let prepared = self.prepare(commands, moment, None)?;
        self.commit(&prepared)?;
        Ok(Applied { outcomes: prepared.outcomes, change: prepared.change })
    }

    /// Works out what is asked, to be [committed](Self::commit) next. One that is on its way to the disk must be given: this one
    /// builds on it, and may be committed only if that one was.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn prepare(
        &self,
        commands: &[Command],
        moment: impl Into<Moment>,
        before: Option<&Prepared>,
    ) -> Result<Prepared, StorageError> {
        let mut page = Page::new(self, moment.into(), before);
        page.settle_doubts()?;
        let outcomes = commands.iter().map(|command| page.apply(command)).collect::<Result<Vec<_>, _>>()?;
        page.finish(outcomes)
    }

    /// Writes what was worked out. When it returns, it is on the disk. One thread at a time may.
    ///
    /// # Errors
    ///
    /// If it cannot be written; nothing of it is then done.
    pub fn commit(&self, prepared: &Prepared) -> Result<(), StorageError> {
        let writes = prepared.writes.writes();
        if writes.is_empty() {
            return Ok(());
        }
        self.storage.commit(&writes)?;
        for (key, loaded) in prepared.keys.iter().filter(|(key, _)| matches!(key, Key::Brand(_))) {
            if loaded.is.state == State::default() {
                self.brands.invalidate(key);
            } else {
                self.brands.insert(key.clone(), Arc::clone(&loaded.is));
            }
        }
        self.sequence.store(prepared.sequence, Ordering::Release);
        self.trimmed.store(prepared.trimmed, Ordering::Release);
        self.swept.store(prepared.swept, Ordering::Release);
        Ok(())
    }

    /// What is known of a key; nothing if there is no such key.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn profile(&self, key: &Key, now: Timestamp) -> Result<Option<Profile>, StorageError> {
        Ok(self.profiles(std::slice::from_ref(key), now)?.into_iter().next().flatten())
    }

    /// What is known of keys; nothing of those that there are not. Keys of one customer are cheaper together.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn profiles(&self, keys: &[Key], now: Timestamp) -> Result<Vec<Option<Profile>>, StorageError> {
        let horizon = self.horizon(now);
        let kept = keys.iter().map(|key| self.kept(key)).collect::<Result<Vec<_>, _>>()?;
        let known = |kept: &Kept| kept.tail.and_then(|tail| tail.kept_since(horizon));
        let is_there = |kept: &Kept| kept.state != State::default();
        let unknown = keys.iter().zip(&kept).filter(|(_, kept)| is_there(kept) && known(kept).is_none());
        let looked = self.last_of(unknown.map(|(key, _)| key), horizon)?;
        let profile = |(key, kept): (&Key, &Arc<Kept>)| {
            let tail = known(kept).or_else(|| looked.get(key).copied()).unwrap_or_default();
            let raised = kept.alarms.iter().copied().filter(|alarm| alarm.raised).collect();
            let features = Features::of(&kept.state, &tail, now);
            is_there(kept).then(|| Profile { key: key.clone(), revision: kept.revision, features, raised })
        };
        Ok(keys.iter().zip(&kept).map(profile).collect())
    }

    /// The keys whose names begin so, after a key, at most so many, in the order of their names.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn names(&self, start: &str, after: Option<&Key>, most: usize) -> Result<Vec<Key>, StorageError> {
        self.rows_of(start, after, most)?.into_iter().map(|(key, _)| Ok(key)).collect()
    }

    /// As [`names`](Self::names), with what is known of them; of the last events only what needs no look.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn survey(
        &self,
        start: &str,
        after: Option<&Key>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<(Key, Features)>, StorageError> {
        let known = |(key, value): (Key, Vec<u8>)| {
            let kept = match key {
                Key::Brand(_) => self.kept(&key)?,
                Key::Customer(_) | Key::Pair { .. } => Arc::new(Kept::decode(&value)?),
            };
            let tail = kept.tail.and_then(|tail| tail.kept_since(self.horizon(now))).unwrap_or_default();
            Ok((key, Features::of(&kept.state, &tail, now)))
        };
        self.rows_of(start, after, most)?.into_iter().map(known).collect()
    }

    fn rows_of(
        &self,
        start: &str,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Vec<(Key, Vec<u8>)>, StorageError> {
        let (mut from, to) = prefix(start);
        if let Some(after) = after {
            from = from.max([after.name().as_bytes(), &[0]].concat());
        }
        let rows = self.storage.scan(Table::Profiles, &from, &to, Order::Ascending, most)?;
        let named = |(row, value): Row| {
            let damaged = || StorageError::Row { table: Table::Profiles };
            let name = String::from_utf8(row).map_err(|_| damaged())?;
            Ok((Key::parse(&name).ok_or_else(damaged)?, value))
        };
        rows.into_iter().map(named).collect()
    }

    /// What is kept of a key.
    fn kept(&self, key: &Key) -> Result<Arc<Kept>, StorageError> {
        let is_brand = matches!(key, Key::Brand(_));
        if is_brand && let Some(kept) = self.brands.get(key) {
            return Ok(kept);
        }
        // A brand lies in several rows, and with each change its own row changes: read between two, they fit together.
        const TRIES: usize = 8;
        let mut row = self.storage.get(Table::Profiles, key.name().as_bytes())?;
        for _ in 0..TRIES {
            let Some(bytes) = &row else { return Ok(Arc::default()) };
            let mut kept = Kept::decode(bytes)?;
            if !is_brand {
                return Ok(Arc::new(kept));
            }
            self.tiles(key, &mut kept.state)?;
            let again = self.storage.get(Table::Profiles, key.name().as_bytes())?;
            if again == row {
                return Ok(Arc::new(kept));
            }
            row = again;
            // Whoever changed it has put it there.
            if let Some(kept) = self.brands.get(key) {
                return Ok(kept);
            }
        }
        Err(StorageError::Busy)
    }

    fn tiles(&self, key: &Key, state: &mut State) -> Result<(), StorageError> {
        for (row, value) in self.all(Table::Tiles, &span(key))? {
            let (resolution, tile) = tile_of(&row).ok_or(StorageError::Row { table: Table::Tiles })?;
            match resolution {
                Resolution::Minute => state.minutes.put(tile, decode(Table::Tiles, &value)?),
                Resolution::Hour => state.hours.put(tile, decode(Table::Tiles, &value)?),
                Resolution::Day => state.days.put(tile, decode(Table::Tiles, &value)?),
            }
        }
        Ok(())
    }

    /// What came last for a key, of the events that are kept at a moment.
    fn tail(&self, key: &Key, kept: &Kept, now: Timestamp) -> Result<Tail, StorageError> {
        let horizon = self.horizon(now);
        if let Some(tail) = kept.tail.and_then(|tail| tail.kept_since(horizon)) {
            return Ok(tail);
        }
        Ok(self.last_of([key], horizon)?.remove(key).unwrap_or_default())
    }

    /// The last events of keys, out of those that are kept.
    fn last_of<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
        horizon: i64,
    ) -> Result<HashMap<&'k Key, Tail>, StorageError> {
        last::tails(keys, horizon, |from, to, most| {
            self.storage.scan(Table::Events, from, to, Order::Descending, most)
        })
    }

    /// The time of the oldest events that are kept at a moment, in milliseconds. Older ones count as forgotten, whether they were
    /// cleared away already or not.
    fn horizon(&self, now: Timestamp) -> i64 {
        let kept = (self.terms.retention + self.terms.skew).as_millis();
        now.as_millisecond().saturating_sub(i64::try_from(kept).unwrap_or(i64::MAX))
    }

    /// All that is held of a customer, the oldest first.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn held(&self, customer: &str) -> Result<Vec<Held>, StorageError> {
        let held = self.held_after(customer, None, usize::MAX)?;
        Ok(held.into_iter().map(|(_, held)| held).collect())
    }

    /// As [`held`](Self::held), at most so many, after one of them. With each comes its place, to go on from there.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn held_after(
        &self,
        customer: &str,
        after: Option<&[u8]>,
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Held)>, StorageError> {
        // Those that were taken back lie apart, in the same order.
        let mut rows = BTreeMap::new();
        for (first, to) in event_spans(&Key::Customer(customer.to_owned())) {
            let from = after.map_or_else(|| first.clone(), |place| [first.as_slice(), place, &[0]].concat());
            for (row, value) in self.storage.scan(Table::Events, &from, &to, Order::Ascending, most)? {
                let place = row.get(first.len()..).unwrap_or_default().to_vec();
                rows.insert(place, (row, value));
            }
        }
        let held = |(place, (row, value)): (Vec<u8>, Row)| {
            let damaged = || StorageError::Row { table: Table::Events };
            let felt: Felt = decode(Table::Events, &value)?;
            let contribution = contribution(&row, &felt)?;
            let own = felt.own.ok_or_else(damaged)?;
            let event =
                Event { id: own.id, customer: Some(customer.to_owned()), brands: own.brands, contribution };
            Ok((place, Held { event, retracted: own.retracted }))
        };
        rows.into_iter().take(most).map(held).collect()
    }

    /// At most so many changes after a sequence, in their order.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn changes(&self, after: u64, most: usize) -> Result<Vec<Change>, StorageError> {
        let (from, to) = (after.saturating_add(1).to_be_bytes(), u64::MAX.to_be_bytes());
        let rows = self.storage.scan(Table::Changes, &from, &to, Order::Ascending, most)?;
        rows.into_iter().map(|row| self.change(row)).collect()
    }

    /// A change; who was erased with it is known for as long as a sink has yet to say so.
    fn change(&self, (row, value): Row) -> Result<Change, StorageError> {
        let sequence = sequence(&row).ok_or(StorageError::Row { table: Table::Changes })?;
        let mut change = Change { sequence, ..decode(Table::Changes, &value)? };
        if !change.erased.is_empty() {
            for (erased, customer) in change.erased.iter_mut().zip(self.notices(sequence)?) {
                erased.customer = Some(customer);
            }
        }
        Ok(change)
    }

    /// Whether it was this customer that a change forgot.
    pub fn was_erased(&self, change: &Change, customer: &str) -> bool {
        let hash = self.hash(customer);
        change.erased.iter().any(|erased| erased.hash == hash)
    }

    /// Whom a change names although it forgot them: they came back in the same commit.
    pub(super) fn came_back<'a>(&self, change: &'a Change) -> HashSet<&'a str> {
        if change.erased.is_empty() {
            return HashSet::new();
        }
        let erased: HashSet<Hash> = change.erased.iter().map(|erased| erased.hash).collect();
        let named = change.customers().into_iter();
        named.filter(|customer| erased.contains(&self.hash(customer))).collect()
    }

    /// How far a sink has come.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn delivered(&self, sink: &str) -> Result<u64, StorageError> {
        let bytes = self.storage.get(Table::Cursors, sink.as_bytes())?;
        Ok(bytes.as_deref().and_then(sequence).unwrap_or(0))
    }

    /// How far each sink came that has begun, by its name.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn cursors(&self) -> Result<BTreeMap<String, u64>, StorageError> {
        let (from, to) = everything();
        let rows = self.storage.scan(Table::Cursors, &from, &to, Order::Ascending, usize::MAX)?;
        let cursor = |(name, bytes): Row| Some((String::from_utf8(name).ok()?, sequence(&bytes)?));
        Ok(rows.into_iter().filter_map(cursor).collect())
    }

    /// The runs of sinks: the first change of each, and its number. The changes before the first of them are of no run.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn runs(&self) -> Result<BTreeMap<u64, u32>, StorageError> {
        let (from, to) = run_rows();
        let rows = self.storage.scan(Table::Meta, &from, &to, Order::Ascending, usize::MAX)?;
        rows.iter().map(|(row, bytes)| Ok((first_of_run(row)?, decode(Table::Meta, bytes)?))).collect()
    }

    /// Who was erased with a change, for as long as a sink has yet to say so.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn notices(&self, sequence: u64) -> Result<Vec<String>, StorageError> {
        let bytes = self.storage.get(Table::Notices, &sequence.to_be_bytes())?;
        bytes.map_or_else(|| Ok(Vec::new()), |bytes| decode(Table::Notices, &bytes))
    }

    fn all(&self, table: Table, (from, to): &(Vec<u8>, Vec<u8>)) -> Result<Vec<Row>, StorageError> {
        self.storage.scan(table, from, to, Order::Ascending, usize::MAX)
    }

    /// By which the words of an event are told from others.
    fn content(&self, words: &[u8]) -> Hash {
        if words.is_empty() { NO_WORDS } else { hash(&self.salt, &[words]) }
    }

    /// A key of this store for another purpose than its hashes: the same after a restart, and in a restored store.
    pub fn key_for(&self, purpose: &str) -> [u8; 32] {
        derive(&self.salt, purpose)
    }

    fn hash(&self, text: &str) -> Hash {
        hash(&self.salt, &[text.as_bytes()])
    }
}

/// The version and the salt of the book that a storage holds, if it holds one.
fn begun(storage: &impl Storage) -> Result<Option<(u32, [u8; 32])>, StorageError> {
    let damaged = || StorageError::Row { table: Table::Meta };
    let Some(version) = storage.get(Table::Meta, b"version")? else { return Ok(None) };
    let version = u32::from_be_bytes(version.try_into().map_err(|_| damaged())?);
    let salt = storage.get(Table::Meta, b"salt")?.ok_or_else(damaged)?;
    Ok(Some((version, salt.try_into().map_err(|_| damaged())?)))
}

/// About how many bytes a state takes.
fn weigh(state: &State) -> u32 {
    let tiles = state.minutes.all().len() + state.hours.all().len() + 2 * state.days.all().len();
    u32::try_from(300 + 110 * tiles).unwrap_or(u32::MAX)
}

fn contribution(row: &[u8], felt: &Felt) -> Result<Contribution, StorageError> {
    let time = event_time(row).ok_or(StorageError::Row { table: Table::Events })?;
    Ok(Contribution { time, label: felt.label, score: felt.score, channel: felt.channel })
}
