//! Clauses of Thai text, which has no full stop: where one statement ends and the next begins.
//!
//! Every word is asked in turn whether it opens a clause; the first of the rules with an opinion decides.
//!
//! | rule | example, `|` is a cut |
//! | --- | --- |
//! | a line break ends a clause | `ห้องสะอาด⏎|พนักงานน่ารัก` |
//! | contrast, cause and condition open one | `อร่อย|แต่แพง`; not `มีแต่คนชม`, `เพลงเพราะมาก` |
//! | particles, emoji, laughter and marks stay with what they follow | `ดีมาก ค่ะ`, `อร่อย 555` |
//! | `!`, `?`, `…` and a spaced full stop end one | `อร่อยมาก! |ไว้มาอีก` |
//! | emoji and laughter end one | `ส่งช้า😡|ไม่ซื้อแล้ว` |
//! | polite particles end one | `อร่อยค่ะ|จะมาอีก` |
//! | a space between two statements parts them | `ส่งไว |แพ็กดี`; not `ราคา 590 บาท` |
//! | a word of degree ends a statement before another | `นุ่มมาก|ไส้เยอะ`; not `อร่อยมากร้านนี้` |
//!
//! A statement is known by a verb or an adjective of [`lexicon`](super::lexicon): where that has none, a space cuts
//! nothing.

use std::ops::Range;

use super::lexicon::{self, Connective};
use super::words::Squeezed;

/// What a rule says of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// A clause begins with it.
    Opens,
    /// It goes on with the clause before.
    Continues,
}

/// How many words on either side of a place the rules look at, so that a long text without a cut is no more work for each
/// word than a short one.
pub(super) const REACH: usize = 64;

/// The shortest laughter: five is "ha" in Thai.
const LAUGHTER: &str = "555";

type Rule = fn(&Edge<'_>) -> Option<Verdict>;

/// In this order.
const RULES: [Rule; 8] = [
    line_break,
    connective,
    belongs_to_what_it_follows,
    after_a_mark,
    after_a_face,
    after_a_polite_particle,
    space_between_statements,
    after_a_word_of_degree,
];

/// A place between two words of a text.
#[derive(Debug)]
struct Edge<'a> {
    /// The clause so far, at most the last [`REACH`] words of it; never empty.
    before: &'a [Word<'a>],
    last: &'a Word<'a>,
    next: &'a Word<'a>,
    /// What follows on the same line, `next` first, at most so many words.
    after: &'a [Word<'a>],
}

/// The words of a normalised text that show, as the rules see them.
#[derive(Debug)]
pub struct Reading<'a> {
    pub(super) words: Vec<Word<'a>>,
}

/// A word, and what stands before it.
#[derive(Debug)]
pub(super) struct Word<'a> {
    pub(super) range: Range<usize>,
    pub(super) text: &'a str,
    kind: Kind,
    gap: Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    None,
    Space,
    LineBreak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A word that says something, but makes no statement alone.
    Plain,
    /// A verb or an adjective.
    Predicate,
    /// แต่, เพราะ.
    Connective,
    /// ค่ะ, ครับ: a sentence ends here.
    Polite,
    /// นะ, เลย, ๆ: says nothing alone.
    Particle,
    /// A number, or letters that are not Thai.
    Foreign,
    /// Emoji and laughter.
    Face,
    /// Punctuation.
    Mark,
}

impl<'a> Reading<'a> {
    /// `words` are the ranges of the words of `text`, as [`words`](super::words) gives them.
    pub fn of(text: &'a str, words: &[Range<usize>]) -> Self {
        let mut gap = Gap::None;
        let mut read = Vec::with_capacity(words.len());
        for range in words {
            let word = text.get(range.clone()).unwrap_or_default();
            if word.trim().is_empty() {
                gap = if word.contains('\n') { Gap::LineBreak } else { Gap::Space };
                continue;
            }
            read.push(Word { range: range.clone(), text: word, kind: kind(word), gap });
            gap = Gap::None;
        }
        Self { words: read }
    }

    /// Byte ranges of the clauses, in order, without the white space between them. Every word is in one clause.
    pub fn clauses(&self) -> Vec<Range<usize>> {
        let words = &self.words;
        let mut clauses = Vec::new();
        let mut start = 0;
        for at in 1..=words.len() {
            let near = start.max(at.saturating_sub(REACH));
            let (Some(before), Some(rest)) = (words.get(near..at), words.get(at..)) else { continue };
            let (Some(first), Some(last)) = (words.get(start), before.last()) else { continue };
            let opens = rest.first().is_none_or(|next| {
                let same_line = |word: &&Word<'_>| word.gap != Gap::LineBreak;
                let line = rest.iter().take(REACH).skip(1).take_while(same_line).count() + 1;
                let edge = Edge { before, last, next, after: rest.get(..line).unwrap_or(rest) };
                RULES.iter().find_map(|rule| rule(&edge)) == Some(Verdict::Opens)
            });
            if opens {
                clauses.push(first.range.start..last.range.end);
                start = at;
            }
        }
        clauses
    }
}

fn kind(word: &str) -> Kind {
    if word.len() >= LAUGHTER.len() && word.chars().all(|ch| matches!(ch, '5' | '๕')) {
        return Kind::Face;
    }
    let squeezed = Squeezed::of(word).text;
    let word = squeezed.as_str();
    let Some(first) = word.chars().next() else { return Kind::Mark };
    if word.chars().all(|ch| !ch.is_alphanumeric() && !is_thai(ch)) {
        return if word.is_ascii() || word.chars().all(is_mark) { Kind::Mark } else { Kind::Face };
    }
    if !is_thai(first) {
        return Kind::Foreign;
    }
    let table = [
        (lexicon::POLITE, Kind::Polite),
        (lexicon::PARTICLES, Kind::Particle),
        (lexicon::PREDICATES, Kind::Predicate),
    ];
    let found = table.iter().find(|(words, _)| words.contains(&word)).map(|(_, kind)| *kind);
    let connective = || connectives().any(|one| one.phrase == word);
    found.unwrap_or_else(|| if connective() { Kind::Connective } else { Kind::Plain })
}

fn is_thai(ch: char) -> bool {
    ('\u{E01}'..='\u{E5B}').contains(&ch)
}

fn is_mark(ch: char) -> bool {
    ch.is_ascii_punctuation()
        || matches!(ch, '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' | '«' | '»' | '·')
}

fn line_break(edge: &Edge<'_>) -> Option<Verdict> {
    (edge.next.gap == Gap::LineBreak).then_some(Verdict::Opens)
}

fn connective(edge: &Edge<'_>) -> Option<Verdict> {
    let found = |one: &&Connective| phrase(edge.after, one.phrase).is_some();
    let Connective { phrase: words, not_after, not_before } = connectives().find(found)?;
    let rest = phrase(edge.after, words)?;
    let next = rest.first()?;
    let only_looks_like_one =
        not_after.contains(&edge.last.text) || not_before.iter().any(|word| next.text.starts_with(word));
    (!only_looks_like_one && says_something(edge.before) && says_something(rest)).then_some(Verdict::Opens)
}

fn connectives() -> impl Iterator<Item = &'static Connective> {
    lexicon::CONTRASTS.iter().chain(lexicon::CAUSES)
}

/// What follows the phrase, if the words begin with it and it ends where one of them does.
pub(super) fn phrase<'a, 'b>(words: &'b [Word<'a>], phrase: &str) -> Option<&'b [Word<'a>]> {
    let mut left = phrase;
    let mut taken = 0;
    for word in words {
        if left.is_empty() {
            break;
        }
        left = left.strip_prefix(word.text)?;
        taken += 1;
    }
    if left.is_empty() { words.get(taken..) } else { None }
}

fn belongs_to_what_it_follows(edge: &Edge<'_>) -> Option<Verdict> {
    let belongs = matches!(edge.next.kind, Kind::Polite | Kind::Particle | Kind::Face | Kind::Mark);
    belongs.then_some(Verdict::Continues)
}

fn after_a_mark(edge: &Edge<'_>) -> Option<Verdict> {
    let ends = match edge.last.text {
        // A full stop after one letter is an abbreviation, one without a space a number or an address.
        "." => {
            edge.next.gap == Gap::Space
                && edge.before.iter().rev().nth(1).is_some_and(|word| word.text.chars().count() > 1)
        }
        mark => edge.last.kind == Kind::Mark && (mark.ends_with(['!', '?', '…']) || mark.ends_with("..")),
    };
    (ends && says_something(edge.before) && says_something(edge.after)).then_some(Verdict::Opens)
}

fn after_a_face(edge: &Edge<'_>) -> Option<Verdict> {
    let ends = edge.last.kind == Kind::Face;
    (ends && says_something(edge.before) && says_something(edge.after)).then_some(Verdict::Opens)
}

fn after_a_polite_particle(edge: &Edge<'_>) -> Option<Verdict> {
    let ends = match edge.last.text {
        "ครับ" => edge.next.text != "ผม",
        // ค่าไฟ is what the current costs.
        "ค่า" => edge.next.gap != Gap::None,
        _ => edge.last.kind == Kind::Polite,
    };
    (ends && says_something(edge.before) && says_something(edge.after)).then_some(Verdict::Opens)
}

fn space_between_statements(edge: &Edge<'_>) -> Option<Verdict> {
    let joined = [edge.last, edge.next].iter().any(|word| word.kind == Kind::Foreign)
        || lexicon::NEVER_LAST.contains(&edge.last.text)
        || lexicon::NEVER_FIRST.contains(&edge.next.text);
    let parts = edge.next.gap == Gap::Space && !joined;
    (parts && is_statement(edge.before) && is_statement(edge.after)).then_some(Verdict::Opens)
}

fn after_a_word_of_degree(edge: &Edge<'_>) -> Option<Verdict> {
    let ends = lexicon::DEGREES.contains(&Squeezed::of(edge.last.text).text.as_str());
    let runs_on = edge.next.gap == Gap::None
        && edge.next.kind == Kind::Plain
        && !lexicon::NEVER_FIRST.contains(&edge.next.text)
        && !lexicon::JOINING.contains(&edge.next.text)
        && !lexicon::AFTER_DEGREES.contains(&edge.next.text);
    let together = edge.after.iter().skip(1).take_while(|word| word.gap == Gap::None).count() + 1;
    let after = edge.after.get(..together)?;
    (ends && runs_on && is_statement(edge.before) && is_statement(after)).then_some(Verdict::Opens)
}

fn says_something(words: &[Word<'_>]) -> bool {
    words.iter().any(|word| matches!(word.kind, Kind::Plain | Kind::Predicate))
}

/// Whether words have a verb or an adjective beside those that follow ที่ and only say which one is meant.
pub(super) fn is_statement(words: &[Word<'_>]) -> bool {
    let mut relative = false;
    words.iter().any(|word| {
        let predicate = word.kind == Kind::Predicate;
        let states = predicate && !relative;
        relative = lexicon::RELATIVES.contains(&word.text) || (relative && predicate);
        states
    })
}
