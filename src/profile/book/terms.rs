//! The terms that a store is kept by, in the store itself: a command that opens it for a while keeps it as its server does.

use jiff::SignedDuration;

use super::super::rows::{decode, encode};
use super::super::signals::Rules;
use super::super::storage::{Storage, StorageError, Table};
use super::{Book, Terms};

/// The row of the terms.
const TERMS: &[u8] = b"terms";

/// Retention and skew in seconds; the rules of signals, with their times in seconds.
type Row = ((i64, i64), (i64, f64, f64, f64, i64), (f64, f64, u64), (i64, i64));

fn row(terms: &Terms) -> Row {
    let Terms { retention, skew, rules } = terms;
    (
        (retention.as_secs(), skew.as_secs()),
        (rules.share_minutes, rules.share_raise, rules.share_clear, rules.share_rise, rules.share_events),
        (rules.mood_raise, rules.mood_clear, u64::try_from(rules.run_raise).unwrap_or(u64::MAX)),
        (rules.cool_down.as_secs(), rules.silence.as_secs()),
    )
}

fn terms(row: Row) -> Terms {
    let ((retention, skew), share, mood, (cool_down, silence)) = row;
    let (share_minutes, share_raise, share_clear, share_rise, share_events) = share;
    let (mood_raise, mood_clear, run_raise) = mood;
    Terms {
        retention: SignedDuration::from_secs(retention),
        skew: SignedDuration::from_secs(skew),
        rules: Rules {
            share_minutes,
            share_raise,
            share_clear,
            share_rise,
            share_events,
            mood_raise,
            mood_clear,
            run_raise: usize::try_from(run_raise).unwrap_or(usize::MAX),
            cool_down: SignedDuration::from_secs(cool_down),
            silence: SignedDuration::from_secs(silence),
        },
    }
}

impl Terms {
    /// The terms that the last server kept a store by; nothing if none did.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn kept<S: Storage>(storage: &S) -> Result<Option<Self>, StorageError> {
        let found = storage.get(Table::Meta, TERMS)?;
        found.map(|bytes| decode(Table::Meta, &bytes).map(terms)).transpose()
    }
}

impl<S: Storage> Book<S> {
    /// Keeps the terms in the store, for commands that open it later.
    ///
    /// # Errors
    ///
    /// If they cannot be read or written.
    pub fn keep_terms(&self) -> Result<(), StorageError> {
        if Terms::kept(&self.storage)? == Some(self.terms) {
            return Ok(());
        }
        self.storage.commit(&[(Table::Meta, TERMS, Some(&encode(&row(&self.terms))))])
    }
}
