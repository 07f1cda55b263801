//! Whether a text asks something, by its words: a model that was taught one class a text says too little of a complaint
//! put as a question.

use std::ops::Range;

use super::clauses::REACH;
use super::lexicon;
use super::words::Squeezed;

/// Whether any line of a normalised text asks: by a word that closes a question, by a word that asks for something, or by
/// a question mark.
pub fn asks(text: &str, words: &[Range<usize>]) -> bool {
    let squeezed = |range: &Range<usize>| Squeezed::of(text.get(range.clone()).unwrap_or_default()).text;
    let words: Vec<String> = words.iter().map(squeezed).collect();
    (0..words.len()).any(|at| closes(&words, at) || inquires(&words, at))
}

/// ไหม and its like, and question marks, where something ends: `มีไหมคะ`, not `ผ้าไหมสวย`.
fn closes(words: &[String], at: usize) -> bool {
    let Some(word) = words.get(at) else { return false };
    let after = words.get(at + 1..).unwrap_or_default();
    let ends = after.first().is_none_or(|next| !says_something(next));
    word.starts_with('?') || (lexicon::QUESTION_ENDS.contains(&word.as_str()) && at > 0 && ends)
}

/// ทำไม and its like, unless they are said of anything or nothing: `ใคร ๆ`, `อะไรก็อร่อย`, `ไม่มีใครสนใจ`.
fn inquires(words: &[String], at: usize) -> bool {
    let Some((before, [word, after @ ..])) = words.split_at_checked(at) else { return false };
    if !lexicon::QUESTION_WORDS.contains(&word.as_str()) {
        return false;
    }
    let line = |word: &&String| !word.contains('\n');
    let shown = |word: &&String| !word.trim().is_empty();
    let any =
        after.iter().take_while(line).filter(shown).take(3).any(|word| matches!(word.as_str(), "ก็" | "ๆ"));
    let none = before.iter().rev().take_while(line).filter(shown).take(4).any(|word| word.starts_with("ไม่"));
    // "There is something to": asks only if a particle says so.
    let some = before.last().is_some_and(|word| word == "มี")
        && !after.iter().take(REACH).any(|word| matches!(word.as_str(), "บ้าง" | "คะ" | "ครับ"));
    word == "ทำไม" || !(any || none || some)
}

fn says_something(word: &str) -> bool {
    let tail = |table: &[&str]| table.contains(&word);
    word.chars().any(char::is_alphanumeric)
        && !tail(lexicon::POLITE)
        && !tail(lexicon::PARTICLES)
        && word != "เอ่ย"
}
