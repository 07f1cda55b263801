//! Messages of any other system: a table with a head, as CSV, a JSON array, or JSON Lines.

use csv::ReaderBuilder;
use serde_json::Value;

use super::placeholders::body;
use super::{Charset, Format, ReadError, Skipped, Transcript};
use crate::conversation::message::{Message, Sender};
use crate::text::{DayOrder, moment, repaired};

/// What a column holds, and the names it may have.
const TEXT: &[&str] = &["text", "message", "body", "content", "ข้อความ"];
const SENDER: &[&str] = &["sender", "from", "author", "name", "sender_name", "ผู้ส่ง"];
const ROLE: &[&str] = &["role", "sender_type", "type"];
const TIME: &[&str] = &["time", "timestamp", "created_at", "date", "datetime", "เวลา"];
const ID: &[&str] = &["id", "message_id"];
const CONVERSATION: &[&str] = &[
    "conversation_id",
    "conversation",
    "chat_id",
    "thread_id",
    "session_id",
    "ticket_id",
    "ticket",
    "room_id",
    "group_id",
    "case_id",
    "conversationid",
    "chatid",
    "threadid",
    "sessionid",
    "ticketid",
    "รหัสการสนทนา",
    "รหัสแชท",
    "เลขที่เรื่อง",
];

/// One row: the cell of a column by its names.
trait Row {
    fn cell(&self, names: &[&str]) -> Option<String>;
}

impl Row for Value {
    fn cell(&self, names: &[&str]) -> Option<String> {
        match names.iter().find_map(|name| self.get(name))? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// A record of CSV beside the names of its columns.
struct Record<'a>(&'a [String], csv::StringRecord);

impl Row for Record<'_> {
    fn cell(&self, names: &[&str]) -> Option<String> {
        let column = self.0.iter().position(|name| names.contains(&name.as_str()))?;
        self.1.get(column).filter(|cell| !cell.is_empty()).map(str::to_owned)
    }
}

/// Whether the first line of a text is the head of such a table.
pub(super) fn is_csv(text: &str) -> bool {
    head(text).iter().any(|name| TEXT.contains(&name.as_str()))
}

fn head(text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    first.split(separator(first)).map(|name| name.trim().trim_matches('"').to_lowercase()).collect()
}

fn separator(line: &str) -> char {
    [',', ';', '\t'].into_iter().max_by_key(|mark| line.matches(*mark).count()).unwrap_or(',')
}

pub(super) fn read_json(rows: &[Value], charset: Charset) -> Result<Transcript, ReadError> {
    collect(rows.iter().enumerate().map(|(at, row)| (at + 1, Ok(row))), Format::Json, charset)
}

pub(super) fn read_csv(text: &str, charset: Charset) -> Result<Transcript, ReadError> {
    let names = head(text);
    let mark = u8::try_from(separator(text.lines().next().unwrap_or_default())).unwrap_or(b',');
    let mut reader = ReaderBuilder::new().flexible(true).delimiter(mark).from_reader(text.as_bytes());
    let rows = reader.records().map(|record| {
        let record = record.map_err(|_| "a row that is no CSV");
        let line = record.as_ref().ok().and_then(csv::StringRecord::position).map_or(0, csv::Position::line);
        let record = record.and_then(|record| whole(&names, record, mark));
        (usize::try_from(line).unwrap_or(0), record.map(|record| Record(&names, record)))
    });
    collect(rows, Format::Csv, charset)
}

/// A record that has as many cells as there are columns. Where the text is the last of them, its writer may not quote it: then what is
/// too much is a part of it.
fn whole(names: &[String], record: csv::StringRecord, mark: u8) -> Result<csv::StringRecord, &'static str> {
    let columns = names.len();
    if record.iter().skip(columns).all(str::is_empty) {
        return Ok(record);
    }
    if names.last().is_none_or(|name| !TEXT.contains(&name.as_str())) {
        return Err(
            "a row with more cells than there are columns: a text with a comma must stand between quotes",
        );
    }
    let (cells, text): (Vec<_>, Vec<_>) = record.iter().enumerate().partition(|(at, _)| at + 1 < columns);
    let text: Vec<&str> = text.into_iter().map(|(_, cell)| cell).collect();
    let text = text.join(&char::from(mark).to_string());
    let mut record: csv::StringRecord = cells.into_iter().map(|(_, cell)| cell).collect();
    record.push_field(&text);
    Ok(record)
}

fn collect<R: Row>(
    rows: impl Iterator<Item = (usize, Result<R, &'static str>)>,
    format: Format,
    charset: Charset,
) -> Result<Transcript, ReadError> {
    let (mut messages, mut skipped) = (Vec::new(), Vec::new());
    for (line, row) in rows {
        match row.and_then(|row| Ok((row.cell(CONVERSATION), message(&row, line)?))) {
            Ok(message) => messages.push(message),
            Err(reason) => skipped.push(Skipped { line, reason }),
        }
    }
    if messages.is_empty() && !skipped.is_empty() {
        Err(ReadError::Unknown)
    } else {
        Ok(Transcript::of_many(format, charset, messages, skipped))
    }
}

impl<R: Row> Row for &R {
    fn cell(&self, names: &[&str]) -> Option<String> {
        (*self).cell(names)
    }
}

fn message(row: &impl Row, line: usize) -> Result<Message, &'static str> {
    let mended = |text: String| repaired(&text).unwrap_or(text);
    let text = row.cell(TEXT).map(mended).ok_or("a row without a text")?;
    let name = row.cell(SENDER).map(mended).unwrap_or_default();
    let sender = match row.cell(ROLE).map(|role| role.to_lowercase()).as_deref() {
        Some("customer" | "user" | "client" | "visitor") => Sender::User(name),
        Some("agent" | "account" | "staff" | "admin" | "operator") => Sender::Account(name),
        Some("bot" | "assistant" | "auto") => Sender::Bot(name),
        Some("system") => Sender::System,
        Some(_) | None if name.is_empty() => return Err("a row without sender and role"),
        Some(_) | None => Sender::Named(name),
    };
    let time = match row.cell(TIME) {
        Some(time) => Some(
            moment(&time, DayOrder::DayFirst)
                .ok_or("a time that is none; use one such as 2026-11-23T20:20:00+07:00")?,
        ),
        None => None,
    };
    Ok(Message { line, id: row.cell(ID), time, sender, body: body(&text) })
}
