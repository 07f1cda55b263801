//! Stores that keep the same features of the same events, each behind its own protocol on loopback.

#![allow(unreachable_pub, clippy::expect_used, reason = "a benchmark that panics has failed")]

mod arom;
mod postgres;
mod redis;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use arom::{Arom, Linked, command, contribution, message};
pub use postgres::Postgres;
pub use redis::Redis;

pub const BRANDS: u64 = 20;

/// The labels as numbers, in the order of the contract less one.
pub const LABELS: u64 = 4;

/// What is recorded.
#[derive(Clone, Debug)]
pub struct Event {
    pub id: String,
    pub customer: String,
    pub brand: String,
    pub channel: u8,
    pub label: u8,
    /// In millionths.
    pub score: i32,
    pub millis: i64,
}

/// Events of one kind of day.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    pub customers: u64,
    pub now: i64,
    /// How far back they go, in milliseconds.
    pub span: u64,
    /// So that ids of several kinds do not meet.
    pub kind: char,
}

/// Numbers that look like chance and are the same each time (SplitMix64).
pub fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub fn customer(number: u64) -> String {
    // As ids are that a system gives out: neither short nor in the order in which they come.
    format!("U{:016x}", scattered(number ^ 0xA5A5))
}

impl Traffic {
    /// Event number so many. Of the first events each is of another customer, until all had one.
    pub fn event(&self, number: u64) -> Event {
        let random = scattered(number ^ (u64::from(self.kind) << 48));
        let whose = if number < self.customers { number } else { random % self.customers };
        let label = u8::try_from((random >> 20) % LABELS).expect("few");
        let score = i32::try_from((random >> 24) % 1_000_001).expect("in range");
        Event {
            id: format!("{}{number:x}-{:08x}", self.kind, random & 0xFFFF_FFFF),
            customer: customer(whose),
            brand: format!("brand-{}", (random >> 8) % BRANDS),
            channel: u8::try_from((random >> 16) % 4).expect("few"),
            label,
            score: if label == 2 { -score } else { score },
            millis: self.now - i64::try_from((random >> 30) % self.span).expect("in range"),
        }
    }
}

/// What every store can do.
pub trait Store: Send + Sync + 'static {
    /// Records events, those of an id that is known not twice, and returns when they are on the disk: how many are new.
    fn record(&self, events: Vec<Event>) -> impl Future<Output = u64> + Send;

    /// Does what its housekeeper would do in the night.
    fn tidy(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// The windows of some customers: how many events they have in all.
    fn read(&self, customers: Vec<String>) -> impl Future<Output = u64> + Send;

    /// The windows of a brand: likewise.
    fn brand(&self, brand: String) -> impl Future<Output = u64> + Send;
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A new folder beside the others, on the same disk.
pub fn folder(name: &str) -> PathBuf {
    let folder = crate::support::root().join("target/bench/stores").join(name);
    fs::remove_dir_all(&folder).unwrap_or_default();
    fs::create_dir_all(&folder).expect("there is room");
    folder
}

/// Bytes of all files in a folder.
pub fn bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable"));
    entries
        .map(|entry| match entry.file_type().expect("known").is_dir() {
            true => bytes(&entry.path()),
            // A file may go meanwhile.
            false => entry.metadata().map_or(0, |data| std::os::unix::fs::MetadataExt::blocks(&data) * 512),
        })
        .sum()
}

/// Tries until it goes well.
pub async fn patiently<T, E: std::fmt::Debug>(attempt: impl AsyncFn() -> Result<T, E>) -> T {
    for _ in 0..60_000 {
        if let Ok(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    attempt().await.expect("it comes up within two minutes")
}
