//! Readers of LINE's exports, webhooks and plain tables of messages. None of them panics, whatever it is given.

mod line_text;
mod official_account;
mod placeholders;
mod table;
mod webhook;

use std::collections::HashMap;

use jiff::Timestamp;
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
    /// Its conversations in the order in which the file begins them; at least one.
    pub conversations: Vec<Conversation>,
    /// What was not understood.
    pub skipped: Vec<Skipped>,
}

/// One conversation of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The file's own name for it: of a webhook the group or the user, of a table its column of conversations.
    pub id: Option<String>,
    /// Its messages in the order of their times, and where a file has none in the order of the file.
    pub messages: Vec<Message>,
}

impl Transcript {
    /// A file that holds one conversation, in the order of the file.
    fn of_one(format: Format, charset: Charset, messages: Vec<Message>, skipped: Vec<Skipped>) -> Self {
        Self { format, charset, conversations: vec![Conversation { id: None, messages }], skipped }
    }

    /// A file whose messages say to which conversation they belong, and when they were sent.
    fn of_many(
        format: Format,
        charset: Charset,
        found: Vec<(Option<String>, Message)>,
        skipped: Vec<Skipped>,
    ) -> Self {
        let mut conversations: Vec<Conversation> = Vec::new();
        let mut places: HashMap<Option<String>, usize> = HashMap::new();
        for (id, message) in found {
            let place = *places.entry(id.clone()).or_insert_with(|| {
                conversations.push(Conversation { id, messages: Vec::new() });
                conversations.len() - 1
            });
            if let Some(conversation) = conversations.get_mut(place) {
                conversation.messages.push(message);
            }
        }
        for conversation in &mut conversations {
            order_by_time(&mut conversation.messages);
        }
        if conversations.is_empty() {
            conversations.push(Conversation::default());
        }
        Self { format, charset, conversations, skipped }
    }

    /// How many messages it has.
    pub fn message_count(&self) -> usize {
        self.conversations.iter().map(|conversation| conversation.messages.len()).sum()
    }
}

/// Puts messages in the order of their times. One without a time stays behind the one before it. Of messages of the same time the
/// file's order counts, which is turned round in a file that has the newest first.
fn order_by_time(messages: &mut Vec<Message>) {
    let times: Vec<Timestamp> = messages.iter().filter_map(|message| message.time).collect();
    let falls = times.windows(2).filter(|pair| pair.first() > pair.last()).count();
    let rises = times.windows(2).filter(|pair| pair.first() < pair.last()).count();
    if falls > rises {
        messages.reverse();
    }
    let mut latest = None;
    let mut timed: Vec<(Option<Timestamp>, Message)> = Vec::with_capacity(messages.len());
    for message in messages.drain(..) {
        latest = message.time.or(latest);
        timed.push((latest, message));
    }
    timed.sort_by_key(|(time, _)| *time);
    messages.extend(timed.into_iter().map(|(_, message)| message));
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
        given @ (Format::Webhook | Format::Json) => {
            let Values { values, skipped } = values(text)?;
            let is_webhook =
                given == Format::Webhook || (format.is_none() && values.iter().any(webhook::is_one));
            let mut transcript = if is_webhook {
                webhook::read(values, charset)?
            } else {
                table::read_json(&values, charset)?
            };
            transcript.skipped.extend(skipped);
            Ok(transcript)
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

/// What a file of JSON holds.
#[derive(Default)]
struct Values {
    values: Vec<Value>,
    /// Lines of JSON Lines that are no JSON, as the last of a log that is being written.
    skipped: Vec<Skipped>,
}

/// The values of JSON Lines, or of one array.
fn values(text: &str) -> Result<Values, ReadError> {
    let mut found = Values::default();
    let (mut rest, mut lines) = (text, 0);
    loop {
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let failed = loop {
            match stream.next() {
                None => return Ok(found),
                Some(Ok(Value::Array(several))) => found.values.extend(several),
                Some(Ok(value)) => found.values.push(value),
                Some(Err(error)) => break error,
            }
        };
        // Where the value that failed begins; a line that it is alone on is left out.
        let begin = stream.byte_offset();
        let (read, left) = rest.split_at_checked(begin).unwrap_or((rest, ""));
        let blank = left.len() - left.trim_start().len();
        let line = lines
            + read.matches('\n').count()
            + left.get(..blank).unwrap_or_default().matches('\n').count()
            + 1;
        let (_, after) = left.trim_start().split_once('\n').unwrap_or_default();
        let is_lines = !found.values.is_empty() || after.trim_start().starts_with('{');
        if !is_lines || left.trim_start().starts_with('[') {
            let line = lines + failed.line();
            return Err(ReadError::Json { line, reason: failed.to_string() });
        }
        found.skipped.push(Skipped { line, reason: "a line that is no JSON" });
        (rest, lines) = (after, line);
    }
}
