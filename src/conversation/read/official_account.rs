//! The chat that LINE Official Account Manager downloads: one CSV file for each customer, with a head of its own.

use std::sync::LazyLock;

use csv::{ReaderBuilder, StringRecord};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use regex::Regex;

use super::line_text::{BANGKOK, BUDDHIST};
use super::placeholders::body;
use super::{Charset, Format, ReadError, Skipped, Transcript};
use crate::conversation::message::{Message, Sender};
use crate::text::DayOrder;

/// The first cell of the file.
const HEAD: &str = "Account name";

const COLUMNS: [&str; 5] = ["Sender type", "Sender name", "Date", "Time", "Message"];

/// What stands for a sender that is a program: greetings and answers set beforehand, and what came through the API.
const PROGRAMS: [&str; 2] = ["Auto-response", "Unknown"];

pub(super) fn is_one(text: &str) -> bool {
    text.starts_with(HEAD) || text.starts_with(&COLUMNS.join(","))
}

pub(super) fn read(text: &str, charset: Charset) -> Result<Transcript, ReadError> {
    // Where its line is missing.
    let mut zone = BANGKOK;
    let order = order(text);
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
            match message(&record, line, zone, order) {
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
    Ok(Transcript::of_one(Format::OfficialAccount, charset, messages, skipped))
}

/// Dates as the download has them, and as a spreadsheet writes them that it was saved in.
static DATE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})$").expect("a constant pattern"));

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([AaPp])\.?[Mm]\.?)?$").expect("a constant pattern")
});

/// The numbers of a date.
fn date_numbers(text: &str) -> Option<[i16; 3]> {
    let found = DATE.captures(text.trim())?;
    let number = |group: usize| found.get(group)?.as_str().parse().ok();
    Some([number(1)?, number(2)?, number(3)?])
}

/// Whether day or month comes first in a file: months only where a day says so.
fn order(text: &str) -> DayOrder {
    let cells = text.lines().filter_map(|line| line.split([',', ';', '\t']).nth(2));
    let mut dates = cells.filter_map(date_numbers);
    if dates.any(|[first, second, _]| first <= 12 && second > 12) {
        DayOrder::MonthFirst
    } else {
        DayOrder::DayFirst
    }
}

fn local(date: &str, time: &str, order: DayOrder) -> Option<DateTime> {
    let (year, month, day) = match (date_numbers(date)?, order) {
        ([year, month, day], _) if year > 31 => (year, month, day),
        ([day, month, year], DayOrder::DayFirst) | ([month, day, year], DayOrder::MonthFirst) => {
            (year, month, day)
        }
    };
    let year = if year >= BUDDHIST.0 { year - BUDDHIST.1 } else { year };
    let found = TIME.captures(time.trim())?;
    let number = |group: usize| found.get(group).map_or(Some(0), |number| number.as_str().parse::<i8>().ok());
    let hour = match found.get(4).map(|half| half.as_str().to_ascii_lowercase()).as_deref() {
        Some("p") => number(1)? % 12 + 12,
        Some(_) => number(1)? % 12,
        None => number(1)?,
    };
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    Some(date.to_datetime(Time::new(hour, number(2)?, number(3)?, 0).ok()?))
}

fn message(
    record: &StringRecord,
    line: usize,
    zone: Offset,
    order: DayOrder,
) -> Result<Message, &'static str> {
    let cell = |column: usize| record.get(column).ok_or("a row of fewer than five cells");
    let (kind, name, date, time, text) = (cell(0)?, cell(1)?.to_owned(), cell(2)?, cell(3)?, cell(4)?);
    let sender = match kind {
        "User" => Sender::User(name),
        "Account" if PROGRAMS.contains(&name.as_str()) => Sender::Bot(name),
        "Account" => Sender::Account(name),
        _ => return Err("a sender type that is neither User nor Account"),
    };
    let time: Option<Timestamp> = local(date, time, order).and_then(|time| zone.to_timestamp(time).ok());
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
