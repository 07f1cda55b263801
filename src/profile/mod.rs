//! Features of customers and brands: events folded into sums over time, what is worked out from these, and the book that
//! keeps them. Pure but for the store on disk and the threads that write it.
//!
//! # On several machines
//!
//! One machine keeps all of it today. Nothing in the fold, the features, the signals or the [`Book`] knows that; with a log such as
//! NATS JetStream under them this much changes, and no more:
//!
//! | today | with a log |
//! | --- | --- |
//! | [`Keeper::apply`] puts commands into an inbox, the writer takes what waits | a stream `events`, partitioned by customer; each partition has one writer, a pull consumer that takes what waits |
//! | the answer comes after the commit | the caller is answered by the log; who wants the outcome reads it from a stream of outcomes |
//! | a commit is rows ([`Storage::commit`]) | the same, with the consumer's position as a row of the meta table: applied exactly once, whatever is delivered twice |
//! | an event of a brand is folded with that of its customer | a partition folds customers and pairs, and sends what it added to each brand's tiles to a second stream, partitioned by brand; [`Sums`] are exact and add, so the order does not matter, and what is taken back is what was added with the other sign |
//! | the ledger refuses what came before | the same in each partition; the log's own window for duplicates only spares the work |
//! | [`Change`]s are rows that watchers and sinks go on from | a stream `changes` with the same numbering for each partition; a resume token has one position for each |
//! | erasing rewrites rows and the journal | also purges the customer's subject from the stream (`events.<partition>.<hash>`), before the tombstone is acknowledged |
//! | [`Disk`] | the same, as each partition's view; it can be made anew from the log as far back as that goes, else from a backup |
//!
//! What it takes from the contract: an order between changes of different partitions, which nobody is promised today either but
//! in one stream of `WatchProfiles`, and a read after the answer that sees the event, which would have to wait for the partition's
//! position.

mod backup;
mod book;
mod change;
mod clock;
mod event;
mod features;
mod keeper;
mod pseudonym;
mod recent;
mod rows;
mod seen;
mod series;
mod signals;
mod storage;
mod tiles;
mod watch;

pub use backup::{BackedUp, BackupError, LONGEST_PART, MAGIC, Restoration};
pub use book::{Applied, Book, Command, Erasure, Held, Outcome, Overdue, Prepared, Profile, Terms};
pub use change::{Change, Erased};
pub use clock::{ClockState, Distrust, Moment, Reading, STEP};
pub use event::{Channel, Contribution, Event, Key, Micros};
pub use features::{Features, Known, LONGEST_RUN, Last, State, Tail, Window, WindowFeatures};
pub use keeper::{Clock, KeepError, Keeper, Since, Upkeep, frozen_clock, system_clock};
pub use pseudonym::Pseudonyms;
pub use seen::Seen;
pub use series::Series;
pub use signals::{Alarm, Figures, Rules, Signal, SignalKind};
pub use storage::{Disk, DiskSpace, Order, Row, See, Storage, StorageError, Table, Write};
pub use tiles::{Day, Decayed, HALF_LIVES, Resolution, Sign, Sums, deviation, mean, weight};
pub use watch::{Anew, Interest, Position, Shown, Step, Update, Watcher};

#[cfg(test)]
mod tests;
