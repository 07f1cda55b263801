//! What is said of what: a clause that speaks of several things is parted between them, and a comparison has two sides.
//!
//! | rule | example, `|` is a cut before a target |
//! | --- | --- |
//! | what is said follows what it is said of | `อาหารอร่อย|พนักงานน่ารัก`; not `พนักงานบริการดี` |
//! | a verb keeps its object | `ชอบอาหาร|ไม่ชอบบริการ` |
//! | words that join keep what they join | `อาหารกับบริการดี`, `ร้านที่พนักงานน่ารัก` |
//! | the other side of a comparison | `ก อร่อยกว่า ข`, `ก สู้ ข ไม่ได้`, `ก ไม่ดีเท่า ข`, `ก แพ้ ข`, `เปลี่ยนจาก ข มา ก` |

use std::collections::HashSet;
use std::ops::Range;

use super::clauses::{REACH, Reading, Word, is_statement, phrase};
use super::lexicon;

impl Reading<'_> {
    /// The clauses, parted before `targets` wherever both sides of the cut say something. Each target, given in the order
    /// of the text, bears a number: what is said of the same one is not parted. Of each side the nearest 64 words are
    /// looked at.
    pub fn statements(
        &self,
        clauses: &[Range<usize>],
        targets: &[(usize, Range<usize>)],
    ) -> Vec<Range<usize>> {
        let mut statements = Vec::with_capacity(clauses.len());
        for clause in clauses {
            let words = self.within(clause);
            let first = targets.partition_point(|(_, target)| target.start < clause.start);
            let inside = targets.iter().skip(first).take_while(|(_, target)| target.start < clause.end);
            let (mut start, mut seen) = (0, HashSet::new());
            for (number, target) in inside {
                let at = words.partition_point(|word| word.range.start < target.start);
                if !seen.contains(number)
                    && let Some(at) = opening(words, start, at)
                    && let Some(before) = words.get(start.max(at.saturating_sub(REACH))..at)
                    && let Some(after) = words.get(at..words.len().min(at + REACH))
                    && is_statement(before)
                    && is_statement(after)
                    && !leaves(before)
                {
                    statements.extend(words.get(start..at).and_then(hull));
                    start = at;
                    seen.clear();
                }
                seen.insert(*number);
            }
            statements.extend(words.get(start..).and_then(hull));
        }
        statements
    }

    /// Whether a part of the text has a verb or an adjective.
    pub fn states(&self, part: &Range<usize>) -> bool {
        is_statement(self.within(part))
    }

    /// A part of the text as it is to be judged alone: without the แต่ that ties it to what stands before.
    pub fn untied(&self, part: &Range<usize>) -> Range<usize> {
        let words = self.within(part);
        let rest = lexicon::BUT.iter().find_map(|but| phrase(words, but));
        let first = rest.filter(|_| part.start > 0).and_then(<[Word<'_>]>::first);
        first.map_or(part.start, |word| word.range.start)..part.end
    }

    /// Whether a name is a hashtag.
    pub fn is_tag(&self, name: &Range<usize>) -> bool {
        let at = self.words.partition_point(|word| word.range.start < name.start);
        let before = at.checked_sub(1).and_then(|before| self.words.get(before));
        before.is_some_and(|word| word.text.ends_with('#') && word.range.end == name.start)
    }

    /// Whether a part of the text begins with a word of contrast.
    pub fn contrasts(&self, part: &Range<usize>) -> bool {
        lexicon::CONTRASTS.iter().any(|one| phrase(self.within(part), one.phrase).is_some())
    }

    /// The words of a statement that name the other side of a comparison, if `target` is that side: what is left
    /// is said of the first side, and its opposite of the target.
    pub fn other_side(&self, statement: &Range<usize>, target: &Range<usize>) -> Option<Range<usize>> {
        let words = self.within(statement);
        let before = words.partition_point(|word| word.range.start < target.start);
        let after = words.partition_point(|word| word.range.start < target.end);
        let (before, after) = (words.get(..before)?, words.get(after..)?);
        let fills = |word: &&Word<'_>| lexicon::COMPARED_FILLERS.contains(&word.text);
        let fillers = before.iter().rev().take(REACH).take_while(fills).count();
        let marker = before.len().checked_sub(fillers + 1)?;
        let (ahead, word) = (before.get(..marker)?, before.get(marker)?);
        let denies = |word: &Word<'_>| word.text.starts_with("ไม่");
        // "ก สู้ ข ไม่ได้" keeps its verb; of "ก ดีกว่า ข" there stays "ก ดี".
        let from = match word.text {
            "สู้" if after.iter().take(SOON).any(denies) => word.range.end,
            "ชนะ" | "แพ้" | "แซง" => word.range.end,
            "เท่า" | "เท่ากับ" if ahead.iter().rev().take(REACH).any(denies) => {
                word.range.start
            }
            "จาก"
                if ahead.iter().rev().take(2).any(|word| lexicon::LEAVING.contains(&word.text))
                    && after.iter().take(REACH).any(|word| lexicon::ARRIVING.contains(&word.text)) =>
            {
                word.range.start
            }
            more => word.range.start + more.strip_suffix(MORE)?.len(),
        };
        Some(from..target.end)
    }

    fn within(&self, part: &Range<usize>) -> &[Word<'_>] {
        let from = self.words.partition_point(|word| word.range.start < part.start);
        let to = self.words.partition_point(|word| word.range.start < part.end);
        self.words.get(from..to).unwrap_or_default()
    }
}

/// What makes a comparison of an adjective, and often one word with it.
const MORE: &str = "กว่า";

/// So many words after สู้ the ไม่ of `สู้ … ไม่ได้` is looked for.
const SOON: usize = 3;

/// Where the statement of a target at `at` opens: there, or at the verb whose object it is; nowhere after a word that joins
/// it to what stands before.
fn opening(words: &[Word<'_>], start: usize, at: usize) -> Option<usize> {
    let (mut at, start) = (at, start.max(at.saturating_sub(REACH)));
    while at > start {
        let last = words.get(at - 1)?;
        if lexicon::JOINING.contains(&last.text) || last.text.ends_with(MORE) {
            return None;
        }
        if !lexicon::TAKING_OBJECTS.contains(&last.text) && !lexicon::BEFORE_VERBS.contains(&last.text) {
            break;
        }
        at -= 1;
    }
    (at > start).then_some(at)
}

/// Whether something is left for what follows.
fn leaves(words: &[Word<'_>]) -> bool {
    let from = |at: usize| {
        words.get(at + 1..).is_some_and(|after| after.iter().take(2).any(|word| word.text == "จาก"))
    };
    words.iter().enumerate().any(|(at, verb)| lexicon::LEAVING.contains(&verb.text) && from(at))
}

fn hull(words: &[Word<'_>]) -> Option<Range<usize>> {
    Some(words.first()?.range.start..words.last()?.range.end)
}
