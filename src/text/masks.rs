//! Masks for what names a person or a place on the net, and the test for text that says nothing.

use std::sync::LazyLock;

use regex::Regex;

use super::normalize::{Glyph, Normalized};

/// A kind of thing that is hidden from the model. Each is one token of the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// A web address.
    Url,
    /// An e-mail address.
    Email,
    /// A Thai telephone number of 9 or 10 digits, or the same with +66.
    Phone,
    /// An @mention in Latin letters.
    User,
}

impl Mask {
    /// All of them.
    pub const ALL: [Mask; 4] = [Mask::Url, Mask::Email, Mask::Phone, Mask::User];

    /// What stands in the normalised text, and in the tokenizer's vocabulary.
    pub fn token(self) -> &'static str {
        match self {
            Mask::Url => "<url>",
            Mask::Email => "<email>",
            Mask::Phone => "<phone>",
            Mask::User => "<user>",
        }
    }

    /// What a pattern cannot say: the neighbours of a match, and how many separators a number bears. `before` is
    /// what stands between the mask before and the match.
    fn accepts(self, found: &str, before: &str, after: &str) -> bool {
        let mut before = before.chars().rev();
        let (last, last_but_one) = (before.next(), before.next());
        match self {
            Mask::Url | Mask::Email => true,
            Mask::Phone => {
                let digit = |ch: Option<char>| ch.is_some_and(|ch| ch.is_ascii_digit());
                // Neither the tail of a longer number nor of a date such as 01-02-2560.
                let tail = digit(last) || (matches!(last, Some('-' | '.')) && digit(last_but_one));
                let separators = found.chars().filter(|ch| "- .".contains(*ch)).count();
                let most = if found.starts_with('0') { 2 } else { 3 };
                !tail && !digit(after.chars().next()) && separators <= most
            }
            Mask::User => !last.is_some_and(|ch| ch.is_ascii_alphanumeric() || ch == '_'),
        }
    }
}

macro_rules! pattern {
    ($source:expr) => {
        LazyLock::new(|| Regex::new($source).expect("a constant pattern, compiled in every test"))
    };
}

/// Replaces every match by its mask, between spaces, so that it touches nothing.
///
/// Three searches, one after the other. What holds an '@' or digits of its own goes first; telephone numbers and
/// mentions, which look at their neighbours, are told apart from left to right in one search, so that no mask
/// uncovers work for one before it.
pub(super) fn apply(glyphs: Vec<Glyph>) -> Vec<Glyph> {
    static URL: LazyLock<Regex> = pattern!(
        r#"(?i)(?:(?:https?://|www\.)|[a-z0-9-]+\.(?:com|net|org|th|ly|me|gl|co|app|io|be)/)[!-~&&[^<>"]]*[a-z0-9/]"#
    );
    static EMAIL: LazyLock<Regex> = pattern!(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+");
    static PHONE_OR_USER: LazyLock<Regex> = pattern!(
        r"(?:\+?66[- .]?|0)(?:[689](?:[- .]?[0-9]){8}|[23457](?:[- .]?[0-9]){7})|@[A-Za-z0-9_.]{2,}"
    );
    // Nearly all text has none of these, and is spared the patterns.
    let digits = glyphs.iter().filter(|glyph| glyph.ch.is_ascii_digit()).count();
    let any = |wanted: &[char]| glyphs.iter().any(|glyph| wanted.contains(&glyph.ch));
    if digits < 9 && !any(&['@', '/']) && !any(&['w', 'W']) {
        return glyphs;
    }
    let glyphs = replace(glyphs, &URL, |_| Mask::Url);
    let glyphs = replace(glyphs, &EMAIL, |_| Mask::Email);
    replace(glyphs, &PHONE_OR_USER, |found| if found.starts_with('@') { Mask::User } else { Mask::Phone })
}

fn replace(glyphs: Vec<Glyph>, pattern: &Regex, kind: fn(&str) -> Mask) -> Vec<Glyph> {
    let text: String = glyphs.iter().map(|glyph| glyph.ch).collect();
    let mut out = Vec::with_capacity(glyphs.len());
    let mut rest = glyphs.iter();
    let mut byte = 0;
    let (mut at, mut masked) = (0, 0);
    while let Some(found) = pattern.find_at(&text, at) {
        let mask = kind(found.as_str());
        let before = text.get(masked..found.start()).unwrap_or_default();
        let after = text.get(found.end()..).unwrap_or_default();
        if !mask.accepts(found.as_str(), before, after) {
            // Another may begin inside, as in "08 0812345678". Every pattern begins with an ASCII character.
            at = found.start() + 1;
            continue;
        }
        (at, masked) = (found.end(), found.end());
        while byte < found.start()
            && let Some(glyph) = rest.next()
        {
            byte += glyph.ch.len_utf8();
            out.push(*glyph);
        }
        let mut span: Option<(usize, usize)> = None;
        while byte < found.end()
            && let Some(glyph) = rest.next()
        {
            byte += glyph.ch.len_utf8();
            span = Some((span.map_or(glyph.from, |(from, _)| from), glyph.to));
        }
        let Some((from, to)) = span else { continue };
        let spelled = [" ", mask.token(), " "];
        out.extend(spelled.iter().flat_map(|part| part.chars()).map(|ch| Glyph { ch, from, to }));
    }
    out.extend(rest);
    out
}

/// What LINE writes where a message had no text.
const PLACEHOLDERS: [&str; 19] = [
    "[รูป]",
    "[รูปภาพ]",
    "[สติกเกอร์]",
    "[วิดีโอ]",
    "[ไฟล์]",
    "[ข้อความเสียง]",
    "[ตำแหน่ง]",
    "[ผู้ติดต่อ]",
    "[โหวต]",
    "[Photo]",
    "[Sticker]",
    "[Video]",
    "[Voice message]",
    "[File]",
    "[Gift]",
    "[Location]",
    "[Notes]",
    "[Contact]",
    "[Poll]",
];

/// Whether anything is left for a model once masks, LINE placeholders and stray marks are taken away.
///
/// Emoji, emoticons and laughter are language here; `https://example.com` and `[สติกเกอร์]` are not.
pub fn is_linguistic(text: &Normalized) -> bool {
    let mut left = text.as_str().to_owned();
    for hidden in Mask::ALL.iter().map(|mask| mask.token()).chain(PLACEHOLDERS) {
        if left.contains(hidden) {
            left = left.replace(hidden, "");
        }
    }
    left.chars().any(|ch| !ch.is_whitespace() && unicode_width::UnicodeWidthChar::width(ch) != Some(0))
}
