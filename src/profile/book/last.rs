//! Looks for the last events of keys. Pure but for the scans that it is given.

use std::collections::{HashMap, HashSet};

use super::super::event::Key;
use super::super::features::Tail;
use super::super::rows::{Felt, decode, event_spans, events_from};
use super::super::storage::{Row, StorageError, Table};
use super::contribution;

/// Most rows of one scan.
const CHUNK: usize = 1024;

/// The last events of keys, of those events that happened at `horizon` (in milliseconds) or later.
///
/// The events of a pair lie among those of its customer. All pairs of one customer are looked for in one pass, so the work grows with
/// the events of the customers and not with the events times the pairs. `scan` reads so many rows of events, the newest first.
pub(super) fn tails<'k>(
    keys: impl IntoIterator<Item = &'k Key>,
    horizon: i64,
    scan: impl Fn(&[u8], &[u8], usize) -> Result<Vec<Row>, StorageError>,
) -> Result<HashMap<&'k Key, Tail>, StorageError> {
    let mut found = HashMap::new();
    let mut pairs: HashMap<&str, HashMap<&str, &Key>> = HashMap::new();
    for key in keys {
        match key {
            Key::Pair { customer, brand } => {
                pairs.entry(customer).or_default().insert(brand, key);
            }
            Key::Customer(_) | Key::Brand(_) => {
                let mut tail = Tail::default();
                newest(key, horizon, &scan, |_, event| !tail.add_older(event))?;
                found.insert(key, tail);
            }
        }
    }
    for (customer, brands) in pairs {
        found.extend(brands.values().map(|key| (*key, Tail::default())));
        let mut open = brands;
        let owner = Key::Customer(customer.to_owned());
        newest(&owner, horizon, &scan, |felt, event| {
            // An event may name a brand twice.
            let named: HashSet<&String> = felt.own.iter().flat_map(|own| &own.brands).collect();
            for brand in named {
                if let Some(tail) = open.get(brand.as_str()).and_then(|key| found.get_mut(key))
                    && tail.add_older(event)
                {
                    open.remove(brand.as_str());
                }
            }
            !open.is_empty()
        })?;
    }
    Ok(found)
}

/// Shows the events of a customer or brand since a moment, the newest first, until `more` answers false.
fn newest(
    owner: &Key,
    horizon: i64,
    scan: impl Fn(&[u8], &[u8], usize) -> Result<Vec<Row>, StorageError>,
    mut more: impl FnMut(&Felt, &super::Contribution) -> bool,
) -> Result<(), StorageError> {
    let [(_, mut to), _] = event_spans(owner);
    let from = events_from(owner, horizon);
    let mut most = 4;
    loop {
        let rows = scan(&from, &to, most)?;
        for (row, value) in &rows {
            let felt: Felt = decode(Table::Events, value)?;
            if !more(&felt, &contribution(row, &felt)?) {
                return Ok(());
            }
        }
        match rows.into_iter().nth(most - 1) {
            Some((row, _)) => to = row,
            None => return Ok(()),
        }
        most = (most * 4).min(CHUNK);
    }
}
