//! Phrases found in a text, where they are words of it and not parts of others.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use aho_corasick::AhoCorasick;

use super::normalize::normalize;
use super::words::Squeezed;

/// Phrases to look for, all in one pass over a text.
pub struct Phrases {
    automaton: AhoCorasick,
}

impl fmt::Debug for Phrases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phrases").field("count", &self.automaton.patterns_len()).finish()
    }
}

impl Phrases {
    /// Makes ready to look for phrases that [`spelling`](Self::spelling) has spelt.
    ///
    /// # Errors
    ///
    /// What is wrong, if they are too many.
    pub fn new(phrases: &[String]) -> Result<Self, String> {
        let automaton = AhoCorasick::builder().ascii_case_insensitive(true).build(phrases);
        Ok(Self { automaton: automaton.map_err(|error| error.to_string())? })
    }

    /// A phrase as texts are searched for it: normalised, in small letters, without stretched ones.
    pub fn spelling(phrase: &str) -> String {
        Squeezed::of(normalize(phrase).as_str()).text.to_ascii_lowercase()
    }

    /// Which phrases stand where in a normalised text, in its order and none in another: of several that begin at one
    /// place the longest, of several that overlap the first.
    ///
    /// Each begins and ends at edges of `words`, so that `โปร` is not found in `โปรแกรม`.
    pub fn find(&self, text: &str, words: &[Range<usize>]) -> Vec<(usize, Range<usize>)> {
        let squeezed = Squeezed::of(text);
        let begins = |at: usize| words.binary_search_by_key(&at, |word| word.start).is_ok();
        let ends = |at: usize| words.binary_search_by_key(&at, |word| word.end).is_ok();
        // Of each begin only the longest is kept: of phrases that begin alike there may be very many in a long text.
        let mut longest: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for hit in self.automaton.find_overlapping_iter(&squeezed.text) {
            let (start, end) = (squeezed.origin(hit.start()), squeezed.origin(hit.end()));
            if begins(start) && ends(end) {
                let found = longest.entry(start).or_insert((hit.pattern().as_usize(), end));
                if end > found.1 {
                    *found = (hit.pattern().as_usize(), end);
                }
            }
        }
        let mut reached = 0;
        let mut found = Vec::with_capacity(longest.len());
        for (start, (phrase, end)) in longest {
            if start >= reached {
                reached = end;
                found.push((phrase, start..end));
            }
        }
        found
    }
}
