//! Features of customers and brands: events folded into sums over time, what is worked out from these, and the book that
//! keeps them. Pure but for the store on disk and the thread that writes it.

mod book;
mod change;
mod event;
mod features;
mod keeper;
mod pseudonym;
mod rows;
mod signals;
mod storage;
mod tiles;
mod watch;

pub use book::{Applied, Book, Command, Held, Outcome, Overdue, Profile, Terms};
pub use change::{Change, Erased};
pub use event::{Channel, Contribution, Event, Key, Micros};
pub use features::{Features, Known, LONGEST_RUN, Last, State, Window, WindowFeatures};
pub use keeper::{Clock, KeepError, Keeper, Since, Upkeep};
pub use pseudonym::Pseudonyms;
pub use rows::Erasure;
pub use signals::{Alarm, Figures, Rules, Signal, SignalKind};
pub use storage::{Disk, Order, Row, Storage, StorageError, Table, Write};
pub use tiles::{Day, Decayed, HALF_LIVES, Resolution, Sign, Sums, deviation, mean, weight};
pub use watch::{Anew, Interest, Position, Step, Update, Watcher};

#[cfg(test)]
mod tests;
