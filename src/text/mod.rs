//! Thai text: repairs with a map back to the original, and offsets in the caller's units. Pure.

mod marks;
mod masks;
mod normalize;
mod offsets;

pub use masks::{Mask, is_linguistic};
pub use normalize::{Normalized, normalize};
pub use offsets::{Encoding, snap_to_graphemes};

#[cfg(test)]
mod tests;
