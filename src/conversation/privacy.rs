//! What is hidden of a message before it is shown: whatever leads to a person.
//!
//! | hidden | example | known by |
//! | --- | --- | --- |
//! | `<email>` | `mali@example.com`, `มะลิ@ตัวอย่าง.ไทย` | its @ |
//! | `<id>` | `1-2345-67890-12-1` | 13 digits, the last of which checks the others |
//! | `<card>` | `4111 1111 1111 1111` | 13 to 19 digits that pass Luhn's check |
//! | `<account>` | `123-4-56789-0`, `บัญชี 1234567890`, `บช 1234567890` | its dashes, or a word before it |
//! | `<phone>` | `081-234-5678`, `+66(0)81 234 5678`, `0066812345678` | 9 or 10 digits from 0, or the same from 66 |
//!
//! Digits of every script count, so do those of keycap emoji; what may stand between them is a blank, a line break, a dot, a
//! bracket or any dash. Other numbers stay: prices, dates, parcels and orders.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};
use regex::Regex;

use super::message::{Body, Message};
use super::trajectory::Role;
use crate::text::{is_word, words};

/// A word for an account or a bank, and what may stand between it and the number.
const ACCOUNT: &str = r"(?ix)(?:
    บัญชี|บช\.?|บ\.ช\.?|บ/ช|พร้อมเพย์|พร้อมเพ|account|acct?\.?|a/c|promptpay
    |กสิกร(?:ไทย)?|ไทยพาณิชย์|กรุงไทย|กรุงเทพ|กรุงศรี|ออมสิน|ทหารไทย|ธนชาต|ธ\.?ก\.?ส\.?|ยูโอบี|\b(?:scb|kbank|ktb|bbl|bay|ttb|tmb|gsb|uob|cimb|baac)
)[^\p{Nd}\n]{0,20}$";

/// The fewest and most digits of what is hidden.
const DIGITS: RangeInclusive<usize> = 9..=19;

static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:[A-Za-z0-9._%+-]+|[ก-๙]+)[@＠](?:[A-Za-z0-9-]+|[ก-๙]+)(?:\.(?:[A-Za-z0-9-]+|[ก-๙]+))+")
});
/// Digits with nothing between them, as they are written: a digit of a keycap has marks of its own.
static RUN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\p{Nd}\x{FE0F}?\x{20E3}?)+"));
/// What may stand between two runs of one number.
static BETWEEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^[\s.()（）\-\x{AD}\x{2010}-\x{2015}\x{2212}\x{FE58}\x{FE63}\x{FF0D}\x{B7}]{0,3}$")
});
static BEFORE_ACCOUNT: LazyLock<Regex> = LazyLock::new(|| pattern(ACCOUNT));

/// The most runs that one number is written in.
const RUNS: usize = 10;

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
    let runs: Vec<Range<usize>> = RUN.find_iter(&text).map(|run| run.range()).collect();
    let mut hidden = String::with_capacity(text.len());
    let (mut done, mut at) = (0, 0);
    while let Some(rest) = runs.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some((kind, used, range)) = number(&text, rest) {
            hidden.push_str(text.get(done..range.start).unwrap_or_default());
            hidden.push_str(kind);
            done = range.end;
            at += used;
        } else {
            at += 1;
        }
    }
    hidden.push_str(text.get(done..).unwrap_or_default());
    hidden
}

/// What the number is that begins with the first of these runs of digits, how many of them it has, and where it is.
fn number(text: &str, runs: &[Range<usize>]) -> Option<(&'static str, usize, Range<usize>)> {
    let start = runs.first()?.start;
    let before = text.get(..start)?;
    // A number after letters is a parcel's or an order's.
    if before.ends_with(|ch: char| ch.is_ascii_alphabetic()) {
        return None;
    }
    let mut digits: Vec<u32> = Vec::new();
    let mut groups: Vec<usize> = Vec::new();
    let mut found = None;
    let mut end = start;
    for run in runs.iter().take(RUNS) {
        if run.start > end && !text.get(end..run.start).is_some_and(|between| BETWEEN.is_match(between)) {
            break;
        }
        let more = text.get(run.clone())?.chars().filter_map(digit);
        let count = digits.len();
        digits.extend(more);
        groups.push(digits.len() - count);
        end = run.end;
        if digits.len() > *DIGITS.end() {
            break;
        }
        if let Some(kind) = kind(&digits, &groups, before) {
            found = Some((kind, groups.len(), end));
        }
    }
    let (kind, used, end) = found?;
    // The bracket or sign that it begins with, as of "(02) 123 4567" and "+66".
    let start = start
        - before.chars().rev().take_while(|ch| "+＋(（".contains(*ch)).map(char::len_utf8).sum::<usize>();
    Some((kind, used, start..end))
}

fn kind(digits: &[u32], groups: &[usize], before: &str) -> Option<&'static str> {
    if !DIGITS.contains(&digits.len()) {
        return None;
    }
    if is_id(digits) {
        Some("<id>")
    } else if is_card(digits) {
        Some("<card>")
    } else if (digits.len() >= 10 && BEFORE_ACCOUNT.is_match(before)) || groups == [3, 1, 5, 1] {
        Some("<account>")
    } else if is_phone(digits, groups) {
        Some("<phone>")
    } else {
        None
    }
}

/// A Thai telephone number: 9 digits of a house or 10 of a mobile, from 0, or without it after 66. In one piece it may also be one
/// that nobody has yet.
fn is_phone(digits: &[u32], groups: &[usize]) -> bool {
    let abroad = digits.strip_prefix(&[0, 0, 6, 6]).or_else(|| digits.strip_prefix(&[6, 6]));
    let local = match abroad {
        Some(rest) => rest.strip_prefix(&[0]).unwrap_or(rest),
        None => match digits.strip_prefix(&[0]) {
            Some(rest) if groups.len() == 1 && matches!(rest.len(), 8 | 9) => return true,
            Some(rest) => rest,
            None => return false,
        },
    };
    match local.first() {
        Some(6 | 8 | 9) => local.len() == 9,
        Some(2..=5 | 7) => local.len() == 8,
        _ => false,
    }
}

/// The first digits of the scripts that Thai people meet.
const ZEROS: [char; 9] = ['0', '๐', '０', '໐', '០', '၀', '٠', '۰', '०'];

/// The value of a digit.
fn digit(ch: char) -> Option<u32> {
    // Of mathematics: five alphabets of ten.
    if let Some(value) = u32::from(ch).checked_sub(0x1_D7CE).filter(|value| *value < 50) {
        return Some(value % 10);
    }
    ZEROS.iter().find_map(|zero| u32::from(ch).checked_sub(u32::from(*zero)).filter(|value| *value < 10))
}

/// Thailand's identity numbers: the last digit is 11 less the others, weighed 13 down to 2, modulo 11.
fn is_id(digits: &[u32]) -> bool {
    let [first @ .., last] = digits else { return false };
    let sum: u32 = first.iter().zip((2..=13).rev()).map(|(digit, weight)| digit * weight).sum();
    digits.len() == 13 && digits.first() != Some(&0) && (11 - sum % 11) % 10 == *last
}

/// Luhn's check: from the right every other digit doubled, the digits of the whole add up to a multiple of ten. Cards that people pay
/// with begin with 2 to 6.
fn is_card(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { digit * 2 / 10 + digit * 2 % 10 } else { *digit })
        .sum();
    let begins = digits.first().is_some_and(|first| (2..=6).contains(first));
    (13..=19).contains(&digits.len()) && begins && sum.is_multiple_of(10)
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

/// The text with labels for names, whatever their case. A name inside a longer word is none: "Shop" in "Shopee".
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
        if is_inside_word(text, start..end) {
            continue;
        }
        // A letter may be several in small: what it begins with is replaced whole.
        shown.push_str(text.get(done..start.max(done)).unwrap_or_default());
        let label = labels.get(found.pattern().as_usize()).map_or("name", String::as_str);
        shown.push_str(&format!("<{label}>"));
        done = end.max(done);
    }
    shown.push_str(text.get(done..).unwrap_or_default());
    shown
}

/// Whether what stands there is a part of a longer word: of one in Latin letters, or of a Thai word of the dictionary.
fn is_inside_word(text: &str, name: Range<usize>) -> bool {
    let Some((before, after)) = text.get(..name.start).zip(text.get(name.end..)) else { return false };
    let Some(name) = text.get(name) else { return false };
    let latin = |ch: char| ch.is_alphanumeric() && !('\u{E00}'..='\u{E7F}').contains(&ch);
    let joined =
        |inner: Option<char>, outer: Option<char>| inner.is_some_and(latin) && outer.is_some_and(latin);
    joined(name.chars().next(), before.chars().next_back())
        || joined(name.chars().next_back(), after.chars().next())
        || is_inside_thai_word(before, name, after)
}

/// A Thai word that a name may be inside of is looked for in so many letters before and after it.
const THAI_LETTERS: usize = 16;

fn is_inside_thai_word(before: &str, name: &str, after: &str) -> bool {
    let thai = |ch: &char| ('\u{E01}'..='\u{E4E}').contains(ch);
    if !name.chars().all(|ch| thai(&ch)) {
        return false;
    }
    let letters: Vec<char> = before.chars().rev().take_while(thai).take(THAI_LETTERS).collect();
    let from = letters.iter().map(|ch| ch.len_utf8()).sum::<usize>();
    let to = after.chars().take_while(thai).take(THAI_LETTERS).map(char::len_utf8).sum::<usize>();
    let near =
        [before.get(before.len() - from..).unwrap_or_default(), name, after.get(..to).unwrap_or_default()]
            .concat();
    let place = from..from + name.len();
    let holds = |word: &Range<usize>| word.start <= place.start && place.end <= word.end && *word != place;
    words(&near).into_iter().any(|word| holds(&word) && near.get(word).is_some_and(is_word))
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
