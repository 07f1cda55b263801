//! Rows out of text: one reader for each format. None of them panics, whatever it is given.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ReaderBuilder, StringRecord};
use encoding_rs_io::DecodeReaderBytesBuilder;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::columns::UNNAMED;
use super::dialect::Format;
use super::limits::{Exceeded, Limits, ROW_SEPARATORS, ROW_VALUES, json_values};
use super::{Bad, Cells, Item, Row};
use crate::text::Charset;

/// A row that is larger is none: a quote was not closed, or the file has no lines.
const MAX_ROW_BYTES: u64 = 64 << 20;

/// Characters of a broken line that are kept.
const SHOWN: usize = 2000;

/// How far the reading is.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Bytes, when not compressed.
    pub bytes: Arc<AtomicU64>,
    /// Rows and what is none; counted by whoever takes them.
    pub rows: Arc<AtomicU64>,
}

/// Counts what is read, in all and since the last row.
pub(super) struct Counted {
    reader: Box<dyn Read>,
    reading: Reading,
    bytes: Rc<Cell<u64>>,
    since: Rc<Cell<u64>>,
    separator: Option<u8>,
    separators: Rc<Cell<u64>>,
}

impl Counted {
    pub(super) fn new(reader: Box<dyn Read>, reading: &Reading) -> Self {
        Self {
            reader,
            reading: reading.clone(),
            bytes: Rc::default(),
            since: Rc::default(),
            separator: None,
            separators: Rc::default(),
        }
    }

    /// Bounds how many cells a row of CSV has: the library has room for any number.
    pub(super) fn separated_by(self, separator: u8) -> Self {
        Self { separator: Some(separator), ..self }
    }

    /// The bytes that were read, also later.
    pub(super) fn count(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.bytes)
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since.get() > MAX_ROW_BYTES {
            return Err(io::Error::other(TooLarge));
        }
        if self.separators.get() > ROW_SEPARATORS {
            return Err(io::Error::other(Exceeded::Separators));
        }
        let count = self.reader.read(buffer)?;
        if let Some(separator) = self.separator {
            let read = buffer.get(..count).unwrap_or_default();
            let found = read.iter().filter(|byte| **byte == separator).count();
            self.separators.set(self.separators.get() + found as u64);
        }
        self.reading.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.bytes.set(self.bytes.get() + count as u64);
        self.since.set(self.since.get() + count as u64);
        Ok(count)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a row is larger than 64 MiB: is a quote not closed?")]
struct TooLarge;

type Each<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

/// Why what follows a place cannot be found.
pub(super) struct Fault {
    /// The line or row.
    pub(super) place: String,
    /// What is wrong, with the text or with the file.
    pub(super) cause: io::Error,
}

pub(super) fn read(
    format: Format,
    charset: Charset,
    limits: Limits,
    reader: Counted,
    each: Each<'_>,
) -> Result<(), Fault> {
    let (since, separators) = (Rc::clone(&reader.since), Rc::clone(&reader.separators));
    let reader = decoded(reader, charset);
    let each = &mut |item| {
        since.set(0);
        separators.set(0);
        each(item)
    };
    match format {
        Format::Csv { delimiter, header, titles } => {
            let head = Head { header, titles, limits };
            csv(reader, delimiter, head, each)
        }
        Format::Text => {
            let row = |line: &str| Some(Ok(Cells::from_iter([("text".to_owned(), line.into())])));
            lines(reader, &since, each, row)
        }
        // Blank lines are none.
        Format::JsonLines => {
            lines(reader, &since, each, |line| (!line.trim().is_empty()).then(|| object(line, limits)))
        }
        Format::JsonArray => array(reader, limits, each),
        Format::Parquet => Ok(()),
    }
}

/// The names of the columns of CSV; none if there is no first row.
pub(super) fn head(
    reader: Counted,
    charset: Charset,
    delimiter: u8,
    header: bool,
    titles: usize,
) -> Vec<String> {
    let reader = decoded(reader, charset);
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(reader);
    let first = reader.records().map_while(Result::ok).filter(|first| !says_delimiter(first)).nth(titles);
    first.map(|first| column_names(&first, header)).unwrap_or_default()
}

fn decoded(reader: Counted, charset: Charset) -> impl Read {
    DecodeReaderBytesBuilder::new().encoding(Some(charset.encoding())).strip_bom(true).build(reader)
}

/// Whether it is Excel's line "sep=;".
fn says_delimiter(record: &StringRecord) -> bool {
    let line: String = record.iter().collect();
    let is_at_top = record.position().is_some_and(|position| position.line() == 1);
    is_at_top && line.len() <= 5 && line.to_ascii_lowercase().starts_with("sep=")
}

/// Stands after the end of CSV, in a line of its own unless a quote is open there. No text has these characters.
const END: &str = "\n\u{10FFFF}\u{10FFFE}\u{10FFFF}";

/// What stands before the rows of CSV, and how many columns it may name.
struct Head {
    header: bool,
    titles: usize,
    limits: Limits,
}

fn csv(reader: impl Read, delimiter: u8, head: Head, each: Each<'_>) -> Result<(), Fault> {
    let Head { header, mut titles, limits } = head;
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(reader.chain(END.as_bytes()));
    let mut record = StringRecord::new();
    let mut names: Option<Vec<String>> = None;
    let mut last = 0;
    let fault = |line, error| Fault { place: format!("after line {line}"), cause: system_error(error) };
    while reader.read_record(&mut record).map_err(|error| fault(last, error))? {
        let line = record.position().map_or(0, csv::Position::line);
        last = line;
        if record.iter().eq([END.trim_start()]) {
            break;
        }
        let cut = without_end(&record);
        let open = cut.as_ref().and_then(|cut| open_quote(cut, line));
        record = cut.unwrap_or(record);
        if let Some(reason) = open {
            let content = record.iter().map(shown).collect();
            if each(Item::Bad(Bad { line, reason, content })).is_break() {
                break;
            }
            continue;
        }
        let names = match &names {
            Some(names) => names,
            None if says_delimiter(&record) => continue,
            None if titles > 0 => {
                titles -= 1;
                continue;
            }
            None => {
                let checked = limits.check_columns(record.len()).map_err(io::Error::other);
                checked.map_err(|cause| Fault { place: format!("line {line}"), cause })?;
                names = Some(column_names(&record, header));
                if header {
                    continue;
                }
                names.get_or_insert_default()
            }
        };
        let extra = record.iter().skip(names.len()).any(|cell| !cell.trim().is_empty());
        let item = if extra {
            let reason = format!(
                "has {} cells where the first row has {}: a quote or a separator is missing",
                record.len(),
                names.len()
            );
            Item::Bad(Bad { line, reason, content: record.iter().take(limits.columns).collect() })
        } else {
            let cells = names.iter().zip(record.iter());
            Item::Row(Row { line, cells: cells.map(|(name, cell)| (name.clone(), cell.into())).collect() })
        };
        if each(item).is_break() {
            break;
        }
    }
    Ok(())
}

/// The record without the end of the file, if that fell into it.
fn without_end(record: &StringRecord) -> Option<StringRecord> {
    let (last, before) = (record.iter().next_back()?, record.len() - 1);
    let last = last.strip_suffix(END)?;
    let mut cut: StringRecord = record.iter().take(before).chain([last]).collect();
    cut.set_position(record.position().cloned());
    Some(cut)
}

/// What is wrong with a record whose last quote is open; nothing if no other line is in it.
fn open_quote(record: &StringRecord, line: u64) -> Option<String> {
    let cell = record.iter().next_back()?;
    let after = cell.trim_end().matches('\n').count();
    if after == 0 {
        return None;
    }
    let before = record.iter().take(record.len() - 1).map(|cell| cell.matches('\n').count() as u64);
    let line = line + before.sum::<u64>();
    Some(format!("begins a quote in line {line} that is never closed; the {after} lines after it are in it"))
}

fn system_error(error: csv::Error) -> io::Error {
    if !error.is_io_error() {
        return io::Error::new(io::ErrorKind::InvalidData, error);
    }
    let text = error.to_string();
    if let csv::ErrorKind::Io(error) = error.into_kind() { error } else { io::Error::other(text) }
}

/// The cells of the head; who has none, or one that is there already, gets its number.
fn column_names(record: &StringRecord, header: bool) -> Vec<String> {
    let (mut names, mut taken) = (Vec::new(), HashSet::new());
    for (cell, number) in record.iter().zip(1..) {
        let cell = cell.trim();
        let name = match cell {
            "" => format!("{UNNAMED}{number}"),
            _ if !header => format!("{UNNAMED}{number}"),
            name if taken.contains(name) => format!("{name}_{number}"),
            name => name.to_owned(),
        };
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// One row a line, where there is one.
fn lines(
    reader: impl Read,
    since: &Cell<u64>,
    each: Each<'_>,
    mut parse: impl FnMut(&str) -> Option<Result<Cells, String>>,
) -> Result<(), Fault> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut line = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        line += 1;
        let fault = |cause| Fault { place: format!("line {line}"), cause };
        if reader.read_until(b'\n', &mut bytes).map_err(fault)? == 0 {
            return Ok(());
        }
        // It was decoded, and is UTF-8.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        let Some(parsed) = parse(text) else {
            since.set(0);
            continue;
        };
        let item = match parsed {
            Ok(cells) => Item::Row(Row { line, cells }),
            Err(reason) => Item::Bad(Bad { line, reason, content: shown(text).into() }),
        };
        if each(item).is_break() {
            return Ok(());
        }
    }
}

/// The beginning of what is broken.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

fn object(line: &str, limits: Limits) -> Result<Cells, String> {
    // Each takes ten times its bytes when it is read.
    if json_values(line) > ROW_VALUES {
        return Err(format!("has more than {ROW_VALUES} values"));
    }
    match serde_json::from_str(line) {
        Ok(Value::Object(cells)) => {
            limits.check_columns(cells.len()).map_err(|limit| limit.to_string())?;
            match cells.iter().find(|(_, cell)| is_rounded(cell)) {
                None => Ok(cells),
                Some((name, _)) => Err(format!(
                    "{name:?} has a number beyond 64 bits, which would be rounded; write it as a string"
                )),
            }
        }
        Ok(_) => Err("is JSON, but no object".to_owned()),
        Err(error) => Err(format!("is no JSON: {error}")),
    }
}

/// Whether a cell has a number that may be an id and was too large to be kept: two ids could become one.
fn is_rounded(cell: &Value) -> bool {
    /// From 2⁶³ on, to more digits than ids have.
    const IDS: Range<f64> = 9_223_372_036_854_775_808.0..1e40;
    cell.as_number().is_some_and(|number| {
        number.is_f64() && number.as_f64().is_some_and(|value| IDS.contains(&value.abs()))
    })
}

/// The elements of one array, as they are read.
fn array(reader: impl Read, limits: Limits, each: Each<'_>) -> Result<(), Fault> {
    let mut stopped = false;
    let mut number = 0;
    let mut deserializer = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, reader));
    let elements = Elements { each, limits, stopped: &mut stopped, number: &mut number };
    let read = match elements.deserialize(&mut deserializer) {
        // Whoever stops an array in its middle is told that it does not end.
        Err(_) if stopped => Ok(()),
        Err(error) => Err(error),
        Ok(()) => deserializer.end(),
    };
    read.map_err(|error| Fault {
        place: format!("line {}, after row {number}", error.line()),
        cause: error.into(),
    })
}

struct Elements<'a> {
    each: Each<'a>,
    limits: Limits,
    stopped: &'a mut bool,
    /// Elements so far.
    number: &'a mut u64,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        // What is inside of an element is read when it is known where it ends: its faults are its own.
        while let Some(element) = elements.next_element::<Box<RawValue>>()? {
            *self.number += 1;
            let line = *self.number;
            let item = match object(element.get(), self.limits) {
                Ok(cells) => Item::Row(Row { line, cells }),
                Err(reason) => Item::Bad(Bad { line, reason, content: shown(element.get()).into() }),
            };
            if (self.each)(item).is_break() {
                *self.stopped = true;
                return Ok(());
            }
        }
        Ok(())
    }
}
