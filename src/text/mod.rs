//! Thai text: repairs with a map back to the original, words, clauses, statements, offsets in the caller's units; the
//! letters and times that files hold. Pure.

mod charset;
mod clauses;
mod clusters;
mod lexicon;
mod marks;
mod masks;
mod matching;
mod modifiers;
mod moment;
mod normalize;
mod offsets;
mod phrases;
mod questions;
mod script;
mod statements;
mod words;

pub use charset::Charset;
pub use clauses::Reading;
pub use masks::{Mask, is_linguistic};
pub use modifiers::Modifiers;
pub(crate) use moment::western;
pub use moment::{DayOrder, day_order, moment};
pub use normalize::{Normalized, normalize};
pub use offsets::{Encoding, GraphemeEdges, Offsets, snap_to_graphemes};
pub use phrases::Phrases;
pub use questions::asks;
pub use script::Script;
pub use words::words;

#[cfg(test)]
mod tests;
