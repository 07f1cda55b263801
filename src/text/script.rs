//! What a text is written in.

use super::masks::Mask;
use super::normalize::Normalized;

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Thai.
    Thai,
    /// Thai with Latin letters; masks do not count.
    ThaiLatin,
    /// No Thai letter.
    Other,
}

impl Script {
    /// The script of a text.
    pub fn of(text: &Normalized) -> Self {
        let text = text.as_str();
        let latin = |text: &str| text.bytes().filter(u8::is_ascii_alphabetic).count();
        let masked: usize =
            Mask::ALL.iter().map(|mask| text.matches(mask.token()).count() * latin(mask.token())).sum();
        match text.chars().any(|ch| ('\u{E01}'..='\u{E5B}').contains(&ch)) {
            true if latin(text) > masked => Self::ThaiLatin,
            true => Self::Thai,
            false => Self::Other,
        }
    }
}
