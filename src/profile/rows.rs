//! How profiles lie in rows. Pure.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | meta | `version`, `salt`, `restored`, `names`, `sequence`, `trimmed`, `unscrubbed`, `clock`, `swept`, `moving`, `doubt` and the salted hash of a customer, `run` and a sequence | 4, 32, 16 and 16 or no bytes, two sequences, a number, [`ClockRow`], a time in milliseconds, no bytes, two times in milliseconds, a number |
//! | ledger | event id | [`Entry`] |
//! | events | customer or brand, 0, 1 (2 if it was taken back), time, [`Rank`] | [`Felt`] |
//! | profiles | key | [`Kept`]; a brand's without its tiles |
//! | tiles | brand, 0, resolution, tile | [`Sums`] or [`Day`] |
//! | changes | sequence | [`Change`](super::change::Change) |
//! | cursors | name of a sink | the sequence it has delivered |
//! | notices | sequence | customers who were erased with it, until every sink has said so |
//! | raised | key with a raised signal | nothing |
//! | erased | salted hash of a customer | up to when their events are refused, in milliseconds |
//! | audit | time, salted hash of a customer | [`Audit`] |
//! | mentions | customer, 0, sequence of a change that names them | nothing |
//! | subjects | salted hash of a customer, time of an erasure of them | nothing |
//!
//! Numbers in keys are big-endian, so that rows lie in their order. Values are postcard's. A customer's tiles are few and lie in
//! one row; a brand's are many and change all the time, so that each has its own.
//!
//! [`ClockRow`]: super::clock::ClockRow
//! [`Sums`]: super::tiles::Sums
//! [`Day`]: super::tiles::Day

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::event::{Channel, Contribution, Event, Key, Micros};
use super::features::{State, Tail};
use super::signals::Alarm;
use super::storage::{StorageError, Table};
use super::tiles::Resolution;
use crate::model::Label;

/// The version of all this.
pub(super) const VERSION: u32 = 6;

/// A salted hash.
pub(super) type Hash = [u8; 16];

/// Stands for the words of an event that came without any.
pub(super) const NO_WORDS: Hash = [0; 16];

/// A key that is derived from the store's salt: HMAC-SHA-256 of what it is for.
pub(super) fn derive(salt: &[u8; 32], purpose: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt).expect("HMAC takes a key of any length");
    mac.update(b"derive ");
    mac.update(purpose.as_bytes());
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-256 under the store's salt, cut to 128 bits: who has not the salt cannot find out what was hashed by trying.
pub(super) fn hash(salt: &[u8; 32], parts: &[&[u8]]) -> Hash {
    let mut cut = Hash::default();
    // A key of 32 bytes is never refused.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) {
        for part in parts {
            // The length, so that no two lists of parts are alike.
            mac.update(&part.len().to_be_bytes());
            mac.update(part);
        }
        for (to, from) in cut.iter_mut().zip(mac.finalize().into_bytes()) {
            *to = from;
        }
    }
    cut
}

/// What an event contributed, kept so that the same again changes nothing and that it can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) millis: i64,
    pub(super) label: Label,
    pub(super) score: Micros,
    pub(super) channel: Channel,
    pub(super) customer: Option<String>,
    pub(super) brands: Vec<String>,
    /// Of the words, if it came as words.
    pub(super) content: Hash,
    pub(super) retracted: bool,
}

impl Entry {
    /// Whether this is the event, however it was said: brands in any order, times to the millisecond, scores to the
    /// millionth. Of one that came as words the words are the same, or the score is: an export has no words, and another model
    /// gives the same words another score.
    pub(super) fn is(&self, event: &Event, content: &Hash) -> bool {
        let Contribution { time, label, score, channel } = event.contribution;
        let brands = |brands: &[String]| brands.iter().cloned().collect::<BTreeSet<String>>();
        let felt = (self.label, self.score) == (label, score);
        let words = *content != NO_WORDS && self.content == *content;
        (felt || words)
            && (self.millis, self.channel) == (time.as_millisecond(), channel)
            && self.customer == event.customer
            && brands(&self.brands) == brands(&event.brands)
    }

    pub(super) fn contribution(&self) -> Contribution {
        Contribution { time: time(self.millis), label: self.label, score: self.score, channel: self.channel }
    }
}

/// An event among those of a customer or a brand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Felt {
    pub(super) label: Label,
    pub(super) score: Micros,
    pub(super) channel: Channel,
    /// What only a customer's has; a brand's says nothing of whom it came from.
    pub(super) own: Option<Own>,
}

/// What is kept of an event among those of its customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Own {
    pub(super) id: String,
    pub(super) brands: Vec<String>,
    /// One that was taken back stays, so that erasing finds it.
    pub(super) retracted: bool,
}

/// What is kept of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) state: State,
    pub(super) alarms: Vec<Alarm>,
    /// The sequence of its last change.
    pub(super) revision: u64,
    /// Not known of what was written before version 4.
    pub(super) tail: Option<Tail>,
}

impl Kept {
    /// Whether a signal of it is raised.
    pub(super) fn has_raised(&self) -> bool {
        self.alarms.iter().any(|alarm| alarm.raised)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        #[derive(Deserialize)]
        struct Before4 {
            state: State,
            alarms: Vec<Alarm>,
            revision: u64,
        }
        // In version 2 nothing was kept of the last events, in version 3 two bytes less at least.
        type TailOf3 = Option<(Option<(i64, Micros)>, usize)>;
        decode(Table::Profiles, bytes).or_else(|damaged: StorageError| {
            let Ok((Before4 { state, alarms, revision }, rest)) = postcard::take_from_bytes(bytes) else {
                return Err(damaged);
            };
            let is_whole = rest.is_empty()
                || postcard::take_from_bytes::<TailOf3>(rest).is_ok_and(|(_, rest)| rest.is_empty());
            if is_whole { Ok(Self { state, alarms, revision, tail: None }) } else { Err(damaged) }
        })
    }
}

/// What is noted of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Audit {
    /// How many events went.
    pub(super) events: u64,
    /// Whether brands lost them as well.
    pub(super) from_brands: bool,
    /// Up to when events of the customer are refused, in milliseconds.
    pub(super) through: i64,
    /// Whether anything was known of the customer. If not, it is noted only while their events are refused: who asks for the
    /// erasure of names that were never there must not fill the disk.
    pub(super) was_known: bool,
}

impl Audit {
    /// Reads one. Before version 6 it was not said whether anything was known, before version 5 not how far it reaches: to its own
    /// time.
    pub(super) fn decode(bytes: &[u8], millis: i64) -> Result<Self, StorageError> {
        let before_6 =
            |(events, from_brands, through)| Self { events, from_brands, through, was_known: true };
        let before_5 = |(events, from_brands)| before_6((events, from_brands, millis));
        decode(Table::Audit, bytes)
            .or_else(|_: StorageError| decode(Table::Audit, bytes).map(before_6))
            .or_else(|_: StorageError| decode(Table::Audit, bytes).map(before_5))
    }
}

/// A moment, to the millisecond.
pub(super) fn time(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Numbers as bytes in their order, those below 0 first.
pub(super) fn ordered(number: i64) -> [u8; 8] {
    (number ^ i64::MIN).to_be_bytes()
}

fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?) ^ i64::MIN)
}

/// The rows of a key: from the first to before the second.
pub(super) fn span(key: &Key) -> (Vec<u8>, Vec<u8>) {
    let name = key.name();
    ([name.as_bytes(), &[0]].concat(), [name.as_bytes(), &[1]].concat())
}

/// All rows of a table.
pub(super) fn everything() -> (Vec<u8>, Vec<u8>) {
    prefix("")
}

/// The number that such a row is under.
pub(super) fn sequence(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The rows of everything that begins so.
pub(super) fn prefix(start: &str) -> (Vec<u8>, Vec<u8>) {
    // No name holds this byte: it is in no UTF-8. Numbers do not get so high.
    (start.as_bytes().to_vec(), [start.as_bytes(), &[0xFF; 9]].concat())
}

/// The order of events of one key at one millisecond.
///
/// It must be the same in every store that has the same events, so it depends neither on their arrival nor on the salt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rank<'a> {
    /// Events of erased customers come first: their ids are gone. Among these what was felt decides; the hash only keeps
    /// two of the same apart.
    Nameless(&'a Felt, Hash),
    /// The others follow in the order of the bytes of their ids.
    Id(&'a str),
}

/// Stands before the time in a row of an event. Up to version 4 the time came first, and no time begins with this byte.
const EVENT_MARK: u8 = 1;

/// The same of an event that was taken back: however many of these there are, they do not stand in the way of the last event.
const RETRACTED_MARK: u8 = 2;

pub(super) fn event_row(key: &Key, millis: i64, rank: Rank<'_>) -> Vec<u8> {
    ranked(events_from(key, millis), rank)
}

/// The row of an event of a customer that was taken back.
pub(super) fn retracted_row(key: &Key, millis: i64, id: &str) -> Vec<u8> {
    let row = [key.name().as_bytes(), &[0, RETRACTED_MARK], &ordered(millis)].concat();
    ranked(row, Rank::Id(id))
}

/// The rows of the events of a key that count, and of those that were taken back; in either, the same place has the same time and id.
pub(super) fn event_spans(key: &Key) -> [(Vec<u8>, Vec<u8>); 2] {
    let from = |mark: u8| [key.name().as_bytes(), &[0, mark]].concat();
    [(from(EVENT_MARK), from(RETRACTED_MARK)), (from(RETRACTED_MARK), from(RETRACTED_MARK + 1))]
}

fn ranked(mut row: Vec<u8>, rank: Rank<'_>) -> Vec<u8> {
    match rank {
        Rank::Nameless(Felt { label, score, channel, .. }, hash) => {
            row.push(0);
            row.extend(encode(&(label, score, channel)));
            row.extend(hash);
        }
        Rank::Id(id) => {
            row.push(1);
            row.extend(id.as_bytes());
        }
    }
    row
}

/// Where the events of a key begin that happened at a moment or later.
pub(super) fn events_from(key: &Key, millis: i64) -> Vec<u8> {
    [key.name().as_bytes(), &[0, EVENT_MARK], &ordered(millis)].concat()
}

/// What follows the name and the mark in a row of an event; nothing if it is of a version before 5.
fn event_tail(row: &[u8]) -> Option<&[u8]> {
    let end = row.iter().position(|byte| *byte == 0)?;
    let (mark, tail) = row.get(end + 1..)?.split_first()?;
    [EVENT_MARK, RETRACTED_MARK].contains(mark).then_some(tail)
}

/// Whether a row of an event is one of version 5 or later.
pub(super) fn is_event_row(row: &[u8]) -> bool {
    event_tail(row).is_some()
}

/// Whose event such a row is.
pub(super) fn owner(row: &[u8]) -> Option<Key> {
    let name = row.split(|byte| *byte == 0).next()?;
    Key::parse(std::str::from_utf8(name).ok()?)
}

/// When the event of such a row happened.
pub(super) fn event_time(row: &[u8]) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(event_tail(row)?.get(..8)?)?).ok()
}

/// When the erasure of such a row was done.
pub(super) fn erasure_time(row: &[u8]) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(row.get(..8)?)?).ok()
}

/// That a change names a customer.
pub(super) fn mention_row(customer: &str, sequence: u64) -> Vec<u8> {
    let (mut row, _) = span(&Key::Customer(customer.to_owned()));
    row.extend(sequence.to_be_bytes());
    row
}

/// The change of such a row.
pub(super) fn mentioned(row: &[u8]) -> Option<u64> {
    row.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// That an erasure of a customer is noted.
pub(super) fn subject_row(subject: &Hash, millis: i64) -> Vec<u8> {
    [subject.as_slice(), &ordered(millis)].concat()
}

/// An erasure of a customer as it is noted.
pub(super) fn audit_row(subject: &Hash, millis: i64) -> Vec<u8> {
    [ordered(millis).as_slice(), subject].concat()
}

/// The erasures of a customer: from the first to before the second.
pub(super) fn subject_span(subject: &Hash) -> (Vec<u8>, Vec<u8>) {
    (subject.to_vec(), [subject.as_slice(), &[0xFF; 9]].concat())
}

/// When the erasure of such a row was done, in milliseconds.
pub(super) fn subject_millis(row: &[u8]) -> Option<i64> {
    number(row.get(size_of::<Hash>()..)?)
}

/// A tile of a key.
pub(super) fn tile_row(key: &Key, resolution: Resolution, tile: i64) -> Vec<u8> {
    let kind = match resolution {
        Resolution::Minute => b'm',
        Resolution::Hour => b'h',
        Resolution::Day => b'd',
    };
    [key.name().as_bytes(), &[0, kind], &ordered(tile)].concat()
}

/// Which tile such a row is.
pub(super) fn tile_of(row: &[u8]) -> Option<(Resolution, i64)> {
    let (kind, tile) = row.get(row.len().checked_sub(9)?..)?.split_first()?;
    let resolution = match kind {
        b'm' => Resolution::Minute,
        b'h' => Resolution::Hour,
        b'd' => Resolution::Day,
        _ => return None,
    };
    Some((resolution, number(tile)?))
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Most rows are no larger.
    let room = Vec::with_capacity(256);
    postcard::to_extend(value, room).expect("what is kept has a length and lies in memory")
}

pub(super) fn decode<'a, T: Deserialize<'a>>(table: Table, bytes: &'a [u8]) -> Result<T, StorageError> {
    postcard::from_bytes(bytes).map_err(|_| StorageError::Row { table })
}
