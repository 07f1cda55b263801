//! Which targets a text speaks of, and which of its words are said of each. Pure.
//!
//! Of an aspect its statement is said, the clause or the part of it that is about the aspect, and those that follow, up to
//! a word of contrast or to where something else is named. Of a brand all is said from the statement that names it to
//! before the one that names another. Of the other side of a comparison the
//! opposite is said of what is said of the first.

use std::ops::Range;

use super::catalogue::{Catalogue, TargetKind};
use super::prepared::join_to;
use crate::text::Reading;

/// Most statements of one text; of a text with more, neighbours are taken together.
const MAX_STATEMENTS: usize = 32;

/// A target that a normalised text speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mention {
    /// Its number in the catalogue.
    pub(super) target: usize,
    /// Where it is named.
    pub(super) named: Range<usize>,
    /// From the first to the last word that is said of it.
    pub(super) statement: Range<usize>,
    /// Parts of the statement that say nothing of it: the other sides of comparisons.
    pub(super) except: Vec<Range<usize>>,
    /// Whether it is the other side of a comparison, so that the opposite is meant.
    pub(super) opposite: bool,
}

/// A target, and where it is named.
type Named = (usize, Range<usize>);

/// One statement and what it names.
#[derive(Debug)]
struct Statement {
    range: Range<usize>,
    /// Targets, each where it is first named, and whether as the other side of a comparison.
    named: Vec<(usize, Range<usize>, bool)>,
    /// What comparisons name as their other sides.
    other_sides: Vec<Range<usize>>,
}

/// What a text speaks of, in its order.
pub(super) fn mentions(
    text: &Reading<'_>,
    clauses: &[Range<usize>],
    found: &[Named],
    catalogue: &Catalogue,
) -> Vec<Mention> {
    let mut rest = found.iter().peekable();
    let statements: Vec<Statement> = join_to(text.statements(clauses, found), MAX_STATEMENTS)
        .into_iter()
        .map(|range| {
            let mut statement = Statement { named: Vec::new(), other_sides: Vec::new(), range };
            while let Some((target, named)) = rest.next_if(|(_, named)| named.start < statement.range.end) {
                statement.name(text, *target, named);
            }
            statement
        })
        .collect();
    let is_brand =
        |target: usize| catalogue.target(target).is_some_and(|target| target.kind == TargetKind::Brand);
    let mut mentions = of_brands(text, &statements, is_brand);
    for (at, statement) in statements.iter().enumerate() {
        for (target, named, opposite) in &statement.named {
            if !opposite && is_brand(*target) {
                continue;
            }
            let follows = |next: &&Statement| next.named.is_empty() && !text.contrasts(&next.range);
            let last = statements.iter().skip(at + 1).take_while(follows).last().unwrap_or(statement);
            let said = statement.range.start..last.range.end;
            mentions.push(Mention {
                target: *target,
                named: named.clone(),
                statement: said,
                except: statement.other_sides.clone(),
                opposite: *opposite,
            });
        }
    }
    mentions.sort_by_key(|mention| mention.named.start);
    mentions
}

impl Statement {
    fn name(&mut self, text: &Reading<'_>, target: usize, named: &Range<usize>) {
        let other_side = text.other_side(&self.range, named);
        let opposite = other_side.is_some();
        self.other_sides.extend(other_side);
        if !self.named.iter().any(|(seen, _, _)| *seen == target) {
            self.named.push((target, named.clone(), opposite));
        }
    }
}

/// Brands with all that is said of each, from where it is named to where another is.
fn of_brands(text: &Reading<'_>, statements: &[Statement], is_brand: impl Fn(usize) -> bool) -> Vec<Mention> {
    let mut topics: Vec<(Vec<Named>, Range<usize>)> = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let brands = statement.named.iter().filter(|(target, _, opposite)| !opposite && is_brand(*target));
        let brands: Vec<Named> = brands.map(|(target, named, _)| (*target, named.clone())).collect();
        let known =
            |topic: &[Named]| brands.iter().all(|(target, _)| topic.iter().any(|(known, _)| known == target));
        match topics.last_mut() {
            Some((topic, said)) if known(topic) => said.end = at + 1,
            _ if brands.is_empty() => {}
            _ => topics.push((brands, at..at + 1)),
        }
    }
    let hull = |said: &Range<usize>| {
        let said = statements.get(said.clone())?;
        Some((said.first()?.range.start..said.last()?.range.end, said))
    };
    // A name alone, and a hashtag, is what all before it was said of.
    if let Some((brands, said)) = topics.first_mut()
        && let Some((range, _)) = hull(said)
        && (!text.states(&range) || brands.iter().any(|(_, named)| text.is_tag(named)))
    {
        said.start = 0;
    }
    let mut mentions = Vec::new();
    for (brands, said) in &topics {
        let Some((range, said)) = hull(said) else { continue };
        let except: Vec<_> = said.iter().flat_map(|statement| statement.other_sides.clone()).collect();
        mentions.extend(brands.iter().map(|(target, named)| Mention {
            target: *target,
            named: named.clone(),
            statement: range.clone(),
            except: except.clone(),
            opposite: false,
        }));
    }
    mentions
}
