//! A store as a stream of bytes, and back. Pure: who moves the bytes is elsewhere.
//!
//! A backup is [`MAGIC`] and then parts: the length of a part, 4 bytes big-endian, and a frame of zstd with its checksum, in
//! which there is a [`Part`] in postcard. The first says of which version it is and when it was made, the last how many rows
//! there are: a backup that was cut off has no last part.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zstd::zstd_safe::CParameter;

use super::book::{Book, RESTORED};
use super::rows::{VERSION, decode, encode, time};
use super::storage::{Row, Storage, StorageError, Table};

/// How a backup begins.
pub const MAGIC: &[u8] = b"arom profile backup 1\n";

/// Rows of one part have so many bytes, or one has more.
const PART_BYTES: usize = 1 << 20;

/// A part that says it is longer is none.
pub const LONGEST_PART: usize = 64 << 20;

/// zstd's own default: more costs much time for few bytes.
const LEVEL: i32 = 3;

#[derive(Debug, Serialize, Deserialize)]
enum Part {
    Begin { version: u32, millis: i64 },
    Rows { table: String, rows: Vec<Row> },
    End { rows: u64 },
}

/// What was backed up or restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The moment whose rows these are.
    pub time: Timestamp,
    /// How many there are.
    pub rows: u64,
}

/// Why a backup is not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It begins as no backup does.
    #[error("it is no backup of `arom profile backup`")]
    Foreign,
    /// It ends before its last part.
    #[error("it is cut off; take another backup")]
    CutOff,
    /// A part holds what nobody wrote.
    #[error("part {part} is damaged; take another backup")]
    Damaged {
        /// Which, from 1.
        part: usize,
    },
    /// It is of a store that this program does not know.
    #[error(
        "it is of a store of version {found}, this program reads up to {VERSION}; restore it with a newer one"
    )]
    Version {
        /// The version.
        found: u32,
    },
    /// The store to which it is restored refuses.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl<S: Storage> Book<S> {
    /// Gives the bytes of a backup, piece by piece; nothing is returned if whoever takes them had enough before the end. All
    /// rows are as they were at one moment; writing goes on meanwhile.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn back_up(
        &self,
        now: Timestamp,
        take: &mut dyn FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> Result<Option<BackedUp>, StorageError> {
        let begin = Part::Begin { version: VERSION, millis: now.as_millisecond() };
        if take([MAGIC, &sealed(&begin)].concat()).is_break() {
            return Ok(None);
        }
        let (mut table, mut rows, mut bytes, mut count) = (Table::Meta, Vec::new(), 0, 0);
        let mut enough = false;
        self.storage().snapshot(&mut |of, row, value| {
            if !rows.is_empty() && (of != table || bytes >= PART_BYTES) {
                let part = Part::Rows { table: table.name().to_owned(), rows: std::mem::take(&mut rows) };
                bytes = 0;
                enough = take(sealed(&part)).is_break();
            }
            table = of;
            bytes += row.len() + value.len();
            rows.push((row.to_vec(), value.to_vec()));
            count += 1;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let last = Part::Rows { table: table.name().to_owned(), rows };
        let whole = !enough
            && take(sealed(&last)).is_continue()
            && take(sealed(&Part::End { rows: count })).is_continue();
        Ok(whole.then_some(BackedUp { time: now, rows: count }))
    }
}

/// Puts the parts of a backup into an empty store.
#[derive(Debug)]
pub struct Restoration<'a, S> {
    storage: &'a S,
    parts: usize,
    begun: Option<Timestamp>,
    rows: u64,
    ended: bool,
}

impl<'a, S: Storage> Restoration<'a, S> {
    /// Begins.
    pub fn new(storage: &'a S) -> Self {
        Self { storage, parts: 0, begun: None, rows: 0, ended: false }
    }

    /// Takes the next part, without its length.
    ///
    /// # Errors
    ///
    /// If it is none, or the store refuses.
    pub fn take(&mut self, frame: &[u8]) -> Result<(), BackupError> {
        self.parts += 1;
        let damaged = BackupError::Damaged { part: self.parts };
        let Ok(bytes) = zstd::bulk::decompress(frame, LONGEST_PART) else { return Err(damaged) };
        let part = decode(Table::Meta, &bytes);
        match (part, self.begun) {
            (Ok(Part::Begin { version, .. }), None) if version > VERSION => {
                return Err(BackupError::Version { found: version });
            }
            (Ok(Part::Begin { millis, .. }), None) => self.begun = Some(time(millis)),
            (Ok(Part::Rows { table, rows }), Some(_)) if !self.ended => {
                let Some(table) = Table::ALL.into_iter().find(|known| known.name() == table) else {
                    return Err(damaged);
                };
                self.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
                let writes = rows.iter().map(|(row, value)| (table, row.as_slice(), Some(value.as_slice())));
                self.storage.commit(&writes.collect::<Vec<_>>())?;
            }
            (Ok(Part::End { rows }), Some(_)) if rows == self.rows && !self.ended => self.ended = true,
            _ => return Err(damaged),
        }
        Ok(())
    }

    /// Ends. With this mark the store is another one than that which was backed up: what was said of what came after the
    /// backup means nothing here.
    ///
    /// # Errors
    ///
    /// If the last part did not come, or the store refuses.
    pub fn finish(self, mark: [u8; 16]) -> Result<BackedUp, BackupError> {
        let (Some(time), true) = (self.begun, self.ended) else { return Err(BackupError::CutOff) };
        self.storage.commit(&[(Table::Meta, RESTORED, Some(&mark))])?;
        Ok(BackedUp { time, rows: self.rows })
    }
}

fn sealed(part: &Part) -> Vec<u8> {
    let seal = zstd::bulk::Compressor::new(LEVEL).and_then(|mut compressor| {
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        compressor.compress(&encode(part))
    });
    let frame = seal.expect("it goes from memory to memory");
    let length = u32::try_from(frame.len()).expect("a row is far shorter");
    [length.to_be_bytes().as_slice(), &frame].concat()
}
