//! What is worked out of a text before the model is asked. Pure.

use std::ops::Range;
use std::sync::Arc;

use super::sentiment::{Content, Features};
use crate::text::{Modifiers, Normalized, asks, clauses, is_linguistic, normalize, words};

/// Most clauses of one text; of a text with more, neighbours are scored together.
pub const MAX_CLAUSES: usize = 64;

/// A text, ready to be scored.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) normalized: Arc<Normalized>,
    pub(super) content: Content,
    /// Where the words that show lie in the normalised text, if a feature needs them and it has language.
    pub(super) words: Vec<Range<usize>>,
    /// Where the clauses lie, if they were asked for and the text has language.
    pub(super) clauses: Vec<Range<usize>>,
    /// Whether it has the words of a question, if that was asked for.
    pub(super) asks: Option<bool>,
    pub(super) modifiers: Option<Modifiers>,
}

impl Prepared {
    pub(super) fn of(text: &str, features: Features) -> Self {
        let normalized = normalize(text);
        let shown = normalized.as_str();
        let content = Content::of(&normalized);
        let Features { clauses: parts, modifiers, intent, explanation } = features;
        let language = content == Content::Linguistic;
        let wanted = modifiers || (language && (parts || intent || explanation.is_some()));
        let found = if wanted { words(shown) } else { Vec::new() };
        let clauses = if language && parts { clauses(shown, &found) } else { Vec::new() };
        Self {
            clauses: join_to(clauses, MAX_CLAUSES),
            asks: (language && intent).then(|| asks(shown, &found)),
            modifiers: modifiers.then(|| Modifiers::of(text, &normalized, &found)),
            words: found.into_iter().filter(|word| shows(shown, word)).collect(),
            normalized: Arc::new(normalized),
            content,
        }
    }
}

impl Content {
    pub(super) fn of(text: &Normalized) -> Self {
        if text.as_str().is_empty() {
            Self::Empty
        } else if is_linguistic(text) {
            Self::Linguistic
        } else {
            Self::NonLinguistic
        }
    }
}

fn shows(text: &str, word: &Range<usize>) -> bool {
    text.get(word.clone()).is_some_and(|word| !word.trim().is_empty())
}

/// Joins neighbours so that no more than so many are left.
pub(super) fn join_to(ranges: Vec<Range<usize>>, most: usize) -> Vec<Range<usize>> {
    let size = ranges.len().div_ceil(most).max(1);
    ranges.chunks(size).filter_map(|some| Some(some.first()?.start..some.last()?.end)).collect()
}
