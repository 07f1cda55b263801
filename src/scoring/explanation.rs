//! Why a text has its score: what each word adds to it, by taking it away (occlusion).

use std::ops::Range;

use super::sentiment::Sentiment;

/// Fewest and most inferences that one explanation may be allowed, and how many it is allowed if nothing is said.
pub const EXPLANATION_INFERENCES: (usize, usize, usize) = (16, 256, 64);

/// So many words are taken away one after the other to find those that decided the label.
pub(super) const DECIDING: usize = 8;

/// Why a text has its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The words in the order of the text; of a text with more than the inferences allow, neighbours together.
    pub contributions: Vec<Contribution>,
    /// What it cost beside the text's own inference, remembered answers included.
    pub inference_count: usize,
}

/// What a word adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contribution {
    /// Where the word lies in the text as sent, in bytes, on edges of grapheme clusters.
    pub span: Range<usize>,
    /// The text's score less its score without the word, in [-2, 2].
    pub contribution: f32,
    /// Whether it is one of the fewest of the strongest words without which the label is another.
    pub decisive: bool,
}

/// A text without some parts of it.
pub(super) fn without(text: &str, parts: &[Range<usize>]) -> String {
    let mut gone = parts.to_vec();
    gone.sort_unstable_by_key(|part| part.start);
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for part in gone {
        kept.push_str(text.get(from..part.start.max(from)).unwrap_or_default());
        from = from.max(part.end);
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    kept
}

/// The words that hold up the label most, by how much less probable it is without each.
pub(super) fn strongest(whole: &Sentiment, without: &[Sentiment]) -> Vec<usize> {
    let held = |other: &Sentiment| whole.probabilities.of(whole.label) - other.probabilities.of(whole.label);
    let mut order: Vec<(usize, f32)> =
        without.iter().map(held).enumerate().filter(|(_, held)| *held > 0.0).collect();
    order.sort_by(|left, right| right.1.total_cmp(&left.1));
    order.into_iter().map(|(word, _)| word).take(DECIDING).collect()
}

/// How many of the strongest decided the label: as many as had to go until it was another; none if it stayed.
pub(super) fn deciding(whole: &Sentiment, without_first: &[Sentiment]) -> usize {
    without_first.iter().position(|other| other.label != whole.label).map_or(0, |last| last + 1)
}
