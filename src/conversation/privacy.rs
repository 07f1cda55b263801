//! What is hidden of a message before it is shown: whatever leads to a person.
//!
//! | hidden | example | known by |
//! | --- | --- | --- |
//! | `<email>` | `mali@example.com` | its @ |
//! | `<id>` | `1-2345-67890-12-1` | 13 digits, the last of which checks the others |
//! | `<card>` | `4111 1111 1111 1111` | 13 to 19 digits that pass Luhn's check |
//! | `<account>` | `123-4-56789-0`, `บัญชี 1234567890` | its dashes, or a word before it |
//! | `<phone>` | `081-234-5678`, `+66 81 234 5678` | 9 or 10 digits from 0, or the same from 66 |
//!
//! Thai digits are digits. Other numbers stay: prices, dates, parcels and orders.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::message::{Body, Message};
use super::trajectory::Role;

/// A word for an account, and what may stand between it and the number.
const ACCOUNT: &str = r"(?i)(?:บัญชี|พร้อมเพย์|account|acct?\.?)[^0-9๐-๙\n]{0,20}$";

/// The fewest and most digits of what is hidden.
const DIGITS: std::ops::RangeInclusive<usize> = 9..=19;

static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\+?\(?[0-9๐-๙](?:[ .()–-]{0,3}[0-9๐-๙])+"));
static BEFORE_ACCOUNT: LazyLock<Regex> = LazyLock::new(|| pattern(ACCOUNT));
static ACCOUNT_DASHES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[0-9๐-๙]{3}-[0-9๐-๙]-[0-9๐-๙]{5}-[0-9๐-๙]$"));

/// A name of fewer letters is only known in a text by what stands before it: it may be a word.
const KNOWN_LETTERS: usize = 3;

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a constant pattern, compiled in every test")
}

/// The text without what leads to a person.
///
/// ```
/// let shown = arom::conversation::hide("โทร 081-234-5678 นะคะ ราคา 1,290 บาท");
/// assert_eq!(shown, "โทร <phone> นะคะ ราคา 1,290 บาท");
/// ```
pub fn hide(text: &str) -> String {
    let text = EMAIL.replace_all(text, "<email>");
    let hidden = NUMBER.replace_all(&text, |found: &Captures<'_>| {
        let number = found.get(0).map(|number| (number.as_str(), number.start()));
        let (number, start) = number.unwrap_or_default();
        let before = text.get(..start).unwrap_or_default();
        kind(number, before).unwrap_or(number).to_owned()
    });
    hidden.into_owned()
}

fn kind(number: &str, before: &str) -> Option<&'static str> {
    let digits: Vec<u32> = number.chars().filter_map(digit).collect();
    // A number after letters is a parcel's or an order's.
    if !DIGITS.contains(&digits.len()) || before.ends_with(|ch: char| ch.is_ascii_alphabetic()) {
        return None;
    }
    let local = digits.first() == Some(&0) && matches!(digits.len(), 9 | 10);
    let abroad = digits.starts_with(&[6, 6]) && matches!(digits.len(), 10 | 11);
    if is_id(&digits) {
        Some("<id>")
    } else if is_card(&digits) {
        Some("<card>")
    } else if ACCOUNT_DASHES.is_match(number) || BEFORE_ACCOUNT.is_match(before) {
        Some("<account>")
    } else if local || (abroad && number.starts_with(['+', '6', '๖'])) {
        Some("<phone>")
    } else {
        None
    }
}

/// The value of a digit, Arabic or Thai.
fn digit(ch: char) -> Option<u32> {
    ch.to_digit(10).or_else(|| u32::from(ch).checked_sub(u32::from('๐')).filter(|value| *value < 10))
}

/// Thailand's identity numbers: the last digit is 11 less the others, weighed 13 down to 2, modulo 11.
fn is_id(digits: &[u32]) -> bool {
    let [first @ .., last] = digits else { return false };
    let sum: u32 = first.iter().zip((2..=13).rev()).map(|(digit, weight)| digit * weight).sum();
    digits.len() == 13 && digits.first() != Some(&0) && (11 - sum % 11) % 10 == *last
}

/// Luhn's check: from the right every other digit doubled, the digits of the whole add up to a multiple of ten.
fn is_card(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

/// People of a conversation under the names of their roles: `customer`, `agent`, `agent 2`.
#[derive(Debug)]
pub struct Disguise {
    labels: BTreeMap<String, String>,
    /// Their names and the words of these as they may stand in a text; nothing if names are kept.
    names: Option<Regex>,
    keep: bool,
}

impl Disguise {
    /// Of the people who sent these messages in these roles, in the order of their first; `keep` leaves names as they
    /// are.
    pub fn of(messages: &[Message], roles: &[Role], keep: bool) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for (message, role) in messages.iter().zip(roles) {
            let Some(name) = message.sender.name().filter(|name| !labels.contains_key(*name)) else {
                continue;
            };
            let count = counts.entry(role.name()).or_default();
            *count += 1;
            let label = if *count == 1 { role.name().to_owned() } else { format!("{} {count}", role.name()) };
            labels.insert(name.to_owned(), label);
        }
        let mut parts: Vec<String> = labels.keys().flat_map(|name| known_by(name)).collect();
        parts.sort_by_key(|part| usize::MAX - part.len());
        let names = if keep || parts.is_empty() {
            None
        } else {
            Regex::new(&format!("(?i){}", parts.join("|"))).ok()
        };
        Self { labels, names, keep }
    }

    /// Whether names stay as they are.
    pub fn keeps_names(&self) -> bool {
        self.keep
    }

    /// Who sent a message, as it may be shown.
    pub fn speaker<'a>(&'a self, message: &'a Message, role: Role) -> &'a str {
        message.sender.name().map_or(role.name(), |name| self.name(name))
    }

    /// Somebody's name, as it may be shown.
    pub fn name<'a>(&'a self, name: &'a str) -> &'a str {
        if self.keep { name } else { self.labels.get(name).map_or("name", String::as_str) }
    }

    /// A text without what leads to a person, and without the names of those who speak unless they are kept.
    pub fn text(&self, text: &str) -> String {
        let hidden = hide(text);
        let Some(names) = &self.names else { return hidden };
        let named = |found: &Captures<'_>| {
            let found = found.get(0).map_or("", |found| found.as_str());
            format!("<{}>", self.label_of(found))
        };
        names.replace_all(&hidden, named).into_owned()
    }

    /// What a message says, as it may be shown; what is no text stands in brackets.
    pub fn shown(&self, message: &Message) -> String {
        match &message.body {
            Body::Text(text) => self.text(text),
            Body::Sticker(keywords) if !keywords.is_empty() => format!("[sticker: {}]", keywords.join(", ")),
            // A notice names people, who need not be among those who speak.
            Body::Notice(text) if self.keep => format!("[{}]", self.text(text)),
            Body::Sticker(_) | Body::Media(_) | Body::Notice(_) | Body::Unsent => {
                format!("[{}]", message.body.name())
            }
        }
    }

    /// The label of whoever is called so, in full or in part.
    fn label_of(&self, part: &str) -> &str {
        let part = TITLE.replace(part, "").to_lowercase();
        let called = |name: &&String| {
            let name = name.to_lowercase();
            name == part || name.split_whitespace().any(|word| word == part)
        };
        self.labels.iter().find(|(name, _)| called(name)).map_or("name", |(_, label)| label)
    }
}

static TITLE: LazyLock<Regex> = LazyLock::new(|| pattern("^(?:คุณ|พี่|น้อง|@)"));

/// Words of names that name nobody.
const TITLES: &[&str] = &[
    "khun",
    "mr",
    "mr.",
    "mrs",
    "mrs.",
    "ms",
    "ms.",
    "miss",
    "the",
    "and",
    "คุณ",
    "พี่",
    "น้อง",
    "ร้าน",
    "ทีม",
    "บริษัท",
];

/// Patterns of what somebody of this name is called: the whole of it and each word, where they are long enough to be
/// no other word, and else after a title.
fn known_by(name: &str) -> Vec<String> {
    let words = name
        .split_whitespace()
        .filter(|word| *word != name && !TITLES.contains(&word.to_lowercase().as_str()));
    std::iter::once(name)
        .chain(words)
        .map(|called| {
            let quoted = regex::escape(called);
            let long = called.chars().filter(|ch| ch.is_alphanumeric()).count() >= KNOWN_LETTERS;
            if long { quoted } else { format!("(?:คุณ|พี่|น้อง|@){quoted}") }
        })
        .collect()
}
