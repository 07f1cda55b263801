//! Books of older versions, brought up to this one. Each step is one commit, so that a crash leaves the one or the other.
//!
//! | from | what changed |
//! | --- | --- |
//! | 3 | what is kept of the last events of a key did not say between which times a run lies; it does when the key next changes |
//! | 2 | what is kept of a key did not say what its last events were; it does when the key next changes |
//! | 1 | each tile was a row of its own, each lifetime too, and pairs had events of their own; changes were not kept |

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::event::{Channel, Key, Micros};
use super::super::rows::{Entry, Felt, Kept, Own, VERSION, decode, encode, everything};
use super::super::storage::{Order, OwnWrite, Storage, StorageError, Table, borrowed};
use crate::model::Label;

/// Brings a storage of some version up to this one.
pub(super) fn up<S: Storage>(storage: &S, found: u32) -> Result<(), StorageError> {
    let mut writes = match found {
        VERSION => return Ok(()),
        1 => from_1(storage)?,
        2 | 3 => Vec::new(),
        _ => return Err(StorageError::Version { found, wanted: VERSION }),
    };
    writes.push((Table::Meta, b"version".to_vec(), Some(VERSION.to_be_bytes().to_vec())));
    storage.commit(&borrowed(&writes))
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
