//! What people wrote, as it may be shown: nothing that leads to a person, nothing that turns the line around, and short.

use crate::conversation::hide;
use crate::text::{normalize, snap_to_graphemes};

/// Longest example, and longest name of a brand or target.
const SNIPPET_CHARS: usize = 140;
const NAME_CHARS: usize = 60;

/// A part of a text as an example.
pub(super) fn snippet(text: &str) -> String {
    // Cleaned before it is hidden, so that no invisible character splits a number; hidden before it is cut, so that no
    // cut does. Normalising masks web addresses and @mentions, as the model has read them.
    cut(&hide(&clean(normalize(&clean(text)).as_str())), SNIPPET_CHARS)
}

/// A name as a key: short whatever stands in the dump.
pub(super) fn key(name: &str) -> String {
    cut(&clean(name), NAME_CHARS)
}

/// A key as a name.
pub(super) fn name(key: &str) -> String {
    hide(key)
}

/// On one line, without what is invisible or changes the direction of writing.
fn clean(text: &str) -> String {
    let visible = text.chars().filter(|ch| {
        !matches!(ch, '\u{AD}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
    });
    let visible: String = visible.map(|ch| if ch.is_control() { ' ' } else { ch }).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters, at the edge of a grapheme cluster.
fn cut(text: &str, most: usize) -> String {
    let Some((at, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let edge = snap_to_graphemes(text, at..at).start;
    // One cluster of very many marks is cut all the same.
    let edge = if edge == 0 { at } else { edge };
    format!("{}…", text.get(..edge).unwrap_or_default().trim_end())
}
