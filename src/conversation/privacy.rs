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

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
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
    names: Names,
    keep: bool,
}

/// The names of people as they may stand in a text.
#[derive(Debug)]
enum Names {
    /// None is to be hidden.
    None,
    /// Their names and the words of these in small letters, each with the label that stands for it.
    Known(AhoCorasick, Vec<String>),
    /// There are more than can be looked for, so that no text may be shown.
    TooMany,
}

/// Most bytes of names that are looked for in texts: those of a group of some thousand people.
const NAME_BYTES: usize = 256 << 10;

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
        let names = if keep { Names::None } else { Names::of(&labels) };
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
        match &self.names {
            Names::None => hidden,
            Names::Known(names, labels) => replaced(&hidden, names, labels),
            Names::TooMany => "[text with too many names to hide]".to_owned(),
        }
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
}

impl Names {
    fn of(labels: &BTreeMap<String, String>) -> Self {
        let mut known: HashMap<String, &String> = HashMap::new();
        let mut bytes = 0;
        // In full before in part: a name of one is a word of another's.
        let whole = labels.iter().flat_map(|(name, label)| known_by([name]).map(move |part| (part, label)));
        let words =
            labels.iter().flat_map(|(name, label)| known_by(words_of(name)).map(move |part| (part, label)));
        for (part, label) in whole.chain(words) {
            bytes += part.len();
            if bytes > NAME_BYTES {
                return Self::TooMany;
            }
            known.entry(part).or_insert(label);
        }
        if known.is_empty() {
            return Self::None;
        }
        let (parts, labels): (Vec<String>, Vec<String>) =
            known.into_iter().map(|(part, label)| (part, label.clone())).unzip();
        let names = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&parts);
        names.map_or(Self::TooMany, |names| Self::Known(names, labels))
    }
}

/// The text with labels for names, whatever their case.
fn replaced(text: &str, names: &AhoCorasick, labels: &[String]) -> String {
    let mut small = String::with_capacity(text.len());
    // Where each byte of the small letters comes from, and the end of the text.
    let mut from = Vec::with_capacity(text.len() + 1);
    for (at, ch) in text.char_indices() {
        small.extend(ch.to_lowercase());
        from.resize(small.len(), at);
    }
    from.push(text.len());
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    for found in names.find_iter(&small) {
        let place = |at: usize| from.get(at).copied().unwrap_or(text.len());
        let (start, end) = (place(found.start()), place(found.end()));
        // A letter may be several in small: what it begins with is replaced whole.
        shown.push_str(text.get(done..start.max(done)).unwrap_or_default());
        let label = labels.get(found.pattern().as_usize()).map_or("name", String::as_str);
        shown.push_str(&format!("<{label}>"));
        done = end.max(done);
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    shown
}

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

/// The words of a name that may name somebody.
fn words_of(name: &str) -> impl Iterator<Item = &str> {
    name.split_whitespace()
        .filter(move |word| *word != name && !TITLES.contains(&word.to_lowercase().as_str()))
}

/// What somebody is called by these parts of their name, in small letters: as it is where it is long enough to be no other word, and
/// else after a title.
fn known_by(parts: impl IntoIterator<Item = impl AsRef<str>>) -> impl Iterator<Item = String> {
    parts.into_iter().flat_map(|called| {
        let called = called.as_ref().to_lowercase();
        let long = called.chars().filter(|ch| ch.is_alphanumeric()).count() >= KNOWN_LETTERS;
        let titles: &[&str] = if long { &[""] } else { &["คุณ", "พี่", "น้อง", "@"] };
        titles.iter().map(|title| [title, called.as_str()].concat()).collect::<Vec<_>>()
    })
}
