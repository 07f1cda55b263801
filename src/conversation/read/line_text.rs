//! LINE's chat history as text: with tabs from telephones, with spaces from computers, in Thai or English.
//!
//! The layout and the order of day and month are decided once for a file, never for a line: messages may hold anything.
//! Times are local to Thailand. Years from 2400 on are of the Buddhist era.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, offset};
use regex::Regex;

use super::placeholders::{body, is_notice, named, notice};
use super::{Charset, Format, ReadError, Skipped, Transcript};
use crate::conversation::message::{Body, Message, Sender};

/// Where the chats are from.
const BANGKOK: Offset = offset(7);

/// The first year that must be of the Buddhist era, which is so many years ahead.
const BUDDHIST: (i16, i16) = (2400, 543);

static DATE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(\D{0,24}?)(\d{1,4})[/.-](\d{1,2})[/.-](\d{1,4})(\D{0,24})$").expect("a constant pattern")
});

static TIME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(\d{1,2}):(\d{2})(?::\d{2})?(?: ?([AaPp])\.?[Mm]\.?| น\.)?([\t ])")
        .expect("a constant pattern")
});

#[rustfmt::skip]
const WEEKDAYS: [(&[&str], Weekday); 7] = [
    (&["จันทร์", "จ", "monday", "mon"], Weekday::Monday),
    (&["อังคาร", "อ", "tuesday", "tue"], Weekday::Tuesday),
    (&["พุธ", "พ", "wednesday", "wed"], Weekday::Wednesday),
    (&["พฤหัสบดี", "พฤหัส", "พฤ", "thursday", "thu"], Weekday::Thursday),
    (&["ศุกร์", "ศ", "friday", "fri"], Weekday::Friday),
    (&["เสาร์", "ส", "saturday", "sat"], Weekday::Saturday),
    (&["อาทิตย์", "อา", "sunday", "sun"], Weekday::Sunday),
];

/// How often a first word must be seen to be a name, of those that are not known otherwise.
const NAME_SEEN: usize = 3;

/// The longest word that is taken for a name on its first appearance.
const NAME_CHARS: usize = 20;

/// The most lines of a text between quotes.
const LONGEST: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    DayFirst,
    MonthFirst,
}

/// A line, and how it looks before its meaning is known.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    text: &'a str,
    shape: Shape<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Shape<'a> {
    Date(Date),
    /// A time, what ends it, and the rest.
    Timed(Time, char, &'a str),
    Other,
}

pub(super) fn read(text: &str, charset: Charset) -> Result<Transcript, ReadError> {
    let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    let order = order(&lines);
    let lines: Vec<Line<'_>> = lines.iter().map(|text| Line { text, shape: shape(text, order) }).collect();
    let format = format(&lines).ok_or(ReadError::Unknown)?;
    let names = if format == Format::LineSpaces { names(&lines) } else { Vec::new() };
    let mut reader =
        Reader { format, names, date: None, messages: Vec::new(), skipped: Vec::new(), blank: 0 };
    let mut at = 0;
    while let Some(rest) = lines.get(at..).filter(|rest| !rest.is_empty()) {
        at += reader.take(rest, at + 1);
    }
    let Reader { messages, skipped, .. } = reader;
    Ok(Transcript { format, charset, messages, skipped })
}

fn shape(line: &str, order: Order) -> Shape<'_> {
    if let Some(date) = DateLine::of(line).and_then(|date| date.date(order)) {
        return Shape::Date(date);
    }
    let timed = || {
        let found = TIME.captures(line)?;
        let number = |group: usize| found.get(group)?.as_str().parse::<i8>().ok();
        let (hour, minute) = (number(1)?, number(2)?);
        let half = found.get(3).map(|half| half.as_str().to_ascii_lowercase());
        let hour = match half.as_deref() {
            Some("p") => hour % 12 + 12,
            Some(_) => hour % 12,
            None => hour,
        };
        let end = found.get(4)?;
        let time = Time::new(hour, minute, 0, 0).ok()?;
        Some(Shape::Timed(time, end.as_str().chars().next()?, line.get(end.end()..)?))
    };
    timed().unwrap_or(Shape::Other)
}

/// A line that holds a date with its weekday, and nothing else.
struct DateLine {
    weekday: Weekday,
    numbers: [i16; 3],
}

impl DateLine {
    fn of(line: &str) -> Option<Self> {
        let found = DATE.captures(line.trim())?;
        let part = |group: usize| found.get(group).map(|part| part.as_str());
        let weekday = match (part(1)?.trim(), part(5)?.trim()) {
            (before, "") => weekday(before)?,
            ("", after) => weekday(after)?,
            _ => return None,
        };
        let number = |group: usize| part(group)?.parse().ok();
        Some(Self { weekday, numbers: [number(2)?, number(3)?, number(4)?] })
    }

    /// The date, if the numbers are one in that order.
    fn date(&self, order: Order) -> Option<Date> {
        let [first, second, third] = self.numbers;
        let (year, month, day) = match order {
            _ if first > 31 => (first, second, third),
            Order::DayFirst => (third, second, first),
            Order::MonthFirst => (third, first, second),
        };
        let year = if year >= BUDDHIST.0 { year - BUDDHIST.1 } else { year };
        if year < 1000 {
            return None;
        }
        Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
    }
}

fn weekday(text: &str) -> Option<Weekday> {
    let name = text.trim_matches(|ch: char| " .,()".contains(ch));
    let name = name.strip_prefix("วัน").unwrap_or(name);
    let name = name.strip_suffix("ที่").unwrap_or(name).trim_end_matches('.').to_lowercase();
    WEEKDAYS.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, day)| *day)
}

/// The order of day and month in which more of the weekdays are right.
fn order(lines: &[&str]) -> Order {
    let dates: Vec<DateLine> = lines.iter().filter_map(|line| DateLine::of(line)).collect();
    let right = |order: Order| {
        let right = |line: &&DateLine| line.date(order).is_some_and(|date| date.weekday() == line.weekday);
        dates.iter().filter(right).count()
    };
    if right(Order::MonthFirst) > right(Order::DayFirst) { Order::MonthFirst } else { Order::DayFirst }
}

/// Tabs or spaces after times, as the first message after the first date has it; nothing if there is none.
fn format(lines: &[Line<'_>]) -> Option<Format> {
    let dated = lines.iter().skip_while(|line| !matches!(line.shape, Shape::Date(_)));
    let mut ends = dated.filter_map(|line| match line.shape {
        Shape::Timed(_, end, _) => Some(end),
        Shape::Date(_) | Shape::Other => None,
    });
    ends.next().map(|end| if end == '\t' { Format::LineTabs } else { Format::LineSpaces })
}

/// Names of a chat of spaces, longest first: first words that are seen often, with those that nearly always follow them,
/// and whom the application names.
fn names(lines: &[Line<'_>]) -> Vec<String> {
    let rests: Vec<Vec<&str>> = lines
        .iter()
        .filter_map(|line| match line.shape {
            Shape::Timed(_, _, rest) if !is_notice(rest) => Some(rest.split(' ').collect()),
            Shape::Timed(..) | Shape::Date(_) | Shape::Other => None,
        })
        .collect();
    let mut names: Vec<String> = Vec::new();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for first in rests.iter().filter_map(|words| words.first()) {
        *counts.entry(first).or_default() += 1;
    }
    for (first, count) in counts.into_iter().filter(|(_, count)| *count >= NAME_SEEN) {
        let mut name = vec![first];
        // A second word, and a third, that follow four times in five.
        while let Some(next) = follows(&rests, &name, count) {
            name.push(next);
        }
        names.push(name.join(" "));
    }
    let notices = lines.iter().filter_map(|line| match line.shape {
        Shape::Timed(_, _, rest) => Some(named(rest)),
        Shape::Date(_) | Shape::Other => None,
    });
    names.extend(notices.flatten().map(str::to_owned));
    names.sort_by(|left, right| right.len().cmp(&left.len()).then(left.cmp(right)));
    names
}

fn follows<'a>(rests: &[Vec<&'a str>], name: &[&str], count: usize) -> Option<&'a str> {
    let mut next: HashMap<&str, usize> = HashMap::new();
    for words in rests.iter().filter(|words| words.starts_with(name) && words.len() > name.len() + 1) {
        if let Some(word) = words.get(name.len()).filter(|word| !word.is_empty()) {
            *next.entry(word).or_default() += 1;
        }
    }
    let most = next.into_iter().max_by_key(|(word, seen)| (*seen, std::cmp::Reverse(*word)))?;
    (most.1 * 5 >= count * 4).then_some(most.0)
}

/// A file that is being read.
struct Reader {
    format: Format,
    names: Vec<String>,
    date: Option<Date>,
    messages: Vec<Message>,
    skipped: Vec<Skipped>,
    /// Blank lines since the last message, which are part of it only if more of it follows.
    blank: usize,
}

impl Reader {
    /// Takes what begins with the first of these lines, and says how many lines that was.
    fn take(&mut self, lines: &[Line<'_>], number: usize) -> usize {
        let Some(line) = lines.first() else { return 1 };
        match line.shape {
            Shape::Date(date) => {
                self.date = Some(date);
                self.blank = 0;
            }
            Shape::Timed(time, end, rest) if self.begins(end) => {
                self.blank = 0;
                let Some(date) = self.date else {
                    self.skip(number, "a message before the first date");
                    return 1;
                };
                let time = BANGKOK.to_timestamp(date.to_datetime(time)).ok();
                let (sender, text, used) = if self.format == Format::LineTabs {
                    tabbed(rest, lines)
                } else if let Some((sender, text)) = self.spaced(rest) {
                    (sender, text.to_owned(), 1)
                } else {
                    self.skip(number, "who sent it cannot be told from what was sent");
                    return 1;
                };
                let body = if sender == Sender::System { notice(&text) } else { body(&text) };
                self.messages.push(Message { line: number, id: None, time, sender, body });
                return used;
            }
            Shape::Timed(..) | Shape::Other => self.go_on(line.text, number),
        }
        1
    }

    fn begins(&self, end: char) -> bool {
        (self.format == Format::LineTabs) == (end == '\t')
    }

    /// A line that is neither a date nor the beginning of a message: more of the one before.
    fn go_on(&mut self, line: &str, number: usize) {
        if line.trim().is_empty() {
            self.blank += 1;
            return;
        }
        let blank = std::mem::take(&mut self.blank);
        let Some(last) = self.messages.last_mut().filter(|_| self.date.is_some()) else {
            // The head of the file.
            if self.date.is_some() {
                self.skip(number, "text before the first message");
            }
            return;
        };
        let more = format!("{}{line}", "\n".repeat(blank + 1));
        match &mut last.body {
            Body::Text(text) | Body::Notice(text) => text.push_str(&more),
            Body::Media(_) | Body::Sticker(_) | Body::Unsent => {
                self.skip(number, "text after what holds no text");
            }
        }
    }

    fn skip(&mut self, line: usize, reason: &'static str) {
        self.skipped.push(Skipped { line, reason });
    }

    /// Sender and text of a line in a chat of spaces.
    fn spaced<'a>(&self, rest: &'a str) -> Option<(Sender, &'a str)> {
        if is_notice(rest) {
            return Some((Sender::System, rest));
        }
        let after = |name: &String| rest.strip_prefix(name.as_str())?.strip_prefix(' ');
        if let Some((name, text)) = self.names.iter().find_map(|name| Some((name, after(name)?))) {
            return Some((Sender::Named(name.clone()), text));
        }
        let (first, text) = rest.split_once(' ')?;
        let plain = |ch: char| !ch.is_numeric() && !ch.is_ascii_punctuation();
        let name = first.chars().count() <= NAME_CHARS && first.chars().all(plain) && !first.is_empty();
        name.then(|| (Sender::Named(first.to_owned()), text))
    }
}

/// Sender and text in a chat of tabs, and how many lines they take.
fn tabbed(rest: &str, lines: &[Line<'_>]) -> (Sender, String, usize) {
    let Some((name, text)) = rest.split_once('\t') else { return (Sender::System, rest.to_owned(), 1) };
    if name.is_empty() {
        return (Sender::System, text.to_owned(), 1);
    }
    let sender = Sender::Named(name.to_owned());
    let Some(open) = text.strip_prefix('"') else { return (sender, text.to_owned(), 1) };
    // A text of several lines stands between quotes; one that only begins with a quote does not. Lines inside may look
    // like messages: then the last of them must close a quote that it does not open.
    let looks = |line: &Line<'_>| matches!(line.shape, Shape::Timed(_, '\t', _) | Shape::Date(_));
    let odd = |line: &str| line.matches('"').count() % 2 == 1;
    let mut inside = vec![open];
    let mut pasted = false;
    for line in lines.iter().skip(1).take(LONGEST) {
        let ends = line.text.ends_with('"');
        pasted |= looks(line);
        if pasted && looks(line) && odd(line.text) && !ends {
            break;
        }
        inside.push(line.text);
        if ends && (!pasted || odd(line.text)) {
            let used = inside.len();
            let text = inside.join("\n");
            return (sender, text.strip_suffix('"').unwrap_or(&text).to_owned(), used);
        }
    }
    (sender, text.to_owned(), 1)
}
