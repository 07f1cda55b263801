//! What whoever watches is told: what there is, then what changes, each change once. Pure but for the store that is read.
//!
//! Changes of a key that have not been said yet are said as one, with what is known now. Positions grow, and going on from any of them
//! gives what comes after it and nothing that came before: what is known of a key may be younger than the change that is being
//! said, and is then held back until that change has its turn.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::change::Change;
use super::event::Key;
use super::keeper::{Keeper, Since};
use super::seen::Seen;
use super::signals::Signal;
use super::storage::{Storage, StorageError};

/// Changes that are looked at in one go.
const CHUNK: usize = 512;

/// Keys and signals of them, likewise.
const PARTS: usize = 4096;

/// Who is further behind than this is better told anew.
const FAR: u64 = 4096;

/// Profiles of a snapshot that are read in one go.
const PAGE: usize = 128;

/// The first place of what is said of customers who came back in the commit that erased them: after the erasures, of which each
/// watcher is told as many as it watches.
const CAME_BACK: u32 = 1 << 31;

/// What a change says, with the place of each: keys, then signals. Erasures follow them.
type Placed<'a> = (Vec<(u32, &'a Key)>, Vec<(u32, &'a Signal)>);

fn placed<'a>(change: &'a Change, came_back: &HashSet<&str>) -> Placed<'a> {
    let place = |place: u32, key: &Key| {
        let is_back = key.customer().is_some_and(|customer| came_back.contains(customer));
        if is_back { CAME_BACK + place } else { place }
    };
    let keys = (0..).zip(&change.keys);
    let keys = keys.filter_map(|(at, key)| key.as_ref().map(|key| (place(at, key), key))).collect();
    let first = u32::try_from(change.keys.len()).unwrap_or(u32::MAX);
    let signals = (first..).zip(&change.signals);
    let signal = |(at, signal): (u32, &'a Option<Signal>)| {
        signal.as_ref().map(|signal| (place(at, &signal.key), signal))
    };
    (keys, signals.filter_map(signal).collect())
}

/// What is watched: keys, and all whose names begin in some way; if neither is said, everything.
#[derive(Clone, Debug)]
pub struct Interest {
    keys: BTreeSet<Key>,
    starts: Vec<String>,
}

impl Default for Interest {
    /// Everything.
    fn default() -> Self {
        Self::new([], [])
    }
}

impl Interest {
    /// These keys and all whose names begin so.
    pub fn new(keys: impl IntoIterator<Item = Key>, starts: impl IntoIterator<Item = String>) -> Self {
        let mut starts: Vec<String> = starts.into_iter().collect();
        let keys: BTreeSet<Key> = keys.into_iter().collect();
        if keys.is_empty() && starts.is_empty() {
            starts.push(String::new());
        }
        // No key twice: neither by two beginnings nor by one and its name.
        starts.sort_unstable();
        starts.dedup_by(|next, first| next.starts_with(first.as_str()));
        let begins = |key: &Key| starts.iter().any(|start| key.to_string().starts_with(start));
        let keys = keys.into_iter().filter(|key| !begins(key)).collect();
        Self { keys, starts }
    }

    fn has(&self, key: &Key) -> bool {
        // Most who watch watch everything.
        self.starts.first().is_some_and(String::is_empty)
            || self.keys.contains(key)
            || (!self.starts.is_empty() && {
                let name = key.to_string();
                self.starts.iter().any(|start| name.starts_with(start))
            })
    }

    /// Whether some beginning may be that of a customer who is not named.
    fn may_have_customers(&self) -> bool {
        const CUSTOMERS: &str = "customer/";
        self.starts.iter().any(|start| start.starts_with(CUSTOMERS) || CUSTOMERS.starts_with(start.as_str()))
    }
}

/// How far somebody was told: every change before `next`, and so many parts of that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The sequence of the first change that is not said in full.
    pub next: u64,
    /// How much of it is.
    pub parts: u32,
}

impl Position {
    fn after(sequence: u64) -> Self {
        Self { next: sequence + 1, parts: 0 }
    }
}

/// Something that is said.
#[derive(Clone, Debug)]
pub enum Update {
    /// What is known of a key.
    Profile(Arc<Seen>),
    /// Nothing is known of it any more.
    Gone {
        /// Of what.
        key: Key,
        /// Whether its customer was erased, and with them every pair of theirs.
        erased: bool,
    },
    /// A signal was raised or cleared.
    Signal(Signal),
}

/// Why somebody is told all anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anew {
    /// They were told nothing yet.
    First,
    /// They are too far behind.
    Behind,
    /// A customer was erased while they were away, and it is not known any more who.
    Erased,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// These, each with the position after it; none if nothing changed.
    Updates(Vec<(Position, Update)>),
    /// A snapshot.
    Anew(Anew),
    /// What came after the position is not known any more, or the position is of another store.
    Lost,
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Watcher<S> {
    keeper: Arc<Keeper<S>>,
    interest: Interest,
    position: Option<Position>,
    /// Whether anything was said since they came.
    fresh: bool,
    /// What is younger than the change that is being said.
    held: BTreeMap<Key, Arc<Seen>>,
    /// Revisions that a snapshot has said ahead of their change.
    said: BTreeMap<Key, u64>,
    snapshot: Option<Snapshot>,
    patient: bool,
}

/// A part of a snapshot.
#[derive(Clone, Debug)]
pub enum Shown {
    /// What is known of a key.
    Profile(Arc<Seen>),
    /// A signal that was not said before, with the sequence of its change.
    Signal(u64, Signal),
}

#[derive(Debug)]
struct Snapshot {
    began: u64,
    /// From where on signals are still to be said. Profiles replace what they were; a signal that is left out is lost.
    signals: Position,
    keys: VecDeque<Key>,
    starts: VecDeque<String>,
    after: Option<Key>,
}

/// The first of them, up to [`PARTS`] parts in all.
fn few(mut changes: Vec<Arc<Change>>) -> Vec<Arc<Change>> {
    let mut parts = 0;
    let enough = changes.iter().position(|change| {
        parts += change.parts();
        parts > PARTS
    });
    changes.truncate(enough.unwrap_or(changes.len()) + 1);
    changes
}

impl<S: Storage + 'static> Watcher<S> {
    /// Somebody who was told up to a position, or nothing yet.
    pub fn new(keeper: Arc<Keeper<S>>, interest: Interest, position: Option<Position>) -> Self {
        let (held, said) = (BTreeMap::new(), BTreeMap::new());
        Self { keeper, interest, position, fresh: true, held, said, snapshot: None, patient: false }
    }

    /// Begins with the next change, without a snapshot.
    pub fn from_now(keeper: Arc<Keeper<S>>, interest: Interest) -> Self {
        let now = Position::after(keeper.book().sequence());
        Self::new(keeper, interest, Some(now))
    }

    /// Is told every change, however far it is behind.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// The time that the store goes by.
    pub fn now(&self) -> Timestamp {
        self.keeper.now()
    }

    /// Whether nothing is held back.
    pub fn has_said_all(&self) -> bool {
        self.held.is_empty()
    }

    /// Up to where all is said.
    pub fn position(&self) -> Option<Position> {
        self.position.filter(|_| self.snapshot.is_none())
    }

    /// Whether nothing is left to say.
    pub fn is_level(&self) -> bool {
        self.position().is_some_and(|at| at.next > self.keeper.book().sequence()) && self.held.is_empty()
    }

    /// The next updates.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn step(&mut self, now: Timestamp) -> Result<Step, StorageError> {
        let Some(position) = self.position else { return Ok(self.anew(Anew::First)) };
        let sequence = self.keeper.book().sequence();
        let behind = (sequence + 1).saturating_sub(position.next);
        if !self.fresh && !self.patient && behind > FAR {
            return Ok(self.anew(Anew::Behind));
        }
        let changes = match self.keeper.changes(position.next.saturating_sub(1), CHUNK)? {
            Since::Changes(changes) => few(changes),
            Since::Forgotten if self.fresh => return Ok(Step::Lost),
            Since::Forgotten => return Ok(self.anew(Anew::Behind)),
        };
        let Some(last) = changes.last().map(|change| change.sequence) else {
            return Ok(Step::Updates(Vec::new()));
        };
        if last >= sequence {
            self.fresh = false;
        }
        let nameless = |change: &Arc<Change>| change.erased.iter().any(|erased| erased.customer.is_none());
        if self.interest.may_have_customers() && changes.iter().any(nameless) {
            return Ok(self.anew(Anew::Erased));
        }
        let updates = self.updates(&changes, position, last, now)?;
        self.position = Some(Position::after(last));
        self.said.retain(|_, revision| *revision > last);
        Ok(Step::Updates(updates))
    }

    fn updates(
        &mut self,
        changes: &[Arc<Change>],
        position: Position,
        last: u64,
        now: Timestamp,
    ) -> Result<Vec<(Position, Update)>, StorageError> {
        let mut updates: BTreeMap<(u64, u32), Update> = BTreeMap::new();
        let mut latest: BTreeMap<&Key, (u64, u32)> = BTreeMap::new();
        let mut due: BTreeMap<Key, ((u64, u32), Arc<Seen>)> = BTreeMap::new();
        for change in changes {
            let skip = if change.sequence == position.next { position.parts } else { 0 };
            let (keys, signals) = placed(change, &self.keeper.book().came_back(change));
            for (part, key) in keys.into_iter().filter(|(part, _)| *part >= skip) {
                if self.interest.has(key) {
                    let place = (change.sequence, part);
                    latest.insert(key, place);
                    // What was held back for this change has its turn.
                    if self.held.get(key).is_some_and(|held| held.profile.revision <= place.0) {
                        due.extend(self.held.remove(key).map(|held| (key.clone(), (place, held))));
                    }
                }
            }
            for (part, signal) in signals.into_iter().filter(|(part, _)| *part >= skip) {
                if self.interest.has(&signal.key) {
                    updates.insert((change.sequence, part), Update::Signal(signal.clone()));
                }
            }
            if !change.erased.is_empty() {
                let at = u32::try_from(change.keys.len() + change.signals.len()).unwrap_or(u32::MAX);
                let gone: Vec<(u32, Key)> =
                    (at..).zip(self.erased(change)).filter(|(part, _)| *part >= skip).collect();
                let customers: HashSet<&str> = gone.iter().filter_map(|(_, key)| key.customer()).collect();
                let stays = |key: &Key| !key.customer().is_some_and(|customer| customers.contains(customer));
                self.held.retain(|key, _| stays(key));
                // What a snapshot said of them is taken back by this.
                self.said.retain(|key, _| stays(key));
                due.retain(|key, _| stays(key));
                for (part, key) in gone {
                    updates.insert((change.sequence, part), Update::Gone { key, erased: true });
                }
            }
        }
        for (key, place) in latest {
            let said = self.said.get(key).copied();
            let said = said.max(self.held.get(key).map(|held| held.profile.revision));
            let said = said.max(due.get(key).map(|(_, held)| held.profile.revision));
            if said.is_some_and(|said| said >= place.0) {
                continue;
            }
            let at_least = |seen: &Seen| seen.profile.revision >= place.0;
            match self.keeper.seen(key, now, at_least)? {
                Some(seen) if seen.profile.revision > last => drop(self.held.insert(key.clone(), seen)),
                Some(seen) => drop(updates.insert(place, Update::Profile(seen))),
                None => drop(updates.insert(place, Update::Gone { key: key.clone(), erased: false })),
            }
        }
        updates.extend(due.into_values().map(|(place, held)| (place, Update::Profile(held))));
        let placed = |((next, part), update)| (Position { next, parts: part + 1 }, update);
        Ok(updates.into_iter().map(placed).collect())
    }

    /// The watched keys of those whom a change forgot.
    fn erased(&self, change: &Change) -> Vec<Key> {
        let mut gone = BTreeSet::new();
        for customer in change.erased.iter().filter_map(|erased| erased.customer.clone()) {
            let key = Key::Customer(customer);
            let pairs = format!("{key}/");
            let all = self
                .interest
                .starts
                .iter()
                .any(|start| key.to_string().starts_with(start.as_str()) || start.starts_with(&pairs));
            gone.extend(all.then_some(key));
        }
        let named = self.interest.keys.iter();
        gone.extend(
            named
                .filter(|key| {
                    key.customer().is_some_and(|customer| self.keeper.book().was_erased(change, customer))
                })
                .cloned(),
        );
        gone.into_iter().collect()
    }

    fn anew(&mut self, why: Anew) -> Step {
        let interest = self.interest.clone();
        // Published: what is only on the disk is not among the changes yet, and its signals would be passed over.
        let began = self.keeper.published();
        self.snapshot = Some(Snapshot {
            began,
            signals: self.position.unwrap_or(Position::after(began)),
            keys: interest.keys.into_iter().collect(),
            starts: interest.starts.into(),
            after: None,
        });
        self.held.clear();
        self.said.clear();
        self.fresh = false;
        Step::Anew(why)
    }

    /// The next part of the snapshot; none after the last of them. First come the signals that were not said yet.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub fn page(&mut self, now: Timestamp) -> Result<Option<Vec<Shown>>, StorageError> {
        let Some(snapshot) = &mut self.snapshot else { return Ok(None) };
        if snapshot.signals.next <= snapshot.began {
            return signals(&self.keeper, &self.interest, snapshot).map(Some);
        }
        let book = self.keeper.book();
        let keys: Vec<Key> = if snapshot.keys.is_empty() {
            let Some(start) = snapshot.starts.front() else {
                self.position = Some(Position::after(snapshot.began));
                self.snapshot = None;
                return Ok(None);
            };
            let keys = book.names(start, snapshot.after.as_ref(), PAGE)?;
            snapshot.after = keys.last().cloned();
            if keys.len() < PAGE {
                snapshot.starts.pop_front();
                snapshot.after = None;
            }
            keys
        } else {
            let most = snapshot.keys.len().min(PAGE);
            snapshot.keys.drain(..most).collect()
        };
        let mut shown = Vec::with_capacity(keys.len());
        for key in keys {
            // Nothing older: a change before the snapshot is not said after it.
            let began = snapshot.began;
            let Some(seen) = self.keeper.seen(&key, now, |seen| seen.through >= began)? else { continue };
            if seen.profile.revision > began {
                self.said.insert(key, seen.profile.revision);
            }
            shown.push(Shown::Profile(seen));
        }
        Ok(Some(shown))
    }
}

/// The signals of the next changes that a snapshot leaves out otherwise.
fn signals<S: Storage + 'static>(
    keeper: &Keeper<S>,
    interest: &Interest,
    snapshot: &mut Snapshot,
) -> Result<Vec<Shown>, StorageError> {
    let Position { next, parts } = snapshot.signals;
    let changes = match keeper.changes(next - 1, CHUNK)? {
        Since::Changes(changes) => changes,
        Since::Forgotten => {
            // What is forgotten cannot be said any more: on with what is not.
            snapshot.signals = Position::after(keeper.book().trimmed().max(next));
            return Ok(Vec::new());
        }
    };
    let mut shown = Vec::new();
    let last = changes.last().map_or(snapshot.began, |change| change.sequence);
    for change in changes.iter().take_while(|change| change.sequence <= snapshot.began) {
        let skip = if change.sequence == next { parts } else { 0 };
        let (_, signals) = placed(change, &keeper.book().came_back(change));
        let due = signals.into_iter().filter(|(part, signal)| *part >= skip && interest.has(&signal.key));
        shown.extend(due.map(|(_, signal)| Shown::Signal(change.sequence, signal.clone())));
    }
    snapshot.signals = Position::after(last);
    Ok(shown)
}

#[cfg(test)]
mod tests;
