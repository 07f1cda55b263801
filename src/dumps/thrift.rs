//! Just enough of Thrift's compact protocol to see how large the parts of a Parquet file are, before the library that reads
//! them makes room for them: it believes every size, and follows a schema as deep as it is.
//!
//! The protocol: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>.

use std::io::{self, Read};

/// A struct inside of a struct inside of a struct, so often.
const DEPTH: usize = 32;

/// The wire's name for a kind of value.
type Kind = u8;

const TRUE: Kind = 1;
const FALSE: Kind = 2;
const BYTE: Kind = 3;
const I64: Kind = 6;
const DOUBLE: Kind = 7;
const BINARY: Kind = 8;
const LIST: Kind = 9;
const SET: Kind = 10;
const MAP: Kind = 11;
const STRUCT: Kind = 12;
const UUID: Kind = 13;

/// Values, one after the other.
pub(super) struct Values<R> {
    reader: R,
    /// Bytes that were read.
    pub(super) count: u64,
}

fn bad(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

impl<R: Read> Values<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, count: 0 }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        self.count += 1;
        Ok(byte[0])
    }

    fn leave_out(&mut self, bytes: u64) -> io::Result<()> {
        let left = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink())?;
        self.count += left;
        if left == bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(bad("a number is too long"))
    }

    /// A whole number of any size.
    pub(super) fn number(&mut self) -> io::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Begins a list; gives how many values follow.
    pub(super) fn list(&mut self) -> io::Result<u64> {
        self.list_of().map(|(count, _)| count)
    }

    fn list_of(&mut self) -> io::Result<(u64, Kind)> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Ok((count, head & 0x0F))
    }

    /// Reads a struct: `each` is given the number of a field, and says whether it read its value.
    pub(super) fn fields(
        &mut self,
        each: &mut dyn FnMut(&mut Self, i64) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.fields_within(DEPTH, each)
    }

    fn fields_within(
        &mut self,
        depth: usize,
        each: &mut dyn FnMut(&mut Self, i64) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut field = 0;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(());
            }
            field = if head >> 4 == 0 { self.number()? } else { field + i64::from(head >> 4) };
            if !each(self, field)? {
                self.skip(head & 0x0F, depth)?;
            }
        }
    }

    fn skip(&mut self, kind: Kind, depth: usize) -> io::Result<()> {
        let Some(depth) = depth.checked_sub(1) else { return Err(bad("it is nested too deep")) };
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.leave_out(1),
            4..=I64 => self.varint().map(drop),
            DOUBLE => self.leave_out(8),
            BINARY => self.varint().and_then(|bytes| self.leave_out(bytes)),
            LIST | SET => {
                let (count, kind) = self.list_of()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))
            }
            MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0F, depth)
                })
            }
            STRUCT => self.fields_within(depth, &mut |_, _| Ok(false)),
            UUID => self.leave_out(16),
            _ => Err(bad("a kind of value is unknown")),
        }
    }

    /// Inside of a list a truth value is a byte of its own.
    fn skip_element(&mut self, kind: Kind, depth: usize) -> io::Result<()> {
        if matches!(kind, TRUE | FALSE) { self.leave_out(1) } else { self.skip(kind, depth) }
    }
}
