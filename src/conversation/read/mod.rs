//! Readers of LINE's exports, webhooks and plain tables of messages. None of them panics, whatever it is given.

mod line_text;
mod official_account;
mod placeholders;
mod table;
mod webhook;

use serde_json::Value;

use super::message::Message;
pub use crate::text::Charset;

/// What a file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// LINE's chat history with tabs, as telephones write it.
    LineTabs,
    /// LINE's chat history with spaces, as computers write it.
    LineSpaces,
    /// The CSV file that LINE Official Account Manager downloads.
    OfficialAccount,
    /// Calls of LINE's Messaging API webhook, one or many.
    Webhook,
    /// A JSON array, or JSON Lines, of messages.
    Json,
    /// A table of messages with a head: comma, semicolon or tab.
    Csv,
}

impl Format {
    /// Its name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::LineTabs => "line_tabs",
            Self::LineSpaces => "line_spaces",
            Self::OfficialAccount => "official_account",
            Self::Webhook => "webhook",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

/// What was read out of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript {
    /// How it was written.
    pub format: Format,
    /// Its letters.
    pub charset: Charset,
    /// The messages in the order of the file.
    pub messages: Vec<Message>,
    /// What was not understood.
    pub skipped: Vec<Skipped>,
}

/// A line that was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Why a file was not read at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing in it looks like a conversation.
    #[error(
        "is no conversation that is known: a LINE chat history has lines with a date, and then lines with a time and a \
         message; a table has a column `text` or `message`, and `sender` or `role`"
    )]
    Unknown,
    /// It looks like JSON and is none.
    #[error("line {line}: is no JSON: {reason}")]
    Json {
        /// Where.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The head of an Official Account's file lacks its columns.
    #[error("has no line {wanted}")]
    Columns {
        /// The line that there should be.
        wanted: String,
    },
    /// The time zone in that head is none.
    #[error("line {line}: the time zone is none; it should be one such as '+09:00'")]
    TimeZone {
        /// Where.
        line: usize,
    },
}

/// Reads a conversation that is of this format, or, if none is given, of whichever it looks like.
///
/// # Errors
///
/// If it is none.
pub fn read(bytes: &[u8], format: Option<Format>) -> Result<Transcript, ReadError> {
    let (text, charset) = decode(bytes);
    let text = text.trim_start();
    match format.unwrap_or_else(|| detect(text)) {
        Format::LineTabs | Format::LineSpaces => line_text::read(text, charset),
        Format::OfficialAccount => official_account::read(text, charset),
        Format::Csv => table::read_csv(text, charset),
        Format::Webhook => webhook::read(values(text)?, charset),
        Format::Json => {
            let values = values(text)?;
            if format.is_none() && values.iter().any(webhook::is_one) {
                webhook::read(values, charset)
            } else {
                table::read_json(&values, charset)
            }
        }
    }
}

/// Direction marks around names, and characters that show nothing; a joiner stays, for emoji are made with it.
fn is_dropped(ch: char) -> bool {
    matches!(ch, '\u{2066}'..='\u{2069}' | '\u{200B}' | '\u{200C}' | '\u{200E}' | '\u{200F}' | '\u{FEFF}')
}

/// The text of a file, and how it was spelt. Lines end in `\n` alone.
fn decode(bytes: &[u8]) -> (String, Charset) {
    let charset = Charset::detect(bytes, std::str::from_utf8(bytes).is_ok());
    let (text, _, _) = charset.encoding().decode(bytes);
    let text = text.replace("\r\n", "\n");
    (text.chars().filter(|ch| !is_dropped(*ch)).collect(), charset)
}

fn detect(text: &str) -> Format {
    if text.starts_with('{') || (text.starts_with('[') && !text.starts_with("[LINE]")) {
        Format::Json
    } else if official_account::is_one(text) {
        Format::OfficialAccount
    } else if table::is_csv(text) {
        Format::Csv
    } else {
        Format::LineTabs
    }
}

/// The values of JSON Lines, or of one array.
fn values(text: &str) -> Result<Vec<Value>, ReadError> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        let value =
            value.map_err(|error| ReadError::Json { line: error.line(), reason: error.to_string() })?;
        if let Value::Array(several) = value { values.extend(several) } else { values.push(value) }
    }
    Ok(values)
}
