//! How large a dump may be: what it inflates to, and how many columns it has. A small file may stand for a very large one.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// What is taken of a dump. What is more is refused before it needs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Columns of a dump.
    pub columns: usize,
    /// Bytes of a compressed dump when it is not.
    pub inflated_bytes: u64,
    /// How many times as large as the file they may be, from 64 MiB on.
    pub inflation: u64,
}

/// A dump that inflates to no more is taken, however small it is compressed.
const ALWAYS_BYTES: u64 = 64 << 20;

/// Values of one row of JSON, those inside of others counted.
pub const ROW_VALUES: usize = 1 << 18;

/// Separators of one row of CSV, those in quotes counted: so many cells are read before they can be counted.
pub(super) const ROW_SEPARATORS: u64 = 1 << 22;

impl Default for Limits {
    /// As many columns as a spreadsheet has; reviews are compressed to a third or a tenth, repeated lines to a hundredth.
    fn default() -> Self {
        Self { columns: 16_384, inflated_bytes: 256 << 30, inflation: 200 }
    }
}

impl Limits {
    /// Of what Arom wrote itself.
    pub const NONE: Self = Self { columns: usize::MAX, inflated_bytes: u64::MAX, inflation: u64::MAX };

    /// Whether a dump of so many bytes may inflate to so many.
    ///
    /// # Errors
    ///
    /// Which limit it passes.
    pub(super) fn check(&self, packed: u64, inflated: u64) -> Result<(), Exceeded> {
        if inflated > self.inflated_bytes {
            return Err(Exceeded::Inflated(self.inflated_bytes));
        }
        if inflated > ALWAYS_BYTES && inflated / packed.max(1) > self.inflation {
            return Err(Exceeded::Inflation(self.inflation));
        }
        Ok(())
    }

    /// Whether a dump may have so many columns.
    ///
    /// # Errors
    ///
    /// If it may not.
    pub(super) fn check_columns(&self, count: usize) -> Result<(), Exceeded> {
        if count > self.columns { Err(Exceeded::Columns(self.columns)) } else { Ok(()) }
    }
}

/// Which limit a dump passes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("has more than {0} columns; --max-columns takes more")]
    Columns(usize),
    #[error("inflates to more than {0} bytes; --max-inflated-bytes takes more")]
    Inflated(u64),
    #[error(
        "inflates to more than {0} times its size, as a decompression bomb does; --max-inflation takes more, if you know \
         where it comes from"
    )]
    Inflation(u64),
    #[error(
        "has a row of more than {ROW_SEPARATORS} separators, too many for columns: is it CSV, or is a quote not closed?"
    )]
    Separators,
    #[error("{0}")]
    Parquet(String),
}

impl Exceeded {
    /// The limit that an error of a reader is about, however many libraries passed it on.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// A reader that counts, for others to look at.
pub(super) struct Counting<R>(R, Rc<Cell<u64>>);

impl<R> Counting<R> {
    pub(super) fn new(reader: R) -> Self {
        Self(reader, Rc::default())
    }

    pub(super) fn count(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.1)
    }
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.set(self.1.get() + count as u64);
        Ok(count)
    }
}

/// What comes out of a decompressor, as long as it is within the limits.
pub(super) struct Inflated {
    reader: Box<dyn Read>,
    packed: Rc<Cell<u64>>,
    bytes: u64,
    limits: Limits,
}

impl Inflated {
    /// Of a reader that inflates what `packed` counts.
    pub(super) fn new(reader: Box<dyn Read>, packed: Rc<Cell<u64>>, limits: Limits) -> Self {
        Self { reader, packed, bytes: 0, limits }
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.bytes += count as u64;
        self.limits.check(self.packed.get(), self.bytes).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// How many values a row of JSON holds at most, as far as its commas, colons and brackets say.
pub fn json_values(json: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}
