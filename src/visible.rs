//! Characters that a terminal obeys instead of showing them, spelt out.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character turns the order in which a terminal shows the others.
fn turns(ch: char) -> bool {
    matches!(ch, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Whether a terminal obeys a character: controls (C0, DEL, C1) and those that override the direction of writing.
pub(crate) fn is_obeyed(ch: char) -> bool {
    ch.is_control() || turns(ch)
}

fn spelt(text: &str, is_spelt: impl Fn(char) -> bool, spell: impl Fn(&mut String, u32)) -> Cow<'_, str> {
    if !text.contains(&is_spelt) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for ch in text.chars() {
        if is_spelt(ch) { spell(&mut shown, u32::from(ch)) } else { shown.push(ch) }
    }
    Cow::Owned(shown)
}

fn escape(shown: &mut String, ch: u32) {
    write!(shown, "\\u{{{ch:x}}}").expect("a String takes every text");
}

/// A text for a terminal: what it would obey is spelt `\u{1b}`. Line breaks and tabs stay.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    spelt(text, |ch| is_obeyed(ch) && !matches!(ch, '\n' | '\t'), escape)
}

/// A text that may have colours of its own: only what turns the order of writing is spelt out.
pub(crate) fn upright(text: &str) -> Cow<'_, str> {
    spelt(text, turns, escape)
}

/// JSON that means the same, with `\u009b` for what a terminal would obey. Others than line breaks stand in its strings only.
pub(crate) fn visible_json(json: &str) -> Cow<'_, str> {
    let spell = |shown: &mut String, ch: u32| {
        write!(shown, "\\u{ch:04x}").expect("a String takes every text");
    };
    spelt(json, |ch| is_obeyed(ch) && !matches!(ch, '\n' | '\r' | '\t'), spell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelt_out() {
        let text = "ดี\u{1b}[31m\r\u{7f}\u{9b}\u{202e}\u{2066}\n\té";
        assert_eq!(visible(text), "ดี\\u{1b}[31m\\u{d}\\u{7f}\\u{9b}\\u{202e}\\u{2066}\n\té");
        assert_eq!(upright("\u{1b}[31mดี\u{202b}"), "\u{1b}[31mดี\\u{202b}");
        assert!(matches!(visible("ดี\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_means_the_same() {
        for ch in (0..0x2100).filter_map(char::from_u32) {
            let value = serde_json::json!({ "text": ch.to_string() });
            for json in [value.to_string(), format!("{value:#}\n")] {
                let shown = visible_json(&json);
                assert!(!shown.chars().any(|ch| is_obeyed(ch) && ch != '\n'), "{ch:?}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
            }
        }
    }
}
