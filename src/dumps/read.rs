//! Rows out of text: one reader for each format. None of them panics, whatever it is given.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csv::{ReaderBuilder, StringRecord};
use encoding_rs_io::DecodeReaderBytesBuilder;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::Value;

use super::columns::UNNAMED;
use super::dialect::Format;
use super::{Bad, Cells, DumpError, Item, Row};
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
    since: Rc<Cell<u64>>,
}

impl Counted {
    pub(super) fn new(reader: Box<dyn Read>, reading: &Reading) -> Self {
        Self { reader, reading: reading.clone(), since: Rc::default() }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since.get() > MAX_ROW_BYTES {
            return Err(io::Error::other(TooLarge));
        }
        let count = self.reader.read(buffer)?;
        self.reading.bytes.fetch_add(count as u64, Ordering::Relaxed);
        self.since.set(self.since.get() + count as u64);
        Ok(count)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a row is larger than 64 MiB: is a quote not closed?")]
struct TooLarge;

type Each<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

pub(super) fn read(
    name: &str,
    format: Format,
    charset: Charset,
    reader: Counted,
    each: Each<'_>,
) -> Result<(), DumpError> {
    let since = Rc::clone(&reader.since);
    let reader =
        DecodeReaderBytesBuilder::new().encoding(Some(charset.encoding())).strip_bom(true).build(reader);
    let each = &mut |item| {
        since.set(0);
        each(item)
    };
    let broken = |place: String, problem: String| DumpError::Broken { name: name.to_owned(), place, problem };
    match format {
        Format::Csv { delimiter, header } => csv(reader, delimiter, header, each)
            .map_err(|(line, error)| broken(format!("after line {line}"), error.to_string())),
        Format::Text => lines(reader, each, |line| Ok(Cells::from_iter([("text".to_owned(), line.into())])))
            .map_err(|(line, error)| broken(format!("line {line}"), error.to_string())),
        Format::JsonLines => lines(reader, each, object)
            .map_err(|(line, error)| broken(format!("line {line}"), error.to_string())),
        Format::JsonArray => {
            array(reader, each).map_err(|error| broken(format!("line {}", error.line()), error.to_string()))
        }
        Format::Parquet => Ok(()),
    }
}

/// The names of the columns of CSV; none if there is no first row.
pub(super) fn head(reader: Counted, charset: Charset, delimiter: u8, header: bool) -> Vec<String> {
    let reader = decoded(reader, charset);
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(reader);
    let first = reader.records().next().and_then(Result::ok);
    first.map(|first| column_names(&first, header)).unwrap_or_default()
}

fn decoded(reader: Counted, charset: Charset) -> impl Read {
    DecodeReaderBytesBuilder::new().encoding(Some(charset.encoding())).strip_bom(true).build(reader)
}

fn csv(reader: impl Read, delimiter: u8, header: bool, each: Each<'_>) -> Result<(), (u64, csv::Error)> {
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(reader);
    let mut record = StringRecord::new();
    let mut names: Option<Vec<String>> = None;
    let mut last = 0;
    while reader.read_record(&mut record).map_err(|error| (last, error))? {
        let line = record.position().map_or(0, csv::Position::line);
        last = line;
        let names = match &names {
            Some(names) => names,
            None => {
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
            Item::Bad(Bad { line, reason, content: record.iter().collect() })
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

/// The cells of the head; who has none, or one that is there already, gets its number.
fn column_names(record: &StringRecord, header: bool) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (cell, number) in record.iter().zip(1..) {
        let cell = cell.trim();
        let name = match cell {
            "" => format!("{UNNAMED}{number}"),
            _ if !header => format!("{UNNAMED}{number}"),
            name if names.iter().any(|other| other == name) => format!("{name}_{number}"),
            name => name.to_owned(),
        };
        names.push(name);
    }
    names
}

/// One row a line; blank lines are none.
fn lines(
    reader: impl Read,
    each: Each<'_>,
    mut parse: impl FnMut(&str) -> Result<Cells, String>,
) -> Result<(), (u64, io::Error)> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let mut line = 0;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        line += 1;
        if reader.read_until(b'\n', &mut bytes).map_err(|error| (line, error))? == 0 {
            return Ok(());
        }
        // It was decoded, and is UTF-8.
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            continue;
        }
        let item = match parse(text) {
            Ok(cells) => Item::Row(Row { line, cells }),
            Err(reason) => {
                Item::Bad(Bad { line, reason, content: text.chars().take(SHOWN).collect::<String>().into() })
            }
        };
        if each(item).is_break() {
            return Ok(());
        }
    }
}

fn object(line: &str) -> Result<Cells, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(cells)) => Ok(cells),
        Ok(_) => Err("is JSON, but no object".to_owned()),
        Err(error) => Err(format!("is no JSON: {error}")),
    }
}

/// The elements of one array, as they are read.
fn array(reader: impl Read, each: Each<'_>) -> Result<(), serde_json::Error> {
    let mut stopped = false;
    let mut deserializer = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, reader));
    let elements = Elements { each, stopped: &mut stopped };
    match elements.deserialize(&mut deserializer) {
        // Whoever stops an array in its middle is told that it does not end.
        Err(_) if stopped => Ok(()),
        Err(error) => Err(error),
        Ok(()) => deserializer.end(),
    }
}

struct Elements<'a> {
    each: Each<'a>,
    stopped: &'a mut bool,
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
        let mut number = 0;
        while let Some(element) = elements.next_element::<Value>()? {
            number += 1;
            let item = match element {
                Value::Object(cells) => Item::Row(Row { line: number, cells }),
                other @ (Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)) => {
                    Item::Bad(Bad { line: number, reason: "is no object".to_owned(), content: other })
                }
            };
            if (self.each)(item).is_break() {
                *self.stopped = true;
                return Ok(());
            }
        }
        Ok(())
    }
}
