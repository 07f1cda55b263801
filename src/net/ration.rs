//! How many frames that ask for nothing a connection may send.
//!
//! For each SETTINGS and each GOAWAY the h2 crate goes through all streams of the connection. A client with a thousand of them that
//! sends such frames without end would keep a thread of the port busy. Clients send a few: gRPC's own change the size of
//! their windows some times a second at most. Windows, pings, priorities, resets and unknown frames cost little each, but come by
//! the million. A client that takes a large answer sends many windows: so what it is sent pays for them.

use std::time::Duration;

use tokio::time::Instant;

use super::authority::FrameCounts;

/// What a frame about all streams costs, in time after which it is paid off: ten a second cost nothing in the long run.
const COST: Duration = Duration::from_millis(100);

/// What any other frame costs that asks for nothing: 2,500 a second cost nothing in the long run.
const IDLE_COST: Duration = Duration::from_micros(400);

/// So many bytes that are sent pay for one of these.
const PAYING_BYTES: u64 = 4096;

/// A debt above this ends the connection. Forty frames about all streams at once are no more than a thread does in some milliseconds,
/// and so are 10,000 others.
const MOST: Duration = Duration::from_secs(4);

/// The ration of one connection.
#[derive(Debug)]
pub(super) struct Ration {
    debt: Duration,
    at: Instant,
    /// Bytes that were sent and paid for nothing yet.
    sent: u64,
}

impl Ration {
    pub(super) fn new(now: Instant) -> Self {
        Self { debt: Duration::ZERO, at: now, sent: 0 }
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// These frames came. Says whether they are too many.
    pub(super) fn is_used_up(&mut self, frames: FrameCounts, now: Instant) -> bool {
        let FrameCounts { of_all_streams, idle, .. } = frames;
        let paid_for =
            u32::try_from(std::mem::take(&mut self.sent).div_ceil(PAYING_BYTES)).unwrap_or(u32::MAX);
        let paid = now.saturating_duration_since(self.at).saturating_add(IDLE_COST.saturating_mul(paid_for));
        self.at = now;
        let cost = COST.saturating_mul(of_all_streams).saturating_add(IDLE_COST.saturating_mul(idle));
        self.debt = self.debt.saturating_sub(paid).saturating_add(cost);
        self.debt > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_change_its_settings_and_not_without_end() {
        let settings = |of_all_streams| FrameCounts { all: of_all_streams, of_all_streams, idle: 0 };
        let now = Instant::now();
        let mut ration = Ration::new(now);
        assert!(!ration.is_used_up(settings(40), now));
        assert!(ration.is_used_up(settings(1), now));
        // Five a second for an hour.
        let mut ration = Ration::new(now);
        for fifth in 1..18_000 {
            assert!(!ration.is_used_up(settings(1), now + Duration::from_millis(200) * fifth), "{fifth}");
        }
    }

    #[test]
    fn a_client_may_open_windows_for_what_it_takes_and_not_for_nothing() {
        let windows = |idle| FrameCounts { all: idle, of_all_streams: 0, idle };
        let now = Instant::now();
        let mut ration = Ration::new(now);
        assert!(!ration.is_used_up(windows(10_000), now));
        assert!(ration.is_used_up(windows(1), now));
        // A gigabyte at once, and a window for each 4 KiB of it.
        let mut ration = Ration::new(now);
        for _ in 0..1000 {
            ration.sent(1 << 20);
            assert!(!ration.is_used_up(windows(256), now));
        }
    }
}
