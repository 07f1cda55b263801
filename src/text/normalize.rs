//! Normalisation: lossless repairs, masks and capped elongation, with a map back to the text as sent.
//!
//! Training and serving call this same code, so a change here changes what the model was taught:
//! retrain, or the bundle's golden test fails.
//!
//! The rules run in this order. Each is idempotent alone, and the order keeps the whole idempotent:
//! no later rule can make work for an earlier one.
//!
//! | rule | example |
//! | --- | --- |
//! | invisible characters out | `ดี<U+200B>มาก` → `ดีมาก` |
//! | HTML entities decoded | `A&amp;W` → `A&W` |
//! | Thai marks repaired | `เเพง` → `แพง`, `นํ้า` → `น้ำ`, `ก่ี` → `กี่`, `ดี่่` → `ดี่` |
//! | white space runs to one | `ดี   มาก` → `ดี มาก`; a run with a line break to one `\n` |
//! | masks | URL `<url>`, e-mail `<email>`, telephone `<phone>`, @mention `<user>` |
//! | elongation capped at three | `มากกกกกก` → `มากกก`, `555555` → `555`; other digits stay |
//!
//! Slang, misspelling, emoji, ๆ and laughter stay: they carry the feeling.

use std::ops::Range;

use super::{marks, masks};

/// A run longer than this says no more than this many.
const ELONGATION_CAP: usize = 3;

/// A character on its way through the rules, with the bytes of the original it stands for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glyph {
    pub(super) ch: char,
    pub(super) from: usize,
    pub(super) to: usize,
}

type Rule = fn(Vec<Glyph>) -> Vec<Glyph>;

const RULES: [Rule; 7] = [
    drop_invisible,
    decode_entities,
    marks::repair,
    collapse_white_space, // before the masks, so that one space is all a telephone number can hold
    masks::apply,
    cap_elongation,
    collapse_white_space, // after the masks, which stand between spaces
];

/// Text after every rule, able to say where in the original each part of it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalized {
    text: String,
    pieces: Vec<Piece>,
}

/// A stretch of normalised text and the original bytes it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    normalized: Range<usize>,
    original: Range<usize>,
    /// Copied byte for byte, so any position inside maps exactly; otherwise the piece maps as a whole.
    verbatim: bool,
}

/// Repairs and masks a text.
///
/// Never fails, and `normalize(normalize(t)) == normalize(t)` for every `t`.
///
/// ```
/// let text = arom::text::normalize("เเพงมากกกกกก ดูที่ https://example.com/x");
/// assert_eq!(text.as_str(), "แพงมากกก ดูที่ <url>");
/// ```
pub fn normalize(original: &str) -> Normalized {
    let glyphs =
        original.char_indices().map(|(from, ch)| Glyph { ch, from, to: from + ch.len_utf8() }).collect();
    Normalized::from_glyphs(original, RULES.iter().fold(glyphs, |glyphs, rule| rule(glyphs)))
}

impl Normalized {
    fn from_glyphs(original: &str, glyphs: Vec<Glyph>) -> Self {
        let mut text = String::with_capacity(original.len());
        let mut pieces: Vec<Piece> = Vec::new();
        for Glyph { ch, from, to } in glyphs {
            let at = text.len();
            text.push(ch);
            let verbatim = original.get(from..to).is_some_and(|source| source.chars().eq([ch]));
            match pieces.last_mut() {
                Some(last) if verbatim && last.verbatim && last.original.end == from => {
                    last.normalized.end = text.len();
                    last.original.end = to;
                }
                // The glyphs of one repair share one origin and become one piece.
                Some(last) if !last.verbatim && last.original == (from..to) => {
                    last.normalized.end = text.len();
                }
                _ => {
                    pieces.push(Piece { normalized: at..text.len(), original: from..to, verbatim });
                }
            }
        }
        Self { text, pieces }
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where a byte range of the normalised text came from, as a byte range of the original.
    ///
    /// A part that was repaired or masked maps to all of what it replaced. An empty range maps to an
    /// empty range. The result lies on character boundaries of the original.
    pub fn original_range(&self, range: Range<usize>) -> Range<usize> {
        let start = match self.piece_after(range.start) {
            Some(piece) if piece.verbatim => {
                piece.original.start + range.start.saturating_sub(piece.normalized.start)
            }
            Some(piece) => piece.original.start,
            None => self.pieces.last().map_or(0, |piece| piece.original.end),
        };
        if range.is_empty() {
            return start..start;
        }
        let end = match self.piece_after(range.end - 1) {
            Some(piece) if piece.verbatim => piece.original.start + (range.end - piece.normalized.start),
            Some(piece) => piece.original.end,
            None => self.pieces.last().map_or(0, |piece| piece.original.end),
        };
        start..end
    }

    /// The piece that holds the byte at `position`, if the text reaches that far.
    fn piece_after(&self, position: usize) -> Option<&Piece> {
        self.pieces.get(self.pieces.partition_point(|piece| piece.normalized.end <= position))
    }
}

fn drop_invisible(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    glyphs.into_iter().filter(|glyph| !is_invisible(glyph.ch)).collect()
}

/// Characters that show nothing and say nothing about feeling: controls, zero-width and direction marks,
/// variation selectors, tags.
fn is_invisible(ch: char) -> bool {
    (ch.is_control() && !ch.is_whitespace())
        || matches!(ch,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}

fn decode_entities(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    let mut out = Vec::with_capacity(glyphs.len());
    let mut rest = glyphs.as_slice();
    while let [first, after @ ..] = rest {
        let mut glyph = *first;
        rest = after;
        // Text escaped twice reads "&amp;lt;": an entity that decodes to '&' may begin the next one.
        while glyph.ch == '&' {
            let Some((decoded, used)) = entity(rest) else { break };
            glyph.ch = decoded;
            if let Some(last) = used.last() {
                glyph.to = last.to;
            }
            rest = rest.get(used.len()..).unwrap_or_default();
        }
        out.push(glyph);
    }
    out
}

/// The character that the entity standing after an '&' means, and the glyphs that spell it.
fn entity(after: &[Glyph]) -> Option<(char, &[Glyph])> {
    const LONGEST: usize = 10;
    let semicolon = after.iter().take(LONGEST).position(|glyph| glyph.ch == ';')?;
    let name: String = after.iter().take(semicolon).map(|glyph| glyph.ch).collect();
    let decoded = match name.as_str() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" | "ldquo" | "rdquo" => '"',
        "apos" | "lsquo" | "rsquo" => '\'',
        "nbsp" | "ensp" | "emsp" | "zwnj" | "zwj" | "shy" => ' ',
        "hellip" => '…',
        "ndash" | "mdash" => '-',
        "hearts" => '♥',
        _ => numeric_entity(&name)?,
    };
    Some((decoded, after.get(..=semicolon)?))
}

/// What "#3585" or "#xE01" stands for; a space if it stands for nothing that can be shown.
///
/// Letters, digits, '#' and ';' are left as written: decoded, they could complete another entity and the
/// rule would no longer be idempotent.
fn numeric_entity(name: &str) -> Option<char> {
    let number = name.strip_prefix('#')?;
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(hex) => (hex, 16),
        None => (number, 10),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let decoded = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    match decoded {
        Some(ch) if ch.is_ascii_alphanumeric() || matches!(ch, '#' | ';') => None,
        Some(ch) if !is_invisible(ch) => Some(ch),
        _ => Some(' '),
    }
}

fn collapse_white_space(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    let mut out: Vec<Glyph> = Vec::with_capacity(glyphs.len());
    let mut gap: Option<Glyph> = None;
    for glyph in glyphs {
        if glyph.ch.is_whitespace() {
            let run = gap.get_or_insert(Glyph { ch: ' ', ..glyph });
            run.to = glyph.to;
            if !matches!(glyph.ch, ' ' | '\t') && is_line_break(glyph.ch) {
                run.ch = '\n';
            }
            continue;
        }
        // White space at either end is dropped.
        if let Some(run) = gap.take()
            && !out.is_empty()
        {
            out.push(run);
        }
        out.push(glyph);
    }
    out
}

fn is_line_break(ch: char) -> bool {
    matches!(ch, '\n' | '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn cap_elongation(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    let mut out: Vec<Glyph> = Vec::with_capacity(glyphs.len());
    let mut start = 0;
    for run in glyphs.chunk_by(|left, right| left.ch == right.ch) {
        let end = start + run.len();
        match run {
            [first, .., last] if run.len() > ELONGATION_CAP && is_elongation(&glyphs, start, end) => {
                out.extend(run.iter().take(ELONGATION_CAP - 1));
                // The last one kept stands for all that were dropped.
                let from = run.get(ELONGATION_CAP - 1).map_or(first.from, |glyph| glyph.from);
                out.push(Glyph { ch: first.ch, from, to: last.to });
            }
            _ => out.extend(run),
        }
        start = end;
    }
    out
}

/// Whether the run of one character at `start..end` is stretched for effect. Digits are amounts, never
/// stretched, but for fives standing alone, which are laughter.
fn is_elongation(glyphs: &[Glyph], start: usize, end: usize) -> bool {
    let at = |index: usize| glyphs.get(index).map(|glyph| glyph.ch);
    match at(start) {
        Some('5' | '๕') => {
            let before = |back: usize| start.checked_sub(back).and_then(at);
            !beside_digit(before(1), before(2)) && !beside_digit(at(end), at(end + 1))
        }
        Some(ch) => !ch.is_numeric(),
        None => false,
    }
}

/// Whether a neighbour is a digit, touching or across one separator ("1,5555", "081 5555").
pub(super) fn beside_digit(near: Option<char>, far: Option<char>) -> bool {
    let digit = |ch: Option<char>| ch.is_some_and(char::is_numeric);
    digit(near) || (near.is_some_and(|ch| "-.,:/ ".contains(ch)) && digit(far))
}
