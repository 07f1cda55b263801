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

    /// Counts a text in this unit, once for all ranges that are asked for.
    ///
    /// ```
    /// let offsets = arom::text::Encoding::Utf32.offsets("ดีมาก");
    /// assert_eq!(offsets.range(6..15), 2..5);
    /// ```
    pub fn offsets(self, text: &str) -> Offsets {
        let step = |ch: char| match self {
            Encoding::Utf8 => ch.len_utf8(),
            Encoding::Utf16 => ch.len_utf16(),
            Encoding::Utf32 => 1,
        };
        let mut before = 0;
        let counts = match self {
            Encoding::Utf8 => None,
            Encoding::Utf16 | Encoding::Utf32 => {
                let mut counts = Vec::with_capacity(text.len() + 1);
                for ch in text.chars() {
                    counts.extend(std::iter::repeat_n(before, ch.len_utf8()));
                    before += step(ch);
                }
                counts.push(before);
                Some(counts)
            }
        };
        Offsets { counts, bytes: text.len() }
    }
}

/// How far each byte of a text is from its begin, in the caller's unit.
#[derive(Clone, Debug)]
pub struct Offsets {
    /// Of each byte and of the end, unless the unit is the byte.
    counts: Option<Vec<usize>>,
    bytes: usize,
}

impl Offsets {
    /// A byte range of the text, counted in the unit.
    pub fn range(&self, bytes: Range<usize>) -> Range<usize> {
        let count = |at: usize| {
            let at = at.min(self.bytes);
            self.counts.as_ref().map_or(at, |counts| counts.get(at).copied().unwrap_or(at))
        };
        count(bytes.start)..count(bytes.end)
    }
}

/// The edges of the grapheme clusters of a text, found once for all ranges that are widened.
#[derive(Clone, Debug)]
pub struct GraphemeEdges(Vec<usize>);

impl GraphemeEdges {
    /// Those of a text, its begin and its end among them.
    pub fn of(text: &str) -> Self {
        let begins = text.grapheme_indices(true).map(|(at, _)| at);
        let mut edges: Vec<usize> = begins.collect();
        edges.push(text.len());
        Self(edges)
    }

    /// As [`snap_to_graphemes`], for one of many ranges of the text.
    pub fn snap(&self, range: Range<usize>) -> Range<usize> {
        let last = self.0.last().copied().unwrap_or_default();
        let at_most = self.0.partition_point(|edge| *edge <= range.start);
        let start = at_most.checked_sub(1).and_then(|at| self.0.get(at)).copied().unwrap_or_default();
        let end = self.0.get(self.0.partition_point(|edge| *edge < range.end)).copied().unwrap_or(last);
        start..end
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
