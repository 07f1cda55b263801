//! What colours a text: counts for those who want them as features.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::Serialize;

use super::lexicon;
use super::normalize::{Normalized, beside_digit};
use super::offsets::graphemes;
use super::words::Squeezed;

/// How often each is seen in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Modifiers {
    /// Words with a letter stretched three times or more: `มากกก`.
    pub elongations: usize,
    /// Laughter: `555`, `ฮ่า ๆ`, `haha`.
    pub laughs: usize,
    /// Emoji; a family or a flag is one.
    pub emoji: usize,
    /// Words of negation: `ไม่`, `ไม่ได้`, `อย่า`.
    pub negations: usize,
    /// Words of abuse: `ห่วยแตก` is none, `เชี่ย` is.
    pub profanities: usize,
}

/// Pictures, without the signs of trade and punctuation that Unicode counts among them.
static EMOJI: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"[\p{Extended_Pictographic}\p{Regional_Indicator}--[©®™‼⁉〰〽]]").expect("a constant pattern")
});

static FIVES: LazyLock<Regex> = LazyLock::new(|| Regex::new("[5๕]{3,}").expect("a constant pattern"));

static LAUGHTER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)ฮ่า(?:ฮ่า|\s*ๆ)+|ฮา\s*ๆ|\b(?:ha){2,}h?\b|\blol\b").expect("a constant pattern")
});

impl Modifiers {
    /// Those of a text, from what normalising it gave and where the words of that lie.
    pub fn of(original: &str, normalized: &Normalized, words: &[Range<usize>]) -> Self {
        let text = normalized.as_str();
        let words: Vec<&str> = words.iter().filter_map(|range| text.get(range.clone())).collect();
        let count = |is: fn(&str) -> bool| words.iter().filter(|word| is(&Squeezed::of(word).text)).count();
        Self {
            elongations: words.iter().filter(|word| Squeezed::of(word).text.len() < word.len()).count(),
            laughs: laughs(text),
            emoji: graphemes(original).filter(|cluster| EMOJI.is_match(cluster)).count(),
            negations: count(|word| word.starts_with("ไม่") || lexicon::NEGATIONS.contains(&word)),
            profanities: count(|word| lexicon::PROFANITIES.contains(&word)),
        }
    }
}

/// Fives are "ha" in Thai, unless they are part of an amount.
fn laughs(text: &str) -> usize {
    let alone = |found: &regex::Match<'_>| {
        let (before, after) = (text.get(..found.start()), text.get(found.end()..));
        let mut before = before.unwrap_or_default().chars().rev();
        let mut after = after.unwrap_or_default().chars();
        !beside_digit(before.next(), before.next()) && !beside_digit(after.next(), after.next())
    };
    FIVES.find_iter(text).filter(alone).count() + LAUGHTER.find_iter(text).count()
}
