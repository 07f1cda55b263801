//! Kinds of texts on which a model may be better or worse than on the whole. Pure.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::text::{Modifiers, Script, normalize, words};

/// Ends of the lengths, in characters, each with its name.
const LENGTHS: [(usize, &str); 4] = [
    (20, "up to 20 characters"),
    (60, "21 to 60 characters"),
    (200, "61 to 200 characters"),
    (usize::MAX, "over 200 characters"),
];

static LATIN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[A-Za-z]{2,}").expect("a constant pattern"));
static URL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)https?://|www\.").expect("a constant pattern"));
static FIVES: LazyLock<Regex> = LazyLock::new(|| Regex::new("[5๕]{3,}").expect("a constant pattern"));

/// A word that is a particle, or several ("นะคะ").
static PARTICLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("^(?:ครับ|คับ|ค่ะ|คะ|ค่า|จ้า|จ้ะ|จ๊ะ|นะ|น้า|เนอะ|อ่ะ|หรอก|สิ|ซิ)+$").expect("a constant pattern")
});

/// Marks of a text, in the order in which they are shown.
const MARKS: [&str; 10] =
    ["emoji", "555", "elongation", "ๆ", "particle", "negation", "code-mixed", "no Thai", "URL", "hashtag"];

/// The names of all slices but those of channels, in the order in which they are shown.
pub fn slice_names() -> impl Iterator<Item = &'static str> {
    LENGTHS.into_iter().map(|(_, name)| name).chain(MARKS)
}

/// The slices that a text is in; `channel` is where it was written, if that is known.
pub fn slices(text: &str, channel: Option<&str>) -> Vec<String> {
    let normalized = normalize(text);
    let words = words(normalized.as_str());
    let modifiers = Modifiers::of(text, &normalized, &words);
    let length = text.chars().count();
    let thai = Script::of(&normalized) != Script::Other;
    // Names in addresses and tags are not spoken.
    let latin = LATIN.is_match(&NAMES.replace_all(text, " "));
    let has: [bool; MARKS.len()] = [
        modifiers.emoji > 0,
        FIVES.is_match(text) && modifiers.laughs > 0,
        modifiers.elongations > 0,
        text.contains('ๆ'),
        ends_in_particle(normalized.as_str(), &words),
        modifiers.negations > 0,
        thai && latin,
        !thai,
        URL.is_match(text),
        text.contains('#'),
    ];
    let length = LENGTHS.into_iter().find(|(most, _)| length <= *most).map(|(_, name)| name.to_owned());
    let marks = MARKS.into_iter().zip(has).filter(|(_, has)| *has).map(|(name, _)| name.to_owned());
    let channel = channel.map(|channel| format!("channel {channel}"));
    length.into_iter().chain(marks).chain(channel).collect()
}

/// Whether a statement of the text ends in a particle: nothing or no letter follows.
fn ends_in_particle(text: &str, words: &[Range<usize>]) -> bool {
    words.iter().any(|word| {
        text.get(word.clone()).is_some_and(|word| PARTICLE.is_match(word))
            && text.get(word.end..).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    })
}

static NAMES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)(?:https?://|www\.)\S+|[#@]\S+").expect("a constant pattern"));
