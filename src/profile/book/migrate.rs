//! Books of older versions, brought up to this one. Each step but the last is one commit, so that a crash leaves the one or the other.
//! The last goes in chunks, whatever the size of the book: begun again after a crash, it goes on with the rows that are left.
//!
//! | from | what changed |
//! | --- | --- |
//! | 5 | events that were taken back lay among the others; it was not listed which changes name a customer, and which erasures are of one |
//! | 4 | events of one millisecond lay in the order of a salted hash, which differs from store to store; keys with raised signals were not listed |
//! | 3 | what is kept of the last events of a key did not say between which times a run lies; it does when the key next changes |
//! | 2 | what is kept of a key did not say what its last events were; it does when the key next changes |
//! | 1 | each tile was a row of its own, each lifetime too, and pairs had events of their own; changes were not kept |

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::change::Change;
use super::super::event::{Channel, Key, Micros};
use super::super::rows::{
    Entry, Felt, Kept, Own, Rank, VERSION, decode, encode, erasure_time, event_row, event_time, everything,
    hash, is_event_row, mention_row, ordered, owner, retracted_row, sequence, subject_row,
};
use super::super::storage::{Order, OwnWrite, Row, Storage, StorageError, Table, borrowed};
use crate::model::Label;

/// Rows that are moved in one commit.
const CHUNK: usize = 4096;

/// In a book whose events are being moved to where they lie in version 5.
const MOVING: &[u8] = b"moving";

/// Brings a storage of some version up to this one.
pub(super) fn up<S: Storage>(storage: &S, found: u32, salt: &[u8; 32]) -> Result<(), StorageError> {
    let mut writes = match found {
        VERSION => Vec::new(),
        1 => from_1(storage)?,
        2..=5 => Vec::new(),
        _ => return Err(StorageError::Version { found, wanted: VERSION }),
    };
    if found != VERSION {
        // An older program must not open it once the first row is moved.
        writes.push((Table::Meta, b"version".to_vec(), Some(VERSION.to_be_bytes().to_vec())));
        writes.push((Table::Meta, MOVING.to_vec(), Some(Vec::new())));
        storage.commit(&borrowed(&writes))?;
    }
    if storage.get(Table::Meta, MOVING)?.is_none() {
        return Ok(());
    }
    if found != 5 {
        move_events(storage, salt)?;
        move_nameless(storage)?;
        list_raised(storage)?;
    }
    move_retracted(storage)?;
    list_mentions(storage)?;
    list_subjects(storage)?;
    storage.commit(&[(Table::Meta, MOVING, None)])
}

/// Works on the rows of a table chunk by chunk, each in a commit of its own.
fn in_chunks<S: Storage>(
    storage: &S,
    table: Table,
    most: usize,
    mut work: impl FnMut(Row, &mut Vec<OwnWrite>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let (mut from, to) = everything();
    loop {
        let rows = storage.scan(table, &from, &to, Order::Ascending, most)?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        from = [last.as_slice(), &[0]].concat();
        let mut writes = Vec::new();
        for row in rows {
            work(row, &mut writes)?;
        }
        if !writes.is_empty() {
            storage.commit(&borrowed(&writes))?;
        }
    }
}

/// Events that the ledger knows: to where their ids put them.
fn move_events<S: Storage>(storage: &S, salt: &[u8; 32]) -> Result<(), StorageError> {
    in_chunks(storage, Table::Ledger, CHUNK, |(id, value), writes| {
        let damaged = || StorageError::Row { table: Table::Ledger };
        let Entry { millis, customer, brands, .. } = decode(Table::Ledger, &value)?;
        let hash = hash(salt, &[&id]);
        let id = std::str::from_utf8(&id).map_err(|_| damaged())?;
        for key in customer.map(Key::Customer).into_iter().chain(brands.into_iter().map(Key::Brand)) {
            let old = [key.name().as_bytes(), &[0], &ordered(millis), &hash].concat();
            if let Some(felt) = storage.get(Table::Events, &old)? {
                writes.push((Table::Events, event_row(&key, millis, Rank::Id(id)), Some(felt)));
                writes.push((Table::Events, old, None));
            }
        }
        Ok(())
    })
}

/// The events that are left are those of erased customers.
fn move_nameless<S: Storage>(storage: &S) -> Result<(), StorageError> {
    in_chunks(storage, Table::Events, CHUNK, |(row, value), writes| {
        if is_event_row(&row) {
            return Ok(());
        }
        let damaged = || StorageError::Row { table: Table::Events };
        let felt: Felt = decode(Table::Events, &value)?;
        let key = owner(&row).ok_or_else(damaged)?;
        let (_, tail) = split(&row).ok_or_else(damaged)?;
        let (millis, hash) = tail.split_first_chunk().ok_or_else(damaged)?;
        let millis = i64::from_be_bytes(*millis) ^ i64::MIN;
        let hash = hash.try_into().map_err(|_| damaged())?;
        writes.push((Table::Events, event_row(&key, millis, Rank::Nameless(&felt, hash)), Some(value)));
        writes.push((Table::Events, row, None));
        Ok(())
    })
}

fn list_raised<S: Storage>(storage: &S) -> Result<(), StorageError> {
    in_chunks(storage, Table::Profiles, CHUNK, |(name, value), writes| {
        if Kept::decode(&value)?.has_raised() {
            writes.push((Table::Raised, name, Some(Vec::new())));
        }
        Ok(())
    })
}

fn move_retracted<S: Storage>(storage: &S) -> Result<(), StorageError> {
    in_chunks(storage, Table::Events, CHUNK, |(row, value), writes| {
        let damaged = || StorageError::Row { table: Table::Events };
        let felt: Felt = decode(Table::Events, &value)?;
        let Some(own) = felt.own.filter(|own| own.retracted) else { return Ok(()) };
        let (key, time) = (owner(&row).ok_or_else(damaged)?, event_time(&row).ok_or_else(damaged)?);
        let moved = retracted_row(&key, time.as_millisecond(), &own.id);
        if moved != row {
            writes.push((Table::Events, row, None));
            writes.push((Table::Events, moved, Some(value)));
        }
        Ok(())
    })
}

fn list_mentions<S: Storage>(storage: &S) -> Result<(), StorageError> {
    // A change may name thousands.
    in_chunks(storage, Table::Changes, 16, |(row, value), writes| {
        let sequence = sequence(&row).ok_or(StorageError::Row { table: Table::Changes })?;
        let change: Change = decode(Table::Changes, &value)?;
        let mention = |customer| (Table::Mentions, mention_row(customer, sequence), Some(Vec::new()));
        writes.extend(change.customers().into_iter().map(mention));
        Ok(())
    })
}

fn list_subjects<S: Storage>(storage: &S) -> Result<(), StorageError> {
    in_chunks(storage, Table::Audit, CHUNK, |(row, _), writes| {
        let damaged = || StorageError::Row { table: Table::Audit };
        let millis = erasure_time(&row).ok_or_else(damaged)?.as_millisecond();
        let subject = row.last_chunk().ok_or_else(damaged)?;
        writes.push((Table::Subjects, subject_row(subject, millis), Some(Vec::new())));
        Ok(())
    })
}

#[derive(Deserialize)]
struct FeltOf1 {
    label: Label,
    score: Micros,
    channel: Channel,
    id: Option<String>,
    retracted: bool,
}

fn from_1<S: Storage>(storage: &S) -> Result<Vec<OwnWrite>, StorageError> {
    let (from, to) = everything();
    let all = |table| storage.scan(table, &from, &to, Order::Ascending, usize::MAX);
    let mut writes = Vec::new();
    let mut profiles: BTreeMap<Key, Kept> = BTreeMap::new();
    for (row, value) in all(Table::Tiles)? {
        let damaged = || StorageError::Row { table: Table::Tiles };
        let (name, rest) = split(&row).ok_or_else(damaged)?;
        let (kind, tile) = rest.split_first().ok_or_else(damaged)?;
        let tile = i64::from_be_bytes(tile.try_into().map_err(|_| damaged())?) ^ i64::MIN;
        let key = Key::parse(name).ok_or_else(damaged)?;
        let is_brand = matches!(key, Key::Brand(_));
        let state = &mut profiles.entry(key).or_default().state;
        if *kind == b'l' {
            state.lifetime = decode(Table::Tiles, &value)?;
        } else if is_brand {
            continue;
        } else {
            match *kind {
                b'm' => state.minutes.put(tile, decode(Table::Tiles, &value)?),
                b'h' => state.hours.put(tile, decode(Table::Tiles, &value)?),
                b'd' => state.days.put(tile, decode(Table::Tiles, &value)?),
                _ => return Err(damaged()),
            }
        }
        writes.push((Table::Tiles, row, None));
    }
    for (key, kept) in profiles {
        writes.push((Table::Profiles, key.to_string().into_bytes(), Some(encode(&kept))));
    }
    for (row, value) in all(Table::Events)? {
        let damaged = || StorageError::Row { table: Table::Events };
        let (name, _) = split(&row).ok_or_else(damaged)?;
        if matches!(Key::parse(name), Some(Key::Pair { .. })) {
            writes.push((Table::Events, row, None));
            continue;
        }
        let FeltOf1 { label, score, channel, id, retracted } = decode(Table::Events, &value)?;
        let own = match id {
            Some(id) => {
                let entry = storage.get(Table::Ledger, id.as_bytes())?.ok_or_else(damaged)?;
                let entry: Entry = decode(Table::Ledger, &entry)?;
                Some(Own { id, brands: entry.brands, retracted })
            }
            None => None,
        };
        writes.push((Table::Events, row, Some(encode(&Felt { label, score, channel, own }))));
    }
    Ok(writes)
}

/// The name of a row's key, and what follows it.
fn split(row: &[u8]) -> Option<(&str, &[u8])> {
    let end = row.iter().position(|byte| *byte == 0)?;
    let (name, rest) = row.split_at_checked(end)?;
    Some((std::str::from_utf8(name).ok()?, rest.get(1..)?))
}
