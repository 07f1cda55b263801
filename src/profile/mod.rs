//! Features of customers and brands: events folded into sums over time, and what is worked out from these. Pure.

mod event;
mod features;
mod tiles;

pub use event::{Channel, Contribution, Event, Key, Micros};
pub use features::{Features, Known, LONGEST_RUN, Last, State, Window, WindowFeatures};
pub use tiles::{Day, Decayed, HALF_LIVES, Resolution, Sign, Sums, deviation, mean, weight};

#[cfg(test)]
mod tests;
