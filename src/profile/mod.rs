//! Features of customers and brands: events folded into sums over time, and what is worked out from these. Pure.

mod book;
mod event;
mod features;
mod rows;
mod storage;
mod tiles;

pub use book::{Applied, Book, Command, Held, Outcome, Terms};
pub use event::{Channel, Contribution, Event, Key, Micros};
pub use features::{Features, Known, LONGEST_RUN, Last, State, Window, WindowFeatures};
pub use rows::Erasure;
pub use storage::{Disk, Order, Row, Storage, StorageError, Table, Write};
pub use tiles::{Day, Decayed, HALF_LIVES, Resolution, Sign, Sums, deviation, mean, weight};

#[cfg(test)]
mod tests;
