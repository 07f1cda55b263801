//! What a dump is written in, found from its beginning.

use std::collections::{HashMap, HashSet};

use csv::{ReaderBuilder, StringRecord};

use super::columns::{is_known_name, is_number};
use super::limits::Limits;
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
        /// Rows before it that are no table: a title, as in exports of spreadsheets.
        titles: usize,
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
    /// How large it may be.
    pub limits: Limits,
}

/// Rows of the beginning that are looked at.
const ROWS: usize = 200;

/// Share of the rows that must have as many cells as most.
const LIKE: f64 = 0.8;

/// Share of the lines that must have as many tabs as most, for text to be a table.
const TABBED: f64 = 0.9;

/// How good a delimiter is that cuts out a name that is known: better than any other.
const NAMED: f64 = 2.0;

/// So many rows are looked through for the head.
const TITLES: usize = 8;

/// Longest name of a column that is taken for one.
const NAME_CHARS: usize = 40;

const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

impl Dialect {
    /// Its name for people.
    pub fn name(self) -> String {
        let charset = self.charset.name();
        match self.format {
            Format::Csv { delimiter, header, titles } => {
                let delimiter = match delimiter {
                    b',' => "comma".to_owned(),
                    b';' => "semicolon".to_owned(),
                    b'\t' => "tab".to_owned(),
                    other => format!("{:?}", char::from(other)),
                };
                let head = if header { "with a header" } else { "without a header" };
                let titles =
                    if titles > 0 { format!(" after {titles} rows of titles") } else { String::new() };
                format!("CSV ({delimiter}, {head}{titles}, {charset})")
            }
            Format::Text => format!("a text a line ({charset})"),
            Format::JsonLines => format!("JSON Lines ({charset})"),
            Format::JsonArray => format!("JSON array ({charset})"),
            Format::Parquet => "Parquet".to_owned(),
        }
    }

    /// Of a dump that begins so; `is_text` if its name says that it is no table. Or what it is that cannot be read.
    pub(super) fn detect(
        head: &[u8],
        charset: Charset,
        mut given: Given,
        is_text: bool,
    ) -> Result<Self, &'static str> {
        let charset = given.charset.unwrap_or(charset);
        if let Some(problem) = no_text(head, charset) {
            return Err(problem);
        }
        let (text, _, _) = charset.encoding().decode(head);
        // The last line may be cut.
        let mut text = text.rfind('\n').and_then(|end| text.get(..=end)).unwrap_or(&text);
        if let Some((delimiter, rest)) = said(text) {
            given.delimiter = given.delimiter.or(Some(delimiter));
            text = rest;
        }
        let start = text.trim_start();
        let no_table = is_text && given.delimiter.is_none() && given.header.is_none();
        let format = match given.format {
            Some(Format::Csv { .. }) => csv(text, given),
            Some(other) => other,
            None if start.starts_with('{') && is_one_object(start) => return Err(ONE_OBJECT),
            None if start.starts_with('{') => Format::JsonLines,
            None if start.starts_with('[') && looks_like_array(start) => Format::JsonArray,
            None if no_table && is_tabbed(text, charset) => {
                csv(text, Given { delimiter: Some(b'\t'), ..given })
            }
            None if no_table => Format::Text,
            None => csv(text, given),
        };
        Ok(Self { format, charset })
    }
}

const ONE_OBJECT: &str = "is one JSON object; give the array in it, e.g. jq '.reviews' FILE";

const WORKBOOK: &str = "is an Excel workbook; save it as CSV UTF-8 and give that";

/// What a file is that is no text.
fn no_text(head: &[u8], charset: Charset) -> Option<&'static str> {
    let has = |name: &[u8]| head.windows(name.len()).any(|bytes| bytes == name);
    let zeros = || head.iter().filter(|byte| **byte == 0).count();
    match head {
        [b'P', b'K', 3, 4, ..] if has(b"xl/") || has(b"[Content_Types].xml") => Some(WORKBOOK),
        [b'P', b'K', 3, 4, ..] => Some("is a zip archive; unpack it first"),
        [0xD0, 0xCF, 0x11, 0xE0, ..] => Some(WORKBOOK),
        [b'%', b'P', b'D', b'F', ..] => Some("is a PDF"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("is compressed by bzip2; unpack it, or use .gz or .zst"),
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Some("is compressed by xz; unpack it, or use .gz or .zst"),
        _ if matches!(charset, Charset::Utf16Le | Charset::Utf16Be) => None,
        // A few zeros are damage.
        _ => (zeros() > 8 + head.len() / 64).then_some("is no text"),
    }
}

/// The delimiter of a first line such as Excel's "sep=;", and what is after it.
fn said(text: &str) -> Option<(u8, &str)> {
    let (line, rest) = text.split_once('\n')?;
    let line = line.trim_end_matches('\r').trim_matches('"');
    match line.as_bytes() {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', delimiter] if delimiter.is_ascii() => {
            Some((*delimiter, rest))
        }
        _ => None,
    }
}

/// Whether the first line breaks off as a printed object's does, and not as a damaged line's.
fn is_one_object(text: &str) -> bool {
    let Some((line, _)) = text.split_once('\n') else { return false };
    let parsed = serde_json::from_str::<serde::de::IgnoredAny>(line);
    parsed.is_err_and(|error| error.is_eof()) && line.trim_end().ends_with(['{', '[', ','])
}

/// Whether text is cells between tabs: Excel's "Unicode text" is UTF-16.
fn is_tabbed(text: &str, charset: Charset) -> bool {
    let is_utf16 = matches!(charset, Charset::Utf16Le | Charset::Utf16Be);
    let in_first = text.lines().next().is_some_and(|line| line.contains('\t'));
    let rows = records(text, b'\t');
    let (size, share) = commonest(&rows);
    in_first && (is_utf16 || (rows.len() > 1 && size > 1 && share >= TABBED))
}

/// "[LINE] …" and "[รูป]" begin as an array does.
fn looks_like_array(text: &str) -> bool {
    text.get(1..).is_some_and(|rest| rest.trim_start().starts_with(['{', ']']))
}

fn csv(text: &str, given: Given) -> Format {
    let found = given.delimiter.map(|delimiter| (delimiter, records(text, delimiter)));
    let (delimiter, rows) = found.unwrap_or_else(|| best(text));
    let is_free = given.format.is_none() && given.header.is_none() && given.delimiter.is_none();
    if is_free && rows.iter().all(|row| row.len() <= 1) {
        let named = rows.first().and_then(|row| row.get(0)).is_some_and(is_known_name);
        return if named { Format::Csv { delimiter, header: true, titles: 0 } } else { Format::Text };
    }
    let titles = if given.header == Some(false) { 0 } else { titles(&rows) };
    let rows = rows.get(titles..).unwrap_or_default();
    Format::Csv { delimiter, header: given.header.unwrap_or_else(|| has_header(rows)), titles }
}

/// Rows with a title or nothing, before a row with a name that is known.
fn titles(rows: &[StringRecord]) -> usize {
    let filled = |row: &StringRecord| row.iter().filter(|cell| !cell.trim().is_empty()).count();
    let first = rows.iter().take(TITLES).position(|row| filled(row) > 1);
    let is_head = |at: &usize| rows.get(*at).is_some_and(|row| row.iter().any(is_known_name));
    first.filter(is_head).unwrap_or(0)
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
        if let Some(head) =
            rows.get(titles(&rows)).filter(|head| head.len() > 1 && head.iter().any(is_known_name))
        {
            if (NAMED, head.len()) > best_like {
                best_like = (NAMED, head.len());
                best = (delimiter, rows);
            }
            continue;
        }
        let (size, like) = commonest(&rows);
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

/// How many cells most rows have, and the share of these rows.
fn commonest(rows: &[StringRecord]) -> (usize, f64) {
    let mut sizes: HashMap<usize, u32> = HashMap::new();
    for row in rows {
        *sizes.entry(row.len()).or_default() += 1;
    }
    let common = sizes.into_iter().max_by_key(|(size, count)| (*count, *size));
    let (size, count) = common.unwrap_or_default();
    (size, f64::from(count) / f64::from(u32::try_from(rows.len().max(1)).unwrap_or(u32::MAX)))
}

/// Whether the first row names the columns: a name that is known; else nothing that occurs again below it, and no
/// number where all others are numbers.
fn has_header(rows: &[StringRecord]) -> bool {
    let Some((first, rest)) = rows.split_first() else { return true };
    if first.iter().any(is_known_name) {
        return true;
    }
    let occurs_again = |(column, cell): (usize, &str)| {
        !cell.is_empty() && rest.iter().any(|row| row.get(column) == Some(cell))
    };
    if first.iter().enumerate().any(occurs_again) {
        return false;
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
    let mut seen = HashSet::new();
    first.iter().all(|cell| seen.insert(cell) && short(cell))
}
