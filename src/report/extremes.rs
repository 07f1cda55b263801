//! The few clearest examples of something, each once.

use super::figures::Snippet;

/// The examples with the lowest scores, or with the highest.
#[derive(Debug)]
pub(super) struct Extremes {
    most: usize,
    sign: f64,
    /// The clearest first.
    kept: Vec<Snippet>,
}

impl Extremes {
    pub(super) fn lowest(most: usize) -> Self {
        Self { most, sign: 1.0, kept: Vec::new() }
    }

    pub(super) fn highest(most: usize) -> Self {
        Self { most, sign: -1.0, kept: Vec::new() }
    }

    /// Considers an example; it is made only if its score is clear enough, since masking is dear.
    pub(super) fn offer(&mut self, score: f64, make: impl FnOnce() -> Snippet) {
        let rank = self.sign * score;
        let full = self.kept.len() >= self.most;
        // Of equals the first stays.
        if full && self.kept.last().is_some_and(|last| rank >= self.sign * last.score) {
            return;
        }
        let snippet = make();
        if snippet.text.is_empty() || self.kept.iter().any(|kept| kept.text == snippet.text) {
            return;
        }
        let place = self.kept.partition_point(|kept| self.sign * kept.score <= rank);
        self.kept.insert(place, snippet);
        self.kept.truncate(self.most);
    }

    pub(super) fn finish(self) -> Vec<Snippet> {
        self.kept
    }
}
