//! Tables that are written: JSON Lines and CSV as they grow, Parquet when they are whole.

use std::path::Path;

use serde_json::Value;

use super::{Cells, Compression, DumpError};

/// What a file that is written is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// One JSON object a line.
    JsonLines(Compression),
    /// Comma, header, UTF-8 (RFC 4180).
    Csv(Compression),
    /// Apache Parquet, whose index is at its end.
    Parquet,
}

impl Ending {
    /// By the name of the file.
    ///
    /// # Errors
    ///
    /// If it says nothing that is known.
    pub fn of(path: &Path) -> Result<Self, DumpError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let (name, compression) = [Compression::Gzip, Compression::Zstd]
            .into_iter()
            .find_map(|compression| Some((name.strip_suffix(compression.ending())?, compression)))
            .unwrap_or((&name, Compression::None));
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines(compression)),
            Some("csv") => Ok(Self::Csv(compression)),
            Some("parquet") if compression == Compression::None => Ok(Self::Parquet),
            _ => Err(DumpError::Columns(format!(
                "{}: write to a file that ends in .jsonl, .csv (these also with .gz or .zst) or .parquet",
                path.display()
            ))),
        }
    }
}

/// Rows as the bytes of a file that ends so; `columns` are those of CSV, and `first` whether its head goes before. Of a column
/// that `escaped` names, a text that a spreadsheet would take for a formula begins with a `'` in CSV.
///
/// # Errors
///
/// If a cell cannot be written.
pub fn encode_rows(
    ending: Ending,
    columns: &[String],
    first: bool,
    rows: &[Cells],
    escaped: impl Fn(&str) -> bool,
) -> Result<Vec<u8>, DumpError> {
    let impossible = |problem: String| DumpError::Columns(problem);
    match ending {
        Ending::JsonLines(_) | Ending::Parquet => {
            let mut bytes = Vec::new();
            for row in rows {
                serde_json::to_writer(&mut bytes, row).map_err(|error| impossible(error.to_string()))?;
                bytes.push(b'\n');
            }
            Ok(bytes)
        }
        Ending::Csv(_) => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            let write = |writer: &mut csv::Writer<Vec<u8>>, cells: Vec<String>| {
                writer.write_record(cells).map_err(|error| impossible(error.to_string()))
            };
            let columns: Vec<(&String, bool)> = columns.iter().map(|name| (name, escaped(name))).collect();
            let safe = |text: String, escaped| if escaped { escape_formula(text) } else { text };
            if first {
                let head = columns.iter().map(|(name, escaped)| safe((*name).clone(), *escaped));
                write(&mut writer, head.collect())?;
            }
            for row in rows {
                let cells = columns.iter().map(|(name, escaped)| {
                    row.get(*name).map(|value| safe(cell(value), *escaped)).unwrap_or_default()
                });
                write(&mut writer, cells.collect())?;
            }
            writer.into_inner().map_err(|error| impossible(error.to_string()))
        }
    }
}

/// A text that a spreadsheet shows as it is: one that it would take for a formula gets a `'` before it. So does one that looks
/// as if it had been escaped, so that [`unescape_formula`] gives every text back.
fn escape_formula(text: String) -> String {
    if is_formula(text.trim_start_matches('\'')) { format!("'{text}") } else { text }
}

/// The text that was escaped.
pub fn unescape_formula(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if is_formula(rest.trim_start_matches('\'')) => rest,
        _ => text,
    }
}

/// Whether a spreadsheet takes a text for a formula (OWASP's list, full-width signs with it). A number is none.
fn is_formula(text: &str) -> bool {
    let begins = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let is_number = || {
        text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
            && text.parse::<f64>().is_ok()
    };
    begins && !is_number()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}
