//! Times as people and their tools write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::offset;

/// The months in English, and in Thai in full and short without its points.
const MONTHS: [[&str; 3]; 12] = [
    ["january", "มกราคม", "มค"],
    ["february", "กุมภาพันธ์", "กพ"],
    ["march", "มีนาคม", "มีค"],
    ["april", "เมษายน", "เมย"],
    ["may", "พฤษภาคม", "พค"],
    ["june", "มิถุนายน", "มิย"],
    ["july", "กรกฎาคม", "กค"],
    ["august", "สิงหาคม", "สค"],
    ["september", "กันยายน", "กย"],
    ["october", "ตุลาคม", "ตค"],
    ["november", "พฤศจิกายน", "พย"],
    ["december", "ธันวาคม", "ธค"],
];

/// How the days of the week begin.
const WEEKDAYS: [&str; 8] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun", "วัน"];

/// What comes first where neither is the year nor in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DayOrder {
    /// 25/9/2026, as in Thailand.
    #[default]
    DayFirst,
    /// 9/25/2026, as in the United States.
    MonthFirst,
}

/// A time with its zone, seconds or milliseconds since 1970, or a local time or day of Thailand: the year first, or
/// the day, or with the month in words. A year of 2400 or more is one of the Buddhist era, and so is one of two digits
/// from 60 on: 05/10/69 is in 2569.
pub fn moment(text: &str, order: DayOrder) -> Option<Timestamp> {
    /// Later than any second that is meant, earlier than any millisecond.
    const SECONDS: i64 = 100_000_000_000;
    let text: String = text.trim().chars().map(western).collect();
    if let Ok(number) = text.parse::<i64>() {
        return if number.abs() < SECONDS {
            Timestamp::from_second(number)
        } else {
            Timestamp::from_millisecond(number)
        }
        .ok();
    }
    let words: Vec<&str> = text
        .split(|ch: char| ch.is_whitespace() || ch == ',')
        .filter(|word| !word.is_empty() && *word != "เวลา")
        .map(|word| match word {
            "ก่อนเที่ยง" => "AM",
            "หลังเที่ยง" => "PM",
            other => other,
        })
        .collect();
    let (date, rest) = day(&words, order)?;
    let rest = rest.trim();
    // "09:30:00 +07" and "09:30:00 UTC" as much as "09:30:00+07:00".
    let zone_at = rest.find(['+', '-', 'Z', 'U', 'G']);
    let (time, zone) = zone_at.and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
    let time = clock(time.trim())?;
    let local = DateTime::from_parts(date, time);
    match zone.trim() {
        "" => offset(7).to_timestamp(local).ok(),
        zone => {
            // "GMT+7" as much as "+07:00".
            let beside = zone.trim_start_matches(|ch: char| ch.is_ascii_alphabetic()).trim();
            let zone = match beside.as_bytes() {
                [] => "Z".to_owned(),
                [sign, hour] => format!("{}0{}", char::from(*sign), char::from(*hour)),
                _ => beside.to_owned(),
            };
            format!("{local}{zone}").parse().ok()
        }
    }
}

/// What the day of a time like 25/9/2026 tells of the order in its column: `Some(None)` if it could be either, nothing
/// of a time that is written in another way.
pub fn day_order(text: &str) -> Option<Option<DayOrder>> {
    let digits: String = text.trim().chars().map(western).collect();
    let mut parts = digits.split(['-', '/', '.']);
    let mut part = || parts.next().filter(|part| part.len() <= 2)?.parse::<u8>().ok();
    let (first, second) = (part()?, part()?);
    match (first, second) {
        (1..=12, 1..=12) => Some(None),
        (13..=31, 1..=12) => Some(Some(DayOrder::DayFirst)),
        (1..=12, 13..=31) => Some(Some(DayOrder::MonthFirst)),
        _ => None,
    }
}

/// Thai digits as the others.
pub(crate) fn western(ch: char) -> char {
    match ch {
        '๐'..='๙' => char::from_digit(u32::from(ch) - u32::from('๐'), 10).unwrap_or(ch),
        other => other,
    }
}

/// The day, and what is beside it.
fn day(words: &[&str], order: DayOrder) -> Option<(Date, String)> {
    let (first, rest) = words.split_first()?;
    let (digits, time) = first.split_once('T').unwrap_or((first, ""));
    if let Some(date) = date(digits, order) {
        return Some((date, [&[time], rest].concat().join(" ")));
    }
    let name = first.to_lowercase();
    if WEEKDAYS.iter().any(|weekday| name.starts_with(weekday)) {
        return day(rest, order);
    }
    let [second, third, rest @ ..] = rest else { return None };
    if let Some(date) = named(first, second, third).or_else(|| named(second, first, third)) {
        return Some((date, rest.join(" ")));
    }
    // X: "Mon Jan 05 09:00:00 +0000 2026".
    let [zone, year] = rest else { return None };
    Some((named(second, first, year)?, format!("{third} {zone}")))
}

fn named(day: &str, month: &str, year: &str) -> Option<Date> {
    let month = month.replace('.', "").to_lowercase();
    let is_it = |[english, full, short]: &[&str; 3]| {
        month == *full || month == *short || (month.len() >= 3 && english.starts_with(&month))
    };
    let number = i8::try_from(MONTHS.iter().position(is_it)?).ok()? + 1;
    Date::new(era(year)?, number, day.parse().ok()?).ok()
}

fn date(text: &str, order: DayOrder) -> Option<Date> {
    let mut parts = text.split(['-', '/', '.']);
    let mut part = || parts.next().filter(|part| part.len() <= 4);
    let (first, second, third) = (part()?, part()?, part()?);
    if parts.next().is_some() {
        return None;
    }
    let number = |text: &str| text.parse::<i8>().ok();
    let (year, month, day) = if first.len() == 4 {
        (first, number(second)?, number(third)?)
    } else {
        let (month, day) = match order {
            DayOrder::DayFirst => (number(second)?, number(first)?),
            DayOrder::MonthFirst => (number(first)?, number(second)?),
        };
        // What would be no month is a day.
        if month > 12 { (third, day, month) } else { (third, month, day) }
    };
    Date::new(era(year)?, month, day).ok()
}

/// A year of our era, of which two digits may be left out.
fn era(text: &str) -> Option<i16> {
    let year: i16 = text.parse().ok()?;
    let year = match text.len() {
        2 if year >= 60 => year + 2500,
        2 => year + 2000,
        _ => year,
    };
    let year = if year >= 2400 { year - 543 } else { year };
    (year >= 1900).then_some(year)
}

/// "09:30:00", "9:30", "9:30 น." or "9:30 PM".
fn clock(text: &str) -> Option<Time> {
    let text = text.trim_end_matches("น.").trim_end().to_ascii_uppercase();
    if text.is_empty() {
        return Some(Time::midnight());
    }
    let (morning, evening) = (text.strip_suffix("AM"), text.strip_suffix("PM"));
    let digits = morning.or(evening).unwrap_or(&text).trim_end();
    let zero = if digits.find(':') == Some(1) { "0" } else { "" };
    let time: Time = format!("{zero}{digits}").parse().ok()?;
    let hour = match time.hour() {
        12 if morning.is_some() => 0,
        hour if hour < 12 && evening.is_some() => hour + 12,
        hour => hour,
    };
    time.with().hour(hour).build().ok()
}
