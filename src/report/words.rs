//! Words that come with high scores or with low ones.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::figures::{Word, Words};
use super::statistics::{Moments, distance, rounded};

/// Most words that are counted; beyond that the rarest are forgotten.
pub(super) const COUNTED: usize = 100_000;

/// Most words each way, and how many standard errors a word must move: of a hundred thousand words chance alone would
/// move some by four.
const SHOWN: usize = 15;
const LEAST_DISTANCE: f64 = 4.5;

/// Longest word, in characters; what is longer is no word.
const LONGEST: usize = 40;

#[derive(Debug, Default)]
struct Count {
    moments: Moments,
    /// In how many rows it may have been before it was counted.
    missed: u64,
}

/// In which rows each word is, by lossy counting: a word in more rows than the floor is never missed.
#[derive(Debug, Default)]
pub(super) struct WordTable {
    words: HashMap<String, Count>,
    floor: u64,
}

impl WordTable {
    /// Counts the words of a row, each once.
    pub(super) fn add(&mut self, text: &str, ranges: &[Range<usize>], score: f64) {
        let words = ranges.iter().filter_map(|range| counted(text.get(range.clone())?));
        // Each once, and in an order that is the same every time.
        for word in words.collect::<BTreeSet<_>>() {
            let floor = self.floor;
            if let Some(count) = self.words.get_mut(word.as_ref()) {
                count.moments.add(score);
            } else {
                let mut count = Count { missed: floor, ..Count::default() };
                count.moments.add(score);
                self.words.insert(word.into_owned(), count);
            }
        }
        if self.words.len() > COUNTED {
            self.prune();
        }
    }

    /// Forgets the rarer half. What comes again after that begins with the floor as what it may have missed.
    fn prune(&mut self) {
        let mut totals: Vec<u64> =
            self.words.values().map(|count| count.moments.count + count.missed).collect();
        let (_, middle, _) = totals.select_nth_unstable(COUNTED / 2);
        let floor = *middle;
        self.floor = floor;
        self.words.retain(|_, count| count.moments.count + count.missed > floor);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.words.len()
    }

    /// The words that move most, of those in at least so many rows.
    pub(super) fn finish(self, all: &Moments, least: u64) -> Words {
        let mut considered = 0;
        let mut moving: Vec<Word> = Vec::new();
        for (word, count) in self.words {
            if count.moments.count < least {
                continue;
            }
            considered += 1;
            let without = all.without(&count.moments);
            let Some(z) = distance(&count.moments, &without).filter(|z| z.abs() >= LEAST_DISTANCE) else {
                continue;
            };
            let (Some(mean), Some(other)) = (count.moments.mean(), without.mean()) else { continue };
            moving.push(Word {
                word,
                row_count: count.moments.count,
                mean_with: rounded(mean),
                mean_without: rounded(other),
                difference: rounded(mean - other),
                z: rounded(z),
            });
        }
        moving.sort_by(|one, other| one.z.total_cmp(&other.z).then_with(|| one.word.cmp(&other.word)));
        let lowering = moving.iter().filter(|word| word.z < 0.0).take(SHOWN).cloned().collect();
        let raising = moving.iter().rev().filter(|word| word.z > 0.0).take(SHOWN).cloned().collect();
        Words {
            least_row_count: least,
            considered_count: considered,
            missed_row_count: self.floor,
            lowering,
            raising,
        }
    }
}

/// A word as it is counted; nothing if it is white space, a number, a sign, a mark or a single letter.
fn counted(word: &str) -> Option<Cow<'_, str>> {
    let length = word.chars().take(LONGEST + 1).count();
    if length > LONGEST {
        return None;
    }
    if length >= 3 && word.chars().all(|ch| ch == '5' || ch == '๕') {
        return Some(Cow::Borrowed("555"));
    }
    let letters = word.chars().filter(|ch| ch.is_alphabetic()).count();
    if word.chars().any(is_picture) {
        return Some(Cow::Borrowed(word.trim()));
    }
    let spelled = letters > 0 && length > 1;
    let upper = word.chars().any(|ch| ch.is_ascii_uppercase());
    spelled.then(|| if upper { Cow::Owned(word.to_ascii_lowercase()) } else { Cow::Borrowed(word) })
}

/// Whether a character is of an emoji, near enough: a heart, a face, a hand.
fn is_picture(ch: char) -> bool {
    matches!(ch, '\u{2600}'..='\u{27BF}' | '\u{1F300}'..='\u{1FAFF}')
}
