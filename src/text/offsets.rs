//! Positions in the caller's units, never inside a grapheme cluster.

use std::ops::Range;

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

/// What one step of an offset counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Bytes of UTF-8 (Rust, Go).
    #[default]
    Utf8,
    /// UTF-16 code units (JavaScript, Java, LINE).
    Utf16,
    /// Unicode scalar values (Python).
    Utf32,
}

impl Encoding {
    /// The length of a text in this unit.
    pub fn length(self, text: &str) -> usize {
        match self {
            Encoding::Utf8 => text.len(),
            Encoding::Utf16 => text.chars().map(char::len_utf16).sum(),
            Encoding::Utf32 => text.chars().count(),
        }
    }

    /// A byte range of `text`, counted in this unit.
    pub fn range(self, text: &str, bytes: Range<usize>) -> Range<usize> {
        let upto = |end: usize| self.length(text.get(..end).unwrap_or(text));
        upto(bytes.start)..upto(bytes.end)
    }
}

/// Widens a byte range to whole grapheme clusters, so that no letter is cut from its marks.
pub fn snap_to_graphemes(text: &str, range: Range<usize>) -> Range<usize> {
    let snap = |position: usize, forward: bool| {
        let mut cursor = GraphemeCursor::new(position.min(text.len()), text.len(), true);
        // The text is one chunk, so the cursor never asks for more of it.
        if cursor.is_boundary(text, 0).unwrap_or(true) {
            return position.min(text.len());
        }
        let edge = if forward { cursor.next_boundary(text, 0) } else { cursor.prev_boundary(text, 0) };
        edge.ok().flatten().unwrap_or(if forward { text.len() } else { 0 })
    };
    snap(range.start, false)..snap(range.end, true)
}

/// Whether a byte position lies between two grapheme clusters.
pub(super) fn is_grapheme_edge(text: &str, position: usize) -> bool {
    text.is_char_boundary(position)
        && GraphemeCursor::new(position, text.len(), true).is_boundary(text, 0).unwrap_or(true)
}

/// The grapheme clusters of a text.
pub(super) fn graphemes(text: &str) -> impl Iterator<Item = &str> {
    text.graphemes(true)
}
