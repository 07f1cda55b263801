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

/// Rows as the bytes of a file that ends so; `columns` are those of CSV, and `first` whether its head goes before.
///
/// # Errors
///
/// If a cell cannot be written.
pub fn encode_rows(
    ending: Ending,
    columns: &[String],
    first: bool,
    rows: &[Cells],
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
            if first {
                write(&mut writer, columns.to_vec())?;
            }
            for row in rows {
                let cells = columns.iter().map(|name| row.get(name).map(cell).unwrap_or_default());
                write(&mut writer, cells.collect())?;
            }
            writer.into_inner().map_err(|error| impossible(error.to_string()))
        }
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}
