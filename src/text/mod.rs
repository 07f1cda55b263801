//! Thai text: repairs with a map back to the original, words, clauses, statements, and offsets in the caller's units. Pure.

mod clauses;
mod lexicon;
mod marks;
mod masks;
mod modifiers;
mod normalize;
mod offsets;
mod phrases;
mod questions;
mod statements;
mod words;

pub use clauses::Reading;
pub use masks::{Mask, is_linguistic};
pub use modifiers::Modifiers;
pub use normalize::{Normalized, normalize};
pub use offsets::{Encoding, snap_to_graphemes};
pub use phrases::Phrases;
pub use questions::asks;
pub use words::words;

#[cfg(test)]
mod tests;
