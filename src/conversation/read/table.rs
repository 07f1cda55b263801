//! Messages of any other system: a table with a head, as CSV, a JSON array, or JSON Lines.

use csv::ReaderBuilder;
use serde_json::Value;

use super::placeholders::body;
use super::{Charset, Format, ReadError, Skipped, Transcript};
use crate::conversation::message::{Message, Sender};
use crate::text::{DayOrder, moment};

/// What a column holds, and the names it may have.
const TEXT: &[&str] = &["text", "message", "body", "content", "ข้อความ"];
const SENDER: &[&str] = &["sender", "from", "author", "name", "sender_name", "ผู้ส่ง"];
const ROLE: &[&str] = &["role", "sender_type", "type"];
const TIME: &[&str] = &["time", "timestamp", "created_at", "date", "datetime", "เวลา"];
const ID: &[&str] = &["id", "message_id"];

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
    collect(rows.iter().enumerate().map(|(at, row)| (at + 1, Some(row))), Format::Json, charset)
}

pub(super) fn read_csv(text: &str, charset: Charset) -> Result<Transcript, ReadError> {
    let names = head(text);
    let mark = u8::try_from(separator(text.lines().next().unwrap_or_default())).unwrap_or(b',');
    let mut reader = ReaderBuilder::new().flexible(true).delimiter(mark).from_reader(text.as_bytes());
    let rows = reader.records().map(|record| {
        let record = record.ok();
        let line = record.as_ref().and_then(csv::StringRecord::position).map_or(0, csv::Position::line);
        (usize::try_from(line).unwrap_or(0), record.map(|record| Record(&names, record)))
    });
    collect(rows, Format::Csv, charset)
}

fn collect<R: Row>(
    rows: impl Iterator<Item = (usize, Option<R>)>,
    format: Format,
    charset: Charset,
) -> Result<Transcript, ReadError> {
    let (mut messages, mut skipped) = (Vec::new(), Vec::new());
    for (line, row) in rows {
        match row.ok_or("a row that is no CSV").and_then(|row| message(&row, line)) {
            Ok(message) => messages.push(message),
            Err(reason) => skipped.push(Skipped { line, reason }),
        }
    }
    if messages.is_empty() && !skipped.is_empty() {
        Err(ReadError::Unknown)
    } else {
        Ok(Transcript { format, charset, messages, skipped })
    }
}

impl<R: Row> Row for &R {
    fn cell(&self, names: &[&str]) -> Option<String> {
        (*self).cell(names)
    }
}

fn message(row: &impl Row, line: usize) -> Result<Message, &'static str> {
    let text = row.cell(TEXT).ok_or("a row without a text")?;
    let name = row.cell(SENDER).unwrap_or_default();
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
