//! What is being written, over what is. Pure but for the storage.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use indexmap::IndexMap;
use jiff::Timestamp;

use super::super::change::{Change, Erased};
use super::super::clock::{ClockRow, Moment};
use super::super::event::{Contribution, Event, Key};
use super::super::features::{State, Tail};
use super::super::rows::{
    Audit, Entry, Felt, Hash, Kept, Own, Rank, audit_row, decode, encode, erasure_time, event_row,
    everything, hash, mention_row, mentioned, owner, prefix, retracted_row, sequence, span, subject_millis,
    subject_row, subject_span, tile_row, time,
};
use super::super::series::Series;
use super::super::signals::Case;
use super::super::storage::{Order, Row, Storage, StorageError, Table};
use super::super::tiles::{Resolution, Sign};
use super::sheet::{Rows, Sheet};
use super::{
    Book, CLOCK, Command, Outcome, Overdue, Prepared, RUN, SEQUENCE, SWEPT, TRIMMED, UNSCRUBBED,
    first_of_run, last, run_rows,
};
use crate::model::Label;

/// A key as it was and as it will be.
#[derive(Debug)]
pub(super) struct Loaded {
    was: Arc<Kept>,
    pub(super) is: Arc<Kept>,
    /// Whether it counts among what changed.
    changed: bool,
    /// Whether a negative event came.
    negative: bool,
    /// Whether its signals are looked at although nothing came.
    judged: bool,
    /// Whether the events must be looked at to know the last of them.
    stale: bool,
}

impl Loaded {
    fn new(was: Arc<Kept>) -> Self {
        let mut is = Arc::clone(&was);
        if is.state == State::default() && is.tail.is_none() {
            Arc::make_mut(&mut is).tail = Some(Tail::default());
        }
        Self { was, is, changed: false, negative: false, judged: false, stale: false }
    }

    fn change(&mut self) -> &mut Kept {
        Arc::make_mut(&mut self.is)
    }

    fn fold(&mut self, sign: Sign, event: &Contribution, horizon: Timestamp) {
        let is = Arc::make_mut(&mut self.is);
        match sign {
            Sign::Plus => is.state.fold(sign, event, horizon),
            Sign::Minus => is.state.take_back(event, horizon),
        }
        self.negative |= sign == Sign::Plus && event.label == Label::Negative;
        // What needs a look anyway is not kept up any more.
        self.stale = self.stale || !is.tail.as_mut().is_some_and(|tail| tail.fold(sign, event));
        self.changed = true;
    }

    /// Whether its signals are looked at.
    fn is_looked_at(&self) -> bool {
        self.changed || self.judged
    }

    /// Has the last events looked for if this may be one of them: it is not there any more, or goes by another name.
    fn forget_last(&mut self, event: &Contribution) {
        self.stale |= self.is.tail.is_some_and(|tail| tail.may_hold(event));
    }
}

#[derive(Debug)]
pub(super) struct Page<'a, S> {
    book: &'a Book<S>,
    /// What is on its way to the disk: it lies between this and the book.
    before: Option<&'a Prepared>,
    /// Events are judged by this time.
    pub(super) now: Timestamp,
    /// What is older than is kept at this time is forgotten.
    horizon: Timestamp,
    pub(super) doubtful: Option<Timestamp>,
    pub(super) is_trusted: bool,
    clock: Option<ClockRow>,
    swept: i64,
    writes: Sheet,
    keys: IndexMap<Key, Loaded>,
    /// The pairs among them, by their customers.
    pairs: HashMap<String, BTreeSet<Key>>,
    erased: Vec<String>,
    /// Changes that name them, and whom.
    naming: BTreeMap<u64, Vec<String>>,
    trimmed: Option<u64>,
}

impl<'a, S: Storage> Page<'a, S> {
    pub(super) fn new(book: &'a Book<S>, moment: Moment, before: Option<&'a Prepared>) -> Self {
        let swept = before.map_or_else(|| book.swept.load(Ordering::Acquire), |before| before.swept);
        let Moment { now, horizon, doubtful, is_trusted, row: clock } = moment;
        Self {
            book,
            before,
            now,
            horizon,
            doubtful,
            is_trusted,
            clock,
            swept,
            writes: Sheet::default(),
            keys: IndexMap::new(),
            pairs: HashMap::new(),
            erased: Vec::new(),
            naming: BTreeMap::new(),
            trimmed: None,
        }
    }

    fn sequence(&self) -> u64 {
        self.before.map_or_else(|| self.book.sequence(), |before| before.sequence)
    }

    fn trimmed(&self) -> u64 {
        self.before.map_or_else(|| self.book.trimmed(), |before| before.trimmed)
    }

    /// The rows of a table that are written and not in the book yet, the latest last.
    fn written(&self, table: Table) -> impl DoubleEndedIterator<Item = &Rows> {
        let before = self.before.and_then(|before| before.writes.of(table));
        before.into_iter().chain(self.writes.of(table))
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        match self.written(table).rev().find_map(|rows| rows.get(key)) {
            Some(written) => Ok(written.map(<[u8]>::to_vec)),
            None => self.book.storage.get(table, key),
        }
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.put(table, key, value);
    }

    /// At most so many rows as they will be, in their order.
    pub(super) fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        order: Order,
        most: usize,
    ) -> Result<Vec<Row>, StorageError> {
        if self.written(table).next().is_none() {
            return self.book.storage.scan(table, from, to, order, most);
        }
        // Of those that are, some may be gone: then more must be read.
        let mut read = most;
        loop {
            let rows = self.book.storage.scan(table, from, to, order, read)?;
            // Of what is written, what lies among these rows; all of it if they are the last.
            let edge = rows.last().filter(|_| rows.len() == read).map(|(row, _)| row.clone());
            let (first, end) = match (&edge, order) {
                (None, _) => (from.to_vec(), to.to_vec()),
                (Some(edge), Order::Ascending) => (from.to_vec(), [edge.as_slice(), &[0]].concat()),
                (Some(edge), Order::Descending) => (edge.clone(), to.to_vec()),
            };
            let mut merged: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
            for (row, value) in self.written(table).flat_map(|rows| rows.range(&first, &end)) {
                match value {
                    Some(value) => drop(merged.insert(row.to_vec(), value.to_vec())),
                    None => drop(merged.remove(row)),
                }
            }
            if edge.is_none() || merged.len() >= most {
                return Ok(match order {
                    Order::Ascending => merged.into_iter().take(most).collect(),
                    Order::Descending => merged.into_iter().rev().take(most).collect(),
                });
            }
            read = read.saturating_mul(2);
        }
    }

    fn all(&self, table: Table, (from, to): &(Vec<u8>, Vec<u8>)) -> Result<Vec<Row>, StorageError> {
        self.scan(table, from, to, Order::Ascending, usize::MAX)
    }

    fn key(&mut self, key: &Key) -> Result<&mut Loaded, StorageError> {
        let at = match self.keys.get_index_of(key) {
            Some(at) => at,
            None => {
                if let Key::Pair { customer, .. } = key {
                    self.pairs.entry(customer.clone()).or_default().insert(key.clone());
                }
                self.keys.insert_full(key.clone(), Loaded::new(self.load(key)?)).0
            }
        };
        match self.keys.get_index_mut(at) {
            Some((_, loaded)) => Ok(loaded),
            None => Err(StorageError::Row { table: Table::Profiles }),
        }
    }

    fn load(&self, key: &Key) -> Result<Arc<Kept>, StorageError> {
        if let Some(loaded) = self.before.and_then(|before| before.keys.get(key)) {
            return Ok(Arc::clone(&loaded.is));
        }
        // Of whom nothing was known, nothing was known with any brand.
        if let Key::Pair { customer, .. } = key
            && let Some(customer) = self.keys.get(&Key::Customer(customer.clone()))
            && customer.was.state == State::default()
        {
            return Ok(Arc::default());
        }
        self.book.kept(key)
    }

    pub(super) fn apply(&mut self, command: &Command) -> Result<Outcome, StorageError> {
        match command {
            Command::Record { event, content, replaces } => self.record(event, content, replaces.as_deref()),
            Command::Retract(id) => self.retract(id),
            Command::Erase { customer, from_brands } => self.erase(customer, *from_brands),
            Command::Expire(overdue) => self.expire(overdue),
            Command::Judge(keys) => self.judge(keys),
            Command::Trim(through) => self.trim(*through),
            Command::Swept => {
                self.mark_unscrubbed();
                Ok(Outcome::Done)
            }
            Command::Scrubbed(mark) => self.scrubbed(*mark),
            Command::Tick => {
                self.keep_clock();
                Ok(Outcome::Done)
            }
            Command::AcceptClock => {
                // A time that was accepted wrongly may have forgotten all up to now, and nothing that is yet to come.
                self.set_swept(self.swept.min(self.now.as_millisecond()));
                self.keep_clock();
                Ok(Outcome::Done)
            }
            Command::Sinks { names, run } => self.sinks(names, *run),
            Command::BeginRun(run) => {
                if !self.all(Table::Cursors, &everything())?.is_empty() {
                    self.begin_run(*run)?;
                }
                Ok(Outcome::Done)
            }
            Command::Delivered { sink, through } => self.delivered(sink, *through),
        }
    }

    fn entry(&self, id: &str) -> Result<Option<Entry>, StorageError> {
        self.get(Table::Ledger, id.as_bytes())?.map(|bytes| decode(Table::Ledger, &bytes)).transpose()
    }

    /// Up to when events of a customer are refused, in milliseconds; nothing if they were not erased.
    pub(super) fn refused_through(&self, subject: &Hash) -> Result<Option<i64>, StorageError> {
        let found = self.get(Table::Erased, subject)?;
        found.map(|bytes| decode(Table::Erased, &bytes)).transpose()
    }

    fn record(
        &mut self,
        event: &Event,
        content: &[u8],
        replaces: Option<&str>,
    ) -> Result<Outcome, StorageError> {
        let content = self.book.content(content);
        if let Some(entry) = self.entry(&event.id)? {
            let known = entry.is(event, &content) && self.is_void(replaces)?;
            return Ok(if known { Outcome::Duplicate } else { Outcome::Conflict });
        }
        let millis = event.contribution.time.as_millisecond();
        if let Some(refusal) = self.judge_time(millis) {
            return Ok(refusal);
        }
        if let Some(customer) = &event.customer
            && let subject = self.book.hash(customer)
            && let Some(through) = self.refused_through(&subject)?
        {
            if millis <= through {
                return Ok(Outcome::Erased);
            }
            if self.is_erased_in_doubt(&subject, millis)? {
                return Ok(Outcome::InDoubt);
            }
        }
        if let Some(old) = replaces {
            let retracted = self.retract(old)?;
            if retracted == Outcome::AlreadyRetracted {
                return Ok(Outcome::Superseded);
            }
            if retracted != Outcome::Retracted {
                return Ok(retracted);
            }
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

    /// Whether no event of this id counts: it was taken back or forgotten, or none is named.
    fn is_void(&self, id: Option<&str>) -> Result<bool, StorageError> {
        let entry = id.map(|id| self.entry(id)).transpose()?.flatten();
        Ok(entry.is_none_or(|entry| entry.retracted))
    }

    /// Why an event of this time is not taken, if it is not.
    fn judge_time(&self, millis: i64) -> Option<Outcome> {
        let age = self.now.duration_since(time(millis));
        if age > self.book.terms.retention || millis < self.swept {
            return Some(Outcome::TooOld);
        }
        if -age <= self.book.terms.skew {
            return None;
        }
        let is_doubtful = |wall: Timestamp| time(millis).duration_since(wall) <= self.book.terms.skew;
        Some(if self.doubtful.is_some_and(is_doubtful) { Outcome::InDoubt } else { Outcome::TooNew })
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
        let (event, horizon) = (entry.contribution(), self.horizon);
        for key in keys {
            self.key(key)?.fold(sign, &event, horizon);
        }
        Ok(())
    }

    /// Notes an event among those of its customer and brands. Of a customer one that was taken back stays, so that erasing
    /// finds it.
    fn note(&mut self, id: &str, entry: &Entry, retracted: bool) {
        let felt = Felt { label: entry.label, score: entry.score, channel: entry.channel, own: None };
        for brand in &entry.brands {
            let row = event_row(&Key::Brand(brand.clone()), entry.millis, Rank::Id(id));
            self.put(Table::Events, row, (!retracted).then(|| encode(&felt)));
        }
        if let Some(customer) = &entry.customer {
            let key = Key::Customer(customer.clone());
            let counts = event_row(&key, entry.millis, Rank::Id(id));
            let row = if retracted {
                self.put(Table::Events, counts, None);
                retracted_row(&key, entry.millis, id)
            } else {
                counts
            };
            let own = Own { id: id.to_owned(), brands: entry.brands.clone(), retracted };
            self.put(Table::Events, row, Some(encode(&Felt { own: Some(own), ..felt })));
        }
    }

    fn erase(&mut self, customer: &str, from_brands: bool) -> Result<Outcome, StorageError> {
        let key = Key::Customer(customer.to_owned());
        let (subject, now) = (self.book.hash(customer), self.now.as_millisecond());
        let mut count = 0;
        // Events may be ahead of the clock, and their replays are refused as well.
        let mut through = now;
        for (row, value) in self.all(Table::Events, &span(&key))? {
            let felt: Felt = decode(Table::Events, &value)?;
            let event = super::contribution(&row, &felt)?;
            through = through.max(event.time.as_millisecond());
            if let Some(own) = felt.own {
                for brand in own.brands.iter().filter(|_| !own.retracted).cloned() {
                    let (brand, horizon) = (Key::Brand(brand), self.horizon);
                    let loaded = self.key(&brand)?;
                    if from_brands {
                        loaded.fold(Sign::Minus, &event, horizon);
                    } else {
                        loaded.forget_last(&event);
                    }
                    self.disown(&brand, &event, &own.id, from_brands)?;
                }
                self.put(Table::Ledger, own.id.into_bytes(), None);
            }
            self.put(Table::Events, row, None);
            count += 1;
        }
        let mut keys = self.pairs.get(customer).cloned().unwrap_or_default();
        let (from, to) = prefix(&format!("{key}/brand/"));
        for (row, _) in self.scan(Table::Profiles, &from, &to, Order::Ascending, usize::MAX)? {
            keys.extend(String::from_utf8(row).ok().as_deref().and_then(Key::parse));
        }
        keys.insert(key);
        let was_mentioned = self.forget_changes(customer)?;
        let mut was_known = count > 0 || was_mentioned;
        for key in keys {
            let loaded = self.key(&key)?;
            was_known |= loaded.is.state != State::default();
            *loaded = Loaded { is: Arc::default(), ..Loaded::new(Arc::clone(&loaded.was)) };
        }
        let refused = self.refused_through(&subject)?.map_or(through, |before| before.max(through));
        self.put(Table::Erased, subject.to_vec(), Some(encode(&refused)));
        let audit =
            Audit { events: u64::try_from(count).unwrap_or(u64::MAX), from_brands, through, was_known };
        self.note_erasure(&subject, now, &audit)?;
        self.note_doubt(&subject);
        if was_known {
            self.mark_unscrubbed();
        }
        // Also of whom nothing is known here: a receiver may know them, as where this store came out of an older backup.
        self.erased.push(customer.to_owned());
        Ok(Outcome::Forgotten(count))
    }

    /// Has a customer's name taken out of the changes that are kept; whether it was in any.
    fn forget_changes(&mut self, customer: &str) -> Result<bool, StorageError> {
        let mentions = self.all(Table::Mentions, &span(&Key::Customer(customer.to_owned())))?;
        let was_known = !mentions.is_empty();
        for (row, _) in mentions {
            let sequence = mentioned(&row).ok_or(StorageError::Row { table: Table::Mentions })?;
            self.naming.entry(sequence).or_default().push(customer.to_owned());
            self.put(Table::Mentions, row, None);
        }
        Ok(was_known)
    }

    /// Takes the names of those who were erased out of the changes that are kept. Once for all of them: a change may name thousands.
    fn take_names_out(&mut self) -> Result<(), StorageError> {
        for (sequence, customers) in std::mem::take(&mut self.naming) {
            let place = sequence.to_be_bytes();
            if let Some(value) = self.get(Table::Changes, &place)? {
                let mut change: Change = decode(Table::Changes, &value)?;
                change.forget(&customers.iter().map(String::as_str).collect());
                self.put(Table::Changes, place.to_vec(), Some(encode(&change)));
            }
        }
        Ok(())
    }

    /// Notes an erasure. Of a customer of whom nothing was known only the last is noted.
    fn note_erasure(&mut self, subject: &Hash, now: i64, audit: &Audit) -> Result<(), StorageError> {
        let (from, to) = subject_span(subject);
        if let Some((row, _)) = self.scan(Table::Subjects, &from, &to, Order::Descending, 1)?.pop() {
            let millis = subject_millis(&row).ok_or(StorageError::Row { table: Table::Subjects })?;
            let before = self.get(Table::Audit, &audit_row(subject, millis))?;
            let before = before.map(|bytes| Audit::decode(&bytes, millis)).transpose()?;
            match before {
                Some(before) if before.was_known && millis == now && !audit.was_known => return Ok(()),
                Some(before) if before.was_known => {}
                Some(_) | None => {
                    self.put(Table::Audit, audit_row(subject, millis), None);
                    self.put(Table::Subjects, row, None);
                }
            }
        }
        self.put(Table::Audit, audit_row(subject, now), Some(encode(audit)));
        self.put(Table::Subjects, subject_row(subject, now), Some(Vec::new()));
        Ok(())
    }

    /// Takes an event from those of a brand, or leaves it there as nobody's: its id may be given to another.
    fn disown(
        &mut self,
        brand: &Key,
        event: &Contribution,
        id: &str,
        from_brands: bool,
    ) -> Result<(), StorageError> {
        let millis = event.time.as_millisecond();
        let row = event_row(brand, millis, Rank::Id(id));
        let value = self.get(Table::Events, &row)?.filter(|_| !from_brands);
        self.put(Table::Events, row, None);
        let Some(value) = value else { return Ok(()) };
        let felt: Felt = decode(Table::Events, &value)?;
        // The same id may have been given to an event that was forgotten as well.
        for turn in 0_u64.. {
            let rank = hash(&self.book.salt, &[id.as_bytes(), &turn.to_be_bytes()]);
            let row = event_row(brand, millis, Rank::Nameless(&felt, rank));
            if self.get(Table::Events, &row)?.is_none() {
                self.put(Table::Events, row, Some(value));
                break;
            }
        }
        Ok(())
    }

    /// Looks at the signals of keys to which nothing came.
    fn judge(&mut self, keys: &[Key]) -> Result<Outcome, StorageError> {
        for key in keys {
            self.key(key)?.judged = true;
        }
        Ok(Outcome::Done)
    }

    fn expire(&mut self, overdue: &[Overdue]) -> Result<Outcome, StorageError> {
        let mut count = 0;
        // Whatever the clock says later, replays of what is forgotten now are not taken for new.
        let kept = self.book.terms.retention + self.book.terms.skew;
        let first = self.horizon.as_millisecond().saturating_sub(kept.as_secs().saturating_mul(1000));
        self.set_swept(self.swept.max(first));
        for one in overdue {
            match one {
                Overdue::Event(id) => {
                    let Some(entry) = self.entry(id)? else { continue };
                    if !entry.retracted {
                        self.forget_last(id, &entry)?;
                    }
                    let owners = entry.customer.iter().cloned().map(Key::Customer);
                    for owner in owners.chain(entry.brands.iter().cloned().map(Key::Brand)) {
                        self.put(Table::Events, event_row(&owner, entry.millis, Rank::Id(id)), None);
                        if entry.retracted {
                            self.put(Table::Events, retracted_row(&owner, entry.millis, id), None);
                        }
                    }
                    self.put(Table::Ledger, id.as_bytes().to_vec(), None);
                    count += 1;
                }
                Overdue::Nobodys(row) => {
                    let Some(value) = self.get(Table::Events, row)? else { continue };
                    let event = super::contribution(row, &decode(Table::Events, &value)?)?;
                    if let Some(brand) = owner(row) {
                        self.key(&brand)?.forget_last(&event);
                    }
                    self.put(Table::Events, row.clone(), None);
                    count += 1;
                }
                Overdue::Tiles(key) => {
                    let horizon = self.horizon;
                    self.key(key)?.change().state.prune(horizon);
                }
                Overdue::Audit(row) => {
                    let millis = erasure_time(row).map(Timestamp::as_millisecond);
                    if let (Some(millis), Some(subject)) = (millis, row.last_chunk()) {
                        self.put(Table::Subjects, subject_row(subject, millis), None);
                    }
                    self.put(Table::Audit, row.clone(), None);
                }
                Overdue::Tombstone(row) => {
                    // The customer may have been erased again meanwhile, or their tombstone may reach further now.
                    let through: Option<i64> = self
                        .get(Table::Erased, row)?
                        .map(|bytes| decode(Table::Erased, &bytes))
                        .transpose()?;
                    if through.is_some_and(|through| through < self.book.horizon(self.horizon)) {
                        self.put(Table::Erased, row.clone(), None);
                    }
                }
            }
        }
        Ok(Outcome::Forgotten(count))
    }

    /// An event that is forgotten may have been the last of its keys, or in the run that they end with.
    fn forget_last(&mut self, id: &str, entry: &Entry) -> Result<(), StorageError> {
        let (customer, brands) = (entry.customer.clone(), entry.brands.clone());
        let event = Event { id: id.to_owned(), customer, brands, contribution: entry.contribution() };
        for key in event.keys() {
            self.key(&key)?.forget_last(&event.contribution);
        }
        Ok(())
    }

    /// Looks for the last events of the keys of which they are not known.
    fn look_for_last(&mut self) -> Result<(), StorageError> {
        let stale: Vec<Key> =
            self.keys.iter().filter(|(_, loaded)| loaded.stale).map(|(key, _)| key.clone()).collect();
        let mut tails = self.look(stale.iter())?;
        for key in &stale {
            let tail = tails.remove(key).unwrap_or_default();
            let loaded = self.key(key)?;
            // A profile that says otherwise what came last is another one: whoever watches is told.
            loaded.changed |= loaded.is.tail.is_some_and(|before| !before.shows_as(&tail));
            loaded.change().tail = Some(tail);
        }
        Ok(())
    }

    /// The last events of keys, out of those that are kept.
    fn look<'k>(&self, keys: impl Iterator<Item = &'k Key>) -> Result<HashMap<&'k Key, Tail>, StorageError> {
        // Of a key for which nothing counts, nothing is looked for.
        let counts =
            |key: &&Key| self.keys.get(*key).is_none_or(|loaded| loaded.is.state != State::default());
        last::tails(keys.filter(counts), self.book.horizon(self.now), |from, to, most| {
            self.scan(Table::Events, from, to, Order::Descending, most)
        })
    }

    /// What came last for each key whose signals are looked at, as of now. Nothing for pairs: they have no signals.
    fn tails(&self) -> Result<Vec<Tail>, StorageError> {
        let horizon = self.book.horizon(self.now);
        let known = |loaded: &Loaded| loaded.is.tail.and_then(|tail| tail.kept_since(horizon));
        let looked_at = || self.keys.iter().filter(|(_, loaded)| loaded.is_looked_at());
        let has_signals = |key: &Key| !matches!(key, Key::Pair { .. });
        let unknown = looked_at().filter(|(key, loaded)| has_signals(key) && known(loaded).is_none());
        let looked = self.look(unknown.map(|(key, _)| key))?;
        let tail = |(key, loaded): (&Key, &Loaded)| {
            known(loaded).or_else(|| looked.get(key).copied()).unwrap_or_default()
        };
        Ok(looked_at().map(tail).collect())
    }

    fn trim(&mut self, through: u64) -> Result<Outcome, StorageError> {
        let through = through.min(self.sequence());
        let (from, to) = ((self.trimmed() + 1).to_be_bytes(), (through + 1).to_be_bytes());
        for (row, value) in self.scan(Table::Changes, &from, &to, Order::Ascending, usize::MAX)? {
            let sequence = sequence(&row).ok_or(StorageError::Row { table: Table::Changes })?;
            let change: Change = decode(Table::Changes, &value)?;
            for customer in change.customers() {
                self.put(Table::Mentions, mention_row(customer, sequence), None);
            }
            self.put(Table::Changes, row, None);
        }
        self.trimmed = Some(through);
        self.put(Table::Meta, TRIMMED.to_vec(), Some(through.to_be_bytes().to_vec()));
        Ok(Outcome::Done)
    }

    fn set_swept(&mut self, first: i64) {
        if first != self.swept {
            self.swept = first;
            self.put(Table::Meta, SWEPT.to_vec(), Some(encode(&first)));
        }
    }

    /// Has the clock written with this commit.
    fn keep_clock(&mut self) {
        if let Some(clock) = self.clock {
            self.put(Table::Meta, CLOCK.to_vec(), Some(encode(&clock)));
        }
    }

    /// The bytes of what is forgotten now are still there. No two marks are alike: whoever scrubs knows by it whether more was
    /// forgotten meanwhile.
    fn mark_unscrubbed(&mut self) {
        let mark = self.book.marks.fetch_add(1, Ordering::Relaxed) + 1;
        self.put(Table::Meta, UNSCRUBBED.to_vec(), Some(mark.to_be_bytes().to_vec()));
    }

    fn scrubbed(&mut self, mark: u64) -> Result<Outcome, StorageError> {
        if self.get(Table::Meta, UNSCRUBBED)?.as_deref().and_then(sequence) == Some(mark) {
            self.put(Table::Meta, UNSCRUBBED.to_vec(), None);
        }
        Ok(Outcome::Done)
    }

    fn sinks(&mut self, names: &[String], run: u32) -> Result<Outcome, StorageError> {
        for (row, _) in self.all(Table::Cursors, &everything())? {
            if !names.iter().any(|name| name.as_bytes() == row) {
                self.put(Table::Cursors, row, None);
            }
        }
        for name in names {
            if self.get(Table::Cursors, name.as_bytes())?.is_none() {
                let now = self.sequence().to_be_bytes().to_vec();
                self.put(Table::Cursors, name.clone().into_bytes(), Some(now));
            }
        }
        if !names.is_empty() {
            self.begin_run(run)?;
        }
        self.forget_notices(0)
    }

    /// From the next change on. Runs whose changes every sink has said are forgotten.
    fn begin_run(&mut self, run: u32) -> Result<(), StorageError> {
        let (from, to) = run_rows();
        let next_to_say = self.said()?.saturating_add(1);
        let known = self.scan(Table::Meta, &from, &to, Order::Ascending, usize::MAX)?;
        let firsts = known.iter().map(|(row, _)| first_of_run(row)).collect::<Result<Vec<u64>, _>>()?;
        let needed = firsts.iter().rposition(|first| *first <= next_to_say).unwrap_or(0);
        for (row, _) in known.into_iter().take(needed) {
            self.put(Table::Meta, row, None);
        }
        let first = self.sequence() + 1;
        self.put(Table::Meta, [RUN, &first.to_be_bytes()].concat(), Some(encode(&run)));
        Ok(())
    }

    fn delivered(&mut self, sink: &str, through: u64) -> Result<Outcome, StorageError> {
        let known = self.get(Table::Cursors, sink.as_bytes())?;
        if known.as_deref().and_then(sequence).is_none_or(|known| known >= through) {
            return Ok(Outcome::NotFound);
        }
        let before = self.said()?;
        self.put(Table::Cursors, sink.as_bytes().to_vec(), Some(through.to_be_bytes().to_vec()));
        self.forget_notices(before)
    }

    /// Up to which sequence every sink has said what changed.
    fn said(&self) -> Result<u64, StorageError> {
        let cursors = self.all(Table::Cursors, &everything())?;
        Ok(cursors.iter().filter_map(|(_, bytes)| sequence(bytes)).min().unwrap_or(u64::MAX))
    }

    /// Who was erased is said by every sink up to the last of them. Up to `before` it was forgotten already.
    fn forget_notices(&mut self, before: u64) -> Result<Outcome, StorageError> {
        let said = self.said()?;
        let (from, to) = (before.to_be_bytes(), said.saturating_add(1).to_be_bytes());
        for (row, _) in self.scan(Table::Notices, &from, &to, Order::Ascending, usize::MAX)? {
            self.put(Table::Notices, row, None);
            self.mark_unscrubbed();
        }
        Ok(Outcome::Done)
    }

    /// All of it, to be written in one commit.
    pub(super) fn finish(mut self, outcomes: Vec<Outcome>) -> Result<Prepared, StorageError> {
        let sequence = self.sequence() + 1;
        self.take_names_out()?;
        self.look_for_last()?;
        let tails = self.tails()?;
        let (mut changed, mut signals) = (Vec::new(), Vec::new());
        let looked_at = self.keys.iter_mut().filter(|(_, loaded)| loaded.is_looked_at());
        for ((key, loaded), tail) in looked_at.zip(&tails) {
            let (silent, negative) = (!loaded.changed, loaded.negative);
            let case = Case { key, state: &loaded.is.state, negative, silent, tail, now: self.now };
            let mut alarms = loaded.is.alarms.clone();
            let found = self.book.terms.rules.judge(&case, &mut alarms);
            if silent && found.is_empty() {
                continue;
            }
            let is = Arc::make_mut(&mut loaded.is);
            is.state.prune(self.horizon);
            (is.alarms, is.revision) = (alarms, sequence);
            signals.extend(found);
            changed.push(Some(key.clone()));
        }
        let keys = std::mem::take(&mut self.keys);
        for (key, loaded) in &keys {
            self.save(key, loaded);
        }
        let change = (!changed.is_empty() || !self.erased.is_empty()).then(|| Change {
            sequence,
            millis: self.now.as_millisecond(),
            keys: changed,
            signals: signals.into_iter().map(Some).collect(),
            erased: std::mem::take(&mut self.erased)
                .into_iter()
                .map(|customer| Erased { hash: self.book.hash(&customer), customer: Some(customer) })
                .collect(),
        });
        if let Some(change) = &change {
            for customer in change.customers() {
                self.put(Table::Mentions, mention_row(customer, sequence), Some(Vec::new()));
            }
            let row = sequence.to_be_bytes().to_vec();
            self.put(Table::Changes, row.clone(), Some(encode(change)));
            self.put(Table::Meta, SEQUENCE.to_vec(), Some(row.clone()));
            let names: Vec<&String> =
                change.erased.iter().filter_map(|erased| erased.customer.as_ref()).collect();
            if !names.is_empty() && !self.all(Table::Cursors, &everything())?.is_empty() {
                self.put(Table::Notices, row, Some(encode(&names)));
            }
        }
        if !self.writes.is_empty() {
            self.keep_clock();
        }
        Ok(Prepared {
            outcomes,
            sequence: if change.is_some() { sequence } else { self.sequence() },
            trimmed: self.trimmed.unwrap_or_else(|| self.trimmed()),
            swept: self.swept,
            change: change.map(Arc::new),
            writes: self.writes,
            keys,
        })
    }

    /// Writes what of a key is not as it was.
    fn save(&mut self, key: &Key, Loaded { was, is, .. }: &Loaded) {
        if was == is {
            return;
        }
        let name = key.name().into_bytes();
        let empty = is.state == State::default();
        let is_raised = !empty && is.has_raised();
        if is_raised != was.has_raised() {
            self.put(Table::Raised, name.clone(), is_raised.then(Vec::new));
        }
        if !matches!(key, Key::Brand(_)) {
            return self.put(Table::Profiles, name, (!empty).then(|| encode(&**is)));
        }
        self.save_tiles(key, Resolution::Minute, &was.state.minutes, &is.state.minutes);
        self.save_tiles(key, Resolution::Hour, &was.state.hours, &is.state.hours);
        self.save_tiles(key, Resolution::Day, &was.state.days, &is.state.days);
        let state = State { lifetime: is.state.lifetime, ..State::default() };
        let kept = Kept { state, alarms: is.alarms.clone(), revision: is.revision, tail: is.tail };
        self.put(Table::Profiles, name, (!empty).then(|| encode(&kept)));
    }

    fn save_tiles<T: Default + PartialEq + serde::Serialize>(
        &mut self,
        key: &Key,
        resolution: Resolution,
        was: &Series<T>,
        is: &Series<T>,
    ) {
        for (tile, sums) in is.differences(was) {
            self.put(Table::Tiles, tile_row(key, resolution, tile), sums.map(encode));
        }
    }
}
