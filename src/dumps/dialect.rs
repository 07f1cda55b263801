//! What a dump is written in, found from its beginning.

use std::collections::HashMap;

use csv::{ReaderBuilder, StringRecord};

use super::columns::{is_known_name, is_number};
use crate::text::Charset;

/// What holds the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Cells between separators, quoted where they must be.
    Csv {
        /// What separates them.
        delimiter: u8,
        /// Whether the first row has the names of the columns.
        header: bool,
    },
    /// One text a line.
    Text,
    /// One JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    JsonArray,
    /// Apache Parquet.
    Parquet,
}

/// What a dump is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// What holds the rows.
    pub format: Format,
    /// The letters.
    pub charset: Charset,
}

/// What the user has said of it; the rest is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Kind of file: a delimiter of its own is found for CSV.
    pub format: Option<Format>,
    /// What separates the cells.
    pub delimiter: Option<u8>,
    /// Whether there is a head.
    pub header: Option<bool>,
    /// The letters.
    pub charset: Option<Charset>,
}

/// Rows of the beginning that are looked at.
const ROWS: usize = 200;

/// Share of the rows that must have as many cells as most.
const LIKE: f64 = 0.8;

/// How good a delimiter is that cuts out a name that is known: better than any other.
const NAMED: f64 = 2.0;

/// Longest name of a column that is taken for one.
const NAME_CHARS: usize = 40;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

impl Dialect {
    /// Its name for people.
    pub fn name(self) -> String {
        let charset = self.charset.name();
        match self.format {
            Format::Csv { delimiter, header } => {
                let delimiter = match delimiter {
                    b',' => "comma".to_owned(),
                    b';' => "semicolon".to_owned(),
                    b'\t' => "tab".to_owned(),
                    other => format!("{:?}", char::from(other)),
                };
                let head = if header { "with a header" } else { "without a header" };
                format!("CSV ({delimiter}, {head}, {charset})")
            }
            Format::Text => format!("a text a line ({charset})"),
            Format::JsonLines => format!("JSON Lines ({charset})"),
            Format::JsonArray => format!("JSON array ({charset})"),
            Format::Parquet => "Parquet".to_owned(),
        }
    }

    /// Of a dump that begins so; `is_text` if its name says that it is no table.
    pub(super) fn detect(head: &[u8], charset: Charset, given: Given, is_text: bool) -> Self {
        let charset = given.charset.unwrap_or(charset);
        let (text, _, _) = charset.encoding().decode(head);
        // The last line may be cut.
        let text = text.rfind('\n').and_then(|end| text.get(..=end)).unwrap_or(&text);
        let start = text.trim_start();
        let format = match given.format {
            Some(Format::Csv { .. }) => csv(text, given),
            Some(other) => other,
            None if start.starts_with('{') => Format::JsonLines,
            None if start.starts_with('[') && looks_like_array(start) => Format::JsonArray,
            None if is_text && given.delimiter.is_none() => Format::Text,
            None => csv(text, given),
        };
        Self { format, charset }
    }
}

/// "[LINE] …" and "[รูป]" begin as an array does.
fn looks_like_array(text: &str) -> bool {
    text.get(1..).is_some_and(|rest| rest.trim_start().starts_with(['{', ']']))
}

fn csv(text: &str, given: Given) -> Format {
    let found = given.delimiter.map(|delimiter| (delimiter, records(text, delimiter)));
    let (delimiter, rows) = found.unwrap_or_else(|| best(text));
    if rows.iter().all(|row| row.len() <= 1) && given.header.is_none() && given.delimiter.is_none() {
        let named = rows.first().and_then(|row| row.get(0)).is_some_and(is_known_name);
        return if named { Format::Csv { delimiter, header: true } } else { Format::Text };
    }
    Format::Csv { delimiter, header: given.header.unwrap_or_else(|| has_header(&rows)) }
}

fn records(text: &str, delimiter: u8) -> Vec<StringRecord> {
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    reader.records().take(ROWS).filter_map(Result::ok).collect()
}

/// The delimiter that cuts a first row with a name that is known, or else most rows into equally many cells; of those
/// as good, into more.
fn best(text: &str) -> (u8, Vec<StringRecord>) {
    let mut best = (b',', Vec::new());
    let mut best_like = (0.0, 0);
    for delimiter in DELIMITERS {
        let rows = records(text, delimiter);
        if let Some(head) = rows.first().filter(|head| head.len() > 1 && head.iter().any(is_known_name)) {
            if (NAMED, head.len()) > best_like {
                best_like = (NAMED, head.len());
                best = (delimiter, rows);
            }
            continue;
        }
        let mut sizes: HashMap<usize, u32> = HashMap::new();
        for row in &rows {
            *sizes.entry(row.len()).or_default() += 1;
        }
        let common = sizes.into_iter().max_by_key(|(size, count)| (*count, *size));
        let Some((size, count)) = common else { continue };
        let like = f64::from(count) / f64::from(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if size > 1 && like >= LIKE && (like, size) > best_like {
            best_like = (like, size);
            best = (delimiter, rows);
        } else if best.1.is_empty() && size == 1 {
            best.1 = rows;
        }
    }
    if best_like.1 == 0 {
        // No cells: each line is one text, whatever marks are in it.
        best.1 = text.lines().take(ROWS).map(|line| StringRecord::from(vec![line])).collect();
    }
    best
}

/// Whether the first row names the columns: a name that is known, or no number where all others are numbers.
fn has_header(rows: &[StringRecord]) -> bool {
    let Some((first, rest)) = rows.split_first() else { return true };
    if first.iter().any(is_known_name) {
        return true;
    }
    let numbers = |column: usize| {
        let mut cells =
            rest.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(is_number)
    };
    for (column, name) in first.iter().enumerate() {
        if numbers(column) {
            return !is_number(name);
        }
    }
    let short = |cell: &str| !cell.is_empty() && cell.chars().count() <= NAME_CHARS && !is_number(cell);
    let distinct =
        first.iter().enumerate().all(|(at, cell)| first.iter().take(at).all(|other| other != cell));
    distinct && first.iter().all(short)
}
