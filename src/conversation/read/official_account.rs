//! The chat that LINE Official Account Manager downloads: one CSV file for each customer, with a head of its own.

use csv::{ReaderBuilder, StringRecord};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::placeholders::body;
use super::{Charset, Format, ReadError, Skipped, Transcript};
use crate::conversation::message::{Message, Sender};

/// The first cell of the file.
const HEAD: &str = "Account name";

const COLUMNS: [&str; 5] = ["Sender type", "Sender name", "Date", "Time", "Message"];

/// What stands for a sender that is a program: greetings and answers set beforehand, and what came through the API.
const PROGRAMS: [&str; 2] = ["Auto-response", "Unknown"];

pub(super) fn is_one(text: &str) -> bool {
    text.starts_with(HEAD) || text.starts_with(&COLUMNS.join(","))
}

pub(super) fn read(text: &str, charset: Charset) -> Result<Transcript, ReadError> {
    let mut zone = Offset::UTC;
    let mut columns = false;
    let (mut messages, mut skipped) = (Vec::new(), Vec::new());
    for record in
        ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes()).records()
    {
        let Ok(record) = record else {
            skipped.push(Skipped { line: 0, reason: "a row that is no CSV" });
            continue;
        };
        let line = record.position().and_then(|at| usize::try_from(at.line()).ok()).unwrap_or(0);
        let cell = |column: usize| record.get(column).unwrap_or_default().trim();
        if columns {
            match message(&record, line, zone) {
                Ok(message) => messages.push(message),
                Err(reason) => skipped.push(Skipped { line, reason }),
            }
        } else if cell(0) == "Time zone" {
            zone = offset(cell(1)).ok_or(ReadError::TimeZone { line })?;
        } else if COLUMNS.iter().enumerate().all(|(column, name)| cell(column) == *name) {
            columns = true;
        }
    }
    if !columns {
        return Err(ReadError::Columns { wanted: COLUMNS.join(",") });
    }
    Ok(Transcript { format: Format::OfficialAccount, charset, messages, skipped })
}

fn message(record: &StringRecord, line: usize, zone: Offset) -> Result<Message, &'static str> {
    let cell = |column: usize| record.get(column).ok_or("a row of fewer than five cells");
    let (kind, name, date, time, text) = (cell(0)?, cell(1)?.to_owned(), cell(2)?, cell(3)?, cell(4)?);
    let sender = match kind {
        "User" => Sender::User(name),
        "Account" if PROGRAMS.contains(&name.as_str()) => Sender::Bot(name),
        "Account" => Sender::Account(name),
        _ => return Err("a sender type that is neither User nor Account"),
    };
    let time: Option<Timestamp> = DateTime::strptime("%Y/%m/%d %H:%M:%S", format!("{date} {time}"))
        .ok()
        .and_then(|time| zone.to_timestamp(time).ok());
    let time = time.ok_or("a date or time that is none")?;
    Ok(Message { line, id: None, time: Some(time), sender, body: body(text) })
}

/// An offset such as `'+09:00'`.
fn offset(text: &str) -> Option<Offset> {
    let text = text.trim_matches(['\'', '"']);
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let seconds =
        hours.parse::<i32>().ok()?.checked_mul(3600)? + minutes.parse::<i32>().ok()?.checked_mul(60)?;
    Offset::from_seconds(sign * seconds).ok()
}
