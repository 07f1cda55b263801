//! What is worked out of a text before the model is asked. Pure.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::catalogue::Catalogue;
use super::explanation::without;
use super::sentiment::{Content, Features};
use super::targets::{Mention, Said, mentions};
use crate::text::{Modifiers, Normalized, Reading, asks, is_linguistic, normalize, words};

/// Most clauses of one text; of a text with more, neighbours are scored together.
pub const MAX_CLAUSES: usize = 64;

/// A text, ready to be scored.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) normalized: Arc<Normalized>,
    pub(super) content: Content,
    /// Where the words that show lie in the normalised text, if a feature needs them and it has language.
    pub(super) words: Vec<Range<usize>>,
    /// What is scored: the whole, and then each part once, however often it is asked for.
    pub(super) parts: Vec<Arc<Normalized>>,
    /// Which part each clause is and where it lies, if they were asked for and the text has language.
    pub(super) clauses: Vec<(usize, Range<usize>)>,
    /// The targets it speaks of, if they were asked for and the text has language; of each first which part is said, then
    /// which part is what stands around that.
    pub(super) mentions: Vec<(usize, usize, Mention)>,
    /// Whether it has the words of a question, if that was asked for.
    pub(super) asks: Option<bool>,
    pub(super) modifiers: Option<Modifiers>,
}

impl Prepared {
    pub(super) fn of(text: &str, features: Features, catalogue: &Catalogue) -> Self {
        let normalized = Arc::new(normalize(text));
        let shown = normalized.as_str();
        let content = Content::of(&normalized);
        let language = content == Content::Linguistic;
        let Features { clauses: each, targets, modifiers, intent, explanation } = features;
        let parted = language && (each || targets);
        let wanted = modifiers || parted || (language && (intent || explanation.is_some()));
        let found = if wanted { words(shown) } else { Vec::new() };
        let mut parts = Parts::of(&normalized);
        let (mut clauses, mut said) = (Vec::new(), Vec::new());
        if parted {
            let reading = Reading::of(shown, &found);
            let ranges = join_to(reading.clauses(), MAX_CLAUSES);
            if targets {
                let mentions = mentions(&reading, &ranges, &catalogue.find(shown, &found), catalogue);
                // Thousands of mentions may share a long part: it is normalised once.
                let mut known: HashMap<*const Said, usize> = HashMap::new();
                let mut part = |said: &Arc<Said>| {
                    let number = known.entry(Arc::as_ptr(said));
                    *number.or_insert_with(|| parts.add(&reading.untied(&said.range), &said.except))
                };
                let prepared = |mention: Mention| (part(&mention.said), part(&mention.around), mention);
                said = mentions.into_iter().map(prepared).collect();
            }
            if each {
                clauses = ranges
                    .into_iter()
                    .map(|range| (parts.add(&reading.untied(&range), &[]), range))
                    .collect();
            }
        }
        Self {
            parts: parts.texts,
            clauses,
            mentions: said,
            asks: (language && intent).then(|| asks(shown, &found)),
            modifiers: modifiers.then(|| Modifiers::of(text, &normalized, &found)),
            words: found.into_iter().filter(|word| shows(shown, word)).collect(),
            normalized,
            content,
        }
    }
}

/// A text and parts of it, each once.
struct Parts<'a> {
    whole: &'a Normalized,
    texts: Vec<Arc<Normalized>>,
    numbers: HashMap<String, usize>,
}

impl<'a> Parts<'a> {
    fn of(whole: &'a Arc<Normalized>) -> Self {
        Self { whole, texts: vec![Arc::clone(whole)], numbers: HashMap::new() }
    }

    /// The number of the part that lies there, less what lies in `except`.
    fn add(&mut self, range: &Range<usize>, except: &[Range<usize>]) -> usize {
        let shift = |at: usize| at.saturating_sub(range.start);
        let gone: Vec<_> = except.iter().map(|gone| shift(gone.start)..shift(gone.end)).collect();
        let part = self.whole.as_str().get(range.clone()).unwrap_or_default();
        let part = normalize(&without(part, &gone));
        if part.as_str() == self.whole.as_str() {
            return 0;
        }
        let next = self.texts.len();
        let number = *self.numbers.entry(part.as_str().to_owned()).or_insert(next);
        if number == next {
            self.texts.push(Arc::new(part));
        }
        number
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
