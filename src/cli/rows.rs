//! Texts from a file or stdin: one a line, or JSON Lines with a field `text`.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::dumps::{ROW_VALUES, json_values};
use crate::files::{is_stdout, standard};

/// Lines of a named source, with their numbers.
pub(super) struct Lines {
    name: String,
    number: usize,
    /// Bytes that were read, and how many may be.
    bytes: u64,
    most: u64,
    reader: BufReader<Box<dyn Read>>,
}

/// Enough for several chunks of usual texts.
const READ_AHEAD: usize = 1 << 18;

/// A line that is longer is none.
const LINE_BYTES: u64 = 64 << 20;

/// Bytes of rows that are held at once.
const WHOLE_BYTES: u64 = 1 << 30;

/// Refuses to read what is being written.
fn refuse_stdout(name: &str, read: Option<Metadata>) -> Result<()> {
    if read.is_some_and(|read| is_stdout(&read)) {
        bail!("{name} is the file that the output goes to; send that elsewhere");
    }
    Ok(())
}

/// What the lines of a source hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One text a line
    Text,
    /// One JSON object a line, the text in its field `text`
    #[value(name = "jsonl")]
    Json,
}

/// What a line holds.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) text: String,
    /// The whole object, if the source is JSON Lines.
    pub(super) object: Option<Map<String, Value>>,
}

/// What messages call a file that may be stdin.
pub(super) fn file_name(file: &Path) -> String {
    if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() }
}

impl Lines {
    /// Opens a file, or stdin for none and for "-".
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        match path.filter(|path| *path != Path::new("-")) {
            None => {
                refuse_stdout("stdin", standard(io::stdin()))?;
                Ok(Self::of("stdin".to_owned(), Box::new(io::stdin().lock())))
            }
            Some(path) => {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                if file.metadata().is_ok_and(|meta| meta.is_dir()) {
                    bail!("{} is a folder; name a file", path.display());
                }
                refuse_stdout(&path.display().to_string(), file.metadata().ok())?;
                Ok(Self::of(path.display().to_string(), Box::new(file)))
            }
        }
    }

    fn of(name: String, source: Box<dyn Read>) -> Self {
        Self {
            name,
            number: 0,
            bytes: 0,
            most: u64::MAX,
            reader: BufReader::with_capacity(READ_AHEAD, source),
        }
    }

    /// As [`open`](Self::open), for rows that are all held in memory: a file of more than 1 GiB is refused.
    pub(super) fn open_whole(path: &Path) -> Result<Self> {
        Ok(Self { most: WHOLE_BYTES, ..Self::open(Some(path))? })
    }

    /// Whether the next row is here already, so that asking for it will not wait for a slow writer.
    pub(super) fn has_next(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// The next row, or none at the end. Errors name the source and the line.
    pub(super) fn next(&mut self, format: Format) -> Result<Option<Row>> {
        match format {
            Format::Text => {
                let Some(line) = self.line()? else { return Ok(None) };
                if self.number == 1 && line.starts_with("{\"") {
                    tracing::warn!(
                        "{} looks like JSON and is read as plain text; --format jsonl reads its field `text`",
                        self.name
                    );
                }
                Ok(Some(Row { text: line, object: None }))
            }
            Format::Json => {
                let Some(object) = self.object()? else { return Ok(None) };
                let Some(Value::String(text)) = object.get("text") else {
                    return Err(self.fault("no field `text` with a string"));
                };
                Ok(Some(Row { text: text.clone(), object: Some(object) }))
            }
        }
    }

    /// The next line, with its number.
    pub(super) fn numbered(&mut self) -> Result<Option<(usize, String)>> {
        let line = self.line()?;
        Ok(line.map(|line| (self.number, line)))
    }

    fn line(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut line = self.reader.by_ref().take(LINE_BYTES + 1);
        if line.read_until(b'\n', &mut bytes).with_context(|| format!("cannot read {}", self.name))? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if bytes.len() as u64 > LINE_BYTES {
            return Err(self.fault("it is longer than 64 MiB"));
        }
        self.bytes += bytes.len() as u64;
        if self.bytes > self.most {
            let most = self.most >> 20;
            return Err(
                self.fault(&format!("the file has more than {most} MiB, which are all that is taken"))
            );
        }
        let line = String::from_utf8(bytes).map_err(|error| {
            let position = error.utf8_error().valid_up_to() + 1;
            self.fault(&format!("byte {position} is not UTF-8; convert the file, for example with iconv"))
        })?;
        Ok(Some(line.trim_end_matches(['\n', '\r']).trim_start_matches('\u{FEFF}').to_owned()))
    }

    /// The next object of JSON Lines, or none at the end.
    pub(super) fn object(&mut self) -> Result<Option<Map<String, Value>>> {
        while let Some(line) = self.line()? {
            // A blank line, such as the last one of many files, holds no object.
            if line.trim().is_empty() {
                continue;
            }
            if json_values(&line) > ROW_VALUES {
                return Err(self.fault(&format!("it has more than {ROW_VALUES} values")));
            }
            let value =
                serde_json::from_str(&line).map_err(|error| self.fault(&format!("not JSON: {error}")))?;
            return match value {
                Value::Object(object) => Ok(Some(object)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Err(self.fault("not a JSON object"))
                }
            };
        }
        Ok(None)
    }

    /// An error about the line last read.
    pub(super) fn fault(&self, problem: &str) -> anyhow::Error {
        anyhow!("{}, line {}: {problem}", self.name, self.number)
    }
}

/// JSON Lines by the file's ending.
pub(super) fn format_of(path: Option<&PathBuf>) -> Format {
    let ending = path.and_then(|path| path.extension()).and_then(|ending| ending.to_str());
    let json = ending
        .is_some_and(|ending| ["jsonl", "ndjson"].iter().any(|known| ending.eq_ignore_ascii_case(known)));
    if json { Format::Json } else { Format::Text }
}
