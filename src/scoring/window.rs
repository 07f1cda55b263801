//! Cuts a long row of tokens into overlapping windows. Pure.

use std::ops::Range;

/// How windows are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// Most tokens in a window, without special tokens; at least 1.
    pub(super) size: usize,
    /// Tokens that neighbours share; less than `size`.
    pub(super) overlap: usize,
}

impl Windows {
    /// The fewest windows that cover `length` tokens with at least the overlap asked for.
    ///
    /// They are spread evenly, so that the last is not a short stump without context.
    pub(super) fn cut(self, length: usize) -> Vec<Range<usize>> {
        if length <= self.size {
            return std::iter::once(0..length).collect();
        }
        let stride = self.size - self.overlap;
        let steps = (length - self.size).div_ceil(stride);
        (0..=steps)
            .map(|step| {
                let start = (length - self.size) * step / steps;
                start..start + self.size
            })
            .collect()
    }
}
