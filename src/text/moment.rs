//! Times as people and their tools write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::offset;

/// A time with its zone, seconds or milliseconds since 1970, or a local time or day of Thailand: the year first, or
/// the day. A year of 2400 or more is one of the Buddhist era.
pub fn moment(text: &str) -> Option<Timestamp> {
    /// Later than any second that is meant, earlier than any millisecond.
    const SECONDS: i64 = 100_000_000_000;
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return if number.abs() < SECONDS {
            Timestamp::from_second(number)
        } else {
            Timestamp::from_millisecond(number)
        }
        .ok();
    }
    let (day, rest) = text.split_once(['T', ' ']).unwrap_or((text, ""));
    let date = date(day)?;
    let rest = rest.trim();
    // "09:30:00 +07" and "09:30:00 UTC" as much as "09:30:00+07:00".
    let zone_at = rest.find(['+', '-', 'Z', 'U']);
    let (time, zone) = zone_at.and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
    let time = clock(time.trim())?;
    let local = DateTime::from_parts(date, time);
    match zone.trim() {
        "" => offset(7).to_timestamp(local).ok(),
        zone => {
            let zone = if zone.eq_ignore_ascii_case("UTC") { "Z" } else { zone };
            format!("{local}{zone}").parse().ok()
        }
    }
}

fn date(text: &str) -> Option<Date> {
    let mut parts = text.split(['-', '/', '.']);
    let mut part = || parts.next().filter(|part| part.len() <= 4);
    let (first, second, third) = (part()?, part()?, part()?);
    if parts.next().is_some() {
        return None;
    }
    let month: i8 = second.parse().ok()?;
    let (year, month, day) = if first.len() == 4 {
        (first.parse::<i16>().ok()?, month, third.parse::<i8>().ok()?)
    } else if month > 12 {
        // 9/25/2026: the month first, or it would be none.
        (third.parse().ok()?, first.parse().ok()?, month)
    } else {
        (third.parse().ok()?, month, first.parse().ok()?)
    };
    let year = if year >= 2400 { year - 543 } else { year };
    (year >= 1900).then(|| Date::new(year, month, day).ok())?
}

fn clock(text: &str) -> Option<Time> {
    if text.is_empty() { Some(Time::midnight()) } else { text.parse().ok() }
}
